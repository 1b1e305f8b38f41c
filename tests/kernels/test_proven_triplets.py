"""Queried singular triplets that kernels prove: verdict and result are those of PyTorch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neumatc_mimo.kernels.lanes import library
from neumatc_mimo.kernels.lanes.emitters import Combined, Precoded
from neumatc_mimo.kernels.lanes.proven import Query
from neumatc_mimo.operations.base import Tolerance
from neumatc_mimo.operations.svd import SVD
from tests.kernels.comparison import VARIANTS, Choice, needs_library, normal

SIZES = st.tuples(
    st.integers(1, 3),  # items
    st.integers(1, 9),  # antennas of the user
    st.integers(0, 20),  # antennas beyond these
    st.integers(1, 15),  # symbols
    st.integers(1, 70),  # subcarriers
)


class Case:
    """Links that are queried with errors of all kinds, and channels that are theirs but for the
    phases, the order and the common gain of their rows; all in double precision.
    """

    def __init__(self, sizes: tuple[int, ...], fewer: int, seed: int) -> None:
        items, rows, more, _, num = sizes
        generator = torch.Generator().manual_seed(seed)
        self.operation = operation = SVD(max(rows - fewer, 1))
        self.aligned = aligned = normal(
            items, num, rows, rows + more, dtype=torch.complex128, seed=seed
        )
        u, s, v = torch.linalg.svd(aligned, full_matrices=False)
        # One thing is wrong with most: a vector, a value, or which triplets are taken.
        kind = torch.randint(0, 5, (items, num, 1, 1), generator=generator)
        size = 10 ** (-1 - 3 * torch.rand(items, num, 1, 1, generator=generator).double())
        u = u + (kind == 1) * size * normal(*u.shape, dtype=u.dtype, seed=seed + 1)
        v = v.mH + (kind == 2) * size * normal(*v.mH.shape, dtype=u.dtype, seed=seed + 2)
        s = s * (1 + (kind == 3) * size)[..., 0]
        first = torch.arange(operation.num_streams).expand(items, num, -1)
        first = torch.where(kind[..., 0] == 4, rows - 1 - first, first)
        # Branches of a mapping are in any order.
        shuffled = torch.rand(first.shape, generator=generator).argsort(-1)
        first = first.gather(-1, shuffled)[..., None, :]
        self.components = (
            u.gather(-1, first.expand(*u.shape[:-1], -1)),
            s.gather(-1, first[..., 0, :]),
            v.gather(-1, first.expand(*v.shape[:-1], -1)),
        )
        phase = torch.rand(items, num, rows, generator=generator).double() * 6.3
        self.rows = torch.polar(torch.full_like(phase, 3.0), phase)
        self.order = torch.rand(items, rows, generator=generator).argsort(-1)
        self.a = aligned.gather(2, self.order[:, None, :, None].expand_as(aligned))
        self.a = self.a * self.rows[..., None]

    def emitted(self, emitter: Precoded | Combined) -> Tensor:
        """What a kernel makes; its verdict is that of double precision, but at the border.

        :return: where the query is proven
        """
        parts = [
            (torch.view_as_real(c) if c.is_complex() else c).flatten(2) for c in self.components
        ]
        parts = [torch.nn.functional.pad(part, (0, part.shape[-1] % 2)) for part in parts]
        num = self.a.shape[1]
        columns, values = torch.arange(num)[:, None], torch.ones(num, 1)
        rows, factors = torch.cat(parts, -1).float(), self.rows.to(torch.complex64)
        query = Query(columns, values, rows, factors, self.order.argsort(-1), Tolerance())
        a = self.a.to(torch.complex64)
        assert emitter.proves(self.operation, a, None)
        amplification = emitter.emit(self.operation, a, None, query)
        sure, unsure = (
            self.operation.certificate(self.aligned, self.components, 0.0, one).ok
            for one in (Tolerance(40.02, 0.998e-2), Tolerance(39.98, 1.002e-2))
        )
        proven = amplification == 0
        assert not bool((sure & ~proven).any()) and not bool((~unsure & proven).any())
        assert bool((amplification[~proven] > 0).all())
        return proven

    def answers(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The queried triplets and the exact ones, of the channels."""
        operation = self.operation
        given = operation.permute(self.components, self.order)
        return [
            operation.results(operation.answer(given, rows=self.rows)),
            operation.results(operation.answer(operation.exact(self.a))),
        ]


@needs_library
@given(sizes=SIZES, fewer=st.integers(0, 3), seed=st.integers(0, 999))
def test_beams(sizes: tuple[int, ...], fewer: int, seed: int) -> None:
    check_beams(sizes, fewer, seed)


def check_beams(sizes: tuple[int, ...], fewer: int, seed: int) -> None:
    case = Case(sizes, fewer, seed)
    items, rows, more, symbols, num = sizes
    x = normal(items, case.operation.num_streams, symbols, num, dtype=torch.complex64, seed=seed)
    out = torch.empty(items, rows + more, symbols, num, dtype=torch.complex64)
    proven = case.emitted(Precoded(x, out, range(symbols)))
    v = torch.where(proven[..., None, None], *(v for _, _, v in case.answers()))
    wanted = torch.einsum("ifak,iksf->iasf", v, x.to(v.dtype))
    torch.testing.assert_close(out.to(v.dtype), wanted, rtol=1e-2, atol=1e-3)


@needs_library
@given(sizes=SIZES, fewer=st.integers(0, 3), seed=st.integers(0, 999))
def test_combiners(sizes: tuple[int, ...], fewer: int, seed: int) -> None:
    check_combiners(sizes, fewer, seed)


def check_combiners(sizes: tuple[int, ...], fewer: int, seed: int) -> None:
    case = Case(sizes, fewer, seed)
    items, rows, _, symbols, num = sizes
    streams = case.operation.num_streams
    y = normal(items, rows, symbols, num, dtype=torch.complex64, seed=seed)
    noise = torch.rand(items, rows, generator=torch.Generator().manual_seed(seed))
    x_hat = torch.empty(items, streams, symbols, num, dtype=torch.complex64)
    no_eff = torch.empty(items, streams, num)
    stretches = [(0, num // 2, 0), (num // 2, num - num // 2, num // 2)]
    emitter = Combined(y, x_hat, no_eff, range(symbols), range(streams), stretches, noise)
    proven = case.emitted(emitter)
    u, s, v = (
        torch.where(proven.reshape(proven.shape + (1,) * (queried.dim() - 2)), queried, exact)
        for queried, exact in zip(*case.answers(), strict=True)
    )
    after = u.conj() / s[..., None, :]
    wanted = torch.einsum("ifak,iasf->iksf", after, y.to(u.dtype))
    torch.testing.assert_close(x_hat.to(u.dtype), wanted, rtol=1e-2, atol=1e-3)
    leaked = after.mT @ (case.a @ v) - torch.eye(streams)
    behind = (u.abs().square() * noise[:, None, :, None]).sum(-2) / s.square()
    behind = behind + leaked.abs().square().sum(-1)
    torch.testing.assert_close(no_eff.double(), behind.mT, rtol=1e-2, atol=1e-5)


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [2, 4, 7, 8, 16])
def test_variants(variant: str, rows: int, choose: Choice) -> None:
    choose(variant)
    if library.loaded() is None:
        pytest.skip(str(library.why_not()))
    for fewer in (0, 2):
        check_beams((2, rows, 9, 5, 70), fewer, rows)
        check_combiners((2, rows, 9, 5, 70), fewer, rows)
