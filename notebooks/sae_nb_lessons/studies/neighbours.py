"""A plain SAE and a T-SAE along a text that changes its subject: a row for each of their strongest atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from sae_nb.figures import heatmaps, visible_token
from sae_nb_studies.reproductions.experiments.t_sae import Material, TwoSAEs

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN = 12
"""Atoms of each panel."""


def two_subjects(of: Material) -> tuple[torch.Tensor, list[str]]:
    """Return the states at two held-out windows of different topics, one after the other, and their tokens."""
    topics = of.topic["test"]
    first, second = (int((topics == t).nonzero()[1]) for t in (0, 1))
    chosen = [first, second]
    ids = of.ids["test"][chosen][:, 1:].flatten().tolist()
    return of.x["test"][chosen].flatten(0, 1), [
        visible_token(of.live.tokenizer.decode([i])) for i in ids
    ]


@torch.no_grad()
def along_a_text(pair: TwoSAEs, of: Material) -> go.Figure:
    """Draw the strongest atoms along a text of two subjects: a plain SAE's, then both levels of a T-SAE."""
    x, tokens = two_subjects(of)
    plain = pair.plain.encode(x).to_dense()
    codes = pair.t_sae.encode(x).to_dense()
    n_high = pair.t_sae.n_high
    panels = {
        "plain SAE": plain,
        "T-SAE, high": codes[:, :n_high],
        "T-SAE, low": codes[:, n_high:],
    }
    figure = heatmaps(
        {name: _strongest(z) for name, z in panels.items()},
        ends=(0.0, 1.0),
        hover="%{customdata}: %{z:.2f}",
        bar="share of<br>its largest",
        y="atom",
        height=300,
    )
    for trace in figure.data:
        trace.customdata = np.tile(np.array(tokens), (SHOWN, 1))
    figure.update_yaxes(showticklabels=False)
    return figure.add_vline(x=len(tokens) / 2 - 0.5, line={"dash": "dash", "width": 1})


def _strongest(z: torch.Tensor) -> Float[np.ndarray, "atoms tokens"]:
    """Return the atoms with the most energy, each as a share of its largest, by where they are."""
    chosen = z.square().sum(dim=0).topk(SHOWN).indices
    rows = (z[:, chosen] / z[:, chosen].amax(dim=0).clamp_min(1e-9)).T
    middle = (rows * torch.arange(len(z))).sum(dim=1) / rows.sum(dim=1).clamp_min(1e-9)
    found: np.ndarray = rows[middle.argsort()].numpy()
    return found
