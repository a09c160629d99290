"""The small plots of a training: which numbers, what they are called, and a still figure of one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sae_nb.figures._plot_grids import MARGIN, dress, line, plot_title
from sae_nb.figures.theme import THIN_SPACE, category_style, current_theme

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = 3


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """One small plot of a training: the number of its records that it shows, and how."""

    field: str
    """Name in the summary."""

    title: str
    """Title above it, short enough for a third of a narrow panel."""

    words: str
    """Name of a value in the tooltip."""

    factor: float = 1.0
    """From the summary's unit to the unit of the axis."""

    unit: str = ""
    """Unit of the axis."""

    says_newest: bool = True
    """Whether the title shows the newest value."""

    positive: bool = False
    """Whether its axis is logarithmic when every value is above zero."""

    from_zero: bool = False
    """Whether its axis begins at zero."""


TRAINING_CURVES = (
    TrainingCurve(
        field="r2",
        title="explained",
        words="variance explained (R²), %",
        factor=100.0,
        unit=f"{THIN_SPACE}%",
    ),
    TrainingCurve(field="loss", title="loss", words="loss", positive=True),
    TrainingCurve(
        field="dead_fraction",
        title="dead",
        words="dead atoms, %",
        factor=100.0,
        unit=f"{THIN_SPACE}%",
        from_zero=True,
    ),
    TrainingCurve(
        field="l0", title="atoms used, L0", words="atoms used per row, L0", from_zero=True
    ),
    TrainingCurve(
        field="tokens_per_second", title="rows/s", words="rows per second", from_zero=True
    ),
    TrainingCurve(
        field="learning_rate",
        title="learning rate",
        words="learning rate",
        says_newest=False,
        positive=True,
    ),
)
"""The plots of a training, in order."""


def training_curves(history: pd.DataFrame) -> go.Figure:
    """Draw loss, R², L0, dead atoms, speed and learning rate of one training.

    `history`: One row per record, indexed by step, as `result.history.table`.
    """
    n_rows = len(TRAINING_CURVES) // COLUMNS
    figure = make_subplots(rows=n_rows, cols=COLUMNS, shared_xaxes="all")
    dress(figure, height=200 * n_rows, margin=MARGIN)
    size = current_theme().font_px + 1
    colour, _ = category_style(0)
    for place, curve in enumerate(TRAINING_CURVES):
        row, column = divmod(place, COLUMNS)
        values = history[curve.field] * curve.factor
        hover = "step %{x:,}<br>%{y:.4g}"
        trace = line(curve.title, history.index, values, colour=colour, hover=hover)
        figure.add_trace(trace, row=row + 1, col=column + 1)
        figure.add_annotation(plot_title(place, curve.words, size=size))
        # A logarithmic axis of less than a decade has no ticks to read.
        logarithmic = curve.positive and 0 < 10 * values.min() <= values.max()
        figure.update_yaxes(
            type="log" if logarithmic else "linear",
            rangemode="tozero" if curve.from_zero else "normal",
            row=row + 1,
            col=column + 1,
        )
    figure.update_xaxes(title_text="step", row=n_rows)
    return figure.update_layout(showlegend=False)
