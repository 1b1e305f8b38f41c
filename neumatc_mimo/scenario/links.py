"""Link sets: the channels of many links, evaluated at any frequency of their band."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from neumatc_mimo.foundation.display import Displayed, Facts
from neumatc_mimo.operations.config import Dimensions
from neumatc_mimo.tensors.waves import turned, wave

LinkKind = Literal["multi_user", "single_user"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LinkSet(Displayed, ABC):
    r"""The links of one kind in a scenario, batched.

    Link :math:`l` is a channel family :math:`H_l(f)` with K rows (antennas of the users, those of
    one user in consecutive rows) and M columns (base-station antennas). f is in Hz relative to the
    carrier. There is one class for links from paths and one for links from samples on a grid:
    :class:`~neumatc_mimo.scenario.path_links.PathLinks` and
    :class:`~neumatc_mimo.scenario.sampled_links.SampledLinks`. All tensors are on one device.

    :param kind: "multi_user" or "single_user"
    :param row_delays: Delay in seconds that alignment removes from each row, [num_links, K],
        float64: the first arrival, or the mean delay if there are no paths; all rows of a user have
        the same
    :param row_gains: Factor by which the row scaling multiplied each row, [num_links, K], float64;
        all rows of a user have the same
    :param users: Indices of the users in the DeepMIMO data, [num_links, num_users], int64
    :param user_positions: Metres, [num_links, num_users, 3], float64
    :param base_station: Row of ``base_station_positions`` for each link, [num_links], int64
    :param base_station_positions: Metres, [num_base_stations, 3], float64
    :param carrier_frequency: Hz
    :param fft_size: Number of subcarriers of the grid
    :param subcarrier_spacing: Hz
    :param noise_db: Range of the noise power in dB of the MMSE model; None for a single user
    :param num_streams: Number of streams of a single user; None for several users
    :param source: SHA-256 of the data and the settings from which the links were made
    :param doppler: :math:`\nu` in Hz, [num_links, 1, 1, P] or [num_links, K, 1, P], float64; None
        if users do not move
    :param row_doppler: Mean of each row's Doppler shifts by power in Hz, [num_links, K], float64
    :param duration: Duration of a burst in seconds; zero if users do not move
    :param delays_drift: Whether delays drift with the Doppler shifts

    :raises ValueError: If shapes do not fit, or an entry is NaN or infinite
    """

    # The tensor by which stored links tell their class.
    told_by: ClassVar[str]
    _classes: ClassVar[list[type[LinkSet]]] = []

    kind: LinkKind
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
        links, rows = self.num_links, self.num_rows
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
        self._check_finite("row_delays", "row_gains", "doppler", "row_doppler")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        LinkSet._classes.append(cls)

    def _check_finite(self, *names: str) -> None:
        for name in names:
            values = getattr(self, name)
            if values is not None and not bool(torch.isfinite(values).all()):
                raise ValueError(f"{name} has NaN or infinite entries, finite ones are needed.")

    @property
    @abstractmethod
    def num_links(self) -> int:
        """Number of links."""

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """Number K of rows: antennas of all users of a link."""

    @property
    @abstractmethod
    def num_cols(self) -> int:
        """Number M of columns: base-station antennas."""

    @abstractmethod
    def latest_delays(self, within_db: float) -> Tensor:
        """Largest delay after the alignment, before or after the row's own, beyond which a row has
        so many dB less than its power, [num_links, K] in seconds, float64.
        """

    @abstractmethod
    def column_gram(self) -> Tensor | None:
        """Sum of h^H h over rows h of unit energy in all, which span the rows of a link's channel
        at every frequency: [num_links, M, M], trace K. None where nothing small spans them.
        """

    @abstractmethod
    def in_columns(self, basis: Tensor) -> LinkSet:
        """The link set of H Q.

        :param basis: Q, [num_links, M, r] complex128
        """

    @abstractmethod
    def row_power(self) -> Tensor:
        """Mean power of the rows' entries, [num_links, K], float64."""

    @abstractmethod
    def timing_advanced(self) -> LinkSet:
        """Return the link set of users that send earlier by their rows' delays.

        With the timing advance of 5G NR, the first path of every user arrives at delay zero.
        Estimators that interpolate between pilots require this. If there are no paths, the mean
        delay is removed.
        """

    @abstractmethod
    def _evaluate(
        self, frequencies: Tensor, links: Tensor, aligned: bool, dtype: torch.dtype, time: float
    ) -> Tensor:
        """:meth:`channel` of checked arguments."""

    @abstractmethod
    def _own_facts(self) -> dict[str, Any]:
        """What its kind tells beside what all tell."""

    @property
    def num_users(self) -> int:
        """Number of users of a link."""
        return self.users.shape[1]

    @property
    def antennas_per_user(self) -> int:
        """Number of consecutive rows that belong to each user."""
        return self.num_rows // self.num_users

    @property
    def dimensions(self) -> Dimensions:
        """Sizes of the links' matrices, for operations."""
        return Dimensions(self.num_rows, self.num_cols, self.antennas_per_user, self.num_streams)

    @property
    def device(self) -> torch.device:
        """Device of all tensors."""
        return self.row_delays.device

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
        """Check frequencies and move them to the device of the links.

        :param frequencies: Hz relative to the carrier, [num_frequencies], any real dtype
        :param in_band: Whether to refuse frequencies outside the grid's band. The band ends half a
            spacing beyond the outer subcarriers

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
        """Check link indices and move them to the device of the links. None: all.

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

        :param frequencies: Hz relative to the carrier, [num_frequencies]; any real frequency
        :param links: Indices of the links, [num_selected]; None: all
        :param aligned: Whether to remove the factors of :meth:`row_factors` from each row
        :param dtype: torch.complex64 or torch.complex128
        :param time: Seconds since the burst began

        :return: [num_selected, num_frequencies, K, M], ``dtype``
        :raises ValueError: If an argument is not as above
        """
        if dtype not in (torch.complex64, torch.complex128):
            raise ValueError(f"dtype is {dtype}, it must be torch.complex64 or torch.complex128.")
        frequencies = self.check_frequencies(frequencies, in_band=False)
        links = self.check_links(links)
        return self._evaluate(frequencies, links, aligned, dtype, time)

    def known_channel(
        self,
        frequencies: Tensor,
        links: Tensor | Sequence[int] | None = None,
        *,
        aligned: bool = False,
        time: float = 0.0,
    ) -> Tensor:
        """:meth:`channel` in single precision where links are known, zero beyond: what a channel is
        compared with, whose grid may be wider than theirs.
        """
        return self.channel(frequencies, links, aligned=aligned, time=time)

    def row_factors(
        self, frequencies: Tensor, links: Tensor | Sequence[int] | None = None, time: float = 0.0
    ) -> Tensor:
        r"""Evaluate the factors that alignment removes, :math:`e^{j 2\pi (\nu_k t - f \tau_k(t))}`.

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

    def select(self, links: Tensor | Sequence[int]) -> LinkSet:
        """Return the link set of some links only, in the order given."""
        links = self.check_links(links)
        per_link = set(self._tensors()) - {"base_station_positions"}
        chosen: dict[str, Any] = {name: getattr(self, name)[links] for name in per_link}
        # The digest is that of all the links; a selection is other data.
        return replace(self, **chosen, source=self._derived(str(links.tolist())))

    def unaligned(self) -> LinkSet:
        """Return the link set whose aligned channels are the channels themselves.

        It is for operations whose results do not change with factors of the rows in a known way.
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
        """Return the tensors by name, and all else as values for JSON."""
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
        """Make the link set from the results of :meth:`to_tensors`.

        :raises ValueError: If a tensor or a value is missing or unknown
        """
        kind = next((one for one in cls._classes if one.told_by in tensors), None)
        if kind is None:
            lacking = " or ".join(one.told_by for one in cls._classes)
            raise ValueError(f"The link set lacks {lacking}, it was written by another version.")
        given, known = set(tensors) | set(metadata), {field.name for field in fields(kind)}
        known -= {"doppler", "row_doppler", "delays_drift"} - given
        if given != known:
            raise ValueError(
                f"The link set lacks {sorted(known - given)} and has the unknown "
                f"{sorted(given - known)}, it was written by another version."
            )
        noise_db = metadata["noise_db"]
        values: dict[str, Any] = {**tensors, **metadata}
        values["noise_db"] = None if noise_db is None else tuple(noise_db)
        return kind(**values)

    def _tensors(self) -> list[str]:
        """Names of the fields that hold tensors."""
        names = [field.name for field in fields(self) if "Tensor" in str(field.type)]
        return [name for name in names if getattr(self, name) is not None]

    def fingerprint(self) -> str:
        """Return a SHA-256 in hex. It is equal if and only if the links come from the same data.

        If ``source`` is known, it is used instead of the coefficients: their last bits depend on
        the machine that computed the array responses, but ``source`` does not.
        """
        tensors, metadata = self.to_tensors()
        digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
        digest.update(json.dumps(list(getattr(self, self.told_by).shape)).encode())
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
        values |= self._own_facts()
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
