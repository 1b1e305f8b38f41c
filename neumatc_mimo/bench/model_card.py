"""The model card: what a model was trained on, what is proven of it, and what it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neumatc_mimo.bench.evaluation import shares_by_task
from neumatc_mimo.bench.figures import label, written
from neumatc_mimo.bench.sheet import Row, table
from neumatc_mimo.storage.files import Location, write_text


def write_model_card(
    file: Location, scenario: Any, model: Any, results: Mapping[str, Any]
) -> Location:
    """Write the card of a model, whole or not at all.

    :param file: A path, or a URL of any file system that fsspec knows
    :param scenario: The scenario that the model was trained for
    :param model: A ScenarioModel
    :param results: As :func:`~neumatc_mimo.bench.evaluation.evaluate` returns them

    :raises OSError: If the file cannot be written
    """
    return write_text(file, model_card(scenario, model, results))


def model_card(scenario: Any, model: Any, results: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    import neumatc_mimo

    rates = results.get("error_rates") or []
    parts = [
        f"# Model card: {scenario.name}",
        f"Compact mappings that answer {_listed(list(model.models))} of the links of "
        f"`{scenario.name}` at any frequency of its band, trained and evaluated with neumatc-mimo "
        f"{neumatc_mimo.__version__}.",
        "## Intended use",
        _USE,
        "## Trained on",
        _data(scenario, model),
        "## Settings",
        _settings(model),
        "## What is certified",
        _certified(model),
    ]
    figures = _figures(results)
    if figures:
        parts += ["## Figures", _FIGURES, figures]
    if rates:
        parts += ["## Block error rates", _rates_read(rates), _rates(rates)]
        parts += ["## How answers came about", _TIERS, _tiers(rates)]
    parts += ["## Limits", _LIMITS]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def error_rate_rows(rates: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The error rates as rows of a table."""
    return [
        {
            "transmission": row["transmission"],
            "modulation": row["modulation"],
            "Eb/N0 [dB]": f"{row['ebno_db']:.2f}",
            "blocks": row["num_blocks"],
            "exact": _rate(row["exact_bler"], row["exact_bler_interval"]),
            "queried": _rate(row["queried_bler"], row["queried_bler_interval"]),
            "lost by one alone": f"{row['only_exact_lost']}, {row['only_queried_lost']}",
            "difference": _signed(row["difference"], row["difference_interval"]),
            "p": f"{row['p_value']:.3f}",
        }
        for row in rates
    ]


def tier_rows(rates: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The shares of the ways in which answers came about, a row each, a column a transmission."""
    by_task = shares_by_task(rates)
    ways = next(iter(by_task.values()), {})
    return [
        {"way": way.replace("_", " ")}
        | {name: f"{100 * shares[way]:.2f} %" for name, shares in by_task.items()}
        for way in ways
    ]


_USE = """
As the `solver` of the package's blocks in link-level simulations of this scenario: the same base
station array, band and subcarrier spacing, and the links named below, in any order of their users,
at any delay and common gain. Channels that are none of these links are told from `h` and not
answered by recall; `block.stats` counts them.
"""

_LIMITS = """
- It knows the channels of one scenario, as ray-traced: a user who moved by 5 mm at 3.5 GHz
  is another channel.
- The certificate speaks of the true channel. With an estimated one the result is as good as the
  estimate, and what a certificate finds is the estimate's error.
- Frequencies outside the trained band and noise powers above the trained range are computed
  exactly, with a warning.
- Error rates stand for the modulations, code and links above. A p-value below 1 − level shows a
  difference; one above it shows none of a size that so many blocks could show: the interval of the
  difference says which size that is.
"""

_FIGURES = """
On subcarriers that training did not see, in double precision. Percentiles are of the worst: 95 % of
the values are above a 5th percentile. `docs/evaluation.md` explains each of them.
"""

_TIERS = """
Shares of the calls above, of links (`links …`) and of subcarriers (the others): *queried* ones come
from the mapping alone, *corrected* ones took a step with the channel, *patched* ones are exact
results because no certificate was reached, *exact* ones were computed as if there were no model.
"""


def _data(scenario: Any, model: Any) -> str:
    config = scenario.config
    data = f"`{Path(config.data).name}`"
    if (paths := config.paths) is not None:
        of = "DeepMIMO " if config.deepmimo is not None else ""
        data = (
            f"{of}{data}, base stations {_listed(list(paths.base_station))}, at most "
            f"{paths.max_paths} paths a user"
        )
    lines = [
        f"- data: {data}",
        f"- array: {config.array.bs[0]} × {config.array.bs[1]}, spacing {config.array.spacing:g} "
        "wavelengths",
        f"- grid: {config.grid.fft_size} subcarriers of "
        f"{config.grid.subcarrier_spacing / 1e3:g} kHz",
    ]
    for operation, part in model.models.items():
        links = part.links
        lines.append(
            f"- {operation}: {links.num_links} links, each of {links.num_users} user"
            f"{'s' if links.num_users > 1 else ''} and a base station, {links.num_rows} × "
            f"{links.num_cols} antennas"
        )
    lines.append(
        f"- seeds: {config.seed} of the links, {model.scenario.get('seed')} of the training, with "
        f"torch {model.scenario.get('torch')}"
    )
    lines.append(f"- fingerprint of the data: `{scenario.fingerprint}`")
    return "\n".join(lines)


def _settings(model: Any) -> str:
    rows = []
    for name, part in model.models.items():
        mapping, report = part.mapping, part.training
        sizes = report.get("sizes", {})
        rows.append(
            {
                "operation": name,
                "turns over the band": sizes.get("turns"),
                "rank": mapping.trunk.rank,
                "trained for": str(mapping.axis),
                "collocation points": sizes.get("collocation"),
                "exact samples a link": report.get("exact_samples_per_link"),
                "seconds a link": report.get("seconds_per_link"),
                "MB": part.num_bytes / 1e6,
            }
        )
    return "\n".join(table(rows))


def _certified(model: Any) -> str:
    lines = []
    for name, part in model.models.items():
        tolerance = part.tolerance
        shares = (
            part.marks.corrected.double().mean().item(),
            part.marks.exact.double().mean().item(),
        )
        lines.append(
            f"- {name}: every subcarrier of every link reaches {tolerance.quality_db:g} dB and a "
            f"range error of {tolerance.range_error:g}, proven with the channel over the whole "
            f"grid and noise range; {100 * shares[0]:.2f} % take a correction step for it, "
            f"{100 * shares[1]:.2f} % are exact results"
        )
    return "\n".join(lines)


def _figures(results: Mapping[str, Any]) -> str:
    parts = []
    for operation, values in results.items():
        if isinstance(values, Mapping):
            rows = [
                {"figure": label(name), "value": written(name, value)}
                for name, value in values.items()
            ]
            parts.append("\n".join([f"**{operation.replace('_', ' ')}**", "", *table(rows)]))
    return "\n\n".join(parts)


def _rates(rates: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(table(error_rate_rows(rates)))


def _rates_read(rates: Sequence[Mapping[str, Any]]) -> str:
    percent = f"{100 * rates[0]['level']:g} %"
    found = sum(row["differs"] for row in rates)
    said = "no difference" if not found else f"a difference in {found} of them"
    return (
        f"LDPC-coded blocks of {rates[0]['block_length']} bits, exact and queried results on the "
        "same bits, channels and noise, where the exact results lose about a block in ten. "
        f"Intervals are those of {percent}; p is that of McNemar's exact test. At {percent} the "
        f"test sees {said} in {len(rates)} comparisons."
    )


def _tiers(rates: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(table(tier_rows(rates)))


def _rate(value: float, interval: Sequence[float]) -> str:
    return f"{value:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"


def _signed(value: float, interval: Sequence[float]) -> str:
    return f"{value:+.4f} ({interval[0]:+.4f} to {interval[1]:+.4f})"


def _listed(items: Sequence[Any]) -> str:
    *first, last = (str(item) for item in items)
    return f"{', '.join(first)} and {last}" if first else last
