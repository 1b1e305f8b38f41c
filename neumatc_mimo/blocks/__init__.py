"""Drop-ins for Sionna's OFDM precoders, precoded channels, equalizers and detectors."""

from neumatc_mimo.foundation.sionna_version import require_sionna

require_sionna(2, "neumatc_mimo.blocks", "neumatc_mimo.tensorflow, which has those of Sionna 1.2")

from neumatc_mimo.blocks.bd_precoded_channel import BDPrecodedChannel
from neumatc_mimo.blocks.bd_precoder import BDPrecoder
from neumatc_mimo.blocks.cbf_precoded_channel import CBFPrecodedChannel
from neumatc_mimo.blocks.ep_detector import EPDetector
from neumatc_mimo.blocks.eye_precoded_channel import EyePrecodedChannel
from neumatc_mimo.blocks.k_best_detector import KBestDetector
from neumatc_mimo.blocks.linear_detector import LinearDetector
from neumatc_mimo.blocks.matrix_precoded_channel import MatrixPrecodedChannel
from neumatc_mimo.blocks.matrix_precoder import MatrixPrecoder
from neumatc_mimo.blocks.max_min_precoded_channel import MaxMinPrecodedChannel
from neumatc_mimo.blocks.max_min_precoder import MaxMinPrecoder
from neumatc_mimo.blocks.maximum_likelihood_detector import MaximumLikelihoodDetector
from neumatc_mimo.blocks.maximum_likelihood_detector_with_prior import (
    MaximumLikelihoodDetectorWithPrior,
)
from neumatc_mimo.blocks.mf_equalizer import MFEqualizer
from neumatc_mimo.blocks.mmse_detector import MMSEDetector
from neumatc_mimo.blocks.mmse_equalizer import MMSEEqualizer
from neumatc_mimo.blocks.mmse_pic_detector import MMSEPICDetector
from neumatc_mimo.blocks.noisy_precoded_channel import NoisyPrecodedChannel
from neumatc_mimo.blocks.noisy_precoder import NoisyPrecoder
from neumatc_mimo.blocks.operation_precoded_channel import OperationPrecodedChannel
from neumatc_mimo.blocks.operation_precoder import OperationPrecoder
from neumatc_mimo.blocks.post_equalization_sinr import LMMSEPostEqualizationSINR
from neumatc_mimo.blocks.registry import (
    EQUALIZERS,
    PRECODED_CHANNELS,
    PRECODERS,
    register,
    register_channel,
    register_equalizer,
)
from neumatc_mimo.blocks.slnr_precoded_channel import SLNRPrecodedChannel
from neumatc_mimo.blocks.slnr_precoder import SLNRPrecoder
from neumatc_mimo.blocks.svd_beamformer import SVDBeamformer
from neumatc_mimo.blocks.svd_combiner import SVDCombiner
from neumatc_mimo.blocks.svd_precoded_channel import SVDPrecodedChannel
from neumatc_mimo.blocks.wmmse_precoded_channel import WMMSEPrecodedChannel
from neumatc_mimo.blocks.wmmse_precoder import WMMSEPrecoder
from neumatc_mimo.blocks.zf_equalizer import ZFEqualizer
from neumatc_mimo.blocks.zf_precoded_channel import ZFPrecodedChannel
from neumatc_mimo.blocks.zf_precoder import ZFPrecoder

__all__ = [
    "EQUALIZERS",
    "PRECODED_CHANNELS",
    "PRECODERS",
    "BDPrecodedChannel",
    "BDPrecoder",
    "CBFPrecodedChannel",
    "EPDetector",
    "EyePrecodedChannel",
    "KBestDetector",
    "LMMSEPostEqualizationSINR",
    "LinearDetector",
    "MFEqualizer",
    "MMSEDetector",
    "MMSEEqualizer",
    "MMSEPICDetector",
    "MatrixPrecodedChannel",
    "MatrixPrecoder",
    "MaxMinPrecodedChannel",
    "MaxMinPrecoder",
    "MaximumLikelihoodDetector",
    "MaximumLikelihoodDetectorWithPrior",
    "NoisyPrecodedChannel",
    "NoisyPrecoder",
    "OperationPrecodedChannel",
    "OperationPrecoder",
    "SLNRPrecodedChannel",
    "SLNRPrecoder",
    "SVDBeamformer",
    "SVDCombiner",
    "SVDPrecodedChannel",
    "WMMSEPrecodedChannel",
    "WMMSEPrecoder",
    "ZFEqualizer",
    "ZFPrecodedChannel",
    "ZFPrecoder",
    "register",
    "register_channel",
    "register_equalizer",
]
