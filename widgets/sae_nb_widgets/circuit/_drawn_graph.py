"""A circuit's record as it is drawn: every node in words, laid out for several widths of the stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8

from sae_nb.atoms import crop_patch
from sae_nb.circuits import AttributionGraph
from sae_nb_widgets.circuit import _words as words
from sae_nb_widgets.circuit._layout import Face, Layout, lay_out
from sae_nb_widgets.circuit._map import WIDTHS
from sae_nb_widgets.circuit._names import NodeNames
from sae_nb_widgets.circuit._queries import View
from sae_nb_widgets.circuit._summary import Circuit, CircuitSummary
from sae_nb_widgets.components._atom_card import png_address
from sae_nb_widgets.components._picture_grid import StillGrid

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"token": "input", "error": "missed", "target": "answer"}


def drawn(
    circuit: Circuit,
    summary: CircuitSummary,
    view: View,
    names: NodeNames,
    tokens: Sequence[str],
    crops: Sequence[str],
) -> tuple[list[Face], list[Layout]]:
    """Return the nodes in words, and where they are on stages of several widths."""
    marks: dict[int, tuple[str, ...]] = {}
    for name, nodes in (("pinned", view.pinned), ("path", view.path)):
        for place in {summary.place_of(node) for node in nodes}:
            marks[place] = (*marks.get(place, ()), name)
    faces = [
        _face(circuit, summary, names, row, place, marks.get(place, ()))
        for place, row in enumerate(summary.nodes.itertuples())
    ]
    faces = told_apart(faces)
    columns = summary.columns.position
    of_columns = ([tokens[p] for p in columns], [crops[p] for p in columns])
    return faces, [lay_out(summary, faces, *of_columns, width) for width in WIDTHS]


def told_apart(faces: Sequence[Face]) -> list[Face]:
    """Return faces of which none against the answer has the very words of one for it."""
    speaks = {face.text for face in faces if face.tone == "for" and not face.quiet}
    return [
        replace(face, text=f"{face.text}: against", brief=f"{face.brief}: against")
        if face.tone == "against" and face.text in speaks
        else face
        for face in faces
    ]


def _face(
    circuit: Circuit,
    summary: CircuitSummary,
    names: NodeNames,
    row: pd.Series,
    place: int,
    marks: tuple[str, ...],
) -> Face:
    node = int(row.node)
    members = [names.name(i) for i in summary.nodes_at(place)] if row.group else []
    text, quiet = (str(row.group), False) if row.group else names.pill(node)
    tone = "group" if row.group else KINDS.get(row.kind, "for" if row.adds >= 0 else "against")
    return Face(
        text="missed" if tone == "missed" else text,
        brief=names.brief(node, text) if tone in ("for", "against") else text,
        tip=words.hover(circuit, row, str(row.group) or names.full(node), members),
        tone=tone,
        atom=node if row.kind == "atom" and not row.group else -1,
        quiet=quiet,
        marks=marks,
    )


# --- Images of a graph: crops of patches, and the shaded image ------------------------------------


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
    picture = graph.picture
    if picture is None and graph.inputs is not None and graph.inputs.dtype == torch.uint8:
        picture = graph.inputs  # of an older file
    return None if graph.grid is None or picture is None else (picture[0].numpy(), graph.grid)
