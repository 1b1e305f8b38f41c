"""What all sections of a scenario file have in common."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, ClassVar

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

    # Keys that older versions did not have.
    newer: ClassVar[frozenset[str]] = frozenset()

    def told(self, exclude: Set[str] = frozenset()) -> str:
        """The keys as JSON, for fingerprints: those of files without newer keys stay what they
        were.

        :param exclude: Keys that are left out in any case
        """
        defaults = type(self).model_fields
        unset = {key for key in self.newer if getattr(self, key) == defaults[key].default}
        return self.model_dump_json(exclude=unset | exclude)


def from_list(value: Any) -> Any:
    """TOML has lists where the sections, being frozen, hold tuples."""
    return tuple(value) if isinstance(value, list) else value
