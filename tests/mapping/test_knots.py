"""Splines on knots of each link's own, and mappings on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from neumatc_mimo.mapping.axes import NoiseAxis
from neumatc_mimo.mapping.basis import KnotSplines, SplineBasis
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.latent import Latent
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.mapping.refined import RefinedMapping
from neumatc_mimo.mapping.trunk import KnotTrunk

LAST = 96
PLACES = [
    torch.tensor([0, 24, 48, 60, 66, 69, 70, 71, 73, 80, 96]),
    torch.tensor([0, 96]),
    torch.arange(0, LAST + 1, 4),
]
FREQUENCIES = torch.linspace(0, 96e3, 97, dtype=torch.float64)
LAYOUTS = (Layout((16, 2), "complex"), Layout((2, 2), "hermitian"))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mapping(nodes: int = 3) -> RefinedMapping:
    basis = KnotSplines.of(PLACES)
    total = int(basis.tensors["functions"].sum())
    latents = tuple(
        Latent(normal(total, nodes if i else 1, layout.size, seed=i))
        for i, layout in enumerate(LAYOUTS)
    )
    axis = NoiseAxis(1e-3, 1.0, nodes)
    return RefinedMapping(KnotTrunk(basis), axis, latents, LAYOUTS, (0.0, 96e3)).in_16_bits()


def plain(whole: RefinedMapping, link: int, no: float) -> tuple[Tensor, ...]:
    """Σ_j φ_j(x) Σ_q ψ_q(no) C_jq of one link, dense and in float64."""
    basis, parts = whole.basis, []
    x = torch.linspace(-1, 1, 97, dtype=torch.float64)
    own = KnotSplines.of([PLACES[link]]).table(x).parts[0]
    values = torch.zeros(97, own.num_functions, dtype=torch.float64)
    values.scatter_(1, own.columns, own.values)
    start = int(basis.starts[link])
    power = torch.tensor([no], dtype=torch.float64)
    for latent, layout in zip(whole.latents, LAYOUTS, strict=True):
        rows = latent.values[start : start + own.num_functions].double()
        weights = whole.axis.weights(power)[0] if rows.shape[1] > 1 else torch.ones(1).double()
        parts.append(layout.unpack(torch.einsum("bw,wqn,q->bn", values, rows, weights)))
    return tuple(parts)


@pytest.mark.parametrize("degree", [1, 3, 7])
def test_functions_are_those_of_scipy(degree: int) -> None:
    basis = KnotSplines.of(PLACES, degree)
    x = torch.linspace(-1, 1, 203, dtype=torch.float64)
    table = basis.table(x)
    for places, part in zip(PLACES, table.parts, strict=True):
        own = places.double().numpy()
        beside = np.arange(1, degree + 1)
        before, after = own[0] - (own[1] - own[0]) * beside[::-1], (own[-1] - own[-2]) * beside
        knots = np.concatenate([before, own, own[-1] + after])
        assert part.num_functions == len(own) - 1 + degree
        wanted = BSpline(knots, np.eye(part.num_functions), degree)(((x + 1) / 2 * LAST).numpy())
        found = torch.zeros(len(x), part.num_functions, dtype=torch.float64)
        found.scatter_(1, part.columns, part.values)
        torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=0, atol=1e-12)


def test_even_knots_are_cardinal_splines() -> None:
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)
    (part,) = KnotSplines.of([torch.arange(0, 13)]).table(x).parts
    functions, values = part.read(slice(0, 50))
    assert functions == slice(0, 19)
    torch.testing.assert_close(values, SplineBasis(19).values(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("links", [None, [1], [2, 0], [0, 0, 2]], ids=str)
def test_evaluation_is_the_plain_formula(links: list[int] | None) -> None:
    whole = mapping()
    chosen = whole if links is None else whole.select(torch.tensor(links))
    powers = torch.linspace(0, 1, chosen.num_links, dtype=torch.float64)
    found = chosen(FREQUENCIES, powers)
    for i, link in enumerate(range(3) if links is None else links):
        for mine, theirs in zip(found, plain(whole, link, float(powers[i])), strict=True):
            assert mine.dtype in (torch.float32, torch.complex64)
            assert (mine[i] - theirs).abs().max() < 2e-5 * theirs.abs().max()
    folded, table = chosen.at(powers), chosen.table(FREQUENCIES)
    for tile in (slice(0, 5), slice(5, 53), slice(53, 97)):
        for mine, all_of_it in zip(chosen.evaluate(table, tile, folded), found, strict=True):
            torch.testing.assert_close(mine, all_of_it[:, tile], rtol=0, atol=1e-5)


def test_selections_are_joined_and_hold_their_own_tensors_alone() -> None:
    whole = mapping()
    parts = [whole.select(torch.tensor(some)) for some in ([0], [1, 2])]
    joined = CompactMapping.concatenate(parts)
    assert joined.num_links == 3 and joined.num_bytes == whole.num_bytes
    assert sum(part.num_bytes for part in parts) == whole.num_bytes
    assert joined.tensors().keys() == whole.tensors().keys()
    for name, tensor in whole.tensors().items():
        assert torch.equal(joined.tensors()[name], tensor)
    assert parts[1].select(torch.tensor([1])).tensors()["functions"].tolist() == [31]


def test_knots_that_are_no_links_are_refused() -> None:
    basis = KnotSplines.of(PLACES)
    for at, value in ((0, 1), (5, 60), (len(basis.tensors["ragged.knots"]) - 1, 95)):
        knots = basis.tensors["ragged.knots"].clone()
        knots[at] = value
        with pytest.raises(ValueError, match="its knots do not rise from 0 to 96 in each link"):
            basis.holding(basis.tensors | {"ragged.knots": knots})
    assert torch.equal(basis.holding(basis.tensors).places(1), PLACES[1].int())
