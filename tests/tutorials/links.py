"""What the tutorials' links share: whose blocks stand in them, their code, and what is compared.

A link is a function of the blocks in it, Eb/N0 and a seed, and is called once with Sionna's blocks
and once with ours. Bits, channels and noise depend on the seed alone and are drawn, sent and
decoded in double precision: whatever differs comes from the blocks that are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from sionna.phy import config, ofdm
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Demapper, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid, ResourceGridMapper
from sionna.phy.utils import ebnodb2no
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import blocks

DOUBLE: dict[str, Any] = {"precision": "double"}
# Blocks that have another name here.
_NAMES = {"LMMSEEqualizer": "MMSEEqualizer", "RZFPrecoder": "ZFPrecoder"}


@dataclass(frozen=True)
class Blocks:
    """Whose blocks stand in a link.

    :param solver: of ours; `None` for Sionna's
    :param precision: "single" or "double"
    :param rounds: whether a block's inputs are rounded to single precision
    """

    solver: Any = None
    precision: str = "double"
    rounds: bool = False

    def make(self, name: str, *arguments: Any, **options: Any) -> Block:
        """A block by the name and with the arguments that it has in Sionna."""
        library: Any = ofdm
        if self.solver is not None:
            library, name = blocks, _NAMES.get(name, name)
            after = [isinstance(one, StreamManagement) for one in arguments].index(True) + 1
            arguments = (*arguments[:after], self.solver, *arguments[after:])
        made = getattr(library, name)(*arguments, **options, precision=self.precision)
        return Block(made, "single" if self.rounds else self.precision, self.precision)


@dataclass(frozen=True)
class Block:
    """A block of any precision in a link in double precision.

    :param given: precision to which inputs are rounded
    :param precision: in which the block works
    """

    block: Any
    given: str
    precision: str

    def __call__(self, *inputs: Any) -> Any:
        rounded = (_cast(one, self.given) for one in inputs)
        found = self.block(*(_cast(one, self.precision) for one in rounded))
        if isinstance(found, tuple):
            return tuple(_cast(one, "double") for one in found)
        return _cast(found, "double")


def _cast(value: Any, precision: str) -> Any:
    """Numbers in a precision; whole numbers and what is no tensor as they are."""
    if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
        return value
    real = torch.float32 if precision == "single" else torch.float64
    return value.to(real.to_complex() if value.is_complex() else real)


def resource_grid(**settings: Any) -> ResourceGrid:
    """A resource grid whose pilots are the same each time: Sionna draws those of a Kronecker
    pattern with its seed.
    """
    seed, config.seed = config.seed, 0
    try:
        return ResourceGrid(**settings, **DOUBLE)
    finally:
        config.seed = seed


class Code:
    """Information bits to resource grids, and back from log-likelihood ratios.

    :param num_bits: of a symbol
    :param options: of the decoder
    """

    def __init__(
        self, grid: ResourceGrid, num_bits: int, rate: float = 0.5, **options: Any
    ) -> None:
        self.grid, self.num_bits, self.rate = grid, num_bits, rate
        n = int(grid.num_data_symbols) * num_bits
        self.encoder = LDPC5GEncoder(int(n * rate), n, num_bits_per_symbol=num_bits, **DOUBLE)
        self.decoder = LDPC5GDecoder(self.encoder, **{"num_iter": 10, **options}, **DOUBLE)
        self.demapper = Demapper("app", "qam", num_bits, **DOUBLE)
        self._mapper = Mapper("qam", num_bits, **DOUBLE)
        self._place = ResourceGridMapper(grid, **DOUBLE)

    def noise_power(self, ebno_db: float) -> Tensor:
        no: Tensor = ebnodb2no(ebno_db, self.num_bits, self.rate, self.grid, **DOUBLE)
        return no

    def send(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Bits, and [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size]."""
        shape = [batch_size, self.grid.num_tx, self.grid.num_streams_per_tx, self.encoder.k]
        bits = BinarySource(**DOUBLE)(shape)
        return bits, self._place(self._mapper(self.encoder(bits)))


@dataclass(frozen=True)
class Slot:
    """What a link makes of a slot.

    :param outputs: of the blocks that are compared, by what they are
    :param words: sent and decoded bits, [..., length of a word], by what they are
    :param signs: outputs whose sign decides bits, and the bits that were sent, by what these are
    :param condition: number of the matrices that are inverted, the largest, where it is known
    """

    outputs: dict[str, Tensor]
    words: dict[str, tuple[Tensor, Tensor]]
    signs: dict[str, tuple[str, Tensor]] = field(default_factory=dict)
    condition: float | None = None


# Eb/N0 in dB and a seed to a slot that has been drawn, of which blocks then make something.
Link = Callable[[float, int], Callable[[Blocks], Slot]]

THEIRS, OURS, SINGLE = Blocks(), Blocks(nm.Exact()), Blocks(nm.Exact(), "single")


@dataclass(frozen=True)
class Room:
    """How far outputs may be from those of Sionna in double precision, relative to the largest.

    :param double: for ours in double precision
    :param blocks: what are off for the same reason as ours in single precision,
    :param factor: and how many times as far ours may be
    :param swapped: how many values of an output may be any in single precision
    """

    double: float
    blocks: Blocks
    factor: float
    swapped: int = 0


# Sionna in double precision, of which each input is rounded to single precision: how well a result
# is determined by its inputs. An algorithm rounds at every step, too, and one with a Gram matrix
# squares the condition number; what was measured is 50 times as far at most, of channels whose Gram
# matrices have condition numbers of a hundred.
ROUNDING = Room(1e-9, Blocks(rounds=True), 100.0)
# Expectation propagation takes the difference of two precisions, of which one is up to 1e12 in
# double and 1e6 in single precision: what is left of it is off by that many roundings, in Sionna's
# as in ours.
CANCELLATION = Room(1e-5, Blocks(precision="single"), 10.0)

# Of a Hermitian system of 4 streams that is built of 8 antennas and solved in single precision,
# relative to its condition number: a rounding for each. Up to 5 were measured.
_SOLVED = 12 * 2**-24


def condition(h: Tensor, noise: Tensor, plus: Tensor | float = 1.0) -> float:
    """The largest condition number of ``plus`` I + Hᴴ H / ``noise``, or of H Hᴴ for fewer rows.

    :param h: [..., num_rows, num_cols]
    """
    powers = torch.linalg.svdvals(h / noise.sqrt()[..., None, None]).square()
    return float(((powers[..., 0] + plus) / (powers[..., -1] + plus)).max())


def swapping(num_ratios: int) -> Room:
    """For a search that keeps the k best of its candidates, with ratios of each resource element.

    Where the last one that is kept and the first that is not are as near to the received symbol as
    single precision tells, either may be kept. Of 210 slots of 1728 searches each, two had a
    resource element with other ratios in Sionna's own single precision, and one in ours; two
    resource elements of a slot are allowed.
    """
    return replace(ROUNDING, swapped=2 * num_ratios)


def same_curves(link: Link, ebno_dbs: Sequence[float], seed: int, room: Room = ROUNDING) -> None:
    """Sionna's blocks and ours in double precision decide alike, bit by bit, and the outputs of
    ours in either precision are as near to Sionna's as `room` says, in single precision as the
    condition number says where a link has one. In single precision, too,

    - a bit that is decided by the sign of an output is another one only where that output is
      smaller than the deviation that it may have;
    - the same words are lost, and all others are the same. What a decoder leaves of a lost word,
      which fits no code word, may turn with any rounding.
    """
    rates: dict[str, list[float]] = {}
    for ebno_db in ebno_dbs:
        slot = link(ebno_db, seed)
        theirs, ours, single = slot(THEIRS), slot(OURS), slot(SINGLE)
        if theirs.condition is None:
            like = _deviations(slot(room.blocks), theirs, room.swapped)
            bounds = {name: room.factor * one for name, one in like.items()}
        else:
            bounds = dict.fromkeys(theirs.outputs, _SOLVED * theirs.condition)
        for name, deviation in _deviations(ours, theirs).items():
            assert deviation < room.double, f"{ebno_db} dB, {name}: {deviation:.1e}"
        for name, deviation in _deviations(single, theirs, room.swapped).items():
            where = f"{ebno_db} dB, {name}: {deviation:.1e}, {bounds[name]:.1e}"
            assert deviation < bounds[name], where
        for name, (sent, expected) in theirs.words.items():
            where = f"{ebno_db} dB, {name}"
            assert torch.equal(sent, ours.words[name][0]), where
            assert torch.equal(expected, ours.words[name][1]), where
            same_words(sent, expected, single.words[name][1], where)
            rates.setdefault(name, []).append(float((sent != expected).double().mean()))
        for name, (output, sent) in theirs.signs.items():
            expected, found = theirs.outputs[output], single.outputs[output]
            doubtful = expected.abs() < bounds[output] * expected.abs().max()
            turned = (found > 0) != (expected > 0)
            assert int((turned & ~doubtful).sum()) <= room.swapped, f"{ebno_db} dB, {name}"
            wrong = ((expected > 0).to(sent.dtype) != sent).double().mean()
            rates.setdefault(name, []).append(float(wrong))
    for name, curve in rates.items():
        falls(name, curve)


def same_as_certified(link: Link, solver: Any, ebno_dbs: Sequence[float], seed: int) -> None:
    """The same words are lost with what a trained model answers, and outputs are within the 40 dB
    of its certificates.
    """
    rates = []
    for ebno_db in ebno_dbs:
        slot = link(ebno_db, seed)
        theirs, found = slot(THEIRS), slot(Blocks(solver, "single"))
        for name, deviation in _deviations(found, theirs).items():
            assert deviation < 1e-2, f"{ebno_db} dB, {name}: {deviation:.1e}"
        for name, (sent, expected) in theirs.words.items():
            same_words(sent, expected, found.words[name][1], f"{ebno_db} dB, {name}")
            rates.append(float((sent != expected).double().mean()))
    falls("words", rates)


def same_words(sent: Tensor, expected: Tensor, found: Tensor, where: str) -> None:
    """The same words are lost, and the others are right in both."""
    lost = [(sent != one).any(-1) for one in (expected, found)]
    assert torch.equal(*lost), where


def falls(name: str, curve: Sequence[float]) -> None:
    """There is something to decide at the begin of a curve, and less to its end."""
    assert curve[0] > 0 and all(a >= b for a, b in pairwise(curve)), f"{name}: {curve}"
    assert curve[0] > curve[-1], f"{name}: {curve}"


def _deviations(found: Slot, expected: Slot, but: int = 0) -> dict[str, float]:
    """Of each output, relative to its largest entry, but for as many that deviate most."""
    assert found.outputs.keys() == expected.outputs.keys()
    deviations = {}
    for name, one in expected.outputs.items():
        assert found.outputs[name].shape == one.shape, name
        away = (found.outputs[name] - one).abs().flatten()
        deviations[name] = float(away.topk(but + 1).values[-1] / one.abs().max())
    return deviations
