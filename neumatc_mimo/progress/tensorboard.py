"""Progress of long steps as scalars in TensorBoard."""

from __future__ import annotations

import os
from collections import Counter
from types import TracebackType

from neumatc_mimo.foundation.hints import install
from neumatc_mimo.progress.events import Event


class TensorBoard:
    """A callback that writes the figures of long steps to a TensorBoard log.

    Each figure is a scalar ``step/figure``, such as ``pseudo_inverse/loss``, over the number of its
    events. It is written at once, so it is not lost if a run ends early.

    .. code-block:: python

        model = nm.train(scenario, callback=nm.TensorBoard("runs/munich"))

    :param log_dir: Folder of the log; ``tensorboard --logdir`` shows all that are in one folder

    :raises ImportError: If the package tensorboard is missing
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                f"TensorBoard logs need the package tensorboard: {install('tensorboard')}."
            ) from error
        self._writer = SummaryWriter(os.fspath(log_dir))
        self._told: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        """Write the figures of an event."""
        for name, value in event.metrics.items():
            tag = f"{event.step}/{name}"
            self._writer.add_scalar(tag, value, self._told[tag])
            self._told[tag] += 1
        if event.metrics:
            self._writer.flush()

    def close(self) -> None:
        """Close the log."""
        self._writer.close()

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
