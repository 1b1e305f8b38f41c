"""Table 8: activations of the trunk."""

from __future__ import annotations

from benchmarks.paper.sheet import Settings, Sheet, main
from benchmarks.paper.variants import MEDIANS, row, task, trials

ACTIVATIONS = ("sigmoid", "gelu", "relu", "tanh", "sine")


def run(settings: Settings) -> Sheet:
    """The same training with each activation, at the default learning rate of all."""
    sheet = Sheet(
        "table_8",
        "Table 8: activations",
        f"{task(settings)} {MEDIANS} Only the sine has a frequency ω₀. The other "
        "activations get W x + b itself.",
    )
    sheet.rows = [
        row("activation", name, trials(settings, activation=name)) for name in ACTIVATIONS
    ]
    return sheet


if __name__ == "__main__":
    main(run)
