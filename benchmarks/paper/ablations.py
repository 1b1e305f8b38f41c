"""What each part of the method is worth: projection, training of the trunk, rank, alignment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.paper.channels import munich
from benchmarks.paper.sheet import Row, Settings, Sheet, main
from benchmarks.paper.trials import trial
from benchmarks.paper.variants import (
    MEDIANS,
    NUM_SAMPLES,
    SHARE,
    TASK,
    default,
    num_seeds,
    row,
    trials,
)
from neumatc_mimo.operations import SVD, Components
from neumatc_mimo.training.algorithm1 import Algorithm1Config

RANKS = (8, 16, 24, 32, 40)
METHODS: dict[str, dict[str, Any]] = {
    "Adam moves latent tensors too": {"projection": False, "learning_rate": 1e-2},
    "projected, held in the gradient": {"projection": True, "held": True},
    "projected, gradient through it": {"projection": True, "held": False},
}
# Steps so small that the trunk stays the random one that it was.
UNTRAINED: dict[str, Any] = {"steps": 1, "learning_rate": 1e-12, "lam": 0.0}


class Unaligned(SVD):
    """Triplets as LAPACK leaves them: their phases are nobody's choice."""

    def exact(self, a: Tensor, no: Tensor | float = 0.0) -> Components:
        del no
        u, s, vh = torch.linalg.svd(a, full_matrices=False)
        count = self.num_streams
        return u[..., :count], s[..., :count], vh[..., :count, :].mH

    def align(self, components: Components) -> Components:
        return components


def run(settings: Settings) -> Sheet:
    """Groups of rows, one for each part."""
    sheet = Sheet(
        "ablations",
        "Ablations",
        f"{TASK} {MEDIANS} Times Eckart–Young: the error of all unseen points together over the "
        "smallest that any trunk of the rank can reach there. Adam alone at its best rate of those "
        "tried (1e-2). Untrained: a random trunk, latent tensors by least squares. Alignment: the "
        f"2 strongest triplets of a Munich link of 4 x 64, complex, over {100 * SHARE:.0f} % of "
        "the band.",
    )
    sheet.rows = [row("method", name, trials(settings, **m)) for name, m in METHODS.items()]
    ranks = RANKS[::2] if settings.quick else RANKS
    for trained, changes in (("trained", {}), ("untrained", UNTRAINED)):
        sheet.rows += [
            row(f"rank, trunk {trained}", rank, trials(settings, rank=rank, **changes))
            for rank in ranks
        ]
    sheet.rows += [_svd(settings, operation) for operation in (SVD(2), Unaligned(2))]
    return sheet


def _svd(settings: Settings, operation: SVD) -> Row:
    """The SVD of a link from samples in one gauge or in any."""
    family = munich("single_user", 0, share=SHARE, real=False)
    config: Algorithm1Config = replace(default(settings), rank=40)
    found = [
        trial(operation, family, family.grid(NUM_SAMPLES), replace(config, seed=seed))
        for seed in range(num_seeds(settings))
    ]
    return row("SVD, alignment", "off" if isinstance(operation, Unaligned) else "on", found)


if __name__ == "__main__":
    main(run)
