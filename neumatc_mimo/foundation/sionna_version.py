"""Which Sionna is installed: 1.x is TensorFlow, 2.x is PyTorch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def require_sionna(major: int, package: str, otherwise: str) -> None:
    """Refuse to import a package of blocks beside another Sionna than theirs.

    :param package: whose blocks need Sionna ``major``.x
    :param otherwise: what a user of the other Sionna takes

    :raises ImportError: if another Sionna is installed, or none
    """
    installed = _installed()
    if installed.split(".")[0] != str(major):
        raise ImportError(
            f"{package} has blocks of Sionna {major}.x, {installed} is installed; "
            f"install sionna {major}.x, or take {otherwise}."
        )


def _installed() -> str:
    for distribution in ("sionna", "sionna-no-rt"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            pass
    return "none"
