"""Channels behind precoding matrices: the base of the precoded channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import tensorflow as tf
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import PrecodedChannel, RemoveNulledSubcarriers, ResourceGrid

from neumatc_mimo.foundation.block_settings import ProofKeywords
from neumatc_mimo.tensorflow.common import Ask, SolverBlock
from neumatc_mimo.tensorflow.fitting import as_complex, check_shape, joint_items, joint_size, spread
from neumatc_mimo.tensorflow.pseudo_inverse import PseudoInverse
from neumatc_mimo.tensorflow.ranks import Modes
from neumatc_mimo.tensorflow.solver import Solver, counted
from neumatc_mimo.tensorflow.stream_power import leading
from neumatc_mimo.tensorflow.symbols import constant
from neumatc_mimo.tensorflow.zf_precoder import flat, surely_zero


class MatrixPrecodedChannel(SolverBlock, PrecodedChannel):
    """Base of the precoded channels; a subclass gives :meth:`_matrix`.

    They have the methods of :class:`~sionna.phy.ofdm.PrecodedChannel`, too:
    ``get_desired_channels``, ``apply_tx_power`` and ``compute_effective_channel``, of matrices of
    one's own.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param ranks: Streams that each receiver gets, at most those of ``stream_management``, of which
        the first ones are sent; None for all
    :param settings: ``certify`` and the other settings of all blocks
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
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
        self._modes = Modes(stream_management, ranks)

    def _become_sionnas(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        precision: str | None,
    ) -> None:
        PrecodedChannel.__init__(self, resource_grid, stream_management, precision=precision)
        # Sionna does not tell it the precision.
        self._remove_nulled_scs = RemoveNulledSubcarriers(resource_grid, precision=self.precision)

    def _matrix(
        self, ask: Ask, rows: tf.Tensor, no: tf.Tensor | None, links: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Precoding matrices of unit power [batch_size, symbols, fft_size, num_tx_ant,
        num_streams], and counts.

        :param rows: what is known of a transmitter's channel, [batch_size, symbols, fft_size,
            num_rows, num_tx_ant]
        :param no: regularisation, [batch_size, symbols, fft_size], each or 1; None for zero
        :param links: [batch_size] or None
        """
        raise NotImplementedError

    def _effective_channel(
        self,
        h: Any,
        tx_power: Any,
        h_hat: Any = None,
        alpha: Any = None,
        links: Any = None,
    ) -> tf.Tensor:
        """The effective channel of streams of such powers.

        :param alpha: the first dimensions of [batch_size, num_tx, num_ofdm_symbols, fft_size];
            None where there is no such thing
        """
        own = h_hat is None
        known = self._checked("h" if own else "h_hat", h if own else h_hat)
        inputs = [known] if own else [known, self._checked("h", h)]
        if not own:
            check_shape("h_hat", known, (*inputs[1].shape[1:5], None, None))
        sizes = self._sizes(known, inputs[-1])
        if alpha is not None:
            alpha = tf.cast(tf.convert_to_tensor(alpha), self.rdtype)
            alpha = leading("alpha", alpha, (self._num_tx, *sizes))
            inputs.append(alpha)
        self._check_antennas(known, alpha)
        is_zero = alpha is not None and surely_zero(alpha)
        power = tf.cast(tf.convert_to_tensor(tx_power), self.rdtype)
        power = leading("tx_power", power, (self._num_tx, self._num_streams, *sizes))
        links = self._check_links(links, self._num_tx)

        def core(ask: Ask, *inputs: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            known, *rest = inputs
            no = rest.pop() if alpha is not None else None
            if is_zero and ask != self._plainly:
                # Its derivative is that of a noise power of zero, too.
                no = None
            seen, counts = self._seen(ask, known, rest[0] if rest else known, no, links)
            items = joint_items(*(z for z in (seen, alpha) if z is not None))
            return [spread(seen, {0: items, 5: sizes[0], 6: len(self._effective)})], counts

        shared = self._shared(known, 4)
        alike = None
        if shared is not None:
            dims = (2,) if self._is_exact else (2, 3)
            alike = [*shared, *(constant(alpha, dims) if alpha is not None else [])]

        def first(*inputs: tf.Tensor) -> list[tf.Tensor]:
            known, *rest = inputs
            if alpha is not None:
                rest[-1] = rest[-1][:, :, :1] if self._is_exact else rest[-1][:, :, :1, :1]
            return [known[..., :1, :], *rest]

        (h_eff,) = self._served(core, inputs, alike, first)
        if power.shape[-1] > 1:
            power = tf.gather(power, self._effective, axis=-1)
        return h_eff * tf.cast(tf.sqrt(power), h_eff.dtype)[:, None, None]

    def _seen(
        self,
        ask: Ask,
        known: tf.Tensor,
        met: tf.Tensor,
        no: tf.Tensor | None,
        links: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Channels behind precoders of unit power, [batch_size, num_rx, num_rx_ant, num_tx,
        num_streams, symbols, num_effective_subcarriers], and counts.
        """
        seen, counts = [], counted()
        for tx in range(self._num_tx):
            # [batch_size, symbols, fft_size, num_rx, num_rx_ant, num_tx_ant]
            rows = tf.transpose(known[:, :, :, tx], [0, 4, 5, 1, 2, 3])
            own, refined = self._modes.rows(rows, tx, plainly=ask == self._plainly)
            power = None if no is None else no[:, min(tx, no.shape[1] - 1)]
            # No model knows the rows of single streams.
            whom = self._knowing(ask, self._modes.is_full(rows.shape[4]))
            matrix, made = self._matrix(whom, own, power, None if links is None else links[:, tx])
            matrix = self._modes.of_streams(matrix, tx)
            counts += made + refined
            actual = flat(tf.transpose(met[:, :, :, tx], [0, 4, 5, 1, 2, 3]))
            seen.append(_times(*(self._on_effective(z) for z in (actual, matrix))))
        # [batch_size, symbols, num_effective_subcarriers, num_tx, num_rx * num_rx_ant, num_streams]
        whole = tf.stack(seen, axis=3)
        num_rx, num_rx_ant = met.shape[1:3]
        h_eff = tf.transpose(whole, [0, 4, 3, 5, 1, 2])
        return tf.reshape(h_eff, [-1, num_rx, num_rx_ant, *h_eff.shape[2:]]), counts

    def _on_effective(self, z: tf.Tensor) -> tf.Tensor:
        """[batch_size, symbols, fft_size or 1, ...] on effective subcarriers."""
        return z if z.shape[2] == 1 else tf.gather(z, self._effective, axis=2)

    def _check_antennas(self, known: tf.Tensor, alpha: tf.Tensor | None) -> None:
        """Refuse more streams than a transmitter can serve."""

    def _sizes(self, known: tf.Tensor, met: tf.Tensor) -> tuple[int, int]:
        """Numbers of OFDM symbols and subcarriers."""
        symbols, subcarriers = (
            joint_size(what, h_hat=(known, dim), h=(met, dim))
            for what, dim in (("OFDM symbols", -2), ("subcarriers", -1))
        )
        if subcarriers not in (1, self._fft_size):
            raise ValueError(
                f"h has the shape {met.shape}, h_hat {known.shape}: all {self._fft_size} "
                "subcarriers of the grid are needed."
            )
        return symbols, self._fft_size

    def _checked(self, name: str, h: Any) -> tf.Tensor:
        """A complex channel of at least as many rows as a transmitter has streams."""
        h = as_complex(name, h, self.cdtype)
        check_shape(name, h, (self._num_rx, None, self._num_tx, None, None, None))
        self._modes.check(h.shape[2])
        return h


def _times(rows: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Channels [batch_size, symbols, F, num_rows, num_tx_ant] times matrices [batch_size, symbols,
    F, num_tx_ant, num_streams], each of as many or one.

    With one dimension for the batch: of products of several and transpositions beside them XLA
    makes a product of another shape, and refuses it.
    """
    items, num = joint_items(rows, matrix), max(rows.shape[2], matrix.shape[2])
    symbols, num_rows, streams = rows.shape[1], rows.shape[3], matrix.shape[4]
    rows, matrix = (spread(z, {0: items, 2: num}) for z in (rows, matrix))
    if matrix.shape[1] > 1:
        symbols = matrix.shape[1]
        rows = spread(rows, {1: symbols})
        found = tf.matmul(*(tf.reshape(z, [-1, *z.shape[3:]]) for z in (rows, matrix)))
        return tf.reshape(found, [-1, symbols, num, num_rows, streams])
    # One matrix for the rows of all symbols.
    rows = tf.reshape(tf.transpose(rows, [0, 2, 1, 3, 4]), [-1, symbols * num_rows, rows.shape[4]])
    found = tf.matmul(rows, tf.reshape(matrix, [-1, *matrix.shape[3:]]))
    found = tf.reshape(found, [-1, num, symbols, num_rows, streams])
    return tf.transpose(found, [0, 2, 1, 3, 4])
