"""One transmission over the links of a link set: what all link-level pipelines share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import Demapper, Mapper
from sionna.phy.ofdm import ResourceGrid
from sionna.phy.utils import ebnodb2no
from torch import Tensor

from neumatc_mimo.scenario.links import LinkKind, LinkSet
from neumatc_mimo.simulation.draws import Draws
from neumatc_mimo.solvers.base import Counts

# A transmission as ``sim_ber`` calls it: bits and decisions of a batch at an Eb/N0 in dB.
Simulated = Callable[[int, float | Tensor], tuple[Tensor, Tensor]]


class Pipeline(ABC):
    r"""One transmission over the links of a link set, callable as ``sim_ber`` expects.

    Batch item i of call c takes link (c batch_size + i) mod num_links. Subcarriers are every
    ``stride``-th of the link set's grid, so a slot spans the whole band in 1/``stride`` of the
    time. The noise power follows from Eb/N0, :math:`\sigma^2 = (b\, r\, E_b/N_0)^{-1}` with b bits
    a symbol, code rate r (1 if uncoded) and unit power per symbol and stream.

    Bits, links and noise depend only on ``seed``, Eb/N0 and the index of the call at this Eb/N0. So
    pipelines with different solvers are paired.

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
        num_bits = fft_size * num_ofdm_symbols * num_bits_per_symbol
        if block_length % num_bits_per_symbol or block_length > num_bits:
            whole = num_bits * self._num_subcarriers(links, 1) // max(fft_size, 1)
            raise ValueError(_misfit(block_length, num_bits_per_symbol, num_bits, stride, whole))
        self.links = links
        self.coded = coded
        self._device = str(links.device)
        self._seed = seed
        self._draws = Draws(links, seed)
        self._grid = (num_ofdm_symbols, fft_size)
        self._num_bits_per_symbol = num_bits_per_symbol
        self._coderate = coderate if coded else 1.0
        self._block_length = block_length
        self.num_blocks = num_bits // block_length
        self._spacing = stride * links.subcarrier_spacing
        index = torch.arange(fft_size, dtype=torch.float64, device=links.device)
        # [num_links, fft_size, K, M]: 36 MB for 32 links of 8 x 64 at 273 subcarriers.
        self._h = links.channel((index - fft_size // 2) * self._spacing)
        self._options: dict[str, Any] = {"precision": "single", "device": self._device}
        self._mapper = Mapper("qam", num_bits_per_symbol, **self._options)
        self._demapper = Demapper("app", "qam", num_bits_per_symbol, **self._options)
        if coded:
            self._build_code(num_iter)
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
        """Counts of how the matrices of all blocks were obtained, summed over calls."""
        total = Counts()
        for block in self._blocks:
            total.add(block.stats)
        return total

    def _build_code(self, num_iter: int) -> None:
        """Make the encoder, and the decoder of so many iterations."""
        num_info = round(self._coderate * self._block_length)
        self._encoder = LDPC5GEncoder(num_info, self._block_length, **self._options)
        self._decoder = LDPC5GDecoder(
            self._encoder, cn_update="boxplus", num_iter=num_iter, hard_out=True, **self._options
        )

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


def propagate(h: Tensor, x: Tensor) -> Tensor:
    """y = H x on every subcarrier.

    :param h: [batch_size, fft_size, m, n]
    :param x: [batch_size, n, num_ofdm_symbols, fft_size]

    :return: [batch_size, m, num_ofdm_symbols, fft_size]
    """
    return (h @ x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _misfit(block_length: int, unit: int, num_bits: int, stride: int, whole: int) -> str:
    """What is wrong with the length of a block, and what may help.

    :param num_bits: of a slot on every ``stride``-th subcarrier
    :param whole: of a slot on all of them
    """
    said = (
        f"block_length is {block_length}, it must be a multiple of {unit} of at most {num_bits}, "
        "the bits of a slot"
    )
    if num_bits < block_length <= whole:
        most = max(stride * num_bits // block_length, 1)
        return f"{said} on every {stride}-th subcarrier; lower stride (--stride) to {most}."
    return f"{said}."


def _interleave(symbols: Tensor) -> Tensor:
    """Spread blocks [..., num_blocks, n] evenly over the grid, [..., n * num_blocks]."""
    return symbols.transpose(-2, -1).flatten(-2)
