"""Query, certificate, correction, exact: the same for every solver, with counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.operations.base import Certificate, Components, Operation, Tolerance

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
    if not bool(failed.any()):
        return components
    where = failed.nonzero(as_tuple=True)
    noise, poor = chosen_noise(no, failed, where), tuple(c[where] for c in components)
    fixed, steps = corrected(operation, a[where], poor, noise, tolerance)
    components = tuple(
        c.index_put(where, f.to(c.dtype)) for c, f in zip(components, fixed, strict=True)
    )
    failed = failed.index_put(where, steps < 0)
    counts.corrected += int((steps > 0).sum())
    if not bool(failed.any()):
        return components
    counts.exact += int(failed.sum())
    return repair(operation, a, components, no, torch.zeros_like(failed), failed)


def corrected(
    operation: Operation,
    a: Tensor,
    components: Components,
    no: Tensor | float,
    tolerance: Tolerance,
) -> tuple[Components, Tensor]:
    """Components that are not proven after as many correction steps as their proof takes.

    :param a: [num, m, n]
    :param components: [num, ...] each
    :param no: noise power, [num] or scalar

    :return: components, as they were where no steps help, and the numbers of steps [num], int8, -1
        there
    """
    found = components
    numbers = torch.full(a.shape[:1], -1, dtype=torch.int8, device=a.device)
    which = torch.arange(len(a), device=a.device)
    for number in range(1, _STEPS + 1):
        components = operation.correct(a, components, no)
        proven = operation.certificate(a, components, no, tolerance).ok
        numbers[which[proven]] = number
        found = tuple(
            f.index_put((which[proven],), c[proven].to(f.dtype))
            for f, c in zip(found, components, strict=True)
        )
        # What has diverged is beyond correction.
        finite = torch.stack([torch.isfinite(c.flatten(1)).all(1) for c in components]).all(0)
        rest = finite & ~proven
        which, a, components = which[rest], a[rest], tuple(c[rest] for c in components)
        no = no[rest] if isinstance(no, Tensor) and no.ndim else no
        if not len(a):
            break
    return found, numbers


def steps_to_prove(
    operation: Operation,
    a: Tensor,
    components: Components,
    no: Tensor,
    tolerance: Tolerance,
) -> tuple[Certificate, Tensor]:
    """The proof of components as they are, and how many correction steps a proof takes elsewhere.

    :param a: channels, of the shape of the proof followed by [m, n], or broadcastable to it
    :param components: likewise
    :param no: noise powers, broadcastable to the shape of the proof

    :return: the proof, and steps of its shape, int8: 0 where components are proven, -1 where no
        number of steps proves them
    """
    proof = operation.certificate(a, components, no, tolerance)
    steps = torch.zeros(proof.ok.shape, dtype=torch.int8, device=a.device)
    where = (~proof.ok).nonzero(as_tuple=True)
    if len(where[0]):
        whole = proof.ok.shape
        at, *poor = (t.expand(*whole, *t.shape[len(whole) :])[where] for t in (a, *components))
        _, steps[where] = corrected(operation, at, tuple(poor), no.expand(whole)[where], tolerance)
    return proof, steps


def repair(
    operation: Operation,
    a: Tensor,
    components: Components,
    no: Tensor | float,
    corrected: Tensor,
    exactly: Tensor,
) -> Components:
    """Components with correction steps at some matrices, and exact ones at others.

    :param corrected: [num_items, num_subcarriers] numbers of steps, or which matrices take one
    :param exactly: [num_items, num_subcarriers] matrices that are computed exactly
    """
    most = int(corrected.max()) if corrected.numel() else 0
    steps = [(corrected > number, operation.correct) for number in range(most)]
    for where, step in (*steps, (exactly, _exact_in(operation))):
        # Their places: a GPU is waited for at each tensor that a mask cuts.
        places = where.nonzero(as_tuple=True)
        if len(places[0]):
            noise = chosen_noise(no, where, places)
            fixed = step(a[places], tuple(c[places] for c in components), noise)
            components = tuple(
                c.index_put(places, value.to(c.dtype))
                for c, value in zip(components, fixed, strict=True)
            )
    return components


def chosen_noise(no: Tensor | float, like: Tensor, where: Any) -> Tensor | float:
    """Noise powers at some of the matrices [num_items, num_subcarriers] that ``like`` marks."""
    return no.expand(like.shape)[where] if isinstance(no, Tensor) and no.ndim else no


def _exact_in(operation: Operation) -> Callable[[Tensor, Components, Tensor | float], Components]:
    """The exact components in the gauge of given ones."""
    return lambda a, like, no: operation.align_to(operation.exact(a, no), like)
