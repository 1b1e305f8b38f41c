"""Each block beside Sionna's, on what was drawn; blocks that Sionna lacks, beside themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from hypothesis.strategies import SearchStrategy
from sionna.phy import ofdm as sionna_ofdm
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import CBFPrecodedChannel as TheirCBFPrecodedChannel
from sionna.phy.ofdm import EyePrecodedChannel as TheirEyePrecodedChannel
from sionna.phy.ofdm import LinearDetector, LMMSEEqualizer, RZFPrecodedChannel, RZFPrecoder
from torch import Tensor

import neumatc_mimo as nm
from benchmarks.against_sionna.draws import Draw, Ones, double, draws, single
from neumatc_mimo import blocks as own_blocks
from neumatc_mimo.blocks import (
    BDPrecoder,
    CBFPrecodedChannel,
    EyePrecodedChannel,
    MaxMinPrecoder,
    MMSEDetector,
    MMSEEqualizer,
    SLNRPrecoder,
    SVDBeamformer,
    SVDCombiner,
    WMMSEPrecoder,
    ZFPrecodedChannel,
    ZFPrecoder,
)
from neumatc_mimo.solvers import Auto, Cached, LibrarySVD, NumPySVD, Solver

# Of the error of Sionna's block in single precision, and what is allowed in any case.
TIMES, FLOOR = 10.0, 1e-5
# Roundings that a Gram matrix amplifies, and the share of a result that they are at most: beyond it
# blocks compute in double precision.
_ROUNDINGS, _REFINED = 16.0, 2e-3
# The same in double precision, where errors of Sionna's block are in proportion to the rounding;
# not where single precision has lost the result, and double precision no one knows how much.
_PROPORTION = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
_DOUBLE_FLOOR = 1e-8
_LOST = 0.1
# Sionna's expectation propagation takes differences of precisions up to 1e12; ours is held to the
# last digits by a test of its own, beside extended precision.
_DIFFERENCE = 1e12 * torch.finfo(torch.float64).eps
# Of the symbols whose bits are known beforehand.
_PRIOR_BITS = 4
# Blocks without a counterpart, against themselves.
_OWN_FLOOR = {"single": 1e-3, "double": 1e-6}

# What differs, and by how much over the bound.
Deviations: TypeAlias = Iterator[tuple[str, float]]


class RefusedError(Exception):
    """Sionna's block does not take these inputs either."""


@dataclass(frozen=True)
class Comparison:
    """A block beside what it is compared with.

    :param deviations: of a draw, with a trained model
    :param draws: what is drawn
    :param share: of all examples
    """

    deviations: Callable[[Any, nm.ScenarioModel], Deviations]
    draws: SearchStrategy[Any]
    share: float


def precoder(draw: Draw, model: nm.ScenarioModel) -> Deviations:
    """Precoded symbols and effective channels."""
    pair, zero_forcing = draw.downlink(), _zero_forcing(draw)
    h = _given(draw, draw.channel(draw.channel_ones, zeros=not zero_forcing))
    alpha = 0.0 if zero_forcing else _alpha(draw, draw.num_cells)
    # Sionna takes the effective subcarriers from the channel.
    effective = not draw.channel_ones.subcarrier
    x = draw.cast(_symbols(draw, draw.num_cells, draw.num_rows))
    ours = ZFPrecoder(*pair, _solver(draw, model), effective, precision=draw.precision)
    theirs = _both(lambda p: RZFPrecoder(*pair, effective, precision=p))
    expected, floor = theirs(x, h, alpha), _floor(_precoded_rows(draw, h), alpha)
    names, dims = ("x_precoded", "h_eff"), (None, None)
    yield from _all(draw, names, _called(draw, ours, x, h, alpha), expected, dims, floor)


def precoded_channel(draw: Draw, model: nm.ScenarioModel) -> Deviations:
    """Effective channels of a precoder that knows the channel, or another one."""
    pair, zero_forcing = draw.downlink(), _zero_forcing(draw)
    ones = replace(draw.channel_ones, subcarrier=False)
    h = _given(draw, draw.channel(ones, zeros=not zero_forcing))
    known = (
        h if draw.seed % 2 else _given(draw, draw.channel(ones, zeros=not zero_forcing, stream=2))
    )
    alpha = 0.0 if zero_forcing else _alpha(draw, draw.num_cells, leading=True)
    power = _stream_powers(draw, h)
    ours = ZFPrecodedChannel(*pair, _solver(draw, model), precision=draw.precision)
    theirs = _both(lambda p: RZFPrecodedChannel(*pair, precision=p))
    inputs = (h, power, known, alpha)
    # Each user on its own: what the weakest receives counts like what the strongest does.
    dims = (0, 2, 3, 4, 5, 6)
    expected, floor = theirs(*inputs), _floor(_precoded_rows(draw, known), alpha)
    yield from _all(draw, ("h_eff",), _called(draw, ours, *inputs), expected, (dims,), floor)


def matched_channel(draw: Draw, model: nm.ScenarioModel) -> Deviations:
    """Effective channels of conjugate beamforming."""
    del model
    pair, ones = draw.downlink(), replace(draw.channel_ones, subcarrier=False)
    h = _given(draw, draw.channel(ones))
    known = h if draw.seed % 2 else _given(draw, draw.channel(ones, stream=2))
    inputs = (h, _stream_powers(draw, h), known)
    ours = CBFPrecodedChannel(*pair, precision=draw.precision)
    theirs = _both(lambda p: TheirCBFPrecodedChannel(*pair, precision=p))
    dims = (0, 2, 3, 4, 5, 6)
    found = _called(draw, ours, *inputs)
    yield from _all(draw, ("h_eff",), found, theirs(*inputs), (dims,), FLOOR)


def antenna_channel(draw: Draw, model: nm.ScenarioModel) -> Deviations:
    """Effective channels of streams that are not precoded."""
    del model
    ones = replace(draw.channel_ones, subcarrier=False)
    h = _given(draw, draw.channel(ones))
    # Each cell's users are one receiver of all their antennas.
    h = h.flatten(1, 2).unflatten(1, (draw.num_cells, -1))
    streams = StreamManagement(np.eye(draw.num_cells), draw.num_antennas)
    pair = (draw.grid(draw.num_cells, draw.num_antennas), streams)
    inputs = (h, _stream_powers(draw, h, draw.num_antennas))
    ours = EyePrecodedChannel(*pair, precision=draw.precision)
    theirs = _both(lambda p: TheirEyePrecodedChannel(*pair, precision=p))
    dims = (0, 2, 3, 4, 5, 6)
    found = _called(draw, ours, *inputs)
    yield from _all(draw, ("h_eff",), found, theirs(*inputs), (dims,), FLOOR)


def equalizer(draw: Draw, model: nm.ScenarioModel) -> Deviations:
    """Symbols and effective noise, stream by stream."""
    pair, inputs = draw.uplink(), _received(draw)
    ours = MMSEEqualizer(*pair, _solver(draw, model), precision=draw.precision)
    theirs = _both(lambda p: LMMSEEqualizer(*pair, precision=p))
    expected, floor = (
        theirs(*inputs),
        _floor(_received_rows(inputs[1]), inputs[3], _errors(draw, inputs[2])),
    )
    names, dims = ("x_hat", "no_eff"), ((0, 3), (0, 3))
    yield from _all(draw, names, _called(draw, ours, *inputs), expected, dims, floor)


def detector(draw: Draw, model: nm.ScenarioModel) -> Deviations:
    """Log-likelihood ratios of bits, logits of symbols."""
    (rg, sm), inputs = draw.uplink(), _received(draw)
    output: Any = "bit" if draw.seed % 2 else "symbol"
    method: Any = "app" if draw.seed % 4 < 2 else "maxlog"
    bits, solver = 2 + 2 * (draw.seed % 3), _solver(draw, model)
    ours = MMSEDetector(output, method, rg, sm, solver, "qam", bits, precision=draw.precision)
    theirs = _both(
        lambda p: LinearDetector("lmmse", output, method, rg, sm, "qam", bits, precision=p)
    )
    expected, floor = (
        theirs(*inputs),
        _floor(_received_rows(inputs[1]), inputs[3], _errors(draw, inputs[2])),
    )
    dims = (0, 3, 4) if output == "symbol" else (0, 3)
    yield from _all(draw, ("llr",), _called(draw, ours, *inputs), expected, (dims,), floor)


def plain_equalizer(name: str, *, forces: bool) -> Callable[[Draw, nm.ScenarioModel], Deviations]:
    """An equalizer without regularisation; stream by stream.

    :param forces: whether it needs as many antennas as streams, and rows that are apart
    """

    def deviations(draw: Draw, model: nm.ScenarioModel) -> Deviations:
        given = _roomy(draw) if forces else draw
        pair, inputs = given.uplink(), _received(given, zeros=not forces)
        ours = getattr(own_blocks, name)(*pair, _solver(given, model), precision=given.precision)
        theirs = _both(lambda p: getattr(sionna_ofdm, name)(*pair, precision=p))
        expected, found = theirs(*inputs), _called(given, ours, *inputs)
        floor = _floor(_own_rows(given, inputs[1]), 0.0) if forces else FLOOR
        yield from _all(given, ("x_hat", "no_eff"), found, expected, ((0, 3), (0, 3)), floor)

    return deviations


def linear_detector(draw: Draw, model: nm.ScenarioModel) -> Deviations:
    """Log-likelihood ratios behind zero forcing and matched filters."""
    name: Any = "zf" if draw.seed % 2 else "mf"
    given = _roomy(draw)
    (rg, sm), inputs = given.uplink(), _received(given, zeros=False)
    method, bits, solver = ("app", "maxlog")[draw.seed % 3 % 2], 2 * (1 + draw.seed % 3), None
    solver = _solver(given, model)
    make: Any = own_blocks.LinearDetector
    ours = make(name, "bit", method, rg, sm, solver, "qam", bits, precision=given.precision)
    theirs = _both(lambda p: LinearDetector(name, "bit", method, rg, sm, "qam", bits, precision=p))
    expected, found = theirs(*inputs), _called(given, ours, *inputs)
    floor = _floor(_own_rows(given, inputs[1]), 0.0)
    yield from _all(given, ("llr",), found, expected, ((0, 3),), floor)


def sinr(draw: Draw, model: nm.ScenarioModel) -> Deviations:
    """Ratios of each stream; those that rounding of Sionna's differences leaves something of."""
    draw = replace(draw, no=max(draw.no, 1e-6))
    pair = draw.uplink()
    _, h, _, no = _received(draw)
    # Sionna takes sizes from the channel.
    effective = pair[0].num_effective_subcarriers
    h = h.expand(*h.shape[:-2], draw.num_symbols, int(effective))
    h = h.expand(draw.num_items, *h.shape[1:])
    whitens = bool(draw.seed % 2)
    make: Any = own_blocks.LMMSEPostEqualizationSINR
    ours = make(*pair, _solver(draw, model), precision=draw.precision)
    theirs = _both(
        lambda p: (
            lambda h, no: sionna_ofdm.LMMSEPostEqualizationSINR(*pair, precision=p)(
                h.to(torch.complex128 if p == "double" else torch.complex64),
                no,
                interference_whitening=whitens,
            )
        )
    )
    expected, found = theirs(h, no), ours(h, no, None, whitens)
    floor = _floor(_received_rows(h), no)
    yield from _all(draw, ("sinr",), found, expected, ((0, 1, 2),), floor)


def joint_detector(
    name: str, *arguments: Any, prior: bool = False, floor: float = 0.0
) -> Callable[[Draw, nm.ScenarioModel], Deviations]:
    """A detector of all streams together, in double precision: decisions between candidates are
    as fine as the rounding.

    :param arguments: Sionna's, with "streams" for the number of them; places of the pair and of the
        solver are "pair"
    :param prior: whether it takes one
    :param floor: what is allowed in any case
    """

    def deviations(draw: Draw, model: nm.ScenarioModel) -> Deviations:
        given = _few(draw, alone=prior)
        (rg, sm), inputs = given.uplink(), list[Any](_received(given, zeros=False))
        if prior:
            shape = (len(inputs[0]), given.num_rows, 1)
            num = int(rg.pilot_pattern.num_data_symbols) * _PRIOR_BITS
            known = given.uniform(shape[0], rg.num_tx, rg.num_streams_per_tx, num, stream=9)
            inputs.insert(2, 10 * (known - 0.5))

        def made(module: Any, *solver: Any, precision: Any) -> Any:
            values: list[Any] = []
            for argument in arguments:
                whole = {"pair": (rg, sm, *solver), "streams": (sm.num_streams_per_rx,)}
                values += whole.get(argument, (argument,))
            return getattr(module, name)(*values, precision=precision)

        ours = made(own_blocks, _solver(given, model), precision="double")
        theirs = _both(lambda p: made(sionna_ofdm, precision=p))
        expected, found = theirs(*_whole(inputs)), ours(*inputs)
        bound = max(floor, _DOUBLE_FLOOR)
        right = expected[1]
        size = torch.linalg.vector_norm(right, dim=(0, 3)).clamp_min(1e-300)
        known_ones = right.isfinite()
        error = torch.where(known_ones, found - right, 0.0)
        if bool((~found.isfinite() & known_ones).any()):
            yield "llr", torch.inf
        lost = torch.linalg.vector_norm(
            torch.where(known_ones, expected[0].double() - right, 0.0), dim=(0, 3)
        )
        allowed = TIMES * torch.where(lost > _LOST * size, torch.inf, _PROPORTION * lost)
        error = torch.linalg.vector_norm(error, dim=(0, 3)) / (allowed + bound * size)
        yield "llr", float(error.nan_to_num(0).max())

    return deviations


def _whole(inputs: Sequence[Any]) -> list[Any]:
    """Received signals and channels of all items: Sionna's detectors put what one item of signals
    gives with several channels into a result of one item.
    """
    y, h, *others = inputs
    num = max(len(y), len(h))
    return [y.expand(num, *y.shape[1:]), h.expand(num, *h.shape[1:]), *others]


def svd(draw: Draw, model: nm.ScenarioModel) -> Deviations:
    """Beams carry the strongest singular values, and arrive at the combiner as they were sent."""
    num = draw.num_users * draw.num_streams
    num_streams = min(1 + draw.seed % 3, num, draw.num_antennas)
    grid, streams = draw.grid(1, num_streams), StreamManagement(np.ones([1, 1]), num_streams)
    ones = replace(draw.channel_ones, subcarrier=False, item=False, symbol=False)
    # A precision relative to the strongest stream says nothing of streams 60 dB below it.
    near = tuple(None if apart is None else max(apart, 1e-3) for apart in draw.near)
    moderate = replace(draw, levels=tuple(level % 20 for level in draw.levels), near=near)
    h = moderate.channel(ones, zeros=False).flatten(1, 2)[:, None]
    h = _given(draw, h)
    x = draw.cast(draw.normal(h.shape[0], 1, num_streams, *h.shape[5:], stream=80))
    no = draw.variance
    solver = _solver(draw, model)
    beamformer = SVDBeamformer(grid, streams, solver, True, precision=draw.precision)
    combiner = SVDCombiner(grid, streams, solver, precision=draw.precision)
    precoded, h_eff = _called(draw, beamformer, x, h)
    there = double(h).to(torch.complex128)
    y = torch.einsum("brmtnsf,btnsf->brmsf", there, double(precoded))
    x_hat, no_eff = combiner(y, h, no)

    effective = torch.as_tensor(grid.effective_subcarrier_ind.astype(np.int64))
    # [num_items, num_symbols, num_effective_subcarriers, num_rx_ant, num_tx_ant]
    at = there[..., effective].permute(0, 1, 3, 5, 6, 2, 4)[:, 0, 0]
    s = torch.linalg.svdvals(at)[..., :num_streams]
    received = double(h_eff)[:, 0, :, 0].permute(0, 3, 4, 1, 2)
    gram = received.mH @ received
    error = torch.linalg.matrix_norm(gram - torch.diag_embed(s.square() + 0j))
    floor = _OWN_FLOOR[draw.precision]
    yield "beams", float((error / s[..., 0].square()).max()) / floor
    data = combiner._data_symbols  # which Sionna has no public function for
    # Precision is relative to the strongest stream.
    noise, weakness = (
        data(v.permute(0, 3, 1, 2)[:, None].contiguous()) for v in (no / s.square(), s[..., :1] / s)
    )
    sent = data(double(x).to(torch.complex128)[..., effective])
    size = weakness * sent.abs().amax().clamp_min(1e-3)
    yield "x_hat", float(((x_hat - sent).abs() / size).max()) / floor
    # Leakage between streams counts as noise.
    allowed = 10 * floor * weakness * noise + (floor * weakness).square()
    yield "no_eff", float(((no_eff - noise).abs() / allowed).max())


def own(
    block: Any, *, noisy: bool, fickle: bool = False
) -> Callable[[Draw, nm.ScenarioModel], Deviations]:
    """A precoder that Sionna lacks, beside itself: item by item, symbol by symbol, at gain one.

    :param noisy: whether it is called with a noise power
    :param fickle: whether it may serve either of two neighbours
    """

    def deviations(draw: Draw, model: nm.ScenarioModel) -> Deviations:
        # A stream 100 dB below another one of its user, both below the noise, has 80 dB in double
        # precision.
        least = 1e-3 if draw.no > 1 else 0.0
        near = tuple(None if apart is None else max(apart, least) for apart in draw.near)
        moderate = replace(
            draw,
            levels=tuple(level % 10 for level in draw.levels),
            near=(None,) if fickle else near,
            num_antennas=draw.num_rows + 1 + draw.num_antennas % 4,
            precision="double" if fickle else draw.precision,
            given="same",
            no=max(draw.no, 1e-3),
        )
        pair = moderate.downlink()
        precision = moderate.precision
        h = moderate.cast(moderate.channel(moderate.channel_ones, zeros=False))
        x = moderate.cast(_symbols(moderate, 1, draw.num_rows))
        no = [moderate.variance] if noisy else []
        solver = _solver(draw, model)
        effective = not draw.channel_ones.subcarrier
        ours = block(*pair, solver, effective, precision=precision)
        found = _called(moderate, ours, x, moderate.laid(h), *no)
        items, symbols = max(len(h), len(x)), max(h.shape[-2], x.shape[-2])
        subcarriers = max(h.shape[-1], x.shape[-1])
        h = (double(h) / draw.scale).expand(items, *[-1] * 4, symbols, subcarriers)
        x = double(x).expand(items, -1, -1, symbols, subcarriers)
        reference = block(*pair, nm.Exact(), precision="double", time_varying=True)
        one = [moderate.variance / draw.scale**2] if noisy else []
        expected = [torch.cat([reference(x[b : b + 1], h[b : b + 1], *one) for b in range(items)])]
        precoded = found[0] if effective else found
        error = torch.linalg.vector_norm(precoded - expected[0])
        size = torch.linalg.vector_norm(expected[0])
        # Of neighbours rounding leaves less.
        amplified = _amplified(_precoded_rows(draw, h), sum(one))
        rounding = _ROUNDINGS * amplified * torch.finfo(precoded.real.dtype).eps
        bound = _OWN_FLOOR[precision] + min(_REFINED, rounding)
        yield "x_precoded", float(error / size) / bound

    return deviations


_FILTERS = draws(solvers=("exact", "cached", "auto", "model"))
_TRIPLETS = draws(
    solvers=("exact", "cached", "auto", "model", "numpy_svd", "library_svd"), num_cells=1
)
_ANY = draws(solvers=("exact", "cached", "model"), num_cells=1)
BLOCKS = {
    "ZFPrecoder": Comparison(precoder, _FILTERS, 0.2),
    "ZFPrecodedChannel": Comparison(precoded_channel, _FILTERS, 0.2),
    "CBFPrecodedChannel": Comparison(matched_channel, _FILTERS, 0.02),
    "EyePrecodedChannel": Comparison(antenna_channel, _FILTERS, 0.01),
    "MMSEEqualizer": Comparison(equalizer, _FILTERS, 0.2),
    "MMSEDetector": Comparison(detector, _FILTERS, 0.15),
    "ZFEqualizer": Comparison(plain_equalizer("ZFEqualizer", forces=True), _FILTERS, 0.03),
    "MFEqualizer": Comparison(plain_equalizer("MFEqualizer", forces=False), _FILTERS, 0.03),
    "LinearDetector": Comparison(linear_detector, _FILTERS, 0.03),
    "LMMSEPostEqualizationSINR": Comparison(sinr, _FILTERS, 0.03),
    "KBestDetector": Comparison(
        joint_detector("KBestDetector", "bit", "streams", 6, "pair", "qam", 4), _FILTERS, 0.01
    ),
    "EPDetector": Comparison(
        joint_detector("EPDetector", "bit", "pair", 4, floor=_DIFFERENCE), _FILTERS, 0.01
    ),
    "MMSEPICDetector": Comparison(
        joint_detector("MMSEPICDetector", "bit", "maxlog", "pair", 2, "qam", 4, prior=True),
        _FILTERS,
        0.01,
    ),
    "MaximumLikelihoodDetector": Comparison(
        joint_detector("MaximumLikelihoodDetector", "bit", "app", "pair", "qam", 4), _FILTERS, 0.01
    ),
    "MaximumLikelihoodDetectorWithPrior": Comparison(
        joint_detector(
            "MaximumLikelihoodDetectorWithPrior", "bit", "app", "pair", "qam", 4, prior=True
        ),
        _FILTERS,
        0.01,
    ),
    "SVDBeamformer, SVDCombiner": Comparison(svd, _TRIPLETS, 0.1),
    "BDPrecoder": Comparison(own(BDPrecoder, noisy=False), _ANY, 0.01),
    "SLNRPrecoder": Comparison(own(SLNRPrecoder, noisy=True), _ANY, 0.01),
    "WMMSEPrecoder": Comparison(own(WMMSEPrecoder, noisy=True, fickle=True), _ANY, 0.002),
    "MaxMinPrecoder": Comparison(own(MaxMinPrecoder, noisy=True), _ANY, 0.008),
}


def _solver(draw: Draw, model: nm.ScenarioModel) -> Solver:
    ways: dict[str, Callable[[], Solver]] = {
        "exact": nm.Exact,
        "cached": lambda: Cached(nm.Exact()),
        "auto": lambda: Auto(model, 1),
        "model": lambda: model,
        "numpy_svd": NumPySVD,
        "library_svd": LibrarySVD,
    }
    return ways[draw.solver]()


def _zero_forcing(draw: Draw) -> bool:
    """Whether a precoder has no regularisation: as many antennas as streams, at least."""
    return draw.errors == "none" and draw.num_rows <= draw.num_antennas


def _given(draw: Draw, h: Tensor) -> Tensor:
    return draw.laid(draw.cast(h))


def _stream_powers(draw: Draw, h: Tensor, num_streams: int = 0) -> Tensor:
    """Powers of the streams, of all dimensions that Sionna takes or the first ones."""
    sizes = (h.shape[0], draw.num_cells, num_streams or draw.num_rows, *h.shape[5:])
    return draw.cast(draw.uniform(*sizes[: 2 + draw.seed % 4], stream=5))


def _symbols(draw: Draw, num_tx: int, num_streams: int) -> Tensor:
    """[batch_size, num_tx, num_streams, num_ofdm_symbols, fft_size], or one for all."""
    return draw.normal(_num(draw, 0), num_tx, num_streams, _num(draw, 1), _num(draw, 2), stream=3)


def _num(draw: Draw, axis: int) -> int:
    ones: Ones = draw.signal_ones
    one = (ones.item, ones.symbol, ones.subcarrier)[axis]
    return 1 if one else (draw.num_items, draw.num_symbols, draw.fft_size)[axis]


def _alpha(draw: Draw, num_tx: int, *, leading: bool = False) -> Tensor | float:
    """Regularisation [batch_size, num_tx, num_ofdm_symbols, fft_size], or of fewer.

    :param leading: whether its dimensions may be the first ones only
    """
    whole = (draw.num_items, num_tx, draw.num_symbols, draw.fft_size)
    if draw.noise == "one":
        return draw.variance
    sizes = {"items": whole[:1], "more": (*whole[:1], 1, *whole[2:3]), "all": whole}[draw.noise]
    if not leading:
        sizes = (*sizes, *(1,) * (4 - len(sizes)))
    return draw.cast(draw.variance * (0.5 + draw.uniform(*sizes, stream=4)))


def _roomy(draw: Draw) -> Draw:
    """With as many antennas as streams of a cell, at least."""
    return replace(draw, num_antennas=max(draw.num_antennas, draw.num_rows))


def _few(draw: Draw, *, alone: bool) -> Draw:
    """In double precision, with few streams and antennas enough.

    :param alone: whether there is one cell
    """
    few = replace(
        draw,
        num_users=1 + draw.num_users % 2,
        num_streams=1,
        num_cells=1 if alone else draw.num_cells,
        precision="double",
        given="same",
    )
    return _roomy(few)


def _received(
    draw: Draw, *, zeros: bool = True
) -> tuple[Tensor, Tensor, Tensor | float, Tensor | float]:
    """y, h_hat, err_var and no of a receiver.

    :param zeros: as of :meth:`Draw.channel`
    """
    grid, _ = draw.uplink()
    effective = torch.as_tensor(grid.effective_subcarrier_ind.astype(np.int64))
    h = draw.channel(draw.channel_ones, zeros=zeros).permute(0, 3, 4, 1, 2, 5, 6)
    h = h if draw.channel_ones.subcarrier else h[..., effective]
    h = _given(draw, h)
    level = max(draw.scale, draw.variance**0.5)
    sizes = (_num(draw, 0), draw.num_cells, draw.num_antennas, _num(draw, 1), draw.fft_size)
    y = draw.cast(level * draw.normal(*sizes, stream=3))
    along: dict[str, tuple[int, ...]] = {
        "one": (),
        "symbols": (h.shape[-2], 1),
        "subcarriers": (h.shape[-1],),
        "all": tuple(h.shape),
    }
    err_var: Tensor | float = 0.0
    if draw.errors != "none":
        err_var = draw.cast(draw.variance * draw.uniform(*along[draw.errors], stream=6))
    among = {"one": (), "items": sizes[:1], "more": sizes[:2], "all": sizes[:3]}[draw.noise]
    no = draw.cast(draw.variance * (0.5 + draw.uniform(*among, stream=7)))
    return y, h, err_var, no


def _precoded_rows(draw: Draw, h: Tensor) -> Tensor:
    """Rows of each cell [..., num_rows, num_antennas] of a precoder's channel."""
    own = h.flatten(1, 2).unflatten(1, (draw.num_cells, -1)).diagonal(dim1=1, dim2=3)
    # [num_items, num_rows, num_antennas, num_symbols, fft_size, num_cells]
    return own.movedim((1, 2), (-2, -1))


def _received_rows(h: Tensor) -> Tensor:
    """Rows of all streams at each cell [..., num_rows, num_antennas] of a receiver's channel."""
    return h.flatten(3, 4).movedim((2, 3), (-1, -2))


def _own_rows(draw: Draw, h: Tensor) -> Tensor:
    """Rows of the streams that each cell wants, likewise."""
    rows = _received_rows(h).unflatten(-2, (draw.num_cells, -1))
    # [num_items, num_cells, num_symbols, subcarriers, num_cells, num_rows, num_antennas]
    return rows.diagonal(dim1=1, dim2=4).movedim(-1, 1)


def _errors(draw: Draw, err_var: Tensor | float) -> Tensor | float:
    """Estimation errors of all streams together."""
    return err_var * (draw.num_cells * draw.num_rows)


def _floor(a: Tensor, *powers: Tensor | float) -> float:
    """What is allowed in single precision: rounding as a Gram matrix amplifies it, and a little.

    :param powers: noise, which differs between the least of the first and the sum of the largest
    """
    least, most = float(torch.as_tensor(powers[0]).min()), 0.0
    for power in powers:
        most += float(torch.as_tensor(power).max())
    amplified = max(_amplified(double(a), no) for no in (least, most))
    rounding = _ROUNDINGS * amplified * torch.finfo(torch.float32).eps
    return FLOOR + min(_REFINED, rounding)


def _amplified(a: Tensor, no: float) -> float:
    """By how much roundings grow at most, in some row of some matrix."""
    gram = a @ a.mH + no * torch.eye(a.shape[-2], dtype=torch.float64)
    own = gram.diagonal(dim1=-2, dim2=-1).real.clamp_min(torch.finfo(torch.float64).tiny)
    unit = gram / (own[..., :, None] * own[..., None, :]).sqrt()
    inverse, info = torch.linalg.inv_ex(unit)
    if not bool((info == 0).any()):
        return torch.inf
    # Of the gain (A A^H X)_kk, too, which is small where others bury a user in the noise.
    terms = ((unit - torch.diag_embed(no / own)) * inverse.mT).real
    buried = (terms.abs().sum(-1) / terms.sum(-1).abs()).nan_to_num(0)
    worst = torch.maximum(inverse.diagonal(dim1=-2, dim2=-1).real, buried)
    return float(worst[info == 0].max())


def _called(draw: Draw, block: Any, *inputs: Any) -> Any:
    """What a block answers, at its first call or after one with another channel."""
    if draw.before:
        block(inputs[0], inputs[1] * 1.5, *inputs[2:])
    return block(*inputs)


def _both(block: Callable[[Any], Any]) -> Callable[..., tuple[Any, Any]]:
    """What Sionna's block answers in single and in double precision."""

    def call(*inputs: Any) -> tuple[Any, Any]:
        try:
            # What some of them compile takes seconds for each shape.
            with torch.compiler.set_stance("force_eager"):
                right = block("double")(*(_tensor(double(one)) for one in inputs))
                return block("single")(*(single(_tensor(one)) for one in inputs)), right
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            raise RefusedError(str(error)) from error

    return call


def _tensor(value: Any) -> Any:
    """Sionna's equalizer takes tensors only."""
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, float) else value


def _all(
    draw: Draw,
    names: tuple[str, ...],
    found: Any,
    expected: tuple[Any, Any],
    dims: tuple[tuple[int, ...] | None, ...],
    floor: float,
) -> Deviations:
    """Deviations of all outputs."""
    ours, theirs, right = (v if isinstance(v, tuple) else (v,) for v in (found, *expected))
    for name, mine, other, true, along in zip(names, ours, theirs, right, dims, strict=False):
        along = along or tuple(range(true.dim()))
        yield name, over(mine, other, true, along, draw.precision, floor)


def over(
    ours: Tensor,
    theirs: Tensor,
    right: Tensor,
    dims: tuple[int, ...],
    precision: str,
    floor: float,
) -> float:
    """The largest error of ours, over the bound that theirs in single precision gives.

    Errors are norms along ``dims`` over those of ``right``, which is in double precision; entries
    where that is no number are left out, if ours are none or infinite.

    :param floor: what is allowed in single precision whatever the error of theirs
    """
    if (
        ours.shape != right.shape
        or ours.dtype != (theirs if precision == "single" else right).dtype
    ):
        return torch.inf
    known = right.isfinite()
    if bool((~ours.isfinite() & known).any()):
        return torch.inf
    true = torch.where(known, right, 0)
    size = torch.linalg.vector_norm(true, dim=dims).clamp_min(torch.finfo(torch.float64).tiny)
    mine, other = (
        torch.linalg.vector_norm(torch.where(known, one, 0).to(true.dtype) - true, dim=dims) / size
        for one in (ours, theirs)
    )
    other = other.nan_to_num(torch.inf)
    if precision == "single":
        bound = TIMES * other + floor
    else:
        other = torch.where(other > _LOST, torch.inf, _PROPORTION * other)
        bound = TIMES * other + _DOUBLE_FLOOR
    return float((mine / bound).nan_to_num(0).max())
