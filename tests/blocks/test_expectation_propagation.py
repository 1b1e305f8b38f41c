"""Expectation propagation to the last digits, beside the same iteration in extended precision.

Sionna's takes differences of precisions up to 1e12, of which fewer digits are left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sionna.phy.mapping import Constellation
from sionna.phy.mimo import EPDetector as VectorDetector
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

import neumatc_mimo as nm
from neumatc_mimo import blocks
from tests.blocks.common import noise

USERS, ANTENNAS, SUBCARRIERS, BITS = 3, 5, 24, 4
ITERATIONS, BETA, LEAST = 10, 0.9, 1e-12
Array = NDArray[Any]


@pytest.mark.parametrize("snr_db", [-100, -40, 0, 10, 20, 40, 60])
def test_ratios_are_those_of_extended_precision(snr_db: float) -> None:
    h = noise(ANTENNAS, USERS, SUBCARRIERS, seed=1)
    points = Constellation("qam", BITS, precision="double")()
    sent = points[
        torch.randint(len(points), (USERS, SUBCARRIERS), generator=torch.Generator().manual_seed(0))
    ]
    no = 10 ** (-snr_db / 10)
    y = (h * sent).sum(1) + no**0.5 * noise(ANTENNAS, SUBCARRIERS, seed=2)

    rg = ResourceGrid(1, SUBCARRIERS, 30e3, num_tx=USERS)
    streams = StreamManagement(np.ones([1, USERS]), 1)
    detect = blocks.EPDetector("bit", rg, streams, nm.Exact(), BITS, precision="double")
    zero, power = (torch.tensor(value, dtype=torch.float64) for value in (0.0, no))
    found = detect(y[None, None, :, None], h[None, None, :, :, None, None], zero, power)

    ratios = VectorDetector("bit", BITS, precision="double")._symbollogits2llrs
    levels = Constellation("pam", BITS // 2, precision="double")().real / 2**0.5
    logits = propagated(h.permute(2, 0, 1).numpy(), y.T.numpy(), no, levels.numpy())
    real, imag = torch.as_tensor(logits.astype(np.float64)).chunk(2, 1)
    expected = torch.stack([ratios(real), ratios(imag)], -1).flatten(-2)  # [F, USERS, BITS]
    expected = expected.transpose(0, 1).reshape(1, USERS, 1, -1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


def propagated(h: Array, y: Array, no: float, levels: Array) -> Array:
    """Logits of the levels of each real unknown, [F, 2 K, num_levels]: Eqs. (28) to (38) of
    Céspedes et al., the precision of what the others tell in the form without a difference.
    """
    real = np.concatenate(
        [np.concatenate([h.real, -h.imag], 2), np.concatenate([h.imag, h.real], 2)], 1
    )
    a = real.astype(np.longdouble) / np.sqrt(np.longdouble(no))
    b = np.concatenate([y.real, y.imag], 1).astype(np.longdouble) / np.sqrt(np.longdouble(no))
    points = levels.astype(np.longdouble)
    gram, z = np.einsum("fmi,fmj->fij", a, a), np.einsum("fmi,fm->fi", a, b)
    half = np.longdouble(0.5)
    precision = np.ones_like(z) / points.var(ddof=1)
    gamma, logits = np.zeros_like(z), z
    for _ in range(ITERATIONS):
        sigma = inverse(gram + half * precision[:, None] * np.eye(z.shape[1]))
        own = np.einsum("fii->fi", sigma)
        told = np.clip((sigma * gram).sum(-1) / (half * own), 0, 1 / LEAST)
        others = sigma * (1 - np.eye(z.shape[1]))
        known = (np.einsum("fij,fj->fi", others, z + half * gamma) / own + z) / half
        logits = known[..., None] * points - told[..., None] * points**2 / 2
        share = np.exp(logits - logits.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        value = (points * share).sum(-1)
        spread = ((points - value[..., None]) ** 2 * share).sum(-1).clip(LEAST)
        new_precision, new_gamma = 1 / spread - told, value / spread - known
        stays = new_precision < 0
        new_precision = np.where(stays, precision, new_precision)
        new_gamma = np.where(stays, gamma, new_gamma)
        precision = (1 - BETA) * new_precision + BETA * precision
        gamma = (1 - BETA) * new_gamma + BETA * gamma
    return logits


def inverse(a: Array) -> Array:
    """Of positive definite matrices [F, m, m], by elimination: LAPACK has no extended precision."""
    m = a.shape[1]
    whole = np.concatenate([a, np.broadcast_to(np.eye(m, dtype=a.dtype), a.shape)], 2)
    for k in range(m):
        row = whole[:, k] / whole[:, k, k, None]
        whole = whole - whole[:, :, k, None] * row[:, None]
        whole[:, k] = row
    return whole[:, :, m:]
