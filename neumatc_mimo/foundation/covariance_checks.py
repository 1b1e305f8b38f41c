"""Noise covariances that the blocks refuse, those of PyTorch and of TensorFlow alike."""

from __future__ import annotations

# Of the larger of two diagonal entries: rounding of single precision, and of what was estimated.
HERMITIAN, CORRELATED = 1e-5, 1e-4


def refuse_covariance(*, finite: bool, hermitian: bool, semidefinite: bool) -> None:
    """Refuse what is no covariance.

    :param finite: Whether it has neither NaN nor infinite entries
    :param hermitian: Whether it is Hermitian, up to :data:`HERMITIAN`
    :param semidefinite: Whether no power is negative, and no correlation larger than the powers of
        its antennas allow, up to :data:`CORRELATED`

    :raises ValueError: if it is one of these not
    """
    if not finite:
        raise ValueError("noise_covariance has NaN or infinite entries, finite ones are needed.")
    if not hermitian:
        raise ValueError("noise_covariance is not Hermitian, a covariance matrix is.")
    if not semidefinite:
        raise ValueError(
            "noise_covariance is not positive semidefinite: it has a negative power, or a "
            "correlation beyond the powers of its antennas."
        )
