"""Rules for derivatives and traces: kernels compute what is differentiated, compiled or both."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sionna.phy.mapping import Constellation
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor
from torch.autograd import forward_ad

import neumatc_mimo as nm
from neumatc_mimo.blocks import (
    MaxMinPrecoder,
    MMSEDetector,
    MMSEEqualizer,
    SLNRPrecoder,
    SVDBeamformer,
    SVDCombiner,
    WMMSEPrecoder,
    ZFPrecodedChannel,
    ZFPrecoder,
)
from neumatc_mimo.blocks import operators as of_blocks
from neumatc_mimo.blocks.qam_demapper import QAMDemapper
from neumatc_mimo.kernels.lanes import operators
from tests.kernels.comparison import Choice, Spy, check, downlink, needs_library, normal, uplink

pytestmark = needs_library

Given = dict[str, Tensor]
Maker = Callable[..., Any]
USERS, ANTENNAS, SYMBOLS, SUBCARRIERS = 3, 6, 4, 21
DOWN, UP = downlink(USERS, SYMBOLS, SUBCARRIERS), uplink(USERS, SYMBOLS, SUBCARRIERS)
LINK = (
    ResourceGrid(SYMBOLS, SUBCARRIERS, 30e3, num_streams_per_tx=2, dc_null=True),
    StreamManagement(np.ones([1, 1]), 2),
)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return normal(*shape, dtype=torch.complex128, seed=seed)


def power(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def channel(*shape: int) -> Tensor:
    """[..., SYMBOLS, SUBCARRIERS], of which the third symbol alone differs."""
    h = numbers(*shape, 1, SUBCARRIERS, seed=1).repeat(*[1] * len(shape), SYMBOLS, 1)
    h[..., 2, :] += numbers(*shape, SUBCARRIERS, seed=2)
    return h


X = numbers(2, 1, USERS, SYMBOLS, SUBCARRIERS)
TO_USERS, TO_ONE = channel(2, USERS, 1, 1, ANTENNAS), channel(2, 1, 3, 1, ANTENNAS)
NO = {"no": power(0.3)}
# What makes a block of settings, and what it is called with.
CASES: dict[str, tuple[Maker, Given]] = {
    "zf": (
        lambda **s: ZFPrecoder(*DOWN, nm.Exact(), **s),
        {"x": X, "h": TO_USERS, "alpha": power(0.3)},
    ),
    "h_eff": (
        lambda **s: ZFPrecoder(*DOWN, nm.Exact(), True, **s),
        {"x": X, "h": TO_USERS, "alpha": power(0.0)},
    ),
    "mmse": (
        lambda **s: MMSEEqualizer(*UP, nm.Exact(), **s),
        {
            "y": numbers(2, 1, ANTENNAS, SYMBOLS, SUBCARRIERS),
            "h_hat": channel(2, 1, ANTENNAS, USERS, 1),
            "err_var": power(0.1),
            **NO,
        },
    ),
    "wmmse": (
        lambda **s: WMMSEPrecoder(*DOWN, nm.Exact(), **s),
        {"x": X, "h": TO_USERS, **NO},
    ),
    "max_min": (
        lambda **s: MaxMinPrecoder(*DOWN, nm.Exact(), **s),
        {"x": X, "h": TO_USERS, **NO},
    ),
    "slnr": (
        lambda **s: SLNRPrecoder(*DOWN, nm.Exact(), **s),
        {"x": X, "h": TO_USERS, **NO},
    ),
    "beams": (
        lambda **s: SVDBeamformer(*LINK, nm.Exact(), True, **s),
        {"x": X[:, :, :2], "h": TO_ONE},
    ),
    "combiner": (
        lambda **s: SVDCombiner(*LINK, nm.Exact(), **s),
        {"y": numbers(2, 1, 3, SYMBOLS, SUBCARRIERS), "h": TO_ONE, **NO},
    ),
}
EACH = [(case, name) for case, (_, given) in CASES.items() for name in given]


def outputs(found: Any) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


def loss(found: Any) -> Tensor:
    return sum((o.abs().square().sum() for o in outputs(found)), torch.zeros(()))


def gradient(
    call: Callable[..., Any], given: Given, name: str
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Results, and the derivative of their power with respect to one of the inputs."""
    at = given[name].clone().requires_grad_()
    found = outputs(call(*(given | {name: at}).values()))
    return tuple(f.detach() for f in found), torch.autograd.grad(loss(found), at)[0]


@pytest.mark.parametrize(("case", "name"), EACH)
def test_gradients_are_those_of_pytorch(case: str, name: str, choose: Choice, spy: Spy) -> None:
    make, given = CASES[case]
    choose("off")
    expected, wanted = gradient(make(precision="double"), given, name)
    assert not spy.calls
    choose("")
    block, plain = make(precision="double"), make(precision="double")
    plain(*given.values())
    found, derived = gradient(block, given, name)
    # Two kinds of OFDM symbols; the backward pass asks no kernel, and counts nothing.
    assert spy.calls == 4 and block.stats == plain.stats
    check(found, expected, "double")
    torch.testing.assert_close(derived, wanted)


@pytest.mark.parametrize("case", CASES)
def test_results_are_those_without_a_gradient(case: str, spy: Spy) -> None:
    """Bit by bit, and as free to be written over."""
    make, given = CASES[case]
    block = make(precision="double")
    first, *rest = given.values()
    expected = outputs(block(first, *rest))
    found = outputs(block(first.clone().requires_grad_(), *rest))
    for own, other in zip(found, expected, strict=True):
        assert torch.equal(own, other)
    assert spy.calls == 4
    # No other result depends on the symbols.
    assert [own.requires_grad for own in found] == [True] + [False] * (len(found) - 1)
    doubled = found[0].mul_(2)
    assert torch.equal(doubled, 2 * expected[0]) and doubled.requires_grad


@pytest.mark.parametrize(
    "make, given",
    [
        (lambda: ZFPrecoder(*downlink(2, 2, 2), nm.Exact(), True, precision="double"), "down"),
        (lambda: MMSEEqualizer(*uplink(2, 2, 2), nm.Exact(), precision="double"), "up"),
    ],
    ids=["zf", "mmse"],
)
def test_derivatives_of_derivatives(make: Maker, given: str, spy: Spy) -> None:
    h = numbers(1, 2, 1, 1, 3, 2, 2, seed=1)
    inputs = {
        "down": (numbers(1, 1, 2, 2, 2), h, power(0.3)),
        "up": (numbers(1, 1, 3, 2, 2), h.permute(0, 3, 4, 1, 2, 5, 6), power(0.1), power(0.3)),
    }[given]
    for value in inputs:
        value.requires_grad_()
    assert torch.autograd.gradcheck(make(), inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(make(), inputs, fast_mode=True)
    assert spy.calls


def test_one_input_computed_from_another(choose: Choice, spy: Spy) -> None:
    """Each gets the derivatives of its own place."""
    found = []
    for value in ("", "off"):
        choose(value)
        scale = power(0.5).requires_grad_()
        h = TO_USERS * scale
        x = X * h.abs().mean()
        ZFPrecoder(*DOWN, nm.Exact(), precision="double")(x, h, scale).abs().sum().backward()
        found.append(scale.grad)
    torch.testing.assert_close(*found)
    assert spy.calls == 2


@pytest.mark.parametrize("leaf", [True, False])
def test_a_view_that_repeats_one_symbol(leaf: bool, choose: Choice, spy: Spy) -> None:
    found = []
    for value in ("", "off"):
        choose(value)
        h = TO_USERS[..., :1, :].clone()
        h = h if leaf else h.requires_grad_()
        view = h.expand(-1, -1, -1, -1, -1, SYMBOLS, -1)
        at = view.requires_grad_() if leaf else h
        block = ZFPrecoder(*DOWN, nm.Exact(), precision="double")
        found += torch.autograd.grad(loss(block(X, view)), at)
    torch.testing.assert_close(*found)
    assert spy.calls == 1


def test_what_rounding_spoils_is_computed_again(spy: Spy) -> None:
    h = TO_USERS[..., :1, :].to(torch.complex64).expand(-1, -1, -1, -1, -1, SYMBOLS, -1).clone()
    h[0, 1, ..., 5:8] = h[0, 0, ..., 5:8] + 1e-4 * h[0, 1, ..., 5:8]
    x = X.to(torch.complex64)
    block = ZFPrecoder(*DOWN, nm.Exact())
    expected = block(x, h)
    h.requires_grad_()
    for call in (block, torch.compile(block, fullgraph=True, backend="eager")):
        found = call(x, h)
        assert torch.equal(found, expected)
        assert torch.autograd.grad(loss(found), h)[0].isfinite().all()
    assert block.stats.refined == 3 * 3 and spy.calls == 3


def test_what_no_kernel_computes_is_computed_once(
    spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph is PyTorch's own, as ever."""
    calls = []
    whole = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: calls.append(1) or whole(*a, **k))
    block = ZFPrecoder(*DOWN, nm.Exact(), certify="call", precision="double")
    loss(block(X, TO_USERS.clone().requires_grad_())).backward()  # type: ignore[no-untyped-call]
    assert not calls and not spy.calls


def test_forward_mode_and_transforms_are_left_to_pytorch(spy: Spy) -> None:
    block = ZFPrecoder(*DOWN, nm.Exact(), precision="double")
    step = numbers(*TO_USERS.shape, seed=5)
    with forward_ad.dual_level():
        along = forward_ad.unpack_dual(loss(block(X, forward_ad.make_dual(TO_USERS, step)))).tangent
    derived = torch.func.grad(lambda h: loss(block(X, h)))(TO_USERS)
    mapped = torch.func.vmap(torch.func.grad(lambda h: loss(block(X, h[None]))))(TO_USERS)
    assert not spy.calls
    _, wanted = gradient(block, {"x": X, "h": TO_USERS}, "h")
    torch.testing.assert_close(derived, wanted)
    torch.testing.assert_close(along, (wanted.conj() * step).real.sum())
    assert mapped.shape == TO_USERS.shape and spy.calls == 2


@pytest.mark.parametrize(
    ("case", "certify"), [*((case, "link") for case in CASES), ("zf", None), ("mmse", None)]
)
def test_one_graph_that_asks_kernels(case: str, certify: Any, spy: Spy) -> None:
    torch.compiler.reset()
    make, given = CASES[case]
    block = make(precision="double", certify=certify)
    expected = outputs(block(*given.values()))
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    found = outputs(compiled(*given.values()))
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    # Equal symbols are found, and what is computed is counted.
    once = make(precision="double", certify=certify)
    once(*given.values())
    assert spy.calls == 6
    assert {k: v // 2 for k, v in vars(block.stats).items()} == vars(once.stats)
    name = list(given)[1]
    _, derived = gradient(compiled, given, name)
    _, wanted = gradient(block, given, name)
    torch.testing.assert_close(derived, wanted)


def test_one_graph_of_a_precoded_channel() -> None:
    """Of which no kernel does all, and which is one operator nevertheless."""
    torch.compiler.reset()
    block = ZFPrecodedChannel(*DOWN, nm.Exact(), precision="double")
    given = {"h": TO_USERS, "power": torch.ones(2, 1, USERS, dtype=torch.float64), "hat": TO_USERS}
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    for name in given:
        for own, other in zip(
            gradient(compiled, given, name), gradient(block, given, name), strict=True
        ):
            torch.testing.assert_close(own, other)


def test_a_graph_refuses_what_the_block_refuses() -> None:
    torch.compiler.reset()
    block = ZFPrecoder(*DOWN, nm.Exact(), precision="double")
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    bad = TO_USERS.clone()
    bad[0, 1, 0, 0, 3, 0, 13] = torch.nan
    with pytest.raises(ValueError, match="The channel has NaN or infinite entries"):
        compiled(X, bad)


def test_a_solver_that_learns_within_a_graph() -> None:
    class Learning(nm.Exact):
        def start(self, *arguments: Any, **settings: Any) -> Any:
            weight = torch.ones(3, requires_grad=True)
            (2 * weight.conj() @ weight).backward()  # type: ignore[no-untyped-call]
            assert weight.grad is not None and torch.equal(weight.grad, 4 * weight)
            return super().start(*arguments, **settings)

    torch.compiler.reset()
    block = ZFPrecoder(*DOWN, Learning(), precision="double")
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(X, TO_USERS), block(X, TO_USERS))


def test_a_graph_that_is_mapped() -> None:
    torch.compiler.reset()
    block = ZFPrecoder(*DOWN, nm.Exact(), True, precision="double")
    x, h = numbers(3, *X.shape), numbers(3, *TO_USERS.shape, seed=1)
    aside = x.movedim(0, 1), h.movedim(0, 1)
    for dims, inputs in (((0, 0), (x, h)), ((0, None), (x, h[0])), ((1, 1), aside)):
        mapped = torch.vmap(block, in_dims=dims)
        compiled = torch.compile(mapped, fullgraph=True, backend="aot_eager")
        for own, other in zip(compiled(*inputs), mapped(*inputs), strict=True):
            torch.testing.assert_close(own, other)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))]
)
def test_a_copy_is_a_block_of_its_own(copied: Callable[[Any], Any]) -> None:
    torch.compiler.reset()
    block = ZFPrecoder(*DOWN, nm.Exact(), precision="double")
    other = copied(block)
    other.stats = type(other.stats)()
    torch.compile(other, fullgraph=True, backend="eager")(X, TO_USERS)
    assert other.stats.exact and not block.stats.exact


def test_blocks_that_are_alike_share_a_graph() -> None:
    """And each computes for itself."""
    torch.compiler.reset()
    for stance in ("default", "fail_on_recompile"):
        block = ZFPrecoder(*DOWN, nm.Exact(), precision="double")
        with torch.compiler.set_stance(stance):
            torch.compile(block, fullgraph=True, backend="eager")(X, TO_USERS)
        assert block.stats.exact


def test_an_exported_program_is_pytorchs() -> None:
    """It runs where these operators are not."""
    block = ZFPrecoder(*DOWN, nm.Exact(), precision="double")
    program = torch.export.export(block, (X, TO_USERS), strict=False)
    assert not any("neumatc" in str(node.target) for node in program.graph.nodes)
    check((program.module()(X, TO_USERS),), (block(X, TO_USERS),), "double")


def detecting(precision: Any) -> tuple[Any, tuple[Any, ...]]:
    detector = MMSEDetector("bit", "app", *UP, nm.Exact(), "qam", 2, precision=precision)
    return detector, tuple(CASES["mmse"][1].values())


def demapping(precision: Any) -> tuple[Any, tuple[Any, ...]]:
    constellation = Constellation("qam", 2, precision=precision)
    demapper = QAMDemapper("app", constellation=constellation, precision=precision)
    return demapper, (numbers(2**14), power(0.3))


def of_case(case: str) -> Maker:
    make, given = CASES[case]
    return lambda precision: (make(precision=precision), tuple(given.values()))


# Operators of the kernels, and which block calls them.
OPERATORS: dict[str, Maker] = {
    "precode": of_case("h_eff"),
    "receive": of_case("mmse"),
    "detect": detecting,
    "demap": demapping,
}


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_lanes(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what a block calls them with."""
    operator, calls = getattr(operators, name), []

    def noted(*arguments: Any) -> Any:
        # What is to be written is any number, NaN included, which equals nothing.
        floats = [isinstance(a, Tensor) and a.dtype != torch.int64 for a in arguments]
        pairs = zip(arguments, floats, strict=True)
        calls.append(tuple(a.nan_to_num() if known else a for a, known in pairs))
        return operator(*arguments)

    monkeypatch.setattr(operators, name, noted)
    block, inputs = OPERATORS[name](precision)
    block(*inputs)
    torch.library.opcheck(operator, calls[0])


@pytest.mark.parametrize("operator", [operators.precode_expansion, operators.receive_expansion])
def test_operators_of_expansions(operator: Any) -> None:
    columns, values = torch.arange(20)[:, None] % 3 + torch.arange(2), torch.rand(20, 2)
    rows, x, y = torch.rand(2, 5, 36), *(normal(2, n, 4, 20, dtype=torch.complex64) for n in (3, 6))
    grids = (x, y) if operator is operators.precode_expansion else (y, x)
    torch.library.opcheck(operator, (columns, values, rows, *grids))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("differentiated", [False, True])
def test_operators_of_blocks(case: str, differentiated: bool) -> None:
    make, given = CASES[case]
    block = make(precision="double")
    inputs: list[Any] = []
    block._served = lambda made: inputs.append(made) or block._results(made)
    found = outputs(block(*given.values()))
    handle, names, tensors, *others = of_blocks.arguments(block, inputs[0], alone=False)
    some = [t.detach().clone() for t in tensors]
    behind = [f.clone() for f in found]
    wanted = [t.is_floating_point() or t.is_complex() for t in some]
    torch.library.opcheck(of_blocks.backward, (handle, names, some, wanted, behind))
    some = [t.requires_grad_(want and differentiated) for t, want in zip(some, wanted, strict=True)]
    torch.library.opcheck(of_blocks.compute, (handle, names, some, *others))
