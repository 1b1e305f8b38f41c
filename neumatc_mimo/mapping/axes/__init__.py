"""Second coordinates of a mapping beside the frequency: the noise power, or the time in a burst."""

from neumatc_mimo.mapping.axes.base import AXES, Axis, make_axis
from neumatc_mimo.mapping.axes.noise import NoiseAxis
from neumatc_mimo.mapping.axes.noise_range import NoiseRange
from neumatc_mimo.mapping.axes.time import TimeAxis

__all__ = ["AXES", "Axis", "NoiseAxis", "NoiseRange", "TimeAxis", "make_axis"]
