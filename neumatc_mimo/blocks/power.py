"""Division of the transmit power among the streams of one user."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Powers [..., num_streams] from singular values and noise power.
Allocation = Callable[[Tensor, Tensor], Tensor]


def waterfilling(s: Tensor, no: Tensor) -> Tensor:
    r"""Powers of the streams for the largest rate on one subcarrier.

    .. math:: \max_{p \ge 0} \sum_k \log_2\Bigl(1 + \frac{p_k s_k^2}{\sigma^2}\Bigr)
              \quad\text{with}\quad \sum_k p_k = L
              \qquad\Rightarrow\qquad p_k = \Bigl(\mu - \frac{\sigma^2}{s_k^2}\Bigr)^+

    (Telatar, European Trans. Telecommun. 10, 1999, Sec. 3.1; Tse and Viswanath, Fundamentals of
    Wireless Communication, Sec. 7.1.1). The noise-to-gain ratios rise with k, so the streams with
    power are the first m, at the water level :math:`\mu_m = (L + \sum_{j \le m}
    \sigma^2/s_j^2)/m`; m is the largest whose level is above its own ratio. Without noise all
    powers are one.

    :param s: [..., num_streams] singular values, strongest first
    :param no: Noise power, broadcastable to ``s`` with a last dimension of one

    :return: [..., num_streams], their sum is the number of streams
    """
    info = torch.finfo(s.dtype)
    ratio = (no / s.square().clamp_min(info.tiny)).clamp_max(info.max / s.shape[-1])
    # Relative to the strongest stream: in a weak channel the ratios dwarf the powers.
    excess = ratio - ratio[..., :1]
    count = torch.arange(1, s.shape[-1] + 1, dtype=s.dtype, device=s.device)
    level = (s.shape[-1] + excess.cumsum(-1)) / count
    active = (level > excess).sum(-1, keepdim=True)
    return (level.gather(-1, active - 1) - excess).clamp_min(0)


_ALLOCATIONS: dict[str, Allocation | None] = {"uniform": None, "waterfilling": waterfilling}


def find_allocation(power: str) -> Allocation | None:
    """The allocation of a name; None is that of unit power for each stream.

    :raises ValueError: if there is none of this name
    """
    if power not in _ALLOCATIONS:
        known = " or ".join(f'"{name}"' for name in _ALLOCATIONS)
        raise ValueError(f"power is {power!r}, it must be {known}.")
    return _ALLOCATIONS[power]


def allocated(allocate: Allocation | None, s: Tensor, no: Tensor, rank: int) -> Tensor:
    """Powers [..., num_streams] of the first ``rank`` streams, ones where no allocation is made of
    them, and zeros for the others.

    :param s: [..., num_streams] singular values, strongest first
    :param no: Noise power, broadcastable to ``s`` with a last dimension of one
    """
    sent = s[..., :rank]
    powers = torch.ones_like(sent) if allocate is None else allocate(sent, no)
    return torch.nn.functional.pad(powers, (0, s.shape[-1] - rank))


def allocated_noise(no: Tensor, rx: int) -> Tensor:
    """The noise power of a receiver that an allocation is made for, [batch_size or 1, 1, 1].

    Transmitter and receiver have to agree on it: the mean over the receive antennas.

    :param no: [batch_size or 1, num_rx or 1, num_rx_ant or 1]
    """
    return no[:, min(rx, no.shape[1] - 1)].mean(-1)[:, None, None]
