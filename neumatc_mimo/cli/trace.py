"""``neumatc-mimo trace``: ray-trace a scene into a DeepMIMO folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neumatc_mimo.cli.options import Json, Seed
from neumatc_mimo.cli.terminal import out, print_json


def trace(
    scene: Annotated[
        str, typer.Argument(help="Built-in scene of Sionna RT, or a Mitsuba XML file.")
    ],
    folder: Annotated[Path, typer.Argument(help="DeepMIMO scenario folder to write.")],
    frequency: Annotated[float, typer.Option(help="Carrier frequency in Hz.")] = 3.5e9,
    base_station: Annotated[tuple[float, float, float], typer.Option(help="Position in m.")] = (
        8.5,
        21.0,
        27.0,
    ),
    x: Annotated[tuple[float, float], typer.Option(help="First and last x of users in m.")] = (
        -60.0,
        120.0,
    ),
    y: Annotated[tuple[float, float], typer.Option(help="First and last y of users in m.")] = (
        20.0,
        160.0,
    ),
    users: Annotated[tuple[int, int], typer.Option(help="Users along x and y.")] = (30, 25),
    max_depth: Annotated[int, typer.Option(help="Largest number of reflections of a path.")] = 5,
    num_samples: Annotated[int, typer.Option(help="Number of rays from the base station.")] = 10**6,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing scenario.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ray-trace a scene into a DeepMIMO folder; needs LLVM or a GPU.

    Example: [cyan]neumatc-mimo trace munich data/munich_3p5[/cyan]
    """
    from neumatc_mimo.scenario.tracing import trace as run

    path = run(
        scene,
        folder,
        frequency=frequency,
        base_station=base_station,
        x=x,
        y=y,
        users=users,
        max_depth=max_depth,
        num_samples=num_samples,
        seed=seed,
        overwrite=overwrite,
    )
    print_json({"folder": str(path)}) if as_json else out.print(f"Wrote {path}", soft_wrap=True)
