"""Effective channel after zero-forcing precoding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.checks import check_shape
from neumatc_mimo.blocks.effective_channel import EffectiveChannel
from neumatc_mimo.blocks.fitting import Sizes, joint_items, joint_sizes, spread
from neumatc_mimo.blocks.inputs import ResultKind
from neumatc_mimo.blocks.matrix_precoder import ChannelKnowledge
from neumatc_mimo.blocks.noise import constant, transmitter_noise
from neumatc_mimo.blocks.symbols import each, members, sharing
from neumatc_mimo.blocks.zf_precoder import ZeroForcing
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.tensors.mapped import mapped_alike
from neumatc_mimo.tensors.tracing import is_traced


@dataclass(frozen=True, kw_only=True)
class ChannelInputs(ChannelKnowledge):
    """What a precoded channel is called with.

    :param actual: Channel that the precoded symbols meet, shape as the knowledge ``h`` of it
    """

    symbols = "actual"

    actual: Tensor


class ZFPrecodedChannel(ZeroForcing):
    r"""Effective channel after zero-forcing precoding, plain or regularised.

    A drop-in for :class:`~sionna.phy.ofdm.RZFPrecodedChannel` with the same output, as
    :class:`~sionna.phy.ofdm.LMMSEPostEqualizationSINR` and Sionna's system-level module take it.
    For transmitter j, the precoder :math:`\mathbf{G}_j` of :class:`ZFPrecoder` for the channel
    knowledge ``h_hat`` and the channel :math:`\mathbf{H}_{i,j}` to receiver i

    .. math::
        \widetilde{\mathbf{H}}_{i,j} = \mathbf{H}_{i,j}\mathbf{G}_{j}
        \mathrm{diag}(\sqrt{p_{j,1}}, \sqrt{p_{j,2}}, \dots).

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param settings: ``certify`` and what else all blocks take, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Actual channel realizations.
    :input tx_power: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size] (or only
        the first n dims), `torch.float`. Power of each stream for each transmitter.
    :input h_hat: `None` (default) | as ``h``. Channel knowledge based on which the precoding is
        computed; ``h`` if `None`.
    :input alpha: `0.` (default) | [batch_size, num_tx, num_ofdm_symbols, fft_size] (or only the
        first n dims), `float`. Regularization parameter, a noise power.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from the channel knowledge.
    :input time: `None` (default) | `float`. Seconds from a burst's begin to that of the slot, for
        models of moving users.

    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. The effective channel after precoding, without
        nulled subcarriers; a view that repeats one symbol if all inputs are constant.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import LMMSEPostEqualizationSINR, ResourceGrid

        from neumatc_mimo.blocks import ZFPrecodedChannel
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        sm = StreamManagement(np.ones([4, 1]), 4)
        h = torch.randn(2, 4, 1, 1, 16, 14, 64, dtype=torch.complex64)
        h_eff = ZFPrecodedChannel(rg, sm, Exact())(h, torch.ones(2, 1, 4))
        sinr = LMMSEPostEqualizationSINR(rg, sm)(h_eff, torch.tensor(0.1))
        print(h_eff.shape, sinr.shape)
        # torch.Size([2, 4, 1, 1, 4, 14, 64]) torch.Size([2, 14, 64, 4, 1])
    """

    _inputs = ChannelInputs

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(
            resource_grid, stream_management, solver, True, precision, device, **settings
        )

    def call(
        self,
        h: Tensor,
        tx_power: Tensor,
        h_hat: Tensor | None = None,
        alpha: float | Tensor = 0.0,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> Tensor:
        """Effective channel; inputs and outputs as in the class's description."""
        h = self._checked_channel("h", h)
        h_hat = h if h_hat is None else self._checked_channel("h_hat", h_hat)
        check_shape("h_hat", h_hat, (None, *h.shape[1:5], None, None))
        alpha = alpha if isinstance(alpha, float | int) else _leading(alpha, 4)
        items, *grid = joint_sizes(h=h, h_hat=h_hat)
        shape = (items, self._num_tx, *grid)
        no = transmitter_noise("alpha", alpha, shape, self.dtype, self.device)
        self._check_antennas(h_hat, no)
        h = mapped_alike(h, h_hat, no)
        own, whole = joint_sizes(h_hat=h_hat, alpha=no), joint_sizes(h=h, h_hat=h_hat, alpha=no)
        if whole.subcarriers not in (1, self._fft_size):
            raise ValueError(
                f"h has the shape {list(h.shape)}, h_hat {list(h_hat.shape)}: all "
                f"{self._fft_size} subcarriers of the grid are needed."
            )
        power = self._stream_power(tx_power, whole)
        links = self._checked_links(links, (own.items, whole.items), self._num_tx)
        items = own.items if links is None else joint_items(own.items, len(links))
        no = None if no is None else no.expand(items, *no.shape[1:])
        knowledge = spread(h_hat, items, whole.symbols, self._fft_size)
        actual = spread(h, joint_items(items, whole.items), whole.symbols, self._fft_size)
        inputs = ChannelInputs(h=knowledge, actual=actual, no=no, links=links, time=time)
        h_eff: Tensor = self._served(inputs)
        return h_eff * power.sqrt()

    def _kinds(self, inputs: ChannelKnowledge) -> list[ResultKind]:
        assert isinstance(inputs, ChannelInputs)
        return [self._effective_kind(inputs.actual)]

    def _results(self, inputs: ChannelKnowledge) -> Tensor:
        """Channels times precoders of unit power, for links of the same transmitters trusted."""
        assert isinstance(inputs, ChannelInputs)
        inputs = replace(inputs, no=constant(inputs.no))
        actual, varying = inputs.actual, self._settings.time_varying
        trusted, time = inputs.trusted, inputs.time
        groups = sharing(inputs.h, inputs.no, varying, dim=3, trusted=trusted, time=time)
        alike = len(groups) == 1
        if alike and (trusted or not _same_memory(inputs.h, actual)):
            alike = len(sharing(actual, None, varying)) == 1
        h_eff = EffectiveChannel(
            actual, self._num_streams_per_tx, groups if alike else each(actual.shape[5])
        )
        for tx in range(self._num_tx):
            for symbols in groups:
                seen = [0] if alike else members(symbols)
                for part in self._matrices(inputs, tx, symbols[0].start):
                    matrix = self._matrix(part.answer)
                    for symbol in seen:
                        met = actual[:, :, :, tx, :, symbol]
                        h_eff.put(met, matrix, None, tx, symbol, part.tile)
        return h_eff.seen(self._effective_ind)

    def _stream_power(self, tx_power: Tensor, whole: Sizes) -> Tensor:
        """Power of the streams on effective subcarriers, broadcastable to the effective channel."""
        power = _leading(tx_power, 5).to(self.device, self.dtype)
        streams = (self._num_tx, self._num_streams_per_tx)
        shape = (whole.items, *streams, whole.symbols, self._fft_size)
        try:
            power.broadcast_to(shape)
        except RuntimeError:
            raise ValueError(
                f"tx_power has the shape {list(tx_power.shape)}, the first dimensions of "
                f"{list(shape)} are needed."
            ) from None
        if not is_traced() and not bool((power >= 0).all()):
            raise ValueError("tx_power has negative entries or NaN, 0 or more is needed.")
        if power.shape[-1] > 1:
            power = power.index_select(-1, self._effective_ind)
        return power[:, None, None]


def _leading(value: Tensor, ndim: int) -> Tensor:
    """A tensor that has the first of ``ndim`` dimensions, with the others of size one."""
    value = torch.as_tensor(value)
    return value[(..., *(None,) * (ndim - value.dim()))]


def _same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are views of the same entries; a trace cannot tell."""
    if is_traced():
        return False
    return one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
