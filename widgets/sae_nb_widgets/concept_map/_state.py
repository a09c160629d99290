"""The state of a ConceptMap: its traits, the values that they permit, what was measured and what follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets as t
from jaxtyping import Bool

from sae_nb.atoms import Column, ConceptAtlas, ConceptMapSummary, SelectionSummary
from sae_nb.checks import check_atom
from sae_nb_widgets.concept_map._cones import Cones
from sae_nb_widgets.concept_map._detail import SharedInputs
from sae_nb_widgets.concept_map._figure import MOST_RINGED
from sae_nb_widgets.concept_map._map_view import MapFigure
from sae_nb_widgets.concept_map._styles import NONE
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import (
    LARGEST_SEED,
    Atom,
    ByRule,
    RuledText,
    Site,
    Whole,
    several,
)

if TYPE_CHECKING:
    from sae_nb.geometry import Containment

CLUSTER, EQUAL, ATOM = "cluster", "equal", "atom"
LAYOUTS = ("umap", "pca", "archetypes")
DRAGS = {
    "pan": "Dragging moves the map; with Shift it draws a lasso",
    "lasso": "Dragging draws around points to select them; Shift adds to the selection",
    "box": "Dragging draws a box around points to select them; Shift adds to the selection",
}
EDGES = {
    "none": "No lines",
    "nearest": "Join selected points to the five nearest by cosine",
    "co-active": "Join selected atoms to the three that fire with them most above chance",
}


MOST_ONE_BY_ONE = 1000
"""Atoms that are checked one by one; of more their ends are, and each only where those are wrong."""


class Chosen(ByRule, t.Tuple):
    """Some of a panel's things, or the ends of a range; () for none."""

    def validate(self, panel: t.HasTraits, value: object) -> Any:
        """Return a set, a range, an array or a list as a tuple."""
        return super().validate(panel, tuple(several(self.name, value)))


class Choice(ByRule, t.Enum):
    """One of a few, not all of which every panel has."""


class Switch(ByRule, t.Bool):
    """On or off, where a panel has what is switched."""


class Filters(ByRule, t.Dict):
    """The columns shown for filtering."""


def atoms_on_map(panel: MapState, atoms: Sequence[Any]) -> tuple[int, ...]:
    """Return atoms that there are, each once."""
    if len(atoms) > MOST_ONE_BY_ONE:
        array = np.asarray(atoms)
        numbers = array.dtype.kind == "i" and array.ndim == 1
        if numbers and array.min() >= 0 and array.max() < panel.n_atoms:
            return tuple(dict.fromkeys(array.tolist()))
    return tuple(dict.fromkeys(check_atom(atom, panel.n_atoms) for atom in atoms))


def points_on_map(panel: MapState, chosen: Sequence[Any]) -> tuple[int, ...]:
    """Return samples or rows, each once, that are on the map."""
    known = [] if panel.show == "atoms" else panel.atlas.ids(panel.show).tolist()
    points, there = tuple(int(i) for i in dict.fromkeys(chosen)), set(known)
    lost = [i for i in points if i not in there]
    if lost:
        raise ValueError(
            f"`marked` must be {panel.show} on the map, got {lost[:3]}. Set `show` to 'samples' or "
            "'tokens' first."
        )
    return points


def check_view(wanted: Sequence[Any]) -> tuple[float, ...]:
    """Return the part of the map that is seen."""
    view = tuple(float(end) for end in wanted)
    if view and not (len(view) == 4 and view[0] < view[2] and view[1] < view[3]):
        raise ValueError(
            "`view` must be (low x, low y, high x, high y), or () for the whole map, got "
            f"{wanted}. `zoom_to` finds one around atoms."
        )
    return view


def check_column(panel: MapState, trait: str, value: str) -> str:
    """Return a column that colours or sizes can go with."""
    known = panel.colours if trait == "color_by" else panel.sizes
    if panel.ready and value not in known:  # what a session asks for before is looked at later
        raise ValueError(
            f"`{trait}` must be one of {list(known)}, got {value!r}. Give more with `columns`."
        )
    return value


def check_layout(wanted: str, known: Sequence[str]) -> str:
    """Return a layout that there is."""
    if wanted not in known:
        raise ValueError(
            f"`layout_by` must be one of {list(known)} here, got {wanted!r}: a map of archetypes needs "
            "one archetypal SAE, whose atoms are mixtures of data points."
        )
    return wanted


def check_compare(wanted: bool, other: object) -> bool:
    """Return whether a second dictionary is shown; there has to be one."""
    if wanted and other is None:
        raise ValueError(
            "`compare` needs a second dictionary, and this map has one. Make it with "
            "ConceptMap(sae, acts, other=second_sae)."
        )
    return wanted


def filters_of_columns(panel: MapState, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of each column, those left out that show all."""
    # What a session asks for before anything is measured is looked at when it is.
    columns = {} if panel.record is None else panel.record.columns
    return {
        str(name): check_filter(str(name), value, columns)
        for name, value in filters.items()
        if value is not None and (panel.ready or isinstance(value, list | tuple))
    }


def check_filter(
    name: str, wanted: Iterable[Any], columns: Mapping[str, Column]
) -> tuple[Any, ...]:
    """Return what is shown of a column: two ends, or names of categories."""
    # Clusters are found last: until then their names are taken as they are given.
    if columns and name not in (*columns, CLUSTER):
        raise ValueError(f"`filter` must name columns of the map, {list(columns)}, got {name!r}.")
    column = columns.get(name)
    if column is None:
        return tuple(wanted)
    if column.names is not None:
        names = (wanted,) if isinstance(wanted, str) else tuple(str(word) for word in wanted)
        unknown = [word for word in names if word not in (*column.names, NONE)]
        if unknown:
            raise ValueError(
                f"`filter` of {name!r} must hold names in its key, got {unknown[0]!r}."
            )
        return names
    ends = tuple(float(end) for end in wanted)
    if len(ends) != 2 or not ends[0] <= ends[1]:
        raise ValueError(f"`filter` of {name!r} must be (lowest, highest), got {wanted!r}.")
    return ends


def kept_points(record: ConceptMapSummary, filters: Mapping[str, Any]) -> Bool[np.ndarray, " n"]:
    """Return which points a filter leaves on the map."""
    kept = np.ones(len(record.ids), bool)
    for name, wanted in filters.items():
        column = record.columns.get(name)
        if column is None:
            continue
        if column.names is None:
            kept &= (column.values >= wanted[0]) & (column.values <= wanted[1])
        else:
            places = [i for i, word in enumerate(column.names) if word in wanted]
            kept &= np.isin(column.values, [*places, *([-1] if NONE in wanted else [])])
    return kept


def check_difference(wanted: Sequence[Any], column: Column | None) -> tuple[float, ...]:
    """Return the range of differences between two sites whose atoms are selected."""
    ends = tuple(float(end) for end in wanted)
    if not ends:
        return ()
    if column is None:
        raise ValueError(
            "`difference` needs a dictionary with a difference of two places, and this one has none. Make "
            "the map of an sn.Crosscoder of two."
        )
    if len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= 1:
        raise ValueError(
            f"`difference` must be (lowest, highest) between 0 and 1, or () for no range, got {wanted!r}."
        )
    return ends


def check_cone(wanted: str, cones: Containment | None) -> str:
    """Return the name of a direction whose cone is drawn, or "" for none."""
    known = () if cones is None else cones.names
    if wanted and wanted not in known:
        there = f"one of {list(known)}, or " if known else ""
        more = "" if known else " Name directions with ConceptMap(sae, cones={name: direction})."
        raise ValueError(f"`cone` must be {there}'' for none, got {wanted!r}.{more}")
    return wanted


class MapState(HasAtoms):
    """What a ConceptMap shows; its parts read it and change it."""

    atlas: ConceptAtlas
    cones: Cones | None
    map: MapFigure
    inputs: SharedInputs

    measured = False
    """Whether what is shown has been measured."""

    chosen = False
    """Whether the user chose the atom; before, the one with the surest name is shown."""

    surest: Sequence[int] = ()
    """Atoms whose names hold, the surest first: they mark the map."""

    MOST_FOUND = MOST_RINGED
    """Atoms that a search selects: the strongest."""

    record: ConceptMapSummary | None = None
    """The drawn record; None before the first drawing."""

    selection: SelectionSummary | None = None
    """Table and shared inputs of what is selected; of the atom, if nothing is."""

    atom = Atom(help="Row of the dictionary shown in detail; link it with an AtomBrowser's.")
    selected = Chosen(rule=atoms_on_map, help="Atoms chosen by lasso, box or search.")
    marked = Chosen(rule=points_on_map, help="Samples or rows chosen where those are shown.")
    site = Site(help="Which of several places is shown; “all” shows all of them together.")
    show = Choice(
        ConceptMapSummary.SHOWN,
        default_value="atoms",
        rule=lambda panel, show: panel.atlas.check_view(show),
        help="What the points are.",
    )
    color_by = RuledText(
        CLUSTER,
        rule=lambda panel, value: check_column(panel, "color_by", value),
        help="Column the points are coloured by.",
    )
    size_by = RuledText(
        "energy",
        rule=lambda panel, value: check_column(panel, "size_by", value),
        help='Column the areas of points go with; "equal" for none.',
    )
    cone = RuledText(
        "",
        rule=lambda panel, name: check_cone(name, panel.cones),
        help="Direction of `cones` whose atoms are joined; “” for none.",
    )
    edges = t.Enum(
        tuple(EDGES), default_value="none", help="What joins the selected points to others."
    )
    search = t.Unicode(
        "", help="Number, label or token; the strongest 20 of what answers are selected."
    )
    layout_by = Choice(
        LAYOUTS,
        default_value="umap",
        rule=lambda panel, layout: check_layout(layout, panel.layouts),
        help="How points are laid out.",
    )
    seed = Whole(0, 0, LARGEST_SEED, help="Of the UMAP.")
    compare = Switch(
        False,
        rule=lambda panel, wanted: check_compare(wanted, panel.atlas.other),
        help="Whether the second dictionary is shown.",
    )
    show_names = t.Bool(True, help="Whether clusters are named on the map.")
    drag = t.Enum(tuple(DRAGS), default_value="pan", help="What dragging the mouse does.")
    filter = Filters(
        rule=filters_of_columns,
        help="Column to what is shown of it: (lowest, highest), or the names of categories; {} is all.",
    )
    difference = Chosen(
        rule=lambda panel, ends: check_difference(ends, panel.atlas.difference),
        help="Lowest and highest difference between two models (0: only the first, 1: only the second) of "
        "the atoms selected; () for no range.",
    )
    view = Chosen(
        rule=lambda _, view: check_view(view),
        help="What is seen: low x, low y, high x, high y; () is the whole map.",
    )
    steered = t.Tuple(help="Event: atoms to steer with; () in between.")
    compared = t.Tuple(help="Event: atoms to compare; () in between.")

    @property
    def ready(self) -> bool:
        """Whether what is shown has been measured."""
        return self.measured

    @property
    def _columns(self) -> dict[str, Column]:
        return {} if self.record is None else dict(self.record.columns)

    @property
    def column(self) -> Column | None:
        """Column that colours the points; None if it is not known yet."""
        if self.record is not None and self.color_by == ATOM:
            return self.atlas.atom_column(self.record.show, self.atom)
        return self._columns.get(self.color_by)

    @property
    def layouts(self) -> tuple[str, ...]:
        """Layouts there are: archetypes only where the atoms are mixtures of some."""
        mixed = self.atlas.has_archetypes and self.atlas.other is None
        return LAYOUTS if mixed else LAYOUTS[:2]

    @property
    def colours(self) -> tuple[str, ...]:
        """Columns that can colour the points."""
        further = self.atlas.further(self.show)
        return tuple(dict.fromkeys((CLUSTER, *self._columns, *further, ATOM)))

    @property
    def sizes(self) -> tuple[str, ...]:
        """Columns that can set the areas of points."""
        numbers = (name for name, column in self._columns.items() if not column.is_category)
        return (EQUAL, *numbers)

    @property
    def shown(self) -> Bool[np.ndarray, " n"]:
        """Mask of the points that `filter` leaves on the map."""
        return self.kept_but("")

    def kept_but(self, column: str) -> Bool[np.ndarray, " n"]:
        """Mask of the points that `filter` leaves, but for what it says of one column."""
        if self.record is None:
            return np.ones(0, bool)
        filters = {name: wanted for name, wanted in self.filter.items() if name != column}
        kept = kept_points(self.record, filters)
        return kept & self.atlas.there if self.record.show == "atoms" else kept
