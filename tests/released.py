"""What would be uploaded: `make release` prints it, after it has looked at the files' metadata."""

from __future__ import annotations

import hashlib
import re
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

from packaging.version import Version

NEEDED = ["Name", "Version", "Summary", "License-Expression", "Requires-Python", "Description"]


def metadata(file: Path) -> Message:
    """The metadata of a wheel or an sdist."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
            return _parsed(wheel.read(name))
    with tarfile.open(file) as sdist:
        (name,) = (n for n in sdist.getnames() if re.fullmatch(r"[^/]+/PKG-INFO", n))
        member = sdist.extractfile(name)
        assert member is not None
        return _parsed(member.read())


def _parsed(text: bytes) -> Message:
    message = Parser().parsestr(text.decode())
    message["Description"] = message.get_payload()
    return message


def main(names: list[str]) -> None:
    files = [Path(name) for name in names]
    assert any(f.suffix == ".whl" for f in files), "there is no wheel"
    assert any(f.name.endswith(".tar.gz") for f in files), "there is no sdist"
    told = [metadata(file) for file in files]
    for file, one in zip(files, told, strict=True):
        missing = [key for key in NEEDED if not one[key]]
        assert not missing, f"{file.name} lacks {', '.join(missing)}"
        assert one.get_all("Project-URL"), f"{file.name} names no place of the project"
    (version,) = {Version(one["Version"]) for one in told}
    changes = Path("CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version}]" in changes, f"CHANGELOG.md has no section of {version}"
    print(f"\nneumatc-mimo {version} would be uploaded as (nothing was):")
    for file in files:
        content = file.read_bytes()
        print(f"  {file.name}  {len(content) / 1e6:.2f} MB  {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main(sys.argv[1:])
