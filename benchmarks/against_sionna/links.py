"""Blocks with a model on channels that are its links, or nearly so, beside Sionna.

Whatever is drawn, an output is right: equal to Sionna's in double precision, up to rounding where
channels are computed and up to what the certificate promises where they are links of the model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
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
from benchmarks.against_sionna.blocks import Comparison, Deviations
from benchmarks.against_sionna.draws import double
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
        pilots = {
            "pilot_pattern": PilotPattern(
                mask, torch.ones(*shape[:2], share, dtype=torch.complex64)
            )
        }
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


def _deviations(
    found: Tensor, expected: Tensor, point: Point, counts: Counts, what: str, times: float = 1.0
) -> Deviations:
    """Relative errors of each entry's items [batch_size, num_streams or antennas, ...], over what
    certificates promise or rounding leaves.

    :param times: so many times that
    """
    if found.shape != expected.shape or found.dtype.is_complex != expected.dtype.is_complex:
        yield what, torch.inf
        return
    scale = torch.linalg.vector_norm(expected, dim=1).clamp_min(1e-12)
    error = torch.linalg.vector_norm(found - expected, dim=1) / scale
    tolerance = times * (CERTIFIED if counts.links_recalled else ROUNDING[point.precision])
    yield what, float((error / tolerance).nan_to_num(torch.inf).max())
    if counts.links_recalled:
        # Most results are far better than what is promised.
        yield f"most of {what}", float(error.quantile(0.9)) / (0.1 * tolerance)


def _quietly(call: Callable[..., Any], *inputs: Any) -> Any:
    """Without the warnings of what is computed exactly, which other tests look at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nm.NeuMatCWarning)
        return call(*inputs)


def precoder(point: Point, model: nm.ScenarioModel) -> Deviations:
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
    found = _quietly(ours, x, h, alpha, named(point, names))
    expected = theirs(*map(double, (x, h, alpha)))
    yield from _deviations(
        found[0].flatten(1, 2), expected[0].flatten(1, 2), point, ours.stats, "x"
    )
    yield from _deviations(
        found[1].flatten(1, 4), expected[1].flatten(1, 4), point, ours.stats, "h_eff"
    )
    yield from _strangers(ours.stats, point)


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


def equalizer(point: Point, model: nm.ScenarioModel) -> Deviations:
    (rg, sm), inputs, links = uplink(model, point)
    pair = rg, sm
    ours = MMSEEqualizer(rg, sm, model, precision=point.precision, certify=point.certify)
    found = _quietly(ours, *inputs, links)
    expected = LMMSEEqualizer(*pair, precision="double")(*map(double, inputs))
    for one, other, what in zip(found, expected, ("x_hat", "no_eff"), strict=True):
        yield from _deviations(one.flatten(1, 2), other.flatten(1, 2), point, ours.stats, what)
    yield from _strangers(ours.stats, point)


def detector(point: Point, model: nm.ScenarioModel) -> Deviations:
    (rg, sm), inputs, links = uplink(model, point)
    output: Any = "symbol" if point.seed % 2 else "bit"
    options: Any = {"precision": point.precision, "certify": point.certify}
    ours = MMSEDetector(output, "maxlog", rg, sm, model, "qam", 4, **options)
    found = _quietly(ours, *inputs, links)
    theirs = LinearDetector("lmmse", output, "maxlog", rg, sm, "qam", 4, precision="double")
    expected = theirs(*map(double, inputs))
    # All values of a symbol together: at a decision's boundary a single one is near zero.
    together, right = (
        (v if point.seed % 2 else v.unflatten(-1, (-1, 4))).movedim(-1, 1).flatten(1, 3)
        for v in (found, expected)
    )
    # Squares of distances err thrice as far: others' symbols may be larger than the one detected.
    yield from _deviations(together, right, point, ours.stats, "llr", 3.0)


def svd(point: Point, model: nm.ScenarioModel) -> Deviations:
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
    precoded, h_eff = _quietly(beamformer, x, h, told)
    y = torch.einsum("brmtnsf,btnsf->brmsf", h, precoded)
    no = 10 ** (point.no_db / 10)
    x_hat, no_eff = _quietly(combiner, y, h, no, told)

    effective = torch.as_tensor(rg.effective_subcarrier_ind.astype(np.int64))
    at = h[..., effective].permute(0, 1, 3, 5, 6, 2, 4)[:, 0, 0].to(torch.complex128)
    s = torch.linalg.svdvals(at)[..., :2]
    # Beams carry the strongest singular values, and are orthogonal in the channel.
    received = h_eff[:, 0, :, 0].permute(0, 3, 4, 1, 2)
    gram = received.mH @ received
    counts = beamformer.stats
    yield from _deviations(
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
    found, right = ((v / ratio).flatten(1, 2) for v in (x_hat, sent))
    yield from _deviations(found, right, point, combiner.stats, "x_hat")
    certified = combiner.stats.links_recalled > 0
    share = 3e-2 * ratio if certified else torch.full_like(ratio, 1e-2)
    leakage = (2e-2 * ratio).square() if certified else 1e-5
    yield "no_eff", float(((no_eff - expected).abs() / (share * expected + leakage)).max())
    yield from _strangers(beamformer.stats, point)


def _strangers(counts: Counts, point: Point) -> Deviations:
    """Nothing is recalled that is no link."""
    strange = {"unknown", "mixed"} | ({"spoilt"} if point.certify == "link" else set())
    if all(kind in strange for kind in point.kinds):
        recalled = counts.links_recalled + counts.queried + counts.corrected + counts.patched
        yield "strangers recalled", torch.inf if recalled else 0.0


LINKS = {
    "ZFPrecoder": Comparison(precoder, points, 0.03),
    "MMSEEqualizer": Comparison(equalizer, points, 0.03),
    "MMSEDetector": Comparison(detector, points, 0.03),
    "SVDBeamformer, SVDCombiner": Comparison(svd, points, 0.03),
}
