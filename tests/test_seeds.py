"""The same seed gives the same numbers, bit by bit, whatever was drawn before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sionna.phy
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.bench.evaluation import error_rates
from neumatc_mimo.bench.fidelity import fidelity
from neumatc_mimo.model.packing import pack_model
from neumatc_mimo.simulation import PIPELINES, error_curves

# What a training measures, and no seed can repeat.
_TIMES = {"seconds", "seconds_per_link"}


@pytest.fixture
def disturb() -> Iterator[Callable[[int], None]]:
    """Return a function that seeds every global generator, as a user's script may have."""
    states = torch.get_rng_state(), np.random.get_state(), sionna.phy.config.seed

    def seed(value: int) -> None:
        torch.manual_seed(value)
        np.random.seed(value)
        sionna.phy.config.seed = value

    yield seed
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    sionna.phy.config.seed = states[2]


@pytest.fixture
def scenario(write_scenario: Any) -> Callable[..., nm.Scenario]:
    file = write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": 192, "subcarrier_spacing": 120e3},
        model={"width": 96, "samples": 128, "collocation": 128},
    )
    return lambda seed=0: nm.load_scenario(file, seed)


def _tensors(model: nm.ScenarioModel) -> dict[str, Tensor]:
    """Everything that a model's files hold."""
    return {
        f"{name}/{key}": tensor
        for name, part in model.models.items()
        for key, tensor in pack_model(part)[0].items()
    }


def _report(model: nm.ScenarioModel) -> dict[str, Any]:
    return {
        name: {key: value for key, value in report.items() if key not in _TIMES}
        for name, report in model.training.items()
    }


def test_links_are_drawn_again(
    scenario: Callable[..., nm.Scenario], disturb: Callable[[int], None]
) -> None:
    disturb(1)
    first = scenario()
    sets = [first.multi_user, first.single_user]
    disturb(2)
    again, other = scenario(), scenario(seed=7)
    # In another order, too.
    for mine, theirs, differing in zip(
        reversed(sets),
        [again.single_user, again.multi_user],
        [other.single_user, other.multi_user],
        strict=True,
    ):
        assert mine is not None and theirs is not None and differing is not None
        (one, _), (two, _) = mine.to_tensors(), theirs.to_tensors()
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
        assert not torch.equal(mine.users, differing.users)


def test_a_model_is_trained_again(
    scenario: Callable[..., nm.Scenario], disturb: Callable[[int], None]
) -> None:
    disturb(1)
    first = nm.train(scenario(), seed=3)
    disturb(2)
    again = nm.train(scenario(), seed=3)
    one, two = _tensors(first), _tensors(again)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert _report(first) == _report(again)
    # Nothing of a model is drawn; the trunk that it is compared with is.
    other = nm.train(scenario(), seed=4)
    assert all(torch.equal(one[key], tensor) for key, tensor in _tensors(other).items())
    for name, report in _report(first).items():
        assert report["untrained_error"] != other.training[name]["untrained_error"]


@pytest.mark.parametrize("task", PIPELINES)
def test_a_simulation_runs_again(
    task: str,
    scenario: Callable[..., nm.Scenario],
    small_model: nm.ScenarioModel,
    disturb: Callable[[int], None],
) -> None:
    kind = PIPELINES[task]
    links = getattr(scenario(), kind.kind)

    def run(seed: int, noise: int) -> Any:
        disturb(noise)
        made = kind(links, small_model, stride=1, seed=seed, coded=False)
        outputs = [made(4, ebno_db) for ebno_db in (0.0, 3.0, 0.0)]
        curves = error_curves(
            lambda solver: kind(links, solver, stride=1, seed=seed, coded=False),
            {"exact": nm.Exact(), "queried": small_model},
            [0.0, 3.0],
            batch_size=4,
            max_calls=2,
        )
        return outputs, curves

    (outputs, curves), (again, repeated), (others, _) = run(0, 1), run(0, 2), run(1, 1)
    for (bits, hat), (bits_again, hat_again) in zip(outputs, again, strict=True):
        assert torch.equal(bits, bits_again) and torch.equal(hat, hat_again)
    assert curves == repeated
    assert not torch.equal(outputs[0][0], others[0][0])
    # The second call at an Eb/N0 has bits of its own.
    assert not torch.equal(outputs[0][0], outputs[2][0])


def test_an_evaluation_runs_again(
    scenario: Callable[..., nm.Scenario],
    small_model: nm.ScenarioModel,
    disturb: Callable[[int], None],
) -> None:
    def run(seed: int, noise: int) -> tuple[Any, Any]:
        disturb(noise)
        loaded = scenario()
        figures = fidelity(small_model, loaded, num_frequencies=16, seed=seed)
        return figures, error_rates(
            small_model, loaded, num_blocks=20, bits=(2,), tasks=("downlink",), seed=seed
        )

    first, again, other = run(0, 1), run(0, 2), run(1, 1)
    assert first == again
    assert first[0] != other[0]
