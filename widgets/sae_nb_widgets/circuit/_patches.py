"""The image that a circuit explains: shaded by where the answer comes from, and cut into its patches."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from sae_nb.atoms._atom import crop_patch
from sae_nb.circuits import AttributionGraph
from sae_nb.circuits._summary import Circuit
from sae_nb_widgets.components._atom_card import png_address
from sae_nb_widgets.components._picture_grid import StillGrid


def shaded_image(circuit: Circuit) -> StillGrid | None:
    """Return the image of a graph, each patch shaded by its share of the influence; None for texts."""
    graph, found = circuit.graph, _image_of(circuit.graph)
    if found is None:
        return None
    image, (before, rows, columns) = found
    share = circuit.influence[circuit.kinds == "token"]
    prefix = share[:before]
    grid = StillGrid(
        description="where the answer comes from",
        titled=True,
        unit="of the influence",
        hint="Hover: share of the influence that ends at this patch. Click: choose it.",
    )
    grid.show(
        image[None],
        heat=share[before : before + rows * columns].reshape(1, rows, columns),
        captions=["the input"],
        prefix=[prefix.tolist()] if before else [],
        prefix_names=graph.tokens[:before],
    )
    grid.thumbnail = 2 * grid.thumbnail
    return grid


def patches_of(graph: AttributionGraph) -> list[str]:
    """Return the address of an image for every position: its patch with one around it; "" where it is none."""
    found = _image_of(graph)
    if found is None:
        return [""] * len(graph.tokens)
    image, (before, rows, columns) = found
    crops = [
        png_address(crop_patch(image, (rows, columns), divmod(patch, columns)))
        for patch in range(rows * columns)
    ]
    after = len(graph.tokens) - before - len(crops)
    return [*[""] * before, *crops, *[""] * after]


def _image_of(
    graph: AttributionGraph,
) -> tuple[UInt8[np.ndarray, "3 height width"], tuple[int, int, int]] | None:
    """The image that was read, and where its patches are among the positions; None of anything else."""
    if graph.grid is None or graph.inputs is None or graph.inputs.ndim != 4:
        return None
    return graph.inputs[0].numpy(), graph.grid
