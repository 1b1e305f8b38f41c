"""Zero-forcing precoding, plain or regularised."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid, RZFPrecoder

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import InPrecision, SolverBlock, check_channel
from neumatc_mimo.tensorflow.pseudo_inverse import PseudoInverse
from neumatc_mimo.tensorflow.solver import Solver, counted


class ZFPrecoder(SolverBlock):
    r"""Zero-forcing precoding for multi-antenna OFDM transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.RZFPrecoder` of Sionna 1.2 with the same outputs: for
    every transmitter the channels to all its receivers are gathered into :math:`\mathbf{H}`, and

    .. math::
        \mathbf{G} = \mathbf{V}\mathbf{D}, \qquad
        \mathbf{V} = \mathbf{H}^{\mathsf{H}} (\mathbf{H}\mathbf{H}^{\mathsf{H}}
        + \alpha\mathbf{I})^{-1}, \qquad
        \mathbf{D} = \mathrm{diag}(\lVert\mathbf{v}_k\rVert_2^{-1})

    precodes the streams. :math:`\mathbf{V}` comes from the ``solver``, once for all OFDM symbols.
    Where the channel differs between them, or :math:`\alpha` between symbols or subcarriers, the
    precoding is that of Sionna's own block.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify`` and what else all blocks take, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`

    :input x: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size], `tf.complex`.
        Resource grids to be precoded.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `tf.complex`. Channel knowledge based on which the precoding is computed.
    :input alpha: `0.` (default) | [batch_size] | [batch_size, num_tx, num_ofdm_symbols, fft_size]
        (or broadcastable), `float`. Regularization parameter, a noise power. A vector is taken
        along the subcarriers, as in Sionna, if it has one entry for each of them.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.

    :output x_precoded: [batch_size, num_tx, num_tx_ant, num_ofdm_symbols, fft_size], `tf.complex`.
        Precoded resource grids.
    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. Only returned if
        ``return_effective_channel=True``. The effective channels of all streams after precoding,
        without nulled subcarriers.
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        return_effective_channel: bool = False,
        precision: str | None = None,
        **settings: Unpack[ProofKeywords],
    ) -> None:
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            PseudoInverse(),
            effective=False,
            precision=precision,
            **settings,
        )
        self._return_effective_channel = return_effective_channel
        self._precoding_ind = np.asarray(stream_management.precoding_ind)
        self._sionna = InPrecision(
            lambda: RZFPrecoder(resource_grid, stream_management, return_effective_channel),
            self.precision,
        )

    def call(
        self, x: tf.Tensor, h: tf.Tensor, alpha: Any = 0.0, links: Any = None
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        self._check(x, h)
        links = self._check_links(links, self._num_tx)
        alpha = self._four_dimensions(alpha)
        varies = alpha.shape[2:] != [1, 1]
        num_items = tf.shape(h)[0]

        def once() -> tuple[Any, tf.Tensor]:
            return self._precode(x, h, self._powers(alpha, num_items), links)

        def each() -> tuple[Any, tf.Tensor]:
            number = num_items * self._num_tx * self._num_symbols * self._fft_size
            return self._sionna(x, h, alpha), counted(exact=number)

        return self._over_symbols(h, None if varies else [], once, each)

    def _precode(
        self, x: tf.Tensor, h: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None
    ) -> tuple[Any, tf.Tensor]:
        """Precode with the channel of the first OFDM symbol.

        :param no: [batch_size, num_tx], or None for zero
        """
        precoded, seen, counts = [], [], counted()
        for tx in range(self._num_tx):
            # [batch_size, fft_size, num_rx, num_rx_ant, num_tx_ant]
            rows = tf.transpose(h[:, :, :, tx, :, 0], [0, 4, 1, 2, 3])
            served = tf.gather(rows, self._precoding_ind[tx], axis=2)
            power = None if no is None else no[:, tx]
            link = None if links is None else links[:, tx]
            answer, made = self._answers(_flat(served), power, link)
            counts += made
            size = answer.column_norm(power)
            # A column of zeros stays one, as in Sionna.
            unit = tf.where(size > 0, 1 / size, tf.ones_like(size))
            mixing = answer.mixing * tf.cast(unit, answer.mixing.dtype)[..., None, :]
            symbols = tf.transpose(x[:, tx], [0, 3, 1, 2])  # [batch_size, fft_size, K, symbols]
            products = tf.matmul(answer.w, tf.matmul(mixing, symbols))
            precoded.append(tf.transpose(products, [0, 2, 3, 1]))
            if self._return_effective_channel:
                rows = tf.gather(_flat(rows), self._effective, axis=1)
                filters = tf.matmul(answer.w, mixing)
                seen.append(tf.matmul(rows, tf.gather(filters, self._effective, axis=1)))
        x_precoded = tf.stack(precoded, axis=1)
        if not self._return_effective_channel:
            return x_precoded, counts
        return (x_precoded, self._effective_channel(tf.stack(seen, axis=2))), counts

    def _effective_channel(self, seen: tf.Tensor) -> tf.Tensor:
        """[batch_size, num_effective, num_tx, num_rx * num_rx_ant, num_streams] as Sionna has it,
        for all OFDM symbols.
        """
        num_effective, num_tx, num_rows, num_streams = seen.shape[1:]
        h_eff = tf.transpose(seen, [0, 3, 2, 4, 1])
        shape = [-1, self._num_rx, num_rows // self._num_rx, num_tx, num_streams, 1, num_effective]
        return tf.tile(tf.reshape(h_eff, shape), [1, 1, 1, 1, 1, self._num_symbols, 1])

    def _four_dimensions(self, alpha: Any) -> tf.Tensor:
        """alpha, broadcastable to [batch_size, num_tx, num_ofdm_symbols, fft_size]."""
        alpha = tf.cast(tf.convert_to_tensor(alpha), self.rdtype)
        rank = alpha.shape.rank
        if rank is None or rank > 4:
            raise ValueError(
                f"alpha has the shape {alpha.shape}, [batch_size] or one that can be broadcast to "
                "[batch_size, num_tx, num_ofdm_symbols, fft_size] is needed."
            )
        if rank == 1 and alpha.shape[0] not in (1, self._fft_size):
            return alpha[:, None, None, None]
        return alpha[(*(None,) * (4 - rank), ...)]

    def _powers(self, alpha: tf.Tensor, num_items: tf.Tensor) -> tf.Tensor | None:
        """alpha [.., .., 1, 1] as [batch_size, num_tx]; None where it is known to be zero."""
        value = tf.get_static_value(alpha)
        if value is not None and not np.any(value):
            return None
        return tf.broadcast_to(alpha[:, :, 0, 0], [num_items, self._num_tx])

    def _check(self, x: tf.Tensor, h: tf.Tensor) -> None:
        grid = (self._num_symbols, self._fft_size)
        check_channel("h", h, (self._num_rx, None, self._num_tx, None, *grid))
        check_channel("x", x, (self._num_tx, self._num_streams, *grid))
        num_rows = self._precoding_ind.shape[1] * h.shape[2]
        if num_rows != self._num_streams:
            raise ValueError(
                f"{self._precoding_ind.shape[1]} receivers of {h.shape[2]} antennas make "
                f"{num_rows} rows of a transmitter's channel, its {self._num_streams} streams need "
                "as many."
            )


def _flat(rows: tf.Tensor) -> tf.Tensor:
    """[batch_size, fft_size, num_rx, num_rx_ant, num_tx_ant] with one row for each antenna."""
    _, num_frequencies, num_rx, num_rx_ant, num_tx_ant = rows.shape
    return tf.reshape(rows, [-1, num_frequencies, num_rx * num_rx_ant, num_tx_ant])
