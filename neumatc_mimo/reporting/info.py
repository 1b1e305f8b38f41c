"""What is there to work with: versions, devices, ray tracing and data."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from neumatc_mimo.foundation.ray_tracing import computes

_NAME = "neumatc-mimo"


def info() -> dict[str, Any]:
    """Versions, devices, ray tracing and data, as plain values ready for JSON.

    :return: ``versions`` (None where a package is not installed), ``extras`` (those of the optional
        packages, by the extra that asks for them; one of a version that will not do is named with
        those that will, and None), ``platform``, ``devices`` (as ``device=`` takes them),
        ``kernels`` (the variant of the kernels in C++ that is used, or the reason why none is),
        ``ray_tracing`` (whether it can run on the CPU by LLVM, and on CUDA), ``scenarios`` (bundled
        ones with the folder of their data, None where it is not found), and ``data`` (the folder
        ``NEUMATC_DATA`` and the DeepMIMO scenarios in it); sizes are in bytes
    """
    required = _required()
    own = {_NAME: version_of(_NAME), "python": platform.python_version()}
    return {
        "versions": own | {asked.name: version_of(asked.name) for asked in required.pop("", [])},
        "extras": {extra: dict(map(_found, asked)) for extra, asked in required.items()},
        "platform": platform.platform(),
        "devices": _devices(),
        "kernels": _kernels(),
        "ray_tracing": _ray_tracing(),
        "scenarios": _bundled(),
        "data": _data(os.environ.get("NEUMATC_DATA") or None),
    }


def version_of(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _found(asked: Requirement) -> tuple[str, str | None]:
    """A package of an extra, and its version if it will do."""
    installed = version_of(asked.name)
    if installed is None or asked.specifier.contains(installed, prereleases=True):
        return asked.name, installed
    return f"{asked.name}{asked.specifier}", None


def _required() -> dict[str, list[Requirement]]:
    """Packages that ours asks for, by extra; those that it cannot do without under ""."""
    found: dict[str, list[Requirement]] = {"": []}
    for line in (requires(_NAME) or []) if version_of(_NAME) else []:
        requirement = Requirement(line)
        marker = requirement.marker
        extra = ""
        if marker is not None and "extra ==" in str(marker):
            extra = str(marker).split("extra ==")[1].split('"')[1]
        if marker is None or marker.evaluate({"extra": extra}):
            found.setdefault(extra, []).append(requirement)
    return found


def _devices() -> list[dict[str, Any]]:
    import torch

    cpu = {
        "device": "cpu",
        "name": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    cuda = [
        {
            "device": f"cuda:{index}",
            "name": torch.cuda.get_device_name(index),
            "bytes": torch.cuda.get_device_properties(index).total_memory,
        }
        for index in range(torch.cuda.device_count())
    ]
    return [cpu, *cuda]


def _kernels() -> dict[str, str | None]:
    """The variant of the kernels of subcarriers in lanes, and why there is none."""
    from neumatc_mimo.kernels.lanes import library

    found = library.loaded()
    return {"lanes": found.name if found else None, "reason": library.why_not()}


def _ray_tracing() -> dict[str, Any]:
    """Whether Dr.Jit, on which Sionna RT runs, computes with its backends."""
    backends = {name: computes(name) for name in ("llvm", "cuda")}
    return {"sionna-rt": version_of("sionna-rt"), **backends}


def _bundled() -> list[dict[str, Any]]:
    from neumatc_mimo.scenario.bundled import bundled_scenarios
    from neumatc_mimo.scenario.schema import read_config

    entries = []
    for name in bundled_scenarios():
        try:
            folder = read_config(name).data_folder()
        except ValueError:  # its variable is not set
            folder = None
        found = folder is not None and folder.is_dir()
        entries.append(
            {
                "name": name,
                "folder": str(folder) if found else None,
                "bytes": _size(folder) if folder is not None and found else None,
            }
        )
    return entries


def _data(folder: str | None) -> dict[str, Any]:
    """DeepMIMO v4 scenarios in a folder."""
    found = sorted(Path(folder).glob("*/params.json")) if folder else []
    return {
        "folder": folder,
        "scenarios": [{"name": f.parent.name, "bytes": _size(f.parent)} for f in found],
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
