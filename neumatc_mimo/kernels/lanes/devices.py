"""Which kernels each kind of device has: those in C++ on CPUs, Triton's on GPUs.

Emitters call PyTorch operators, which find the kernels of the device that their tensors are on. A
device without an entry here has none, and PyTorch computes there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from neumatc_mimo.kernels.lanes import operators
from neumatc_mimo.kernels.lanes.library import SourceKind, loaded
from neumatc_mimo.kernels.on_gpu.installed import has_triton
from neumatc_mimo.kernels.on_gpu.sizes import MOST_ROWS

if TYPE_CHECKING:
    from neumatc_mimo.kernels.on_gpu.solves import Solves


@dataclass(frozen=True)
class Kernels:
    """What the kernels of a kind of device cover.

    :param are_there: whether they are installed
    :param kinds: their sources
    :param most_rows: of the matrices; None for as many as have a source
    """

    are_there: Callable[[], bool]
    kinds: frozenset[SourceKind]
    most_rows: int | None = None


# By PyTorch's type of device.
KERNELS = {
    "cpu": Kernels(lambda: loaded() is not None, frozenset(SourceKind)),
    "cuda": Kernels(has_triton, frozenset({SourceKind.DEFINITE, SourceKind.WMMSE}), MOST_ROWS),
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
    effective: Tensor | None,
) -> Tensor:
    """:func:`~neumatc_mimo.kernels.lanes.operators.precode` by Triton."""
    # Triton may be missing.
    from neumatc_mimo.kernels.on_gpu import definite, wmmse
    from neumatc_mimo.kernels.on_gpu.precode import precode

    del chirp
    fills: dict[int, Callable[[Tensor, Tensor | None, int], Solves]] = {
        SourceKind.DEFINITE: definite.precoders,
        SourceKind.WMMSE: wmmse.precoders,
    }
    solves = fills[source](h, noise, iterations)
    precode(h, solves, x, out, symbols, effective)
    return solves.amplification


@operators.receive.register_kernel("cuda")
def receive_on_gpu(
    source: int,
    h: Tensor,
    noise: Tensor | None,
    y: Tensor,
    x_hat: Tensor,
    no_eff: Tensor,
    symbols: Sequence[int],
    streams: Sequence[int],
    stretches: Sequence[int],
    chirp: Tensor,
) -> Tensor:
    """:func:`~neumatc_mimo.kernels.lanes.operators.receive` by Triton, for definite matrices."""
    from neumatc_mimo.kernels.on_gpu.receive import receive

    del source, chirp
    return receive(h, noise, y, x_hat, no_eff, symbols, streams, stretches)
