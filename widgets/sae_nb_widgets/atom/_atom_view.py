"""The atom itself, where it can be drawn: an image, a curve over time, or a place among the data."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float

from sae_nb.atoms import AtomCatalogue, Example
from sae_nb.checks import one_of
from sae_nb.figures import cividis, theme
from sae_nb.figures.shapes import Dot, Drawing
from sae_nb.figures.theme import css_colour, format_number
from sae_nb_widgets.components._base import HTML, VBox
from sae_nb_widgets.components._curves import Chart, Curves, Line
from sae_nb_widgets.components._picture_grid import StillGrid
from sae_nb_widgets.panel._declaring import show
from sae_nb_widgets.panel._examples import ExamplesView, marked
from sae_nb_widgets.pursuit._detail import picture
from sae_nb_widgets.pursuit._runs import checked_shape

if TYPE_CHECKING:
    import traitlets as t

    from sae_nb.architectures import SparseAutoencoder

AtomsAs = Literal["line", "point"] | tuple[int, ...]
WAYS = ("line", "point")
MOST_OF_ORBIT = 24
"""Atoms of one orbit that are drawn: a group of eight turns and their reflections, and room."""

MOST_POINTS = 1500
"""Points of the data behind a place: more would be one blot."""

ATOM_COLOUR = theme.OKABE_ITO[3]
SIDE, MARGIN = 232, 10
CURVE_HEIGHT = 64
PLACE = "inputs, lighter the stronger the atom fires there, and the atom as a ring"
ITSELF, ORBIT = "the atom itself", "the atom and the others of its orbit"


def drawn_as(atoms_as: object, catalogue: AtomCatalogue) -> AtomsAs | None:
    """Return how atoms are drawn: as requested, as the dictionary specifies, or not at all."""
    way = getattr(catalogue.sae, "atoms_as", None) if atoms_as is None else atoms_as
    if way is None:
        return None
    if catalogue.sites:
        raise ValueError(
            f"`atoms_as` must be None for a dictionary of several places, got {way!r:.40}: each has atoms "
            "of its own."
        )
    d_in = int(catalogue.sae.dictionary.shape[1])
    if isinstance(way, tuple | list):
        return checked_shape(tuple(way), d_in, name="atoms_as")
    one_of(way, WAYS, name="atoms_as")
    if way == "point" and d_in != 2:
        raise ValueError(
            f'`atoms_as` "point" needs inputs of 2 coordinates, got {d_in}. Use "line", or leave it out.'
        )
    return "point" if way == "point" else "line"


class AtomItself:
    """One card: the atom, and the others of its orbit where the dictionary has orbits.

    A click on another atom of the orbit calls `go`.
    """

    def __init__(
        self, catalogue: AtomCatalogue, way: AtomsAs | None, go: Callable[[int], None]
    ) -> None:
        self._catalogue, self._way, self._go = catalogue, way, go
        self._listed: list[int] = []
        self.widget = VBox()
        show(self.widget, way is not None)

    @cached_property
    def grid(self) -> StillGrid:
        """Atoms as images; made when one is drawn, since a script is sent with it."""
        grid = StillGrid(description=ITSELF, titled=True)
        grid.observe(self._clicked, "selected")
        self.widget.children = (grid,)
        return grid

    @cached_property
    def curves(self) -> Curves:
        """Atoms as curves over time."""
        curves = Curves(x_name="time", height=CURVE_HEIGHT)
        curves.description = ITSELF
        self.widget.children = (curves,)
        return curves

    @cached_property
    def place(self) -> HTML:
        """Where an atom lies among the data, in words."""
        made = HTML()
        self.widget.children = (made,)
        return made

    def show(self, atom: int) -> None:
        """Draw an atom."""
        if self._way is None:
            return
        if self._way == "point":
            title = f'<div class="sae-nb-cardtitle">{ITSELF}</div>'
            self.place.value = f"{title}{self._among(atom)}<div>{PLACE}</div>"
            return
        self._listed = orbit_of(self._catalogue.sae, atom)[:MOST_OF_ORBIT]
        title = ORBIT if len(self._listed) > 1 else ITSELF
        vectors = self._atoms(self._listed)
        if isinstance(self._way, tuple):
            self.grid.description = title
            limit = float(np.abs(vectors).max()) or 1.0
            signed = bool((vectors < 0).any())
            drawn = [picture(one, self._way, limit, signed=signed) for one in vectors]
            # Alone it needs no number: the whole panel is of it.
            self.grid.bare = len(drawn) == 1
            self.grid.show(
                np.stack(drawn), captions=[str(one) for one in self._listed], atoms=self._listed
            )
        else:
            self.curves.description = title
            self.curves.show(_charts(vectors, self._listed))

    def _atoms(self, atoms: Sequence[int]) -> Float[np.ndarray, "n d_in"]:
        rows = self._catalogue.sae.dictionary[torch.tensor(list(atoms))]
        return np.asarray(rows.detach().float().cpu().numpy())

    def _clicked(self, change: t.Bunch) -> None:
        index = change["new"][0]
        if 0 <= index < len(self._listed) and self._listed[index] != self._listed[0]:
            self._go(self._listed[index])

    def _among(self, atom: int) -> str:
        """The atom's place among the data, which are the lighter the stronger it is there."""
        rows, strengths = self._catalogue.strengths(atom)
        acts, n = self._catalogue.acts, len(self._catalogue.acts)
        kept = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(np.int64))
        points = acts.rows(torch.from_numpy(kept)).float().cpu().numpy()
        z = np.zeros(n, np.float32)
        z[rows] = np.abs(strengths)
        drawn = places_drawing(points, z[kept], self._place_of(atom), self._width_of(atom))
        # As pixels: 1500 circles would be more to send, and an export draws images but no circles.
        address = base64.b64encode(drawn.to_png()).decode()
        return f'<img alt="{PLACE}" width="{SIDE}" src="data:image/png;base64,{address}"/>'

    def _place_of(self, atom: int) -> Float[np.ndarray, " two"]:
        """Return the position of the atom: a dictionary counts from its bias."""
        bias = getattr(self._catalogue.sae, "bias", None)
        place = self._atoms([atom])[0]
        return place if bias is None else place + bias.detach().float().cpu().numpy()

    def _width_of(self, atom: int) -> float:
        widths = getattr(self._catalogue.sae, "widths", None)
        return 0.0 if widths is None else float(torch.as_tensor(widths).reshape(-1)[atom])


def orbit_of(sae: SparseAutoencoder, atom: int) -> list[int]:
    """Return the atom, and after it those that are the same one moved or turned, if a dictionary
    declares them.
    """
    orbits = getattr(sae, "orbits", None)
    if orbits is None:
        return [atom]
    of_atom = torch.as_tensor(orbits)
    if of_atom.ndim > 1:  # the atoms themselves, (n_orbits, order, d_in), orbit after orbit
        of_atom = torch.arange(len(of_atom)).repeat_interleave(of_atom.shape[1])
    others = torch.nonzero(of_atom == of_atom[atom]).flatten().tolist()
    return [atom, *(other for other in others if other != atom)]


def _charts(vectors: Float[np.ndarray, "n d_in"], atoms: Sequence[int]) -> list[Chart]:
    """Each vector as a curve, all on one scale that holds zero."""
    low, high = min(0.0, float(vectors.min())), max(0.0, float(vectors.max())) or 1.0
    return [
        Chart(
            title=str(atom) if len(atoms) > 1 else "",
            lines=[Line(values=vector, colour=ATOM_COLOUR)],
            low=low,
            high=high,
            atom=atom,
        )
        for vector, atom in zip(vectors, atoms, strict=True)
    ]


def places_drawing(
    points: Float[np.ndarray, "n two"],
    strengths: Float[np.ndarray, " n"],
    place: Float[np.ndarray, " two"],
    width: float = 0.0,
) -> Drawing:
    """Return points of the plane shaded by strength, and a ring at a place; a larger one is its width."""
    whole = np.vstack([points, place[None]])
    low, span = whole.min(axis=0), float(np.ptp(whole, axis=0).max()) or 1.0
    scale = (SIDE - 2 * MARGIN) / span
    xy = MARGIN + (points - low) * scale
    x, y = MARGIN + (place - low) * scale
    shares = strengths / (float(strengths.max(initial=0.0)) or 1.0)
    colours = [css_colour(colour) for colour in cividis(shares)]
    # The strongest are drawn last, over the others.
    order = np.argsort(shares, kind="stable").tolist()
    dots = [Dot(float(xy[i, 0]), float(SIDE - xy[i, 1]), 2.2, colours[i]) for i in order]
    ring = Dot(float(x), float(SIDE - y), 6, "none", ATOM_COLOUR, 2.5)
    wide = [Dot(float(x), float(SIDE - y), width * scale, "none", ATOM_COLOUR, 1)] * bool(width)
    return Drawing(SIDE, SIDE, (*dots, *wide, ring))


# -------------------------------------------------------------------------------------------------
# Examples: the inputs that the atom fires on, drawn as the atom is.


class DrawnExamples(ExamplesView):
    """Inputs as images or curves, with z times the atom over each curve."""

    def __init__(self, catalogue: AtomCatalogue, way: AtomsAs) -> None:
        self._catalogue, self._way = catalogue, way
        grid = isinstance(way, tuple)
        self._grid = StillGrid(unit="strength") if grid else None
        self._curves = None if grid else Curves(x_name="time", height=CURVE_HEIGHT)
        super().__init__(catalogue.acts.context, self._grid or self._curves)  # type: ignore[arg-type]
        self.per_page = 12 if grid else 6

    def _draw(self, examples: tuple[Example, ...], maximum: float) -> None:
        acts = self._catalogue.acts
        rows = acts.rows(torch.tensor([one.row for one in examples], dtype=torch.int64))
        x = rows.float().cpu().numpy()
        if self._grid is not None and isinstance(self._way, tuple):
            limit = float(np.abs(x).max(initial=0.0)) or 1.0
            signed = bool((x < 0).any())
            empty = np.zeros((0, 3, 1, 1), np.uint8)
            drawn = [picture(one, self._way, limit, signed=signed) for one in x]
            self._grid.show(
                np.stack(drawn) if drawn else empty,
                captions=[marked(one.place, one) for one in examples],
                strengths=[abs(one.strength) for one in examples],
                maximum=maximum,
            )
        elif self._curves is not None:
            self._curves.show([self._chart(one, row, x) for one, row in zip(examples, x)])

    def _chart(
        self, example: Example, row: Float[np.ndarray, " d_in"], x: Float[np.ndarray, "n d_in"]
    ) -> Chart:
        atom = self._catalogue.sae.dictionary[self.atom].detach().float().cpu().numpy()
        return Chart(
            title=marked(example.place, example),
            note=f"strength {format_number(example.strength)}",
            lines=[
                Line(values=row, name="input", colour=theme.NEUTRAL),
                Line(values=example.strength * atom, name="z × atom", colour=ATOM_COLOUR),
            ],
            low=min(0.0, float(x.min())),
            high=max(0.0, float(x.max())) or 1.0,
        )
