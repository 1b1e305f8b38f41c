"""NumPy's inverse: LAPACK's LU factorisation of every point by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neumatc_mimo.solvers.inverting import Inverting
from neumatc_mimo.solvers.registry import register


@register(name="numpy_lu")
@dataclass(frozen=True)
class NumPyLU(Inverting):
    r"""Inverses by LU factorisation, ``numpy.linalg.inv`` ("LU (NumPy)", NeuMatC, Table 1).

    Exact to rounding, in the precision of the channels, each point by itself; those of a tile are
    one call. A singular matrix gives NaN. NumPy computes on the CPU: channels on another device
    are copied there, and inverses back.

    :raises ValueError: in ``start``, if the operation's components are no inverses
    """

    def _inverse(self, b: Tensor) -> Tensor:
        return _inverse(b)


def _inverse(b: Tensor) -> Tensor:
    """Inverses of b [..., n, n]; NaN where there is none."""
    try:
        return torch.from_numpy(np.linalg.inv(b.resolve_conj().cpu().numpy())).to(b.device)
    except np.linalg.LinAlgError:
        if b.ndim == 2:
            return torch.full_like(b, torch.nan)
        # One singular matrix makes NumPy refuse the whole batch.
        return torch.stack([_inverse(one) for one in b])
