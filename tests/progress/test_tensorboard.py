"""Logs for TensorBoard hold what training told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import neumatc_mimo as nm
from neumatc_mimo.cli import app
from neumatc_mimo.progress import Event


def _read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every scalar."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard"
    )
    log = accumulator.EventAccumulator(str(folder))
    log.Reload()
    return {
        tag: [(entry.step, entry.value) for entry in log.Scalars(tag)]
        for tag in log.Tags()["scalars"]
    }


def test_training_is_logged(write_scenario: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_scenario(
        single_user=None,
        grid={"fft_size": 192, "subcarrier_spacing": 120e3},
        model={"width": 96, "samples": 128, "collocation": 128},
    )
    result = CliRunner().invoke(app, ["train", str(file), "--tensorboard", "log", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)[0]["training"]["pseudo_inverse"]
    scalars = _read(tmp_path / "log")
    (history,) = report["batches"]
    rounds = [entry["loss"] for entry in history[:-1]]
    assert scalars["pseudo_inverse/loss"] == [
        (index, pytest.approx(loss, rel=1e-6)) for index, loss in enumerate(rounds)
    ]
    assert scalars["pseudo_inverse/error_median"][-1][1] == pytest.approx(
        report["error_median"], rel=1e-6
    )


def test_a_log_holds_what_was_told_before_a_run_ended_early(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="no tensorboard")
    log = nm.TensorBoard(tmp_path)
    for value in (1.0, 0.5):
        log(Event("svd", 0, 4, "links", {"loss": value}))
    log(Event("svd", 4, 4, "links"))
    assert _read(tmp_path) == {"svd/loss": [(0, 1.0), (1, 0.5)]}
    log.close()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"install 'neumatc-mimo\[tensorboard\]'\."):
        nm.TensorBoard(tmp_path)
