"""The published methods and those that the paper leaves out, as the sweep tuned them."""

from __future__ import annotations

from neumatc_mimo.solvers import (
    DFT,
    Hold,
    Linear,
    NeuralNewton,
    NewtonSchulz,
    OperatorInterpolation,
    RandomizedSVD,
    SharedProjectionSVD,
    Solver,
    Spline,
    ZhangInverse,
    ZhangSVD,
)

# Mean error that a rival's fastest setting has to keep.
TARGET = 1e-3


def inverse_rivals(num_samples: int) -> dict[str, Solver]:
    """Rivals of an inversion with settings of ``sweeps``, on a well-conditioned family.

    :param num_samples: exact results that those may know that interpolate
    """
    return {
        "NNI": NeuralNewton(steps=8, step_size=1.2),
        "COI": OperatorInterpolation(min(num_samples, 16), sketch=1),
        "ZNNI": ZhangInverse(gamma=0.5),
        "Newton–Schulz": NewtonSchulz(steps=1, degree=0),
        "hold": Hold(num_samples),
        "linear": Linear(num_samples),
        "DFT": DFT(num_samples, num_taps=32),
        "spline": Spline(num_samples),
    }


def svd_rivals(num_samples: int) -> dict[str, Solver]:
    """Rivals of a SVD, likewise."""
    return {
        "RSVD": RandomizedSVD(oversampling=0, power_iterations=0),
        "CRSVD": SharedProjectionSVD(oversampling=0),
        "ZNN-SVD": ZhangSVD(gain=0.05),
        "hold": Hold(num_samples),
        "linear": Linear(num_samples),
        "spline": Spline(num_samples),
    }
