"""What blocks compute as operators of PyTorch, with rules for shapes and derivatives.

An operator decides on data as a block always does, and is one node of a graph nevertheless:

- In a compiled function on a CPU a block is one operator, whatever it recognises, compares and
  computes again.
- Where a graph of derivatives is recorded, kernels compute the results, which know none. The
  backward pass computes them again with PyTorch and takes the derivatives of that.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from neumatc_mimo.blocks.inputs import Inputs, ResultKind, by_trust
from neumatc_mimo.foundation.block_settings import BlockSettings
from neumatc_mimo.tensors.recording import as_outside


class Computing(Protocol):
    """A block as its operators see it."""

    _handle: Tensor
    _inputs: type[Inputs]
    _settings: BlockSettings

    def _results(self, inputs: Any) -> Any: ...

    def _kinds(self, inputs: Any) -> list[ResultKind]: ...


class NoKernelError(Exception):
    """Only kernels may be used, and there are none for a call."""


# Blocks by the numbers that operators know them by.
_blocks: weakref.WeakValueDictionary[int, Computing] = weakref.WeakValueDictionary()
_numbers = itertools.count()

# The shape of a result that is not there; PyTorch takes an empty list for one of tensors.
_NONE = [0]

_alone: ContextVar[bool] = ContextVar("alone", default=False)
_again: ContextVar[bool] = ContextVar("again", default=False)


def handle_of(block: Computing) -> Tensor:
    """A new handle of a block, by which operators find it as long as it lives.

    :return: a number, as a tensor: a graph takes it as it takes data, and serves blocks that are
        alike
    """
    number = next(_numbers)
    _blocks[number] = block
    return torch.tensor(number)


def kernels_alone() -> bool:
    """Whether what runs is to be left, by :class:`NoKernelError`, where PyTorch would compute it.

    Its derivatives are then better recorded at once than computed from it again.
    """
    return _alone.get()


def computed_again() -> bool:
    """Whether what runs was computed before, and counted."""
    return _again.get()


def as_operator(block: Computing, inputs: Inputs, *, alone: bool) -> Any:
    """What a block's ``_results`` makes of its inputs, as one operator.

    :param alone: whether to leave it, by :class:`NoKernelError`, where kernels do not cover it
    """
    results = compute(*arguments(block, inputs, alone=alone))
    return results[0] if len(results) == 1 else tuple(results)


def arguments(block: Computing, inputs: Inputs, *, alone: bool) -> tuple[Any, ...]:
    """Arguments of :func:`compute`."""
    given, (first, *others) = inputs.tensors(), block._kinds(inputs)
    second = list(others[0].shape) if others else _NONE
    real = [not kind.dtype.is_complex for kind in (first, *others)]
    names, tensors = ",".join(given), list(given.values())
    return block._handle, names, tensors, inputs.symbols, list(first.shape), second, real, alone


@torch.library.custom_op("neumatc::block", mutates_args=(), device_types="cpu")
def compute(
    handle: Tensor,
    names: str,
    given: Sequence[Tensor],
    symbols: str,
    first: Sequence[int],
    second: Sequence[int],
    real: Sequence[bool],
    alone: bool,
) -> list[Tensor]:
    """Results of a block.

    :param handle: of the block
    :param names: of its inputs' tensors, with commas between
    :param given: these tensors
    :param symbols: the name of those that the first result alone depends on
    :param first: shape of the first result
    :param second: of the second one, [0] where there is none
    :param real: whether each of them is real
    :param alone: whether kernels alone are to compute it

    :return: as many tensors as the block returns, each contiguous
    """
    del symbols, first, second, real
    # A solver may be one that is trained in the call.
    with as_outside(), torch.enable_grad(), _set(_alone, alone):
        own = [tensor.detach() for tensor in given]
        return [result.detach() for result in _results(_found(handle), names, own)]


@torch.library.custom_op("neumatc::block_backward", mutates_args=(), device_types="cpu")
def backward(
    handle: Tensor,
    names: str,
    given: Sequence[Tensor],
    wanted: Sequence[bool],
    behind: Sequence[Tensor],
) -> list[Tensor]:
    """Gradients with respect to inputs of a block, from those with respect to its results.

    :param handle: of the block
    :param names: as for :func:`compute`
    :param given: likewise
    :param wanted: for which of the given tensors
    :param behind: gradients with respect to the results

    :return: gradients of those that are wanted, in their order
    """
    with as_outside(), torch.no_grad():
        own = [
            tensor.detach().requires_grad_(want) for tensor, want in zip(given, wanted, strict=True)
        ]
        found = _gradients(_found(handle), names, own, wanted, behind)
    return [gradient.resolve_conj().contiguous() for gradient in found if gradient is not None]


@compute.register_fake
def _(
    handle: Tensor,
    names: str,
    given: Sequence[Tensor],
    symbols: str,
    first: Sequence[int],
    second: Sequence[int],
    real: Sequence[bool],
    alone: bool,
) -> list[Tensor]:
    del handle, names, symbols, alone
    like = next(tensor for tensor in given if tensor.is_complex())
    # Without a second result there is nothing that tells of it.
    return [
        like.new_empty(shape, dtype=like.dtype.to_real() if one_is_real else like.dtype)
        for shape, one_is_real in zip((first, second), real, strict=False)
    ]


@backward.register_fake
def _(handle: Any, names: str, given: Sequence[Tensor], wanted: Sequence[bool], behind: Any) -> Any:
    del handle, names, behind
    return [
        torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for tensor, want in zip(given, wanted, strict=True)
        if want
    ]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    handle, ctx.names, given, symbols, *_ = inputs
    ctx.save_for_backward(handle, *given)
    # The block lives as long as the graph; a trace has no number of it.
    ctx.block = _found(handle) if type(handle) is Tensor else None
    differentiated = {
        name
        for name, tensor in zip(ctx.names.split(","), given, strict=True)
        if tensor.requires_grad
    }
    if differentiated <= {symbols}:
        ctx.mark_non_differentiable(*output[1:])


def _derive(ctx: Any, behind: list[Tensor]) -> Any:
    _, _, wanted, *others = ctx.needs_input_grad
    handle, *given = ctx.saved_tensors
    if ctx.block is not None:
        found = _gradients(ctx.block, ctx.names, given, wanted, behind)
    else:
        # The backward pass of a trace is one operator, too.
        some = iter(backward(handle, ctx.names, given, wanted, behind))
        found = [next(some) if want else None for want in wanted]
    return None, None, found, *(None for _ in others)


compute.register_autograd(_derive, setup_context=_keep)


def _one_by_one(operator: Any, info: Any, in_dims: tuple[Any, ...], *given: Any) -> Any:
    """An operator mapped by ``torch.vmap``, of which each call decides on its own data."""
    found = [
        operator(*(_picked(value, dims, i) for value, dims in zip(given, in_dims, strict=True)))
        for i in range(info.batch_size)
    ]
    return [torch.stack(parts) for parts in zip(*found, strict=True)], [0] * len(found[0])


def _picked(value: Any, dims: Any, i: int) -> Any:
    """An argument of the i-th call.

    :param dims: along which it is mapped, one for each tensor of a list; None where it is not
    """
    if isinstance(value, list | tuple):
        each = dims if isinstance(dims, list | tuple) else [dims] * len(value)
        return [_picked(*pair, i) for pair in zip(value, each, strict=True)]
    return value if dims is None else value.select(dims, i)


for _operator in (compute, backward):
    _operator.register_vmap(partial(_one_by_one, _operator))


def _gradients(
    block: Computing,
    names: str,
    given: Sequence[Tensor],
    wanted: Sequence[bool],
    behind: Sequence[Tensor],
) -> list[Tensor | None]:
    """Gradients with respect to the given tensors, None for those that are not wanted.

    Where gradients are enabled, they can be differentiated in turn.
    """
    twice = torch.is_grad_enabled()
    with torch.enable_grad(), _set(_again, True):
        # Views: one of the tensors may be computed from another.
        own = [t.view_as(t) if want else t for t, want in zip(given, wanted, strict=True)]
        results = zip(_results(block, names, own), behind, strict=True)
        used = [(result, weight) for result, weight in results if result.requires_grad]
        asked = [tensor for tensor, want in zip(own, wanted, strict=True) if want]
        found = iter(
            torch.autograd.grad(
                [result for result, _ in used],
                asked,
                [weight for _, weight in used],
                create_graph=twice,
                allow_unused=True,
                materialize_grads=True,
            )
        )
    return [next(found) if want else None for want in wanted]


def _results(block: Computing, names: str, given: Sequence[Tensor]) -> list[Tensor]:
    """What a block computes of its inputs' tensors."""
    inputs = block._inputs.of_tensors(dict(zip(names.split(","), given, strict=True)))
    results = by_trust(block._results, inputs, block._settings.trust)
    results = results if isinstance(results, tuple) else (results,)
    return [
        # What is equal for all symbols may have been found to be one.
        result.expand(kind.shape).contiguous()
        for result, kind in zip(results, block._kinds(inputs), strict=True)
    ]


def _found(handle: Tensor) -> Computing:
    block = _blocks.get(int(handle))
    if block is None:
        raise RuntimeError(
            "The block of a compiled function was deleted: keep it as long as the function."
        )
    return block


@contextmanager
def _set(variable: ContextVar[bool], value: bool) -> Iterator[None]:
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)
