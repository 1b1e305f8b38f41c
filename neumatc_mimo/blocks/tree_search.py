"""The best paths of a tree, layer by layer, for many vectors at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Candidates(NamedTuple):
    """Paths, the best ones first.

    :param distances: [..., num_paths]
    :param points: which point each stream has, [..., num_paths, n] int64
    """

    distances: Tensor
    points: Tensor


class Tree:
    r"""Vectors of constellation points, as paths of a tree with a layer for each stream.

    Candidates of a layer differ from a path by one point. With the path's residual e and the
    diagonal entry r > 0 of R a point c adds

    .. math:: |e - rc|^2 = (\mathrm{Re}\,e - r\,\mathrm{Re}\,c)^2
        + (\mathrm{Im}\,e - r\,\mathrm{Im}\,c)^2.

    Where the points fill a grid of real and imaginary parts, the k best candidates lie in the k
    best of the groups that have the same path and real part, by the best candidate of each group:
    there are k better ones than any of another group. Both steps choose from a few hundred in the
    place of some thousands.

    :param points: of the constellation, [num_points], real or complex
    :param k: number of paths that are kept
    """

    def __init__(self, points: Tensor, k: int) -> None:
        self.points, self._k = points, k
        self._num_bits = (len(points) - 1).bit_length()
        number = torch.arange(len(points), device=points.device)
        shift = torch.arange(self._num_bits - 1, -1, -1, device=points.device)
        ones = ((number[:, None] >> shift) & 1).bool().cpu()
        # Of each bit, the points where it is one, and zero.
        self._ones, self._zeros = (
            [bit.nonzero()[:, 0].to(points.device) for bit in some.T] for some in (ones, ~ones)
        )
        if not points.is_complex():
            self._real, self._imag = points, points.new_zeros(1)
            self._place = number[:, None]
            return
        self._real, row = points.real.unique(return_inverse=True)
        self._imag, column = points.imag.unique(return_inverse=True)
        # [num_real, num_imag]: which point is where
        self._place = torch.zeros(
            len(self._real), len(self._imag), dtype=torch.int64, device=points.device
        )
        self._place[row, column] = number
        self._is_grid = self._place.numel() == len(points)

    def search(self, y: Tensor, r: Tensor) -> Candidates:
        """The best paths.

        :param y: [subcarriers, symbols, n]
        :param r: [subcarriers, symbols or 1, n, n], upper triangular with a real diagonal
        """
        n = y.shape[-1]
        distances = y.real.new_zeros(*y.shape[:2], 1)
        chosen: list[Tensor] = []
        for layer in range(n - 1, -1, -1):
            rest = y[..., layer, None]
            for later, points in zip(range(n - 1, layer, -1), chosen, strict=True):
                rest = rest - r[..., layer, later, None] * self.points[points]
            diagonal = r[..., layer, layer].real[..., None, None]
            distances, path, point = self._best(distances, rest, diagonal, last=not layer)
            chosen = [points.gather(-1, path) for points in chosen] + [point]
        return Candidates(distances, torch.stack(chosen[::-1], -1))

    def _best(
        self, distances: Tensor, rest: Tensor, diagonal: Tensor, *, last: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Distances, paths and points of the best candidates, [..., num_kept] each.

        :param distances: [..., num_paths], likewise the residuals ``rest``
        :param diagonal: [..., 1, 1]
        :param last: whether they are in ascending order
        """
        rest = rest.expand(*distances.shape)
        if self.points.is_complex() and not self._is_grid:
            away = rest[..., None] - diagonal * self.points
            every = distances[..., None] + away.real.square() + away.imag.square()
            found, at = self._least(every.flatten(-2), last)
            return found, *_split(at, len(self.points))
        along = rest.real if rest.is_complex() else rest
        group = distances[..., None] + (along[..., None] - diagonal * self._real).square()
        if not self.points.is_complex():
            found, at = self._least(group.flatten(-2), last)
            return found, *_split(at, len(self._real))
        across = (rest.imag[..., None] - diagonal * self._imag).square()
        best = (group + across.amin(-1, keepdim=True)).flatten(-2)
        _, at = self._least(best, False)
        path, row = _split(at, len(self._real))
        across = across.gather(-2, path[..., None].expand(*path.shape, len(self._imag)))
        every = group.flatten(-2).gather(-1, at)[..., None] + across
        found, which = self._least(every.flatten(-2), last)
        of, column = _split(which, len(self._imag))
        point = self._place[row.gather(-1, of), column]
        return found, path.gather(-1, of), point

    def _least(self, values: Tensor, ordered: bool) -> tuple[Tensor, Tensor]:
        """The smallest of values [..., n] and their places; in ascending order or in any."""
        num = values.shape[-1]
        if num <= self._k and not ordered:
            return values, torch.arange(num, device=values.device).expand_as(values)
        found = values.topk(min(self._k, num), dim=-1, largest=False, sorted=ordered)
        return found.values, found.indices

    def ratios(self, distances: Tensor, points: Tensor, most: float) -> Tensor:
        """Log-likelihood ratios of bits from the nearest candidates that have them and do not,
        [..., n, num_bits].

        :param distances: [..., num_paths]
        :param points: [..., num_paths, n]
        :param most: size of a ratio at most, which it has where all candidates agree
        """
        # [..., n, num_points]: the nearest candidate with each point.
        shape = (*points.shape[:-2], points.shape[-1])
        nearest = distances.new_full((*shape, len(self.points)), torch.inf)
        every = distances[..., None, :].expand(*shape, -1)
        nearest = nearest.scatter_reduce(-1, points.mT, every, "amin")
        without, with_bit = (
            torch.stack([nearest.index_select(-1, of).amin(-1) for of in some], -1)
            for some in (self._zeros, self._ones)
        )
        return (without - with_bit).clamp(-most, most)


def _split(at: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of places in a table of ``num`` columns."""
    if num & (num - 1):
        return at // num, at % num
    return at >> (num.bit_length() - 1), at & (num - 1)
