"""The benchmarks of unseen and of walking users, in small: their figures are what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import neumatc_mimo as nm
from benchmarks import unseen, walking
from neumatc_mimo.solvers import Adapted, Exact, Spline

GRID = {"fft_size": 512, "subcarrier_spacing": 30e3}


@pytest.mark.parametrize("subject", unseen.subjects(1), ids=lambda s: s.title)
def test_exact_results_have_no_error_and_all_are_counted(
    write_scenario: Callable[..., Path], subject: unseen.Subject
) -> None:
    scenario = nm.load_scenario(write_scenario(array={"bs": [4, 4]}, grid=GRID))
    links = scenario.single_user if "SVD" in subject.title else scenario.multi_user
    assert links is not None
    links = links.select([0])
    plain, aligned = (unseen._exact(subject, links, ideal=ideal) for ideal in (False, True))
    exact, num = unseen._measured(subject, links, Exact(), plain)
    assert num == 512 and exact["exact, %"] == 100
    assert exact["error alone, dB"] < -60
    ours, samples = unseen._measured(subject, links, Adapted(), plain)
    assert samples < 0.2 * 512 and ours["exact, %"] < 50
    theirs, _ = unseen._measured(subject, links, Spline(round(samples)), aligned, ideal=True)
    assert theirs.keys() == ours.keys() and ours["steps, %"] > 0


def test_state_is_counted_as_latent_tensors_hold_it(write_scenario: Callable[..., Path]) -> None:
    links = nm.load_scenario(write_scenario()).multi_user
    assert links is not None
    packed, plain = unseen._numbers(unseen.subjects(1)[0].operation, links)
    # w [8, 3] complex, and x [3, 3], of which a Hermitian layout holds half.
    assert (packed, plain) == (2 * 24 + 9, 2 * 24 + 2 * 9)


def test_walking_users_are_judged_between_the_nodes(write_scenario: Callable[..., Path]) -> None:
    file = write_scenario(
        array={"bs": [4, 4]},
        grid={"fft_size": 128, "subcarrier_spacing": 30e3},
        multi_user={"users_per_link": 2, "num_links": 1},
        single_user={"num_links": 1},
        motion={"speed": 2.0},
        model={"width": 48, "samples": 60, "collocation": 60},
    )
    model = nm.train(nm.load_scenario(file), progress=False)
    zero_forcing, svd = (
        walking._judged(model, part, num_moments=2) for part in model.models.values()
    )
    assert zero_forcing["exact, %"] < 2 and svd["exact, %"] < 2
    assert float(zero_forcing["figure"].split(", ")[1].removesuffix(" dB")) >= 39.9
    assert float(svd["figure"].split(", ")[1].removesuffix(" %")) > 99.9
