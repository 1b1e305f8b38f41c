"""What blocks refuse of the tensors that they are called with."""

from __future__ import annotations

import cmath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from sionna.phy.mimo import StreamManagement
from torch import Tensor

from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced


def check_shape(name: str, tensor: Tensor, shape: Sequence[int | None]) -> None:
    """Refuse a tensor of another shape; None stands for any size."""
    sizes = list(tensor.shape)
    if len(sizes) != len(shape) or any(
        wanted is not None and size != wanted for size, wanted in zip(sizes, shape, strict=True)
    ):
        wanted_text = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has the shape {sizes}, [{wanted_text}] is needed.")


def as_complex(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A resource grid or channel of a complex dtype, real ones included."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is {type(tensor).__name__}, a tensor is needed.")
    tensor = tensor.to(dtype)
    return tensor.contiguous() if _has_gradients_apart(tensor) else tensor


def _has_gradients_apart(tensor: Tensor) -> bool:
    """Whether a view that repeats one OFDM symbol is to get a gradient at each symbol: where its
    own is asked for, not that of what it repeats.
    """
    if is_traced() or tensor.dim() < 2 or tensor.stride(-2) != 0:
        return False
    return is_differentiated(tensor) and (tensor.is_leaf or tensor.retains_grad)


def check_links(links: Tensor, batch_sizes: Sequence[int], num: int, device: str) -> Tensor:
    """Links of each item's transmitters or receivers, [batch_size, num], from theirs or the item's
    own.

    :param batch_sizes: the ones that links may have, the usual one first
    """
    links = torch.as_tensor(links, device=device)
    if links.is_floating_point() or links.is_complex() or links.dtype == torch.bool:
        raise TypeError(f"links is {links.dtype}, integer link indices are needed.")
    first = links.shape[0] if links.dim() else 0
    batch_size = first if first in batch_sizes else batch_sizes[0]
    if links.shape == (batch_size,):
        links = links[:, None].expand(-1, num)
    check_shape("links", links, (batch_size, num))
    if not is_traced() and bool((links < -1).any()):
        raise ValueError(
            f"links has the entry {int(links.min())}, an index or -1 for unknown is needed."
        )
    return links.to(torch.int64)


def check_antennas(num_streams: int, num_antennas: int, whose: str, advice: str = "") -> None:
    """Refuse more streams than a transmitter or receiver has antennas."""
    if num_streams > num_antennas:
        raise ValueError(
            f"{num_streams} streams are more than the {num_antennas} antennas of {whose}{advice}."
        )


def check_finite(a: Tensor, total: Tensor) -> None:
    """Refuse a channel with NaN or infinite entries where a total derived from it shows it.

    A singular but finite channel gives NaN at its subcarriers only, as in Sionna.
    """
    if not cmath.isfinite(total.item()) and not bool(torch.isfinite(a).all()):
        raise ValueError("The channel has NaN or infinite entries, finite ones are needed.")


@contextmanager
def finite(a: Tensor) -> Iterator[None]:
    """Tell of a channel that is not finite, on which decompositions on a CPU fail."""
    try:
        yield
    except RuntimeError:
        check_finite(a, a.new_full((), torch.nan))
        raise


def partners(stream_management: StreamManagement) -> tuple[list[int], list[int]]:
    """The one receiver of each transmitter, and the one transmitter of each receiver.

    :raises ValueError: if a transmitter serves several receivers, or the other way round
    """
    association = torch.as_tensor(stream_management.rx_tx_association)
    num_rx, num_tx = association.shape
    if num_rx != num_tx or bool((association.sum(0) != 1).any() | (association.sum(1) != 1).any()):
        raise ValueError(
            f"stream_management has {num_tx} transmitters and {num_rx} receivers, SVD "
            "transmission needs one receiver for each transmitter."
        )
    return association.argmax(0).tolist(), association.argmax(1).tolist()
