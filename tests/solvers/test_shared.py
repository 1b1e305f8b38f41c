"""What holds for every solver: shapes, samples, proofs, counts, tiles, items, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import metrics
from neumatc_mimo.blocks import MMSEEqualizer, SVDBeamformer, SVDCombiner, ZFPrecoder
from neumatc_mimo.families import CosineFamily
from neumatc_mimo.operations import (
    SVD,
    Filter,
    Inverse,
    LinearSolve,
    Operation,
    PseudoInverse,
    Tolerance,
    Triplets,
)
from neumatc_mimo.operations.base import Components
from neumatc_mimo.solvers import (
    DFT,
    GCRODR,
    SOLVERS,
    Answers,
    Auto,
    Cached,
    Channels,
    Counts,
    Exact,
    Hold,
    Learned,
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
from neumatc_mimo.solvers.marching import Marching
from neumatc_mimo.solvers.sampled import Sampled

ITEMS, POINTS = 2, 48

# Coarse enough that certificates have something to refuse.
SOLVER = {
    "exact": Exact(),
    "numpy_lu": NumPyLU(),
    "numpy_svd": NumPySVD(),
    "library_lu": LibraryLU(),
    "library_svd": LibrarySVD(),
    "hold": Hold(8),
    "linear": Linear(8),
    "learned": Learned(8),
    "spline": Spline(8),
    "dft": DFT(12),
    "newton_schulz": NewtonSchulz(),
    "neural_newton": NeuralNewton(steps=3),
    "operator_interpolation": OperatorInterpolation(4, sketch=3),
    "zhang_inverse": ZhangInverse(gamma=2.6),
    "randomized_svd": RandomizedSVD(oversampling=0),
    "shared_projection_svd": SharedProjectionSVD(oversampling=1),
    "zhang_svd": ZhangSVD(),
    "gcro_dr": GCRODR(restart=4, num_recycled=1, tolerance=1e-3),
}
DIRECT = {"numpy_lu", "numpy_svd", "library_lu", "library_svd"}  # exact to rounding
FOR_INVERSES = {
    "numpy_lu",
    "library_lu",
    "neural_newton",
    "operator_interpolation",
    "zhang_inverse",
}
FOR_TRIPLETS = {
    "numpy_svd",
    "library_svd",
    "randomized_svd",
    "shared_projection_svd",
    "zhang_svd",
}
FOR_SOLUTIONS = {"gcro_dr"}

NO = torch.tensor([0.1, 0.5], dtype=torch.float64)
CASE: dict[str, tuple[Operation, tuple[int, int], Tensor | None]] = {
    "inverse": (Inverse(), (5, 5), None),
    "zero forcing": (PseudoInverse(), (3, 7), None),
    "mmse": (PseudoInverse(), (3, 7), NO),
    "svd": (SVD(2), (4, 7), None),
    "solution": (LinearSolve(torch.eye(5)[:, :2] + 0.5), (5, 5), None),
}


def suits(solver: str, case: str) -> bool:
    special = {"svd": FOR_TRIPLETS, "solution": FOR_SOLUTIONS}.get(case, FOR_INVERSES)
    return solver in special or solver not in FOR_INVERSES | FOR_TRIPLETS | FOR_SOLUTIONS


PAIRS = [(solver, case) for solver in SOLVER for case in CASE if suits(solver, case)]
EVERY = pytest.mark.parametrize(("name", "case"), PAIRS)
# The exact solver multiplies its filters out of other factors than the components.
ESTIMATING = pytest.mark.parametrize(("name", "case"), [p for p in PAIRS if p[0] != "exact"])


def channels(case: str, dtype: torch.dtype = torch.complex128, points: int = POINTS) -> Channels:
    """Smooth and well-conditioned matrices for an operation."""
    _, shape, no = CASE[case]
    families = [
        CosineFamily(
            shape,
            torch.Generator().manual_seed(seed),
            max_frequency=2.0,
            # Singular values apart from each other, and matrices far from singular ones.
            decay=0.3 if case == "svd" else 1.0,
            shift=0.0 if case == "svd" else 3.0,
            complex_valued=dtype.is_complex,
        )
        for seed in range(ITEMS)
    ]
    a = torch.stack([family(family.grid(points)) for family in families]).to(dtype)
    frequencies = 30e3 * torch.arange(points, dtype=torch.float64)
    return Channels(a, frequencies, None if no is None else no.to(a.real.dtype))


def components(answer: Any) -> Components:
    """The components that an estimating solver's answer holds."""
    if isinstance(answer, Triplets):
        return answer.u, answer.s, answer.v
    return (answer.w, answer.x) if isinstance(answer, Filter) else tuple(answer)


def asked(answers: Answers, size: int, points: int = POINTS) -> Components:
    """Components on the whole grid, asked for in tiles of a size."""
    parts = [
        components(answers.tile(slice(i, min(i + size, points)))) for i in range(0, points, size)
    ]
    return tuple(torch.cat(part, dim=1) for part in zip(*parts, strict=True))


def settled(answers: Answers) -> int:
    counts = answers.counts
    return counts.queried + counts.corrected + counts.patched + counts.exact


def some(given: Channels, keep: Any, items: Any = slice(None)) -> Channels:
    no = None if given.no is None else given.no[items]
    return Channels(given.a[items][:, keep], given.frequencies[keep], no)


def test_every_registered_solver_is_tried_here() -> None:
    assert set(SOLVER) == set(SOLVERS)
    for name, kind in SOLVERS.items():
        assert type(SOLVER[name]) is kind
    assert nm.Spline is Spline


@EVERY
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.float64])
def test_shapes_and_types_are_those_of_the_exact_solver(
    name: str, case: str, dtype: torch.dtype
) -> None:
    operation = CASE[case][0]
    given = channels(case, dtype)
    expected = operation.results(Exact().start(operation, given).tile(slice(3, 20)))
    for certify in (None, "link", "call"):
        answer = SOLVER[name].start(operation, given, certify).tile(slice(3, 20))
        for ours, exact in zip(operation.results(answer), expected, strict=True):
            assert ours.shape == exact.shape and ours.dtype == exact.dtype
            assert torch.isfinite(ours).all()


@ESTIMATING
def test_exact_at_the_samples(name: str, case: str) -> None:
    solver, operation, given = SOLVER[name], CASE[case][0], channels(case)
    if isinstance(solver, Sampled):
        points = solver._points(given.frequencies).tolist()
    elif isinstance(solver, Marching):
        points = list(range(7 if isinstance(solver, ZhangSVD) else 1))
    else:
        points = []
    answers = solver.start(operation, given, None)
    found = asked(answers, POINTS)
    assert answers.counts.exact >= ITEMS * len(points)
    exact = operation.align_to(operation.exact(given.a, given.noise()), found)
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(ours[:, points], theirs[:, points], rtol=1e-10, atol=1e-12)


@ESTIMATING
@pytest.mark.parametrize("quality_db", [40.0, 70.0])
def test_certified_answers_are_as_good_as_promised(name: str, case: str, quality_db: float) -> None:
    operation, given = CASE[case][0], channels(case)
    limit = 10 ** (-quality_db / 20)
    answers = SOLVER[name].start(operation, given, "call", Tolerance(quality_db, limit))
    answer = answers.tile(slice(0, POINTS))
    a, no = given.a, given.noise()
    exact = Exact().start(operation, given).tile(slice(0, POINTS))
    if case == "svd":
        # By Weyl, singular values are as far off as the residual; all are there, in their order.
        scale = exact.s.amax(-1, keepdim=True)
        assert ((answer.s - exact.s).abs() / scale).max() < 2 * limit
        assert metrics.svd_residual(a, *components(answer)).max() < 2 * limit
    else:
        ours, theirs = operation.results(answer)[0], operation.results(exact)[0]
        error = torch.linalg.matrix_norm(ours - theirs)
        # ‖W - A⁺‖ <= ‖A⁺‖ ‖I - A W‖ in the range, and the range error beside it.
        largest = torch.linalg.matrix_norm(theirs, ord=2) * a.shape[-2] ** 0.5
        assert (error / largest).max() < 2 * limit
        if case == "zero forcing":
            assert metrics.sir_db(a, ours).min() > quality_db
    assert operation.certificate(
        a, components(answer), no, Tolerance(quality_db - 1e-6, limit * 1.001)
    ).ok.all()


@EVERY
@pytest.mark.parametrize("certify", [None, "link", "call"])
def test_counts_add_up(name: str, case: str, certify: str | None) -> None:
    answers = SOLVER[name].start(CASE[case][0], channels(case), certify)
    asked(answers, 20)
    assert settled(answers) == ITEMS * POINTS
    if certify is None:
        assert answers.counts.corrected == 0


@pytest.mark.parametrize("case", CASE)
def test_certificates_have_something_to_do(case: str) -> None:
    """Otherwise the tests above would show little."""
    tight = Tolerance(90.0, 3e-5)
    for name, solver in SOLVER.items():
        # Newton-Schulz takes a few steps of conjugate gradients: enough for so small systems.
        exact = DIRECT | {"exact"} | ({"newton_schulz"} if case == "solution" else set())
        if suits(name, case) and name not in exact:
            answers = solver.start(CASE[case][0], channels(case), "call", tight)
            asked(answers, POINTS)
            plain = solver.start(CASE[case][0], channels(case), None)
            asked(plain, POINTS)
            changed = answers.counts.corrected + answers.counts.exact - plain.counts.exact
            assert changed > 0, name


@EVERY
@pytest.mark.parametrize("certify", [None, "call"])
def test_tiles_in_any_partition_give_the_same(name: str, case: str, certify: str | None) -> None:
    operation, given = CASE[case][0], channels(case)
    whole = asked(SOLVER[name].start(operation, given, certify), POINTS)
    for size in (1, 7, 32):
        parts = asked(SOLVER[name].start(operation, given, certify), size)
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
    # A part of the grid only, and not from its beginning.
    answers = SOLVER[name].start(operation, given, certify)
    part = components(answers.tile(slice(11, 30)))
    for one, other in zip(whole, part, strict=True):
        torch.testing.assert_close(one[:, 11:30], other, rtol=1e-8, atol=1e-9)


@EVERY
@pytest.mark.parametrize("certify", [None, "call"])
def test_items_do_not_influence_each_other(name: str, case: str, certify: str | None) -> None:
    operation, given = CASE[case][0], channels(case)
    together = asked(SOLVER[name].start(operation, given, certify), 16)
    for item in range(ITEMS):
        part = some(given, slice(None), slice(item, item + 1))
        alone = asked(SOLVER[name].start(operation, part, certify), 16)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[item : item + 1], other, rtol=1e-8, atol=1e-9)


@ESTIMATING
def test_grids_with_a_gap(name: str, case: str) -> None:
    operation, given = CASE[case][0], channels(case)
    keep = torch.arange(POINTS) != 23
    gap = some(given, keep)
    answers = SOLVER[name].start(operation, gap, "call")
    found = asked(answers, 16, POINTS - 1)
    assert settled(answers) == ITEMS * (POINTS - 1)
    assert operation.certificate(gap.a, found, gap.noise(), Tolerance(39.9, 1.1e-2)).ok.all()
    # The gap costs no accuracy: points that both grids have are as good without it.
    if name in ("linear", "spline", "dft", "operator_interpolation"):
        bare = asked(SOLVER[name].start(operation, gap, None), 16, POINTS - 1)
        other = asked(SOLVER[name].start(operation, given, None), 16)
        error = operation.residual(gap.a, bare, gap.noise()).max()
        assert error < 2 * operation.residual(given.a, other, given.noise()).max() + 1e-9


@pytest.mark.parametrize("name", [name for name in SOLVER if suits(name, "mmse")])
def test_noise_that_varies_over_frequency(name: str) -> None:
    given = channels("mmse")
    no = NO[:, None] * torch.linspace(0.5, 2.0, POINTS, dtype=torch.float64)
    varying = Channels(given.a, given.frequencies, no)
    answer = SOLVER[name].start(PseudoInverse(), varying, "call").tile(slice(5, 40))
    exact = Exact().start(PseudoInverse(), varying).tile(slice(5, 40))
    assert metrics.relative_error(answer.dense, exact.dense).max() < 0.03
    assert metrics.relative_error(answer.x, exact.x).max() < 0.03


@ESTIMATING
@pytest.mark.parametrize("points", [1, 2, 5])
def test_small_grids(name: str, case: str, points: int) -> None:
    operation, given = CASE[case][0], channels(case, points=points)
    answers = SOLVER[name].start(operation, given, "link")
    found = asked(answers, 2, points)
    assert settled(answers) == ITEMS * points
    assert operation.certificate(given.a, found, given.noise(), Tolerance(39.9, 1.1e-2)).ok.all()


@EVERY
def test_a_batch_of_no_items(name: str, case: str) -> None:
    operation, given = CASE[case][0], channels(case)
    nothing = some(given, slice(None), slice(0, 0))
    expected = operation.results(Exact().start(operation, given).tile(slice(3, 20)))
    for solver in (SOLVER[name], Cached(SOLVER[name]), Auto(SOLVER[name])):
        for certify in (None, "link", "call", "call"):
            answers = solver.start(operation, nothing, certify)
            found = operation.results(answers.tile(slice(3, 20)))
            for ours, exact in zip(found, expected, strict=True):
                assert ours.shape == (0, *exact.shape[1:]) and ours.dtype == exact.dtype
            assert answers.counts == Counts()
            answers.finish()


@EVERY
def test_autocast_takes_no_precision(name: str, case: str) -> None:
    operation, given = CASE[case][0], channels(case, torch.complex64, points=24)
    expected = SOLVER[name].start(operation, given, "call").tile(slice(3, 20))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = SOLVER[name].start(operation, given, "call").tile(slice(3, 20))
    for ours, plain in zip(operation.results(found), operation.results(expected), strict=True):
        assert torch.equal(ours, plain)


@pytest.mark.parametrize("name", [name for name in SOLVER if suits(name, "inverse")])
@pytest.mark.parametrize("where", [0, 20, 47])
def test_a_singular_matrix_spoils_itself_only(name: str, where: int) -> None:
    given = channels("inverse")
    given.a[0, where] = 0
    answers = SOLVER[name].start(Inverse(), given, "call")
    (w,) = asked(answers, 16)
    broken = ~torch.isfinite(w).all(-1).all(-1)
    assert broken.nonzero().tolist() == [[0, where]]
    assert settled(answers) == ITEMS * POINTS
    fine = Inverse().certificate(given.a, (w,), 0.0, Tolerance(39.9)).ok
    assert bool((fine | broken).all())


@pytest.mark.parametrize(("solver", "case"), [(s, c) for s in SOLVER for c in CASE])
def test_operations_without_the_components_are_refused(solver: str, case: str) -> None:
    if suits(solver, case):
        return
    wanted = r"\(x\)" if solver in FOR_SOLUTIONS else r"\(w\) or \(w, x\)"
    if solver in FOR_TRIPLETS:
        wanted = r"\(u, s, v\)"
    sentence = rf"^{type(SOLVER[solver]).__name__} computes the components {wanted}, not \("
    with pytest.raises(ValueError, match=sentence):
        SOLVER[solver].start(CASE[case][0], channels(case))


@pytest.mark.parametrize("solver", sorted(FOR_TRIPLETS - {"zhang_svd"}))
def test_more_triplets_than_there_are_are_refused(solver: str) -> None:
    with pytest.raises(ValueError, match="5 triplets are more than a matrix of 4 x 7 has."):
        SOLVER[solver].start(SVD(5), channels("svd"))


REFUSED: dict[str, tuple[Callable[[], Solver], str]] = {
    "no samples": (lambda: Linear(0), "num_samples of Linear is 0, at least one is needed."),
    "few samples": (lambda: Spline(3), "degree 3 through 3 samples does not exist"),
    "negative degree": (lambda: Spline(3, degree=-1), "degree -1 through 3 samples"),
    "nothing to hold": (lambda: Hold(), "Hold takes either num_samples or block, not 0 and 0."),
    "two to hold": (lambda: Hold(4, block=2), "not 4 and 2"),
    "no taps": (lambda: DFT(8, num_taps=0), "num_taps of DFT is 0"),
    "no steps": (lambda: NewtonSchulz(steps=0), "steps of NewtonSchulz is 0"),
    "no iterations": (lambda: NeuralNewton(steps=0), "steps of NeuralNewton is 0"),
    "large step": (lambda: NeuralNewton(step_size=2.0), "step_size is 2.0"),
    "no sketch": (lambda: OperatorInterpolation(4, sketch=0), "sketch of OperatorInterp"),
    "no gamma": (lambda: ZhangInverse(gamma=0.0), "gamma is 0.0, it is positive."),
    "large power": (lambda: ZhangInverse(power=2.0), "power is 2.0"),
    "large gain": (lambda: ZhangSVD(gain=0.5), "gain is 0.5"),
    "unknown driver": (lambda: LibrarySVD("gesdd"), 'cuSOLVER has no driver "gesdd", known are'),
    "oversampling": (lambda: RandomizedSVD(oversampling=-1), "oversampling of RandomizedSVD"),
    "recycled vectors": (lambda: GCRODR(num_recycled=20), "Of 20 vectors a cycle 20 cannot be"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_arguments_out_of_range_are_refused(what: str) -> None:
    make, sentence = REFUSED[what]
    with pytest.raises(ValueError, match=sentence):
        make()


def test_dft_refuses_grids_that_are_not_regular() -> None:
    given = channels("inverse")
    warped = Channels(given.a, given.frequencies**1.5)
    with pytest.raises(ValueError, match="on regular grids only"):
        DFT(8).start(Inverse(), warped)
    # Every comb of one in six points meets a gap.
    keep = torch.ones(POINTS, dtype=torch.bool)
    keep[12:18] = False
    with pytest.raises(ValueError, match="No comb of one in 6 subcarriers"):
        DFT(8).start(Inverse(), some(given, keep))


@pytest.mark.parametrize("name", [name for name in SOLVER if suits(name, "svd")])
def test_beamformer_and_combiner_of_any_solver_fit_together(name: str) -> None:
    """Both find the same triplets by themselves: streams arrive apart, whatever their phases."""
    size, symbols = 36, 2
    streams = StreamManagement(np.ones([1, 1]), 2)
    grid = ResourceGrid(
        symbols,
        size,
        30e3,
        num_tx=1,
        num_streams_per_tx=2,
        num_guard_carriers=(3, 2),
        dc_null=True,
    )
    # [1, 1, 4, 1, 7, symbols, subcarriers], constant over the symbols
    a = channels("svd", points=size).a[0]
    h = a.permute(1, 2, 0)[None, None, :, None, :, None].expand(-1, -1, -1, -1, -1, symbols, -1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 2, symbols, size, dtype=torch.complex128, generator=generator)
    beamformer = SVDBeamformer(grid, streams, SOLVER[name], precision="double")
    combiner = SVDCombiner(grid, streams, SOLVER[name], precision="double")
    sent = beamformer(x, h)
    y = torch.einsum("fmn,ntf->mtf", a, sent[0, 0])[None, None]
    x_hat, _ = combiner(y, h, 1e-3)
    effective = grid.effective_subcarrier_ind
    # Streams, then all data symbols: without pilots each stream's subcarriers in turn.
    wanted = x[0, 0][..., effective].flatten(1)
    found = x_hat.reshape(wanted.shape)
    assert torch.linalg.vector_norm(found - wanted) / torch.linalg.vector_norm(wanted) < 0.03


@pytest.mark.parametrize("name", [name for name in SOLVER if suits(name, "mmse")])
def test_blocks_take_any_solver(name: str) -> None:
    """A precoder and an equaliser, certified, against the exact ones."""
    size, symbols = 36, 2
    grids = {
        "down": ResourceGrid(symbols, size, 30e3, num_tx=1, num_streams_per_tx=3),
        "up": ResourceGrid(symbols, size, 30e3, num_tx=3, num_streams_per_tx=1),
    }
    # [1, users, 1, 1, antennas, symbols, subcarriers], constant over the symbols
    a = channels("mmse", points=size).a[0]
    h = a.permute(1, 2, 0)[None, :, None, None, :, None].expand(-1, -1, -1, -1, -1, symbols, -1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 3, symbols, size, dtype=torch.complex128, generator=generator)
    y = torch.randn(1, 1, 7, symbols, size, dtype=torch.complex128, generator=generator)
    h_up = h.permute(0, 2, 4, 1, 3, 5, 6)
    results = []
    for solver in (SOLVER[name], Exact()):
        down = ZFPrecoder(
            grids["down"], StreamManagement(np.ones([3, 1]), 3), solver, precision="double"
        )
        up = MMSEEqualizer(
            grids["up"], StreamManagement(np.ones([1, 3]), 1), solver, precision="double"
        )
        x_hat, no_eff = up(y, h_up, 0.0, 0.1)
        results.append((down(x, h), x_hat, no_eff))
        for block in (down, up):
            stats = block.stats
            assert stats.queried + stats.corrected + stats.exact == size
    for ours, exact in zip(*results, strict=True):
        assert (ours - exact).abs().max() / exact.abs().max() < 0.03
