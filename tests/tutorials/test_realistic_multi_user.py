"""Sionna's "Realistic Multiuser MIMO OFDM Simulations", in small, with our blocks.

Four users of a sector send QPSK with an LDPC code to a base station with eight antennas, which
estimates their channels and equalizes; in an urban micro cell, an urban macro cell and the country.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sionna.phy import config
from sionna.phy.channel import ApplyOFDMChannel

import neumatc_mimo as nm
from tests.tutorials.cells import GRID, STREAMS, channel, estimator
from tests.tutorials.links import (
    DOUBLE,
    THEIRS,
    Blocks,
    Code,
    Slot,
    falls,
    same_curves,
    same_words,
)

ITEMS = 2


class Cell:
    """The uplink of a cell.

    :param csi: "perfect", or how channels are estimated
    :param speed: of the users, in m/s
    :param lossy: whether they differ in their mean power, of which the noise is then a part
    """

    def __init__(self, kind: str, csi: str, speed: float = 3.0, lossy: bool = False) -> None:
        config.seed = 1
        self._kind, self._speed, self._lossy = kind, speed, lossy
        self._estimate = None if csi == "perfect" else estimator(kind, csi)
        self._code = Code(GRID, 2)

    def __call__(self, ebno_db: float, seed: int) -> Callable[[Blocks], Slot]:
        config.seed = seed
        no = self._code.noise_power(ebno_db)
        bits, x = self._code.send(ITEMS)
        self.h = channel(self._kind, ITEMS, self._speed, self._lossy)
        no = no * self.h.abs().square().mean() if self._lossy else no
        y = ApplyOFDMChannel(**DOUBLE)(x, self.h, no)
        perfect = (self.h, torch.zeros_like(no))
        given = perfect if self._estimate is None else self._estimate(y, no)

        def made(blocks: Blocks) -> Slot:
            x_hat, no_eff = blocks.make("LMMSEEqualizer", GRID, STREAMS)(y, *given, no)
            decoded = self._code.decoder(self._code.demapper(x_hat, no_eff))
            outputs = {"x_hat": x_hat, "no_eff": no_eff}
            return Slot(outputs, {"information": (bits, decoded)})

        return made


@pytest.mark.parametrize(
    ("kind", "csi"),
    [(kind, csi) for kind in ("umi", "uma", "rma") for csi in ("perfect", "nn")]
    + [("uma", "lmmse")],
)
def test_uplink(kind: str, csi: str) -> None:
    same_curves(Cell(kind, csi), (-9.0, -3.0, 3.0), seed=2)


def test_uplink_with_path_loss() -> None:
    """Of some -100 dB, and users tens of dB apart."""
    same_curves(Cell("uma", "nn", lossy=True), (-6.0, 6.0, 18.0), seed=2)


@pytest.mark.parametrize("solver", ["model", "auto"])
def test_uplink_with_a_model_of_its_channels(solver: str) -> None:
    """Users who stand still are links: a model is trained for them, and answers in their place."""
    link = Cell("umi", "perfect", speed=0.0)
    link(0.0, 3)
    scenario = nm.Scenario.from_channel(
        link.h[:, 0, :, :, 0, 0].permute(0, 3, 2, 1),
        progress=False,
        grid={"fft_size": GRID.fft_size, "subcarrier_spacing": 30e3},
        multi_user={"noise_db": [-30.0, 10.0]},
    )
    model = nm.train(scenario, progress=False)
    ours = Blocks(model if solver == "model" else nm.Auto(model), "single")
    curve = []
    for ebno_db in (-6.0, -3.0, 0.0):
        slot = link(ebno_db, 3)
        theirs, found = slot(THEIRS), slot(ours)
        for name, expected in theirs.outputs.items():
            deviation = (found.outputs[name] - expected).abs().max() / expected.abs().max()
            assert deviation < 1e-2, name  # 40 dB, as certified
        sent, decoded = theirs.words["information"]
        same_words(sent, decoded, found.words["information"][1], f"{ebno_db} dB")
        curve.append(float((sent != decoded).double().mean()))
    falls("information", curve)
    if solver == "model":
        equalizer = ours.make("LMMSEEqualizer", GRID, STREAMS).block
        no = torch.tensor(0.1)
        y = torch.zeros(ITEMS, 1, 8, 14, GRID.fft_size, dtype=torch.complex64)
        equalizer(y, link.h.to(torch.complex64), torch.zeros(1), no)
        assert equalizer.stats.links_recalled == ITEMS and equalizer.stats.exact == 0
