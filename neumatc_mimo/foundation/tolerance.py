"""What a certificate requires."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """What a certificate requires: at least ``quality_db`` and at most ``range_error``."""

    quality_db: float = 40.0
    range_error: float = 1e-2
