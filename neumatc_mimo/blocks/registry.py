"""The precoding blocks by the names of their operations, and the equalizers by Sionna's names."""

from __future__ import annotations

from neumatc_mimo.blocks.equalizer import Equalizer
from neumatc_mimo.blocks.matrix_precoded_channel import MatrixPrecodedChannel
from neumatc_mimo.blocks.matrix_precoder import MatrixPrecoder
from neumatc_mimo.foundation.registry import Registry

# Of users' channels, by operations that Sionna does not have. One that has no block here is served
# by an OperationPrecoder.
PRECODERS: Registry[type[MatrixPrecoder]] = Registry("precoder", base=MatrixPrecoder)
# What precoding makes of channels, by all operations that precode. One that has no block here is
# served by an OperationPrecodedChannel.
PRECODED_CHANNELS: Registry[type[MatrixPrecodedChannel]] = Registry(
    "precoded channel", base=MatrixPrecodedChannel
)
# What a LinearDetector may stand on.
EQUALIZERS: Registry[type[Equalizer]] = Registry("equalizer", base=Equalizer)

register = PRECODERS.register
register_channel = PRECODED_CHANNELS.register
register_equalizer = EQUALIZERS.register


__all__ = [
    "EQUALIZERS",
    "PRECODED_CHANNELS",
    "PRECODERS",
    "register",
    "register_channel",
    "register_equalizer",
]
