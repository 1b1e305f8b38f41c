"""Adaptive sampling and ablations on real channels, at tiny sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.paper import ablations, adaptive, figure_6, table_8, variants
from benchmarks.paper.channels import ChannelFamily, gram, munich
from benchmarks.paper.problems import reconstructed
from benchmarks.paper.sheet import Settings
from benchmarks.paper.trials import median, trial
from neumatc_mimo import load_scenario
from neumatc_mimo.learning.algorithm1 import Algorithm1Config
from neumatc_mimo.operations import SVD

CONFIG = Algorithm1Config(
    rank=40, omega0=10.0, lam=1e-2, steps=100, learning_rate=3e-3, num_collocation=20
)


def test_family_is_the_channel() -> None:
    links = load_scenario("munich").single_user
    assert links is not None
    family = ChannelFamily(links, 3, share=0.5)
    p = family.grid(7)
    h = links.channel(p[:, 0], [3], aligned=True, dtype=torch.complex128)[0]
    assert family.shape == (4, 64)
    torch.testing.assert_close(family(p), h, rtol=0, atol=0)
    torch.testing.assert_close(ChannelFamily(links, 3, share=0.5, real=True)(p), h.real)
    (low, high), (first, last) = family.domain[0].tolist(), links.band
    assert high - low == pytest.approx((last - first) / 2)
    assert low + high == pytest.approx(first + last)
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="share of the band"):
            ChannelFamily(links, 3, share=share)


def test_gram_has_its_noise_floor() -> None:
    family = munich("multi_user", 2, share=0.3)
    a = gram(family, 1e-2)(family.grid(9))
    h = family(family.grid(9))
    assert a.dtype == torch.float64 and a.shape == (9, 8, 8)
    floor = (a - h @ h.mT).diagonal(dim1=-2, dim2=-1)
    assert floor.std() < 1e-9 * floor.mean()
    assert floor.mean() == pytest.approx(0.01 * h.square().sum(-1).mean().item(), rel=0.05)


def test_both_ways_get_the_same_number_of_points() -> None:
    task = adaptive.TASKS[1]
    config = replace(adaptive.SCHEDULE, steps=120, refine_every=10)
    random, chosen = adaptive.compared(task, config, 1)
    assert random["points"] == chosen["points"] == 150
    assert {random["wins"], chosen["wins"]} == {"0 of 1", "1 of 1"}


def test_triplets_of_any_phase_are_not_learned() -> None:
    family = munich("single_user", 30, share=0.3, real=False)
    samples = family.grid(50)
    on = trial(SVD(2), family, samples, CONFIG, reconstructed)
    off = trial(ablations.AnyPhase(2), family, samples, CONFIG, reconstructed)
    assert on.error < 0.1 and off.error > 0.3


def test_no_mapping_beats_its_rank() -> None:
    found = [
        variants.trials(Settings(True, Path()), rank=rank, **changes)[0]
        for rank in (4, 16)
        for changes in ({}, ablations.UNTRAINED)
    ]
    assert all(t.over_bound >= 1 for t in found)
    # Training is worth more than chance, more rank more than less.
    assert found[0].error < found[1].error and found[2].error < found[0].error


def test_median_with_its_extremes() -> None:
    assert median([3.0, 1.0, 2.0]) == "2 [1, 3]"


def test_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "default", lambda settings: replace(CONFIG, steps=3, rank=8))
    settings = Settings(True, tmp_path)
    assert [r["value"] for r in table_8.run(settings).rows] == list(table_8.ACTIVATIONS)
    sheet = figure_6.run(settings)
    assert {r["varied"] for r in sheet.rows} == {label for label, _ in figure_6.AXES.values()}
    assert (tmp_path / sheet.pictures[0]).stat().st_size > 10_000
    assert figure_6.AXES["rank"][1].count(variants.DEFAULT.rank) == 1
