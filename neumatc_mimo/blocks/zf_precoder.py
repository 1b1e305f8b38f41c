"""Zero-forcing precoding, plain or regularised."""

from __future__ import annotations

import torch
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.common import (
    SolverBlock,
    check_complex,
    check_shape,
    collapse,
    is_traced,
    take,
)
from neumatc_mimo.operations.base import Tolerance
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse
from neumatc_mimo.solvers.base import Solver


class ZFPrecoder(SolverBlock):
    r"""Zero-forcing precoding for multi-antenna OFDM transmissions.

    A drop-in for :class:`~sionna.phy.ofdm.RZFPrecoder` with the same outputs: for every
    transmitter the channels to all its receivers are gathered into :math:`\mathbf{H}`, and

    .. math::
        \mathbf{G} = \mathbf{V}\mathbf{D}, \qquad
        \mathbf{V} = \mathbf{H}^{\mathsf{H}} (\mathbf{H}\mathbf{H}^{\mathsf{H}}
        + \alpha\mathbf{I})^{-1}, \qquad
        \mathbf{D} = \mathrm{diag}(\lVert\mathbf{v}_k\rVert_2^{-1})

    precodes the streams. :math:`\mathbf{V}` comes from the ``solver``, once per distinct channel:
    a channel that is constant over the OFDM symbols is handled once. That it is constant is told
    from a zero stride or from bitwise equality at 16 spread subcarriers; ``time_varying=True``
    skips the check.

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param return_effective_channel: Indicates if the effective channel after precoding should be
        returned. Defaults to `False`.
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param certify: "link" (recognised links carry the certificate made in training), "call" (prove
        each call) or `None` (pure query, compiles and captures)
    :param tolerance: What a certificate asks for; `None` is 40 dB and a range error of 1e-2
    :param time_varying: Whether the channel differs between OFDM symbols; `None` finds out

    :input x: [batch_size, num_tx, num_streams_per_tx, num_ofdm_symbols, fft_size], `torch.complex`.
        Resource grids to be precoded.
    :input h: [batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Channel knowledge based on which the precoding is computed.
    :input alpha: `0.` (default) | [batch_size] | [batch_size, num_tx, num_ofdm_symbols, fft_size]
        (or broadcastable), `float`. Regularization parameter, a noise power. A vector is taken
        along the subcarriers, as in Sionna, if it has one entry for each of them.
    :input links: `None` (default) | [batch_size] | [batch_size, num_tx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from ``h``.

    :output x_precoded: [batch_size, num_tx, num_tx_ant, num_ofdm_symbols, fft_size],
        `torch.complex`. Precoded resource grids.
    :output h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. Only returned if
        ``return_effective_channel=True``. The effective channels of all streams after precoding,
        without nulled subcarriers; a view that repeats one symbol if ``h`` is constant.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        from neumatc_mimo.blocks import ZFPrecoder
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=1, num_streams_per_tx=4)
        precoder = ZFPrecoder(rg, StreamManagement(np.ones([4, 1]), 4), Exact())
        x = torch.randn(2, 1, 4, 14, 64, dtype=torch.complex64)
        h = torch.randn(2, 4, 1, 1, 16, 14, 64, dtype=torch.complex64)
        print(precoder(x, h).shape)
        # torch.Size([2, 1, 16, 14, 64])
    """

    def __init__(
        self,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        return_effective_channel: bool = False,
        precision: str | None = None,
        device: str | None = None,
        *,
        certify: str | None = "link",
        tolerance: Tolerance | None = None,
        time_varying: bool | None = None,
    ) -> None:
        super().__init__(
            resource_grid,
            stream_management,
            solver,
            precision,
            device,
            certify=certify,
            tolerance=tolerance,
            time_varying=time_varying,
        )
        self._return_effective_channel = return_effective_channel
        self._operation = PseudoInverse()
        self._precoding_ind = stream_management.precoding_ind.tolist()

    def call(
        self,
        x: Tensor,
        h: Tensor,
        alpha: float | Tensor = 0.0,
        links: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        self._check(x, h)
        batch_size, num_rx, num_rx_ant, num_tx, num_tx_ant, num_symbols, fft_size = h.shape
        regularization = self._check_alpha(alpha, batch_size, num_tx)
        links = self._check_links(links, batch_size, num_tx)

        constant = self._is_constant(h)
        if constant and (regularization is None or regularization.shape[2] == 1):
            groups = [slice(None)]
        else:
            groups = [slice(i, i + 1) for i in range(num_symbols)]
        x_precoded = torch.empty(
            batch_size, num_tx, num_tx_ant, num_symbols, fft_size, dtype=x.dtype, device=x.device
        )
        h_eff = torch.empty(
            (batch_size, num_rx * num_rx_ant, num_tx, x.shape[2], len(groups), fft_size)
            if self._return_effective_channel
            else 0,
            dtype=x.dtype,
            device=x.device,
        )
        for tx in range(num_tx):
            for group, symbols in enumerate(groups):
                # All receivers' rows: [batch_size, num_rx, num_rx_ant, num_tx_ant, fft_size]
                rows = h[:, :, :, tx, :, symbols][..., 0, :]
                # Rows of the receivers that tx serves: [batch_size, fft_size, K, num_tx_ant]
                a = take(rows, 1, self._precoding_ind[tx]).flatten(1, 2).permute(0, 3, 1, 2)
                # [batch_size, fft_size, num_rx * num_rx_ant, num_tx_ant]
                a_all = rows.flatten(1, 2).permute(0, 3, 1, 2)
                no = None
                if regularization is not None:
                    no = regularization[:, tx, min(group, regularization.shape[2] - 1)]
                link = None if links is None else links[:, tx]
                for tile, filters in self._answers(
                    self._operation, a, no, link, self._frequencies, [slice(0, fft_size)]
                ):
                    # A column of zeros stays one, as in Sionna.
                    power = filters.column_power
                    norm = power.clamp_min(torch.finfo(power.dtype).tiny).rsqrt()
                    # [batch_size, tile, K, symbols] and [batch_size, tile, num_tx_ant, symbols]
                    part = x[:, tx, :, symbols, tile].permute(0, 3, 1, 2).contiguous()
                    part = filters.w @ (part * norm[..., None])
                    x_precoded[:, tx, :, symbols, tile] = part.permute(0, 2, 3, 1)
                    if self._return_effective_channel:
                        g = filters.w * norm[..., None, :]
                        h_eff[:, :, tx, :, group, tile] = (
                            a_all[:, tile].contiguous() @ g
                        ).permute(0, 2, 3, 1)
        if not self._return_effective_channel:
            return x_precoded
        h_eff = h_eff.index_select(-1, self._effective_ind)
        h_eff = h_eff.unflatten(1, (num_rx, num_rx_ant))
        return x_precoded, h_eff.expand(*h_eff.shape[:5], num_symbols, -1)

    def _check(self, x: Tensor, h: Tensor) -> None:
        check_complex(x=x, h=h)
        rg, sm = self._resource_grid, self._stream_management
        grid = (rg.num_ofdm_symbols, rg.fft_size)
        check_shape("h", h, (None, sm.num_rx, None, sm.num_tx, None, *grid))
        check_shape("x", x, (h.shape[0], sm.num_tx, sm.num_streams_per_tx, *grid))
        num_rows, num_tx_ant = sm.num_rx_per_tx * h.shape[2], h.shape[4]
        if num_rows != sm.num_streams_per_tx:
            raise ValueError(
                f"{sm.num_rx_per_tx} receivers of {h.shape[2]} antennas make {num_rows} rows of a "
                f"transmitter's channel, its {sm.num_streams_per_tx} streams need as many."
            )
        if num_rows > num_tx_ant:
            raise ValueError(
                f"{num_rows} streams are more than the {num_tx_ant} antennas of a transmitter."
            )

    def _check_alpha(
        self, alpha: float | Tensor, batch_size: int, num_tx: int
    ) -> Tensor | None:
        """Noise power [batch_size, num_tx, symbols] or [.., symbols, fft_size]; None for zero.

        The number of symbols is one where alpha is the same for all.
        """
        if isinstance(alpha, float | int) and alpha == 0:
            return None
        alpha = torch.as_tensor(alpha, dtype=self.dtype, device=self.device)
        if not is_traced():
            if not bool((alpha >= 0).all()):
                raise ValueError("alpha has negative entries or NaN, it is a noise power.")
            if not bool(alpha.any()):
                return None
        rg = self._resource_grid
        if alpha.shape == (batch_size,) and batch_size not in (1, rg.fft_size):
            alpha = alpha[:, None, None, None]
        shape = (batch_size, num_tx, rg.num_ofdm_symbols, rg.fft_size)
        try:
            alpha = alpha.broadcast_to(shape)
        except RuntimeError:
            raise ValueError(
                f"alpha has the shape {list(alpha.shape)}, [batch_size] or one that can be "
                f"broadcast to {list(shape)} is needed."
            ) from None
        alpha = collapse(collapse(alpha, 3), 2)
        return alpha[..., 0] if alpha.shape[3] == 1 else alpha
