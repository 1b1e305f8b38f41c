"""Certificates, and steps that lower residuals, of results at many noise powers for each matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.kernels.lanes.coverage import covers
from neumatc_mimo.kernels.lanes.library import loaded
from neumatc_mimo.operations.base import Certificate, Components, Operation, frobenius
from neumatc_mimo.operations.filter_and_gram import FilterAndGram
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse

_MOST_ROWS = 64


class Refined(NamedTuple):
    """Components after some steps.

    :param components: [num_links, F, q or 1, ...] each
    :param residual: of these, the largest of all noise powers, [num_links, F]
    """

    components: Components
    residual: Tensor


def certificate(
    operation: Operation, a: Tensor, stored: Components, powers: Tensor, tolerance: Tolerance
) -> Certificate:
    """``operation.certificate`` of matrices with results at many noise powers.

    :param a: [num_links, F, q or 1, m, n]
    :param stored: components as models store them, likewise
    :param powers: [q] or [1]
    """
    prove = _CERTIFICATES.get(type(operation))
    if prove is None or not _covered(a, stored):
        return operation.certificate(a, operation.from_stored(stored, powers), powers, tolerance)
    return prove(a, stored, powers, tolerance)


def refined(
    operation: Operation, a: Tensor, components: Components, powers: Tensor, steps: int
) -> Refined:
    """Components after correction steps, and the residual that is left, shapes as in
    :func:`certificate`.

    :param operation: whose components they are
    :param steps: how many; zero for the residual alone
    """
    refine = _STEPS.get(type(operation))
    if refine is not None and _covered(a, components):
        return refine(a, components, steps)
    for _ in range(steps):
        components = operation.correct(a, components, powers)
    return Refined(components, operation.residual(a, components, powers).amax(-1))


def _covered(a: Tensor, components: Components) -> bool:
    """Whether there are single matrices, in single precision."""
    return (
        covers(a, *components)
        and a.dtype == torch.complex64
        and a.ndim == 5
        and 0 < a.shape[3] <= min(a.shape[4], _MOST_ROWS)
        and a.shape[1] > 0
        and all(t.shape[2] == 1 for t in (a, *components))
    )


def _certify_pseudo_inverse(
    a: Tensor, stored: Components, powers: Tensor, tolerance: Tolerance
) -> Certificate:
    # Rows of what evaluates them hold both: no copy where only the step between matrices differs.
    matrices, w, gram = (_stepped(t) for t in (a, *stored))
    ratio, error = a.real.new_empty(2, *a.shape[:2], len(powers))
    _run(
        matrices,
        w,
        gram=gram,
        gram_step=2 * gram.stride(0),
        powers=len(powers),
        power=powers.to(torch.float32),
        ratio=ratio,
        range=error,
    )
    quality = 10 * torch.log10(ratio.clamp_min(torch.finfo(ratio.dtype).tiny))
    return Certificate.of(quality, error, tolerance)


def _refine_filter_and_gram(a: Tensor, components: Components, steps: int) -> Refined:
    w, gram = components
    own = a @ a.conj().resolve_conj().mT
    if steps:
        w, gram = w.clone(memory_format=torch.contiguous_format), own
    residual = a.real.new_empty(a.shape[:2])
    _run(_stepped(a), _stepped(w), steps=steps, residual=residual)
    return Refined((w, gram), residual + (frobenius(gram - own) / frobenius(own))[..., 0])


def _stepped(matrices: Tensor) -> Tensor:
    """Matrices [num, ...], of each of which all entries lie side by side."""
    flat = matrices.resolve_conj().flatten(0, 1)
    return flat if flat[0].is_contiguous() else flat.contiguous()


def _run(a: Tensor, w: Tensor, **values: Tensor | int) -> None:
    library = loaded()
    assert library is not None
    library.proofs(
        rows=a.shape[-2],
        columns=a.shape[-1],
        matrices=len(a),
        channel=a,
        channel_step=2 * a.stride(0),
        filter=w,
        filter_step=2 * w.stride(0),
        **values,
    )


# Another operation that derives from one of these may mean another result.
_CERTIFICATES: dict[
    type[Operation], Callable[[Tensor, Components, Tensor, Tolerance], Certificate]
] = {PseudoInverse: _certify_pseudo_inverse}
_STEPS: dict[type[Operation], Callable[[Tensor, Components, int], Refined]] = {
    FilterAndGram: _refine_filter_and_gram
}
