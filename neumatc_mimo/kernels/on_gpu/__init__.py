"""Kernels for GPUs, written in Triton, of the same structure as those in C++.

A thread has one subcarrier of a block of neighbouring ones, and a block has some of the rows of
their matrices in its registers. Sionna's layout stays what it is: subcarriers, which come last, are
loaded and stored side by side. Two kernels are started one after the other:

- a *source* fills what its filters are made of: the scaled Gram matrix's Cholesky factor and
  factors of the symbols before and after the solves
  (:mod:`~neumatc_mimo.kernels.on_gpu.definite`);
- an *emitter* takes it to the OFDM symbols (:mod:`~neumatc_mimo.kernels.on_gpu.precode`,
  :mod:`~neumatc_mimo.kernels.on_gpu.receive`).

In C++ one thread does both for a chunk that lies in its cache. A GPU has room for far more threads
than a slot has subcarriers: emitters share the antennas among several programs, and what lies
between, K x K numbers of a subcarrier beside the K x M of its filter, stays in the GPU's second
cache.

Queried filters are evaluated where they are applied
(:mod:`~neumatc_mimo.kernels.on_gpu.expansion`). Nothing here is imported before it is used, as
Triton may be missing (:mod:`~neumatc_mimo.kernels.on_gpu.installed`).
"""
