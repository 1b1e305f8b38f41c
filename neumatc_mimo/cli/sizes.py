"""Sizes of trained models, as commands print them."""

from __future__ import annotations

from typing import Any


def told_sizes(operation: str, sizes: dict[str, Any]) -> str:
    """One line; what decides the sizes where the scenario file does not comes first."""
    return (
        f"{operation}: phases turn {sizes['turns']:.0f} times over the band; width "
        f"{sizes['width']}, samples {sizes['samples']}, collocation {sizes['collocation']}"
    )
