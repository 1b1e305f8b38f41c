"""5G NR uplink slots from Sionna's PUSCH blocks, with the matrices from any solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.nr import (
    PUSCHConfig,
    PUSCHLSChannelEstimator,
    PUSCHReceiver,
    PUSCHTransmitter,
)
from sionna.phy.ofdm import LinearDetector, ResourceGrid
from sionna.phy.utils import ebnodb2no
from torch import Tensor

from neumatc_mimo import blocks
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.simulation.draws import Draws
from neumatc_mimo.simulation.pilots import CSI
from neumatc_mimo.simulation.pipeline import propagate


@dataclass(frozen=True)
class DMRS:
    """Demodulation reference signals of a slot, as in :class:`~sionna.phy.nr.PUSCHDMRSConfig`.

    :param config_type: 1 or 2
    :param length: Front-loaded symbols, 1 or 2
    :param additional_position: Additional positions, 0 to 3
    :param num_cdm_groups_without_data: 1, 2 or 3
    """

    config_type: int = 1
    length: int = 1
    additional_position: int = 0
    num_cdm_groups_without_data: int = 2

    def __str__(self) -> str:
        return (
            f"type {self.config_type}, length {self.length}, {self.additional_position} more, "
            f"{self.num_cdm_groups_without_data} groups"
        )


def pusch_transmitter(
    num_users: int,
    num_resource_blocks: int,
    subcarrier_spacing: float,
    dmrs: DMRS | None = None,
    *,
    mcs_index: int = 14,
    mcs_table: int = 1,
    device: str | None = None,
) -> PUSCHTransmitter:
    """The transmitter of single-antenna users, one layer and DMRS port each, called with bits.

    :param subcarrier_spacing: Hz, one of 5G NR's
    :param dmrs: Reference signals; their default if `None`

    :raises ValueError: If there are fewer DMRS ports than users
    """
    dmrs = dmrs or DMRS()
    configs = []
    for user in range(num_users):
        config = PUSCHConfig()
        config.carrier.n_size_grid = num_resource_blocks
        config.carrier.subcarrier_spacing = subcarrier_spacing / 1e3
        config.tb.mcs_index, config.tb.mcs_table = mcs_index, mcs_table
        for name, value in vars(dmrs).items():
            setattr(config.dmrs, name, value)
        ports = config.dmrs.allowed_dmrs_ports
        if num_users > len(ports):
            raise ValueError(
                f"{num_users} users need as many DMRS ports, those of {dmrs} are {len(ports)}."
            )
        config.dmrs.dmrs_port_set = [ports[user]]
        configs.append(config)
    return PUSCHTransmitter(configs, return_bits=False, precision="single", device=device)


class PUSCHUplink:
    """Transport blocks of K single-antenna users in 5G NR's uplink, as ``sim_ber`` calls them.

    Sionna's :class:`~sionna.phy.nr.PUSCHTransmitter` and :class:`~sionna.phy.nr.PUSCHReceiver`
    with :class:`~neumatc_mimo.blocks.MMSEDetector` as the receiver's detector, over the links of a
    link set in turn, as in :class:`~neumatc_mimo.simulation.Pipeline`. The channel is constant
    over a slot. Bits, links and noise depend on ``seed``, Eb/N0 and the index of the call alone.

    :param links: Links of several single-antenna users, on a grid of one of 5G NR's spacings.
        Estimates are good for links with timing advance only, ``links.timing_advanced()``.
    :param solver: ScenarioModel or any other solver; `None` is Sionna's own detector
    :param csi: What the detector is given: the channel itself ("perfect"), or the estimate of
        :class:`~sionna.phy.nr.PUSCHLSChannelEstimator` with nearest-neighbour ("nn") or linear
        ("lin") interpolation
    :param trust: As for the blocks
    :param dmrs: Reference signals; their default if `None`
    :param num_resource_blocks: Of 12 subcarriers around the carrier; as many as fit if `None`
    :param mcs_index: Modulation and coding scheme
    :param mcs_table: Its table
    :param seed: Seed of bits and noise

    :input batch_size: Number of slots
    :input ebno_db: Eb/N0 in dB

    :output bits: [batch_size, num_tx, tb_size], `torch.float`
    :output bits_hat: as ``bits``
    """

    def __init__(
        self,
        links: LinkSet,
        solver: Any,
        *,
        csi: CSI = "perfect",
        trust: str = "estimate",
        dmrs: DMRS | None = None,
        num_resource_blocks: int | None = None,
        mcs_index: int = 14,
        mcs_table: int = 1,
        seed: int = 0,
    ) -> None:
        if csi not in ("perfect", "nn", "lin"):
            raise ValueError(f'csi is {csi!r}, it must be "perfect", "nn" or "lin".')
        num_blocks = links.fft_size // 12 if num_resource_blocks is None else num_resource_blocks
        _check_links(links, num_blocks)
        self.links = links
        self._device = str(links.device)
        self._trust = trust
        self._draws = Draws(links, seed)
        dmrs = dmrs or DMRS()
        self.transmitter = pusch_transmitter(
            links.num_rows,
            num_blocks,
            links.subcarrier_spacing,
            dmrs,
            mcs_index=mcs_index,
            mcs_table=mcs_table,
            device=self._device,
        )
        grid = self.transmitter.resource_grid
        options: dict[str, Any] = {"precision": "single", "device": self._device}
        index = torch.arange(grid.fft_size, dtype=torch.float64, device=links.device)
        self._h = links.channel((index - grid.fft_size // 2) * links.subcarrier_spacing)
        streams = StreamManagement(np.ones([1, links.num_rows]), 1)
        num_bits = int(self.transmitter._num_bits_per_symbol)
        if solver is None:
            self.detector: Any = LinearDetector(
                "lmmse", "bit", "maxlog", grid, streams, "qam", num_bits, **options
            )
        else:
            self.detector = blocks.MMSEDetector(
                "bit", "maxlog", grid, streams, solver, "qam", num_bits, **options, trust=trust
            )
        self._perfect = csi == "perfect"
        self.estimator: Any = "perfect" if self._perfect else _estimator(grid, dmrs, csi, options)
        self._receiver = PUSCHReceiver(
            self.transmitter, self.estimator, self._detect, stream_management=streams, **options
        )

    def noise_power(self, ebno_db: float | Tensor) -> Tensor:
        """Noise power at a receive antenna for this Eb/N0."""
        no: Tensor = ebnodb2no(
            torch.as_tensor(float(ebno_db)),
            int(self.transmitter._num_bits_per_symbol),
            float(self.transmitter._target_coderate),
            precision="single",
            device=self._device,
        )
        return no

    @torch.no_grad()
    def __call__(self, batch_size: int, ebno_db: float | Tensor) -> tuple[Tensor, Tensor]:
        bits, y, h, no = self.slots(batch_size, ebno_db)
        bits_hat: Tensor = self._receiver(y, no, h) if self._perfect else self._receiver(y, no)
        return bits, bits_hat

    @torch.no_grad()
    def slots(
        self, batch_size: int, ebno_db: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bits of the next slots, what is received of them, channel and noise power, as
        :class:`~sionna.phy.nr.PUSCHReceiver` takes them.
        """
        point = float(ebno_db)
        self._link, generator = self._draws(batch_size, point)
        shape = (batch_size, self.links.num_rows, int(self.transmitter._tb_size))
        bits = torch.randint(0, 2, shape, generator=generator, device=self._device).float()
        x = self.transmitter(bits)[:, :, 0]  # [batch_size, K, num_ofdm_symbols, fft_size]
        h = self._h[self._link]  # [batch_size, fft_size, K, M]
        y = propagate(h.mT, x)
        no = self.noise_power(point)
        noise = torch.randn(y.shape, dtype=y.dtype, generator=generator, device=self._device)
        y = (y + no.sqrt() * noise)[:, None]
        # [batch_size, 1, M, K, 1, num_ofdm_symbols, fft_size], a view
        h = h.permute(0, 3, 2, 1)[:, None, :, :, None, None]
        return bits, y, h.expand(*h.shape[:5], y.shape[3], -1), no

    def _detect(self, y: Tensor, h_hat: Tensor, err_var: Tensor, no: Tensor) -> Tensor:
        """The detector as the receiver calls it, which knows no links."""
        named = {"links": self._link} if self._trust == "model" else {}
        llr: Tensor = self.detector(y, h_hat, err_var, no, **named)
        return llr


def _check_links(links: LinkSet, num_blocks: int) -> None:
    """Refuse links of other users, or with fewer subcarriers than the resource blocks have."""
    if links.antennas_per_user != 1 or links.kind != "multi_user":
        raise ValueError("links have users of several antennas, single-antenna users are needed.")
    if not 0 < 12 * num_blocks <= links.fft_size:
        raise ValueError(
            f"num_resource_blocks is {num_blocks}, from 1 to {links.fft_size // 12} fit the "
            f"{links.fft_size} subcarriers of the links."
        )


def _estimator(
    grid: ResourceGrid, dmrs: DMRS, csi: CSI, options: dict[str, Any]
) -> PUSCHLSChannelEstimator:
    """The estimator that interpolates between reference signals."""
    return PUSCHLSChannelEstimator(
        grid,
        dmrs.length,
        dmrs.additional_position,
        dmrs.num_cdm_groups_without_data,
        interpolation_type=csi,
        **options,
    )
