"""Results of kernels, and those that single precision spoils, in double precision."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.emitters import Emitter
from neumatc_mimo.kernels.lanes.proven import Query
from neumatc_mimo.operations.base import Operation
from neumatc_mimo.operations.ill_conditioned import doubtful, shown, wide


class Done(NamedTuple):
    """What kernels did.

    :param amplification: entries of the matrices show in it that are not finite,
        [num_items, num_subcarriers]
    :param left: matrices that they did not do, likewise bool; None where there are none
    :param refined: how many they computed again
    """

    amplification: Tensor
    left: Tensor | None = None
    refined: int = 0


def emit(
    emitter: Emitter,
    operation: Operation,
    a: Tensor,
    no: Tensor | None,
    query: Query | None = None,
    *,
    looking: bool,
) -> Done:
    """Have kernels do what an emitter describes.

    :param emitter: which covers operation and matrices
    :param a: [num_items, num_subcarriers, m, n]
    :param no: noise power, [num_items] or [num_items, num_subcarriers], or None for zero
    :param query: results that stand in the place of exact ones where they are proven
    :param looking: whether results are looked at; else they are taken as they are
    """
    amplification = emitter.emit(operation, a, no, query)
    left = doubtful(amplification)
    if not looking or not bool(left.any()):
        return Done(amplification)
    done = compute(emitter, operation, a, no, left)
    return done._replace(amplification=amplification)


def compute(
    emitter: Emitter, operation: Operation, a: Tensor, no: Tensor | None, chosen: Tensor
) -> Done:
    """Have kernels compute single matrices in double precision; of the others nothing is written.

    Those of which double precision shows in single precision, too, are left.

    :param emitter: as for :func:`emit`, likewise ``operation``, ``a`` and ``no``
    :param chosen: which matrices, [num_items, num_subcarriers] bool

    :return: an amplification of zero for all others
    """
    amplification = a.real.new_zeros(chosen.shape)
    if a.dtype == torch.complex128:
        return Done(amplification, chosen)
    still = chosen.clone()
    for number in chosen.any(-1).nonzero()[:, 0].tolist():
        places = chosen[number].nonzero()[:, 0]
        # Matrices of one item serve any batch.
        item = slice(None) if len(chosen) == 1 else slice(number, number + 1)
        there = emitter.at(item, places)
        # Subcarriers last, as kernels read them.
        some = a[number].permute(1, 2, 0).index_select(-1, places)
        matrices = wide(some).permute(2, 0, 1)[None]
        found = there.emit(operation, matrices, _noise_at(no, number, places))[0]
        fine = ~shown(found)
        emitter.take(there, item, places, fine)
        still[number, places] = ~fine
        amplification[number, places] = found.to(amplification)
    refined = int(chosen.sum()) - int(still.sum())
    return Done(amplification, still if bool(still.any()) else None, refined)


def _noise_at(no: Tensor | None, number: int, places: Tensor) -> Tensor | None:
    """The noise power of an item's matrices, [1] or [1, num_places]."""
    if no is None:
        return None
    own = wide(no if len(no) == 1 else no[number : number + 1])
    return own if own.dim() == 1 or own.shape[1] == 1 else own[:, places]
