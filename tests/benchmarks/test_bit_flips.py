"""The benchmark of bit flips: that it finds what it looks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neumatc_mimo as nm
from benchmarks import bit_flips
from benchmarks.bit_flips import HARMLESS, OTHER, REFUSED, UNCLEAR, Whole, flipped, outcome
from benchmarks.saved_models import is_sentence, train_in_shards
from benchmarks.small import small_scenario
from neumatc_mimo.storage.manifest import MANIFEST
from neumatc_mimo.storage.tensor_file import TensorFile


@pytest.fixture
def saved(small_model: nm.ScenarioModel, tmp_path: Path) -> Path:
    return Path(small_model.save(tmp_path / "saved"))


def test_flips_of_both_ways_to_store_are_refused_or_harmless(saved: Path, tmp_path: Path) -> None:
    train_in_shards(small_scenario(), shards := tmp_path / "shards")
    before = {file: file.read_bytes() for file in (*saved.iterdir(), *shards.iterdir())}
    first, again = (
        bit_flips.sheet({"saved": saved, "shards": shards}, 150, seed=3) for _ in range(2)
    )
    assert first.rows == again.rows
    total = first.rows[-1]
    assert total["flips"] == 150 and total["bytes"] == sum(map(len, before.values()))
    assert total[REFUSED] + total[HARMLESS] == 150 and total[OTHER] == total[UNCLEAR] == 0
    assert {row["file"] for row in first.rows[:-1] if row[HARMLESS]} <= {MANIFEST, "run.json"}
    assert all(file.read_bytes() == content for file, content in before.items())


def test_every_byte_is_in_one_region(saved: Path) -> None:
    places = [place for region in bit_flips.regions_of(saved, "saved") for place in region.places]
    every = [(file, i) for file in sorted(saved.iterdir()) for i in range(file.stat().st_size)]
    assert sorted(places) == every


def test_small_regions_are_flipped_whole() -> None:
    assert bit_flips.shares([1000, 8, 1000], 100) == [46, 8, 46]
    assert bit_flips.shares([3, 3], 100) == [3, 3]
    assert sum(bit_flips.shares([900, 40, 700, 800], 1001)) == 1001


def test_a_flip_that_nobody_notices_is_another_model(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison of the benchmark, with readers that look at no checksum."""
    read = TensorFile.read

    def trusting(self: TensorFile, name: str, digest: str, into: Any = None) -> Any:
        found = np.empty(self.shape(name), self.dtype(name)) if into is None else into
        try:
            return read(self, name, digest, found)
        except ValueError:
            return found

    whole = Whole.of(saved)
    assert outcome(saved, whole) == HARMLESS
    for file in saved.glob("*.safetensors"):
        size = file.stat().st_size
        for bit, place in ((0, size // 2), (1, size - 1), (0, size // 3)):
            flipped(file, place, bit)
            assert outcome(saved, whole) == REFUSED
            with monkeypatch.context() as patch:
                patch.setattr(TensorFile, "read", trusting)
                assert outcome(saved, whole) in (OTHER, REFUSED)
            flipped(file, place, bit)
    (svd,) = saved.glob("svd-*.safetensors")
    flipped(svd, svd.stat().st_size // 2, 0)
    monkeypatch.setattr(TensorFile, "read", trusting)
    assert outcome(saved, whole) == OTHER


@pytest.mark.parametrize(
    "error",
    [
        IndexError("list index out of range"),
        KeyError("marks"),
        TypeError("None is no model, and that is all there is to say."),
        RecursionError("maximum recursion depth exceeded."),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "which nobody caught."),
        json.JSONDecodeError("which nobody caught", "", 0),
        ValueError("It is damaged. And so is this sentence."),
        ValueError("It is damaged, and that is why\nit is refused."),
        ValueError(""),
    ],
)
def test_a_refusal_that_is_no_sentence_counts_as_none(
    saved: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Whole.of(saved)

    def load(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(nm.ScenarioModel, "load", load)
    assert outcome(saved, whole) == UNCLEAR


def test_sentences() -> None:
    assert is_sentence(ValueError("/a/model.json is damaged: its SHA-256 is another."))
    assert is_sentence(ValueError("/a/model.json is damaged: it lacks 'links. '."))
    for text in ("Damaged.", "it is damaged, whatever that is", "a" * 600 + "."):
        assert not is_sentence(ValueError(text))
