"""Pseudo-inverse of a wide matrix, plain or regularised: zero forcing and MMSE in one operation."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Certificate, Components, Operation, Tolerance, batched


class Filter(NamedTuple):
    """The linear filter of one matrix and the two column powers that blocks need.

    :param w: [..., n, m] right inverse, upper block of the pseudo-inverse of [A, sqrt(no) I]
    :param x_diagonal: [..., m] diagonal of (A A^H + no I)^{-1}, real
    :param column_power: [..., m] squared norms of the columns of w, real
    """

    w: Tensor
    x_diagonal: Tensor
    column_power: Tensor


class PseudoInverse(Operation):
    r"""Pseudo-inverse of the augmented matrix.

    For A [m, n] with m <= n and the noise power :math:`\sigma^2` the result is

    .. math:: \widetilde W = [A, \sigma I]^+ = \begin{bmatrix} A^H X \\ \sigma X \end{bmatrix},
              \qquad X = (A A^H + \sigma^2 I)^{-1},

    [n + m, m]. Its upper block is the zero-forcing filter for :math:`\sigma = 0` and the MMSE
    filter above; :math:`X = \widetilde W^H \widetilde W`, hence
    :math:`X_{kk} = \|\tilde w_k\|^2` (Kashyap et al. and NeuMatC treat the two as separate).
    """

    name: ClassVar[str] = "pseudo_inverse"
    component_names: ClassVar[tuple[str, ...]] = ("w",)

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        return ((num_cols + num_rows, num_rows),)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        x = _gram_inverse(a, no)
        sigma = batched(no, a).sqrt().to(a.dtype)
        return (torch.cat([a.mH @ x, sigma * x], dim=-2),)

    def solve(self, a: Tensor, no: Tensor | float = 0.0) -> Filter:
        x = _gram_inverse(a, no)
        x_diagonal = x.diagonal(dim1=-2, dim2=-1).real
        column_power = x_diagonal
        if isinstance(no, Tensor):
            # w_k^H w_k = [X A A^H X]_kk and A A^H X = I - no X, all of it m x m; X is Hermitian,
            # and its rows lie closer together in memory than its columns.
            column_power = x_diagonal - batched(no, a, 1) * _row_power(x)
        elif no:
            column_power = x_diagonal - no * _row_power(x)
        return Filter(a.mH @ x, x_diagonal, column_power)

    def answer(self, components: Components, no: Tensor | float = 0.0) -> Filter:
        (stacked,) = components
        num_rows = stacked.shape[-1]
        w = stacked[..., :-num_rows, :]
        column_power = _column_power(w)
        return Filter(w, column_power + _column_power(stacked[..., -num_rows:, :]), column_power)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""‖I - [A, σI] W̃‖_F / sqrt(m), plus the relative distance from the range of [A, σI]^H."""
        (w,) = components
        defect = _defect(a, w, no)
        range_part = torch.linalg.norm(_range_defect(a, w, no), dim=(-2, -1))
        right_part = torch.linalg.norm(defect, dim=(-2, -1)) / a.shape[-2] ** 0.5
        return right_part + range_part / torch.linalg.norm(w, dim=(-2, -1))

    def certificate(
        self, a: Tensor, components: Components, no: Tensor | float, tolerance: Tolerance
    ) -> Certificate:
        r"""Predicted signal-to-interference ratio and range error.

        With R = I - [A, σI] W̃ the ratio of stream k is
        :math:`|1 - R_{kk}|^2 \|\tilde w_k\|^{-2} / \sum_{j \ne k} |R_{kj}|^2 \|\tilde w_j\|^{-2}`;
        the quality is that of the weakest stream. R alone accepts any right inverse (zero forcing
        passed off as MMSE has R = 0), so the distance from the range of [A, σI]^H counts too.
        """
        (w,) = components
        defect = _defect(a, w, no)
        power = _column_power(w).clamp_min(torch.finfo(w.real.dtype).tiny)
        own = (1 - defect.diagonal(dim1=-2, dim2=-1)).abs().square() / power
        leak = defect.abs().square() / power[..., None, :]
        leak = leak.sum(-1) - leak.diagonal(dim1=-2, dim2=-1)
        # The diagonal error is a gain error of the stream itself; it counts like leakage in
        # x_hat, so it is bounded along with the interference.
        gain_error = defect.diagonal(dim1=-2, dim2=-1).abs().square() / power
        floor = torch.finfo(w.real.dtype).eps ** 2 * own
        worst = own / torch.maximum(torch.maximum(leak, gain_error), floor)
        quality = 10 * torch.log10(worst.amin(-1).clamp_min(torch.finfo(w.real.dtype).tiny))
        range_error = _probed_range_error(a, w, no)
        ok = (quality >= tolerance.quality_db) & (range_error <= tolerance.range_error)
        return Certificate(quality, range_error, ok)

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        r"""One Newton-Schulz step, W̃ (I + R): squares R, keeps W̃'s range."""
        (w,) = components
        return (w + w @ _defect(a, w, no),)

    def refine(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        r"""A Newton-Schulz step, then W̃ ← [A, σI]^H (W̃^H W̃), back into the right range.

        The step alone keeps what W̃ has outside the range; W̃^H W̃ differs from X by the square
        of that part only, so that both errors shrink quadratically.
        """
        (w,) = self.correct(a, components, no)
        gram = w.mH @ w
        return (torch.cat([a.mH @ gram, batched(no, a).sqrt() * gram], dim=-2),)

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """(D_L A D_R)^+ = D_R^H A^+ D_L^H; the lower block X turns with D_L on both sides."""
        (w,) = components
        rows = torch.cat([right.conj(), left], dim=-1)
        return (rows[..., :, None] * w * left.conj()[..., None, :],)

    def permute(self, components: Components, order: Tensor) -> Components:
        (w,) = components
        num_rows = order.shape[-1]
        rows = torch.arange(w.shape[-2] - num_rows, device=w.device).expand(len(order), -1)
        rows = torch.cat([rows, order + w.shape[-2] - num_rows], dim=-1)
        w = w.gather(-1, order[:, None, None, :].expand_as(w))
        return (w.gather(-2, rows[:, None, :, None].expand_as(w)),)

    def amplify(self, components: Components, gain: Tensor) -> Components:
        """(D A)^+ = A^+ D^{-1} without noise; with noise for D = c I, at no / c^2."""
        (w,) = components
        return (w / gain[..., None, :],)

    def free_gains(self, no: Tensor | None) -> bool:
        return no is None


def _gram_inverse(a: Tensor, no: Tensor | float) -> Tensor:
    gram = a @ a.mH
    eye = torch.eye(gram.shape[-1], dtype=a.dtype, device=a.device)
    gram = gram + batched(no, a) * eye
    # A singular matrix gives NaN, itself only: no device sync to report it, and the inversion on a
    # CPU would raise for the whole batch.
    factor, info = torch.linalg.cholesky_ex(gram, check_errors=False)
    factor = factor.masked_fill((info != 0)[..., None, None], torch.nan)
    return torch.cholesky_inverse(factor)


def _column_power(w: Tensor) -> Tensor:
    return torch.view_as_real(w).square().sum((-3, -1))


def _row_power(x: Tensor) -> Tensor:
    return torch.view_as_real(x).flatten(-2).square().sum(-1)


def _defect(a: Tensor, w: Tensor, no: Tensor | float) -> Tensor:
    """R = I - [A, sqrt(no) I] W, [..., m, m]."""
    num_rows, num_cols = a.shape[-2:]
    product = a @ w[..., :num_cols, :]
    product = product + batched(no, a).sqrt() * w[..., num_cols:, :]
    return torch.eye(num_rows, dtype=a.dtype, device=a.device) - product


def _range_defect(a: Tensor, w: Tensor, no: Tensor | float) -> Tensor:
    """[A, sI]^H (W^H W) - W, zero only for the pseudo-inverse among the right inverses."""
    gram = w.mH @ w
    return torch.cat([a.mH @ gram, batched(no, a).sqrt() * gram], dim=-2) - w


def _probed_range_error(a: Tensor, w: Tensor, no: Tensor | float) -> Tensor:
    # Random phases only, and columns of equal norm: every stream weighs the same, however short
    # its filter.
    generator = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(w.shape[-1], generator=generator)
    norm = _column_power(w).clamp_min(torch.finfo(w.real.dtype).tiny).sqrt()
    probe = torch.polar(torch.ones_like(angle), angle).to(device=w.device, dtype=w.dtype) / norm
    image = w @ probe[..., None]
    back = w.mH @ image
    difference = torch.cat([a.mH @ back, batched(no, a).sqrt() * back], dim=-2) - image
    return torch.linalg.norm(difference, dim=(-2, -1)) / torch.linalg.norm(image, dim=(-2, -1))
