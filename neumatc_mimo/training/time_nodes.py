"""How many nodes of the time the models of a burst need, before any of them is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.learning.alignment import align_along_nodes
from neumatc_mimo.mapping.axes import TimeAxis
from neumatc_mimo.operations import certified
from neumatc_mimo.operations.base import Operation, Tolerance

# Share of the results of a model's links that may be left to exact computation.
MOST_EXACT = 0.01

# Subcarriers, spread over the grid, at which links are looked at.
_PROBES = 64
# From one number of nodes to the next, and how many times as many as at first at most.
_GROWTH = 1.25
_LARGEST = 4
# Where even these leave too much, as few nodes as leave not so many times more.
_ABOUT = 1.5

# Aligned channels of links [l] at frequencies [F] in Hz and values [q] of the axis, [l, F, q, m, n]
Channels = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class NodeSearch:
    """What :func:`enough_nodes` did, as plain values.

    :param tried: numbers of nodes, and shares of results that were left to exact computation
    :param stopped: why: "enough" nodes, or the "largest" number of them tried
    :param seconds: wall-clock time
    """

    tried: list[tuple[int, float]] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the JSON manifest."""
        return asdict(self)


def enough_nodes(
    operation: Operation,
    channels: Channels,
    links: Tensor,
    frequencies: Tensor,
    axis: TimeAxis,
    tolerance: Tolerance,
) -> tuple[TimeAxis, NodeSearch]:
    """Add nodes to an axis until few results between them are beyond correction, within bounds.

    A Doppler spread tells how fast channels turn, not how close to singular they come on their way,
    which makes filters turn much faster. So exact results at the nodes are interpolated along the
    time, at a few subcarriers, and certified where interpolation is at its worst, at the axis'
    checks. Trained mappings, which interpolate along the frequency too, are not far behind.

    :param channels: aligned channels, complex128
    :param links: all links of a model, [num_links]; they share its axis
    :param frequencies: the grid in Hz, [num_frequencies]
    :param axis: with the number of nodes to start from
    :param tolerance: what the certificate requires, its margin included

    :return: the axis, and a report
    """
    started, search = time.perf_counter(), NodeSearch()
    points = torch.linspace(0, len(frequencies) - 1, _PROBES, device=frequencies.device)
    probes = frequencies[points.round().long().unique()]
    shares = torch.ones(len(links), dtype=torch.float64)
    largest = _LARGEST * axis.num_nodes
    while not search.stopped:
        # A link that is served stays so with more nodes.
        for i in shares.nonzero()[:, 0].tolist():
            link = links[i : i + 1]
            shares[i] = _beyond_correction(operation, channels, link, probes, axis, tolerance)
        search.tried.append((axis.num_nodes, shares.mean().item()))
        if search.tried[-1][1] <= MOST_EXACT:
            search.stopped = "enough"
        elif axis.num_nodes == largest:
            search.stopped = "largest"
            least = min(share for _, share in search.tried)
            few = min(nodes for nodes, share in search.tried if share <= _ABOUT * least)
            axis = replace(axis, num_nodes=few)
        else:
            more = min(math.ceil(_GROWTH * axis.num_nodes), largest)
            axis = replace(axis, num_nodes=more)
    search.seconds = time.perf_counter() - started
    return axis, search


def _beyond_correction(
    operation: Operation,
    channels: Channels,
    link: Tensor,
    frequencies: Tensor,
    axis: TimeAxis,
    tolerance: Tolerance,
) -> float:
    """Share of results at the axis' checks that no correction steps prove, one link."""
    nodes, checks = axis.nodes.to(link.device), axis.checks.to(link.device)
    stored, powers = operation.stored, axis.powers.to(link.device)
    exact = stored.exact(channels(link, frequencies, nodes), powers)
    exact = align_along_nodes(stored, exact)
    a = channels(link, frequencies, checks).to(torch.complex64)
    weights = axis.weights(checks)
    between = tuple(
        torch.einsum("cq,lfq...->lfc...", weights.to(c), c).to(a if c.is_complex() else a.real)
        for c in exact
    )
    between = operation.from_stored(between, powers.to(a.real))
    _, steps = certified.steps_to_prove(operation, a, between, powers.to(a.real), tolerance)
    return (steps < 0).double().mean().item()
