"""Sionna's "MIMO OFDM Transmissions over the CDL Channel Model", in small, with our blocks.

One user with four cross-polarised antennas and a base station with eight; four streams, QPSK, LDPC
code. Uplink: LMMSE equalizer. Downlink: zero forcing at the base station, regularised or not, and
the equalizer at the user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from sionna.phy import config
from sionna.phy.channel import (
    ApplyOFDMChannel,
    ApplyTimeChannel,
    GenerateOFDMChannel,
    cir_to_ofdm_channel,
    cir_to_time_channel,
    subcarrier_frequencies,
    time_lag_discrete_time_channel,
)
from sionna.phy.channel.tr38901 import CDL, AntennaArray
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import (
    LSChannelEstimator,
    OFDMDemodulator,
    OFDMModulator,
    RemoveNulledSubcarriers,
)
from torch import Tensor

import neumatc_mimo as nm
from tests.tutorials.links import (
    DOUBLE,
    Blocks,
    Code,
    Slot,
    condition,
    resource_grid,
    same_as_certified,
    same_curves,
)

CARRIER, SPEED, ITEMS, STREAMS = 2.6e9, 10.0, 2, 4
GRID = resource_grid(
    num_ofdm_symbols=14,
    fft_size=76,
    subcarrier_spacing=15e3,
    num_tx=1,
    num_streams_per_tx=STREAMS,
    cyclic_prefix_length=6,
    num_guard_carriers=(5, 6),
    dc_null=True,
    pilot_pattern="kronecker",
    pilot_ofdm_symbol_indices=[2, 11],
)
MANAGEMENT = StreamManagement(np.array([[1]]), STREAMS)


def array(num_antennas: int) -> AntennaArray:
    return AntennaArray(
        num_rows=1,
        num_cols=num_antennas // 2,
        polarization="dual",
        polarization_type="cross",
        antenna_pattern="38.901",
        carrier_frequency=CARRIER,
        **DOUBLE,
    )


class CDLLink:
    """A link over one of the CDL models.

    :param direction: "uplink", "downlink", or "regularised" for a downlink with α = no
    :param model: "A" to "E"
    :param perfect: whether the receiver knows the channel
    :param speed: of the user, in m/s
    """

    def __init__(self, direction: str, model: str, perfect: bool, speed: float = SPEED) -> None:
        self._down, self._perfect = direction != "uplink", perfect
        self._regularised = direction == "regularised"
        self.channel = CDL(
            *(model, 300e-9, CARRIER, array(4), array(8)),
            "downlink" if self._down else "uplink",
            min_speed=speed,
            **DOUBLE,
        )
        self.code = Code(GRID, 2)
        self._estimate = LSChannelEstimator(GRID, interpolation_type="nn", **DOUBLE)
        self._remove_nulled = RemoveNulledSubcarriers(GRID, **DOUBLE)

    def __call__(self, ebno_db: float, seed: int) -> Callable[[Blocks], Slot]:
        config.seed = seed
        no = self.code.noise_power(ebno_db)
        bits, x = self.code.send(ITEMS)
        h, send = self._channel()
        self.h = h

        def made(blocks: Blocks) -> Slot:
            outputs, sent, known = {}, x, self._remove_nulled(h)
            if self._down:
                precoder = blocks.make(
                    "RZFPrecoder", GRID, MANAGEMENT, return_effective_channel=True
                )
                sent, known = precoder(x, h, no if self._regularised else 0.0)
                outputs |= {"x": sent, "effective channel": known}
            config.seed = seed + 1  # the noise
            y = send(sent, no)
            given = (known, torch.zeros_like(no)) if self._perfect else self._estimate(y, no)
            x_hat, no_eff = blocks.make("LMMSEEqualizer", GRID, MANAGEMENT)(y, *given, no)
            outputs |= {"x_hat": x_hat, "no_eff": no_eff}
            decoded = self.code.decoder(self.code.demapper(x_hat, no_eff))
            return Slot(
                outputs,
                {"information": (bits, decoded)},
                condition=max(self._conditions(h, given[0], given[1], no)),
            )

        return made

    def _conditions(self, h: Tensor, known: Tensor, err_var: Tensor, no: Tensor) -> Iterator[float]:
        """Of the receiver's matrices, and of those of the precoder."""
        errors = err_var.expand(known.shape).sum((2, 3, 4)) / known.shape[2]
        matrices = known[:, 0, :, 0].movedim((1, 2), (-2, -1))
        yield condition(matrices, no + errors[:, 0])
        if self._down:
            alpha = no if self._regularised else 0.0
            matrices = h[:, 0, :, 0].movedim((1, 2), (-2, -1))
            yield condition(matrices, torch.ones_like(no), alpha)

    def _channel(self) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
        """A new channel, and what sends a grid through it."""
        h = GenerateOFDMChannel(self.channel, GRID, normalize_channel=True, **DOUBLE)(ITEMS)
        apply = ApplyOFDMChannel(**DOUBLE)
        return h, lambda x, no: apply(x, h, no)


class TimeCDLLink(CDLLink):
    """In the time domain: the channel changes within symbols, and its echoes reach the next."""

    def _channel(self) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
        prefix = int(GRID.cyclic_prefix_length)
        l_min, l_max = time_lag_discrete_time_channel(GRID.bandwidth)
        l_tot, samples = l_max - l_min + 1, int(GRID.num_time_samples)
        a, tau = self.channel(ITEMS, samples + l_tot - 1, GRID.bandwidth)
        h_time = cir_to_time_channel(GRID.bandwidth, a, tau, l_min, l_max, normalize=True)
        # What the base station takes for the channel: that at the end of a symbol's prefix.
        step = GRID.fft_size + prefix
        middle = a[..., prefix:-1:step][..., :14]
        frequencies = subcarrier_frequencies(GRID.fft_size, 15e3, **DOUBLE)
        h = cir_to_ofdm_channel(frequencies, middle, tau, normalize=True)
        apply = ApplyTimeChannel(samples, l_tot, **DOUBLE)
        modulate = OFDMModulator(prefix, **DOUBLE)
        demodulate = OFDMDemodulator(GRID.fft_size, l_min, prefix, **DOUBLE)
        return h, lambda x, no: demodulate(apply(modulate(x), h_time, no))


@pytest.mark.parametrize("perfect", [True, False], ids=["perfect", "estimated"])
@pytest.mark.parametrize("direction", ["uplink", "downlink", "regularised"])
def test_frequency_domain(direction: str, perfect: bool) -> None:
    same_curves(CDLLink(direction, "B", perfect), (-8.0, -4.0, 0.0), seed=1)


@pytest.mark.parametrize("model", ["A", "D"])
def test_other_models(model: str) -> None:
    """Few paths, or one in sight: streams that are hard to tell apart."""
    same_curves(CDLLink("uplink", model, True), (-6.0, 2.0, 10.0), seed=1)


@pytest.mark.parametrize("direction", ["uplink", "downlink"])
def test_time_domain(direction: str) -> None:
    same_curves(TimeCDLLink(direction, "C", False), (-8.0, 0.0), seed=1)


def test_downlink_with_a_model_of_its_channels() -> None:
    """A user who stands still is a link: a model is trained for it, and precodes in its place."""
    link = CDLLink("downlink", "B", True, speed=0.0)
    link(0.0, 3)
    scenario = nm.Scenario.from_channel(
        link.h[:, 0, :, 0, :, 0].permute(0, 3, 1, 2),
        progress=False,
        grid={"fft_size": GRID.fft_size, "subcarrier_spacing": 15e3},
        multi_user={},
    )
    model = nm.train(scenario, progress=False)
    # The user's own matrices, of the channel behind the precoder, are none that the model has.
    with pytest.warns(nm.NeuMatCWarning, match="of 4 x 4 is needed"):
        same_as_certified(link, model, (-8.0, -4.0, 0.0), 3)
    made = Blocks(model, "single").make("RZFPrecoder", GRID, MANAGEMENT)
    made(torch.zeros(ITEMS, 1, STREAMS, 14, GRID.fft_size), link.h)
    assert made.block.stats.links_recalled == ITEMS and made.block.stats.exact == 0
