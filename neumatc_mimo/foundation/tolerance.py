"""What a certificate asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """What a certificate asks for: ``quality_db`` at least, ``range_error`` at most."""

    quality_db: float = 40.0
    range_error: float = 1e-2
