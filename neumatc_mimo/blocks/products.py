"""Products of symbols with filters on a tile of subcarriers, from and to Sionna's layout."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.tensors.tracing import is_traced

# Subcarriers to which a filter is applied at once on a CPU: measured with 64 antennas and 14
# symbols; a fifth faster than 1008, and no power of two.
_PIECE = 336


def write_precoded(out: Tensor, matrix: Tensor, x: Tensor, applied: Applied | None) -> None:
    """Write precoded symbols.

    :param out: [batch_size, num_tx_ant, symbols, tile], in Sionna's layout
    :param matrix: [batch_size, tile, num_tx_ant, num_streams]; None where products are ``applied``
    :param x: [batch_size, tile, num_streams, symbols]
    """
    if applied is not None:
        applied.precode(x.permute(0, 2, 3, 1), out)
        return
    for piece in _pieces(x):
        out[..., piece] = (matrix[:, piece] @ x[:, piece]).permute(0, 2, 3, 1)


def received(y: Tensor, matrix: Tensor | Applied) -> Tensor:
    """Received symbols times a filter, [batch_size, tile, symbols, num_streams].

    :param y: [batch_size, num_rx_ant, symbols, tile], in Sionna's layout
    :param matrix: [batch_size, tile, num_rx_ant, num_streams], or products with it
    """
    if isinstance(matrix, Applied):
        return matrix.receive(y).permute(0, 3, 2, 1)
    products = [
        permuted_copy(y[..., piece], (0, 3, 2, 1)) @ matrix[:, piece] for piece in _pieces(matrix)
    ]
    return products[0] if len(products) == 1 else torch.cat(products, dim=1)


def permuted_copy(x: Tensor, dims: tuple[int, int, int, int]) -> Tensor:
    """A permuted copy of x [batch_size, ..., tile], a tile of a tensor in Sionna's layout.

    Copied into the cache as it lies, then transposed there: half the time of one strided copy from
    memory.
    """
    return x.contiguous().permute(dims).contiguous()


def _pieces(x: Tensor) -> list[slice]:
    """A tile [batch_size, tile, ...] in pieces whose products with a filter stay in the cache."""
    num = x.shape[1]
    step = _PIECE if x.device.type == "cpu" and not is_traced() else max(num, 1)
    return [slice(i, min(i + step, num)) for i in range(0, num, step)]
