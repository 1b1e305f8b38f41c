"""Figure 2: results of matrix operations are of low rank along the parameter."""

from __future__ import annotations

from benchmarks.paper.decay import sheet_of_decays
from benchmarks.paper.sheet import Settings, Sheet, main
from neumatc_mimo.operations import Components


def run(settings: Settings) -> Sheet:
    """Decay of the results' singular values along the parameter."""
    return sheet_of_decays(
        settings,
        "figure_2",
        "Figure 2: decay of the singular values of results along the parameter",
        lambda given: _named(given.operation.component_names, given.exact),
    )


def _named(names: tuple[str, ...], components: Components) -> dict[str, object]:
    return dict(zip(names, components, strict=True))


if __name__ == "__main__":
    main(run)
