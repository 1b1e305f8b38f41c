"""The report: a JSON summary and pictures, each written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from neumatc_mimo import metrics, plots
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.progress import Callbacks, Event, reported
from neumatc_mimo.scenario import Scenario
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.storage.files import replaced, write_text
from neumatc_mimo.tensors.waves import wave

_NUM_SAMPLES = 512


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
    pictures: dict[str, Callable[[], Figure]] = {
        "singular_values.png": lambda: _singular_values(scenario),
    }
    if scenario.positions is not None:
        pictures["map.png"] = lambda: _map(scenario)
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
            save = partial(draw().savefig, format="png", dpi=120)
            written.append(replaced(target / name, save))
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


def draw_error_curves(file: Path, simulations: Mapping[str, Any]) -> Path:
    """Write a picture of error curves, as :func:`write_report` draws them.

    :param file: PNG to write
    :param simulations: Runs of ``neumatc-mimo simulate`` by their titles
    """
    save = partial(_error_curves(simulations).savefig, format="png", dpi=120)
    return replaced(file, save)


def _error_curves(simulations: Mapping[str, Any]) -> Figure:
    columns = min(2, len(simulations))
    rows = -(-len(simulations) // columns)
    figure = _figure(4.6 * columns, 3.4 * rows)
    for number, (name, run) in enumerate(simulations.items(), 1):
        rate = "bler" if run["coded"] else "ber"
        curves = run["curves"]
        # An error rate of zero is null in an earlier run's summary, as is what is not finite.
        rates = {way: [value or math.nan for value in curves[way][rate]] for way in curves}
        (ebno_dbs,) = {tuple(curve["ebno_dbs"]) for curve in curves.values()}
        ax = figure.add_subplot(rows, columns, number)
        plots.error_curves(ebno_dbs, rates, rate=rate.upper(), ax=ax).set_title(name)
    return figure


def _singular_values(scenario: Scenario) -> Figure:
    figure = _figure(6, 4)
    samples = {}
    for links in _link_sets(scenario):
        size = f"{links.num_rows} × {links.num_cols}"
        h = links.channel(_frequencies(links), [0], aligned=True, dtype=torch.complex128)[0]
        samples[f"channel, {size}"] = h
        if links.kind == "multi_user":
            w = PseudoInverse().exact(h)[0][..., : links.num_cols, :]
            samples[f"zero-forcing filter, {size}"] = w
    ax = plots.singular_values(samples, ax=figure.add_subplot())
    ax.set_title("Singular values along frequency (link 0, delay aligned)")
    return figure


def _query_vs_exact(links: LinkSet, model: Any) -> Figure:
    frequencies = _frequencies(links)
    h = links.channel(frequencies, [0], dtype=torch.complex128)[0]
    exact = PseudoInverse().exact(h)[0][:, 0, 0]
    (w,) = model.query("pseudo_inverse", frequencies, links=torch.tensor([0]))
    # The first arrival's delay turns the phase hundreds of times over the band: take it out.
    turn = wave(frequencies, links.row_delays[0, 0])
    pair = (exact * turn, w[0, :, 0, 0].to(exact) * turn)
    figure = _figure(7, 5)
    top, bottom = figure.subplots(2, 1, sharex=True)
    plots.entry(frequencies, *pair, ax=top)
    top.set(title="Entry (0, 0) of the zero-forcing filter, link 0, delay aligned", xlabel="")
    plots.entry_error(frequencies, *pair, ax=bottom)
    return figure


def _residual(scenario: Scenario, model: Any) -> Figure:
    figure = _figure(7, 4)
    ax = figure.add_subplot()
    residuals = {}
    for links in _link_sets(scenario):
        frequencies, chosen = _frequencies(links), torch.arange(min(8, links.num_links))
        h = links.channel(frequencies, chosen)
        if links.kind == "multi_user":
            (w,) = model.query("pseudo_inverse", frequencies, links=chosen)
            residuals["zero forcing, |I − HW|/√K"] = metrics.inverse_residual(h, w.to(h))
        else:
            u, s, v = model.query("svd", frequencies, links=chosen)
            residuals["SVD, |HV − UΣ| + |HᴴU − VΣ|"] = metrics.svd_residual(
                h, u.to(h), s.to(h.real), v.to(h)
            )
    # Both kinds of links share the scenario's grid.
    plots.residual(frequencies, residuals, ax=ax)
    ax.set_title(f"Residual of queried results ({scenario.name})")
    return figure


def _map(scenario: Scenario) -> Figure:
    figure = _figure(7, 5.5)
    plots.scenario_map(scenario, ax=figure.add_subplot())
    return figure


def _figure(width: float, height: float) -> Figure:
    """A figure in inches that no display knows of."""
    return Figure(figsize=(width, height), layout="constrained")


def _link_sets(scenario: Scenario) -> list[LinkSet]:
    return [links for links in (scenario.multi_user, scenario.single_user) if links is not None]


def _frequencies(links: LinkSet) -> torch.Tensor:
    """Evenly spread subcarriers of the whole band, enough for a picture."""
    grid = links.grid_frequencies()
    return grid[:: max(1, len(grid) // _NUM_SAMPLES)]
