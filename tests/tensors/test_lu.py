"""LU of batches: equal to NumPy's, whatever the number of threads; singular ones by themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import neumatc_mimo as nm
from neumatc_mimo.tensors import lu

PACKAGE = Path(nm.__file__).parent
# Up to 64 rows a batch is one call, above it is one a matrix.
SIZES = [1, 5, 64, 65, 100]
DTYPES = [torch.float64, torch.complex128]


def matrices(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """[..., n, n] of a condition number of some ten."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(*shape, dtype=dtype, generator=generator)
    return a / shape[-1] ** 0.5 + 3 * torch.eye(shape[-1], dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (1,), (2, 1), (2, 3)])
@pytest.mark.parametrize("n", SIZES)
def test_equal_to_numpy(n: int, batch: tuple[int, ...], dtype: torch.dtype) -> None:
    a = matrices(*batch, n, n, dtype=dtype)
    for inverse in (lu.inverse, lu.unchecked_inverse):
        torch.testing.assert_close(inverse(a), torch.from_numpy(np.linalg.inv(a.numpy())))
    magnitude = np.linalg.slogdet(a.numpy())[1]
    torch.testing.assert_close(lu.log_determinant(a), torch.as_tensor(magnitude))
    # Right-hand sides that all share, and as many as there are matrices.
    for shape in ((n, 2), (*batch, n, 2)):
        b = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
        expected = np.linalg.solve(a.numpy(), np.broadcast_to(b.numpy(), (*batch, n, 2)))
        torch.testing.assert_close(lu.solution(a, b), torch.from_numpy(expected))


@pytest.mark.parametrize("n", [3, 70])
def test_a_singular_matrix_spoils_itself_only(n: int) -> None:
    a = matrices(3, n, n)
    a[1] = 0
    for found in (lu.inverse(a), lu.solution(a, torch.ones(3, n, 1, dtype=a.dtype))):
        assert found[1].isnan().all() and found[[0, 2]].isfinite().all()
    assert lu.log_determinant(a).isinf().tolist() == [False, True, False]


@pytest.mark.parametrize("n", [3, 70])
def test_gradients_are_those_of_the_whole_batch(n: int) -> None:
    a, b = matrices(2, n, n).requires_grad_(), matrices(2, n, n, seed=1).requires_grad_()
    ours = (lu.inverse(a).sum(), lu.solution(a, b).sum(), lu.log_determinant(a).sum())
    theirs = (
        torch.linalg.inv(a).sum(),
        torch.linalg.solve(a, b).sum(),
        torch.linalg.slogdet(a).logabsdet.sum(),
    )
    for one, other in zip(ours, theirs, strict=True):
        for mine, reference in zip(
            torch.autograd.grad(one, (a, b), allow_unused=True),
            torch.autograd.grad(other, (a, b), allow_unused=True),
            strict=True,
        ):
            torch.testing.assert_close(mine, reference)


def test_large_matrices_in_a_process_that_has_set_its_threads() -> None:
    """PyTorch's own functions raise there, or return determinants that are wrong."""
    code = """
import numpy, torch
from neumatc_mimo.operations import Inverse
from neumatc_mimo.tensors import lu
torch.set_num_threads(2)
generator = torch.Generator().manual_seed(0)
a = torch.randn(2, 1, 160, 160, dtype=torch.float64, generator=generator) / 160**0.5
a = a + 3 * torch.eye(160)
(w,) = Inverse().exact(a)
numpy.testing.assert_allclose(w, numpy.linalg.inv(a), atol=1e-12)
numpy.testing.assert_allclose(lu.solution(a, a), torch.eye(160).expand_as(a), atol=1e-12)
numpy.testing.assert_allclose(lu.log_determinant(a), numpy.linalg.slogdet(a)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "oneMKL" not in done.stdout + done.stderr, done.stderr


def test_nothing_else_factors_batches() -> None:
    called = re.compile(
        r"torch\.(linalg\.)?(inv|inverse|det|logdet|slogdet|solve|lu)(_ex|_factor|_factor_ex|_solve)?\("
    )
    files = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if called.search(path.read_text(encoding="utf-8"))
    }
    assert files == {"tensors/lu.py"}
