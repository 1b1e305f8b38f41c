"""What all sections of a scenario file have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Keys that are known, values that are checked. What stands below a field describes it in the
    documentation of scenario files.
    """

    # strict: a number in quotation marks or a boolean is a mistake, not a number.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def from_list(value: Any) -> Any:
    """TOML has lists where the sections, being frozen, hold tuples."""
    return tuple(value) if isinstance(value, list) else value
