"""How many functions families take along their parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from neumatc_mimo import metrics
from neumatc_mimo.plots.style import as_array, axes_or_new, finished, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOWEST = 1e-7  # of singular values


def singular_values(
    samples: Mapping[str, Tensor], *, rank: int | None = None, ax: Axes | None = None
) -> Axes:
    """Decay of the singular values of families along their parameter.

    Samples are the rows of one matrix, real and imaginary parts side by side, as a real trunk sees
    them (:func:`~neumatc_mimo.metrics.measures.singular_decay`).

    :param samples: label → samples of a family, [num_parameters, ...]
    :param rank: marked by a vertical line, if given
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    """
    decays = {label: as_array(metrics.singular_decay(values)) for label, values in samples.items()}
    ax = axes_or_new(ax)
    for style, (label, decay) in zip(styles(), decays.items(), strict=False):
        ax.semilogy(np.arange(1, len(decay) + 1), decay, label=label, **style)
    # Below lies the rounding of single precision.
    shown = max(int((decay > _LOWEST).sum()) for decay in decays.values())
    if rank is not None:
        ax.axvline(rank, color="0.4", lw=0.8, label=f"rank {rank}")
    ax.set(xlabel="index", ylabel="singular value relative to the largest", ylim=(_LOWEST, 2))
    ax.set_xlim(0, 1.05 * shown)
    return finished(ax)
