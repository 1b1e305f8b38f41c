"""The fused kernels through Triton's interpreter, against plain PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import ScenarioWriter, Trainer

pytest.importorskip("triton", reason="triton is not installed")

import neumatc_mimo as nm
from neumatc_mimo.bench.tasks import MMSE, Beamforming, Slot, Task, ZeroForcing
from neumatc_mimo.kernels import applied as fused
from neumatc_mimo.kernels.applied import Applied
from neumatc_mimo.kernels.expansion import Expansion
from neumatc_mimo.kernels.on_gpu.expansion import precoded, received

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_on_cpu", True)


def expansion(items: int, num: int, antennas: int, streams: int, seed: int = 0) -> Expansion:
    generator = torch.Generator().manual_seed(seed)
    first = torch.sort(torch.randint(0, 13, (num,), generator=generator)).values
    rows = torch.randn(items, 20, 2 * antennas * streams + 7, generator=generator)
    values = torch.randn(num, 8, generator=generator)
    parts = (first[:, None] + torch.arange(8), values, rows)
    return Expansion(*(p.to(DEVICE) for p in parts), antennas, streams)


def filters(given: Expansion) -> Tensor:
    """The filters themselves, [num_items, num_subcarriers, num_antennas, num_streams]."""
    part = given.rows[..., : 2 * given.num_antennas * given.num_streams]
    real = torch.einsum("fj,ifjn->ifn", given.values, part[:, given.columns])
    w = torch.view_as_complex(real.unflatten(-1, (-1, 2)))
    return w.unflatten(-1, (given.num_antennas, given.num_streams))


def symbols(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator).to(DEVICE)


@pytest.mark.parametrize(
    "items, num, antennas, streams, num_symbols",
    [(1, 32, 16, 8, 2), (2, 33, 17, 3, 1), (1, 5, 4, 1, 3), (3, 70, 20, 5, 2)],
)
def test_kernels_equal_products(
    items: int, num: int, antennas: int, streams: int, num_symbols: int
) -> None:
    given = expansion(items, num, antennas, streams)
    w = filters(given)
    x = symbols(items, streams, num_symbols, num)
    y = symbols(items, antennas, num_symbols, num)
    torch.testing.assert_close(
        precoded(given, x), torch.einsum("ifak,iksf->iasf", w, x), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        received(given, y), torch.einsum("ifak,iasf->iksf", w, y), rtol=1e-4, atol=1e-4
    )


def test_symbols_may_lie_in_any_order() -> None:
    given = expansion(2, 40, 6, 3)
    x = symbols(2, 40, 3, 4)  # [items, subcarriers, streams, symbols]
    wanted = torch.einsum("ifak,ifks->iasf", filters(given), x)
    found = precoded(given, x.permute(0, 2, 3, 1))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    half = symbols(2, 3, 8, 80)[:, :, ::2, ::2]
    wanted = torch.einsum("ifak,iksf->iasf", filters(given), half)
    torch.testing.assert_close(precoded(given, half), wanted, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    given = expansion(1, 10, 4, 2)
    with pytest.raises(ValueError, match="the kernels take complex64 and float32"):
        precoded(given, symbols(1, 2, 1, 10).to(torch.complex128))
    with pytest.raises(ValueError, match=r"\[1, 2, any, 10\] is needed"):
        precoded(given, symbols(1, 4, 1, 10))
    assert fused.available(torch.device(DEVICE))


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from neumatc_mimo.kernels.on_gpu import expansion as kernels

sizes = {"antennas": 64, "streams": 8, "terms": 8, "block_a": 16, "block_k": 8, "block_f": 32}
for kernel in (kernels._precode, kernels._receive):
    names = kernel.arg_names
    pointers = {"columns": "*i64"} | dict.fromkeys(["values", "rows", "x", "y", "out"], "*fp32")
    types = {n: "constexpr" if n in sizes else pointers.get(n, "i32") for n in names}
    constants = {(names.index(name),): size for name, size in sizes.items()}
    target = GPUTarget("cuda", 90, 32)
    made = triton.compile(ASTSource(kernel, types, constants), target=target)
    assert made.asm["ptx"] and made.asm["cubin"]
print("compiled")
"""


@pytest.mark.slow
def test_kernels_compile_for_a_gpu() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "compiled\n", done.stderr


@pytest.fixture(scope="module")
def model(write_scenario: ScenarioWriter, trained: Trainer) -> nm.ScenarioModel:
    file = write_scenario(
        grid={"fft_size": 192, "subcarrier_spacing": 120e3},
        multi_user={"users_per_link": 2, "num_links": 2},
        single_user={"ue": [2, 1], "num_streams": 1, "num_links": 2},
        model={
            "width": 100,
            "samples": 128,
            "collocation": 128,
            "rounds": 2,
        },
    )
    return trained(nm.load_scenario(file), DEVICE)


@pytest.mark.parametrize("certify", ["link", None])
@pytest.mark.parametrize("repaired", [False, True])
@pytest.mark.parametrize("task", [ZeroForcing, MMSE, Beamforming], ids=lambda t: t.title)
def test_blocks_give_the_same_through_the_kernels(
    model: nm.ScenarioModel,
    monkeypatch: pytest.MonkeyPatch,
    task: type[Task],
    repaired: bool,
    certify: str | None,
) -> None:
    part = model.models[task.operation]
    patches = part.marks.patched.clone()
    patches[..., ::7] |= repaired
    some = nm.ScenarioModel(
        "some", {task.operation: replace(part, marks=replace(part.marks, patched=patches))}
    )
    case = task(part.links, Slot(num_ofdm_symbols=3, batch_size=2))
    inputs, named = case.inputs(), {} if certify else {"links": torch.arange(2, device=DEVICE)}
    block = case.block(some, certify)
    counted: list[int] = []
    real = Applied._product

    def counting(*given: Any) -> Tensor:
        counted.append(1)
        return real(*given)

    monkeypatch.setattr(Applied, "_product", counting)
    with_kernels = block(*inputs, **named)
    assert counted
    counted.clear()
    monkeypatch.setattr(fused, "available", lambda device: False)
    without = block(*inputs, **named)
    assert not counted
    for one, other in zip(_tensors(with_kernels), _tensors(without), strict=True):
        # What nothing certifies may be near to singular.
        bound = 1e-5 if certify else 3e-5
        assert torch.linalg.norm(one - other) < bound * torch.linalg.norm(other)


def _tensors(output: Any) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)
