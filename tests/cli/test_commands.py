"""The command line: help, JSON, results, and one sentence for bad input."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from rich.console import Console
from typer.testing import CliRunner

import neumatc_mimo as nm
from neumatc_mimo.cli import app, main
from neumatc_mimo.cli.plan import plan_table
from neumatc_mimo.cli.terminal import fitting_table
from neumatc_mimo.cli.train import train_and_save
from neumatc_mimo.progress import Event
from tests.warned import patched

_COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]
_RUNNER = CliRunner()
main_module = import_module("neumatc_mimo.cli.main")


def _main(monkeypatch: pytest.MonkeyPatch, capsys: Any, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and error of the command line."""
    monkeypatch.setattr(sys, "argv", ["neumatc-mimo", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    result = _RUNNER.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"neumatc-mimo {command}" in result.output and "--json" in result.output


def test_scenarios_as_json() -> None:
    result = _RUNNER.invoke(app, ["scenarios", "--json"])
    assert {"munich"} <= {scenario["name"] for scenario in json.loads(result.stdout)}
    assert "munich" in _RUNNER.invoke(app, ["scenarios"]).stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["simulate", "nowhere", "--exact-only"], 'no scenario file and no bundled scenario "nowh'),
        (["evaluate", "munich", "--model", "/nonexistent/model"], "There is no model folder"),
        (["report", "/nonexistent/report"], "run `neumatc-mimo demo` first"),
        (["demo", "munich", "--report", "/proc/report"], "cannot be written"),
        (["bench", "munich", "--axis", "length"], 'There is no axis "length", known are "own"'),
        (["train", "munich", "--task-seconds", "3"], "--task-seconds needs --ray"),
        (["train", "munich", "--model", "a", "--models", "b"], "are both given; leave one out"),
        (["train", "munich", "--model", "."], "is the current folder or one above it"),
        (["train", "munich", "--model", "/usr"], "contains files but no model.json"),
        (["train", "munich", "--model", "a\0b"], "has a zero byte"),
        (["train", "munich", "--set", "width=1000000000"], "width in [model] is 1000000000"),
        (["train", "/dev/zero"], "/dev/zero is no file, give the path of a TOML file"),
        (["evaluate", "munich", "--model", "/dev/zero"], "There is no model folder /dev/zero"),
        (["export", "/nonexistent/model", "-o", "/nonexistent/a.onnx"], "a.onnx cannot be written"),
        (["export", "/nonexistent/model", "-o", "/proc/a.pt2"], "/proc/a.pt2 cannot be written"),
        (["export", "/nonexistent/model", "-o", "/tmp/a.txt"], 'ends in ".txt", known are .onnx'),
    ],
)
def test_bad_input_gets_one_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    code, out, err = _main(monkeypatch, capsys, *arguments)
    assert code == 1 and out == ""
    assert sentence in " ".join(err.split()) and "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "munich", "--seed", str(2**64)],
        ["train", "munich", "--scenario-seed", str(2**64)],
        ["simulate", "munich", "--points", str(10**9)],
        ["simulate", "munich", "--batch-size", str(10**9)],
        ["evaluate", "munich", "--num-frequencies", str(10**9)],
        ["trace", "munich", "/nonexistent", "--seed", str(2**64)],
    ],
)
def test_absurd_numbers_are_refused_at_once(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    code, out, err = _main(monkeypatch, capsys, *arguments)
    assert code == 2 and out == ""
    # The lowest click and the newest say it in other words, in a frame that may break the line.
    said = " ".join(err.replace("│", " ").split())
    assert "less than or equal to" in said or "not in the range" in said
    assert "Traceback" not in err


def test_a_stride_that_leaves_no_block_names_the_option(
    write_scenario: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    arguments = ["simulate", str(write_scenario()), "--task", "downlink", "--exact-only"]
    code, out, err = _main(monkeypatch, capsys, *arguments)
    assert code == 1 and out == "" and "Traceback" not in err
    assert "lower stride (--stride) to 1." in " ".join(err.split())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("arguments", ["scenarios", "scenarios --json", "--help", "info"])
@pytest.mark.parametrize("end", ["| head -0", ">&-", ">&- 2>&-", "> /dev/full"])
def test_a_closed_output_leaves_no_traceback(arguments: str, end: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = f"{sys.executable} -m neumatc_mimo {arguments} {end}"
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_any_work(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    code, out, err = _main(monkeypatch, capsys, "train", "munich", "--device", device)
    assert code == 2 and out == ""
    assert f'device is "{device}"' in err and "Traceback" not in err


def test_an_empty_model_folder_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    code, _, err = _main(monkeypatch, capsys, "evaluate", "munich", "--model", str(tmp_path))
    advice = f"run `neumatc-mimo train munich --model {tmp_path}` first"
    assert code == 1 and advice in " ".join(err.split())


def test_help_says_where_to_start_and_version_which_one_it_is() -> None:
    shown = _RUNNER.invoke(app, [])
    assert "neumatc-mimo demo" in " ".join(shown.output.split())
    assert _RUNNER.invoke(app, ["--version"]).stdout == f"neumatc-mimo {nm.__version__}\n"


@pytest.mark.parametrize("command", ["", *_COMMANDS])
def test_h_is_help(command: str) -> None:
    short, long = (_RUNNER.invoke(app, [*filter(None, [command]), o]) for o in ("-h", "--help"))
    assert short.exit_code == 0 and short.output == long.output


def test_a_refused_training_leaves_no_folder(
    write_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(write_scenario(deepmimo={"path": "$MY_DATA/nowhere"}))
    monkeypatch.setenv("MY_DATA", "/data")
    code, _, err = _main(monkeypatch, capsys, "train", file)
    assert code == 1 and not list(tmp_path.iterdir())
    assert 'set MY_DATA, which is "/data", to the folder that holds nowhere' in err


def test_warnings_are_sentences_without_lines_of_code(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def warn() -> None:
        warnings.warn("Slow.", nm.NeuMatCWarning, stacklevel=2)
        raise SystemExit(0)

    monkeypatch.setattr(main_module, "app", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _, out, err = _main(monkeypatch, capsys)
    assert (out, err) == ("", "Warning: Slow.\n")


def test_a_table_fits_into_the_terminal() -> None:
    columns = {"point": "8 x 64", "block": "ZFPrecoder", "way": "exact"}
    columns |= {f"figure {number}": f"{number}.00" for number in range(20)}
    rows = [columns, columns | {"way": "queried", "figure 1": "2.00", "figure 19": "x"}]
    table = fitting_table("Blocks", rows, 40)
    assert table.title == "Blocks, 8 x 64"
    # What is the same in all rows tells nothing.
    assert [str(column.header) for column in table.columns] == ["way", "figure 1", "figure 19"]
    assert len(fitting_table("Blocks", rows, 20).columns) == 1


def test_a_plan_fits_into_80_columns() -> None:
    numbers = {
        "exact, ms": 12.34,
        "queried, ms": 1234.5,
        "limit, ms": 0.0123,
        "training, s": 98765.0,
    }
    counts = {
        "model, MB": 46.8,
        "patched": 0.1234,
        "repaid, slots": 123456.0,
        "cheapest": "queried",
    }
    block = {"block": "LMMSEPostEqualizationSINR"}
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(plan_table("munich", [block | numbers | counts]))
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
    for text in (
        "LMMSEPostEqualizationSINR",
        "12.3",
        "1234",
        "0.0123",
        "12.34",
        "123456",
        "queried",
    ):
        assert text in shown


def test_a_demo_does_not_replace_a_model_unasked(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("neumatc_mimo.cli.train.holds_model", lambda folder: True)
    result = _RUNNER.invoke(app, ["demo", "munich"])
    assert isinstance(result.exception, ValueError) and "--force" in str(result.exception)


def test_units_are_not_taken_for_markup() -> None:
    assert "of the scenario's [model]" in " ".join(
        _RUNNER.invoke(app, ["train", "--help"]).output.replace("│", " ").split()
    )
    text = " ".join(_RUNNER.invoke(app, ["trace", "--help"]).output.split())
    assert "Position ." not in text and "of users ." not in text


def test_an_unknown_key_is_named(
    write_scenario: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    file = write_scenario(grid={"fft_sise": 12})
    code, _, err = _main(monkeypatch, capsys, "simulate", str(file), "--exact-only")
    assert code == 1 and "fft_sise" in err


@pytest.mark.usefixtures("in_haste")
def test_simulate_with_exact_blocks(write_scenario: Any, tmp_path: Path) -> None:
    arguments = ["simulate", str(write_scenario()), "--task", "downlink", "--exact-only"]
    arguments += ["--stride", "1", "--points", "2", "--max-calls", "1"]
    arguments += ["--batch-size", "4", "--report", str(tmp_path)]
    result = _RUNNER.invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    curve = json.loads(result.stdout)["downlink"]["curves"]["exact"]
    assert len(curve["ebno_dbs"]) == 2 and curve["bler"][0] > curve["bler"][1]
    assert (tmp_path / "small_downlink.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("in_haste")
def test_demo_with_exact_blocks_writes_the_report_and_report_draws_it_again(
    write_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_scenario(single_user=None)  # tests/simulation has all three transmissions
    arguments = ["demo", str(file), "--exact-only", "--points", "2", "--max-calls", "1"]
    result = _RUNNER.invoke(app, [*arguments, "--stride", "1", "--batch-size", "4"])
    assert result.exit_code == 0, result.output
    assert "ZFPrecoder: exact" in result.stdout
    names = {"summary.json", "error_curves.png", "map.png", "singular_values.png"}
    assert {file.name for file in (tmp_path / "report").iterdir()} == names
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert {row["way"] for row in summary["block_times"]} > {"Sionna", "exact", "limit"}
    result = _RUNNER.invoke(app, ["report", "report", "--json"])
    assert result.exit_code == 0, result.output
    assert {Path(file).name for file in json.loads(result.stdout)} == names


def test_train_and_evaluate_other_groups_at_another_rank(
    write_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(
        write_scenario(
            grid={"fft_size": 512, "subcarrier_spacing": 60e3},
            multi_user={"num_links": 2},
            single_user={"num_links": 2},
            model={"width": 192, "rank": 192, "svd_rank": 192, "samples": 96, "collocation": 256},
        )
    )
    groups = ["--scenario-seed", "1"]
    with patched():
        result = _RUNNER.invoke(app, ["train", file, *groups, "--set", "rank=24", "--json"])
    assert result.exit_code == 0, result.output
    result = _RUNNER.invoke(app, ["evaluate", file, *groups, "--blocks", "0", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["zero_forcing"]["rank"] == 24
    assert figures["zero_forcing"]["rank_of_equal_eckart_young_bound"] <= 24
    assert figures["zero_forcing"]["error_over_eckart_young"] >= 0.99
    # The certificate's promise: 40 dB, whatever the rank, with what is corrected and patched.
    assert figures["zero_forcing"]["sir_5th_percentile_db"] > 40
    for power in ("-40", "-20", "0"):
        assert figures[f"mmse_{power}_db"]["x_hat_error_median_db"] < -40
        assert figures[f"mmse_{power}_db"]["no_eff_deviation_99th_percentile"] < 0.02
    assert figures["svd"]["rate_ratio"] > 0.999
    code, _, err = _main(monkeypatch, capsys, "evaluate", file)
    assert code == 1 and "another scenario than this one: seed is 0, it was 1" in err
    code, _, err = _main(monkeypatch, capsys, "train", file, *groups)
    assert code == 1 and "models/small already contains a model" in err and "--force" in err


class _OutOfReach(MemoryFileSystem):  # type: ignore[misc]
    """A file system that takes large files no more, until it does."""

    protocol = "outofreach"
    reachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("outofreach://", "memory://")))

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        if not self.reachable:
            raise RuntimeError("ExpiredToken")
        super().put_file(lpath, rpath, **kwargs)


def test_a_training_outlives_a_place_that_cannot_be_written(
    write_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("outofreach", _OutOfReach, clobber=True)
    monkeypatch.chdir(tmp_path)
    scenario = nm.load_scenario(write_scenario(single_user=None))
    url, events = "outofreach://training/small", list[Event]()
    with pytest.raises(
        OSError, match=r"ExpiredToken\)\. The trained links are kept in .*-training:"
    ):
        train_and_save(scenario, url, "cpu", 0)
    monkeypatch.setattr(_OutOfReach, "reachable", True)
    train_and_save(scenario, url, "cpu", 0, events.append)
    assert events and not any("round" in event.metrics for event in events)
    assert nm.ScenarioModel.load(url).scenario["fingerprint"] == scenario.fingerprint
    assert not list(Path("models").iterdir())


def test_a_grid_of_models_goes_behind_a_url(
    write_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_scenario(single_user=None, multi_user={"num_links": 1}, model={"samples": 64})
    arguments = ["train", str(file), "--set", "rank=24,48", "--models", "memory://a/grid", "--json"]
    with patched():  # ranks this low are
        result = _RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    folders = [row["folder"] for row in json.loads(result.stdout)]
    assert folders == ["memory://a/grid/small-rank=24", "memory://a/grid/small-rank=48"]
    for folder in folders:
        assert nm.ScenarioModel.load(folder).models.keys() == {"pseudo_inverse"}


def test_trunks_beside_each_other(
    write_scenario: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One table of them: error, certificate, shares, seconds, bytes and the time of a query."""
    monkeypatch.chdir(tmp_path)
    file = write_scenario(single_user=None, multi_user={"num_links": 2}, model={"samples": 64})
    settings = ["trunk=mlp,spline", "mlp.steps=3", "mlp.width=8", "mlp.rank=16"]
    arguments = ["train", str(file), *(part for one in settings for part in ("--set", one))]
    with patched():  # after three steps nothing is learned
        result = _RUNNER.invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for text in ("small-trunk=mlp", "small-trunk=spline", "error", "corr.", "kB", "ms"):
        assert text in result.output
    network = nm.ScenarioModel.load("models/small-trunk=mlp").models["pseudo_inverse"]
    assert network.mapping.trunk.rank == 16


def test_a_damaged_summary_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "summary.json").write_text("{")
    code, _, err = _main(monkeypatch, capsys, "report", str(tmp_path))
    assert code == 1 and "is damaged" in err


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "neumatc_mimo", "scenarios", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)
