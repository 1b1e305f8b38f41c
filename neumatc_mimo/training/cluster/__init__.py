"""Training on more than one machine, with Ray."""

from neumatc_mimo.training.cluster.folder import TrainedModel
from neumatc_mimo.training.cluster.run import train

__all__ = ["TrainedModel", "train"]
