"""Error rates and achievable rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from neumatc_mimo.plots.curves import draw_curves
from neumatc_mimo.plots.style import Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def error_curves(
    ebno_dbs: Values, rates: Mapping[str, Values], *, rate: str = "BLER", ax: Axes | None = None
) -> Axes:
    """Error rates over Eb/N0; points without an error are left out.

    :param ebno_dbs: Eb/N0 in dB, [num_points]
    :param rates: label → rates, [num_points]
    :param rate: which rate it is
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    return draw_curves(ebno_dbs, rates, "Eb/N0 [dB]", rate, "semilogy", ax)


def achievable_rates(
    snr_dbs: Values, rates: Mapping[str, Values], *, ax: Axes | None = None
) -> Axes:
    """Achievable rates over the signal-to-noise ratio.

    :param snr_dbs: dB, [num_points]
    :param rates: label → bit per channel use, [num_points]
    :param ax: axes to draw into; `None` makes a figure

    :return: the axes
    :raises ValueError: if lengths differ
    """
    return draw_curves(snr_dbs, rates, "SNR [dB]", "rate [bit per channel use]", "plot", ax)
