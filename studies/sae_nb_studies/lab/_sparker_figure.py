"""Kernels of SparKer over the rows they moved among."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from sae_nb_studies.lab._sparker import AnomalyTest

MOST_POINTS = 1000
"""Of a side that are drawn."""

_AROUND = np.linspace(0, 2 * np.pi, 49)
_CIRCLE = np.stack([np.cos(_AROUND), np.sin(_AROUND)], axis=1)


def kernels_over_rows(found: AnomalyTest, step: int) -> Any:
    """Draw rows as points, kernels as circles of radius σ, the stronger the thicker; where fewer rows
    are, dotted.

    A ball projected onto a plane is a disk of its radius: circles are right beyond two dimensions too.
    """
    from sae_nb.figures import broken, fade, framed, line, theme

    mean, axes = _plane(torch.cat([found.reference, found.data]))
    points = [
        line(name, *at.T, colour=fade(colour, opacity), symbol="circle", size=size).update(
            mode="markers", hoverinfo="skip"
        )
        for name, rows, colour, opacity, size in (
            ("reference", found.reference, theme.CONTROL, 0.4, 3),
            ("data", found.data, theme.PREDICTED, 0.7, 4),
        )
        for at in [((_some(rows) - mean) @ axes).cpu().numpy()]
    ]
    centres = ((found.path[step] - mean) @ axes).cpu().numpy()
    circles = centres[:, None] + float(found.widths[step]) * _CIRCLE
    amplitudes = found.amplitudes.cpu().numpy()
    strong = np.abs(amplitudes) >= np.abs(amplitudes).max() / 2
    parts = (
        ("more rows", amplitudes >= 0, "solid", theme.NOVEL),
        ("fewer rows", amplitudes < 0, "dot", theme.NEUTRAL),
    )
    kernels = [
        line(
            name if of is strong else f"{name}, weakly",
            *broken([[tuple(p) for p in circle] for circle in circles[side & of]]),
            colour=colour,
            width=3 if of is strong else 1.2,
            dash=dash,
        )
        for name, side, dash, colour in parts
        for of in (strong, ~strong)
    ]
    x, y = ("principal component 1", "principal component 2") if len(mean) > 2 else ("", "")
    figure = framed([*points, *kernels], height=420, x=x, y=y)
    return figure.update_yaxes(scaleanchor="x")


def _some(rows: Float[Tensor, "n d_in"]) -> Float[Tensor, "m d_in"]:
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), MOST_POINTS)).long()]


def _plane(
    rows: Float[Tensor, "n d_in"],
) -> tuple[Float[Tensor, " d_in"], Float[Tensor, "d_in 2"]]:
    """The mean, and two axes: the coordinates themselves up to two dimensions, else principal components."""
    mean, d_in = rows.mean(dim=0), rows.shape[1]
    if d_in <= 2:
        eye = torch.eye(d_in, 2, dtype=rows.dtype, device=rows.device)
        return torch.zeros_like(mean), eye
    # numpy's in float64: torch's gives up on covariances of codes, of which many eigenvalues are as good as 0.
    _, vectors = np.linalg.eigh(np.cov(rows.double().cpu().numpy().T))
    return mean, torch.from_numpy(vectors[:, [-1, -2]]).to(rows)
