"""The SVD operation: values, gauge, certificate and correction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Tolerance
from neumatc_mimo.operations.svd import SVD
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.solvers.exact import Exact

ROWS, COLS, STREAMS = 4, 12, 2


def matrices(*batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, ROWS, COLS, dtype=torch.complex128, generator=generator)


def crossing(num: int = 301) -> tuple[Tensor, Components]:
    """A smooth family [num, m, n] whose two strongest singular values cross, and its triplets."""
    p = torch.linspace(-1, 1, num, dtype=torch.float64)
    seed = matrices(2)
    u, _ = torch.linalg.qr(seed[0][:, :3])
    v, _ = torch.linalg.qr(seed[1].mT[:, :3])
    # Smooth phases and a slow rotation make the vectors move with p.
    turn = torch.exp(1j * torch.outer(p, torch.arange(COLS, dtype=torch.float64)))
    v = turn[:, :, None] * v
    s = torch.stack([3 - p, 2.7 + p, 0.5 + 0 * p], dim=-1)
    return u * s[:, None] @ v.mH, (u[:, :2].expand(num, -1, -1), s[:, :2], v[:, :, :2])


def test_equals_numpy() -> None:
    a = matrices(5, 7)
    u, s, v = SVD(STREAMS).exact(a)
    _, expected, vh = np.linalg.svd(a.numpy())
    np.testing.assert_allclose(s.numpy(), expected[..., :STREAMS], rtol=1e-12)
    overlap = (torch.as_tensor(vh[..., :STREAMS, :]) @ v).diagonal(dim1=-2, dim2=-1).abs()
    torch.testing.assert_close(overlap, torch.ones_like(overlap))
    torch.testing.assert_close(a @ v, u * s[..., None, :])
    assert SVD(STREAMS).residual(a, (u, s, v)).max() < 1e-12


def test_too_many_triplets_are_refused() -> None:
    with pytest.raises(ValueError, match="5 triplets"):
        SVD(5).exact(matrices(1))
    with pytest.raises(ValueError, match="at least one"):
        SVD(0)


def test_alignment_follows_crossing_branches() -> None:
    a, (_, s_true, v_true) = crossing()
    operation = SVD(STREAMS)
    u, s, v = operation.align(operation.exact(a))
    # Strongest first at the centre, and each branch goes on smoothly through the crossing.
    torch.testing.assert_close(s, s_true)
    torch.testing.assert_close(a @ v, u * s[:, None])
    assert (v.mH @ v_true).diagonal(dim1=-2, dim2=-1).abs().min() > 1 - 1e-9
    neighbours = (v[:-1].conj() * v[1:]).sum(-2)
    assert neighbours.imag.abs().max() < 1e-12
    assert neighbours.real.min() > 0.99
    centre = v[len(v) // 2]
    largest = centre.gather(0, centre.abs().argmax(0, keepdim=True))
    assert largest.imag.abs().max() < 1e-12 and largest.real.min() > 0


def test_gauge_does_not_depend_on_the_phases_found() -> None:
    a, _ = crossing(64)
    operation = SVD(STREAMS)
    u, s, v = operation.exact(a)
    angle = 2 * torch.pi * torch.rand(64, 1, STREAMS, generator=torch.Generator().manual_seed(1))
    turn = torch.polar(torch.ones_like(angle), angle).to(v.dtype)
    for one, other in zip(
        operation.align((u * turn, s, v * turn)), operation.align((u, s, v)), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_answers_depend_on_each_matrix_alone() -> None:
    a, _ = crossing(600)
    batch = torch.stack([a, matrices(1)[0] @ matrices(1, seed=1)[0].mH @ a])
    operation = SVD(STREAMS)
    answers = Exact().start(operation, Channels(batch, torch.arange(600.0)))
    parts = [slice(i, i + 252) for i in range(0, 600, 252)]
    found = [operation.results(answers.tile(part)) for part in parts]
    joined = [torch.cat(part, 1) for part in zip(*found, strict=True)]
    # Not on the branch they belong to, nor on the samples between which phases were transported.
    tracked = operation.answer(operation.align(operation.exact(batch)))
    coarse = operation.answer(operation.align(operation.exact(batch[:, ::7])))
    assert (tracked.s.diff(dim=-1) <= 0).all()
    for one, other, few in zip(joined, *map(operation.results, (tracked, coarse)), strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one[:, ::7], few)
    assert answers.counts.exact == 2 * 600


def test_align_to_takes_order_and_phase_of_the_reference() -> None:
    operation = SVD(STREAMS)
    a = matrices(6)
    u, s, v = operation.exact(a)
    reference = (-1j * u.flip(-1), s.flip(-1), -1j * v.flip(-1))
    for one, other in zip(operation.align_to((u, s, v), reference), reference, strict=True):
        torch.testing.assert_close(one, other)


def test_scale_turns_with_the_diagonals() -> None:
    operation = SVD(STREAMS)
    a = matrices(6)
    left, right = torch.sgn(matrices(6, seed=3))[:, :, 0], torch.sgn(matrices(6, seed=4))[:, 0]
    components = operation.scale(operation.exact(a), left, right)
    scaled = left[..., :, None] * a * right[..., None, :]
    assert operation.residual(scaled, components).max() < 1e-12


def test_certificate_accepts_the_exact_result() -> None:
    a = matrices(50)
    for dtype in (torch.complex64, torch.complex128):
        operation = SVD(STREAMS)
        certificate = operation.certificate(
            a.to(dtype), operation.exact(a.to(dtype)), 0.0, Tolerance()
        )
        assert certificate.ok.all()
        assert certificate.quality.min() > 90


def impostors(a: Tensor) -> dict[str, Components]:
    u, s, v = SVD(ROWS).exact(a)
    other = SVD(STREAMS).exact(a.roll(1, 0))
    first = slice(0, STREAMS)
    return {
        "weaker triplets": (u[..., 1:3], s[..., 1:3], v[..., 1:3]),
        "second left out": (u[..., [0, 2]], s[..., [0, 2]], v[..., [0, 2]]),
        "strongest twice": (u[..., [0, 0]], s[..., [0, 0]], v[..., [0, 0]]),
        "wrong values": (u[..., first], 1.1 * s[..., first], v[..., first]),
        "phases apart": (1j * u[..., first], s[..., first], v[..., first]),
        "values swapped": (u[..., first], s[..., first].flip(-1), v[..., first]),
        "another matrix": other,
        "zero": (0 * u[..., first], s[..., first], 0 * v[..., first]),
    }


@pytest.mark.parametrize("name", impostors(matrices(2)))
def test_certificate_refuses_impostors(name: str) -> None:
    values = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrices(20, seed=3), full_matrices=False)
    a = u * values @ vh
    certificate = SVD(STREAMS).certificate(a, impostors(a)[name], 0.0, Tolerance())
    assert not certificate.ok.any()


def test_correction_comes_closer_and_keeps_the_gauge() -> None:
    a, _ = crossing(101)
    operation = SVD(STREAMS)
    exact = operation.align(operation.exact(a))
    noisy = tuple(part + 1e-2 * torch.randn_like(part) for part in exact)
    corrected = operation.correct(a, noisy)
    before, after = (operation.residual(a, part) for part in (noisy, corrected))
    assert (after < 0.25 * before).all()
    # Where the values cross, the vectors themselves are free: compare elsewhere.
    apart = (exact[1][:, 0] - exact[1][:, 1]).abs() > 0.2
    error = (corrected[2] - exact[2])[apart].abs().max()
    assert error < (noisy[2] - exact[2])[apart].abs().max()


def test_a_matrix_of_no_more_than_these_triplets_is_proven() -> None:
    # What is left of such a matrix is rounding: it must not be taken for a missed direction.
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randn(200, n, 2, dtype=torch.complex64, generator=generator) for n in (4, 64)
    )
    a = (left * torch.tensor([1.0, 0.02])) @ right.mH
    operation = SVD(2)
    assert operation.certificate(a, operation.exact(a), 0.0, Tolerance()).ok.all()


def test_real_matrices_have_real_triplets() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None, None]
    first, second = (torch.randn(4, 6, dtype=torch.float64, generator=generator) for _ in range(2))
    a = first + p * second
    u, s, v = SVD(2).align(SVD(2).exact(a))
    assert not u.is_complex() and not v.is_complex()
    assert torch.allclose(s.sort(-1).values, torch.linalg.svdvals(a)[:, :2].sort(-1).values)
    assert torch.allclose(a @ v, u * s[:, None], atol=1e-12)
    assert ((v[1:] * v[:-1]).sum(-2) > 0.5).all()
