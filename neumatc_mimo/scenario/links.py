"""Link sets: the channels of many links, evaluated at any frequency from their paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.operations.config import Dimensions
from neumatc_mimo.tensors.waves import turned, wave

LinkKind = Literal["multi_user", "single_user"]

# Entries that a step of `channel` computes at once; 2^21 complex64 entries are 16 MiB.
_STEP = 2**21


@dataclass(frozen=True, eq=False, repr=False)
class LinkSet(Displayed):
    r"""The links of one kind in a scenario, batched.

    Link :math:`l` is the channel family

    .. math::
        H_l(f)_{km} = \sum_p a_{lkmp} e^{-j 2\pi f \tau_{lkmp}},

    with K rows (antennas of the users, those of a user side by side) and M columns (base-station
    antennas); f is in Hz relative to the carrier. A path that a row does not have carries the
    coefficient 0 and the row's first-arrival delay. All tensors lie on one device.

    Users that move over a burst see a Doppler shift :math:`\nu` on every path, and a delay that
    drifts with it,

    .. math::
        a_p(t) = a_p e^{j 2\pi \nu_p t}, \qquad \tau_p(t) = \tau_p - t \nu_p / f_c,

    as long as waves are plane over the way that they go, some centimetres. DeepMIMO and Sionna RT
    turn paths alike and keep their delays; so do links whose Doppler shifts come from there.

    :param kind: "multi_user" or "single_user"
    :param coefficients: a, [num_links, K, M, P], complex128, row scaling applied
    :param delays: :math:`\tau` in seconds, [num_links, 1, 1, P], [num_links, K, 1, P], or, with
        beam squint, [num_links, K, M, P], float64
    :param row_delays: First-arrival delay of each row in seconds, [num_links, K], float64; the
        rows of a user share the user's
    :param row_gains: Factor that the row scaling multiplied each row with, [num_links, K],
        float64; the rows of a user share one
    :param users: Indices of the users in the DeepMIMO data, [num_links, num_users], int64
    :param user_positions: Metres, [num_links, num_users, 3], float64
    :param base_station: Row of ``base_station_positions`` for each link, [num_links], int64
    :param base_station_positions: Metres, [num_base_stations, 3], float64
    :param carrier_frequency: Hz
    :param fft_size: Number of subcarriers of the grid
    :param subcarrier_spacing: Hz
    :param noise_db: Range of the noise power in dB of the MMSE model; None for a single user
    :param num_streams: Number of streams of a single user; None for several users
    :param source: SHA-256 of the files' data and the settings that the links were made from
    :param doppler: :math:`\nu` in Hz, [num_links, 1, 1, P] or [num_links, K, 1, P], float64; None
        where users stand still
    :param row_doppler: Mean of each row's Doppler shifts by power in Hz, [num_links, K], float64
    :param duration: Of a burst, seconds; zero where users stand still
    :param delays_drift: Whether delays drift with the Doppler shifts

    :raises ValueError: If shapes do not fit, or an entry is NaN or infinite
    """

    kind: LinkKind
    coefficients: Tensor
    delays: Tensor
    row_delays: Tensor
    row_gains: Tensor
    users: Tensor
    user_positions: Tensor
    base_station: Tensor
    base_station_positions: Tensor
    carrier_frequency: float
    fft_size: int
    subcarrier_spacing: float
    noise_db: tuple[float, float] | None = None
    num_streams: int | None = None
    source: str = ""
    doppler: Tensor | None = None
    row_doppler: Tensor | None = None
    duration: float = 0.0
    delays_drift: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("multi_user", "single_user"):
            raise ValueError(f'kind is "{self.kind}", it must be "multi_user" or "single_user".')
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
        users = 1
        if self.kind == "multi_user" and self.users.dim() == 2:
            users = self.users.shape[1]
            if not users or rows % users:
                raise ValueError(
                    f"users has the shape {list(self.users.shape)}, a number of users that divides "
                    f"the {rows} rows is needed."
                )
        if (self.doppler is None) != (self.row_doppler is None):
            raise ValueError("doppler and row_doppler belong together, give both or none.")
        if self.doppler is not None and self.doppler.shape not in [
            (links, k, 1, paths) for k in (1, rows)
        ]:
            raise ValueError(
                f"doppler has the shape {list(self.doppler.shape)}, it must be {links} x (1 or "
                f"{rows}) x 1 x {paths} as coefficients."
            )
        if (self.doppler is not None) != (self.duration > 0):
            raise ValueError(f"duration is {self.duration}, it must be positive for moving users.")
        shapes = {
            "row_delays": (links, rows),
            "row_gains": (links, rows),
            "users": (links, users),
            "user_positions": (links, users, 3),
            "base_station": (links,),
        }
        if self.row_doppler is not None:
            shapes["row_doppler"] = (links, rows)
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} has the shape {list(getattr(self, name).shape)}, {list(shape)} is "
                    "needed."
                )
        for name in ("coefficients", "delays", "row_delays", "row_gains", "doppler", "row_doppler"):
            values = getattr(self, name)
            if values is not None and not bool(torch.isfinite(values).all()):
                raise ValueError(f"{name} has NaN or infinite entries, finite ones are needed.")

    @property
    def num_links(self) -> int:
        """Number of links."""
        return self.coefficients.shape[0]

    @property
    def num_rows(self) -> int:
        """Number K of rows: antennas of all users of a link."""
        return self.coefficients.shape[1]

    @property
    def num_cols(self) -> int:
        """Number M of columns: base-station antennas."""
        return self.coefficients.shape[2]

    @property
    def num_paths(self) -> int:
        """Largest number P of paths of a row."""
        return self.coefficients.shape[3]

    @property
    def num_users(self) -> int:
        """Number of users of a link."""
        return self.users.shape[1]

    @property
    def antennas_per_user(self) -> int:
        """Number of rows that belong to each user, side by side."""
        return self.num_rows // self.num_users

    @property
    def dimensions(self) -> Dimensions:
        """Sizes of the links' matrices, as operations ask for them."""
        return Dimensions(self.num_rows, self.num_cols, self.antennas_per_user, self.num_streams)

    @property
    def device(self) -> torch.device:
        """Device of all tensors."""
        return self.coefficients.device

    @property
    def band(self) -> tuple[float, float]:
        """Lowest and highest subcarrier frequency in Hz, relative to the carrier."""
        first = -(self.fft_size // 2)
        last = first + self.fft_size - 1
        return first * self.subcarrier_spacing, last * self.subcarrier_spacing

    def grid_frequencies(self) -> Tensor:
        r"""Return :math:`f_i = (i - \lfloor N/2 \rfloor) \Delta f` in Hz, [fft_size], float64."""
        index = torch.arange(self.fft_size, dtype=torch.float64, device=self.device)
        return (index - self.fft_size // 2) * self.subcarrier_spacing

    def check_frequencies(self, frequencies: Tensor, *, in_band: bool = True) -> Tensor:
        """Check frequencies and bring them to the device of the links.

        :param frequencies: Hz relative to the carrier, [num_frequencies], any real dtype
        :param in_band: Whether to refuse frequencies outside the grid's band; each subcarrier
            takes half a spacing to either side

        :return: [num_frequencies], float64
        :raises ValueError: If they are not a non-empty, real, finite vector, or out of the band
        """
        frequencies = torch.as_tensor(frequencies)
        if frequencies.dim() != 1 or not len(frequencies) or frequencies.is_complex():
            raise ValueError(
                f"frequencies is {frequencies.dtype} of shape {list(frequencies.shape)}, a real, "
                "non-empty vector in Hz is needed."
            )
        frequencies = frequencies.to(self.device, torch.float64)
        if not bool(torch.isfinite(frequencies).all()):
            raise ValueError("frequencies has NaN or infinite entries, finite ones are needed.")
        if in_band:
            (low, high), margin = self.band, self.subcarrier_spacing / 2
            lowest, highest = frequencies.min().item(), frequencies.max().item()
            if lowest < low - margin or highest > high + margin:
                raise ValueError(
                    f"frequencies reach from {lowest:g} to {highest:g} Hz, the band is {low:g} to "
                    f"{high:g} Hz relative to the carrier."
                )
        return frequencies

    def check_links(self, links: Tensor | Sequence[int] | None) -> Tensor:
        """Check link indices and bring them to the device of the links; None means all.

        :return: [num_selected], int64
        :raises ValueError: If they are not a vector of integers from 0 to num_links - 1
        """
        if links is None:
            return torch.arange(self.num_links, device=self.device)
        if not isinstance(links, Tensor):
            links = torch.tensor(links, dtype=None if len(links) else torch.int64)
        links = links.to(self.device)
        if links.dim() != 1 or links.is_complex() or links.is_floating_point():
            raise ValueError(
                f"links is {links.dtype} of shape {list(links.shape)}, a vector of link indices "
                "is needed."
            )
        if links.dtype == torch.bool:
            raise ValueError("links is a mask, a vector of link indices is needed.")
        if len(links) and not 0 <= links.min().item() <= links.max().item() < self.num_links:
            raise ValueError(
                f"links reaches from {links.min().item()} to {links.max().item()}, there are "
                f"links 0 to {self.num_links - 1}."
            )
        return links.to(torch.int64)

    def channel(
        self,
        frequencies: Tensor,
        links: Tensor | Sequence[int] | None = None,
        *,
        aligned: bool = False,
        dtype: torch.dtype = torch.complex64,
        time: float = 0.0,
    ) -> Tensor:
        r"""Evaluate the channels.

        Phases are computed in float64 whatever the dtype, and links and frequencies are taken in
        steps: beside the result, at most some 2^21 entries are held at once.

        :param frequencies: Hz relative to the carrier, [num_frequencies]; any real frequency
        :param links: Indices of the links, [num_selected]; None means all
        :param aligned: Whether to take the factors out of each row that :meth:`row_factors` gives
        :param dtype: torch.complex64 or torch.complex128
        :param time: Seconds since the burst began

        :return: [num_selected, num_frequencies, K, M], ``dtype``
        :raises ValueError: If an argument is not as above
        """
        if dtype not in (torch.complex64, torch.complex128):
            raise ValueError(f"dtype is {dtype}, it must be torch.complex64 or torch.complex128.")
        frequencies = self.check_frequencies(frequencies, in_band=False)
        links = self.check_links(links)
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

    def row_factors(
        self, frequencies: Tensor, links: Tensor | Sequence[int] | None = None, time: float = 0.0
    ) -> Tensor:
        r"""Evaluate what aligned channels lack, :math:`e^{j 2\pi (\nu_k t - f \tau_k(t))}`.

        :math:`\tau_k` are ``row_delays``, :math:`\nu_k` ``row_doppler``; parameters as in
        :meth:`channel`.

        :return: [num_selected, num_frequencies, K], complex128
        """
        frequencies = self.check_frequencies(frequencies, in_band=False)
        links = self.check_links(links)
        gain, delay = self.row_terms(links, time)
        return wave(frequencies[:, None], delay[:, None]) * gain[:, None]

    def row_terms(self, links: Tensor, time: float = 0.0) -> tuple[Tensor, Tensor]:
        """What row factors are made of: factors of modulus one, complex128, and delays in seconds,
        float64, [num_selected, K] each.
        """
        turns = torch.zeros_like(self.row_delays)
        if self.row_doppler is not None:
            turns = self.row_doppler * time
        return turned(turns[links]), self._delays_at(time)[links]

    def _delays_at(self, time: float) -> Tensor:
        """Row delays at a time, [num_links, K]."""
        if self.row_doppler is None:
            return self.row_delays
        return self.row_delays - self.row_doppler * self._drift(time)

    def _drift(self, time: float) -> float:
        """By how much delays shrink until a time, in seconds for each Hz of Doppler shift."""
        return time / self.carrier_frequency if self.delays_drift else 0.0

    @staticmethod
    def _row(values: Tensor | None, links: Tensor, like: Tensor) -> Tensor:
        """Values of the rows [num_links, K] beside those of paths; one row stands for all where the
        rows share their paths.
        """
        assert values is not None
        return values[links, : like.shape[1], None, None]

    def select(self, links: Tensor | Sequence[int]) -> LinkSet:
        """Return the link set of some links only, in the order given."""
        links = self.check_links(links)
        per_link = set(self._tensors()) - {"base_station_positions"}
        chosen: dict[str, Any] = {name: getattr(self, name)[links] for name in per_link}
        # The digest is that of all the links; a selection is other data.
        return replace(self, **chosen, source=self._derived(str(links.tolist())))

    def timing_advanced(self) -> LinkSet:
        """Return the link set of users who send ahead by their first-arrival delays.

        With the timing advance of 5G NR the first path of every user arrives at delay zero, which
        is what estimators that interpolate between pilots rely on.
        """
        # One row stands for all where the rows share their delays.
        first = self.row_delays[:, : self.delays.shape[1], None, None]
        return replace(
            self,
            delays=self.delays - first,
            row_delays=torch.zeros_like(self.row_delays),
            source=self._derived("advanced"),
        )

    def unaligned(self) -> LinkSet:
        """Return the link set whose aligned channels are the channels themselves.

        It is for operations whose results do not follow factors of the rows.
        """
        turns = None if self.row_doppler is None else torch.zeros_like(self.row_doppler)
        return replace(
            self,
            row_delays=torch.zeros_like(self.row_delays),
            row_doppler=turns,
            source=self._derived("unaligned"),
        )

    def to(self, device: torch.device | str) -> LinkSet:
        """Return the link set on another device."""
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in self._tensors()}
        return replace(self, **moved)

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors by name, and the rest as values that JSON can hold."""
        tensors = {name: getattr(self, name).contiguous() for name in self._tensors()}
        metadata = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in tensors and "Tensor" not in str(field.type)
        }
        if self.noise_db is not None:
            metadata["noise_db"] = list(self.noise_db)
        if self.doppler is None:
            del metadata["delays_drift"]
        return tensors, metadata

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> LinkSet:
        """Make the link set that :meth:`to_tensors` took apart.

        :raises ValueError: If a tensor or a value is missing or unknown
        """
        given, known = set(tensors) | set(metadata), {field.name for field in fields(cls)}
        known -= {"doppler", "row_doppler", "delays_drift"} - given
        if given != known:
            raise ValueError(
                f"The link set lacks {sorted(known - given)} and has the unknown "
                f"{sorted(given - known)}, it was written by another version."
            )
        noise_db = metadata["noise_db"]
        values: dict[str, Any] = {**tensors, **metadata}
        values["noise_db"] = None if noise_db is None else tuple(noise_db)
        return cls(**values)

    def _tensors(self) -> list[str]:
        """Names of the fields that hold tensors."""
        names = [field.name for field in fields(self) if "Tensor" in str(field.type)]
        return [name for name in names if getattr(self, name) is not None]

    def fingerprint(self) -> str:
        """Return a SHA-256 in hex: equal exactly if the links stem from the same data.

        Where ``source`` is known it stands for the coefficients, because their last bits depend
        on the machine that computed the array responses, those of the files do not.
        """
        tensors, metadata = self.to_tensors()
        digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
        digest.update(json.dumps(list(self.coefficients.shape)).encode())
        if not self.source:
            for name in sorted(tensors):
                digest.update(tensors[name].cpu().numpy().tobytes())
        return digest.hexdigest()

    def _derived(self, how: str) -> str:
        """Source of links that were made from these."""
        return self.source and hashlib.sha256(f"{self.source} {how}".encode()).hexdigest()

    def facts(self) -> Facts:
        tensors, _ = self.to_tensors()
        values = {"links": f"{self.num_links} of {self.num_rows} x {self.num_cols}"}
        values["paths"] = f"up to {self.num_paths}"
        if self.noise_db is not None:
            values["noise"] = f"{self.noise_db[0]:g} to {self.noise_db[1]:g} dB"
        if self.num_streams is not None:
            values["streams"] = str(self.num_streams)
        values["carrier"] = f"{self.carrier_frequency / 1e9:g} GHz"
        values["grid"] = f"{self.fft_size} subcarriers of {self.subcarrier_spacing / 1e3:g} kHz"
        values["base stations"] = str(len(self.base_station.unique()))
        if self.doppler is not None:
            values["motion"] = f"bursts of {self.duration * 1e3:g} ms"
        values["size"] = f"{sum(t.nbytes for t in tensors.values()) / 1e6:.3g} MB on {self.device}"
        return Facts(self.kind, values)


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
