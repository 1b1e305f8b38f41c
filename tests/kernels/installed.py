"""What an installed wheel with kernels must do: ``make wheels`` runs this beside nothing else."""

from __future__ import annotations

import os
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

import neumatc_mimo as nm
from neumatc_mimo.blocks import ZFPrecoder
from neumatc_mimo.kernels.lanes import library

USERS, ANTENNAS, SYMBOLS, SUBCARRIERS = 8, 64, 14, 300


def precoded(choice: str) -> torch.Tensor:
    """Symbols that exact zero forcing has precoded, by ``""`` kernels or ``"off"`` without."""
    os.environ[library.VARIABLE] = choice
    library.forget()
    grid = ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=USERS)
    block = ZFPrecoder(grid, StreamManagement(np.ones([USERS, 1]), USERS), nm.Exact())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, USERS, SYMBOLS, SUBCARRIERS, dtype=torch.complex64, generator=generator)
    shape = (1, USERS, 1, 1, ANTENNAS, 1, SUBCARRIERS)
    h = torch.randn(shape, dtype=torch.complex64, generator=generator)
    result = block(x, h.expand(-1, -1, -1, -1, -1, SYMBOLS, -1))
    assert isinstance(result, torch.Tensor)
    return result


def main() -> None:
    folder = Path(nm.__file__).parent
    assert folder == Path(str(distribution("neumatc-mimo").locate_file("neumatc_mimo"))), folder
    assert not (folder / "kernels/lanes/native").exists(), "sources are the sdist's"
    ours = precoded("")
    found = library.loaded()
    assert found is not None, library.why_not()
    theirs = precoded("off")
    error = float(torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs))
    # Of rounding alone, and not zero: the kernels were at work.
    assert 0 < error < 1e-5, error
    print(f"kernels: variant {found.name}, zero forcing differs from PyTorch's by {error:.1e}")


if __name__ == "__main__":
    main()
