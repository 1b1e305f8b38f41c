"""What rounding of single precision spoils is computed again in double precision, by a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MaxMinPrecoder,
    MMSEEqualizer,
    SLNRPrecoder,
    SVDBeamformer,
    SVDCombiner,
    WMMSEPrecoder,
    ZFPrecoder,
)
from neumatc_mimo.operations import ill_conditioned
from tests.kernels.comparison import Choice, downlink, needs_library, normal, uplink
from tests.kernels.test_sources import link, off

# Of norms: users this near lose all digits of single precision.
NEAR = 1e-4


def downlinks(items: int) -> Tensor:
    """Channels [items, 3, 1, 1, 6, 4, 40] with two users nearly in one place here and there."""
    h = normal(items, 3, 1, 1, 6, 1, 40, dtype=torch.complex64)
    h[0, 1, ..., 5:8] = h[0, 0, ..., 5:8] + NEAR * h[0, 1, ..., 5:8]
    h[-1, 2, ..., 39] = h[-1, 0, ..., 39] + NEAR * h[-1, 2, ..., 39]
    return h.expand(-1, -1, -1, -1, -1, 4, -1)


def guarded() -> dict[str, Any]:
    return {"num_guard_carriers": (3, 2), "dc_null": True}


def precoding(block: Any, *noise: float) -> Callable[[str, int], Any]:
    def run(precision: str, items: int) -> Any:
        made = block(*downlink(3, 4, 40), nm.Exact(), items == 2, precision=precision)
        x = normal(2, 1, 3, 4, 40, dtype=torch.complex64, seed=1)
        return made, made(*as_asked(precision, x, downlinks(items)), *noise)

    return run


def receiving(precision: str, items: int) -> Any:
    made = MMSEEqualizer(*uplink(3, 4, 46, **guarded()), nm.Exact(), precision=precision)
    h = downlinks(items).permute(0, 3, 4, 1, 2, 5, 6)
    y = normal(2, 1, 6, 4, 46, dtype=torch.complex64, seed=1)
    return made, made(*as_asked(precision, y, h), 0.0, 1e-9)


def beams(precision: str, items: int) -> Any:
    made = SVDBeamformer(*link(3, 4, 40), nm.Exact(), True, precision=precision)
    x = normal(2, 1, 3, 4, 40, dtype=torch.complex64, seed=1)
    return made, made(*as_asked(precision, x, downlinks(items).permute(0, 2, 1, 3, 4, 5, 6)))


def combining(precision: str, items: int) -> Any:
    made = SVDCombiner(*link(3, 4, 40, **guarded()), nm.Exact(), precision=precision)
    y = normal(2, 1, 3, 4, 40, dtype=torch.complex64, seed=1)
    no = torch.tensor([0.1, 0.5, 1.0]).expand(items, 1, 3)
    h = downlinks(items).permute(0, 2, 1, 3, 4, 5, 6)
    return made, made(*as_asked(precision, y, h), no)


def as_asked(precision: str, *tensors: Tensor) -> list[Tensor]:
    dtype = torch.complex64 if precision == "single" else torch.complex128
    return [t.to(dtype) for t in tensors]


CASES: dict[str, Callable[[str, int], Any]] = {
    "zero forcing": precoding(ZFPrecoder),
    "regularised": precoding(ZFPrecoder, 1e-7),
    "slnr": precoding(SLNRPrecoder, 1e-7),
    "wmmse": precoding(WMMSEPrecoder, 1e-5),
    "max-min": precoding(MaxMinPrecoder, 1e-5),
    "mmse": receiving,
    "beams": beams,
    "combiner": combining,
}


@needs_library
@pytest.mark.parametrize("items", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_refined_results_are_those_of_double_precision(
    name: str, items: int, choose: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose("off")
    _, right = CASES[name]("double", items)
    choose("")
    # PyTorch has no part in it.
    monkeypatch.setattr(ill_conditioned, "orthogonal_factors", None)
    block, found = CASES[name]("single", items)
    assert block.stats.refined > 0
    found, right = (t if isinstance(t, tuple) else (t,) for t in (found, right))
    assert max(off(found, right)) < 1e-3


@needs_library
def test_what_double_precision_shows_is_left_to_pytorch(choose: Choice) -> None:
    """Users so near that their Gram matrix tells nothing of them, beside others that are not."""
    h = downlinks(2).clone()
    h[1, 1, ..., 11] = h[1, 0, ..., 11] + 1e-6 * h[1, 1, ..., 11]
    x = normal(2, 1, 3, 4, 40, dtype=torch.complex64, seed=1)
    make = lambda precision: ZFPrecoder(*downlink(3, 4, 40), nm.Exact(), precision=precision)  # noqa: E731
    choose("")
    block = make("single")
    with pytest.warns(UserWarning, match="1 of 80 matrices are so ill-conditioned"):
        found = block(x, h)
    assert block.stats.refined == 5
    choose("off")
    right = make("double")(*as_asked("double", x, h))
    assert off((found,), (right,))[0] < 1e-4
