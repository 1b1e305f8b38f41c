"""Least squares of functions few of which differ from zero anywhere, for many columns at once."""

from __future__ import annotations

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.library import loaded


def solves(*tensors: Tensor) -> bool:
    """Whether there is a kernel for these, see :func:`least_squares`."""
    return loaded() is not None and all(t.device.type == "cpu" for t in tensors)


def least_squares(
    first: Tensor, values: Tensor, weights: Tensor, factor: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Coefficients :math:`Z = (L L^T)^{-1} H^T W Y`, and what they give, :math:`H Z`.

    Sums are in double precision.

    :param first: the first function that differs from zero at each point, [N] int64
    :param values: of the functions from it on, [N, w] float64: the rows of H
    :param weights: W, [num_items or 1, N] float64; where it is zero, targets may be anything
    :param factor: L, of a band b, [num_items or 1, width, b + 1] float64: of each row what is left
        of the diagonal, then the reciprocal of the diagonal
    :param targets: Y, [num_items, N, n] float32

    :return: Z [num_items, width, n] and H Z [num_items, N, n], float32
    """
    library = loaded()
    assert library is not None
    first, values, weights, factor, targets = (
        t.contiguous() for t in (first, values, weights, factor, targets)
    )
    coefficients = targets.new_empty(len(targets), factor.shape[1], targets.shape[2])
    fitted = torch.empty_like(targets)
    library.local(
        items=len(targets),
        points=len(first),
        functions=factor.shape[1],
        columns=targets.shape[2],
        taps=values.shape[1],
        first=first,
        value=values,
        weight=weights,
        weight_item=weights.stride(0) if len(weights) > 1 else 0,
        band=factor.shape[2] - 1,
        factor=factor,
        factor_item=factor.stride(0) if len(factor) > 1 else 0,
        target=targets,
        coefficient=coefficients,
        fitted=fitted,
    )
    return coefficients, fitted
