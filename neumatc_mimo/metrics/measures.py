"""Measures of quality, one definition each; h is [..., K, M] and filters are [..., M, K]."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.tensors import lu


def db(ratio: Tensor) -> Tensor:
    """10 log10 of a power ratio."""
    return 10 * torch.log10(ratio)


def relative_error(a: Tensor, b: Tensor, dims: tuple[int, ...] = (-2, -1)) -> Tensor:
    r""":math:`\lVert A - B \rVert_F / \lVert B \rVert_F` over ``dims``; B is the reference."""
    return torch.linalg.vector_norm(a - b, dim=dims) / torch.linalg.vector_norm(b, dim=dims)


def effective_channel(h: Tensor, w: Tensor) -> Tensor:
    """H W with the columns of W scaled to unit norm, as a precoder sends them, [..., K, K]."""
    return h @ (w / torch.linalg.vector_norm(w, dim=-2, keepdim=True))


def sir_db(h: Tensor, w: Tensor) -> Tensor:
    r"""Signal-to-interference ratio of each stream after precoding, in dB.

    .. math:: |g_{kk}|^2 / \sum_{j \ne k} |g_{kj}|^2, \qquad G = H W D,

    with D scaling the columns of W to unit norm.

    :param h: [..., K, M]
    :param w: [..., M, K]

    :return: [..., K]
    """
    signal, interference = _powers(effective_channel(h, w))
    return db(signal / interference)


def sinr_db(h: Tensor, w: Tensor, no: Tensor | float) -> Tensor:
    """Signal-to-interference-and-noise ratio of each stream in dB, [..., K]; as :func:`sir_db`."""
    signal, interference = _powers(effective_channel(h, w))
    return db(signal / (interference + no))


def achievable_rate(h: Tensor, v: Tensor, no: Tensor | float) -> Tensor:
    r"""Rate of a precoder with a joint receiver, in bit per channel use.

    .. math:: \log_2 \det (I + V^H H^H H V / \sigma^2)

    :param h: [..., K, M]
    :param v: [..., M, L], columns of unit norm
    :param no: Noise power at a receive antenna, broadcastable to [...]

    :return: [...]
    """
    image = h @ v
    gram = image.mH @ image / torch.as_tensor(no, device=h.device)[..., None, None]
    identity = torch.eye(v.shape[-1], dtype=gram.dtype, device=gram.device)
    return lu.log_determinant(identity + gram) / torch.log(torch.tensor(2.0))


def sum_rate(h: Tensor, v: Tensor, no: Tensor | float) -> Tensor:
    r"""Sum rate :math:`\sum_k \log_2(1 + \mathrm{SINR}_k)` of a precoder as it is, in bit per
    channel use.

    :param h: [..., K, M]
    :param v: [..., M, K], a column a user
    :param no: Noise power at a user, broadcastable to [...]

    :return: [...]
    """
    signal, interference = _powers(h @ v)
    noise = torch.as_tensor(no, dtype=signal.dtype, device=h.device)[..., None]
    return torch.log2(1 + signal / (interference + noise)).sum(-1)


def inverse_residual(h: Tensor, w: Tensor) -> Tensor:
    r""":math:`\lVert I - H W \rVert_F / \sqrt{K}` of a zero-forcing filter, [...]."""
    defect = h @ w - torch.eye(h.shape[-2], dtype=h.dtype, device=h.device)
    return torch.linalg.vector_norm(defect, dim=(-2, -1)) / h.shape[-2] ** 0.5


def svd_residual(h: Tensor, u: Tensor, s: Tensor, v: Tensor) -> Tensor:
    r""":math:`(\lVert HV - U\Sigma \rVert + \lVert H^H U - V\Sigma \rVert) / \lVert\Sigma\rVert`.

    It vanishes for the L strongest of N triplets too, unlike :math:`H - U \Sigma V^H`.

    :param u: [..., K, L]
    :param s: [..., L]
    :param v: [..., M, L]

    :return: [...]
    """
    scale = s[..., None, :]
    left = torch.linalg.vector_norm(h @ v - u * scale, dim=(-2, -1))
    right = torch.linalg.vector_norm(h.mH @ u - v * scale, dim=(-2, -1))
    return (left + right) / torch.linalg.vector_norm(s, dim=-1)


def singular_decay(samples: Tensor) -> Tensor:
    """Singular values of a family's sample matrix, relative to the largest.

    The trunk is real, so real and imaginary parts stand side by side: rank is real-stacked rank.

    :param samples: [num_frequencies, ...], complex

    :return: [num_frequencies] or fewer, descending
    """
    matrix = torch.view_as_real(samples.flatten(1)).flatten(1)
    values = torch.linalg.svdvals(matrix)
    return values / values[0]


def eckart_young_bounds(samples: Tensor) -> Tensor:
    """Smallest relative error on the samples of any real trunk of rank 0, 1, 2, …, float64."""
    energy = singular_decay(samples.to(torch.complex128)).square()
    rest = energy.flip(0).cumsum(0).flip(0)
    return (rest / rest[0]).sqrt()


def eckart_young(samples: Tensor, rank: int) -> float:
    """Smallest relative error that any real trunk of this rank can reach on the samples."""
    bounds = eckart_young_bounds(samples)
    return float(bounds[rank]) if rank < len(bounds) else 0.0


def _powers(g: Tensor) -> tuple[Tensor, Tensor]:
    power = g.abs().square()
    signal = power.diagonal(dim1=-2, dim2=-1)
    interference = power.sum(-1) - signal
    # The sum cancels below rounding: an exact result then has the ratio 1/eps^2, not infinity.
    floor = torch.finfo(power.dtype).eps ** 2 * signal
    return signal, torch.maximum(interference, floor)
