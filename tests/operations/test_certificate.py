"""The certificate of the pseudo-inverse: what it accepts, and the impostors it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neumatc_mimo.operations.base import Components, Tolerance
from neumatc_mimo.operations.pseudo_inverse import PseudoInverse

ROWS, COLS, BATCH = 4, 16, 25
OPERATION = PseudoInverse()


def channels(seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(BATCH, ROWS, COLS, dtype=torch.complex128, generator=generator)
    return h.to(dtype)


def hermitian(seed: int) -> Tensor:
    square = channels(seed)[..., :ROWS]
    return (square + square.mH) / 2


def outside(h: Tensor, seed: int = 1) -> Tensor:
    """Columns that h maps to zero, of norm one."""
    other = channels(seed).mT
    other = other - torch.linalg.pinv(h) @ (h @ other)
    return other / torch.linalg.norm(other, dim=-2, keepdim=True)


def fitting(w: Tensor, no: float) -> Tensor:
    """The x that belongs to the Gram matrix of any w."""
    gram = w.mH @ w
    return torch.linalg.solve(torch.eye(ROWS, dtype=w.dtype) + no * gram, gram)


def accepted(h: Tensor, components: Components, no: float) -> Tensor:
    return OPERATION.certificate(h, components, no, Tolerance()).ok


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("no", [0.0, 1e-4, 0.1, 1.0, 100.0])
def test_exact_is_accepted(no: float, dtype: torch.dtype) -> None:
    h = channels(dtype=dtype)
    exact = OPERATION.exact(h, no)
    certificate = OPERATION.certificate(h, exact, no, Tolerance())
    assert certificate.ok.all()
    assert certificate.quality.min() > 90
    assert certificate.range_error.max() < 1e-4
    assert OPERATION.residual(h, exact, no).max() < 1e-4


@pytest.mark.parametrize("no", [0.1, 1.0, 10.0])
def test_zero_forcing_is_no_mmse(no: float) -> None:
    h = channels()
    w, x = OPERATION.exact(h)
    # Without X the filter is w itself.
    assert not accepted(h, (w, torch.zeros_like(x)), no).any()
    powers = x.diagonal(dim1=-2, dim2=-1).real
    if no * powers.min() > 0.02:  # else the two are the same within the tolerance
        assert not accepted(h, (w, x), no).any()
        assert not accepted(h, (w, torch.diag_embed(powers).to(x.dtype)), no).any()


@pytest.mark.parametrize("no", [0.3, 1.0, 10.0])
def test_mmse_is_no_zero_forcing(no: float) -> None:
    h = channels()
    w, x = OPERATION.exact(h, no)
    mmse = OPERATION.solve(h, no).dense
    assert not accepted(h, (mmse, x), 0.0).any()
    assert not accepted(h, (mmse, OPERATION.exact(h)[1]), 0.0).any()
    assert not accepted(h, (w, x), 0.0).any()


@pytest.mark.parametrize("no", [0.1, 1.0, 10.0])
def test_the_filter_itself_is_no_component(no: float) -> None:
    h = channels()
    _, x = OPERATION.exact(h, no)
    mmse = OPERATION.solve(h, no).dense
    for other in (x, OPERATION.exact(h)[1], torch.zeros_like(x)):
        assert not accepted(h, (mmse, other), no).any()


@pytest.mark.parametrize("no", [0.0, 0.1, 1.0, 10.0])
def test_component_outside_the_range_is_refused(no: float) -> None:
    h = channels()
    w, x = OPERATION.exact(h, no)
    impostor = w + 0.1 * outside(h) * torch.linalg.norm(w, dim=-2, keepdim=True)
    # It is a right inverse as good as the true one: only the range tells.
    eye = torch.eye(ROWS, dtype=h.dtype)
    assert (h @ impostor - eye).abs().max() < 1e-9
    assert not accepted(h, (impostor, x), no).any()
    # Nor does an x that fits the impostor's own Gram matrix help it.
    assert not accepted(h, (impostor, fitting(impostor, no)), no).any()


@pytest.mark.parametrize("no", [0.0, 1.0])
def test_component_outside_the_range_of_one_stream_is_refused(no: float) -> None:
    # The filter of the strongest user is the shortest: its error must not drown in the others'.
    h = channels() * torch.tensor([100.0, 1, 1, 1])[:, None]
    w, x = OPERATION.exact(h, no)
    impostor = w.clone()
    impostor[..., 0] += outside(h)[..., 0] * torch.linalg.norm(w[..., 0], dim=-1, keepdim=True)
    assert not accepted(h, (impostor, x), no).any()
    assert not accepted(h, (impostor, fitting(impostor, no)), no).any()


@pytest.mark.parametrize("no", [0.0, 1.0])
def test_component_outside_the_range_in_any_direction_is_refused(no: float) -> None:
    h = channels()
    w, _ = OPERATION.exact(h, no)
    size = 0.1 * torch.linalg.norm(w, dim=(-2, -1), keepdim=True)
    for seed in range(2, 42):
        direction = channels(seed)[:, :1, :ROWS]
        direction = direction / torch.linalg.norm(direction, dim=-1, keepdim=True)
        impostor = w + size * outside(h)[..., :1] * direction
        # Its powers agree with its x, so that nothing but the range tells.
        assert not accepted(h, (impostor, fitting(impostor, no)), no).any()


@pytest.mark.parametrize("no", [0.0, 1.0])
def test_wrong_power_of_one_stream_is_refused(no: float) -> None:
    h = channels() * torch.tensor([100.0, 1, 1, 1])[:, None]
    w, x = OPERATION.exact(h, no)
    for stream in range(ROWS):
        wrong = x.clone()
        wrong[..., stream, stream] *= 1.1
        assert not accepted(h, (w, wrong), no).any()


def test_quality_is_the_interference_of_the_weakest_stream() -> None:
    h = channels() * torch.tensor([100.0, 1, 1, 1])[:, None]
    w, x = OPERATION.exact(h)
    error = 1e-3 * channels(2)[..., :ROWS]
    error.diagonal(dim1=-2, dim2=-1).zero_()
    lengths = torch.linalg.norm(w, dim=-2, keepdim=True)
    wrong = w + (w / lengths) @ error * lengths
    # What rows receive from beams of equal powers.
    received = (h @ wrong).abs().square() / wrong.abs().square().sum(-2, keepdim=True)
    signal = received.diagonal(dim1=-2, dim2=-1)
    expected = 10 * torch.log10(signal / (received.sum(-1) - signal)).amin(-1)
    proof = OPERATION.certificate(h, (wrong, x), 0.0, Tolerance(expected.median().item()))
    torch.testing.assert_close(proof.quality, expected, rtol=0, atol=1e-4)
    assert 0 < proof.ok.sum() < BATCH


def test_quality_is_the_gain_error_of_the_weakest_stream() -> None:
    h = channels()
    w, x = OPERATION.exact(h)
    gains = 1 + 1e-3 * channels(2)[..., 0]
    expected = 20 * torch.log10(gains.abs() / (gains - 1).abs()).amin(-1)
    wrong = w * gains[..., None, :]
    proof = OPERATION.certificate(h, (wrong, x), 0.0, Tolerance(expected.median().item()))
    torch.testing.assert_close(proof.quality, expected)
    assert 0 < proof.ok.sum() < BATCH


def test_wrong_gain_of_streams_below_the_noise_is_refused() -> None:
    h, no = channels(), 1e3
    w, x = OPERATION.exact(h, no)
    # A receiver divides by 1 - σ² X_kk, a small number, which has to be the gain.
    for factor in (0.97, 1.03):
        assert not accepted(h, (factor * w, x), no).any()


def impostors(h: Tensor, no: float) -> dict[str, Components]:
    w, x = OPERATION.exact(h, no)
    other_w, other_x = OPERATION.exact(channels(1), no)
    eye = torch.eye(ROWS, dtype=h.dtype).expand_as(x)
    exchanged = torch.cat([other_w[..., :1], w[..., 1:]], dim=-1)
    matched = h.mH / torch.linalg.norm(h, dim=-1).square()[..., None, :]
    gram = (h @ h.mH).diagonal(dim1=-2, dim2=-1).real
    factor = torch.linalg.cholesky(x)
    wrong = factor @ (eye + 0.1 * hermitian(2)) @ factor.mH
    leaking = w @ (eye + 0.1 * channels(2)[..., :ROWS])
    return {
        "zeros": (torch.zeros_like(w), torch.zeros_like(x)),
        "w of zeros": (torch.zeros_like(w), x),
        "x of zeros": (w, torch.zeros_like(x)),
        "x of no filter": (w, eye / max(no, 1e-3)),
        "another link": (other_w, other_x),
        "w of another link": (other_w, x),
        "x of another link": (w, other_x),
        "columns permuted": (w.flip(-1), x.flip(-1)),
        "columns of w permuted": (w.flip(-1), x),
        "rows and columns of x permuted": (w, x.flip(-1, -2)),
        "one column of w exchanged": (exchanged, x),
        "conjugate": (w.conj(), x.conj()),
        "twice the channel": OPERATION.exact(2 * h, no),
        "half the noise power": (w, OPERATION.exact(h, no / 2)[1]),
        "twice the noise power": (w, OPERATION.exact(h, 2 * no)[1]),
        "matched filter": (matched, torch.diag_embed(1 / (gram + no)).to(x.dtype)),
        "w too long": (1.1 * w, x),
        "x too large": (w, 1.1 * x),
        "x too small": (w, x / 1.1),
        "negative x": (w, -x),
        "wrong x": (w, wrong),
        "x of a wrong w": (leaking, fitting(leaking, no)),
    }


@pytest.mark.parametrize("name", impostors(channels(), 0.0))
def test_impostors_are_refused(name: str) -> None:
    h = channels()
    # Where the noise hardly counts, its power may be any.
    for no in (1.0, 10.0) if name.endswith("the noise power") else (0.0, 0.1, 1.0, 10.0):
        assert not accepted(h, impostors(h, no)[name], no).any()


@pytest.mark.parametrize("no", [0.0, 1e-3, 0.1, 1.0])
def test_what_is_accepted_is_close(no: float) -> None:
    """Errors of any kind and size: the accepted ones stay within the tolerance."""
    h = channels()
    w, x = OPERATION.exact(h, no)
    factor = torch.linalg.cholesky(x)
    answer = OPERATION.answer((w, x), no)
    length = torch.linalg.norm(w, dim=-2, keepdim=True)
    taken = torch.zeros(0, dtype=torch.bool)
    for seed, size in enumerate(torch.logspace(-5, 0, 21).tolist()):
        leak = w @ channels(3 * seed)[..., :ROWS] + length * outside(h, 3 * seed + 1)
        turned = factor @ hermitian(3 * seed + 2) @ factor.mH
        for one, other in ((size, 0.0), (0.0, size), (size, size)):
            ours = (w + one * leak, x + other * turned)
            ok = accepted(h, ours, no)
            found = OPERATION.answer(ours, no)
            error = torch.linalg.norm(found.dense - answer.dense, dim=(-2, -1))
            error = error / torch.linalg.norm(answer.dense, dim=(-2, -1))
            power = (found.column_power / answer.column_power - 1).abs().amax(-1)
            assert (error[ok] < 0.03).all() and (power[ok] < 0.03).all(), (one, other)
            loss = ((1 - found.loss) / (1 - answer.loss) - 1).abs().amax(-1)
            assert (loss[ok] < 0.03).all(), (one, other)
            taken = torch.cat([taken, ok])
    # Some are accepted and some are not, else nothing was tested.
    assert 0.3 < taken.double().mean() < 0.9


@pytest.mark.parametrize("no", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("where", ["within the range", "outside the range", "in x", "everywhere"])
def test_correction_squares_the_errors(where: str, no: float) -> None:
    h = channels()
    w, x = OPERATION.exact(h, no)
    x_factor = torch.linalg.cholesky(x)
    w_factor = torch.linalg.cholesky(OPERATION.exact(h)[1])

    def errors(components: Components) -> tuple[Tensor, Tensor]:
        """Spectral norms where the exact components have orthonormal columns."""
        w_error = torch.linalg.solve_triangular(w_factor, (components[0] - w).mH, upper=False)
        x_error = torch.linalg.solve_triangular(x_factor, components[1] - x, upper=False)
        x_error = torch.linalg.solve_triangular(x_factor, x_error.mH, upper=False)
        return torch.linalg.matrix_norm(w_error, 2), torch.linalg.matrix_norm(x_error, 2)

    within = w @ (w_factor.mH.inverse() @ channels(3)[..., :ROWS] @ w_factor.mH)
    beyond = outside(h) @ w_factor.mH
    turned = x_factor @ hermitian(4) @ x_factor.mH
    for size in (1e-2, 1e-3, 1e-4):
        near_w, near_x = w, x
        if where in ("within the range", "everywhere"):
            near_w = near_w + size * within
        if where in ("outside the range", "everywhere"):
            near_w = near_w + size * beyond
        if where in ("in x", "everywhere"):
            near_x = near_x + size * turned
        corrected = OPERATION.correct(h, (near_w, near_x), no)
        before, after = errors((near_w, near_x)), errors(corrected)
        assert size / 10 < torch.maximum(*before).max() < 10 * size
        # I - (I - D²)ᴴ(I - D²) for the part D within the range, and the square of the other one.
        assert (after[0] <= 4 * before[0] ** 2 + 1e-13).all()
        # σ² E (I + σ² X₀) E for the error E of x; what is left in w carries over.
        amplification = no * torch.linalg.matrix_norm(OPERATION.exact(h)[1], 2)
        carried = after[0] * (1 + amplification * before[1]) ** 2
        assert (after[1] <= amplification * before[1] ** 2 + carried + 1e-13).all()
        # Nothing is left outside the range, and x stays Hermitian.
        residue = corrected[0] - torch.linalg.pinv(h) @ (h @ corrected[0])
        assert residue.abs().max() < 1e-13
        assert (corrected[1] - corrected[1].mH).abs().max() < 1e-13


@pytest.mark.parametrize("no", [0.0, 0.1])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_is_refused(value: float, no: float) -> None:
    h = channels()
    for broken in range(2):
        for entry in ((2, 1), (3, 3)):
            components = OPERATION.exact(h, no)
            components[broken][3][entry] = value
            ok = accepted(h, components, no)
            assert not ok[3] and ok.sum() == BATCH - 1


def test_singular_matrices_are_refused() -> None:
    h = channels()
    h[3, 1] = h[3, 0]
    ok = accepted(h, OPERATION.exact(h), 0.0)
    assert not ok[3] and ok.sum() == BATCH - 1
