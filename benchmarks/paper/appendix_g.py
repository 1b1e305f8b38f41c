"""Appendix G: the matrices themselves are of low rank along the parameter."""

from __future__ import annotations

from benchmarks.paper.decay import sheet_of_decays
from benchmarks.paper.sheet import Settings, Sheet, main


def run(settings: Settings) -> Sheet:
    """Decay of the matrices' singular values along the parameter."""
    return sheet_of_decays(
        settings,
        "appendix_g",
        "Appendix G: decay of the singular values of the matrices along the parameter",
        lambda given: {"a": given.channels.a[0].to(given.exact[0].dtype)},
    )


if __name__ == "__main__":
    main(run)
