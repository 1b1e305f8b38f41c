"""Mappings of links in closed form: why training stopped, and what it tells of its rounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.families import CosineFamily
from neumatc_mimo.learning.fit import FitConfig, FitReport, Problem, fit
from neumatc_mimo.mapping.axes import NoiseAxis
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.operations import Inverse

FREQUENCIES = torch.linspace(-1, 1, 301, dtype=torch.float64)


def problem(num_links: int = 1, **changes: Any) -> Problem:
    """Inverses of well conditioned families, of another one for every link."""
    settings: dict[str, Any] = {"shift": 3.0, "max_frequency": 6.0} | changes
    families = [
        CosineFamily((4, 4), torch.Generator().manual_seed(seed), **settings)
        for seed in range(num_links)
    ]

    def matrices(links: Tensor, frequencies: Tensor) -> Tensor:
        return torch.stack([families[int(i)](frequencies[:, None]) for i in links])[:, :, None]

    return Problem(Inverse(), matrices, num_links, FREQUENCIES, NoiseAxis.at(0.0))


def learned(given: Problem, links: Tensor | None = None, **changes: Any) -> Any:
    settings: dict[str, Any] = {"samples": 40, "promoted": 8, "collocation": 151, "rounds": 6}
    basis = SplineBasis(60)
    config = FitConfig(basis, basis.width, **(settings | changes))
    return fit(given, config, torch.arange(given.num_links) if links is None else links)


def error(given: Problem, mapping: CompactMapping) -> float:
    """Largest relative error on the grid."""
    a = given.matrices(torch.arange(given.num_links), FREQUENCIES)[:, :, 0]
    (x,) = mapping(FREQUENCIES, torch.zeros(given.num_links))
    exact = torch.linalg.inv(a)
    off = torch.linalg.matrix_norm(x - exact) / torch.linalg.matrix_norm(exact)
    return off.max().item()


def check_history(report: FitReport) -> None:
    """An entry for each round, and one for the result."""
    *rounds, last = report.history
    assert [entry["round"] for entry in report.history] == list(range(len(report.history)))
    assert all(set(e) == {"round", "loss", "residual", "failed"} for e in rounds)
    assert set(last) == {"round", "loss"}
    assert json.loads(json.dumps(report.as_dict()))["stopped"] == report.stopped


def test_stops_when_no_point_fails() -> None:
    given = problem()
    mapping, report = learned(given)
    check_history(report)
    # At least two rounds, however good the first one is.
    assert report.stopped == "tolerance" and 3 <= len(report.history) < 7
    assert report.history[-2]["failed"] == 0
    assert error(given, mapping) < 3e-3


def test_stops_when_rounds_are_spent() -> None:
    given = problem()
    for rounds in (1, 3):
        _, report = learned(given, rounds=rounds, threshold=1e-15)
        check_history(report)
        assert report.stopped == "rounds" and len(report.history) == rounds + 1
        assert report.history[-2]["failed"] > 0


def test_failed_points_become_exact_samples() -> None:
    given = problem(shift=2.2)
    mapping, report = learned(given, refinements=1)
    failed = [entry["failed"] for entry in report.history[:-1]]
    assert failed == sorted(failed, reverse=True) and failed[0] > 0.5 and failed[-1] == 0
    assert report.stopped == "tolerance" and error(given, mapping) < 5e-3
    # Sixteen at first, and eight of every round in which points failed, of forty in all.
    assert report.exact_samples_per_link == 16 + 8 * (len(failed) - 1) <= 40


def test_a_link_does_not_depend_on_those_that_are_learned_with_it() -> None:
    given = problem(3, shift=2.2)
    together, report = learned(given, refinements=1)
    check_history(report)
    for link in range(3):
        alone, _ = learned(given, torch.tensor([link]), refinements=1)
        mine = together.select(torch.tensor([link])).tensors()
        for name, tensor in alone.tensors().items():
            torch.testing.assert_close(tensor, mine[name], rtol=1e-4, atol=1e-5)


def test_the_models_manifest_says_why_training_stopped(small_model: nm.ScenarioModel) -> None:
    for report in small_model.training.values():
        assert set(report["stopped"]) <= {"tolerance", "rounds"}
        assert len(report["stopped"]) == len(report["batches"]) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"samples": 24}, "samples is 24, more than the 24 that are kept back"),
        ({"rounds": 0}, "rounds is 0, at least one is needed."),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        learned(problem(), **changes)
