"""Evaluation of a model, its card, and its command."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import neumatc_mimo as nm
from benchmarks import error_rates as benchmark
from neumatc_mimo.bench.evaluation import error_rates, evaluate, tiers
from neumatc_mimo.bench.figures import label, subject, written
from neumatc_mimo.bench.model_card import model_card, write_model_card
from neumatc_mimo.bench.paired import paired_errors
from neumatc_mimo.cli import app, main
from neumatc_mimo.simulation import MultiUserDownlink
from neumatc_mimo.solvers.base import Counts
from tests.conftest import Trainer

_RUNNER = CliRunner()


@pytest.fixture(scope="module")
def file(write_scenario: Any) -> Path:
    path: Path = write_scenario(
        grid={"fft_size": 256, "subcarrier_spacing": 120e3},
        multi_user={"num_links": 2, "slnr_db": -20.0},
        single_user={"num_links": 2},
        model={"width": 128, "samples": 96, "collocation": 128},
    )
    return path


@pytest.fixture(scope="module")
def scenario(file: Path) -> nm.Scenario:
    return nm.load_scenario(file)


@pytest.fixture(scope="module")
def model(scenario: nm.Scenario, trained: Trainer) -> nm.ScenarioModel:
    return trained(scenario)


@pytest.fixture(scope="module")
def results(scenario: nm.Scenario, model: nm.ScenarioModel) -> dict[str, Any]:
    return evaluate(
        model, scenario, num_blocks=60, bits=(2, 6), num_frequencies=64, num_receivers=1
    )


def test_every_model_has_figures_and_a_certificate(
    model: nm.ScenarioModel, results: dict[str, Any]
) -> None:
    assert set(model.models) | {"zero_forcing", "mmse_-40_db"} < set(results)
    for name in model.models:
        figures = results[name]
        assert figures["error_median_db"] < -40
        assert figures["certificate_1st_percentile_db"] >= 40
        assert figures["certificate_median_db"] >= figures["certificate_5th_percentile_db"]
    for name in ("zero_forcing", "mmse_0_db", "svd"):
        figures = results[name]
        for percentile in ("1st_percentile", "5th_percentile", "median"):
            difference = figures[f"sinr_{percentile}_db"] - figures[f"exact_sinr_{percentile}_db"]
            assert abs(difference) < 0.1
        assert abs(figures["sum_rate_ratio"] - 1) < 1e-3
    assert results["zero_forcing"]["sir_1st_percentile_db"] > 30


def test_error_rates_are_paired_over_all_transmissions(results: dict[str, Any]) -> None:
    rows = results["error_rates"]
    assert [(row["task"], row["bits_per_symbol"]) for row in rows] == [
        (task, bits) for task in ("downlink", "uplink", "svd") for bits in (2, 6)
    ]
    for row in rows:
        assert row["num_blocks"] == 60
        for name in ("exact_bler", "queried_bler"):
            low, high = row[f"{name}_interval"]
            assert low <= row[name] <= high
        difference = row["only_queried_lost"] - row["only_exact_lost"]
        assert row["difference"] == difference / 60
        assert row["queried_bler"] - row["exact_bler"] == pytest.approx(row["difference"])
        assert not row["differs"] and row["p_value"] > 0.01
        links = sum(value for key, value in row["tiers"].items() if key.startswith("links_"))
        others = sum(value for key, value in row["tiers"].items() if not key.startswith("links_"))
        assert links == pytest.approx(1) and others == pytest.approx(1)
        assert row["tiers"]["links_recalled"] == 1


def test_error_rates_repeat_and_follow_the_seed(
    scenario: nm.Scenario, model: nm.ScenarioModel, results: dict[str, Any]
) -> None:
    again = error_rates(model, scenario, num_blocks=60, bits=(2,))
    assert again == [row for row in results["error_rates"] if row["bits_per_symbol"] == 2]
    assert error_rates(model, scenario, num_blocks=60, bits=(2,), seed=1) != again


def test_tiers_are_shares_of_whatever_is_counted() -> None:
    counts = Counts(links_recalled=3, links_unknown=1, queried=6, patched=2)
    shares = tiers(counts)
    assert set(shares) == set(vars(counts))
    assert shares["links_recalled"] == 0.75 and shares["queried"] == 0.75
    assert set(tiers(Counts()).values()) == {0.0}


def test_figures_are_written_in_their_units() -> None:
    assert label("sir_5th_percentile_db") == "SIR 5th percentile"
    assert label("exact_sinr_median_db") == "exact SINR median"
    assert subject("mmse_-40_db") == "MMSE −40 dB" and subject("svd") == "SVD"
    assert written("sir_5th_percentile_db", 42.04) == "42.0 dB"
    assert written("rank", 96.0) == "96"
    assert written("patched_share", 0.004) == "0.40 %"
    assert written("error_over_eckart_young", 1.5) == "1.5 ×"


def test_card_tells_what_the_results_are(
    scenario: nm.Scenario, model: nm.ScenarioModel, results: dict[str, Any], tmp_path: Path
) -> None:
    file = write_model_card(tmp_path / "card.md", scenario, model, results)
    text = file.read_text(encoding="utf-8")
    assert text == model_card(scenario, model, results)
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]
    sections = ["Intended use", "Trained on", "Settings", "What is certified", "Figures"]
    sections += ["Block error rates", "How results were obtained", "Limits"]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == sections
    assert scenario.fingerprint in text
    for operation, figures in results.items():
        if isinstance(figures, dict):
            part = text.split(f"**{operation.replace('_', ' ')}**")[1].split("**")[0]
            found = dict(re.findall(r"^\| (.*?) +\| (.*?) +\|$", part, re.MULTILINE))
            for name, value in figures.items():
                assert found[label(name)] == written(name, value)
    rows = re.findall(r"^\| (?:downlink|uplink|single).*QPSK.*$", text, re.MULTILINE)
    counts = [[int(cell) for cell in re.findall(r" (\d+), (\d+) ", row)[0]] for row in rows]
    expected = [
        [row["only_exact_lost"], row["only_queried_lost"]]
        for row in results["error_rates"]
        if row["bits_per_symbol"] == 2
    ]
    assert counts == expected


def test_card_without_error_rates_has_no_section_of_them(
    scenario: nm.Scenario, model: nm.ScenarioModel
) -> None:
    results = evaluate(model, scenario, num_blocks=0, num_frequencies=16, num_receivers=1)
    assert "error_rates" not in results
    assert "## Block error rates" not in model_card(scenario, model, results)


def test_command_prints_tables_and_writes_the_card_into_the_model_folder(
    file: Path, model: nm.ScenarioModel, tmp_path: Path
) -> None:
    folder = model.save(tmp_path / "model")
    arguments = ["evaluate", str(file), "--model", str(folder), "--blocks", "20", "--bits", "4"]
    arguments += ["--num-frequencies", "16", "--num-receivers", "1"]
    result = _RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for text in ("certificate 5th percentile", "16-QAM", "links recalled", "README.md"):
        assert text in result.stdout
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("# Model card: small")
    assert nm.ScenarioModel.load(folder).name == model.name
    card = tmp_path / "other.md"
    result = _RUNNER.invoke(app, [*arguments, "--card", str(card), "--level", "0.9", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["error_rates"]
    assert [row["level"] for row in rows] == [0.9] * 3
    assert "90 %" in card.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--bits", "2,x"], '--bits is "2,x", numbers separated by commas are needed.'),
        (["--bits", "3"], "bits has the entry 3, it must be one of (2, 4, 6, 8)."),
        (["--level", "1.5"], "level is 1.5, a probability between 0 and 1 is needed."),
        (["--card", "/proc/card.md"], "cannot be written"),
    ],
)
def test_bad_options_get_one_sentence(
    options: list[str],
    sentence: str,
    file: Path,
    model: nm.ScenarioModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    folder = model.save(tmp_path / "model")
    arguments = ["neumatc-mimo", "evaluate", str(file), "--model", str(folder), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        main()
    error = " ".join(capsys.readouterr().err.split())
    assert stop.value.code == 1 and sentence in error and "Traceback" not in error


def test_negative_counts_of_blocks_are_refused(
    scenario: nm.Scenario, model: nm.ScenarioModel
) -> None:
    with pytest.raises(ValueError, match="num_blocks is -1, it must not be negative."):
        evaluate(model, scenario, num_blocks=-1)
    with pytest.raises(ValueError, match="bits is empty"):
        evaluate(model, scenario, bits=())


class Held(nm.Solver):
    """The results of the first subcarrier, over the whole band."""

    def start(self, operation: Any, channels: Any, *_: Any) -> Any:
        held = channels.a[:, :1].expand(channels.a.shape)
        return nm.Exact().start(operation, replace(channels, a=held))


def test_a_solver_that_loses_blocks_is_seen(scenario: nm.Scenario) -> None:
    exact, held = (
        MultiUserDownlink(scenario.multi_user, solver, block_length=240, stride=2)
        for solver in (nm.Exact(), Held())
    )
    pairs = paired_errors(exact, held, 8.0, 60, batch_size=4)
    assert pairs.only_second > pairs.only_first and pairs.p_value < 0.01
    assert pairs.difference_interval()[0] > 0


def test_benchmark_resumes_where_it_was_interrupted(
    scenario: nm.Scenario,
    model: nm.ScenarioModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed: list[tuple[str, int]] = []

    def few(*arguments: Any, bits: tuple[int], tasks: tuple[str], **options: Any) -> Any:
        computed.append((tasks[0], bits[0]))
        if len(computed) == 3:
            raise KeyboardInterrupt
        return error_rates(*arguments, bits=bits, tasks=tasks, **options)

    monkeypatch.setattr(benchmark, "error_rates", few)
    monkeypatch.setattr(benchmark, "MODULATIONS", (2, 4))
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(scenario, model, tmp_path, 20)
    assert "QPSK" in (tmp_path / "small.md").read_text(encoding="utf-8")
    benchmark.run(scenario, model, tmp_path, 20)
    expected = [("downlink", 2), ("uplink", 2), ("svd", 2), ("svd", 2), ("downlink", 4)]
    assert computed == [*expected, ("uplink", 4), ("svd", 4)]
    results = json.loads((tmp_path / "small.json").read_text(encoding="utf-8"))
    rows = [(row["task"], row["bits_per_symbol"]) for row in results["error_rates"]]
    assert rows == [(task, bits) for task in ("downlink", "uplink", "svd") for bits in (2, 4)]
    assert set(model.models) < set(results["figures"])
    benchmark.run(scenario, model, tmp_path, 20)
    assert len(computed) == 7  # nothing is computed again


def test_a_training_that_leaves_no_subcarrier_is_not_evaluated(write_scenario: Any) -> None:
    scenario = nm.load_scenario(write_scenario(single_user=None))
    with pytest.raises(ValueError, match="none is left to compare on"):
        evaluate(nm.train(scenario, progress=False), scenario, num_blocks=0)
