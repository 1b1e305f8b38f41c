"""Channels behind matrices of the solver: the base of the precoded channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import PrecodedChannel, ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import check_shape
from neumatc_mimo.blocks.effective_channel import EffectiveChannel
from neumatc_mimo.blocks.fitting import joint_items, joint_sizes, spread
from neumatc_mimo.blocks.inputs import ResultKind
from neumatc_mimo.blocks.matrix_precoder import ChannelKnowledge, MatrixPrecoder
from neumatc_mimo.blocks.noise import constant
from neumatc_mimo.blocks.solver_block import SolverBlock
from neumatc_mimo.blocks.stream_power import stream_power
from neumatc_mimo.blocks.symbols import each, members, sharing
from neumatc_mimo.kernels.lanes import Emitter
from neumatc_mimo.tensors.mapped import mapped_alike
from neumatc_mimo.tensors.tracing import is_traced


@dataclass(frozen=True, kw_only=True)
class ChannelInputs(ChannelKnowledge):
    """What a precoded channel is called with.

    :param actual: Channel that the precoded symbols meet, shape as the knowledge ``h`` of it
    """

    symbols = "actual"

    actual: Tensor


class MatrixPrecodedChannel(SolverBlock, PrecodedChannel):
    """Base class of the precoded channels: the effective channel of a precoder.

    They also have the methods of :class:`~sionna.phy.ofdm.PrecodedChannel`:
    ``get_desired_channels``, ``apply_tx_power`` and ``compute_effective_channel``, for your own
    precoding matrices.

    :param precoder: The precoder. Grid, streams, solver and settings are those of the precoder
    """

    # Whether it is made with a solver, called with the noise power at a user, and whether its
    # precoder divides the power among the streams itself.
    asks_solver: ClassVar[bool] = True
    asks_noise: ClassVar[bool] = False
    divides_power: ClassVar[bool] = False

    _inputs: ClassVar[type[ChannelInputs]] = ChannelInputs
    _precoder: MatrixPrecoder

    def __init__(self, precoder: MatrixPrecoder) -> None:
        super().__init__(
            precoder._resource_grid,
            precoder._stream_management,
            precoder._solver,
            precoder.precision,
            precoder.device,
            **vars(precoder._settings),
        )
        # No child: the state is that of Sionna's block. What is counted is counted there.
        object.__setattr__(self, "_precoder", precoder)
        self.stats = precoder.stats

    def _become_sionnas(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        precision: str | None,
        device: str | None,
    ) -> None:
        PrecodedChannel.__init__(self, resource_grid, stream_management, precision, device)

    def _channels(self, h: Tensor, h_hat: Tensor | None) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """The actual channel and the knowledge of it, of one kind, and what noise powers may have
        of both, [batch_size, num_tx, num_ofdm_symbols, fft_size].
        """
        h = self._precoder._checked_channel("h", h)
        h_hat = h if h_hat is None else self._precoder._checked_channel("h_hat", h_hat)
        check_shape("h_hat", h_hat, (None, *h.shape[1:5], None, None))
        items, *grid = joint_sizes(h=h, h_hat=h_hat)
        return h, h_hat, (items, self._num_tx, *grid)

    def _effective(
        self,
        h: Tensor,
        tx_power: Tensor,
        h_hat: Tensor,
        no: Tensor | None = None,
        noise: Tensor | None = None,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> Tensor:
        """The effective channel of streams of such powers.

        :param h: As :meth:`_channels` gives it, as ``h_hat``
        :param no: As :func:`transmitter_noise` gives it
        :param noise: As of :class:`ChannelKnowledge`
        """
        self._check_antennas(h_hat, no)
        h = mapped_alike(h, h_hat, no, noise)
        own, whole = joint_sizes(h_hat=h_hat, no=no), joint_sizes(h=h, h_hat=h_hat, no=no)
        if whole.subcarriers not in (1, self._fft_size):
            raise ValueError(
                f"h has the shape {list(h.shape)}, h_hat {list(h_hat.shape)}: all "
                f"{self._fft_size} subcarriers of the grid are needed."
            )
        shape = (whole.items, self._num_tx, self._num_streams_per_tx, whole.symbols, self._fft_size)
        power = stream_power(tx_power, shape, self.dtype, self.device)
        if power.shape[-1] > 1:
            power = power.index_select(-1, self._effective_ind)
        own_items = joint_items(own.items, 1 if noise is None else len(noise))
        links = self._checked_links(links, (own_items, whole.items), self._num_tx)
        items = own_items if links is None else joint_items(own_items, len(links))
        no = None if no is None else no.expand(items, *no.shape[1:])
        knowledge = spread(h_hat, items, whole.symbols, self._fft_size)
        actual = spread(h, joint_items(items, whole.items), whole.symbols, self._fft_size)
        inputs = ChannelInputs(
            h=knowledge, actual=actual, no=no, noise=noise, links=links, time=time
        )
        h_eff: Tensor = self._served(inputs)
        return h_eff * power.sqrt()[:, None, None]

    def _check_antennas(self, h: Tensor, no: Tensor | None) -> None:
        """Refuse more streams than a transmitter can serve."""
        self._precoder._check_antennas(h, no)

    def _kinds(self, inputs: ChannelInputs) -> list[ResultKind]:
        return [self._precoder._effective_kind(inputs.actual)]

    def _results(self, inputs: ChannelInputs) -> Tensor:
        """Channels times precoders of unit power, for links of the same transmitters trusted."""
        inputs = replace(inputs, no=constant(inputs.no))
        actual, varying, trusted = inputs.actual, self._settings.time_varying, inputs.trusted
        precoder = self._precoder
        groups = sharing(inputs.h, inputs.no, varying, dim=3, trusted=trusted, time=inputs.time)
        own = not trusted and _are_same(inputs.h, actual)
        num_rx_ant = actual.shape[2]
        whole = precoder._serves_all() and precoder._streams.is_full(num_rx_ant)
        shared = own or (len(groups) == 1 and len(sharing(actual, None, varying)) == 1)
        h_eff = EffectiveChannel(
            actual, self._num_streams_per_tx, groups if shared else each(actual.shape[5])
        )
        for tx in range(self._num_tx):
            for group, symbols in enumerate(groups):
                first = symbols[0].start
                seen = {group: first} if shared else {at: at for at in members(symbols)}
                emitter = None
                if own and whole:
                    emitter = self._emitted_channel(h_eff.of_group(group), actual.shape[4])
                for part in precoder._matrices(inputs, tx, first, emitter=emitter):
                    matrix = precoder._matrix(part.answer)
                    if part.where is not None:
                        h_eff.put_single(part.given, matrix, group, part.where)
                        continue
                    gains = precoder._amplitudes(part.answer, inputs, tx)
                    matrix = precoder._sending(matrix, gains, num_rx_ant, tx)
                    for place, symbol in seen.items():
                        met = actual[:, :, :, tx, :, symbol]
                        h_eff.put(met, matrix, tx, place, part.tile)
        return h_eff.seen(self._effective_ind)

    def _emitted_channel(self, effective: Tensor, num_tx_ant: int) -> Emitter | None:
        """What has a kernel write an effective channel; one symbol is precoded on the way.

        :param effective: [batch_size, num_rx * num_rx_ant, num_streams, fft_size]
        """
        items, _, streams, subcarriers = effective.shape
        x = effective.new_zeros(items, streams, 1, subcarriers)
        out = x.new_empty(items, num_tx_ant, 1, subcarriers)
        return self._precoder._emitter(out, x, (slice(0, 1),), effective)


def _are_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one view of the same entries; a trace cannot tell."""
    if is_traced():
        return False
    alike = one.shape == other.shape and one.stride() == other.stride()
    return alike and one.data_ptr() == other.data_ptr()
