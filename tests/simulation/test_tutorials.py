"""Sionna's tutorials on its detectors, in small, with our blocks in the place of theirs.

The links are those of "OFDM MIMO channel estimation and detection" and of "Introduction to
iterative detection and decoding": single-antenna users, a base station, LDPC code, QAM, estimated
or perfect channels. Both libraries get the same bits, channels and noise, and double precision:
their decoders then decide alike, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy import config, ofdm
from sionna.phy.channel import OFDMChannel, RayleighBlockFading
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from sionna.phy.mapping import BinarySource, Mapper
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LSChannelEstimator, ResourceGrid, ResourceGridMapper
from sionna.phy.utils import ebnodb2no
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import blocks

USERS, ANTENNAS, BITS, ITEMS, RATE = 2, 4, 4, 4, 0.5
DOUBLE: dict[str, Any] = {"precision": "double"}
PILOTS = {"pilot_pattern": "kronecker", "pilot_ofdm_symbol_indices": [2, 11]}
GRID = ResourceGrid(
    num_ofdm_symbols=14, fft_size=24, subcarrier_spacing=30e3, num_tx=USERS, **PILOTS, **DOUBLE
)
STREAMS = StreamManagement(np.ones([1, USERS]), 1)
# A detector from a library, and what stands between stream management and the other arguments.
Maker = Callable[[Any, tuple[Any, ...]], Any]


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield


class Link:
    """Bits through a channel, as far as the resource grid that a base station receives.

    :param channel: of Sionna
    """

    def __init__(self, channel: Any) -> None:
        num_bits = int(GRID.num_data_symbols) * BITS
        self.encoder = LDPC5GEncoder(
            int(num_bits * RATE), num_bits, num_bits_per_symbol=BITS, **DOUBLE
        )
        self._channel = OFDMChannel(channel, GRID, return_channel=True, **DOUBLE)

    def sent(self, ebno_db: float, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Information bits, y, the channel, and the noise power."""
        config.seed = seed
        no = ebnodb2no(ebno_db, BITS, RATE, GRID, **DOUBLE)
        bits = BinarySource(**DOUBLE)([ITEMS, USERS, 1, self.encoder.k])
        x = Mapper("qam", BITS, **DOUBLE)(self.encoder(bits))
        y, h = self._channel(ResourceGridMapper(GRID, **DOUBLE)(x), no)
        return bits, y, h, no


def faded() -> Link:
    return Link(RayleighBlockFading(1, ANTENNAS, USERS, 1, **DOUBLE))


DETECTORS: dict[str, Maker] = {
    "lmmse": lambda m, s: m.LinearDetector(
        "lmmse", "bit", "maxlog", GRID, STREAMS, *s, "qam", BITS, **DOUBLE
    ),
    "zf": lambda m, s: m.LinearDetector(
        "zf", "bit", "app", GRID, STREAMS, *s, "qam", BITS, **DOUBLE
    ),
    "mf": lambda m, s: m.LinearDetector(
        "mf", "bit", "app", GRID, STREAMS, *s, "qam", BITS, **DOUBLE
    ),
    "k-best": lambda m, s: m.KBestDetector(
        "bit", USERS, 64, GRID, STREAMS, *s, "qam", BITS, **DOUBLE
    ),
    "ep": lambda m, s: m.EPDetector("bit", GRID, STREAMS, *s, BITS, l=10, **DOUBLE),
    "mmse-pic": lambda m, s: WithoutPrior(
        m.MMSEPICDetector("bit", "app", GRID, STREAMS, *s, 3, "qam", BITS, **DOUBLE)
    ),
    "ml": lambda m, s: m.MaximumLikelihoodDetector(
        "bit", "app", GRID, STREAMS, *s, "qam", BITS, **DOUBLE
    ),
}


class WithoutPrior:
    """A detector that is told nothing beforehand, as in the tutorial."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector

    def __call__(self, y: Tensor, h: Tensor, *disturbed: Tensor) -> Tensor:
        num = int(GRID.num_data_symbols) * BITS
        found: Tensor = self._detector(y, h, y.real.new_zeros(len(y), USERS, 1, num), *disturbed)
        return found


@pytest.mark.parametrize("perfect", [True, False], ids=["perfect", "estimated"])
@pytest.mark.parametrize("make", DETECTORS.values(), ids=DETECTORS)
def test_channel_estimation_and_detection(make: Maker, perfect: bool) -> None:
    link = faded()
    decoder = LDPC5GDecoder(link.encoder, **DOUBLE)
    estimate = LSChannelEstimator(GRID, interpolation_type="lin", **DOUBLE)
    ours, theirs = make(blocks, (nm.Exact(),)), make(ofdm, ())
    wrong = []
    for ebno_db in (-4.0, 2.0, 12.0):
        bits, y, h, no = link.sent(ebno_db, seed=int(ebno_db) + 20)
        h_hat, err_var = (h, torch.zeros_like(no)) if perfect else estimate(y, no)
        given = (y, h_hat, err_var, no)
        found, expected = decoder(ours(*given)), decoder(theirs(*given))
        assert torch.equal(found, expected)
        wrong.append(float((found != bits).double().mean()))
    # A curve that falls, with something to decide at its begin.
    assert wrong[0] > 0.05 and wrong[0] >= wrong[1] >= wrong[2]


def iterated(detector: Any, decoder: Any, given: tuple[Tensor, ...], num: int) -> Tensor:
    """Detection and decoding by turns: what the code tells goes back to the detector."""
    y, h_hat, err_var, no = given
    known = y.real.new_zeros(ITEMS, USERS, 1, int(GRID.num_data_symbols) * BITS)
    state = None
    for _ in range(num):
        ratios = detector(y, h_hat, known, err_var, no)
        known, state = decoder(ratios, msg_v2c=state)
    return known


@pytest.mark.parametrize("detector", ["MMSEPICDetector", "MaximumLikelihoodDetectorWithPrior"])
@pytest.mark.parametrize("perfect", [True, False], ids=["perfect", "estimated"])
def test_iterative_detection_and_decoding(detector: str, perfect: bool) -> None:
    link = faded()
    decoder = LDPC5GDecoder(
        link.encoder,
        cn_update="minsum",
        num_iter=6,
        hard_out=False,
        return_infobits=False,
        return_state=True,
        **DOUBLE,
    )
    estimate = LSChannelEstimator(GRID, interpolation_type="nn", **DOUBLE)
    middle: tuple[Any, ...] = (1,) if detector == "MMSEPICDetector" else ()

    def made(module: Any, *solver: Any) -> Any:
        kind = getattr(module, detector)
        return kind("bit", "maxlog", GRID, STREAMS, *solver, *middle, "qam", BITS, **DOUBLE)

    ours, theirs = made(blocks, nm.Exact()), made(ofdm)
    gained = []
    for ebno_db in (-2.0, 1.0, 4.0):
        bits, y, h, no = link.sent(ebno_db, seed=int(ebno_db) + 30)
        given = (y, *((h, torch.zeros_like(no)) if perfect else estimate(y, no)), no)
        code = link.encoder(bits)
        once, thrice = (iterated(ours, decoder, given, num) for num in (1, 3))
        expected = iterated(theirs, decoder, given, 3)
        assert torch.allclose(thrice, expected, rtol=1e-6, atol=1e-6)
        gained.append([int(((v > 0) != (code > 0)).sum()) for v in (once, thrice)])
    first, last = np.array(gained).sum(0)
    assert last < first  # what iterations are for
