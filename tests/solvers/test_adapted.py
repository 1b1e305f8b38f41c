"""Links that no training has seen: latent tensors of their own, proven, counted, or exact."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import metrics
from neumatc_mimo.blocks import WMMSEPrecoder, ZFPrecoder
from neumatc_mimo.kernels.lanes import library
from neumatc_mimo.operations import (
    SLNR,
    SVD,
    WMMSE,
    BlockDiagonalization,
    MaxMin,
    Operation,
    PseudoInverse,
)
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.solvers import (
    Adapted,
    Answers,
    Auto,
    Cached,
    Channels,
    Counts,
    Exact,
    Solver,
    Spline,
)
from neumatc_mimo.solvers.adapted_plan import AdaptedPlan
from neumatc_mimo.solvers.base import tiles
from tests.conftest import Trainer
from tests.warned import strangers

NO = 0.05
OPERATIONS: dict[str, Operation] = {
    "pseudo_inverse": PseudoInverse(),
    "svd": SVD(2),
    "wmmse": WMMSE(NO),
    "max_min": MaxMin(NO),
    "slnr": SLNR(NO, 2),
    "block_diagonalization": BlockDiagonalization(2),
}


@pytest.fixture(scope="module")
def links(write_scenario: Callable[..., Path]) -> LinkSet:
    file = write_scenario(
        grid={"fft_size": 1024, "subcarrier_spacing": 15e3},
        multi_user={"users_per_link": 2, "num_links": 3, "ue": [2, 1], "row_scaling": "unit"},
        single_user=None,
    )
    links = nm.load_scenario(file).multi_user
    assert links is not None
    return links


def channels(links: LinkSet, no: float | None = None, **changes: Any) -> Channels:
    frequencies = links.grid_frequencies()
    power = None if no is None else torch.full((links.num_links,), no)
    return Channels(links.channel(frequencies, **changes), frequencies, power)


def collect(answers: Answers, operation: Operation, a: Tensor) -> list[Any]:
    """All tiles of an answer as tensors that do not depend on how it is factored."""
    parts = [operation.results(answers.tile(tile)) for tile in tiles(a, 10**4)]
    return [torch.cat(part, dim=1) for part in zip(*parts, strict=True)]


def test_results_that_follow_no_factors_of_the_rows(links: LinkSet) -> None:
    given = channels(links, aligned=True)
    square = replace(given, a=given.a[..., : links.num_rows])
    operation = nm.MatrixExponential()
    answers = Adapted().start(operation, square, certify="call")
    (found,) = collect(answers, operation, square.a)
    assert answers.counts.links_adapted > 0 and answers.counts.queried > 0
    (expected,) = operation.exact(square.a)
    error = torch.linalg.matrix_norm(found - expected) / torch.linalg.matrix_norm(expected)
    assert error.max() < 1e-2


def _svd(solver: Solver, given: Channels) -> list[Any]:
    return collect(solver.start(SVD(2), given), SVD(2), given.a)


def _plans(solver: Adapted) -> list[AdaptedPlan]:
    return [plan for plan, _ in solver._plans._kept.values()]


def test_a_grid_is_planned_once(links: LinkSet) -> None:
    solver, given = Adapted(), channels(links)
    _svd(solver, given)
    (plan,) = _plans(solver)
    # Known by its values, in whatever memory they are.
    _svd(solver, replace(given, frequencies=given.frequencies.clone()))
    _svd(solver, replace(given, a=given.a.roll(1, 0)))
    assert _plans(solver) == [plan]
    _svd(solver, replace(given, a=given.a.to(torch.complex128)))
    _svd(solver, replace(given, frequencies=given.frequencies + 1))
    assert len(_plans(solver)) == 3


@pytest.mark.parametrize("mode", ["inference", "autocast", "gradient"])
def test_plans_are_made_outside_of_a_call(links: LinkSet, mode: str) -> None:
    given, solver = channels(links), Adapted()
    expected = _svd(Adapted(), given)
    if mode == "inference":
        with torch.inference_mode():
            found = _svd(solver, channels(links))
    elif mode == "autocast":
        with torch.autocast("cpu", dtype=torch.float16):
            found = _svd(solver, given)
    else:
        found = _svd(solver, replace(given, a=given.a.clone().requires_grad_()))
        assert all(value.requires_grad for value in found)
    again = _svd(solver, given)
    for one, two, three in zip(found, again, expected, strict=True):
        torch.testing.assert_close(one.detach(), three, rtol=1e-4, atol=1e-4)
        assert torch.equal(two, three) and not two.requires_grad
    (plan,) = _plans(solver)
    for kept in (plan.gain,):
        assert kept.dtype in (torch.float32, torch.float64)
        assert not kept.is_inference() and not kept.requires_grad
    # A second gradient through the same plan.
    asked = given.a.clone().requires_grad_()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(_svd(solver, replace(given, a=asked))[1].sum(), asked)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_plan_anew(links: LinkSet, copied: Callable[[Any], Any]) -> None:
    solver, given = Adapted(spacing=8), channels(links)
    expected = _svd(solver, given)
    other = copied(solver)
    assert (other.spacing, len(_plans(other)), len(_plans(solver))) == (8, 0, 1)
    for one, two in zip(_svd(other, given), expected, strict=True):
        assert torch.equal(one, two)


def test_threads_share_an_adapted_solver(links: LinkSet) -> None:
    solver, given = Adapted(), channels(links)
    grids = [replace(given, frequencies=given.frequencies + i) for i in range(3)]
    expected = [_svd(Adapted(), grid)[1] for grid in grids]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda i: _svd(solver, grids[i % 3])[1], range(18)))
    for i, value in enumerate(found):
        assert torch.equal(value, expected[i % 3])
    assert len(_plans(solver)) == 3


def test_a_batch_of_no_items(links: LinkSet) -> None:
    given = channels(links, NO)
    nothing, one = given.select(torch.arange(0)), given.select(torch.arange(1))
    for operation in OPERATIONS.values():
        expected = operation.results(Exact().start(operation, one).tile(slice(0, 5)))
        for solver in (Adapted(), Cached(Adapted()), Auto(Adapted())):
            answers = solver.start(operation, nothing)
            found = operation.results(answers.tile(slice(0, 5)))
            for value, exact in zip(found, expected, strict=True):
                assert value.shape == (0, *exact.shape[1:])
            assert answers.counts == Counts()


@pytest.mark.parametrize("name", OPERATIONS)
def test_adapted_results_are_those_of_the_exact_solver(links: LinkSet, name: str) -> None:
    operation = OPERATIONS[name]
    given = channels(links, NO)
    answers = Adapted().start(operation, given)
    found = collect(answers, operation, given.a)
    exact = collect(Exact().start(operation, given), operation, given.a)
    for value, expected in zip(found, exact, strict=True):
        error = (value - expected).flatten(2).norm(dim=-1) / expected.flatten(2).norm(dim=-1)
        # A certificate of WMMSE bounds the violation of its optimality, not the distance.
        assert error.median() < 3e-2
    counts = answers.counts
    assert counts.links_adapted >= links.num_links - 1
    # Every subcarrier is counted once.
    assert counts.queried + counts.corrected + counts.exact == given.a[..., 0, 0].numel()
    unknown = links.num_links - counts.links_adapted
    num = len(given.frequencies)
    assert counts.exact < unknown * num + 0.2 * num * links.num_links


def test_every_stream_keeps_the_proven_ratio(links: LinkSet) -> None:
    given = channels(links)
    operation = PseudoInverse()
    (w,) = collect(Adapted().start(operation, given), operation, given.a)
    assert metrics.sir_db(given.a.to(torch.complex128), w.to(torch.complex128)).amin() > 39.9


@pytest.mark.parametrize("name", ["pseudo_inverse", "wmmse"])
def test_delays_of_the_users_do_not_matter(links: LinkSet, name: str) -> None:
    operation = OPERATIONS[name]
    given = channels(links, NO)
    delay = torch.tensor([1e-6, 1e-6, -2e-6, -2e-6], dtype=torch.float64)
    waves = torch.polar(torch.ones(()).double(), -2 * math.pi * given.frequencies[:, None] * delay)
    moved = replace(given, a=given.a * waves[..., None].to(given.a.dtype))
    plain = Adapted().start(operation, given, None)
    late = Adapted().start(operation, moved, None)
    (before,), (after,) = (collect(answers, operation, given.a) for answers in (plain, late))
    turned = before * waves.conj()[:, None].to(before.dtype)
    assert (after - turned).norm() < 1e-2 * turned.norm()


def test_it_interpolates_better_than_a_spline_through_as_many_samples(links: LinkSet) -> None:
    operation, given = PseudoInverse(), channels(links, aligned=True)
    (exact,) = collect(Exact().start(operation, given), operation, given.a)

    def error(solver: Solver) -> tuple[float, int]:
        answers = solver.start(operation, given, None)
        (w,) = collect(answers, operation, given.a)
        return float(metrics.relative_error(w, exact).median()), answers.counts.exact

    ours, num = error(Adapted())
    theirs, _ = error(Spline(num // links.num_links))
    assert ours < theirs / 2


def test_channels_that_vary_too_fast_are_computed_exactly(links: LinkSet) -> None:
    operation, given = PseudoInverse(), channels(links)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(given.a.shape[1:], dtype=given.a.dtype, generator=generator)
    given.a[1] = noise
    answers = Adapted().start(operation, given)
    (w,) = collect(answers, operation, given.a)
    (exact,) = collect(Exact().start(operation, given), operation, given.a)
    assert answers.counts.links_adapted == links.num_links - 1
    assert torch.allclose(w[1], exact[1], atol=1e-5)
    assert metrics.relative_error(w, exact).amax() < 2e-2


def test_a_short_grid_or_noise_that_varies_is_computed_exactly(links: LinkSet) -> None:
    operation, given = PseudoInverse(), channels(links)
    few = Channels(given.a[:, :100], given.frequencies[:100])
    varying = replace(given, no=torch.full(given.a.shape[:2], 0.1))
    for case in (few, varying):
        answers = Adapted().start(operation, case)
        collect(answers, operation, case.a)
        assert answers.counts.exact == case.a[..., 0, 0].numel()
        assert answers.counts.links_adapted == 0


@pytest.mark.parametrize("arguments", [{"spacing": 0}, {"steps": 0}])
def test_arguments_below_one_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Adapted(**arguments)


@pytest.fixture(scope="module")
def scenario(write_scenario: Callable[..., Path]) -> nm.Scenario:
    file = write_scenario(
        grid={"fft_size": 512, "subcarrier_spacing": 30e3},
        multi_user={"users_per_link": 2, "num_links": 4, "wmmse_db": 10 * math.log10(NO)},
        single_user=None,
        model={"width": 128, "samples": 96, "collocation": 192},
    )
    return nm.load_scenario(file)


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


@pytest.fixture(scope="module")
def fresh(scenario: nm.Scenario) -> LinkSet:
    other = nm.load_scenario(scenario.config.file, seed=99).multi_user
    assert other is not None
    return other


def _slot(h: Tensor) -> tuple[Tensor, Tensor]:
    h = h.permute(0, 2, 3, 1)[:, :, None, None, :, None, :].expand(-1, -1, -1, -1, -1, 2, -1)
    generator = torch.Generator().manual_seed(0)
    shape = (h.shape[0], 1, 2, 2, h.shape[-1])
    return torch.randn(shape, dtype=torch.complex64, generator=generator), h


def _grid() -> tuple[ResourceGrid, StreamManagement]:
    grid = ResourceGrid(2, 512, 30e3, num_tx=1, num_streams_per_tx=2)
    return grid, StreamManagement(np.ones([2, 1]), 2)


def test_known_links_are_recalled_and_others_adapted_in_one_batch(
    scenario: nm.Scenario, model: nm.ScenarioModel, fresh: LinkSet
) -> None:
    assert scenario.multi_user is not None
    f = fresh.grid_frequencies()
    h = torch.cat([scenario.multi_user.channel(f, [1, 3]), fresh.channel(f, [0, 2])])
    x, slot = _slot(h)
    block = WMMSEPrecoder(*_grid(), replace(model, unknown=Adapted()))
    exact = WMMSEPrecoder(*_grid(), nm.Exact())
    queried, expected = (b(x, slot, NO)[:, 0, :, 0].mT for b in (block, exact))
    assert (queried - expected).norm() < 0.15 * expected.norm()
    stats = block.stats
    assert (stats.links_recalled, stats.links_adapted, stats.links_unknown) == (2, 2, 0)
    assert stats.exact < 0.25 * 2 * 512


@pytest.mark.parametrize("kernels", ["", "off"])
def test_new_links_are_adapted_to_where_no_kernel_computes_them(
    kernels: str, model: nm.ScenarioModel, fresh: LinkSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(library.VARIABLE, kernels)
    library.forget()
    if not kernels and library.loaded() is None:
        pytest.skip(f"The kernels are {library.why_not()}.")
    x, slot = _slot(fresh.channel(fresh.grid_frequencies()))
    block = WMMSEPrecoder(*_grid(), model)
    with strangers(not kernels):
        block(x, slot, NO)
    library.forget()
    adapted = fresh.num_links if kernels else 0
    assert block.stats.links_adapted == adapted
    assert block.stats.links_unknown == fresh.num_links - adapted


def test_what_is_cheap_is_computed_exactly(model: nm.ScenarioModel, fresh: LinkSet) -> None:
    x, slot = _slot(fresh.channel(fresh.grid_frequencies()))
    block = ZFPrecoder(*_grid(), model)
    with strangers():
        found = block(x, slot)
    assert torch.equal(found, ZFPrecoder(*_grid(), nm.Exact())(x, slot))
    assert block.stats.links_unknown == fresh.num_links


def test_a_user_may_choose_what_happens_to_unknown_links(
    model: nm.ScenarioModel, fresh: LinkSet
) -> None:
    x, slot = _slot(fresh.channel(fresh.grid_frequencies()))
    adapting = ZFPrecoder(*_grid(), replace(model, unknown=Adapted()))
    adapting(x, slot)
    assert adapting.stats.links_adapted == fresh.num_links
    exact = WMMSEPrecoder(*_grid(), replace(model, unknown=Exact()))
    with strangers():
        exact(x, slot, NO)
    assert exact.stats.links_unknown == fresh.num_links
    assert exact.stats.exact == fresh.num_links * 512


def test_auto_tries_both_ways_on_unknown_links(model: nm.ScenarioModel, fresh: LinkSet) -> None:
    x, slot = _slot(fresh.channel(fresh.grid_frequencies()))
    block = ZFPrecoder(*_grid(), Auto(model, num_trials=1))
    with strangers():
        for _ in range(6):
            block(x, slot)
    assert 0 < block.stats.links_adapted < 6 * fresh.num_links
