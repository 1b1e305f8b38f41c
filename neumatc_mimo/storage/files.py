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
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

Location = str | os.PathLike[str]

L = TypeVar("L", bound=Location)

_REPLACED = "was replaced while it was read; read it again"


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


def child(folder: Location, name: str) -> Location:
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
    """Write a folder in the place of an older one, if any.

    A reader sees the old folder, none, or the new one; file by file, ``last`` is the first to go
    and the last to come.

    :param write: writes files into the empty folder that it is given
    :param last: the file without which the folder counts for nothing

    :raises ValueError: if something else is there, see :func:`check_replaceable`
    :raises OSError: if it cannot be written; what was there before stays. Where files are renamed
        one by one and that fails half-way, the error says where the others lie
    """
    check_replaceable(folder, last)
    path = local_path(folder)
    if path is None:
        with TemporaryDirectory() as temporary, _remote(folder) as (filesystem, target):
            write(Path(temporary))
            _send_folder(filesystem, Path(temporary), target, last)
        return
    path = path.resolve()
    part = path.with_name(f"{path.name}.saving")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write(part)
        _swap(part, path)
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({_reason(error)}).") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_replaceable(folder: Location, last: str) -> None:
    """Find out, before minutes of work, whether a folder would take others' files along.

    :param last: as for :func:`replaced_folder`; a folder that holds it may be replaced

    :raises ValueError: if files without it are there, if it is a file, a whole file system or
        bucket, or the current folder or one above it
    :raises OSError: if the file system does not answer
    """
    path = local_path(folder)
    if path is None:
        with _remote(folder, "read") as (filesystem, target):
            # Buckets have names without a slash before them.
            top = not target.name or str(target.parent) == "."
            is_file = not top and filesystem.isfile(str(target))
            others = not top and not is_file and _holds_others(filesystem, target, last)
    else:
        path = path.resolve()
        try:
            top = Path.cwd().is_relative_to(path)
            is_file = path.exists() and not path.is_dir()
            others = path.is_dir() and any(path.iterdir()) and not (path / last).is_file()
        except OSError as error:
            raise OSError(f"{folder} cannot be written ({_reason(error)}).") from error
    if top:
        raise ValueError(
            f"{folder} is the current folder or one above it, a bucket or a whole file system, "
            "which is not replaced; give a folder in it."
        )
    if is_file:
        raise ValueError(f"{folder} is a file, a folder is needed; give another name.")
    if others:
        raise ValueError(
            f"{folder} holds files but no {last}, so that they are not replaced; give another "
            "folder or remove them."
        )


@contextmanager
def fetched(folder: Location, last: str) -> Iterator[Path]:
    """A folder as a path on this machine: its own, or that of a copy for as long as it is needed.

    :param last: as for :func:`replaced_folder`; a folder elsewhere without it is empty

    :raises OSError: if the files cannot be read, or were replaced meanwhile
    """
    path = local_path(folder)
    if path is None:
        with TemporaryDirectory() as temporary:
            copy = Path(temporary).resolve()
            with _remote(folder, "read") as (filesystem, source):
                if filesystem.exists(str(source / last)):
                    _fetch(filesystem, source, copy, last)
            yield copy
        return
    before = _content(path / last)
    try:
        yield path
    finally:
        if _content(path / last) != before:
            raise OSError(f"{folder} {_REPLACED}.")


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
        # Others may have written since this process last listed the files.
        filesystem.invalidate_cache()
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
    files = (file for file in folder.rglob("*") if file.is_file())
    names = sorted(file.relative_to(folder).as_posix() for file in files)
    part = _part(target)
    _remove(filesystem, part)
    try:
        for name in names:
            filesystem.makedirs(str((part / name).parent), exist_ok=True)
            filesystem.put_file(str(folder / name), str(part / name))
    except BaseException:
        with suppress(Exception):
            _remove(filesystem, part)
        raise
    # From here on nothing is removed that is not in its place.
    try:
        _remove(filesystem, target / last)
        _remove(filesystem, target)
        for name in sorted(names, key=lambda name: name == last):
            filesystem.makedirs(str((target / name).parent), exist_ok=True)
            filesystem.mv(str(part / name), str(target / name))
        _remove(filesystem, part)
    except Exception as error:
        raise OSError(
            f"{_reason(error)}; all of it was sent, what is not in its place lies in "
            f"{filesystem.unstrip_protocol(str(part))}"
        ) from error


def _part(target: PurePosixPath) -> PurePosixPath:
    return target.with_name(target.name + ".saving")


def _swap(part: Path, path: Path) -> None:
    """Put a folder in the place of another one, which stays if that fails."""
    # Hidden: a folder of this name without the dot may be somebody's.
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    try:
        part.rename(path)
    except BaseException:
        if old.exists():
            try:
                old.rename(path)
            except OSError as error:
                raise OSError(f"{_reason(error)}; what was there lies in {old}") from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def _holds_others(filesystem: Any, target: PurePosixPath, last: str) -> bool:
    """Whether a folder holds files that are not of a folder with ``last``."""
    # Beside a folder that was sent in part lies the rest of it.
    known = (target / last, _part(target))
    if not filesystem.exists(str(target)) or any(filesystem.exists(str(p)) for p in known):
        return False
    listed = filesystem.ls(str(target), detail=False)
    return any(PurePosixPath(name) != target for name in listed)


def _fetch(filesystem: Any, source: PurePosixPath, copy: Path, last: str) -> None:
    """Copy all files of a folder, which may not be replaced meanwhile."""
    try:
        before = filesystem.cat_file(str(source / last))
        for name in filesystem.find(str(source)):
            # A store's names are any text: they do not lead to other folders.
            file = (copy / PurePosixPath(name).relative_to(source)).resolve()
            if not file.is_relative_to(copy):
                raise ValueError(f"{name} leads out of it")
            file.parent.mkdir(parents=True, exist_ok=True)
            filesystem.get_file(name, str(file))
        same = filesystem.cat_file(str(source / last)) == before == _content(copy / last)
    except FileNotFoundError:
        same = False
    if not same:
        raise OSError(f"it {_REPLACED}")


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _remove(filesystem: Any, path: PurePosixPath) -> None:
    if filesystem.exists(str(path)):
        filesystem.rm(str(path), recursive=True)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


__all__ = [
    "Location",
    "check_replaceable",
    "check_writable",
    "child",
    "fetched",
    "is_folder",
    "local_path",
    "replaced",
    "replaced_folder",
    "write_text",
]
