"""Precoders of users with several antennas: against the literature, and against one another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.operations import Tolerance

USERS, ANTENNAS = 3, 2


def channels(dtype: torch.dtype = torch.complex128, num: int = 40) -> Tensor:
    """[num, USERS * ANTENNAS, 10]"""
    g = torch.Generator().manual_seed(1)
    a = torch.randn(num, USERS * ANTENNAS, 10, dtype=torch.complex128, generator=g)
    return a.to(dtype)


def heard(a: Tensor, v: Tensor) -> Tensor:
    """Power by receiving and by sent-to user, [num, USERS, USERS]."""
    power = (a @ v).abs().square()
    return power.unflatten(-1, (USERS, -1)).unflatten(-3, (USERS, -1)).sum((-3, -1))


def turned(v: Tensor, like: Tensor) -> Tensor:
    """Columns in the phases of others."""
    return v * torch.sgn((v.conj() * like).sum(-2))[..., None, :]


def test_no_user_hears_another() -> None:
    for dtype, limit in ((torch.complex128, 1e-12), (torch.complex64, 1e-5)):
        a = channels(dtype)
        operation = nm.BlockDiagonalization(ANTENNAS)
        v, s = operation.solve(a)
        power = heard(a, v)
        own = power.diagonal(dim1=-2, dim2=-1)
        leakage = (power - torch.diag_embed(own)).amax((-2, -1))
        assert (leakage.sqrt() < limit * own.amin(-1).sqrt()).all()
        # Singular values of a user's rows within the others' null space, strongest first.
        torch.testing.assert_close(torch.linalg.vector_norm(a @ v, dim=-2), s)
        pairs = s.unflatten(-1, (USERS, ANTENNAS))
        assert (pairs[..., 0] >= pairs[..., 1]).all()
        for k in range(USERS):
            own_v = v[..., ANTENNAS * k : ANTENNAS * (k + 1)]
            eye = torch.eye(ANTENNAS, dtype=dtype).expand(len(a), -1, -1)
            torch.testing.assert_close(own_v.mH @ own_v, eye)


@pytest.mark.parametrize("no", [1e-3, 0.3, 30.0])
def test_slnr_is_what_it_is_said_to_be(no: float) -> None:
    a = channels()
    v, s = nm.SLNR(no, ANTENNAS).solve(a)
    image = (a @ v).abs().square().unflatten(-2, (USERS, ANTENNAS)).sum(-2)  # [num, user, stream]
    by_stream = image.unflatten(-1, (USERS, ANTENNAS))
    own = by_stream.diagonal(dim1=-3, dim2=-2).movedim(-1, -2)
    leakage = by_stream.sum(-3) - own
    torch.testing.assert_close((own / (leakage + no)).flatten(-2), s.square() / no)
    g = torch.Generator().manual_seed(2)
    # No other direction does better than a user's first.
    w = v + 0.1 * torch.randn(v.shape, dtype=v.dtype, generator=g)
    w = w / torch.linalg.vector_norm(w, dim=-2, keepdim=True)
    image = (a @ w).abs().square().unflatten(-2, (USERS, ANTENNAS)).sum(-2)
    by_stream = image.unflatten(-1, (USERS, ANTENNAS))
    other = by_stream.diagonal(dim1=-3, dim2=-2).movedim(-1, -2)
    ratio = other / (by_stream.sum(-3) - other + no)
    assert (ratio[..., 0] < s.unflatten(-1, (USERS, -1))[..., 0].square() / no).all()


def test_vanishing_noise_leads_to_block_diagonalisation() -> None:
    a = channels()
    limit = nm.BlockDiagonalization(ANTENNAS).solve(a)
    distances = []
    for no in (1e-3, 1e-4, 1e-5):
        v, s = nm.SLNR(no, ANTENNAS).solve(a)
        distances.append(torch.linalg.matrix_norm(v - limit.v).median())
        assert (s - limit.s).abs().max() < 100 * no
    assert distances[1] < 0.2 * distances[0] and distances[2] < 0.2 * distances[1]


def test_one_antenna_is_regularised_zero_forcing() -> None:
    a = channels()
    for operation, no in ((nm.SLNR(0.2), 0.2), (nm.BlockDiagonalization(), 0.0)):
        eye = torch.eye(a.shape[-2], dtype=a.dtype)
        w = a.mH @ torch.linalg.inv(a @ a.mH + no * eye)
        w = w / torch.linalg.vector_norm(w, dim=-2, keepdim=True)
        torch.testing.assert_close(turned(operation.solve(a).v, w), w)


@pytest.mark.parametrize("no", [1e-9, 1e-4, 0.3, 1e4])
def test_residual_tells_at_any_noise(no: float) -> None:
    """Where the noise is small the equation alone would tell nothing within a user."""
    a = channels()
    operation = nm.SLNR(no, ANTENNAS)
    v, s = operation.exact(a)
    assert operation.residual(a, (v, s)).max() < 1e-10
    angle = 0.1
    turn = torch.eye(USERS * ANTENNAS, dtype=a.dtype)
    turn[:2, :2] = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    outside = torch.linalg.svd(a)[2].mH[..., -1:]
    for wrong in (v @ turn, v + 0.1 * outside, v.flip(-1)):
        assert operation.residual(a, (wrong, s)).min() > 0.02
    single = channels(torch.complex64)
    accurate = operation.residual(single, operation.exact(single))
    assert accurate.dtype == torch.float32 and accurate.max() < 1e-3


def test_answers_are_those_of_each_matrix_alone() -> None:
    """A solver's gauge and order leave no trace."""
    a = channels()
    for operation in (nm.SLNR(0.1, ANTENNAS), nm.BlockDiagonalization(ANTENNAS)):
        v, s = operation.exact(a)
        plain = operation.answer((v, s))
        columns = torch.tensor([1, 0, 3, 2, 4, 5])
        phase = torch.polar(torch.ones(a.shape[-2]), torch.arange(6.0)).to(v.dtype)
        other = operation.answer((v[..., columns] * phase, s[..., columns]))
        for one, two in zip(plain, other, strict=True):
            torch.testing.assert_close(one, two)


def test_orders_of_users_but_not_of_their_antennas() -> None:
    a = channels(num=8)[None]
    operation = nm.BlockDiagonalization(ANTENNAS)
    exact = operation.exact(a)
    # A user's own antennas may change places.
    order = torch.tensor([[4, 5, 1, 0, 2, 3]])
    found = operation.answer(operation.permute(operation.extended(exact), order))
    for one, two in zip(found, operation.solve(a[..., order[0], :]), strict=True):
        torch.testing.assert_close(one, two)
    with pytest.raises(ValueError, match="unless the antennas of each user stay together."):
        operation.permute(exact, torch.tensor([[0, 2, 1, 3, 4, 5]]))
    # Users of one antenna may have any gains.
    gains = torch.linspace(0.5, 3, a.shape[-2], dtype=a.dtype)
    single = nm.BlockDiagonalization()
    assert single.free_gains(None) and not operation.free_gains(None)
    found = single.answer(single.exact(a), rows=gains)
    for one, two in zip(found, single.solve(gains[:, None] * a), strict=True):
        torch.testing.assert_close(one, two)


def test_a_gain_of_all_rows_is_another_noise_power() -> None:
    a = channels()
    operation = nm.SLNR(0.1, ANTENNAS)
    rows = torch.full((len(a), a.shape[-2]), 2.0 + 0j, dtype=a.dtype)
    found = operation.answer(operation.exact(a, 0.05), torch.tensor(0.05), rows)
    for one, two in zip(found, operation.solve(2 * a, 0.2), strict=True):
        torch.testing.assert_close(one, two)
    with pytest.raises(ValueError, match="SLNR precoder of diag"):
        operation.answer(operation.exact(a), rows=rows)


def test_a_singular_matrix_fails_alone() -> None:
    a = channels()
    a[3, 1] = a[3, 0]
    a[3, 1:] = 0
    operation = nm.BlockDiagonalization(ANTENNAS)
    components = operation.exact(a)
    ok = operation.certificate(a, components, 0.0, Tolerance()).ok
    assert not ok[3] and ok.sum() == len(a) - 1
    assert bool(torch.isnan(components[0][3]).any())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no is 0, a noise power above zero is needed."):
        nm.SLNR(0)
    for refused in (lambda: nm.SLNR(0.1, 0), lambda: nm.BlockDiagonalization(0)):
        with pytest.raises(ValueError, match="antennas_per_user is 0, at least one"):
            refused()
    operation = nm.SLNR(0.1, 4)
    sentence = "6 x 10 has no whole number of users of 4 antennas"
    with pytest.raises(ValueError, match=sentence):
        operation.exact(channels())
    with pytest.raises(ValueError, match=sentence):
        operation.component_shapes(6, 10)
