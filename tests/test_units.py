"""The units of a trunk: their values, dense and a stretch at a time, and their descriptions."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from neumatc_mimo.mapping.basis import FourierUnits, SineUnits, SplineUnits, Units, make_units

ALL: list[Units] = [
    SplineUnits(24, 3),
    SplineUnits(25, 5),
    SplineUnits(40),
    SplineUnits(8),
    SineUnits(20),
    SineUnits(7, spacing=1.3, decay=4.0),
    FourierUnits(21),
    FourierUnits(1),
]
SPLINES = [units for units in ALL if isinstance(units, SplineUnits)]


def points(count: int = 101, reach: float = 1.0) -> Tensor:
    """Points in random order, both ends among them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return torch.linspace(-reach, reach, count, dtype=torch.float64)[order]


def design(units: SplineUnits, x: Tensor) -> Tensor:
    """SciPy's B-splines on the knots that go on evenly beyond both ends."""
    intervals = units.num_units - units.degree
    knots = -1 + 2 / intervals * np.arange(-units.degree, intervals + units.degree + 1)
    matrix = BSpline.design_matrix(x.numpy(), knots, units.degree, extrapolate=True)
    return torch.from_numpy(matrix.toarray())


@pytest.mark.parametrize("units", SPLINES, ids=str)
def test_splines_are_those_of_scipy(units: SplineUnits) -> None:
    x = points()
    torch.testing.assert_close(units.values(x), design(units, x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("units", SPLINES, ids=str)
def test_splines_go_on_beyond_the_ends(units: SplineUnits) -> None:
    x = points(reach=1.01)
    torch.testing.assert_close(units.values(x), design(units, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("units", SPLINES, ids=str)
def test_splines_at_the_knots(units: SplineUnits) -> None:
    intervals = units.num_units - units.degree
    x = torch.linspace(-1, 1, intervals + 1, dtype=torch.float64)
    torch.testing.assert_close(units.values(x), design(units, x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("units", SPLINES, ids=str)
def test_splines_are_a_partition_of_unity(units: SplineUnits) -> None:
    values = units.values(points())
    torch.testing.assert_close(values.sum(1), torch.ones(len(values), dtype=torch.float64))
    assert values.min() > -1e-15
    assert (values > 0).sum(1).max() <= units.degree + 1


@pytest.mark.parametrize("degree", [3, 5, 7])
def test_roughness_spares_cubics_only(degree: int) -> None:
    units = SplineUnits(30, degree)
    penalty = units.penalty()
    steps = torch.linspace(-1, 1, 30, dtype=torch.float64)
    for power in range(6):
        coefficients = steps**power
        roughness = coefficients @ penalty @ coefficients / penalty.diagonal().mean()
        assert (abs(roughness) < 1e-12) == (power < 4)
    assert torch.linalg.eigvalsh(penalty).min() > -1e-12 * penalty.abs().max()


@pytest.mark.parametrize("spacing, decay", [(0.9, 45.0), (2.0, 0.3)])
@pytest.mark.parametrize("num_units", [1, 8, 9])
def test_sines_are_the_formula(num_units: int, spacing: float, decay: float) -> None:
    x = points(31)
    values = SineUnits(num_units, spacing, decay).values(x)
    half = (num_units + 1) // 2
    for unit in range(num_units):
        delay = (unit % half + 0.5) * spacing
        wave = torch.sin if unit < half else torch.cos
        expected = max(math.exp(-delay / decay), 1e-5) * wave(math.pi * delay * x)
        torch.testing.assert_close(values[:, unit], expected, rtol=0, atol=1e-12)


def test_fourier_units_are_the_formula() -> None:
    x = points(31)
    values = FourierUnits(5).values(x)
    expected = [
        torch.ones_like(x),
        torch.cos(math.pi * x),
        torch.cos(2 * math.pi * x),
        torch.sin(math.pi * x),
        torch.sin(2 * math.pi * x),
    ]
    torch.testing.assert_close(values, torch.stack(expected, dim=-1), rtol=0, atol=1e-14)
    ends = FourierUnits(21).values(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="4 Fourier units are no odd number of them."):
        FourierUnits(4)


def test_sines_have_an_even_penalty() -> None:
    penalty = SineUnits(6).penalty()
    assert torch.equal(penalty, penalty[0, 0] * torch.eye(6, dtype=torch.float64))
    assert penalty[0, 0] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("units", ALL, ids=str)
def test_stretches_of_a_table_are_the_values(units: Units, dtype: torch.dtype) -> None:
    for x in (points(), points().sort().values, points(1)):
        table, full = units.table(x, dtype), units.values(x)
        for stretch in (slice(0, len(x)), slice(3, 17), slice(40, 41), slice(90, 200)):
            if not len(x[stretch]):
                continue
            functions, values = table.read(stretch)
            dense = torch.zeros_like(full[stretch])
            dense[:, functions] = values.double()
            assert values.dtype == dtype
            tolerance = 1e-15 if dtype == torch.float64 else 1e-6
            torch.testing.assert_close(dense, full[stretch], rtol=0, atol=tolerance)


@pytest.mark.parametrize("units", SPLINES, ids=str)
def test_short_stretches_touch_few_splines(units: SplineUnits) -> None:
    x = points(1001).sort().values
    table = units.table(x)
    intervals = units.num_units - units.degree
    for start in range(0, 1000, 100):
        functions, _ = table.read(slice(start, start + 10))
        most = units.degree + 2 + math.ceil(10 / 1000 * intervals)
        assert functions.stop - functions.start <= most


@pytest.mark.parametrize("units", ALL, ids=str)
def test_traced_reading_is_the_same(units: Units, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neumatc_mimo.mapping.basis.is_traced", lambda: True)
    x = points()
    functions, values = units.table(x).read(slice(5, 30))
    assert (functions.start, functions.stop) == (0, units.width)
    monkeypatch.undo()
    torch.testing.assert_close(values, units.values(x)[5:30], rtol=0, atol=1e-15)


@pytest.mark.parametrize("units", ALL, ids=str)
def test_settings_round_trip(units: Units) -> None:
    # As in a model's card.
    settings = json.loads(json.dumps(units.settings()))
    again = make_units(settings)
    assert again == units
    assert again.settings() == units.settings() == settings
    assert again.width == units.width == units.values(points(3)).shape[1]
    assert again.penalty().shape == (units.width, units.width)


@pytest.mark.parametrize("num_units, degree", [(7, 7), (3, 3), (0, 5)])
def test_too_few_splines_are_refused(num_units: int, degree: int) -> None:
    with pytest.raises(ValueError, match=f"{num_units} splines of degree {degree} are too few."):
        SplineUnits(num_units, degree)


def test_unknown_units_are_refused() -> None:
    with pytest.raises(ValueError, match='no units "wavelet", known are sine, fourier, spline.'):
        make_units({"kind": "wavelet", "num_units": 8})
    with pytest.raises(ValueError, match='no units "None"'):
        make_units({"num_units": 8})


def test_windows_hold_what_reading_gives() -> None:
    for units, num in (
        (SplineUnits.on_grid(336, 100), 336),
        (SplineUnits.on_grid(250, 60, degree=3), 252),
        (SplineUnits(117), 336),
    ):
        grid = torch.arange(num, dtype=torch.float64)
        low, high = units.band(grid)
        x = 2 * (grid - low) / (high - low) - 1
        table, full = units.table(x.clamp_max(1)), units.values(x.clamp_max(1))
        for stretch in (slice(0, 252), slice(84, num), slice(42, 126)):
            windows = table.windows(stretch)
            assert windows is not None
            assert windows.stride is not None or not units.points_per_interval
            rows = windows.of(torch.eye(units.width, dtype=torch.float64))
            dense = (windows.values @ rows).flatten(0, 1)
            torch.testing.assert_close(dense, full[stretch], rtol=0, atol=1e-12)
            # A view where the pattern repeats, and few units for each group in any case.
            assert windows.values.shape[2] <= units.width // 2


def test_splines_on_a_grid_have_their_knots_there() -> None:
    grid = 30e3 * torch.arange(-1638, 1638, dtype=torch.float64)
    for width, step, num in ((800, 4, 826), (1000, 3, 1099), (5000, 1, 3283)):
        units = SplineUnits.on_grid(3276, width)
        assert (units.points_per_interval, units.width) == (step, num)
        low, high = units.band(grid)
        assert low == grid[0] and high == pytest.approx(grid[-1] + 30e3)
    assert SplineUnits(40).band(grid) == (grid[0], grid[-1])
