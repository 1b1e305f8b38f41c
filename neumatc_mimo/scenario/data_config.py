"""The sections of a scenario file that say where channels come from, and of which users."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from neumatc_mimo.scenario import limits
from neumatc_mimo.scenario.section import Section, from_list
from neumatc_mimo.storage.names import is_plain, shown

_Interval = Annotated[tuple[limits.Metres, limits.Metres], BeforeValidator(from_list)]
_Box = Annotated[
    tuple[_Interval, ...], BeforeValidator(from_list), Field(min_length=2, max_length=3)
]


class PathsConfig(Section):
    """Keys of all ray-traced data: base stations and users."""

    base_station: limits.Indices = (0,)
    """Transmitter-receiver pairs in the order of `deepmimo.load`, or transmitters of Sionna RT;
    one or a list."""
    max_paths: limits.Paths = 25
    """Number of the strongest paths of a user that are kept."""
    users: limits.Indices | None = None
    """Indices of the users to use. Default: all. If several keys select users, a user must fit all
    of them.
    """
    rows: limits.Indices | None = None
    """Rows of the grid of users to use, as DeepMIMO counts them."""
    columns: limits.Indices | None = None
    """Columns of the grid of users to use."""
    every: limits.Shape | None = None
    """Use every n-th user of the grid, along x and along y."""
    box: _Box | None = None
    """Use users within `[[x_min, x_max], [y_min, y_max]]`, in metres; z may follow."""
    line_of_sight: bool | None = None
    """`true`: only users with line of sight; `false`: only users without."""

    @model_validator(mode="after")
    def _once(self) -> PathsConfig:
        if len(set(self.base_station)) < len(self.base_station):
            raise ValueError(f"names a base_station twice in {shown(list(self.base_station))}")
        for low, high in self.box or ():
            if low > high:
                raise ValueError(f"has [{low:g}, {high:g}] in box, the first must be the lower one")
        return self


class DeepMIMOConfig(PathsConfig):
    """Where the paths come from: a DeepMIMO v4 folder or a scenario of the DeepMIMO database."""

    path: str | None = None
    """DeepMIMO v4 scenario folder, relative to the file; `$VARIABLES` and `~` are expanded."""
    scenario: str | None = None
    """Instead of `path`: name in DeepMIMO's database, downloaded on first use."""
    scene: limits.Scene = 0
    """Snapshot of a dynamic data set."""
    rx_sets: limits.Indices | None = None
    """Receiver sets to load, one or a list. Default: all that only receive."""
    join_grids: bool = False
    """Whether the users of all receiver sets form one grid for each transmitter. `base_station`
    then counts transmitters.
    """

    @model_validator(mode="after")
    def _one_source(self) -> DeepMIMOConfig:
        # Neither is what data sets of Python have, see `ScenarioConfig.data_folder`.
        if self.path is not None and self.scenario is not None:
            raise ValueError("has both path and scenario, give exactly one of them")
        if "" in (self.path, self.scenario):
            raise ValueError("has an empty path or scenario, give the name of one")
        if self.scenario is not None and not is_plain(self.scenario):
            raise ValueError(
                f"has scenario = {shown(self.scenario)}, a name without slashes is needed; give "
                "the place of a folder as path"
            )
        if "\0" in (self.path or ""):
            raise ValueError(f"has path = {shown(self.path)}, with a zero byte")
        return self


class SionnaRTConfig(PathsConfig):
    """Paths of Sionna RT, for `nm.Scenario.from_sionna_rt` alone: they have no file."""


class ChannelConfig(Section):
    """Your own channels, one link for each: samples on the grid."""

    file: str | None = None
    """NumPy file (`.npy`) of a complex array [num_links, fft_size, K, M], relative to this file;
    `$VARIABLES` and `~` are expanded."""
    carrier_frequency: limits.Hertz = 3.5e9
    """Carrier frequency in Hz. It is only shown and stored; channels are relative to it."""
