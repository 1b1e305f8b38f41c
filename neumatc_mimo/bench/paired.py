"""Paired block errors: whether one way of receiving loses blocks that another one gets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from neumatc_mimo.progress import Callbacks, Event, reported
from neumatc_mimo.simulation import Simulated


@dataclass(frozen=True)
class PairedErrors:
    """Block errors of two pipelines on the same bits, channels and noise.

    Only the discordant blocks, which one of them loses and the other one gets, tell them apart.

    :param num_blocks: blocks that both transmitted
    :param both: blocks that both lost
    :param only_first: blocks that the first one alone lost
    :param only_second: blocks that the second one alone lost
    """

    num_blocks: int
    both: int
    only_first: int
    only_second: int

    @property
    def first(self) -> float:
        """Block error rate of the first one."""
        return (self.both + self.only_first) / self.num_blocks

    @property
    def second(self) -> float:
        """Block error rate of the second one."""
        return (self.both + self.only_second) / self.num_blocks

    @property
    def p_value(self) -> float:
        """McNemar's test in its exact form, two-sided.

        Were the two equally good, each of the d discordant blocks would be lost by either with
        probability 1/2: the smaller count is binomial (McNemar, Psychometrika 12, 1947).
        """
        discordant = self.only_first + self.only_second
        if not discordant:
            return 1.0
        return float(stats.binomtest(self.only_second, discordant, 0.5).pvalue)

    @property
    def difference(self) -> float:
        """Block error rate of the second one less that of the first one."""
        return (self.only_second - self.only_first) / self.num_blocks

    def interval(self, errors: int, level: float = 0.99) -> tuple[float, float]:
        """Confidence interval of a block error rate from its count of errors.

        That of Clopper and Pearson (Biometrika 26, 1934), which covers at least ``level``.
        """
        found = stats.binomtest(errors, self.num_blocks).proportion_ci(level, method="exact")
        return float(found.low), float(found.high)

    def difference_interval(self, level: float = 0.99) -> tuple[float, float]:
        r"""Confidence interval of the difference of the two rates.

        With the counts b, c of discordant blocks among n, half a block added to each cell of the
        table (Agresti and Min, Statistics in Medicine 24, 2005),

        .. math:: \frac{c - b}{n + 2} \pm \frac{z}{n + 2}
                  \sqrt{b + c + 1 - \frac{(c - b)^2}{n + 2}},

        which has a width also where no block is discordant.
        """
        excess = self.only_second - self.only_first
        size = self.num_blocks + 2
        spread = self.only_first + self.only_second + 1 - excess**2 / size
        z = float(stats.norm.ppf(0.5 + level / 2))
        half = z * math.sqrt(spread) / size
        return excess / size - half, excess / size + half


def paired_errors(
    first: Simulated,
    second: Simulated,
    ebno_db: float,
    num_blocks: int,
    *,
    batch_size: int = 32,
    callback: Callbacks = None,
) -> PairedErrors:
    """Transmit the same blocks with two pipelines that differ in their solvers.

    :param ebno_db: Eb/N0 in dB
    :param num_blocks: blocks to transmit
    :param batch_size: slots of a call
    :param callback: called with the number of blocks done, and how many of them either pipeline
        lost

    :raises ValueError: if ``num_blocks`` is none, or the pipelines draw different bits
    """
    if num_blocks < 1:
        raise ValueError(f"num_blocks is {num_blocks}, at least one is needed.")
    done = both = only_first = only_second = 0
    with reported(callback) as tell:
        while done < num_blocks:
            bits, bits_hat = first(batch_size, ebno_db)
            others, others_hat = second(batch_size, ebno_db)
            if not torch.equal(bits, others):
                raise ValueError(
                    "The two pipelines draw different bits, their seeds and settings must be the "
                    "same."
                )
            left = num_blocks - done
            a, b = (_lost(bits, hat)[:left] for hat in (bits_hat, others_hat))
            both += int((a & b).sum())
            only_first += int((a & ~b).sum())
            only_second += int((b & ~a).sum())
            done += len(a)
            lost = {"lost_by_first": both + only_first, "lost_by_second": both + only_second}
            tell(Event("paired blocks", done, num_blocks, "blocks", lost))
    return PairedErrors(done, both, only_first, only_second)


def _lost(bits: Tensor, bits_hat: Tensor) -> Tensor:
    """Which blocks have an error, bool [num_blocks]."""
    return (bits != bits_hat).any(-1).flatten()
