"""``neumatc-mimo scenarios``: the bundled scenarios."""

from __future__ import annotations

import json

from rich.table import Table

from neumatc_mimo.cli.options import Json
from neumatc_mimo.cli.terminal import out, print_json


def scenarios(as_json: Json = False) -> None:
    """List the bundled scenarios.

    Example: [cyan]neumatc-mimo scenarios --json[/cyan]
    """
    from neumatc_mimo.scenario.bundled import bundled_scenarios
    from neumatc_mimo.scenario.schema import read_config

    configs = [read_config(name) for name in bundled_scenarios()]
    if as_json:
        print_json([{"name": c.name, **json.loads(c.model_dump_json())} for c in configs])
        return
    table = Table(title="Scenarios")
    for column in ("name", "data", "array", "subcarriers", "groups of users", "single users"):
        table.add_column(column)
    for config in configs:
        multi, single = config.multi_user, config.single_user
        table.add_row(
            config.name,
            config.data,
            "{} × {}".format(*config.array.bs),
            f"{config.grid.fft_size} × {config.grid.subcarrier_spacing / 1e3:g} kHz",
            "–" if multi is None else f"{multi.num_links} of {multi.users_per_link}",
            "–" if single is None else f"{single.num_links}, {single.num_streams} streams",
        )
    out.print(table)
