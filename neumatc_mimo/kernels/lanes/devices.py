"""Which kernels each kind of device has: those in C++ on CPUs, Triton's on GPUs.

Emitters call PyTorch operators, which find the kernels of the device that their tensors are on. A
device without an entry here has none, and PyTorch computes there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes import operators
from neumatc_mimo.kernels.lanes.library import SourceKind, loaded
from neumatc_mimo.kernels.on_gpu.installed import has_triton
from neumatc_mimo.kernels.on_gpu.sizes import MOST_ROWS

if TYPE_CHECKING:
    from neumatc_mimo.kernels.on_gpu.filters import Mixes, Receiving, Solves


@dataclass(frozen=True)
class Kernels:
    """What the kernels of a kind of device cover.

    :param are_there: whether they are installed
    :param kinds: their sources
    :param most_rows: of the matrices; None for as many as have a source
    :param whiten: whether they take noise that differs between antennas
    """

    are_there: Callable[[], bool]
    kinds: frozenset[SourceKind]
    most_rows: int | None = None
    whiten: bool = True


_ON_GPU = frozenset(
    {
        SourceKind.DEFINITE,
        SourceKind.LEAKAGE,
        SourceKind.MAX_MIN,
        SourceKind.SINGULAR,
        SourceKind.WMMSE,
    }
)
# By PyTorch's type of device.
KERNELS = {
    "cpu": Kernels(lambda: loaded() is not None, frozenset(SourceKind)),
    "cuda": Kernels(has_triton, _ON_GPU, MOST_ROWS, whiten=False),
}


def has_kernel(kind: SourceKind, a: Tensor) -> bool:
    """Whether the device of matrices [..., m, n] has a source for them."""
    found = KERNELS.get(a.device.type)
    return (
        found is not None
        and kind in found.kinds
        and (found.most_rows is None or a.shape[-2] <= found.most_rows)
        and found.are_there()
    )


def whitens(device: torch.device) -> bool:
    """Whether kernels there take noise that differs between antennas."""
    found = KERNELS.get(device.type)
    return found is not None and found.whiten


@operators.precode.register_kernel("cuda")
def precode_on_gpu(
    source: int,
    h: Tensor,
    noise: Tensor | None,
    x: Tensor,
    out: Tensor,
    symbols: Sequence[int],
    chirp: Tensor,
    iterations: int,
    antennas: int,
    effective: Tensor | None,
    query: Sequence[Tensor],
    bounds: Sequence[float],
) -> Tensor:
    """:func:`~neumatc_mimo.kernels.lanes.operators.precode` by Triton."""
    del antennas, query, bounds  # no source here takes them
    # Triton may be missing.
    from neumatc_mimo.kernels.on_gpu import definite, max_min, singular, wmmse
    from neumatc_mimo.kernels.on_gpu.precode import precode

    fills: dict[int, Callable[[], Solves | Mixes]] = {
        SourceKind.DEFINITE: lambda: definite.precoders(h, noise),
        SourceKind.LEAKAGE: lambda: definite.precoders(h, noise, chirp),
        SourceKind.MAX_MIN: lambda: max_min.precoders(h, noise, iterations),
        SourceKind.WMMSE: lambda: wmmse.precoders(h, noise, iterations),
        SourceKind.SINGULAR: lambda: singular.beams(h, chirp, x.shape[1]),
    }
    # Triton starts kernels on the current device.
    with torch.cuda.device_of(h):
        filters = fills[source]()
        precode(h, filters, x, out, symbols, effective)
    return filters.amplification


@operators.receive.register_kernel("cuda")
def receive_on_gpu(
    source: int,
    h: Tensor,
    noise: Tensor | None,
    whitening: Tensor | None,
    y: Tensor,
    x_hat: Tensor,
    no_eff: Tensor,
    symbols: Sequence[int],
    streams: Sequence[int],
    stretches: Sequence[int],
    chirp: Tensor,
    query: Sequence[Tensor],
    bounds: Sequence[float],
) -> Tensor:
    """:func:`~neumatc_mimo.kernels.lanes.operators.receive` by Triton."""
    del whitening, query, bounds  # no source here takes them
    from neumatc_mimo.kernels.on_gpu import definite, singular
    from neumatc_mimo.kernels.on_gpu.receive import receive

    fills: dict[int, Callable[[], Receiving]] = {
        SourceKind.DEFINITE: lambda: definite.receivers(h, noise, no_eff, streams),
        SourceKind.SINGULAR: lambda: singular.combiners(h, noise, chirp, no_eff),
    }
    with torch.cuda.device_of(h):
        filters = fills[source]()
        receive(filters, y, x_hat, symbols, stretches)
    return filters.amplification
