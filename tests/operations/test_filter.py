"""The filter in factors: what it does to symbols, and the powers that it tells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from neumatc_mimo.operations.pseudo_inverse import Filter, PseudoInverse

ITEMS, POINTS, ROWS, COLS, SYMBOLS = 3, 5, 4, 12, 2
OPERATION = PseudoInverse()
KINDS = ["computed", "queried", "queried with factors of the rows"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def channels(seed: int = 0) -> Tensor:
    return normal(ITEMS, POINTS, ROWS, COLS, seed=seed)


def gains(no: float) -> Tensor:
    """Factors of the rows: any without noise, with it of one magnitude for each item."""
    factors = normal(ITEMS, POINTS, ROWS, seed=9)
    if no:
        factors = torch.sgn(factors) * torch.tensor([0.5, 1.0, 3.0])[:, None, None]
    return factors


def pinv(a: Tensor, no: Tensor) -> Tensor:
    """NumPy's pseudo-inverse of [A, σI], its upper block."""
    eye = np.broadcast_to(np.eye(ROWS), (*a.shape[:-2], ROWS, ROWS))
    wide = np.concatenate([a.numpy(), np.sqrt(no.numpy())[..., None, None] * eye], axis=-1)
    return torch.from_numpy(np.linalg.pinv(wide)[..., : a.shape[-1], :])


def case(kind: str, no: float) -> tuple[Filter, Tensor, Tensor]:
    """A filter, NumPy's, and the matrices that both belong to."""
    h, power = channels(), torch.full((ITEMS, 1), no, dtype=torch.float64)
    given: Tensor | float = power if no else 0.0
    if kind == "computed":
        return OPERATION.solve(h, given), pinv(h, power), h
    if kind == "queried":
        return OPERATION.answer(OPERATION.exact(h, given), given), pinv(h, power), h
    rows = gains(no)
    a = rows[..., None] * h
    if no:
        given = power / rows[:, :1, 0].abs().square()
    return OPERATION.answer(OPERATION.exact(h, given), given, rows), pinv(a, power), a


def some(found: Filter, items: Tensor) -> Filter:
    mixing = None if found.mixing is None else found.mixing[items]
    column = None if found.column is None else found.column[items]
    no = found.no[items] if isinstance(found.no, Tensor) else found.no
    return Filter(found.w[items], mixing, column, no, found.x[items])


@pytest.mark.parametrize("no", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_filters_are_those_of_numpy(kind: str, no: float) -> None:
    found, expected, _ = case(kind, no)
    torch.testing.assert_close(found.dense, expected)
    torch.testing.assert_close(OPERATION.results(found), (expected,))


@pytest.mark.parametrize("no", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_applying_factors_is_applying_their_product(kind: str, no: float) -> None:
    found, expected, _ = case(kind, no)
    x, y = normal(ITEMS, POINTS, ROWS, SYMBOLS), normal(ITEMS, POINTS, SYMBOLS, COLS)
    torch.testing.assert_close(found.w @ found.before(x), expected @ x)
    torch.testing.assert_close(found.after(y @ found.w), y @ expected)


@pytest.mark.parametrize("no", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_powers_are_those_of_the_columns(kind: str, no: float) -> None:
    found, expected, a = case(kind, no)
    torch.testing.assert_close(found.column_power, expected.abs().square().sum(-2))
    gain = (a @ expected).diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(1 - found.loss, gain.real)


@pytest.mark.parametrize("no", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_scaled_columns_take_their_powers_along(kind: str, no: float) -> None:
    found, expected, _ = case(kind, no)
    factor = normal(ITEMS, POINTS, ROWS, seed=3).real
    scaled = found.scaled(factor)
    wanted = expected * factor[..., None, :]
    torch.testing.assert_close(scaled.dense, wanted)
    torch.testing.assert_close(scaled.column_power, wanted.abs().square().sum(-2))
    torch.testing.assert_close(scaled.loss, found.loss)
    x, y = normal(ITEMS, POINTS, ROWS, SYMBOLS), normal(ITEMS, POINTS, SYMBOLS, COLS)
    torch.testing.assert_close(scaled.w @ scaled.before(x), wanted @ x)
    torch.testing.assert_close(scaled.after(y @ scaled.w), y @ wanted)
    unit = found.scaled(found.column_power.rsqrt())
    torch.testing.assert_close(unit.column_power, torch.ones_like(factor))


@pytest.mark.parametrize("no", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_completed_filters_are_the_same(kind: str, no: float) -> None:
    found, expected, _ = case(kind, no)
    whole = found.complete()
    assert all(isinstance(field, Tensor) for field in whole)
    torch.testing.assert_close(whole.dense, expected)
    torch.testing.assert_close(whole.column_power, found.column_power)
    torch.testing.assert_close(whole.loss, found.loss)


@pytest.mark.parametrize("no", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("computed_first", [False, True])
def test_merged_filters_are_those_of_their_items(
    kind: str, no: float, computed_first: bool
) -> None:
    queried, expected, a = case(kind, no)
    known, others = torch.tensor([2, 0]), torch.tensor([1])
    power = torch.full((1, 1), no, dtype=torch.float64) if no else 0.0
    parts = [(some(queried, known), known), (OPERATION.solve(a[others], power), others)]
    if computed_first:
        parts.reverse()
    merged = OPERATION.merge([part for part, _ in parts], [items for _, items in parts])
    torch.testing.assert_close(merged.dense, expected)
    torch.testing.assert_close(merged.column_power, expected.abs().square().sum(-2))
    gain = (a @ expected).diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(1 - merged.loss, gain.real)
    x, y = normal(ITEMS, POINTS, ROWS, SYMBOLS), normal(ITEMS, POINTS, SYMBOLS, COLS)
    torch.testing.assert_close(merged.w @ merged.before(x), expected @ x)
    torch.testing.assert_close(merged.after(y @ merged.w), y @ expected)


def test_noise_powers_broadcast() -> None:
    """One matrix at many noise powers, as training asks for."""
    h, powers = channels(), torch.tensor([0.0, 1e-3, 0.1, 2.0], dtype=torch.float64)
    w, x = OPERATION.exact(h[:, :, None], powers)
    filters = OPERATION.solve(h[:, :, None], powers)
    for node, no in enumerate(powers.tolist()):
        expected_w, expected_x = OPERATION.exact(h, no)
        torch.testing.assert_close(w[:, :, 0], expected_w)
        torch.testing.assert_close(x[:, :, node], expected_x)
        torch.testing.assert_close(filters.dense[:, :, node], OPERATION.solve(h, no).dense)
        residual = OPERATION.residual(h, (w[:, :, 0], x[:, :, node]), no)
        assert residual.max() < 1e-12


@pytest.mark.parametrize("no", [0.0, 0.3])
def test_components_turn_with_the_diagonals(no: float) -> None:
    h = channels()
    left = torch.sgn(normal(ITEMS, POINTS, ROWS, seed=1))
    right = torch.sgn(normal(ITEMS, POINTS, COLS, seed=2))
    turned = OPERATION.exact(left[..., None] * h * right[..., None, :], no)
    torch.testing.assert_close(OPERATION.scale(OPERATION.exact(h, no), left, right), turned)


@pytest.mark.parametrize("no", [0.0, 0.3])
def test_components_follow_the_order_of_the_rows(no: float) -> None:
    h, generator = channels(), torch.Generator().manual_seed(0)
    order = torch.stack([torch.randperm(ROWS, generator=generator) for _ in range(ITEMS)])
    taken = torch.stack([one[:, rows] for one, rows in zip(h, order, strict=True)])
    expected = OPERATION.exact(taken, no)
    torch.testing.assert_close(OPERATION.permute(OPERATION.exact(h, no), order), expected)


def test_components_are_as_they_say() -> None:
    w, x = OPERATION.exact(channels(), 0.3)
    assert OPERATION.component_names == ("w", "x")
    assert (w.shape[2:], x.shape[2:]) == OPERATION.component_shapes(ROWS, COLS)
    assert OPERATION.hermitian == ("x",) and OPERATION.noise_free == ("w",)
    torch.testing.assert_close(x, x.mH)
    torch.testing.assert_close(w, OPERATION.exact(channels(), 0.0)[0])
