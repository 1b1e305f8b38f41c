"""A small scenario and its model: trained within a second, with subcarriers of all marks."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import neumatc_mimo as nm
from neumatc_mimo.scenario.bundled import scenarios_folder

_SCENARIO = """
name = "small"
seed = 0
[deepmimo]
path = "{data}"
base_station = 0
[array]
bs = [4, 4]
[grid]
fft_size = 192
subcarrier_spacing = 120e3
[multi_user]
users_per_link = 3
num_links = 4
[single_user]
ue = [2, 2]
num_streams = 2
num_links = 4
[model]
width = 96
samples = 128
collocation = 128
"""


def small_scenario() -> nm.Scenario:
    """Four links of Munich of 3 users, and four of a user of 2 x 2 antennas, on 192 subcarriers of
    120 kHz, at a base station of 16 antennas.
    """
    data = scenarios_folder() / "data/munich_3p5"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.toml"
        file.write_text(_SCENARIO.format(data=data.as_posix()), encoding="utf-8")
        return nm.load_scenario(file)


def small_model(scenario: nm.Scenario | None = None) -> nm.ScenarioModel:
    """The model of the small scenario, or of one like it."""
    with warnings.catch_warnings():
        # Small models are patched in many places.
        warnings.filterwarnings("ignore", ".* are patched", nm.NeuMatCWarning)
        return nm.train(scenario or small_scenario(), progress=False)
