"""Values of functions at points, as products read them: a stretch of points at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Windows(NamedTuple):
    """Points in groups of one size, each with the consecutive functions that do not vanish there.

    :param values: of the functions of a group, [num_groups, points, functions]
    :param first: first unit of each group, [num_groups]
    :param start: the first of these
    :param stride: distance of the groups' first functions, or None where it varies
    """

    values: Tensor
    first: Tensor
    start: int
    stride: int | None

    def of(self, rows: Tensor) -> Tensor:
        """The groups' rows of a matrix [width, n], [num_groups, functions, n]: a view if it can."""
        num_groups, _, num_functions = self.values.shape
        if self.stride is None:
            index = self.first[:, None] + torch.arange(num_functions, device=rows.device)
            return rows[index]
        step = rows.stride(0)
        offset = rows.storage_offset() + self.start * step
        return rows.as_strided(
            (num_groups, num_functions, rows.shape[1]), (self.stride * step, step, 1), offset
        )


class Table(ABC):
    """Values of functions at points x [B], ready to be read a stretch of points at a time."""

    @abstractmethod
    def read(self, points: slice) -> tuple[slice, Tensor]:
        """The consecutive functions that do not vanish at these points, and their values [b, w], or
        [num_links, b, w] where links have functions of their own.
        """

    def windows(self, points: slice) -> Windows | None:
        """These points in groups; None where all functions are needed for any."""
        del points
        return None

    @property
    def is_local(self) -> bool:
        """Whether few functions differ from zero at a point."""
        return False

    @abstractmethod
    def terms(self) -> tuple[Tensor, Tensor]:
        """Functions that do not vanish at each point, [B, w] int64, and their values, likewise, or
        one or both of each link, [num_links, B, w].
        """

    def leading(self) -> tuple[Tensor, Tensor]:
        """The first of the functions of :meth:`terms`, which are consecutive ones, [B] int64 or
        [num_links, B], and their values.
        """
        columns, values = self.terms()
        return columns[..., 0], values

    def of(self, links: Tensor, listed: Sequence[int]) -> Table:
        """That of some links [l], where they have one of their own.

        :param listed: the links as numbers, empty in a trace
        """
        del links, listed
        return self


@dataclass(frozen=True)
class DenseTable(Table):
    """All functions everywhere.

    :param values: [B, width], or [num_links, B, width] of links with functions of their own
    """

    values: Tensor

    def read(self, points: slice) -> tuple[slice, Tensor]:
        return slice(0, self.values.shape[-1]), self.values[..., points, :]

    def terms(self) -> tuple[Tensor, Tensor]:
        *_, num_points, width = self.values.shape
        every = torch.arange(width, device=self.values.device)
        return every.expand(num_points, width), self.values
