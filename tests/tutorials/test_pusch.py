"""Sionna's "5G NR PUSCH Tutorial", in small, with our detectors in Sionna's receiver.

Two users with four antennas send two layers each, precoded from the codebook, to a base station
with eight antennas in an urban micro cell; in the frequency and in the time domain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy import config
from sionna.phy.channel import OFDMChannel, TimeChannel, time_lag_discrete_time_channel
from sionna.phy.channel.tr38901 import PanelArray
from sionna.phy.mimo import StreamManagement
from sionna.phy.nr import PUSCHConfig, PUSCHReceiver, PUSCHTransmitter, TBDecoder
from sionna.phy.utils import ebnodb2no
from torch import Tensor

from tests.tutorials.cells import CARRIER, cell
from tests.tutorials.links import (
    CANCELLATION,
    DOUBLE,
    ROUNDING,
    Blocks,
    Slot,
    same_curves,
    swapping,
)

USERS, LAYERS, ITEMS = 2, 2, 2
# What stands before the grid, and after stream management and the solver.
DETECTORS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "LinearDetector": (("lmmse", "bit", "maxlog"), ("qam", 4)),
    "KBestDetector": (("bit", USERS * LAYERS, 32), ("qam", 4)),
    "EPDetector": (("bit",), (4,)),
}
ROOMS = {
    "LinearDetector": ROUNDING,
    "KBestDetector": swapping(USERS * LAYERS * 4),
    "EPDetector": CANCELLATION,
}


def transmitter(num_resource_blocks: int, domain: str) -> PUSCHTransmitter:
    """16-QAM of rate 0.54, reference signals on two ports of each user at two times."""
    configs = []
    for user in range(USERS):
        one = PUSCHConfig(
            num_layers=LAYERS, num_antenna_ports=4, precoding="codebook", tpmi=user + 1
        )
        one.carrier.n_size_grid, one.carrier.subcarrier_spacing = num_resource_blocks, 30
        one.dmrs.additional_position, one.dmrs.num_cdm_groups_without_data = 1, 2
        one.dmrs.dmrs_port_set = [2 * user, 2 * user + 1]
        one.tb.mcs_index, one.tb.mcs_table = 14, 1
        configs.append(one)
    return PUSCHTransmitter(configs, output_domain=domain, **DOUBLE)


def array(num_antennas: int) -> PanelArray:
    return PanelArray(
        num_rows_per_panel=1,
        num_cols_per_panel=num_antennas // 2,
        polarization="dual",
        polarization_type="cross",
        antenna_pattern="38.901",
        carrier_frequency=CARRIER,
        **DOUBLE,
    )


class PUSCH:
    def __init__(self, detector: str, perfect: bool, domain: str = "freq") -> None:
        in_time = domain == "time"
        self._items = 1 if in_time else ITEMS
        self._transmitter = transmitter(2 if in_time else 6, domain)
        self._grid = self._transmitter.resource_grid
        self._streams = StreamManagement(np.ones([1, USERS], bool), LAYERS)
        self._detector, self._perfect, self._domain = detector, perfect, domain
        self._lags = time_lag_discrete_time_channel(self._grid.bandwidth)

    def __call__(self, ebno_db: float, seed: int) -> Callable[[Blocks], Slot]:
        config.seed = seed
        x, bits = self._transmitter(self._items)
        rate = float(self._transmitter._target_coderate)
        no = ebnodb2no(ebno_db, 4, rate, self._grid, **DOUBLE)
        y, h = self._channel()(x, no)

        def made(blocks: Blocks) -> Slot:
            before, after = DETECTORS[self._detector]
            detector = blocks.make(self._detector, *before, self._grid, self._streams, *after)
            outputs = {}

            def detect(*given: Tensor) -> Tensor:
                outputs["ratios"] = detector(*given)
                return outputs["ratios"]

            in_time = {"l_min": self._lags[0]} if self._domain == "time" else {}
            receiver = PUSCHReceiver(
                self._transmitter,
                "perfect" if self._perfect else None,
                detect,
                TBDecoder(self._transmitter._tb_encoder, num_bp_iter=8, **DOUBLE),
                return_tb_crc_status=True,
                input_domain=self._domain,
                **in_time,
                **DOUBLE,
            )
            found, passed = receiver(y, no, h) if self._perfect else receiver(y, no)
            assert torch.equal(passed, (found == bits).all(-1))
            return Slot(outputs, {"transport blocks": (bits, found)})

        return made

    def _channel(self) -> Any:
        model = cell("umi", self._items, USERS, array(4), array(8), speed=3.0)
        options = {"normalize_channel": True, "return_channel": True, **DOUBLE}
        if self._domain == "freq":
            return OFDMChannel(model, self._grid, **options)
        grid, (l_min, l_max) = self._grid, self._lags
        return TimeChannel(
            model, grid.bandwidth, grid.num_time_samples, l_min=l_min, l_max=l_max, **options
        )


@pytest.mark.parametrize("perfect", [True, False], ids=["perfect", "estimated"])
@pytest.mark.parametrize("detector", DETECTORS)
def test_frequency_domain(detector: str, perfect: bool) -> None:
    same_curves(PUSCH(detector, perfect), (0.0, 8.0), 2, ROOMS[detector])


@pytest.mark.parametrize("perfect", [True, False], ids=["perfect", "estimated"])
def test_time_domain(perfect: bool) -> None:
    """The receiver demodulates the samples that echoes of earlier symbols are in."""
    same_curves(PUSCH("LinearDetector", perfect, "time"), (0.0, 8.0), seed=2)
