"""What a random trunk gives, beside which the report of a training shows what it gains."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neumatc_mimo.mapping.basis import SineBasis
from neumatc_mimo.mapping.layout import Layout
from neumatc_mimo.training.certification import relative_error
from neumatc_mimo.training.jobs import Job


def untrained_error(job: Job, seed: int = 0) -> float:
    """Error on the first link of a random trunk of the same rank whose latent tensors alone are
    fitted: what training gains.

    Its delays are drawn with the spread that our prior gives the functions, its phases uniformly;
    the latent tensors are the ridge solution for the same number of exact samples, all components
    together at the first node, and the error is that of the first one in the gauge of the fit.
    """
    problem, config = job.problem, job.settings
    links = torch.zeros(1, dtype=torch.int64, device=job.links.device)
    lowest = problem.axis.powers[0]
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(2, config.rank, generator=generator, dtype=torch.float64)
    omega = -math.pi * SineBasis(config.rank).decay * torch.log1p(-draws[0])
    phase = 2 * math.pi * draws[1]
    frequencies = problem.frequencies
    index = torch.linspace(0, len(frequencies) - 1, config.samples).round().long()
    tests = (index[:-1] + index[1:]) // 2

    def hidden(chosen: Tensor) -> Tensor:
        x = 2 * (chosen - frequencies[0]) / (frequencies[-1] - frequencies[0]) - 1
        return torch.sin(x[:, None] * omega.to(x) + phase.to(x))

    operation = problem.operation
    samples, truth = (
        operation.exact(problem.matrices(links, frequencies[points])[:, :, 0], lowest)
        for points in (index, tests)
    )
    samples = operation.align(samples)
    layouts = [Layout(tuple(c.shape[2:]), "complex" if c.is_complex() else "real") for c in samples]
    stacked = torch.cat([lay.pack(c) for lay, c in zip(layouts, samples, strict=True)], dim=-1)
    # With H of the samples, H^T (H H^T + λ I)^-1 is (H^T H + λ I)^-1 H^T: there are fewer samples
    # than functions, and one decomposition serves every ridge.
    design = hidden(frequencies[index])
    powers, vectors = torch.linalg.eigh(design @ design.mT)
    across = hidden(frequencies[tests]) @ design.mT @ vectors
    moments = vectors.mT @ stacked

    def error(ridge: float) -> float:
        # In units of the mean diagonal of H^T H.
        penalty = ridge * powers.sum() / config.rank
        values = (across / (powers.clamp_min(0) + penalty)) @ moments
        parts = values.split([layout.size for layout in layouts], -1)
        fitted = tuple(
            layout.unpack(part.contiguous()) for part, layout in zip(parts, layouts, strict=True)
        )
        return relative_error(fitted[0], operation.align_to(truth, fitted)[0]).median().item()

    # The best of these on the test points themselves: the row is not to be beaten by its ridge.
    return min(error(ridge) for ridge in (1e-9, 1e-6, 1e-4, 1e-2))
