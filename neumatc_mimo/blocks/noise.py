"""Noise powers and error variances in the shapes that blocks work with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced


def receiver_noise(
    no: float | Tensor, shape: Sequence[int], dtype: torch.dtype, device: str
) -> Tensor:
    """Noise power as [batch_size, num_rx, num_rx_ant], each or 1, from its first n dimensions.

    :param shape: [batch_size, num_rx, num_rx_ant]
    """
    noise = torch.as_tensor(no, dtype=dtype, device=device)
    given = list(noise.shape)
    noise = noise[(..., *(None,) * (3 - noise.dim()))]
    try:
        noise.broadcast_to(list(shape))
    except RuntimeError:
        raise ValueError(
            f"no has the shape {given}, the first dimensions of {list(shape)} are needed."
        ) from None
    if not is_traced() and not bool((noise >= 0).all()):
        raise ValueError("no has negative entries or NaN, a noise power must not be negative.")
    return noise


def transmitter_noise(
    name: str, power: float | Tensor, shape: Sequence[int], dtype: torch.dtype, device: str
) -> Tensor | None:
    """Noise power as [batch_size, num_tx, num_ofdm_symbols, fft_size], all but num_tx or 1; None
    for zero.

    :param name: What errors call it
    :param power: [batch_size], or one that fits ``shape`` as tensors do that are broadcast
    :param shape: [batch_size, num_tx, num_ofdm_symbols, fft_size]
    """
    if isinstance(power, float | int) and power == 0:
        return None
    power = torch.as_tensor(power, dtype=dtype, device=device)
    if not is_traced():
        if not bool((power >= 0).all()):
            raise ValueError(
                f"{name} has negative entries or NaN, a noise power must not be negative."
            )
        if not bool(power.any()) and not is_differentiated(power):
            return None
    if list(power.shape) == [shape[0]] and shape[0] not in (1, shape[3]):
        power = power[:, None, None, None]
    whole = power[(None,) * (4 - power.dim())]
    try:
        torch.broadcast_shapes(whole.shape, shape)
        return whole.expand(-1, shape[1], -1, -1)
    except RuntimeError:
        raise ValueError(
            f"{name} has the shape {list(power.shape)}, [batch_size] or one that can be "
            f"broadcast to {list(shape)} is needed."
        ) from None


def constant(no: Tensor | None) -> Tensor | None:
    """Noise power as :func:`transmitter_noise` gives it, of size one along symbols and subcarriers
    where it is the same.
    """
    return None if no is None else _collapsed(_collapsed(no, 3), 2)


def uniform(variance: Tensor) -> Tensor:
    """A variance as :func:`error_and_noise` gives it, of size one along antennas, symbols and
    subcarriers where it is the same, which a trace could not tell.
    """
    return _collapsed(_collapsed(_collapsed(variance, 4), 3), 2)


def noise_at(no: Tensor | None, tx: int, symbol: int) -> Tensor | None:
    """Noise power [batch_size] or [batch_size, fft_size] of one transmitter and symbol.

    :param no: as :func:`transmitter_noise` or :func:`constant` gives it
    """
    if no is None:
        return None
    power = no[:, tx, min(symbol, no.shape[2] - 1)]
    return power[:, 0] if power.shape[1] == 1 else power


def error_and_noise(
    err_var: float | Tensor,
    no: float | Tensor,
    shape: Sequence[int],
    dtype: torch.dtype,
    device: str,
) -> Tensor:
    """Variance of estimation errors and noise at an antenna, dimensions of size one where it is
    constant: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, num_effective_subcarriers].

    :param err_var: Broadcastable to ``shape``
    :param no: [batch_size, num_rx, num_rx_ant], or its first n dimensions
    :param shape: Of the channel estimates
    """
    error = torch.as_tensor(err_var, dtype=dtype, device=device)
    try:
        error.broadcast_to(list(shape))
    except RuntimeError:
        raise ValueError(
            f"err_var has the shape {list(error.shape)}, one that can be broadcast to "
            f"{list(shape)} is needed."
        ) from None
    error = error[(None,) * (7 - error.dim())]
    for dim in (2, 5, 6):
        error = _collapsed(error, dim)
    # Only the variance of each entry is known: the errors of all streams add up.
    error = error.expand(-1, -1, -1, shape[3], shape[4], -1, -1).sum((3, 4))
    if not is_traced() and not bool((error >= 0).all()):
        raise ValueError("err_var has negative entries or NaN, a variance must not be negative.")
    noise = receiver_noise(no, shape[:3], dtype, device)
    return error + _collapsed(noise, 2)[..., None, None]


def _collapsed(value: Tensor, dim: int) -> Tensor:
    """A value of size one along a dimension where all entries are equal, unless each of them is to
    get a gradient of its own.
    """
    if value.shape[dim] == 1:
        return value
    first = value.narrow(dim, 0, 1)
    if value.stride(dim) == 0:
        return first
    if is_traced() or is_differentiated(value):
        return value
    return first if bool((value == first).all()) else value
