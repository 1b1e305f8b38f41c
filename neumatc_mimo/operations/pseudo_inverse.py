"""Pseudo-inverse of a wide matrix, plain or regularised: zero forcing and MMSE in one operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import (
    Certificate,
    Components,
    Operation,
    Surely,
    Tolerance,
    batched,
    frobenius,
    identity,
    positive,
)
from neumatc_mimo.operations.definite_inverse import definite_inverse, regularised_inverse
from neumatc_mimo.operations.filter_and_gram import FilterAndGram
from neumatc_mimo.operations.ill_conditioned import (
    doubtful,
    gain_terms,
    hopeless,
    noise_at,
    orthogonal_factors,
    orthogonal_filter,
    wide,
)
from neumatc_mimo.operations.registry import register
from neumatc_mimo.tensors.tracing import is_traced

# Of what a column would have without the noise, the share of its power below which it is measured
# as it is: products of the inverse lose as many digits.
_SHORT = 0.5


class Filter(NamedTuple):
    r"""The linear filter w · mixing · diag(column) in factors.

    Applying the factors one by one takes less time than multiplying them, as long as a slot has
    fewer OFDM symbols than the matrix has columns.

    :param w: [..., n, m]; None where kernels apply it without evaluating it: its certificate holds
        for the short columns, too
    :param mixing: [..., m, m], or None for the identity
    :param column: [..., m], or None for ones
    :param no: noise power, broadcastable to [...], before the columns' factors
    :param x: [..., m, m] (A A^H + no I)^{-1}, before the columns' factors
    :param gain: real [..., m], :math:`(A W)_{kk}`, or None where :math:`1 - \sigma^2 X_{kk}` is as
        good: where no user lies below the noise
    :param norm: real [..., m], norms of the columns of w · mixing, or None likewise
    """

    w: Tensor
    mixing: Tensor | None
    column: Tensor | None
    no: Tensor | float
    x: Tensor
    gain: Tensor | None = None
    norm: Tensor | None = None

    def before(self, x: Tensor) -> Tensor:
        """What w is applied to, for x [..., m, symbols]: the filter times x is w times that."""
        if self.column is not None:
            x = x * self.column[..., None]
        # Batched products of what lies otherwise take ten times as long.
        return x if self.mixing is None else self.mixing @ x.contiguous()

    def after(self, z: Tensor) -> Tensor:
        """y [..., symbols, n] times the filter, from z = y w [..., symbols, m]."""
        if self.mixing is not None:
            z = z.contiguous() @ self.mixing
        return z if self.column is None else z * self.column[..., None, :]

    def scaled(self, factor: Tensor) -> Filter:
        """The filter with its columns times real factors [..., m]."""
        return self._replace(column=factor if self.column is None else self.column * factor)

    @property
    def dense(self) -> Tensor:
        """The filter multiplied out, [..., n, m]."""
        w = self._product()
        return w if self.column is None else w * self.column[..., None, :]

    @property
    def loss(self) -> Tensor:
        r""":math:`\sigma^2 X_{kk}`, real [..., m]: the share of a symbol that the filter loses."""
        return batched(self.no, self.x, 1) * _diagonal(self.x)

    @property
    def kept(self) -> Tensor:
        r""":math:`(A W)_{kk} = 1 - \sigma^2 X_{kk}`, real [..., m]: the share that it keeps."""
        return 1 - self.loss if self.gain is None else self.gain

    @property
    def column_norm(self) -> Tensor:
        r"""Norms of the columns, real [..., m].

        :math:`w_k^H w_k = [X A A^H X]_{kk}` with :math:`A A^H X = I - \sigma^2 X`: all of it m x m,
        but for columns that are much shorter than what cancels there.
        """
        norm = self._norm()
        return norm if self.column is None else norm * self.column.abs()

    @property
    def column_power(self) -> Tensor:
        """Squared norms of the columns, real [..., m]."""
        return self.column_norm.square()

    def _norm(self) -> Tensor:
        """Those of w · mixing."""
        if self.norm is not None:
            return self.norm
        diagonal = _diagonal(self.x).clamp_min(0)
        if not isinstance(self.no, Tensor) and not self.no:
            return diagonal.sqrt()
        if self.w is not None and (is_traced() or self.x.device.type != "cpu"):
            # A look at which are short would be a decision on data, or wait for the device.
            return torch.linalg.vector_norm(self._product(), dim=-2)
        # Over X_kk: powers of channels of any gain would overflow, or vanish. With the noise in
        # between, likewise; its root would do, but has no derivative at zero. X is Hermitian, and
        # its rows lie closer together in memory than its columns.
        parts = torch.view_as_real(self.x)
        beside = (1 - identity(self.x).real)[..., None]
        lost = parts * (beside / positive(diagonal)[..., None, None])
        lost = lost * batched(self.no, self.x, 3) * parts
        share = self.kept - lost.flatten(-2).sum(-1)
        norm = (diagonal * share.clamp_min(0)).sqrt()
        if self.w is None or is_traced():
            return norm
        # Users in one place, whom the noise alone tells apart: what is left is rounding.
        short = share < _SHORT * self.kept
        if bool(short.any()):
            at = short.any(-1)
            direct = torch.linalg.vector_norm(self._product(at), dim=-2)
            norm = norm.index_put((at,), torch.where(short[at], direct, norm[at]))
        return norm

    def _product(self, at: Tensor | None = None) -> Tensor:
        """w · mixing, [..., n, m]; or that of the marked matrices, [num, n, m]."""
        w, mixing = self.w, self.mixing
        if at is not None:
            w = w.expand(*at.shape, *w.shape[-2:])[at]
            mixing = None if mixing is None else mixing.expand(*at.shape, *mixing.shape[-2:])[at]
        return w if mixing is None else w @ mixing

    def complete(self) -> Filter:
        """The same filter with all fields present as tensors."""
        mixing, column = self.mixing, self.column
        batch, num = self.w.shape[:-2], self.w.shape[-1]
        if mixing is None:
            mixing = torch.eye(num, dtype=self.w.dtype, device=self.w.device)
        if column is None:
            column = self.w.new_ones(num)
        return self._replace(
            mixing=mixing.expand(*batch, num, num),
            column=column.expand(*batch, num).to(self.w.dtype),
            no=batched(self.no, self.w, 0).expand(batch),
            gain=self.kept,
            norm=self._norm(),
        )


def multiplied(filters: Filter, a: Tensor) -> Filter:
    """The filter of A multiplied out, as the rounding of its factors would grow with the next
    product, and what belongs to it.
    """
    w = filters.dense
    gain = (a * w.mT).sum(-1).real
    norm = torch.linalg.vector_norm(w, dim=-2)
    return filters._replace(w=w, mixing=None, column=None, gain=gain, norm=norm)


def narrow(filters: Filter, dtype: torch.dtype) -> Filter:
    """The filter in the complex precision ``dtype``."""
    if filters.x.dtype == dtype:
        return filters
    fields = {
        name: value.to(dtype if value.is_complex() else dtype.to_real())
        for name, value in filters._asdict().items()
        if isinstance(value, Tensor)
    }
    return filters._replace(**fields)


@register
class PseudoInverse(Operation):
    r"""Pseudo-inverse of the augmented matrix.

    For A [m, n] with m <= n and the noise power :math:`\sigma^2` the result is

    .. math:: \widetilde W = [A, \sigma I]^+ = \begin{bmatrix} A^H X \\ \sigma X \end{bmatrix},
              \qquad X = (A A^H + \sigma^2 I)^{-1},

    [n + m, m]; its upper block is the zero-forcing filter for :math:`\sigma = 0` and the MMSE
    filter above. Components are the filter without noise and X:

    - ``w`` [n, m] complex, :math:`A^+`, for any noise power;
    - ``x`` [m, m] complex, X, Hermitian.

    They give the filter as :math:`A^H X = A^+ (I - \sigma^2 X)`. Only the small X depends on the
    noise power, so one model for all noise powers is little larger than one for zero forcing. X
    also contains the powers of the columns: :math:`X_{kk} = \|\tilde w_k\|^2`.
    """

    name: ClassVar[str] = "pseudo_inverse"
    component_names: ClassVar[tuple[str, ...]] = ("w", "x")
    follows_rows: ClassVar[bool] = True
    hermitian: ClassVar[tuple[str, ...]] = ("x",)
    noise_free: ClassVar[tuple[str, ...]] = ("w",)
    column_components: ClassVar[tuple[str, ...]] = ("w",)
    applied: ClassVar[str] = "w"

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        return (num_cols, num_rows), (num_rows, num_rows)

    @property
    def stored(self) -> Operation:
        return FilterAndGram(self)

    def from_stored(self, stored: Components, no: Tensor | float = 0.0) -> Components:
        w, gram = stored
        return w, regularised_inverse(gram, batched(no, gram, 1))

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        adjoint = _adjoint(a)
        gram = a @ adjoint
        inverse = definite_inverse(gram)
        w, x = adjoint @ inverse, inverse
        if isinstance(no, Tensor) or no:
            x = definite_inverse(gram + batched(no, a) * identity(gram))
        if is_traced():
            return w, x
        where = _doubtful(gram, inverse, 0.0)
        if bool(where.any()):
            chosen = wide(a[where])
            w = w.index_put((where,), orthogonal_filter(chosen, 0.0).w.to(w.dtype))
            where = where.expand(x.shape[:-2])
            chosen = wide(a.expand(*where.shape, *a.shape[-2:])[where])
            filters = orthogonal_filter(chosen, noise_at(no, where))
            x = x.index_put((where,), filters.x.to(x.dtype))
        return w, x

    def solve(self, a: Tensor, no: Tensor | float = 0.0) -> Filter:
        return narrow(self._solve(a, no).filters, a.dtype)

    def solve_surely(
        self,
        a: Tensor,
        no: Tensor | float = 0.0,
        unproven: Tensor | None = None,
        precisely: Callable[[Tensor], Tensor] | None = None,
    ) -> Surely:
        """The answer, in double precision where rounding errors would be too large.

        :param precisely: gives the marked matrices in double precision, where a is a rounded
            product; None widens those of a
        """
        filters, gram, amplification = self._solve(a, no)
        where = _doubtful(gram, filters.x, no)
        if amplification is not None:
            where = where | doubtful(amplification.amax(-1))
        if unproven is not None:
            where = where | unproven
        if not bool(where.any()):
            return Surely(narrow(filters, a.dtype))
        chosen = wide(a[where]) if precisely is None else precisely(where)
        found = orthogonal_filter(chosen, noise_at(no, where))
        if a.requires_grad and torch.is_grad_enabled():
            # What is replaced may be NaN, and so would gradients be that come through it.
            easy = torch.eye(*a.shape[-2:], dtype=a.dtype, device=a.device)
            filters = self._solve(torch.where(where[..., None, None], easy, a), no).filters
        # The filter itself, not its factors: X squares its condition, whatever it was made of.
        kinds = {"w": filters.w, "x": filters.x}
        kinds |= {"gain": filters.kept, "norm": filters.column_norm}
        given = found._asdict()
        if filters.mixing is not None:
            kinds["mixing"] = filters.mixing
            given["mixing"] = identity(filters.x).expand_as(found.x)
        put = {k: t.index_put((where,), given[k].to(t.dtype)) for k, t in kinds.items()}
        refined, lost = int(where.sum()), int(hopeless(found.condition, a.dtype).sum())
        return Surely(narrow(filters._replace(**put), a.dtype), refined, lost)

    def _solve(self, a: Tensor, no: Tensor | float) -> _Solved:
        """The filter and what tells of its rounding; in double precision if rows are dependent."""
        dependent = a.shape[-2] > a.shape[-1]
        if dependent:
            # Only the noise tells them apart.
            a = wide(a)
            no = wide(no) if isinstance(no, Tensor) else no
        adjoint = _adjoint(a)
        gram = a @ adjoint
        if not isinstance(no, Tensor) and not no:
            x = definite_inverse(gram)
            return _Solved(Filter(adjoint, x, None, no, x), gram)
        no = batched(no, a, 0)
        x = definite_inverse(gram + no[..., None, None] * identity(gram))
        filters = Filter(adjoint, x, None, no, x)
        if dependent:
            return _Solved(multiplied(filters, a), gram)
        return _below_noise(filters, gram)

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> Filter:
        w, x = components
        mixing = None
        if isinstance(no, Tensor) or no:
            mixing = identity(x) - batched(no, x) * x
        return Filter(w, mixing, None if rows is None else rows.reciprocal(), no, x)

    def holds(self, a: Tensor, dtype: torch.dtype) -> Tensor:
        # Of users in one place the filter is what cancels of A^+, whatever the noise.
        return ~hopeless(orthogonal_factors(a, 0.0).condition, dtype)

    def witness(self, answer: Filter) -> Tensor:
        return answer.x

    def results(self, answer: Filter) -> tuple[Tensor, ...]:
        return (answer.dense,)

    def merge(self, answers: Sequence[Filter], items: Sequence[Tensor]) -> Filter:
        return super().merge([answer.complete() for answer in answers], items)

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""‖I - A W‖_F / √m, plus the relative distances of W from the range of A^H and of X from
        :math:`\widetilde W^H \widetilde W`.
        """
        w, x = components
        right = frobenius(identity(x) - a @ w) / a.shape[-2] ** 0.5
        gram = w.mH @ w
        outside = frobenius(a.mH @ gram - w)
        inconsistent = frobenius(_regularised(gram, x, no) - x)
        return right + outside / frobenius(w) + inconsistent / frobenius(x)

    def certificate(
        self, a: Tensor, components: Components, no: Tensor | float, tolerance: Tolerance
    ) -> Certificate:
        r"""Predicted signal-to-interference ratio and range error of :math:`\widetilde W`.

        With R = I - [A, σI] W̃ the ratio of stream k is :math:`|1 - R_{kk}|^2 \|\tilde w_k\|^{-2} /
        \sum_{j \ne k} |R_{kj}|^2 \|\tilde w_j\|^{-2}`; the quality is that of the weakest stream. R
        alone accepts any right inverse (a zero-forcing filter in place of MMSE has R = 0). So the
        range error is the distance of the columns from the range of [A, σI]^H. It includes the
        difference of the powers X_kk from those of the columns.
        """
        # All of it m x m beyond the first lines: a batch of noise powers for each A is cheap.
        w, x = components
        gram = w.mH @ w
        outside = a.mH @ gram - w
        across, within = a @ outside, outside.mH @ outside
        straight, channel = a @ w, a @ a.mH
        tiny = torch.finfo(w.real.dtype).tiny
        mixing, upper_gram, lower_gram = _grams(gram, x, no)
        gain = straight @ mixing
        defect = identity(x) - gain - batched(no, x) * x
        whole = upper_gram + lower_gram
        power = whole.diagonal(dim1=-2, dim2=-1).real.clamp_min(tiny)
        own = (1 - defect.diagonal(dim1=-2, dim2=-1)).abs().square() / power
        leak = defect.abs().square() / power[..., None, :]
        leak = leak.sum(-1) - leak.diagonal(dim1=-2, dim2=-1)
        # The diagonal error is a gain error of the stream itself; it counts like leakage in
        # x_hat, so it is bounded along with the interference.
        gain_error = defect.diagonal(dim1=-2, dim2=-1).abs().square() / power
        floor = torch.finfo(w.real.dtype).eps ** 2 * own
        worst = own / torch.maximum(torch.maximum(leak, gain_error), floor)
        quality = 10 * torch.log10(worst.amin(-1).clamp_min(tiny))

        # [A, σI]^H g - w̃ with g = W̃^H w̃ for each column w̃. Its upper block is
        # (A^H W^H W - W) z + A^H e with z from I - σ² X: sums of small terms, no cancellation.
        # Each block counts relative to its own part of the column: a stream below the noise has
        # nearly all of w̃ in the lower one.
        e = whole - gram @ mixing
        upper = _inner(mixing, within @ mixing) + _inner(e, channel @ e)
        upper = (upper + 2 * _inner(e, across @ mixing)).clamp_min(0)
        lower = batched(no, x, 1) * _inner(whole - x, whole - x)
        upper_power = upper_gram.diagonal(dim1=-2, dim2=-1).real.clamp_min(tiny)
        outside_range = torch.maximum(upper / upper_power, lower / power).sqrt()
        x_diagonal = x.diagonal(dim1=-2, dim2=-1).real
        own_gain = gain.diagonal(dim1=-2, dim2=-1)
        # d_k = 1 - σ² X_kk, by which a receiver divides, is the gain (A W)_kk.
        lost = 1 - batched(no, x, 1) * x_diagonal - own_gain
        range_error = torch.maximum(
            outside_range,
            torch.maximum(
                (x_diagonal - power).abs() / power, lost.abs() / own_gain.abs().clamp_min(tiny)
            ),
        ).amax(-1)
        ok = (quality >= tolerance.quality_db) & (range_error <= tolerance.range_error)
        return Certificate(quality, range_error, ok)

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        r"""One Newton-Schulz step, W (2I - A W), back into the range, and X to match.

        The step alone keeps what W has outside the range of A^H; W ← A^H (W^H W) removes it, and
        W^H W differs from (A A^H)^{-1} by the square of that part only. So does
        :math:`\widetilde W^H \widetilde W` from X: all errors shrink quadratically.
        """
        w, x = components
        w = w + w @ (identity(x) - a @ w)
        gram = w.mH @ w
        return a.mH @ gram, _regularised(gram, x, no)

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """(D_L A D_R)^+ = D_R^H A^+ D_L^H; X turns with D_L on both sides."""
        w, x = components
        turned = left[..., :, None] * x * left.conj()[..., None, :]
        return right.conj()[..., :, None] * w * left.conj()[..., None, :], turned

    def permute(self, components: Components, order: Tensor) -> Components:
        w, x = components
        columns = order[:, None, None, :]
        x = x.gather(-1, columns.expand_as(x))
        x = x.gather(-2, columns.mT.expand_as(x))
        return w.gather(-1, columns.expand_as(w)), x

    def free_gains(self, no: Tensor | None) -> bool:
        return no is None


class _Solved(NamedTuple):
    """A filter and what tells where rounding leaves too little of it.

    :param filters: of A
    :param gram: [..., m, m], :math:`A A^H`
    :param amplification: real [..., m], by how much rounding grows in the gains of users below the
        noise; None where there are none
    """

    filters: Filter
    gram: Tensor
    amplification: Tensor | None = None


def _below_noise(filters: Filter, gram: Tensor) -> _Solved:
    r"""The filter with gains of users below the noise.

    There :math:`1 - \sigma^2 X_{kk}` cancels; :math:`g_k = (A A^H X)_{kk}` does not, unless others
    bury a user whom the noise alone would not: the terms of :math:`g_k` tell.

    :param gram: :math:`A A^H`
    """
    loss = filters.loss
    if not is_traced() and bool((loss <= 0.5).all()):
        return _Solved(filters, gram)
    whole, size = gain_terms(gram, filters.x)
    weak = loss > 0.5
    gain = torch.where(weak, whole.clamp_min(0), 1 - loss)
    amplification = torch.where(weak & (size > 0), size / gain.detach(), 1.0)
    return _Solved(filters._replace(gain=gain), gram, amplification)


def _diagonal(x: Tensor) -> Tensor:
    """Real parts of the diagonals of x [..., m, m]."""
    return x.diagonal(dim1=-2, dim2=-1).real


def _doubtful(gram: Tensor, x: Tensor, no: Tensor | float) -> Tensor:
    r"""Where rounding leaves too little of X, [...]; not where A is not finite.

    :math:`[A A^H + \sigma^2 I]_{kk} X_{kk}` is by how much the other rows amplify the errors of a
    row, whatever its gain; the largest is the condition number to a factor of :math:`m^2`.
    """
    own = _diagonal(gram.detach()) + batched(no, gram, 1)
    return doubtful((own * _diagonal(x.detach())).amax(-1)) & torch.isfinite(own).all(-1)


def _adjoint(a: Tensor) -> Tensor:
    """A^H, conjugated once: a product with a lazy conjugate makes a copy each time."""
    return a.conj().resolve_conj().mT


def _regularised(gram: Tensor, x: Tensor, no: Tensor | float) -> Tensor:
    r""":math:`\widetilde W^H \widetilde W`, (I − σ² X) W^H W (I − σ² X) + σ² X².

    It is X again only for the X of W, and closer to it than the given one by a square.
    """
    _, upper, lower = _grams(gram, x, no)
    return upper + lower


def _grams(gram: Tensor, x: Tensor, no: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    r"""I − σ² X, and the Gram matrices of the upper and the lower block of
    :math:`\widetilde W`.
    """
    power = batched(no, x)
    mixing = identity(x) - power * x
    return mixing, mixing @ gram @ mixing, power * (x @ x)


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """Re x_k^H y_k of the columns of x and y [..., m, k]."""
    return (x.conj() * y).sum(-2).real
