"""Blocks with kernels of subcarriers in lanes, and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.kernels.lanes import emitters, library, refined

library.forget()
REASON = library.why_not()
needs_library = pytest.mark.skipif(REASON is not None, reason=f"The kernels are {REASON}.")
DTYPES = {"single": torch.complex64, "double": torch.complex128}
# Of norms: rounding of one precision, twice.
BOUNDS = {"single": 2e-5, "double": 2e-12}
VARIANTS = ["v4", "v3", "v2"]


class Choice:
    """Sets ``NEUMATC_LANES`` for what follows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, value: str) -> None:
        self._monkeypatch.setenv(library.VARIABLE, value)
        library.forget()


def normal(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def downlink(
    users: int, symbols: int, subcarriers: int, num_tx: int = 1, **grid: Any
) -> tuple[ResourceGrid, StreamManagement]:
    association = np.repeat(np.eye(num_tx), users, axis=0)
    return (
        ResourceGrid(symbols, subcarriers, 30e3, num_tx=num_tx, num_streams_per_tx=users, **grid),
        StreamManagement(association, users),
    )


def uplink(
    users: int, symbols: int, subcarriers: int, **grid: Any
) -> tuple[ResourceGrid, StreamManagement]:
    return (
        ResourceGrid(symbols, subcarriers, 30e3, num_tx=users, **grid),
        StreamManagement(np.ones([1, users]), 1),
    )


def both(choose: Choice, make: Callable[[], Any], *inputs: Any) -> tuple[Any, Any, Any, Any]:
    """Outputs of a block with kernels and without, and the counts of both."""
    found = []
    for value in ("", "off"):
        choose(value)
        block = make()
        outputs = block(*inputs)
        found.append((outputs if isinstance(outputs, tuple) else (outputs,), block.stats))
    (ours, counts), (theirs, right) = found
    return ours, theirs, counts, right


def check(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], precision: str) -> None:
    for own, other in zip(ours, theirs, strict=True):
        assert own.shape == other.shape and own.dtype == other.dtype
        error = torch.linalg.vector_norm(own - other) / torch.linalg.vector_norm(other)
        assert float(error) < BOUNDS[precision], f"relative error {float(error):.1e}"


class Spy:
    """Counts what kernels are asked to do, but for what they compute again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        for kind in (emitters.Precoded, emitters.Received, emitters.Combined):
            monkeypatch.setattr(kind, "emit", self._around(kind.emit))
        monkeypatch.setattr(refined, "compute", self._beside(refined.compute))

    def _around(self, emit: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def counted(*arguments: Any) -> Tensor:
            self.calls += 1
            return emit(*arguments)

        return counted

    def _beside(self, compute: Callable[..., refined.Done]) -> Callable[..., refined.Done]:
        def uncounted(*arguments: Any) -> refined.Done:
            before = self.calls
            done = compute(*arguments)
            self.calls = before
            return done

        return uncounted
