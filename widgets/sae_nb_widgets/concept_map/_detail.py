"""What stands beside the map: the atom, its neighbours, buttons, and the table of the selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.activations import Context
from sae_nb.figures import escape, format_count, format_number, format_percent
from sae_nb.summaries import Cluster, ConceptMapSummary, SelectionSummary, SharedInput
from sae_nb_widgets.components import Component, PictureGrid, RowTable, Sparkbars, TokenStrip

# -------------------------------------------------------------------------------------------------
# Inputs that atoms share, on screen: pictures with heat, shaded texts, or rows of plain vectors.


READ = "Σ|z| / p99 of the atoms chosen"


class SharedInputs:
    """One component that fits what the activations were captured from."""

    def __init__(self, context: Context | None, chosen: Callable[[SharedInput], None]) -> None:
        self._context, self._chosen = context or Context(), chosen
        self._inputs: tuple[SharedInput, ...] = ()
        self._title = ipw.HTML()
        self.component = self._component()
        self.component.description = "inputs that fire what is selected"
        self.component.observe(self._clicked, "selected")
        self.widget = ipw.VBox([self._title, self.component])
        self._shown = context is not None
        self.widget.layout.display = None if self._shown else "none"

    def _component(self) -> Component:
        context = self._context
        if context.kind == "language" and context.token_ids is not None:
            return TokenStrip(hint=f"hover a token: {READ}")
        if context.pictures is not None or context.patch_grid is not None:
            return PictureGrid(hint=f"hover a patch: {READ}")
        return Sparkbars()

    def show(self, inputs: Sequence[SharedInput], title: str, n_atoms: int) -> None:
        """Draw inputs."""
        self._inputs = tuple(inputs)
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
            self._chosen(self._inputs[index])


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
        self._go, self._atoms = go, np.zeros(0, np.int64)
        self._listed: dict[Any, Sequence[int]] = {}
        self._facts = ipw.HTML()
        self._buttons = ipw.Box(_buttons(panel)).add_class("sae-nb-line")
        self._buttons.add_class("sae-nb-live-only")
        self.near = Sparkbars(description="nearest atoms (cosine)")
        self.joint = Sparkbars(description="co-active atoms (lift over chance)")
        self.joint.empty_text = "No atom fires with it more often than by chance."
        self.table = RowTable(description="selected atoms")
        self.table.empty_text = "Draw around points, or search ( / ), to list atoms here."
        self.widgets: tuple[ipw.Widget, ...] = (
            self._facts,
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

    def show_atom(
        self,
        facts: str,
        nearest: tuple[Sequence[int], Sequence[float]],
        coactive: tuple[Sequence[int], Sequence[float]] | None,
        name_of: Callable[[int], str],
    ) -> None:
        """Draw one atom."""
        self._facts.value = facts
        self.joint.layout.display = "none" if coactive is None else None
        for bars, (atoms, values) in ((self.near, nearest), (self.joint, coactive or ((), ()))):
            self._listed[bars] = atoms
            bars.show(
                [name_of(int(atom)) for atom in atoms],
                list(values),
                signed=any(value < 0 for value in values),
                maximum=1.0 if bars is self.near else 0.0,
            )

    def show_table(self, selection: SelectionSummary | None, title: str) -> None:
        """List the atoms of a selection."""
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
    made = []
    for text, tip, action in (
        ("open", "Open this atom in the panels linked to the map (Enter)", panel.open_atom),
        ("steer", "Steer with the selected atoms, or with this one", panel.steer_atoms),
        (
            "compare",
            "Compare the selected atoms, or show the second dictionary",
            panel.compare_atoms,
        ),
    ):
        button = ipw.Button(description=text, tooltip=tip).add_class("sae-nb-small")
        button.on_click(lambda _, do=action: do())
        made.append(button)
    return made


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
