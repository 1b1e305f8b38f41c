"""What may stand in a manifest: its keys, with types and ranges of their values.

Keys that are not known here are left to whoever reads them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from neumatc_mimo.storage.names import check_operation, check_plain, shown


def check_values(manifest: Any) -> None:
    """Refuse what no manifest says.

    :raises ValueError: in one sentence without an end
    """
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        if first["type"] == "value_error":
            said = str(first["ctx"]["error"]).rstrip(".")
            raise ValueError(f"{where}: {said}") from None
        if first["type"] == "missing":
            raise ValueError(f"{where} is missing") from None
        said = first["msg"].replace("Input should be", "it must be").replace("tuple", "list")
        raise ValueError(
            f"{where} is {shown(first['input'])}, {said[0].lower()}{said[1:]}"
        ) from None


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# Far more than any model has: what has a size as large as this is not to be made.
_Size = Annotated[int, Field(ge=1, le=2**31)]
_Degree = Annotated[int, Field(ge=1, le=31)]
# Powers and frequencies that arithmetic in double precision takes.
_Positive = Annotated[float, Field(gt=1e-30, lt=1e18)]
_Power = Annotated[float, Field(ge=0, lt=1e18)]
_Decibels = Annotated[float, Field(ge=-1000, le=1000)]
_Frequency = Annotated[float, Field(gt=-1e15, lt=1e15)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_OperationName = Annotated[str, AfterValidator(check_operation)]


class _Values(BaseModel):
    # strict: a manifest has numbers where numbers are due.
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Layout(_Values):
    shape: Annotated[list[_Size], Field(min_length=1, max_length=8)]
    kind: Literal["real", "complex", "hermitian"]


class _Kind(_Values):
    kind: str


class _Basis(_Kind):
    num_functions: _Size | None = None
    num_intervals: _Size | None = None
    degree: _Degree | None = None
    points_per_interval: Annotated[int, Field(ge=0, le=2**31)] | None = None
    spacing: _Positive | None = None
    decay: _Positive | None = None
    omega0: _Positive | None = None
    depth: Annotated[int, Field(ge=1, le=64)] | None = None
    shared: bool | None = None

    @model_validator(mode="after")
    def _network(self) -> _Basis:
        if (self.kind == "mlp") != (self.depth is not None) or (
            self.kind == "mlp" and (self.omega0 is None or self.shared is None)
        ):
            raise ValueError("a network, and it alone, has a depth, omega0 and shared")
        return self


class _Axis(_Kind):
    lowest: _Power | None = None
    highest: _Power | None = None
    duration: _Positive | None = None
    power: _Power | None = None
    # Dense matrices have as many rows.
    num_nodes: Annotated[int, Field(ge=1, le=2**13)] = 1

    @model_validator(mode="after")
    def _ends(self) -> _Axis:
        if self.kind in ("noise", "noise_range"):
            if self.lowest is None or self.highest is None:
                raise ValueError("a noise axis has a lowest and a highest power")
            several = self.num_nodes > 1 or self.kind == "noise_range"
            if several and not 0 < self.lowest <= self.highest:
                raise ValueError(f"noise powers from {self.lowest} to {self.highest} do not rise")
        if self.kind == "time" and (self.duration is None or self.num_nodes < 2):
            raise ValueError("an axis of the time has a duration, and two nodes at least")
        return self


class _Mapping(_Values):
    basis: _Basis
    axis: _Axis
    layouts: Annotated[list[_Layout], Field(min_length=1, max_length=64)]
    band: Annotated[tuple[_Frequency, _Frequency], BeforeValidator(_pair)]

    @model_validator(mode="after")
    def _rising(self) -> _Mapping:
        if not self.band[0] < self.band[1]:
            raise ValueError(f"band is {list(self.band)}, the first must be the lower one")
        return self


class _Links(_Values):
    kind: Literal["multi_user", "single_user"]
    carrier_frequency: _Positive
    fft_size: _Size
    subcarrier_spacing: Annotated[float, Field(ge=1e-3, le=1e12)]
    noise_db: Annotated[tuple[_Decibels, _Decibels], BeforeValidator(_pair)] | None
    num_streams: _Size | None
    source: str
    duration: _Power
    delays_drift: bool = True


class _Tolerance(_Values):
    quality_db: _Decibels
    range_error: _Power


class _Training(_Values):
    # Shares of an empty set are not numbers.
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=True)

    error_median: float = 0.0
    quality_5_percent_db: float = 0.0
    corrected_share: float = 0.0
    patched_share: float = 0.0
    untrained_error: float = 0.0
    exact_samples_per_link: float = 0.0
    seconds_per_link: float = 0.0
    bytes_per_link: float = 0.0
    stopped: list[str] = []
    batches: list[list[dict[str, Any]]] = []

    @model_validator(mode="after")
    def _together(self) -> _Training:
        known = self.model_fields_set
        if "error_median" in known and "quality_5_percent_db" not in known:
            raise ValueError("it has an error_median and no quality_5_percent_db")
        return self


class _Scenario(_Values):
    fingerprint: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None
    torch: str | None = None
    config: dict[str, Any] | None = None


class _Operation(_Values):
    name: _OperationName


class _Model(_Values):
    operation: _Operation
    mapping: _Mapping
    links: _Links
    tolerance: _Tolerance
    training: _Training
    complex: list[str]
    tensors: dict[str, _Digest]
    file: str | None


class _Manifest(_Values):
    name: Annotated[str, AfterValidator(lambda name: check_plain("The name of a model", name))]
    scenario: _Scenario
    operations: dict[_OperationName, _Model]

    @model_validator(mode="after")
    def _names(self) -> _Manifest:
        for name, model in self.operations.items():
            if model.operation.name != name:
                raise ValueError(f"the model of {name} is one of {model.operation.name}")
        return self


__all__ = ["check_values"]
