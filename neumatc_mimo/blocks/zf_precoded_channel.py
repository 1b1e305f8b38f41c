"""Effective channel after zero-forcing precoding."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.common import check_complex, check_shape, each
from neumatc_mimo.blocks.precoder import effective, noise_of
from neumatc_mimo.blocks.zf_precoder import ZeroForcing
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.tensors.tracing import is_traced


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
    :param certify: See :class:`ZFPrecoder`, as all keyword arguments

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

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        **settings: Any,
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
        h_hat = h if h_hat is None else h_hat
        self._check_channel(h)
        check_complex(h_hat=h_hat)
        check_shape("h_hat", h_hat, h.shape)
        power = self._stream_power(tx_power, h)
        alpha = alpha if isinstance(alpha, float | int) else _leading(alpha, 4)
        noise = self._noise_power("alpha", alpha, h)
        links = self._check_links(links, h.shape[0], self._num_tx)
        h_eff: Tensor = self._in_parts(
            partial(self._effective_channel, time), links, h, h_hat, noise
        )
        return h_eff * power.sqrt()

    def _effective_channel(
        self,
        time: float | None,
        trusted: frozenset[int],
        links: Tensor | None,
        h: Tensor,
        h_hat: Tensor,
        no: Tensor | None,
    ) -> Tensor:
        """Channels times precoders of unit power, for links of the same transmitters trusted.

        :param no: [batch_size, num_tx, num_ofdm_symbols or 1, fft_size or 1] or None
        """
        batch_size, num_rx, num_rx_ant, num_tx, _, num_symbols, fft_size = h.shape
        groups = self._groups(h_hat, no, trusted=trusted, dim=3, time=time)
        all_alike = len(groups) == 1 and len(self._groups(h)) == 1
        h_eff = h.new_empty(
            batch_size,
            num_rx * num_rx_ant,
            num_tx,
            self._num_streams_per_tx,
            1 if all_alike else num_symbols,
            fft_size,
        )
        for tx in range(num_tx):
            for runs in groups:
                first = runs[0].start
                symbols = [symbol for run in runs for symbol in range(run.start, run.stop)]
                known = h_hat[:, :, :, tx, :, first]
                for part in self._parts(
                    known,
                    tx,
                    noise_of(no, tx, first),
                    links,
                    trusted,
                    self._moment(time, first),
                ):
                    matrix = self._matrix(part.answer)
                    for symbol in [0] if all_alike else symbols:
                        rows = h[:, :, :, tx, :, symbol, part.tile]
                        h_eff[:, :, tx, :, symbol, part.tile] = effective(rows, matrix)
        return self._seen(h_eff, num_rx, groups if all_alike else each(num_symbols))

    def _stream_power(self, tx_power: Tensor, h: Tensor) -> Tensor:
        """Power of the streams on effective subcarriers, broadcastable to the effective channel."""
        power = _leading(tx_power, 5).to(self.device, self.dtype)
        streams = (self._num_tx, self._num_streams_per_tx)
        shape = (h.shape[0], *streams, self._num_symbols, self._fft_size)
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
