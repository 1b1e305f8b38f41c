"""The benchmark of blocks under load."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from benchmarks import loads
from benchmarks.eight_links import Slots
from tests.kernels.comparison import needs_library


@needs_library
@pytest.mark.parametrize("name", ["ZFPrecoder", "MMSEEqualizer"])
def test_the_limit_is_the_emitter_with_known_filters(name: str) -> None:
    uplink = name == "MMSEEqualizer"
    antennas, users = (1, 6, 3, 1) if uplink else (3, 1, 1, 6), 3
    h = torch.randn(1, *antennas, 2, 20, dtype=torch.complex64)
    x = torch.randn(1, 1, users, 2, 20, dtype=torch.complex64)
    y = torch.randn(1, 1, 6, 2, 20, dtype=torch.complex64)
    found = loads._limit(name, Slots(cast("Any", None), cast("Any", None), [h], [x], [y]), 1)
    assert found is not None and found > 0
