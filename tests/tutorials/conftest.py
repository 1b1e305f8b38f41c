"""What all tutorials run in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sionna.phy import config


@pytest.fixture(autouse=True)
def seed_put_back(eager: None) -> Iterator[None]:
    """Sionna's seed is the same afterwards; nothing is compiled meanwhile."""
    del eager
    seed = config.seed
    yield
    config.seed = seed
