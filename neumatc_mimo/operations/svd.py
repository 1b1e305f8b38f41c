"""The strongest singular triplets of a wide matrix, in one gauge along the parameter."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.compiled import is_traced
from neumatc_mimo.operations.base import (
    Components,
    Operation,
    frobenius,
    identity,
    positive,
    together,
)
from neumatc_mimo.operations.tracking import (
    matched,
    normalised,
    orthonormal,
    strongest_outside,
    tracked,
    turned,
    unit,
)


class Triplets(NamedTuple):
    """The strongest singular triplets, A v = s u.

    :param u: [..., m, num_streams] left singular vectors
    :param s: [..., num_streams] singular values, real
    :param v: [..., n, num_streams] right singular vectors
    """

    u: Tensor
    s: Tensor
    v: Tensor


class SVD(Operation):
    r"""The ``num_streams`` strongest singular triplets of A [m, n], m small.

    Singular vectors are defined up to a phase and, along a parameter, up to their order. One gauge
    makes them continuous (NeuMatC, aligned samples): strongest first at the centre sample, tracked
    from there by the largest overlap of v between neighbours, with
    :math:`\langle v(p_k), v(p_{k+1}) \rangle` real and positive (parallel transport). At the
    centre the entry of v that is largest in magnitude is real and positive.

    :param num_streams: Number L of triplets
    """

    name: ClassVar[str] = "svd"
    component_names: ClassVar[tuple[str, ...]] = ("u", "s", "v")
    noise_free: ClassVar[tuple[str, ...]] = ("u", "s", "v")

    def __init__(self, num_streams: int) -> None:
        if num_streams < 1:
            raise ValueError(f"num_streams is {num_streams}, at least one is needed.")
        self.num_streams = num_streams

    def component_shapes(self, num_rows: int, num_cols: int) -> tuple[tuple[int, ...], ...]:
        return (num_rows, self.num_streams), (self.num_streams,), (num_cols, self.num_streams)

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        del no
        if self.num_streams > min(a.shape[-2:]):
            raise ValueError(
                f"{self.num_streams} triplets are more than a matrix of {a.shape[-2]} x "
                f"{a.shape[-1]} has."
            )
        _, vectors = torch.linalg.eigh(a @ a.mH)
        u = vectors[..., -self.num_streams :].flip(-1)
        # The norm of A^H u is more accurate than the root of the eigenvalue of A A^H.
        v, s = normalised(a.mH @ u)
        return u, s, v

    def align(self, components: Components) -> Components:
        u, s, v = components
        return _apply(u, s, v, *tracked(v))

    def align_to(self, components: Components, reference: Components) -> Components:
        u, s, v = components
        return _apply(u, s, v, *matched(reference[2], v))

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""Norm of A V − U S, A^H U − V S (over s_1), U^H U − I and V^H V − I, all together.

        ‖A − U S V^H‖ is no residual: it isn't zero for some of the triplets, however exact.
        """
        del no
        u, s, v = components
        eye = identity(u)
        scaled = s[..., None, :]
        strongest = positive(s.square().amax(-1)).sqrt()
        return together(
            frobenius(a @ v - u * scaled) / strongest,
            frobenius(a.mH @ u - v * scaled) / strongest,
            frobenius(u.mH @ u - eye),
            frobenius(v.mH @ v - eye),
        )

    def range_error(self, a: Tensor, components: Components) -> Tensor:
        """By how much a direction left out is stronger than one taken.

        Any exact triplets have no residual, so the strongest that was left out is estimated by
        power iteration on (I − U U^H) A; the range error is its excess over the weakest taken.
        """
        u, s, _ = components
        return (strongest_outside(a, u) / positive(s.amin(-1)) - 1).clamp_min(0)

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """One Rayleigh-Ritz step in the range of A A^H U, in the gauge of the input."""
        del no
        # In the m-dimensional row space: W spans A A^H U, its Ritz values are those of A A^H.
        basis = orthonormal(a @ (a.mH @ components[0]))
        projected = basis.mH @ a
        _, rotation = torch.linalg.eigh(projected @ projected.mH)
        u = basis @ rotation.flip(-1)
        v, s = normalised(a.mH @ u)
        return self.align_to((u, s, v), components)

    def scale(self, components: Components, left: Tensor, right: Tensor) -> Components:
        """D_L A D_R = (D_L U) S (D_R^H V)^H."""
        u, s, v = components
        return left[..., :, None] * u, s, right.conj()[..., :, None] * v

    def permute(self, components: Components, order: Tensor) -> Components:
        u, s, v = components
        return u.gather(-2, order[:, None, :, None].expand_as(u)), s, v

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "num_streams": self.num_streams}

    def answer(
        self, components: Components, no: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> Triplets:
        """The triplets in a gauge of each matrix alone: the same from every solver.

        Strongest first, and the inner product of v with a chirp real and positive. (Where two
        singular values nearly cross, which branch continues which depends on the spacing of the
        samples, and so does the phase that parallel transport has gathered. Neither may decide
        which stream a symbol is sent on, nor how its noise is turned.) A chirp overlaps with all
        DFT vectors alike: no beam is orthogonal to it.
        """
        del no
        u, s, v = components
        if rows is not None:
            gain = rows.abs()
            u, s = u * (rows / gain)[..., None], s * gain[..., :1]
        index = torch.arange(v.shape[-2], dtype=s.dtype, device=s.device)
        chirp = torch.polar(torch.ones_like(index), torch.pi * index.square() / len(index))
        chirp = chirp.to(v.dtype) if v.is_complex() else chirp.real
        phase = unit((chirp.conj() @ v).conj())
        if s.device.type == "cpu" and not is_traced() and bool((s.diff(dim=-1) <= 0).all()):
            # In order already, mostly so: gathering takes longer than the query itself. (On a GPU
            # the look would wait for the device.)
            return Triplets(u * phase[..., None, :], s, v * phase[..., None, :])
        order = s.argsort(dim=-1, descending=True)
        return Triplets(*_apply(u, s, v, order, phase.gather(-1, order)))


def _apply(u: Tensor, s: Tensor, v: Tensor, order: Tensor, phase: Tensor) -> Components:
    """Reorder the columns and turn u and v alike, which leaves A v = s u."""
    return turned(u, order, phase), s.gather(-1, order), turned(v, order, phase)
