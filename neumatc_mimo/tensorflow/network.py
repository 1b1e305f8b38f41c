"""Values of a trunk that is a network at fixed frequencies, by NumPy: constants of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The kind of trunk that this is, as manifests name it.
_KIND = "mlp"


def functions(
    settings: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], x: Floats
) -> Floats | None:
    r"""φ(x; θ) of each link, [num_links or 1, B, rank], as
    :class:`~neumatc_mimo.mapping.trunk.NetworkTrunk` computes it; None where the trunk is none.

    :param settings: of the trunk, as a manifest has them
    :param tensors: ``weight.0``, ``bias.0``, ... of a mapping
    :param x: coordinates [B]
    """
    if settings["kind"] != _KIND:
        return None
    depth, omega0 = settings["depth"], settings["omega0"]
    values: Floats = x[None, :, None]
    for layer in range(depth + 1):
        weight = tensors[f"weight.{layer}"].astype(np.float64)
        bias = tensors[f"bias.{layer}"].astype(np.float64)
        values = values @ weight.swapaxes(-1, -2) + bias[..., None, :]
        if layer < depth:
            values = np.sin(omega0 * values)
    return values


__all__ = ["functions"]
