"""``neumatc-mimo export``: a trained query as a file that runs without this package."""

from __future__ import annotations

from typing import Annotated

import typer

from neumatc_mimo.cli.inputs import integers
from neumatc_mimo.cli.options import Json
from neumatc_mimo.cli.terminal import out, print_json
from neumatc_mimo.progress import Event, reported


def export(
    model: Annotated[str, typer.Argument(help="Model folder, or its URL.")],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="File, or its URL: .onnx for ONNX Runtime, .pt2 for PyTorch."
        ),
    ],
    operation: Annotated[
        str, typer.Option(help="Name of the operation, as in the model.")
    ] = "pseudo_inverse",
    links: Annotated[
        str | None, typer.Option(help="Indices of links, separated by commas; all by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the query of an operation to a file that runs without this package.

    Example: [cyan]neumatc-mimo export models/munich -o zero_forcing.onnx[/cyan]
    """
    chosen = None if links is None else integers("--links", links)
    import neumatc_mimo as nm
    from neumatc_mimo.export import QueryModule, check_target, write_query

    check_target(output)
    with reported(progress=True) as tell:
        tell(Event("writing the query"))
        query = QueryModule(nm.ScenarioModel.load(model), operation, chosen)
        write_query(query, output)
    metadata = query.metadata
    if as_json:
        print_json({"file": output, **metadata})
        return
    out.print(
        f"Wrote {output}: {operation} of {query.num_links} links, "
        f"{100 * metadata['certified_share']:.2f} % of the subcarriers certified"
    )
