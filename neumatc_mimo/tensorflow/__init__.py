"""Drop-ins for Sionna 1.2's OFDM precoders, equalizers and detectors, in TensorFlow.

They read the models that were trained with PyTorch, and need none of it.
"""

from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.foundation.sionna_version import require_sionna
from neumatc_mimo.foundation.tolerance import Tolerance

require_sionna(1, "neumatc_mimo.tensorflow", "neumatc_mimo.blocks, which has those of Sionna 2.x")

# Before TensorFlow: Dr.Jit, which Sionna's ray tracer brings, may crash when it is loaded after it.
import sionna.phy  # noqa: F401

from neumatc_mimo.tensorflow.cbf_precoded_channel import CBFPrecodedChannel
from neumatc_mimo.tensorflow.ep_detector import EPDetector
from neumatc_mimo.tensorflow.eye_precoded_channel import EyePrecodedChannel
from neumatc_mimo.tensorflow.k_best_detector import KBestDetector
from neumatc_mimo.tensorflow.linear_detector import LinearDetector
from neumatc_mimo.tensorflow.maximum_likelihood_detector import MaximumLikelihoodDetector
from neumatc_mimo.tensorflow.maximum_likelihood_detector_with_prior import (
    MaximumLikelihoodDetectorWithPrior,
)
from neumatc_mimo.tensorflow.mf_equalizer import MFEqualizer
from neumatc_mimo.tensorflow.mmse_detector import MMSEDetector
from neumatc_mimo.tensorflow.mmse_equalizer import MMSEEqualizer
from neumatc_mimo.tensorflow.mmse_pic_detector import MMSEPICDetector
from neumatc_mimo.tensorflow.model import ScenarioModel
from neumatc_mimo.tensorflow.post_equalization_sinr import LMMSEPostEqualizationSINR
from neumatc_mimo.tensorflow.solver import Exact, Solver
from neumatc_mimo.tensorflow.svd_beamformer import SVDBeamformer
from neumatc_mimo.tensorflow.svd_combiner import SVDCombiner
from neumatc_mimo.tensorflow.zf_equalizer import ZFEqualizer
from neumatc_mimo.tensorflow.zf_precoded_channel import ZFPrecodedChannel
from neumatc_mimo.tensorflow.zf_precoder import ZFPrecoder

__all__ = [
    "CBFPrecodedChannel",
    "Counts",
    "EPDetector",
    "Exact",
    "EyePrecodedChannel",
    "KBestDetector",
    "LMMSEPostEqualizationSINR",
    "LinearDetector",
    "MFEqualizer",
    "MMSEDetector",
    "MMSEEqualizer",
    "MMSEPICDetector",
    "MaximumLikelihoodDetector",
    "MaximumLikelihoodDetectorWithPrior",
    "SVDBeamformer",
    "SVDCombiner",
    "ScenarioModel",
    "Solver",
    "Tolerance",
    "ZFEqualizer",
    "ZFPrecodedChannel",
    "ZFPrecoder",
]
