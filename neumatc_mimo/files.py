"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def replaced(file: Path, write: Callable[[Path], Any]) -> Path:
    """Write to a temporary name and rename: a reader never sees half a file.

    :param write: writes to the path that it is given

    :raises OSError: if the file cannot be written
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, file)
    except OSError as error:
        raise OSError(f"{file} cannot be written ({error.strerror}).") from error
    finally:
        temporary.unlink(missing_ok=True)
    return file


def write_text(file: Path, text: str) -> Path:
    """Write a text in UTF-8, whole or not at all."""
    return replaced(file, lambda part: part.write_text(text, encoding="utf-8"))
