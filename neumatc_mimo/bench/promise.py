"""Whether what blocks serve is what was promised: the SIR of every filter, as it is applied."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.operations import Filter, PseudoInverse, Tolerance
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.solvers import Channels, Counts, Solver
from neumatc_mimo.solvers.base import tiles


@dataclass
class Served:
    """The filters of all links at one noise power.

    :param least: lowest SIR in dB
    :param below: number of filters below what was promised
    :param counts: how the filters came about
    """

    least: float
    below: int
    counts: Counts


def augmented_sir_db(a: Tensor, answer: Filter, no: float) -> Tensor:
    r"""SIR in dB of the weakest stream of filters, in double precision, [num_items, F].

    With :math:`G = A W + \sigma^2 X`, the identity for the exact filter, and columns
    :math:`\tilde w_j = (w_j, \sigma x_j)` it is
    :math:`|G_{kk}|^2 \|\tilde w_k\|^{-2} / \sum_{j \ne k} |G_{kj}|^2 \|\tilde w_j\|^{-2}`; without
    noise that of a zero-forcing precoder.

    :param a: [num_items, F, K, M] channels that the filters are for
    """
    w, x = answer.dense.to(torch.complex128), answer.x.to(torch.complex128)
    if answer.column is not None:
        # X of the rows as given: their common gain c turns it into X / |c|².
        x = x * answer.column.abs().square()[..., None].to(x.dtype)
        turn = answer.column / answer.column.abs()
        x = x * turn.conj()[..., :, None] * turn[..., None, :]
    gain = a.to(torch.complex128) @ w + no * x if no else a.to(torch.complex128) @ w
    power = w.abs().square().sum(-2) + no * x.abs().square().sum(-2)
    leak = gain.abs().square() / power[..., None, :]
    signal = leak.diagonal(dim1=-2, dim2=-1)
    return 10 * torch.log10(signal / (leak.sum(-1) - signal)).amin(-1)


@torch.no_grad()
def served(
    solver: Solver,
    links: LinkSet,
    no: float,
    certify: str = "link",
    tolerance: Tolerance | None = None,
) -> Served:
    """The filters that blocks get for all links and subcarriers, link by link.

    :param solver: a ScenarioModel, or any other solver
    :param links: of several users
    :param no: noise power; 0 is zero forcing
    :param certify: of the block
    :param tolerance: of the block; its default promises 40 dB
    """
    frequencies, found = links.grid_frequencies(), Served(torch.inf, 0, Counts())
    promised = (tolerance or Tolerance()).quality_db
    power = torch.tensor([no], device=links.device) if no else None
    for link in range(links.num_links):
        a = links.channel(frequencies, [link])
        answers = solver.start(PseudoInverse(), Channels(a, frequencies, power), certify, tolerance)
        for tile in tiles(a, answers.entries(a)):
            sir = augmented_sir_db(a[:, tile], answers.tile(tile), no)
            found.least = min(found.least, sir.min().item())
            found.below += int((~(sir >= promised)).sum())
        answers.finish()
        found.counts.add(answers.counts)
    return found
