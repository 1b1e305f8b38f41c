"""WMMSE precoders of users of several antennas, and conjugate beamforming: what scenarios do not
train.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neumatc_mimo.operations import WMMSE, MatchedFilter, UserWMMSE
from neumatc_mimo.operations.tracking import chirp_overlap, unit

NO = 0.1
RANKS = [((2, 1, 1), 2), ((2, 2, 2), 2), ((1, 1, 1), 1)]


def channel(rows: int = 6, cols: int = 10) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, rows, cols, dtype=torch.complex128, generator=g)


def test_users_of_one_antenna_are_those_of_wmmse() -> None:
    a = channel()
    (v,) = WMMSE(NO, 100).exact(a)
    v = v * unit(chirp_overlap(v)).conj()[..., None, :]
    (found,) = UserWMMSE(1, [1] * 6, 1, NO, 100).exact(a)
    # To where the one iteration or the other is done.
    assert torch.allclose(found, v, atol=1e-6)


@pytest.mark.parametrize(("ranks", "most"), RANKS)
def test_each_iteration_raises_the_rate(ranks: tuple[int, ...], most: int) -> None:
    a, last = channel(), torch.zeros(2, 3, dtype=torch.float64)
    for number in (1, 2, 4, 8, 16, 200):
        operation = UserWMMSE(2, ranks, most, NO, number)
        (v,) = operation.exact(a)
        power = v.abs().square().sum((-2, -1))
        assert torch.allclose(power, torch.full_like(power, sum(ranks)))
        rate = operation.sum_rate(a, v)
        assert bool((rate >= last * (1 - 1e-12)).all())
        last = rate
    assert operation.residual(a, (v,)).max() < 0.01
    sent = v.unflatten(-1, (3, most)).abs().amax(-3) > 0
    assert all(sent[..., k, :].sum(-1).eq(rank).all() for k, rank in enumerate(ranks))


def test_any_scale_and_precision() -> None:
    a = channel()
    operation = UserWMMSE(2, (2, 1, 1), 2, NO)
    (expected,) = operation.exact(a)
    (found,) = operation.exact(1e-6 * a, NO * 1e-12)
    assert torch.allclose(found, expected, atol=1e-8)
    (single,) = operation.exact(a.to(torch.complex64))
    assert single.dtype == torch.complex64
    assert torch.allclose(single.to(expected.dtype), expected, atol=1e-3)


def test_gradients_are_those_of_differences() -> None:
    a = channel()[:1, :1].requires_grad_()
    operation = UserWMMSE(2, (2, 1, 1), 2, NO, 5)

    def magnitudes(a: Tensor) -> Tensor:
        return operation.exact(a)[0].abs().square()

    assert torch.autograd.gradcheck(magnitudes, (a,), rtol=1e-3, atol=1e-5)


def test_matched_filter() -> None:
    a = channel()
    operation = MatchedFilter()
    (v,) = operation.exact(a)
    assert torch.allclose(v, torch.nn.functional.normalize(a.mH, dim=-2))
    assert operation.residual(a, (v,)).max() < 1e-15
    left, right = (unit(channel(1, n)[0, 0, 0]) for n in (6, 10))
    changed = left[:, None] * a * right
    assert torch.allclose(operation.scale((v,), left, right)[0], operation.exact(changed)[0])
    assert torch.allclose(
        operation.answer((v,), rows=3 * left).v, operation.exact(left[:, None] * a)[0]
    )
    order = torch.tensor([[2, 0, 1, 5, 4, 3]]).expand(2, -1)
    assert torch.allclose(operation.permute((v,), order)[0], operation.exact(a[:, :, order[0]])[0])
    a[..., 1, :] = 0
    assert not bool(operation.exact(a)[0][..., 1].any())
