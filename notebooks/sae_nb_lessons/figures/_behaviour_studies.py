"""A model that writes → plotly figures: strengths of some atoms, token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from sae_nb.figures import DOTTED, heatmaps, named_ticks, visible_token
from sae_nb_studies.uses import Moment

ROW_PX, AXES_PX = 30, 120


def watched_figure(moments: Sequence[Moment], names: Mapping[int, str]) -> go.Figure:
    """Draw a strip of tokens per watched atom, with a dotted line where the prompt ends.

    Parameters
    ----------
    moments
        Moments that `sn.uses.watch` yielded; a first token, whose strengths are not known, is left out.
    names
        Names of the watched atoms, in the order in which they were watched.
    """
    moments = [moment for moment in moments if np.isfinite(moment.strengths).all()]
    strengths = np.stack([moment.strengths for moment in moments], axis=1)
    figure = heatmaps(
        {"": strengths},
        ends=(0.0, float(strengths.max(initial=0.0)) or 1.0),
        hover="%{z:.2f}",
        bar="strength",
        height=AXES_PX + ROW_PX * len(strengths),
    )
    tokens = (visible_token(moment.token) for moment in moments)
    figure.update_xaxes(named_ticks(tokens, tickangle=-60))
    rows = (f"{name} ({atom})" for atom, name in names.items())
    figure.update_yaxes(named_ticks(rows, autorange="reversed"))
    n_prompt = sum(not moment.new for moment in moments)
    figure.add_vline(x=n_prompt - 0.5, line=DOTTED)
    return figure
