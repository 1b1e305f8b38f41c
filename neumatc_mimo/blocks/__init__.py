"""Drop-ins for Sionna's OFDM precoders, equalizers and detectors."""

from neumatc_mimo.blocks.zf_precoder import ZFPrecoder

__all__ = ["ZFPrecoder"]
