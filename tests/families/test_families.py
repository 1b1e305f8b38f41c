"""Parametric matrices: their formulas, their rank along p, their domains."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from neumatc_mimo.families import CosineFamily, Family, FourierFamily, Gram


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rank(samples: Tensor) -> int:
    """Real-stacked rank of the sample matrix along p."""
    rows = samples.flatten(1)
    if rows.is_complex():
        rows = torch.view_as_real(rows).flatten(1)
    return int(torch.linalg.matrix_rank(rows, rtol=1e-9))


def families(complex_valued: bool) -> list[Family]:
    cosines = CosineFamily((5, 7), generator(), complex_valued=complex_valued)
    fourier = FourierFamily((4, 6), 2, generator(), order=1, complex_valued=complex_valued)
    return [cosines, fourier, Gram(fourier, 0.1)]


@pytest.mark.parametrize("complex_valued", [False, True])
def test_shapes_and_types(complex_valued: bool) -> None:
    for family in families(complex_valued):
        p = family.uniform(9, generator(1))
        a = family(p)
        assert p.shape == (9, family.dimension) and a.shape == (9, *family.shape)
        assert a.dtype == (torch.complex128 if complex_valued else torch.float64)
        # A batch is nothing but its items.
        torch.testing.assert_close(family(p[3:4])[0], a[3])


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("num_frequencies", [1, 3, 6])
def test_rank_of_cosines_is_controlled(num_frequencies: int, complex_valued: bool) -> None:
    for shift, extra in ((0.0, 0), (2.0, 1)):
        family = CosineFamily(
            (6, 6),
            generator(),
            num_frequencies=num_frequencies,
            max_frequency=20.0,
            shift=shift,
            complex_valued=complex_valued,
        )
        assert rank(family(family.grid(100))) == 2 * num_frequencies + extra


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_rank_of_fourier_sums_is_that_of_the_basis(dimension: int) -> None:
    family = FourierFamily((6, 6), dimension, generator(), order=1)
    assert rank(family(family.uniform(60, generator(1)))) == 3**dimension


def test_one_cosine_is_the_formula() -> None:
    """With one term of one frequency every entry obeys y'' = -ω² y."""
    family = CosineFamily((3, 3), generator(), num_frequencies=1, num_terms=1, shift=0.0)
    step = 1e-3
    a = family(torch.tensor([[-step], [0.0], [step]], dtype=torch.float64))
    curvature = -(a[0] - 2 * a[1] + a[2]) / step**2 / a[1]
    torch.testing.assert_close(curvature, curvature[0, 0].expand(3, 3), rtol=1e-4, atol=0)
    assert 0 < curvature[0, 0] < math.pi**2


def test_fourier_sum_is_the_formula() -> None:
    """A line through the domain is a one-dimensional Fourier sum: periodic, of order Q."""
    family = FourierFamily((2, 2), 2, generator(), order=2)
    num = 8
    x = -1 + 2 * torch.arange(num, dtype=torch.float64) / num
    line = family(torch.stack([x, torch.full_like(x, 0.3)], dim=-1))
    spectrum = torch.fft.rfft(line, dim=0).abs()
    assert spectrum[:3].amin() > 1e-3 and spectrum[3:].max() < 1e-12
    corners = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
    torch.testing.assert_close(family(corners)[0], family(corners)[1])


@pytest.mark.parametrize("complex_valued", [False, True])
def test_entries_have_variance_one_over_n(complex_valued: bool) -> None:
    shape = (100, 100)
    for family in (
        CosineFamily(shape, generator(), complex_valued=complex_valued),
        FourierFamily(shape, 2, generator(), order=2, complex_valued=complex_valued),
    ):
        energy = family(family.uniform(5, generator(1))).abs().square().sum((-2, -1)) / shape[0]
        torch.testing.assert_close(energy, torch.ones_like(energy), rtol=0.1, atol=0)


def test_shift_gives_every_matrix_an_inverse() -> None:
    for seed in range(5):
        for family in (
            CosineFamily((16, 16), generator(seed), shift=3.0),
            FourierFamily((16, 16), 2, generator(seed), shift=3.0),
        ):
            assert torch.linalg.cond(family(family.uniform(50, generator(9)))).max() < 20


def test_energy_decays_from_column_to_column() -> None:
    family = CosineFamily((2000, 5), generator(), decay=0.01)
    lengths = torch.linalg.norm(family(family.grid(3)), dim=-2)
    ratio = lengths[:, 1:] / lengths[:, :-1]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.01**0.25), rtol=0.1, atol=0)


def test_gram_is_positive_definite() -> None:
    family = FourierFamily((4, 2), 2, generator(), complex_valued=True)
    p = family.uniform(20, generator(1))
    gram = Gram(family, 0.25)(p)
    a = family(p)
    torch.testing.assert_close(gram, a @ a.mH + 0.25 * torch.eye(4))
    # A has two columns: two of the four eigenvalues are σ² itself.
    values = torch.linalg.eigvalsh(gram)
    torch.testing.assert_close(values[:, :2], torch.full_like(values[:, :2], 0.25))


def test_domain_is_in_its_own_units() -> None:
    band = (3.4e9, 3.6e9)
    ours = CosineFamily((4, 4), generator(), domain=band)
    unit = CosineFamily((4, 4), generator())
    x = unit.uniform(10, generator(1))
    p = ours.parameter(x)
    assert p.min() >= band[0] and p.max() <= band[1]
    torch.testing.assert_close(ours(p), unit(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.coordinate(p), x, rtol=0, atol=1e-12)
    assert ours.grid(5)[[0, -1], 0].tolist() == list(band)
    tall = FourierFamily((2, 2), 2, generator(), domain=[(0.0, 1.0), (10.0, 30.0)])
    assert tall.grid(3).unique(dim=0).shape == (9, 2)
    assert tall.grid(3).amax(0).tolist() == [1.0, 30.0]


def test_seed_decides() -> None:
    p = torch.tensor([[0.1], [0.7]])
    one, same, other = (CosineFamily((3, 3), generator(s))(p) for s in (0, 0, 1))
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert (one - other).abs().min() > 1e-6


def test_bad_input_is_refused() -> None:
    family = FourierFamily((2, 2), 2, generator())
    with pytest.raises(ValueError, match=r"Parameters are \[batch, 2\] here, not \[5, 1\]."):
        family(torch.zeros(5, 1))
    with pytest.raises(ValueError, match=r"not \[5\]"):
        family(torch.zeros(5))
    for domain in ([(1.0, 1.0)], [(0.0, math.inf)], [(1.0, 0.0)]):
        with pytest.raises(ValueError, match="an interval without width"):
            FourierFamily((2, 2), 1, generator(), domain=domain)
    with pytest.raises(ValueError, match="one interval a coordinate"):
        FourierFamily((2, 2), 1, generator(), domain=torch.zeros(2))
    with pytest.raises(ValueError, match="has 1 intervals, the dimension is 2"):
        FourierFamily((2, 2), 2, generator(), domain=[(0.0, 1.0)])
    with pytest.raises(ValueError, match="dimension of 1 or more"):
        FourierFamily((2, 2), 0, generator())
    with pytest.raises(ValueError, match="rows and columns"):
        CosineFamily((0, 2), generator())
    with pytest.raises(ValueError, match="at least one frequency"):
        CosineFamily((2, 2), generator(), num_frequencies=0)
    with pytest.raises(ValueError, match="lies in"):
        CosineFamily((2, 2), generator(), decay=0.0)
    with pytest.raises(ValueError, match="highest frequency is -1"):
        CosineFamily((2, 2), generator(), max_frequency=-1)
    with pytest.raises(ValueError, match="not negative"):
        Gram(family, -0.1)
