"""Single subcarriers of single items of a resource grid, side by side."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Places(NamedTuple):
    """Subcarriers of items, one after the other.

    :param item: [num_places] int64; None where all items share their matrices
    :param at: subcarriers, [num_places] int64
    """

    item: Tensor | None
    at: Tensor

    @classmethod
    def marked(cls, where: Tensor, batch_size: int) -> Places:
        """The marked ones of [num_items, num_subcarriers], in their order.

        :param batch_size: of the resource grids; one item then stands for all
        """
        item, at = where.nonzero(as_tuple=True)
        return cls(None if len(where) < batch_size else item, at)

    def read(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """Symbols [1 or batch_size, rows, symbols, num_places] of x [batch_size, rows, symbols, n].

        :param at: their subcarriers in x, where these are others
        """
        at = self.at if at is None else at
        if self.item is None:
            return x[..., at]
        return x[self.item, :, :, at].permute(1, 2, 0)[None]

    def write(self, out: Tensor, value: Tensor) -> None:
        """Put such symbols where they belong."""
        if self.item is None:
            out[..., self.at] = value
        else:
            out[self.item, :, :, self.at] = value[0].permute(2, 0, 1)
