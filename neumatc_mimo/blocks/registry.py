"""The precoding blocks by the names of their operations."""

from __future__ import annotations

from neumatc_mimo.blocks.matrix_precoder import MatrixPrecoder
from neumatc_mimo.foundation.registry import Registry

# Of users' channels, by operations that Sionna does not have. One that has no block here is served
# by an OperationPrecoder.
PRECODERS: Registry[type[MatrixPrecoder]] = Registry("precoder", base=MatrixPrecoder)

register = PRECODERS.register


__all__ = ["PRECODERS", "register"]
