"""Finished links of a training: shards in a folder, which a later training takes up again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from neumatc_mimo.model import OperationModel
from neumatc_mimo.model.packing import pack_model, shared_tensors, unpack_model
from neumatc_mimo.storage.shards import found_shards, read_shard, shard_file, write_shard

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """The finished links of one operation.

    :param folder: where they lie
    :param name: of the operation
    :param key: what is trained and how; what was written under another key is not read
    """

    folder: Path
    name: str
    key: str

    def write(self, links: range, part: OperationModel) -> Path:
        """Keep the model of some links.

        :raises OSError: if it cannot be written
        """
        tensors, values = pack_model(part)
        self.folder.mkdir(parents=True, exist_ok=True)
        shared, header = shared_tensors(part), {"key": self.key, "model": values}
        return write_shard(self.folder, self.name, links, tensors, shared, header)

    def read(self, links: range, device: str = "cpu") -> OperationModel | None:
        """The model of some links; None if it is not there, is damaged, or of another key."""
        found = self._read(links, device)
        return None if found is None else unpack_model(*found)

    def finished(self) -> dict[range, dict[str, Any]]:
        """Links of the valid shards, none of them twice, and the values of their models."""
        found = found_shards(self.folder, self.name)
        with ThreadPoolExecutor() as pool:  # hashing takes most of the time, and frees the lock
            values = dict(zip(found, pool.map(self._values, found), strict=True))
        chosen: dict[range, dict[str, Any]] = {}
        stop = 0
        for links in found:
            if (value := values[links]) is not None and links.start >= stop:
                chosen[links] = value
                stop = links.stop
        return chosen

    def discard(self, kept: Iterable[range]) -> None:
        """Remove shards other than these, and what killed writers left."""
        for links in set(found_shards(self.folder, self.name)) - set(kept):
            shard_file(self.folder, self.name, links).unlink(missing_ok=True)
        for file in self.folder.glob(f".{self.name}-*.safetensors.*"):
            file.unlink(missing_ok=True)

    def _values(self, links: range) -> dict[str, Any] | None:
        found = self._read(links)
        return None if found is None else found[1]

    def _read(
        self, links: range, device: str = "cpu"
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """A packed model, bit by bit what was written; None as :meth:`read` says."""
        if not shard_file(self.folder, self.name, links).exists():
            return None
        try:
            tensors, values = read_shard(self.folder, self.name, links, device)
            return (tensors, values["model"]) if values["key"] == self.key else None
        except (ValueError, KeyError) as error:
            _log.warning("%s Its links are trained again.", error)
            return None


def discard_finished(folder: Path, names: Iterable[str]) -> None:
    """Remove the finished links of operations, and their folder where nothing else lies in it."""
    for name in names:
        Store(folder, name, "").discard(())
    with suppress(OSError):
        folder.rmdir()
