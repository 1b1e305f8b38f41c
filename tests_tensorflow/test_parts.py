"""The parts of which blocks are made, each against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from neumatc_mimo.foundation.cardinal_splines import cardinal_pieces
from neumatc_mimo.tensorflow.basis import windows
from neumatc_mimo.tensorflow.hermitian import eigenvectors
from neumatc_mimo.tensorflow.network import functions
from neumatc_mimo.tensorflow.power import waterfilling
from tests_tensorflow.conftest import samples


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("jit", [False, True])
def test_eigenvectors(n: int, jit: bool) -> None:
    """Also of equal eigenvalues, of zeros, and of values far apart."""
    a = samples(7, n, 12, seed=n)
    a[0, :, :n] = np.eye(n)
    a[0, :, n:] = 0
    a[1] = 0
    a[2] *= np.logspace(0, -4, n)[:, None]
    h = a @ a.conj().swapaxes(-1, -2)
    v = tf.function(eigenvectors, jit_compile=jit)(tf.constant(h)).numpy()
    assert np.abs(v.conj().swapaxes(-1, -2) @ v - np.eye(n)).max() < 1e-12
    values = np.einsum("bij,bik,bkj->bj", v.conj(), h, v).real
    expected = np.linalg.eigvalsh(h)[:, ::-1]
    assert np.abs(values - expected).max() < 1e-12 * expected.max()


def test_windows_of_splines() -> None:
    """A partition of unity, and the same as all splines at once."""
    x = np.linspace(-1, 1, 101)
    values, basis = windows(
        {"kind": "spline", "num_functions": 40, "degree": 3, "points_per_interval": 0}, x
    )
    full = np.zeros([values.shape[0] * values.shape[1], 40])
    for group, (part, columns) in enumerate(zip(values, basis, strict=True)):
        full[group * len(part) : (group + 1) * len(part), columns] = part
    full = full[: len(x)]
    assert np.abs(full.sum(1) - 1).max() < 1e-12
    # The splines between two knots, from the middle of an interval.
    middle = (20 + 0.5) / 37 * 2 - 1
    ((one,), (columns,)) = windows(
        {"kind": "spline", "num_functions": 40, "degree": 3, "points_per_interval": 0},
        np.array([middle]),
    )
    assert columns.tolist() == [20, 21, 22, 23]
    assert np.allclose(one[0], cardinal_pieces(3)[:, 0])


@pytest.mark.parametrize("kind", ["sine", "fourier"])
def test_units_that_are_everywhere(kind: str) -> None:
    settings = {"kind": kind, "num_functions": 9}
    if kind == "sine":
        settings |= {"spacing": 0.9, "decay": 45.0}
    values, basis = windows(settings, np.linspace(-1, 1, 101))
    assert values.shape == (1, 101, 9) and basis.tolist() == [list(range(9))]
    with pytest.raises(ValueError, match='There is no basis "cubic"'):
        windows({"kind": "cubic"}, np.zeros(1))


def test_waterfilling() -> None:
    """All power is spent, and levels of the streams with power are equal."""
    s = np.sort(np.abs(samples(50, 4, seed=1)), axis=-1)[:, ::-1].copy()
    p = waterfilling(tf.constant(s), tf.constant(0.3, tf.float64)).numpy()
    assert np.allclose(p.sum(-1), 4) and (p >= 0).all()
    level = np.where(p > 0, p + 0.3 / s**2, np.nan)
    assert np.allclose(np.nanmax(level, -1), np.nanmin(level, -1))
    assert (0.3 / s[p == 0] ** 2 >= np.broadcast_to(level[:, :1], s.shape)[p == 0] - 1e-12).all()


@pytest.mark.parametrize("links", [(), (3,)])
def test_networks(links: tuple[int, ...]) -> None:
    """Layers one after the other, each link its own or all the same."""
    random, x = np.random.default_rng(0), np.linspace(-1, 1, 21)
    sizes = [1, 5, 4, 6]
    tensors = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        tensors[f"weight.{layer}"] = random.normal(size=(*links, outputs, inputs)).astype("f")
        tensors[f"bias.{layer}"] = random.normal(size=(*links, outputs)).astype("f")
    settings = {"kind": "mlp", "omega0": 2.5, "depth": 2, "shared": not links}
    values = functions(settings, tensors, x)
    assert values is not None and values.shape == (*(links or (1,)), 21, 6)
    for number, point in np.ndindex(values.shape[:2]):
        h = x[point : point + 1].astype(np.float64)
        for layer in range(3):
            of_link = (number,) if links else ()
            weight, bias = (tensors[f"{p}.{layer}"][of_link] for p in ("weight", "bias"))
            h = weight.astype(np.float64) @ (np.sin(2.5 * h) if layer else h) + bias
        assert np.allclose(values[number, point], h, rtol=1e-12)


def test_fixed_functions_are_no_network() -> None:
    assert functions({"kind": "sine"}, {}, np.zeros(3)) is None
