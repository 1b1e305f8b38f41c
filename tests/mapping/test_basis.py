"""The functions of a trunk: their values, dense and a stretch at a time, and their descriptions."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from neumatc_mimo.mapping.basis import Basis, FourierBasis, SineBasis, SplineBasis, make_basis

ALL: list[Basis] = [
    SplineBasis(24, 3),
    SplineBasis(25, 5),
    SplineBasis(40),
    SplineBasis(8),
    SineBasis(20),
    SineBasis(7, spacing=1.3, decay=4.0),
    FourierBasis(21),
    FourierBasis(1),
]
SPLINES = [basis for basis in ALL if isinstance(basis, SplineBasis)]


def points(count: int = 101, reach: float = 1.0) -> Tensor:
    """Points in random order, both ends among them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return torch.linspace(-reach, reach, count, dtype=torch.float64)[order]


def design(basis: SplineBasis, x: Tensor) -> Tensor:
    """SciPy's B-splines on the knots that go on evenly beyond both ends."""
    intervals = basis.num_functions - basis.degree
    knots = -1 + 2 / intervals * np.arange(-basis.degree, intervals + basis.degree + 1)
    matrix = BSpline.design_matrix(x.numpy(), knots, basis.degree, extrapolate=True)
    return torch.from_numpy(matrix.toarray())


@pytest.mark.parametrize("basis", SPLINES, ids=str)
def test_splines_are_those_of_scipy(basis: SplineBasis) -> None:
    x = points()
    torch.testing.assert_close(basis.values(x), design(basis, x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("basis", SPLINES, ids=str)
def test_splines_go_on_beyond_the_ends(basis: SplineBasis) -> None:
    x = points(reach=1.01)
    torch.testing.assert_close(basis.values(x), design(basis, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("basis", SPLINES, ids=str)
def test_splines_at_the_knots(basis: SplineBasis) -> None:
    intervals = basis.num_functions - basis.degree
    x = torch.linspace(-1, 1, intervals + 1, dtype=torch.float64)
    torch.testing.assert_close(basis.values(x), design(basis, x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("basis", SPLINES, ids=str)
def test_splines_are_a_partition_of_unity(basis: SplineBasis) -> None:
    values = basis.values(points())
    torch.testing.assert_close(values.sum(1), torch.ones(len(values), dtype=torch.float64))
    assert values.min() > -1e-15
    assert (values > 0).sum(1).max() <= basis.degree + 1


@pytest.mark.parametrize("degree", [3, 5, 7])
def test_roughness_spares_cubics_only(degree: int) -> None:
    basis = SplineBasis(30, degree)
    penalty = basis.penalty()
    steps = torch.linspace(-1, 1, 30, dtype=torch.float64)
    for power in range(6):
        coefficients = steps**power
        roughness = coefficients @ penalty @ coefficients / penalty.diagonal().mean()
        assert (abs(roughness) < 1e-12) == (power < 4)
    assert torch.linalg.eigvalsh(penalty).min() > -1e-12 * penalty.abs().max()


@pytest.mark.parametrize("spacing, decay", [(0.9, 45.0), (2.0, 0.3)])
@pytest.mark.parametrize("num_functions", [1, 8, 9])
def test_sines_are_the_formula(num_functions: int, spacing: float, decay: float) -> None:
    x = points(31)
    values = SineBasis(num_functions, spacing, decay).values(x)
    half = (num_functions + 1) // 2
    for unit in range(num_functions):
        delay = (unit % half + 0.5) * spacing
        wave = torch.sin if unit < half else torch.cos
        expected = max(math.exp(-delay / decay), 1e-5) * wave(math.pi * delay * x)
        torch.testing.assert_close(values[:, unit], expected, rtol=0, atol=1e-12)


def test_fourier_units_are_the_formula() -> None:
    x = points(31)
    values = FourierBasis(5).values(x)
    expected = [
        torch.ones_like(x),
        torch.cos(math.pi * x),
        torch.cos(2 * math.pi * x),
        torch.sin(math.pi * x),
        torch.sin(2 * math.pi * x),
    ]
    torch.testing.assert_close(values, torch.stack(expected, dim=-1), rtol=0, atol=1e-14)
    ends = FourierBasis(21).values(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="4 Fourier functions are no odd number of them."):
        FourierBasis(4)


def test_sines_have_an_even_penalty() -> None:
    penalty = SineBasis(6).penalty()
    assert torch.equal(penalty, penalty[0, 0] * torch.eye(6, dtype=torch.float64))
    assert penalty[0, 0] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("basis", ALL, ids=str)
def test_stretches_of_a_table_are_the_values(basis: Basis, dtype: torch.dtype) -> None:
    for x in (points(), points().sort().values, points(1)):
        table, full = basis.table(x, dtype), basis.values(x)
        for stretch in (slice(0, len(x)), slice(3, 17), slice(40, 41), slice(90, 200)):
            if not len(x[stretch]):
                continue
            functions, values = table.read(stretch)
            dense = torch.zeros_like(full[stretch])
            dense[:, functions] = values.double()
            assert values.dtype == dtype
            tolerance = 1e-15 if dtype == torch.float64 else 1e-6
            torch.testing.assert_close(dense, full[stretch], rtol=0, atol=tolerance)


@pytest.mark.parametrize("basis", SPLINES, ids=str)
def test_short_stretches_touch_few_splines(basis: SplineBasis) -> None:
    x = points(1001).sort().values
    table = basis.table(x)
    intervals = basis.num_functions - basis.degree
    for start in range(0, 1000, 100):
        functions, _ = table.read(slice(start, start + 10))
        most = basis.degree + 2 + math.ceil(10 / 1000 * intervals)
        assert functions.stop - functions.start <= most


@pytest.mark.parametrize("basis", ALL, ids=str)
def test_traced_reading_is_the_same(basis: Basis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neumatc_mimo.mapping.basis.splines.is_traced", lambda: True)
    x = points()
    functions, values = basis.table(x).read(slice(5, 30))
    assert (functions.start, functions.stop) == (0, basis.width)
    monkeypatch.undo()
    torch.testing.assert_close(values, basis.values(x)[5:30], rtol=0, atol=1e-15)


@pytest.mark.parametrize("basis", ALL, ids=str)
def test_settings_round_trip(basis: Basis) -> None:
    # As in a model's manifest.
    settings = json.loads(json.dumps(basis.settings()))
    again = make_basis(settings)
    assert again == basis
    assert again.settings() == basis.settings() == settings
    assert again.width == basis.width == basis.values(points(3)).shape[1]
    assert again.penalty().shape == (basis.width, basis.width)


@pytest.mark.parametrize("num_functions, degree", [(7, 7), (3, 3), (0, 5)])
def test_too_few_splines_are_refused(num_functions: int, degree: int) -> None:
    with pytest.raises(ValueError, match=f"{num_functions} splines of degree {degree} are too"):
        SplineBasis(num_functions, degree)


def test_unknown_units_are_refused() -> None:
    with pytest.raises(
        ValueError, match='no basis "wavelet", known are fourier, spline, knots, sine.'
    ):
        make_basis({"kind": "wavelet", "num_functions": 8})
    with pytest.raises(ValueError, match='no basis "None"'):
        make_basis({"num_functions": 8})


def test_windows_hold_what_reading_gives() -> None:
    for basis, num in (
        (SplineBasis.on_grid(336, 100), 336),
        (SplineBasis.on_grid(250, 60, degree=3), 252),
        (SplineBasis(117), 336),
    ):
        grid = torch.arange(num, dtype=torch.float64)
        low, high = basis.band(grid)
        x = 2 * (grid - low) / (high - low) - 1
        table, full = basis.table(x.clamp_max(1)), basis.values(x.clamp_max(1))
        for stretch in (slice(0, 252), slice(84, num), slice(42, 126)):
            windows = table.windows(stretch)
            assert windows is not None
            assert windows.stride is not None or not basis.points_per_interval
            rows = windows.of(torch.eye(basis.width, dtype=torch.float64))
            dense = (windows.values @ rows).flatten(0, 1)
            torch.testing.assert_close(dense, full[stretch], rtol=0, atol=1e-12)
            # A view where the pattern repeats, and few functions for each group in any case.
            assert windows.values.shape[2] <= basis.width // 2


def test_splines_on_a_grid_have_their_knots_there() -> None:
    grid = 30e3 * torch.arange(-1638, 1638, dtype=torch.float64)
    for width, step, num in ((800, 4, 826), (1000, 3, 1099), (5000, 1, 3283)):
        basis = SplineBasis.on_grid(3276, width)
        assert (basis.points_per_interval, basis.width) == (step, num)
        low, high = basis.band(grid)
        assert low == grid[0] and high == pytest.approx(grid[-1] + 30e3)
    assert SplineBasis(40).band(grid) == (grid[0], grid[-1])
