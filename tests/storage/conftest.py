"""Places for files: folders here and behind URLs, an object store that can fail."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem


class BucketFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """As an object store: folders are no more than prefixes of names, and the log tells the order
    in which files came. It can be full, lose its network half-way, and be written by others.
    """

    protocol = "bucket"
    store: dict[str, Any] = {}  # noqa: RUF012, as its base has it
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    log: list[str] = []  # noqa: RUF012
    full_at: str | None = None
    lost_at: str | None = None
    read: list[str] = []  # noqa: RUF012
    meanwhile: list[Callable[[], None]] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("bucket://", "memory://")))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        del path, exist_ok

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        if self.full_at is not None and self.full_at in rpath:
            raise RuntimeError("QuotaExceeded")  # stores have errors of their own
        type(self).log.append(rpath)
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        type(self).read.append(rpath)
        if self.meanwhile:
            self.meanwhile.pop()()
        super().get_file(rpath, lpath, **kwargs)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        if self.lost_at is not None and path2.endswith(self.lost_at):
            raise RuntimeError("EndpointConnectionError")
        type(self).log.append(path2)
        self.pipe_file(path2, self.cat_file(path1))


@pytest.fixture
def bucket() -> Iterator[type[BucketFileSystem]]:
    """An empty object store behind bucket://."""
    fsspec.register_implementation("bucket", BucketFileSystem, clobber=True)
    BucketFileSystem.store.clear()
    BucketFileSystem.log.clear()
    BucketFileSystem.read.clear()
    yield BucketFileSystem
    BucketFileSystem.full_at = BucketFileSystem.lost_at = None
    BucketFileSystem.meanwhile.clear()


@pytest.fixture(params=["path", "file", "memory", "bucket"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder that is not there yet: a path, or a URL of each kind of file system."""
    name = f"of-a-test-{uuid.uuid4().hex}"
    if request.param in ("path", "file"):
        prefix = "" if request.param == "path" else "file://"
        yield f"{prefix}{tmp_path}/{name}/model"
        return
    fsspec.register_implementation("bucket", BucketFileSystem, clobber=True)
    yield f"{request.param}://{name}/model"
    filesystem = fsspec.filesystem(request.param)
    filesystem.rm(f"/{name}", recursive=True) if filesystem.exists(f"/{name}") else None
    BucketFileSystem.full_at = BucketFileSystem.lost_at = None
