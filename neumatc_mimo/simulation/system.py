"""A cell's downlink from Sionna's system-level blocks, with the precoders from any solver."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import (
    CBFPrecodedChannel,
    LMMSEPostEqualizationSINR,
    PrecodedChannel,
    ResourceGrid,
    RZFPrecodedChannel,
)
from sionna.sys import (
    OuterLoopLinkAdaptation,
    PFSchedulerSUMIMO,
    PHYAbstraction,
    downlink_fair_power_control,
    get_pathloss,
)
from torch import Tensor

from neumatc_mimo.blocks import PRECODED_CHANNELS
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.slot import slot_duration

# Subcarriers of a resource block, OFDM symbols of a slot (3GPP TS 38.211, 4.3.2 and 4.4.4.1).
_BLOCK, _SYMBOLS = 12, 14
# First table of modulation and coding schemes, of the PDSCH.
_TABLE: dict[str, int] = {"mcs_table_index": 1, "mcs_category": 1}
# Sionna's blocks, by our operations.
_THEIRS: dict[str, type[PrecodedChannel]] = {
    "pseudo_inverse": RZFPrecodedChannel,
    "matched_filter": CBFPrecodedChannel,
}
# Thermal noise at 290 K, in dBm a hertz.
_THERMAL_DBM = -174.0


@dataclass(frozen=True)
class SystemSlots:
    """What slots of a cell came to; users that a slot does not serve have zeros in it. Users of
    several antennas have one transport block in all of their streams.

    :param scheduled: Group that each resource block serves, [num_slots, num_resource_blocks], int64
    :param mcs_index: [num_slots, num_groups, num_users], int32
    :param sinr_eff: Effective SINR, linear, [num_slots, num_groups, num_users]
    :param harq_feedback: 1 for a block that arrives, 0 for one that does not, -1 for none,
        [num_slots, num_groups, num_users], int32
    :param num_decoded_bits: [num_slots, num_groups, num_users], int32
    """

    scheduled: Tensor
    mcs_index: Tensor
    sinr_eff: Tensor
    harq_feedback: Tensor
    num_decoded_bits: Tensor


class SystemDownlink:
    """Slots of a cell in which groups of users compete for resource blocks.

    Every link of the link set is a group that its base station serves at once, with a stream for
    each antenna of its users. In each slot, with Sionna's blocks,

    1. :func:`~sionna.sys.downlink_fair_power_control` shares the power of a resource element among
       the users of a group, by their path loss; a user's streams get equal parts of it. Precoders
       that divide the power themselves, by sum rate or SINR, divide all of it;
    2. the precoded channel of each group gives the SINR of each user after equalization, as if all
       resource blocks were the group's;
    3. :class:`~sionna.sys.PFSchedulerSUMIMO` gives each resource block to the group whose sum rate
       there exceeds its past rate most;
    4. :class:`~sionna.sys.OuterLoopLinkAdaptation` chooses the users' modulation and coding schemes
       by the effective SINRs and acknowledgements of the past;
    5. :class:`~sionna.sys.PHYAbstraction` draws which transport blocks arrive.

    Precoders know the channel, which is constant over a slot; users that move have another one in
    the next slot. Only they differ between solvers: what is drawn depends on ``seed`` alone.

    :param links: Links of several users, the groups; a grid of whole resource blocks of one of
        5G NR's spacings
    :param solver: ScenarioModel or any other solver; `None` is Sionna's own block, of
        ``precoding`` "pseudo_inverse" or "matched_filter"
    :param precoding: Name of the operation that precodes, one of
        ``neumatc_mimo.blocks.PRECODED_CHANNELS``: "pseudo_inverse" is zero forcing. Those that
        depend on a noise power get that of the receivers over the mean power of a stream
    :param num_ofdm_symbols: OFDM symbols of the channel that precoders are made from: all of a
        slot's, or one that stands for them
    :param bs_power_dbm: Power of the base station over the whole band
    :param noise_figure_db: Of the users' receivers
    :param bler_target: Of the link adaptation
    :param seed: Of the transport blocks' fate

    ``channel`` is the block that computes the effective channels.
    """

    def __init__(
        self,
        links: LinkSet,
        solver: Any,
        *,
        precoding: str = "pseudo_inverse",
        num_ofdm_symbols: int = _SYMBOLS,
        bs_power_dbm: float = 20.0,
        noise_figure_db: float = 7.0,
        bler_target: float = 0.1,
        seed: int = 0,
    ) -> None:
        _check_links(links)
        self.links = links
        self._num_symbols, self._seed = num_ofdm_symbols, seed
        self._moves = links.doppler is not None
        num_users, num_streams, device = links.num_users, links.num_rows, str(links.device)
        options: dict[str, Any] = {"precision": "single", "device": device}
        self._options = options
        grid = ResourceGrid(
            num_ofdm_symbols,
            links.fft_size,
            links.subcarrier_spacing,
            num_tx=1,
            num_streams_per_tx=num_streams,
            **options,
        )
        streams = StreamManagement(np.ones([num_users, 1]), num_streams)
        self._association = torch.ones(num_users, 1, dtype=torch.int64)
        self.channel = _channel_block(precoding, solver, grid, streams, options)
        # Sionna's blocks know neither.
        self._asks_noise = getattr(self.channel, "asks_noise", False)
        self._divides_power = getattr(self.channel, "divides_power", False)
        # What computes from the channel alone needs no time.
        self._told_time = self._moves and getattr(self.channel, "asks_solver", False)
        self._sinr = LMMSEPostEqualizationSINR(grid, streams, **options)
        self._bler_target = bler_target
        # Watts, of a resource element.
        self._power = float(10 ** (bs_power_dbm / 10 - 3)) / links.fft_size
        noise_dbm = _THERMAL_DBM + noise_figure_db + 10 * np.log10(links.subcarrier_spacing)
        self._no = torch.tensor(10 ** (noise_dbm / 10 - 3), device=links.device)
        # What the row scaling did is undone: powers are those of the paths.
        self._gains = links.row_gains[:, None, :, None].to(torch.float32)

    @property
    def slot_duration(self) -> float:
        """Seconds."""
        return slot_duration(self.links.subcarrier_spacing)

    @torch.no_grad()
    def __call__(self, num_slots: int) -> SystemSlots:
        """Simulate so many slots, from the begin of a burst where users move.

        :raises ValueError: If the burst has fewer slots
        """
        links = self.links
        most = round(links.duration / self.slot_duration)
        if num_slots < 1 or (self._moves and num_slots > most):
            raise ValueError(
                f"num_slots is {num_slots}, at least one is needed"
                + (f" and at most the {most} of the links' burst." if self._moves else ".")
            )
        num_groups, num_users = links.num_links, links.num_users
        phy = _phy_abstraction(str(links.device))
        phy.generator.manual_seed(self._seed)
        num_blocks = links.fft_size // _BLOCK
        scheduler = PFSchedulerSUMIMO(num_groups, num_blocks, _SYMBOLS, **self._options)
        adaptation = OuterLoopLinkAdaptation(
            phy, num_users, self._bler_target, batch_size=[num_groups], **self._options
        )
        rate = torch.zeros(num_groups, device=links.device)
        harq_feedback = sinr_eff = None
        slots = []
        for slot in range(num_slots):
            sinr = self._sinrs(slot)  # [num_groups, fft_size, num_users, num_streams_per_rx]
            rates = torch.log2(1 + sinr).sum((-2, -1)).unflatten(1, (num_blocks, _BLOCK)).mean(2)
            achievable = rates.mT.expand(_SYMBOLS, -1, -1)
            served = scheduler(rate, achievable)[..., 0]  # [_SYMBOLS, num_blocks, num_groups]
            mask = served.repeat_interleave(_BLOCK, dim=1).permute(2, 0, 1)
            num_allocated = mask.sum((1, 2)).to(torch.int32)[:, None].expand(-1, num_users)
            mcs_index = adaptation(num_allocated, harq_feedback, sinr_eff, **_TABLE)
            bits, harq_feedback, sinr_eff, _, _ = phy(
                mcs_index, sinr=sinr[:, None] * mask[..., None, None], **_TABLE
            )
            rate = bits.sum(-1) / (_SYMBOLS * links.fft_size)
            slots.append((served[0].int().argmax(-1), mcs_index, sinr_eff, harq_feedback, bits))
        parts = map(torch.stack, zip(*slots, strict=True))
        names = (field.name for field in fields(SystemSlots))
        return SystemSlots(**dict(zip(names, parts, strict=True)))

    def _sinrs(self, slot: int) -> Tensor:
        """SINR of each stream after equalization, [num_groups, fft_size, num_users,
        num_streams_per_rx].
        """
        links, time = self.links, slot * self.slot_duration
        found = []
        for group in range(links.num_links):
            h = links.channel(links.grid_frequencies(), [group], time=time) / self._gains[group]
            # [1, num_users, num_rx_ant, 1, num_tx_ant, num_ofdm_symbols, fft_size], a view
            h = h.permute(0, 2, 3, 1).unflatten(1, (links.num_users, -1))[:, :, :, None, :, None]
            h = h.expand(-1, -1, -1, -1, -1, self._num_symbols, -1)
            named: dict[str, Any] = {"time": time} if self._told_time else {}
            power = self._powers(h[..., :1, :])
            if self._asks_noise:
                named["no"] = self._no / power.mean()
            h_eff = self.channel(h, power, **named)
            # Of one OFDM symbol, as the channel is constant.
            found.append(self._sinr(h_eff[..., :1, :], self._no)[:, 0])
        return torch.cat(found)

    def _powers(self, h: Tensor) -> Tensor:
        """Power of each stream in watts a resource element, [1, 1, num_streams]."""
        _, pathloss = get_pathloss(h, self._association, precision="single")
        # Shares of one watt: Sionna's bisection ends at 1e-5 W, more than a resource element has.
        share, _ = downlink_fair_power_control(
            pathloss[..., 0], self._no / self._power, 1, 30.0, precision="single"
        )
        power = self._power * share[:, None] / self.links.antennas_per_user
        if self._divides_power:
            power = power.mean(-1, keepdim=True).expand_as(power)
        return power.repeat_interleave(self.links.antennas_per_user, -1)


def _channel_block(
    precoding: str, solver: Any, grid: Any, streams: Any, options: dict[str, Any]
) -> Any:
    """The precoded channel of an operation."""
    if solver is None:
        if precoding not in _THEIRS:
            raise ValueError(
                f'precoding is "{precoding}", Sionna has only {" and ".join(_THEIRS)}; give a '
                "solver, such as Exact()."
            )
        return _THEIRS[precoding](grid, streams, **options)
    kind: Any = PRECODED_CHANNELS.find(precoding)
    return kind(grid, streams, *([solver] if kind.asks_solver else []), **options)


def _check_links(links: LinkSet) -> None:
    """Refuse links that are not those of a cell's groups of users on whole resource blocks."""
    if links.kind != "multi_user":
        raise ValueError("links have one user each, those of several users are needed.")
    stations = len(links.base_station.unique())
    if stations > 1:
        raise ValueError(
            f"links are those of {stations} base stations, a cell has one; choose its links with "
            "links.select."
        )
    if links.fft_size % _BLOCK:
        raise ValueError(
            f"links have {links.fft_size} subcarriers, whole resource blocks of {_BLOCK} are "
            "needed."
        )


class _PHYAbstraction(PHYAbstraction):
    """Sionna's, with random numbers of its own instead of the process's."""

    def __init__(self, device: str) -> None:
        self.generator = torch.Generator(device)
        super().__init__(precision="single", device=device)

    @property
    def torch_rng(self) -> torch.Generator:
        return self.generator


@functools.cache
def _phy_abstraction(device: str) -> _PHYAbstraction:
    """Its tables take seconds to interpolate."""
    return _PHYAbstraction(device)
