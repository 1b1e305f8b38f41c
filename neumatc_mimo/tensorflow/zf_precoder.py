"""Zero-forcing precoding, plain or regularised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import Ask, SolverBlock
from neumatc_mimo.tensorflow.fitting import as_complex, check_shape, joint_items, joint_size, spread
from neumatc_mimo.tensorflow.products import products
from neumatc_mimo.tensorflow.pseudo_inverse import Filter, PseudoInverse
from neumatc_mimo.tensorflow.ranks import Modes
from neumatc_mimo.tensorflow.solver import Solver, counted
from neumatc_mimo.tensorflow.symbols import constant


class ZFPrecoder(SolverBlock):
    r"""Zero-forcing precoding for multi-antenna OFDM transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.RZFPrecoder` of Sionna 1.2 with the same outputs: for
    every transmitter the channels to all its receivers are collected in :math:`\mathbf{H}`, and

    .. math::
        \mathbf{G} = \mathbf{V}\mathbf{D}, \qquad
        \mathbf{V} = \mathbf{H}^{\mathsf{H}} (\mathbf{H}\mathbf{H}^{\mathsf{H}}
        + \alpha\mathbf{I})^{-1}, \qquad
        \mathbf{D} = \mathrm{diag}(\lVert\mathbf{v}_k\rVert_2^{-1})

    precodes the streams. :math:`\mathbf{V}` comes from the ``solver``, once for all OFDM symbols.
    Where the channel differs between them, or :math:`\alpha` between symbols, or between the
    subcarriers of a model's links, all of it is computed exactly.

    A receiver that is to get fewer streams than it has antennas has a row of :math:`\mathbf{H}` for
    each of its streams: what it hears along the left singular vectors of its strongest singular
    values. All of it is computed exactly, then.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param ranks: Streams that each receiver gets, at most those of ``stream_management``, of which
        the first ones are sent; None for all
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`

    :input x: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size], `tf.complex`.
        Resource grids to be precoded.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `tf.complex`. Channel knowledge based on which the precoding is computed. An input may have
        one item, symbol or subcarrier, which is then used for all.
    :input alpha: `0.` (default) | [batch_size] | [batch_size, num_tx, num_ofdm_symbols, fft_size]
        (or broadcastable), `float`. Regularization parameter, a noise power. A vector with one
        entry for each subcarrier is used along the subcarriers, as in Sionna.
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
        *,
        ranks: Sequence[int] | None = None,
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
        self._modes = Modes(stream_management, ranks)

    def call(
        self, x: tf.Tensor, h: tf.Tensor, alpha: Any = 0.0, links: Any = None
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        x, h = as_complex("x", x, self.cdtype), as_complex("h", h, self.cdtype)
        alpha = self._four_dimensions(alpha, h)
        num_symbols, fft_size = self._check(x, h, alpha)
        links = self._check_links(links, self._num_tx)
        is_zero = surely_zero(alpha)

        def core(
            ask: Ask, x: tf.Tensor, h: tf.Tensor, alpha: tf.Tensor
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            # Its derivative is that of a noise power of zero, too.
            power = None if is_zero and ask != self._plainly else alpha
            outputs, counts = self._precode(ask, x, h, power, links)
            sizes = [{-2: num_symbols, -1: fft_size}, {-2: own_symbols}]
            # As many items as alpha, of which nothing is left where it is zero.
            outputs = [
                spread(z, {0: joint_items(z, alpha), **size})
                for z, size in zip(outputs, sizes[: len(outputs)], strict=True)
            ]
            return outputs, counts

        own_symbols = joint_size("OFDM symbols", h=(h, -2), alpha=(alpha, -2))
        shared = self._shared(h, 4)
        alike = None
        if shared is not None:
            alike = [*shared, *constant(alpha, (2,) if self._is_exact else (2, 3))]

        def first(*inputs: tf.Tensor) -> list[tf.Tensor]:
            x, h, alpha = inputs
            return [x, h[..., :1, :], alpha[:, :, :1] if self._is_exact else alpha[:, :, :1, :1]]

        outputs = self._served(core, [x, h, alpha], alike, first)
        return tuple(outputs) if self._return_effective_channel else outputs[0]

    def _precode(
        self,
        ask: Ask,
        x: tf.Tensor,
        h: tf.Tensor,
        alpha: tf.Tensor | None,
        links: tf.Tensor | None,
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Precode, where h and alpha have one OFDM symbol for all, or as many as x.

        :param alpha: [batch_size, num_tx, num_ofdm_symbols, fft_size], each or 1; None for zero
        """
        precoded, seen, counts = [], [], counted()
        for tx in range(self._num_tx):
            # [batch_size, symbols, fft_size, num_rx, num_rx_ant, num_tx_ant]
            rows = tf.transpose(h[:, :, :, tx], [0, 4, 5, 1, 2, 3])
            own, refined = self._modes.rows(rows, tx, plainly=ask == self._plainly)
            power = None if alpha is None else alpha[:, min(tx, alpha.shape[1] - 1)]
            # No model knows the rows of single streams.
            whom = self._knowing(ask, self._modes.is_full(rows.shape[4]))
            answer, made = whom(own, power, None if links is None else links[:, tx])
            counts += made + refined
            mixing = unit_columns(answer)
            sent = x[:, min(tx, x.shape[1] - 1)]
            if len(self._modes.sent(tx)) < sent.shape[1]:
                sent = tf.gather(sent, self._modes.sent(tx), axis=1)
            precoded.append(products(answer.w, sent, mixing))
            if self._return_effective_channel:
                filters = self._modes.of_streams(tf.matmul(answer.w, mixing), tx)
                seen.append(tf.gather(tf.matmul(flat(rows), filters), self._effective, axis=2))
        outputs = [tf.stack(precoded, axis=1)]
        if self._return_effective_channel:
            outputs.append(self._effective_channel(tf.stack(seen, axis=3)))
        return outputs, counts

    def _effective_channel(self, seen: tf.Tensor) -> tf.Tensor:
        """[batch_size, symbols, num_effective, num_tx, num_rx * num_rx_ant, num_streams] as Sionna
        has it.
        """
        num_symbols, num_effective, num_tx, num_rows, num_streams = seen.shape[1:]
        h_eff = tf.transpose(seen, [0, 4, 3, 5, 1, 2])
        antennas = num_rows // self._num_rx
        shape = [self._num_rx, antennas, num_tx, num_streams, num_symbols, num_effective]
        return tf.reshape(h_eff, [-1, *shape])

    def _four_dimensions(self, alpha: Any, h: tf.Tensor) -> tf.Tensor:
        """alpha, broadcastable to [batch_size, num_tx, num_ofdm_symbols, fft_size]."""
        alpha = tf.cast(tf.convert_to_tensor(alpha), self.rdtype)
        rank = alpha.shape.rank
        if rank is None or rank > 4:
            raise ValueError(
                f"alpha has the shape {alpha.shape}, [batch_size] or one that can be broadcast to "
                "[batch_size, num_tx, num_ofdm_symbols, fft_size] is needed."
            )
        if rank == 1 and alpha.shape[0] not in (1, self._fft_size, h.shape[-1]):
            return alpha[:, None, None, None]
        return alpha[(*(None,) * (4 - rank), ...)]

    def _check(self, x: tf.Tensor, h: tf.Tensor, alpha: tf.Tensor) -> tuple[int, int]:
        """Numbers of OFDM symbols and subcarriers."""
        check_shape("h", h, (self._num_rx, None, self._num_tx, None, None, None))
        one_for_all = len(x.shape) == 5 and x.shape[1] == 1
        num_tx = 1 if one_for_all else self._num_tx
        check_shape("x", x, (num_tx, self._num_streams, None, None))
        check_shape("alpha", alpha, (1 if alpha.shape[1] == 1 else self._num_tx, None, None))
        self._modes.check(h.shape[2])
        check_antennas(self._modes.most_sent(), h.shape[4], alpha)
        sizes = [
            joint_size(what, x=(x, dim), h=(h, dim), alpha=(alpha, dim))
            for what, dim in (("OFDM symbols", -2), ("subcarriers", -1))
        ]
        own = joint_size("subcarriers", h=(h, -1), alpha=(alpha, -1))
        if self._return_effective_channel and own != self._fft_size:
            raise ValueError(
                f"h has the shape {h.shape.as_list()}: the effective channel needs all "
                f"{self._fft_size} subcarriers of the grid."
            )
        return sizes[0], sizes[1]


def surely_zero(alpha: tf.Tensor) -> bool:
    """Whether a regularisation is known to be zero when a graph is built."""
    value = tf.get_static_value(alpha)
    return value is not None and not np.any(value)


def check_antennas(num_rows: int, num_tx_ant: int, alpha: tf.Tensor) -> None:
    """Refuse more streams than antennas, without a regularisation."""
    value = tf.get_static_value(alpha)
    if num_rows > num_tx_ant and value is not None and not np.all(value > 0):
        raise ValueError(
            f"{num_rows} streams are more than the {num_tx_ant} antennas of a transmitter: "
            "they need a regularisation, alpha > 0, everywhere."
        )


def unit_columns(answer: Filter) -> tf.Tensor:
    """What ``answer.w`` is multiplied with for columns of unit norm."""
    # A column of zeros stays one, as in Sionna.
    some = answer.norm > 0
    unit = tf.where(some, 1 / tf.where(some, answer.norm, 1), 1)
    return answer.mixing * tf.cast(unit, answer.mixing.dtype)[..., None, :]


def flat(rows: tf.Tensor) -> tf.Tensor:
    """[batch_size, symbols, fft_size, num_rx, num_rx_ant, num_tx_ant] with one row for each
    antenna.
    """
    num_symbols, num_frequencies, num_rx, num_rx_ant, num_tx_ant = rows.shape[1:]
    return tf.reshape(rows, [-1, num_symbols, num_frequencies, num_rx * num_rx_ant, num_tx_ant])
