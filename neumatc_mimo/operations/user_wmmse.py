"""Precoder of the largest sum rate for users of several antennas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, frobenius, identity, positive
from neumatc_mimo.operations.definite_inverse import definite_inverse
from neumatc_mimo.operations.ill_conditioned import wide
from neumatc_mimo.operations.precoding import Precoding, in_unit, own_noise
from neumatc_mimo.operations.tracking import chirp_overlap, unit
from neumatc_mimo.tensors import lu
from neumatc_mimo.tensors.tracing import is_traced

# Iterations from one look at whether they are done to the next.
_BETWEEN = 10
_SMALL = 1e-9


class UserWMMSE(Operation):
    r"""Precoder V of K users with N antennas each, N consecutive rows :math:`A_k` of A [m, n], who
    get :math:`r_k \le L \le N` streams each and equalize them together, that maximises

    .. math:: \sum_k \log_2\det\Bigl(I + V_k^H A_k^H Q_k^{-1} A_k V_k\Bigr), \qquad
              Q_k = \sigma^2 I + \sum_{j \ne k} A_k V_j V_j^H A_k^H
              \quad\text{with}\quad \lVert V \rVert_F^2 = \textstyle\sum_k r_k,

    by weighted minimum mean squared errors (Shi, Razaviyayn, Luo and He, IEEE Trans. Signal
    Process. 59, 2011), from regularised zero forcing between the users' strongest modes on. With
    :math:`V = A^H X` (Zhao, Lu, Shi and Luo, IEEE Trans. Signal Process. 71, 2023), an iteration is

    .. math:: F_k = Q_k^{-1} A_k V_k, \qquad E_k = (I + V_k^H A_k^H F_k)^{-1}, \qquad
              X \leftarrow (D A A^H + \mu I)^{-1} F,

    with D and F of the blocks :math:`F_k E_k F_k^H` and :math:`F_k` on their diagonals,
    :math:`\mu = \sigma^2 \mathrm{tr}(D) / \sum_k r_k`, and the power set thereafter:
    :math:`F_k` is the MMSE filter times the weights, :math:`E_k` their inverse. For one antenna it
    is :class:`WMMSE`. ``v`` has L columns for each user, side by side, zeros beyond :math:`r_k`, in
    the gauge of singular vectors.

    :param antennas_per_user: N
    :param ranks: :math:`r_k`, one for each user
    :param most: L
    :param no: default of :math:`\sigma^2`
    :param num_iterations: Largest number of iterations
    """

    name: ClassVar[str] = "user_wmmse"
    title: ClassVar[str] = "WMMSE precoder of users of several antennas"
    component_names: ClassVar[tuple[str, ...]] = ("v",)
    answer_type: ClassVar[Any] = Precoding

    def __init__(
        self,
        antennas_per_user: int,
        ranks: Sequence[int],
        most: int,
        no: float = 0.1,
        num_iterations: int = 60,
    ) -> None:
        self.antennas_per_user, self._most = antennas_per_user, most
        self._ranks = tuple(ranks)
        self.no, self.num_iterations = no, num_iterations

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "antennas_per_user": self.antennas_per_user,
            "ranks": list(self._ranks),
            "most": self._most,
            "no": self.no,
            "num_iterations": self.num_iterations,
        }

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        del num_rows
        return ((num_cols, len(self._ranks) * self._most),)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        """In double precision: weights grow as the SINRs do."""
        given = a.dtype
        a, noise = in_unit(wide(a), wide(own_noise(no, a, self.no)).expand(a.shape[:-2]))
        gram = a @ a.mH
        x = self._start(gram, noise)
        for number in range(self.num_iterations):
            before, x = x, self._improved(gram, x, noise)
            # A graph cannot depend on when it is done.
            if not is_traced() and number % _BETWEEN == _BETWEEN - 1:
                change = frobenius((x - before).detach()) / positive(frobenius(x.detach()))
                if not bool((change > _SMALL).any()):
                    break
        v = (a.mH @ x).index_select(-1, self._sent(a.device))
        phase = unit(chirp_overlap(v)).conj()
        return (self._placed(v * phase[..., None, :]).to(given),)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""Change of V in an iteration, relative to its norm."""
        (v,) = components
        precise, noise = in_unit(wide(a), wide(own_noise(no, a, self.no)).expand(a.shape[:-2]))
        gram = precise @ precise.mH
        after = precise.mH @ self._next(gram, precise @ wide(v), noise)
        return (frobenius(after - wide(v)) / positive(frobenius(after))).to(a.real.dtype)

    def sum_rate(self, a: Tensor, v: Tensor, no: Tensor | float = 0.0) -> Tensor:
        """The sum rate, in bit, [...]."""
        image, others = self._heard(wide(a) @ wide(v), wide(own_noise(no, a, self.no)))
        inner = image.mH @ lu.solution(others, image)
        return lu.log_determinant(inner + identity(inner)).sum(-1) / torch.log(
            torch.tensor(2.0, dtype=torch.float64, device=a.device)
        )

    def _start(self, gram: Tensor, noise: Tensor) -> Tensor:
        """X of regularised zero forcing between the strongest modes, equal powers."""
        num, most = self.antennas_per_user, self._most
        blocks = gram.unflatten(-1, (-1, num)).unflatten(-3, (-1, num))
        own = blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
        _, vectors = torch.linalg.eigh(torch.where(own.isfinite(), own, 0))
        modes = _on_diagonal(vectors.flip(-1)[..., :most])
        modes = modes.index_select(-1, self._sent(gram.device))
        reduced = modes.mH @ gram @ modes
        x = modes @ definite_inverse(reduced + noise[..., None, None] * identity(reduced))
        power = (x.conj() * (gram @ x)).sum(-2).real
        return self._placed(x * positive(power).rsqrt()[..., None, :])

    def _sent(self, device: torch.device) -> Tensor:
        """Columns of the streams that are sent."""
        sent = [k * self._most + i for k, rank in enumerate(self._ranks) for i in range(rank)]
        return torch.tensor(sent, device=device)

    def _placed(self, sent: Tensor) -> Tensor:
        """Columns of all streams from those that are sent."""
        whole = sent.new_zeros(*sent.shape[:-1], len(self._ranks) * self._most)
        return whole.index_copy(-1, self._sent(sent.device), sent)

    def _improved(self, gram: Tensor, x: Tensor, noise: Tensor) -> Tensor:
        return self._next(gram, gram @ x, noise)

    def _next(self, gram: Tensor, image: Tensor, noise: Tensor) -> Tensor:
        """The next X from A V [..., m, K L] of the power of all streams, of that power again."""
        total = sum(self._ranks)
        own, others = self._heard(image, noise)
        filters = lu.solution(others, own)  # [..., K, N, L]
        inner = own.mH @ filters
        errors = definite_inverse(inner + identity(inner))
        weights = _on_diagonal(filters @ errors @ filters.mH)
        mu = noise * weights.diagonal(dim1=-2, dim2=-1).real.sum(-1) / total
        system = weights @ gram + mu[..., None, None] * identity(gram)
        x = lu.solution(system, _on_diagonal(filters))
        power = positive((x.conj() * (gram @ x)).sum((-2, -1)).real)
        return x * (total / power).sqrt()[..., None, None]

    def _heard(self, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What users hear of their own streams, [..., K, N, L], and the covariance of all else,
        [..., K, N, N], for A V [..., m, K L].
        """
        num, most = self.antennas_per_user, self._most
        blocks = image.unflatten(-1, (-1, most)).unflatten(-3, (-1, num))
        # [..., K, N, K, L]
        own = blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
        is_own = torch.eye(blocks.shape[-4], dtype=torch.bool, device=image.device)
        foreign = torch.where(is_own[:, None, :, None], 0, blocks).flatten(-2)
        eye = torch.eye(num, dtype=image.dtype, device=image.device)
        return own, foreign @ foreign.mH + noise[..., None, None, None] * eye


def _on_diagonal(x: Tensor) -> Tensor:
    """Blocks [..., K, p, q] on the diagonal of [..., K p, K q]."""
    num = x.shape[-3]
    is_own = torch.eye(num, dtype=x.dtype, device=x.device)
    return (x[..., None, :] * is_own[:, None, :, None]).flatten(-2).flatten(-3, -2)
