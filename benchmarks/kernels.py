"""The C++ kernels on and off within one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from neumatc_mimo.kernels.lanes import library

OFF = "off"


@contextmanager
def kernels(on: bool) -> Iterator[None]:
    """Blocks with the kernels that ``NEUMATC_LANES`` chooses, or with PyTorch alone."""
    before = os.environ.get(library.VARIABLE)
    if not on:
        os.environ[library.VARIABLE] = OFF
    try:
        library.forget()
        library.loaded()
        yield
    finally:
        if before is not None:
            os.environ[library.VARIABLE] = before
        elif not on:
            del os.environ[library.VARIABLE]
        library.forget()


def settings() -> dict[str, bool]:
    """Names of what there is to compare: the variant that runs here, and none."""
    with kernels(True):
        found = library.loaded()
    return ({} if found is None else {found.name: True}) | {OFF: False}
