"""Model folders: a JSON card, and a file of tensors for each operation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

FORMAT_VERSION = 4

A = TypeVar("A")
M = TypeVar("M")


def read_model(
    folder: str | os.PathLike[str],
    read: Callable[[Path], dict[str, A]],
    unpack: Callable[[dict[str, A], dict[str, Any]], M],
) -> tuple[dict[str, Any], dict[str, M]]:
    """Read a model folder; nothing in it is executed.

    :param read: gives the tensors of a safetensors file by name
    :param unpack: makes the model of one operation from its tensors and its part of the card

    :return: the card, and the models by the names of their operations
    :raises FileNotFoundError: if there is no model in the folder
    :raises ValueError: if it is damaged or of a newer format
    """
    source = Path(folder)
    card = _read_card(source)
    models = {}
    for name, values in card["operations"].items():
        file = source / f"{name}.safetensors"
        try:
            models[name] = unpack(read(file), values)
        except (SafetensorError, FileNotFoundError, KeyError) as error:
            raise ValueError(f"{file} is truncated or damaged: {error}.") from None
    return card, models


def _read_card(source: Path) -> dict[str, Any]:
    try:
        card = json.loads((source / "model.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{source} holds no model: model.json is missing.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{source / 'model.json'} is damaged: {error}.") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT_VERSION:
        version = card.get("format") if isinstance(card, dict) else None
        raise ValueError(
            f"{source} has the model format {version}, this version of the package reads "
            f"{FORMAT_VERSION}; update the package or train again."
        )
    return card
