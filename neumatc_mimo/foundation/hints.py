"""What messages tell to install, in one spelling."""

from __future__ import annotations


def install(extra: str) -> str:
    """How the packages of an extra are installed."""
    return f"pip install 'neumatc-mimo[{extra}]'"
