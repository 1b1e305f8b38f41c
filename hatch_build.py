"""Hatchling's hook: a wheel of this platform with the C++ kernels, or one of PyTorch alone.

An editable installation builds them into the checkout and stays what it is: a path.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

sys.path.insert(0, str(Path(__file__).parent))
import build_kernels


class Kernels(BuildHookInterface):  # type: ignore[type-arg]
    """Has the library built before files are collected."""

    def dependencies(self) -> list[str]:
        """CMake, if it alone is missing: wheels of it are everywhere, compilers are not."""
        return build_kernels.requirements()

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and add the library or the reason why there is none.

        :param version: ``"editable"`` or ``"standard"``
        :param build_data: tells hatchling what is in the wheel and how it is called
        """
        if version == "editable":
            # Turned off, a checkout keeps the library that it has.
            if build_kernels.choice() != "off":
                self.app.display_warning(build_kernels.build_in_place())
            return
        self._folder = tempfile.TemporaryDirectory(prefix="neumatc-wheel-")
        library = Path(self._folder.name, build_kernels.LIBRARY.name)
        note = library.with_name(build_kernels.NOTE.name)
        included: dict[str, str] = build_data["force_include"]
        try:
            build_kernels.build(library)
        except build_kernels.NotBuiltError as error:
            self.app.display_warning(build_kernels.missing(error))
            note.write_text(f"{error}\n", encoding="utf-8")
            included[str(note)] = build_kernels.NOTE.as_posix()
            return
        included[str(library)] = build_kernels.LIBRARY.as_posix()
        build_data["pure_python"] = False
        # The library knows neither Python nor PyTorch: one wheel serves every version of both.
        build_data["tag"] = f"py3-none-{_platform()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what is in the wheel now."""
        if version != "editable":
            self._folder.cleanup()


def _platform() -> str:
    """This machine's tag; how old a system may be, ``manylinux``, is auditwheel's to find out."""
    return next(tag for tag in platform_tags() if "manylinux" not in tag and "musllinux" not in tag)
