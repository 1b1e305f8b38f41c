"""Signal-to-interference-and-noise ratios of the streams behind LMMSE equalization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.blocks.checks import as_complex, check_shape
from neumatc_mimo.blocks.coloured_noise import Whitening, in_unit_noise
from neumatc_mimo.blocks.equalizer import Equalizer, UplinkInputs, merged
from neumatc_mimo.blocks.fitting import joint_items, joint_sizes, spread
from neumatc_mimo.blocks.inputs import ResultKind
from neumatc_mimo.blocks.noise_covariance import Grouped, checked_covariance
from neumatc_mimo.blocks.symbols import at_symbols
from neumatc_mimo.tensors.mapped import mapped_alike
from neumatc_mimo.tensors.results import new_result
from neumatc_mimo.tensors.tracing import is_traced


@dataclass(frozen=True, kw_only=True)
class SINRInputs(UplinkInputs):
    """What the block is called with.

    :param whitening: [1]; None where the streams that others want are not whitened
    """

    whitening: Tensor | None


class LMMSEPostEqualizationSINR(Equalizer):
    r"""SINR of every stream after LMMSE equalization.

    A drop-in for :class:`~sionna.phy.ofdm.LMMSEPostEqualizationSINR` with the same outputs, for
    effective channels of any precoder. With the channel :math:`\mathbf{H}` [num_rx_ant, K] of a
    receiver's desired streams, the channel :math:`\mathbf{U}` of the undesired ones, and a filter
    :math:`\mathbf{F}` [K, num_rx_ant]

    .. math::
        \mathrm{SINR}_k = \frac{|[\mathbf{F}\mathbf{H}]_{kk}|^2}
            {\sum_{j \ne k} |[\mathbf{F}\mathbf{H}]_{kj}|^2
            + \sum_j |[\mathbf{F}\mathbf{U}]_{kj}|^2
            + [\mathbf{F}\mathbf{S}\mathbf{F}^{\mathsf{H}}]_{kk}}, \qquad
        \mathbf{F} = \mathbf{H}^{\mathsf{H}}(\mathbf{H}\mathbf{H}^{\mathsf{H}} + \mathbf{S})^{-1}.

    :math:`\mathbf{S}` is the covariance of the noise. With ``interference_whitening`` it also
    contains that of the undesired streams, which then count twice, as in Sionna.

    If the noise is the same at all antennas, the filter comes from the solver. It is computed once
    for all OFDM symbols with the same channel and noise. (If possible, the channel that
    :class:`ZFPrecodedChannel` returns stores only one symbol and repeats it.)

    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver, such as ``Exact()``
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param device: Device for computation.
        If `None`, :attr:`~sionna.phy.config.Config.device` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.BlockSettings`

    :input h_eff: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `torch.complex`. Effective channel after precoding.
    :input no: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, num_effective_subcarriers] (or
        only the first n dims), `torch.float`. Noise variance.
    :input h_eff_hat: `None` (default) | as ``h_eff``. Estimated effective channel. If given, it is
        used instead of ``h_eff``, as in Sionna.
    :input interference_whitening: `True` (default) | `bool`. Whether undesired streams are
        whitened.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Indices of the
        links, -1 for unknown. If `None`, the solver recognises links from the channel.
    :input time: `None` (default) | `float`. Seconds from the start of the burst to the start of the
        slot, for models of moving users.
    :input noise_covariance: `None` (default) | [..., num_rx_ant, num_rx_ant], `torch.complex`.
        Covariance of noise that is correlated between antennas, in addition to ``no``, as for
        :class:`MMSEEqualizer`.

    :output sinr: [batch_size, num_ofdm_symbols, num_effective_subcarriers, num_rx,
        num_streams_per_rx], `torch.float`. SINR after equalization; a view that repeats one symbol
        if all inputs are constant.

    .. rubric:: Examples

    .. code-block:: python

        import numpy as np
        import torch
        from sionna.phy.mimo import StreamManagement
        from sionna.phy.ofdm import ResourceGrid

        from neumatc_mimo.blocks import LMMSEPostEqualizationSINR
        from neumatc_mimo.solvers.exact import Exact

        rg = ResourceGrid(num_ofdm_symbols=14, fft_size=64, subcarrier_spacing=30e3,
                          num_tx=2, num_streams_per_tx=2)
        sinr = LMMSEPostEqualizationSINR(rg, StreamManagement(np.ones([1, 2]), 2), Exact())
        h_eff = torch.randn(16, 1, 4, 2, 2, 14, 64, dtype=torch.complex64)
        print(sinr(h_eff, torch.tensor(0.1)).shape)
        # torch.Size([16, 14, 64, 1, 4])
    """

    _inputs = SINRInputs

    def call(  # type: ignore[override]
        self,
        h_eff: Tensor,
        no: float | Tensor,
        h_eff_hat: Tensor | None = None,
        interference_whitening: bool = True,
        links: Tensor | None = None,
        time: float | None = None,
        noise_covariance: Tensor | None = None,
    ) -> Tensor:
        """SINRs; inputs and outputs as in the class's description."""
        h = self._checked_channel("h_eff", h_eff)
        if h_eff_hat is not None:
            estimate = self._checked_channel("h_eff_hat", h_eff_hat)
            check_shape("h_eff_hat", estimate, (None, *h.shape[1:5], None, None))
            whole = joint_sizes(h_eff=h, h_eff_hat=estimate)
            h = spread(estimate, *whole)
        noise = self._noise(no, h)
        sizes = (len(h), h.shape[1], *h.shape[5:], h.shape[2])
        covariance = checked_covariance(noise_covariance, sizes, self.cdtype, self.device)
        h = mapped_alike(h, noise, covariance)
        num_covariances = 1 if covariance is None else len(covariance)
        items = joint_items(len(h), len(noise), num_covariances)
        links = self._checked_links(links, (items,), self._num_rx)
        inputs = SINRInputs(
            h_hat=spread(h, items),
            noise=noise,
            variance=noise,
            covariance=covariance,
            whitening=h.real.new_ones(1) if interference_whitening else None,
            links=links,
            time=time,
        )
        sinr: Tensor = self._served(inputs)
        return sinr

    def _kinds(self, inputs: SINRInputs) -> list[ResultKind]:  # type: ignore[override]
        items, *_, symbols, subcarriers = inputs.h_hat.shape
        shape = (items, symbols, subcarriers, self._num_rx, self._num_streams_per_rx)
        return [ResultKind(self.dtype, shape)]

    def _results(self, inputs: SINRInputs) -> Tensor:  # type: ignore[override]
        """SINRs where the links of some receivers are trusted."""
        inputs = merged(inputs)
        h, groups = inputs.h_hat, self._groups(inputs)
        rows = self._num_rx * self._num_streams_per_rx
        sinr = new_result(h.real, len(h), rows, len(groups), h.shape[-1])
        own = sinr.unflatten(1, (self._num_rx, -1))
        for rx in range(self._num_rx):
            for group, symbols in enumerate(groups):
                for tile, value in self._ratios(inputs, rx, symbols[0].start):
                    own[:, rx, :, group, tile] = value.mT
        whole = at_symbols(sinr, groups, h.shape[-2]).unflatten(1, (self._num_rx, -1))
        return whole.permute(0, 3, 4, 1, 2)

    def _ratios(self, inputs: SINRInputs, rx: int, symbol: int) -> Iterator[tuple[slice, Tensor]]:
        """Tiles of the SINRs [batch_size, tile, num_streams] at a receiver."""
        a, variance = self._wanted(inputs, rx, symbol), inputs.noise_of(rx, symbol)
        others = self._unwanted(inputs, rx, symbol)
        whitens = inputs.whitening is not None and bool(self._undesired[rx])
        correlated = inputs.correlated_noise(rx, symbol)
        if variance.shape[1] == 1 and not whitens and correlated is None:
            no = variance[:, 0].expand(len(a), -1)
            no = no[:, 0] if no.shape[1] == 1 else no
            channels = self._asked(inputs, rx, symbol, a, no)
            for part in self._answers(self._operation, channels, self._borders()):
                here = part.answers.channel(part.tile, a)
                noise = no[:, None] if no.dim() == 1 else no[:, part.tile]
                ratio = _ratio(here, others[:, part.tile], part.answer.dense, noise[..., None])
                yield part.tile, ratio
            return
        looking = self._settings.certify is not None and not is_traced()
        for tile, here in self._own_channels(inputs, rx, symbol):
            beside: Tensor | Grouped
            if correlated is not None:
                beside = correlated.at(tile)
            else:
                beside = variance.mT if variance.shape[-1] == 1 else variance[..., tile].mT
            among = others[:, tile].contiguous()
            whitening = Whitening.of(among if whitens else among[:, :, :0], beside)
            white, undesired = whitening.rows(here), whitening.rows(among)
            yield tile, _ratio(white, undesired, in_unit_noise(white, looking), 1.0).to(self.dtype)

    def _checked_channel(self, name: str, h: Tensor) -> Tensor:
        """A complex channel of the grid."""
        h = as_complex(name, h, self.cdtype)
        streams = (self._num_tx, self._num_streams_per_tx)
        check_shape(name, h, (None, self._num_rx, None, *streams, None, None))
        return spread(h, symbols=self._num_symbols, subcarriers=self._num_effective)

    def _noise(self, no: float | Tensor, h: Tensor) -> Tensor:
        """Noise variance [batch_size, num_rx, num_rx_ant, num_ofdm_symbols,
        num_effective_subcarriers], each or 1.
        """
        noise = torch.as_tensor(no, dtype=self.dtype, device=self.device)
        given = list(noise.shape)
        noise = noise[(..., *(None,) * (5 - noise.dim()))]
        shape = [*h.shape[:3], *h.shape[5:]]
        try:
            noise.broadcast_to(shape)
        except RuntimeError:
            raise ValueError(
                f"no has the shape {given}, the first dimensions of {shape} are needed."
            ) from None
        if not is_traced() and not bool((noise >= 0).all()):
            raise ValueError("no has negative entries or NaN, a noise power must not be negative.")
        return noise


def _ratio(a: Tensor, others: Tensor, w: Tensor, noise: Tensor | float) -> Tensor:
    """SINRs behind filters w [batch_size, tile, num_rx_ant, num_streams] of channels
    [batch_size, tile, streams, num_rx_ant].

    :param noise: [..., 1] or a number
    """
    size = torch.linalg.vector_norm(w, dim=-2, keepdim=True)
    w = w / torch.where(size > 0, size, 1.0)
    power = torch.view_as_real(a.contiguous() @ w).square().sum(-1)
    signal = power.diagonal(dim1=-2, dim2=-1)
    rest = (power - torch.diag_embed(signal)).sum(-2) + noise
    rest = rest + torch.view_as_real(others.contiguous() @ w).square().sum((-1, -3))
    return torch.where(rest > 0, signal / torch.where(rest > 0, rest, 1.0), 0.0)
