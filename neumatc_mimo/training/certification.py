"""The certificate of learned links over their whole grid: what of it holds, and where not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from neumatc_mimo.foundation.tolerance import Tolerance
from neumatc_mimo.mapping.compact import CompactMapping
from neumatc_mimo.mapping.layout import Latents
from neumatc_mimo.model import OperationModel
from neumatc_mimo.operations import Operation, certified
from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.training.channels import channels_along
from neumatc_mimo.training.jobs import Job, stricter

# Subcarriers times values of the axis that are certified at once, for each link.
_AT_ONCE = 2**16

# More correction steps than any result takes: none help.
_BEYOND = torch.iinfo(torch.int8).max


def certified_model(job: Job, mapping: CompactMapping, links: LinkSet) -> OperationModel:
    """Certify links over their whole grid, at the ends of the axis and between its nodes.

    Subcarriers that fail at any of these values are marked: corrected, by as many steps with the
    channel as mend all of them, else patched, exact results take their place.

    :param job: what they were learned for
    :param mapping: of these links
    """
    frequencies = links.grid_frequencies()
    unseen = torch.ones(len(frequencies), dtype=torch.bool, device=links.device)
    unseen[job.settings.points(len(frequencies))[0]] = False
    proven = _Proven.of(job, mapping, links)
    steps, qualities, errors = [], [], []
    # Channels at many times take much memory.
    size = min(512, max(_AT_ONCE // len(proven.values), 1))
    for points in torch.arange(len(frequencies), device=links.device).split(size):
        here = unseen[points]
        found, quality, error = proven.at(frequencies[points], here.nonzero()[::8, 0])
        steps.append(found)
        qualities.append(quality[:, here].flatten())
        errors.append(error)
    marks = torch.cat(steps, dim=-1)
    patches = marks == _BEYOND
    corrected = marks.masked_fill(patches, 0)
    # At frequencies that were neither sampled nor collocation points, before any repair; not a
    # number where a grid is so small that there are none.
    quality = torch.cat(qualities)
    report = {
        "error_median": torch.cat(errors, dim=1).median().item(),
        "quality_5_percent_db": quality.quantile(0.05).item() if len(quality) else math.nan,
        "corrected_share": (corrected[..., unseen] > 0).double().mean().item(),
        "patched_share": patches[..., unseen].double().mean().item(),
    }
    return OperationModel(
        job.operation, mapping, links, corrected, patches, unseen, job.tolerance, report
    )


def relative_error(answer: Tensor, exact: Tensor) -> Tensor:
    """Relative Frobenius error of each matrix, [num_links, F]."""
    difference = (answer.to(exact) - exact).flatten(2)
    return torch.linalg.norm(difference, dim=-1) / torch.linalg.norm(exact.flatten(2), dim=-1)


@dataclass(frozen=True)
class _Proven:
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
    def of(cls, job: Job, mapping: CompactMapping, links: LinkSet) -> _Proven:
        """The mappings of some links of a job."""
        values, powers = mapping.axis.checks, mapping.axis.powers
        # Noise powers, unless the axis is the time.
        powers = values if len(powers) > 1 else powers
        folded = mapping.at(values.expand(links.num_links, -1))
        tolerance = stricter(job.tolerance, mapping.axis)
        return cls(job.operation, tolerance, mapping, links, values, powers, folded)

    def at(self, frequencies: Tensor, few: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What a certificate finds at frequencies [F] in Hz.

        :param few: indices of some of them, whose error is told

        :return: correction steps [num_links, num_stretches, F], int8; the quality before them in
            dB, [num_links, F, num_checks]; relative errors of the first component at the first
            value, [num_links, few]
        """
        every = torch.arange(self.links.num_links, device=self.links.device)
        a = channels_along(self.links, self.values, every, frequencies, torch.complex64)
        table = self.mapping.trunk.table(self.mapping.coordinate(frequencies))
        components = self.mapping.evaluate(table, slice(0, len(frequencies)), self.folded)
        proof, steps = certified.steps_to_prove(
            self.operation, a, components, self.powers, self.tolerance
        )
        worst = self.mapping.axis.by_stretch(steps.masked_fill(steps < 0, _BEYOND)).mT
        error = self._error(frequencies[few], a[:, few, 0].to(torch.complex128))
        return worst.to(torch.int8), proof.quality, error

    def _error(self, frequencies: Tensor, a: Tensor) -> Tensor:
        exact = self.operation.exact(a, self.powers[0])
        answer = self.mapping(frequencies, self.values[:1].expand(self.links.num_links))
        exact = self.operation.align_to(
            exact, tuple(c.to(e) for c, e in zip(answer, exact, strict=True))
        )
        return relative_error(answer[0], exact[0])
