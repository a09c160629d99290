"""Images in rows and columns, each under its title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from sae_nb.figures._frames import plot_title
from sae_nb.figures.theme import plot_text, scaled, template

Titled = tuple[str, Float[Tensor, "channels height width"]]

SIDE = 150
"""Of a small image on the sheet, CSS pixels."""


def image_sheet(rows: Sequence[Sequence[Titled]]) -> Any:
    """Draw images in [0, 1], a list of titled ones per row."""
    n = max(len(row) for row in rows)
    figure = make_subplots(
        rows=len(rows), cols=n, horizontal_spacing=0.03, vertical_spacing=0.16 / len(rows)
    )
    for i, row in enumerate(rows):
        for j, (title, image) in enumerate(row):
            shown = image if image.shape[0] == 3 else image[:1].expand(3, -1, -1)
            pixels = (shown.detach().float().cpu().clamp(0, 1) * 255).round().byte()
            height, width = pixels.shape[1:]
            at = {"row": i + 1, "col": j + 1}
            figure.add_image(z=pixels.permute(1, 2, 0).numpy(), hoverinfo="skip", **at)
            figure.update_xaxes(range=[-0.5, width - 0.5], **at)
            figure.update_yaxes(range=[height - 0.5, -0.5], **at)
            figure.add_annotation(plot_title(i * n + j, plot_text(title), size=scaled(11)))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure.update_layout(
        template=template(),
        height=scaled(SIDE + 28) * len(rows) + 20,
        width=scaled(SIDE + 40) * n,
        margin={"l": 8, "r": 8, "t": 30, "b": 8},
    )
