"""Queries that kernels prove: the verdict is PyTorch's, and what is served is what was proven."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import MMSEEqualizer, ZFPrecoder
from neumatc_mimo.kernels.lanes import library
from neumatc_mimo.kernels.lanes.emitters import Emitter, Precoded, Received
from neumatc_mimo.kernels.lanes.proven import Query
from neumatc_mimo.kernels.lanes.refined import emit
from neumatc_mimo.operations.base import Tolerance, batched
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.solvers import DFT, Linear, Solver, Spline
from tests.kernels.comparison import VARIANTS, Choice, Spy, both, needs_library, normal

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
    :param components: as a query gives them
    :param rows: factors of the channels' rows, [num_items, num_subcarriers, K]
    :param order: [num_items, K] row of the link that each row of the channel is
    :param no: noise power of the links, [num_items, 1], or None
    """

    aligned: Tensor
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
        # Columns leave the range of the channel, X and the filter take a factor: 60 to 20 dB below.
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
        return cls(aligned, (w, x), rows, order, power)

    @property
    def noise(self) -> Tensor | float:
        return 0.0 if self.no is None else self.no

    @property
    def a(self) -> Tensor:
        """The channels as blocks have them, [num_items, num_subcarriers, K, M] complex64."""
        index = self.order[:, None, :, None].expand_as(self.aligned)
        a = (self.aligned.gather(2, index) * self.rows[..., None]).to(torch.complex64)
        return a.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)

    @property
    def channel_noise(self) -> Tensor | None:
        """The noise power of the channels, [num_items, 1]."""
        return None if self.no is None else (self.no * self.rows[:, 0, :1].abs().square()).float()

    def query(self) -> Query:
        """The query as kernels take it: each subcarrier is a function of its own."""
        w, x = self.components
        power = batched(self.noise, x, 1)
        stored = (w, x.inverse() - power[..., None] * torch.eye(x.shape[-1]))
        parts = [torch.view_as_real(c.flatten(2)).flatten(2) for c in stored]
        num = self.aligned.shape[1]
        columns, values = torch.arange(num)[:, None], torch.ones(num, 1)
        rows = torch.cat(parts, -1).to(torch.float32)
        factors, places = self.rows.to(torch.complex64), self.order.argsort(-1)
        return Query(columns, values, rows, factors, places, TOLERANCE)

    def proven(self) -> tuple[Tensor, Tensor]:
        """Where the query is proven for certain, and where it is for certain not."""
        found = [
            OPERATION.certificate(self.aligned, self.components, self.noise, one).ok
            for one in (Tolerance(40.01, 0.999e-2), Tolerance(39.99, 1.001e-2))
        ]
        return found[0], ~found[1]

    def emitted(self, emitter: Emitter) -> Tensor:
        a, no = self.a, self.channel_noise
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
    check_precoder(sizes, no, seed)


def check_precoder(sizes: tuple[int, ...], no: float, seed: int) -> None:
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
    check_receiver(sizes, no, seed)


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("users", [2, 4, 7, 8, 16])
def test_variants(variant: str, users: int, choose: Choice) -> None:
    choose(variant)
    if library.loaded() is None:
        pytest.skip(str(library.why_not()))
    for no in (0.0, 0.1):
        check_precoder((2, users, 9, 5, 70), no, users)
    check_receiver((2, users, 9, 5, 70), 0.1, users)


def check_receiver(sizes: tuple[int, ...], no: float, seed: int) -> None:
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


@needs_library
@pytest.mark.parametrize("no", [0.0, 1e-4])
def test_what_single_precision_spoils_is_computed_again(no: float) -> None:
    case = Case.drawn((2, 3, 9, 4, 40), no, 0)
    # Two users in one place, where the query is none of theirs.
    case.aligned[:, 7, 1] = case.aligned[:, 7, 0] + 1e-3 * case.aligned[:, 8, 1]
    x = normal(2, 3, 4, 40, dtype=torch.complex64)
    out = torch.empty(2, 12, 4, 40, dtype=torch.complex64)
    a, noise = case.a, case.channel_noise
    done = emit(Precoded(x, out, range(4)), OPERATION, a, noise, case.query(), looking=True)
    assert done.refined == 2 and done.left is None
    exact = OPERATION.solve(a.to(torch.complex128)[:, 7:8], 0.0 if noise is None else noise)
    w = exact.scaled(exact.column_norm.reciprocal()).dense
    wanted = torch.einsum("ifak,iksf->iasf", w, x[..., 7:8].to(w.dtype))
    torch.testing.assert_close(out[..., 7:8].to(w.dtype), wanted, rtol=1e-4, atol=1e-4)


def outputs(
    choose: Choice,
    model: nm.ScenarioModel,
    kind: Any,
    a: Tensor,
    no: float,
    order: list[int],
    solver: Solver | None = None,
    tolerance: Tolerance | None = None,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], nm.Counts, nm.Counts]:
    """Of a block, with kernels and without, for channels [num_items, num_subcarriers, K, M]."""
    users, symbols, num = a.shape[2], 3, a.shape[1]
    h = a[:, :, order].permute(0, 2, 3, 1)
    sizes = (symbols, num, model.models[OPERATION.name].links.subcarrier_spacing)
    grid: tuple[ResourceGrid, StreamManagement]
    inputs: tuple[Any, ...]
    if kind is ZFPrecoder:
        streams = StreamManagement(np.ones([users, 1]), users)
        grid = ResourceGrid(*sizes, num_tx=1, num_streams_per_tx=users), streams
        x = normal(len(a), 1, users, symbols, num, dtype=torch.complex64)
        inputs = (x, h[:, :, None, None, :, None].expand(-1, -1, -1, -1, -1, symbols, -1), no)
    else:
        grid = ResourceGrid(*sizes, num_tx=users), StreamManagement(np.ones([1, users]), 1)
        y = normal(len(a), 1, a.shape[3], symbols, num, dtype=torch.complex64)
        h = h.transpose(1, 2)[:, None, :, :, None, None]
        inputs = (y, h.expand(-1, -1, -1, -1, -1, symbols, -1), 0.0, no)
    settings = {"certify": "call", "tolerance": tolerance}
    return both(choose, lambda: kind(*grid, solver or model, **settings), *inputs)


@needs_library
@pytest.mark.parametrize("kind, no", [(ZFPrecoder, 0.0), (ZFPrecoder, 0.01), (MMSEEqualizer, 0.01)])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_a_model_proves_its_answers(
    small_model: nm.ScenarioModel,
    choose: Choice,
    spy: Spy,
    kind: Any,
    no: float,
    order: list[int],
) -> None:
    links = small_model.models["pseudo_inverse"].links
    # At another gain, and the noise that belongs to it.
    a = 3 * links.channel(links.grid_frequencies(), dtype=torch.complex64)
    ours, theirs, counts, right = outputs(choose, small_model, kind, a, 9 * no, order)
    assert spy.calls == 1
    # What is not proven is corrected by PyTorch, and computed by the kernel.
    assert counts.links_recalled == right.links_recalled == len(a)
    assert abs(counts.queried - right.queried) <= 2
    assert counts.queried + counts.exact == right.queried + right.corrected + right.exact
    assert counts.queried > 0 and counts.exact > 0
    for own, other in zip(ours, theirs, strict=True):
        error = torch.linalg.vector_norm(own - other) / torch.linalg.vector_norm(other)
        assert float(error) < 3e-3


@needs_library
@pytest.mark.parametrize("kind, no", [(ZFPrecoder, 0.0), (MMSEEqualizer, 0.01)])
@pytest.mark.parametrize("solver", [Spline(96), Spline(120, degree=5), Linear(96), DFT(96)])
def test_interpolations_are_proven_likewise(
    small_model: nm.ScenarioModel, choose: Choice, spy: Spy, kind: Any, no: float, solver: Solver
) -> None:
    links = small_model.models["pseudo_inverse"].links
    a = links.channel(links.grid_frequencies(), dtype=torch.complex64)
    rest, loose = [0, 1, 2], Tolerance(20.0, 0.1)  # which all of them keep somewhere
    ours, theirs, counts, right = outputs(choose, small_model, kind, a, no, rest, solver, loose)
    assert spy.calls == 1
    # A kernel proves the Gram matrix, too, which DFTs hardly follow.
    assert counts.queried <= right.queried + 2
    assert isinstance(solver, DFT) or counts.queried >= right.queried - 2
    assert counts.queried + counts.exact == right.queried + right.corrected + right.exact
    assert counts.queried > 0 and counts.corrected == 0
    for own, other in zip(ours, theirs, strict=True):
        error = torch.linalg.vector_norm(own - other) / torch.linalg.vector_norm(other)
        assert float(error) < 0.1  # corrected there, exact here


@needs_library
def test_an_entry_that_changes_fails_its_proof(
    small_model: nm.ScenarioModel, choose: Choice
) -> None:
    links = small_model.models["pseudo_inverse"].links
    a = links.channel(links.grid_frequencies(), torch.tensor([0]), dtype=torch.complex64)
    rest = [0, 1, 2]
    *_, before, _ = outputs(choose, small_model, ZFPrecoder, a, 0.0, rest)
    lost = []
    for subcarrier in range(90, 102):
        changed = a.clone()
        changed[0, subcarrier, 1, 5] *= 1.5
        with warnings.catch_warnings():
            # Recognition looks at some of the subcarriers, a proof at all.
            warnings.filterwarnings("ignore", ".* computed .* exactly", nm.NeuMatCWarning)
            *_, counts, _ = outputs(choose, small_model, ZFPrecoder, changed, 0.0, rest)
        if counts.links_recalled:
            lost.append(before.queried - counts.queried)
    # Most are proven as they are.
    assert set(lost) <= {0, 1} and sum(lost) > len(lost) / 2


@needs_library
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind, no", [(ZFPrecoder, 0.0), (MMSEEqualizer, 0.01)])
def test_a_channel_that_is_not_finite_is_refused(
    small_model: nm.ScenarioModel, choose: Choice, kind: Any, no: float, bad: float
) -> None:
    links = small_model.models["pseudo_inverse"].links
    a = links.channel(links.grid_frequencies(), torch.tensor([0]), dtype=torch.complex64)
    for subcarrier in (90, 91):
        changed = a.clone()
        changed[0, subcarrier, 1, 5] = bad
        with pytest.raises(ValueError, match="NaN or infinite"):
            outputs(choose, small_model, kind, changed, no, [0, 1, 2])
