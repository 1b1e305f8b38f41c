"""Link-level simulations built from Sionna's parts, with the matrices from any solver."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from sionna.phy.utils import ebnodb2no, sim_ber
from torch import Tensor

from neumatc_mimo import blocks
from neumatc_mimo.progress import Callback, Callbacks, Event, reported
from neumatc_mimo.scenario.links import LinkKind, LinkSet
from neumatc_mimo.solvers.base import Counts

# A transmission as ``sim_ber`` calls it: bits and decisions of a batch at an Eb/N0 in dB.
Simulated = Callable[[int, float | Tensor], tuple[Tensor, Tensor]]


class Pipeline(ABC):
    r"""One transmission over the links of a link set, callable as ``sim_ber`` expects.

    Batch item i of call c takes link (c batch_size + i) mod num_links. Subcarriers are every
    ``stride``-th of the link set's grid, so that a slot spans the whole band at 1/``stride`` of
    the cost. The noise power follows from Eb/N0, :math:`\sigma^2 = (b\, r\, E_b/N_0)^{-1}` with b
    bits a symbol, code rate r (1 if uncoded) and unit power per symbol and stream.

    Bits, links and noise depend on ``seed``, Eb/N0 and the index of the call at this Eb/N0 alone:
    pipelines that differ in their solver are paired.

    :param links: The links to transmit over
    :param solver: ScenarioModel or any other solver
    :param coded: Whether bits are LDPC coded (5G, rate ``coderate``)
    :param num_bits_per_symbol: Bits of a QAM symbol; the class's ``modulation`` by default
    :param coderate: Code rate; the class's ``modulation`` by default
    :param block_length: Coded bits of a block; blocks are spread evenly over the whole grid
    :param stride: Distance of two simulated subcarriers in subcarriers of the link set
    :param num_ofdm_symbols: OFDM symbols of a slot; the channel is constant over a slot
    :param num_iter: Iterations of the LDPC decoder
    :param seed: Seed of bits and noise

    ``num_blocks`` is the number of blocks of a stream in a slot.

    :input batch_size: Number of slots
    :input ebno_db: Eb/N0 in dB

    :output bits: [batch_size, num_streams, num_blocks, bits per block], `torch.float`
    :output bits_hat: as ``bits``
    """

    kind: ClassVar[LinkKind]
    title: ClassVar[str]
    # Bits per symbol and code rate that put the fall of the curve where links are used.
    modulation: ClassVar[tuple[int, float]] = (4, 0.5)

    def __init__(
        self,
        links: LinkSet,
        solver: Any,
        *,
        coded: bool = True,
        num_bits_per_symbol: int | None = None,
        coderate: float | None = None,
        block_length: int = 540,
        stride: int = 12,
        num_ofdm_symbols: int = 2,
        num_iter: int = 10,
        seed: int = 0,
    ) -> None:
        if links.kind != self.kind:
            raise ValueError(
                f"links are of the kind {links.kind}, {type(self).__name__} needs {self.kind}."
            )
        num_bits_per_symbol = num_bits_per_symbol or self.modulation[0]
        coderate = coderate or self.modulation[1]
        fft_size = self._num_subcarriers(links, stride)
        num_symbols = fft_size * num_ofdm_symbols
        if block_length % num_bits_per_symbol or block_length > num_symbols * num_bits_per_symbol:
            raise ValueError(
                f"block_length is {block_length}, it must be a multiple of {num_bits_per_symbol} "
                f"of at most {num_symbols * num_bits_per_symbol}, the bits of a slot."
            )
        self.links = links
        self.coded = coded
        self._device = str(links.device)
        self._seed = seed
        self._draws = Draws(links, seed)
        self._grid = (num_ofdm_symbols, fft_size)
        self._num_bits_per_symbol = num_bits_per_symbol
        self._coderate = coderate if coded else 1.0
        self._block_length = block_length
        self.num_blocks = num_symbols * num_bits_per_symbol // block_length
        self._spacing = stride * links.subcarrier_spacing
        index = torch.arange(fft_size, dtype=torch.float64, device=links.device)
        # [num_links, fft_size, K, M]: 36 MB for 32 links of 8 x 64 at 273 subcarriers.
        self._h = links.channel((index - fft_size // 2) * self._spacing)
        options: dict[str, Any] = {"precision": "single", "device": self._device}
        self._mapper = Mapper("qam", num_bits_per_symbol, **options)
        self._demapper = Demapper("app", "qam", num_bits_per_symbol, **options)
        if coded:
            self._encoder = LDPC5GEncoder(round(coderate * block_length), block_length, **options)
            self._decoder = LDPC5GDecoder(
                self._encoder, cn_update="boxplus", num_iter=num_iter, hard_out=True, **options
            )
        self._options = options
        self._blocks = self._build(solver)

    @property
    @abstractmethod
    def num_streams(self) -> int:
        """Number of streams of a link."""

    def _num_subcarriers(self, links: LinkSet, stride: int) -> int:
        """Number of subcarriers to simulate."""
        return links.fft_size // stride

    @property
    def ebno_range(self) -> tuple[float, float]:
        """Eb/N0 in dB that a sweep may use."""
        return -20.0, 40.0

    @property
    def stats(self) -> Counts:
        """How the matrices of all blocks came about, accumulated over calls."""
        total = Counts()
        for block in self._blocks:
            total.add(block.stats)
        return total

    @abstractmethod
    def _build(self, solver: Any) -> list[Any]:
        """Make the blocks that take their matrices from ``solver``, and return them."""

    @abstractmethod
    def _transmit(
        self, x: Tensor, h: Tensor, link: Tensor, no: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Log-likelihood ratios of the coded bits of all symbols.

        :param x: [batch_size, num_streams, num_ofdm_symbols, fft_size]
        :param h: [batch_size, fft_size, K, M]
        :param link: [batch_size]
        :param no: Noise power, scalar

        :return: [batch_size, num_streams, num_ofdm_symbols * fft_size * num_bits_per_symbol]
        """

    def noise_power(self, ebno_db: float | Tensor) -> Tensor:
        """Noise power at a receive antenna for this Eb/N0."""
        no: Tensor = ebnodb2no(
            torch.as_tensor(float(ebno_db)),
            self._num_bits_per_symbol,
            self._coderate,
            **self._options,
        )
        return no

    @torch.no_grad()
    def __call__(self, batch_size: int, ebno_db: float | Tensor) -> tuple[Tensor, Tensor]:
        point = float(ebno_db)
        link, generator = self._draws(batch_size, point)

        num_info = round(self._block_length * self._coderate)
        shape = (batch_size, self.num_streams, self.num_blocks)
        bits = self._random_bits((*shape, num_info), generator)
        coded = self._encoder(bits) if self.coded else bits
        # Bits that fill the grid up behind the last block.
        num_used = self.num_blocks * self._block_length
        num_bits = math.prod(self._grid) * self._num_bits_per_symbol
        filling = self._random_bits((*shape[:2], num_bits - num_used), generator)

        symbols = torch.cat([_interleave(self._mapper(coded)), self._mapper(filling)], dim=-1)
        llr = self._transmit(
            symbols.reshape(*symbols.shape[:-1], *self._grid),
            self._h[link],
            link,
            self.noise_power(point),
            generator,
        )
        parts = (-1, self.num_blocks, self._num_bits_per_symbol)
        llr = llr[..., :num_used].reshape(*shape[:2], *parts)
        llr = llr.transpose(-3, -2).flatten(-2)  # [.., num_blocks, block_length]
        bits_hat = self._decoder(llr.contiguous()) if self.coded else (llr > 0).to(bits.dtype)
        return bits, bits_hat

    def _random_bits(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        bits = torch.randint(0, 2, tuple(shape), generator=generator, device=self._device)
        return bits.to(torch.float32)

    def _noise(self, shape: Sequence[int], no: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(
            tuple(shape), dtype=torch.complex64, generator=generator, device=self._device
        )
        return no.sqrt() * noise

    def _resource_grid(self, num_tx: int, num_streams_per_tx: int) -> ResourceGrid:
        return ResourceGrid(
            num_ofdm_symbols=self._grid[0],
            fft_size=self._grid[1],
            subcarrier_spacing=self._spacing,
            num_tx=num_tx,
            num_streams_per_tx=num_streams_per_tx,
            **self._options,
        )

    def _slot(self, h: Tensor) -> Tensor:
        """[batch_size, fft_size, K, M] -> [batch_size, K, M, num_ofdm_symbols, fft_size], a view.

        The zero stride over the symbols tells the blocks that the channel is constant.
        """
        return h.permute(0, 2, 3, 1)[..., None, :].expand(-1, -1, -1, *self._grid)


class MultiUserDownlink(Pipeline):
    """Zero-forcing precoding to K single-antenna users.

    Each user knows its own effective gain and the power of what the other streams leak to it,
    which counts as noise.
    """

    kind = "multi_user"
    title = "downlink zero forcing"

    @property
    def num_streams(self) -> int:
        return self.links.num_rows

    def _build(self, solver: Any) -> list[Any]:
        num_users = self.links.num_rows
        self._precoder = blocks.ZFPrecoder(
            self._resource_grid(1, num_users),
            StreamManagement(np.ones([num_users, 1]), num_users),
            solver,
            return_effective_channel=True,
            **self._options,
        )
        return [self._precoder]

    def _transmit(
        self, x: Tensor, h: Tensor, link: Tensor, no: Tensor, generator: torch.Generator
    ) -> Tensor:
        slot = self._slot(h)[:, :, None, None]  # [.., K, 1, 1, M, num_ofdm_symbols, fft_size]
        x_precoded, h_eff = self._precoder(x[:, None], slot, links=link)
        y = propagate(h, x_precoded[:, 0])
        y = y + self._noise(y.shape, no, generator)
        return self._detect(y, h_eff[:, :, 0, 0], no)

    def _detect(self, y: Tensor, gains: Tensor, no: Tensor) -> Tensor:
        """Log-likelihood ratios at users who know their gains and the power of the leakage.

        :param y: [batch_size, user, num_ofdm_symbols, fft_size]
        :param gains: [batch_size, user, stream, num_ofdm_symbols, fft_size]
        """
        own = gains.diagonal(dim1=1, dim2=2).permute(0, 3, 1, 2)
        power = own.abs().square()
        leakage = (gains.abs().square().sum(2) - power).clamp_min(0)
        x_hat, no_eff = y / own, (no + leakage) / power
        return self._demapper(x_hat.flatten(-2), no_eff.flatten(-2))


class MultiUserUplink(Pipeline):
    """MMSE detection of K single-antenna users; the channel is the downlink's transpose."""

    kind = "multi_user"
    title = "uplink MMSE"
    # Dense, so that the whole fall lies within the noise range that models are trained for.
    modulation = (6, 0.75)

    @property
    def ebno_range(self) -> tuple[float, float]:
        assert self.links.noise_db is not None
        low, high = self.links.noise_db
        unit = 10 * math.log10(self._num_bits_per_symbol * self._coderate)
        return -high - unit, -low - unit

    @property
    def num_streams(self) -> int:
        return self.links.num_rows

    def _build(self, solver: Any) -> list[Any]:
        num_users = self.links.num_rows
        self._detector = blocks.MMSEDetector(
            "bit",
            "app",
            self._resource_grid(num_users, 1),
            StreamManagement(np.ones([1, num_users]), 1),
            solver,
            constellation_type="qam",
            num_bits_per_symbol=self._num_bits_per_symbol,
            **self._options,
        )
        return [self._detector]

    def _transmit(
        self, x: Tensor, h: Tensor, link: Tensor, no: Tensor, generator: torch.Generator
    ) -> Tensor:
        y = propagate(h.mT, x)
        y = (y + self._noise(y.shape, no, generator))[:, None]
        # [batch_size, 1, M, K, 1, num_ofdm_symbols, fft_size]
        h_hat = self._slot(h).transpose(1, 2)[:, None, :, :, None]
        llr: Tensor = self._detector(y, h_hat, torch.zeros((), device=y.device), no, links=link)
        return llr[:, :, 0]


class SingleUserSVD(Pipeline):
    """Beamforming along the strongest singular vectors to one user with K antennas."""

    kind = "single_user"
    title = "single-user SVD"

    @property
    def num_streams(self) -> int:
        return self.links.num_streams or self.links.num_rows

    def _build(self, solver: Any) -> list[Any]:
        grid = self._resource_grid(1, self.num_streams)
        streams = StreamManagement(np.ones([1, 1]), self.num_streams)
        self._beamformer = blocks.SVDBeamformer(grid, streams, solver, **self._options)
        self._combiner = blocks.SVDCombiner(grid, streams, solver, **self._options)
        return [self._beamformer, self._combiner]

    def _transmit(
        self, x: Tensor, h: Tensor, link: Tensor, no: Tensor, generator: torch.Generator
    ) -> Tensor:
        slot = self._slot(h)[:, None, :, None]  # [.., 1, K, 1, M, num_ofdm_symbols, fft_size]
        x_precoded = self._beamformer(x[:, None], slot, links=link)
        y = propagate(h, x_precoded[:, 0])
        y = (y + self._noise(y.shape, no, generator))[:, None]
        x_hat, no_eff = self._combiner(y, slot, no, links=link)
        return self._demapper(x_hat[:, 0], no_eff[:, 0])


PIPELINES: dict[str, type[Pipeline]] = {
    "downlink": MultiUserDownlink,
    "uplink": MultiUserUplink,
    "svd": SingleUserSVD,
}


@dataclass(frozen=True)
class ErrorCurve:
    """Error rates over Eb/N0 in dB; ``num_calls`` is the number of batches behind each point."""

    ebno_dbs: list[float]
    ber: list[float]
    bler: list[float]
    block_errors: list[int]
    num_blocks: list[int]
    num_calls: list[int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def error_curves(
    pipeline_factory: Callable[[Any], Simulated],
    solvers: Mapping[str, Any],
    ebno_dbs: Iterable[float],
    *,
    batch_size: int = 32,
    target_block_errors: int = 100,
    max_calls: int = 1000,
    progress: bool = True,
    callback: Callbacks = None,
) -> dict[str, ErrorCurve]:
    """Simulate the same slots with each solver.

    The first solver stops at ``target_block_errors`` at each point, or after ``max_calls``
    batches; the others then see exactly the batches that it saw.

    :param pipeline_factory: Makes the pipeline of a solver, or any callable as ``sim_ber`` takes
    :param solvers: Solvers by name, the reference first
    :param ebno_dbs: Eb/N0 in dB
    :param batch_size: Slots of a call
    :param target_block_errors: Block errors at which the reference ends a point
    :param max_calls: Most calls at a point
    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Told of every batch: points that are done, Eb/N0 and block errors of the one
        under way; the step is the solver's name

    :return: A curve for each solver
    """
    points = [float(ebno) for ebno in ebno_dbs]
    curves: dict[str, ErrorCurve] = {}
    calls: list[int] | None = None
    with reported(callback, progress) as tell:
        for name, solver in solvers.items():
            curve = _simulate(
                pipeline_factory(solver),
                points,
                batch_size,
                target_block_errors if calls is None else None,
                [max_calls] * len(points) if calls is None else calls,
                partial(_tell_point, tell, name, points),
            )
            calls = calls or curve.num_calls
            curves[name] = curve
            tell(Event(name, len(points), len(points), "points"))
    return curves


def waterfall(
    pipeline: Pipeline,
    *,
    num_points: int = 5,
    batch_size: int = 32,
    high: float = 0.9,
    low: float = 8e-3,
    step_db: float = 4.0,
    progress: bool = True,
    callback: Callbacks = None,
) -> list[float]:
    """Eb/N0 in dB over which the BLER falls from ``high`` to ``low``, by a few calls a step.

    Where the pipeline's ``ebno_range`` ends first, so does the result.

    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Told of every Eb/N0 that is tried, with its block error rate

    :raises ValueError: If no block gets through anywhere in ``ebno_range``
    """
    lowest, highest = pipeline.ebno_range
    ebno_dbs: list[float] = []
    blers: list[float] = []
    with reported(callback, progress) as tell:

        def rate(ebno_db: float) -> float:
            bler = _block_error_rate(pipeline, batch_size, ebno_db)
            tried = len(ebno_dbs) + 1
            tell(Event("finding Eb/N0", tried, metrics={"ebno_db": ebno_db, "bler": bler}))
            return bler

        for ebno_db in [*np.arange(lowest, highest, step_db).tolist(), highest]:
            blers.append(rate(ebno_db))
            ebno_dbs.append(ebno_db)
            if blers[-1] < low:
                break
        if min(blers) >= high:
            raise ValueError(
                f"The block error rate stays above {high} from {lowest:g} to {highest:g} dB, use "
                "fewer bits a symbol."
            )
        # The low end lies between two steps, and the curve is no straight line there.
        for _ in range(2):
            (stop,) = _crossings(ebno_dbs, np.array(blers), np.log10([low]))
            at = int(np.searchsorted(ebno_dbs, stop))
            blers.insert(at, rate(float(stop)))
            ebno_dbs.insert(at, float(stop))
    start, stop = _crossings(ebno_dbs, np.array(blers), np.log10([high, low]))
    return [round(point, 2) for point in np.linspace(start, stop, num_points).tolist()]


def fall(
    pipeline: Pipeline, *, bler: float = 0.1, batch_size: int = 32, num_blocks: int = 1000
) -> float:
    """Eb/N0 in dB at which the BLER is about ``bler``, within a factor of two, by bisection.

    Where the pipeline's ``ebno_range`` ends first, its end. A step takes ``num_blocks`` blocks, or
    a tenth as many errors.
    """
    low, high = pipeline.ebno_range
    middle = low
    while high - low > 0.1:
        rate = _block_error_rate(pipeline, batch_size, middle, num_blocks)
        if bler / 2 < rate < 2 * bler or (middle == low and rate < bler):
            break
        low, high = (middle, high) if rate > bler else (low, middle)
        middle = round((low + high) / 2, 2)
    return middle


def _block_error_rate(
    pipeline: Pipeline, batch_size: int, ebno_db: float, num_blocks: int = 1000
) -> float:
    """Of as many calls as tell a rate: a percent by a thousand blocks, or by a hundred errors."""
    wrong = torch.empty(0)
    while wrong.numel() < num_blocks and wrong.sum() < num_blocks / 10:
        bits, bits_hat = pipeline(batch_size, ebno_db)
        wrong = torch.cat([wrong, (bits != bits_hat).any(-1).float().flatten().cpu()])
    # No error in so many blocks: take half an error, for the logarithm.
    return max(float(wrong.mean()), 0.5 / wrong.numel())


def snr_offset_db(
    curve_a: ErrorCurve,
    curve_b: ErrorCurve,
    bler_range: tuple[float, float] = (1e-2, 0.9),
    *,
    rate: str = "bler",
) -> float:
    """Horizontal distance of two error curves in dB: by how much b lies to the right of a.

    The largest distance over the levels that both curves reach within ``bler_range``, which may
    be an interval of bit error rates if ``rate`` is "ber"; NaN if they share none.
    """
    a, b = (np.asarray(getattr(curve, rate)) for curve in (curve_a, curve_b))
    low = max(bler_range[0], a.min(), b.min(), 1e-12)
    high = min(bler_range[1], a.max(), b.max())
    if low >= high:
        return math.nan
    levels = np.linspace(np.log10(low), np.log10(high), 50)
    offsets = _crossings(curve_b.ebno_dbs, b, levels) - _crossings(curve_a.ebno_dbs, a, levels)
    return float(offsets[np.abs(offsets).argmax()])


def _simulate(
    pipeline: Simulated,
    ebno_dbs: list[float],
    batch_size: int,
    target_block_errors: int | None,
    max_calls: list[int],
    tell: Callable[[int, int], None],
) -> ErrorCurve:
    errors, blocks, calls = ([0] * len(ebno_dbs) for _ in range(3))

    def callback(
        mc_iter: int,
        snr_idx: int,
        ebno_dbs: Tensor,
        bit_errors: Tensor,
        block_errors: Tensor,
        nb_bits: Tensor,
        nb_blocks: Tensor,
    ) -> Any:
        errors[snr_idx] = int(block_errors[snr_idx])
        blocks[snr_idx] = int(nb_blocks[snr_idx])
        calls[snr_idx] = mc_iter + 1
        tell(snr_idx, errors[snr_idx])
        done = mc_iter + 1 >= max_calls[snr_idx]
        return sim_ber.CALLBACK_NEXT_SNR if done else sim_ber.CALLBACK_CONTINUE

    ber, bler = sim_ber(
        pipeline,
        torch.tensor(ebno_dbs, dtype=torch.float64),
        batch_size=batch_size,
        max_mc_iter=max(max_calls),
        num_target_block_errors=target_block_errors,
        early_stop=False,
        verbose=False,
        callback=callback,
        precision="double",  # Eb/N0 is part of the seed: keep what the caller wrote
        device="cpu",
    )
    return ErrorCurve(ebno_dbs, ber.tolist(), bler.tolist(), errors, blocks, calls)


def _tell_point(
    tell: Callback, name: str, ebno_dbs: Sequence[float], index: int, errors: int
) -> None:
    metrics = {"ebno_db": ebno_dbs[index], "block_errors": errors}
    tell(Event(name, index, len(ebno_dbs), "points", metrics))


def _crossings(ebno_dbs: Sequence[float], rates: Any, levels: Any) -> Any:
    """Eb/N0 at which a curve falls to each level, linear between points in log10 of the rate."""
    falling = np.minimum.accumulate(np.log10(np.maximum(rates, 1e-12)))
    return np.interp(levels, falling[::-1], np.asarray(ebno_dbs)[::-1])


class Draws:
    """Links and random numbers of the calls of a simulation.

    Call c at an Eb/N0 takes link (c batch_size + i) mod num_links for item i, and random numbers
    that depend on the seed, Eb/N0 and c alone: the same whatever the solver.

    :param links: The links that take turns
    :param seed: Of the random numbers
    """

    def __init__(self, links: LinkSet, seed: int) -> None:
        self._num_links, self._device, self._seed = links.num_links, str(links.device), seed
        self._calls: Counter[float] = Counter()

    def __call__(self, batch_size: int, ebno_db: float) -> tuple[Tensor, torch.Generator]:
        """Links [batch_size] and generator of the next call at this Eb/N0 in dB."""
        call = self._calls[ebno_db]
        self._calls[ebno_db] += 1
        link = (torch.arange(batch_size) + call * batch_size) % self._num_links
        key = [self._seed, round((ebno_db + 1e3) * 1e4), call]
        state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
        generator = torch.Generator(self._device).manual_seed(int(state >> np.uint64(1)))
        return link.to(self._device), generator


def propagate(h: Tensor, x: Tensor) -> Tensor:
    """y = H x on every subcarrier.

    :param h: [batch_size, fft_size, m, n]
    :param x: [batch_size, n, num_ofdm_symbols, fft_size]

    :return: [batch_size, m, num_ofdm_symbols, fft_size]
    """
    return (h @ x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _interleave(symbols: Tensor) -> Tensor:
    """Spread blocks [..., num_blocks, n] evenly over the grid, [..., n * num_blocks]."""
    return symbols.transpose(-2, -1).flatten(-2)
