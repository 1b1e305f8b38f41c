"""Devices as users name them."""

from __future__ import annotations

import torch


def check_device(device: str | None) -> str:
    """The device, or the CPU for None.

    :raises ValueError: if it is none, or not there
    """
    name = device or "cpu"
    try:
        wanted = torch.device(name)
    except RuntimeError:
        wanted = torch.device("meta")
    if wanted.type not in ("cpu", "cuda"):
        raise ValueError(f'device is "{name}", "cpu", "cuda" or "cuda:N" is needed.')
    count = torch.cuda.device_count()
    if wanted.type == "cuda" and (wanted.index or 0) >= count:
        there = "no CUDA device" if not count else f"cuda:0 to cuda:{count - 1}"
        raise ValueError(
            f'device is "{name}", PyTorch finds {there}; `neumatc-mimo info` lists the devices.'
        )
    return name
