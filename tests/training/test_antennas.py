"""Learning in the few directions that a link's antennas see: the same models, from less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import neumatc_mimo as nm
from neumatc_mimo.learning.fit import FitConfig
from neumatc_mimo.operations import SVD, PseudoInverse
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.sampled_links import SampledLinks
from neumatc_mimo.training.antennas import Directions
from neumatc_mimo.training.batch import train_batch
from neumatc_mimo.training.jobs import Job, jobs

ScenarioWriter = Callable[..., Path]
OPERATION = PseudoInverse()


def job(write_scenario: ScenarioWriter, bs: list[int], **array: bool) -> Job:
    file = write_scenario(
        array={"bs": bs, **array},
        grid={"fft_size": 192, "subcarrier_spacing": 120e3},
        model={"width": 96, "samples": 96, "collocation": 96},
        single_user=None,
    )
    return next(iter(jobs(nm.load_scenario(file))))


def links(write_scenario: ScenarioWriter, bs: list[int], **array: bool) -> LinkSet:
    return job(write_scenario, bs, **array).links


def test_rows_lie_in_few_directions(write_scenario: ScenarioWriter) -> None:
    given = links(write_scenario, [16, 8])
    found = Directions.of(OPERATION, given)
    assert found is not None
    basis = found.basis
    assert basis.shape[:2] == (given.num_links, 128)
    assert given.num_rows <= basis.shape[2] <= 64
    eye = torch.eye(basis.shape[2], dtype=basis.dtype).expand(len(basis), -1, -1)
    torch.testing.assert_close(basis.mH @ basis, eye)
    small = given.in_columns(basis)
    assert (small.num_rows, small.num_cols) == (given.num_rows, basis.shape[2])
    f = given.grid_frequencies()[::7]
    a = given.channel(f, aligned=True, dtype=torch.complex128)
    again = small.channel(f, aligned=True, dtype=torch.complex128) @ basis[:, None].mH
    torch.testing.assert_close(again, a, rtol=0, atol=1e-5)
    # Whatever the power of a user.
    gains = torch.tensor([1e-5, 1.0, 1e3], dtype=torch.float64)[:, None, None]
    uneven = type(given)(**vars(given) | {"coefficients": gains * given.coefficients})
    other = Directions.of(OPERATION, uneven)
    assert other is not None and other.basis.shape == basis.shape


def test_sampled_channels_have_directions_and_delays_too(write_scenario: ScenarioWriter) -> None:
    given = links(write_scenario, [16, 8])
    f, every = given.grid_frequencies(), given.row_delays
    shared = {k: v for k, v in vars(given).items() if k not in ("coefficients", "delays")}
    samples = given.channel(f, dtype=torch.complex128)
    sampled = SampledLinks(**shared, samples=samples, mean_delays=every)
    found, wanted = Directions.of(OPERATION, sampled), Directions.of(OPERATION, given)
    assert found is not None and wanted is not None
    assert found.basis.shape[2] <= wanted.basis.shape[2]
    small = sampled.in_columns(found.basis)
    again = small.channel(f, dtype=torch.complex128) @ found.basis[:, None].mH
    torch.testing.assert_close(again, samples, rtol=0, atol=1e-5)
    # Delays that a grid tells apart to a subcarrier's period of the band.
    near = 2.5 / (given.fft_size * given.subcarrier_spacing)
    torch.testing.assert_close(
        sampled.latest_delays(40.0), given.latest_delays(40.0), rtol=0.25, atol=near
    )


def test_what_gains_nothing_is_learned_as_it_is(write_scenario: ScenarioWriter) -> None:
    given = links(write_scenario, [16, 8])
    assert Directions.of(SVD(2), given) is None
    assert Directions.of(OPERATION, links(write_scenario, [2, 2])) is None
    squinted = links(write_scenario, [16, 8], beam_squint=True)
    assert Directions.of(OPERATION, squinted) is None


@pytest.mark.parametrize("chosen", [[0], [1, 3]])
def test_models_are_the_same(
    write_scenario: ScenarioWriter, monkeypatch: pytest.MonkeyPatch, chosen: list[int]
) -> None:
    given = job(write_scenario, [16, 8])
    shapes = []
    learn = FitConfig.learn

    def noted(*arguments: Any) -> Any:
        found = learn(*arguments)
        shapes.append(found[0].layouts)
        return found

    monkeypatch.setattr(FitConfig, "learn", noted)
    fast = train_batch(given, torch.tensor(chosen))
    monkeypatch.setattr(Directions, "of", lambda *_: None)
    slow = train_batch(given, torch.tensor(chosen))
    few, every = (layouts[0].shape[0] for layouts in shapes)
    assert few <= 64 and every == 128
    assert fast.mapping.layouts == slow.mapping.layouts
    f, no = given.links.grid_frequencies(), torch.full((len(chosen),), 0.01, dtype=torch.float64)
    for ours, theirs in zip(fast.mapping(f, no), slow.mapping(f, no), strict=True):
        error = torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs)
        assert float(error) < 1e-4
    for key in ("corrected_share", "patched_share"):
        assert fast.training[key] == pytest.approx(slow.training[key], abs=0.02)
