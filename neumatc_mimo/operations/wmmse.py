"""Precoder of the largest sum rate, by weighted minimum mean squared errors."""

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
    desired_and_others,
    gauge_defect,
    in_gauge,
    in_unit,
    shortfall,
    sinr,
)
from neumatc_mimo.operations.registry import register
from neumatc_mimo.tensors import lu
from neumatc_mimo.tensors.tracing import is_traced

# A precoder is where the iteration goes if that is so close, and has so far to go at its pace.
_CLOSE, _STILL = 0.05, 0.02
# Iterations of a correction, and those between two looks at which matrices are done.
_STEPS = 4
_BETWEEN = 10


@register
class WMMSE(SumPowerPrecoding):
    r"""Precoder V of m users with one antenna each, rows :math:`a_k` of A [m, n], that maximises

    .. math:: \sum_k \log_2\Bigl(1 + \frac{|a_k v_k|^2}{\sum_{j \ne k} |a_k v_j|^2 + \sigma^2}
              \Bigr) \quad\text{with}\quad \sum_k \lVert v_k \rVert^2 = m,

    by the iteration of weighted minimum mean squared errors (Shi, Razaviyayn, Luo and He, IEEE
    Trans. Signal Process. 59, 2011) from regularised zero forcing on,

    .. math:: u_k = \frac{a_k v_k}{\sum_j |a_k v_j|^2 + n}, \qquad
              w_k = \frac{1}{1 - u_k^* a_k v_k}, \qquad
              V \leftarrow A^H (D A A^H + \mu I)^{-1} \mathrm{diag}(u_k w_k),

    with :math:`D = \mathrm{diag}(w_k |u_k|^2)`, :math:`\mu = \sigma^2 \mathrm{tr}(D) / m` and
    :math:`n = \sigma^2 \lVert V \rVert^2 / m`: the noise grows with the power, so that the power
    needs no multiplier and is set at the end (Zhao, Lu, Shi and Luo, IEEE Trans. Signal Process.
    71, 2023). All of it is m x m but for the last product. The problem has several maxima. The
    result is the one that the iteration finds from this start.

    :param no: default of :math:`\sigma^2`
    :param num_iterations: largest number. A matrix is done when an iteration changes V only by
        rounding. At 20 dB and more the iteration is slow, and the rate changes only in its sixth
        digit.
    """

    name: ClassVar[str] = "wmmse"
    title: ClassVar[str] = "WMMSE precoder"

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        a, noise = in_unit(a, self._noise(no, a).expand(a.shape[:-2]))
        gram, noise = a @ a.mH, noise.reshape(-1)
        flat = gram.reshape(-1, *gram.shape[-2:])
        x = _start(flat, noise)
        if is_traced():
            # A graph cannot depend on which matrices are done.
            for _ in range(self.num_iterations):
                x = _iterate(flat, x, noise)
            return (a.mH @ x.reshape(gram.shape),)
        todo = torch.arange(len(flat), device=a.device)
        small = 8 * torch.finfo(a.real.dtype).eps
        for number in range(self.num_iterations):
            g, n, before = flat[todo], noise[todo], x[todo]
            after = _iterate(g, before, n)
            x[todo] = after
            if number % _BETWEEN == _BETWEEN - 1:
                change = _size(g, after - before) / _size(g, after)
                todo = todo[change > small]
                if not len(todo):
                    break
        return (a.mH @ x.reshape(gram.shape),)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""Violation of the conditions of a maximum,
        :math:`\lVert (A^H D A + \mu I) V - A^H \mathrm{diag}(u_k w_k) \rVert_F` over the norm of
        its second term, of the power, and of the phases of :math:`a_k v_k`, all together.
        """
        (v,) = components
        m = a.shape[-2]
        image = a @ v
        power = frobenius(v).square()
        noise = self._noise(no, a)
        d, scaled = _weights(image, noise * power / m)
        mu = noise * d.sum(-1) / m
        own = image.diagonal(dim1=-2, dim2=-1)
        difference = a.mH @ (d[..., None] * image - torch.diag_embed(scaled))
        aside = frobenius(difference + mu[..., None, None] * v)
        return together(aside / frobenius(a * scaled[..., None]), *gauge_defect(v, own))

    def certificate(
        self, a: Tensor, components: Components, no: Tensor | float, tolerance: Tolerance
    ) -> Certificate:
        r"""Prove V by the residual and by its sum rate: at least 1 − ``range_error`` times that of
        the exact result.

        Every stationary point has a residual of zero, even with users switched off, and a maximum
        may be a poor one. So the exact iteration is run from regularised zero forcing. It only
        raises the sum rate, and V is refused as soon as its rate is too far below. The iteration is
        run to its end, with one exception: it stops if it is within 5 % of V and so slow that the
        rest, at this speed, would move the precoder by at most 2 % and raise the rate by no more
        than is allowed. It is not proven that it cannot become faster again: ``python -m
        benchmarks.impostors`` looks for exceptions, including precoders near saddle points. If the
        residual refuses V, it is not compared, and has an infinite range error.
        """
        (v,) = components
        quality = quality_db(self.residual(a, components, no))
        image, noise = a @ v, self._noise(no, a)
        if is_traced():
            # A graph cannot depend on what is refused already.
            a = a.expand(*quality.shape, *a.shape[-2:])
            most = _rate(a @ self.exact(a, noise)[0], noise)
            return Certificate.of(quality, shortfall(_rate(image, noise), most), tolerance)
        sound = quality >= tolerance.quality_db
        range_error = torch.full_like(quality, torch.inf)
        gram = (a @ a.mH).expand(image.shape)[sound]
        range_error[sound] = self._followed(
            gram, image[sound], noise.expand(sound.shape)[sound], tolerance.range_error
        )
        return Certificate.of(quality, range_error, tolerance)

    @torch.no_grad()
    def _followed(self, gram: Tensor, image: Tensor, noise: Tensor, allowed: float) -> Tensor:
        """How far the sum rate of V falls short of that of the iteration: where it stands still at
        V, is above it by more than what is allowed, or ends.

        :param gram: A A^H, [num, m, m]
        :param image: A V, [num, m, m]
        :param noise: [num]
        """
        x, rate = _start(gram, noise), _rate(image, noise)
        reached, found = _rate(gram @ x, noise), torch.zeros_like(rate)
        todo = torch.arange(len(rate), device=rate.device)
        for left in reversed(range(self.num_iterations)):
            before, x = x, _iterate(gram, x, noise)
            last, reached = reached, _rate(gram @ x, noise)
            # What is rounding of the rate is no pace.
            step = reached - last
            step = torch.where(step > 4 * torch.finfo(rate.dtype).eps * reached, step, 0)
            ahead = reached + left * step
            # Of A^H X and V, both of the power m.
            distance = 2 - 2 * (x.conj() * image).sum((-2, -1)).real / gram.shape[-1]
            pace = _size(gram, x - before) / gram.shape[-1] ** 0.5
            still = (distance <= _CLOSE**2) & (left * pace <= _STILL)
            still &= shortfall(rate, ahead) <= allowed
            short = shortfall(rate, torch.where(still, ahead, reached))
            found[todo] = short
            # Their places: a GPU is waited for at each tensor that a mask cuts.
            on = (~still & (short <= allowed)).nonzero()[:, 0]
            if not len(on):
                break
            todo, x, gram, image, noise, rate, reached = (
                t[on] for t in (todo, x, gram, image, noise, rate, reached)
            )
        return found

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """A few iterations, starting from the given precoder."""
        (v,) = components
        a, noise = in_unit(a, self._noise(no, a).expand(a.shape[:-2]))
        gram = a @ a.mH
        x = _improved(gram, a @ in_gauge(a, v), noise)
        for _ in range(_STEPS - 1):
            x = _iterate(gram, x, noise)
        return (a.mH @ x,)


def _rate(image: Tensor, noise: Tensor) -> Tensor:
    """Sum rate [...] of A V [..., m, m], in nats."""
    return torch.log1p(sinr(image, noise)).sum(-1)


def _start(gram: Tensor, noise: Tensor) -> Tensor:
    """X of regularised zero forcing A^H X, equal powers, all of them m."""
    x = definite_inverse(gram + noise[:, None, None] * identity(gram))
    power = (x.conj() * (gram @ x)).sum(-2).real
    return x * positive(power).rsqrt()[:, None, :]


def _iterate(gram: Tensor, x: Tensor, noise: Tensor) -> Tensor:
    """One iteration for V = A^H X, X [..., m, m]."""
    return _improved(gram, gram @ x, noise)


def _improved(gram: Tensor, image: Tensor, noise: Tensor) -> Tensor:
    """The next X from A V [..., m, m] of power m, of that power again."""
    m = gram.shape[-1]
    d, scaled = _weights(image, noise)
    mu = noise * d.sum(-1) / m
    system = d[..., None] * gram + mu[..., None, None] * identity(gram)
    x = lu.solution(system, torch.diag_embed(scaled))
    return x * (m**0.5 / positive(_size(gram, x)))[..., None, None]


def _weights(image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """w_k |u_k|² and u_k w_k of A V [..., m, m]."""
    own = image.diagonal(dim1=-2, dim2=-1)
    own_power, others = desired_and_others(image)
    rest = others + noise[..., None]
    total = own_power + rest
    u = own / total
    # 1 - |a_k v_k|² / total without the cancellation.
    w = total / positive(rest)
    return w * own_power / total.square(), u * w


def _size(gram: Tensor, x: Tensor) -> Tensor:
    """Norm of A^H X, [...]."""
    return positive((x.conj() * (gram @ x)).sum((-2, -1)).real).sqrt()
