"""Fewer streams than a receiver has antennas, and receivers of different ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import LMMSEPostEqualizationSINR, ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo import blocks
from tests.blocks.common import FFT_SIZE, SYMBOLS, close, grid, in_time, noise

EXACT = nm.Exact()
USERS, ANTENNAS, NO = 3, 12, 0.3
MOST = 2
# Antennas of a user, and the ranks.
CASES: dict[str, tuple[int, tuple[int, ...] | None]] = {
    "fewer": (3, None),
    "different": (3, (2, 1, 1)),
    "different, of all antennas": (2, (1, 2, 1)),
}
EACH_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
# Precoders, their precoded channels, and what they are called with.
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "zf": (blocks.ZFPrecoder, blocks.ZFPrecodedChannel, {"alpha": NO}),
    "wmmse": (blocks.WMMSEPrecoder, blocks.WMMSEPrecodedChannel, {"no": NO}),
    "max_min": (blocks.MaxMinPrecoder, blocks.MaxMinPrecodedChannel, {"no": NO}),
    "slnr": (blocks.SLNRPrecoder, blocks.SLNRPrecodedChannel, {"no": NO}),
    "bd": (blocks.BDPrecoder, blocks.BDPrecodedChannel, {}),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
# Those that give each row of a channel a stream, and those that give a receiver its strongest ones.
MODES, COLUMNS = ("zf", "max_min"), ("slnr", "bd")


def pair(num_users: int = USERS, most: int = MOST) -> tuple[ResourceGrid, StreamManagement]:
    association = np.ones([num_users, 1])
    rg = grid(1, num_users * most, pilot_pattern=None)
    return rg, StreamManagement(association, num_users * most)


def channel(num_rx_ant: int, *, items: int = 2, seed: int = 2) -> Tensor:
    return in_time(noise(items, USERS, num_rx_ant, 1, ANTENNAS, 1, FFT_SIZE, seed=seed), "view")


def symbols(items: int = 2) -> Tensor:
    return noise(items, 1, USERS * MOST, SYMBOLS, FFT_SIZE, seed=1)


def sent_of(ranks: tuple[int, ...] | None) -> list[int]:
    """Streams that are sent."""
    return [u * MOST + i for u in range(USERS) for i in range((ranks or (MOST,) * USERS)[u])]


def gains_of(h_eff: Tensor) -> Tensor:
    """[batch_size, num_effective, num_users, num_rx_ant, num_streams] of the first symbol."""
    return h_eff[:, :, :, 0, :, 0].permute(0, 4, 1, 2, 3)


def modes(h: Tensor, ranks: tuple[int, ...] | None, effective: Any) -> Tensor:
    """U^H of the strongest singular values of each user, and U^H H, on effective subcarriers:
    single-antenna users in Sionna's layout.
    """
    given = h[:, :, :, 0, :, 0][..., effective].permute(0, 4, 1, 2, 3)
    _, s, vh = torch.linalg.svd(given, full_matrices=False)
    rows = s[..., None] * vh
    return torch.stack(
        [rows[:, :, u, i] for u in range(USERS) for i in range((ranks or (MOST,) * USERS)[u])],
        2,
    )


@EACH_KIND
def test_as_many_as_there_are_is_what_it_was(kind: Any) -> None:
    precoder, channel_block, given = kind
    h, x = channel(MOST), symbols()
    plain = precoder(*pair(), EXACT, True, precision="double")(x, h, **given)
    told = precoder(*pair(), EXACT, True, precision="double", ranks=[MOST] * USERS)(x, h, **given)
    assert all(torch.equal(one, other) for one, other in zip(plain, told, strict=True))
    power = torch.ones(2)
    one = channel_block(*pair(), EXACT, precision="double")(h, power, **given)
    other = channel_block(*pair(), EXACT, precision="double", ranks=[2, 2, 2])(h, power, **given)
    assert torch.equal(one, other)


@EACH_CASE
@EACH_KIND
def test_streams_that_are_not_sent_are_nowhere(kind: Any, case: Any) -> None:
    precoder, channel_block, given = kind
    num_rx_ant, ranks = case
    h, x = channel(num_rx_ant), symbols()
    block = precoder(*pair(), EXACT, True, precision="double", ranks=ranks)
    precoded, h_eff = block(x, h, **given)
    sent = sent_of(ranks)
    silent = [s for s in range(USERS * MOST) if s not in sent]
    assert not bool(h_eff[:, :, :, :, silent].any())
    assert bool((h_eff[:, :, :, :, sent].abs().amax((1, 2)) > 0).all())
    other = x.clone()
    other[:, :, silent] = 7
    assert torch.equal(block(other, h, **given)[0], precoded)
    # What arrives is what the effective channel says.
    effective = block._resource_grid.effective_subcarrier_ind.astype(int)
    heard = torch.einsum("bumtnsf,btnsf->bumsf", h, precoded)[..., effective]
    told = torch.einsum("bumtksf,btksf->bumsf", h_eff, x[..., effective])
    close(heard, told, 1e-10)
    own = channel_block(*pair(), EXACT, precision="double", ranks=ranks)
    close(own(h, torch.ones(2), **given), h_eff, 1e-10)
    # Another channel than the one known: not by the same path.
    close(own(h, torch.ones(2), h.clone(), **given), h_eff, 1e-10)


@EACH_CASE
@pytest.mark.parametrize("name", COLUMNS)
def test_strongest_streams_are_those_of_all(name: str, case: Any) -> None:
    """Columns of the precoder of all streams."""
    precoder, _, given = KINDS[name]
    num_rx_ant, ranks = case
    h = channel(num_rx_ant)
    block = precoder(*pair(), EXACT, True, precision="double", ranks=ranks)
    _, h_eff = block(symbols(), h, **given)
    all_of_it = pair(most=num_rx_ant)
    every = precoder(*all_of_it, EXACT, True, precision="double")
    x = noise(2, 1, USERS * num_rx_ant, SYMBOLS, FFT_SIZE, seed=1)
    whole = every(x, h, **given)[1].unflatten(4, (USERS, num_rx_ant))
    ranked = h_eff.unflatten(4, (USERS, MOST))
    for user, rank in enumerate(ranks or (MOST,) * USERS):
        close(ranked[:, :, :, :, user, :rank], whole[:, :, :, :, user, :rank], 1e-9)


@EACH_CASE
def test_zero_forcing_between_modes(case: Any) -> None:
    num_rx_ant, ranks = case
    h = channel(num_rx_ant)
    block = blocks.ZFPrecodedChannel(*pair(), EXACT, precision="double", ranks=ranks)
    gains = gains_of(block(h, torch.ones(2)))
    effective = block._resource_grid.effective_subcarrier_ind.astype(int)
    given = h[:, :, :, 0, :, 0][..., effective].permute(0, 4, 1, 2, 3)
    u, _, _ = torch.linalg.svd(given, full_matrices=False)
    sent = sent_of(ranks)
    for stream in sent:
        # Behind the left singular vector of a stream there is that stream alone.
        user, i = divmod(stream, MOST)
        behind = (u[:, :, user, :, i].conj()[..., None] * gains[:, :, user]).sum(-2).abs()
        others = [other for other in sent if other != stream]
        assert bool((behind[..., others].amax(-1) < 1e-10 * behind[..., stream]).all())


@EACH_CASE
@pytest.mark.parametrize("name", MODES)
def test_modes_are_users_of_one_antenna(name: str, case: Any) -> None:
    """The same block for what users hear along their strongest left singular vectors, up to
    phases.
    """
    _, channel_block, given = KINDS[name]
    num_rx_ant, ranks = case
    h = channel(num_rx_ant)
    block = channel_block(*pair(), EXACT, precision="double", ranks=ranks)
    gains = gains_of(block(h, torch.ones(2), **given)).abs()
    every = slice(None)
    rows = modes(h, ranks, every)  # [2, FFT_SIZE, num_sent, ANTENNAS]
    num = rows.shape[2]
    single = rows.permute(0, 2, 3, 1)[:, :, None, None, :, None].expand(
        -1, -1, -1, -1, -1, SYMBOLS, -1
    )
    one_each = channel_block(*pair(num, 1), EXACT, precision="double")
    v_eff = one_each(
        h.flatten(1, 2)[:, :num, None].expand(-1, -1, 1, -1, -1, -1, -1),
        torch.ones(2),
        single,
        **given,
    )
    # Through the actual channel of the first antennas.
    found = gains.flatten(2, 3)[:, :, :num][..., sent_of(ranks)]
    close(found, v_eff[:, :, 0, 0, :, 0].permute(0, 3, 1, 2).abs(), 1e-8)


@EACH_CASE
def test_wmmse_maximises_the_rate_of_receivers_that_equalize_together(case: Any) -> None:
    num_rx_ant, ranks = case
    h = channel(num_rx_ant)

    def rate(kind: Any, **given: Any) -> Tensor:
        """Sum rate of each subcarrier."""
        gains = gains_of(
            kind(*pair(), EXACT, precision="double", ranks=ranks)(h, torch.ones(2), **given)
        )
        total = torch.zeros(gains.shape[:2], dtype=torch.float64)
        eye = torch.eye(num_rx_ant)
        for user in range(USERS):
            heard = gains[:, :, user].unflatten(-1, (USERS, MOST))
            own = heard[..., user, :]
            every = heard.flatten(-2)
            noise_only = every @ every.mH - own @ own.mH + NO * eye
            total += torch.linalg.slogdet(every @ every.mH + NO * eye).logabsdet
            total -= torch.linalg.slogdet(noise_only).logabsdet
        return total

    best = rate(blocks.WMMSEPrecodedChannel, no=NO)
    for name in ("zf", "slnr", "max_min"):
        _, kind, given = KINDS[name]
        others = rate(kind, **given)
        assert bool((best > 0.999 * others).all()) and float(best.mean()) > float(others.mean())


def test_gradients_of_zero_forcing_between_modes() -> None:
    h = channel(3, items=1)
    ranks = (2, 1, 1)
    weight = torch.rand(1, USERS, 3, 1, USERS * MOST, 1, 1, dtype=torch.float64)

    def by_pytorch(h: Tensor) -> Tensor:
        rows = modes(h, ranks, slice(None))
        v = rows.mH @ torch.linalg.inv(rows @ rows.mH)
        v = v / torch.linalg.vector_norm(v, dim=-2, keepdim=True)
        whole = torch.zeros(*v.shape[:-1], USERS * MOST, dtype=v.dtype)
        whole[..., sent_of(ranks)] = v
        return torch.einsum("bumtnsf,bfnk->bumtksf", h, whole)

    def gradient(effective: Any, *, all_of_it: bool) -> Tensor:
        given = h.contiguous().detach().requires_grad_()
        # Of constant symbols alone: each has its own.
        out = effective(given if all_of_it else given[..., :1, :])
        (out.abs().square() * weight).sum().backward()
        assert given.grad is not None
        return given.grad.sum(-2)

    rg = ResourceGrid(SYMBOLS, FFT_SIZE, 30e3, num_tx=1, num_streams_per_tx=USERS * MOST)
    block = blocks.ZFPrecodedChannel(rg, pair()[1], EXACT, precision="double", ranks=ranks)
    ours = gradient(lambda h: block(h, torch.ones(1)), all_of_it=True)
    theirs = SYMBOLS * gradient(by_pytorch, all_of_it=False)
    close(ours, theirs, 1e-8)


@pytest.mark.parametrize("power", ["uniform", "waterfilling"])
def test_beams(power: Any) -> None:
    """Two links of different ranks, each with the other one's interference."""
    sm = StreamManagement(np.eye(2), 3)
    rg = grid(2, 3, pilot_pattern=None)
    ranks = (3, 1)
    h = in_time(noise(2, 2, 4, 2, 8, 1, FFT_SIZE, seed=2), "view").clone()
    # Neither hears the other: what arrives is what was sent.
    h[:, 0, :, 1] = h[:, 1, :, 0] = 0
    x = noise(2, 2, 3, SYMBOLS, FFT_SIZE, seed=1)
    options = {"precision": "double", "power": power, "ranks": ranks}
    sender = blocks.SVDBeamformer(rg, sm, EXACT, True, **options)
    receiver = blocks.SVDCombiner(rg, sm, EXACT, **options)
    precoded, h_eff = sender(x, h, no=1.0)
    assert not bool(h_eff[:, :, :, 1, 1:].any()) and bool(h_eff[:, 1, :, 1, 0].any())
    y = torch.einsum("brmtnsf,btnsf->brmsf", h, precoded)
    x_hat, no_eff = receiver(y, h, 1.0)
    expected = receiver._data_symbols(x[..., rg.effective_subcarrier_ind.astype(int)])
    got = no_eff.isfinite()
    assert not bool(got[:, 1, 1:].any()) and bool(got[:, 1, 0].all() and got[:, 0, 0].all())
    assert not bool(x_hat[:, 1, 1:].any())
    assert torch.allclose(x_hat[got], expected[got])
    own = blocks.SVDPrecodedChannel(rg, sm, EXACT, **options)(h, torch.ones(2), no=1.0)
    close(own, h_eff, 1e-10)
    sent = torch.linalg.vector_norm(sender(torch.ones_like(x), h, no=1.0)[0], dim=2).square()
    # Orthogonal beams of ones: the power of a link is its rank on every subcarrier.
    close(sent[:, 1], torch.full_like(sent[:, 1], ranks[1]), 1e-10)
    close(sent[:, 0], torch.full_like(sent[:, 0], ranks[0]), 1e-10)


@EACH_KIND
def test_receivers_take_them_as_they_are(kind: Any) -> None:
    """An equalizer of the effective channel, and Sionna's SINR: zero for what is not sent."""
    precoder, _, given = kind
    ranks, (rg, sm) = (2, 1, 1), pair()
    h, x = channel(3), symbols()
    precoded, h_eff = precoder(rg, sm, EXACT, True, precision="double", ranks=ranks)(x, h, **given)
    y = torch.einsum("bumtnsf,btnsf->bumsf", h, precoded)
    equalizer = blocks.MMSEEqualizer(rg, sm, EXACT, precision="double")
    x_hat, no_eff = equalizer(y, h_eff, 0.0, 1e-6)
    sent = sent_of(ranks)
    silent = [s for s in range(USERS * MOST) if s not in sent]
    assert not bool(x_hat[:, :, silent].any()) and bool(no_eff[:, :, silent].isinf().all())
    assert bool(no_eff[:, :, sent].isfinite().all())
    sinr = LMMSEPostEqualizationSINR(rg, sm, precision="double")(h_eff, torch.tensor(0.1))
    assert not bool(sinr.flatten(-2)[..., silent].any())
    assert bool((sinr.flatten(-2)[..., sent] > 0).all())


@EACH_KIND
def test_single_precision(kind: Any) -> None:
    precoder, _, given = kind
    h, x = channel(3), symbols()
    precise = precoder(*pair(), EXACT, precision="double", ranks=(2, 1, 1))(x, h, **given)
    block = precoder(*pair(), EXACT, ranks=(2, 1, 1))
    found = block(x.to(torch.complex64), h.to(torch.complex64), **given)
    close(found.to(precise.dtype), precise, 2e-3)


def test_compiles() -> None:
    block = blocks.ZFPrecoder(
        *pair(), EXACT, certify=None, time_varying=False, precision="double", ranks=(2, 1, 1)
    )
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    close(compiled(symbols(), channel(3)), block(symbols(), channel(3)), 1e-9)


def test_a_model_is_not_asked_for_modes(small_model: nm.ScenarioModel) -> None:
    links = small_model.models["pseudo_inverse"].links
    rg = ResourceGrid(2, links.fft_size, links.subcarrier_spacing, num_tx=1, num_streams_per_tx=1)
    sm = StreamManagement(np.ones([1, 1]), 1)
    h = links.channel(links.grid_frequencies(), [0]).permute(0, 2, 3, 1)[:, None, :, None, :, None]
    x = noise(1, 1, 1, 2, links.fft_size, seed=1).to(torch.complex64)
    block = blocks.ZFPrecoder(rg, sm, small_model)
    close(block(x, h), blocks.ZFPrecoder(rg, sm, nm.Exact())(x, h), 1e-6)
    assert block.stats.exact == links.fft_size and block.stats.links_unknown == 0
    trusting = blocks.ZFPrecoder(rg, sm, small_model, trust="model")
    with pytest.raises(ValueError, match="needs a stream for each antenna of a receiver"):
        trusting(x, h, links=torch.zeros(1, dtype=torch.int64))


def test_what_is_refused() -> None:
    for kind in (blocks.ZFPrecoder, blocks.BDPrecodedChannel, blocks.WMMSEPrecoder):
        for ranks in ((2, 1), (2, 1, 3), (2, 1, 0)):
            with pytest.raises(ValueError, match="one number from 1 to 2 for each of the 3"):
                kind(*pair(), EXACT, ranks=ranks)
    block = blocks.ZFPrecoder(*pair(), EXACT)
    with pytest.raises(ValueError, match="3 receivers of 1 antennas make 3 rows"):
        block(symbols(), channel(1))
    with pytest.raises(ValueError, match="9 streams are more than the 8 antennas"):
        blocks.BDPrecoder(*pair(), EXACT)(symbols(), channel(3)[:, :, :, :, :8])
