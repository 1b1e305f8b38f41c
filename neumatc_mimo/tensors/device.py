"""Devices as users name them."""

from __future__ import annotations

import torch

# Kinds of devices; double precision is not on all others.
_KINDS = ("cpu", "cuda")


def check_device(device: str | None) -> str:
    """The device, or the CPU for None.

    :raises ValueError: if it is none, or not there
    """
    name = device or "cpu"
    try:
        wanted = torch.device(name)
    except RuntimeError:
        wanted = torch.device("meta")
    if wanted.type not in _KINDS:
        raise ValueError(f'device is "{name}", "cpu", "cuda" or "cuda:N" is needed.')
    count = 1 if wanted.type == "cpu" else torch.get_device_module(wanted.type).device_count()
    if wanted.type != "cpu" and (wanted.index or 0) >= count:
        there = "no CUDA device" if not count else f"cuda:0 to cuda:{count - 1}"
        raise ValueError(
            f'device is "{name}", PyTorch finds {there}; `neumatc-mimo info` lists the devices.'
        )
    return name
