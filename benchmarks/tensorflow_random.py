"""Every TensorFlow block on drawn grids, channels, noise and shapes, against Sionna 1.2.

    python -m benchmarks.tensorflow_random [--examples 10000] [--seed 10000] [--model FOLDER]

Run beside Sionna 1.2 (``make .venv-tensorflow/.installed``). Half of the examples are in single
precision: there a block may err ten times as far as Sionna's own block does in single precision,
plus 1e-5 (3e-4 for users in nearly one place), from what Sionna's computes in double. In double
precision both round, Sionna's block by what its single precision tells, unless that has lost the
result: a thousand times its error there, in units of double precision, plus 1e-9. Where a
difference is larger, 50 digits tell who is right: more streams than antennas in little noise leave
few of Sionna's digits even in double precision. Sionna has no singular vectors: NumPy's
decomposition takes its place, and 1e-3 that of 1e-5. With ``--model``, the folder of a model of
several users such as ``tests_tensorflow.make_references`` writes, blocks are asked for the links of
that model, too, and for what is nearly one.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LinearDetector, LMMSEEqualizer, ResourceGrid, RZFPrecoder

from neumatc_mimo.tensorflow import (
    Exact,
    MMSEDetector,
    MMSEEqualizer,
    ScenarioModel,
    Solver,
    SVDBeamformer,
    SVDCombiner,
    ZFPrecoder,
)
from neumatc_mimo.tensorflow.in_precision import InPrecision

Array = NDArray[Any]
Row = dict[str, Any]

FOLDER = Path(__file__).parent / "results/random"
BLOCKS = ("ZFPrecoder", "MMSEEqualizer", "MMSEDetector", "SVDBeamformer", "SVDCombiner")
# Of single precision, and of double: times Sionna's error in single precision, and a floor. Where
# single precision has lost the result no one knows how little double precision leaves of it.
_LOST = 0.1
_BOUNDS = {"single": (10.0, 1e-5), "double": (1e3 * 2.0**-29, 1e-9)}
# Of neighbours rounding leaves less.
_NEIGHBOURS = {"single": (10.0, 3e-4), "double": (_BOUNDS["double"][0], 1e-8)}
_SINGULAR = _BOUNDS | {"single": (10.0, 1e-3)}
# What 40 dB leave of a queried answer, of all streams together.
_CERTIFIED = 2e-2
_TIMES = ("constant", "one symbol", "hopping", "resource block", "last symbol", "every symbol")


@dataclass(frozen=True)
class Case:
    """What is drawn; random numbers come from ``seed``.

    :param block: its name
    :param precision: "single" or "double"
    :param grid: arguments of the resource grid
    :param items: numbers of items of x or y, of h, and of what else there is
    :param symbols: numbers of OFDM symbols of x or y, and of alpha
    :param users: rows of a channel
    :param antennas: at the base station
    :param cells: base stations, each with as many users, who hear or disturb all
    :param time: how the channel varies over the OFDM symbols
    :param scale: gain of the channel
    :param levels: of each user in dB below the strongest
    :param near: relative distance of each user but the first from the one before, or None
    :param no: noise power over that of the channel
    :param kind: how noise or errors vary
    :param real: whether what is sent or received is real
    """

    seed: int
    block: str
    precision: str
    grid: dict[str, Any]
    items: tuple[int, int, int]
    symbols: tuple[int, int]
    users: int
    antennas: int
    cells: int
    time: str
    scale: float
    levels: tuple[float, ...]
    near: tuple[float | None, ...]
    no: float
    kind: str
    real: bool

    @property
    def bound(self) -> tuple[float, float]:
        """Times Sionna's error in single precision, and a floor."""
        alone = all(apart is None for apart in self.near)
        return (_BOUNDS if alone else _NEIGHBOURS)[self.precision]

    @property
    def rg(self) -> ResourceGrid:
        return ResourceGrid(subcarrier_spacing=30e3, **self.grid)

    @property
    def sizes(self) -> tuple[int, int]:
        """OFDM symbols and subcarriers."""
        return self.grid["num_ofdm_symbols"], self.grid["fft_size"]

    @property
    def gains(self) -> Array:
        return self.scale * 10 ** (-np.array(self.levels) / 20)

    def noise(self, *shape: int, stream: int) -> Array:
        """Complex Gaussian samples of unit power."""
        pair = np.random.default_rng([self.seed, stream]).normal(size=(2, *shape)) / np.sqrt(2)
        value: Array = pair[0] + 1j * pair[1]
        return value

    def channel(self, num_items: int, num_rx: int, num_subcarriers: int) -> Array:
        """[num_items, num_rx, users, antennas, symbols, num_subcarriers]"""
        num_symbols = self.sizes[0]
        first = self.noise(
            num_items, num_rx, len(self.gains), self.antennas, 1, num_subcarriers, stream=1
        )
        for user, apart in enumerate(self.near, start=1):
            if apart is not None:
                first[:, :, user] = first[:, :, user - 1] + apart * first[:, :, user]
        if self.time == "one symbol":
            h = first
        else:
            h = np.repeat(first, num_symbols, axis=-2)
            vary(h, self.time, self.noise(*h.shape, stream=2), self.seed)
        return h * self.gains[:, None, None, None]


def vary(h: Array, how: str, other: Array, seed: int) -> None:
    """Change some OFDM symbols of h [..., users, antennas, symbols, subcarriers]."""
    draw = np.random.default_rng([seed, 3])
    symbol, user = (int(draw.integers(h.shape[dim])) for dim in (-2, -4))
    if how == "hopping":
        h[..., symbol:, :] = np.roll(h, 1, axis=-4)[..., symbol:, :] * 1j
    elif how == "resource block":
        size = min(12, h.shape[-1])
        start = int(draw.integers(h.shape[-1] // size)) * size
        h[..., user, :, symbol, start : start + size] *= draw.choice([-1, 0.3, 1e-3])
    elif how == "last symbol":
        h[..., -1, :] = other[..., -1, :]
    elif how == "every symbol":
        h[:] = other


def drawn(seed: int, block: str) -> Case:
    """The case of a seed."""
    draw = np.random.default_rng([seed, BLOCKS.index(block)])

    def one_of(*values: Any) -> Any:
        return values[int(draw.integers(len(values)))]

    is_svd = block.startswith("SVD")
    users, antennas = int(draw.integers(1, 5)), int(draw.integers(1, 9))
    if is_svd:
        users, antennas = min(users, antennas), max(users, antennas)
    cells = one_of(1, 1, 1, 2) if not is_svd else 1
    num_symbols, fft_size = one_of(1, 2, 3, 4), one_of(1, 5, 12, 24, 24)
    grid: dict[str, Any] = {"num_ofdm_symbols": num_symbols, "fft_size": fft_size}
    if fft_size > 5:
        guards = (int(draw.integers(3)), int(draw.integers(3)))
        grid |= {"num_guard_carriers": guards, "dc_null": one_of(True, False)}
    uplink = block.startswith("MMSE")
    num_streams = 1 if uplink else users
    grid |= {"num_tx": users * cells if uplink else cells, "num_streams_per_tx": num_streams}
    pilots = num_symbols > 1 and fft_size > 12 and one_of(True, False)
    if is_svd:
        grid["num_streams_per_tx"] = int(draw.integers(1, users + 1))
    # Orthogonal pilots need a subcarrier of their own for each stream.
    if pilots:
        grid |= {"pilot_pattern": "kronecker", "pilot_ofdm_symbol_indices": [1]}
        streams = grid["num_tx"] * grid["num_streams_per_tx"]
        width = fft_size - sum(grid["num_guard_carriers"]) - grid["dc_null"]
        if width % streams:
            del grid["pilot_pattern"], grid["pilot_ofdm_symbol_indices"]
    several = int(draw.integers(2, 4))
    items = tuple(one_of(1, several) for _ in range(3))
    symbols = (one_of(1, num_symbols, num_symbols), one_of(1, num_symbols))
    how = one_of(*_TIMES)
    if uplink and how == "one symbol" and block == "MMSEEqualizer":
        how = "constant"  # Sionna's equalizer takes no channel of one symbol
    levels: Array = np.zeros(users * cells)
    if one_of(True, False):
        levels = draw.uniform(0, 120, users * cells)
    no = 10.0 ** draw.uniform(-12, 6)
    if block == "ZFPrecoder" and users <= antennas and one_of(True, False, False):
        no = 0.0
    kind, real = one_of("one", "one", "items", "all"), bool(draw.random() < 0.1)
    near: list[float | None] = [None] * (users * cells - 1)
    if one_of(True, False):
        near = [one_of(None, 0.0, 10.0 ** draw.uniform(-6, -1)) for _ in near]
    # Nearer ones have neither zero forcing nor streams of their own in any precision.
    least = 1e-3 if is_svd else 0.0 if no else 1e-6
    near = [None if apart is None else max(apart, least) for apart in near]
    return Case(
        seed,
        block,
        one_of("single", "double"),
        grid,
        items,
        symbols,
        users,
        antennas,
        cells,
        how,
        10.0 ** draw.uniform(-12, 12),
        tuple((levels - levels.min()).tolist()),
        tuple(near),
        no,
        kind,
        real,
    )


@dataclass
class Outcome:
    """What a comparison found.

    :param excess: largest deviation over its bound
    :param judged: likewise of what 50 digits give, where that of Sionna's double precision is more
    """

    excess: float = 0.0
    judged: Outcome | None = None

    def add(
        self,
        ours: Any,
        theirs: Any,
        right: Any,
        axes: Sequence[int],
        bound: tuple[float, float],
        *,
        leakage: float = 0.0,
    ) -> None:
        """Deviations are norms along some axes, relative to those of what is right.

        :param bound: times the deviation of ``theirs``, and a floor
        :param leakage: of each entry, absolute
        """
        times, floor = bound
        in_double = times < 1
        ours, theirs, right = (np.asarray(z).astype(np.complex128) for z in (ours, theirs, right))
        if ours.shape != right.shape:
            raise ValueError(f"ours has the shape {ours.shape}, Sionna's {right.shape}.")
        with np.errstate(all="ignore"):
            size = np.maximum(_norms(right, axes), 1e-300)
            mine, other = _norms(ours - right, axes) / size, _norms(theirs - right, axes) / size
            if in_double:
                other = np.where(other > _LOST, math.inf, other)
            most = times * np.nan_to_num(other, nan=math.inf) + floor
            most += leakage * _norms(np.ones_like(right), axes) / size
            excess = np.where(np.isnan(mine), math.inf, mine) / most
            # Where Sionna's double precision has no result there is nothing to compare with.
            excess = np.where(np.isfinite(size), np.nan_to_num(excess, nan=0.0), 0.0)
        self.excess = max(self.excess, float(excess.max()))


def _norms(z: Array, axes: Sequence[int]) -> Array:
    """Norms along axes, of numbers whose squares may be beyond double precision."""
    largest = np.maximum(np.abs(z).max(tuple(axes), keepdims=True), 1e-300)
    norm: Array = np.sqrt((np.abs(z / largest) ** 2).sum(tuple(axes), keepdims=True)) * largest
    return norm


def compare(case: Case) -> Outcome:
    """Compare our block with Sionna's on the inputs of a case."""
    ways: dict[str, Callable[[Case], Outcome]] = {
        "ZFPrecoder": _precoder,
        "MMSEEqualizer": _equalizer,
        "MMSEDetector": _detector,
        "SVDBeamformer": _beamformer,
        "SVDCombiner": _combiner,
    }
    return ways[case.block](case)


def _precoder(case: Case) -> Outcome:
    fft_size = case.sizes[1]
    association = np.kron(np.eye(case.cells), np.ones([case.users, 1]))
    sm, rg = StreamManagement(association, case.users), case.rg
    x = case.noise(case.items[0], case.cells, case.users, case.symbols[0], fft_size, stream=4)
    x = x.real if case.real else x
    # [items, users, 1, cells, antennas, symbols, subcarriers]
    h = case.channel(case.items[1], case.cells, fft_size).swapaxes(1, 2)[:, :, None]
    shape = {
        "one": (),
        "items": (case.items[2], 1, 1, 1),
        "all": (case.items[2], case.cells, case.symbols[1], fft_size),
    }[case.kind]
    share = np.random.default_rng(case.seed).random(shape)
    alpha = np.asarray(case.no * case.scale**2 * (0.5 + share))
    ours = ZFPrecoder(rg, sm, Exact(), True, case.precision)
    inputs = (x, h, alpha)
    results = _all(ours, partial(RZFPrecoder, rg, sm, True), inputs, case.precision)
    outcome, bound = Outcome(), case.bound
    for number, parts in enumerate(zip(*results, strict=True)):
        # Precoded symbols together, the effective channel for each user.
        axes = [axis for axis in range(parts[2].ndim) if axis != 1 or number == 0]
        outcome.add(*parts, axes, bound)
    if outcome.excess > 1:
        outcome.judged = Outcome()
        exact = _exact_precoding(case, x, h, alpha, results[2][1].shape, ours._effective)
        for number, parts in enumerate(zip(*results[:2], exact, strict=True)):
            axes = [axis for axis in range(parts[2].ndim) if axis != 1 or number == 0]
            outcome.judged.add(*parts, axes, bound)
    return outcome


def _exact_precoding(
    case: Case, x: Array, h: Array, alpha: Array, shape: Sequence[int], effective: Array
) -> list[Array]:
    """Precoded symbols and effective channels by 50 digits."""
    x, h = (z.astype(np.complex64).astype(np.complex128) for z in (x, h))
    power = (
        alpha.astype(np.float32).astype(np.float64).reshape(*(1,) * (4 - alpha.ndim), *alpha.shape)
    )
    own = np.broadcast_shapes((len(h), *h.shape[-2:]), (len(power), *power.shape[2:]))
    h = np.broadcast_to(h, (own[0], *h.shape[1:5], *own[1:]))
    power = np.broadcast_to(power, (own[0], case.cells, *own[1:]))
    # [items, cells, symbols, subcarriers, antennas, users]
    filters = np.empty((own[0], case.cells, *own[1:], case.antennas, case.users), np.complex128)
    for index in np.ndindex(filters.shape[:-2]):
        b, cell, n, f = index
        rows = h[b, cell * case.users : (cell + 1) * case.users, 0, cell, :, n, f]
        filters[index] = exactly(rows, power[index])
    precoded = np.einsum("bcnfmk,bcknf->bcmnf", *_broadcast(filters, x))
    seen = np.einsum("bucmnf,bcnfmk->bucknf", h[:, :, 0], filters)[:, :, None]
    return [precoded, seen[..., effective].reshape(shape)]


def _broadcast(filters: Array, x: Array) -> tuple[Array, Array]:
    """Filters [items, cells, symbols, subcarriers, ...] and x of as many of them."""
    sizes = (0, 1, 3, 4)
    whole = np.broadcast_shapes(filters.shape[:4], tuple(x.shape[dim] for dim in sizes))
    of_x = (whole[0], whole[1], x.shape[2], *whole[2:])
    return np.broadcast_to(filters, (*whole, *filters.shape[4:])), np.broadcast_to(x, of_x)


def exactly(rows: Array, alpha: float) -> Array:
    """The precoder of one subcarrier, columns of unit norm, by 50 digits."""
    with mpmath.workdps(50):
        a = mpmath.matrix(rows.tolist())
        system = a * a.H + mpmath.mpf(float(alpha)) * mpmath.eye(a.rows)
        w = a.H * mpmath.inverse(system)
        for k in range(w.cols):
            norm = mpmath.sqrt(sum(abs(w[m, k]) ** 2 for m in range(w.rows)))
            for m in range(w.rows):
                w[m, k] = w[m, k] / norm if norm else w[m, k]
        found: Array = np.array(w.tolist(), dtype=np.complex128)
    return found


def _exact_symbols(
    case: Case, rg: ResourceGrid, sm: StreamManagement, inputs: Sequence[Array]
) -> list[Array]:
    """Equalized symbols and their noise by 50 digits."""
    block = MMSEEqualizer(rg, sm, Exact(), precision="double")
    y, h, err_var, no = _narrowed(*inputs)
    items, num = max(len(y), len(h)), (case.sizes[0], int(rg.num_effective_subcarriers))
    errors = np.broadcast_to(err_var, h.shape).sum((3, 4))
    y = y[..., block._effective]
    no = no.reshape(*no.shape, *(1,) * (5 - no.ndim))
    power = np.broadcast_to(errors + no, (items, case.cells, case.antennas, *num))
    y = np.broadcast_to(y, (items, case.cells, case.antennas, *num))
    h = h[:, :, :, :, 0]
    h = np.broadcast_to(h, (items, *h.shape[1:4], *num))
    # [items, cells, users, symbols, subcarriers]
    x_hat = np.empty((items, case.cells, case.users, *num), np.complex128)
    no_eff = np.empty(x_hat.shape)
    for b, cell, n, f in np.ndindex(items, case.cells, *num):
        own = slice(cell * case.users, (cell + 1) * case.users)
        given = (y[b, cell, :, n, f], h[b, cell, :, :, n, f], power[b, cell, :, n, f], own)
        x_hat[b, cell, :, n, f], no_eff[b, cell, :, n, f] = equalized(*given)
    return [block._data_symbols(tf.constant(z)).numpy() for z in (x_hat, no_eff)]


def equalized(y: Array, h: Array, power: Array, own: slice) -> tuple[Array, Array]:
    """Symbols of some users and their noise on one subcarrier, by 50 digits.

    :param h: [antennas, users]
    :param power: of noise and errors, [antennas]
    """
    with mpmath.workdps(50):
        a, received = mpmath.matrix(h.tolist()), mpmath.matrix(y.tolist())
        system = a * a.H + mpmath.diag([mpmath.mpf(float(p)) for p in power])
        filters = a.H * mpmath.inverse(system)
        gains, symbols = filters * a, filters * received
        x_hat = [symbols[k] / gains[k, k] for k in range(a.cols)]
        no_eff = [mpmath.re(1 / gains[k, k] - 1) for k in range(a.cols)]
        return np.array(x_hat, np.complex128)[own], np.array(no_eff, np.float64)[own]


def _uplink(case: Case) -> tuple[ResourceGrid, StreamManagement, tuple[Array, ...]]:
    """What both receivers get."""
    rg = case.rg
    num_effective, fft_size = int(rg.num_effective_subcarriers), case.sizes[1]
    sm = StreamManagement(np.kron(np.eye(case.cells), np.ones([1, case.users])), 1)
    draw = np.random.default_rng([case.seed, 7])
    # [items, cells, antennas, users, 1, symbols, subcarriers]
    h = case.channel(case.items[1], case.cells, num_effective)
    h = h.swapaxes(2, 3)[:, :, :, :, None]
    level = max(float(case.gains.max()), case.no**0.5 * case.scale)
    # Sionna takes no symbol for several where the channel has one, too.
    symbols = case.symbols[0] if h.shape[-2] > 1 else case.sizes[0]
    y = level * case.noise(case.items[0], case.cells, case.antennas, symbols, fft_size, stream=4)
    y = y.real if case.real else y
    power = case.no * case.scale**2
    errors: dict[str, tuple[int, ...]] = {
        "one": (),
        "items": (case.items[1], *[1] * 6),
        "all": h.shape,
    }
    err_var = power * draw.integers(0, 2) * draw.random(errors[case.kind])
    powers = {"one": (), "items": (case.items[0],), "all": y.shape[:3]}
    no = power * (0.5 + draw.random(powers[case.kind]))
    return rg, sm, (y, h, np.asarray(err_var), np.asarray(no))


def _equalizer(case: Case) -> Outcome:
    rg, sm, inputs = _uplink(case)
    ours = MMSEEqualizer(rg, sm, Exact(), precision=case.precision)
    results = _all(ours, partial(LMMSEEqualizer, rg, sm), inputs, case.precision)
    outcome, bound = Outcome(), case.bound
    for mine, single, right in zip(*results, strict=True):
        outcome.add(mine, single, right, (0, 2, 3), bound)
    if outcome.excess > 1:
        outcome.judged = Outcome()
        exact = _exact_symbols(case, rg, sm, inputs)
        for mine, single, right in zip(*results[:2], exact, strict=True):
            outcome.judged.add(mine, single, right, (0, 2, 3), bound)
    return outcome


def _detector(case: Case) -> Outcome:
    rg, sm, inputs = _uplink(case)
    draw = np.random.default_rng([case.seed, 8])
    output = ("bit", "symbol")[int(draw.integers(2))]
    method = ("app", "maxlog")[int(draw.integers(2))]
    settings: tuple[Any, ...] = (output, method, rg, sm)
    qam = ("qam", 2 * int(draw.integers(1, 3)))
    make: Any = MMSEDetector
    ours = make(*settings, Exact(), *qam, precision=case.precision)
    theirs = partial(LinearDetector, "lmmse", *settings, *qam)
    (mine,), (single,), (right,) = _all(ours, theirs, inputs, case.precision)
    outcome = Outcome()
    axes = [axis for axis in range(right.ndim) if axis != 1]
    outcome.add(mine, single, right, axes, case.bound)
    if outcome.excess > 1:
        outcome.judged = Outcome()
        symbols = (tf.constant(z) for z in _exact_symbols(case, rg, sm, inputs))
        wide = make(*settings, Exact(), *qam, precision="double")
        exact = wide._demapper(*symbols).numpy()
        outcome.judged.add(mine, single, exact, axes, case.bound)
    return outcome


def _all(
    ours: Callable[..., Any],
    theirs: Callable[[], Any],
    inputs: Sequence[Array],
    precision: str,
) -> tuple[list[Array], list[Array], list[Array]]:
    """Outputs of ours, and of Sionna's block in single and in double precision."""
    narrow = [z.astype(np.complex64 if np.iscomplexobj(z) else np.float32) for z in inputs]
    # What single precision gets is what double precision computes with.
    wide = [z.astype(np.complex128 if np.iscomplexobj(z) else np.float64) for z in narrow]
    found = ours(*(narrow if precision == "single" else wide))
    single, double = (
        InPrecision(theirs, name)(*(tf.constant(z) for z in given))
        for name, given in (("single", narrow), ("double", wide))
    )
    return _listed(found), _listed(single), _listed(double)


def _narrowed(*inputs: Array) -> list[Array]:
    """What single precision has of inputs, in double precision."""
    kinds = [np.iscomplexobj(z) for z in inputs]
    narrow = [
        z.astype(np.complex64 if c else np.float32) for z, c in zip(inputs, kinds, strict=True)
    ]
    return [
        z.astype(np.complex128 if c else np.float64) for z, c in zip(narrow, kinds, strict=True)
    ]


def _listed(outputs: Any) -> list[Array]:
    return [z.numpy() for z in (outputs if isinstance(outputs, tuple) else (outputs,))]


def _downlink(case: Case) -> tuple[ResourceGrid, StreamManagement, Array]:
    """What beams and combiners get: h [items, 1, rows, 1, antennas, symbols, subcarriers]."""
    h = case.channel(case.items[1], 1, case.sizes[1])[:, :, :, None]
    streams = case.grid["num_streams_per_tx"]
    return case.rg, StreamManagement(np.ones([1, 1]), streams), h


def _triplets(h: Array, num_streams: int, *, exact: bool = False) -> tuple[Array, Array, Array]:
    """The strongest ones of h [..., rows, antennas] by NumPy, or by 50 digits, in the gauge of our
    blocks.
    """
    if exact:
        u, s, v = _by_digits(h)
    else:
        u, s, vh = np.linalg.svd(h, full_matrices=False)
        v = vh.conj().swapaxes(-1, -2)
    u, s, v = (z[..., :num_streams] for z in (u, s, v))
    index = np.arange(v.shape[-2])
    chirp = np.exp(-1j * np.pi * index**2 / len(index)).astype(v.dtype)
    overlap = (chirp[:, None] * v).sum(-2)
    phase = (overlap.conj() / np.abs(overlap))[..., None, :]
    return u * phase, s, v * phase


def _by_digits(h: Array) -> tuple[Array, Array, Array]:
    """All triplets of wide matrices by 50 digits."""
    *batch, num_rows, num_cols = h.shape
    u = np.empty((*batch, num_rows, num_rows), np.complex128)
    s, v = np.empty((*batch, num_rows)), np.empty((*batch, num_cols, num_rows), np.complex128)
    with mpmath.workdps(50):
        for index in np.ndindex(*batch):
            a = mpmath.matrix(h[index].tolist())
            values, vectors = mpmath.eighe(a * a.H)
            for column, k in enumerate(reversed(range(num_rows))):
                size = mpmath.sqrt(abs(values[k]))
                right = a.H * vectors[:, k] / size
                u[index][:, column] = [complex(z) for z in vectors[:, k]]
                v[index][:, column] = [complex(z) for z in right]
                s[index][column] = float(size)
    return u, s, v


def _beamformer(case: Case) -> Outcome:
    rg, sm, h = _downlink(case)
    streams = case.grid["num_streams_per_tx"]
    x = case.noise(case.items[0], 1, streams, case.symbols[0], case.sizes[1], stream=4)

    def others(x: Array, h: Array, *, exact: bool = False) -> list[Array]:
        _, _, v = _triplets(h[:, 0, :, 0].transpose(0, 3, 4, 1, 2), streams, exact=exact)
        sent = (v @ x[:, 0].transpose(0, 2, 3, 1)[..., None])[..., 0]
        return [sent.transpose(0, 3, 1, 2)[:, None]]

    ours = SVDBeamformer(rg, sm, Exact(), precision=case.precision)
    return _singular(case, ours, others, (x, h), (0, 1, 2, 3, 4))


def _combiner(case: Case) -> Outcome:
    rg, sm, h = _downlink(case)
    streams, (num_symbols, fft_size) = case.grid["num_streams_per_tx"], case.sizes
    y = case.noise(case.items[0], 1, case.users, case.symbols[0], fft_size, stream=4)
    y *= max(float(case.gains.max()), case.no**0.5 * case.scale)
    shape = (max(case.items[:2]), 1, case.users) if case.kind == "all" else ()
    draw = np.random.default_rng([case.seed, 7])
    no = np.asarray(case.no * case.scale**2 * (0.5 + draw.random(shape)))
    ours = SVDCombiner(rg, sm, Exact(), precision=case.precision)

    def others(y: Array, h: Array, no: Array, *, exact: bool = False) -> list[Array]:
        matrix = h[:, 0, :, 0].transpose(0, 3, 4, 1, 2)
        u, s, v = _triplets(matrix, streams, exact=exact)
        filters = u.conj().swapaxes(-1, -2) / s[..., None]
        x_hat = (filters @ y[:, 0].transpose(0, 2, 3, 1)[..., None])[..., 0]
        noise = no if no.ndim == 0 else no[:, 0, None, None, None]
        no_eff = ((np.abs(filters) * np.sqrt(noise)) ** 2).sum(-1)
        if not exact:
            # What leaks between the streams counts as noise.
            leak = filters @ matrix @ v - np.eye(streams, dtype=matrix.dtype)
            no_eff = no_eff + (np.abs(leak) ** 2).sum(-1)
        whole = (max(len(y), len(h)), num_symbols, fft_size, streams)
        parts = (np.broadcast_to(z, whole) for z in (x_hat, no_eff))
        return [
            ours._data_symbols(z.transpose(0, 3, 1, 2)[:, None][..., ours._effective]).numpy()
            for z in parts
        ]

    return _singular(case, ours, others, (y, h, no), (0, 2, 3))


def _singular(
    case: Case,
    ours: Callable[..., Any],
    others: Callable[..., list[Array]],
    inputs: Sequence[Array],
    axes: Sequence[int],
) -> Outcome:
    """Compare a block of singular vectors with what ``others`` makes of the same inputs."""
    kinds = [np.complex64 if np.iscomplexobj(z) else np.float32 for z in inputs]
    narrow = [z.astype(kind) for z, kind in zip(inputs, kinds, strict=True)]
    wide, bound = _narrowed(*inputs), _SINGULAR[case.precision]
    found = _listed(ours(*(narrow if case.precision == "single" else wide)))
    single = others(*narrow)

    def compared(right: list[Array]) -> Outcome:
        outcome = Outcome()
        for number, parts in enumerate(zip(found, single, right, strict=True)):
            # The power that leaks between streams counts as noise, and is real.
            outcome.add(*parts, axes, bound, leakage=number * bound[1] ** 2)
        return outcome

    outcome = compared(others(*wide))
    if outcome.excess > 1:
        outcome.judged = compared(others(*wide, exact=True))
    return outcome


@dataclass
class Tally:
    """All examples of a block.

    :param judged: how many were more than the bound from Sionna's double precision
    :param beyond: seeds of those that are from 50 digits, too
    :param excess: largest deviation over its bound
    """

    examples: int = 0
    judged: int = 0
    beyond: list[int] = field(default_factory=list)
    excess: float = 0.0

    def add(self, seed: int, outcome: Outcome) -> None:
        self.examples += 1
        if outcome.judged is not None:
            self.judged += 1
            outcome = outcome.judged
        self.excess = max(self.excess, outcome.excess)
        if not outcome.excess <= 1:
            self.beyond.append(seed)

    def row(self, block: str, reference: str) -> Row:
        return {
            "block": block,
            "against": reference,
            "examples": self.examples,
            "judged by 50 digits": self.judged,
            "beyond the bound": len(self.beyond),
            "largest deviation over its bound": self.excess,
        }


def model_case(model: ScenarioModel, seed: int, precision: str) -> Iterator[tuple[str, Outcome]]:
    """Zero forcing and MMSE of a model's links, and of what is nearly one."""
    draw = np.random.default_rng([seed, 99])
    links = model.models["pseudo_inverse"].links
    num, users = 2, links.num_rows
    a = links.channel(links.grid_frequencies(), draw.integers(links.num_links, size=num).tolist())
    # [num, users, antennas, symbols, subcarriers]
    h = np.repeat(a.astype(np.complex128).transpose(0, 2, 3, 1)[..., None, :], 2, axis=-2)
    h *= np.exp(2j * np.pi * draw.random([num, users, 1, 1, 1])) * 10 ** draw.uniform(-6, 6)
    h = np.take(h, draw.permutation(users), axis=1)
    if draw.random() < 0.3:
        h *= 10 ** draw.uniform(-3, 0, [num, users, 1, 1, 1])
    other = np.random.default_rng([seed, 2]).normal(size=(*h.shape, 2)) @ [1, 1j]
    how = ("constant", "constant", *_TIMES[2:])[int(draw.integers(6))]
    vary(h, how, other * np.abs(h).max(), seed)
    level = float(np.sqrt(np.mean(np.abs(h) ** 2)))
    no = np.asarray(level**2 * 10 ** draw.uniform(-4, 0))
    settings: dict[str, Any] = {"num_ofdm_symbols": 2, "fft_size": links.fft_size}
    settings |= {"subcarrier_spacing": links.subcarrier_spacing}
    rg, sm = (
        ResourceGrid(num_streams_per_tx=users, **settings),
        StreamManagement(np.ones([users, 1]), users),
    )
    x = draw.normal(size=(num, 1, users, 2, links.fft_size, 2)) @ [1, 1j]
    down = h[:, :, None, None]
    inputs = (x, down) if draw.random() < 0.5 else (x, down, no)
    theirs: Callable[[], Any] = partial(RZFPrecoder, rg, sm)
    yield "ZFPrecoder", _near(_cached(ZFPrecoder, rg, sm, model, precision), theirs, inputs)
    rg, sm = ResourceGrid(num_tx=users, **settings), StreamManagement(np.ones([1, users]), 1)
    y = level * draw.normal(size=(num, 1, links.num_cols, 2, links.fft_size, 2)) @ [1, 1j]
    up = h.swapaxes(1, 2)[:, None, :, :, None]
    theirs = partial(LMMSEEqualizer, rg, sm)
    block = _cached(MMSEEqualizer, rg, sm, model, precision)
    yield "MMSEEqualizer", _near(block, theirs, (y, up, np.zeros([]), no))


_KEPT: dict[Any, Any] = {}


def _cached(
    kind: Any, rg: ResourceGrid, sm: StreamManagement, model: Solver, precision: str
) -> Any:
    """A block of the model: what it looks at is the same in all cases."""
    key = (kind, id(model), precision)
    if key not in _KEPT:
        _KEPT[key] = kind(rg, sm, model, precision=precision)
    return _KEPT[key]


def _near(block: Any, theirs: Callable[[], Any], inputs: Sequence[Array]) -> Outcome:
    """Deviations of all streams together; the certificate is their bound."""
    found, single, double = _all(block, theirs, inputs, block.precision)
    outcome = Outcome()
    for parts in zip(found, single, double, strict=True):
        outcome.add(*parts, list(range(parts[2].ndim)), (0.0, _CERTIFIED))
    return outcome


def run(examples: int, seed: int, model: ScenarioModel | None) -> list[Row]:
    """The rows of the table."""
    shares = dict.fromkeys(BLOCKS, 0.16) | {"ZFPrecoder": 0.26, "MMSEEqualizer": 0.26}
    rows = []
    for block in BLOCKS:
        tally, begun = Tally(), time.perf_counter()
        for number in range(max(1, round(shares[block] * examples))):
            case = drawn(seed + number, block)
            tally.add(case.seed, compare(case))
        reference = "NumPy" if block.startswith("SVD") else "Sionna 1.2"
        rows.append(tally.row(block, reference))
        _say(block, tally, time.perf_counter() - begun)
    if model is not None:
        tallies = {"ZFPrecoder": Tally(), "MMSEEqualizer": Tally()}
        for number in range(max(1, examples // 20)):
            precision = ("single", "double")[number % 2]
            for block, outcome in model_case(model, seed + number, precision):
                tallies[block].add(seed + number, outcome)
        for block, tally in tallies.items():
            rows.append(tally.row(f"{block}, a model's links", "Sionna 1.2"))
            _say(f"{block}, a model's links", tally, 0.0)
    return rows


def _say(block: str, tally: Tally, seconds: float) -> None:
    beyond = f"{tally.judged} judged, {len(tally.beyond)} beyond, seeds {tally.beyond[:20]}"
    text = f"{block}: {tally.examples}, {beyond}, {tally.excess:.2g} ({seconds:.0f} s)"
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    # It needs PyTorch, which the blocks and what is drawn do without.
    from neumatc_mimo.bench.sheet import Sheet, origin, origin_line

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tensorflow_random",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--examples", type=int, default=10_000)
    # Others than those that the tests draw.
    parser.add_argument("--seed", type=int, default=10_000)
    parser.add_argument("--model", type=Path, help="folder of a model of several users")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    arguments = parser.parse_args()
    model = None if arguments.model is None else ScenarioModel.load(arguments.model)
    source = origin("benchmarks/tensorflow_random.py") | {"seed": arguments.seed}
    source["versions"] |= {name: version(name) for name in ("tensorflow", "sionna")}
    begun = time.perf_counter()
    rows = run(arguments.examples, arguments.seed, model)
    caption = (
        "Drawn grids, gains from 1e-12 to 1e12, noise from 0 to 1e6 times the channel's power, "
        "users up to 120 dB apart or in nearly one place, hopping users, single resource blocks, "
        "guards, pilots, shapes that are broadcast, more streams than antennas, both precisions; "
        "the bound is ten times the error of the other's own single precision plus 1e-5 in single "
        "precision (3e-4 for users in nearly one place, 1e-3 for singular vectors), what double "
        "precision leaves of it plus 1e-9 in double, and 2e-2 for a model's links."
    )
    sheet = Sheet("tensorflow", "TensorFlow's blocks, drawn at random", caption, rows)
    sheet.seconds = time.perf_counter() - begun
    arguments.output.mkdir(parents=True, exist_ok=True)
    sheet.write(arguments.output, source)
    print(f"{sheet.markdown()}\n{origin_line(source)}")


if __name__ == "__main__":
    main()
