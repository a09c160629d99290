"""What stands beside and under the map: the atom, its neighbours, the selection, the inputs it shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.activations import Context
from sae_nb.figures import escape, format_count, format_number, format_percent
from sae_nb.summaries import Cluster, ConceptAtlas, ConceptMapSummary, SelectionSummary, SharedInput
from sae_nb_widgets.components import Component, PictureGrid, RowTable, Sparkbars, TokenStrip
from sae_nb_widgets.panel import show, small_button

# -------------------------------------------------------------------------------------------------
# Inputs that atoms share, on screen: pictures with heat, shaded texts, or rows of plain vectors.


READ = "Σ|z| / p99 of the atoms chosen"


class SharedInputs:
    """One component that fits what the activations were captured from."""

    def __init__(self, context: Context | None, say: Callable[[str], None]) -> None:
        self._context, self._say = context or Context(), say
        self._inputs: tuple[SharedInput, ...] = ()
        self._n_atoms = 0
        self._title = ipw.HTML()
        self.component = self._component()
        self.component.description = "inputs that fire what is selected"
        self.component.observe(self._clicked, "selected")
        self.widget = ipw.VBox([self._title, self.component])
        show(self.widget, context is not None)

    def _component(self) -> Component:
        context = self._context
        if context.kind == "language" and context.token_ids is not None:
            return TokenStrip(hint=f"hover a token: {READ}")
        if context.pictures is not None or context.patch_grid is not None:
            return PictureGrid(hint=f"hover a patch: {READ}")
        return Sparkbars()

    def show(
        self,
        selection: SelectionSummary | None,
        view: str,
        chosen: Sequence[int],
        name: str,
    ) -> None:
        """Draw the inputs that what is chosen shares; `name` is of the one atom, where it is one."""
        self._inputs = () if selection is None else tuple(selection.shared)
        n_atoms = self._n_atoms = 0 if selection is None else len(selection.atoms)
        title = "" if selection is None else escape(_inputs_title(selection, view, chosen, name))
        self._title.value = f'<div class="sae-nb-cardtitle">{title}</div>' if title else ""
        self.component.empty_text = "No input fires the atoms chosen." if title else ""
        captions = [self._caption(shared, n_atoms) for shared in self._inputs]
        if isinstance(self.component, TokenStrip):
            self._show_texts(captions)
        elif isinstance(self.component, PictureGrid):
            self._show_pictures(captions)
        elif isinstance(self.component, Sparkbars):
            places = [shared.place for shared in self._inputs]
            self.component.show(places, [shared.strength for shared in self._inputs])

    def _caption(self, shared: SharedInput, n_atoms: int) -> str:
        if n_atoms == 1:
            return f"{shared.sample}"
        return f"{shared.sample}: {format_count(shared.n_atoms)} of {format_count(n_atoms)}"

    def _show_texts(self, captions: Sequence[str]) -> None:
        inputs = self._inputs
        nothing = np.zeros(0)
        self.component.show(
            [shared.tokens for shared in inputs],
            [nothing if s.token_strengths is None else s.token_strengths for s in inputs],
            special=[shared.special for shared in inputs],
            captions=captions,
            strengths=[shared.strength for shared in inputs],
            first_positions=[shared.first_position for shared in inputs],
            clipped=[shared.clipped for shared in inputs],
        )

    def _show_pictures(self, captions: Sequence[str]) -> None:
        inputs = self._inputs
        pictures = [self._picture(shared) for shared in inputs]
        heat = [shared.heat for shared in inputs if shared.heat is not None]
        self.component.show(
            np.stack(pictures) if pictures else np.zeros((0, 3, 1, 1), np.uint8),
            heat=np.stack(heat) if len(heat) == len(inputs) and heat else None,
            captions=captions,
            places=[shared.place for shared in inputs],
            strengths=[shared.strength for shared in inputs],
        )

    def _picture(self, shared: SharedInput) -> np.ndarray:
        if shared.picture is not None:
            return shared.picture
        rows, columns = self._context.patch_grid or (1, 1)
        return np.full((3, rows * 4, columns * 4), 128, np.uint8)

    def _clicked(self, change: dict[str, object]) -> None:
        new = change["new"]
        index = new[0] if isinstance(new, tuple) else new
        if isinstance(index, int) and 0 <= index < len(self._inputs):
            self._say(reading(self._inputs[index], self._n_atoms))


def _inputs_title(selection: SelectionSummary, view: str, chosen: Sequence[int], name: str) -> str:
    if view != "atoms":
        return f"inputs among the {view} selected"
    if len(chosen) <= 1:
        return f"inputs that fire atom {name} most"
    rows = format_count(selection.n_rows) if selection.n_rows else "no"
    return f"inputs the selected atoms share ({rows} rows fire at least half of them)"


def reading(shared: SharedInput, n_atoms: int) -> str:
    """Return an input in words: where, how many of the atoms fire, how strongly."""
    fire = f"{format_count(shared.n_atoms)} of {format_count(n_atoms)} atoms fire"
    return f"{shared.place}: {fire}, {READ.split(' of ')[0]} = {format_number(shared.strength)}"


# -------------------------------------------------------------------------------------------------
# What stands beside the map: the atom, its neighbours, buttons, and the table of the selection.


MOST_LISTED = 200
MOST_BARS = 5
SHARES = ("frequency", "share")
LEFT_OUT = ("energy",)
"""Columns of a selection that a narrow table has no room for."""
HEADERS = {"frequency": "rows", "share": "of rows", "strength": "|z|"}


class ConceptDetail:
    """The cards of the ConceptMap's detail column."""

    def __init__(self, panel: Any, go: Callable[[int], None]) -> None:
        self._go = go
        self._listed: dict[Any, Sequence[int]] = {}
        self.facts = ipw.HTML()
        self._buttons = ipw.Box(_buttons(panel)).add_class("sae-nb-line")
        self._buttons.add_class("sae-nb-live-only")
        self.near = Sparkbars(description="nearest atoms (cosine)")
        self.joint = Sparkbars(description="co-active atoms (lift over chance)")
        self.joint.empty_text = "No atom fires with it more often than by chance."
        self.table = RowTable(description="selected atoms")
        self.table.empty_text = "Draw around points, or search ( / ), to list atoms here."
        self.widgets: tuple[ipw.Widget, ...] = (
            self.facts,
            self._buttons,
            self.table,
            self.near,
            self.joint,
        )
        for clickable in (self.near, self.joint, self.table):
            clickable.observe(self._clicked, "selected")

    def _clicked(self, change: t.Bunch) -> None:
        listed = self._listed.get(change["owner"], ())
        if 0 <= change["new"] < len(listed):
            self._go(int(listed[change["new"]]))

    def show_atom(self, atlas: ConceptAtlas, record: ConceptMapSummary, atom: int) -> None:
        """Draw one atom: what is measured of it, its nearest ones, those that fire with it."""
        of_atoms = record
        if record.show != "atoms":
            of_atoms = replace(record, columns=atlas.columns("atoms"), clusters=())
        self.facts.value = atom_facts(of_atoms, atom, atlas.labels.get(atom, ""))
        rows, distances = atlas.neighbours("atoms")
        near, cosines = rows[atom, :MOST_BARS].tolist(), 1 - distances[atom, :MOST_BARS]
        joint, lifts = [], np.zeros(0)
        if atlas.catalogue is not None:
            found, lifts, _ = atlas.catalogue.coactive(atom, MOST_BARS)
            joint = found.tolist()
        show(self.joint, atlas.catalogue is not None)
        for bars, atoms, values, most in (
            (self.near, near, cosines.tolist(), 1.0),
            (self.joint, joint, lifts.tolist(), 0.0),
        ):
            self._listed[bars] = atoms
            names = [f"{other} {atlas.labels.get(other, '')}".rstrip() for other in atoms]
            bars.show(names, values, signed=min(values, default=0) < 0, maximum=most)

    def show_selection(
        self, selection: SelectionSummary | None, view: str, chosen: Sequence[int]
    ) -> None:
        """List the atoms of a selection; of none where nothing is chosen."""
        n = len(chosen)
        if not chosen:
            title = "selected atoms"
        elif view == "atoms":
            named = f": {selection.name}" if selection is not None and selection.name else ""
            title = f"{format_count(n)} selected{named}"
            title += f" (first {MOST_LISTED})" if n > MOST_LISTED else ""
        else:
            things = view.removesuffix("s") if n == 1 else view
            title = f"atoms that fire more in {format_count(n)} {things}"
        self._show_table(selection if chosen else None, title)

    def _show_table(self, selection: SelectionSummary | None, title: str) -> None:
        self.table.description = title
        if selection is None:
            self._listed[self.table] = ()
            self.table.show([], [])
            return
        atoms = selection.atoms[:MOST_LISTED]
        self._listed[self.table] = atoms.tolist()
        columns = {n: v for n, v in selection.columns.items() if n not in LEFT_OUT}
        headers = ["atom", "label", *(HEADERS.get(name, name) for name in columns)]
        cells = [
            [
                str(atom),
                selection.labels[i],
                *(_cell(name, float(values[i])) for name, values in columns.items()),
            ]
            for i, atom in enumerate(atoms.tolist())
        ]
        self.table.show(headers, cells, numeric=[True, False, *[True] * len(columns)])


def _cell(name: str, value: float) -> str:
    return format_percent(value) if name in SHARES else format_number(value)


def _buttons(panel: Any) -> list[ipw.Button]:
    return [
        small_button(
            "open",
            "Open this atom in the panels linked to the map (Enter)",
            panel.open_atom,
        ),
        small_button("steer", "Steer with the selected atoms, or with this one", panel.steer_atoms),
        small_button(
            "compare",
            "Compare the selected atoms, or show the second dictionary",
            panel.compare_atoms,
        ),
    ]


def atom_facts(record: ConceptMapSummary, atom: int, label: str) -> str:
    """Return what is known of an atom as HTML: a line of numbers, its cluster, its partner."""
    named = f' <span dir="auto">{escape(label)}</span>' if label else ""
    lines = [f"<p><b>atom {atom}</b>{named}</p>"]
    numbers = []
    for name, column in record.columns.items():
        if column.is_category or name == "distance":
            continue
        value = float(column.values[atom])
        if name == "frequency" and np.isnan(value):
            numbers.append("never fires")
            continue
        text = format_percent(value, of="rows") if name == "frequency" else format_number(value)
        numbers.append(f'{escape(name)} <b class="sae-nb-keep">{escape(text)}</b>')
    if numbers:
        lines.append(f"<p>{' · '.join(numbers)}</p>")
    lines.append(_partner(record, atom))
    inside = (cluster for cluster in record.clusters if atom in cluster.points)
    return "".join([*lines, *(cluster_facts(cluster) for cluster in inside)])


def _partner(record: ConceptMapSummary, atom: int) -> str:
    match = record.match
    found = np.zeros(0, np.int64) if match is None else np.flatnonzero(match.atoms == atom)
    if match is None or not len(found):
        return "" if match is None else "<p>no partner in the other dictionary</p>"
    other, cosine = int(match.others[found[0]]), format_number(float(match.cosines[found[0]]))
    verdict = "" if match.same[found[0]] else ", too low to be the same"
    return f"<p>partner in the other dictionary: <b>{other}</b>, cosine {cosine}{verdict}</p>"


def cluster_facts(cluster: Cluster) -> str:
    """Return how tight a cluster is among the atoms themselves, as HTML."""
    return (
        f'<p>cluster <b dir="auto">{escape(cluster.name)}</b> '
        f"({escape(format_count(len(cluster.points)))}): mean cosine "
        f"{escape(format_number(cluster.cosine, digits=2))}, "
        f"{escape(format_number(cluster.floor, digits=2))} for as many at random</p>"
    )


def match_facts(record: ConceptMapSummary) -> str:
    """Return how much two dictionaries share, in a sentence."""
    match = record.match
    if match is None:
        return ""
    same = int(match.same.sum())
    how = "Hungarian" if match.exact else "auction"
    return (
        f"{format_count(same)} of {format_count(match.n_atoms)} atoms are in both (cosine above 0.7; "
        f"{how} matching, mean {format_number(float(match.cosines.mean()), digits=2)}, random "
        f"{format_number(match.floor, digits=2)}). The rest is ringed; the other dictionary is faint squares."
    )
