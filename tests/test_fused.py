"""The fused kernels through Triton's interpreter, against plain PyTorch."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported
pytest.importorskip("triton", reason="triton is not installed")

from neumatc_mimo import fused
from neumatc_mimo.fused import Expansion, precoded, received

DEVICE = "cuda" if torch.cuda.is_available() and os.environ["TRITON_INTERPRET"] == "0" else "cpu"


def expansion(items: int, num: int, antennas: int, streams: int, seed: int = 0) -> Expansion:
    generator = torch.Generator().manual_seed(seed)
    first = torch.sort(torch.randint(0, 13, (num,), generator=generator)).values
    rows = torch.randn(items, 20, 2 * antennas * streams + 7, generator=generator)
    values = torch.randn(num, 8, generator=generator)
    parts = (first[:, None] + torch.arange(8), values, rows)
    return Expansion(*(p.to(DEVICE) for p in parts), 5, antennas, streams)


def symbols(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator).to(DEVICE)


@pytest.mark.parametrize(
    "items, num, antennas, streams, num_symbols",
    [(1, 32, 16, 8, 2), (2, 33, 17, 3, 1), (1, 5, 4, 1, 3), (3, 70, 20, 5, 2)],
)
def test_kernels_equal_products(
    items: int, num: int, antennas: int, streams: int, num_symbols: int
) -> None:
    given = expansion(items, num, antennas, streams)
    w = given.filters()
    x = symbols(items, streams, num_symbols, num)
    y = symbols(items, antennas, num_symbols, num)
    torch.testing.assert_close(
        precoded(given, x), torch.einsum("ifak,iksf->iasf", w, x), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        received(given, y), torch.einsum("ifak,iasf->iksf", w, y), rtol=1e-4, atol=1e-4
    )


def test_symbols_may_lie_in_any_order() -> None:
    given = expansion(2, 40, 6, 3)
    x = symbols(2, 40, 3, 4)  # [items, subcarriers, streams, symbols]
    wanted = torch.einsum("ifak,ifks->iasf", given.filters(), x)
    found = precoded(given, x.permute(0, 2, 3, 1))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    half = symbols(2, 3, 8, 80)[:, :, ::2, ::2]
    wanted = torch.einsum("ifak,iksf->iasf", given.filters(), half)
    torch.testing.assert_close(precoded(given, half), wanted, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    given = expansion(1, 10, 4, 2)
    with pytest.raises(ValueError, match="the kernels take complex64 and float32"):
        precoded(given, symbols(1, 2, 1, 10).to(torch.complex128))
    with pytest.raises(ValueError, match=r"\[1, 2, any, 10\] is needed"):
        precoded(given, symbols(1, 4, 1, 10))
    assert fused.available(torch.device(DEVICE))
