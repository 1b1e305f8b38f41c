"""The walk of a channel: from ``ZFPrecoder.call`` to the solver's answer and back.

Run as ``python -m benchmarks.walk``: prints the package's functions in the order in which a call
enters them, with their files, and how many there are of each; once with ``nm.Exact()``, once with a
small model. It needs the public API alone, so ``PYTHONPATH=CHECKOUT python benchmarks/walk.py``
walks through another checkout.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.blocks import ZFPrecoder

_PACKAGE = Path(nm.__file__).resolve().parent
_USERS, _SYMBOLS, _FFT_SIZE, _SPACING = 3, 14, 192, 120e3
_INLINE = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
_SCENARIO = """
name = "small"
seed = 0
[deepmimo]
path = "{data}"
base_station = 0
[array]
bs = [4, 4]
[grid]
fft_size = {fft_size}
subcarrier_spacing = {spacing}
[multi_user]
users_per_link = {users}
num_links = 2
[model]
width = 96
samples = 128
collocation = 128
"""


def small_scenario() -> nm.Scenario:
    """Two links of three users and 16 antennas, whose model is trained in a second."""
    data = _PACKAGE.parent / "scenarios" / "data" / "munich_3p5"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.toml"
        sizes = {"users": _USERS, "fft_size": _FFT_SIZE, "spacing": _SPACING}
        file.write_text(_SCENARIO.format(data=data.as_posix(), **sizes))
        return nm.load_scenario(file)


def precoding(solver: Any, h: Tensor) -> Callable[[], Any]:
    """A call of zero forcing with a solver.

    :param h: [num_links, fft_size, K, M]
    """
    num_items, fft_size, _, _ = h.shape
    grid = ResourceGrid(_SYMBOLS, fft_size, _SPACING, num_tx=1, num_streams_per_tx=_USERS)
    block = ZFPrecoder(grid, StreamManagement(np.ones([_USERS, 1]), _USERS), solver)
    generator = torch.Generator().manual_seed(0)
    shape = (num_items, 1, _USERS, _SYMBOLS, fft_size)
    x = torch.randn(shape, dtype=h.dtype, generator=generator)
    given = h.permute(0, 2, 3, 1)[:, :, None, None, :, None]
    given = given.expand(-1, -1, -1, -1, -1, _SYMBOLS, -1)
    return lambda: block(x, given)


def walk(call: Callable[[], Any]) -> list[tuple[str, str]]:
    """The package's functions that a call enters, in order: file and name, each once.

    Comprehensions belong to the function that they stand in.
    """
    entered: dict[tuple[str, str], None] = {}

    def enter(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and (place := _place(frame.f_code)) is not None:
            entered.setdefault(place)

    sys.setprofile(enter)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(entered)


def main() -> None:
    torch.set_num_threads(1)
    scenario = small_scenario()
    links = scenario.multi_user
    assert links is not None
    h = links.channel((torch.arange(_FFT_SIZE) - _FFT_SIZE // 2) * _SPACING)
    model = nm.train(scenario, progress=False)
    for title, solver in {"nm.Exact()": nm.Exact(), "a model": model}.items():
        call = precoding(solver, h)
        with torch.no_grad():
            first, again = walk(call), walk(call)
        print(f"ZFPrecoder with {title}\n")
        for file, name in first:
            print(f"  {file:<40} {name}")
        for which, entered in {"first call": first, "another one": again}.items():
            files = {file for file, _ in entered}
            print(f"\n{which}: {len(entered)} functions of {len(files)} files")
        print()


def _place(code: CodeType) -> tuple[str, str] | None:
    file = Path(code.co_filename)
    if _PACKAGE not in file.parents or code.co_name in _INLINE:
        return None
    return file.relative_to(_PACKAGE).as_posix(), code.co_qualname


if __name__ == "__main__":
    main()
