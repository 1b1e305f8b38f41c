"""Files of exported queries: one function writes them, one reads what they say of themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from neumatc_mimo.export.onnx import check_onnx, read_onnx_metadata, write_onnx
from neumatc_mimo.export.program import read_program_metadata, write_program
from neumatc_mimo.export.query import QueryModule
from neumatc_mimo.storage.files import Location, check_file, local_path, replaced

L = TypeVar("L", bound=Location)


class Format(NamedTuple):
    """How a kind of file is written, what finds out whether it can be, and its metadata read."""

    write: Callable[[QueryModule, Path], None]
    check: Callable[[], object]
    read_metadata: Callable[[Path], dict[str, Any]]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        ".onnx": Format(write_onnx, check_onnx, read_onnx_metadata),
        ".pt2": Format(write_program, lambda: None, read_program_metadata),
    }
)


def write_query(query: QueryModule, file: L) -> L:
    """Write a query to a file that runs without this package.

    Inputs and outputs are those of :class:`QueryModule`, for any number of links and frequencies.
    In ONNX files complex results are real, with a last dimension of two.

    :param file: a path or URL; ".onnx" is for ONNX Runtime, ".pt2" for ``torch.export.load``

    :raises ValueError: if the file name has another ending, or the query is too large for the file
    :raises ImportError: if packages are missing, those of ``neumatc-mimo[export]``
    :raises OSError: if the file cannot be written
    """
    check_target(file)
    write = _format(file).write
    return replaced(file, lambda part: write(query, part))


def check_target(file: Location) -> None:
    """Check that a file can be written, before a model is loaded.

    :raises ValueError: if its name has no ending of :data:`FORMATS`
    :raises ImportError: if packages are missing that write it
    :raises OSError: if it cannot be written
    """
    _format(file).check()
    check_file(file)


def read_metadata(file: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of an exported file, :attr:`QueryModule.metadata`.

    :param file: a path, or a URL of this machine

    :raises ValueError: if the file was not written by :func:`write_query`
    :raises FileNotFoundError: if there is no such file
    """
    path = local_path(file)
    if path is None or not path.is_file():
        raise FileNotFoundError(f"There is no file {os.fspath(file)} on this machine.")
    metadata = _format(path).read_metadata(path)
    if metadata.get("package") != "neumatc-mimo":
        raise ValueError(f"{path} contains no query of neumatc-mimo.")
    return metadata


def _format(file: Location) -> Format:
    suffix = PurePosixPath(os.fspath(file)).suffix
    if suffix not in FORMATS:
        raise ValueError(
            f'The file {os.fspath(file)} ends in "{suffix}", known are {", ".join(FORMATS)}.'
        )
    return FORMATS[suffix]


__all__ = ["FORMATS", "Format", "check_target", "read_metadata", "write_query"]
