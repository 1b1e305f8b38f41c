"""Maps of scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from neumatc_mimo.plots.style import COLOURS, as_array, axes_or_new
from neumatc_mimo.scenario import LinkSet, Scenario

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Groups of a colour differ in their shape.
_SHAPES = ("o", "s", "D", "v", "P", "*")


def scenario_map(scenario: Scenario, *, ax: Axes | None = None) -> Axes:
    """Map of the base stations, users and links of a scenario, in metres.

    Lines join the users of a group with their base station.

    :param scenario: from :func:`~neumatc_mimo.load_scenario`
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if the positions of users are unknown, as for your own channels
    """
    positions = scenario.positions
    if positions is None:
        raise ValueError(f"{scenario.name} has no positions of users, so there is no map.")
    ax = axes_or_new(ax)
    for found, grey, label in ((False, "0.85", "without"), (True, "0.6", "with")):
        x, y, _ = positions.users[positions.has_path == found].T
        ax.scatter(x, y, s=6, c=grey, label=f"users {label} a path")
    if scenario.multi_user is not None:
        links = scenario.multi_user
        for link in range(links.num_links):
            # A colour and a shape of its own: as many groups as there are pairs are told apart.
            colour = COLOURS[link % len(COLOURS)]
            marker = _SHAPES[link // len(COLOURS) % len(_SHAPES)]
            station = links.base_station_positions[links.base_station[link]]
            for user in links.user_positions[link]:
                ends = torch.stack([station, user]).T.tolist()
                ax.plot(*ends[:2], color=colour, lw=0.3)
            x, y, _ = as_array(links.user_positions[link]).T
            groups = f"{links.num_links} groups of {links.num_users} users"
            label = "_" if link else groups  # one entry of the legend stands for all
            ax.scatter(x, y, s=18, marker=marker, label=label, c=colour, zorder=3)
    if scenario.single_user is not None:
        links = scenario.single_user
        _spots(ax, links, COLOURS[1], "x", f"{links.num_links} single users")
    x, y, _ = positions.base_stations.T
    ax.scatter(x, y, s=120, marker="^", c="k", label="base station", zorder=4)
    ax.set(title=f"{scenario.name}: links", xlabel="x [m]", ylabel="y [m]", aspect="equal")
    # Below the map, which has users everywhere, so that it fills the width of its frame.
    ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    return ax


def _spots(ax: Axes, links: LinkSet, colour: str, marker: str, label: str) -> None:
    x, y, _ = as_array(links.user_positions.flatten(0, 1)).T
    ax.scatter(x, y, s=14, c=colour, marker=marker, label=label, zorder=3)
