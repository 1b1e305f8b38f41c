"""Which users to serve together: of many, a group that its base station tells apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from neumatc_mimo.tensors import lu

# How a scenario file may ask for groups; users of a random one are drawn.
Selection = Literal["random", "semi_orthogonal", "sum_rate"]


def semi_orthogonal_users(h: Tensor, num_users: int, alpha: float = 1.0) -> Tensor:
    r"""Select users whose channels are nearly orthogonal, one after another.

    Each step takes the user with the largest remaining power,

    .. math:: \arg\max_k \sum_f \lVert \mathbf{G}_k(f) \rVert_F^2, \qquad
              \mathbf{G}_k = \mathbf{H}_k (\mathbf{I} - \textstyle\sum_i \mathbf{Q}_i^{\mathsf{H}}
              \mathbf{Q}_i),

    where :math:`\mathbf{Q}_i` is an orthonormal basis of the remaining rows of the user of step i.
    It drops users with more than :math:`\alpha^2` of their power in this basis (Yoo and Goldsmith,
    IEEE J. Sel. Areas Commun. 24, 2006; their paper is for one frequency and one antenna).

    :param h: [num_candidates, num_frequencies, num_rx_ant, num_tx_ant] channels, complex
    :param num_users: Largest number of users
    :param alpha: Largest allowed correlation, above 0. 1 drops nobody. 0.3 to 0.4 gave the largest
        sum rates of Yoo and Goldsmith

    :return: Indices of the selected users in the order of their selection, int64; fewer than
        ``num_users`` if no more are left

    :raises ValueError: if more users are wanted than there are, or alpha is beyond its limits
    """
    _check(h, num_users)
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha is {alpha}, a correlation above 0 and up to 1 is needed.")
    rest, power = h, h.abs().square().sum((1, 2, 3))
    open_ = power > 0
    chosen: list[int] = []
    while len(chosen) < num_users and bool(open_.any()):
        left = rest.abs().square().sum((1, 2, 3))
        best = int(torch.where(open_, left, -torch.inf).argmax())
        if not bool(left[best] > torch.finfo(left.dtype).eps * power[best]):
            break  # the directions that are left are those of rounding
        chosen.append(best)
        # [num_frequencies, num_tx_ant, rank]
        basis, _ = torch.linalg.qr(rest[best].mH)
        along = (h @ basis).abs().square().sum((1, 2, 3))
        if alpha < 1:
            open_ = open_ & (along <= alpha**2 * power)
        open_[best] = False
        rest = rest - (rest @ basis) @ basis.mH
    return torch.tensor(chosen, dtype=torch.int64, device=h.device)


def sum_rate_users(h: Tensor, num_users: int, no: float, *, stop: bool = True) -> Tensor:
    r"""Select users for the largest sum rate of zero forcing, one after another.

    Each step takes the user that gives the largest

    .. math:: \sum_f \sum_k \log_2\Bigl(1 + \frac{K / m}
              {\sigma^2 [(\mathbf{H}\mathbf{H}^{\mathsf{H}})^{-1}]_{kk}}\Bigr)

    for the m rows that are then served. They have equal parts of a power of K, which is the number
    of rows of ``num_users`` users (Dimić and Sidiropoulos, IEEE Trans. Signal Process. 53, 2005).

    :param h: [num_candidates, num_frequencies, num_rx_ant, num_tx_ant] channels, complex
    :param num_users: Largest number of users
    :param no: Noise power at an antenna of a user, above zero
    :param stop: Whether to stop if every other user lowers the sum rate

    :return: Indices of the selected users in the order of their selection, int64

    :raises ValueError: if more users are wanted than there are, or the noise power is not positive
    """
    _check(h, num_users)
    if not no > 0:
        raise ValueError(f"no is {no}, a noise power above zero is needed.")
    total = num_users * h.shape[2]
    chosen: list[int] = []
    rate = -torch.inf
    while len(chosen) < num_users and (len(chosen) + 1) * h.shape[2] <= h.shape[3]:
        others = [k for k in range(len(h)) if k not in chosen]
        served = h[chosen].transpose(0, 1).flatten(1, 2)  # [num_frequencies, rows, num_tx_ant]
        rows = torch.cat([served.expand(len(others), -1, -1, -1), h[others]], -2)
        rates = _sum_rates(rows, total, no)
        best = int(rates.argmax())
        if stop and not bool(rates[best] > rate):
            break
        rate = float(rates[best])
        chosen.append(others[best])
    return torch.tensor(chosen, dtype=torch.int64, device=h.device)


def _sum_rates(rows: Tensor, power: float, no: float) -> Tensor:
    """Sum rates [num] of zero forcing for rows [num, num_frequencies, m, n]; zero for dependent
    ones.
    """
    loss = lu.inverse(rows @ rows.mH).diagonal(dim1=-2, dim2=-1).real
    rate = torch.log2(1 + power / rows.shape[-2] / (no * loss)).sum(-1)
    # NaN for dependent rows, or what rounding makes of them, which may be negative.
    sound = (loss > 0).all(-1)
    return torch.where(sound, rate, 0.0).sum(-1)


def _check(h: Tensor, num_users: int) -> None:
    if h.dim() != 4:
        raise ValueError(
            f"h has the shape {list(h.shape)}, [num_candidates, num_frequencies, num_rx_ant, "
            "num_tx_ant] is needed."
        )
    if not 1 <= num_users <= len(h):
        raise ValueError(f"num_users is {num_users}, 1 to the {len(h)} candidates are needed.")


# Groups of a size, of candidates' channels and a noise power, by what scenario files call them.
SELECTIONS: dict[str, Callable[[Tensor, int, float], Tensor]] = {
    "semi_orthogonal": lambda h, num_users, no: semi_orthogonal_users(h, num_users),
    "sum_rate": lambda h, num_users, no: sum_rate_users(h, num_users, no, stop=False),
}


__all__ = ["SELECTIONS", "Selection", "semi_orthogonal_users", "sum_rate_users"]
