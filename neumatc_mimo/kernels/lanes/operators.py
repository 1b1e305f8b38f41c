"""The kernels as PyTorch operators: what they read, what they write, and shapes for a trace.

They have no derivatives and write into what they are given; blocks are operators that have some,
``neumatc_mimo/blocks/operators.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neumatc_mimo.kernels.lanes.library import Library, SourceKind, loaded

# As in ``native/call.h``.
PRECODE, RECEIVE = 0, 1


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
    antennas: int,
    effective: Tensor | None,
    query: Sequence[Tensor],
    bounds: Sequence[float],
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
    :param antennas: of each user
    :param effective: written, the channel times the filters, [num_items, rows of h, num_streams,
        num_subcarriers]; or None
    :param query: what is proven, if anything is, as
        :func:`~neumatc_mimo.kernels.lanes.proven.parts_of` gives it
    :param bounds: of the proofs, likewise

    :return: by how much rounding is amplified, [num_items, num_subcarriers]; zero where a query is
        proven
    """
    amplification = h.real.new_empty(len(h), h.shape[-1])
    _loaded().run(
        source=source,
        emitter=PRECODE,
        streams=x.shape[1],
        chirp=chirp,
        iterations=iterations,
        antennas=antennas,
        **_effective(effective),
        **along_stretches([0, h.shape[-1], 0]),
        **_query(query, bounds),
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
    whitening: Tensor | None,
    y: Tensor,
    x_hat: Tensor,
    no_eff: Tensor,
    symbols: Sequence[int],
    streams: Sequence[int],
    stretches: Sequence[int],
    chirp: Tensor,
    query: Sequence[Tensor],
    bounds: Sequence[float],
) -> Tensor:
    """Linear estimates of some streams, with gains of one.

    :param source: of the filters, as in ``native/call.h``
    :param h: [num_items, num_streams, num_antennas, num_subcarriers]; for singular vectors
        [num_items, num_antennas, num_tx_antennas, num_subcarriers]
    :param noise: [num_items, num_subcarriers or 1], or None for zero; for singular vectors
        [num_items, num_antennas]
    :param whitening: factors of the channel and of y, [num_items, num_antennas, num_subcarriers or
        1], or None for ones
    :param y: [batch_size, num_antennas, num_ofdm_symbols, fft_size]; channels of one item serve
        any batch
    :param x_hat: written, [batch_size, len(streams), num_ofdm_symbols, num_subcarriers]
    :param no_eff: written, effective noise, [num_items, len(streams), num_subcarriers]
    :param symbols: those that are received
    :param streams: that are put out
    :param stretches: first subcarrier, number of subcarriers, and place of the first one in y, of
        each stretch of subcarriers that are neighbours there
    :param chirp: as for :func:`precode`
    :param query: likewise
    :param bounds: likewise

    :return: as of :func:`precode`
    """
    amplification = h.real.new_empty(len(h), h.shape[-1])
    _loaded().run(
        source=source,
        emitter=RECEIVE,
        chirp=chirp,
        **receiving(streams, stretches),
        **noise_behind(no_eff),
        **_whitening(whitening),
        **_query(query, bounds),
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

    :param columns: [num_subcarriers, num_terms] int64, consecutive rows that a subcarrier takes, or
        [num_items, num_subcarriers, num_terms] where items take other ones
    :param values: float32, their weights, likewise, or of each item
    :param rows: [num_items, rank, n] float32, with the filter [num_antennas, num_streams] first in
        a row, complex entries as pairs
    :param x: [num_items, num_streams, num_ofdm_symbols, num_subcarriers] complex64
    :param out: written, [num_items, num_antennas, num_ofdm_symbols, num_subcarriers]
    """
    _loaded().run(
        emitter=PRECODE,
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
        emitter=RECEIVE,
        streams=out.shape[1],
        stream=range(out.shape[1]),
        **_expansion(columns, values, rows, out.shape[1], y.shape[1]),
        **grids(len(y), y, out, range(y.shape[2])),
    )


@precode.register_fake
def _(source: int, h: Tensor, *others: Any) -> Tensor:
    del source, others
    return h.real.new_empty(len(h), h.shape[-1])


@torch.library.custom_op("neumatc::detect_in_lanes", mutates_args=("llr",), device_types="cpu")
def detect(
    source: int,
    h: Tensor,
    noise: Tensor | None,
    whitening: Tensor | None,
    y: Tensor,
    llr: Tensor,
    symbols: Sequence[int],
    streams: Sequence[int],
    stretches: Sequence[int],
    rows: Sequence[int],
    run_at: Tensor,
    run: Tensor,
    levels: Tensor,
    method: str,
    hard_out: bool,
    query: Sequence[Tensor],
    bounds: Sequence[float],
) -> Tensor:
    """Bits of linear estimates of some streams, with gains of one.

    :param source: as for :func:`receive`, likewise all to ``stretches``
    :param llr: written, [batch_size, num_rows, num_data_symbols * bits of a symbol]
    :param rows: of the streams that are put out
    :param run_at: [num_rows * num_ofdm_symbols + 1] int64, where the runs of a row and a symbol
        begin
    :param run: [num_runs, 3] int64, subcarriers with data that are neighbours: the first one, how
        many, and which data symbol the first one has
    :param levels: as for :func:`demap`, likewise ``method`` and ``hard_out``
    :param query: as for :func:`precode`, likewise ``bounds``

    :return: as of :func:`precode`
    """
    amplification = h.real.new_empty(len(h), h.shape[-1])
    qam = (levels, method, hard_out)
    _loaded().run(
        source=source,
        emitter=RECEIVE,
        **receiving(streams, stretches),
        **writing_bits(len(h), len(y), llr, symbols, rows, run_at, run, *qam),
        **_whitening(whitening),
        **_query(query, bounds),
        **_channel(h, noise, amplification),
        **reading(len(h), y, symbols),
    )
    return amplification


@torch.library.custom_op("neumatc::demap_in_lanes", mutates_args=("llr",), device_types="cpu")
def demap(y: Tensor, no: Tensor, levels: Tensor, method: str, hard_out: bool, llr: Tensor) -> None:
    """Log-likelihood ratios of the bits of square QAM, or decisions.

    :param y: [num_symbols]
    :param no: noise variance, [num_symbols or 1]
    :param levels: of the real and of the imaginary axis, [2, 2**bits of an axis]
    :param method: "app" or "maxlog"
    :param llr: written, [num_symbols * bits of a symbol]
    """
    _loaded().demap(
        wide=int(y.dtype == torch.complex128),
        number=len(y),
        y=y,
        no=no,
        no_step=int(len(no) > 1),
        llr=llr,
        **_qam(levels, method, hard_out),
    )


@receive.register_fake
@detect.register_fake
def _(source: int, h: Tensor, *others: Any) -> Tensor:
    del source, others
    return h.real.new_empty(len(h), h.shape[-1])


def _loaded() -> Library:
    found = loaded()
    if found is None:
        raise RuntimeError("The kernels of subcarriers in lanes are missing.")
    return found


def receiving(streams: Sequence[int], stretches: Sequence[int]) -> dict[str, Any]:
    """Fields of a call that tell which streams are put out, and where; see :func:`receive`."""
    return {"streams": len(streams), "stream": streams, **along_stretches(stretches)}


def along_stretches(stretches: Sequence[int]) -> dict[str, Any]:
    """Fields of a call that tell of stretches of subcarriers, three numbers of each."""
    return {"stretches": len(stretches) // 3, "stretch": stretches}


def noise_behind(no_eff: Tensor) -> dict[str, Any]:
    """Fields of a call that tell where effective noise is written."""
    item, row, _ = no_eff.stride()
    return {"no_eff": no_eff, "no_eff_item": item, "no_eff_row": row}


def writing_bits(
    num_items: int,
    batch_size: int,
    llr: Tensor,
    symbols: Sequence[int],
    rows: Sequence[int],
    run_at: Tensor,
    run: Tensor,
    levels: Tensor,
    method: str,
    hard_out: bool,
) -> dict[str, Any]:
    """Fields of a call that writes bits, see :func:`detect`."""
    # One channel for all items: their symbols are its own, as in the grids.
    items = range(batch_size) if num_items < batch_size else [0]
    return {
        "llr": llr,
        "llr_item": llr.stride(0),
        "llr_row": llr.stride(1),
        "data_row": rows,
        "data_begin": [llr.stride(0) * item for item in items for _ in symbols],
        "data_symbol": list(symbols) * len(items),
        "grid_symbols": (len(run_at) - 1) // llr.shape[1],
        "run_at": run_at,
        "run": run,
        **_qam(levels, method, hard_out),
    }


def _qam(levels: Tensor, method: str, hard_out: bool) -> dict[str, Any]:
    """Fields that tell how square QAM is demapped, see :func:`demap`."""
    num_bits = levels.shape[1].bit_length() - 1
    return {"bits": num_bits, "sums": method == "app", "hard": hard_out, "levels": levels}


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
    """Fields of a call whose filters an expansion is."""
    return {
        "source": SourceKind.EXPANSION,
        "rows": num_streams,
        "columns": num_antennas,
        "items": len(rows),
        **along_stretches([0, columns.shape[-2], 0]),
        **_latent(columns, values, rows),
    }


def _latent(columns: Tensor, values: Tensor, rows: Tensor) -> dict[str, Any]:
    """Fields of a call that tell of an expansion."""
    return {
        "latent": rows,
        "latent_item": rows.stride(0),
        "latent_row": rows.stride(1),
        **combined(columns[..., 0], values, rows.shape[1]),
    }


def combined(lead: Tensor, values: Tensor, num_functions: int) -> dict[str, Any]:
    """Fields of a call that tell which rows of a latent tensor each subcarrier takes.

    :param lead: the first one, [num_subcarriers] int64, or of each item
    :param values: weights of it and of those that follow, [num_subcarriers, num_terms] float32, or
        of each item
    """
    lead = lead.contiguous()
    return {
        "functions": num_functions,
        "terms": values.shape[-1],
        "lead": lead,
        "lead_item": lead.stride(0) if lead.ndim > 1 and len(lead) > 1 else 0,
        "weight": values,
        "weight_item": values.stride(0) if values.ndim == 3 and len(values) > 1 else 0,
    }


def _query(query: Sequence[Tensor], bounds: Sequence[float]) -> dict[str, Any]:
    """Fields of a call that tell of what is proven."""
    if not query:
        return {}
    columns, values, rows, factors, *places = query
    quality, range_error = bounds
    return {
        "factor": factors,
        "factor_item": factors.stride(0),
        "place": places[0] if places else None,
        "quality": quality,
        "range_error": range_error,
        **_latent(columns, values, rows),
    }


def _whitening(whitening: Tensor | None) -> dict[str, Any]:
    """Fields of a call that tell what the channel is multiplied with."""
    if whitening is None:
        return {}
    item, column, step = whitening.stride()
    return {
        "whitening": whitening,
        "whitening_item": item,
        "whitening_column": column,
        "whitening_step": step if whitening.shape[2] > 1 else 0,
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
    return reading(num_items, read, symbols) | _grid("out", num_items, out, symbols)


def reading(num_items: int, read: Tensor, symbols: Sequence[int]) -> dict[str, Any]:
    """Fields of a call that tell of the one that is read."""
    return _grid("read", num_items, read, symbols)


def _grid(name: str, num_items: int, grid: Tensor, symbols: Sequence[int]) -> dict[str, Any]:
    """Fields of a call that tell of one of them."""
    item, row, symbol, _ = grid.stride()
    places = [symbol * number for number in symbols]
    if num_items < len(grid):
        # One channel for all items: their symbols are its own.
        places = [item * number + place for number in range(len(grid)) for place in places]
    values = {name: grid, f"{name}_item": item, f"{name}_row": row}
    return values | {f"{name}_symbol": places, "symbols": len(places)}
