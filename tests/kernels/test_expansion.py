"""Products with filters that are sums of rows of a latent tensor, in lanes, against PyTorch."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neumatc_mimo.kernels.expansion import Expansion
from neumatc_mimo.kernels.lanes import expanded
from tests.kernels.comparison import needs_library, normal


def expansion(items: int, num: int, antennas: int, streams: int, *, sorted_: bool) -> Expansion:
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 13, (num,), generator=generator)
    first = torch.sort(first).values if sorted_ else first
    rows = torch.randn(items, 20, 2 * antennas * streams + 7, generator=generator)
    values = torch.randn(num, 8, generator=generator)
    return Expansion(first[:, None] + torch.arange(8), values, rows, antennas, streams)


def filters(given: Expansion) -> Tensor:
    """The filters themselves, [num_items, num_subcarriers, num_antennas, num_streams]."""
    part = given.rows[..., : 2 * given.num_antennas * given.num_streams]
    real = torch.einsum("fj,ifjn->ifn", given.values, part[:, given.columns])
    w = torch.view_as_complex(real.unflatten(-1, (-1, 2)))
    return w.unflatten(-1, (given.num_antennas, given.num_streams))


@needs_library
@given(
    sizes=st.tuples(*(st.integers(1, most) for most in (3, 150, 20, 17, 16))),
    sorted_=st.booleans(),
    transposed=st.booleans(),
)
def test_products(sizes: tuple[int, ...], sorted_: bool, transposed: bool) -> None:
    items, num, antennas, streams, num_symbols = sizes
    made = expansion(items, num, antennas, streams, sorted_=sorted_)
    w = filters(made)
    x = normal(items, streams, num_symbols, num, dtype=torch.complex64)
    y = normal(items, antennas, num_symbols, num, dtype=torch.complex64, seed=1)
    if transposed:
        x, y = (t.mT.contiguous().mT for t in (x, y))
    out = torch.empty(items, antennas, num_symbols, num, dtype=torch.complex64)
    expanded.precode(made, x, out)
    wanted = torch.einsum("ifak,iksf->iasf", w, x)
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-4)
    wanted = torch.einsum("ifak,iasf->iksf", w, y)
    torch.testing.assert_close(expanded.receive(made, y), wanted, rtol=1e-4, atol=1e-4)


@needs_library
def test_a_part_of_a_larger_grid_is_written() -> None:
    made = expansion(2, 40, 6, 3, sorted_=True)
    x = normal(2, 3, 4, 80, dtype=torch.complex64)[..., 20:60]
    whole = torch.zeros(2, 6, 4, 90, dtype=torch.complex64)
    expanded.precode(made, x, whole[..., 10:50])
    wanted = torch.einsum("ifak,iksf->iasf", filters(made), x)
    torch.testing.assert_close(whole[..., 10:50], wanted, rtol=1e-4, atol=1e-4)
    assert not whole[..., :10].any() and not whole[..., 50:].any()
