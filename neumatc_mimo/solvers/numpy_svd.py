"""NumPy's SVD: LAPACK's divide and conquer at every point by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from neumatc_mimo.operations.base import Components, Operation
from neumatc_mimo.solvers.approximating import Approximating
from neumatc_mimo.solvers.approximation import Approximation
from neumatc_mimo.solvers.base import Channels
from neumatc_mimo.solvers.checks import num_triplets
from neumatc_mimo.solvers.registry import register


@register(name="numpy_svd")
@dataclass(frozen=True)
class NumPySVD(Approximating):
    r"""The strongest triplets of the thin SVD, ``numpy.linalg.svd`` ("SVD (NumPy)", NeuMatC).

    LAPACK's ``gesdd`` finds all triplets, of which the first L are kept. Exact to rounding, in the
    precision of the channels, each point by itself; those of a tile are one call. NumPy computes
    on the CPU: channels on another device are copied there, and triplets back.

    :raises ValueError: in ``start``, if the operation's components are no triplets
    """

    def _approximate(self, operation: Operation, channels: Channels) -> Approximation:
        strongest = slice(0, num_triplets(self, operation, channels))

        def approximation(subcarriers: slice) -> Components:
            a = channels.a[:, subcarriers]
            u, s, vh = np.linalg.svd(a.resolve_conj().cpu().numpy(), full_matrices=False)
            v = vh[..., strongest, :].conj().swapaxes(-1, -2)
            found = (u[..., strongest], s[..., strongest], v)
            return tuple(torch.from_numpy(c).to(a.device) for c in found)

        return approximation
