"""Images in rows and columns, each under its title; an image with maps of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from sae_nb.figures._plot_grids import plot_title
from sae_nb.figures.shapes import parse_colour
from sae_nb.figures.theme import category_style, colour_scale, plot_text, scaled, template

Titled = tuple[str, Float[Tensor, "channels height width"]]

SIDE = 150
"""Of a small image on the sheet, CSS pixels."""

ROOM = 840
"""Width of all columns: a notebook next to the file browser shows it without scrolling."""


def image_sheet(rows: Sequence[Sequence[Titled]]) -> Any:
    """Draw images in [0, 1], a list of titled ones per row."""
    n = max(len(row) for row in rows)
    figure = _sheet(len(rows), n)
    for i, row in enumerate(rows):
        for j, titled in enumerate(row):
            _put_image(figure, titled, i * n + j, row=i + 1, col=j + 1)
    return figure


Box = tuple[int, int, int, int]
"""Top, left, bottom, right, in pixels."""

FINE = 128
"""Pixels along an image's side, at least, where boxes are drawn on it."""


def image_and_maps(
    titled: Titled,
    maps: Mapping[str, Float[np.ndarray, "rows columns"]],
    boxes: Mapping[str, Box] | None = None,
) -> Any:
    """Draw an image, and maps of it by their titles; `boxes` are drawn on the image.

    A box has the colour of the title of the map of its name. A map's colours go to its own largest value:
    from 0, or, where it has both signs, from minus that.
    """
    figure = _sheet(1, 1 + len(maps))
    colours = {name: category_style(i)[0] for i, name in enumerate(boxes or {})}
    title, image = titled
    for name, box in (boxes or {}).items():
        image = _boxed(image, titled[1].shape[-2:], box, colours[name])
    _put_image(figure, (title, image), 0, row=1, col=1)
    for j, (title, values) in enumerate(maps.items(), start=1):
        signed = bool((values < 0).any())
        most = max(float(np.abs(values).max()), 1e-12)
        at = {"row": 1, "col": j + 1}
        figure.add_heatmap(
            z=values[::-1],  # rows of an image run down, those of a plot up
            zmin=-most if signed else 0.0,
            zmax=most,
            colorscale=colour_scale(signed=signed),
            showscale=False,
            hovertemplate="%{z:.3g}<extra></extra>",
            **at,
        )
        written = plot_title(j, plot_text(title), size=scaled(11))
        written["font"] |= {"color": colours[title]} if title in colours else {}
        figure.add_annotation(written)
    return figure.update_layout(showlegend=False)


def _boxed(
    image: Float[Tensor, "channels height width"], size: Sequence[int], box: Box, colour: str
) -> Float[Tensor, "3 height width"]:
    """The image, finer, with a box around pixels of its first size: two pixels wide, in the image itself."""
    coarse = max(FINE // image.shape[1], 1)
    whole = image.repeat_interleave(coarse, dim=1).repeat_interleave(coarse, dim=2)
    whole = whole.expand(3, -1, -1).clone()
    top, left, bottom, right = (at * whole.shape[1] // size[0] for at in box)
    edge = torch.zeros(whole.shape[1:], dtype=torch.bool)
    edge[top:bottom, left:right] = True
    edge[top + 2 : bottom - 2, left + 2 : right - 2] = False
    whole[:, edge] = torch.tensor(parse_colour(colour)[:3]).to(whole)[:, None] / 255
    return whole


def _sheet(rows: int, columns: int) -> Any:
    """Empty plots without axes, as large as small images."""
    figure = make_subplots(
        rows=rows, cols=columns, horizontal_spacing=0.03, vertical_spacing=0.16 / rows
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    column = min(scaled(SIDE + 40), ROOM / columns)
    return figure.update_layout(
        template=template(),
        height=(column * SIDE / (SIDE + 40) + scaled(28)) * rows + 20,
        width=column * columns,
        margin={"l": 8, "r": 8, "t": 30, "b": 8},
    )


def _put_image(figure: Any, titled: Titled, place: int, **at: int) -> None:
    title, image = titled
    shown = image if image.shape[0] == 3 else image[:1].expand(3, -1, -1)
    pixels = (shown.detach().float().cpu().clamp(0, 1) * 255).round().byte()
    height, width = pixels.shape[1:]
    figure.add_image(z=pixels.permute(1, 2, 0).numpy(), hoverinfo="skip", **at)
    figure.update_xaxes(range=[-0.5, width - 0.5], **at)
    figure.update_yaxes(range=[height - 0.5, -0.5], **at)
    figure.add_annotation(plot_title(place, plot_text(title), size=scaled(11)))
