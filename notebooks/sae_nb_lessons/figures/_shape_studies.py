"""What groups of atoms draw → a plotly figure: the points that each adds, in a plane of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.figures import side_by_side, theme

MOST_POINTS = 500
"""Points drawn of each group: enough to see what it draws."""


def drawn_figure(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    groups: Mapping[str, Sequence[int]],
) -> go.Figure:
    """Draw what each group adds to the rows in which it fires, along its two widest directions.

    Parameters
    ----------
    groups
        Atoms by the title of their plane; the last is the control.
    """
    figure = side_by_side(list(groups), y=[""] * len(groups), gap=0.03, margin=(10, 10, 10, 40))
    z = codes.to_dense()
    for column, atoms in enumerate(groups.values(), 1):
        of_group = z[:, list(atoms)]
        points = of_group[of_group.ne(0).any(dim=1)][:MOST_POINTS] @ dictionary[list(atoms)]
        wide = torch.linalg.svd(points - points.mean(dim=0), full_matrices=False).Vh[:2]
        x, y = np.asarray((points @ wide.T).T)
        colour = theme.CONTROL if column == len(groups) else theme.PREDICTED
        dots = go.Scatter(
            x=x, y=y, mode="markers", marker={"size": 4, "color": colour}, hoverinfo="skip"
        )
        figure.add_trace(dots, row=1, col=column)
        figure.update_yaxes(scaleanchor=f"x{column}".removesuffix("1"), col=column)
    figure.update_xaxes(showticklabels=False).update_yaxes(showticklabels=False)
    return figure.update_layout(showlegend=False)
