"""The report: a JSON summary and pictures, each written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import torch
from matplotlib import pyplot as plt

from neumatc_mimo import metrics
from neumatc_mimo.files import replaced, write_text
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.progress import Callbacks, Event, reported
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.scenario.links import LinkSet

_NUM_SAMPLES = 512
_STYLES = ("-o", "--x", ":s", "-.d")


def write_report(
    folder: str | os.PathLike[str],
    summary: Mapping[str, Any],
    scenario: Scenario,
    model: Any | None = None,
    *,
    progress: bool = True,
    callback: Callbacks = None,
) -> list[Path]:
    """Write ``summary.json`` and the pictures that the summary and the model allow.

    :param folder: Created if it does not exist
    :param summary: Plain values; error curves are read from ``summary["simulations"]``
    :param scenario: The scenario
    :param model: A ScenarioModel; without one the pictures of queried results are left out
    :param progress: Show a progress bar, in a terminal or a notebook
    :param callback: Told of the pictures that are drawn

    :return: The files written
    :raises OSError: If the folder cannot be written
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{target} cannot be written ({error.strerror}).") from error
    pictures: dict[str, Callable[[], Any]] = {
        "singular_values.png": lambda: _singular_values(scenario),
        "map.png": lambda: _map(scenario),
    }
    if summary.get("simulations"):
        pictures["error_curves.png"] = lambda: _error_curves(summary["simulations"])
    if model is not None and scenario.multi_user is not None:
        links = scenario.multi_user
        pictures["query_vs_exact.png"] = lambda: _query_vs_exact(links, model)
    if model is not None:
        pictures["residual.png"] = lambda: _residual(scenario, model)
    written: list[Path] = []
    with reported(callback, progress) as tell:
        for name, draw in pictures.items():
            tell(Event("drawing", len(written), len(pictures), "pictures"))
            figure = draw()
            figure.tight_layout()
            save = partial(figure.savefig, format="png", dpi=120)
            written.append(replaced(target / name, save))
            plt.close(figure)
        tell(Event("drawing", len(written), len(pictures), "pictures"))
    text = json.dumps(finite(summary), indent=2, allow_nan=False) + "\n"
    written.append(write_text(target / "summary.json", text))
    return written


def read_summary(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the summary of an earlier run.

    :raises ValueError: If there is none, or it is damaged
    """
    file = Path(folder) / "summary.json"
    try:
        summary = json.loads(file.read_text())
    except FileNotFoundError:
        raise ValueError(f"There is no {file}, run `neumatc-mimo demo` first.") from None
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}), run `neumatc-mimo demo` again.") from None
    if not isinstance(summary, dict):
        raise ValueError(f"{file} is no summary, run `neumatc-mimo demo` again.")
    return summary


def finite(value: Any) -> Any:
    """JSON has no NaN: what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _error_curves(simulations: Mapping[str, Any]) -> Any:
    columns = min(2, len(simulations))
    rows = -(-len(simulations) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.4 * rows), squeeze=False)
    # A last panel without a curve stays empty.
    for axis, (name, run) in zip(axes.flat, simulations.items(), strict=False):
        rate = "bler" if run["coded"] else "ber"
        for style, (solver, curve) in zip(_STYLES, run["curves"].items(), strict=False):
            rates = [value or math.nan for value in curve[rate]]
            axis.semilogy(curve["ebno_dbs"], rates, style, label=solver)
        axis.set(title=name, xlabel="Eb/N0 [dB]", ylabel=rate.upper())
        axis.grid(True, which="both", alpha=0.3)
        axis.legend()
    return figure


def _singular_values(scenario: Scenario) -> Any:
    figure, axis = plt.subplots(figsize=(6, 4))
    for links in _link_sets(scenario):
        h = links.channel(_frequencies(links), [0], aligned=True, dtype=torch.complex128)[0]
        families = {"channel": h}
        if links.kind == "multi_user":
            families["zero-forcing filter"] = PseudoInverse().exact(h)[0][..., : links.num_cols, :]
        for name, samples in families.items():
            label = f"{name}, {links.num_rows} × {links.num_cols}"
            axis.semilogy(metrics.singular_decay(samples), label=label)
    axis.set(
        title="Singular values along frequency (link 0, delay aligned)",
        xlabel="index",
        ylabel="relative to the largest",
        ylim=(1e-6, 2),
    )
    axis.grid(True, alpha=0.3)
    axis.legend()
    return figure


def _query_vs_exact(links: LinkSet, model: Any) -> Any:
    frequencies = _frequencies(links)
    h = links.channel(frequencies, [0], dtype=torch.complex128)[0]
    exact = PseudoInverse().exact(h)[0][:, 0, 0]
    (w,) = model.query("pseudo_inverse", frequencies, links=torch.tensor([0]))
    # The first arrival's delay turns the phase hundreds of times over the band: take it out.
    turn = torch.exp(-2j * torch.pi * frequencies * links.row_delays[0, 0])
    exact, queried = exact * turn, w[0, :, 0, 0].to(exact) * turn
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 5), sharex=True)
    mhz = frequencies / 1e6
    for part, color in (("real", "C0"), ("imag", "C1")):
        top.plot(mhz, getattr(exact, part), color, alpha=0.5, lw=3, label=f"exact, {part}")
        top.plot(mhz, getattr(queried, part), "k--", lw=0.8, label=f"queried, {part}")
    top.set(title="Entry (0, 0) of the zero-forcing filter, link 0, delay aligned", ylabel="value")
    top.legend(ncol=2, fontsize=8)
    bottom.semilogy(mhz, (queried - exact).abs().clamp_min(1e-12), lw=0.8)
    bottom.set(xlabel="frequency relative to the carrier [MHz]", ylabel="absolute error")
    bottom.grid(True, alpha=0.3)
    return figure


def _residual(scenario: Scenario, model: Any) -> Any:
    figure, axis = plt.subplots(figsize=(7, 4))
    for links in _link_sets(scenario):
        frequencies, chosen = _frequencies(links), torch.arange(min(8, links.num_links))
        h = links.channel(frequencies, chosen)
        if links.kind == "multi_user":
            (w,) = model.query("pseudo_inverse", frequencies, links=chosen)
            residual, label = metrics.inverse_residual(h, w.to(h)), "zero forcing, |I − HW|/√K"
        else:
            u, s, v = model.query("svd", frequencies, links=chosen)
            residual = metrics.svd_residual(h, u.to(h), s.to(h.real), v.to(h))
            label = "SVD, |HV − UΣ| + |HᴴU − VΣ|"
        mhz, middle = frequencies / 1e6, residual.median(0).values
        line = axis.semilogy(mhz, middle, lw=1, label=f"{label}: median, range of links")[0]
        low, high = residual.amin(0), residual.amax(0)
        axis.fill_between(mhz, low, high, color=line.get_color(), alpha=0.2)
    axis.set(
        title=f"Residual of queried results ({scenario.name})",
        xlabel="frequency relative to the carrier [MHz]",
        ylabel="relative residual",
    )
    axis.grid(True, alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def _map(scenario: Scenario) -> Any:
    positions = scenario.positions
    figure, axis = plt.subplots(figsize=(7, 5.5))
    users, found = positions.users, positions.has_path
    axis.scatter(*users[~found, :2].T, s=6, c="0.85", label="users without a path")
    axis.scatter(*users[found, :2].T, s=6, c="0.6", label="users with a path")
    for links in _link_sets(scenario):
        for link in range(links.num_links if links.kind == "multi_user" else 0):
            station = links.base_station_positions[links.base_station[link]]
            for user in links.user_positions[link]:
                axis.plot(*zip(station[:2], user[:2], strict=True), c=f"C{link % 10}", lw=0.3)
        spots = links.user_positions.flatten(0, 1)[:, :2].T
        multi = links.kind == "multi_user"
        label = f"{links.num_links} {'groups of users' if multi else 'single users'}"
        axis.scatter(*spots, s=14, marker="o" if multi else "x", label=label, zorder=3)
    axis.scatter(
        *positions.base_stations[:, :2].T, s=120, marker="^", c="k", label="base station", zorder=4
    )
    axis.set(title=f"{scenario.name}: links", xlabel="x [m]", ylabel="y [m]", aspect="equal")
    axis.legend(fontsize=8)
    return figure


def _link_sets(scenario: Scenario) -> list[LinkSet]:
    return [links for links in (scenario.multi_user, scenario.single_user) if links is not None]


def _frequencies(links: LinkSet) -> torch.Tensor:
    """Evenly spread subcarriers of the whole band, enough for a picture."""
    grid = links.grid_frequencies()
    return grid[:: max(1, len(grid) // _NUM_SAMPLES)]
