"""What detectors share that look at all streams of a receiver together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Unpack

import torch
from sionna.phy import Block
from sionna.phy.mapping import Constellation
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import RemoveNulledSubcarriers, ResourceGrid
from torch import Tensor

from neumatc_mimo.blocks.data_symbols import DataSymbols
from neumatc_mimo.blocks.sufficient_statistics import SufficientStatistics
from neumatc_mimo.blocks.tiles import take
from neumatc_mimo.foundation.block_settings import BlockKeywords
from neumatc_mimo.foundation.counts import Counts
from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.solvers.base import Solver
from neumatc_mimo.tensors.tracing import is_traced

# Resource elements that a detector works on at once on a CPU: what it has of them stays in a cache.
_AT_ONCE = 2048


class Part(NamedTuple):
    """Resource elements that are detected together.

    :param y: [n, symbols, subcarriers]
    :param m: G or R, [n, num_streams, symbols or 1, subcarriers]
    :param prior: [num_values, num_streams, symbols, subcarriers], or None
    """

    y: Tensor
    m: Tensor
    prior: Tensor | None


class Detector(Displayed, Block):
    """Base of the detectors: statistics once per subcarrier, then all symbols at once.

    A subclass gives :meth:`_detected`.

    :param detector: Sionna's detector of single vectors, whose settings are checked and taken
    :param output: Type of output, either "bit" or "symbol"
    :param resource_grid: ResourceGrid to be used
    :param stream_management: StreamManagement to be used
    :param solver: ScenarioModel or any other solver
    :param precision: Precision used for internal calculations and outputs
    :param device: Device for computation
    :param triangular: as of :class:`SufficientStatistics`
    :param energy: likewise
    :param settings: ``certify`` and what else all blocks take
    """

    def __init__(
        self,
        detector: Block,
        output: str,
        resource_grid: ResourceGrid,
        stream_management: StreamManagement,
        solver: Solver,
        precision: str | None = None,
        device: str | None = None,
        *,
        triangular: bool = False,
        energy: bool = False,
        **settings: Unpack[BlockKeywords],
    ) -> None:
        super().__init__(precision=precision, device=device)
        made = SufficientStatistics(
            resource_grid,
            stream_management,
            solver,
            precision,
            device,
            triangular=triangular,
            energy=energy,
            **settings,
        )
        # No child: the state is that of Sionna's detector.
        object.__setattr__(self, "_statistics", made)
        self._output, self._detector = output, detector
        self._resource_grid = resource_grid
        self._removed_nulled_scs = RemoveNulledSubcarriers(resource_grid, precision, device)
        self._data_symbols = DataSymbols(resource_grid, self.device)
        # OFDM symbols that carry data of any stream: the others are not detected.
        num_rows = int(resource_grid.num_tx) * int(resource_grid.num_streams_per_tx)
        every = range(int(resource_grid.num_ofdm_symbols))
        self._carrying = self._data_symbols.carrying(range(num_rows), every)

    @property
    def stats(self) -> Counts:
        """Counts of how results were obtained, summed over calls."""
        stats: Counts = self._statistics.stats
        return stats

    def facts(self) -> Facts:
        facts = self._statistics.facts()
        return Facts("", {"detector": type(self._detector).__name__, **facts.values})

    def call(
        self,
        y: Tensor,
        h_hat: Tensor,
        err_var: float | Tensor,
        no: float | Tensor,
        links: Tensor | None = None,
        time: float | None = None,
        noise_covariance: Tensor | None = None,
    ) -> Tensor:
        """Detect bits or symbols; inputs and outputs as in the class's description."""
        found, m = self._statistics(y, h_hat, err_var, no, links, time, noise_covariance)
        return self._all(found, m, None)

    def _detected(self, part: Part) -> Tensor:
        """What is detected, [num_values, num_streams, symbols, subcarriers]."""
        raise NotImplementedError

    def _all(self, y: Tensor, m: Tensor, prior: Tensor | None) -> Tensor:
        """What is detected everywhere, as a detector returns it.

        :param y: [batch_size, num_rx, n, num_ofdm_symbols, num_effective_subcarriers]
        :param m: [batch_size or 1, num_rx, n, num_streams, num_ofdm_symbols,
            num_effective_subcarriers]
        :param prior: [batch_size, num_values, num_tx * num_streams, num_ofdm_symbols,
            num_effective_subcarriers], or None
        """
        _, num_rx, _, symbols, subcarriers = y.shape
        y = take(y, 3, self._carrying)
        m = m[..., :1, :] if m.stride(-2) == 0 else take(m, -2, self._carrying)
        prior = None if prior is None else take(prior, -2, self._carrying)
        found = []
        for rx in range(num_rx):
            own = prior
            if prior is not None:
                own = take(prior, 2, self._statistics._rows[rx])
            found.append(self._at_receiver(y[:, rx], m[:, rx], own))
        # [batch_size, num_values, num_rx, num_streams, len(carrying), num_effective_subcarriers]
        some = torch.stack(found, 2)
        if len(self._carrying) < symbols:
            whole = some.new_zeros(*some.shape[:4], symbols, subcarriers)
            index = torch.tensor(self._carrying, device=some.device)
            some = whole.index_copy(4, index, some)
        return self._extracted(some)

    def _at_receiver(self, y: Tensor, m: Tensor, prior: Tensor | None) -> Tensor:
        """[batch_size, num_values, num_streams, symbols, subcarriers] at one receiver."""
        items, _, symbols, _ = y.shape
        if len(m) == 1 and m.shape[-2] == 1:
            # One matrix for all items: their symbols are those of one.
            y = y.transpose(0, 1).flatten(1, 2)[None]
            if prior is not None:
                prior = prior.permute(1, 2, 0, 3, 4).flatten(2, 3)[None]
        each = []
        for i in range(len(y)):
            given = None if prior is None else prior[i]
            tiles = [
                self._detected(
                    Part(
                        y[i, ..., tile],
                        m[min(i, len(m) - 1), ..., tile],
                        None if given is None else given[..., tile],
                    )
                )
                for tile in self._tiles(y)
            ]
            each.append(tiles[0] if len(tiles) == 1 else torch.cat(tiles, -1))
        found = torch.stack(each)
        if len(found) == items:
            return found
        return found[0].unflatten(2, (items, symbols)).permute(2, 0, 1, 3, 4)

    def _tiles(self, y: Tensor) -> Iterator[slice]:
        """Subcarriers of y [..., symbols, subcarriers] that are detected at once."""
        num, step = y.shape[-1], max(1, _AT_ONCE // max(y.shape[-2], 1))
        if is_traced() or y.device.type != "cpu" or not num:
            step = max(num, 1)
        for first in range(0, max(num, 1), step):
            yield slice(first, min(first + step, num))

    def _extracted(self, z: Tensor) -> Tensor:
        """Values [batch_size, num_values, num_rx, num_streams, num_ofdm_symbols, subcarriers] of
        the data symbols of all transmitters, as the block returns them.
        """
        z = take(z.flatten(2, 3), 2, self._statistics._stream_ind)
        streams = (self._resource_grid.num_tx, self._resource_grid.num_streams_per_tx)
        z = self._data_symbols(z.unflatten(2, streams))
        z = z.permute(0, 2, 3, 4, 1)
        if self._output == "bit":
            return z.flatten(-2)
        return z[..., 0] if self._hard else z.contiguous()

    @property
    def _hard(self) -> bool:
        """Whether symbols are decided."""
        return bool(self._detector._hard_out)


class DetectorWithPrior(Detector):
    """Base of the detectors that take what is known beforehand."""

    @property
    def _constellation(self) -> Constellation:
        return self._detector._constellation

    @property
    def _num_prior(self) -> int:
        """Number of values that a prior has of a symbol."""
        constellation = self._constellation
        bits = self._output == "bit"
        return int(constellation.num_bits_per_symbol if bits else constellation.num_points)

    def call(  # type: ignore[override]
        self,
        y: Tensor,
        h_hat: Tensor,
        prior: Tensor,
        err_var: float | Tensor,
        no: float | Tensor,
        links: Tensor | None = None,
        time: float | None = None,
        noise_covariance: Tensor | None = None,
    ) -> Tensor:
        """Detect bits or symbols; inputs and outputs as in the class's description."""
        known = self._on_grid(prior)
        found, m = self._statistics(y, h_hat, err_var, no, links, time, noise_covariance)
        items = max(len(found), len(known))
        found = found.expand(items, *found.shape[1:])
        return self._all(found, m, known.expand(items, *known.shape[1:]))

    def _on_grid(self, prior: Tensor) -> Tensor:
        """A prior on the grid, zero where no data are, [batch_size, num_values, num_tx *
        num_streams, num_ofdm_symbols, num_effective_subcarriers].
        """
        data, grid = self._data_symbols, self._resource_grid
        streams = (int(grid.num_tx), int(grid.num_streams_per_tx))
        prior = prior.to(self.device, self.dtype) if not prior.is_complex() else prior.real
        prior = prior.to(self.dtype)
        shape = (*streams, data.num_data, self._num_prior)
        wanted = (*streams, data.num_data * self._num_prior) if self._output == "bit" else shape
        if list(prior.shape[1:]) != list(wanted):
            raise ValueError(
                f"prior has the shape {list(prior.shape)}, [batch_size, "
                f"{', '.join(map(str, wanted))}] is needed."
            )
        values = prior.reshape(len(prior), *shape).permute(0, 4, 1, 2, 3)
        return data.placed(values).flatten(2, 3)
