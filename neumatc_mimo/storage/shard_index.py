"""Which file holds which tensor: the index of a model's shards, for any framework.

Nothing here needs PyTorch: :mod:`neumatc_mimo.storage.shards` reads tensors of PyTorch with it, and
:mod:`neumatc_mimo.tensorflow` arrays of NumPy.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

_PIECE = re.compile(r"(.+)\[(\d+):(\d+)\]")


def read_indexed(
    folder: Path,
    name: str,
    opened: Callable[[Path], AbstractContextManager[Any]],
    empty: Callable[[Any, list[int]], Any],
) -> dict[str, Any]:
    """Read the tensors of ``name``: those of its one file, or of the shards in its index.

    Beside the result, at most one piece of a tensor is held at once.

    :param opened: opens a file as ``safetensors.safe_open`` does for a framework
    :param empty: makes a tensor of a piece's type and another shape, whose values do not matter

    :raises ValueError: if a file is missing, truncated, damaged, or not what the index says
    """
    index = index_file(folder, name)
    if not index.exists():
        with damage_of(folder / f"{name}.safetensors") as single, opened(single) as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    with damage_of(index):
        pieces = _pieces(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
        sizes = num_links(key for keys in pieces.values() for key in keys)
    tensors: dict[str, Any] = {}
    for place, keys in pieces.items():
        with damage_of(folder / place) as shard, opened(shard) as file:
            for key in keys:
                piece = file.get_tensor(key)
                of, links = parsed(key)
                if links is None:
                    tensors[of] = piece
                    continue
                if of not in tensors:
                    tensors[of] = empty(piece, [sizes[of], *piece.shape[1:]])
                if piece.shape != (len(links), *tensors[of].shape[1:]):
                    raise ValueError(f"{key} has the shape {list(piece.shape)}")
                tensors[of][links.start : links.stop] = piece
    return tensors


def index_file(folder: Path, name: str) -> Path:
    """File of the index of ``name``."""
    return folder / f"{name}.safetensors.index.json"


def piece_name(name: str, links: range) -> str:
    """Name of the piece of a tensor that some links have."""
    return f"{name}[{links.start}:{links.stop}]"


def parsed(key: str) -> tuple[str, range | None]:
    """A tensor's name, and the links of which this is a piece; None for all of it."""
    match = _PIECE.fullmatch(key)
    return (key, None) if match is None else (match[1], range(int(match[2]), int(match[3])))


def num_links(keys: Iterable[str]) -> dict[str, int]:
    """Number of links of each tensor that is there in pieces, none of which may be missing.

    :raises ValueError: if one is missing, or tensors have different numbers
    """
    found: defaultdict[str, list[range]] = defaultdict(list)
    for key in keys:
        name, links = parsed(key)
        if links is not None:
            found[name].append(links)
    sizes = {}
    for name, pieces in found.items():
        stop = 0
        for links in sorted(pieces, key=lambda r: r.start):
            if links.start != stop:
                raise ValueError(f"{name} lacks links from {stop}")
            stop = links.stop
        sizes[name] = stop
    if len(set(sizes.values())) > 1:
        raise ValueError(f"its tensors have {sorted(set(sizes.values()))} links")
    return sizes


@contextmanager
def damage_of(file: Path) -> Iterator[Path]:
    """Tell of a file that cannot be read in one sentence."""
    try:
        yield file
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"({error})"
        raise ValueError(f"{file} is missing, truncated or damaged {reason}.") from None


def _pieces(weight_map: dict[str, str]) -> dict[str, list[str]]:
    """Names of the pieces in each file."""
    pieces: defaultdict[str, list[str]] = defaultdict(list)
    for key, place in weight_map.items():
        # Its name alone: an index does not lead to other folders.
        pieces[Path(place).name].append(key)
    return pieces


__all__ = ["damage_of", "index_file", "num_links", "parsed", "piece_name", "read_indexed"]
