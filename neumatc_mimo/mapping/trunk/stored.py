"""Trunks from what files hold of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from neumatc_mimo.mapping.basis import KnotSplines, make_basis
from neumatc_mimo.mapping.trunk.base import Trunk
from neumatc_mimo.mapping.trunk.basis import BasisTrunk
from neumatc_mimo.mapping.trunk.knots import KnotTrunk
from neumatc_mimo.mapping.trunk.network import NetworkTrunk


def make_trunk(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Trunk:
    """The trunk that ``Trunk.settings`` and ``Trunk.tensors`` described.

    :raises ValueError: if there is none of that kind
    """
    if settings["kind"] == NetworkTrunk.kind:
        return NetworkTrunk.stored(settings, tensors)
    basis = make_basis(dict(settings))
    if isinstance(basis, KnotSplines):
        return KnotTrunk(basis.holding(dict(tensors)))
    return BasisTrunk(basis, tensors.get("readout"))
