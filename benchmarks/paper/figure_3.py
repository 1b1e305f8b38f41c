"""Figure 3: results of matrix operations are continuous along the parameter."""

from __future__ import annotations

import torch

from benchmarks.paper.pictures import panels, save
from benchmarks.paper.problems import generator, synthetic_inversion, synthetic_svd
from benchmarks.paper.real import real_svd
from benchmarks.paper.sheet import Settings, Sheet, main


def run(settings: Settings) -> Sheet:
    """Entries of an inverse and of singular vectors over the parameter, as found and aligned."""
    sheet = Sheet(
        "figure_3",
        "Figure 3: continuity of results along the parameter",
        "Entries over the grid: of an inverse, and of V as a library returns it, its phases at "
        "random, and aligned; largest and median step between neighbours, relative to the norm.",
    )
    inverse = synthetic_inversion(64, 0)
    svd = synthetic_svd(64, 0)
    real = real_svd("munich", 64, 4, spacing=4)
    found = {
        "inverse": inverse.exact[0],
        "V, as found": _turned(svd.exact[2]),
        "V, aligned": svd.operation.align(svd.exact)[2],
        "V, Munich, as found": _turned(real.exact[2]),
        "V, Munich, aligned": real.operation.align(real.exact)[2],
    }
    figure, axes = panels(list(found))
    for ax, (name, values) in zip(axes, found.items(), strict=True):
        entries = values[:, :3, 0].real
        ax.plot(torch.linspace(-1, 1, len(values)), entries, lw=1)
        ax.set_xlabel("x")
        step = torch.linalg.vector_norm(values.diff(dim=0).flatten(1), dim=-1)
        step = step / torch.linalg.vector_norm(values[1:].flatten(1), dim=-1)
        sheet.rows.append(
            {"result": name, "median step": float(step.median()), "largest step": float(step.max())}
        )
    sheet.pictures.append(save(figure, settings, sheet.name))
    return sheet


def _turned(v: torch.Tensor) -> torch.Tensor:
    """Columns times random phases, or signs, which any SVD may return."""
    noise = torch.randn(v.shape[0], 1, v.shape[2], dtype=v.dtype, generator=generator(0))
    return v * torch.sgn(noise)


if __name__ == "__main__":
    main(run)
