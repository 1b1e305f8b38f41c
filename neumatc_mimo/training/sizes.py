"""How many functions, exact samples and collocation points the links of a band are learned with."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from neumatc_mimo.operations.base import Operation
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.scenario.schema import ModelConfig

# Of the power of a row, in dB, what later paths carry is below the tolerance that models have.
_WITHIN_DB = 40.0
# Of the links, those that reach no later; the rest have more to correct.
_SHARE = 0.9

# For each turn of the latest path over the band. Filters turn both ways, up to some twice as fast
# as channels, and splines reach delays of some 0.4 of their number (Munich at 98 and 380 MHz).
_WIDTH, _SAMPLES = 4.0, 2.0
# However few turns there are: users who come close to each other make filters of longer delays.
_LEAST_WIDTH, _LEAST_SAMPLES, _LEAST_COLLOCATION = 800, 256, 819
# For each row: of many users some are always close (Munich, 32 x 256: 256 samples leave a fifth of
# the subcarriers to exact results, 512 none; 1000 functions a twentieth to corrections, 1600 none).
_WIDTH_A_ROW, _SAMPLES_A_ROW = 50, 20
# Share of the grid for points of collocation: the rest shows what was not learned from.
_LOOKED_AT = 2 / 3


@dataclass(frozen=True)
class Sizes:
    """What was chosen for the links of an operation, where the scenario file does not say.

    :param turns: bandwidth times delay spread: how often the latest path that counts turns over the
        band, after the alignment
    :param width: functions of the trunk
    :param samples: most exact samples of a link and node
    :param collocation: points where the residual alone is known
    """

    turns: float
    width: int
    samples: int
    collocation: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the JSON manifest."""
        return asdict(self)


def sizes(config: ModelConfig, links: LinkSet, operation: Operation) -> Sizes:
    """Sizes for links: what the scenario file says, the rest from how often their paths turn.

    :param config: its section [model]
    :param links: aligned as the operation needs it
    :param operation: whose results may turn faster than channels
    """
    turns, grid = turns_over_band(links), links.fft_size
    faster = operation.turns * turns
    # Knots closer than subcarriers would tell nothing more.
    wanted = max(_WIDTH * faster, _WIDTH_A_ROW * links.num_rows)
    width = config.width or _between(_LEAST_WIDTH, wanted, grid)
    fewest = max(_LEAST_SAMPLES, _SAMPLES_A_ROW * links.num_rows)
    samples = config.samples or _between(fewest, _SAMPLES * faster, grid)
    most = _LOOKED_AT * grid
    collocation = config.collocation or _between(_LEAST_COLLOCATION, width, most)
    return Sizes(turns, width, samples, collocation)


def turns_over_band(links: LinkSet) -> float:
    """Bandwidth times the delay, after the alignment, beyond which 40 dB less than a row's power
    arrive, of a link's rows the largest, at the 90 % quantile of the links.
    """
    latest = links.latest_delays(_WITHIN_DB).amax(1)
    return links.fft_size * links.subcarrier_spacing * latest.quantile(_SHARE).item()


def _between(least: int, wanted: float, most: float) -> int:
    """At least as many as suffice anywhere, and no more than there is to gain from."""
    return max(least, int(min(math.ceil(wanted), most)))
