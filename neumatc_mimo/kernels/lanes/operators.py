"""The kernels as PyTorch operators: what they read, what they write, and shapes for a trace.

They have no derivatives: what is differentiated is computed by PyTorch,
:func:`~neumatc_mimo.kernels.lanes.coverage.covers` tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.library import Library, SourceKind, loaded

# As in ``native/call.h``.
_PRECODE, _RECEIVE = 0, 1


@torch.library.custom_op(
    "neumatc::precode_in_lanes", mutates_args=("out", "effective"), device_types="cpu"
)
def precode(
    source: int,
    h: Tensor,
    noise: Tensor | None,
    x: Tensor,
    out: Tensor,
    symbols: Sequence[int],
    chirp: Tensor,
    iterations: int,
    effective: Tensor | None,
) -> Tensor:
    """Precode symbols.

    :param source: of the filters, as in ``native/call.h``
    :param h: [num_items, num_streams, num_antennas, num_subcarriers]
    :param noise: [num_items, num_subcarriers or 1], or None for zero
    :param x: [batch_size, num_streams, num_ofdm_symbols, num_subcarriers]; channels of one item
        serve any batch
    :param out: written, [batch_size, num_antennas, num_ofdm_symbols, num_subcarriers]
    :param symbols: those that are precoded
    :param chirp: [num_antennas], from whose conjugate singular vectors take their phase
    :param iterations: at most
    :param effective: written, the channel times the filters, [num_items, rows of h, num_streams,
        num_subcarriers]; or None

    :return: by how much rounding is amplified, [num_items, num_subcarriers]
    """
    amplification = h.real.new_empty(len(h), h.shape[-1])
    _loaded().run(
        source=source,
        emitter=_PRECODE,
        streams=x.shape[1],
        chirp=chirp,
        iterations=iterations,
        **_effective(effective),
        stretches=1,
        stretch=[0, h.shape[-1], 0],
        **_channel(h, noise, amplification),
        **grids(len(h), x, out, symbols),
    )
    return amplification


@torch.library.custom_op(
    "neumatc::receive_in_lanes", mutates_args=("x_hat", "no_eff"), device_types="cpu"
)
def receive(
    source: int,
    h: Tensor,
    noise: Tensor | None,
    y: Tensor,
    x_hat: Tensor,
    no_eff: Tensor,
    symbols: Sequence[int],
    streams: Sequence[int],
    stretches: Sequence[int],
    chirp: Tensor,
) -> Tensor:
    """Linear estimates of some streams, with gains of one.

    :param source: of the filters, as in ``native/call.h``
    :param h: [num_items, num_streams, num_antennas, num_subcarriers]; for singular vectors
        [num_items, num_antennas, num_tx_antennas, num_subcarriers]
    :param noise: [num_items, num_subcarriers or 1], or None for zero; for singular vectors
        [num_items, num_antennas]
    :param y: [batch_size, num_antennas, num_ofdm_symbols, fft_size]; channels of one item serve
        any batch
    :param x_hat: written, [batch_size, len(streams), num_ofdm_symbols, num_subcarriers]
    :param no_eff: written, effective noise, [num_items, len(streams), num_subcarriers]
    :param symbols: those that are received
    :param streams: that are put out
    :param stretches: first subcarrier, number of subcarriers, and place of the first one in y, of
        each stretch of subcarriers that are neighbours there
    :param chirp: as for :func:`precode`

    :return: by how much rounding is amplified, [num_items, num_subcarriers]
    """
    amplification = h.real.new_empty(len(h), h.shape[-1])
    _loaded().run(
        source=source,
        emitter=_RECEIVE,
        chirp=chirp,
        stretches=len(stretches) // 3,
        stretch=stretches,
        streams=len(streams),
        stream=streams,
        no_eff=no_eff,
        no_eff_item=no_eff.stride(0),
        no_eff_row=no_eff.stride(1),
        **_channel(h, noise, amplification),
        **grids(len(h), y, x_hat, symbols),
    )
    return amplification


@torch.library.custom_op(
    "neumatc::precode_expansion_in_lanes", mutates_args=("out",), device_types="cpu"
)
def precode_expansion(
    columns: Tensor, values: Tensor, rows: Tensor, x: Tensor, out: Tensor
) -> None:
    """Precode symbols with filters that are sums of few rows of a latent tensor.

    :param columns: [num_subcarriers, num_terms] int64, rows that a subcarrier takes
    :param values: [num_subcarriers, num_terms] float32, their weights
    :param rows: [num_items, rank, n] float32, with the filter [num_antennas, num_streams] first in
        a row, complex entries as pairs
    :param x: [num_items, num_streams, num_ofdm_symbols, num_subcarriers] complex64
    :param out: written, [num_items, num_antennas, num_ofdm_symbols, num_subcarriers]
    """
    _loaded().run(
        emitter=_PRECODE,
        streams=x.shape[1],
        **_expansion(columns, values, rows, x.shape[1], out.shape[1]),
        **grids(len(x), x, out, range(x.shape[2])),
    )


@torch.library.custom_op(
    "neumatc::receive_expansion_in_lanes", mutates_args=("out",), device_types="cpu"
)
def receive_expansion(
    columns: Tensor, values: Tensor, rows: Tensor, y: Tensor, out: Tensor
) -> None:
    """Receive symbols with filters that are sums of few rows of a latent tensor.

    :param columns: as for :func:`precode_expansion`
    :param values: likewise
    :param rows: likewise
    :param y: [num_items, num_antennas, num_ofdm_symbols, num_subcarriers] complex64
    :param out: written, [num_items, num_streams, num_ofdm_symbols, num_subcarriers]
    """
    _loaded().run(
        emitter=_RECEIVE,
        streams=out.shape[1],
        stream=range(out.shape[1]),
        **_expansion(columns, values, rows, out.shape[1], y.shape[1]),
        **grids(len(y), y, out, range(y.shape[2])),
    )


@precode.register_fake
def _(source: int, h: Tensor, *others: Any) -> Tensor:
    del source, others
    return h.real.new_empty(len(h), h.shape[-1])


@receive.register_fake
def _(source: int, h: Tensor, *others: Any) -> Tensor:
    del source, others
    return h.real.new_empty(len(h), h.shape[-1])


def _loaded() -> Library:
    found = loaded()
    if found is None:
        raise RuntimeError("The kernels of subcarriers in lanes are missing.")
    return found


def _channel(h: Tensor, noise: Tensor | None, amplification: Tensor) -> dict[str, Any]:
    """Fields of a call that tell of the channel."""
    values = {
        "wide": int(h.dtype == torch.complex128),
        "rows": h.shape[1],
        "columns": h.shape[2],
        "items": len(h),
        "h": h,
        "h_item": h.stride(0),
        "h_row": h.stride(1),
        "h_column": h.stride(2),
        "amplification": amplification,
        "amplification_item": amplification.stride(0),
    }
    if noise is None:
        return values
    step = noise.stride(1) if noise.shape[1] > 1 else 0
    return values | {"noise": noise, "noise_item": noise.stride(0), "noise_step": step}


def _expansion(
    columns: Tensor, values: Tensor, rows: Tensor, num_streams: int, num_antennas: int
) -> dict[str, Any]:
    """Fields of a call that tell of an expansion."""
    return {
        "source": SourceKind.EXPANSION,
        "rows": num_streams,
        "columns": num_antennas,
        "items": len(rows),
        "h": rows,
        "h_item": rows.stride(0),
        "h_row": rows.stride(1),
        "functions": rows.shape[1],
        "terms": columns.shape[1],
        "term": columns,
        "weight": values,
        "stretches": 1,
        "stretch": [0, len(columns), 0],
    }


def _effective(effective: Tensor | None) -> dict[str, Any]:
    """Fields of a call that tell where an effective channel is written."""
    if effective is None:
        return {}
    item, row, stream, _ = effective.stride()
    return {
        "effective": effective,
        "effective_item": item,
        "effective_row": row,
        "effective_stream": stream,
    }


def grids(num_items: int, read: Tensor, out: Tensor, symbols: Sequence[int]) -> dict[str, Any]:
    """Fields of a call that tell of the resource grids, [batch_size, rows, symbols, ...]."""
    values: dict[str, Any] = {"symbols": len(symbols)}
    for name, grid in (("read", read), ("out", out)):
        item, row, symbol, _ = grid.stride()
        places = [symbol * number for number in symbols]
        if num_items < len(grid):
            # One channel for all items: their symbols are its own.
            places = [item * number + place for number in range(len(grid)) for place in places]
            values["symbols"] = len(places)
        values |= {name: grid, f"{name}_item": item, f"{name}_row": row}
        values[f"{name}_symbol"] = places
    return values
