"""Links and random numbers of a simulation: the same whatever the solver."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from neumatc_mimo.scenario.links import LinkSet


class Draws:
    """Links and random numbers of the calls of a simulation.

    Call c at an Eb/N0 takes link (c batch_size + i) mod num_links for item i, and random numbers
    that depend only on the seed, Eb/N0 and c. So they are the same for every solver.

    :param links: The links, used in turn
    :param seed: Of the random numbers
    """

    def __init__(self, links: LinkSet, seed: int) -> None:
        self._num_links, self._device, self._seed = links.num_links, str(links.device), seed
        self._calls: Counter[float] = Counter()

    def __call__(self, batch_size: int, ebno_db: float) -> tuple[Tensor, torch.Generator]:
        """Links [batch_size] and generator of the next call at this Eb/N0 in dB."""
        call = self._calls[ebno_db]
        self._calls[ebno_db] += 1
        link = (torch.arange(batch_size) + call * batch_size) % self._num_links
        key = [self._seed, round((ebno_db + 1e3) * 1e4), call]
        state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
        generator = torch.Generator(self._device).manual_seed(int(state >> np.uint64(1)))
        return link.to(self._device), generator
