"""Training on more than one machine, with Ray."""

from .folder import TrainedModel
from .run import train

__all__ = ["TrainedModel", "train"]
