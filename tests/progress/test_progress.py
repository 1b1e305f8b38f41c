"""Long steps tell how far they are: to callbacks, and to a bar where someone can see it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import neumatc_mimo as nm
from neumatc_mimo.bench.evaluation import evaluate
from neumatc_mimo.progress import Event, reported, within
from neumatc_mimo.progress.bar import ProgressBar, shared_bar
from neumatc_mimo.reporting.report import write_report
from neumatc_mimo.simulation import PIPELINES, error_curves, waterfall
from tests.docs.common import ROOT

Step = Callable[[Callable[[Event], object]], object]


@pytest.fixture(scope="module")
def scenario(write_scenario: Any) -> nm.Scenario:
    file = write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": 192, "subcarrier_spacing": 120e3},
        model={"width": 96, "samples": 128, "collocation": 128},
    )
    return nm.load_scenario(file)


@pytest.fixture
def steps(scenario: nm.Scenario, small_model: nm.ScenarioModel, tmp_path: Path) -> dict[str, Step]:
    """Each long step as a function of a callback."""
    assert scenario.single_user is not None

    def pipeline(solver: Any) -> Any:
        return PIPELINES["svd"](scenario.single_user, solver, stride=1, coded=False)

    def load(callback: Any) -> Any:
        config = scenario.config
        return nm.load_scenario(config.file, callback=callback).multi_user

    return {
        "load": load,
        "train": lambda tell: nm.train(scenario, callback=tell),
        "evaluate": lambda tell: evaluate(
            small_model, scenario, num_blocks=20, bits=(2,), num_frequencies=16, callback=tell
        ),
        "waterfall": lambda tell: waterfall(pipeline(nm.Exact()), batch_size=50, callback=tell),
        "error_curves": lambda tell: error_curves(
            pipeline,
            {"exact": nm.Exact(), "queried": small_model},
            [0.0, 5.0],
            batch_size=4,
            max_calls=2,
            callback=tell,
        ),
        "report": lambda tell: write_report(tmp_path, {}, scenario, callback=tell),
    }


_STEPS = ["load", "train", "evaluate", "waterfall", "error_curves", "report"]


@pytest.mark.parametrize("name", _STEPS)
def test_steps_come_to_their_end_and_never_go_back(name: str, steps: dict[str, Step]) -> None:
    events: list[Event] = []
    steps[name](events.append)
    assert events
    by_step: dict[str, list[Event]] = {}
    for event in events:
        by_step.setdefault(event.step, []).append(event)
    for part in by_step.values():
        done = [event.done for event in part]
        assert done == sorted(done)
        assert len({event.total for event in part}) == 1
        assert part[-1].total in (None, done[-1])


@pytest.mark.parametrize("name", _STEPS)
def test_what_a_callback_raises_ends_the_step(name: str, steps: dict[str, Step]) -> None:
    def stop(event: Event) -> None:
        raise InterruptedError(event.step)

    with pytest.raises(InterruptedError):
        steps[name](stop)


def test_training_tells_its_rounds_and_its_certificates(scenario: nm.Scenario) -> None:
    events: list[Event] = []
    model = nm.train(scenario, callback=events.append)
    assert {event.step for event in events} == set(model.models)
    for name, part in model.models.items():
        own = [event.metrics for event in events if event.step == name]
        rounds = [metrics for metrics in own if "round" in metrics]
        (history,) = part.training["batches"]
        assert rounds == history[:-1]  # the last projection is no round
        assert own[-1] == {key: part.training[key] for key in own[-1]} and own[-1]


def test_several_callbacks_hear_the_same(scenario: nm.Scenario) -> None:
    first: list[Event] = []
    second: list[Event] = []
    nm.train(scenario, callback=[first.append, second.append])
    assert first == second and first


@pytest.mark.parametrize("given", [3, ["bar"], [print, None]])
def test_what_is_no_callback_is_refused(given: Any) -> None:
    with (
        pytest.raises(TypeError, match="a function of an Event, or several, are needed"),
        reported(given),
    ):
        pass


def test_parts_carry_the_name_of_their_step() -> None:
    events: list[Event] = []
    within("downlink", events.append)(Event("exact", 1, 2, "points", {"bler": 0.1}))
    assert events == [Event("downlink: exact", 1, 2, "points", {"bler": 0.1})]


def _drawn(*events: Event) -> list[str]:
    """The lines of a bar in a terminal after the last event."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, color_system=None)
    with ProgressBar(console) as bar:
        for event in events:
            bar(event)
        file.truncate(0)
        bar._progress.refresh()
        shown = file.getvalue()
    return [line for line in shown.splitlines() if line.strip(" \x00\x1b[0123456789;AK?lh")]


def test_a_bar_shows_where_a_step_stands() -> None:
    (line,) = _drawn(Event("pseudo_inverse", 3, 32, "links", {"loss": 0.00123, "lost_blocks": 7}))
    assert "pseudo_inverse" in line and "3/32 links" in line
    assert "loss 0.00123, lost blocks 7" in line


def test_lines_go_when_steps_are_done_or_others_begin() -> None:
    assert _drawn(Event("drawing", 2, 2)) == []
    unmeasured = Event("finding Eb/N0", 1)
    (line,) = _drawn(unmeasured, Event("exact", 1, 5))
    assert "exact" in line
    (line,) = _drawn(Event("exact", 1, 5), Event("exact", 5, 5), unmeasured)
    assert "finding" in line
    assert len(_drawn(Event("worker 1", 1, 5), Event("worker 2", 1, 5))) == 2


def test_markup_in_names_is_shown_as_it_is() -> None:
    (line,) = _drawn(Event("[multi_user] of [red]", 1, 2))
    assert "[multi_user] of [red]" in line


_SCRIPT = """
import sys
import neumatc_mimo as nm
scenario = nm.load_scenario(sys.argv[1], progress=False)
nm.train(scenario)
print("without", file=sys.stderr)
nm.train(scenario, progress=False)
"""


def _error_output(file: Path) -> str:
    """What the script writes to a terminal that is its standard error."""
    pty = pytest.importorskip("pty", reason="no terminals on this system")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-c", _SCRIPT, str(file)]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # its end, on Linux
            pass
    os.close(ours)
    assert process.returncode == 0
    return shown.decode()


@pytest.mark.slow
def test_a_terminal_gets_a_bar_unless_it_is_turned_off(scenario: nm.Scenario) -> None:
    assert scenario.config.file is not None
    shown, hidden = _error_output(scenario.config.file).split("without")
    assert "pseudo_inverse" in shown and "pseudo_inverse" not in hidden


def test_what_is_no_terminal_gets_none(scenario: nm.Scenario, capfd: Any) -> None:
    nm.train(scenario)
    assert capfd.readouterr() == ("", "")


def test_steps_within_a_step_share_its_bar() -> None:
    with shared_bar() as outer, shared_bar() as inner:
        assert inner is outer
    with shared_bar() as other:
        assert other is not outer


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_keeps_name_and_count(width: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width)
    with ProgressBar(console) as bar:
        event = Event("pseudo_inverse", 3, 64, metrics={"residual": 1.25e-5, "failed": 12.0})
        bar(event)
        bar(event)
        bar._progress.refresh()
    shown = screen.getvalue()
    assert "pseudo_inverse" in shown and "3/64" in shown
    # A bar, and the time that has passed and is left.
    assert "━" in shown and "0:00:00" in shown and "-:--:--" in shown
    assert ("residual" in shown) == (width > 80)


def test_of_a_long_name_the_end_is_kept_beside_the_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    step = "4 × 16, 128 subcarriers, 14 symbols, batch 1, single: MMSEEqualizer: timing [exact]"
    with ProgressBar(console) as bar:
        bar(Event(step, 64, 128, unit="calls"))
        bar._progress.refresh()
    (line,) = {line for line in re.split("[\r\n]", screen.getvalue()) if "64/128" in line}
    assert re.search(r"….*MMSEEqualizer: timing \[exact\] ━", line)
    assert "calls 0:00:00 -:--:--" in line
