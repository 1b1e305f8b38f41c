"""Exact results of ill-conditioned channels, in single precision."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.operations import (
    SLNR,
    SVD,
    WMMSE,
    BlockDiagonalization,
    MaxMin,
    PseudoInverse,
)
from neumatc_mimo.operations.pseudo_inverse import Filter
from neumatc_mimo.solvers import Channels

ITEMS, POINTS, ROWS, COLS = 2, 150, 4, 8


def channels(condition: float, seed: int = 0) -> Tensor:
    """[items, points, rows, cols]"""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(ITEMS, POINTS, ROWS, COLS, dtype=torch.complex128, generator=generator)
    u, _, vh = torch.linalg.svd(z, full_matrices=False)
    s = torch.logspace(0, -float(torch.tensor(condition).log10()), ROWS, dtype=torch.float64)
    return ((u * s) @ vh).to(torch.complex64)


def solved(a: Tensor, no: float = 0.0, certify: str | None = "link") -> tuple[Filter, Any]:
    power = torch.full((len(a),), no) if no else None
    asked = Channels(a, torch.arange(a.shape[1], dtype=torch.float64), no=power)
    answers = nm.Exact().start(PseudoInverse(), asked, certify)
    return answers.tile(slice(0, a.shape[1])), answers.counts


def ratio(a: Tensor, filters: Filter) -> float:
    """Least signal-to-interference ratio, dB."""
    power = (a.to(torch.complex128) @ filters.dense.to(torch.complex128)).abs().square()
    own = power.diagonal(dim1=-2, dim2=-1)
    return float((10 * torch.log10(own / (power.sum(-1) - own))).min())


@pytest.mark.parametrize("condition", [1e2, 1e3, 1e4, 1e5])
def test_zero_forcing_keeps_forty_decibels(condition: float) -> None:
    a = channels(condition)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters, counts = solved(a)
    assert ratio(a, filters) > 40
    assert counts.exact == ITEMS * POINTS
    assert (counts.refined > 0) == (condition > 500)


@pytest.mark.parametrize("no", [0.0, 1e-9, 1e-3])
@pytest.mark.parametrize("condition", [1e3, 1e4])
def test_filters_are_those_of_double_precision(condition: float, no: float) -> None:
    a = channels(condition)
    a[1] = channels(1.0)[1]
    filters, counts = solved(a, no)
    exact = PseudoInverse().solve(a.to(torch.complex128), no)
    norm = torch.linalg.matrix_norm
    assert float((norm(filters.dense - exact.dense) / norm(exact.dense)).max()) < 2e-2
    for name in ("column_power", "kept"):
        ours, right = getattr(filters, name), getattr(exact, name)
        torch.testing.assert_close(ours, right.float(), rtol=2e-2, atol=0)
    assert counts.refined <= POINTS


def test_only_ill_conditioned_matrices_are_refined() -> None:
    a = channels(1.0)
    a[0, 3], a[1, 7] = channels(1e4)[0, 3], channels(1e4)[1, 7]
    plain, _ = solved(a, certify=None)
    filters, counts = solved(a)
    assert counts.refined == 2
    same = (filters.dense == plain.dense).flatten(2).all(-1)
    assert sorted((~same).nonzero().tolist()) == [[0, 3], [1, 7]]


@pytest.mark.parametrize("level", [0.3, 1e-2, 1e-3, 1e-4])
def test_users_that_others_bury_in_the_noise_are_refined(level: float) -> None:
    """A row nearly along the others': what is left of it lies below the noise, the row does not."""
    a = channels(1.0)
    a[:, :, 3] = a[:, :, 0] + a[:, :, 1] + level * a[:, :, 3]
    a[:, :, 3] *= 1e-2
    no = float((0.3 * level * 1e-2) ** 2)
    filters, counts = solved(a, no)
    exact = PseudoInverse().solve(a.to(torch.complex128), no)
    for name in ("column_norm", "kept"):
        ours, right = getattr(filters, name), getattr(exact, name)
        assert float((ours / right - 1).abs().max()) < 5e-3
    assert counts.refined == (ITEMS * POINTS if level < 0.1 else 0)


def test_users_far_apart_are_no_reason_to_refine() -> None:
    gains = torch.tensor([1.0, 1e-6, 1e3, 1.0], dtype=torch.complex64)
    _, counts = solved(gains[:, None] * channels(1.0))
    assert counts.refined == 0


def test_what_single_precision_cannot_hold_is_said_once() -> None:
    block_solver = nm.Exact()
    asked = Channels(channels(1e7), torch.arange(POINTS, dtype=torch.float64))
    with pytest.warns(nm.NeuMatCWarning, match="ill-conditioned") as given:
        for _ in range(2):
            block_solver.start(PseudoInverse(), asked).tile(slice(0, POINTS))
    assert len(given) == 1


def test_a_call_that_asks_for_proofs_gets_them_of_exact_results() -> None:
    # Too good to be refined by default, and too bad to be proven.
    a = channels(4e2)
    _, trusting = solved(a)
    filters, counts = solved(a, certify="call")
    assert counts.refined >= trusting.refined
    components = filters.dense, filters.x
    proof = PseudoInverse().certificate(
        a.to(torch.complex128),
        tuple(c.to(torch.complex128) for c in components),
        0.0,
        Tolerance(),
    )
    assert bool((proof.quality > 40).all())


def test_components_are_refined_like_filters() -> None:
    a = channels(1e4)
    w, _ = PseudoInverse().exact(a, 1e-3)
    power = (a.to(torch.complex128) @ w.to(torch.complex128)).abs().square()
    own = power.diagonal(dim1=-2, dim2=-1)
    assert float((10 * torch.log10(own / (power.sum(-1) - own))).min()) > 40


def test_gradients_reach_channels_of_refined_matrices() -> None:
    a = channels(1e4)[:, :100].clone().requires_grad_()
    filters, counts = solved(a)
    assert counts.refined
    (gradient,) = torch.autograd.grad(filters.dense.abs().square().sum(), a)
    double = a.detach().to(torch.complex128).requires_grad_()
    exact = PseudoInverse().solve(double)
    (right,) = torch.autograd.grad(exact.dense.abs().square().sum(), double)
    assert float((gradient - right).norm() / right.norm()) < 1e-3


@pytest.mark.parametrize("operation", [WMMSE(), MaxMin()], ids=["wmmse", "max_min"])
@pytest.mark.parametrize("no", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("condition", [1e1, 1e3, 1e4])
def test_precoders_of_a_sum_power_reach_their_rates(
    operation: Any, condition: float, no: float
) -> None:
    """The sum rate, or that of the weakest user, of double precision; rounding may lead to another
    maximum of the sum rate, which is then no lower.
    """
    a = channels(condition)
    a = a / torch.linalg.vector_norm(a, dim=-1, keepdim=True)
    found = operation.solve_surely(a, torch.full((ITEMS, 1), no))
    right = operation.solve(a.to(torch.complex128), no)
    rates = []
    for v in (found.answer.v.to(torch.complex128), right.v):
        power = (a.to(torch.complex128) @ v).abs().square()
        own = power.diagonal(dim1=-2, dim2=-1)
        rate = torch.log2(1 + own / (power.sum(-1) - own + no))
        rates.append(rate.sum(-1) if operation.name == "wmmse" else rate.amin(-1))
    assert float((1 - rates[0] / rates[1]).max()) < 5e-3
    assert (found.refined > 0) == (condition > 1e2 and no < 1e-3)


@pytest.mark.parametrize("operation", [SVD(ROWS), BlockDiagonalization(2), SLNR(0.1, 2)])
def test_other_operations_are_refined_likewise(operation: Any) -> None:
    a = channels(1e4)
    no = torch.full((ITEMS,), 1e-10) if operation.name == "slnr" else None
    answers = nm.Exact().start(operation, Channels(a, torch.arange(POINTS).double(), no=no))
    found = answers.tile(slice(0, POINTS))
    assert answers.counts.refined == answers.counts.exact == ITEMS * POINTS
    right = operation.solve(a.to(torch.complex128), 0.0 if no is None else no.double()[:, None])
    error = torch.linalg.matrix_norm(found.v - right.v)
    assert float(error.max()) < 1e-3
