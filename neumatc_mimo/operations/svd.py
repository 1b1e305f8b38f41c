"""The strongest singular triplets of a wide matrix, in one gauge along the parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import PositiveInt
from torch import Tensor

from neumatc_mimo.operations.base import (
    Components,
    Operation,
    Surely,
    frobenius,
    identity,
    positive,
    together,
)
from neumatc_mimo.operations.config import Dimensions, OperationConfig
from neumatc_mimo.operations.dominance import excess, rounding, singular_bound
from neumatc_mimo.operations.ill_conditioned import surely
from neumatc_mimo.operations.registry import register
from neumatc_mimo.operations.tracking import (
    chirp_overlap,
    column_norms,
    matched,
    normalised,
    orthonormal,
    tracked,
    turned,
    unit,
)
from neumatc_mimo.tensors.tracing import is_traced


class Triplets(NamedTuple):
    """The strongest singular triplets, A v = s u, in factors.

    Symbols in another order and times factors cost less than matrices. There may be fewer singular
    values than columns: the weakest columns are then not used.

    :param left: [..., m, num_streams] u but for its rows' factors and its columns' order and
        factors, or None where it is not used
    :param s: [..., num_streams] singular values, real
    :param right: [..., n, num_streams] v but for its columns' order and factors, or None
    :param rows: [..., m] factors of the rows of u, of modulus one, or None for ones
    :param order: [..., num_streams] column of ``left`` and ``right`` that belongs to each s, or
        None where they are in order
    :param phase: [..., num_streams] factors of the columns of u and v, of modulus one
    """

    left: Tensor | None
    s: Tensor
    right: Tensor | None
    rows: Tensor | None
    order: Tensor | None
    phase: Tensor

    @property
    def u(self) -> Tensor:
        """Left singular vectors, [..., m, num_streams]."""
        u = self._columns(self.left)
        return u if self.rows is None else u * self.rows[..., None]

    @property
    def v(self) -> Tensor:
        """Right singular vectors, [..., n, num_streams]."""
        return self._columns(self.right)

    @property
    def receiving(self) -> Tensor:
        """The matrix that receives, conj(u) but for its columns' order and factors."""
        assert self.left is not None
        left = self.left if self.rows is None else self.left * self.rows[..., None]
        return left.conj()

    def strongest(self, num_streams: int) -> Triplets:
        """The first of them only."""
        return self._replace(s=self.s[..., :num_streams])

    def in_order(self, values: Tensor) -> Tensor:
        """Values of the columns of ``left`` and ``right`` [..., columns] for each s."""
        if self.order is not None:
            values = values.gather(-1, self.order.expand_as(values))
        return values[..., : self.s.shape[-1]]

    def before(self, x: Tensor) -> Tensor:
        """What ``right`` times gives V x, for x [..., num_streams, symbols]."""
        unused = self.phase.shape[-1] - x.shape[-2]
        if unused:
            x = torch.cat([x, x.new_zeros(*x.shape[:-2], unused, x.shape[-1])], dim=-2)
        x = x * self.phase[..., None]
        if self.order is None:
            return x
        return torch.empty_like(x).scatter(-2, self.order[..., None].expand_as(x), x)

    def after(self, z: Tensor) -> Tensor:
        """y [..., symbols, m] times U* S^{-1}, from z = y times ``receiving``."""
        num_streams = self.s.shape[-1]
        if self.order is not None:
            z = z.gather(-1, self.order[..., None, :].expand_as(z))
        factor = self.phase[..., :num_streams].conj() / self.s
        return z[..., :num_streams] * factor[..., None, :]

    def complete(self) -> Triplets:
        """The same triplets with all factors present, be they one."""
        rows, order = self.rows, self.order
        if rows is None and self.left is not None:
            rows = torch.ones_like(self.left[..., 0])
        if order is None:
            columns = torch.arange(self.phase.shape[-1], device=self.s.device)
            order = columns.expand(self.phase.shape)
        return self._replace(rows=rows, order=order)

    def _columns(self, vectors: Tensor | None) -> Tensor:
        assert vectors is not None
        num_streams = self.s.shape[-1]
        phase = self.phase[..., :num_streams]
        if self.order is None:
            return vectors[..., :num_streams] * phase[..., None, :]
        return turned(vectors, self.order[..., :num_streams], phase)


class SVDConfig(OperationConfig):
    """The keys of singular triplets."""

    num_streams: PositiveInt | None = None
    """Strongest triplets that are trained; `num_streams` of `[single_user]` unless given."""


@register
class SVD(Operation):
    r"""The ``num_streams`` strongest singular triplets of A [m, n], m small.

    Singular vectors are defined up to a phase and, along a parameter, up to their order. One gauge
    makes them continuous (NeuMatC, aligned samples): strongest first at the centre sample, tracked
    from there by the largest overlap of v between neighbours, with
    :math:`\langle v(p_k), v(p_{k+1}) \rangle` real and positive (parallel transport). At the
    centre the entry of v that is largest in magnitude is real and positive.

    :param num_streams: Number L of triplets
    :param unused: "u" or "v", if the caller does not need this side
    """

    name: ClassVar[str] = "svd"
    component_names: ClassVar[tuple[str, ...]] = ("u", "s", "v")
    follows_rows: ClassVar[bool] = True
    # Where two singular values come close, their vectors turn into each other (Munich, 380 MHz,
    # eight streams: at 1.0 corrections at 98 % of the subcarriers, at 2.0 at 2 %).
    turns: ClassVar[float] = 2.0
    noise_free: ClassVar[tuple[str, ...]] = ("u", "s", "v")
    applied: ClassVar[str] = "v"
    config: ClassVar[type[OperationConfig]] = SVDConfig

    def __init__(self, num_streams: int, unused: Sequence[str] = ()) -> None:
        if num_streams < 1:
            raise ValueError(f"num_streams is {num_streams}, at least one is needed.")
        if not set(unused) < {"u", "v"}:
            raise ValueError(f'unused is {unused!r}, it may be "u" or "v".')
        self.num_streams = num_streams
        self.unused = tuple(unused)

    @classmethod
    def configured(cls, config: Any, dimensions: Dimensions) -> Operation:
        num_streams = config.num_streams or dimensions.num_streams
        if num_streams is None:
            raise ValueError("num_streams is missing")
        return cls(num_streams)

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        self._check(num_rows, num_cols)
        return (num_rows, self.num_streams), (self.num_streams,), (num_cols, self.num_streams)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        del no
        self._check(*a.shape[-2:])
        _, vectors = torch.linalg.eigh(a @ a.mH)
        u = vectors[..., -self.num_streams :].flip(-1)
        # The norm of A^H u is more accurate than the root of the eigenvalue of A A^H.
        v, s = normalised((u.mH @ a).mH)
        return u, s, v

    def solve_surely(
        self, a: Tensor, no: Tensor | float = 0.0, unproven: Tensor | None = None
    ) -> Surely:
        u, s, v = self.exact(a)
        # A A^H squares the ratio of singular values; at one of 200 the weakest leaks at -50 dB.
        spread = s.detach().amax(-1) / positive(s.detach().amin(-1))
        return surely(self, a, 0.0, (u, s, v), spread.square() / 10, unproven)

    def align(self, components: Components) -> Components:
        u, s, v = components
        return _apply(u, s, v, *tracked(v))

    def align_to(self, components: Components, reference: Components) -> Components:
        u, s, v = components
        return _apply(u, s, v, *matched(reference[2], v))

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""Norm of A V − U S, A^H U − V S (over s_1), U^H U − I and V^H V − I, all together.

        ‖A − U S V^H‖ cannot be the residual, because it is not zero if only some of the triplets
        are kept, even if these are exact.
        """
        del no
        u, s, v = components
        eye = identity(u)
        scaled = s[..., None, :]
        strongest = positive(s.square().amax(-1)).sqrt()
        return together(
            frobenius(a @ v - u * scaled) / strongest,
            # Transposed: the conjugate of U is smaller than that of A.
            frobenius(u.mH @ a - s[..., None] * v.mH) / strongest,
            frobenius(u.mH @ u - eye),
            frobenius(v.mH @ v - eye),
        )

    def range_error(self, a: Tensor, components: Components) -> Tensor:
        r"""By how much a direction that is left out is stronger than one that is kept, or a value
        is wrong, relative.

        Any exact triplets have a residual of zero. So :math:`\lVert (I - U U^H) A \rVert_2`, which
        bounds :math:`\lVert A^H x \rVert` for all unit x orthogonal to U, is proven to exceed the
        weakest :math:`\lVert A^H u_k \rVert` by no more than this, and so are s_k to differ from
        :math:`\lVert A^H u_k \rVert`: the residual, relative to the strongest, says little about
        the weakest. There is an allowance for rounding.
        """
        u, s, _ = components
        taken = u.mH @ a
        gain = column_norms(taken.mT)
        weakest, whole = gain.amin(-1), frobenius(a)
        wrong = ((s - gain).abs() - rounding(whole)[..., None]).clamp_min(0) / positive(gain)
        wrong = wrong.amax(-1)
        if u.shape[-1] == min(a.shape[-2:]):
            return wrong  # nothing is left out
        outside = singular_bound(a - u @ taken, weakest)
        return torch.maximum(excess(outside, weakest, whole), wrong)

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """One Rayleigh-Ritz step in the range of A A^H U, in the gauge of the input."""
        del no
        # In the m-dimensional row space: W spans A A^H U, its Ritz values are those of A A^H.
        # Transposed where that is smaller than to conjugate A.
        basis = orthonormal(a @ (components[0].mH @ a).mH)
        projected = basis.mH @ a
        _, rotation = torch.linalg.eigh(projected @ projected.mH)
        u = basis @ rotation.flip(-1)
        v, s = normalised((u.mH @ a).mH)
        return self.align_to((u, s, v), components)

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """D_L A D_R = (D_L U) S (D_R^H V)^H."""
        u, s, v = components
        return left[..., :, None] * u, s, right.conj()[..., :, None] * v

    def permute(self, components: Components, order: Tensor) -> Components:
        u, *others = components
        if u is not None:
            u = u.gather(-2, order[:, None, :, None].expand_as(u))
        return u, *others

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "num_streams": self.num_streams, "unused": list(self.unused)}

    def serves(self, asked: Operation) -> bool:
        """Triplets of which the strongest ``asked`` ones are the first."""
        return isinstance(asked, SVD) and asked.num_streams <= self.num_streams

    def restricted(self, answer: Triplets) -> Triplets:
        return answer.strongest(self.num_streams)

    def extended(self, components: Components) -> Components:
        r"""u, s, v and :math:`c^H V` for the chirp c, whose phase :meth:`answer` takes out."""
        u, s, v = components
        return u, s, v, chirp_overlap(v)

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> Triplets:
        """The triplets in a gauge of each matrix alone: the same from every solver.

        Strongest first, and the inner product of v with a chirp real and positive. (Where two
        singular values nearly cross, which branch continues which depends on the spacing of the
        samples, and so does the phase that parallel transport has gathered. Neither may decide
        which stream a symbol is sent on, nor how its noise is turned.)
        """
        del no
        if len(components) == len(self.component_names):
            components = self.extended(components)
        u, s, v, overlap = components
        if rows is not None:
            # Of one magnitude, all of them.
            gain = rows[..., :1].abs()
            rows, s = rows / gain, s * gain
        phase, order = unit(overlap).conj(), None
        if s.device.type != "cpu" or is_traced() or bool((s[..., 1:] > s[..., :-1]).any()):
            # On a GPU the look, whether they are in order already, would wait for the device.
            s, order = s.sort(dim=-1, descending=True)
            phase = phase.gather(-1, order)
        return Triplets(u, s, v, rows, order, phase)

    def results(self, answer: Triplets) -> tuple[Tensor, ...]:
        return answer.u, answer.s, answer.v

    def merge(self, answers: Sequence[Triplets], items: Sequence[Tensor]) -> Triplets:
        return super().merge([answer.complete() for answer in answers], items)

    def _check(self, num_rows: int, num_cols: int) -> None:
        if self.num_streams > min(num_rows, num_cols):
            raise ValueError(
                f"{self.num_streams} triplets are more than a matrix of {num_rows} x {num_cols} "
                "has."
            )


def _apply(u: Tensor, s: Tensor, v: Tensor, order: Tensor, phase: Tensor) -> Components:
    """Reorder the columns and turn u and v alike, which leaves A v = s u."""
    return turned(u, order, phase), s.gather(-1, order), turned(v, order, phase)
