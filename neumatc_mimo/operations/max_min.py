"""Precoder of the largest smallest SINR."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from neumatc_mimo.operations.base import (
    Certificate,
    Components,
    Tolerance,
    frobenius,
    identity,
    positive,
    quality_db,
    together,
)
from neumatc_mimo.operations.definite_inverse import definite_inverse
from neumatc_mimo.operations.precoding import (
    SumPowerPrecoding,
    gauge_defect,
    in_gauge,
    shortfall,
    sinr,
)
from neumatc_mimo.operations.registry import register
from neumatc_mimo.operations.tracking import normalised
from neumatc_mimo.tensors import lu
from neumatc_mimo.tensors.tracing import is_traced

# Iterations of a correction.
_STEPS = 2
# Iterations on a GPU from one look at whether they are done to the next.
_BETWEEN = 10


@register
class MaxMin(SumPowerPrecoding):
    r"""Precoder V of m users with one antenna each, rows :math:`a_k` of A [m, n], that maximises

    .. math:: \min_k \frac{|a_k v_k|^2}{\sum_{j \ne k} |a_k v_j|^2 + \sigma^2}
              \quad\text{with}\quad \sum_k \lVert v_k \rVert^2 = m :

    all users get the same SINR. The optimum is unique up to phases, and smooth in A. By
    uplink-downlink duality (Schubert and Boche, IEEE Trans. Veh. Technol. 53, 2004) its columns are
    the MMSE filters :math:`(\sigma^2 I + A^H Q A)^{-1} a_k^H` of an uplink whose powers
    Q = diag(q) give all users one SINR; they are the fixed point of

    .. math:: q_k \leftarrow c \, \bigl( a_k (\sigma^2 I + \textstyle\sum_{j \ne k}
              q_j a_j^H a_j)^{-1} a_k^H \bigr)^{-1}, \qquad \sum_k q_k = m,

    to which the iteration converges geometrically from any start. The downlink's powers follow from
    one system of m equations. All of it is m x m but for the last product.

    :param no: default of :math:`\sigma^2`
    :param num_iterations: Largest number of iterations
    """

    name: ClassVar[str] = "max_min"
    title: ClassVar[str] = "max-min precoder"

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        gram = a @ a.mH
        noise = self._noise(no, a).expand(a.shape[:-2])
        q = torch.ones_like(gram[..., 0].real)
        small = 8 * torch.finfo(q.dtype).eps
        # A graph cannot depend on when the iteration is done, and a GPU is waited for at each look.
        often = 1 if gram.device.type == "cpu" else _BETWEEN
        for number in range(self.num_iterations):
            before, q = q, _balanced(gram, q, noise)
            if is_traced() or (number + 1) % often:
                continue
            if bool(((q - before).abs().amax(-1) <= small * q.amax(-1)).all()):
                break
        return (_precoder(a, gram, q, noise),)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""Relative distance of V from the MMSE filters of the uplink whose powers give each user
        the SINR that V gives it, spread of these, and what V misses of its power and its phases.
        """
        defects, _, _ = self._compared(a, components, no)
        return together(*defects)

    def certificate(
        self, a: Tensor, components: Components, no: Tensor | float, tolerance: Tolerance
    ) -> Certificate:
        r"""Prove V by the residual and by the rate of its weakest user: at least
        1 − ``range_error`` times that of any precoder of this power.

        For any powers q > 0 of the uplink, of the sum m, the largest SINR that a user has there
        with MMSE filters is no smaller than the optimum's (its powers q* are at least
        :math:`\theta q` with the smallest ratio :math:`\theta = q^*_k / q_k \le 1`, and user k
        with :math:`\theta q_k` among interferers of :math:`\theta q` or more does no better than
        with q). So the downlink's smallest SINR lies between those of V and of the uplink.
        """
        defects, least, most = self._compared(a, components, no)
        short = shortfall(torch.log1p(least), torch.log1p(most))
        return Certificate.of(quality_db(together(*defects)), short, tolerance)

    def _compared(
        self, a: Tensor, components: Components, no: Tensor | float
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """The parts of the residual, the smallest SINR of V, and a bound of what is possible."""
        (v,) = components
        noise, image, gram = self._noise(no, a), a @ v, a @ a.mH
        ratio = sinr(image, noise)
        mean = positive(ratio.mean(-1))
        uneven = torch.linalg.vector_norm(ratio / mean[..., None] - 1, dim=-1)
        directions, size = normalised(v)
        q = _uplink(image, positive(size), ratio, noise)
        own = image.diagonal(dim1=-2, dim2=-1)
        inner = _inner(gram, q, noise)
        filters, _ = normalised(a.mH @ inner)
        aside = frobenius(filters - directions) / a.shape[-2] ** 0.5
        defects = aside, uneven, *gauge_defect(v, own)
        return defects, ratio.amin(-1), _largest(gram, inner, q, noise)

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """A few iterations, starting from the uplink's powers for the given precoder."""
        (v,) = components
        noise = self._noise(no, a).expand(a.shape[:-2])
        gram = a @ a.mH
        v = in_gauge(a, v)
        image = a @ v
        q = _uplink(image, torch.linalg.vector_norm(v, dim=-2), sinr(image, noise), noise)
        q = q.abs()
        for _ in range(_STEPS):
            q = _balanced(gram, q, noise)
        return (_precoder(a, gram, q, noise),)


def _inner(gram: Tensor, q: Tensor, noise: Tensor) -> Tensor:
    """(σ² I + Q A A^H)^{-1}, [..., m, m], from a Hermitian inverse: where the noise is low that of
    the product itself loses most digits.
    """
    root = positive(q).sqrt()
    system = root[..., :, None] * gram * root[..., None, :]
    inverse = definite_inverse(system + noise[..., None, None] * identity(gram))
    return root[..., :, None] * inverse / root[..., None, :]


def _balanced(gram: Tensor, q: Tensor, noise: Tensor) -> Tensor:
    """One iteration for the uplink's powers [..., m]."""
    inner = _inner(gram, q, noise)
    # Without user k itself, by the formula of Sherman and Morrison.
    q = _lost(inner, noise) / positive(_gains(gram, inner))
    return q * (q.shape[-1] / positive(q.sum(-1)))[..., None]


def _gains(gram: Tensor, inner: Tensor) -> Tensor:
    """a_k w_k of the MMSE filters w_k of the uplink, [..., m]."""
    return (gram @ inner).diagonal(dim1=-2, dim2=-1).real


def _lost(inner: Tensor, noise: Tensor) -> Tensor:
    """1 - q_k a_k w_k, [..., m], without the cancellation: Q A A^H (σ² I + Q A A^H)^{-1} is
    I - σ² (σ² I + Q A A^H)^{-1}.
    """
    return positive(noise[..., None] * inner.diagonal(dim1=-2, dim2=-1).real)


def _precoder(a: Tensor, gram: Tensor, q: Tensor, noise: Tensor) -> Tensor:
    """The precoder along the MMSE filters of an uplink, with the SINRs that its users have."""
    inner = _inner(gram, q, noise)
    w, _ = normalised(a.mH @ inner)
    ratio = q * _gains(gram, inner) / _lost(inner, noise)
    p = _powers((a @ w).abs().square(), ratio, noise)
    return in_gauge(a, w * positive(p).sqrt()[..., None, :])


def _largest(gram: Tensor, inner: Tensor, q: Tensor, noise: Tensor) -> Tensor:
    """Bound [...] of the smallest SINR in the downlink from the uplink's powers q [..., m]."""
    ratio = (q * _gains(gram, inner) / _lost(inner, noise)).amax(-1)
    # With powers of the sum m an SINR grows by the same factor at most.
    ratio = ratio * (q.shape[-1] / positive(q.sum(-1))).clamp_min(1)
    return ratio.masked_fill((q < 0).any(-1), torch.inf)


def _powers(gains: Tensor, ratio: Tensor, noise: Tensor) -> Tensor:
    """Powers p [..., m] with p_k g_kk = ratio_k (Σ_j≠k g_kj p_j + σ²)."""
    own = torch.diag_embed(gains.diagonal(dim1=-2, dim2=-1))
    # Not the users' own gains less themselves: ratios are large.
    system = own - ratio[..., None] * (gains - own)
    return lu.solution(system, (ratio * noise[..., None])[..., None])[..., 0]


def _uplink(image: Tensor, size: Tensor, ratio: Tensor, noise: Tensor) -> Tensor:
    """The uplink's powers that give the same SINRs with the directions of V as filters."""
    gains = (image / size[..., None, :]).abs().square()
    return _powers(gains.mT, ratio, noise)
