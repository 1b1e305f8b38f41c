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
from tests.tutorials.links import DOUBLE, Blocks, Code, Slot, same_as_certified, same_curves

ITEMS = 2


class Cell:
    """The uplink of a cell.

    :param csi: "perfect", or how channels are estimated
    :param speed: of the users, in m/s
    :param lossy: whether they differ in their mean power, of which the noise is then a part
    """

    def __init__(self, kind: str, csi: str, speed: float = 3.0, lossy: bool = False) -> None:
        self._kind, self._speed, self._lossy = kind, speed, lossy
        self._estimate = None if csi == "perfect" else estimator(kind, csi)
        self._code = Code(GRID, 2)

    def __call__(self, ebno_db: float, seed: int) -> Callable[[Blocks], Slot]:
        config.seed = seed
        no = self._code.noise_power(ebno_db)
        bits, x = self._code.send(ITEMS)
        self.h = channel(self._kind, ITEMS, self._speed, self._lossy)
        if self._lossy:
            no = no * self.h.abs().square().mean()
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
    same_as_certified(link, model if solver == "model" else nm.Auto(model), (-6.0, -3.0, 0.0), 3)
    made = Blocks(model, "single").make("LMMSEEqualizer", GRID, STREAMS)
    no = torch.tensor(0.1)
    made(torch.zeros(ITEMS, 1, 8, 14, GRID.fft_size, dtype=torch.complex64), link.h, 0 * no, no)
    assert made.block.stats.links_recalled == ITEMS and made.block.stats.exact == 0
