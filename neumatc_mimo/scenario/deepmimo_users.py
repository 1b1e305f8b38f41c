"""Which users and which paths of a DeepMIMO data set a scenario takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neumatc_mimo.scenario.data_config import PathsConfig
from neumatc_mimo.storage.names import shown

# DeepMIMO's code of a path without interactions.
_DIRECT = 0


class NotInDataError(ValueError):
    """What a scenario needs is not in its data."""


def chosen_users(dataset: Any, config: PathsConfig) -> NDArray[np.bool_]:
    """Users that pass all keys, by DeepMIMO's ``get_idxs`` where it has a mode for them.

    :param dataset: Of one transmitter and its receivers

    :return: [num_users]
    :raises NotInDataError: If a key names what the users' grid does not have
    """
    num_users = len(np.asarray(dataset.rx_pos))
    chosen = np.ones(num_users, np.bool_)
    on_grid = {"rows": ("row", config.rows), "columns": ("col", config.columns)}
    if config.users is not None:
        chosen &= _mask("users", config.users, num_users, "users")
    for key, (mode, indices) in on_grid.items():
        if indices is not None:
            _mask(key, indices, _grid_size(dataset, key)[mode], key)
            taken = dataset.get_idxs(mode, **{f"{mode}_idxs": list(indices)})
            chosen &= np.isin(np.arange(num_users), taken)
    if config.every is not None:
        _check_grid(dataset, "every")
        taken = dataset.get_idxs("uniform", steps=list(config.every))
        chosen &= np.isin(np.arange(num_users), taken)
    if config.box is not None:
        for axis, (low, high) in enumerate(config.box):
            position = np.asarray(dataset.rx_pos, np.float64)[:, axis]
            chosen &= (low <= position) & (position <= high)
    if config.line_of_sight is not None:
        direct = _line_of_sight(dataset)
        chosen &= direct if config.line_of_sight else ~direct
    return chosen


def in_view(
    view: tuple[float, float], elevation: NDArray[np.float64], azimuth: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether directions lie within a field of view about an array's broadside, the x axis.

    :param view: Horizontal and vertical opening in degrees
    :param elevation: From the z axis, radians
    :param azimuth: From the x axis, radians
    """
    horizontal, vertical = np.deg2rad(view)
    azimuth = np.mod(azimuth, 2 * np.pi)
    beside = np.minimum(azimuth, 2 * np.pi - azimuth)
    above = np.abs(np.mod(elevation, 2 * np.pi) - np.pi / 2)
    inside: NDArray[np.bool_] = (beside <= horizontal / 2) & (above <= vertical / 2)
    return inside


def received_by(pairs: Sequence[Any], rx_sets: Sequence[int]) -> list[Any]:
    """Of pairs of a transmitter and a receiver set, those with some receiver sets.

    :raises NotInDataError: If there is none
    """
    known = sorted({int(pair["txrx"]["rx_set_id"]) for pair in pairs})
    check_rx_sets(rx_sets, known)
    return [pair for pair in pairs if int(pair["txrx"]["rx_set_id"]) in rx_sets]


def check_rx_sets(rx_sets: Sequence[int], known: Sequence[int]) -> None:
    """:raises NotInDataError: If some are not known"""
    if missing := sorted(set(rx_sets) - set(known)):
        raise NotInDataError(f"rx_sets in [deepmimo] names {missing[0]}, there are {known}.")


def joined(pairs: Sequence[Any]) -> list[Any]:
    """Data sets with the users of all receiver sets, one for each transmitter."""
    import deepmimo

    transmitters: dict[tuple[int, int], list[Any]] = {}
    for pair in pairs:
        key = int(pair["txrx"]["tx_set_id"]), int(pair["txrx"]["tx_idx"])
        transmitters.setdefault(key, []).append(pair)
    return [deepmimo.MacroDataset(own).merge() for own in transmitters.values()]


def _grid_size(dataset: Any, key: str) -> dict[str, int]:
    """Numbers of rows and columns of users, by DeepMIMO's names.

    :raises NotInDataError: If they form no grid
    """
    from deepmimo.datasets.dataset import MergedGridDataset

    if isinstance(dataset, MergedGridDataset):
        ends = {axis: dataset._merge_spec[f"{axis}_offsets"][-1] for axis in ("row", "col")}
        return {axis: int(end) for axis, end in ends.items()}
    _check_grid(dataset, key)
    width, height = (int(size) for size in dataset.grid_size)
    return {"row": height, "col": width}


def _check_grid(dataset: Any, key: str) -> None:
    """:raises NotInDataError: If users form no grid"""
    if not dataset.has_valid_grid():
        raise NotInDataError(f"{key} in [deepmimo] needs users on a grid, these are not; use box.")


def _mask(key: str, indices: Sequence[int], size: int, what: str) -> NDArray[np.bool_]:
    """Those of so many that are named.

    :raises NotInDataError: If there are not as many
    """
    if max(indices) >= size:
        raise NotInDataError(
            f"{key} in [deepmimo] is {shown(list(indices))}, there are {what} 0 to {size - 1}."
        )
    mask = np.zeros(size, np.bool_)
    mask[list(indices)] = True
    return mask


def _line_of_sight(dataset: Any) -> NDArray[np.bool_]:
    """Users with a path that meets nothing, [num_users]."""
    if not dataset.hasattr("inter"):
        raise NotInDataError(
            "line_of_sight in [deepmimo] needs the interactions of paths, load the data set with "
            'the matrix "inter".'
        )
    direct: NDArray[np.bool_] = np.asarray(dataset["inter"]) == _DIRECT
    return (direct & np.isfinite(np.asarray(dataset.power))).any(axis=1)
