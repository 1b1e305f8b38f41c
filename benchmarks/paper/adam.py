"""What the training is worth: Adam as published, variable projection, and the closed form."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.paper.channels import ChannelFamily
from benchmarks.paper.methods import Method, rows
from benchmarks.paper.problems import (
    Problem,
    inverse_error,
    problem,
    synthetic_inversion,
    synthetic_svd,
)
from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.table_1 import neumatc
from benchmarks.paper.table_7 import SUBJECTS
from benchmarks.paper.trainings import TRAININGS, trained
from neumatc_mimo import load_scenario
from neumatc_mimo.learning.algorithm1 import PLAIN_ADAM
from neumatc_mimo.mapping.basis import SplineBasis
from neumatc_mimo.operations import PseudoInverse
from neumatc_mimo.scenario.scenario import Scenario
from neumatc_mimo.solvers import Learned, Solver

# The rate that was best for Adam with one rate for all.
WAYS: dict[str, dict[str, Any]] = TRAININGS | {
    "Adam at one rate": {"projection": False, "learning_rate": 1e-2, "steps": 600}
}
# Subcarriers between two points of the link's grid; every fourth point is a sample.
_SPACING = 4


def run(settings: Settings) -> Sheet:
    """The same samples and trunks, trained in each way."""
    n, small = (32, 16) if settings.quick else (64, 32)
    sheet = Sheet(
        "adam",
        "Adam as published, and variable projection",
        f"Families of {n} × {n} of Tables 1 and 2, of {small} × {small} of Table 7, and a link of "
        "Munich of two users on eight antennas over the whole band, first arrivals taken out, a "
        f"point every {_SPACING} subcarriers; every fourth point is a sample. Adam as published "
        "moves trunk and latent tensors together: "
        f"{PLAIN_ADAM['steps']} steps, latent tensors at {PLAIN_ADAM['latent_rate']:g} times the "
        f"trunk's rate of {PLAIN_ADAM['learning_rate']:g}, β₂ = {PLAIN_ADAM['beta2']:g}. At one "
        "rate: 600 steps of Adam at 1e-2, β₂ = 0.999. Variable projection: latent tensors by least "
        f"squares at each of {TRAININGS['variable projection']['steps']} steps, which was not "
        "published. Closed form: trunk of splines. One data set; float32.",
    )
    subjects: list[tuple[str, Problem, int, Solver, dict[str, Any]]] = [
        (f"inversion, {n}", synthetic_inversion(n, 0), 24, neumatc(24), {}),
        (f"SVD, {n}", synthetic_svd(n, 0), 32, neumatc(32), {}),
        *((f"{s.title}, {small}", s.problem(small, 0), 24, neumatc(24), {}) for s in SUBJECTS),
    ]
    link = pair_of_users()
    count = link.num_samples
    local = Learned(count, None, SplineBasis(3 * count // 2), collocation=2 * count, rounds=3)
    # A trunk of higher frequencies fits the samples, and nothing between them.
    wide = {"omega0": 30.0, "width": 128, "lam": 1e-3}
    subjects.append(("Munich, 2 × 8", link, 128, local, wide))
    for title, given, rank, closed, own in subjects:
        methods = [Method.of("NeuMatC, closed form", closed)]
        for name, changes in WAYS.items():
            methods.append(_trained(f"NeuMatC, {name}", rank, changes | own))
        for row in rows([given], methods, title, most=1):
            kept = ("method", "RelErr, mean", "worst", "rank")
            sheet.rows.append({"problem": title} | {key: row[key] for key in kept})
    return sheet


def _trained(name: str, rank: int, changes: dict[str, Any]) -> Method:
    return Method(name, lambda given, seed: trained(given, rank, seed, **changes), rank)


def pair_of_users() -> Problem:
    """The pseudo-inverse of a link of two users on eight antennas, on a grid of the band."""
    config = load_scenario("munich").config
    assert config.multi_user is not None
    users = config.multi_user.model_copy(update={"users_per_link": 2, "num_links": 1})
    array = config.array.model_copy(update={"bs": (8, 1)})
    changed = config.model_copy(update={"multi_user": users, "single_user": None, "array": array})
    changed._file = config.file
    links = Scenario(changed).multi_user
    assert links is not None
    count = (links.fft_size // _SPACING - 1) // 4 * 4 + 1
    grid = links.grid_frequencies()[: (count - 1) * _SPACING + 1 : _SPACING]
    a = ChannelFamily(links)(grid[:, None].to(torch.float64))
    return problem(PseudoInverse(), a, inverse_error)


if __name__ == "__main__":
    main(run)
