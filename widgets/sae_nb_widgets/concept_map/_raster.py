"""Very many points as one image: what a file or a page without script shows of a map of a million."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from scipy.ndimage import uniform_filter

from sae_nb_widgets.concept_map._styles import Look

MOST_AS_MARKS = 30_000
"""Points up to which a still drawing has a mark for each."""

SIDES = (1140, 660)
"""Most pixels of the image: one and a half for each of the sheet."""
MARK = 3
COLOURS = 200
DARKEST = 0.8


def raster(
    xy: Float[np.ndarray, "n 2"],
    colours: UInt8[np.ndarray, "n 3"],
    low: Float[np.ndarray, " 2"],
    high: Float[np.ndarray, " 2"],
) -> UInt8[np.ndarray, "height width 4"]:
    """Return points as pixels of a part of the plane: their mean colour, darker where many lie.

    Every point covers three by three pixels. As on the canvas, half of the way to black is where twice the
    points lie that lie where a point does, on the mean over points.
    """
    scale = float(min(np.array(SIDES) / np.maximum(high - low, 1e-12)))
    width, height = np.clip(np.ceil((high - low) * scale), 1, SIDES).astype(int).tolist()
    inside = ((xy >= low) & (xy <= high)).all(axis=1)
    places = np.minimum((xy[inside] - low) * scale, [width - 1, height - 1]).astype(np.int64)
    pixel = (height - 1 - places[:, 1]) * width + places[:, 0]
    painted = np.stack(
        [
            np.bincount(pixel, weights=weights, minlength=width * height)
            for weights in (None, *colours[inside].T.astype(np.float64))
        ]
    ).reshape(4, height, width)
    near = np.stack([MARK**2 * uniform_filter(part, MARK, mode="constant") for part in painted])
    count = np.round(near[0])
    covered = count > 0
    middle = max(4.0, float((count**2).sum() / max(count.sum(), 1)) / 2)
    ink = np.where(count >= 2, DARKEST * (1 - middle / (middle - 1 + count)), 0)
    shade = near[1:] / np.where(covered, count, 1) * (1 - ink)
    image = np.zeros((height, width, 4), np.uint8)
    image[..., :3] = np.clip(np.round(shade), 0, 255).transpose(1, 2, 0)
    image[..., 3] = 255 * covered
    return image


def placed_raster(
    xy: Float[np.ndarray, "n 2"], look: Look, shown: Int[np.ndarray, " shown"]
) -> dict[str, object]:
    """Return the points shown as an image of a plotly figure, under its traces."""
    some = xy[shown].astype(np.float64)
    low, high = some.min(axis=0), some.max(axis=0)
    rim = 2 * MARK * float(max((high - low) / SIDES)) or 1.0
    low, high = low - rim, high + rim
    palette = np.array([entry["light"] for entry in look.palette], np.uint8)
    styles = np.minimum(look.styles[shown], len(palette) - 1)
    image = Image.fromarray(raster(some, palette[styles], low, high), "RGBA")
    file = io.BytesIO()
    image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(file, "PNG", optimize=True)
    middle, size = (low + high) / 2, high - low
    return {
        "source": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}",
        "xref": "x",
        "yref": "y",
        "x": float(middle[0]),
        "y": float(middle[1]),
        "sizex": float(size[0]),
        "sizey": float(size[1]),
        "xanchor": "center",
        "yanchor": "middle",
        "sizing": "stretch",
        "layer": "below",
    }
