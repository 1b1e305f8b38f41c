"""Programs on complex numbers as programs on real ones: ONNX has no complex arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node
from torch.utils._pytree import tree_any, tree_map

aten = torch.ops.aten


class Pair(NamedTuple):
    """Real and imaginary part of a complex tensor."""

    real: Tensor
    imag: Tensor


class RealModule(nn.Module):
    """What an exported program computes, with real tensors alone.

    Complex results become real ones with a last dimension of two, real and imaginary parts.

    :param program: takes real tensors, and holds none that are complex
    """

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self.program = program.module()
        self.training = False

    def train(self, mode: bool = True) -> RealModule:
        """Nothing: a program has no modes, and refuses to be asked."""
        return self

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The results for the program's inputs.

        :raises NotImplementedError: if there is no rule for an operator on complex numbers
        """
        assert isinstance(self.program, GraphModule)
        results = _RealInterpreter(self.program).run(*inputs)
        return tuple(torch.stack(r, -1) if isinstance(r, Pair) else r for r in results)


class _RealInterpreter(Interpreter):
    """Runs a graph of ATen operators with a pair in the place of every complex tensor."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        is_complex = tree_any(_is_pair, (args, kwargs), is_leaf=_is_pair)
        if not is_complex and not _makes_complex(kwargs.get("dtype")):
            rule = _REAL.get(target, target)
            return rule(*args, **kwargs)
        if target in _RULES:
            return _RULES[target](*args, **kwargs)
        if target in _EACH_PART:
            real, imag = (
                tree_map(
                    lambda x, i=i: x[i] if _is_pair(x) else x, (args, kwargs), is_leaf=_is_pair
                )
                for i in range(2)
            )
            return Pair(target(*real[0], **real[1]), target(*imag[0], **imag[1]))
        raise NotImplementedError(
            f"There is no rule for {target} of complex numbers, ONNX has none of its own; export "
            "the program of PyTorch instead."
        )

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        # Checks of the inputs that torch.export adds; the graph that is made anew has its own.
        del target, args, kwargs
        return None

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.is_complex():
            raise NotImplementedError(f"{n} is a complex tensor that the program holds.")
        return result


def _is_pair(value: Any) -> bool:
    return isinstance(value, Pair)


def _makes_complex(dtype: Any) -> bool:
    return isinstance(dtype, torch.dtype) and dtype.is_complex


# Linear maps that treat real and imaginary parts alike.
_EACH_PART = {
    aten.alias.default,
    aten.cat.default,
    aten.clone.default,
    aten.diagonal.default,
    aten.expand.default,
    aten.gather.default,
    aten.index.Tensor,
    aten.neg.default,
    aten.permute.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.sum.dim_IntList,
    aten.transpose.int,
    aten.unsqueeze.default,
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
}


def _pair(value: Any) -> Pair:
    """A complex, a real tensor or a number as a pair; the imaginary part may be a plain zero."""
    if isinstance(value, Pair):
        return value
    if isinstance(value, complex):
        return Pair(value.real, value.imag)  # type: ignore[arg-type]
    return Pair(value, 0.0)  # type: ignore[arg-type]


def _sum(x: Any, y: Any, *, alpha: Any = 1) -> Pair:
    x, y = _pair(x), _pair(y)
    real = x.real + alpha * y.real
    imag = x.imag + alpha * y.imag
    return Pair(real, imag + torch.zeros_like(real))


def _difference(x: Any, y: Any, *, alpha: Any = 1) -> Pair:
    return _sum(x, y, alpha=-alpha)


def _product(multiply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Pair]:
    """The bilinear map of complex numbers from that of real ones."""

    def product(x: Any, y: Any) -> Pair:
        if not isinstance(x, Pair) and not isinstance(x, complex):
            return Pair(multiply(x, y.real), multiply(x, y.imag))
        if not isinstance(y, Pair) and not isinstance(y, complex):
            return Pair(multiply(x.real, y), multiply(x.imag, y))
        return Pair(
            multiply(x.real, y.real) - multiply(x.imag, y.imag),
            multiply(x.real, y.imag) + multiply(x.imag, y.real),
        )

    return product


def _quotient(x: Any, y: Any) -> Pair:
    if not isinstance(y, Pair):
        return Pair(x.real / y, x.imag / y)
    return _product(torch.mul)(x, _reciprocal(y))


def _reciprocal(x: Pair) -> Pair:
    power = x.real.square() + x.imag.square()
    return Pair(x.real / power, -x.imag / power)


def _modulus(x: Pair) -> Tensor:
    return (x.real.square() + x.imag.square()).sqrt()


def _conjugate(x: Pair) -> Pair:
    return Pair(x.real, -x.imag)


def _copied(x: Any, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Any:
    if dtype is None:
        return x
    if not dtype.is_complex:
        return x.real.to(dtype)
    x, part = _pair(x), dtype.to_real()
    real = x.real.to(part)
    return Pair(real, x.imag.to(part) if isinstance(x.imag, Tensor) else torch.zeros_like(real))


def _made(make: Callable[..., Tensor]) -> Callable[..., Pair]:
    """A constructor of real values with a complex dtype."""

    def made(*args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Pair:
        args = tuple(a.real if isinstance(a, Pair) else a for a in args)
        dtype = None if dtype is None else dtype.to_real() if dtype.is_complex else dtype
        real = make(*args, dtype=dtype, **kwargs)
        return Pair(real, torch.zeros_like(real))

    return made


def _number(value: complex, *, dtype: torch.dtype, **kwargs: Any) -> Pair:
    """A complex number as tensors of no dimension."""
    part = dtype.to_real()
    return Pair(
        torch.scalar_tensor(complex(value).real, dtype=part),
        torch.scalar_tensor(complex(value).imag, dtype=part),
    )


def _nothing(*args: Any, **kwargs: Any) -> None:
    """What only checks."""


def _filled(x: Pair, mask: Tensor, value: Any) -> Pair:
    value = _pair(value)
    return Pair(x.real.masked_fill(mask, value.real), x.imag.masked_fill(mask, value.imag))


def _chosen(condition: Tensor, x: Any, y: Any) -> Pair:
    x, y = _pair(x), _pair(y)
    return Pair(torch.where(condition, x.real, y.real), torch.where(condition, x.imag, y.imag))


_RULES: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: _sum,
    aten.sub.Tensor: _difference,
    aten.mul.Tensor: _product(torch.mul),
    aten.mul.Scalar: _product(torch.mul),
    aten.bmm.default: _product(torch.bmm),
    aten.mm.default: _product(torch.mm),
    aten.matmul.default: _product(torch.matmul),
    aten.div.Tensor: _quotient,
    aten.reciprocal.default: _reciprocal,
    aten.abs.default: _modulus,
    aten._conj.default: _conjugate,
    aten._conj_physical.default: _conjugate,
    aten.conj_physical.default: _conjugate,
    aten.view_as_real.default: lambda x: torch.stack(x, -1),
    aten._to_copy.default: _copied,
    aten.full.default: _made(torch.full),
    aten.eye.default: _made(torch.eye),
    aten.eye.m: _made(torch.eye),
    aten.ones_like.default: _made(torch.ones_like),
    aten.zeros_like.default: _made(torch.zeros_like),
    aten.scalar_tensor.default: _number,
    aten._assert_tensor_metadata.default: _nothing,
    aten.masked_fill.Scalar: _filled,
    aten.where.self: _chosen,
    aten.sym_size.int: lambda x, dim: x.real.shape[dim],
}


def _powers(x: Tensor, dim: int, **kwargs: Any) -> Tensor:
    """Cumulative products along a short dimension, which ONNX does not have."""
    product, products = None, []
    for factor in x.unbind(dim):
        product = factor if product is None else product * factor
        products.append(product)
    return torch.stack(products, dim)


# Operators on real numbers: those that make complex ones, that ONNX lacks, or that take a number in
# the place of a tensor where only a graph may hold one.
_REAL: dict[Any, Callable[..., Any]] = {
    aten.complex.default: Pair,
    aten.polar.default: lambda radius, angle: Pair(radius * angle.cos(), radius * angle.sin()),
    aten.view_as_complex.default: lambda x: Pair(x[..., 0], x[..., 1]),
    aten.cumprod.default: _powers,
    # A number less a tensor: as a tensor plus a number.
    aten.sub.Tensor: lambda x, y, alpha=1: x - alpha * y if isinstance(x, Tensor) else -y + x,
    aten.div.Tensor: lambda x, y: x / y,
    aten._assert_tensor_metadata.default: _nothing,
}

__all__ = ["RealModule"]
