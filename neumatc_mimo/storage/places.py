"""A folder whose files one of them names: on this machine, or behind a URL.

A model's folder is changed by one rename. Its tensors lie in files with names of their own, which
are given to no other file, and count for nothing until the manifest names them. Whatever interrupts
a writer, and however many write at once, the folder holds what one of them wrote. What else lies in
it is somebody else's and is left alone.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from neumatc_mimo.storage.files import (
    Location,
    child,
    local_path,
    make_durable,
    reason,
    remote,
    replaced,
    send,
)
from neumatc_mimo.storage.tensor_file import read_regular

T = TypeVar("T")

Known = Callable[[str], bool]


class Place(ABC):
    """A folder.

    :param folder: as the caller calls it
    """

    def __init__(self, folder: Location) -> None:
        self.folder = folder

    @abstractmethod
    def read(self, name: str, most: int) -> bytes | None:
        """The bytes of a file; None if it is not there.

        :raises OSError: if it cannot be read
        :raises ValueError: if it is no file, or has more than ``most`` bytes
        """

    @abstractmethod
    def file(self, name: str) -> AbstractContextManager[Path]:
        """A file as a path on this machine: its own, or that of a copy as long as it is needed.

        :raises OSError: if it is not there or cannot be read
        """

    @abstractmethod
    def check(self, manifest: str, known: Known) -> None:
        """Find out, before minutes of work, whether the folder is somebody else's.

        :param manifest: a folder that holds it, or nothing, may be written to
        :param known: whether a name is that of a file which an interrupted writer left

        :raises ValueError: if other files are there, if it is a file, a whole file system or
            bucket, or the current folder or one above it
        :raises OSError: if the file system does not answer
        """

    @abstractmethod
    def make(self) -> bool:
        """Make the folder unless it is there; whether it was made."""

    @abstractmethod
    def add(self, name: str, write: Callable[[Path], T]) -> T:
        """Write a file of a new name, durably; what ``write`` returned."""

    @abstractmethod
    def replace(self, name: str, text: str) -> None:
        """Write a text to a file, durably; a reader finds the old one or the new one."""

    @abstractmethod
    def remove(self, names: Collection[str]) -> None:
        """Remove files as far as they are there and can be."""

    @abstractmethod
    def unmake(self) -> None:
        """Remove the folder if it is empty."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Keep out others who ask, as far as the file system can."""

    @abstractmethod
    def older(self, name: str, seconds: float) -> list[str]:
        """Names of files that were last written so long before one was, as far as it is known."""


def place(folder: Location) -> Place:
    """The folder at a location.

    :raises ValueError: if nothing knows the URL's protocol
    :raises ImportError: if the package for it is not installed
    """
    path = local_path(folder)
    return _Store(folder) if path is None else _Here(folder, path)


class _Here(Place):
    """A folder on this machine."""

    def __init__(self, folder: Location, path: Path) -> None:
        super().__init__(folder)
        self._path = path

    def read(self, name: str, most: int) -> bytes | None:
        try:
            return read_regular(self._path / name, most)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def file(self, name: str) -> AbstractContextManager[Path]:
        return nullcontext(self._path / name)

    def check(self, manifest: str, known: Known) -> None:
        with _writing(self.folder):
            path = self._path.resolve()
            top = Path.cwd().is_relative_to(path)
            is_file = path.exists() and not path.is_dir()
            others = path.is_dir() and not (path / manifest).is_file()
            others = others and not all(map(known, os.listdir(path)))
        _refuse(self.folder, manifest, top=top, is_file=is_file, others=others)

    def make(self) -> bool:
        with _writing(self.folder):
            made = not self._path.exists()
            self._path.mkdir(parents=True, exist_ok=True)
            if made:
                make_durable(self._path.resolve().parent)
        return made

    def add(self, name: str, write: Callable[[Path], T]) -> T:
        with _writing(self.folder):
            result = write(self._path / name)
            make_durable(self._path / name)
            # The name, too, before a manifest tells of it.
            make_durable(self._path)
        return result

    def replace(self, name: str, text: str) -> None:
        with _writing(self.folder):
            replaced(self._path / name, lambda part: part.write_text(text, encoding="utf-8"))

    def remove(self, names: Collection[str]) -> None:
        for name in names:
            with suppress(OSError):
                (self._path / name).unlink()

    def unmake(self) -> None:
        with suppress(OSError):
            self._path.rmdir()

    @contextmanager
    def alone(self) -> Iterator[None]:
        descriptor = os.open(self._path, os.O_RDONLY) if os.name == "posix" else None
        try:
            if descriptor is not None:
                import fcntl

                # Some network file systems lock no folders; what is lost then is tidiness alone.
                with suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def older(self, name: str, seconds: float) -> list[str]:
        found = []
        with suppress(OSError):
            # By the clock of the file system, which may be another machine's.
            last = (self._path / name).stat().st_mtime - seconds
            for entry in os.scandir(self._path):
                with suppress(OSError):
                    if entry.stat().st_mtime < last:
                        found.append(entry.name)
        return found


class _Store(Place):
    """A folder behind a URL."""

    def read(self, name: str, most: int) -> bytes | None:
        with remote(self.folder, "read") as (filesystem, target):
            try:
                content = bytes(filesystem.cat_file(str(target / name), end=most + 1))
            except FileNotFoundError:
                return None
        if len(content) > most:
            raise ValueError(f"it has more than {most} bytes")
        return content

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory() as temporary:
            copy = Path(temporary) / name
            with remote(child(self.folder, name), "read") as (filesystem, source):
                filesystem.get_file(str(source), str(copy))
            yield copy

    def check(self, manifest: str, known: Known) -> None:
        with remote(self.folder, "read") as (filesystem, target):
            # Buckets have names without a slash before them.
            top = not target.name or str(target.parent) == "."
            is_file = not top and filesystem.isfile(str(target))
            others = False
            if not top and not is_file and not filesystem.exists(str(target / manifest)):
                others = not all(map(known, _names(filesystem, target)))
        _refuse(self.folder, manifest, top=top, is_file=is_file, others=others)

    def make(self) -> bool:
        with remote(self.folder) as (filesystem, target):
            made = not filesystem.exists(str(target))
            filesystem.makedirs(str(target), exist_ok=True)
        return made

    def add(self, name: str, write: Callable[[Path], T]) -> T:
        with TemporaryDirectory() as temporary:
            part = Path(temporary) / name
            with _writing(self.folder):
                result = write(part)
            with remote(self.folder) as (filesystem, target):
                filesystem.put_file(str(part), str(target / name))
        return result

    def replace(self, name: str, text: str) -> None:
        with TemporaryDirectory() as temporary:
            part = Path(temporary) / name
            part.write_text(text, encoding="utf-8")
            with remote(self.folder) as (filesystem, target):
                send(filesystem, part, target / name)

    def remove(self, names: Collection[str]) -> None:
        for name in names:
            with suppress(OSError), remote(self.folder) as (filesystem, target):
                filesystem.rm_file(str(target / name))

    def unmake(self) -> None:
        with suppress(OSError), remote(self.folder) as (filesystem, target):
            if not _names(filesystem, target):
                filesystem.rmdir(str(target))

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def older(self, name: str, seconds: float) -> list[str]:
        return []


def _refuse(folder: Location, manifest: str, *, top: bool, is_file: bool, others: bool) -> None:
    if top:
        raise ValueError(
            f"{folder} is the current folder or one above it, a bucket or a whole file system, "
            "which is never replaced; give a folder in it."
        )
    if is_file:
        raise ValueError(f"{folder} is a file, a folder is needed; give another name.")
    if others:
        raise ValueError(
            f"{folder} contains files but no {manifest}, so it is not replaced; give another "
            "folder or remove them."
        )


@contextmanager
def _writing(folder: Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({reason(error)}).") from error


def _names(filesystem: Any, target: PurePosixPath) -> list[str]:
    """Names of what lies in a folder."""
    if not filesystem.exists(str(target)):
        return []
    listed = (PurePosixPath(name) for name in filesystem.ls(str(target), detail=False))
    return [path.name for path in listed if path != target]


__all__ = ["Place", "place"]
