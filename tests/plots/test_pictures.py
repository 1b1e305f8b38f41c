"""Pictures: what is drawn is what was given, into the axes given, without global state."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

import neumatc_mimo as nm
from neumatc_mimo import metrics, plots
from neumatc_mimo.learning.collocation import Refinement

F = torch.linspace(-5e6, 5e6, 11, dtype=torch.float64)
EBNO = [0.0, 2.0, 4.0]
_rng = np.random.default_rng(0)
Z = torch.from_numpy(_rng.standard_normal((4, 11)) + 1j * _rng.standard_normal((4, 11)))
FOUND = Refinement(200, 0.1, 0.5, F[:, None], Z[0].abs(), torch.tensor([2, 7]), 12)

# Every picture, on data of which the lines are known.
DRAWN: dict[str, Callable[..., Axes]] = {
    "singular_values": lambda **k: plots.singular_values({"a": Z.T, "b": Z[:2].T}, rank=3, **k),
    "entry": lambda **k: plots.entry(F, Z[0], Z[1], **k),
    "entry_error": lambda **k: plots.entry_error(F, Z[0], Z[1], **k),
    "residual": lambda **k: plots.residual(
        F, {"one": Z[0].abs(), "many": Z.abs()}, threshold=1e-2, **k
    ),
    "branches": lambda **k: plots.branches(F, Z[:3].abs().T, **k),
    "phase": lambda **k: plots.phase(F, {"before": Z[0], "after": Z[1]}, **k),
    "refinement": lambda **k: plots.refinement(FOUND, 0.5, parameter="f [Hz]", **k),
    "error_curves": lambda **k: plots.error_curves(
        EBNO, {"a": [1.0, 0.1, 0.0], "b": torch.tensor([1.0, 0.2, 0.01])}, **k
    ),
    "achievable_rates": lambda **k: plots.achievable_rates(EBNO, {"a": [1.0, 2.0, 3.0]}, **k),
    "times_along": lambda **k: plots.times_along("K", [2, 4, 8], {"a": [1, 2, 4]}, **k),
    "times": lambda **k: plots.times({"A": {"a": 1.0, "b": 2.0}, "B": {"a": 3.0}}, **k),
}

# Relative or counted quantities, entries of normalised matrices, and bars that are named.
WITHOUT_UNIT = {
    "",
    "BLER",
    "K",
    "absolute error",
    "entry",
    "index",
    "relative residual",
    "singular value",
    "singular value relative to the largest",
}


@pytest.fixture(params=[*DRAWN, "scenario_map"])
def draw(request: pytest.FixtureRequest, write_scenario: Any) -> Callable[..., Axes]:
    if request.param != "scenario_map":
        return DRAWN[request.param]
    scenario = nm.load_scenario(write_scenario())
    return lambda **k: plots.scenario_map(scenario, **k)


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    plt.close("all")
    yield
    plt.close("all")


def test_every_picture_is_tested() -> None:
    assert {*DRAWN, "scenario_map"} == {name for name in plots.__all__ if name != "COLOURS"}


def test_the_axes_given_are_returned_and_nothing_global_changes(
    draw: Callable[..., Axes], ax: Axes
) -> None:
    before = dict(plt.rcParams)
    assert draw(ax=ax) is ax
    assert ax.has_data()
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before


def test_without_axes_each_call_makes_a_figure(draw: Callable[..., Axes]) -> None:
    other = plt.figure().add_subplot()
    first, second = draw(), draw()
    assert len({other.figure, first.figure, second.figure}) == 3
    assert not other.has_data()


def test_axes_are_labelled_with_units_and_the_picture_can_be_drawn(
    draw: Callable[..., Axes], ax: Axes
) -> None:
    draw(ax=ax)
    labels = [ax.get_xlabel(), ax.get_ylabel()]
    for label in labels:
        assert re.search(r"\[[^]]+\]$", label) or label in WITHOUT_UNIT
    ax.figure.canvas.draw()


def test_lines_that_share_a_picture_differ_by_more_than_their_colour(
    draw: Callable[..., Axes], ax: Axes
) -> None:
    draw(ax=ax)
    named = [line for line in ax.lines if not line.get_label().startswith("_")]
    styles = [(line.get_linestyle(), line.get_marker()) for line in named]
    widths = [line.get_linewidth() for line in named]
    looks = list(zip(styles, widths, strict=True))
    # The two parts of an exact entry are told apart by what lies on them.
    few = {label for label in map(str, (line.get_label() for line in named)) if "exact" in label}
    assert len(set(looks)) >= len(looks) - max(len(few) - 1, 0)


def lines(ax: Axes) -> dict[str, tuple[Any, Any]]:
    return {str(line.get_label()): line.get_data() for line in ax.lines}


def test_lines_over_frequency_hold_the_data_passed(ax: Axes) -> None:
    mhz = F.numpy() / 1e6
    found = lines(DRAWN["entry"](ax=ax))
    for label, values in (("exact", Z[0]), ("queried", Z[1])):
        for part in ("real", "imag"):
            x, y = found[f"{label}, {part}"]
            assert_allclose(x, mhz)
            assert_allclose(y, getattr(values, part))

    ((x, y),) = (line.get_data() for line in DRAWN["entry_error"]().lines)
    assert_allclose(x, mhz)
    assert_allclose(y, (Z[0] - Z[1]).abs())

    for number, (x, y) in enumerate(lines(DRAWN["branches"]()).values()):
        assert_allclose(x, mhz)
        assert_allclose(y, Z[number].abs())

    for values, (x, y) in zip(Z, lines(DRAWN["phase"]()).values(), strict=False):
        assert_allclose(x, mhz)
        assert_allclose(y, values.angle())


def test_a_residual_of_links_is_their_median_and_range(ax: Axes) -> None:
    found = lines(DRAWN["residual"](ax=ax))
    assert_allclose(found["one"][1], Z[0].abs())
    median = found["many: median, range of links"][1]
    assert_allclose(median, np.median(Z.abs(), axis=0))
    assert set(found["threshold 0.01"][1]) == {1e-2}
    (band,) = ax.collections
    y = band.get_paths()[0].vertices[:, 1]
    assert_allclose([y.min(), y.max()], [Z.abs().min(), Z.abs().max()])


def test_a_residual_of_zero_still_has_its_line(ax: Axes) -> None:
    plots.residual(F, {"exact": torch.zeros(11)}, ax=ax)
    assert (ax.lines[0].get_ydata() > 0).all()


def test_singular_values_are_those_of_the_samples(ax: Axes) -> None:
    found = lines(DRAWN["singular_values"](ax=ax))
    for label, samples in (("a", Z.T), ("b", Z[:2].T)):
        index, decay = found[label]
        assert_allclose(decay, metrics.singular_decay(samples))
        assert_allclose(index, np.arange(1, len(decay) + 1))
    assert set(found["rank 3"][0]) == {3}


def test_candidates_and_what_was_added(ax: Axes) -> None:
    found = lines(DRAWN["refinement"](ax=ax))
    assert_allclose(found["candidates"], (F, Z[0].abs()))
    assert_allclose(found["2 added to the collocation points"], (F[[2, 7]], Z[0].abs()[[2, 7]]))
    assert ax.get_xlabel() == "f [Hz]"


def test_curves_leave_out_what_a_logarithm_cannot_show(ax: Axes) -> None:
    found = lines(DRAWN["error_curves"](ax=ax))
    assert_allclose(found["a"], (EBNO, [1.0, 0.1, np.nan]))
    assert_allclose(found["b"], (EBNO, [1.0, 0.2, 0.01]))
    assert ax.get_yscale() == "log"
    assert_allclose(lines(DRAWN["times_along"]())["a"], ([2, 4, 8], [1, 2, 4]))
    assert_allclose(lines(DRAWN["achievable_rates"]())["a"], (EBNO, [1, 2, 3]))


def test_bars_are_as_long_as_the_times_and_stand_at_what_was_done(ax: Axes) -> None:
    DRAWN["times"](ax=ax)
    bars = {label: list(c) for c, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    assert [bar.get_width() for bar in bars["a"]] == [1.0, 3.0]
    assert [bar.get_width() for bar in bars["b"]] == [2.0]
    ticks = dict(zip(ax.get_yticks(), (t.get_text() for t in ax.get_yticklabels()), strict=True))
    for bar, name in zip([*bars["a"], *bars["b"]], "ABA", strict=True):
        assert ticks[round(bar.get_y() + bar.get_height() / 2)] == name


def test_a_map_shows_every_user_of_a_link(write_scenario: Any, ax: Axes) -> None:
    scenario = nm.load_scenario(write_scenario())
    plots.scenario_map(scenario, ax=ax)
    marks = {str(c.get_label()): np.asarray(c.get_offsets()) for c in ax.collections}
    many, one = scenario.multi_user, scenario.single_user
    assert many is not None and one is not None
    assert_allclose(marks["4 single users"], one.user_positions.flatten(0, 1)[:, :2])
    groups = [c for c in ax.collections if len(c.get_offsets()) == 3]
    assert_allclose([g.get_offsets() for g in groups], many.user_positions[..., :2])
    assert len({(*g.get_facecolor()[0], len(g.get_paths()[0].vertices)) for g in groups}) == 4
    assert "4 groups of 3 users" in marks
    positions = scenario.positions
    assert_allclose(marks["base station"], positions.base_stations[:, :2])
    assert len(marks["users with a path"]) == positions.has_path.sum()
    assert len(marks["users without a path"]) == (~positions.has_path).sum()
    assert len(ax.lines) == 4 * 3


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: plots.entry(F, Z[0], Z[1, :5]), r"queried has the shape \[5\]"),
        (lambda: plots.residual(F, {"zf": torch.ones(11, 4)}), r"zf has the shape \[11, 4\]"),
        (lambda: plots.error_curves(EBNO, {"a": [1.0]}), r"a has the shape \[1\], .* 3 points"),
        (lambda: plots.branches(F, Z.abs()), r"transpose of values has the shape \[11, 4\]"),
        (
            lambda: plots.refinement(
                Refinement(1, 0.0, 0.0, torch.ones(5, 2), torch.ones(5), torch.ones(0), 5), 1.0
            ),
            "candidates have 2 coordinates",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused(call: Callable[[], Axes], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
    assert plt.get_fignums() == []
