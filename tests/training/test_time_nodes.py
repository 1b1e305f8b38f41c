"""How many nodes of the time a burst's models need: as many as proofs between them ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.mapping.axes import TimeAxis
from neumatc_mimo.model import OperationModel
from neumatc_mimo.operations import PseudoInverse, Tolerance
from neumatc_mimo.training.time_nodes import MOST_EXACT, Channels, NodeSearch, enough_nodes
from tests.warned import patched

START = TimeAxis(0.01, 12)
FREQUENCIES = torch.linspace(-1e6, 1e6, 96, dtype=torch.float64)
ALL = torch.arange(2)


def passing_by(nearest: float) -> Channels:
    """Two users, [2, 2]: of the second link they come to ``nearest`` of being one at half time."""

    def channels(links: Tensor, frequencies: Tensor, values: Tensor) -> Tensor:
        course = torch.complex(values / START.duration - 0.5, torch.full_like(values, nearest))
        apart = torch.stack([torch.ones_like(course), course])[links]
        row = torch.stack([torch.ones_like(apart), apart], dim=-1)
        first = torch.tensor([1.0, 0.0]).to(row).expand_as(row)
        matrix = torch.stack([first, row], dim=-2)
        return matrix[:, None].expand(-1, len(frequencies), -1, -1, -1)

    return channels


def search(channels: Channels) -> tuple[TimeAxis, NodeSearch]:
    return enough_nodes(PseudoInverse(), channels, ALL, FREQUENCIES, START, Tolerance(46.0, 5e-3))


def test_nodes_that_are_enough_are_kept() -> None:
    axis, report = search(passing_by(0.5))
    assert axis == START and report.tried == [(12, 0.0)] and report.stopped == "enough"


@pytest.mark.parametrize("nearest", [0.04, 0.02])
def test_links_that_come_near_to_singular_take_more_nodes(nearest: float) -> None:
    axis, report = search(passing_by(nearest))
    nodes, shares = zip(*report.tried, strict=True)
    assert report.stopped == "enough" and axis.num_nodes == nodes[-1] > START.num_nodes
    assert shares[0] > MOST_EXACT >= shares[-1] and list(nodes) == sorted(nodes)
    # The report is the truth: results at other times than the checks are as close.
    operation, times = PseudoInverse(), torch.linspace(0, START.duration, 101).double()
    channels = passing_by(nearest)
    (w, _), a = (
        operation.exact(channels(ALL, FREQUENCIES[:1], axis.nodes)),
        channels(ALL, FREQUENCIES[:1], times),
    )
    between = torch.einsum("cq,lfqmn->lfcmn", axis.weights(times).to(w), w)
    # Newton-Schulz converges from what is left, but for few.
    left = torch.linalg.matrix_norm(a @ between - torch.eye(2).to(a), 2)
    assert (left >= 1).double().mean() <= 2 * MOST_EXACT


def test_nodes_that_help_little_are_not_added() -> None:
    axis, report = search(passing_by(1e-3))
    shares = dict(report.tried)
    assert report.stopped == "largest" and max(shares) == 4 * START.num_nodes
    assert shares[axis.num_nodes] <= 1.5 * min(shares.values())
    assert axis.num_nodes < max(shares)


@pytest.mark.slow
def test_training_reports_its_nodes(write_scenario: Callable[..., Path]) -> None:
    def trained(**motion: int) -> OperationModel:
        file = write_scenario(
            grid={"fft_size": 128, "subcarrier_spacing": 30e3},
            array={"bs": [2, 2]},
            multi_user={"users_per_link": 4, "num_links": 1, "max_condition": 1e9},
            single_user=None,
            motion={"speed": 30.0, "num_slots": 2, **motion},
            model={"width": 48, "samples": 64, "collocation": 64},
        )
        return nm.train(nm.load_scenario(file), progress=False).models["pseudo_inverse"]

    part = trained()
    report = part.training["time_nodes"]
    assert len(part.mapping.axis.nodes) in [nodes for nodes, _ in report["tried"]]
    assert len(report["tried"]) > 1 and report["tried"][-1][1] < report["tried"][0][1]
    assert report["seconds"] > 0
    with patched():
        given = trained(num_nodes=5)
    assert len(given.mapping.axis.nodes) == 5 and "time_nodes" not in given.training
