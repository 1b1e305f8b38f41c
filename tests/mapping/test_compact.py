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
from neumatc_mimo.mapping.trunk import BasisTrunk, NetworkTrunk, Trunk, make_trunk
from neumatc_mimo.operations.base import Components

LINKS, NODES, RANK = 3, 4, 9
LAYOUTS = (
    Layout((6, 2), "complex"),
    Layout((3, 3), "hermitian"),
    Layout((5,), "real"),
    Layout((2,), "complex"),
)
UNITS: list[Basis] = [SplineBasis(20, 3), SplineBasis(24), SineBasis(16)]
FREQUENCIES = torch.linspace(-3e6, 2e6, 40, dtype=torch.float64)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def component(layout: Layout, *batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
    if layout.kind == "real":
        return normal(*batch, *layout.shape, dtype=dtype)
    square = normal(*batch, *layout.shape, dtype=dtype.to_complex())
    return square + square.mH if layout.kind == "hermitian" else square


def network(*links: int) -> NetworkTrunk:
    """A perceptron of two layers, of each link or of all."""
    sizes = [1, 6, 7, RANK]
    weights = tuple(normal(*links, sizes[i + 1], sizes[i], seed=i) for i in range(3))
    return NetworkTrunk(3.0, weights, tuple(normal(*links, size) for size in sizes[1:]))


TRUNKS: list[Trunk] = [
    *(BasisTrunk(basis) for basis in UNITS),
    *(BasisTrunk(basis, normal(LINKS, basis.width, RANK)) for basis in UNITS),
    network(),
    network(LINKS),
]
each_trunk = pytest.mark.parametrize("trunk", TRUNKS)


def functions(trunk: Trunk, x: Tensor) -> Tensor:
    """φ at x [B], by its formula in float64, [LINKS, B, rank]."""
    if isinstance(trunk, NetworkTrunk):
        values = x[:, None]
        for layer, (weight, bias) in enumerate(zip(trunk.weights, trunk.biases, strict=True)):
            values = torch.sin(trunk.omega0 * values) if layer else values
            product = torch.einsum("...bi,...oi->...bo", values, weight.double())
            values = product + bias.double()[..., None, :]
        return values.expand(LINKS, -1, -1)
    assert isinstance(trunk, BasisTrunk)
    values = trunk.basis.values(x)[None]
    values = values if trunk.readout is None else values @ trunk.readout.double()
    return values.expand(LINKS, -1, -1)


def mapping(trunk: Trunk) -> CompactMapping:
    """A mapping whose second and last components depend on the noise power."""
    latents = tuple(
        Latent(normal(LINKS, trunk.rank, NODES if number % 2 else 1, layout.size, seed=number))
        for number, layout in enumerate(LAYOUTS)
    )
    band = (FREQUENCIES[0].item(), FREQUENCIES[-1].item())
    return CompactMapping(trunk, NoiseAxis(1e-3, 1.0, NODES), latents, LAYOUTS, band)


def plain(whole: CompactMapping, frequencies: Tensor, no: Tensor) -> Components:
    """Ŷ(x, no) = Σ_r Σ_q φ_r(x) ψ_q(no) C_rq, all of it dense and in float64."""
    low, high = whole.band
    basis = functions(whole.trunk, (2 * frequencies - low - high) / (high - low))
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


@each_trunk
def test_a_trunk_is_its_formula(trunk: Trunk) -> None:
    x = torch.linspace(-1, 1, 33, dtype=torch.float64)
    expected = functions(trunk, x)
    assert trunk.rank == expected.shape[-1]
    found = trunk(x).double()
    assert len(found) == (1 if trunk.is_shared else LINKS)
    torch.testing.assert_close(found.expand(LINKS, -1, -1), expected, rtol=0, atol=1e-5)


@each_trunk
def test_terms_are_what_differs_from_zero(trunk: Trunk) -> None:
    x = torch.linspace(-1, 1, 33, dtype=torch.float64)
    columns, values = trunk.table(x).terms()
    columns, full = columns.expand(values.shape), values.new_zeros(*values.shape[:-1], trunk.rank)
    full.scatter_(-1, columns, values)
    torch.testing.assert_close(
        full.expand(LINKS, -1, -1).double(), functions(trunk, x), rtol=0, atol=1e-5
    )


@each_trunk
def test_settings_and_tensors_tell_all_of_a_trunk(trunk: Trunk) -> None:
    again, x = make_trunk(trunk.settings(), trunk.tensors()), torch.linspace(-1, 1, 33).double()
    assert again.settings() == trunk.settings()
    assert torch.equal(again(x), trunk(x))


@each_trunk
def test_evaluation_is_the_plain_formula(trunk: Trunk) -> None:
    whole = mapping(trunk)
    no = torch.tensor([0.0, 0.02, 1.0], dtype=torch.float64)
    shuffled = FREQUENCIES[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    for frequencies in (FREQUENCIES, shuffled, FREQUENCIES[7:8] + 1234.5):
        found, expected = whole(frequencies, no), plain(whole, frequencies, no)
        for one, layout in zip(found, LAYOUTS, strict=True):
            assert one.shape == (LINKS, len(frequencies), *layout.shape)
        assert_near(found, expected)


@each_trunk
def test_a_table_serves_tiles(trunk: Trunk) -> None:
    whole = mapping(trunk)
    no = torch.tensor([0.0, 0.02, 1.0], dtype=torch.float64)
    expected = plain(whole, FREQUENCIES, no)
    table, folded = whole.trunk.table(whole.coordinate(FREQUENCIES)), whole.at(no)
    for tile in (slice(0, 5), slice(5, 37), slice(37, 40)):
        found = whole.evaluate(table, tile, folded)
        assert_near(found, tuple(c[:, tile] for c in expected))


@each_trunk
def test_a_component_of_one_node_is_the_same_at_every_noise_power(trunk: Trunk) -> None:
    whole = mapping(trunk)
    low, high = (whole(FREQUENCIES, torch.full((LINKS,), no)) for no in (0.0, 0.5))
    for number, (one, other) in enumerate(zip(low, high, strict=True)):
        assert torch.equal(one, other) == (whole.latents[number].shape[2] == 1)


def test_at_a_node_only_its_own_latent_tensor_counts() -> None:
    whole = mapping(BasisTrunk(SplineBasis(20)))
    for node, power in enumerate(whole.axis.nodes):
        folded = whole.at(power.expand(LINKS))
        parts = folded.split(folded.rows)
        for latent, layout, part in zip(whole.latents, LAYOUTS, parts, strict=True):
            own = latent.values[:, :, min(node, latent.shape[2] - 1)]
            assert torch.equal(part, layout.unpack(own))


def test_the_band_ends_at_one() -> None:
    whole = mapping(BasisTrunk(SplineBasis(20)))
    x = whole.coordinate(FREQUENCIES)
    assert x.dtype == torch.float64
    torch.testing.assert_close(x, torch.linspace(-1, 1, 40, dtype=torch.float64))


@each_trunk
@pytest.mark.parametrize("links", [[1], [2, 0], [0, 0, 1]], ids=str)
def test_selected_links_are_those_of_the_whole(trunk: Trunk, links: list[int]) -> None:
    whole, chosen = mapping(trunk), torch.tensor(links)
    no = torch.tensor([0.0, 0.02, 1.0], dtype=torch.float64)
    part = whole.select(chosen)
    assert part.num_links == len(links)
    expected = tuple(c[chosen] for c in plain(whole, FREQUENCIES, no))
    assert_near(part(FREQUENCIES, no[chosen]), expected)


def test_selecting_one_link_copies_nothing() -> None:
    whole = mapping(network(LINKS))
    owners = [t.untyped_storage().data_ptr() for t in whole.tensors().values()]
    part = whole.select(torch.tensor([1]))
    assert [t.untyped_storage().data_ptr() for t in part.tensors().values()] == owners


@each_trunk
def test_joined_selections_are_the_whole(trunk: Trunk) -> None:
    whole = mapping(trunk)
    parts = [whole.select(torch.arange(LINKS)[part]) for part in (slice(0, 1), slice(1, LINKS))]
    joined = CompactMapping.concatenate(parts)
    assert joined.num_links == LINKS
    assert (joined.axis, joined.layouts, joined.band) == (whole.axis, whole.layouts, whole.band)
    assert joined.trunk.settings() == trunk.settings()
    assert joined.tensors().keys() == whole.tensors().keys()
    for name, tensor in whole.tensors().items():
        assert torch.equal(joined.tensors()[name], tensor)


@each_trunk
def test_tensors_hold_all_that_was_learned(trunk: Trunk) -> None:
    whole = mapping(trunk)
    named = whole.tensors()
    latents = tuple(Latent(named[f"latent.{number}"]) for number in range(len(LAYOUTS)))
    own = {name: named[name] for name in trunk.tensors()}
    assert len(named) == len(own) + len(latents)
    again = CompactMapping(
        make_trunk(trunk.settings(), own), whole.axis, latents, whole.layouts, whole.band
    )
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
    whole = mapping(BasisTrunk(SplineBasis(20)))
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
