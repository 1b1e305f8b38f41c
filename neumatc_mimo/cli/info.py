"""``neumatc-mimo info``: versions, devices and data found."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from neumatc_mimo.cli.options import Json
from neumatc_mimo.cli.terminal import out, print_json
from neumatc_mimo.foundation.ray_tracing import LLVM_HINT


def info(as_json: Json = False) -> None:
    """Print versions, devices and the data that were found.

    Example: [cyan]neumatc-mimo info --json[/cyan]
    """
    from neumatc_mimo.reporting.info import info as found

    values = found()
    if as_json:
        print_json(values)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for title, rows in _sections(values):
        table.add_row(title, rows[0])
        for row in rows[1:]:
            table.add_row("", row)
    out.print(table, highlight=False, markup=False)


def _sections(values: dict[str, Any]) -> list[tuple[str, list[str]]]:
    tracing = values["ray_tracing"]
    ways = [name for name, there in (("CPU (LLVM)", "llvm"), ("GPU", "cuda")) if tracing[there]]
    version = _installed({"sionna-rt": tracing["sionna-rt"]})
    missing = f"not possible: no GPU, and no LLVM that Dr.Jit can use; {LLVM_HINT}"
    return [
        ("versions", [_installed(values["versions"])]),
        *(
            (f"extra {name}", [_installed(packages)])
            for name, packages in sorted(values["extras"].items())
        ),
        ("platform", [values["platform"]]),
        ("devices", [_device(device) for device in values["devices"]]),
        ("kernels", [_kernels(values["kernels"])]),
        ("ray tracing", [f"on the {' and the '.join(ways)}, {version}" if ways else missing]),
        ("scenarios", [_scenario(scenario) for scenario in values["scenarios"]]),
        ("NEUMATC_DATA", _data(values["data"])),
    ]


def _installed(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {number or 'not installed'}" for name, number in packages.items())


def _device(device: dict[str, Any]) -> str:
    if "bytes" in device:
        return f"{device['device']}: {device['name']}, {device['bytes'] / 1e9:.3g} GB"
    return (
        f"{device['device']}: {device['name']}, {device['cores']} cores, {device['threads']} "
        "threads in use"
    )


def _kernels(kernels: dict[str, str | None]) -> str:
    if kernels["lanes"] is None:
        return f"PyTorch only; kernels (subcarriers in lanes) are {kernels['reason']}"
    return f"subcarriers in lanes, variant {kernels['lanes']}"


def _scenario(scenario: dict[str, Any]) -> str:
    if scenario["folder"] is None:
        return f"{scenario['name']}: its data were not found"
    return f"{scenario['name']}: {scenario['bytes'] / 1e6:.3g} MB in {scenario['folder']}"


def _data(data: dict[str, Any]) -> list[str]:
    if data["folder"] is None:
        return ["not set; set it to the folder of your DeepMIMO scenarios"]
    found = [f"{entry['name']}: {entry['bytes'] / 1e6:.3g} MB" for entry in data["scenarios"]]
    return [data["folder"], *(found or ["no DeepMIMO v4 scenarios in it"])]
