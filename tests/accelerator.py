"""A device that counts as an accelerator and computes on the CPU.

No GPU is needed to find out what a GPU would refuse or wait for. Tensors of the device say that
they are not on the CPU, and hold a CPU tensor that does their work. Each operation on them checks,
as CUDA does, that no tensor of another device is mixed in, and tells of each time that a GPU would
have to be waited for:

- a *read*: the host needs a value, or a size that depends on values, before it can go on;
- an *upload*: memory of the host is copied to the device, which waits for the device, too.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from sionna.phy import config
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves, tree_map

from neumatc_mimo.tensors import device as device_module

NAME = "accel"
DEVICE = f"{NAME}:0"
_ROOT = Path(__file__).parents[1]
_aten = torch.ops.aten

# The host waits for these whatever their arguments are: it allocates a result whose size depends on
# values, returns a number, or looks at whether a decomposition converged.
_READS = {
    _aten._local_scalar_dense,
    _aten.nonzero,
    _aten.masked_select,
    _aten.equal,
    _aten._unique2,
    _aten.unique_dim,
    _aten.unique_consecutive,
    _aten.bincount,
    _aten._linalg_check_errors,
    _aten._linalg_svd,
    _aten._linalg_eigh,
    _aten.linalg_eig,
    _aten.linalg_lstsq,
}
_COPIES = {_aten.copy_, _aten.copy, _aten._to_copy}
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}
# The fallback does not serve the first. The others would make an empty tensor, and resize it.
_REGISTERED = [
    _aten.copy_.default,
    _aten.arange.default,
    _aten.arange.start,
    _aten.arange.start_step,
    _aten.eye.default,
    _aten.eye.m,
    _aten.linspace.default,
    _aten.logspace.default,
    _aten.randperm.default,
    _aten.randperm.generator,
]
# What CUDA takes a number for in the memory of the host, beside operations on single entries.
_TAKES_NUMBERS = {_aten.fill_, _aten.fill, _aten.masked_fill, _aten.masked_fill_, _aten.where}


@dataclass
class Waits:
    """How often the host would have waited for the device.

    :param reads: places in the package and their operations, by number
    :param uploads: likewise
    :param operations: operations on the device
    """

    reads: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    operations: int = 0

    @property
    def num_reads(self) -> int:
        """All reads."""
        return self.reads.total()

    @property
    def num_uploads(self) -> int:
        """All uploads."""
        return self.uploads.total()


class AcceleratorTensor(Tensor):
    """A tensor of the device.

    :param host: the tensor that does the work
    """

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> AcceleratorTensor:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=torch.device(DEVICE),
        )
        made.host = host
        if host.is_conj():
            torch._C._set_conj(made, True)
        if host.is_neg():
            torch._C._set_neg(made, True)
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        del types
        return _run(func, args, kwargs or {})

    def untyped_storage(self) -> torch.UntypedStorage:
        """That of the tensor that does the work."""
        return self.host.untyped_storage()

    def tolist(self) -> Any:
        """As numbers: PyTorch's own has no way with such tensors."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """An array, of a copy where the caller asks for that."""
        if not force:
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy.")
        return self.detach().cpu().numpy(force=True)

    def __repr__(self, **kwargs: Any) -> str:
        del kwargs
        return f"AcceleratorTensor({self.host!r})"


_is_present = [False]
_watched: list[Waits] = []
_mixed_in_derivatives: list[RuntimeError] = []
_library: list[Any] = []


def register() -> None:
    """Tell PyTorch of the device, which it then knows for the rest of the process."""
    if _library:
        return
    from torch.utils import backend_registration

    # Both are there only while a test asks for them: PyTorch's profiler, say, waits for any device.
    class Module(backend_registration._DummyBackendModule):  # type: ignore[misc]
        def is_available(self) -> bool:
            return _is_present[0]

        def device_count(self) -> int:
            return int(_is_present[0])

    class Hook(torch._C._acc.PrivateUse1Hooks):  # type: ignore[misc]
        def is_available(self) -> bool:
            return _is_present[0]

        def has_primary_context(self, device: int) -> bool:
            return _is_present[0]

        def is_built(self) -> bool:
            return True

    backend_registration._setup_privateuseone_for_python_backend(NAME, Module(), Hook())
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "PrivateUse1")
    of_aten = torch.library.Library("aten", "IMPL")
    for func in _REGISTERED:
        of_aten.impl(func, partial(_called, func), "PrivateUse1")
    _library.extend((library, of_aten))


def _called(func: Any, *args: Any, **kwargs: Any) -> Any:
    return _run(func, args, kwargs)


class _Generator(torch.Generator):
    """Random numbers of the device are drawn on the CPU."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        there = torch.device(device).type == NAME
        return super().__new__(cls, "cpu" if there else device)


@contextmanager
def present() -> Iterator[str]:
    """The device is one that the package, Sionna and PyTorch's generators know.

    Derivatives are computed in the thread that asks for them: PyTorch's own threads are started
    for the devices of the first derivative of a process.

    :raises RuntimeError: at its end, if a derivative had tensors of several devices
    """
    register()
    kinds = (*device_module._KINDS, NAME)
    devices = property(lambda _: ["cpu", DEVICE])
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(device_module, "_KINDS", kinds))
        patches.enter_context(mock.patch.object(torch, "Generator", _Generator))
        patches.enter_context(mock.patch.object(type(config), "available_devices", devices))
        patches.enter_context(
            mock.patch.dict(config._torch_rngs, {DEVICE: _Generator(DEVICE).manual_seed(1)})
        )
        patches.enter_context(torch.autograd.set_multithreading_enabled(False))
        _mixed_in_derivatives.clear()
        _is_present[0] = True
        patches.callback(_is_present.__setitem__, 0, False)
        yield DEVICE
        if _mixed_in_derivatives:
            raise _mixed_in_derivatives[0]


@contextmanager
def watched() -> Iterator[Waits]:
    """What the host waits for within the context."""
    waits = Waits()
    _watched.append(waits)
    try:
        yield waits
    finally:
        _watched.remove(waits)


def to_host(value: Any) -> Any:
    """A tensor, or several, on the CPU; waits for nothing."""
    return tree_map(lambda v: v.host.detach() if isinstance(v, AcceleratorTensor) else v, value)


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Compute on the CPU what the device is asked for."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    here = [tensor for tensor in tensors if isinstance(tensor, AcceleratorTensor)]
    wanted = kwargs.get("device")
    on_device = bool(here) if wanted is None else torch.device(wanted).type == NAME
    _check(func, args, tensors)
    _tell(func, args, kwargs, on_device)
    given: Any = tree_map(_unwrapped, (list(args), dict(kwargs)))
    if wanted is not None:
        given[1]["device"] = torch.device("cpu")
    given[1].pop("pin_memory", None)
    found = func(*given[0], **given[1])
    written = _written(func, args, kwargs)
    if torch.Tag.inplace_view in func.tags:
        # The shape of the tensor itself, beside that of the one that does the work.
        with no_dispatch():
            func(*args, **kwargs)
    for tensor in written:
        if isinstance(tensor, AcceleratorTensor) and tensor.shape != tensor.host.shape:
            raise NotImplementedError(f"{func} changes the shape of a tensor of {DEVICE}.")
    if written and len(func._schema.returns) == len(written):
        return written[0] if len(written) == 1 else tuple(written)
    return tree_map(_wrapped, found) if on_device else found


def _unwrapped(value: Any) -> Any:
    return value.host if isinstance(value, AcceleratorTensor) else value


def _wrapped(value: Any) -> Any:
    return AcceleratorTensor(value) if isinstance(value, Tensor) else value


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that an operation writes to."""
    found = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found.append(args[number] if number < len(args) else kwargs[argument.name])
    return found


def _check(func: Any, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    """Refuse what CUDA refuses: tensors of several devices in one operation."""
    packet = func.overloadpacket
    strange = [tensor for tensor in tensors if not isinstance(tensor, AcceleratorTensor)]
    if not strange or len(strange) == len(tensors) or packet in _COPIES:
        return
    if torch.Tag.pointwise in func.tags or packet in _TAKES_NUMBERS:
        strange = [tensor for tensor in strange if tensor.dim()]
    elif packet in _INDEXING and isinstance(args[0], AcceleratorTensor):
        # Indices may be on the host, from where they are copied, and so may a number.
        values = [v for v in args[2:3] if isinstance(v, Tensor) and v.dim()]
        strange = [tensor for tensor in values if not isinstance(tensor, AcceleratorTensor)]
    if strange:
        mixed = RuntimeError(
            f"Expected all tensors to be on the same device, but {func} got tensors of {DEVICE} "
            f"and of {strange[0].device}, the latter {list(strange[0].shape)}."
        )
        if torch._C._current_graph_task_id() == -1:
            raise mixed
        # PyTorch ends the process where a Python device raises within a derivative.
        _mixed_in_derivatives.append(mixed)


def _tell(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], on_device: bool) -> None:
    """Count an operation, and what is waited for."""
    if not _watched:
        return
    packet = func.overloadpacket
    reads = packet in _READS or bool(kwargs.get("check_errors"))
    uploads = False
    if packet in _COPIES:
        # A copy that need not be waited for asks for memory that is pinned.
        to_device, from_device = on_device, isinstance(args[0], AcceleratorTensor)
        if packet is not _aten._to_copy:
            to_device, from_device = from_device, isinstance(args[1], AcceleratorTensor)
        waits = not kwargs.get("non_blocking") and not (len(args) > 2 and args[2])
        reads |= from_device and not to_device
        uploads |= to_device and not from_device and waits
    elif packet in _INDEXING:
        indices = [index for index in args[1] if index is not None]
        reads |= any(i.dtype in (torch.bool, torch.uint8) for i in indices)
        uploads |= any(not isinstance(i, AcceleratorTensor) for i in indices)
        value = args[2] if len(args) > 2 else None
        uploads |= isinstance(value, Tensor) and not isinstance(value, AcceleratorTensor)
    elif packet is _aten.repeat_interleave:
        reads |= kwargs.get("output_size") is None
    for waited in _watched:
        waited.operations += 1
        if reads or uploads:
            where = f"{_place()} {packet.__name__}"
            waited.reads[where] += reads
            waited.uploads[where] += uploads


def _place() -> str:
    """The line of the repository's own code that is being run, but for tests."""
    frame: Any = sys._getframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path != Path(__file__) and path.is_relative_to(_ROOT):
            return f"{path.relative_to(_ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


Call = Callable[[], Any]
