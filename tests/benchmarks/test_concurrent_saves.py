"""The benchmark of savers that are many, or killed: that it finds what it looks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import neumatc_mimo as nm
from benchmarks import concurrent_saves
from benchmarks.saved_models import digest
from benchmarks.savers import MIXED, NO_MODEL, REFUSED, WHOLE, outcome, prepared, variant
from neumatc_mimo.storage import model_folder
from neumatc_mimo.storage.manifest import MANIFEST
from neumatc_mimo.storage.tensor_file import write_arrays

pytestmark = pytest.mark.skipif(os.name != "posix", reason="this system forks no processes")


def test_variants_are_models_of_their_own(small_model: nm.ScenarioModel, tmp_path: Path) -> None:
    models = [variant(small_model, i) for i in range(3)]
    folders, known = prepared(models, tmp_path)
    assert len(set(known.values()) | {digest(small_model)}) == 4
    for model, folder in zip(models, folders, strict=True):
        assert outcome(folder, known) == model.name
        assert outcome(folder, {}) == MIXED


def test_a_model_of_two_is_found(
    small_model: nm.ScenarioModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders that readers without checksums would take for whole ones."""
    (one, other), known = prepared([variant(small_model, i) for i in range(2)], tmp_path)
    (mine,), (theirs,) = (folder.glob("svd-*.safetensors") for folder in (one, other))
    mine.write_bytes(theirs.read_bytes())
    assert outcome(one, known) == REFUSED
    with concurrent_saves._without_checks():
        assert outcome(one, known) == MIXED
    assert outcome(tmp_path / "nowhere", known) == NO_MODEL

    def load(*arguments: Any) -> Any:
        raise IndexError("list index out of range")

    monkeypatch.setattr(nm.ScenarioModel, "load", load)
    assert outcome(other, known) == MIXED


@pytest.mark.parametrize("at", ["first file", "second file", "manifest"])
def test_what_a_killed_writer_leaves_is_the_old_model(
    small_model: nm.ScenarioModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Without the clean-up that an exception has and a killed process has not."""
    models = [variant(small_model, i) for i in range(2)]
    _, known = prepared(models, tmp_path / "models")
    models[0].save(tmp_path / "model")
    files = iter(["first file", "second file"])

    class Killed(BaseException):
        pass

    def write(file: Path, arrays: Any) -> Any:
        if next(files) == at:
            file.write_bytes(b"half")
            raise Killed
        return write_arrays(file, arrays)

    def replace(*arguments: Any) -> None:
        raise Killed

    monkeypatch.setattr(model_folder, "write_arrays", write)
    target = type(model_folder.place(tmp_path / "model"))
    monkeypatch.setattr(target, "remove", lambda self, names: None)
    if at == "manifest":
        monkeypatch.setattr(target, "replace", replace)
    with pytest.raises(Killed):
        models[1].save(tmp_path / "model")
    assert len(list((tmp_path / "model").iterdir())) > 3
    assert outcome(tmp_path / "model", known) == "model_0"


def test_processes_save_load_and_are_killed(small_model: nm.ScenarioModel, tmp_path: Path) -> None:
    meanwhile, after = concurrent_saves.concurrent_saves(small_model, 3, tmp_path / "many").rows
    assert meanwhile["loads"] == meanwhile[WHOLE] + meanwhile[NO_MODEL]
    assert meanwhile["loads"] >= 3 * concurrent_saves.LOADERS and meanwhile[WHOLE] > 0
    assert after[WHOLE] == 3 and meanwhile[MIXED] == after[MIXED] == 0
    over, new = concurrent_saves.killed_saves(small_model, 4, 0, tmp_path / "killed").rows
    assert (over["kills"], new["kills"]) == (3, 1)
    assert over["the old model"] + over["the new model"] == 3
    assert new["the new model"] + new[NO_MODEL] == 1


def test_loading_is_timed_with_and_without_checks(
    small_model: nm.ScenarioModel, tmp_path: Path
) -> None:
    sheet = concurrent_saves.cost_of_checks(small_model, 3, 1, tmp_path)
    assert [row["what"] for row in sheet.rows] == [
        "load, as it is",
        "load without SHA-256",
        "read the files, no more",
        "save, once",
    ]
    assert 2e6 < concurrent_saves._bytes_of(tmp_path / "large") < 4e6
    # The checks are there again.
    (file,) = (tmp_path / "large").glob("svd-*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ValueError, match="the SHA-256 of unseen is another"):
        nm.ScenarioModel.load(tmp_path / "large")
    assert (tmp_path / "large" / MANIFEST).is_file()
