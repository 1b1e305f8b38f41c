"""Queries that kernels prove: the verdict is PyTorch's, and what is served is what was proven."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import MMSEEqualizer, ZFPrecoder
from neumatc_mimo.kernels.expansion import Expansion
from neumatc_mimo.kernels.lanes.emitters import Emitter, Precoded, Received
from neumatc_mimo.kernels.lanes.proven import Query
from neumatc_mimo.operations.base import Tolerance
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from tests.kernels.comparison import Choice, both, downlink, needs_library, normal, uplink

OPERATION, TOLERANCE = PseudoInverse(), Tolerance()
SIZES = st.tuples(
    st.integers(1, 3),  # items
    st.integers(1, 17),  # users
    st.integers(3, 20),  # antennas beyond these
    st.integers(1, 15),  # symbols
    st.integers(1, 70),  # subcarriers
)


@dataclass
class Case:
    """Links that are queried with errors of all sizes, and channels that are theirs but for the
    factors and the order of their rows; all in double precision.

    :param aligned: the links, [num_items, num_subcarriers, K, M]
    :param a: the channels, likewise
    :param components: as a query gives them
    :param rows: factors of the channels' rows, [num_items, num_subcarriers, K]
    :param order: [num_items, K] row of the link that each row of the channel is
    :param no: noise power of the links, [num_items, 1], or None
    """

    aligned: Tensor
    a: Tensor
    components: tuple[Tensor, Tensor]
    rows: Tensor
    order: Tensor
    no: Tensor | None

    @classmethod
    def drawn(cls, sizes: tuple[int, ...], no: float, seed: int) -> Case:
        items, users, more, _, num = sizes
        generator = torch.Generator().manual_seed(seed)
        aligned = normal(items, num, users, users + more, dtype=torch.complex128, seed=seed)
        power = torch.full((items, 1), no, dtype=torch.float64) if no else None
        w, x = OPERATION.exact(aligned, 0.0 if power is None else power)
        # Columns out of the range of the channel, X by a factor, the filter by one: 60 dB down to 20.
        for part, kind in enumerate((w, x, w)):
            size = 10 ** (-1 - 2 * torch.rand(items, num, 1, 1, generator=generator))
            size = size * (torch.randint(0, 4, (items, num, 1, 1), generator=generator) == part)
            noise = normal(*kind.shape, dtype=torch.complex128, seed=seed + part)
            change = kind if part else noise * kind.abs().amax((-1, -2), keepdim=True)
            kind += change * size
        gain = 10 ** torch.rand(items, 1, users, generator=generator).double()
        if no:
            gain = gain[..., :1].expand_as(gain)
        phase = torch.rand(items, num, users, generator=generator).double() * 6.3
        order = torch.rand(items, users, generator=generator).argsort(-1)
        rows = torch.polar(gain.expand_as(phase), phase)
        a = aligned.gather(2, order[:, None, :, None].expand_as(aligned)) * rows[..., None]
        return cls(aligned, a, (w, x), rows, order, power)

    @property
    def noise(self) -> Tensor | float:
        return 0.0 if self.no is None else self.no

    def query(self) -> Query:
        """The query as kernels take it: each subcarrier is a function of its own."""
        parts = [torch.view_as_real(c.flatten(2)).flatten(2) for c in self.components]
        num, users, antennas = self.a.shape[1:]
        columns, values = torch.arange(num)[:, None], torch.ones(num, 1)
        rows = torch.cat(parts, -1).to(torch.float32)
        expansion = Expansion(columns, values, rows, antennas, users)
        factors, places = self.rows.to(torch.complex64), self.order.argsort(-1)
        return Query(expansion, factors, places, TOLERANCE)

    def proven(self) -> tuple[Tensor, Tensor]:
        """Where the query is proven for certain, and where it is for certain not."""
        found = [
            OPERATION.certificate(self.aligned, self.components, self.noise, one).ok
            for one in (Tolerance(40.01, 0.999e-2), Tolerance(39.99, 1.001e-2))
        ]
        return found[0], ~found[1]

    def emitted(self, emitter: Emitter) -> Tensor:
        a = self.a.to(torch.complex64).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        no = None if self.no is None else self.no.float()
        assert emitter.proves(OPERATION, a, no)
        return emitter.emit(OPERATION, a, no, self.query())

    def filters(self) -> tuple[nm.operations.pseudo_inverse.Filter, ...]:
        """The queried filters and the exact ones, for the channels."""
        exact = OPERATION.exact(self.aligned, self.noise)
        return tuple(
            OPERATION.answer(OPERATION.permute(one, self.order), self.noise, self.rows)
            for one in (self.components, exact)
        )


def check_verdict(case: Case, amplification: Tensor) -> Tensor:
    """The verdict is that of double precision, but at the border; where the query is proven."""
    proven, sure, unsure = amplification == 0, *case.proven()
    assert not bool((sure & ~proven).any()) and not bool((unsure & proven).any())
    assert bool((amplification[~proven] >= 0.999).all())
    return proven


@needs_library
@given(sizes=SIZES, no=st.sampled_from([0.0, 0.1, 3.0]), seed=st.integers(0, 999))
def test_precoders(sizes: tuple[int, ...], no: float, seed: int) -> None:
    case = Case.drawn(sizes, no, seed)
    items, users, more, symbols, num = sizes
    x = normal(items, users, symbols, num, dtype=torch.complex64, seed=seed)
    out = torch.empty(items, users + more, symbols, num, dtype=torch.complex64)
    proven = check_verdict(case, case.emitted(Precoded(x, out, range(symbols))))
    queried, exact = (w.scaled(w.column_norm.reciprocal()).dense for w in case.filters())
    w = torch.where(proven[..., None, None], queried, exact)
    wanted = torch.einsum("ifak,iksf->iasf", w, x.to(w.dtype))
    torch.testing.assert_close(out.to(w.dtype), wanted, rtol=1e-3, atol=1e-4)


@needs_library
@given(sizes=SIZES, no=st.sampled_from([0.01, 0.1, 3.0]), seed=st.integers(0, 999))
def test_receivers(sizes: tuple[int, ...], no: float, seed: int) -> None:
    case = Case.drawn(sizes, no, seed)
    items, users, more, symbols, num = sizes
    y = normal(items, users + more, symbols, num, dtype=torch.complex64, seed=seed)
    x_hat = torch.empty(items, users, symbols, num, dtype=torch.complex64)
    no_eff = torch.empty(items, users, num)
    emitter = Received(y, x_hat, no_eff, range(symbols), range(users), [(0, num, 0)])
    proven = check_verdict(case, case.emitted(emitter))
    pairs = [(w.scaled(w.kept.reciprocal()).dense, w.loss / w.kept) for w in case.filters()]
    w = torch.where(proven[..., None, None], pairs[0][0], pairs[1][0])
    wanted = torch.einsum("ifak,iasf->iksf", w, y.to(w.dtype))
    torch.testing.assert_close(x_hat.to(w.dtype), wanted, rtol=1e-3, atol=1e-3)
    behind = torch.where(proven[..., None], pairs[0][1], pairs[1][1]).mT
    torch.testing.assert_close(no_eff.double(), behind, rtol=1e-3, atol=1e-5)
