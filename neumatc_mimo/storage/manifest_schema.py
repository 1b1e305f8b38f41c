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
    NonNegativeFloat,
    PositiveFloat,
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
_Degree = Annotated[int, Field(ge=0, le=31)]
_Pair = Annotated[tuple[float, float], BeforeValidator(_pair)]
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
    degree: _Degree | None = None


class _Axis(_Kind):
    lowest: NonNegativeFloat | None = None
    highest: NonNegativeFloat | None = None
    duration: PositiveFloat | None = None
    power: NonNegativeFloat | None = None
    # Dense matrices have as many rows.
    num_nodes: Annotated[int, Field(ge=1, le=2**13)] | None = None


class _Mapping(_Values):
    basis: _Basis
    axis: _Axis
    layouts: Annotated[list[_Layout], Field(min_length=1, max_length=64)]
    band: _Pair

    @model_validator(mode="after")
    def _rising(self) -> _Mapping:
        if not self.band[0] < self.band[1]:
            raise ValueError(f"band is {list(self.band)}, the first must be the lower one")
        return self


class _Links(_Values):
    kind: Literal["multi_user", "single_user"]
    carrier_frequency: PositiveFloat
    fft_size: _Size
    subcarrier_spacing: PositiveFloat
    noise_db: _Pair | None
    num_streams: _Size | None
    source: str
    duration: NonNegativeFloat
    delays_drift: bool = True


class _Tolerance(_Values):
    quality_db: float
    range_error: NonNegativeFloat


class _Training(_Values):
    # Shares of an empty set are not numbers.
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=True)

    error_median: float | None = None
    quality_5_percent_db: float | None = None
    corrected_share: float | None = None
    patched_share: float | None = None
    untrained_error: float | None = None


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
    file: str | None = None


class _Manifest(_Values):
    name: Annotated[str, AfterValidator(lambda name: check_plain("The name of a model", name))]
    scenario: dict[str, Any]
    operations: dict[_OperationName, _Model]

    @model_validator(mode="after")
    def _names(self) -> _Manifest:
        for name, model in self.operations.items():
            if model.operation.name != name:
                raise ValueError(f"the model of {name} is one of {model.operation.name}")
        return self


__all__ = ["check_values"]
