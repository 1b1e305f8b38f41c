"""The scenario TOML: its sections, their defaults, and one sentence for whatever is wrong in it."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from neumatc_mimo.operations import Dimensions
from neumatc_mimo.operations.config import Decibels
from neumatc_mimo.scenario import limits
from neumatc_mimo.scenario.array_config import ArrayConfig
from neumatc_mimo.scenario.bundled import bundled_scenarios, scenarios_folder
from neumatc_mimo.scenario.data_config import (
    ChannelConfig,
    DeepMIMOConfig,
    PathsConfig,
    SionnaRTConfig,
)
from neumatc_mimo.scenario.section import Section, from_list
from neumatc_mimo.scenario.selection import Selection
from neumatc_mimo.scenario.slot import slot_duration
from neumatc_mimo.scenario.trained import TrainedConfig
from neumatc_mimo.storage.names import is_plain, shown
from neumatc_mimo.storage.tensor_file import read_regular

_RowScaling = Literal["unit", "none"]

_Group = Annotated[tuple[limits.Scene, ...], BeforeValidator(from_list), Field(min_length=1)]
_Groups = Annotated[tuple[_Group, ...], BeforeValidator(from_list), Field(min_length=1)]

# Bytes that no scenario file takes.
_MOST_BYTES = 2**24


def _plain(name: str) -> str:
    if not is_plain(name):
        raise ValueError(f"is {shown(name)}, a name of at most 200 bytes without slashes is needed")
    return name


def _with_sizes(values: Any, size_key: str | None) -> Any:
    """Keys of links whose groups are given, with the sizes that these have.

    :param size_key: Key of the number of users of a link; None where a link has one
    """
    groups = values.get("groups") if isinstance(values, dict) else None
    if not isinstance(groups, list | tuple) or not all(isinstance(g, list | tuple) for g in groups):
        return values
    sizes = {len(group) for group in groups}
    if len(sizes) > 1:
        raise ValueError(
            f"has groups of {min(sizes)} and of {max(sizes)} users, all groups need the same number"
        )
    if any(len(set(group)) < len(group) for group in groups):
        raise ValueError("has a user twice in one of its groups")
    told = {"num_links": len(groups)} | dict.fromkeys([size_key] if size_key else [], *sizes)
    if size_key is None and sizes and sizes != {1}:
        raise ValueError(f"has groups of {max(sizes)} users, links of a single user have one")
    for key, value in told.items():
        if values.get(key, value) != value:
            raise ValueError(
                f"has {key} = {values[key]}, but the groups have {value}: leave one out"
            )
    return values | told


class GridConfig(Section):
    """The OFDM grid."""

    fft_size: limits.Subcarriers
    """Number of subcarriers."""
    subcarrier_spacing: limits.Hertz
    """Distance of subcarriers in Hz."""
    centred: bool = True
    """Whether the subcarriers are centred on the carrier, as in Sionna. `false`: from the carrier
    upwards, as in DeepMIMO's `compute_channels`.
    """

    newer: ClassVar[frozenset[str]] = frozenset({"centred"})

    @property
    def offset(self) -> float:
        """Frequency of the middle of the grid in Hz, relative to the carrier of the data."""
        return 0.0 if self.centred else (self.fft_size // 2) * self.subcarrier_spacing


class MultiUserConfig(TrainedConfig):
    """Links of one base station and a group of users. Values in dB are relative to unit mean
    channel power.
    """

    always: ClassVar[str] = "pseudo_inverse"
    older: ClassVar[dict[str, str]] = {
        "wmmse_db": "wmmse",
        "max_min_db": "max_min",
        "slnr_db": "slnr",
        "block_diagonalization": "block_diagonalization",
    }
    newer: ClassVar[frozenset[str]] = TrainedConfig.newer | {"selection", "pool"}
    has_noise_range: ClassVar[bool] = True

    users_per_link: limits.Users = 8
    """Users of a link."""
    ue: limits.Shape = (1, 1)
    """Antennas of a user, horizontal and vertical."""
    num_links: limits.Links = 32
    """Links to draw and train."""
    max_condition: Annotated[float, Field(ge=1.0, le=1e30)] = 1e4
    """Groups with a larger median of cond(H Hᴴ) along the band are skipped, and counted."""
    noise_db: limits.NoiseRange = (-40.0, 0.0)
    """Noise powers of the MMSE model, lowest and highest, in dB."""
    wmmse_db: Decibels | None = None
    """The same as an operation `name = "wmmse"` with this `noise_db`."""
    max_min_db: Decibels | None = None
    """The same as an operation `name = "max_min"` with this `noise_db`."""
    slnr_db: Decibels | None = None
    """The same as an operation `name = "slnr"` with this `noise_db`."""
    block_diagonalization: bool = False
    """The same as an operation `name = "block_diagonalization"`."""
    selection: Selection = "random"
    """How the users of a group are chosen. `"random"`: at random; `"semi_orthogonal"` or
    `"sum_rate"`: from `pool` random users those with nearly orthogonal channels, or with the
    largest sum rate of zero forcing at the middle of `noise_db`.
    """
    pool: limits.Users | None = None
    """Users that are drawn for the selection of each group. Default: four times `users_per_link`,
    but not more than there are users with a path.
    """
    joint: bool = False
    """Whether each link contains users of all base stations, an equal share of each. This gives
    filters with interference from other cells.
    """
    row_scaling: _RowScaling = "unit"
    """`"unit"`: rows are scaled to unit mean power over antennas and grid; `"none"`: as traced."""
    groups: _Groups | None = None
    """Users of each link, instead of drawn groups: `[[0, 5, 7], [2, 3, 9]]`; with several base
    stations one after the other. Limits such as `max_condition` are not applied.
    """

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_groups(cls, values: Any) -> Any:
        return _with_sizes(values, "users_per_link")

    @property
    def num_rows(self) -> int:
        """Antennas of all users of a link."""
        return self.users_per_link * math.prod(self.ue)

    @model_validator(mode="after")
    def _rising(self) -> MultiUserConfig:
        low, high = self.noise_db
        if low >= high:
            raise ValueError(f"has noise_db = [{low}, {high}], the first must be the lower one")
        return self

    @model_validator(mode="after")
    def _groups_of_one_station(self) -> MultiUserConfig:
        if self.joint and self.groups is not None:
            raise ValueError(
                "has groups and joint = true, which draws its users: leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _filters_of_joint_links_alone(self) -> MultiUserConfig:
        asked = [*self._asked_before(), *(f'an operation "{c.name}"' for c in self.operation)]
        if self.joint and asked:
            raise ValueError(
                f"has {asked[0]} and joint = true, but precoders serve the users of one base "
                "station: leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _enough_to_select_from(self) -> MultiUserConfig:
        if self.pool is not None and self.selection == "random":
            raise ValueError('has pool and selection = "random", which does not use it')
        if self.pool is not None and self.pool < self.users_per_link:
            raise ValueError(
                f"has pool = {self.pool}, at least users_per_link = {self.users_per_link} users "
                "are needed"
            )
        if self.groups is not None and self.selection != "random":
            raise ValueError(
                f'has selection = "{self.selection}" and groups, which are given: leave one '
                "of the two out"
            )
        if self.joint and self.selection != "random":
            raise ValueError(
                f'has selection = "{self.selection}" and joint = true, but users of one base '
                "station are selected: leave one of the two out"
            )
        return self

    def dimensions(self, num_cols: int) -> Dimensions:
        return Dimensions(self.num_rows, num_cols, math.prod(self.ue))


class SingleUserConfig(TrainedConfig):
    """Links of one base station and one user with an array."""

    always: ClassVar[str] = "svd"

    ue: limits.Shape = (4, 1)
    """Antennas of the user, horizontal and vertical."""
    num_streams: limits.Users = 2
    """Number of streams, one for each of the strongest singular triplets."""
    num_links: limits.Links = 32
    """Links to draw and train."""
    min_singular_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-2
    """Users are skipped if their weakest used singular value, divided by the largest, is below
    this.
    """
    row_scaling: _RowScaling = "unit"
    """`"unit"`: rows are scaled to unit mean power over antennas and grid; `"none"`: as traced."""
    groups: _Groups | None = None
    """User of each link, instead of drawn users: `[[0], [5]]`."""

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_groups(cls, values: Any) -> Any:
        return _with_sizes(values, None)

    def dimensions(self, num_cols: int) -> Dimensions:
        num_rows = math.prod(self.ue)
        return Dimensions(num_rows, num_cols, num_rows, self.num_streams)

    @model_validator(mode="after")
    def _streams_fit(self) -> SingleUserConfig:
        limits.check_antennas("ue", self.ue)
        antennas = math.prod(self.ue)
        if self.num_streams > antennas:
            raise ValueError(
                f"has num_streams = {self.num_streams}, ue = {list(self.ue)} carries at most "
                f"{antennas}"
            )
        return self


class MotionConfig(Section):
    """Users that move during a burst, in random directions or with the velocities of the data."""

    source: Literal["drawn", "deepmimo", "sionna_rt"] = "drawn"
    """`"drawn"`: random horizontal directions; `"deepmimo"`: velocities of DeepMIMO's data;
    `"sionna_rt"`: Doppler shifts of Sionna RT's paths.
    """
    speed: limits.Speed | None = None
    """Speed of all users in m/s, for random directions."""
    timestamps: limits.Times | None = None
    """Times of the scenes of a dynamic data set in s, or one time between two scenes."""
    rx_vel: limits.Velocity | None = None
    """Velocity of all users in m/s, [x, y, z]."""
    tx_vel: limits.Velocity | None = None
    """Velocity of the base stations in m/s, [x, y, z]."""
    num_slots: limits.Slots = 20
    """Slots of a burst, of 14 OFDM symbols each."""
    num_nodes: limits.TimeNodes | None = None
    """Nodes of the models along the time. Default: as many as needed, found by a search."""

    @model_validator(mode="after")
    def _one_source(self) -> MotionConfig:
        keys = {
            name: getattr(self, name) is not None
            for name in ("speed", "timestamps", "rx_vel", "tx_vel")
        }
        if self.source == "drawn":
            if not keys.pop("speed"):
                raise ValueError("lacks a speed, give one in m/s")
            if any(keys.values()):
                name = next(name for name, given in keys.items() if given)
                raise ValueError(f'has {name}, which needs source = "deepmimo"')
        elif keys["speed"]:
            raise ValueError(f'has a speed, which source = "{self.source}" does not use')
        elif self.source == "sionna_rt" and any(keys.values()):
            name = next(name for name, given in keys.items() if given)
            raise ValueError(f'has {name}, paths of source = "sionna_rt" have velocities already')
        elif keys["timestamps"] and (keys["rx_vel"] or keys["tx_vel"]):
            raise ValueError("has timestamps and rx_vel or tx_vel, give one or the other")
        times = self.timestamps or ()
        rising = all(early < late for early, late in itertools.pairwise(times))
        if times and not (rising and (len(times) > 1 or times[0] > 0)):
            raise ValueError(f"has timestamps = {shown(list(times))}, they must increase")
        return self


class MLPConfig(Section):
    """The network of `trunk = "mlp"`, and how it is trained: by NeuMatC's Algorithm 1."""

    depth: limits.Layers = 2
    """Hidden layers."""
    width: limits.Neurons = 128
    """Functions of each hidden layer."""
    omega0: Annotated[float, Field(gt=0.0, le=1e6)] = 30.0
    """ω₀ of the sines. The initial frequencies depend on the samples, not on ω₀. With a larger ω₀
    they change faster in training.
    """
    rank: limits.Neurons = 128
    """Number of functions of the trunk, unless `rank` or `svd_rank` in `[model]` is set."""
    lam: Annotated[float, Field(alias="lambda", ge=0.0, le=1e6)] = 1e-4
    """Weight of the structure residual in the loss. 0: no residual in the loss."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-3
    """Adam's learning rate at the first step. It falls to a hundredth, along a cosine."""
    steps: limits.Steps = 3000
    """Gradient steps."""
    projection: bool = False
    """Whether the latent tensors are computed by least squares at every step (variable projection).
    This is not in the paper. `false`: Adam optimises them, too, as published.
    """
    ridge: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-8
    """Ridge of the least squares of a projection, relative."""
    shared: bool = False
    """Whether all links of a kind have one trunk. Their latent tensors are then computed by least
    squares.
    """
    samples: limits.Subcarriers = 546
    """Subcarriers with exact results, for each link and node."""
    num_collocation: limits.Subcarriers = 64
    """Collocation points of a link at the start of the training. There the residual is part of the
    loss.
    """
    refine_every: limits.Steps = 200
    """Steps between refinements, which add collocation points."""
    added: Annotated[int, Field(ge=0, le=2**20)] = 8
    """Largest number of points that a refinement adds: the worst of the failed candidates."""
    threshold: Annotated[float, Field(gt=0.0, le=1e6)] = 1e-2
    """Residual above which a candidate has failed."""
    tolerance: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    """If the share of failed candidates is at most this, no points are added."""
    candidates: limits.Subcarriers = 300
    """Candidates of a refinement."""
    seed: limits.Seed = 0
    """Seed of the initial network and latent tensors, and of all random points."""

    @model_serializer(mode="wrap")
    def _as_in_files(self, values: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Where it is written it has the key that it is read by.
        written: dict[str, Any] = values(self)
        return {"lambda" if key == "lam" else key: value for key, value in written.items()}

    @model_validator(mode="after")
    def _enough_candidates(self) -> MLPConfig:
        if self.added > self.candidates:
            raise ValueError(
                f"has added = {self.added}, points are taken from the {self.candidates} candidates"
            )
        return self


class ModelConfig(Section):
    """How the models of the scenario are trained; every key is optional."""

    trunk: Literal["spline", "sine", "mlp"] = "spline"
    """Functions of the trunk: local B-splines, sines over the whole band, or a network as
    published, with the settings in `[model.mlp]`.
    """
    rank: limits.Functions | None = None
    """Rank of the trunk for several users. Default: all functions, without a readout that mixes
    them.
    """
    svd_rank: limits.Functions | None = None
    """Rank of the trunk for single users."""
    width: limits.Functions | None = None
    """Number of functions of a trunk. For splines this is the largest number: a link has fewer if
    `tolerance_db` allows wider knots. Default: four for each turn of the latest path over the band,
    eight for singular vectors; at least 50 for each row, and at least 800.
    """
    noise_nodes: limits.NoiseNodes | None = None
    """Nodes along the noise power, for operations of other packages whose models depend on it.
    Default: 14, or 22 for joint links. Zero forcing and MMSE need none.
    """
    samples: limits.Subcarriers | None = None
    """Largest number of subcarriers with exact results, for each link and node. Default: two for
    each turn of the latest path over the band, four for singular vectors; at least 20 for each row,
    and at least 256.
    """
    collocation: limits.Subcarriers | None = None
    """Subcarriers at which the residual is lowered without an exact result. Default: one for each
    function, up to two thirds of the grid, at least 819.
    """
    rounds: limits.Rounds = 6
    """Largest number of rounds of adaptive sampling."""
    tolerance_db: limits.Quality = 40.0
    """Quality in dB that the certificate requires; for the pseudo-inverse, this is a predicted SIR.
    Models are as small as it allows: knots are as wide as possible, and up to 50 dB latent tensors
    have 16 bits.
    """
    tolerance_range: Annotated[float, Field(ge=0.0, le=1e6)] = 1e-2
    """Largest range error that the certificate allows: the relative distance of a result from the
    space of correct results.
    """
    mlp: MLPConfig = MLPConfig()
    """The network of `trunk = "mlp"`. The keys `width`, `samples`, `collocation` and `rounds` above
    are only for the other trunks.
    """


class ScenarioConfig(Section):
    """A scenario file; see the fields of its sections for keys and defaults."""

    name: Annotated[str, AfterValidator(_plain)]
    """Name of the scenario, and of its model folder."""
    seed: limits.Seed = 0
    """Seed of the groups of users."""
    deepmimo: DeepMIMOConfig | None = None
    channel: ChannelConfig | None = None
    sionna_rt: SionnaRTConfig | None = None
    array: ArrayConfig = ArrayConfig()
    grid: GridConfig
    multi_user: MultiUserConfig | None = None
    single_user: SingleUserConfig | None = None
    motion: MotionConfig | None = None
    model: ModelConfig = ModelConfig()
    _file: Path = PrivateAttr(default=Path("scenario.toml"))

    @model_validator(mode="after")
    def _one_source(self) -> ScenarioConfig:
        sources = {"deepmimo": self.deepmimo, "channel": self.channel, "sionna_rt": self.sionna_rt}
        given = [f"[{name}]" for name, section in sources.items() if section is not None]
        if not given:
            raise ValueError("has neither [deepmimo] nor [channel], give one of them")
        if len(given) > 1:
            raise ValueError(f"has {given[0]} and {given[1]}, data come from one of them")
        if self.channel is not None and self.motion is not None:
            raise ValueError(
                "has [motion] and [channel], but users of your own channels cannot move"
            )
        if self.motion is not None and self.motion.source not in ("drawn", self.data_section):
            raise ValueError(
                f'has source = "{self.motion.source}" in [motion], its data come from '
                f"[{self.data_section}]"
            )
        return self

    @model_validator(mode="after")
    def _an_array_each(self) -> ScenarioConfig:
        for key in ("bs_each", "rotation_each"):
            arrays = getattr(self.array, key)
            if arrays is not None and len(arrays) != len(self.base_stations):
                raise ValueError(
                    f"has {len(arrays)} entries in {key} in [array], and "
                    f"{len(self.base_stations)} base stations"
                )
        return self

    @model_validator(mode="after")
    def _links_fit(self) -> ScenarioConfig:
        antennas = math.prod(self.array.bs)
        if self.multi_user is None and self.single_user is None:
            raise ValueError("has neither [multi_user] nor [single_user], give at least one")
        if self.multi_user is not None and self.multi_user.num_rows > antennas:
            each = ""
            if math.prod(self.multi_user.ue) > 1:
                each = f" and ue = {list(self.multi_user.ue)}"
            raise ValueError(
                f"has users_per_link = {self.multi_user.users_per_link}{each} in [multi_user], "
                f"bs = {list(self.array.bs)} in [array] serves at most {antennas}"
                f"{' of their antennas' if each else ''}"
            )
        if self.single_user is not None and self.single_user.num_streams > antennas:
            raise ValueError(
                f"has num_streams = {self.single_user.num_streams} in [single_user], "
                f"bs = {list(self.array.bs)} in [array] sends at most {antennas}"
            )
        return self

    @model_validator(mode="after")
    def _cells_share(self) -> ScenarioConfig:
        if self.multi_user is None or not self.multi_user.joint:
            return self
        stations = list(self.base_stations)
        if len(stations) < 2:
            raise ValueError(
                f"has joint = true in [multi_user], but base_station = {shown(stations)} in "
                f"[{self.data_section}], name all base stations that receive the users"
            )
        for key in ("users_per_link", "num_links"):
            if (number := getattr(self.multi_user, key)) % len(stations):
                raise ValueError(
                    f"has {key} = {number} in [multi_user], with joint = true it must be a "
                    f"multiple of the {len(stations)} base stations in [{self.data_section}]"
                )
        return self

    @model_validator(mode="after")
    def _operations_fit(self) -> ScenarioConfig:
        names: dict[str, str] = {}
        for kind, section in (("multi_user", self.multi_user), ("single_user", self.single_user)):
            trained = section.trained(math.prod(self.array.bs)) if section is not None else []
            for config, _ in trained:
                if config.name in names:
                    raise ValueError(
                        f'has the operation "{config.name}" in [{names[config.name]}] and in '
                        f"[{kind}], a model has only one with this name: leave one of them out"
                    )
                names[config.name] = kind
        return self

    def with_model(self, **changes: Any) -> ScenarioConfig:
        """The same configuration with other values of keys of [model].

        :param changes: Keys and their values; `mlp.rank` is one of [model.mlp]

        :raises ValueError: If a key is unknown, or a value is invalid
        """
        values = self.model.model_dump()
        for key, value in changes.items():
            section, dot, name = key.partition(".")
            if dot and isinstance(values.get(section), dict):
                values[section] = values[section] | {name: value}
            else:
                values[key] = value
        try:
            model = ModelConfig.model_validate(values)
        except ValidationError as error:
            first: Any = error.errors()[0]
            raise ValueError(f"{_sentence(first | {'loc': ('model', *first['loc'])})}.") from None
        return self.model_copy(update={"model": model})

    @property
    def paths(self) -> PathsConfig | None:
        """Where ray-traced paths come from; None where channels are given."""
        return self.deepmimo or self.sionna_rt

    @property
    def data_section(self) -> str:
        """Name of the section that says where channels come from."""
        sections = ("deepmimo", "channel", "sionna_rt")
        return next(name for name in sections if getattr(self, name) is not None)

    @property
    def base_stations(self) -> tuple[int, ...]:
        """Base stations by their indices in the data."""
        return (0,) if self.paths is None else self.paths.base_station

    @property
    def data(self) -> str:
        """What the data are called: a path, a name of DeepMIMO's database, or where they are
        given in Python.
        """
        if self.deepmimo is not None:
            return self.deepmimo.path or self.deepmimo.scenario or "a DeepMIMO data set"
        if self.channel is not None:
            return self.channel.file or "given channels"
        return "paths of Sionna RT"

    @property
    def file(self) -> Path:
        """The file that this configuration was read from."""
        return self._file

    @property
    def burst_duration(self) -> float:
        """Duration of a burst in seconds, cyclic prefixes included; zero without motion."""
        if self.motion is None:
            return 0.0
        return slot_duration(self.grid.subcarrier_spacing, self.motion.num_slots)

    def data_folder(self) -> Path | None:
        """Return the folder that ``path`` names, or None for a scenario of the database.

        Variables and ``~`` are expanded; a relative path starts at the scenario file.

        :raises ValueError: If a variable in the path is not set
        """
        if self.deepmimo is None or self.deepmimo.path is None:
            return None
        return self._expanded(self.deepmimo.path, "path")

    def no_folder(self, folder: Path) -> str:
        """What to say where there is no such data folder: the variable in its path is to blame, if
        there is one, and not a file that came with the package.
        """
        path = self.deepmimo.path if self.deepmimo is not None else None
        found = re.search(r"\$\{?(\w+)", path or "")
        if found is None:
            return (
                f"{self._file}: there is no scenario folder {folder}, correct path in [deepmimo]."
            )
        return (
            f'There is no scenario folder {folder}: set {found[1]}, which is "'
            f'{os.environ.get(found[1], "")}", to the folder that holds {folder.name}.'
        )

    def channel_file(self) -> Path | None:
        """Return the file that [channel] names; None where channels are given in Python.

        :raises ValueError: If a variable in its path is not set
        """
        if self.channel is None or self.channel.file is None:
            return None
        return self._expanded(self.channel.file, "file")

    def _expanded(self, given: str, key: str) -> Path:
        path = os.path.expanduser(os.path.expandvars(given))
        if "$" in path:
            variable = path[path.index("$") + 1 :].split("/")[0].strip("{}")
            raise ValueError(
                f'The scenario "{self.name}" has {key} = "{given}" in [{self.data_section}], but '
                f"the environment variable {variable} is not set: set it to the folder that holds "
                f"{Path(given).name}."
            )
        return self._file.parent / path


def make_config(values: dict[str, Any], place: str) -> ScenarioConfig:
    """Check the sections of a scenario that has no file.

    :param values: As a TOML file has them
    :param place: What errors call the file

    :return: The configuration, with the defaults filled in
    :raises ValueError: If they break the schema; one sentence says where
    """
    try:
        config = ScenarioConfig.model_validate(values)
    except ValidationError as error:
        # A key that is misspelt is missing, too: the unknown one tells more.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        raise ValueError(f"{place}: {_sentence(first)}.") from None
    config._file = Path(place)
    return config


def read_config(source: str | os.PathLike[str]) -> ScenarioConfig:
    """Read and check a scenario file.

    :param source: Name of a bundled scenario, or path of a scenario TOML

    :return: The configuration, with the defaults filled in
    :raises FileNotFoundError: If there is neither such a file nor such a bundled scenario
    :raises ValueError: If the file is not TOML or breaks the schema; one sentence says where
    """
    file = _locate(source)
    try:
        data = tomllib.loads(read_regular(file, _MOST_BYTES).decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not a TOML file: {error}.") from error
    config = make_config(data, str(file))
    named = config.deepmimo
    if named is not None and (named.path, named.scenario) == (None, None):
        raise ValueError(
            f"{file}: [deepmimo] has neither path nor scenario, give exactly one of them."
        )
    if config.channel is not None and config.channel.file is None:
        raise ValueError(f'{file}: the key "file" in [channel] is missing.')
    if config.sionna_rt is not None:
        raise ValueError(
            f"{file}: [sionna_rt] is only for nm.Scenario.from_sionna_rt; "
            "`neumatc-mimo trace` makes a folder for [deepmimo]."
        )
    return config


def _locate(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_file():
        return path.resolve()
    name = os.fspath(source)
    if name in bundled_scenarios():
        return scenarios_folder() / f"{name}.toml"
    if path.exists():
        raise ValueError(f"{name} is no file, give the path of a TOML file.")
    raise FileNotFoundError(
        f'There is no scenario file and no bundled scenario "{name}", give the path of a TOML file '
        f"or one of {', '.join(bundled_scenarios())}."
    )


def _sentence(error: Any) -> str:
    """Turn the first of pydantic's errors into: what was given, what is accepted."""
    where: tuple[str | int, ...] = error["loc"]
    given = error["input"]
    if error["type"] == "extra_forbidden":
        return (
            f"unknown key {_quoted(where[-1])}{_place(where[:-1])}, "
            f"known are {', '.join(_keys(_section(where[:-1])))}"
        )
    if error["type"] == "missing" and isinstance(where[-1], int):
        return f"{_key(where[:-1])} is {shown(list(given))}, it must be longer"
    if error["type"] == "missing":
        return f'the key "{where[-1]}"{_place(where[:-1])} is missing'
    if error["type"] == "value_error":
        subject = _header(where) if where else "the file"
        if where == ("name",):
            subject = "name"
        return f"{subject} {error['ctx']['error']}"
    if error["type"] in ("model_type", "model_attributes_type"):
        if len(where) > 1:
            return f"{_key(where)} is {shown(given)}, it must be a table [[{where[0]}.{where[1]}]]"
        return f'"{where[0]}" is {shown(given)}, it must be a section [{where[0]}]'
    accepted = error["msg"].replace("Input should be", "it must be").replace("tuple", "list")
    accepted = accepted[0].lower() + accepted[1:]
    given = list(given) if isinstance(given, tuple) else given
    return f"{_key(where)} is {shown(given)}, {accepted}"


def _quoted(key: Any) -> str:
    """A key as a file may write it, in one line."""
    return json.dumps(key, ensure_ascii=False)


def _section(where: Sequence[str | int]) -> type[BaseModel]:
    """Return the model of a section; the top of the file is the empty location."""
    sections: dict[str, type[BaseModel]] = {
        "deepmimo": DeepMIMOConfig,
        "channel": ChannelConfig,
        "sionna_rt": SionnaRTConfig,
        "array": ArrayConfig,
        "grid": GridConfig,
        "multi_user": MultiUserConfig,
        "single_user": SingleUserConfig,
        "motion": MotionConfig,
        "model": ModelConfig,
        "model.mlp": MLPConfig,
    }
    if not where:
        return ScenarioConfig
    return sections.get(".".join(map(str, where)), sections[str(where[0])])


def _keys(section: type[BaseModel]) -> list[str]:
    """Names of a section's keys, as files write them."""
    return [field.alias or name for name, field in section.model_fields.items()]


def _place(where: Sequence[str | int]) -> str:
    return f" in {_header(where)}" if where else ""


def _header(where: Sequence[str | int]) -> str:
    """How a file calls a section, or one of the tables of a list in it."""
    section, *others = where
    if not others:
        return f"[{section}]"
    if len(others) == 1:
        return f"[{section}.{others[0]}]"
    return f"[[{section}.{others[0]}]] (entry {others[1]})"


def _key(where: Sequence[str | int]) -> str:
    """A key and its place, and where a value is a list the entry."""
    *place, name = where
    if isinstance(name, str):
        return f"{name}{_place(place)}"
    return f"{place[-1]} (entry {name}){_place(place[:-1])}"
