"""The certificate of the pseudo-inverse: what it accepts, and the impostors it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neumatc_mimo.operations.base import Tolerance
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse

ROWS, COLS, BATCH = 4, 16, 25
OPERATION = PseudoInverse()


def channels(seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(BATCH, ROWS, COLS, dtype=torch.complex128, generator=generator)
    return h.to(dtype)


def accepted(h: Tensor, w: Tensor, no: float) -> Tensor:
    return OPERATION.certificate(h, (w,), no, Tolerance()).ok


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("no", [0.0, 1e-4, 0.1, 1.0])
def test_exact_is_accepted(no: float, dtype: torch.dtype) -> None:
    h = channels(dtype=dtype)
    certificate = OPERATION.certificate(h, OPERATION.exact(h, no), no, Tolerance())
    assert certificate.ok.all()
    assert certificate.quality.min() > 90
    assert certificate.range_error.max() < 1e-5


@pytest.mark.parametrize("no", [0.1, 1.0])
def test_zero_forcing_is_no_mmse(no: float) -> None:
    h = channels()
    assert not accepted(h, OPERATION.exact(h)[0], no).any()


def test_zero_forcing_is_no_mmse_with_a_lower_block_either() -> None:
    h = channels()
    w = OPERATION.solve(h).w
    # [W; σ WᴴW] lies in the range of [H, σI]ᴴ, so here R is what tells: it is −σ² WᴴW.
    assert not accepted(h, torch.cat([w, w.mH @ w], dim=1), 1.0).any()


def test_mmse_is_no_zero_forcing() -> None:
    h = channels()
    assert not accepted(h, OPERATION.exact(h, 0.3)[0], 0.0).any()


@pytest.mark.parametrize("no", [0.0, 0.1])
def test_component_outside_the_range_is_refused(no: float) -> None:
    h = channels()
    (w,) = OPERATION.exact(h, no)
    augmented = torch.cat([h, no**0.5 * torch.eye(ROWS, dtype=h.dtype).expand(BATCH, -1, -1)], -1)
    other = torch.cat([channels(1).mT, channels(2)[..., :ROWS]], dim=1)
    outside = other - torch.linalg.pinv(augmented) @ (augmented @ other)
    if no == 0:
        outside[:, COLS:] = 0
    # It is a right inverse as good as the true one: only the range tells.
    impostor = w + 0.1 * outside / outside.norm() * w.norm()
    assert (augmented @ impostor - torch.eye(ROWS)).abs().max() < 1e-9
    assert not accepted(h, impostor, no).any()


def test_component_outside_the_range_of_one_stream_is_refused() -> None:
    # The filter of the strongest user is the shortest: its error must not drown in the others'.
    h = channels() * torch.tensor([100.0, 1, 1, 1])[:, None]
    (w,) = OPERATION.exact(h)
    other = channels(1).mT[..., 0]
    outside = other - (torch.linalg.pinv(h) @ (h @ other[..., None]))[..., 0]
    impostor = w.clone()
    impostor[:, :COLS, 0] += outside / outside.norm() * w[:, :, 0].norm()
    assert not accepted(h, impostor, 0.0).any()


@pytest.mark.parametrize("no", [0.0, 0.1])
def test_the_filter_of_another_link_is_refused(no: float) -> None:
    h = channels()
    assert not accepted(h, OPERATION.exact(channels(1), no)[0], no).any()
    assert not accepted(h, OPERATION.exact(h, no)[0].flip(-1), no).any()
    assert not accepted(h, torch.zeros_like(OPERATION.exact(h, no)[0]), no).any()


@pytest.mark.parametrize("no", [0.0, 0.1])
def test_correction_squares_the_residual(no: float) -> None:
    h = channels()
    (w,) = OPERATION.exact(h, no)
    # An error within the range, as a fit's is not only, so that all of it can be corrected.
    for error in (1e-1, 1e-2, 1e-3):
        mixed = torch.eye(ROWS) + error * channels(3)[..., :ROWS] / ROWS
        (corrected,) = OPERATION.correct(h, (w @ mixed,), no)
        defect = torch.linalg.norm(mixed - torch.eye(ROWS), dim=(-2, -1))
        left = torch.linalg.norm(
            torch.linalg.lstsq(w, corrected).solution - torch.eye(ROWS), dim=(-2, -1)
        )
        assert (left <= 1.01 * defect**2).all()


def test_nan_is_refused() -> None:
    h = channels()
    (w,) = OPERATION.exact(h)
    w[3, 2, 1] = torch.nan
    ok = accepted(h, w, 0.0)
    assert not ok[3] and ok.sum() == BATCH - 1
