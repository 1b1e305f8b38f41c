"""Problems of real channels: inversion for many users, SVD for one user with many antennas."""

from __future__ import annotations

import os
from functools import cache

import numpy as np
import torch

from benchmarks.paper.problems import Problem, inverse_error, problem, reconstruction_error
from benchmarks.paper.sheet import ROOT
from neumatc_mimo.operations import SVD, Inverse
from neumatc_mimo.scenario.array_config import ArrayConfig
from neumatc_mimo.scenario.assembly import build_links
from neumatc_mimo.scenario.deepmimo_data import load_base_stations
from neumatc_mimo.scenario.groups import draw_single_user
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.schema import (
    MultiUserConfig,
    ScenarioConfig,
    SingleUserConfig,
    read_config,
)

# Every fourth point of the grid is a sample; the points half-way between are collocation points.
BETWEEN = 4

# Base-station arrays of at least twice as many antennas as rows.
_ARRAYS = {64: (16, 8), 128: (16, 16), 256: (32, 16)}
_USER_ARRAYS = {64: (8, 8), 128: (16, 8), 256: (16, 16)}


def scenarios() -> list[str]:
    """Names of the scenarios whose data are at hand: the bundled one, and the cities."""
    cities = ["newyork", "losangeles"] if os.environ.get("NEUMATC_DATA") else []
    return ["munich", *cities]


@cache
def users(name: str, num_users: int) -> LinkSet:
    """One link of so many users, drawn from all that have a path, whatever their condition.

    :raises ValueError: if there are too few of them
    """
    section = MultiUserConfig(users_per_link=num_users, num_links=1, max_condition=1e30)
    config = _config(name, num_users, multi_user=section, single_user=None)
    stations = load_base_stations(config)
    able = np.flatnonzero(stations[0].has_path)
    chosen = np.random.default_rng(config.seed).choice(able, num_users, replace=False)
    return build_links(config, section, stations, [(0, chosen)])


@cache
def user(name: str, num_antennas: int, num_streams: int) -> LinkSet:
    """One link of a user with so many antennas: the same user for all sizes.

    With 64 antennas σ_L / σ_1 is at least 1e-3 everywhere.
    """
    section = SingleUserConfig(
        ue=_USER_ARRAYS[num_antennas],
        num_streams=num_streams,
        num_links=1,
        min_singular_ratio=1e-3,
    )
    config = _config(name, num_antennas, multi_user=None, single_user=section)
    stations = load_base_stations(config)
    if num_antennas == min(_USER_ARRAYS):
        return draw_single_user(config, stations)[0]
    (chosen,) = user(name, min(_USER_ARRAYS), num_streams).users.numpy()
    return build_links(config, section, stations, [(0, chosen)])


def real_inversion(name: str, num_users: int, *, spacing: int, share: float = 1.0) -> Problem:
    r"""Inversion of :math:`H H^H + \sigma^2 I`, σ² 20 dB below the mean power of a row of H.

    First-arrival delays are taken out of the rows: they are phases of the result's rows and
    columns.

    :param spacing: subcarriers between two points of the grid
    :param share: of the band, around the carrier
    """
    links = users(name, num_users)
    h = links.channel(_grid(links, spacing, share), [0], aligned=True, dtype=torch.complex128)[0]
    gram = h @ h.mH
    no = 0.01 * gram.diagonal(dim1=-2, dim2=-1).real.mean()
    a = gram + no * torch.eye(num_users, dtype=gram.dtype)
    return problem(Inverse(), a, inverse_error, between=BETWEEN)


def real_svd(
    name: str, num_antennas: int, num_streams: int, *, spacing: int, share: float = 1.0
) -> Problem:
    """The strongest triplets of a single user's channel, twice as many columns as rows."""
    links = user(name, num_antennas, num_streams)
    h = links.channel(_grid(links, spacing, share), [0], aligned=True, dtype=torch.complex128)[0]
    return problem(SVD(num_streams), h, reconstruction_error, between=BETWEEN)


def _grid(links: LinkSet, spacing: int, share: float) -> torch.Tensor:
    """Frequencies of an even grid whose first and last point are samples."""
    frequencies = links.grid_frequencies()
    count = int(share * len(frequencies) / spacing - 1) // BETWEEN * BETWEEN + 1
    first = (len(frequencies) - (count - 1) * spacing) // 2
    return frequencies[first : first + (count - 1) * spacing + 1 : spacing]


def _config(
    name: str,
    size: int,
    *,
    multi_user: MultiUserConfig | None,
    single_user: SingleUserConfig | None,
) -> ScenarioConfig:
    file = ROOT / "scenarios" / f"{name}.toml"
    sections = {
        "array": ArrayConfig(bs=_ARRAYS[size]),
        "multi_user": multi_user,
        "single_user": single_user,
    }
    return read_config(file).model_copy(update=sections)
