"""The coordinate x in [-1, 1]: of numbers, arrays and tensors alike, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neumatc_mimo.foundation.coordinate import coordinate, in_band

LOW = st.floats(-1e9, 1e9)
WIDTH = st.floats(1e3, 1e9)


@given(low=LOW, width=WIDTH, x=st.floats(-1, 1))
def test_goes_there_and_back(low: float, width: float, x: float) -> None:
    band = (low, low + width)
    value = in_band(x, band)
    # Rounding of the band's own values, in units of its half width.
    rounding = 4e-16 * (abs(low) + width) / (width / 2)
    assert coordinate(value, band) == pytest.approx(x, abs=4 * rounding)
    assert coordinate(low, band) == pytest.approx(-1, abs=4 * rounding)
    assert coordinate(low + width, band) == pytest.approx(1, abs=4 * rounding)


def test_arrays_and_tensors_give_the_same() -> None:
    values, band = np.linspace(-3e8, 5e8, 11), (-2e8, 4e8)
    x = coordinate(values, band)
    assert x.min() < -1 and x.max() > 1  # outside the band as well
    assert np.array_equal(coordinate(torch.from_numpy(values), band).numpy(), x)
    assert np.allclose(in_band(torch.from_numpy(x), band).numpy(), values, rtol=1e-15)


def test_bands_of_several_coordinates_broadcast() -> None:
    low, high = torch.tensor([[0.0, 1.0], [-2.0, 6.0]], dtype=torch.float64).unbind(-1)
    p = torch.tensor([[0.0, -2.0], [0.5, 2.0], [1.0, 6.0]], dtype=torch.float64)
    expected = torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    assert torch.equal(coordinate(p, (low, high)), expected)
    assert torch.equal(in_band(expected, (low, high)), p)
