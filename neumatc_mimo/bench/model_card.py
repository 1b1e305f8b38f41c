"""The model card: what a model was trained on, what is proven, and what it is for."""

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
        f"Compact mappings from which {_listed(list(model.models))} of the links of "
        f"`{scenario.name}` can be queried at any frequency of its band. Trained and evaluated "
        f"with neumatc-mimo {neumatc_mimo.__version__}.",
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
        parts += ["## How results were obtained", _TIERS, _tiers(rates)]
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
            "lost by only one": f"{row['only_exact_lost']}, {row['only_queried_lost']}",
            "difference": _signed(row["difference"], row["difference_interval"]),
            "p": f"{row['p_value']:.3f}",
        }
        for row in rates
    ]


def tier_rows(rates: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The shares of the ways in which results were obtained, with a column per transmission."""
    by_task = shares_by_task(rates)
    ways = next(iter(by_task.values()), {})
    return [
        {"way": way.replace("_", " ")}
        | {name: f"{100 * shares[way]:.2f} %" for name, shares in by_task.items()}
        for way in ways
    ]


_USE = """
Use the model as the `solver` of the package's blocks in link-level simulations of this scenario:
with the same base station array, band and subcarrier spacing, and with the links named below. Their
users may have any order, any delays and one common gain. The blocks recognise from `h` if a channel
is not one of these links. They do not query the model then, and count this in `block.stats`.
"""

_LIMITS = """
- The model only knows the channels of one scenario, as ray-traced. If a user moves by 5 mm at
  3.5 GHz, this is another channel.
- The certificate is for the true channel. With an estimated channel, the result is as good as the
  estimate, and a certificate sees the error of the estimate.
- Frequencies outside the trained band and noise powers above the trained range are computed
  exactly, with a warning.
- The error rates are for the modulations, code and links above. A p-value below 1 − level shows a
  difference. A larger p-value means that no difference was found with this number of blocks; the
  interval of the difference says how large it may still be.
"""

_FIGURES = """
On subcarriers that were not used in training, in double precision. Percentiles count from the
worst: 95 % of the values are above a 5th percentile. `docs/evaluation.md` explains all figures.
"""

_TIERS = """
Shares in the calls above, of links (`links …`) and of subcarriers (all others). *Queried* results
come from the mapping alone. *Corrected* results needed a correction step with the channel.
*Patched* results are exact, because the certificate failed in training. *Exact* results were
computed without the model.
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
            f"grid and noise range; {100 * shares[0]:.2f} % need a correction step for it, "
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
    said = "no difference" if not found else f"{found} differences"
    return (
        f"LDPC-coded blocks of {rates[0]['block_length']} bits, exact and queried results on the "
        "same bits, channels and noise, at an Eb/N0 where the exact results lose about one block "
        f"in ten. Intervals have a confidence of {percent}; p is the p-value of McNemar's exact "
        f"test. At {percent} the test finds {said} in {len(rates)} comparisons."
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
