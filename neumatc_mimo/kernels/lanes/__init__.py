"""Kernels in C++ that keep subcarriers in the lanes of vector registers.

Sionna's tensors end with subcarriers, and a matrix of each subcarrier is small. PyTorch's batched
algebra wants it the other way round, so that a block spends its time on transposing. Here a vector
register holds one entry of the matrices of 4, 8 or 16 neighbouring subcarriers, and a chunk of some
64 of them is worked on from the first load to the last store, while it lies in the cache:

- a *source* fills the chunk from the channel: scaled Gram matrix, Cholesky factor, what belongs to
  the inverse (``native/definite.h``);
- an *emitter* applies it to the OFDM symbols and writes Sionna's layout (``native/chunk.h``,
  :mod:`~neumatc_mimo.kernels.lanes.emitters`).

The filter itself is never written down: :math:`A^H X x` is two triangular solves and a product.

The library is plain C++17 with a C interface, loaded by :mod:`ctypes`
(:mod:`~neumatc_mimo.kernels.lanes.library`): it knows neither Python's nor PyTorch's headers, so
that one file serves every version of both, and builds in half a minute. Its functions are PyTorch
operators (:mod:`~neumatc_mimo.kernels.lanes.operators`). Where it is missing, or does not cover
what is asked, blocks compute with PyTorch, which is its reference in the tests.
"""

from neumatc_mimo.kernels.lanes.demapping import Bits, DataRuns, SquareQAM
from neumatc_mimo.kernels.lanes.emitters import (
    Combined,
    Emitter,
    Forced,
    Precoded,
    Received,
    computes,
)
from neumatc_mimo.kernels.lanes.refined import Done, emit

__all__ = [
    "Bits",
    "Combined",
    "DataRuns",
    "Done",
    "Emitter",
    "Forced",
    "Precoded",
    "Received",
    "SquareQAM",
    "computes",
    "emit",
]
