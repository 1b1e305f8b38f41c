"""Drop-ins for Sionna's OFDM precoders, equalizers and detectors."""

from neumatc_mimo.blocks.mmse_detector import MMSEDetector
from neumatc_mimo.blocks.mmse_equalizer import MMSEEqualizer
from neumatc_mimo.blocks.svd_beamformer import SVDBeamformer
from neumatc_mimo.blocks.svd_combiner import SVDCombiner
from neumatc_mimo.blocks.wmmse_precoder import WMMSEPrecoder
from neumatc_mimo.blocks.zf_precoder import ZFPrecoder

__all__ = [
    "MMSEDetector",
    "MMSEEqualizer",
    "SVDBeamformer",
    "SVDCombiner",
    "WMMSEPrecoder",
    "ZFPrecoder",
]
