"""The kinds of traits that a ConceptMap has, and the rule for the values of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets as t

from sae_nb.checks import check_atom
from sae_nb_widgets.concept_map import _checks
from sae_nb_widgets.panel._declaring import (
    or_trait_error,
    several,
)

if TYPE_CHECKING:
    from sae_nb_widgets.concept_map._panel import ConceptMap

MOST_ONE_BY_ONE = 1000
"""Atoms that are checked one by one; of more their ends are, and each only where those are wrong."""


class _Ruled:
    """A trait whose value `rule(panel, name, value)` takes or refuses."""

    def __init__(self, rule: Callable[[Any, str, Any], Any], *given: Any, **about: Any) -> None:
        self._rule = rule
        super().__init__(*given, **about)

    # As `t.validate` does, and not in `validate`: see the traits between two ends of `panel`.
    def _cross_validate(self, panel: t.HasTraits, value: object) -> Any:
        value = super()._cross_validate(panel, value)  # type: ignore[misc]
        name: str = self.name  # type: ignore[attr-defined]
        return or_trait_error(self._rule, panel, name, value)

    if TYPE_CHECKING:  # what every trait does, for those who read its value

        def __get__(self, panel: object, of: object = None) -> Any: ...

        def __set__(self, panel: object, value: object) -> None: ...


class Chosen(_Ruled, t.Tuple):
    """Some of a panel's things, or the ends of a range; () for none."""

    def validate(self, panel: t.HasTraits, value: object) -> Any:
        """Return a set, a range, an array or a list as a tuple."""
        return super().validate(panel, tuple(several(self.name, value)))


class Named(_Ruled, t.Unicode):
    """One of a panel's things, by name."""


class Choice(_Ruled, t.Enum):
    """One of a few, not all of which every panel has."""


class Switch(_Ruled, t.Bool):
    """On or off, where a panel has what is switched."""


class Filters(_Ruled, t.Dict):
    """The columns shown for filtering."""


def atoms_on_map(panel: ConceptMap, _: str, atoms: Sequence[Any]) -> tuple[int, ...]:
    """Return atoms that there are, each once."""
    if len(atoms) > MOST_ONE_BY_ONE:
        array = np.asarray(atoms)
        numbers = array.dtype.kind == "i" and array.ndim == 1
        if numbers and array.min() >= 0 and array.max() < panel.n_atoms:
            return tuple(dict.fromkeys(array.tolist()))
    return tuple(dict.fromkeys(check_atom(atom, panel.n_atoms) for atom in atoms))


def points_on_map(panel: ConceptMap, _: str, points: Sequence[Any]) -> tuple[int, ...]:
    """Return samples or rows that are on the map, each once."""
    known = [] if panel.show == "atoms" else panel.atlas.ids(panel.show).tolist()
    return _checks.check_points(points, panel.show, known)


def filters_of_columns(panel: ConceptMap, _: str, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of each column, those left out that show all."""
    # What a session asks for before anything is measured is looked at when it is.
    columns = {} if panel.record is None else panel.record.columns
    return {
        str(name): _checks.check_filter(str(name), value, columns)
        for name, value in filters.items()
        if value is not None and (panel.ready or isinstance(value, list | tuple))
    }


def part_of_map(_panel: ConceptMap, _: str, view: Sequence[Any]) -> tuple[float, ...]:
    """Return the part of the map that is seen."""
    return _checks.check_view(view)


def range_of_differences(panel: ConceptMap, _: str, ends: Sequence[Any]) -> tuple[float, ...]:
    """Return the range of differences whose atoms are selected."""
    return _checks.check_difference(ends, panel.atlas.difference)


def view_there_is(panel: ConceptMap, _: str, show: str) -> str:
    """Return what the points are, if the panel has such."""
    return str(panel.atlas.check_view(show))


def column_of_map(panel: ConceptMap, name: str, value: str) -> str:
    """Return a column that colours or sizes can go with."""
    if panel.ready:  # see the filter
        _checks.check_column(name, value, panel.colours if name == "color_by" else panel.sizes)
    return value


def layout_of_map(panel: ConceptMap, _: str, layout: str) -> str:
    """Return a layout that there is."""
    return _checks.check_layout(layout, panel.layouts)


def second_dictionary(panel: ConceptMap, _: str, wanted: bool) -> bool:
    """Return whether the second dictionary is shown; there has to be one."""
    return _checks.check_compare(wanted, panel.atlas.other)


def cone_of_map(panel: ConceptMap, _: str, name: str) -> str:
    """Return the name of a direction whose cone can be drawn."""
    return _checks.check_cone(name, () if panel.cones is None else panel.cones.names)
