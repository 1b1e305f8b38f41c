"""Precoder of the largest signal-to-leakage-and-noise ratios."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import (
    Certificate,
    Components,
    Operation,
    Surely,
    Tolerance,
    frobenius,
    identity,
    positive,
    quality_db,
    together,
    underivable,
)
from neumatc_mimo.operations.config import AtNoiseConfig, Dimensions, OperationConfig
from neumatc_mimo.operations.definite_inverse import definite_inverse
from neumatc_mimo.operations.ill_conditioned import orthogonal_factors, surely
from neumatc_mimo.operations.precoding import check_gain, own_noise, shortfall
from neumatc_mimo.operations.registry import register
from neumatc_mimo.operations.tracking import (
    chirp_overlap,
    matched,
    normalised,
    tracked,
    turned,
    unit,
)
from neumatc_mimo.tensors import lu
from neumatc_mimo.tensors.tracing import is_traced


class UserStreams(NamedTuple):
    r"""Streams of users, as many for each as it has antennas, a user's strongest first.

    :param v: [..., n, m] precoder, columns of unit norm, those of a user side by side
    :param s: [..., m] amplitudes of the streams, real, :math:`\sigma \sqrt{\mathrm{SLNR}}`
    """

    v: Tensor
    s: Tensor


@register
class SLNR(Operation):
    r"""Precoder V of users with N antennas each, N consecutive rows :math:`A_k` of A [m, n], that
    maximises the signal-to-leakage-and-noise ratio of each of their streams,

    .. math:: \mathrm{SLNR} = \frac{\lVert A_k v \rVert^2}
              {\sum_{j \ne k} \lVert A_j v \rVert^2 + \sigma^2} \quad\text{with}\quad
              \lVert v \rVert = 1

    (Sadek, Tarighat and Sayed, IEEE Trans. Wireless Commun. 6, 2007): a user's N columns are the
    strongest generalised eigenvectors of :math:`A_k^H A_k` and :math:`A^H A + \sigma^2 I`. With
    :math:`X = (A A^H + \sigma^2 I)^{-1}` and the columns :math:`E_k` of I that belong to the user,
    :math:`(A^H A + \sigma^2 I)^{-1} A_k^H = A^H X E_k` and :math:`A_k A^H X E_k = I - \sigma^2
    X_{kk}`, so that they are

    .. math:: v \propto A^H X E_k u, \qquad X_{kk} u = \lambda u, \qquad
              \sigma^2 \mathrm{SLNR} = \lambda^{-1} - \sigma^2

    for the eigenvectors u of the N x N block of X. All of it is m x m but for the last product.

    - ``v`` [n, m] complex, the columns of a user side by side;
    - ``s`` [m] real, :math:`s = \sigma \sqrt{\mathrm{SLNR}}`, which tends to the singular values
      of block diagonalisation as the noise vanishes.

    Along a parameter the gauge is that of the singular vectors, user by user.

    :param no: default of :math:`\sigma^2`
    :param antennas_per_user: N
    """

    name: ClassVar[str] = "slnr"
    title: ClassVar[str] = "SLNR precoder"
    component_names: ClassVar[tuple[str, ...]] = ("v", "s")
    follows_rows: ClassVar[bool] = True
    answer_type: ClassVar[Any] = UserStreams
    config: ClassVar[type[OperationConfig]] = AtNoiseConfig

    def __init__(self, no: float = 0.1, antennas_per_user: int = 1) -> None:
        if not no > 0:
            raise ValueError(f"no is {no}, a noise power above zero is needed.")
        self.no = no
        self._set_antennas(antennas_per_user)

    @classmethod
    def configured(cls, config: Any, dimensions: Dimensions) -> Operation:
        return cls(config.no, dimensions.antennas_per_user)

    def _set_antennas(self, antennas_per_user: int) -> None:
        if antennas_per_user < 1:
            raise ValueError(
                f"antennas_per_user is {antennas_per_user}, at least one antenna is needed."
            )
        self.antennas_per_user = antennas_per_user

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        self._check_rows(num_rows, num_cols)
        return (num_cols, num_rows), (num_rows,)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        v, s, _ = self._solved(a, no)
        return v, s

    def _solved(self, a: Tensor, no: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """The exact result, and the diagonal of X, real [..., m]."""
        self._check_rows(*a.shape[-2:])
        noise = self._noise(no, a)
        gram = a @ a.mH
        y = definite_inverse(gram + noise[..., None, None] * identity(gram))
        diagonal = y.diagonal(dim1=-2, dim2=-1).real
        if self.antennas_per_user > 1:
            # X_kk^{-1} - σ² I, without the cancellation where the noise is large.
            form = definite_inverse(self._blocks(y)) @ self._blocks(gram @ y)
            # On a CPU one NaN would fail the whole batch; it is in y still.
            # torch.nan_to_num has no derivative of complex numbers.
            _, u = torch.linalg.eigh(torch.where(form.isfinite(), form, 0))
            y = self._joined(self._split(y) @ u.flip(-1))
        v, size = normalised(a.mH @ y)
        # λ without cancellation; u has unit norm, so that A_k v has that of 1 - σ² λ.
        # With the noise in first: the square of a large y would overflow.
        rest = (noise.sqrt()[..., None, None] * y).abs().square().sum(-2)
        value = size.square() + rest
        _, gain = normalised(self._blocks(gram @ y))
        return v, (gain.flatten(-2) / value).sqrt(), diagonal

    def solve_surely(
        self, a: Tensor, no: Tensor | float = 0.0, unproven: Tensor | None = None
    ) -> Surely:
        v, s, diagonal = self._solved(a, no)
        noise = self._noise(no, a)[..., None]
        # By how much the other rows amplify the errors of a row, as for the pseudo-inverse, and by
        # how much more of its weakest stream the error of u brings to its strongest. X tells, as s
        # alone does not where it is lost.
        own = self._by_user(a.detach().abs().square().sum(-1)) + noise
        least, most = s.detach().unflatten(-1, (-1, self.antennas_per_user)).aminmax(dim=-1)
        worst = diagonal.detach().unflatten(-1, (-1, self.antennas_per_user)).amax(-1)
        amplification = own * worst
        if self.antennas_per_user > 1:
            spread = (most / positive(least)).clamp_min(1)
            # The square bounds it; single precision, where that is often much, takes what is usual.
            if a.dtype == torch.complex128:
                spread = spread.square()
            # The weakest stream comes from squares, whatever the noise.
            amplification = torch.maximum(amplification * spread, spread.square())
        amplification = amplification.amax(-1)
        return surely(self, a, no, (v, s), amplification, unproven, self._precisely)

    def _precisely(self, a: Tensor, no: Tensor | float) -> Components:
        r"""The exact result from an orthogonal factorisation, which squares no condition number.

        With :math:`A^H X = Q L` and :math:`X = L^H L` the eigenvectors u of :math:`X_{kk}` are the
        right singular vectors of the user's columns of L, and v is Q times the left ones.

        :param a: [num, m, n], double precision
        """
        q, factor, _ = orthogonal_factors(a, self._noise(no, a))
        left, size, _ = torch.linalg.svd(self._split(factor), full_matrices=False)
        # The largest SLNR is that of the smallest singular value.
        v, share = normalised(q @ self._joined(left.flip(-1)))
        size = size.flip(-1).flatten(-2)
        # A_k v without the powers of the noise, as in exact.
        heard = self._joined(self._blocks(a @ v))
        gain = torch.linalg.vector_norm(heard, dim=-2) * share * size
        return v, (gain / size.square()).sqrt()

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""Violation, with :math:`T_k = A_k V_k`, of :math:`V_k = A^H X E_k T_k M^{-1}` for the
        best diagonal M, of unit norms, of :math:`T_k^H T_k` and :math:`T_k^H X_{kk} T_k` being
        diagonal, and of s, all together.

        The first two forms are those that generalised eigenvectors make diagonal; only the second
        tells streams apart where the noise is small. X takes double precision: its condition is
        the square of that of A.
        """
        defects, _ = self._compared(a, components, no)
        return together(*defects).to(a.real.dtype)

    def certificate(
        self, a: Tensor, components: Components, no: Tensor | float, tolerance: Tolerance
    ) -> Certificate:
        r"""Prove V by the residual and, user by user, by the sum of :math:`\log(1 + \mathrm{SLNR})`
        of its streams: at least 1 − ``range_error`` times the exact one, :math:`-\log\det(\sigma^2
        X_{kk})`.

        The residual alone bounds errors of V relative to its norm. But if the noise is very low,
        the leakage of a small error to other users can be far above it.
        """
        defects, short = self._compared(a, components, no)
        quality = quality_db(together(*defects).to(a.real.dtype))
        return Certificate.of(quality, short.to(a.real.dtype), tolerance)

    def _compared(
        self, a: Tensor, components: Components, no: Tensor | float
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The parts of the residual and the range error, in double precision."""
        a, (v, s) = _double(a), map(_double, components)
        self._check_rows(*a.shape[-2:])
        noise = self._noise(no, a)
        gram = a @ a.mH
        x = definite_inverse(gram + noise[..., None, None] * identity(gram))
        image = a @ v
        t = self._blocks(image)
        y = self._joined(self._split(x) @ t)
        form, energy = t.mH @ self._blocks(y), t.mH @ t
        value, power = (f.diagonal(dim1=-2, dim2=-1).real for f in (form, energy))
        value = value / positive(power)
        gain = (1 - noise[..., None, None] * value).flatten(-2)
        filtered = a.mH @ y / _nonzero(gain)[..., None, :]
        expected = positive(positive(value).reciprocal() - noise[..., None, None]).sqrt()
        size = positive(form.diagonal(dim1=-2, dim2=-1).real).sqrt()
        wrong = s.unflatten(-1, (-1, self.antennas_per_user)) - expected
        defects = (
            frobenius(v - filtered) / v.shape[-1] ** 0.5,
            torch.linalg.vector_norm(v.abs().square().sum(-2) - 1, dim=-1),
            _beside(form / (size[..., None, :] * size[..., :, None])),
            _beside(energy / positive(power.sum(-1))[..., None, None]),
            frobenius(wrong / positive(expected.amax(-1, keepdim=True))),
        )
        return defects, self._short(image, v, x, noise)

    def _short(self, image: Tensor, v: Tensor, x: Tensor, noise: Tensor) -> Tensor:
        """How far the weakest user's sum of log(1 + SLNR) falls short of the exact one, [...].

        :param image: A V
        :param x: (A A^H + σ² I)^{-1}
        """
        heard = self._by_user(image.abs().square().mT).mT
        by_user = heard.unflatten(-1, (-1, self.antennas_per_user))
        own = by_user.diagonal(dim1=-3, dim2=-2).mT.flatten(-2)
        leaked = heard.sum(-2) - own + noise[..., None] * v.abs().square().sum(-2)
        found = self._by_user(torch.log1p(own / positive(leaked)))
        possible = -lu.log_determinant(noise[..., None, None, None] * self._blocks(x))
        return shortfall(found, possible).amax(-1)

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """The exact result, with the phases and order of the input. No iteration is cheaper."""
        return self.align_to(self.exact(a, no), components)

    def align(self, components: Components) -> Components:
        v, s = components
        # tracked follows the third dimension from the end: users go before it.
        order, phase = tracked(self._split(v).transpose(-4, -3))
        return self._turned(v, s, order.transpose(-3, -2), phase.transpose(-3, -2))

    def align_to(self, components: Components, reference: Components) -> Components:
        v, s = components
        return self._turned(v, s, *matched(self._split(reference[0]), self._split(v)))

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """D_R^H V, and the same s: a user's own phases change no norm."""
        del left
        v, s = components
        return right.conj()[..., :, None] * v, s

    def permute(self, components: Components, order: Tensor) -> Components:
        """The users in another order; their antennas have to stay together.

        :raises ValueError: if they do not
        """
        if not is_traced() and not bool(self.follows(order).all()):
            raise underivable(
                self.title,
                "A with its rows in another order",
                "unless the antennas of each user stay together",
            )
        num = self.antennas_per_user
        users = order.unflatten(-1, (-1, num)) // num
        columns = users * num + torch.arange(num, device=order.device)
        columns = columns.flatten(-2)[:, None]
        v, *others = components
        v = v.gather(-1, columns[..., None, :].expand_as(v))
        return v, *(c.gather(-1, columns.expand_as(c)) for c in others)

    def follows(self, order: Tensor) -> Tensor:
        users = order.unflatten(-1, (-1, self.antennas_per_user)) // self.antennas_per_user
        return (users == users[..., :1]).flatten(1).all(-1)

    def serves(self, asked: Operation) -> bool:
        return isinstance(asked, SLNR) and asked.antennas_per_user == self.antennas_per_user

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "no": self.no, "antennas_per_user": self.antennas_per_user}

    def extended(self, components: Components) -> Components:
        r"""v, s and :math:`c^H V` for the chirp c, whose phase :meth:`answer` takes out."""
        v, s = components
        return v, s, chirp_overlap(v)

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> UserStreams:
        """The streams in a gauge of each matrix alone, as for the singular vectors: a user's
        strongest first, and the inner product of v with a chirp real and positive.

        With rows of magnitude c it is the precoder of the noise power no c².

        :raises ValueError: if c is not one and the noise power is the operation's own
        """
        if len(components) == len(self.component_names):
            components = self.extended(components)
        v, s, overlap = components
        if rows is not None:
            self._check_gain(no, rows)
            s = s * rows.abs()
        phase = unit(overlap).conj()
        num = self.antennas_per_user
        if num == 1:
            return UserStreams(v * phase[..., None, :], s)
        s, order = s.unflatten(-1, (-1, num)).sort(dim=-1, descending=True)
        phase = phase.unflatten(-1, (-1, num)).gather(-1, order)
        v = self._joined(turned(self._split(v), order, phase))
        return UserStreams(v, s.flatten(-2))

    def _check_gain(self, no: Tensor | float, rows: Tensor) -> None:
        check_gain(self.title, no, rows)

    def _noise(self, no: Tensor | float, like: Tensor) -> Tensor:
        """The noise power [...] or one that broadcasts to it; the operation's own for zero."""
        return own_noise(no, like, self.no)

    def _check_rows(self, num_rows: int, num_cols: int) -> None:
        if num_rows % self.antennas_per_user:
            raise ValueError(
                f"A matrix of {num_rows} x {num_cols} has no whole number of users of "
                f"{self.antennas_per_user} antennas, one row each."
            )

    def _split(self, x: Tensor) -> Tensor:
        """Columns of x [..., n, m] by user, [..., K, n, N]."""
        return x.unflatten(-1, (-1, self.antennas_per_user)).transpose(-3, -2)

    def _joined(self, x: Tensor) -> Tensor:
        """Columns of all users x [..., K, n, N] side by side, [..., n, m]."""
        return x.transpose(-3, -2).flatten(-2)

    def _blocks(self, x: Tensor) -> Tensor:
        """Blocks of x [..., m, m] on its diagonal, one a user, [..., K, N, N]."""
        by_row = self._split(x).unflatten(-2, (-1, self.antennas_per_user))
        return by_row.diagonal(dim1=-4, dim2=-3).movedim(-1, -3)

    def _by_user(self, x: Tensor) -> Tensor:
        """Sums of x [..., m] over the antennas or streams of each user, [..., K]."""
        return x.unflatten(-1, (-1, self.antennas_per_user)).sum(-1)

    def _turned(self, v: Tensor, s: Tensor, order: Tensor, phase: Tensor) -> Components:
        """Columns of each user in an order [..., K, N], times factors [..., K, N]."""
        s = s.unflatten(-1, (-1, self.antennas_per_user)).gather(-1, order)
        return self._joined(turned(self._split(v), order, phase)), s.flatten(-2)


def _double(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float64))


def _nonzero(x: Tensor) -> Tensor:
    """x, and where it is zero one."""
    return x.masked_fill(x == 0, 1.0)


def _beside(x: Tensor) -> Tensor:
    """Norm [...] of all that x [..., K, N, N] has beside its diagonals."""
    x = x - torch.diag_embed(x.diagonal(dim1=-2, dim2=-1))
    return torch.linalg.vector_norm(x, dim=(-3, -2, -1))
