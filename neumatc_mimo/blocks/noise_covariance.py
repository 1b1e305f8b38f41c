"""Full covariance matrices of the noise at a receiver's antennas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neumatc_mimo.foundation.covariance_checks import CORRELATED, HERMITIAN, refuse_covariance
from neumatc_mimo.operations.ill_conditioned import wide
from neumatc_mimo.tensors.tracing import is_traced

# Where whitening raises some amplitudes over others by so much, single precision keeps five digits.
_MODEST = 1e2


def checked_covariance(
    covariance: Tensor | None, shape: Sequence[int], dtype: torch.dtype, device: str
) -> Tensor | None:
    """A noise covariance as [batch_size or 1, num_rx or 1, num_ofdm_symbols or 1, num_groups,
    num_rx_ant, num_rx_ant], with a matrix for each group of neighbouring subcarriers; None for
    None.

    :param covariance: [..., num_rx_ant, num_rx_ant], whose leading dimensions can be broadcast to
        [batch_size, num_rx, num_ofdm_symbols, num_subcarriers]; or of fewer matrices along the
        subcarriers, each of which holds for as many neighbours: resource blocks
    :param shape: [batch_size, num_rx, num_ofdm_symbols, num_subcarriers, num_rx_ant]
    :param dtype: complex

    :raises ValueError: if its shape is another one, or it is not Hermitian, or correlations are
        larger than powers allow
    """
    if covariance is None:
        return None
    matrix = torch.as_tensor(covariance).to(device, dtype)
    *leading, num_subcarriers, num_antennas = shape
    given = list(matrix.shape)
    whole = matrix[(None,) * (6 - matrix.dim())] if 2 <= matrix.dim() <= 6 else matrix
    fits = whole.dim() == 6 and list(whole.shape[-2:]) == [num_antennas] * 2
    fits = fits and num_subcarriers % max(whole.shape[3], 1) == 0
    fits = fits and all(
        size in (1, wanted) for size, wanted in zip(whole.shape[:3], leading, strict=True)
    )
    if not fits:
        raise ValueError(
            f"noise_covariance has the shape {given}, [..., {num_antennas}, {num_antennas}] is "
            f"needed with leading dimensions that can be broadcast to "
            f"{[*leading, num_subcarriers]}, or of one matrix for each resource block."
        )
    if not is_traced():
        _check_values(whole)
    return whole


def _check_values(matrix: Tensor) -> None:
    """Refuse what is no covariance, as far as pairs of antennas tell."""
    power = matrix.diagonal(dim1=-2, dim2=-1).real
    larger = torch.maximum(power[..., None], power[..., None, :])
    allowed = (power.clamp_min(0)[..., None] * power.clamp_min(0)[..., None, :]).sqrt()
    beyond = matrix.abs() > allowed + CORRELATED * larger.abs()
    refuse_covariance(
        finite=bool(torch.isfinite(matrix).all()),
        hermitian=not bool(((matrix - matrix.mH).abs() > HERMITIAN * larger.abs()).any()),
        semidefinite=not bool((power < 0).any() | beyond.any()),
    )


class Grouped(NamedTuple):
    """Matrices of groups of neighbouring subcarriers.

    :param matrix: [batch_size or 1, num_groups, num_rx_ant, num_rx_ant]
    :param sizes: Subcarriers of each group
    """

    matrix: Tensor
    sizes: list[int]

    def times(self, x: Tensor) -> Tensor:
        """Rows x [batch_size, tile, k, num_rx_ant] times the matrices, a product for each group."""
        matrix, sizes = self
        if len(sizes) == 1:
            # One product for all items, if they share the matrix.
            own = matrix[0, 0] if len(matrix) == 1 else matrix[:, 0]
            return (x.flatten(1, 2) @ own).unflatten(1, x.shape[1:3])
        if min(sizes) == max(sizes):
            grouped = x.unflatten(1, (-1, sizes[0]))
            return (grouped.flatten(2, 3) @ matrix).unflatten(2, grouped.shape[2:4]).flatten(1, 2)
        parts = zip(x.split(sizes, 1), matrix.split(1, 1), sizes, strict=True)
        return torch.cat([Grouped(own, [size]).times(part) for part, own, size in parts], 1)

    def of_each(self) -> Tensor:
        """That of each subcarrier, [batch_size or 1, tile, num_rx_ant, num_rx_ant]."""
        if len(self.sizes) == 1:
            return self.matrix.expand(-1, self.sizes[0], -1, -1)
        return torch.cat(
            [self.matrix[:, i : i + 1].expand(-1, n, -1, -1) for i, n in enumerate(self.sizes)], 1
        )


class NoiseCovariance(NamedTuple):
    """The noise at one receiver in one OFDM symbol: correlated between antennas, and white.

    :param correlated: [batch_size or 1, num_groups, num_rx_ant, num_rx_ant], one matrix for each
        group of neighbouring subcarriers
    :param white: Powers at the antennas beside it, [batch_size or 1, num_rx_ant or 1,
        num_subcarriers or 1]
    :param num_subcarriers: Of all groups together
    """

    correlated: Tensor
    white: Tensor
    num_subcarriers: int

    def at(self, tile: slice) -> Grouped:
        """The covariance on a tile of subcarriers, in double precision."""
        first, last, _ = tile.indices(self.num_subcarriers)
        width = self.num_subcarriers // self.correlated.shape[1]
        groups = range(first // width, (last - 1) // width + 1)
        sizes = [min((i + 1) * width, last) - max(i * width, first) for i in groups]
        correlated = Grouped(wide(self.correlated[:, groups.start : groups.stop]), sizes)
        if self.white.shape[2] == 1:
            return Grouped(_sum(correlated.matrix, self.white.mT), sizes)
        each = _sum(correlated.of_each(), self.white[..., first:last].mT)
        return Grouped(each, [1] * (last - first))

    def behind(self, w: Tensor, tile: slice) -> Tensor:
        r"""Power of the noise behind filters that give :math:`W^{\mathsf{T}} y`,
        :math:`w_k^{\mathsf{T}} S w_k^*`, [batch_size, tile, num_streams], double precision.

        :param w: [batch_size, tile, num_rx_ant, num_streams]
        """
        rows = wide(w).mT
        return (self.at(tile).times(rows) * rows.conj()).sum(-1).real


class Whitener(NamedTuple):
    r"""What makes noise of the covariance :math:`S = L L^{\mathsf{H}}` white.

    :param inverse: :math:`L^{-1}`, double precision
    :param used: The same, in the precision that products with it take
    """

    inverse: Grouped
    used: Grouped

    @classmethod
    def of(cls, covariance: Grouped, dtype: torch.dtype) -> Whitener:
        """That of a covariance in double precision; groups of subcarriers are factored once.

        :param dtype: complex, that will do where the noise has no much stronger directions

        :raises ValueError: if the covariance is singular, or has negative eigenvalues
        """
        inverse = _inverse_factor(covariance.matrix)
        used = inverse
        # A trace cannot tell.
        if not is_traced():
            power = covariance.matrix.detach().diagonal(dim1=-2, dim2=-1).real.amax(-1)
            raised = inverse.detach().abs().square().sum(-1).amax(-1)
            used = inverse.to(dtype) if bool((power * raised <= _MODEST**2).all()) else inverse
        return cls(Grouped(inverse, covariance.sizes), Grouped(used, covariance.sizes))

    def white(self, a: Tensor) -> Tensor:
        r""":math:`A L^{-\mathsf{T}}` for rows A [batch_size, tile, k, num_rx_ant] of channels."""
        used, sizes = self.used
        return Grouped(used.mT, sizes).times(a.to(used.dtype)).to(a.dtype)

    def precisely(self, a: Tensor, where: Tensor) -> Tensor:
        """The same for single subcarriers, double precision.

        :param where: [batch_size, tile] bool
        """
        inverse = self.inverse.of_each().expand(*a.shape[:2], -1, -1)
        return wide(a[where]) @ inverse[where].mT

    def back(self, w: Tensor) -> Tensor:
        r""":math:`L^{-\mathsf{T}} W` for filters W [batch_size, tile, num_rx_ant, k] of what is
        white.
        """
        used, _ = self.used
        return self.used.times(w.mT.to(used.dtype)).mT.to(w.dtype).contiguous()


def _sum(correlated: Tensor, white: Tensor) -> Tensor:
    """Correlated noise and white noise of powers [..., num_rx_ant or 1] together."""
    power = wide(white).expand(*white.shape[:-1], correlated.shape[-1])
    return correlated + torch.diag_embed(power)


def definite_factor(covariance: Tensor) -> Tensor:
    """L of covariances, [..., num_rx_ant, num_rx_ant].

    :raises ValueError: if they are singular, or have negative eigenvalues
    """
    factor, info = torch.linalg.cholesky_ex(covariance, check_errors=False)
    if not is_traced() and bool(info.any()):
        raise ValueError(
            "noise_covariance and no together are not positive definite, a covariance without "
            "negative eigenvalues is needed, and white noise where it is singular."
        )
    return factor


def _inverse_factor(covariance: Tensor) -> Tensor:
    factor = definite_factor(covariance)
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye, upper=False)
