"""Tensors to one safetensors file."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a file of safetensors, which reports a full disk by an error of its own.

    :param tensors: contiguous, on the CPU or elsewhere
    :param header: texts for the head of the file

    :raises OSError: if the file cannot be written
    """
    try:
        save_file(dict(tensors), file, None if header is None else dict(header))
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from None


__all__ = ["write_tensors"]
