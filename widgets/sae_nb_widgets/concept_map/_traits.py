"""The state of a ConceptMap as traits that refuse what the map does not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import traitlets as t

from sae_nb.checks import check_atom
from sae_nb.summaries import SHOWN, Column, has_archetypes
from sae_nb_widgets.panel import Panel, or_trait_error

if TYPE_CHECKING:
    from sae_nb.summaries import ConceptAtlas, ConceptMapSummary


LAYOUTS = ("umap", "pca", "archetypes")
EDGES = ("none", "nearest", "co-active")
DRAGS = ("lasso", "box", "zoom")
EQUAL = "equal"
ATOM = "atom"
CLUSTER = "cluster"


class ConceptMapTraits(Panel):
    """What is shown of the map and what is chosen on it; each part can be set, observed, linked."""

    # What `close` reads, also of a panel that was refused before it was built.
    _closed = True

    atlas: ConceptAtlas
    _record: ConceptMapSummary | None
    _measured: bool

    atom = t.Int(0, help="Row of the dictionary shown in detail; link it with an AtomBrowser's.")
    selected = t.Tuple(help="Atoms chosen by lasso, box or search.")
    marked = t.Tuple(help="Samples or rows chosen where those are shown.")
    show = t.Enum(SHOWN, default_value="atoms", help="What the points are.")
    color_by = t.Unicode(CLUSTER, help="Column the points are coloured by.")
    size_by = t.Unicode("energy", help='Column the areas of points go with; "equal" for none.')
    edges = t.Enum(EDGES, default_value="none", help="What joins the selected points to others.")
    search = t.Unicode("", help="Number, label or token; what answers is selected.")
    layout_by = t.Enum(LAYOUTS, default_value="umap", help="How points are laid out.")
    seed = t.Int(0, min=0, help="Of the UMAP.")
    compare = t.Bool(False, help="Whether the second dictionary is shown.")
    names = t.Bool(True, help="Whether clusters are named on the map.")
    drag = t.Enum(DRAGS, default_value="lasso", help="What dragging the mouse does.")
    opened = t.Int(-1, help="Event: atom somebody asked to open; −1 in between.")
    steered = t.Tuple(help="Event: atoms somebody asked to steer with; () in between.")
    compared = t.Tuple(help="Event: atoms somebody asked to compare; () in between.")

    @t.validate("atom")
    def _atom_exists(self, proposal: t.Bunch) -> int:
        return or_trait_error(check_atom, proposal["value"], self.atlas.n_atoms)

    @t.validate("selected")
    def _atoms_exist(self, proposal: t.Bunch) -> tuple[int, ...]:
        n = self.atlas.n_atoms
        return tuple(or_trait_error(check_atom, atom, n) for atom in _each_once(proposal["value"]))

    @t.validate("marked")
    def _points_exist(self, proposal: t.Bunch) -> tuple[int, ...]:
        chosen = tuple(int(i) for i in _each_once(proposal["value"]))
        known = set() if self.show == "atoms" else set(self.atlas.ids(self.show).tolist())
        lost = [i for i in chosen if i not in known]
        if lost:
            raise t.TraitError(
                f"`marked` must be {self.show} on the map, got {lost[:3]}. Set `show` to 'samples' or "
                "'tokens' first."
            )
        return chosen

    @t.validate("show")
    def _view_exists(self, proposal: t.Bunch) -> str:
        try:
            return self.atlas.check_view(proposal["value"])
        except ValueError as error:
            raise t.TraitError(str(error)) from None

    @t.validate("color_by", "size_by")
    def _column_exists(self, proposal: t.Bunch) -> str:
        value = str(proposal["value"])
        known = self.colours if proposal["trait"].name == "color_by" else self.sizes
        # What a session asks for before anything is measured is looked at when it is.
        if self._measured and value not in known:
            raise t.TraitError(
                f"`{proposal['trait'].name}` must be one of {list(known)}, got {value!r}. Give more "
                "with `columns`."
            )
        return value

    @t.validate("layout_by")
    def _layout_exists(self, proposal: t.Bunch) -> str:
        if proposal["value"] not in self.layouts:
            raise t.TraitError(
                f"`layout_by` must be one of {list(self.layouts)} here, got {proposal['value']!r}: a map of "
                "archetypes needs one archetypal SAE, whose atoms are mixtures of data points."
            )
        return str(proposal["value"])

    @t.validate("compare")
    def _has_other(self, proposal: t.Bunch) -> bool:
        if proposal["value"] and self.atlas.other is None:
            raise t.TraitError(
                "`compare` needs a second dictionary, and this map has one. Make it with "
                "ConceptMap(sae, acts, other=second_sae)."
            )
        return bool(proposal["value"])

    @property
    def _columns(self) -> dict[str, Column]:
        return {} if self._record is None else dict(self._record.columns)

    @property
    def layouts(self) -> tuple[str, ...]:
        """Layouts there are: archetypes only where the atoms are mixtures of some."""
        mixed = has_archetypes(self.atlas.sae) and self.atlas.other is None
        return LAYOUTS if mixed else LAYOUTS[:2]

    @property
    def colours(self) -> tuple[str, ...]:
        """What points can be coloured by."""
        return tuple(dict.fromkeys((CLUSTER, *self._columns, ATOM)))

    @property
    def sizes(self) -> tuple[str, ...]:
        """What the areas of points can go with."""
        numbers = (name for name, column in self._columns.items() if not column.is_category)
        return (EQUAL, *numbers)


def _each_once(values: Any) -> Iterable[Any]:
    return dict.fromkeys(values)
