"""The benchmark's own arithmetic: formulas, spreads, sheets, the rivals' tuning."""

from __future__ import annotations

import importlib
import json
import math
import time
from pathlib import Path

import pytest
import torch

from benchmarks.paper import flops
from benchmarks.paper.__main__ import MODULES
from benchmarks.paper.measure import Spread, measure, pooled, spread
from benchmarks.paper.methods import Method, fixed, rows
from benchmarks.paper.problems import (
    Problem,
    cosines,
    generator,
    inverse_error,
    on_grid,
    problem,
    synthetic_inversion,
    synthetic_svd,
)
from benchmarks.paper.real import users
from benchmarks.paper.sheet import RESULTS, ROOT, Settings, Sheet, number, run_and_write
from benchmarks.paper.sweeps import choice
from benchmarks.paper.trainings import TRAININGS, mlps, trained
from neumatc_mimo.families import Product, RadialFamily
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.operations import SVD, Inverse
from neumatc_mimo.solvers import (
    Exact,
    Hold,
    Learned,
    LibrarySVD,
    NeuralNewton,
    NumPyLU,
    NumPySVD,
    Spline,
    Trained,
    ZhangInverse,
)


@pytest.fixture(scope="module")
def small() -> Problem:
    return synthetic_inversion(8, 0)


def test_problem_keeps_samples_apart_from_errors(small: Problem) -> None:
    assert small.num_samples == 40 and int(small.unseen.sum()) == 117
    spline = Spline(small.num_samples)
    points = spline._points(small.channels.frequencies)
    assert not bool(small.unseen[points].any()) and len(points) == small.num_samples
    exact = torch.linalg.inv(small.channels.a[0].double())
    torch.testing.assert_close(small.exact[0], exact, rtol=1e-4, atol=1e-5)


def test_users_are_drawn_whatever_their_condition() -> None:
    # Tables leave out a scenario that has too few users, and no other.
    links = users("munich", 64)
    assert (links.num_links, links.num_rows, links.num_cols) == (1, 64, 128)


def test_errors_are_those_of_the_answers(small: Problem) -> None:
    answer = Exact().start(small.operation, small.channels).tile(slice(0, 157))
    assert small.error(answer).max() < 1e-5
    wrong = (1.5 * answer.w,)
    torch.testing.assert_close(
        small.error(wrong), torch.full((117,), 0.5, dtype=torch.float64), rtol=1e-4, atol=1e-4
    )
    svd = synthetic_svd(16, 0, 4)
    answer = Exact().start(svd.operation, svd.channels).tile(slice(0, 157))
    assert svd.error(answer).max() < 1e-2
    flipped = answer._replace(left=-answer.left)
    assert (svd.error(flipped) - 2).abs().max() < 1e-2


def test_formulas(small: Problem) -> None:
    n = 8
    assert flops.flops(NumPyLU(), small) == 2 * n**3
    assert flops.flops(NeuralNewton(steps=3), small) == 3 * 4 * n**3
    assert flops.flops(ZhangInverse(substeps=2), small) == 2 * 4 * 3 * 2 * n**3
    assert flops.flops(Spline(40), small) == 2 * 4 * n**2
    assert flops.flops(Hold(40), small) == 0
    assert flops.flops(Learned(40, 12, SplineBasis(40)), small) == 2 * 8 * 12 + 2 * 12 * n**2
    assert flops.flops(Learned(40), small) == 2 * 4 * n**2
    solver, seconds = trained(small, 6, steps=2)
    weights = 64 + 64 * 64 + 64 * 6
    assert flops.flops(solver, small) == 2 * weights + 2 * 6 * n**2 and seconds > 0
    svd = synthetic_svd(n, 0, 2)
    assert flops.flops(NumPySVD(), svd) == flops.flops(LibrarySVD(), svd) == 22 * n**3
    # Complex numbers take four real products and as many sums.
    both = problem(Inverse(), small.channels.a[0] + 0j, inverse_error)
    assert flops.flops(NumPyLU(), both) == 8 * n**3
    assert flops.flops(Spline(40), both) == 2 * 4 * 2 * n**2
    with pytest.raises(NotImplementedError, match="no formula for object"):
        flops.flops(object(), small)  # type: ignore[arg-type]


def test_measure(small: Problem) -> None:
    exact = measure("LU", small, NumPyLU(), most=4, seconds=0.01)
    assert exact.error < 1e-6 and exact.training == 0 and exact.worst >= exact.error
    assert 0 < exact.milliseconds.low <= exact.milliseconds.median <= exact.milliseconds.high
    learned = measure("NeuMatC", small, Learned(40, 32), most=1)
    assert learned.training > 0 and learned.error < 1e-3
    given = measure("NeuMatC", small, Learned(40, 32), most=1, training=7.0)
    assert given.training == 7.0
    # One run, no warm-up: the spread is none.
    assert given.milliseconds.low == given.milliseconds.high


def test_spread_and_pool() -> None:
    found = spread(lambda: time.sleep(0.002), seconds=0.02, most=5)
    assert 0.002 <= found.low <= found.median <= found.high
    assert found.times(0.5).median == found.median / 2
    pool = pooled([Spread(0, value, 9) for value in (1.0, 2.0, 3.0, 4.0, 5.0)])
    assert (pool.low, pool.median, pool.high) == (2.0, 3.0, 4.0)
    assert pooled([Spread(0, 1, 9)]) == Spread(0, 1, 9)


def test_rows_compare_with_the_first_method(small: Problem) -> None:
    methods = [*fixed({"LU": NumPyLU()}), Method.of("NeuMatC", Learned(40, 16), 16, num_sets=1)]
    first, second = rows([small, small], methods, most=1)
    assert first["times first"] == 1 and first["sets"] == 2 and first["rank"] is None
    assert second["sets"] == 1 and second["rank"] == 16 and second["training, s"] > 0
    assert list(first) == list(second)


@pytest.mark.parametrize("name", TRAININGS)
def test_either_training_learns_from_samples_and_points_between(name: str) -> None:
    given = problem(Inverse(), on_grid(cosines(6, 1, max_frequency=2.0)), inverse_error)
    solver, _ = trained(given, 12, **TRAININGS[name] | {"steps": 150})
    assert isinstance(solver, Trained)
    assert measure(name, given, solver, most=1).error < 2e-2


def test_tables_show_the_published_training_and_variable_projection(small: Problem) -> None:
    names = [f"NeuMatC, {name}" for name in TRAININGS]
    assert [method.name for method in mlps(6)] == names
    assert not TRAININGS["Adam, as published"]["projection"]
    assert TRAININGS["variable projection"]["projection"]


def test_sheet_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(settings: Settings) -> Sheet:
        found = [{"n": 1, "value": 1.23456e-7, "rank": None}, {"n": 22, "value": 0.5, "rank": 3}]
        return Sheet("table_1", "A title", "A caption.", [*found, {"other": True}])

    run_and_write(run, Settings(True, tmp_path))
    assert "| 22 | 0.500   | 3    |" in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["table_1.json", "table_1.md"]
    data = json.loads((tmp_path / "table_1.json").read_text())
    assert data["rows"][1]["value"] == 0.5
    assert data["origin"]["quick"] and data["origin"]["versions"]["torch"]
    text = (tmp_path / "table_1.md").read_text()
    assert "| 1  | 1.2e-07 | –    |" in text and "| yes   |" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234.0, "1234"), (0.01234, "0.0123"), (1e-5, "1.0e-05"), (math.inf, "inf")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_every_module_is_run_by_the_one_command() -> None:
    folder = ROOT / "benchmarks/paper"
    files = {file.stem for file in folder.glob("*.py") if "\ndef run(settings" in file.read_text()}
    assert files == set(MODULES)
    for name in MODULES:
        assert importlib.import_module(f"benchmarks.paper.{name}").__doc__


def test_the_sweep_chooses_the_cheapest_that_is_good_enough() -> None:
    def row(gflop: float, error: float) -> dict[str, float]:
        return {"GFLOP": gflop, "RelErr, mean": error}

    cheap, good, better = row(1, 1e-2), row(2, 9e-4), row(2, 1e-4)
    assert choice([cheap, good, better, row(3, 1e-6)]) is better
    assert choice([row(1, math.inf), cheap, row(2, 2e-2)]) is cheap


def test_rivals_are_the_sweeps_choice() -> None:
    file = RESULTS / "sweeps.json"
    swept = json.loads(file.read_text())["rows"]
    rivals = {(row["operation"], row["rival"]) for row in swept}
    for operation, rival in rivals:
        mine = [row for row in swept if (row["operation"], row["rival"]) == (operation, rival)]
        assert sum(row["best"] for row in mine) == 1
        assert [row["setting"] for row in mine if row["best"]] == [
            row["setting"] for row in mine if row["used"]
        ], rival


def test_products_and_radial_functions() -> None:
    left = RadialFamily((5, 2), generator(0), num_functions=4, decay=0.1)
    right = RadialFamily((6, 2), generator(1), num_functions=4)
    family = Product(left, right)
    p = family.grid(50)
    torch.testing.assert_close(family(p), left(p) @ right(p).mH)
    assert family.shape == (5, 6) and family(p).shape == (50, 5, 6)
    assert int(torch.linalg.matrix_rank(left(p).flatten(1))) == 4
    assert int(torch.linalg.matrix_rank(family(p)).max()) == 2
    with pytest.raises(ValueError, match="There is no product"):
        Product(left, RadialFamily((6, 3), generator(1)))
    for wrong, sentence in (
        ({"num_functions": 1}, "at least two"),
        ({"width": 0.0}, "it is positive"),
        ({"decay": 2.0}, "lies in"),
    ):
        with pytest.raises(ValueError, match=sentence):
            RadialFamily((5, 2), generator(0), **wrong)


def test_trained_mappings_one_an_item() -> None:
    svd = synthetic_svd(8, 0, 2)
    with pytest.raises(ValueError, match="2 trained mappings for 1 items"):
        Trained([lambda p: (p,), lambda p: (p,)]).start(SVD(2), svd.channels)
