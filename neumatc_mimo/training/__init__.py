"""Training of a scenario's models."""

from neumatc_mimo.training.scenario import train

__all__ = ["train"]
