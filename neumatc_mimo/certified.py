"""Query, certificate, correction, exact: the same for every solver, with counts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Operation, Tolerance
from neumatc_mimo.solvers.base import Counts

# Correction steps that a result may take. Newton-Schulz squares its error: what four steps don't
# prove lies outside of where it converges.
_STEPS = 4


def certify(
    operation: Operation,
    a: Tensor,
    components: Components,
    no: Tensor | float,
    tolerance: Tolerance,
    counts: Counts,
) -> Components:
    """Prove the components of every matrix; correct, then compute exactly, what is not proven.

    :param a: [num_items, num_subcarriers, m, n]
    :param components: [num_items, num_subcarriers, ...] each
    :param no: noise power, broadcastable to [num_items, num_subcarriers]
    :param counts: increased by what was queried, corrected and computed exactly
    """
    failed = ~operation.certificate(a, components, no, tolerance).ok
    counts.queried += int((~failed).sum())
    where = failed.nonzero(as_tuple=True)
    poor, steps = a[where], tuple(c[where] for c in components)
    noise: Tensor | float = no
    if isinstance(no, Tensor) and no.ndim:
        noise = no.expand(failed.shape)[where]
    for _ in range(_STEPS):
        if not len(poor):
            break
        steps = operation.correct(poor, steps, noise)
        proven = operation.certificate(poor, steps, noise, tolerance).ok
        counts.corrected += int(proven.sum())
        done = tuple(index[proven] for index in where)
        failed = failed.index_put(done, failed.new_zeros(()))
        components = tuple(
            c.index_put(done, s[proven].to(c.dtype)) for c, s in zip(components, steps, strict=True)
        )
        # What has diverged is beyond correction.
        finite = torch.stack([torch.isfinite(s.flatten(1)).all(1) for s in steps]).all(0)
        rest = finite & ~proven
        where, poor = tuple(index[rest] for index in where), poor[rest]
        steps = tuple(s[rest] for s in steps)
        if isinstance(noise, Tensor) and noise.ndim:
            noise = noise[rest]
    if not bool(failed.any()):
        return components
    counts.exact += int(failed.sum())
    return repair(operation, a, components, no, torch.zeros_like(failed), failed)


def repair(
    operation: Operation,
    a: Tensor,
    components: Components,
    no: Tensor | float,
    corrected: Tensor,
    exactly: Tensor,
) -> Components:
    """Components with a correction step at some matrices, and exact ones at others.

    :param corrected: [num_items, num_subcarriers] matrices that take a step
    :param exactly: [num_items, num_subcarriers] matrices that are computed exactly
    """
    for where, step in ((corrected, operation.correct), (exactly, _exact_in(operation))):
        if bool(where.any()):
            noise: Tensor | float = no
            if isinstance(no, Tensor) and no.ndim:
                noise = no.expand(where.shape)[where]
            fixed = step(a[where], tuple(c[where] for c in components), noise)
            components = tuple(
                c.index_put((where,), value.to(c.dtype))
                for c, value in zip(components, fixed, strict=True)
            )
    return components


def _exact_in(operation: Operation) -> Callable[[Tensor, Components, Tensor | float], Components]:
    """The exact components in the gauge of given ones."""
    return lambda a, like, no: operation.align_to(operation.exact(a, no), like)
