"""Channels of one's own: a tensor on the grid, a function of the frequency, or a file."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neumatc_mimo.progress import Callback
from neumatc_mimo.scenario.links import LinkKind, LinkSet
from neumatc_mimo.scenario.sampled_links import SampledLinks, mean_delays
from neumatc_mimo.scenario.schema import (
    MultiUserConfig,
    ScenarioConfig,
    SingleUserConfig,
    make_config,
)
from neumatc_mimo.scenario.source import Opened, Positions
from neumatc_mimo.storage.tensor_file import open_regular

# A tensor or array, or a function of frequencies [num_frequencies] in Hz.
Channel = Any


@dataclass(frozen=True, eq=False)
class GivenChannel(Opened):
    """Channels that are the links themselves, in their order.

    :param samples: [num_links, fft_size, K, M], complex, on the CPU
    """

    config: ScenarioConfig
    samples: Tensor

    @property
    def carrier_frequency(self) -> float:
        assert self.config.channel is not None
        return self.config.channel.carrier_frequency

    @property
    def positions(self) -> Positions | None:
        return None

    def links(self, kind: LinkKind, tell: Callback) -> tuple[LinkSet, float]:
        config = self.config
        section = config.multi_user if kind == "multi_user" else config.single_user
        assert section is not None
        samples = self.samples[: section.num_links]
        many = section if isinstance(section, MultiUserConfig) else None
        antennas = math.prod(section.ue)
        users = samples.shape[2] // antennas
        _check_fit(config, section, samples)
        gains = torch.ones(samples.shape[0], samples.shape[2], dtype=torch.float64)
        if section.row_scaling == "unit":
            power = samples.abs().square().to(torch.float64).mean((1, 3))
            # One gain for all rows of a user, any other would change the singular vectors.
            power = power.unflatten(1, (users, antennas)).mean(2).repeat_interleave(antennas, 1)
            if not bool((power > 0).all()):
                link = int((power <= 0).any(1).nonzero()[0])
                raise ValueError(
                    f"{config.file}: a user of link {link} has a channel of zeros, which cannot be "
                    'scaled; leave the link out, or set row_scaling = "none".'
                )
            gains = power.rsqrt()
            samples = samples * gains[:, None, :, None].to(samples.dtype)
        delays = mean_delays(samples, config.grid.subcarrier_spacing, antennas)
        index = torch.arange(len(samples) * users).reshape(len(samples), users)
        links = SampledLinks(
            kind=kind,
            samples=samples,
            mean_delays=delays,
            row_delays=delays,
            row_gains=gains,
            users=index,
            user_positions=torch.zeros(*index.shape, 3, dtype=torch.float64),
            base_station=torch.zeros(len(samples), dtype=torch.int64),
            base_station_positions=torch.zeros(1, 3, dtype=torch.float64),
            carrier_frequency=self.carrier_frequency,
            fft_size=config.grid.fft_size,
            subcarrier_spacing=config.grid.subcarrier_spacing,
            noise_db=many.noise_db if many is not None else None,
            num_streams=section.num_streams if isinstance(section, SingleUserConfig) else None,
            source=self._source(section),
        )
        return links, 0.0

    def _source(self, section: MultiUserConfig | SingleUserConfig) -> str:
        """SHA-256 of the settings and of the channels as they were given."""
        settings = [self.config.array.told(), self.config.grid.told(), section.drawn()]
        digest = hashlib.sha256(" ".join(settings).encode())
        given = self.samples[: section.num_links]
        digest.update(str(given.dtype).encode() + given.numpy().tobytes())
        return digest.hexdigest()


def sampled(channel: Channel, fft_size: int | None, subcarrier_spacing: Any) -> Tensor:
    """Channels on the grid, [num_links, fft_size, K, M], of one's own memory.

    :raises ValueError: If they are not that
    """
    if callable(channel):
        if fft_size is None:
            raise ValueError('A function of the frequency needs fft_size in grid, {"fft_size": …}.')
        if not isinstance(subcarrier_spacing, int | float):
            raise ValueError("A function of the frequency needs subcarrier_spacing in grid, in Hz.")
        index = torch.arange(fft_size, dtype=torch.float64) - fft_size // 2
        channel = channel(index * subcarrier_spacing)
    if not isinstance(channel, Tensor):
        channel = torch.from_numpy(np.ascontiguousarray(channel))
    channel = channel.detach().to("cpu")
    if not channel.is_complex() or channel.dim() not in (3, 4) or 0 in channel.shape:
        raise ValueError(
            f"The channel is {channel.dtype} of shape {list(channel.shape)}, a complex "
            "[num_links, fft_size, K, M], or [fft_size, K, M] of one link, is needed."
        )
    if channel.dtype != torch.complex128:
        channel = channel.to(torch.complex64)
    channel = channel if channel.dim() == 4 else channel[None]
    if fft_size is not None and channel.shape[1] != fft_size:
        raise ValueError(
            f"The channel has the shape {list(channel.shape)}, its second size must be fft_size = "
            f"{fft_size}."
        )
    if not bool(torch.isfinite(torch.view_as_real(channel)).all()):
        raise ValueError("The channel has NaN or infinite entries, finite ones are needed.")
    # What the caller writes into its own later changes nothing.
    return channel.resolve_conj().clone(memory_format=torch.contiguous_format)


def read_channel(config: ScenarioConfig) -> Tensor:
    """The channels that a scenario file names; nothing in their file is executed.

    :raises FileNotFoundError: If there is no such file
    :raises ValueError: If it is no NumPy file of channels on the grid
    """
    file = config.channel_file()
    if file is None:
        raise ValueError(
            f"{config.file}: [channel] has no file, give one, or the channel to "
            "nm.Scenario.from_channel."
        )
    if not file.is_file():
        raise FileNotFoundError(f"{config.file}: there is no file {file}, correct it in [channel].")
    try:
        with open_regular(file) as raw:
            array = np.load(raw, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{config.file}: {file} is no NumPy file ({error}).") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{config.file}: {file} holds several arrays, save one as .npy.")
    try:
        return sampled(array, config.grid.fft_size, config.grid.subcarrier_spacing)
    except ValueError as error:
        raise ValueError(f"{config.file}: {file}: {error}") from None


def fitted(config: ScenarioConfig, shape: tuple[int, ...]) -> ScenarioConfig:
    """A configuration with the sizes of the channels where it leaves them open.

    :param shape: Of the channels, [num_links, fft_size, K, M]

    :raises ValueError: If the sizes that it tells are others
    """
    num_links, _, rows, cols = shape
    values = config.model_dump(exclude_unset=True)
    values.setdefault("array", {}).setdefault("bs", (cols, 1))
    for kind in ("multi_user", "single_user"):
        if (section := values.get(kind)) is not None:
            section.setdefault("num_links", num_links)
            if kind == "multi_user":
                antennas = math.prod(section.get("ue", (1, 1)))
                section.setdefault("users_per_link", max(rows // antennas, 1))
            else:
                section.setdefault("ue", (rows, 1))
                section.setdefault("num_streams", min(2, rows, cols))
    return make_config(values, str(config.file))


def _check_fit(
    config: ScenarioConfig, section: MultiUserConfig | SingleUserConfig, samples: Tensor
) -> None:
    links, size, rows, cols = samples.shape
    told = section.dimensions(math.prod(config.array.bs))
    wanted = [section.num_links, config.grid.fft_size, told.num_rows, told.num_cols]
    if wanted != [links, size, rows, cols]:
        raise ValueError(
            f"{config.file}: the channel has the shape {[links, size, rows, cols]}, the scenario "
            f"needs {wanted}: links, subcarriers, rows (users' antennas) and columns (base "
            "station antennas)."
        )
    if section.groups is not None:
        raise ValueError(f"{config.file}: groups are only for ray-traced users, leave them out.")


__all__ = ["GivenChannel", "fitted", "read_channel", "sampled"]
