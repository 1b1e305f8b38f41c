"""The certificate of learned links over their whole grid: of what blocks will serve.

Proofs are taken on the numbers that a block answers with, in its precision, against a channel as a
block meets it. The link's own channel in single precision is not that: another way to compute it
rounds otherwise, and what a filter leaves of a row that is nearly singular is rounding alone. So
what is served has to hold for channels with more noise than rounding makes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.kernels.lanes.proofs import certificate
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.layout import Latents
from neumatc_mimo.model import OperationModel
from neumatc_mimo.model.marks import Marks, decibels
from neumatc_mimo.operations import Operation
from neumatc_mimo.operations.base import Certificate, Components
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.training.channels import channels_along
from neumatc_mimo.training.jobs import Job, stricter

# Subcarriers times values of the axis that are certified at once, for each link, and numbers of
# their matrices and results.
_AT_ONCE, _NUMBERS = 2**16, 2**26

# Correction steps that are tried. In double precision each squares the error.
_STEPS = 4

# Noise of the channel that what is served has to bear, relative to the root mean square of a row.
# Between two ways to sum 25 paths in single precision it is 1.35e-7 (Munich, all links).
_ROUNDING = 3e-7


def certified_model(job: Job, mapping: CompactMapping, links: LinkSet) -> OperationModel:
    """Certify links over their whole grid, at the ends of the axis and between its nodes.

    Subcarriers that fail at any of these values are corrected, by as many steps with the links' own
    channels as prove all of them, else patched by exact results of these, else left to each call.

    :param job: what they were learned for
    :param mapping: of these links
    """
    frequencies = links.grid_frequencies()
    unseen = torch.ones(len(frequencies), dtype=torch.bool, device=links.device)
    unseen[job.settings.points(len(frequencies))[0]] = False
    proof = _Proof.of(job, mapping, links)
    marks, qualities, errors = [], [], []
    # Channels at many times take much memory, and so do large matrices.
    size = min(512, max(_AT_ONCE // len(proof.values), 1), proof.most_points)
    for points in torch.arange(len(frequencies), device=links.device).split(size):
        here = unseen[points]
        found, quality, error = proof.at(frequencies[points], here.nonzero()[::8, 0])
        marks.append(found)
        qualities.append(quality[:, here].flatten())
        errors.append(error)
    columns = zip(*(part.tensors().values() for part in marks), strict=True)
    whole = Marks(*(torch.cat(column, dim=-1) for column in columns))
    # At frequencies that were neither sampled nor collocation points, before any repair; not a
    # number where a grid is so small that there are none.
    quality = torch.cat(qualities)
    # Of what is too far off for any bound nothing is proven.
    quality = quality.nan_to_num(nan=-math.inf)
    report = {
        "error_median": torch.cat(errors, dim=1).median().item(),
        "quality_5_percent_db": (
            quality.quantile(0.05, interpolation="lower").item() if len(quality) else math.nan
        ),
        "corrected_share": (whole.corrected[..., unseen] > 0).double().mean().item(),
        "patched_share": whole.exact[..., unseen].double().mean().item(),
    }
    return OperationModel(job.operation, mapping, links, whole, unseen, job.tolerance, report)


def relative_error(answer: Tensor, exact: Tensor) -> Tensor:
    """Relative Frobenius error of each matrix, [num_links, F]."""
    difference = (answer.to(exact) - exact).flatten(2)
    return torch.linalg.norm(difference, dim=-1) / torch.linalg.norm(exact.flatten(2), dim=-1)


@dataclass(frozen=True)
class _Proof:
    """Links' mappings at the values of their axis at which they are proven.

    :param tolerance: with the margin by which the values vouch for what lies between them
    :param values: [num_checks]
    :param powers: noise powers at these, or [1] for all
    :param folded: latent tensors at the values
    """

    operation: Operation
    tolerance: Tolerance
    mapping: CompactMapping
    links: LinkSet
    values: Tensor
    powers: Tensor
    folded: Latents

    @classmethod
    def of(cls, job: Job, mapping: CompactMapping, links: LinkSet) -> _Proof:
        """The mappings of some links of a job."""
        values, powers = mapping.axis.checks, mapping.axis.powers
        # Noise powers, unless the axis is the time.
        powers = values if mapping.axis.takes_noise else powers
        folded = mapping.at(values.expand(links.num_links, -1))
        tolerance = stricter(job.tolerance, mapping.axis)
        return cls(job.operation, tolerance, mapping, links, values, powers, folded)

    def at(self, frequencies: Tensor, few: Tensor) -> tuple[Marks, Tensor, Tensor]:
        """What is proven at frequencies [F] in Hz.

        :param few: indices of some of them, whose error is told

        :return: marks [num_links, num_stretches, F]; the quality of the mapping alone in dB,
            [num_links, F, num_checks]; relative errors of the first component at the first value,
            [num_links, few]
        """
        every = torch.arange(self.links.num_links, device=self.links.device)
        own = channels_along(self.links, self.values, every, frequencies, torch.complex64)
        seen = own + self._rounding(own, frequencies)
        table = self.mapping.table(frequencies)
        stored = self.mapping.evaluate(table, slice(0, len(frequencies)), self.folded)
        proof = certificate(self.operation, seen, stored, self.powers, self.tolerance)
        failed = self._worst(~proof.ok.expand(*proof.ok.shape[:2], len(self.values)))
        quality, closeness = (self._lowest(level) for level in _levels(proof, len(self.values)))
        none = torch.zeros_like(quality)
        marks = Marks(none, none.bool(), none.bool(), quality, closeness)
        if bool(failed.any()):
            self._mend(marks, failed, seen, stored, frequencies)
        first = self.operation.from_stored(tuple(c[:, few, 0] for c in stored), self.powers[0])
        error = self._error(own[:, few, 0], first)
        return marks, proof.quality, error

    @property
    def most_points(self) -> int:
        """Subcarriers of whose channels and results so few numbers are held at once that they are a
        small part of what the learning held.
        """
        moments = 1 if self.links.doppler is None else len(self.values)
        channel = 2 * self.links.num_rows * self.links.num_cols * moments
        return max(_NUMBERS // (self.links.num_links * (channel + self.folded.size)), 1)

    def _mend(
        self, marks: Marks, failed: Tensor, seen: Tensor, stored: Components, frequencies: Tensor
    ) -> None:
        """Find what proves the subcarriers where the mapping alone failed, and mark them.

        :param failed: [num_links, num_stretches, F]
        :param stored: components as the mapping holds them
        """
        pairs = failed.any(1).nonzero()
        # Double precision, and what a step makes on its way, take several times as much.
        for some in pairs.split(max(self.most_points // 8, 1)):
            self._mend_some(marks, failed, seen, stored, frequencies, some)

    def _mend_some(
        self,
        marks: Marks,
        failed: Tensor,
        seen: Tensor,
        stored: Components,
        frequencies: Tensor,
        pairs: Tensor,
    ) -> None:
        """As above, for pairs of a link and a frequency, [num_pairs, 2]."""
        num = len(self.values)
        link, at = pairs.unbind(1)
        open_ = failed.mT[link, at]  # [pairs, num_stretches] that nothing has proven yet
        own, given = self._own(link, frequencies[at]), seen[link, at]
        # What does not depend on the noise is corrected once for all checks.
        some = self.operation.from_stored(tuple(c[link, at] for c in stored), self.powers)
        poor = _doubled(some)
        for number in range(1, _STEPS + 2):
            if number <= _STEPS:
                poor = self.operation.correct(own, poor, self.powers)
            else:
                poor = _doubled(self.operation.exact(own, self.powers))
            proof = self.operation.certificate(given, _served(poor), self.powers, self.tolerance)
            ok = ~self._worst(~proof.ok.expand(len(link), num)) & open_
            levels = [self._lowest(level) for level in _levels(proof, num)]
            pair, stretch = ok.nonzero(as_tuple=True)
            where = (link[pair], stretch, at[pair])
            if number <= _STEPS:
                marks.corrected[where] = number
            else:
                marks.patched[where] = True
            for kept, level in zip((marks.quality_db, marks.range_db), levels, strict=True):
                kept[where] = level[pair, stretch]
            open_ = open_ & ~ok
            rest = open_.any(-1)
            if not bool(rest.any()):
                return
            link, at, open_, own, given = (t[rest] for t in (link, at, open_, own, given))
            poor = tuple(c[rest] for c in poor)
        pair, stretch = open_.nonzero(as_tuple=True)
        marks.fragile[link[pair], stretch, at[pair]] = True

    def _worst(self, failed: Tensor) -> Tensor:
        """Stretches with any failing check: [..., num_checks] → [..., num_stretches], or of
        [num_links, F, num_checks] [num_links, num_stretches, F].
        """
        worst = self.mapping.axis.by_stretch(failed.to(torch.int8)) > 0
        return worst.mT if failed.ndim == 3 else worst

    def _lowest(self, level: Tensor) -> Tensor:
        """The lowest level of each stretch, shapes as in :meth:`_worst`."""
        lowest = -self.mapping.axis.by_stretch(-level.to(torch.int16))
        lowest = lowest.to(torch.int8)
        return lowest.mT.contiguous() if level.ndim == 3 else lowest

    def _own(self, link: Tensor, frequencies: Tensor) -> Tensor:
        """Aligned channels of pairs of a link and a frequency, [pairs, num_checks or 1, K, M], in
        double precision.
        """
        parts = []
        for one in link.unique(sorted=True).tolist():
            chosen = torch.tensor([one], device=link.device)
            at = frequencies[link == one]
            parts.append(channels_along(self.links, self.values, chosen, at, torch.complex128)[0])
        return torch.cat(parts)

    def _rounding(self, own: Tensor, frequencies: Tensor) -> Tensor:
        """Noise of the channels, the same for a frequency whatever it is certified with."""
        seed = int(frequencies[0] / self.links.subcarrier_spacing) + self.links.fft_size
        generator = torch.Generator(own.device).manual_seed(seed)
        shape = (len(frequencies), 1, *own.shape[3:])
        noise = torch.randn(shape, dtype=own.dtype, generator=generator, device=own.device)
        power = self.links.row_power()
        rows = power.sqrt().to(torch.float32)[:, None, None, :, None]
        return _ROUNDING * rows * noise

    def _error(self, a: Tensor, answer: Components) -> Tensor:
        """Relative errors of answers at the first value, [num_links, F]."""
        exact = self.operation.exact(a.to(torch.complex128), self.powers[0])
        exact = self.operation.align_to(
            exact, tuple(c.to(e) for c, e in zip(answer, exact, strict=True))
        )
        return relative_error(answer[0], exact[0])


def _served(components: Components) -> Components:
    """Components in the single precision that blocks serve."""
    return tuple(c.to(torch.complex64 if c.is_complex() else torch.float32) for c in components)


def _doubled(components: Components) -> Components:
    """Components [pairs, num_checks or 1, ...] in double precision: what is the same at every check
    is corrected once.
    """
    return tuple(c.to(torch.complex128 if c.is_complex() else torch.float64) for c in components)


def _levels(proof: Certificate, num: int) -> tuple[Tensor, Tensor]:
    """Quality and range error in decibels, as marks store them, for every check."""
    closeness = -20 * torch.log10(proof.range_error.clamp_min(1e-30))
    shape = (*proof.ok.shape[:-1], num)
    return decibels(proof.quality.expand(shape)), decibels(closeness.expand(shape))
