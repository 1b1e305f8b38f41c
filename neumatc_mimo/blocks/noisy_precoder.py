"""Precoding that depends on the noise power."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from neumatc_mimo.blocks.matrix_precoder import MatrixPrecoder
from neumatc_mimo.blocks.noise import transmitter_noise
from neumatc_mimo.blocks.symbols import Symbols, members
from neumatc_mimo.kernels.lanes import Precoded
from neumatc_mimo.tensors.differentiated import is_differentiated
from neumatc_mimo.tensors.tracing import is_traced


class NoisyPrecoder(MatrixPrecoder):
    """Base class of precoders that are called with the noise power at a user, above zero; see
    :class:`~neumatc_mimo.blocks.wmmse_precoder.WMMSEPrecoder`.
    """

    # What is finite with noise only.
    _figure: ClassVar[str] = "rate"

    def _emitter(
        self, out: Tensor, x: Tensor, symbols: Symbols, effective: Tensor | None
    ) -> Precoded:
        return Precoded(x, out, members(symbols), effective)

    def call(
        self,
        x: Tensor,
        h: Tensor,
        no: float | Tensor,
        links: Tensor | None = None,
        time: float | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Precode the resource grids ``x``; inputs and outputs as in the class's description."""
        x, h = self._checked(x, h)
        noise = self._checked_noise(no, self._sizes(x, h))
        return self._precoded(x, h, noise, links=links, time=time)

    def _checked_noise(self, no: float | Tensor, shape: Sequence[int]) -> Tensor:
        """The noise power as :func:`transmitter_noise` gives it.

        :param shape: [batch_size, num_tx, num_ofdm_symbols, fft_size]
        """
        noise = transmitter_noise("no", no, shape, self.dtype, self.device)
        # Zero is still there where a gradient is asked of it.
        if noise is None or (is_differentiated(noise) and not (is_traced() or bool(noise.any()))):
            raise ValueError(f"no is zero, but without noise the {self._figure} is not finite.")
        return noise
