"""Files and folders that are written whole or not at all, here or behind any URL that fsspec knows.

A location is a path, or a URL such as ``s3://bucket/model`` or ``memory://model``. Those of this
machine, ``file://`` included, are written to a temporary name and renamed. Elsewhere what is
written goes to this machine's temporary folder first and is sent to a temporary name, which is
renamed in turn; a file system without folders, such as an object store, renames file by file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

Location = str | os.PathLike[str]

L = TypeVar("L", bound=Location)


def local_path(location: Location) -> Path | None:
    """The path of a location on this machine, None of any other.

    :raises ValueError: if nothing knows the URL's protocol
    :raises ImportError: if the package for it is not installed
    """
    text = os.fspath(location)
    if "://" not in text:
        return Path(text)
    filesystem, path = url_to_fs(text)
    return Path(path) if isinstance(filesystem, LocalFileSystem) else None


def joined(folder: Location, name: str) -> Location:
    """The location of a file in a folder."""
    path = local_path(folder)
    return f"{os.fspath(folder).rstrip('/')}/{name}" if path is None else path / name


def replaced(file: L, write: Callable[[Path], Any]) -> L:
    """Write to a temporary name and rename: a reader never sees half a file.

    :param write: writes to the path that it is given

    :raises OSError: if the file cannot be written
    """
    path = local_path(file)
    if path is None:
        with TemporaryDirectory() as folder, _remote(file) as (filesystem, target):
            part = Path(folder) / target.name
            write(part)
            _send(filesystem, part, target)
        return file
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"{file} cannot be written ({_reason(error)}).") from error
    finally:
        temporary.unlink(missing_ok=True)
    return file


def write_text(file: L, text: str) -> L:
    """Write a text in UTF-8, whole or not at all."""
    return replaced(file, lambda part: part.write_text(text, encoding="utf-8"))


def replaced_folder(folder: Location, write: Callable[[Path], Any], last: str) -> None:
    """Write a folder in the place of what was there, if anything.

    A reader sees the old folder, none, or the new one; file by file, ``last`` is the first to go
    and the last to come.

    :param write: writes files into the empty folder that it is given
    :param last: the file without which the folder counts for nothing

    :raises OSError: if it cannot be written; what was there before stays
    """
    path = local_path(folder)
    if path is None:
        with TemporaryDirectory() as temporary, _remote(folder) as (filesystem, target):
            write(Path(temporary))
            _send_folder(filesystem, Path(temporary), target, last)
        return
    part, old = (path.with_name(path.name + suffix) for suffix in (".saving", ".old"))
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write(part)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        part.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise OSError(f"{folder} cannot be written ({_reason(error)}).") from error


@contextmanager
def fetched(folder: Location) -> Iterator[Path]:
    """A folder as a path on this machine: its own, or that of a copy for as long as it is needed.

    A folder that is not there is empty.

    :raises OSError: if the files cannot be read
    """
    path = local_path(folder)
    if path is not None:
        yield path
        return
    with TemporaryDirectory() as temporary:
        with _remote(folder, "read") as (filesystem, source):
            for name in _names(filesystem, source):
                file = Path(temporary) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                filesystem.get_file(str(source / name), str(file))
        yield Path(temporary)


def check_writable(folder: Location) -> None:
    """Find out before minutes of work that a folder cannot be written; it is made on the way.

    :raises OSError: if it cannot
    """
    path = local_path(folder)
    if path is None:
        with _remote(folder) as (filesystem, target):
            filesystem.makedirs(str(target), exist_ok=True)
            filesystem.pipe_file(str(target / ".writable"), b"")
            filesystem.rm_file(str(target / ".writable"))
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({_reason(error)}).") from error


def is_folder(location: Location) -> bool:
    """Whether there is a folder.

    :raises OSError: if the file system does not answer
    """
    path = local_path(location)
    if path is not None:
        return path.is_dir()
    with _remote(location, "read") as (filesystem, target):
        return bool(filesystem.isdir(str(target)))


@contextmanager
def _remote(location: Location, what: str = "written") -> Iterator[tuple[Any, PurePosixPath]]:
    """The file system of a URL and the path on it; whatever it raises becomes an OSError, as every
    file system has errors of its own.
    """
    filesystem, path = url_to_fs(os.fspath(location))
    try:
        yield filesystem, PurePosixPath(path)
    except Exception as error:
        raise OSError(f"{location} cannot be {what} ({_reason(error)}).") from error


def _send(filesystem: Any, file: Path, target: PurePosixPath) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    filesystem.makedirs(str(target.parent), exist_ok=True)
    try:
        filesystem.put_file(str(file), str(temporary))
        filesystem.mv(str(temporary), str(target))
    finally:
        _remove(filesystem, temporary)


def _send_folder(filesystem: Any, folder: Path, target: PurePosixPath, last: str) -> None:
    part = target.with_name(target.name + ".saving")
    _remove(filesystem, part)
    try:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            to = part / file.relative_to(folder).as_posix()
            filesystem.makedirs(str(to.parent), exist_ok=True)
            filesystem.put_file(str(file), str(to))
        _remove(filesystem, target / last)
        _remove(filesystem, target)
        for name in sorted(_names(filesystem, part), key=lambda name: name == last):
            filesystem.makedirs(str((target / name).parent), exist_ok=True)
            filesystem.mv(str(part / name), str(target / name))
    finally:
        _remove(filesystem, part)


def _names(filesystem: Any, folder: PurePosixPath) -> list[str]:
    """Names of all files in a folder and below, relative to it."""
    found = filesystem.find(str(folder))
    return [str(PurePosixPath(name).relative_to(folder)) for name in found]


def _remove(filesystem: Any, path: PurePosixPath) -> None:
    if filesystem.exists(str(path)):
        filesystem.rm(str(path), recursive=True)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


__all__ = [
    "Location",
    "check_writable",
    "fetched",
    "is_folder",
    "joined",
    "local_path",
    "replaced",
    "replaced_folder",
    "write_text",
]
