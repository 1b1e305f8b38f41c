"""Kernels that look at channels without computing filters."""

from __future__ import annotations

import pytest
import torch

from neumatc_mimo.kernels.lanes import comparing, looking
from neumatc_mimo.tensors.waves import wave
from tests.kernels.comparison import DTYPES, needs_library, normal


@needs_library
@pytest.mark.parametrize("precision", DTYPES)
def test_symbols_that_differ_anywhere_are_seen(precision: str) -> None:
    h = normal(2, 3, 1, 1, 5, 1, 21, dtype=DTYPES[precision])
    h = h.expand(-1, -1, -1, -1, -1, 4, -1).contiguous()
    views = [h, h[:, ::2], h.transpose(1, 4), h[..., 3:9], h[0, :, 0, 0, 2]]
    for view in views:
        assert comparing.compares(view) and comparing.is_constant(view)
        for _ in range(20):
            place = tuple(int(torch.randint(n, ())) for n in view.shape)
            before = view[place].clone()
            view[place] = before * (1 + 1e-6)
            assert not comparing.is_constant(view)
            view[place] = before
    assert comparing.is_constant(h[..., :1, :]) and comparing.is_constant(h[:0])


@needs_library
def test_what_has_no_kernel_is_left() -> None:
    h = normal(2, 3, 4, 21, dtype=torch.complex64)
    assert not comparing.compares(h.mT)
    assert not comparing.compares(h.abs().requires_grad_())
    assert not looking.looks(h.to(torch.complex128), [h])


@needs_library
@pytest.mark.parametrize("layout", ["subcarriers last", "subcarriers first"])
@pytest.mark.parametrize("num", [1, 7, 37, 64])
def test_looks(layout: str, num: int) -> None:
    items, rows, antennas, n = 2, 3, 8, 4
    a = normal(items, rows, antennas, num, dtype=torch.complex64).permute(0, 3, 1, 2)
    a = a.contiguous() if layout == "subcarriers first" else a
    generator = torch.Generator().manual_seed(0)
    at = torch.randint(antennas, (-(-num // 8), n), generator=generator)
    expected = list(normal(items, rows, n, num, dtype=torch.complex64, seed=1))
    order = torch.tensor([[0, 1, 2], [2, 0, 1]])
    frequencies = 30e3 * torch.arange(num, dtype=torch.float64) - 1e6
    gain = normal(items, rows, dtype=torch.complex128, seed=2)
    delay = 1e-6 * normal(items, rows, dtype=torch.float64, seed=3)
    assert looking.looks(a, expected)
    each = at.repeat_interleave(8, 0)[:num]
    seen = a.permute(0, 2, 3, 1)[:, :, each.T, torch.arange(num)]
    own = torch.stack([e[o] for e, o in zip(expected, order, strict=True)])
    factors = gain[..., None] * wave(frequencies, delay[..., None])
    apart = (seen - factors[:, :, None] * own).abs().square().sum(2).float()
    told = (at, expected, order, frequencies, gain, delay)
    distance, power = looking.look(a, *told)
    torch.testing.assert_close(distance, apart.amax(-1), rtol=1e-4, atol=0)
    torch.testing.assert_close(power, seen.abs().square().sum(2).mean(-1), rtol=1e-4, atol=0)
    for bad in (torch.nan, torch.inf):
        expected[1][2, 3, num // 2] = bad
        distance, _ = looking.look(a, *told)
        assert torch.isinf(distance).nonzero().tolist() == [[1, 0]]
