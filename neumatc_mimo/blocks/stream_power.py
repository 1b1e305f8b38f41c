"""Powers of streams in the shapes that Sionna's precoded channels take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.tensors.tracing import is_traced


def leading(value: Tensor | float, ndim: int) -> Tensor:
    """A tensor that has the first of ``ndim`` dimensions, with the others of size one."""
    value = torch.as_tensor(value)
    return value[(..., *(None,) * (ndim - value.dim()))]


def stream_power(
    tx_power: Tensor | float, shape: Sequence[int], dtype: torch.dtype, device: str
) -> Tensor:
    """Powers of the streams with five dimensions, those of ``shape`` or one.

    :param tx_power: of the first dimensions of ``shape``
    :param shape: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size]
    """
    power = leading(tx_power, 5).to(device, dtype)
    try:
        power.broadcast_to(list(shape))
    except RuntimeError:
        raise ValueError(
            f"tx_power has the shape {list(torch.as_tensor(tx_power).shape)}, the first dimensions "
            f"of {list(shape)} are needed."
        ) from None
    if not is_traced() and not bool((power >= 0).all()):
        raise ValueError("tx_power has negative entries or NaN, 0 or more is needed.")
    return power
