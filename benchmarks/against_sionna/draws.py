"""What is drawn: grids, channels, noise and how tensors lie in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import PilotPattern, ResourceGrid
from torch import Tensor

_SPACING = 30e3
# Rows that are nearer than that have no zero forcing in double precision either.
_LEAST_APART = 1e-6
_DOUBLE = {torch.complex64: torch.complex128, torch.float32: torch.float64}
_SINGLE = {double: single for single, double in _DOUBLE.items()}


@dataclass(frozen=True)
class Ones:
    """Whether a tensor has one item, one OFDM symbol, one subcarrier for all."""

    item: bool
    symbol: bool
    subcarrier: bool


@dataclass(frozen=True)
class Draw:
    """All that is drawn; random numbers come from ``seed``.

    :param num_cells: base stations, of ``num_users`` users each, of ``num_streams`` antennas each
    :param scale: gain of the channel
    :param levels: dB of rows below the strongest one, in turn
    :param near: relative distances of rows, in turn, from the row above them; None for rows of
        their own. Rows at a distance of zero are those of users in one place
    :param silent: number of a row whose channel is zero, or None
    :param no: noise power, error variance or α over the channel's power
    :param time: how the channel changes over the OFDM symbols
    :param place: of what changes in a part of the band and the slot, from 0 to 1
    :param signal_ones: of the symbols, sent or received
    :param channel_ones: of the channel
    :param noise: along which axes noise powers differ
    :param errors: along which axes error variances differ
    :param layout: of the channel in memory
    :param given: precision of the inputs, and whether they are real
    :param precision: of the block
    :param before: whether the block has been called before, with another channel
    :param solver: of the block
    """

    seed: int
    num_cells: int
    num_users: int
    num_streams: int
    num_antennas: int
    num_items: int
    num_symbols: int
    fft_size: int
    guards: tuple[int, int]
    dc_null: bool
    pilots: str
    scale: float
    levels: tuple[float, ...]
    near: tuple[float | None, ...]
    silent: int | None
    no: float
    time: str
    place: tuple[float, float, float]
    signal_ones: Ones
    channel_ones: Ones
    noise: str
    errors: str
    layout: str
    given: str
    precision: str
    before: bool
    solver: str

    @property
    def num_rows(self) -> int:
        """Streams of one base station."""
        return self.num_users * self.num_streams

    @property
    def crowded(self) -> bool:
        """With more streams than antennas."""
        return self.num_cells * self.num_rows > self.num_antennas

    def normal(self, *shape: int, stream: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * self.seed + stream)
        return torch.randn(shape, dtype=torch.complex128, generator=generator)

    def uniform(self, *shape: int, stream: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * self.seed + stream)
        return torch.rand(shape, dtype=torch.float64, generator=generator)

    @property
    def variance(self) -> float:
        """Noise power of at least what double precision tells from a singular matrix."""
        no = max(self.no, 1e-3) if self.crowded else self.no
        # Sionna's blocks round a Python number to single precision, ours with them.
        return float(np.float32(no * self.scale**2))

    def grid(self, num_tx: int, num_streams: int) -> ResourceGrid:
        """The resource grid; pilots are those that fit."""
        low, high = self.guards if self.fft_size > 12 else (0, 0)
        dc_null = self.dc_null and self.fft_size > 3
        num_effective = self.fft_size - dc_null - low - high
        settings: dict[str, Any] = {
            "num_tx": num_tx,
            "num_streams_per_tx": num_streams,
            "num_guard_carriers": (low, high),
            "dc_null": dc_null,
        }
        fit = num_effective % (num_tx * num_streams) == 0 and self.num_symbols > 1
        if self.pilots == "kronecker" and fit:
            settings |= {"pilot_pattern": "kronecker", "pilot_ofdm_symbol_indices": [0]}
        if self.pilots == "scattered" and num_effective > 3:
            shape = (num_tx, num_streams, self.num_symbols * num_effective)
            share = shape[2] // 4
            where = self.uniform(*shape, stream=50).argsort(-1)[..., :share]
            mask = torch.zeros(shape, dtype=torch.bool).scatter_(-1, where, True)
            mask = mask.unflatten(-1, (self.num_symbols, -1))
            pilots = torch.ones(*shape[:2], share, dtype=torch.complex64)
            settings |= {"pilot_pattern": PilotPattern(mask, pilots)}
        return ResourceGrid(self.num_symbols, self.fft_size, _SPACING, **settings)

    def downlink(self) -> tuple[ResourceGrid, StreamManagement]:
        """Each cell serves its own users."""
        association = np.kron(np.eye(self.num_cells), np.ones([self.num_users, 1]))
        streams = StreamManagement(association, self.num_rows)
        return self.grid(self.num_cells, self.num_rows), streams

    def uplink(self) -> tuple[ResourceGrid, StreamManagement]:
        """Each cell hears all users and wants its own."""
        association = np.kron(np.eye(self.num_cells), np.ones([1, self.num_users]))
        streams = StreamManagement(association, self.num_streams)
        return self.grid(self.num_cells * self.num_users, self.num_streams), streams

    def channel(self, ones: Ones, *, zeros: bool = True, stream: int = 1) -> Tensor:
        """[num_items, num_users, num_streams, num_cells, num_antennas, num_symbols, fft_size] of
        all users, in double precision, with one item, symbol or subcarrier as ``ones`` tell.

        :param zeros: whether rows may be zero, or equal another one
        """
        items = 1 if ones.item else self.num_items
        symbols = 1 if ones.symbol else self.num_symbols
        subcarriers = 1 if ones.subcarrier else self.fft_size
        num_rows = self.num_cells * self.num_rows
        h = self.normal(
            items, num_rows, self.num_cells, self.num_antennas, 1, subcarriers, stream=stream
        )
        h = self._neighbours(h, zeros)
        gains = self._gains(num_rows, zeros)[:, None, None, None, None]
        if self.time == "view":
            h = (gains * h).expand(*h.shape[:4], symbols, -1)
        else:
            h = gains * self._in_time(h.repeat(1, 1, 1, 1, symbols, 1), zeros, stream)
        return h.unflatten(1, (-1, self.num_streams))

    def _neighbours(self, h: Tensor, zeros: bool) -> Tensor:
        """Rows [num_items, num_rows, ...], some of them near the one above."""
        rows = [h[:, 0]]
        for number in range(1, h.shape[1]):
            row, near = h[:, number], self.near[number % len(self.near)]
            if near is not None:
                row = rows[-1] + (near if zeros else max(near, _LEAST_APART)) * row
            rows.append(row)
        return torch.stack(rows, 1)

    def _gains(self, num_rows: int, zeros: bool) -> Tensor:
        """[num_rows]"""
        levels = torch.tensor(self.levels, dtype=torch.float64).repeat(num_rows)[:num_rows]
        if self.crowded:
            levels = levels % 20
        gains = self.scale * 10 ** (-(levels - levels.min()) / 20)
        if zeros and self.silent is not None:
            gains[self.silent % num_rows] = 0
        return gains

    def _in_time(self, h: Tensor, zeros: bool, stream: int) -> Tensor:
        """Rows [num_items, num_rows, ..., num_symbols, subcarriers] that change in the slot."""
        symbols, subcarriers = h.shape[-2:]
        first, low, row = (
            int(place * size)
            for place, size in zip(self.place, (symbols, subcarriers, h.shape[1]), strict=True)
        )
        part = h[..., first:, low : low + 12]
        if self.time == "one symbol":
            h[..., first, :] += self.normal(*h.shape[:-2], subcarriers, stream=stream + 100)
        elif self.time == "every symbol":
            h += 0.3 * self.normal(*h.shape, stream=stream + 100)
        elif self.time == "turned":
            part.neg_()
        elif self.time == "one row turned":
            part[:, row].neg_()
        elif self.time == "faded":
            part[:, row].mul_(1e-2)
        elif self.time == "muted" and zeros:
            part[:, row].zero_()
        elif self.time == "hopping":
            h[..., first:, : subcarriers // 2] = h[..., first:, : subcarriers // 2].roll(1, 1)
        elif self.time == "one antenna":
            h[:, row, :, -1, first:] *= 1j
        return h

    def laid(self, h: Tensor) -> Tensor:
        """The same values, another way in memory."""
        if self.layout == "permuted":
            order = self.uniform(h.dim(), stream=60).argsort().tolist()
            back = np.argsort(order).tolist()
            return h.permute(order).contiguous().permute(back)
        if self.layout == "strided":
            return torch.stack([h, torch.full_like(h, math.nan)], -1)[..., 0]
        if self.layout == "conjugated":
            return h.conj_physical().conj() if h.is_complex() else h
        return h if self.time == "view" else h.contiguous()

    def cast(self, value: Tensor, *, complex_valued: bool = True) -> Tensor:
        """An input in the precision that it is given in.

        :param complex_valued: False for what Sionna wants as complex numbers never
        """
        if self.given == "real" and complex_valued and value.is_complex():
            value = value.real
        precision = self.precision if self.given in ("real", "same") else self.given
        return single(value) if precision == "single" else value


def single(value: Any) -> Any:
    """A tensor in single precision."""
    return value.to(_SINGLE.get(value.dtype, value.dtype)) if isinstance(value, Tensor) else value


def double(value: Any) -> Any:
    """A tensor in double precision."""
    return value.to(_DOUBLE.get(value.dtype, value.dtype)) if isinstance(value, Tensor) else value


_POWERS = st.just(1.0) | st.floats(-12, 12).map(lambda exponent: 10.0**exponent)
_NOISE = st.floats(-12, 6).map(lambda exponent: 10.0**exponent)
_LEVELS = st.just((0.0,)) | st.lists(st.floats(0, 120), min_size=2, max_size=4).map(tuple)
# Independent of the noise: it may or may not tell neighbours apart.
_APART = st.none() | st.just(0.0) | st.floats(-6, -1).map(lambda exponent: 10.0**exponent)
_NEAR = st.just((None,)) | st.lists(_APART, min_size=2, max_size=4).map(tuple)
_ONES = st.just(Ones(False, False, False)) | st.builds(
    Ones, st.booleans(), st.booleans(), st.booleans()
)
TIMES = [
    *("view", "constant", "one symbol", "every symbol", "turned", "one row turned"),
    *("faded", "muted", "hopping", "one antenna"),
]
LAYOUTS = ["contiguous", "contiguous", "permuted", "strided", "conjugated"]
GIVEN = ["same", "same", "same", "single", "double", "real"]


def draws(*, solvers: tuple[str, ...], num_cells: int = 2) -> st.SearchStrategy[Draw]:
    """All kinds of draws for a block.

    :param solvers: names
    :param num_cells: at most
    """
    return st.builds(
        Draw,
        seed=st.integers(0, 2**24),
        num_cells=st.sampled_from([1, 1, num_cells]),
        num_users=st.integers(1, 4),
        num_streams=st.sampled_from([1, 1, 2]),
        num_antennas=st.integers(1, 10),
        num_items=st.integers(1, 3),
        num_symbols=st.sampled_from([1, 2, 3, 4, 14]),
        fft_size=st.sampled_from([1, 2, 3, 8, 12, 13, 24, 37]),
        guards=st.tuples(st.integers(0, 3), st.integers(0, 3)),
        dc_null=st.booleans(),
        pilots=st.sampled_from(["empty", "kronecker", "scattered"]),
        scale=_POWERS,
        levels=_LEVELS,
        near=_NEAR,
        silent=st.none() | st.none() | st.integers(0, 7),
        no=_NOISE,
        time=st.sampled_from(TIMES),
        place=st.tuples(*[st.floats(0, 0.99) for _ in range(3)]),
        signal_ones=_ONES,
        channel_ones=_ONES,
        noise=st.sampled_from(["one", "items", "more", "all"]),
        errors=st.sampled_from(["none", "one", "symbols", "subcarriers", "all"]),
        layout=st.sampled_from(LAYOUTS),
        given=st.sampled_from(GIVEN),
        precision=st.sampled_from(["single", "single", "double"]),
        before=st.booleans(),
        solver=st.sampled_from(solvers),
    )
