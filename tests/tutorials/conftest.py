"""What all tutorials run in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sionna.phy import config


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """Sionna's lists of candidates are compiled otherwise, for seconds; its seed is put back."""
    seed = config.seed
    with torch.compiler.set_stance("force_eager"):
        yield
    config.seed = seed
