"""Links are recognised as what they are, and nothing else is taken for one of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.bench.tasks import MMSE, Beamforming, Combining, Slot, Task, ZeroForcing
from neumatc_mimo.model.likeness import (
    Recognised,
    is_link,
    probe_subcarriers,
    spots,
    spots_of_link,
)
from neumatc_mimo.operations import SVD, Operation, PseudoInverse
from neumatc_mimo.scenario import LinkSet
from neumatc_mimo.solvers import Channels, Counts

_C = 299792458.0


class Case(NamedTuple):
    """What is asked for: an operation, at a noise power or without."""

    operation: Operation
    no: float | None

    @property
    def any_gain(self) -> bool:
        return self.operation.free_gains(None if self.no is None else torch.tensor(self.no))


CASES = {
    "zero forcing": Case(PseudoInverse(), None),
    "MMSE": Case(PseudoInverse(), 3e-2),
    "SVD": Case(SVD(2), None),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def links_of(model: nm.ScenarioModel, case: Case) -> LinkSet:
    return model.models[case.operation.name].links


def channel_of(model: nm.ScenarioModel, case: Case, dtype: Any = torch.complex64) -> Tensor:
    links = links_of(model, case)
    return links.channel(links.grid_frequencies(), dtype=dtype)


def answered(model: nm.ScenarioModel, case: Case, h: Tensor, **settings: Any) -> Counts:
    """Counts of the answers for channels, which are right whatever these are."""
    frequencies = settings.pop("frequencies", links_of(model, case).grid_frequencies())
    no = None if case.no is None else torch.full((len(h),), case.no)
    channels = Channels(h, frequencies, no, settings.pop("links", None))
    answers = model.start(case.operation, channels, **settings)
    found = case.operation.results(answers.tile(slice(0, h.shape[1])))
    wide = h.to(torch.complex128)
    if isinstance(case.operation, SVD):
        u, s, v = (c.to(torch.complex128) for c in found)
        scale = torch.linalg.norm(wide, dim=(-2, -1))
        error = torch.linalg.norm(wide @ v - u * s[..., None, :], dim=(-2, -1)) / scale
        strongest = torch.linalg.svdvals(wide)[..., :2].to(s)
        error = torch.maximum(error, ((s - strongest).abs().amax(-1) / scale))
    else:
        (exact,) = case.operation.results(case.operation.solve(wide, case.no or 0.0))
        error = torch.linalg.norm(found[0] - exact, dim=(-2, -1))
        error /= torch.linalg.norm(exact, dim=(-2, -1))
    assert error.median() < 5e-3 and error.max() < 0.1
    return answers.counts


def turned(h: Tensor, frequencies: Tensor, delay: Any, phase: Any = 0.0) -> Tensor:
    """Rows with further delays in seconds and phases in turns, [num_rows] or one for all."""
    delay = torch.as_tensor(delay, dtype=torch.float64).expand(h.shape[2])
    turns = frequencies[:, None] * delay + torch.as_tensor(phase, dtype=torch.float64)
    return (h * torch.exp(-2j * torch.pi * turns)[..., None]).to(h.dtype)


Change = Callable[[Tensor, Tensor], Tensor]

# What leaves a link the link that it is: functions of h [num_links, F, K, M] and f [F].
SAME: dict[str, Change] = {
    "nothing": lambda h, f: h,
    "phases": lambda h, f: turned(h, f, 0.0, [0.1 * k for k in range(h.shape[2])]),
    "one delay": lambda h, f: turned(h, f, 2.3e-7),
    "a negative delay": lambda h, f: turned(h, f, -1.7e-6),
    "a delay near half a symbol": lambda h, f: turned(h, f, 4.1e-6),
    "delays of the rows": lambda h, f: turned(h, f, [1e-8 * 7**k for k in range(h.shape[2])]),
    "order": lambda h, f: h.roll(1, 2),
    "gain": lambda h, f: 0.3j * h,
    "all": lambda h, f: turned(2.0 * h.flip(2), f, 3.3e-7, 0.4),
}


@each_case
@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_a_link_in_other_clothes_is_recalled(
    small_model: nm.ScenarioModel, case: Case, change: Change
) -> None:
    h = channel_of(small_model, case)
    f = links_of(small_model, case).grid_frequencies()
    counts = answered(small_model, case, change(h, f))
    assert (counts.links_recalled, counts.links_unknown) == (len(h), 0)


@each_case
@pytest.mark.parametrize("timing", ["absolute", "normalised", "normalised per user", "late"])
def test_delays_absolute_and_normalised(
    small_model: nm.ScenarioModel, case: Case, timing: str
) -> None:
    """As ray tracers and simulators give them, and as a receiver finds its symbols."""
    links = links_of(small_model, case)
    f, first = links.grid_frequencies(), links.row_delays.amin(1)
    h = links.channel(f, aligned=timing == "normalised per user")
    if timing == "normalised":
        h = torch.cat([turned(one[None], f, -d) for one, d in zip(h, first, strict=True)])
    elif timing == "late":
        h = turned(h, f, [1e-7 * k**2 for k in range(h.shape[2])])
    assert answered(small_model, case, h).links_unknown == 0


@each_case
@pytest.mark.parametrize("spread_db", [0.0, 10.0])
def test_gains_of_the_users(small_model: nm.ScenarioModel, case: Case, spread_db: float) -> None:
    """Any gain for zero forcing; other results do not follow from a link's, and are exact."""
    h = channel_of(small_model, case)
    gains = 10 ** (torch.linspace(0.0, spread_db, h.shape[2]) / 20)
    counts = answered(small_model, case, 0.7 * gains[:, None] * h)
    follows = case.any_gain or spread_db == 0
    assert counts.links_recalled == (len(h) if follows else 0)
    assert follows or counts.exact == h.shape[0] * h.shape[1]


@each_case
def test_in_double_precision(small_model: nm.ScenarioModel, case: Case) -> None:
    h = channel_of(small_model, case, torch.complex128)
    assert answered(small_model, case, h).links_unknown == 0


@each_case
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_rounded_channels_end_in_right_results(
    small_model: nm.ScenarioModel, case: Case, kind: torch.dtype
) -> None:
    parts = torch.view_as_real(channel_of(small_model, case)).to(kind).float()
    answered(small_model, case, torch.view_as_complex(parts))


def moved(links: LinkSet, metres: float, rows: slice = slice(None), seed: int = 0) -> LinkSet:
    """The users of some rows moved: each path becomes longer or shorter, by its own direction."""
    generator = torch.Generator().manual_seed(seed)
    cosine = 2 * torch.rand(links.num_paths, dtype=torch.float64, generator=generator) - 1
    shift = (metres / _C * cosine).expand(links.num_links, links.num_rows, 1, -1).clone()
    keep = torch.ones(links.num_rows, dtype=torch.bool)
    keep[rows] = False
    shift[:, keep] = 0.0
    wave = torch.exp(-2j * torch.pi * links.carrier_frequency * shift)
    return replace(links, coefficients=links.coefficients * wave, delays=links.delays + shift)


@each_case
@pytest.mark.parametrize("metres", [0.05, 0.005])
@pytest.mark.parametrize("which", [slice(None), slice(1, 2)], ids=["all", "one row"])
def test_a_user_who_moved_is_another(
    small_model: nm.ScenarioModel, case: Case, metres: float, which: slice
) -> None:
    links = links_of(small_model, case)
    h = moved(links, metres, which).channel(links.grid_frequencies())
    counts = answered(small_model, case, h)
    assert counts.links_recalled == 0 and counts.exact == h.shape[0] * h.shape[1]


def late_path(h: Tensor, f: Tensor) -> Tensor:
    """An echo 40 dB below the channel, after a delay that the probes hardly tell from others."""
    return h + 0.01 * turned(h.flip(-1), f, 3e-6)


def at(h: Tensor, where: Any, factor: complex) -> Tensor:
    h = h.clone()
    h[:, where] *= factor
    return h


def one_antenna(h: Tensor, f: Tensor) -> Tensor:
    h = h.clone()
    h[..., 5] = 0
    return h


# What makes another channel of a link.
OTHER: dict[str, Change] = {
    "a late path": late_path,
    "conjugated": lambda h, f: h.conj(),
    "antennas swapped": lambda h, f: h.flip(-1),
    "two antennas swapped": lambda h, f: h[..., [1, 0, *range(2, h.shape[3])]],
    "an antenna lost": one_antenna,
    "a subcarrier late": lambda h, f: h.roll(1, 1),
    "band reversed": lambda h, f: h.flip(1),
    "rows of two links": lambda h, f: torch.cat([h[:, :, :1], h.roll(1, 0)[:, :, 1:]], 2),
    "a row nearly twice": lambda h, f: torch.cat([h[:, :, :1], h[:, :, :1] + 0.2 * h[:, :, 1:]], 2),
    "most subcarriers": lambda h, f: at(h, slice(20, 31), 0.9),
    "all subcarriers but one": lambda h, f: at(h, 41, 1.01),
    "a subcarrier turned": lambda h, f: at(h, 150, 1.0 + 0.01j),
    "noise at -50 dB": lambda h, f: (
        h
        + 10**-2.5 * torch.randn(h.shape, dtype=h.dtype, generator=torch.Generator().manual_seed(1))
    ),
    "a drift over the band": lambda h, f: h * (1 + 1e-3 * (f / f.max()))[:, None, None].to(h.dtype),
}


@each_case
@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_another_channel_is_computed(
    small_model: nm.ScenarioModel, case: Case, change: Change
) -> None:
    h = channel_of(small_model, case)
    counts = answered(small_model, case, change(h, links_of(small_model, case).grid_frequencies()))
    assert counts.links_recalled == 0 and counts.exact == h.shape[0] * h.shape[1]


@each_case
@pytest.mark.parametrize("certify", ["link", "call"])
def test_another_channel_under_a_links_name_is_computed(
    small_model: nm.ScenarioModel, case: Case, certify: str
) -> None:
    h = at(channel_of(small_model, case), slice(20, 31), 0.5 + 0.5j)
    h[:, 20:31] += h[:, 20:31].flip(-1)
    counts = answered(small_model, case, h, links=torch.arange(len(h)), certify=certify)
    # A proof of each call computes what differs, the certificate of a link covers all or nothing.
    assert counts.exact >= len(h) * (11 if certify == "call" else h.shape[1])


@each_case
def test_another_carrier_and_another_spacing(small_model: nm.ScenarioModel, case: Case) -> None:
    links = links_of(small_model, case)
    f = links.grid_frequencies()
    for shift in (1e5, 1e8):
        assert answered(small_model, case, links.channel(f + shift)).links_recalled == 0
    for factor in (0.5, 0.999, 1.001, 2.0):
        assert answered(small_model, case, links.channel(factor * f)).links_recalled == 0


@each_case
def test_the_grid_itself_may_be_another(small_model: nm.ScenarioModel, case: Case) -> None:
    """Half the spacing, a part of the band, gaps: the same links, asked for at other points."""
    links = links_of(small_model, case)
    f = links.grid_frequencies()
    for frequencies in (0.5 * f, f[30:101], torch.cat([f[3:95], f[97:150]]), f[40:42], f[7:8]):
        h = links.channel(frequencies)
        assert answered(small_model, case, h, frequencies=frequencies).links_unknown == 0


@each_case
def test_known_and_unknown_items_of_a_batch_are_told_apart(
    small_model: nm.ScenarioModel, case: Case
) -> None:
    links = links_of(small_model, case)
    f = links.grid_frequencies()
    h = channel_of(small_model, case)
    one_moved = moved(links, 0.05, slice(0, 1)).channel(f)
    batch = torch.cat([h[2:], at(h[:2], 70, 1.1), turned(h[:1], f, 1e-7), one_moved[3:], h[1:2]])
    counts = answered(small_model, case, batch)
    assert (counts.links_recalled, counts.links_unknown) == (4, 3)


@pytest.mark.parametrize("rows", [slice(None), slice(1, 2)], ids=["all", "one row"])
@each_case
def test_zeros_are_no_link(small_model: nm.ScenarioModel, case: Case, rows: slice) -> None:
    h = channel_of(small_model, case)
    h[:, :, rows] = 0
    frequencies = links_of(small_model, case).grid_frequencies()
    no = None if case.no is None else torch.full((len(h),), case.no)
    answers = small_model.start(case.operation, Channels(h, frequencies, no))
    answers.tile(slice(0, h.shape[1]))
    assert answers.counts.links_recalled == 0


TASKS = [ZeroForcing, MMSE, Beamforming, Combining]
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)


@each_task
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("subcarrier", [0, 41, 191])
def test_what_is_not_finite_is_refused(
    small_model: nm.ScenarioModel, task: type[Task], value: float, subcarrier: int
) -> None:
    case = task(small_model.models[task.operation].links, Slot(num_ofdm_symbols=2))
    inputs = list(case.inputs())
    case.block(small_model)(*inputs)
    inputs[1] = inputs[1].clone()
    inputs[1][..., subcarrier] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        case.block(small_model)(*inputs)


@each_task
def test_a_channel_that_leaves_its_link_in_time(
    small_model: nm.ScenarioModel, task: type[Task]
) -> None:
    """The first symbol is a link's, later ones are not."""
    links = small_model.models[task.operation].links
    case = task(links, Slot(num_ofdm_symbols=4))
    later = task(moved(links, 0.05), Slot(num_ofdm_symbols=4))
    inputs, others = list(case.inputs()), later.inputs()
    inputs[1] = torch.cat([inputs[1][..., :2, :], others[1][..., 2:, :]], dim=-2)
    block = case.block(small_model)
    found, expected = block(*inputs), case.block(nm.Exact())(*inputs)
    for one, other in zip(_tensors(found), _tensors(expected), strict=True):
        assert torch.linalg.norm(one - other) < 1e-2 * torch.linalg.norm(other)
    assert block.stats.links_recalled == 1 and block.stats.links_unknown == 1


@each_task
def test_a_call_is_told_from_the_one_before(
    small_model: nm.ScenarioModel, task: type[Task]
) -> None:
    """What is kept from a link's call serves no channel that differs between the probes."""
    case = task(small_model.models[task.operation].links, Slot(num_ofdm_symbols=2))
    x, original, *others = case.inputs()
    changed = original.clone()
    changed[..., 100] *= 1.2 + 0.3j
    block, plain = case.block(small_model), case.block(nm.Exact())
    for recalled in (1, 2):
        block(x, original, *others)
        found, expected = block(x, changed, *others), plain(x, changed, *others)
        for one, other in zip(_tensors(found), _tensors(expected), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert (block.stats.links_recalled, block.stats.links_unknown) == (recalled, recalled)


@each_case
def test_spots_see_every_subcarrier_and_every_antenna(
    small_model: nm.ScenarioModel, case: Case
) -> None:
    links = links_of(small_model, case)
    f = links.grid_frequencies()
    h = links.channel(f, aligned=True)
    given = spots(h)
    expected = [spots_of_link(links, i, f) for i in range(links.num_links)]
    order = torch.arange(links.num_rows).expand(len(h), -1)
    delay = torch.zeros(order.shape, dtype=torch.float64)
    own = Recognised(torch.arange(len(h)), order, torch.ones_like(delay) + 0j, delay)
    assert given.shape == (len(h), links.num_rows, 4, len(f))
    assert is_link(h, expected, own, f).all()
    marked = torch.arange(h[0, :, 0].numel()).reshape(len(f), -1).to(h.dtype)
    seen = spots(marked[None, :, None])[0, 0].real.long()
    assert torch.equal(seen.sort(0).values // h.shape[3], torch.arange(len(f)).expand(4, -1))
    assert len((seen % h.shape[3]).unique()) == h.shape[3]
    for subcarrier in range(len(f)):
        assert not is_link(at(h, subcarrier, 1.01), expected, own, f).any()


@pytest.mark.parametrize("num_frequencies", [1, 2, 5, 12, 193, 3276])
def test_probes_lie_on_the_grid(num_frequencies: int) -> None:
    probes = probe_subcarriers(num_frequencies)
    assert len(probes.unique()) == len(probes) <= 16
    assert 0 <= int(probes.min()) <= int(probes.max()) < num_frequencies


def _tensors(output: Any) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)
