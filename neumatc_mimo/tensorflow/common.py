"""What all blocks share: how they ask their solver, derivatives, checks and counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Unpack

import numpy as np
import tensorflow as tf
from sionna.phy import Block
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_checks import check_type
from neumatc_mimo.foundation.block_settings import ProofKeywords, ProofSettings
from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.tensorflow.fitting import joint_items, spread
from neumatc_mimo.tensorflow.gradients import with_exact_gradients
from neumatc_mimo.tensorflow.operation import Operation
from neumatc_mimo.tensorflow.solver import Exact, Solver, counted
from neumatc_mimo.tensorflow.symbols import constant_channel

# Index of the refined ones among the counts.
_REFINED = [field.name for field in fields(Counts)].index("refined")

# The operation's answer [B, symbols, F, ...] and counts for matrices [B, symbols, F, K, M], noise
# powers that fit [B, symbols, F], or None for zero, and links [B] or None.
Ask = Callable[
    [tf.Tensor, tf.Tensor | None, tf.Tensor | None],
    tuple[Any, tf.Tensor],
]
# Outputs and counts of a block from an ``Ask`` and its differentiable inputs.
Core = Callable[..., tuple[list[tf.Tensor], tf.Tensor]]


class SolverBlock(Block):
    """Base of the blocks: a Sionna block whose matrices come from a solver.

    Blocks may be called eagerly, in a ``tf.function`` and with ``jit_compile=True``. All
    dimensions but the batch's have to be known when a graph is built.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or
        :class:`~neumatc_mimo.tensorflow.Exact`
    :param operation: What is asked of the solver
    :param effective: Whether it is asked on effective subcarriers only
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify``, ``tolerance`` and ``time_varying``, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`. With "link" links are
        recognised at all subcarriers; `None` is a pure query of the links that the caller names.
        A channel that is said not to vary has that of its first OFDM symbol in all.
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        operation: Operation,
        *,
        effective: bool,
        precision: str | None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        check_type("resource_grid", resource_grid, ResourceGrid)
        check_type("stream_management", stream_management, StreamManagement)
        check_type("solver", solver, Solver)
        self._become_sionnas(resource_grid, stream_management, precision)
        self._settings = ProofSettings(**settings)
        self._resource_grid, self._stream_management = resource_grid, stream_management
        self._solver, self._operation = solver, operation
        self._num_tx = int(stream_management.num_tx)
        self._num_rx = int(stream_management.num_rx)
        self._num_streams = int(stream_management.num_streams_per_tx)
        self._num_symbols = int(resource_grid.num_ofdm_symbols)
        self._fft_size = int(resource_grid.fft_size)
        self._effective = np.asarray(resource_grid.effective_subcarrier_ind)
        index = self._effective if effective else np.arange(self._fft_size)
        spacing = float(resource_grid.subcarrier_spacing)
        grid = (index - self._fft_size // 2).astype(np.float64) * spacing
        certify, tolerance = self._settings.certify, self._settings.tolerance
        self._answers = solver.on(operation, grid, self.cdtype, certify, tolerance)
        self._num_frequencies = len(grid)
        self._counts = tf.Variable(tf.zeros(len(fields(Counts)), tf.int64), trainable=False)

    def _become_sionnas(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        precision: str | None,
    ) -> None:
        """Initialise as the block of Sionna that it is."""
        del resource_grid, stream_management
        Block.__init__(self, precision=precision)

    @property
    def stats(self) -> Counts:
        """Counts of how results were obtained, summed over calls. Subcarriers that a solver's
        certificate told to compute exactly are ``patched``, all others that are so ``exact``.
        """
        return Counts(*(int(count) for count in self._counts.numpy()))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(solver={self._solver!r}, certify={self._settings.certify!r}, "
            f"precision={self.precision!r}, stats={self.stats})"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # AutoGraph has nothing to convert here, and takes twice as long to find that out as it
        # takes to build the graph.
        return tf.autograph.experimental.do_not_convert(super().__call__)(*args, **kwargs)

    def _served(
        self,
        core: Core,
        inputs: Sequence[tf.Tensor],
        alike: list[tf.Tensor] | None,
        first: Callable[..., Sequence[tf.Tensor]],
    ) -> list[tf.Tensor]:
        """The outputs of ``core``, once for all OFDM symbols where these share their matrices.

        A graph has both ways, unless it is known which one when it is built.

        :param inputs: what derivatives are asked of
        :param alike: what has to be true for symbols to share their matrices; None where they don't
        :param first: gives the inputs of which a matrix of one symbol is made
        """

        def values(*inputs: tf.Tensor) -> list[tf.Tensor]:
            def once() -> tuple[list[tf.Tensor], tf.Tensor]:
                return core(self._query, *first(*inputs))

            def each() -> tuple[list[tf.Tensor], tf.Tensor]:
                return core(self._exactly, *inputs)

            if alike is None:
                outputs, counts = each()
            elif alike:
                outputs, counts = tf.cond(tf.reduce_all(tf.stack(alike)), once, each)
            else:
                outputs, counts = once()
            return [*outputs, counts]

        def plain(*inputs: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            outputs, counts = core(self._plainly, *inputs)
            return outputs, counts[_REFINED] > 0

        *outputs, counts = with_exact_gradients(values, plain, inputs)
        self._counts.assign_add(counts)
        return outputs

    def _shared(self, h: tf.Tensor, dim: int) -> list[tf.Tensor] | None:
        """What has to be true for a channel to be that of one OFDM symbol; None if it is not.

        :param dim: along which antennas of a row lie
        """
        if h.shape[-2] == 1 or self._settings.time_varying is False:
            return []
        return None if self._settings.time_varying else constant_channel(h, dim)

    @property
    def _is_exact(self) -> bool:
        """Whether the solver computes: noise may then differ between subcarriers and antennas."""
        return isinstance(self._solver, Exact)

    def _query(
        self, a: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None
    ) -> tuple[Any, tf.Tensor]:
        """The solver's answer for matrices of one symbol [B, 1, F, K, M]."""
        if self._is_exact or a.shape[2] != self._num_frequencies:
            return self._exactly(a, no, links)
        given = [z for z in (a, no, links) if z is not None]
        items = joint_items(*given)
        a = spread(a[:, 0], {0: items})
        no = None if no is None else spread(no[:, 0, 0], {0: items})
        links = None if links is None else spread(links, {0: items})
        answer, counts = self._answers(a, no, links)
        return tf.nest.map_structure(lambda z: z[:, None], answer), counts

    def _exactly(
        self,
        a: tf.Tensor,
        no: tf.Tensor | None,
        links: tf.Tensor | None,
        precisely: Callable[[], tf.Tensor] | None = None,
    ) -> tuple[Any, tf.Tensor]:
        """The exact answer for matrices of any number of symbols.

        :param precisely: gives a in double precision, where it is a rounded product
        """
        del links
        answer, refined = self._operation.exact(a, no, precisely)
        number = tf.size(refined)
        return answer, counted(exact=number, refined=tf.math.count_nonzero(refined))

    def _plainly(
        self, a: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None
    ) -> tuple[Any, tf.Tensor]:
        """The same in the precision given, which may be too little of it."""
        del links
        answer, doubtful = self._operation.plain(a, no)
        return answer, counted(refined=tf.math.count_nonzero(doubtful))

    def _knowing(self, ask: Ask, known: bool) -> Ask:
        """Whom to ask: the exact computation in the place of a model that has no such results."""
        return ask if known or ask != self._query else self._exactly

    def _in_white_noise(self, ask: Ask, a: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Answers for matrices of a block's own, in noise of power one: no model has them."""
        one = tf.ones_like(tf.math.real(a[..., 0, 0]))
        return (ask if ask == self._plainly else self._exactly)(a, one, None)

    def _check_links(self, links: Any, num: int) -> tf.Tensor | None:
        """Links as [batch_size, num], or None."""
        if links is None:
            return None
        links = tf.convert_to_tensor(links)
        if not links.dtype.is_integer:
            raise TypeError(f"links is {links.dtype.name}, integer link indices are needed.")
        if links.shape.rank not in (1, 2) or (links.shape.rank == 2 and links.shape[1] != num):
            raise ValueError(
                f"links has the shape {links.shape}, [batch_size] or [batch_size, {num}] is needed."
            )
        links = tf.cast(links, tf.int32)
        return links if links.shape.rank == 2 else tf.tile(links[:, None], [1, num])


def partners(stream_management: StreamManagement) -> tuple[list[int], list[int]]:
    """The one receiver of each transmitter, and the one transmitter of each receiver.

    :raises ValueError: if a transmitter serves several receivers, or the other way round
    """
    association = np.asarray(stream_management.rx_tx_association)
    num_rx, num_tx = association.shape
    if num_rx != num_tx or (association.sum(0) != 1).any() or (association.sum(1) != 1).any():
        raise ValueError(
            f"stream_management has {num_tx} transmitters and {num_rx} receivers, SVD "
            "transmission needs one receiver for each transmitter."
        )
    return association.argmax(0).tolist(), association.argmax(1).tolist()


def first_dimensions(no: Any, dtype: tf.DType) -> tf.Tensor:
    """A noise power [batch_size, num_rx, num_rx_ant] of which the last dimensions may lack or be
    one, with three of them.
    """
    noise = tf.cast(tf.convert_to_tensor(no), dtype)
    if noise.shape.rank is None or noise.shape.rank > 3:
        raise ValueError(
            f"no has the shape {noise.shape}, the first dimensions of [batch_size, num_rx, "
            "num_rx_ant] are needed."
        )
    return noise[(..., *(None,) * (3 - noise.shape.rank))]
