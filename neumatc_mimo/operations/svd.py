"""The strongest singular triplets of a wide matrix, in one gauge along the parameter."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Certificate, Components, Operation, Tolerance


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
    pointwise: ClassVar[bool] = False

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
        v, s = _normalised(a.mH @ u)
        return u, s, v

    def align(self, components: Components) -> Components:
        u, s, v = components
        centre = v.shape[-3] // 2
        # From the centre upwards, and downwards with the centre left out of the result.
        up = _transport(v[..., centre:, :, :])
        down = _transport(v[..., : centre + 1, :, :].flip(-3))
        order, phase = (
            torch.cat([part_down[..., 1:, :].flip(-2), part_up], dim=-2)
            for part_down, part_up in zip(down, up, strict=True)
        )
        return _apply(u, s, v, order, phase)

    def align_to(self, components: Components, reference: Components) -> Components:
        u, s, v = components
        order, overlap = _match(reference[2], v)
        return _apply(u, s, v, order, _unit(overlap.conj()))

    def residual(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Tensor:
        r"""Norm of A V − U S, A^H U − V S (over s_1), U^H U − I and V^H V − I, all together.

        ‖A − U S V^H‖ is no residual: it isn't zero for some of the triplets, however exact.
        """
        del no
        u, s, v = components
        eye = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
        scaled = s[..., None, :]
        defects = _square(a @ v - u * scaled) + _square(a.mH @ u - v * scaled)
        defects = defects / s.square().amax(-1).clamp_min(torch.finfo(s.dtype).tiny)
        return (defects + _square(u.mH @ u - eye) + _square(v.mH @ v - eye)).sqrt()

    def certificate(
        self, a: Tensor, components: Components, no: Tensor | float, tolerance: Tolerance
    ) -> Certificate:
        """Residual in dB, and by how much a direction left out is stronger than one taken.

        Any exact triplets have no residual, so the strongest that was left out is estimated by
        power iteration on (I − U U^H) A; the range error is its excess over the weakest taken.
        """
        u, s, _ = components
        floor = torch.finfo(s.dtype).eps
        quality = -20 * torch.log10(self.residual(a, components).clamp_min(floor))
        rest = _strongest(a, u)
        range_error = (rest / s.amin(-1).clamp_min(torch.finfo(s.dtype).tiny) - 1).clamp_min(0)
        ok = (quality >= tolerance.quality_db) & (range_error <= tolerance.range_error)
        return Certificate(quality, range_error, ok)

    def correct(self, a: Tensor, components: Components, no: Tensor | float = 0.0) -> Components:
        """One Rayleigh-Ritz step in the range of A A^H U, in the gauge of the input."""
        del no
        # In the m-dimensional row space: W spans A A^H U, its Ritz values are those of A A^H.
        basis = _orthonormal(a @ (a.mH @ components[0]))
        projected = basis.mH @ a
        _, rotation = torch.linalg.eigh(projected @ projected.mH)
        u = basis @ rotation.flip(-1)
        v, s = _normalised(a.mH @ u)
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
        """The triplets strongest first at every matrix, whatever branch they belong to.

        Where two singular values nearly cross, which branch continues which depends on the
        spacing of the samples; the order by strength does not, so solvers with different samples
        put the same symbols on the same streams.
        """
        del no
        u, s, v = components
        if rows is not None:
            gain = rows.abs()
            u, s = u * (rows / gain)[..., None], s * gain[..., :1]
        order = s.argsort(dim=-1, descending=True)
        return Triplets(*_apply(u, s, v, order, torch.ones_like(u[..., 0, :])))


def _normalised(v: Tensor) -> tuple[Tensor, Tensor]:
    parts = torch.view_as_real(v.resolve_conj()) if v.is_complex() else v[..., None]
    norm = parts.square().sum((-3, -1)).sqrt()
    return v / norm.clamp_min(torch.finfo(norm.dtype).tiny)[..., None, :], norm


def _orthonormal(x: Tensor) -> Tensor:
    """Orthonormal basis of the columns of x, twice by Cholesky: LAPACK's QR is slow in batches."""
    for _ in range(2):
        x = x / torch.linalg.norm(x, dim=-2, keepdim=True).clamp_min(torch.finfo(x.real.dtype).tiny)
        factor, _ = torch.linalg.cholesky_ex(x.mH @ x, check_errors=False)
        x = torch.linalg.solve_triangular(factor, x.mH, upper=False).mH
    return x


def _square(x: Tensor) -> Tensor:
    return torch.linalg.norm(x, dim=(-2, -1)).square()


def _unit(z: Tensor) -> Tensor:
    """z / |z|, and 1 where z is zero."""
    return torch.where(z == 0, torch.ones_like(z), torch.sgn(z))


def _match(reference: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Order of the columns of v that overlap most with those of the reference, and ⟨ref, v⟩.

    Pairs are taken greedily, the largest overlap first.

    :return: [..., L] index into v, [..., L] overlap of the pairs
    """
    overlap = reference.mH @ v
    free = overlap.abs()
    num = free.shape[-1]
    order = torch.zeros(free.shape[:-1], dtype=torch.int64, device=v.device)
    positions = torch.arange(num, device=v.device)
    for _ in range(num):
        best = free.flatten(-2).argmax(-1, keepdim=True)
        row, col = best // num, best % num
        order = torch.where(positions == row, col, order)
        taken = (positions == row)[..., :, None] | (positions == col)[..., None, :]
        free = free.masked_fill(taken, -1.0)
    return order, overlap.gather(-1, order[..., None])[..., 0]


def _transport(v: Tensor) -> tuple[Tensor, Tensor]:
    """Order and phase that make v [..., P, n, L] continuous from its first sample on.

    :return: [..., P, L] index of the column that continues branch l, [..., P, L] factor for it
    """
    # Neighbours are matched all at once; only the small matchings are chained.
    step, overlap = _match(v[..., :-1, :, :], v[..., 1:, :, :])
    identity = torch.arange(v.shape[-1], device=v.device).expand(*v.shape[:-3], 1, -1)
    order = _composed(torch.cat([identity, step], dim=-2))
    # Overlap of branch l between samples k and k + 1, then its accumulated phase in float64.
    overlap = overlap.gather(-1, order[..., :-1, :])
    first = v[..., 0, :, :]
    largest = first.abs().argmax(-2, keepdim=True)
    start = _unit(first.gather(-2, largest)).conj()
    turns = torch.cat([start, _unit(overlap.conj())], dim=-2)
    turns = turns.to(torch.promote_types(v.dtype, torch.float64))
    return order, _unit(turns.cumprod(-2)).to(v.dtype)


def _composed(steps: Tensor) -> Tensor:
    """Composition of all permutations [..., P, L] up to each sample, by doubling."""
    shift = 1
    while shift < steps.shape[-2]:
        later = steps[..., shift:, :].gather(-1, steps[..., :-shift, :])
        steps = torch.cat([steps[..., :shift, :], later], dim=-2)
        shift *= 2
    return steps


def _apply(u: Tensor, s: Tensor, v: Tensor, order: Tensor, phase: Tensor) -> Components:
    """Reorder the columns and turn u and v alike, which leaves A v = s u."""
    turn = phase[..., None, :]
    index = order[..., None, :]
    return (
        u.gather(-1, index.expand_as(u)) * turn,
        s.gather(-1, order),
        v.gather(-1, index.expand_as(v)) * turn,
    )


def _strongest(a: Tensor, u: Tensor, steps: int = 8) -> Tensor:
    """Largest singular value of (I − U U^H) A, from below."""
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(a.shape[-2], 1, dtype=torch.complex64, generator=generator)
    z = probe.to(device=a.device, dtype=a.dtype)
    z = _outside(z, u)
    value = torch.zeros((), dtype=a.real.dtype, device=a.device)
    for _ in range(steps):
        image = a.mH @ z
        value = torch.linalg.norm(image, dim=(-2, -1))
        z = _outside(a @ image, u)
    return value


def _outside(z: Tensor, u: Tensor) -> Tensor:
    """z [..., m, 1] without its part in the range of u, of unit norm.

    Twice: where A has no more triplets than u, the rest is rounding, and once scaled up it points
    anywhere.
    """
    for _ in range(2):
        z, _ = _normalised(z - u @ (u.mH @ z))
    return z
