"""Waves e^{-j2πfτ}: exact to the rounding of their dtype, however many turns there are."""

from __future__ import annotations

import cmath
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neumatc_mimo.foundation import waves as with_numpy
from neumatc_mimo.tensors.waves import turned, wave

# f of 1e9 Hz and τ of 1e-5 s are 10 000 turns, which cost double precision four of its digits.
FREQUENCY = st.floats(-1e9, 1e9)
DELAY = st.floats(-1e-5, 1e-5)
ROUNDING = {torch.complex64: 2e-6, torch.complex128: 1e-11}


def double(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize("dtype", ROUNDING)
@given(frequency=FREQUENCY, delay=DELAY)
def test_is_the_exponential_in_double_precision(
    dtype: torch.dtype, frequency: float, delay: float
) -> None:
    f, tau = double(frequency), double(delay)
    found = wave(f, tau, dtype)
    assert found.dtype == dtype
    # Whole turns are taken off in exact arithmetic: the product of floats has lost digits already.
    part = float(Fraction(frequency) * Fraction(delay) % 1)
    assert abs(found.item() - cmath.exp(-2j * math.pi * part)) <= ROUNDING[dtype]
    assert abs(found.abs().item() - 1) <= torch.finfo(dtype).eps
    same = with_numpy.wave(f.numpy(), tau.numpy())
    assert same.dtype == np.complex128
    assert np.abs(same - wave(f, tau).numpy()).max() <= 1e-15


@given(turns=st.integers(-(10**6), 10**6), part=st.floats(-0.49, 0.49))
def test_whole_turns_change_nothing(turns: int, part: float) -> None:
    exact = double(turns + part) - turns  # what rounding left of the part
    assert (turned(double(turns) + part) - turned(exact)).abs().item() < 1e-15


def test_shapes_broadcast() -> None:
    f, tau = torch.linspace(-1e8, 1e8, 7).double(), torch.rand(2, 3).double() * 1e-6
    found = wave(f[:, None], tau[:, None], torch.complex64)
    assert found.shape == (2, 7, 3) and found.dtype == torch.complex64
    # Frequencies in single precision are computed with in double.
    assert torch.equal(wave(f.float(), tau[0, :1]), wave(f.float().double(), tau[0, :1]))


@pytest.mark.parametrize("dtype", ROUNDING)
def test_gradient_flows_to_delays(dtype: torch.dtype) -> None:
    f = torch.tensor([-3e8, 1e8, 7e8], dtype=torch.float64)
    tau = torch.tensor([1e-7, 3.3e-6], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([[1 + 2j], [0.5j], [-1.0]], dtype=torch.complex128)
    (weight * wave(f[:, None], tau, dtype)).real.sum().backward()
    slope = (-2j * math.pi * f[:, None] * weight * wave(f[:, None], tau.detach())).real.sum(0)
    assert tau.grad is not None
    assert torch.allclose(tau.grad, slope, rtol=ROUNDING[dtype], atol=ROUNDING[dtype] * 1e9)


def test_is_traced_as_one_graph() -> None:
    f, tau = torch.linspace(-1e8, 1e8, 5).double(), torch.rand(5).double() * 1e-6
    compiled = torch.compile(wave, fullgraph=True, backend="eager")
    assert torch.equal(compiled(f, tau, torch.complex64), wave(f, tau, torch.complex64))
