"""A scenario's paths read from its folder without DeepMIMO, for machines that do not have it.

``install()`` puts the reader in DeepMIMO's place where that cannot be imported, and so does pytest
with ``-p benchmarks.plain_paths``. Users stand still, and the array is not turned: what the bundled
scenario asks for, and no more.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.scenario import scenario as scenario_module
from neumatc_mimo.scenario.array_config import ArrayConfig
from neumatc_mimo.scenario.base_station import BaseStation, Paths
from neumatc_mimo.scenario.deepmimo_data import DeepMIMOStation
from neumatc_mimo.scenario.schema import ScenarioConfig

_NAMES = ("power", "phase", "delay", "aoa_az", "aoa_el", "aod_az", "aod_el", "rx_pos", "tx_pos")


@dataclass(frozen=True, eq=False)
class Arrays:
    """What is read of a data set: arrays by name."""

    values: dict[str, NDArray[np.float32]]

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.values[name]

    @property
    def power(self) -> NDArray[np.float32]:
        """Of each path in dBm for one milliwatt sent, [num_users, P]; NaN where there is none."""
        return self.values["power"]


class PlainStation(DeepMIMOStation):
    """A base station of arrays alone."""

    @property
    def chosen(self) -> NDArray[np.bool_]:
        return np.ones(len(self.user_positions), np.bool_)

    def paths(self, users: NDArray[np.int64], ue: tuple[int, int]) -> Paths:
        values = {name: self.dataset[name][users].astype(np.float64) for name in _NAMES[:-2]}
        found = np.isfinite(values["power"])
        order = np.argsort(~found, axis=1, kind="stable")[:, : int(found.sum(axis=1).max())]
        values = {name: np.take_along_axis(v, order, axis=1) for name, v in values.items()}
        found = np.isfinite(values["power"])
        response = (
            self._response(values, "aoa", ue)[:, :, None]
            * (self._response(values, "aod", self.array.bs)[:, None])
        )
        amplitude = 10 ** (values["power"] / 20) * np.exp(1j * np.deg2rad(values["phase"]))
        here = found[:, None, None]
        coefficients = np.where(here, response * amplitude[:, None, None], 0.0)
        first = np.where(found, values["delay"], np.inf).min(axis=1, keepdims=True)
        delays = np.where(found, values["delay"], first)
        return Paths(coefficients, delays, None, np.zeros((*delays.shape, 3)), None)

    def _response(
        self, values: dict[str, NDArray[np.float64]], side: str, shape: tuple[int, int]
    ) -> NDArray[np.complex128]:
        """Of an array in the y-z plane, counted along y first: [num_users, antennas, P]."""
        theta, phi = (np.deg2rad(values[f"{side}_{angle}"])[:, None] for angle in ("el", "az"))
        y = np.tile(np.arange(shape[0]), shape[1])[None, :, None]
        z = np.repeat(np.arange(shape[1]), shape[0])[None, :, None]
        direction = y * np.sin(theta) * np.sin(phi) + z * np.cos(theta)
        response: NDArray[np.complex128] = np.exp(
            2j * np.pi * self.array.common.spacing * direction
        )
        return response


def load_base_stations(config: ScenarioConfig, dataset: Any = None) -> list[BaseStation]:
    """The base stations that a scenario names.

    :raises ValueError: if the scenario asks for more than this reader has
    """
    folder, source = config.data_folder(), config.deepmimo
    array = config.array
    plain = array == ArrayConfig(bs=array.bs, spacing=array.spacing) and config.motion is None
    if folder is None or source is None or dataset is not None or not plain:
        raise ValueError(f"{config.file} needs DeepMIMO, which is not installed.")
    frequency = json.loads((folder / "params.json").read_text())["rt_params"]["frequency"]
    pairs = sorted(path.name.removeprefix("power") for path in folder.glob("power_*.npz"))
    stations: list[BaseStation] = []
    for number, index in enumerate(config.base_stations):
        read = {name: np.load(folder / f"{name}{pairs[index]}")[name] for name in _NAMES}
        positions = read["rx_pos"].astype(np.float64)
        stations.append(
            PlainStation(
                dataset=Arrays(read),
                array=array.of(number),
                seed=config.seed,
                selection=source,
                moving=False,
                position=read["tx_pos"].astype(np.float64).reshape(3),
                user_positions=positions.reshape(-1, 3),
                carrier_frequency=float(frequency),
            )
        )
    return stations


def install() -> bool:
    """Read scenarios without DeepMIMO, where that is not installed; whether it is not."""
    try:
        missing = importlib.util.find_spec("deepmimo") is None
    except ImportError:
        missing = True
    if missing:
        vars(scenario_module)["load_base_stations"] = load_base_stations
    return missing


def pytest_configure() -> None:
    """As a plugin of pytest."""
    install()
