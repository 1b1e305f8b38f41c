"""Channels that no ray tracer has seen: Rayleigh fading, TDL and CDL, as Sionna draws them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from sionna.phy.channel import RayleighBlockFading, cir_to_ofdm_channel
from sionna.phy.channel.tr38901 import CDL, TDL, PanelArray
from torch import Tensor

from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.path_links import PathLinks

# Draws impulse responses of one user each: a and tau of [num_users, 1, K, 1, M, paths, 1].
Users = Callable[[int], tuple[Tensor, Tensor]]

_DELAY_SPREAD = 100e-9
_SAMPLING = 30e3


@dataclass(frozen=True, eq=False, repr=False)
class Drawn(PathLinks):
    """Links whose channels follow from no paths.

    :param drawn: [num_links, fft_size, K, M] on the grid's subcarriers, and on no others
    """

    drawn: Tensor = field(default_factory=lambda: torch.empty(0))

    def channel(self, frequencies: Tensor, links: Any = None, **settings: Any) -> Tensor:
        """What was drawn."""
        del frequencies
        dtype = settings.get("dtype", torch.complex64)
        return self.drawn[self.check_links(links)].to(dtype)


def drawn(like: LinkSet, num_links: int, families: list[Users]) -> Drawn:
    """Links of the sizes and the grid of others.

    Each user of a link has unit mean power, as in a scenario.

    :param families: of each user of a link in turn
    """
    users = [
        _responses(like, *families[user % len(families)](num_links))
        for user in range(like.num_users)
    ]
    h = torch.cat(users, dim=2)
    selected = vars(like.select([0] * num_links))
    return Drawn(**selected, drawn=h)


def on_fewer_subcarriers(links: LinkSet, step: int) -> LinkSet:
    """The same band with every step-th subcarrier."""
    size = links.fft_size // step
    return replace(links, fft_size=size, subcarrier_spacing=links.subcarrier_spacing * step)


def _responses(links: LinkSet, a: Tensor, tau: Tensor) -> Tensor:
    """Channels of one user on the links' grid, [num_links, fft_size, K, M] of unit mean power."""
    frequencies = links.grid_frequencies().to(torch.float32)
    h = cir_to_ofdm_channel(frequencies, a, tau)[:, 0, :, 0, :, 0]
    h = h.permute(0, 3, 1, 2)
    power = torch.view_as_real(h).square().sum(-1).mean((1, 2, 3), keepdim=True)
    return h / power.sqrt()


def family_of(name: str, links: LinkSet) -> list[Users]:
    """Who draws the channels of each user of a link."""
    make, _ = FAMILIES[name]
    return [make(links.antennas_per_user, links, number) for number in range(links.num_users)]


def rayleigh(num_rows: int, links: LinkSet, number: int) -> Users:
    """Independent antennas, flat over the band."""
    del number
    fading = RayleighBlockFading(1, num_rows, 1, links.num_cols)
    return lambda num: fading(num, 1, _SAMPLING)


def tdl(model: str) -> Callable[[int, LinkSet, int], Users]:
    """A tapped delay line of 3GPP TR 38.901, antennas independent."""

    def users(num_rows: int, links: LinkSet, number: int) -> Users:
        del number
        line = TDL(
            model,
            _DELAY_SPREAD,
            links.carrier_frequency,
            num_rx_ant=num_rows,
            num_tx_ant=links.num_cols,
        )
        return lambda num: line(num, 1, _SAMPLING)

    return users


def cdl(model: str) -> Callable[[int, LinkSet, int], Users]:
    """A clustered delay line of 3GPP TR 38.901; users lie in different directions."""

    def users(num_rows: int, links: LinkSet, number: int) -> Users:
        carrier = links.carrier_frequency
        bearing = torch.tensor([2 * math.pi * (0.37 * number % 1.0) / 3, 0.0, 0.0])
        side = math.isqrt(links.num_cols)
        line = CDL(
            model,
            _DELAY_SPREAD,
            carrier,
            _array(1, num_rows, carrier, "omni"),
            _array(side, links.num_cols // side, carrier, "38.901"),
            "downlink",
            bs_orientation=bearing,
        )
        return lambda num: line(num, 1, _SAMPLING)

    return users


def _array(rows: int, cols: int, carrier: float, pattern: str) -> Any:
    return PanelArray(
        num_rows_per_panel=rows,
        num_cols_per_panel=cols,
        polarization="single",
        polarization_type="V",
        antenna_pattern=pattern,
        carrier_frequency=carrier,
    )


# By name: who draws the channels, and how many of them.
FAMILIES: dict[str, tuple[Callable[[int, LinkSet, int], Users], int]] = {
    "Rayleigh": (rayleigh, 4000),
    **{f"TDL-{model}": (tdl(model), 800) for model in "ABCDE"},
    **{f"CDL-{model}": (cdl(model), 400) for model in "ABCDE"},
}
