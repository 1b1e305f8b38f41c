"""Products of symbols with filters that are evaluated on chip and never written to memory.

For a trunk of local functions the filter of subcarrier f is a sum of few rows of the latent tensor,

.. math:: W_f = \\sum_{j} \\varphi_j(f) \\, C_{c_j(f)},

8 of them for splines of degree 7. Evaluating it as a matrix product writes W, and applying it reads
W again: twice 2 K M numbers a subcarrier, more than the symbols themselves. The kernels keep W in
registers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.kernels.expansion import Expansion
from neumatc_mimo.kernels.lanes import expanded, library
from neumatc_mimo.kernels.on_gpu.installed import has_triton

# Tests run Triton's kernels on a CPU, through its interpreter.
_on_cpu = False


class Replaced(NamedTuple):
    """Filters at some places, a row for each.

    :param item: [num_places] int64
    :param at: subcarriers, [num_places] int64
    :param given: [num_places, num_antennas, num_streams]
    """

    item: Tensor
    at: Tensor
    given: Tensor


class Applied:
    """Products of symbols with filters that are not evaluated yet.

    On a GPU the first product of each shape is the measurement: by a kernel, or by evaluating the
    filters and multiplying, whichever takes less time.

    :param expansion: the filters
    :param filters: evaluates them the other way,
        [num_items, num_subcarriers, num_antennas, num_streams]
    :param replaced: filters that stand in the place of some of these, or None
    """

    def __init__(
        self,
        expansion: Expansion,
        filters: Callable[[], Tensor],
        replaced: Replaced | None = None,
    ) -> None:
        self._expansion, self._filters = expansion, filters
        self._replaced = replaced

    def precode(self, x: Tensor, out: Tensor) -> None:
        """W x for x [num_items, num_streams, num_symbols, num_subcarriers], of any strides, into
        ``out`` [num_items, num_antennas, num_symbols, num_subcarriers].
        """
        if in_lanes(x.device) and (out.shape[-1] == 1 or out.stride(-1) == 1):
            expanded.precode(self._expansion, x, out)
        else:
            out[:] = self._product(x, "precoded", "ifak,iksf->iasf")
        self._replace(x, out, "nak,nks->nas")

    def receive(self, y: Tensor) -> Tensor:
        """y^T W for y [num_items, num_antennas, num_symbols, num_subcarriers], of any strides:
        [num_items, num_streams, num_symbols, num_subcarriers].
        """
        if in_lanes(y.device):
            out = expanded.receive(self._expansion, y)
        else:
            out = self._product(y, "received", "ifak,iasf->iksf")
        self._replace(y, out, "nak,nas->nks")
        return out

    def _product(self, x: Tensor, name: str, equation: str) -> Tensor:
        # Triton takes a while, and may be missing.
        from neumatc_mimo.kernels.on_gpu import expansion as kernels

        kernel = getattr(kernels, name)
        ways: dict[bool, Callable[[], Tensor]] = {
            True: lambda: kernel(self._expansion, x),
            False: lambda: torch.einsum(equation, self._filters(), x),
        }
        # Triton starts kernels on the current device.
        with torch.cuda.device_of(x):
            return ways[_is_faster(kernel, self._expansion, x, ways)]()

    def _replace(self, x: Tensor, out: Tensor, equation: str) -> None:
        """Write what stands in the place of some products."""
        if self._replaced is not None and len(self._replaced.at):
            item, at, given = self._replaced
            out[item, :, :, at] = torch.einsum(equation, given, x[item, :, :, at])


def in_lanes(device: torch.device) -> bool:
    """Whether it is the kernels in C++ that run there, if any do."""
    return device.type == "cpu" and not _on_cpu


_faster: dict[Hashable, bool] = {}


def _is_faster(
    kernel: Any, expansion: Expansion, x: Tensor, ways: dict[bool, Callable[[], Tensor]]
) -> bool:
    """Whether the kernel takes less time than the other way, as measured once a shape."""
    if x.device.type != "cuda":
        return True  # asked for: Triton's interpreter
    key = (kernel, x.device, x.shape, x.stride(), expansion.num_antennas, expansion.num_streams)
    if key not in _faster:
        times = {}
        for way, product in ways.items():
            product()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(3):
                product()
            end.record()
            end.synchronize()
            times[way] = begin.elapsed_time(end)
        _faster[key] = times[True] < times[False]
    return _faster[key]


def available(device: torch.device) -> bool:
    """Whether the kernels run there: on a GPU those of Triton, where it is installed, on a CPU
    those in C++, where they are.
    """
    if in_lanes(device):
        return library.loaded() is not None
    return (device.type == "cuda" or _on_cpu) and has_triton()
