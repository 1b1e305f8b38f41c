"""Effective channel after precoding that depends on the noise power."""

from __future__ import annotations

from torch import Tensor

from neumatc_mimo.blocks.matrix_precoded_channel import MatrixPrecodedChannel
from neumatc_mimo.blocks.noisy_precoder import NoisyPrecoder
from neumatc_mimo.blocks.stream_power import leading


class NoisyPrecodedChannel(MatrixPrecodedChannel):
    """Base class of precoded channels that are called with the noise power at a user, above zero;
    see :class:`~neumatc_mimo.blocks.wmmse_precoded_channel.WMMSEPrecodedChannel`.
    """

    asks_noise = True

    _precoder: NoisyPrecoder

    def __init__(self, precoder: NoisyPrecoder) -> None:
        super().__init__(precoder)

    def call(
        self,
        h: Tensor,
        tx_power: Tensor,
        h_hat: Tensor | None = None,
        no: float | Tensor | None = None,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> Tensor:
        """Effective channel; inputs and outputs as in the class's description."""
        if no is None:
            raise ValueError("no is missing, this precoder needs a noise power.")
        h, h_hat, shape = self._channels(h, h_hat)
        no = no if isinstance(no, float | int) else leading(no, 4)
        noise = self._precoder._checked_noise(no, shape)
        return self._effective(h, tx_power, h_hat, noise, links=links, time=time)
