"""Noise of a full covariance: against Sionna's equalizer of one matrix, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from sionna.phy.mapping import Constellation, Demapper
from sionna.phy.mimo import StreamManagement, lmmse_equalizer, mf_equalizer, zf_equalizer
from sionna.phy.ofdm import LMMSEPostEqualizationSINR as TheirSINR
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import blocks
from neumatc_mimo.blocks import (
    LMMSEPostEqualizationSINR,
    MFEqualizer,
    MMSEDetector,
    MMSEEqualizer,
    ZFEqualizer,
)
from neumatc_mimo.blocks.noise_covariance import NoiseCovariance, Whitener
from tests.blocks.common import (
    FFT_SIZE,
    NUM_EFFECTIVE,
    SYMBOLS,
    TIMES,
    close,
    distinct,
    grid,
    in_time,
    noise,
)

ANTENNAS, NO = 5, 0.3
# transmitters heard by each receiver, streams of a transmitter
NETWORKS: dict[str, tuple[Any, int]] = {
    "uplink": (np.ones([1, 3]), 1),
    "cells": (np.kron(np.eye(2), np.ones([1, 2])), 1),
    "more streams than antennas": (np.kron(np.eye(2), np.ones([1, 3])), 1),
}
EACH_NETWORK = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def covariance(*leading: int, seed: int = 11, rank: int = ANTENNAS, level: float = 1.0) -> Tensor:
    """Positive semidefinite, [*leading, ANTENNAS, ANTENNAS]."""
    root = noise(*leading, ANTENNAS, rank, seed=seed)
    return level * root @ root.mH / rank


COVARIANCES: dict[str, Callable[[int], Tensor]] = {
    "one": lambda num_rx: covariance(),
    "subcarriers": lambda num_rx: covariance(NUM_EFFECTIVE),
    "resource blocks": lambda num_rx: covariance(3),
    "receivers": lambda num_rx: covariance(num_rx, 1, 1),
    "items": lambda num_rx: covariance(2, 1, 1, 1),
    "symbols": lambda num_rx: covariance(SYMBOLS, 1),
    "all": lambda num_rx: covariance(2, num_rx, SYMBOLS, NUM_EFFECTIVE),
    "one jammer": lambda num_rx: covariance(rank=1, level=1e3),
}
EACH = pytest.mark.parametrize("kind", COVARIANCES.values(), ids=COVARIANCES)


def settings(network: Any) -> tuple[Any, StreamManagement]:
    association, streams = network
    return grid(association.shape[1], streams), StreamManagement(association, streams)


def received(network: Any, time: str) -> tuple[Tensor, Tensor]:
    """y and h_hat."""
    (num_rx, num_tx), streams = network[0].shape, network[1]
    y = noise(2, num_rx, ANTENNAS, SYMBOLS, FFT_SIZE, seed=1)
    h = noise(2, num_rx, ANTENNAS, num_tx, streams, 1, NUM_EFFECTIVE, seed=2)
    return y, in_time(h, time)


def whole(matrix: Tensor, num_rx: int) -> Tensor:
    """[2, num_rx, SYMBOLS, NUM_EFFECTIVE, ANTENNAS, ANTENNAS]"""
    matrix = matrix[(None,) * (6 - matrix.dim())]
    matrix = matrix.repeat_interleave(NUM_EFFECTIVE // matrix.shape[3], 3)
    return matrix.expand(2, num_rx, SYMBOLS, NUM_EFFECTIVE, -1, -1)


def by_sionna(
    network: Any,
    y: Tensor,
    h: Tensor,
    err_var: Tensor,
    no: Tensor,
    matrix: Tensor,
    equalize: Callable[..., tuple[Tensor, Tensor]] = lmmse_equalizer,
) -> tuple[Tensor, Tensor]:
    """What Sionna's equalizer makes of each resource element, [2, num_tx, streams, data]."""
    block = MMSEEqualizer(*settings(network), nm.Exact(), precision="double")
    association, num_rx = block._stream_management.stream_association, h.shape[1]
    effective = block._resource_grid.effective_subcarrier_ind.astype(int)
    error = torch.as_tensor(err_var).expand(h.shape).sum((3, 4)).permute(0, 1, 3, 4, 2)
    power = no[(..., *(None,) * (3 - no.dim()))].expand(2, num_rx, ANTENNAS)
    white = torch.diag_embed(error + power[:, :, None, None]).to(h.dtype)
    s = whole(matrix, num_rx) + white
    streams = h.permute(0, 1, 5, 6, 2, 3, 4).flatten(5)
    x_hat, no_eff = [], []
    for rx in range(num_rx):
        own = torch.as_tensor(association[rx].reshape(-1)).bool()
        others = streams[:, rx][..., ~own]
        given = y[:, rx][..., effective].permute(0, 2, 3, 1)
        colour = s[:, rx] + others @ others.mH
        one, other = equalize(given, streams[:, rx][..., own], colour, precision="double")
        x_hat.append(one.permute(0, 3, 1, 2))
        no_eff.append(other.permute(0, 3, 1, 2))
    return block._extract(torch.stack(x_hat, 1)), block._extract(torch.stack(no_eff, 1))


@pytest.mark.parametrize("time", TIMES)
@EACH
@EACH_NETWORK
def test_equalizer_is_sionnas(network: Any, kind: Any, time: str) -> None:
    y, h = received(network, time)
    matrix, no = kind(h.shape[1]), torch.tensor(NO, dtype=torch.float64)
    block = MMSEEqualizer(*settings(network), nm.Exact(), precision="double")
    found = block(y, h, 0.0, no, noise_covariance=matrix)
    expected = by_sionna(network, y, h, torch.zeros(()), no, matrix)
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs, 1e-8)
    varies = (matrix.dim() > 4 and matrix.shape[-4] > 1) or matrix.shape[:-3] == (SYMBOLS,)
    num = SYMBOLS if varies else distinct(time)
    assert block.stats.exact == 2 * h.shape[1] * num * NUM_EFFECTIVE


@EACH
@EACH_NETWORK
def test_with_errors_and_powers_of_their_own(network: Any, kind: Any) -> None:
    y, h = received(network, "view")
    generator = torch.Generator().manual_seed(4)
    no = 0.1 + torch.rand(2, h.shape[1], ANTENNAS, dtype=torch.float64, generator=generator)
    err_var = 0.1 * torch.rand(NUM_EFFECTIVE, dtype=torch.float64, generator=generator)
    matrix = kind(h.shape[1])
    block = MMSEEqualizer(*settings(network), nm.Exact(), precision="double")
    found = block(y, h, err_var, no, noise_covariance=matrix)
    for ours, theirs in zip(found, by_sionna(network, y, h, err_var, no, matrix), strict=True):
        close(ours, theirs, 1e-8)


@pytest.mark.parametrize(
    ("kind_of", "theirs"), [(ZFEqualizer, zf_equalizer), (MFEqualizer, mf_equalizer)]
)
@pytest.mark.parametrize("time", ["view", "one symbol"])
@EACH
@pytest.mark.parametrize("network", [NETWORKS["uplink"], NETWORKS["cells"]], ids=str)
def test_the_other_equalizers_are_sionnas(
    network: Any, kind: Any, time: str, kind_of: Any, theirs: Any
) -> None:
    y, h = received(network, time)
    matrix, no = kind(h.shape[1]), torch.tensor(NO, dtype=torch.float64)
    block = kind_of(*settings(network), nm.Exact(), precision="double")
    found = block(y, h, 0.1, no, noise_covariance=matrix)
    error = torch.tensor(0.1, dtype=torch.float64)
    expected = by_sionna(network, y, h, error, no, matrix, theirs)
    for ours, other in zip(found, expected, strict=True):
        close(ours, other, 1e-8)


@pytest.mark.parametrize("whitening", [True, False])
@EACH
@EACH_NETWORK
def test_sinrs_are_sionnas(network: Any, kind: Any, whitening: bool) -> None:
    rg, sm = settings(network)
    _, h = received(network, "one symbol")
    matrix, no = kind(h.shape[1]), torch.tensor(NO, dtype=torch.float64)
    ours = LMMSEPostEqualizationSINR(rg, sm, nm.Exact(), precision="double")
    theirs = TheirSINR(rg, sm, precision="double")
    plain = theirs.compute_interference_covariance_matrix
    correlated = whole(matrix, h.shape[1])
    with patch.object(
        theirs,
        "compute_interference_covariance_matrix",
        lambda **given: plain(**given) + correlated,
    ):
        expected = theirs(h, no, interference_whitening=whitening)
    found = ours(h, no, interference_whitening=whitening, noise_covariance=matrix)
    close(found, expected, 1e-7)


DETECTORS: dict[str, Callable[..., Any]] = {
    "EPDetector": lambda *pair: blocks.EPDetector("bit", *pair, nm.Exact(), 2, precision="double"),
    "KBestDetector": lambda *pair: blocks.KBestDetector(
        "bit", 3, 8, *pair, nm.Exact(), "qam", 2, precision="double"
    ),
    "MaximumLikelihoodDetector": lambda *pair: blocks.MaximumLikelihoodDetector(
        "bit", "maxlog", *pair, nm.Exact(), "qam", 2, precision="double"
    ),
    "MMSEPICDetector": lambda *pair: blocks.MMSEPICDetector(
        "bit", "maxlog", *pair, nm.Exact(), 2, "qam", 2, precision="double"
    ),
}


@EACH
@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_see_what_is_whitened(name: str, kind: Any) -> None:
    """What was whitened before is received in noise of power one."""
    network = NETWORKS["uplink"]
    y, h = received(network, "view")
    block = DETECTORS[name](*settings(network))
    matrix = kind(1)
    shape = (2, 3, 1, block._data_symbols.num_data * 2)
    prior = (torch.zeros(shape),) if name == "MMSEPICDetector" else ()
    # Sionna's blocks round a number to single precision, not a tensor.
    no = torch.tensor(NO, dtype=torch.float64)
    found = block(y, h, *prior, 0.0, no, noise_covariance=matrix)
    s = whole(matrix, 1) + NO * torch.eye(ANTENNAS, dtype=torch.float64)
    inverse = torch.linalg.inv(torch.linalg.cholesky(s))
    effective = block._resource_grid.effective_subcarrier_ind.astype(int)
    white_y = y.clone()
    white_y[..., effective] = torch.einsum("brsfmn,brnsf->brmsf", inverse, y[..., effective])
    white_h = torch.einsum("brsfmn,brntksf->brmtksf", inverse, h)
    # Expectation propagation takes differences of what has nearly been decided.
    close(found, block(white_y, white_h, *prior, 0.0, 1.0), 1e-4)


@EACH
def test_single_precision(kind: Any) -> None:
    network = NETWORKS["uplink"]
    y, h = received(network, "view")
    matrix = kind(1)
    block = MMSEEqualizer(*settings(network), nm.Exact())
    found = block(y.to(torch.complex64), h.to(torch.complex64), 0.0, NO, noise_covariance=matrix)
    expected = by_sionna(network, y, h, torch.zeros(()), torch.tensor(NO).double(), matrix)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype in (torch.complex64, torch.float32)
        close(ours.to(theirs.dtype), theirs, 1e-4)


def test_a_jammer_of_60_db_in_single_precision() -> None:
    """Powers that differ by so much are whitened in double precision."""
    network = NETWORKS["uplink"]
    _, h = received(network, "view")
    # As a block of single precision gets it: Sionna's round their inputs.
    jammer = covariance(rank=1, level=1e6).to(torch.complex64).to(torch.complex128)
    # The signal, with noise of one covariance and of the other.
    x = noise(2, 3, SYMBOLS, FFT_SIZE, seed=6)
    effective = grid(3, 1).effective_subcarrier_ind.astype(int)
    y = torch.zeros(2, 1, ANTENNAS, SYMBOLS, FFT_SIZE, dtype=torch.complex128)
    y[:, 0][..., effective] = torch.einsum("bmksf,bksf->bmsf", h[:, 0, :, :, 0], x[..., effective])
    block = MMSEEqualizer(*settings(network), nm.Exact())
    found = block(y.to(torch.complex64), h.to(torch.complex64), 0.0, NO, noise_covariance=jammer)
    expected = by_sionna(network, y, h, torch.zeros(()), torch.tensor(NO).double(), jammer)
    for ours, theirs in zip(found, expected, strict=True):
        close(ours.to(theirs.dtype), theirs, 1e-3)


def test_a_diagonal_one_is_noise_that_differs_between_antennas() -> None:
    network = NETWORKS["cells"]
    y, h = received(network, "one symbol")
    powers = torch.arange(1.0, ANTENNAS + 1, dtype=torch.float64)
    block = MMSEEqualizer(*settings(network), nm.Exact(), precision="double")
    known = block(y, h, 0.0, powers.expand(2, 2, -1))
    found = block(y, h, 0.0, 0.0, noise_covariance=torch.diag(powers))
    for ours, theirs in zip(found, known, strict=True):
        close(ours, theirs, 1e-10)


@pytest.mark.parametrize("output", ["bit", "symbol"])
def test_detector_demaps_it(output: Any) -> None:
    network = NETWORKS["uplink"]
    y, h = received(network, "view")
    matrix = covariance(NUM_EFFECTIVE)
    detector = MMSEDetector(
        output, "maxlog", *settings(network), nm.Exact(), "qam", 4, precision="double"
    )
    found = detector(y, h, 0.0, NO, noise_covariance=matrix)
    block = MMSEEqualizer(*settings(network), nm.Exact(), precision="double")
    x_hat, no_eff = block(y, h, 0.0, NO, noise_covariance=matrix)
    if output == "bit":
        constellation = Constellation("qam", 4, precision="double")
        expected = Demapper("maxlog", constellation=constellation, precision="double")(
            x_hat, no_eff
        )
        close(found, expected, 1e-8)
    else:
        close(found, detector._demapper(x_hat, no_eff), 1e-8)


@pytest.mark.parametrize("named", ["y", "h", "no", "matrix"])
@pytest.mark.parametrize("kind", ["one", "all"])
def test_gradients_are_those_of_sionnas_equalizer(kind: str, named: str) -> None:
    network = NETWORKS["cells"]
    block = MMSEEqualizer(*settings(network), nm.Exact(), precision="double")

    def gradient(equalize: Callable[..., tuple[Tensor, Tensor]]) -> Tensor:
        y, h = received(network, "every symbol")
        root = noise(*COVARIANCES[kind](2).shape, seed=12).requires_grad_(named == "matrix")
        no = torch.tensor(NO, dtype=torch.float64)
        given = {"y": y, "h": h, "no": no}
        if named != "matrix":
            given[named].requires_grad_()
        x_hat, no_eff = equalize(y, h, no, root @ root.mH)
        weight = noise(*x_hat.shape, seed=9)
        ((x_hat * weight.conj()).real + no_eff * weight.abs()).sum().backward()
        found = root.grad if named == "matrix" else given[named].grad
        assert found is not None
        return found

    def ours(y: Tensor, h: Tensor, no: Tensor, matrix: Tensor) -> Any:
        return block(y, h, 0.0, no, noise_covariance=matrix)

    def theirs(y: Tensor, h: Tensor, no: Tensor, matrix: Tensor) -> Any:
        return by_sionna(network, y, h, torch.zeros(()), no, matrix)

    close(gradient(ours), gradient(theirs), 1e-7)


def test_a_model_is_not_asked(small_model: nm.ScenarioModel) -> None:
    """Whitened channels are no links: what is known of these is no use, and nobody is warned."""
    links = small_model.models["pseudo_inverse"].links
    from sionna.phy.ofdm import ResourceGrid

    rg = ResourceGrid(2, links.fft_size, links.subcarrier_spacing, num_tx=links.num_rows)
    sm = StreamManagement(np.ones([1, links.num_rows]), 1)
    h = links.channel(links.grid_frequencies(), [0]).permute(0, 3, 2, 1)[:, None, :, :, None, None]
    h = h.expand(-1, -1, -1, -1, -1, 2, -1)
    y = noise(1, 1, links.num_cols, 2, links.fft_size, seed=1).to(torch.complex64)
    matrix = torch.eye(links.num_cols) + 0.5
    block = MMSEEqualizer(rg, sm, small_model)
    exact = MMSEEqualizer(rg, sm, nm.Exact())
    found = block(y, h, 0.0, 0.1, noise_covariance=matrix)
    for one, other in zip(found, exact(y, h, 0.0, 0.1, noise_covariance=matrix), strict=True):
        close(one, other, 1e-6)
    assert block.stats.exact == links.fft_size and block.stats.queried == 0
    trusting = MMSEEqualizer(rg, sm, small_model, trust="model")
    link = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r'trust="model" needs noise that is equal'):
        trusting(y, h, 0.0, 0.1, links=link, noise_covariance=matrix)


def test_compiles() -> None:
    network = NETWORKS["uplink"]
    block = MMSEEqualizer(
        *settings(network), nm.Exact(), certify=None, time_varying=False, precision="double"
    )
    y, h = received(network, "view")

    def call(y: Tensor, h: Tensor, matrix: Tensor) -> Any:
        return block(y, h, torch.zeros(()), torch.tensor(NO), noise_covariance=matrix)

    compiled = torch.compile(call, fullgraph=True, backend="eager")
    for one, other in zip(compiled(y, h, covariance()), call(y, h, covariance()), strict=True):
        close(one, other, 1e-10)


@pytest.mark.parametrize("groups", [1, 4, NUM_EFFECTIVE])
@pytest.mark.parametrize("varying", [False, True])
def test_noise_behind_filters(groups: int, varying: bool) -> None:
    """What any linear receiver asks of a covariance: its whitener, and the noise behind W."""
    matrix = covariance(2, groups)
    white = torch.full((1, 1, NUM_EFFECTIVE if varying else 1), NO, dtype=torch.float64)
    colour = NoiseCovariance(matrix, white, NUM_EFFECTIVE)
    w = noise(2, NUM_EFFECTIVE, ANTENNAS, 3, seed=3)
    s = matrix.repeat_interleave(NUM_EFFECTIVE // groups, 1) + NO * torch.eye(
        ANTENNAS, dtype=torch.float64
    )
    tile = slice(5, 29)
    expected = (w.mT @ s @ w.conj()).diagonal(dim1=-2, dim2=-1).real
    close(colour.behind(w[:, tile], tile), expected[:, tile], 1e-12)
    whitener = Whitener.of(colour.at(tile), torch.complex128).inverse.of_each()
    unit = whitener @ s[:, tile] @ whitener.mH
    assert torch.allclose(unit, torch.eye(ANTENNAS, dtype=unit.dtype).expand(unit.shape))


def test_what_is_refused() -> None:
    network = NETWORKS["uplink"]
    y, h = received(network, "view")
    block = MMSEEqualizer(*settings(network), nm.Exact(), precision="double")
    good = covariance()
    skew = good.clone()
    skew[0, 1] += 1
    negative = good - 100 * torch.eye(ANTENNAS)
    # Each pair of antennas is one of a covariance, all of them together are not.
    odd = -0.9 * torch.ones(ANTENNAS, ANTENNAS) + 1.9 * torch.eye(ANTENNAS)
    for matrix, message in (
        (good[1:], r"noise_covariance has the shape \[4, 5\], \[..., 5, 5\] is needed"),
        (covariance(7), "or of one matrix for each resource block"),
        (covariance(3, 1, 1, 1), "noise_covariance has the shape"),
        (good * torch.nan, "noise_covariance has NaN or infinite entries"),
        (skew, "noise_covariance is not Hermitian"),
        (negative, "noise_covariance is not positive semidefinite"),
        (odd, "together are not positive definite"),
    ):
        with pytest.raises(ValueError, match=message):
            block(y, h, 0.0, NO, noise_covariance=matrix)
    with pytest.raises(ValueError, match="and white noise where it is singular"):
        block(y, h, 0.0, 0.0, noise_covariance=torch.zeros(ANTENNAS, ANTENNAS))
