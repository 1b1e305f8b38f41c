"""Maximum-likelihood detection with what is known beforehand."""

from __future__ import annotations

from neumatc_mimo.tensorflow.detector import DetectorWithPrior
from neumatc_mimo.tensorflow.maximum_likelihood_detector import MaximumLikelihoodDetector


class MaximumLikelihoodDetectorWithPrior(DetectorWithPrior, MaximumLikelihoodDetector):
    r"""Maximum-likelihood (ML) detection for OFDM MIMO transmissions, with prior knowledge of the
    bits or constellation points.

    A drop-in for :class:`~sionna.phy.ofdm.MaximumLikelihoodDetectorWithPrior` of Sionna 1.2 with
    the same outputs. With the QR decomposition of the whitened channel

    .. math::
        \lVert\mathbf{L}^{-1}\mathbf{y} - \mathbf{L}^{-1}\mathbf{H}\mathbf{x}\rVert^2
        = \lVert\mathbf{Q}^{\mathsf{H}}\mathbf{L}^{-1}\mathbf{y} - \mathbf{R}\mathbf{x}\rVert^2
            + \mathrm{const}

    The products R x with all vectors of constellation points are computed once per subcarrier, and
    a distance has as many terms as there are streams, not antennas; see
    :class:`~neumatc_mimo.tensorflow.sufficient_statistics.Statistics`.

    :param output: Type of output, either "bit" or "symbol"
    :param demapping_method: Demapping method used, either "app" or "maxlog"
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: :class:`~neumatc_mimo.tensorflow.ScenarioModel` or ``Exact()``. What is computed
        here is cheap: it is computed exactly, whatever the solver
    :param constellation_type: "qam", "pam", "custom" or `None`; for "custom", an instance of
        :class:`~sionna.phy.mapping.Constellation` must be provided
    :param num_bits_per_symbol: Number of bits per constellation symbol, e.g., 4 for QAM16
    :param constellation: Instance of :class:`~sionna.phy.mapping.Constellation` or `None`.
        If `None`, ``constellation_type`` and ``num_bits_per_symbol`` must be provided.
    :param hard_out: If `True`, the detector computes hard-decided bit values or constellation
        point indices instead of soft-values
    :param precision: Precision used for internal calculations and outputs.
        If set to `None`, :attr:`~sionna.phy.config.Config.precision` is used.
    :param settings: ``certify`` and the other settings of all blocks, see
        :class:`~neumatc_mimo.foundation.block_settings.ProofSettings`

    :input y: [batch_size, num_rx, num_rx_ant, num_ofdm_symbols, fft_size], `tf.complex`.
        Received OFDM resource grid after cyclic prefix removal and FFT.
    :input h_hat: [batch_size, num_rx, num_rx_ant, num_tx, num_streams_per_tx, num_ofdm_symbols,
        num_effective_subcarriers], `tf.complex`. Channel estimates for all streams. ``y`` or
        ``h_hat`` may have one item, symbol or subcarrier, which is then used for all.
    :input prior: [batch_size, num_tx, num_streams, num_data_symbols * num_bits_per_symbol] for
        ``output`` "bit": LLRs; or [batch_size, num_tx, num_streams, num_data_symbols, num_points]
        for "symbol": logits, `tf.float`. What is known of the transmitted signals.
    :input err_var: [Broadcastable to shape of ``h_hat``], `tf.float`. Variance of the channel
        estimation error.
    :input no: [batch_size, num_rx, num_rx_ant] (or only the first n dims), `tf.float`. Variance of
        the AWGN.
    :input links: `None` (default) | [batch_size] | [batch_size, num_rx], `int`. Accepted as by all
        receivers.
    :input noise_covariance: `None` (default) | [..., num_rx_ant, num_rx_ant], `tf.complex`.
        Covariance of noise that is correlated between antennas, beside that of ``no``, as of
        :class:`MMSEEqualizer`.

    :output z: [batch_size, num_tx, num_streams, num_data_symbols * num_bits_per_symbol] for
        ``output`` "bit": LLRs or hard decisions, `tf.float`; for "symbol" [batch_size, num_tx,
        num_streams, num_data_symbols, num_points], `tf.float`: logits, or [batch_size, num_tx,
        num_streams, num_data_symbols], `tf.int32`: symbol indices.
    """
