"""Files that are written whole or not at all, here or behind any URL that fsspec knows.

A location is a path, or a URL such as ``s3://bucket/model`` or ``memory://model``. Files of this
machine, ``file://`` included, are written to a temporary name and renamed. Elsewhere what is
written goes to this machine's temporary folder first and is sent to a temporary name, which is
renamed in turn.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

Location = str | os.PathLike[str]

L = TypeVar("L", bound=Location)

# What some file systems answer whose folders need not, or cannot, be made durable.
_NOT_DURABLE = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM)


def local_path(location: Location) -> Path | None:
    """The path of a location on this machine, None of any other.

    :raises ValueError: if nothing knows the URL's protocol
    :raises ImportError: if the package for it is not installed
    """
    text = os.fspath(location)
    if "\0" in text:
        raise ValueError(f"{text!r} has a zero byte, which is of no path.")
    if "://" not in text:
        return Path(text)
    filesystem, path = url_to_fs(text)
    return Path(path) if isinstance(filesystem, LocalFileSystem) else None


def child(folder: Location, name: str) -> Location:
    """The location of a file in a folder."""
    path = local_path(folder)
    return f"{os.fspath(folder).rstrip('/')}/{name}" if path is None else path / name


def replaced(file: L, write: Callable[[Path], Any]) -> L:
    """Write to a temporary name and rename: a reader never sees half a file, not even where the
    machine loses its power.

    :param write: writes to the path that it is given

    :raises OSError: if the file cannot be written
    """
    path = local_path(file)
    if path is None:
        with TemporaryDirectory() as folder, remote(file) as (filesystem, target):
            part = Path(folder) / target.name
            write(part)
            send(filesystem, part, target)
        return file
    temporary = path.with_name(temporary_name(path.name))
    try:
        write(temporary)
        make_durable(temporary)
        os.replace(temporary, path)
        make_durable(path.parent)
    except OSError as error:
        raise OSError(f"{file} cannot be written ({reason(error)}).") from error
    finally:
        # It may not have come into being, for the reason that is being told.
        with suppress(OSError):
            temporary.unlink()
    return file


def write_text(file: L, text: str) -> L:
    """Write a text in UTF-8, whole or not at all."""
    return replaced(file, lambda part: part.write_text(text, encoding="utf-8"))


def check_writable(folder: Location) -> None:
    """Find out before minutes of work that a folder cannot be written; it is made on the way.

    :raises OSError: if it cannot
    """
    path = local_path(folder)
    if path is None:
        with remote(folder) as (filesystem, target):
            filesystem.makedirs(str(target), exist_ok=True)
            _probe_store(filesystem, target)
        return
    with _writing(folder):
        path.mkdir(parents=True, exist_ok=True)
        _probe(path)


def check_file(file: Location) -> None:
    """Find out before the work that :func:`replaced` cannot write a file.

    :raises OSError: if it cannot: a folder is there, or its own folder is none or not writable
    """
    path = local_path(file)
    if path is None:
        with remote(file) as (filesystem, target):
            if filesystem.isdir(str(target)):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            filesystem.makedirs(str(target.parent), exist_ok=True)
            _probe_store(filesystem, target.parent)
        return
    with _writing(file):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _probe(path.parent)


def is_folder(location: Location) -> bool:
    """Whether there is a folder.

    :raises OSError: if the file system does not answer
    """
    path = local_path(location)
    if path is not None:
        return path.is_dir()
    with remote(location, "read") as (filesystem, target):
        return bool(filesystem.isdir(str(target)))


def temporary_name(name: str) -> str:
    """A name that nobody else uses, for what becomes a file of this name."""
    return f".{name}.{secrets.token_hex(8)}"


def make_durable(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk.

    :raises OSError: if the disk does not take it
    """
    folder, windows = path.is_dir(), os.name == "nt"
    if folder and windows:
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (folder and error.errno in _NOT_DURABLE):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def remote(location: Location, what: str = "written") -> Iterator[tuple[Any, PurePosixPath]]:
    """The file system of a URL and the path on it; whatever it raises becomes an OSError, as every
    file system has errors of its own.
    """
    filesystem, path = url_to_fs(os.fspath(location))
    try:
        # Others may have written since this process last listed the files.
        filesystem.invalidate_cache()
        yield filesystem, PurePosixPath(path)
    except Exception as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
        raise kind(f"{location} cannot be {what} ({reason(error)}).") from error


def send(filesystem: Any, file: Path, target: PurePosixPath) -> None:
    """Send a file to a temporary name and rename it."""
    temporary = target.with_name(temporary_name(target.name))
    filesystem.makedirs(str(target.parent), exist_ok=True)
    try:
        filesystem.put_file(str(file), str(temporary))
        filesystem.mv(str(temporary), str(target))
    finally:
        with suppress(Exception):
            if filesystem.exists(str(temporary)):
                filesystem.rm(str(temporary))


def reason(error: BaseException) -> str:
    """What went wrong, in the words of the system."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def _writing(location: Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"{location} cannot be written ({reason(error)}).") from error


def _probe(folder: Path) -> None:
    """Write a file into a folder and remove it."""
    probe = folder / temporary_name("writable")
    probe.touch(exist_ok=False)
    probe.unlink()


def _probe_store(filesystem: Any, folder: PurePosixPath) -> None:
    probe = str(folder / temporary_name("writable"))
    filesystem.pipe_file(probe, b"")
    filesystem.rm_file(probe)


__all__ = [
    "Location",
    "check_file",
    "check_writable",
    "child",
    "is_folder",
    "local_path",
    "make_durable",
    "reason",
    "remote",
    "replaced",
    "send",
    "temporary_name",
    "write_text",
]
