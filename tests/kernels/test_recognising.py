"""Channels are recognised by a kernel as they are by PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.kernels.lanes import recognising
from neumatc_mimo.model.likeness import Recognised, Reference, compare, recognise
from neumatc_mimo.scenario import LinkSet
from neumatc_mimo.tensors.waves import wave
from tests.kernels.comparison import needs_library, normal

pytestmark = needs_library

# By how much rows are late, seconds; gains and phases.
DELAYS = torch.tensor([0.0, 3e-8, 2.5e-6, 1e-7], dtype=torch.float64)
GAINS = torch.tensor([1.0, 3.0, 0.2, 1e-7]) * torch.polar(torch.ones(4), torch.arange(4) * 1.3)


def moved(h: Tensor) -> Tensor:
    """A user a few centimetres away."""
    return h + 3e-3 * h.abs().mean() * normal(*h.shape, dtype=h.dtype)


def broken(h: Tensor) -> Tensor:
    h = h.clone()
    h[1, :, 0, 2], h[2, :, 1] = torch.nan, 0
    return h


CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nothing": lambda h, f: h,
    "in another order": lambda h, f: h.roll(1, 2),
    "late": lambda h, f: (h * wave(f[:, None], DELAYS[: h.shape[2]])[..., None]).to(h.dtype),
    "of other gains": lambda h, f: h * GAINS[: h.shape[2], None],
    "of one gain": lambda h, f: 1e-6j * h,
    "a row twice": lambda h, f: h[:, :, [0, 0, *range(2, h.shape[2])]],
    "moved": lambda h, f: moved(h),
    "noise": lambda h, f: normal(*h.shape, dtype=h.dtype),
    "not finite, or nothing": lambda h, f: broken(h),
    "some": lambda h, f: torch.cat([h[:2], moved(h)[2:3], 1j * h[3:]]),
}


def check(ours: Recognised, theirs: Recognised) -> None:
    assert torch.equal(ours.links, theirs.links)
    same = ours.links >= 0
    assert torch.equal(ours.order[same], theirs.order[same])
    torch.testing.assert_close(ours.gain[same], theirs.gain[same], rtol=1e-5, atol=0)
    torch.testing.assert_close(ours.delay[same], theirs.delay[same], rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("named", [None, [0, 1, 2, 3], [0, 2, 2, -1]], ids=str)
@pytest.mark.parametrize("any_gain", [True, False])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_recognition(
    small_model: nm.ScenarioModel,
    change: Callable[[Tensor, Tensor], Tensor],
    any_gain: bool,
    named: list[int] | None,
) -> None:
    for model in small_model.models.values():
        links: LinkSet = model.links
        f = links.grid_frequencies()
        reference = Reference.of(links, f, torch.complex64)
        candidates = None if named is None else torch.tensor(named)
        h = change(links.channel(f), f)
        # As blocks have it: subcarriers last.
        for a in (h, h.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)):
            assert recognising.recognises(a, reference.links)
            ours = compare(a, reference, candidates, any_gain=any_gain)
            probes = a[:, reference.links.probes]
            theirs = recognise(probes, reference, candidates, any_gain=any_gain)
            check(ours, theirs)


@pytest.mark.parametrize("num", [1, 2, 5, 40])
def test_few_subcarriers(small_model: nm.ScenarioModel, num: int) -> None:
    links = small_model.models["pseudo_inverse"].links
    f = links.grid_frequencies()[:num]
    reference = Reference.of(links, f, torch.complex64)
    a = links.channel(f)
    ours = compare(a, reference, None, any_gain=True)
    check(ours, recognise(a[:, reference.links.probes], reference, None, any_gain=True))


def test_other_precisions_have_no_kernel(small_model: nm.ScenarioModel) -> None:
    links = small_model.models["pseudo_inverse"].links
    f = links.grid_frequencies()
    reference = Reference.of(links, f, torch.complex128)
    a = links.channel(f, dtype=torch.complex128)
    assert not recognising.recognises(a, reference.links)
    assert compare(a, reference, None, any_gain=True).links.tolist() == [0, 1, 2, 3]
