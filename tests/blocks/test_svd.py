"""SVDBeamformer and SVDCombiner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from torch import Tensor

from neumatc_mimo.blocks import SVDBeamformer, SVDCombiner
from neumatc_mimo.operations.base import Components, Operation, Tolerance
from neumatc_mimo.operations.svd import SVD
from neumatc_mimo.solvers.base import Answers, Channels, Solver
from neumatc_mimo.solvers.exact import Exact
from tests.blocks.common import (
    FFT_SIZE,
    NUM_EFFECTIVE,
    PRECISIONS,
    SYMBOLS,
    TIMES,
    close,
    distinct,
    grid,
    in_time,
    noise,
)

RX_ANT, TX_ANT, STREAMS = 3, 8, 2
SM = StreamManagement(np.ones([1, 1]), STREAMS)


def transmit(h: Tensor, x: Tensor) -> Tensor:
    """Received grid [batch_size, 1, num_rx_ant, num_ofdm_symbols, fft_size]."""
    return torch.einsum("brmtnsf,btnsf->brmsf", h, x)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("time", TIMES)
def test_streams_arrive_without_interference(time: str, precision: str) -> None:
    dtype, tolerance = PRECISIONS[precision]
    rg = grid(1, STREAMS)
    x = noise(2, 1, STREAMS, SYMBOLS, FFT_SIZE, seed=1).to(dtype)
    h = in_time(noise(2, 1, RX_ANT, 1, TX_ANT, 1, FFT_SIZE, seed=2).to(dtype), time)
    beamformer = SVDBeamformer(rg, SM, Exact(), True, precision=precision)
    combiner = SVDCombiner(rg, SM, Exact(), precision=precision)
    x_precoded, h_eff = beamformer(x, h)
    x_hat, no_eff = combiner(transmit(h, x_precoded), h, 0.125)

    effective = torch.as_tensor(rg.effective_subcarrier_ind.astype(np.int64))
    data = [0, 2, 3]  # symbol 1 carries pilots
    close(x_hat, x[..., effective][:, :, :, data].flatten(-2), 10 * tolerance)
    s = torch.linalg.norm(h_eff, dim=2)[:, 0]
    expected = (0.125 / s.square())[:, None, 0, :, data].flatten(-2)
    close(no_eff, expected, 10 * tolerance)
    close(transmit(h, x_precoded)[..., effective], transmit(h_eff, x[..., effective]), tolerance)
    # The strongest triplets: all the power that two streams can collect.
    at = h[..., effective].permute(0, 1, 3, 5, 6, 2, 4)[:, 0, 0]
    strongest = torch.linalg.svdvals(at)[..., :STREAMS].square().sum(-1)
    close(s.square().sum(2)[:, 0], strongest, tolerance)
    assert beamformer.stats.exact == 2 * distinct(time) * FFT_SIZE
    assert combiner.stats.exact == 2 * distinct(time) * NUM_EFFECTIVE


def test_no_of_each_antenna() -> None:
    rg = grid(1, STREAMS)
    h = in_time(noise(1, 1, RX_ANT, 1, TX_ANT, 1, FFT_SIZE, seed=2), "view")
    y = noise(1, 1, RX_ANT, SYMBOLS, FFT_SIZE, seed=1)
    combiner = SVDCombiner(rg, SM, Exact(), precision="double")
    no = torch.tensor([[[0.1, 0.2, 0.4]]], dtype=torch.float64)
    _, no_eff = combiner(y, h, no)
    u, s, _ = SVD(STREAMS).exact(h[0, 0, :, 0, :, 0].permute(2, 0, 1))
    expected = ((u.abs().square() * no[0, 0, :, None]).sum(1) / s.square()).T
    expected = expected[:, torch.as_tensor(rg.effective_subcarrier_ind.astype(np.int64))]
    close(no_eff, expected.repeat(1, SYMBOLS - 1)[None, None], 1e-9)


class Perturbed(Solver):
    """Exact triplets with an error, to see that the leakage is measured."""

    def start(
        self,
        operation: Operation,
        channels: Channels,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
    ) -> Answers:
        class Noisy(SVD):
            def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
                u, s, v = super().exact(a, no)
                # The same for each matrix, whichever others are computed with it.
                return u, s, v + 0.3 * v.flip(-2)

        return Exact().start(Noisy(STREAMS), channels)


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
def test_leakage_counts_as_noise(power: str) -> None:
    rg = grid(1, STREAMS)
    x = noise(8, 1, STREAMS, SYMBOLS, FFT_SIZE, seed=1)
    h = in_time(noise(8, 1, RX_ANT, 1, TX_ANT, 1, FFT_SIZE, seed=2), "constant")
    settings = {"power": power, "precision": "double"}
    no = 1.0
    x_precoded = SVDBeamformer(rg, SM, Perturbed(), **settings)(x, h, no=no)
    combiner = SVDCombiner(rg, SM, Perturbed(), **settings)
    y = transmit(h, x_precoded)
    y = y + no**0.5 * noise(*y.shape, seed=3)
    x_hat, no_eff = combiner(y, h, no)
    effective = torch.as_tensor(rg.effective_subcarrier_ind.astype(np.int64))
    sent = x[..., effective][:, :, :, [0, 2, 3]].flatten(-2)
    measured = ((x_hat - sent).abs().square() / no_eff).mean()
    assert 0.9 < measured < 1.1
    # Noise alone would explain less than that.
    assert no_eff.shape[-1] == 3 * NUM_EFFECTIVE
    without = SVDCombiner(rg, SM, Exact(), **settings)(y, h, no)[1]
    assert (no_eff > without).double().mean() > 0.95


def test_noise_of_each_antenna_follows_the_streams_in_their_order() -> None:
    """A solver whose columns lie in another order than the singular values."""

    class Reversed(Solver):
        def start(
            self,
            operation: Operation,
            channels: Channels,
            certify: str | None = "link",
            tolerance: Tolerance | None = None,
        ) -> Answers:
            class Turned(SVD):
                def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
                    return tuple(c.flip(-1) for c in super().exact(a, no))

            return Exact().start(Turned(STREAMS), channels)

    rg = grid(1, STREAMS)
    h = in_time(noise(1, 1, RX_ANT, 1, TX_ANT, 1, FFT_SIZE, seed=2), "constant")
    y = noise(1, 1, RX_ANT, SYMBOLS, FFT_SIZE, seed=1)
    no = torch.tensor([[[0.1, 0.2, 0.4]]], dtype=torch.float64)
    for one, other in zip(
        SVDCombiner(rg, SM, Reversed(), precision="double")(y, h, no),
        SVDCombiner(rg, SM, Exact(), precision="double")(y, h, no),
        strict=True,
    ):
        close(one, other, 1e-9)


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
@pytest.mark.parametrize("association", [np.eye(2), np.fliplr(np.eye(2))])
def test_streams_of_other_transmitters_count_as_noise(association: Any, power: str) -> None:
    rg, sm = grid(2, STREAMS), StreamManagement(association, STREAMS)
    batch, no = 16, torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    x = noise(batch, 2, STREAMS, SYMBOLS, FFT_SIZE, seed=1)
    h = noise(batch, 2, RX_ANT, 2, TX_ANT, 1, FFT_SIZE, seed=2)
    other = torch.as_tensor(association == 0)[None, :, None, :, None, None, None]
    h = in_time(torch.where(other, 0.3 * h, h), "constant")
    settings: dict[str, Any] = {"power": power, "precision": "double"}
    beamformer = SVDBeamformer(rg, sm, Exact(), return_effective_channel=True, **settings)
    combiner = SVDCombiner(rg, sm, Exact(), **settings)
    x_precoded, h_eff = beamformer(x, h, no=no)
    y = transmit(h, x_precoded)
    effective = torch.as_tensor(rg.effective_subcarrier_ind.astype(np.int64))
    through = torch.einsum("brmtlsf,btlsf->brmsf", h_eff, x[..., effective])
    close(through, y[..., effective], 1e-9)

    received = y + no[..., None, None, None].sqrt() * noise(*y.shape, seed=3)
    x_hat, no_eff = combiner(received, h, no)
    sent = x[..., effective][:, :, :, [0, 2, 3]].flatten(-2)
    on = no_eff.isfinite()
    ratio = (x_hat - sent)[on].abs().square() / no_eff[on]
    assert on.double().mean() > 0.7 and 0.95 < ratio.mean() < 1.05
    # The noise alone would not explain it.
    without = SVDCombiner(rg, sm, Exact(), **settings)(received, torch.where(other, 0, h), no)[1]
    assert ((x_hat - sent)[on].abs().square() / without[on]).mean() > 1.1

    # Each cell alone is a block of its own.
    one_rg = grid(1, STREAMS)
    for rx in range(2):
        tx = int(association[rx].argmax())
        alone = SVDBeamformer(one_rg, SM, Exact(), **settings)
        own = h[:, rx : rx + 1, :, tx : tx + 1]
        expected = alone(x[:, tx : tx + 1], own, no=no[:, rx : rx + 1])
        close(x_precoded[:, tx : tx + 1], expected, 1e-9)


@pytest.mark.parametrize("association", [np.ones([2, 1]), np.ones([1, 2]), np.ones([2, 2])])
def test_several_partners_are_refused(association: Any) -> None:
    num_tx = association.shape[1]
    sm = StreamManagement(association, 2)
    for kind in (SVDBeamformer, SVDCombiner):
        with pytest.raises(ValueError, match="needs one receiver for each transmitter"):
            kind(grid(num_tx, 2), sm, Exact())
