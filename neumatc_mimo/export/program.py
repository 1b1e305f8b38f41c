"""Queries as programs of ``torch.export``: for PyTorch without this package, and its compilers."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neumatc_mimo.export.query import QueryModule

# Where files carry the metadata, as JSON: a file within the archive of a program.
METADATA = "neumatc_mimo.json"


def write_program(query: QueryModule, file: Path) -> None:
    """Write a query for ``torch.export.load``, with its metadata beside the program."""
    with quiet():
        content = json.dumps(query.metadata, indent=2)
        # Into memory: a file would have to have the end of its name, a temporary one has not.
        archive = io.BytesIO()
        torch.export.save(traced(query, query), archive, extra_files={METADATA: content})
    file.write_bytes(archive.getbuffer())


def read_program_metadata(file: Path) -> dict[str, Any]:
    """The metadata of a program, empty if it has none.

    :raises ValueError: if the file is no program
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = [n for n in archive.namelist() if n.endswith(f"/{METADATA}")]
            found: dict[str, Any] = json.loads(archive.read(names[0])) if names else {}
    except zipfile.BadZipFile:
        raise ValueError(f"{file} is not a program of torch.export.") from None
    return found


def traced(module: nn.Module, query: QueryModule) -> torch.export.ExportedProgram:
    """The program of a module that takes what a query takes, for any number of links and
    frequencies.
    """
    shapes = dynamic_shapes(query)
    # A module that takes any inputs has all of them in one argument.
    given: Any = shapes if module is query else (shapes,)
    return torch.export.export(module, query.example(), dynamic_shapes=given)


def dynamic_shapes(query: QueryModule) -> tuple[dict[int, Any], ...]:
    """Which dimensions of the inputs vary, by their names."""
    num_links = torch.export.Dim("num_links", min=1)
    num_frequencies = torch.export.Dim("num_frequencies", min=1)
    return ({0: num_links}, {0: num_frequencies}, {0: num_links})[: len(query.input_names)]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that PyTorch's exporters give of their own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


__all__ = [
    "METADATA",
    "dynamic_shapes",
    "quiet",
    "read_program_metadata",
    "traced",
    "write_program",
]
