"""Linear interpolation of every component between exact samples."""

from __future__ import annotations

from dataclasses import dataclass, field

from neumatc_mimo.solvers.registry import register
from neumatc_mimo.solvers.spline import Spline


@register(name="linear")
@dataclass(frozen=True)
class Linear(Spline):
    r"""Linear interpolation between neighbouring samples, the spline of degree one.

    .. math:: \hat Y(p) = (1 - t) Y(p_s) + t Y(p_{s+1}), \qquad t = (p - p_s) / (p_{s+1} - p_s).

    The error is of order :math:`h^2` for samples a distance h apart.

    :param num_samples: Number of samples, evenly spread, both ends included
    """

    degree: int = field(default=1, init=False, repr=False)
