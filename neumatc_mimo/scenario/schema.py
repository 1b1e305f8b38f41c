"""The scenario TOML: its sections, their defaults, and one sentence for whatever is wrong in it."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from .resources import bundled_scenarios, scenarios_folder


def _from_list(value: Any) -> Any:
    """TOML has lists where the models, being frozen, hold tuples."""
    return tuple(value) if isinstance(value, list) else value


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, int) else _from_list(value)


_Shape = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_from_list)]
_Range = Annotated[tuple[float, float], BeforeValidator(_from_list)]
_Angles = Annotated[tuple[float, float, float], BeforeValidator(_from_list)]
_Indices = Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
_Decibels = Annotated[float, Field(ge=-100.0, le=100.0)]
_RowScaling = Literal["unit", "none"]


class _Section(BaseModel):
    # strict: a number in quotation marks or a boolean is a mistake, not a number.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DeepMIMOConfig(_Section):
    """Where the paths come from: a DeepMIMO v4 folder or a scenario of the DeepMIMO database.

    ``base_station`` counts the transmitter-receiver pairs in the order of ``deepmimo.load``.
    """

    path: str | None = None
    scenario: str | None = None
    base_station: _Indices = (0,)
    max_paths: PositiveInt = 25

    @model_validator(mode="after")
    def _one_source(self) -> DeepMIMOConfig:
        if (self.path is None) == (self.scenario is None):
            given = "neither" if self.path is None else "both"
            raise ValueError(f"has {given} of path and scenario, give exactly one of them")
        if "" in (self.path, self.scenario):
            raise ValueError("has an empty path or scenario, give the name of one")
        if len(set(self.base_station)) < len(self.base_station):
            raise ValueError(f"names a base_station twice in {list(self.base_station)}")
        return self


class ArrayConfig(_Section):
    """The base station's planar array: elements [horizontal, vertical], spacing in wavelengths."""

    bs: _Shape = (8, 8)
    spacing: PositiveFloat = 0.5
    rotation: _Angles = (0.0, 0.0, 0.0)
    beam_squint: bool = False


class GridConfig(_Section):
    """The OFDM grid: number of subcarriers and their spacing [Hz]."""

    fft_size: PositiveInt
    subcarrier_spacing: PositiveFloat


class MultiUserConfig(_Section):
    """Links of one base station and a group of users, each with an array ``ue`` as [horizontal,
    vertical].

    ``wmmse_db``, ``max_min_db`` and ``slnr_db`` are the noise powers of these precoders' models, in
    dB relative to unit mean channel power; without one there is no such model. Nor is there one of
    ``block_diagonalization`` unless it is asked for.
    """

    users_per_link: PositiveInt = 8
    ue: _Shape = (1, 1)
    num_links: PositiveInt = 32
    max_condition: Annotated[float, Field(ge=1.0)] = 1e4
    noise_db: _Range = (-40.0, 0.0)
    wmmse_db: _Decibels | None = None
    max_min_db: _Decibels | None = None
    slnr_db: _Decibels | None = None
    block_diagonalization: bool = False
    row_scaling: _RowScaling = "unit"

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


class SingleUserConfig(_Section):
    """Links of one base station and one user with an array, ``ue`` as [horizontal, vertical]."""

    ue: _Shape = (4, 1)
    num_streams: PositiveInt = 2
    num_links: PositiveInt = 32
    min_singular_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-2
    row_scaling: _RowScaling = "unit"

    @model_validator(mode="after")
    def _streams_fit(self) -> SingleUserConfig:
        antennas = math.prod(self.ue)
        if self.num_streams > antennas:
            raise ValueError(
                f"has num_streams = {self.num_streams}, ue = {list(self.ue)} carries at most "
                f"{antennas}"
            )
        return self


class MotionConfig(_Section):
    """Users that move with ``speed`` [m/s] over bursts of ``num_slots`` slots of 14 OFDM symbols.

    Each has a horizontal direction of its own, drawn with the scenario's seed. Models have
    ``num_nodes`` nodes along the time, as many as the Doppler spread needs unless given.
    """

    speed: PositiveFloat
    num_slots: PositiveInt = 20
    num_nodes: Annotated[int, Field(ge=2)] | None = None


class ModelConfig(_Section):
    """How the models of the scenario are trained; every key is optional.

    ``rank`` and ``svd_rank`` are the ranks of the two trunks; without them a trunk keeps all of its
    units and needs no readout. Splines are ``width`` at least, so many that their knots lie on
    subcarriers.
    """

    trunk: Literal["spline", "sine"] = "spline"
    rank: PositiveInt | None = None
    svd_rank: PositiveInt | None = None
    width: PositiveInt = 800
    noise_nodes: Annotated[int, Field(ge=2)] = 14
    samples: PositiveInt = 256
    collocation: PositiveInt = 819
    rounds: PositiveInt = 6
    tolerance_db: float = 40.0
    tolerance_range: NonNegativeFloat = 1e-2


class ScenarioConfig(_Section):
    """A scenario file; see the fields of its sections for keys and defaults."""

    name: Annotated[str, Field(min_length=1)]
    seed: NonNegativeInt = 0
    deepmimo: DeepMIMOConfig
    array: ArrayConfig = ArrayConfig()
    grid: GridConfig
    multi_user: MultiUserConfig | None = None
    single_user: SingleUserConfig | None = None
    motion: MotionConfig | None = None
    model: ModelConfig = ModelConfig()
    _file: Path = PrivateAttr(default=Path("scenario.toml"))

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

    def with_model(self, **changes: Any) -> ScenarioConfig:
        """The same configuration with other values of keys of [model].

        :raises ValueError: If a key is unknown, or a value not accepted
        """
        try:
            model = ModelConfig.model_validate(self.model.model_dump() | changes)
        except ValidationError as error:
            first: Any = error.errors()[0]
            raise ValueError(f"{_sentence(first | {'loc': ('model', *first['loc'])})}.") from None
        return self.model_copy(update={"model": model})

    @property
    def file(self) -> Path:
        """The file that this configuration was read from."""
        return self._file

    @property
    def burst_duration(self) -> float:
        """Duration of a burst in seconds, cyclic prefixes included; zero without motion."""
        if self.motion is None:
            return 0.0
        # A slot of 14 symbols lasts a millisecond at 15 kHz (3GPP TS 38.211, 4.3.2).
        return self.motion.num_slots * 1e-3 * 15e3 / self.grid.subcarrier_spacing

    def data_folder(self) -> Path | None:
        """Return the folder that ``path`` names, or None for a scenario of the database.

        Variables and ``~`` are expanded; a relative path starts at the scenario file.

        :raises ValueError: If a variable in the path is not set
        """
        if self.deepmimo.path is None:
            return None
        path = os.path.expanduser(os.path.expandvars(self.deepmimo.path))
        if "$" in path:
            variable = path[path.index("$") + 1 :].split("/")[0].strip("{}")
            raise ValueError(
                f'{self._file}: path in [deepmimo] is "{self.deepmimo.path}", but the environment '
                f"variable {variable} is not set, set it to the folder of your scenarios."
            )
        return self._file.parent / path


def read_config(source: str | os.PathLike[str]) -> ScenarioConfig:
    """Read and check a scenario file.

    :param source: Name of a bundled scenario, or path of a scenario TOML

    :return: The configuration, with the defaults filled in
    :raises FileNotFoundError: If there is neither such a file nor such a bundled scenario
    :raises ValueError: If the file is not TOML or breaks the schema; one sentence says where
    """
    file = _locate(source)
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a TOML file: {error}.") from error
    try:
        config = ScenarioConfig.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"{file}: {_sentence(error.errors()[0])}.") from None
    config._file = file
    return config


def _locate(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_file():
        return path.resolve()
    name = os.fspath(source)
    if name in bundled_scenarios():
        return scenarios_folder() / f"{name}.toml"
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
            f'unknown key "{where[-1]}"{_place(where[:-1])}, '
            f"known are {', '.join(_section(where[:-1]).model_fields)}"
        )
    if error["type"] == "missing" and isinstance(where[-1], int):
        return f"{_key(where[:-1])} is {list(given)}, it must be longer"
    if error["type"] == "missing":
        return f'the key "{where[-1]}"{_place(where[:-1])} is missing'
    if error["type"] == "value_error":
        subject = f"[{where[0]}]" if where else "the file"
        return f"{subject} {error['ctx']['error']}"
    if error["type"] in ("model_type", "model_attributes_type"):
        return f'"{where[0]}" is {given!r}, it must be a section [{where[0]}]'
    accepted = error["msg"].replace("Input should be", "it must be").replace("tuple", "list")
    accepted = accepted[0].lower() + accepted[1:]
    given = list(given) if isinstance(given, tuple) else given
    return f"{_key(where)} is {given!r}, {accepted}"


def _section(where: Sequence[str | int]) -> type[BaseModel]:
    """Return the model of a section; the top of the file is the empty location."""
    sections: dict[str, type[BaseModel]] = {
        "deepmimo": DeepMIMOConfig,
        "array": ArrayConfig,
        "grid": GridConfig,
        "multi_user": MultiUserConfig,
        "single_user": SingleUserConfig,
        "motion": MotionConfig,
        "model": ModelConfig,
    }
    return sections[str(where[0])] if where else ScenarioConfig


def _place(where: Sequence[str | int]) -> str:
    return f" in [{where[0]}]" if where else ""


def _key(where: Sequence[str | int]) -> str:
    names = [str(part) for part in where if isinstance(part, str)]
    entry = "".join(f" (entry {part})" for part in where if isinstance(part, int))
    return f"{names[-1]}{entry}{_place(names[:-1])}"
