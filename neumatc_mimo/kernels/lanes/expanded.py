"""Products of symbols with queried filters, which are never written to memory."""

from __future__ import annotations

from torch import Tensor

from neumatc_mimo.kernels.expansion import Expansion, plain
from neumatc_mimo.kernels.lanes import operators
from neumatc_mimo.kernels.lanes.emitters import along


def precode(expansion: Expansion, x: Tensor, out: Tensor) -> None:
    """W x for x [num_items, num_streams, num_symbols, num_subcarriers], of any strides, into
    ``out`` [num_items, num_antennas, num_symbols, num_subcarriers], whose last dimension is
    contiguous.
    """
    operators.precode_expansion(*plain(*expansion[:3]), along(x), out)


def receive(expansion: Expansion, y: Tensor) -> Tensor:
    """y^T W for y [num_items, num_antennas, num_symbols, num_subcarriers], of any strides:
    [num_items, num_streams, num_symbols, num_subcarriers].
    """
    out = y.new_empty(len(y), expansion.num_streams, *y.shape[2:])
    operators.receive_expansion(*plain(*expansion[:3]), along(y), out)
    return out
