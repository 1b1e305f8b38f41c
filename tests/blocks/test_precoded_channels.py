"""Precoded channels of every kind: against Sionna's, and against their precoders by Sionna's public
methods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sionna.phy.ofdm as theirs_of
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import PrecodedChannel
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import blocks
from neumatc_mimo.blocks import PRECODED_CHANNELS
from neumatc_mimo.operations import MatchedFilter
from tests.blocks.common import FFT_SIZE, SYMBOLS, TIMES, close, distinct, grid, in_time, noise

EXACT = nm.Exact()
NO = 0.3
# receivers x transmitters, streams of a transmitter, antennas of a receiver
NETWORKS: dict[str, tuple[Any, int, int]] = {
    "users": (np.ones([3, 1]), 3, 1),
    "two antennas a user": (np.ones([2, 1]), 4, 2),
    "interleaved cells": (np.array([[1, 0], [0, 1], [1, 0], [0, 1]]), 2, 1),
}
EACH_NETWORK = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
# The block, its precoder, and what they are called with beside channels and symbols.
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "zf": (blocks.ZFPrecodedChannel, blocks.ZFPrecoder, {"alpha": NO}),
    "wmmse": (blocks.WMMSEPrecodedChannel, blocks.WMMSEPrecoder, {"no": NO}),
    "max_min": (blocks.MaxMinPrecodedChannel, blocks.MaxMinPrecoder, {"no": NO}),
    "slnr": (blocks.SLNRPrecodedChannel, blocks.SLNRPrecoder, {"no": NO}),
    "bd": (blocks.BDPrecodedChannel, blocks.BDPrecoder, {}),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def uniform(*shape: int, seed: int = 5) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def channel(network: Any, time: str, *, seed: int = 2, num_tx_ant: int = 8) -> Tensor:
    association, _, num_rx_ant = network
    shape = (2, len(association), num_rx_ant, association.shape[1], num_tx_ant, 1, FFT_SIZE)
    return in_time(noise(*shape, seed=seed), time)


def pair(network: Any) -> tuple[Any, StreamManagement]:
    association, num_streams, _ = network
    return grid(association.shape[1], num_streams), StreamManagement(association, num_streams)


def powers(network: Any) -> Tensor:
    association, num_streams, _ = network
    return uniform(2, association.shape[1], num_streams, SYMBOLS, FFT_SIZE)


def precoding(precoder: Any, network: Any, h: Tensor, given: dict[str, Any]) -> Tensor:
    """Precoding matrices as Sionna has them, [batch_size, num_tx, num_ofdm_symbols, fft_size,
    num_tx_ant, num_streams_per_tx], stream by stream.
    """
    association, num_streams, _ = network
    block = precoder(*pair(network), EXACT, precision="double", time_varying=True)
    columns = []
    for stream in range(num_streams):
        x = torch.zeros(2, association.shape[1], num_streams, SYMBOLS, FFT_SIZE).to(h.dtype)
        x[:, :, stream] = 1
        columns.append(block(x, h, **given))
    return torch.stack(columns, -1).permute(0, 1, 3, 4, 2, 5)


@pytest.mark.parametrize("known", [None, "view", "one symbol"])
@pytest.mark.parametrize("time", TIMES)
@EACH_NETWORK
def test_conjugate_beamforming_is_sionnas(network: Any, time: str, known: str | None) -> None:
    h = channel(network, time)
    h_hat = None if known is None else channel(network, known, seed=3)
    ours = blocks.CBFPrecodedChannel(*pair(network), precision="double")
    theirs = theirs_of.CBFPrecodedChannel(*pair(network), precision="double")
    close(ours(h, powers(network), h_hat), theirs(h, powers(network), h_hat), 1e-12)
    num_tx = network[0].shape[1]
    assert ours.stats.exact == 2 * num_tx * distinct(known or time) * FFT_SIZE


@pytest.mark.parametrize("time", TIMES)
def test_the_identity_is_sionnas(time: str) -> None:
    association = np.eye(2)
    settings = grid(2, 4, pilot_pattern=None), StreamManagement(association, 4)
    h = channel((association, 4, 3), time, num_tx_ant=4)
    ours = blocks.EyePrecodedChannel(*settings, precision="double")
    theirs = theirs_of.EyePrecodedChannel(*settings, precision="double")
    for tx_power in (torch.tensor(2.0), uniform(2), uniform(2, 2, 4), uniform(2, 2, 4, SYMBOLS, 1)):
        close(ours(h, tx_power), theirs(h, tx_power), 1e-12)
    assert (ours(h, torch.tensor(2.0)).stride(-2) == 0) == (time == "view")
    with pytest.raises(ValueError, match="h has the shape"):
        ours(h[:, :, :, :, :3], torch.ones(2))
    with pytest.raises(ValueError, match="tx_power has negative"):
        ours(h, -torch.ones(2))


@pytest.mark.parametrize("known", [None, "one symbol"])
@pytest.mark.parametrize("time", ["view", "one symbol"])
@EACH_NETWORK
@EACH_KIND
def test_is_the_precoder_behind_the_channel(
    kind: Any, network: Any, time: str, known: str | None
) -> None:
    block, precoder, given = kind
    h = channel(network, time)
    h_hat = None if known is None else channel(network, known, seed=3)
    ours = block(*pair(network), EXACT, precision="double")
    found = ours(h, powers(network), h_hat, **given)
    v = precoding(precoder, network, h if h_hat is None else h_hat, given)
    # The methods are Sionna's, and ours has them.
    for those in (ours, theirs_of.RZFPrecodedChannel(*pair(network), precision="double")):
        weighted = those.apply_tx_power(v, powers(network))
        close(found, those.compute_effective_channel(h, weighted), 1e-9)
    assert torch.equal(
        ours.get_desired_channels(h),
        theirs_of.RZFPrecodedChannel(*pair(network), precision="double").get_desired_channels(h),
    )


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
@pytest.mark.parametrize("known", [None, "view"])
def test_beams(power: Any, known: str | None) -> None:
    association = np.eye(2)
    rg, sm = grid(2, 2), StreamManagement(association, 2)
    network = (association, 2, 3)
    h = channel(network, "view")
    h_hat = None if known is None else channel(network, known, seed=3)
    noise_powers = torch.tensor([[0.5, 4.0]], dtype=torch.float64)
    ours = blocks.SVDPrecodedChannel(rg, sm, EXACT, power, precision="double")
    sender = blocks.SVDBeamformer(rg, sm, EXACT, True, power, precision="double")
    x = torch.ones(2, 2, 2, SYMBOLS, FFT_SIZE, dtype=torch.complex128)
    found = ours(h, powers(network), h_hat, no=noise_powers)
    effective = rg.effective_subcarrier_ind.astype(int)
    weights = powers(network)[..., effective].sqrt()[:, None, None]
    if h_hat is None:
        close(found, sender(x, h, no=noise_powers)[1] * weights, 1e-9)
    # The sum of all columns is what a slot of ones is precoded to.
    sent = sender(x, h if h_hat is None else h_hat, no=noise_powers)[0]
    heard = torch.einsum("brmtnsf,btnsf->brmtsf", h, sent)[..., effective]
    close((found / weights).sum(4), heard, 1e-9)
    if power == "waterfilling":
        with pytest.raises(ValueError, match="no is missing"):
            ours(h, powers(network))


def test_any_operation() -> None:
    network = NETWORKS["users"]
    h = channel(network, "view")
    general = blocks.OperationPrecodedChannel(
        *pair(network), EXACT, MatchedFilter(), precision="double"
    )
    own = blocks.CBFPrecodedChannel(*pair(network), precision="double")
    close(general(h, powers(network)), own(h, powers(network)), 1e-12)
    general = blocks.OperationPrecodedChannel(
        *pair(network), EXACT, nm.WMMSE(NO), precision="double"
    )
    own = blocks.WMMSEPrecodedChannel(*pair(network), EXACT, precision="double")
    close(general(h, powers(network), None, 0.5), own(h, powers(network), None, 0.5), 1e-12)


ITEMS: dict[str, Callable[[Tensor], Tensor]] = {
    "one item": lambda h: h[:1],
    "one symbol": lambda h: h[..., :1, :],
    "one subcarrier": lambda h: h[..., :1],
}


@pytest.mark.parametrize("one", ITEMS.values(), ids=ITEMS)
@EACH_KIND
def test_what_is_one_holds_for_all(kind: Any, one: Any) -> None:
    block, _, given = kind
    network = NETWORKS["users"]
    h, h_hat = channel(network, "every symbol"), one(channel(network, "every symbol", seed=3))
    ours = block(*pair(network), EXACT, precision="double")
    whole = h_hat.expand(h.shape).contiguous()
    close(ours(h, powers(network), h_hat, **given), ours(h, powers(network), whole, **given), 1e-12)


@pytest.mark.parametrize("named", ["h", "h_hat", "tx_power"])
@pytest.mark.parametrize("kind", ["zf", "slnr", "bd"])
def test_gradients(kind: str, named: str) -> None:
    """Of the methods of Sionna's block, from matrices by PyTorch's algebra."""
    block, precoder, given = KINDS[kind]
    network = NETWORKS["two antennas a user"]
    ours = block(*pair(network), EXACT, precision="double")
    weight = noise(2, 2, 2, 1, 4, SYMBOLS, ours._num_effective, seed=9)

    def gradient(effective: Callable[..., Tensor]) -> Tensor:
        tensors = {
            "h": channel(network, "every symbol"),
            "h_hat": channel(network, "every symbol", seed=3),
            "tx_power": powers(network),
        }
        tensors[named].requires_grad_()
        (effective(**tensors) * weight.conj()).real.sum().backward()
        found = tensors[named].grad
        assert found is not None
        return found

    def by_methods(h: Tensor, h_hat: Tensor, tx_power: Tensor) -> Tensor:
        v = precoding(precoder, network, h_hat, given)
        return ours.compute_effective_channel(h, ours.apply_tx_power(v, tx_power))

    close(gradient(lambda **t: ours(**t, **given)), gradient(by_methods), 1e-8)


def test_gradients_of_conjugate_beamforming_are_sionnas() -> None:
    network = NETWORKS["interleaved cells"]
    found = []
    for kind in (blocks.CBFPrecodedChannel, theirs_of.CBFPrecodedChannel):
        h = channel(network, "one symbol").requires_grad_()
        out = kind(*pair(network), precision="double")(h, powers(network))
        weight = noise(*out.shape, seed=9)
        (out * weight.conj()).real.sum().backward()
        found.append(h.grad)
    close(found[0], found[1], 1e-10)


def test_kernels_and_pytorch_agree() -> None:
    """In single precision, where kernels compute what the precoder knows."""
    network = (np.ones([6, 1]), 6, 1)
    h = channel(network, "view", num_tx_ant=16)
    for block, _, given in KINDS.values():
        single = block(*pair(network), EXACT)(h.to(torch.complex64), torch.ones(2, 1, 6), **given)
        double = block(*pair(network), EXACT, precision="double")(
            h, torch.ones(2, 1, 6), h.clone(), **given
        )
        close(single.to(torch.complex128), double, 1e-4)


def test_weak_and_silent_users() -> None:
    """Squares of a channel of -300 dB vanish in single precision; zeros stay zeros."""
    network = NETWORKS["users"]
    h = channel(network, "view").clone()
    h[:, 0] *= 1e-30
    h[:, 1] = 0
    ours = blocks.CBFPrecodedChannel(*pair(network))
    theirs = theirs_of.CBFPrecodedChannel(*pair(network), precision="double")
    found, expected = ours(h, torch.ones(2)), theirs(h, torch.ones(2, dtype=torch.float64))
    for stream in range(3):
        error = (found[:, 2, 0, 0, stream] - expected[:, 2, 0, 0, stream]).abs().max()
        assert error <= 1e-6 * expected[:, 2, 0, 0].abs().max()


def test_what_is_refused() -> None:
    network = NETWORKS["users"]
    h = channel(network, "view")
    for block in (blocks.WMMSEPrecodedChannel, blocks.SLNRPrecodedChannel):
        made = block(*pair(network), EXACT)
        with pytest.raises(ValueError, match="no is missing"):
            made(h, torch.ones(2))
        with pytest.raises(ValueError, match="no is zero"):
            made(h, torch.ones(2), None, 0.0)
        with pytest.raises(ValueError, match="no has the shape"):
            made(h, torch.ones(2), None, torch.ones(5))
    with pytest.raises(ValueError, match="tx_power has the shape"):
        blocks.CBFPrecodedChannel(*pair(network))(h, torch.ones(3))
    more = NETWORKS["two antennas a user"]
    with pytest.raises(ValueError, match="3 streams are more than the 2 antennas"):
        blocks.BDPrecodedChannel(*pair(network), EXACT)(h[:, :, :, :, :2], torch.ones(2))
    with pytest.raises(ValueError, match="is needed to precode 4 streams"):
        blocks.CBFPrecodedChannel(*pair(more))(h[:, :2], torch.ones(2))


def test_all_are_sionnas_precoded_channels_by_the_names_of_operations() -> None:
    for name, kind in PRECODED_CHANNELS.items():
        assert issubclass(kind, PrecodedChannel), name
    assert issubclass(blocks.EyePrecodedChannel, PrecodedChannel)
    assert set(blocks.PRECODERS) <= set(PRECODED_CHANNELS)


def test_the_state_is_that_of_sionnas() -> None:
    network = NETWORKS["users"]
    for kind in (*(k for k, _, _ in KINDS.values()), blocks.SVDPrecodedChannel):
        settings = (
            pair(network)
            if kind is not blocks.SVDPrecodedChannel
            else (grid(1, 1), StreamManagement(np.ones([1, 1]), 1))
        )
        ours, theirs = kind(*settings, EXACT), theirs_of.RZFPrecodedChannel(*settings)
        assert set(ours.state_dict()) == set(theirs.state_dict())
