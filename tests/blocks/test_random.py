"""All blocks on drawn grids, channels, noise and settings, against Sionna on the same inputs.

Whatever is drawn, an output is right: equal to Sionna's in double precision, up to rounding where
channels are computed and up to what the certificate promises where they are links of the model.
``make test-random`` draws four times as many.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import (
    LinearDetector,
    LMMSEEqualizer,
    PilotPattern,
    ResourceGrid,
    RZFPrecoder,
)
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MMSEDetector,
    MMSEEqualizer,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecoder,
)
from neumatc_mimo.scenario import LinkSet
from neumatc_mimo.solvers import Counts

# What a link's certificate promises, and what single and double precision leave.
CERTIFIED = 0.1
ROUNDING = {"single": 5e-3, "double": 1e-7}


@dataclass(frozen=True)
class Point:
    """All that is drawn beside random numbers, which come from ``seed``.

    :param kinds: of each item of the batch, what its channel is
    :param time: how the channel varies over the OFDM symbols
    :param spacing: Hz
    :param shift: of all frequencies of the channel in subcarriers; a link at other frequencies is
        another channel
    :param named: whether the caller tells the links, rightly or not
    """

    seed: int
    kinds: tuple[str, ...]
    time: str
    num_symbols: int
    fft_size: int
    spacing: float
    shift: float
    guards: tuple[int, int]
    dc_null: bool
    pilots: str
    precision: str
    named: str
    certify: str
    no_db: float
    noise: str
    errors: str

    @property
    def dtype(self) -> torch.dtype:
        return torch.complex64 if self.precision == "single" else torch.complex128

    @property
    def batch_size(self) -> int:
        return len(self.kinds)

    def generator(self, stream: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(1000 * self.seed + stream)

    def normal(self, *shape: int, stream: int) -> Tensor:
        generator = self.generator(stream)
        return torch.randn(shape, dtype=torch.complex128, generator=generator)

    def uniform(self, *shape: int, stream: int) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, generator=self.generator(stream))


KINDS = ["link", "link", "dressed", "dressed", "gains", "unknown", "spoilt", "mixed"]
points = st.builds(
    Point,
    seed=st.integers(0, 10**6),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple),
    time=st.sampled_from(["view", "constant", "last symbol", "every symbol"]),
    num_symbols=st.integers(1, 4),
    fft_size=st.sampled_from([192, 192, 96, 61, 24]),
    spacing=st.sampled_from([120e3, 120e3, 60e3, 100e3, 240e3]),
    shift=st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 7.0]),
    guards=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    dc_null=st.booleans(),
    pilots=st.sampled_from(["empty", "kronecker", "scattered"]),
    precision=st.sampled_from(["single", "double"]),
    named=st.sampled_from(["no", "no", "no", "right", "right", "wrong", "unknown"]),
    certify=st.sampled_from(["link", "link", "call"]),
    no_db=st.floats(-60.0, 10.0, allow_nan=False),
    noise=st.sampled_from(["one", "one", "items", "antennas"]),
    errors=st.sampled_from(
        [*3 * ["none"], *2 * ["white"], "symbols", "subcarriers", "elements", "all"]
    ),
)


def grid(point: Point, num_tx: int, num_streams: int) -> ResourceGrid:
    """The resource grid of a point; guards grow until Kronecker pilots fit, if they can."""
    common: dict[str, Any] = {"num_tx": num_tx, "num_streams_per_tx": num_streams}
    common |= {"dc_null": point.dc_null}
    sizes = (point.num_symbols, point.fft_size, point.spacing)
    low, high = point.guards
    more = _num_effective(point) % (num_tx * num_streams)
    if point.pilots == "kronecker" and point.num_symbols > 1 and low + more < point.fft_size // 2:
        low += more
        pilots = {"pilot_pattern": "kronecker", "pilot_ofdm_symbol_indices": [0]}
        return ResourceGrid(*sizes, num_guard_carriers=(low, high), **pilots, **common)
    if point.pilots == "scattered":
        shape = (num_tx, num_streams, point.num_symbols * _num_effective(point))
        share = shape[2] // 4
        where = point.uniform(*shape, stream=50).argsort(-1)[..., :share]
        mask = torch.zeros(shape, dtype=torch.bool).scatter_(-1, where, True)
        mask = mask.unflatten(-1, (point.num_symbols, -1))
        pilots = {"pilot_pattern": PilotPattern(mask, torch.ones(*shape[:2], share).cfloat())}
        return ResourceGrid(*sizes, num_guard_carriers=(low, high), **pilots, **common)
    return ResourceGrid(*sizes, num_guard_carriers=(low, high), **common)


def _num_effective(point: Point) -> int:
    return point.fft_size - point.dc_null - sum(point.guards)


def channels(point: Point, links: LinkSet) -> tuple[Tensor, Tensor]:
    """Channels [batch_size, num_symbols, fft_size, K, M], and the link of each item or -1."""
    index = torch.arange(point.fft_size, dtype=torch.float64) - point.fft_size // 2
    f = (index + point.shift) * point.spacing
    given = index * point.spacing
    items, names = [], []
    for number, kind in enumerate(point.kinds):
        link = int(point.uniform(1, stream=number) * links.num_links)
        h = links.channel(f, [link], dtype=torch.complex128)[0]
        num_rows = h.shape[1]
        draw = point.uniform(3, num_rows, stream=10 + number)
        if kind in ("dressed", "gains", "mixed"):
            turns = given[:, None] * (4e-6 * (draw[0] - 0.5)) + draw[1]
            h = h[:, draw[2].argsort()] * torch.exp(-2j * torch.pi * turns)[..., None]
            h = h * (0.3 + 2 * draw[0, 0])
        if kind == "gains":
            h = h * 10 ** (0.5 * draw[2] - 0.25)[:, None]
        if kind == "mixed":
            other = links.channel(f, [(link + 1) % links.num_links], dtype=torch.complex128)[0]
            h = torch.cat([h[:, :1], other[:, 1:]], dim=1)
        if kind == "spoilt":
            # In the upper half, where it is neither the DC carrier nor a guard.
            first, last = point.fft_size // 2 + 1, point.fft_size - point.guards[1]
            where = first + int(point.uniform(1, stream=20 + number) * (last - first))
            h[where] = h[where] + 0.1 * point.normal(*h.shape[1:], stream=30 + number)
        if kind == "unknown":
            h = point.normal(*h.shape, stream=30 + number)
        items.append(h)
        names.append(link)
    h = torch.stack(items)[:, None].expand(-1, point.num_symbols, -1, -1, -1)
    if point.time != "view":
        h = h.clone()
    if point.time == "last symbol":
        h[:, -1] += 0.1 * point.normal(*h[:, -1].shape, stream=40)
    if point.time == "every symbol":
        h *= torch.exp(2j * torch.pi * point.uniform(point.num_symbols, 1, 1, 1, stream=41))
    return h.to(point.dtype), torch.tensor(names)


def named(point: Point, links: Tensor) -> Tensor | None:
    """What the caller tells of the links."""
    told = {
        "no": None,
        "right": links,
        "wrong": (links + 1) % 4,
        "unknown": -torch.ones_like(links),
    }
    return told[point.named]


def right(found: Tensor, expected: Tensor, point: Point, counts: Counts, what: str = "") -> None:
    """Compare [batch_size, num_streams or antennas, ...]: relative errors of each entry's items."""
    assert found.shape == expected.shape
    assert torch.isfinite(found).all() and found.dtype.is_complex == expected.dtype.is_complex
    scale = torch.linalg.vector_norm(expected, dim=1).clamp_min(1e-12)
    error = torch.linalg.vector_norm(found - expected, dim=1) / scale
    tolerance = CERTIFIED if counts.links_recalled else ROUNDING[point.precision]
    assert error.max() < tolerance, (what, float(error.max()), counts)
    assert error.quantile(0.9) < 0.1 * tolerance or tolerance < CERTIFIED


def wide(*inputs: Any) -> list[Any]:
    """Inputs in double precision."""
    kinds = {torch.complex64: torch.complex128, torch.float32: torch.float64}
    return [v.to(kinds.get(v.dtype, v.dtype)) if isinstance(v, Tensor) else v for v in inputs]


def quietly(call: Callable[..., Any], *inputs: Any) -> Any:
    """Without the warnings of what is computed exactly, which other tests look at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nm.NeuMatCWarning)
        return call(*inputs)


def check_zero_forcing(model: nm.ScenarioModel, point: Point) -> None:
    links = model.models["pseudo_inverse"].links
    h, names = channels(point, links)
    # [batch_size, K, 1, 1, M, num_symbols, fft_size]
    h = h.permute(0, 3, 4, 1, 2)[:, :, None, None]
    num = links.num_rows
    pair = grid(point, 1, num), StreamManagement(np.ones([num, 1]), num)
    shape = (point.batch_size, 1, num, point.num_symbols, point.fft_size)
    x = point.normal(*shape, stream=60).to(point.dtype)
    alpha: Any = 0.0
    if point.errors != "none":
        alpha = 10 ** (point.no_db / 10) * torch.ones(point.batch_size, 1, 1, 1)
        sizes = {"symbols": (point.num_symbols, 1), "subcarriers": (1, point.fft_size)}
        alpha = alpha * (0.5 + point.uniform(*sizes.get(point.errors, (1, 1)), stream=61))
        alpha = alpha.to(h.real.dtype)
    options: dict[str, Any] = {"return_effective_channel": True}
    ours = ZFPrecoder(*pair, model, precision=point.precision, certify=point.certify, **options)
    theirs = RZFPrecoder(*pair, precision="double", **options)
    found = quietly(ours, x, h, alpha, named(point, names))
    expected = theirs(*wide(x, h, alpha))
    right(found[0].flatten(1, 2), expected[0].flatten(1, 2), point, ours.stats, "x")
    right(found[1].flatten(1, 4), expected[1].flatten(1, 4), point, ours.stats, "h_eff")
    _check_counts(ours.stats, point)


def uplink(model: nm.ScenarioModel, point: Point) -> tuple[Any, list[Any], Tensor | None]:
    """Grid and streams, inputs of a receiver, links."""
    links = model.models["pseudo_inverse"].links
    h, names = channels(point, links)
    rg = grid(point, links.num_rows, 1)
    effective = torch.as_tensor(rg.effective_subcarrier_ind.astype(np.int64))
    # [batch_size, 1, M, K, 1, num_symbols, num_effective_subcarriers]
    h_hat = h[:, :, effective].permute(0, 4, 3, 1, 2)[:, None, :, :, None]
    if point.time == "view":
        h_hat = h_hat[..., :1, :].expand_as(h_hat)
    num_antennas = links.num_cols
    x = point.normal(point.batch_size, links.num_rows, *h.shape[1:3], stream=70)
    y = torch.einsum("bsfkm,bksf->bmsf", h.to(x.dtype), x)
    power = 10 ** (point.no_db / 10)
    y = y + power**0.5 * point.normal(*y.shape, stream=71)
    sizes = {"one": (), "items": (point.batch_size,)}
    no = power * (
        0.5 + point.uniform(*sizes.get(point.noise, (point.batch_size, 1, num_antennas)), stream=72)
    )
    num, subcarriers = point.num_symbols, len(effective)
    errors = {
        "none": (),
        "white": (1,),
        "symbols": (num, 1),
        "subcarriers": (subcarriers,),
        "elements": (num, subcarriers),
        "all": tuple(h_hat.shape),
    }[point.errors]
    err_var = power * point.uniform(*errors, stream=73) if errors else torch.zeros(())
    real = h.real.dtype
    inputs = [y[:, None].to(h.dtype), h_hat, err_var.to(real), no.to(real)]
    pair = rg, StreamManagement(np.ones([1, links.num_rows]), 1)
    return pair, inputs, named(point, names)


def check_mmse(model: nm.ScenarioModel, point: Point) -> None:
    pair, inputs, links = uplink(model, point)
    ours = MMSEEqualizer(*pair, model, precision=point.precision, certify=point.certify)
    found = quietly(ours, *inputs, links)
    expected = LMMSEEqualizer(*pair, precision="double")(*wide(*inputs))
    for one, other, what in zip(found, expected, ("x_hat", "no_eff"), strict=True):
        right(one.flatten(1, 2), other.flatten(1, 2), point, ours.stats, what)
    _check_counts(ours.stats, point)


def check_detector(model: nm.ScenarioModel, point: Point) -> None:
    pair, inputs, links = uplink(model, point)
    kind: Any = ("symbol" if point.seed % 2 else "bit", "maxlog", *pair)
    rest: dict[str, Any] = {"constellation_type": "qam", "num_bits_per_symbol": 4}
    options: dict[str, Any] = {"precision": point.precision, "certify": point.certify}
    ours = MMSEDetector(*kind, model, **rest, **options)
    found = quietly(ours, *inputs, links)
    expected = LinearDetector("lmmse", *kind, precision="double", **rest)(*wide(*inputs))
    # All values of a symbol together: at a decision's boundary a single one is near zero.
    together = [
        (v if point.seed % 2 else v.unflatten(-1, (-1, 4))).movedim(-1, 1).flatten(1, 3)
        for v in (found, expected)
    ]
    right(*together, point, ours.stats, "llr")


def check_svd(model: nm.ScenarioModel, point: Point) -> None:
    """What is sent along the beams arrives, and with the power of the strongest triplets."""
    links = model.models["svd"].links
    h, names = channels(point, links)
    # [batch_size, 1, num_rx_ant, 1, M, num_symbols, fft_size]
    h = h.permute(0, 3, 4, 1, 2)[:, None, :, None]
    if point.time == "view":
        h = h[..., :1, :].expand_as(h)
    rg, sm = grid(point, 1, 2), StreamManagement(np.ones([1, 1]), 2)
    x = point.normal(point.batch_size, 1, 2, point.num_symbols, point.fft_size, stream=80)
    x = x.to(point.dtype)
    options: dict[str, Any] = {"precision": point.precision, "certify": point.certify}
    beamformer = SVDBeamformer(rg, sm, model, True, **options)
    combiner = SVDCombiner(rg, sm, model, **options)
    told = named(point, names)
    precoded, h_eff = quietly(beamformer, x, h, told)
    y = torch.einsum("brmtnsf,btnsf->brmsf", h, precoded)
    no = 10 ** (point.no_db / 10)
    x_hat, no_eff = quietly(combiner, y, h, no, told)

    effective = torch.as_tensor(rg.effective_subcarrier_ind.astype(np.int64))
    at = h[..., effective].permute(0, 1, 3, 5, 6, 2, 4)[:, 0, 0].to(torch.complex128)
    s = torch.linalg.svdvals(at)[..., :2]
    # Beams carry the strongest singular values, and are orthogonal in the channel.
    received = h_eff[:, 0, :, 0].permute(0, 3, 4, 1, 2)
    gram = received.mH @ received
    counts = beamformer.stats
    right(
        gram.flatten(-2).movedim(-1, 1),
        torch.diag_embed(s.square() + 0j).flatten(-2).movedim(-1, 1),
        point,
        counts,
        "beams",
    )
    data = combiner._data_symbols  # which Sionna has no public function for
    expected, ratio = (
        data(v.permute(0, 3, 1, 2)[:, None].contiguous()) for v in (no / s.square(), s[..., :1] / s)
    )
    # Certificates are relative to the strongest stream; leakage between streams counts as noise.
    sent = data(x[..., effective])
    found = [(v / ratio).flatten(1, 2) for v in (x_hat, sent)]
    right(*found, point, combiner.stats, "x_hat")
    certified = combiner.stats.links_recalled > 0
    share = 3e-2 * ratio if certified else torch.full_like(ratio, 1e-2)
    leakage = (2e-2 * ratio).square() if certified else 1e-5
    assert ((no_eff - expected).abs() <= share * expected + leakage).all()
    _check_counts(beamformer.stats, point)


def _check_counts(counts: Counts, point: Point) -> None:
    """Nothing is recalled that is no link."""
    strange = {"unknown", "mixed"} | ({"spoilt"} if point.certify == "link" else set())
    if all(kind in strange for kind in point.kinds):
        assert counts.links_recalled == 0
        assert counts.queried == counts.corrected == counts.patched == 0


@dataclass(frozen=True)
class Shape:
    """Cells of some users each, of as many streams as antennas."""

    num_cells: int
    num_users: int
    num_streams: int
    num_antennas: int


shapes = st.builds(
    Shape,
    num_cells=st.integers(1, 3),
    num_users=st.integers(1, 3),
    num_streams=st.integers(1, 2),
    num_antennas=st.integers(9, 12),
)


def check_shape(point: Point, shape: Shape) -> None:
    """Precoder and equalizer of several cells, computed exactly."""
    cells, users, streams, antennas = vars(shape).values()
    options: dict[str, Any] = {"precision": point.precision}
    num_symbols = point.num_symbols
    rg = grid(point, cells, users * streams)
    sm = StreamManagement(np.kron(np.eye(cells), np.ones([users, 1])), users * streams)
    h = _drawn_in_time(point, point.batch_size, cells * users, streams, cells, antennas)
    x = point.normal(
        point.batch_size, cells, users * streams, num_symbols, point.fft_size, stream=2
    )
    x = x.to(point.dtype)
    # With more streams than antennas single precision, Sionna's too, is off by percents below.
    no_db = max(point.no_db, -40.0) if point.precision == "single" else point.no_db
    alpha = torch.tensor(10 ** (no_db / 10), dtype=h.real.dtype)
    ours = ZFPrecoder(rg, sm, nm.Exact(), True, **options)
    theirs = RZFPrecoder(rg, sm, True, precision="double")
    for one, other in zip(ours(x, h, alpha), theirs(*wide(x, h, alpha)), strict=True):
        right(one.flatten(1, -3), other.flatten(1, -3), point, ours.stats, "precoder")

    rg = grid(point, cells * users, streams)
    sm = StreamManagement(np.kron(np.eye(cells), np.ones([1, users])), streams)
    h = _drawn_in_time(point, point.batch_size, cells, antennas, cells * users, streams)
    effective = torch.as_tensor(rg.effective_subcarrier_ind.astype(np.int64))
    h_hat = h[..., effective]
    y = point.normal(point.batch_size, cells, antennas, num_symbols, point.fft_size, stream=3)
    sizes = {"antennas": (point.batch_size, cells, antennas), "items": (point.batch_size,)}
    no = alpha * (0.5 + point.uniform(*sizes.get(point.noise, ()), stream=4))
    dims = {"symbols": (num_symbols, 1), "all": tuple(h_hat.shape), "subcarriers": h_hat.shape[-1:]}
    err_var = alpha * point.uniform(*dims.get(point.errors, ()), stream=5)
    inputs = [y.to(point.dtype), h_hat, err_var.to(alpha), no.to(alpha)]
    equalizer = MMSEEqualizer(rg, sm, nm.Exact(), **options)
    reference = LMMSEEqualizer(rg, sm, precision="double")
    for one, other in zip(equalizer(*inputs), reference(*wide(*inputs)), strict=True):
        right(one.flatten(1, 2), other.flatten(1, 2), point, equalizer.stats, "equalizer")


def _drawn_in_time(point: Point, *shape: int) -> Tensor:
    """A Rayleigh channel that varies in time as the point tells."""
    h = point.normal(*shape, 1, point.fft_size, stream=1)
    h = h.expand(*shape, point.num_symbols, -1)
    if point.time != "view":
        h = h.clone()
    if point.time == "last symbol":
        h[..., -1, :] = point.normal(*shape, point.fft_size, stream=6)
    if point.time == "every symbol":
        h = h + 0.3 * point.normal(*h.shape, stream=6)
    return h.to(point.dtype)


CHECKS = [check_zero_forcing, check_mmse, check_detector, check_svd]


@pytest.fixture(params=CHECKS, ids=lambda check: check.__name__[6:])
def check(request: pytest.FixtureRequest, small_model: nm.ScenarioModel) -> Callable[[Point], None]:
    """Return a check with its model: a function, as reports of failures print all of a model."""
    return lambda point: request.param(small_model, point)


@given(point=points)
def test_blocks_are_right_whatever_is_drawn(check: Callable[[Point], None], point: Point) -> None:
    check(point)


@given(point=points, shape=shapes)
def test_blocks_are_right_at_any_shape(point: Point, shape: Shape) -> None:
    check_shape(point, shape)
