"""The compact mapping: how components are stored, evaluated, selected and joined."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from neumatc_mimo.mapping.axes import NoiseAxis
from neumatc_mimo.mapping.basis import Basis, SineBasis, SplineBasis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.mapping.trunk import Trunk
from neumatc_mimo.operations.base import Components

LINKS, NODES, RANK = 3, 4, 9
LAYOUTS = (
    Layout((6, 2), "complex"),
    Layout((3, 3), "hermitian"),
    Layout((5,), "real"),
    Layout((2,), "complex"),
)
UNITS: list[Basis] = [SplineBasis(20, 3), SplineBasis(24), SineBasis(16)]
CASES = [(basis, readout) for basis in UNITS for readout in (False, True)]
FREQUENCIES = torch.linspace(-3e6, 2e6, 40, dtype=torch.float64)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def component(layout: Layout, *batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
    if layout.kind == "real":
        return normal(*batch, *layout.shape, dtype=dtype)
    square = normal(*batch, *layout.shape, dtype=dtype.to_complex())
    return square + square.mH if layout.kind == "hermitian" else square


def mapping(basis: Basis, readout: bool) -> CompactMapping:
    """A mapping whose second and last components depend on the noise power."""
    rank = RANK if readout else basis.width
    trunk = Trunk(basis, normal(LINKS, basis.width, RANK) if readout else None)
    latents = tuple(
        Latent(normal(LINKS, rank, NODES if number % 2 else 1, layout.size, seed=number))
        for number, layout in enumerate(LAYOUTS)
    )
    band = (FREQUENCIES[0].item(), FREQUENCIES[-1].item())
    return CompactMapping(trunk, NoiseAxis(1e-3, 1.0, NODES), latents, LAYOUTS, band)


def plain(whole: CompactMapping, frequencies: Tensor, no: Tensor) -> Components:
    """Ŷ(x, no) = Σ_r Σ_q φ_r(x) ψ_q(no) C_rq, all of it dense and in float64."""
    low, high = whole.band
    basis = whole.trunk.basis.values((2 * frequencies - low - high) / (high - low))[None]
    if whole.trunk.readout is not None:
        basis = basis @ whole.trunk.readout.double()
    basis = basis.expand(LINKS, -1, -1)
    parts = []
    for latent, layout in zip(whole.latents, whole.layouts, strict=True):
        weights = whole.axis.weights(no) if latent.shape[2] > 1 else no.new_ones(len(no), 1)
        rows = torch.einsum("lbr,lq,lrqn->lbn", basis, weights, latent.values.double())
        parts.append(layout.unpack(rows))
    return tuple(parts)


def assert_near(found: Components, expected: Components) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype in (torch.float32, torch.complex64)
        size = torch.linalg.norm(other) / other.numel() ** 0.5
        assert (one - other).abs().max() < 1e-5 * size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_layouts_round_trip(layout: Layout, dtype: torch.dtype) -> None:
    for batch in ((), (4,), (2, 3)):
        whole = component(layout, *batch, dtype=dtype)
        rows = layout.pack(whole)
        assert rows.shape == (*batch, layout.size) and rows.dtype == dtype
        assert torch.equal(layout.unpack(rows), whole)
        # Every row of real numbers is one of the component.
        rows = normal(*batch, layout.size, dtype=dtype)
        assert torch.equal(layout.pack(layout.unpack(rows)), rows)


def test_hermitian_rows_unpack_to_hermitian_matrices() -> None:
    matrix = Layout((5, 5), "hermitian").unpack(normal(7, 25))
    assert torch.equal(matrix, matrix.mH)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_layouts_are_linear(layout: Layout) -> None:
    """Combinations of rows are those of components: the trunk's functions are real."""
    rows, weights = normal(4, layout.size, dtype=torch.float64), normal(4, seed=1).double()
    expected = torch.tensordot(weights.to(layout.unpack(rows)), layout.unpack(rows), dims=1)
    torch.testing.assert_close(layout.unpack(weights @ rows), expected)


@pytest.mark.parametrize("basis, readout", CASES, ids=str)
def test_trunk_is_the_units_mixed(basis: Basis, readout: bool) -> None:
    trunk = mapping(basis, readout).trunk
    x = torch.linspace(-1, 1, 33, dtype=torch.float64)
    expected = basis.values(x)[None]
    if trunk.readout is not None:
        expected = expected @ trunk.readout.double()
    assert trunk.rank == expected.shape[-1]
    torch.testing.assert_close(trunk(x).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("basis, readout", CASES, ids=str)
def test_evaluation_is_the_plain_formula(basis: Basis, readout: bool) -> None:
    whole = mapping(basis, readout)
    no = torch.tensor([0.0, 0.02, 1.0], dtype=torch.float64)
    shuffled = FREQUENCIES[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    for frequencies in (FREQUENCIES, shuffled, FREQUENCIES[7:8] + 1234.5):
        found, expected = whole(frequencies, no), plain(whole, frequencies, no)
        for one, layout in zip(found, LAYOUTS, strict=True):
            assert one.shape == (LINKS, len(frequencies), *layout.shape)
        assert_near(found, expected)


@pytest.mark.parametrize("basis, readout", CASES, ids=str)
def test_a_table_serves_tiles(basis: Basis, readout: bool) -> None:
    whole = mapping(basis, readout)
    no = torch.tensor([0.0, 0.02, 1.0], dtype=torch.float64)
    expected = plain(whole, FREQUENCIES, no)
    table, folded = whole.trunk.table(whole.coordinate(FREQUENCIES)), whole.at(no)
    for tile in (slice(0, 5), slice(5, 37), slice(37, 40)):
        found = whole.evaluate(table, tile, folded)
        assert_near(found, tuple(c[:, tile] for c in expected))


@pytest.mark.parametrize("basis, readout", CASES, ids=str)
def test_a_component_of_one_node_is_the_same_at_every_noise_power(
    basis: Basis, readout: bool
) -> None:
    whole = mapping(basis, readout)
    low, high = (whole(FREQUENCIES, torch.full((LINKS,), no)) for no in (0.0, 0.5))
    for number, (one, other) in enumerate(zip(low, high, strict=True)):
        assert torch.equal(one, other) == (whole.latents[number].shape[2] == 1)


def test_at_a_node_only_its_own_latent_tensor_counts() -> None:
    whole = mapping(SplineBasis(20), False)
    for node, power in enumerate(whole.axis.nodes):
        folded = whole.at(power.expand(LINKS))
        parts = folded.split(folded.rows)
        for latent, layout, part in zip(whole.latents, LAYOUTS, parts, strict=True):
            own = latent.values[:, :, min(node, latent.shape[2] - 1)]
            assert torch.equal(part, layout.unpack(own))


def test_the_band_ends_at_one() -> None:
    whole = mapping(SplineBasis(20), False)
    x = whole.coordinate(FREQUENCIES)
    assert x.dtype == torch.float64
    torch.testing.assert_close(x, torch.linspace(-1, 1, 40, dtype=torch.float64))


@pytest.mark.parametrize("basis, readout", CASES, ids=str)
@pytest.mark.parametrize("links", [[1], [2, 0], [0, 0, 1]], ids=str)
def test_selected_links_are_those_of_the_whole(
    basis: Basis, readout: bool, links: list[int]
) -> None:
    whole, chosen = mapping(basis, readout), torch.tensor(links)
    no = torch.tensor([0.0, 0.02, 1.0], dtype=torch.float64)
    part = whole.select(chosen)
    assert part.num_links == len(links)
    expected = tuple(c[chosen] for c in plain(whole, FREQUENCIES, no))
    assert_near(part(FREQUENCIES, no[chosen]), expected)


def test_selecting_one_link_copies_nothing() -> None:
    whole = mapping(SplineBasis(20), True)
    owners = [t.untyped_storage().data_ptr() for t in whole.tensors().values()]
    part = whole.select(torch.tensor([1]))
    assert [t.untyped_storage().data_ptr() for t in part.tensors().values()] == owners


@pytest.mark.parametrize("basis, readout", CASES, ids=str)
def test_joined_selections_are_the_whole(basis: Basis, readout: bool) -> None:
    whole = mapping(basis, readout)
    parts = [whole.select(torch.arange(LINKS)[part]) for part in (slice(0, 1), slice(1, LINKS))]
    joined = CompactMapping.concatenate(parts)
    assert joined.num_links == LINKS
    assert (joined.axis, joined.layouts, joined.band) == (whole.axis, whole.layouts, whole.band)
    assert joined.trunk.basis == basis
    assert joined.tensors().keys() == whole.tensors().keys()
    for name, tensor in whole.tensors().items():
        assert torch.equal(joined.tensors()[name], tensor)


@pytest.mark.parametrize("basis, readout", CASES, ids=str)
def test_tensors_hold_all_that_was_learned(basis: Basis, readout: bool) -> None:
    whole = mapping(basis, readout)
    named = whole.tensors()
    latents = tuple(Latent(named[f"latent.{number}"]) for number in range(len(LAYOUTS)))
    assert set(named) - {f"latent.{number}" for number in range(len(LAYOUTS))} == (
        {"readout"} if readout else set()
    )
    trunk = Trunk(basis, named.get("readout"))
    again = CompactMapping(trunk, whole.axis, latents, whole.layouts, whole.band)
    no = torch.full((LINKS,), 0.1, dtype=torch.float64)
    for one, other in zip(again(FREQUENCIES, no), whole(FREQUENCIES, no), strict=True):
        assert torch.equal(one, other)
    assert whole.num_bytes == 4 * sum(tensor.numel() for tensor in named.values())
    assert whole.to("cpu").num_bytes == whole.num_bytes


@pytest.mark.parametrize("columns", [1, 2, 3, 8])
def test_sixteen_bits_round_below_the_largest_of_a_column(columns: int) -> None:
    generator = torch.Generator().manual_seed(columns)
    # Columns of any size, one of which is nothing at all.
    size = 10 ** torch.linspace(-18, 6, columns) * torch.ones(2, 5, 1, 1)
    size[:, 2] = 0
    numbers = torch.randn(2, 5, 1, 20, columns, 2, generator=generator) * size[..., None, :, None]
    rounded = Latent.in_16_bits(numbers.flatten(-3), columns)
    assert rounded.numbers.dtype == torch.int16 and rounded.shape == (2, 5, 1, 40 * columns)
    error = (rounded.values.unflatten(-1, (20, columns, 2)) - numbers).abs()
    largest = numbers.abs().amax((-3, -1), keepdim=True)
    assert (error <= largest / 2**16 * 1.01).all()
    assert rounded.num_bytes == 2 * numbers.numel() + 4 * 10 * columns
    again = Latent.in_16_bits(rounded.values, columns)
    assert torch.equal(again.numbers, rounded.numbers)


def test_a_mapping_in_sixteen_bits_is_selected_and_joined_as_any() -> None:
    whole = mapping(SplineBasis(20), False)
    layouts = (Layout((16, 2), "complex"), *LAYOUTS[1:])
    large = Latent(normal(LINKS, 20, 1, 64))
    whole = replace(whole, layouts=layouts, latents=(large, *whole.latents[1:])).in_16_bits()
    assert [c.scales is not None for c in whole.latents] == [True, False, False, False]
    parts = [whole.select(torch.tensor([link])) for link in range(LINKS)]
    joined = CompactMapping.concatenate(parts)
    assert joined.tensors().keys() == whole.tensors().keys() > {"latent.0", "scale.0"}
    for name, tensor in whole.tensors().items():
        assert torch.equal(joined.tensors()[name], tensor)
    no = torch.full((LINKS,), 0.1, dtype=torch.float64)
    for one, other in zip(
        whole.to(torch.float32)(FREQUENCIES, no), joined(FREQUENCIES, no), strict=True
    ):
        assert torch.equal(one, other)
