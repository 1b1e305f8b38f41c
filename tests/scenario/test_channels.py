"""Channels of link sets against DeepMIMO, Sionna and their own formulas."""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neumatc_mimo.scenario import LinkSet, Scenario, load_scenario
from neumatc_mimo.scenario import path_links as links_module
from neumatc_mimo.scenario.assembly import grid_power

# DeepMIMO drops the paths that take longer than a symbol: 8 microseconds are enough for Munich.
GRID = {"subcarrier_spacing": 120e3}
UE = {"multi_user": [1, 1], "single_user": [2, 2]}


def link_sets(scenario: Scenario) -> list[LinkSet]:
    assert scenario.multi_user is not None and scenario.single_user is not None
    return [scenario.multi_user, scenario.single_user]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def deepmimo_channel(
    folder: Path, links: LinkSet, spacing: float = 0.5, subcarriers: Any = None
) -> torch.Tensor:
    """DeepMIMO's own channels of the links' users, [num_links, fft_size, K, M]."""
    import deepmimo

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        before = deepmimo.config.get("scenarios_folder")
        deepmimo.config.set("scenarios_folder", str(folder.parent))
        data = deepmimo.load(folder.name, max_paths=25)
        deepmimo.config.set("scenarios_folder", before)
        data = data[0] if isinstance(data, deepmimo.MacroDataset) else data
        size = links.fft_size
        h = data.trim(idxs=links.users.reshape(-1).numpy()).compute_channels(
            bs_antenna={"shape": [4, 2], "spacing": spacing, "rotation": [0, 0, 30]},
            ue_antenna={"shape": UE[links.kind], "spacing": spacing},
            num_paths=25,
            ofdm={
                "subcarriers": size,
                "bandwidth": size * GRID["subcarrier_spacing"],
                "selected_subcarriers": np.arange(size) if subcarriers is None else subcarriers,
            },
        )
    # [users, ue antennas, bs antennas, fft_size] with the factor 1/sqrt(N)
    h = torch.from_numpy(h).movedim(-1, 1).to(torch.complex128) * math.sqrt(size)
    h = h.reshape(links.num_links, -1, h.shape[1], *h.shape[2:])
    return h.movedim(1, 2).flatten(2, 3)


@pytest.fixture(params=["unit", "none"])
def rotated(write_scenario, request) -> Scenario:
    return load_scenario(
        write_scenario(
            array={"rotation": [0.0, 0.0, 30.0]},
            grid=GRID,
            multi_user={"row_scaling": request.param, "max_condition": 1e12},
            single_user={"row_scaling": request.param},
        )
    )


def check_against_deepmimo(scenario: Scenario, folder: Path) -> None:
    for links in link_sets(scenario):
        # DeepMIMO's subcarriers run from 0 to N - 1.
        index = torch.arange(links.fft_size, dtype=torch.float64)
        h = links.channel(index * links.subcarrier_spacing)
        expected = deepmimo_channel(folder, links) * links.row_gains[:, None, :, None]
        assert relative(h, expected) < 1e-5


def test_equals_deepmimo(rotated: Scenario) -> None:
    folder = rotated.config.data_folder()
    assert folder is not None
    check_against_deepmimo(rotated, folder)


def test_equals_deepmimo_in_cities(write_scenario, city: Path) -> None:
    file = write_scenario(
        deepmimo={"path": str(city)}, array={"rotation": [0.0, 0.0, 30.0]}, grid=GRID
    )
    check_against_deepmimo(load_scenario(file), city)


@pytest.mark.parametrize("beam_squint", [False, True])
def test_equals_sionna(write_scenario, beam_squint: bool) -> None:
    from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies

    scenario = load_scenario(write_scenario(array={"beam_squint": beam_squint}))
    for links in link_sets(scenario):
        a = links.coefficients[:, None, :, None, :, :, None]
        tau = links.delays.expand(links.coefficients.shape)[:, None, :, None]
        frequencies = subcarrier_frequencies(
            links.fft_size, links.subcarrier_spacing, precision="double", device="cpu"
        )
        torch.testing.assert_close(links.grid_frequencies(), frequencies)
        expected = cir_to_ofdm_channel(frequencies, a, tau)  # [L, 1, K, 1, M, 1, F]
        expected = expected[:, 0, :, 0, :, 0].movedim(-1, 1)
        exact = links.channel(frequencies, dtype=torch.complex128)
        assert exact.dtype == torch.complex128
        assert relative(exact, expected) < 1e-12
        single = links.channel(frequencies)
        assert single.dtype == torch.complex64
        assert relative(single, expected) < 1e-6


def test_beam_squint_scales_the_steering_phases(write_scenario) -> None:
    changes = {"rotation": [0.0, 0.0, 30.0]}
    squinted = load_scenario(write_scenario(array={**changes, "beam_squint": True}, grid=GRID))
    plain = load_scenario(write_scenario(array=changes, grid=GRID))
    folder = plain.config.data_folder()
    assert folder is not None
    for links, narrow in zip(link_sets(squinted), link_sets(plain), strict=True):
        # Other groups may pass the condition limit with squint, here the same ones do.
        torch.testing.assert_close(links.users, narrow.users)
        assert links.delays.shape == links.coefficients.shape
        zero = torch.zeros(1)
        h, h_narrow = (x.channel(zero) / x.row_gains[:, None, :, None] for x in (links, narrow))
        assert relative(h, h_narrow) < 1e-6
        # Phases that grow with (f_c + f)/f_c are those of an array stretched by as much.
        for i in (17, 127):
            f = i * links.subcarrier_spacing
            stretched = 0.5 * (1 + f / links.carrier_frequency)
            expected = deepmimo_channel(folder, links, stretched, np.arange(i, i + 1))
            at_f = torch.tensor([f])
            h = links.channel(at_f) / links.row_gains[:, None, :, None]
            assert relative(h, expected) < 1e-5
            unscaled = narrow.channel(at_f) / narrow.row_gains[:, None, :, None]
            assert relative(h, unscaled) > 1e-4


@pytest.mark.parametrize("beam_squint", [False, True])
def test_alignment_takes_out_exactly_the_row_delays(write_scenario, beam_squint: bool) -> None:
    scenario = load_scenario(write_scenario(array={"beam_squint": beam_squint}))
    for links in link_sets(scenario):
        f = links.grid_frequencies()
        turn = torch.exp(
            2j * torch.pi * f[None, :, None, None] * links.row_delays[:, None, :, None]
        )
        h = links.channel(f, dtype=torch.complex128)
        aligned = links.channel(f, aligned=True, dtype=torch.complex128)
        assert relative(aligned, h * turn) < 1e-12
        if not beam_squint:
            first = links.delays.min(dim=-1).values[:, :, 0]
            torch.testing.assert_close(links.row_delays, first.expand(-1, links.num_rows))


@pytest.mark.parametrize("step", [1, 1000, 30000])
def test_steps_do_not_change_the_result(write_scenario, monkeypatch, step: int) -> None:
    for links in link_sets(load_scenario(write_scenario())):
        f, chosen = links.grid_frequencies()[::3], [3, 0, 3]
        expected = links.channel(f)
        with monkeypatch.context() as patch:
            patch.setattr(links_module, "_STEP", step)
            torch.testing.assert_close(links.channel(f), expected)
            torch.testing.assert_close(links.channel(f, chosen), expected[chosen])


@pytest.mark.parametrize("beam_squint", [False, True])
@pytest.mark.parametrize("fft_size", [127, 128])
def test_rows_have_unit_power(write_scenario, fft_size: int, beam_squint: bool) -> None:
    scenario = load_scenario(
        write_scenario(grid={"fft_size": fft_size}, array={"beam_squint": beam_squint})
    )
    multi_user, single_user = link_sets(scenario)
    power = [
        x.channel(x.grid_frequencies(), dtype=torch.complex128).abs().square().mean(dim=(1, 3))
        for x in (multi_user, single_user)
    ]
    torch.testing.assert_close(power[0], torch.ones_like(power[0]))
    torch.testing.assert_close(power[1].mean(1), torch.ones(4, dtype=torch.float64))
    assert torch.equal(single_user.row_gains, single_user.row_gains[:, :1].expand(-1, 4))


def test_grid_power_of_a_flat_channel() -> None:
    coefficients = np.full((1, 1, 2, 3), 1 + 1j)
    assert grid_power(coefficients, np.zeros((1, 1, 1, 3)), 16, 30e3) == pytest.approx(18)


def test_empty_selection(write_scenario) -> None:
    multi_user, _ = link_sets(load_scenario(write_scenario()))
    assert multi_user.channel(torch.zeros(2), []).shape == (0, 2, 3, 8)
