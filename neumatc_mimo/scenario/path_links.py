"""Links that are given by their paths: coefficients, delays and Doppler shifts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from neumatc_mimo.scenario.links import LinkSet
from neumatc_mimo.tensors.waves import turned, wave

# Entries that a step of `channel` computes at once; 2^21 complex64 entries are 16 MiB.
_STEP = 2**21


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PathLinks(LinkSet):
    r"""Links as sums of paths.

    Link :math:`l` is the channel family

    .. math::
        H_l(f)_{km} = \sum_p a_{lkmp} e^{-j 2\pi f \tau_{lkmp}}.

    A path that a row does not have carries the coefficient 0 and the row's first-arrival delay.

    Users that move over a burst see a Doppler shift :math:`\nu` on every path, and a delay that
    drifts with it,

    .. math::
        a_p(t) = a_p e^{j 2\pi \nu_p t}, \qquad \tau_p(t) = \tau_p - t \nu_p / f_c,

    as long as waves are plane over the way that they go, some centimetres. DeepMIMO and Sionna RT
    turn paths alike and keep their delays; so do links whose Doppler shifts come from there.

    :param coefficients: a, [num_links, K, M, P], complex128, row scaling applied
    :param delays: :math:`\tau` in seconds, [num_links, 1, 1, P], [num_links, K, 1, P], or, with
        beam squint, [num_links, K, M, P], float64

    The other fields are those of :class:`~neumatc_mimo.scenario.links.LinkSet`.

    :raises ValueError: If shapes do not fit, or an entry is NaN or infinite
    """

    told_by: ClassVar[str] = "coefficients"

    coefficients: Tensor
    delays: Tensor

    def __post_init__(self) -> None:
        if self.coefficients.dim() != 4 or 0 in self.coefficients.shape:
            raise ValueError(
                f"coefficients has the shape {list(self.coefficients.shape)}, a non-empty "
                "[num_links, K, M, P] is needed."
            )
        links, rows, cols, paths = self.coefficients.shape
        if self.delays.shape not in [(links, k, m, paths) for k, m in _axes(rows, cols)]:
            raise ValueError(
                f"delays has the shape {list(self.delays.shape)}, it must be {links} x (1 x 1, "
                f"{rows} x 1 or {rows} x {cols}) x {paths} as coefficients."
            )
        if self.doppler is not None and self.doppler.shape not in [
            (links, k, 1, paths) for k in (1, rows)
        ]:
            raise ValueError(
                f"doppler has the shape {list(self.doppler.shape)}, it must be {links} x (1 or "
                f"{rows}) x 1 x {paths} as coefficients."
            )
        super().__post_init__()
        self._check_finite("coefficients", "delays")

    @property
    def num_links(self) -> int:
        return self.coefficients.shape[0]

    @property
    def num_rows(self) -> int:
        return self.coefficients.shape[1]

    @property
    def num_cols(self) -> int:
        return self.coefficients.shape[2]

    @property
    def num_paths(self) -> int:
        """Largest number P of paths of a row."""
        return self.coefficients.shape[3]

    def row_power(self) -> Tensor:
        """Powers of all paths together."""
        return self.coefficients.abs().square().sum(-1).mean(-1)

    def latest_delays(self, within_db: float) -> Tensor:
        """Of the latest path within so many dB of the power of its row."""
        rows = self._row(self.row_delays, self.check_links(None), self.delays)
        delays = (self.delays - rows).abs().amax(2)  # [num_links, 1 or K, P]
        powers = self.coefficients.abs().square().mean(2)
        counts = powers > 10 ** (-within_db / 10) * powers.sum(-1, keepdim=True)
        return torch.where(counts, delays.expand_as(powers), 0.0).amax(-1)

    def column_gram(self) -> Tensor | None:
        """Of array responses; None with beam squint, which turns them over the band."""
        if self.delays.shape[2] > 1:
            return None
        power = self.coefficients.abs().square().sum((2, 3), keepdim=True)
        rows = (self.coefficients / power.sqrt()).transpose(2, 3).flatten(1, 2)
        return rows.mH @ rows

    def in_columns(self, basis: Tensor) -> PathLinks:
        paths = torch.einsum("lkmp,lmr->lkrp", self.coefficients, basis)
        return replace(self, coefficients=paths.contiguous())

    def timing_advanced(self) -> PathLinks:
        # One row stands for all where the rows share their delays.
        first = self.row_delays[:, : self.delays.shape[1], None, None]
        return replace(
            self,
            delays=self.delays - first,
            row_delays=torch.zeros_like(self.row_delays),
            source=self._derived("advanced"),
        )

    def _evaluate(
        self, frequencies: Tensor, links: Tensor, aligned: bool, dtype: torch.dtype, time: float
    ) -> Tensor:
        """Phases are computed in float64 whatever the dtype, and links and frequencies are taken in
        steps: beside the result, at most some 2^21 entries are held at once.
        """
        coefficients, delays = self.coefficients[links], self.delays[links]
        if self.doppler is not None:
            doppler = self.doppler[links]
            if aligned:
                doppler = doppler - self._row(self.row_doppler, links, doppler)
            coefficients = coefficients * turned(doppler * time)
            delays = delays - self.doppler[links] * self._drift(time)
        if aligned:
            delays = delays - self._row(self._delays_at(time), links, delays)
        coefficients = coefficients.to(dtype)
        shape = (len(links), len(frequencies), self.num_rows, self.num_cols)
        channel = torch.empty(shape, dtype=dtype, device=self.device)
        phases = delays.shape[1] * delays.shape[2] * self.num_paths
        per_point = phases + self.num_rows * self.num_cols
        num_frequencies = max(1, min(len(frequencies), _STEP // per_point))
        num_links = max(1, _STEP // (per_point * num_frequencies))
        for i in range(0, len(links), num_links):
            link = slice(i, i + num_links)
            for j in range(0, len(frequencies), num_frequencies):
                frequency = slice(j, j + num_frequencies)
                channel[link, frequency] = _sum_paths(
                    coefficients[link], delays[link], frequencies[frequency]
                )
        return channel

    @staticmethod
    def _row(values: Tensor | None, links: Tensor, like: Tensor) -> Tensor:
        """Values of the rows [num_links, K] beside those of paths; one row stands for all where the
        rows share their paths.
        """
        assert values is not None
        return values[links, : like.shape[1], None, None]

    def _own_facts(self) -> dict[str, Any]:
        return {"paths": f"up to {self.num_paths}"}


def _axes(rows: int, cols: int) -> list[tuple[int, int]]:
    """Sizes of the row and column axes of delays: shared by all, per row, or per antenna."""
    return [(1, 1), (rows, 1), (rows, cols)]


def _sum_paths(coefficients: Tensor, delays: Tensor, frequencies: Tensor) -> Tensor:
    """Sum the paths, as one matrix product for each set of antennas that shares its delays.

    :param coefficients: [L, K, M, P], complex
    :param delays: [L, k, m, P] with k of 1 or K, m of 1 or M, float64
    :param frequencies: [F], float64

    :return: [L, F, K, M]
    """
    links, rows, cols, paths = coefficients.shape
    k, m = delays.shape[1:3]
    waves = wave(frequencies[:, None], delays[..., None, :], coefficients.dtype)  # [L, k, m, F, P]
    # [L, k, K/k, m, M/m, P] -> [L, k, m, P, K/k * M/m]
    shared = coefficients.reshape(links, k, rows // k, m, cols // m, paths)
    shared = shared.permute(0, 1, 3, 5, 2, 4).reshape(links, k, m, paths, -1)
    channel = (waves @ shared).reshape(links, k, m, -1, rows // k, cols // m)
    # [L, k, m, F, K/k, M/m] -> [L, F, k, K/k, m, M/m] -> [L, F, K, M]
    return channel.permute(0, 3, 1, 4, 2, 5).reshape(links, -1, rows, cols)
