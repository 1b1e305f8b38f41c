"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer


def _there(device: str) -> str:
    # PyTorch, which tells what there is, takes seconds to load.
    if device == "cpu":
        return device
    from neumatc_mimo.tensors.device import check_device

    try:
        return check_device(device)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


# Generators of random numbers take no more.
_MOST_SEED = 2**63 - 1

Force = Annotated[
    bool, typer.Option("--force", help="Replace a model that is there, without asking.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.", callback=_there)]
ScenarioSeed = Annotated[
    int | None,
    typer.Option(
        min=0, max=_MOST_SEED, help="Seed of the user groups; the scenario file's by default."
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, max=_MOST_SEED, help="Seed of all random numbers of this command.")
]
ScenarioName = Annotated[str, typer.Argument(help="Bundled name, or path of a scenario TOML.")]
ModelFolder = Annotated[
    str | None,
    typer.Option("--model", help="Model folder, or its URL; models/SCENARIO by default."),
]

# Of simulated error curves.
Points = Annotated[int, typer.Option(min=2, max=1000, help="Number of Eb/N0 points of a curve.")]
BlockErrors = Annotated[
    int, typer.Option(min=1, max=10**9, help="Block errors after which a point ends.")
]
MaxCalls = Annotated[
    int, typer.Option(min=1, max=10**9, help="Largest number of batches at a point.")
]
Stride = Annotated[int, typer.Option(min=1, max=2**20, help="Simulate every n-th subcarrier.")]
BatchSize = Annotated[int, typer.Option(min=1, max=10**5, help="Slots in a batch.")]
