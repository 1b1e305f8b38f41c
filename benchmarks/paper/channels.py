"""Links of a scenario as parametric matrices: the frequency is the parameter."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from neumatc_mimo import load_scenario
from neumatc_mimo.families import Family, Gram
from neumatc_mimo.scenario.links import LinkKind, LinkSet


class ChannelFamily(Family):
    r"""One link's channel :math:`H_l(f)`, [K, M] at f in Hz relative to the carrier.

    With first-arrival delays taken out of the rows: for an inverse or an SVD they are phases of
    rows and columns, and would only cost rank. Any frequency of the domain may be asked for, not
    only subcarriers.

    :param links: the links
    :param link: l
    :param share: of the band, around its centre
    :param real: whether to keep the real part only, as the paper does; else complex128

    :raises ValueError: if there is no such link, or the share is not in (0, 1]
    """

    def __init__(
        self, links: LinkSet, link: int = 0, *, share: float = 1.0, real: bool = False
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"The share of the band is {share}, it lies in (0, 1].")
        low, high = links.band
        centre, half = (low + high) / 2, share * (high - low) / 2
        super().__init__([(centre - half, centre + half)])
        self._links = links.select([link])
        self._real = real

    @property
    def shape(self) -> tuple[int, int]:
        return self._links.num_rows, self._links.num_cols

    def __call__(self, p: Tensor) -> Tensor:
        self.coordinate(p)  # refuses other shapes
        h = self._links.channel(p[:, 0], aligned=True, dtype=torch.complex128)[0]
        return h.real if self._real else h


def gram(channel: Family, relative_no: float = 1e-2) -> Gram:
    r""":math:`H H^H + \sigma^2 I` of a channel, [K, K].

    :param channel: H
    :param relative_no: σ² relative to the mean power of a row of H over the domain
    """
    h = channel(channel.grid(65))
    power = h.abs().square().sum(-1).mean().item()
    return Gram(channel, relative_no * power)


@cache
def munich(kind: LinkKind, link: int, *, share: float = 1.0, real: bool = True) -> ChannelFamily:
    """A link of the bundled scenario."""
    scenario = load_scenario("munich")
    links = scenario.multi_user if kind == "multi_user" else scenario.single_user
    assert links is not None
    return ChannelFamily(links, link, share=share, real=real)
