"""Demapping of square QAM in lanes, against Sionna's Demapper in double precision and PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sionna.phy.mapping import Constellation, Demapper
from torch import Tensor

from neumatc_mimo.blocks.qam_demapper import QAMDemapper
from neumatc_mimo.kernels.lanes import library, operators
from tests.kernels.comparison import DTYPES, VARIANTS, Choice, needs_library, normal

pytestmark = needs_library
METHODS = ["app", "maxlog"]
# More than a piece of a thread, and no multiple of the lanes.
NUM = 2**13 + 3


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the kernel was asked."""
    calls: list[str] = []
    kernel = operators.demap

    def counted(*arguments: Any) -> None:
        calls.append(arguments[3])
        kernel(*arguments)

    monkeypatch.setattr(operators, "demap", counted)
    return calls


def powers(low: float, high: float, num: int = NUM) -> Tensor:
    """Noise variances between powers of ten."""
    exponents = torch.rand(num, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return 10 ** (low + (high - low) * exponents)


def sionna(method: Any, num_bits: int, y: Tensor, no: Tensor) -> Tensor:
    """Sionna's ratios in double precision, [..., n, num_bits]."""
    constellation = Constellation("qam", num_bits, precision="double")
    demapper = Demapper(method, constellation=constellation, precision="double")
    llr: Tensor = demapper(y.to(torch.complex128), no.double())
    return llr.unflatten(-1, (-1, num_bits))


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("num_bits", [2, 4, 6, 8, 10])
@pytest.mark.parametrize("variant", VARIANTS)
def test_is_sionnas_to_a_few_roundings(
    choose: Choice, asked: list[str], variant: str, num_bits: int, method: Any, precision: str
) -> None:
    choose(variant)
    if library.loaded() is None:
        pytest.skip(str(library.why_not()))
    constellation = Constellation("qam", num_bits, precision=precision)
    block = QAMDemapper(method, constellation, precision=precision)
    y = normal(NUM, dtype=torch.complex128).to(DTYPES[precision])
    for low, high in ((-2, 1), (-12, -3)):
        no = powers(low, high).to(y.real.dtype)
        found = block(y, no).unflatten(-1, (-1, num_bits))
        expected = sionna(method, num_bits, y, no)
        # The terms, of which Sionna's in double precision are rounded, too.
        size = 1 + (y.abs().double() + 2).square() / no
        error = (found - expected).abs().amax(-1) / size
        assert float(error.max()) < 8 * torch.finfo(y.real.dtype).eps
    assert asked == [method] * 2


@pytest.mark.parametrize("num_bits", [4, 10])
def test_sums_are_exact_to_a_few_roundings_of_the_result(choose: Choice, num_bits: int) -> None:
    # So far from any decision that all digits of the terms are those of the result, and so near
    # that the sums are not their largest terms.
    choose("")
    constellation = Constellation("qam", num_bits)
    y = (normal(NUM, dtype=torch.complex128) + torch.tensor(3 + 3j)).to(torch.complex64)
    no = powers(0, 2).float()
    found = QAMDemapper("app", constellation)(y, no).unflatten(-1, (-1, num_bits))
    expected = sionna("app", num_bits, y, no)
    error = (found - expected).abs()[:, :2] / (1 + expected[:, :2].abs())
    assert float(error.max()) < 8 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", DTYPES)
def test_decides_as_sionna(choose: Choice, precision: str, method: Any) -> None:
    choose("")
    constellation = Constellation("qam", 6, precision=precision)
    y, no = normal(NUM, dtype=DTYPES[precision]), powers(-3, 1)
    bits = QAMDemapper(method, constellation, hard_out=True, precision=precision)(y, no)
    expected = sionna(method, 6, y, no)
    clear = expected.abs() > 1e-3
    assert torch.equal(bits.unflatten(-1, (-1, 6))[clear], (expected > 0)[clear].to(bits.dtype))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("no", [0.0, 1e-37, 1e-30, 1e30, float("inf")])
def test_noise_without_bounds(choose: Choice, method: Any, no: float) -> None:
    choose("")
    constellation = Constellation("qam", 4)
    block = QAMDemapper(method, constellation)
    points = constellation.points + 1e-3
    llr = block(points, torch.full((1,), no))
    expected = sionna(method, 4, points, torch.full((16,), no)).clamp(-3e38, 3e38).flatten()
    assert not llr.isnan().any()
    if no == 0:
        # The smallest number is another one in double precision.
        assert torch.equal(llr > 0, expected > 0) and llr.abs().min() > 1e30
    else:
        assert torch.allclose(llr.double().clamp(-3e38, 3e38), expected, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_number_shows_where_it_is_and_nowhere_else(choose: Choice, method: Any) -> None:
    choose("")
    nan = float("nan")
    y, no = normal(40, dtype=torch.complex64), torch.ones(40)
    block = QAMDemapper(method, Constellation("qam", 4))
    right = block(y, no).view(40, 2, 2)
    y.real[3], y.imag[5], no[7] = nan, nan, nan
    llr = block(y, no).view(40, 2, 2)
    lost = torch.zeros(40, 2, 2, dtype=torch.bool)
    lost[3, :, 0] = lost[5, :, 1] = lost[7] = True
    assert torch.equal(llr.isnan(), lost)
    assert torch.equal(llr[~lost], right[~lost])


@pytest.mark.parametrize("method", METHODS)
def test_infinite_symbols_are_as_pytorchs(choose: Choice, method: Any) -> None:
    inf = float("inf")
    y = torch.tensor([complex(inf, 0.3), complex(-inf, inf), complex(0.1, -inf)])
    block = QAMDemapper(method, Constellation("qam", 6))
    choose("")
    found = block(y, torch.ones(3))
    choose("off")
    assert torch.allclose(found, block(y, torch.ones(3)), equal_nan=True)


@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (1, 3), (2, 3)])
def test_noise_and_symbols_of_any_layout(choose: Choice, asked: list[str], shape: Any) -> None:
    y = normal(3, 2, dtype=torch.complex64).T.conj()
    no = powers(-1, 1, 6).float()[: max(1, int(torch.Size(shape).numel()))].reshape(shape)
    block = QAMDemapper("app", Constellation("qam", 4))
    choose("")
    found = block(y, no)
    assert asked and found.shape == (2, 12)
    choose("off")
    assert torch.allclose(found, block(y, no), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num", range(1, 19))
def test_any_number_of_symbols(choose: Choice, num: int) -> None:
    choose("")
    block = QAMDemapper("maxlog", Constellation("qam", 6))
    y, no = normal(19, dtype=torch.complex64), powers(-1, 1, 19).float()
    assert torch.equal(block(y[:num], no[:num]), block(y, no)[: 6 * num])


def test_none_at_all(choose: Choice) -> None:
    choose("")
    block = QAMDemapper("app", Constellation("qam", 4))
    assert block(torch.zeros(2, 0, dtype=torch.complex64), torch.ones(2, 0)).shape == (2, 0)


def test_what_is_differentiated_is_pytorchs(choose: Choice, asked: list[str]) -> None:
    choose("")
    y = normal(5, dtype=torch.complex64).requires_grad_()
    QAMDemapper("app", Constellation("qam", 4))(y, torch.ones(5)).sum().backward()
    assert y.grad is not None and not asked
