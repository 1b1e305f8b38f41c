"""Every solver converges as its authors say."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor

from neumatc_mimo.families import CosineFamily
from neumatc_mimo.metrics.measures import relative_error
from neumatc_mimo.operations import SVD, Inverse, Operation, PseudoInverse
from neumatc_mimo.solvers import (
    DFT,
    Channels,
    Hold,
    LibraryLU,
    LibrarySVD,
    Linear,
    NeuralNewton,
    NewtonSchulz,
    NumPyLU,
    NumPySVD,
    OperatorInterpolation,
    RandomizedSVD,
    SharedProjectionSVD,
    Solver,
    Spline,
    ZhangInverse,
    ZhangSVD,
)
from neumatc_mimo.solvers.marching import Path

INVERSE = Inverse()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(points: int, shape: tuple[int, int] = (4, 4), **changes: Any) -> Channels:
    """One family [1, points, m, n] on an even grid over its whole domain, whatever ``points``."""
    settings = {"shift": 3.0, "complex_valued": True, "max_frequency": 3.0, **changes}
    family = CosineFamily(shape, generator(), **settings)
    return Channels(family(family.grid(points))[None], torch.arange(points, dtype=torch.float64))


def bare(solver: Solver, operation: Operation, given: Channels) -> Any:
    return solver.start(operation, given, None).tile(slice(0, given.a.shape[1]))


def inverse_error(solver: Solver, given: Channels) -> float:
    """Largest relative error of an inverse over the grid, without any proof."""
    exact = torch.linalg.inv(given.a)
    error = torch.linalg.matrix_norm(bare(solver, INVERSE, given).w - exact)
    return float((error / torch.linalg.matrix_norm(exact)).max())


def defects(solver: Solver, given: Channels) -> Tensor:
    """I - A W over the grid, [points, n, n]."""
    eye = torch.eye(given.a.shape[-1], dtype=given.a.dtype)
    return (eye - given.a @ bare(solver, INVERSE, given).w)[0]


def order(coarse: float, fine: float) -> float:
    return math.log2(coarse / fine)


# Direct methods

KINDS = pytest.mark.parametrize(
    ("dtype", "rounding"),
    [
        (torch.float32, 1e-5),
        (torch.complex64, 1e-5),
        (torch.float64, 1e-13),
        (torch.complex128, 1e-13),
    ],
)


def rounded(shape: tuple[int, int], dtype: torch.dtype) -> Channels:
    given = smooth(30, shape, complex_valued=dtype.is_complex)
    # A strided view of single precision, as blocks hand it over.
    a = given.a.to(dtype).permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
    return Channels(a, given.frequencies)


@KINDS
@pytest.mark.parametrize("solver", [NumPyLU(), LibraryLU()])
def test_lu_is_exact_to_rounding(solver: Solver, dtype: torch.dtype, rounding: float) -> None:
    given = rounded((6, 6), dtype)
    w = bare(solver, INVERSE, given).w
    assert w.dtype == dtype
    exact = np.linalg.inv(given.a.to(torch.complex128).numpy())
    assert relative_error(w.to(torch.complex128), torch.from_numpy(exact)).max() < rounding
    wide, no = rounded((3, 7), dtype), torch.tensor([0.2], dtype=torch.float64)
    noisy = Channels(wide.a, wide.frequencies, no.to(wide.a.real.dtype))
    answer = bare(solver, PseudoInverse(), noisy)
    a = noisy.a.to(torch.complex128)
    eye = torch.eye(3, dtype=torch.complex128)
    mmse = a.mH @ torch.linalg.inv(a @ a.mH + 0.2 * eye)
    assert relative_error(answer.dense.to(a.dtype), mmse).max() < rounding


@KINDS
@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5)])
@pytest.mark.parametrize("solver", [NumPySVD(), LibrarySVD(), LibrarySVD("gesvdj")])
def test_svd_is_exact_to_rounding(
    solver: Solver, shape: tuple[int, int], dtype: torch.dtype, rounding: float
) -> None:
    given = rounded(shape, dtype)
    for num in (2, 4):
        u, s, v = SVD(num).results(bare(solver, SVD(num), given))
        assert [c.dtype for c in (u, s, v)] == [dtype, dtype.to_real(), dtype]
        exact = np.linalg.svd(given.a.to(torch.complex128).numpy(), compute_uv=False)
        np.testing.assert_allclose(s, exact[..., :num], rtol=10 * rounding)
        assert SVD(num).residual(given.a, (u, s, v)).max() < 10 * rounding


# Interpolation


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_spline_equals_scipys(degree: int) -> None:
    given = smooth(61)
    w = torch.linalg.inv(given.a)[0].numpy()
    at = np.linspace(0, 60, 11).round().astype(int)
    spline = make_interp_spline(at, w[at], degree)
    ours = bare(Spline(11, degree=degree), INVERSE, given).w[0]
    np.testing.assert_allclose(ours.numpy(), spline(np.arange(61)), atol=1e-13)


@pytest.mark.parametrize("degree", [0, 1, 3, 5])
def test_spline_has_the_order_of_its_degree(degree: int) -> None:
    given = smooth(961)
    errors = [inverse_error(Spline(num, degree=degree), given) for num in (21, 41, 81)]
    # The higher the degree, the later the error is regular.
    for coarse, fine in pairwise(errors):
        assert abs(order(coarse, fine) - (degree + 1)) < 0.25 + 0.15 * degree


def test_linear_is_the_spline_of_degree_one() -> None:
    given = smooth(97)
    linear = bare(Linear(9), INVERSE, given).w
    torch.testing.assert_close(linear, bare(Spline(9, degree=1), INVERSE, given).w)
    exact = torch.linalg.inv(given.a)
    torch.testing.assert_close(linear[:, 6], (exact[:, 0] + exact[:, 12]) / 2)


def test_hold_takes_the_nearest_sample_or_that_of_the_block() -> None:
    given = smooth(30)
    exact = torch.linalg.inv(given.a)[0]
    nearest = bare(Hold(4), INVERSE, given).w[0]  # samples at 0, 10, 19, 29
    for k, sample in ((0, 0), (4, 0), (6, 10), (14, 10), (15, 19), (23, 19), (25, 29)):
        torch.testing.assert_close(nearest[k], exact[sample])
    blocks = bare(Hold(block=12), INVERSE, given).w[0]  # samples at 6, 18 and 27
    for k, sample in ((0, 6), (11, 6), (12, 18), (23, 18), (24, 27), (29, 27)):
        torch.testing.assert_close(blocks[k], exact[sample])


def short_response(first: int, last: int, points: int = 96) -> Channels:
    """Square matrices whose inverse has taps at the delays from first to last only."""
    delays = torch.arange(first, last + 1, dtype=torch.float64)
    taps = torch.randn(len(delays), 4, 4, dtype=torch.complex128, generator=generator())
    taps = 0.1 * taps + 2 * (delays == 0).to(taps.dtype)[:, None, None] * torch.eye(4)
    turns = torch.outer(torch.arange(points, dtype=torch.float64), delays) / points
    w = torch.tensordot(torch.exp(-2j * torch.pi * turns), taps, dims=1)
    return Channels(torch.linalg.inv(w)[None], torch.arange(points, dtype=torch.float64))


@pytest.mark.parametrize(("first", "last"), [(0, 5), (-5, 0), (-2, 3)])
def test_dft_is_exact_for_a_short_impulse_response(first: int, last: int) -> None:
    given = short_response(first, last)
    for solver in (DFT(12), DFT(16), DFT(12, num_taps=6), DFT(32, num_taps=7)):
        assert inverse_error(solver, given) < 1e-12
    # Fewer samples than taps, or fewer taps than there are.
    assert inverse_error(DFT(4), given) > 1e-2
    assert inverse_error(DFT(12, num_taps=4), given) > 1e-2


def test_dft_is_exact_beside_a_missing_carrier() -> None:
    given = short_response(-2, 3)
    keep = torch.arange(96) != 48
    gap = Channels(given.a[:, keep], given.frequencies[keep])
    for solver in (DFT(12), DFT(48)):
        assert inverse_error(solver, gap) < 1e-12


def test_dft_follows_the_decay_of_the_zero_forcing_response() -> None:
    """A channel with four taps: those of its filter decay exponentially with the delay."""
    points = 192
    taps = torch.randn(4, 2, 12, dtype=torch.complex128, generator=generator())
    turns = torch.outer(torch.arange(points, dtype=torch.float64), torch.arange(4.0).double())
    a = torch.tensordot(torch.exp(-2j * torch.pi * turns / points), taps, dims=1)[None]
    given = Channels(a, torch.arange(points, dtype=torch.float64))
    exact = torch.linalg.pinv(a)
    errors = [
        float((bare(DFT(num), PseudoInverse(), given).dense - exact).abs().max())
        for num in (12, 24, 48, 96)
    ]
    decay = [math.log(fine / coarse) for coarse, fine in pairwise(errors)]
    # Twice the number of samples squares the error.
    assert errors[-1] < 1e-4 * errors[0]
    assert decay[1] < 1.5 * decay[0] and decay[2] < 1.5 * decay[1]


# Newton's iteration


def test_newton_schulz_squares_the_residual_at_every_step() -> None:
    given = smooth(12)
    start = torch.linalg.inv(given.a[0, 0])
    defect = torch.eye(4) - given.a[0, 1] @ start
    for steps in (1, 2, 3):
        # The second point starts from the first, which is exact.
        defect = defect @ defect
        solver = NewtonSchulz(steps=steps, degree=0, max_residual=torch.inf)
        torch.testing.assert_close(defects(solver, given)[1], defect, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_newton_schulz_squares_the_order_of_the_extrapolation(degree: int) -> None:
    # From the ninth point on: the first ones have fewer before them.
    coarse, fine = (
        float(defects(NewtonSchulz(degree=degree), smooth(points))[8:].norm(dim=(-2, -1)).max())
        for points in (65, 129)
    )
    assert abs(order(coarse, fine) - 2 * (degree + 1)) < 0.5


def test_newton_schulz_starts_anew_after_a_jump() -> None:
    given = smooth(20)
    given.a[:, 10:] = given.a[:, 10:].mT @ given.a[:, :1] / 3
    answers = NewtonSchulz().start(INVERSE, given, None)
    answers.tile(slice(0, 20))
    assert answers.counts.exact >= 2
    assert inverse_error(NewtonSchulz(), given) < 0.1
    assert not inverse_error(NewtonSchulz(max_residual=torch.inf), given) < 0.1


def test_neural_newton_squares_the_residual_from_its_start() -> None:
    given = smooth(5)
    norms = [defects(NeuralNewton(steps=steps), given) for steps in range(1, 12)]
    for before, after in pairwise(norms):
        torch.testing.assert_close(after, before @ before, rtol=1e-5, atol=1e-12)
    assert norms[-1].abs().max() < 1e-13


@pytest.mark.parametrize("step_size", [0.5, 0.8, 1.2])
def test_neural_newton_with_another_step_converges_linearly(step_size: float) -> None:
    given = smooth(5)
    few, many = (
        defects(NeuralNewton(steps=steps, step_size=step_size), given).norm() for steps in (14, 16)
    )
    assert abs(float((many / few) ** 0.5) - abs(1 - step_size)) < 0.02


# Zeroing neural networks


def jump(points: int = 40) -> Channels:
    """Constant matrices, others from the third point on."""
    family = CosineFamily((4, 4), generator(), shift=3.0)
    a = family(torch.tensor([[-0.5], [0.5]]))
    a = torch.cat([a[:1].expand(3, -1, -1), a[1:].expand(points - 3, -1, -1)])
    return Channels(a[None], torch.arange(points, dtype=torch.float64))


@pytest.mark.parametrize("gamma", [0.25, 0.5, 1.0])
def test_zhang_inverse_forgets_errors_exponentially(gamma: float) -> None:
    given = jump()
    # One coarse step at the jump makes an error, then nothing moves any more.
    norms = defects(ZhangInverse(gamma=gamma, max_residual=torch.inf), given).norm(dim=(-2, -1))
    assert norms[2] < 1e-14 and norms[3] > 1e-4
    decay = (norms[4:16] / norms[3:15]).log()
    # Runge-Kutta's factor is e^-γ up to γ⁵ / 120.
    assert (decay + gamma).abs().max() < 0.02


def test_zhang_inverse_with_the_sign_bi_power_is_faster() -> None:
    """Errors e of the entries vanish after some 4 √e / γ, as far as the substeps resolve that."""
    a = smooth(1).a.expand(-1, 9, -1, -1)
    given = Channels(a, torch.arange(9, dtype=torch.float64))
    left = []
    for power in (1.0, 0.5):
        solver = ZhangInverse(gamma=0.5, substeps=64, power=power)
        path = Path(INVERSE, given, None, torch.inf)
        path.put(0, None)
        path.at(0)[0].mul_(1.05)
        for k in range(1, 9):
            path.put(k, solver._next(path, k))
        left.append(float(INVERSE.residual(a, path.components)[0, -1]))
    assert abs(math.log(left[0] / 0.05) + 8 * 0.5) < 0.1
    assert left[1] < 0.01 * left[0]


def test_zhang_inverse_has_the_order_of_its_integration() -> None:
    # γ per grid step stays as it is: stiffer and stiffer in p, of order two only.
    errors = [inverse_error(ZhangInverse(), smooth(points)) for points in (65, 129, 257)]
    assert all(abs(order(a, b) - 2) < 0.1 for a, b in pairwise(errors))
    fine = [inverse_error(ZhangInverse(substeps=n), smooth(33)) for n in (1, 2, 4)]
    assert all(order(a, b) > 3.8 for a, b in pairwise(fine))


def triplets(points: int) -> Channels:
    """Matrices whose singular values stay apart."""
    return smooth(points, (4, 6), decay=0.2, shift=0.0, max_frequency=1.0)


def test_zhang_svd_has_a_high_order_in_the_step() -> None:
    """Five for eight instants: a local error of τ⁵, forgotten at a given rate per step."""
    operation = SVD(2)
    errors = []
    for points in (151, 301, 601):
        given = triplets(points)
        answer = bare(ZhangSVD(max_residual=torch.inf), operation, given)
        errors.append(float(operation.residual(given.a, operation.results(answer)).max()))
    assert all(order(a, b) > 4.5 for a, b in pairwise(errors))
    assert errors[-1] < 1e-8


# Randomised SVDs


def decaying(ratio: float, points: int = 60, rows: int = 10, cols: int = 24) -> Channels:
    """Random matrices with singular values ratio^k, unrelated to each other."""
    size = (2, points, max(rows, cols), rows)
    sides = torch.randn(size, dtype=torch.complex128, generator=generator())
    u, _ = torch.linalg.qr(sides[0][:, :rows])
    v, _ = torch.linalg.qr(sides[1])
    s = ratio ** torch.arange(rows, dtype=torch.float64)
    return Channels((u * s @ v.mH)[None], torch.arange(points, dtype=torch.float64))


def value_error(solver: Solver, given: Channels, num: int = 2) -> float:
    """Root mean square relative error of the weakest of the ``num`` singular values."""
    exact = torch.linalg.svdvals(given.a)[..., num - 1]
    ours = bare(solver, SVD(num), given).s[..., num - 1]
    return float((1 - ours / exact).square().mean().sqrt())


@pytest.mark.parametrize("kind", [RandomizedSVD, SharedProjectionSVD])
def test_randomized_svd_improves_with_oversampling_and_powers(kind: type[RandomizedSVD]) -> None:
    given = decaying(0.6)
    for errors in (
        [value_error(kind(oversampling=p, power_iterations=0), given) for p in (0, 2, 4, 6)],
        [value_error(kind(oversampling=1, power_iterations=q), given) for q in (0, 1, 2, 3)],
    ):
        assert all(b < 0.6 * a for a, b in pairwise(errors))
    # All of the rows' space: nothing is left out.
    for q in (0, 1):
        assert value_error(kind(oversampling=8, power_iterations=q), given) < 1e-13


@pytest.mark.parametrize("kind", [RandomizedSVD, SharedProjectionSVD])
@pytest.mark.parametrize("ratio", [0.5, 0.7])
def test_each_power_iteration_gains_the_squared_gap(
    kind: type[RandomizedSVD], ratio: float
) -> None:
    given = decaying(ratio)
    errors = [value_error(kind(oversampling=1, power_iterations=q), given) for q in (2, 4)]
    # The angle between spaces falls by (σ_4 / σ_2)² a power, errors of values by its square.
    gain = (errors[1] / errors[0]) ** (1 / 2)
    assert abs(math.log(gain) / math.log(ratio**8) - 1) < 0.25


def test_rank_deficient_matrices_are_exact_with_as_many_columns() -> None:
    given = decaying(0.7)
    u, s, vh = torch.linalg.svd(given.a, full_matrices=False)
    low = Channels((u[..., :3] * s[..., None, :3]) @ vh[..., :3, :], given.frequencies)
    for kind in (RandomizedSVD, SharedProjectionSVD):
        assert value_error(kind(oversampling=1, power_iterations=0), low) < 1e-12


def test_a_shared_projection_is_smooth_along_the_parameter() -> None:
    given = smooth(200, (8, 16), decay=0.05, shift=0.0, max_frequency=1.0)
    exact = torch.linalg.svdvals(given.a)[0, :, :2]

    def roughness(kind: type[RandomizedSVD]) -> float:
        answer = bare(kind(oversampling=0, power_iterations=0), SVD(2), given)
        return float((answer.s[0] - exact).diff(dim=0).norm() / (answer.s[0] - exact).norm())

    assert roughness(SharedProjectionSVD) < 0.1 * roughness(RandomizedSVD)


# Interpolation of operators


def spanned(points: int = 50, terms: int = 3) -> Channels:
    """Matrices whose inverses lie in a space of ``terms`` dimensions."""
    basis = torch.randn(terms, 5, 5, dtype=torch.complex128, generator=generator())
    basis[0] = 8 * torch.eye(5)
    x = torch.linspace(-1, 1, points, dtype=torch.float64)
    weights = torch.stack([(1.3 * k * x).cos() + 0.3 * k * x for k in range(terms)], dim=-1)
    w = torch.tensordot(weights.to(basis.dtype), basis, dims=1)
    return Channels(torch.linalg.inv(w)[None], x)


@pytest.mark.parametrize("sketch", [None, 1, 2, 16])
def test_operator_interpolation_is_exact_in_the_span(sketch: int | None) -> None:
    given = spanned()
    assert inverse_error(OperatorInterpolation(3, sketch=sketch), given) < 1e-10
    assert inverse_error(OperatorInterpolation(6), given) < 1e-6
    assert inverse_error(OperatorInterpolation(2, sketch=sketch), given) > 1e-2


def test_operator_interpolation_has_the_least_residual_of_all_combinations() -> None:
    given = smooth(60)
    best = defects(OperatorInterpolation(6), given).norm(dim=(-2, -1))
    for solver in (Linear(6), Spline(6), Hold(6)):
        assert bool((best <= defects(solver, given).norm(dim=(-2, -1)) + 1e-12).all())
    # A sketch is an estimate of that norm: worse, and less so the more columns it has.
    sketched = [
        float(defects(OperatorInterpolation(6, sketch=k), given).norm()) for k in (2, 4, 64)
    ]
    least = float(best.norm())
    assert sketched[0] > sketched[1] > sketched[2] >= least * (1 - 1e-9)
    assert sketched[2] < 1.2 * least
