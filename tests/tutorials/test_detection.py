"""Sionna's "OFDM MIMO Channel Estimation and Detection", in small, with our blocks.

Four users of an urban micro cell send 16-QAM to a base station with eight antennas. All detectors
that take log-likelihood ratios from the channel, with perfect channels, linear interpolation of
least squares estimates, or MMSE estimates of the covariances of the cell; bits before and after the
LDPC code, and symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sionna.phy import config
from sionna.phy.channel import ApplyOFDMChannel
from sionna.phy.mapping import SymbolSource
from sionna.phy.ofdm import ResourceGridMapper
from torch import Tensor

from tests.tutorials.cells import GRID, STREAMS, USERS, channel, estimator
from tests.tutorials.links import (
    CANCELLATION,
    DOUBLE,
    OURS,
    THEIRS,
    Block,
    Blocks,
    Code,
    Slot,
    falls,
    same_curves,
    swapping,
)

BITS, ITEMS = 4, 2
POINTS = (-2.0, 4.0, 10.0)
Maker = Callable[[Blocks, str, bool], Block]

DETECTORS: dict[str, Maker] = {
    "lmmse": lambda b, output, hard: b.make(
        "LinearDetector", "lmmse", output, "maxlog", GRID, STREAMS, "qam", BITS, hard_out=hard
    ),
    "zf": lambda b, output, hard: b.make(
        "LinearDetector", "zf", output, "app", GRID, STREAMS, "qam", BITS, hard_out=hard
    ),
    "mf": lambda b, output, hard: b.make(
        "LinearDetector", "mf", output, "app", GRID, STREAMS, "qam", BITS, hard_out=hard
    ),
    "mmse-pic": lambda b, output, hard: b.make(
        "MMSEPICDetector", output, "maxlog", GRID, STREAMS, 2, "qam", BITS, hard_out=hard
    ),
}
K_BEST: dict[str, Maker] = {
    "k-best": lambda b, output, hard: b.make(
        "KBestDetector", output, USERS, 32, GRID, STREAMS, "qam", BITS, hard_out=hard
    ),
}
EP: dict[str, Maker] = {
    "ep": lambda b, output, hard: b.make("EPDetector", output, GRID, STREAMS, BITS, hard, l=10)
}


class Cell:
    """The uplink of a cell, with several detectors beside each other.

    :param csi: "perfect", or how channels are estimated
    """

    def __init__(self, detectors: dict[str, Maker], csi: str) -> None:
        self._detectors, self._code = detectors, Code(GRID, BITS)
        self._estimate = None if csi == "perfect" else estimator("umi", csi)

    def __call__(self, ebno_db: float, seed: int) -> Callable[[Blocks], Slot]:
        config.seed = seed
        no = self._code.noise_power(ebno_db)
        bits, x = self._code.send(ITEMS)
        code = self._code.encoder(bits)
        given = self.received(x, no)

        def made(blocks: Blocks) -> Slot:
            ratios, words, signs = {}, {}, {}
            for name, make in self._detectors.items():
                found = make(blocks, "bit", False)(*told(name, given, code.shape))
                ratios[name], signs[f"{name}, code"] = found, (name, code)
                words[f"{name}, information"] = (bits, self._code.decoder(found))
            return Slot(ratios, words, signs)

        return made

    def symbols(self, ebno_db: float, seed: int) -> Callable[[Blocks], dict[str, Tensor]]:
        """Whether the symbols of a slot are detected wrongly, by the detector."""
        config.seed = seed
        no = self._code.noise_power(ebno_db)
        shape = [ITEMS, USERS, 1, int(GRID.num_data_symbols)]
        x, sent = SymbolSource("qam", BITS, return_indices=True, **DOUBLE)(shape)
        given = self.received(ResourceGridMapper(GRID, **DOUBLE)(x), no)

        def made(blocks: Blocks) -> dict[str, Tensor]:
            priors = [*shape, 2**BITS]
            return {
                name: make(blocks, "symbol", True)(*told(name, given, priors)) != sent
                for name, make in self._detectors.items()
            }

        return made

    def received(self, x: Tensor, no: Tensor) -> tuple[Tensor, ...]:
        """Received grid, channel, variance of its error, and noise power."""
        h = channel("umi", ITEMS)
        y = ApplyOFDMChannel(**DOUBLE)(x, h, no)
        known = (h, torch.zeros_like(no)) if self._estimate is None else self._estimate(y, no)
        return y, *known, no


def told(name: str, given: tuple[Tensor, ...], shape: Any) -> tuple[Tensor, ...]:
    """What a detector is called with: one that takes a prior learns nothing from it."""
    y, h, *noise = given
    return (y, h, y.real.new_zeros(*shape), *noise) if name == "mmse-pic" else given


@pytest.mark.parametrize("csi", ["perfect", "lin", "lmmse"])
def test_bits(csi: str) -> None:
    same_curves(Cell(DETECTORS, csi), POINTS, seed=2)


@pytest.mark.parametrize("csi", ["perfect", "lin", "lmmse"])
def test_bits_by_a_search(csi: str) -> None:
    same_curves(Cell(K_BEST, csi), POINTS, seed=2, room=swapping(USERS * BITS))


@pytest.mark.parametrize("csi", ["perfect", "lin", "lmmse"])
def test_bits_by_expectation_propagation(csi: str) -> None:
    same_curves(Cell(EP, csi), POINTS, seed=2, room=CANCELLATION)


@pytest.mark.parametrize("csi", ["perfect", "lin"])
def test_symbols(csi: str) -> None:
    """Symbol error rates without a code: the same symbols are wrong."""
    link = Cell(DETECTORS | K_BEST | EP, csi)
    rates: dict[str, list[float]] = {}
    for ebno_db in POINTS:
        slot = link.symbols(ebno_db, 3)
        theirs, ours = slot(THEIRS), slot(OURS)
        for name, wrong in theirs.items():
            assert torch.equal(wrong, ours[name]), name
            rates.setdefault(name, []).append(float(wrong.double().mean()))
    for name, curve in rates.items():
        falls(name, curve)
