"""The command line."""

from neumatc_mimo.cli.main import app, main

__all__ = ["app", "main"]
