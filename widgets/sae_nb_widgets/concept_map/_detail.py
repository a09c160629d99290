"""The parts next to and under the map: the atom, its neighbours, the selection, the inputs it shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Bool

from sae_nb.activations import Context
from sae_nb.atoms import (
    ArchetypePlaces,
    AtomNames,
    Cluster,
    ConceptAtlas,
    ConceptMapSummary,
    SelectionSummary,
    SharedInput,
)
from sae_nb.figures import theme
from sae_nb.figures.theme import escape, format_count, format_number, format_percent
from sae_nb_widgets.components import Component, Concordance, PictureGrid, Sparkbars, TokenStrip
from sae_nb_widgets.components._atom_card import icons_of
from sae_nb_widgets.components._base import HTML, Box, VBox, atom_mark
from sae_nb_widgets.components._chips import sure_dots
from sae_nb_widgets.components._find_box import plain
from sae_nb_widgets.components._picture_grid import (
    StillGrid,
    as_film,
    as_sounds,
    grid_for,
    of_one_grid,
)
from sae_nb_widgets.components._row_table import RowTable, csv_text
from sae_nb_widgets.concept_map._figure import MOST_COMPARED, MOST_RINGS
from sae_nb_widgets.concept_map._region import parts, region_html, words_answer, words_title
from sae_nb_widgets.panel._closing import close_whole
from sae_nb_widgets.panel._declaring import show
from sae_nb_widgets.panel._pages import LIVE_ONLY, descendants

# -------------------------------------------------------------------------------------------------
# Inputs that atoms share, on screen: pictures with heat, shaded texts, or rows of plain vectors.


READ = {
    True: "strength of the atom",
    False: "summed strength of the chosen atoms, each in units of its 99th percentile",
}
"""Meaning of shades: of one atom, and of several, whose strengths have no common unit."""
UNITS = {True: "strength", False: "× 99th percentile, summed"}


class SharedInputs:
    """One component that fits what the activations were captured from."""

    def __init__(self, context: Context | None, say: Callable[[str], None]) -> None:
        self._context, self._say = context or Context(), say
        self._inputs: tuple[SharedInput, ...] = ()
        self._n_atoms = 0
        self._title = HTML()
        self.component = self._component()
        self.component.description = "inputs that activate what is selected"
        self.component.observe(self._clicked, "selected")
        self._on_images: list[int] = []
        self._in_texts: list[int] = []
        self._mixed = self._context.images is not None
        images = [self.images] if self._mixed else []
        self.widget = VBox([self._title, *images, self.component])
        show(self.widget, context is not None)

    @cached_property
    def images(self) -> StillGrid:
        """Of texts with images: those whose patches are among the inputs."""
        grid = StillGrid(description="images that activate what is selected")
        grid.observe(self._clicked_image, "selected")
        show(grid, False)
        return grid

    def _component(self) -> Component:
        context = self._context
        if context.modality.is_text and context.token_ids is not None:
            return Concordance(place=context.modality.token)
        if context.pictures is not None or context.patch_grid is not None:
            return grid_for(context)
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
        title = "" if selection is None else _inputs_title(view, chosen, name)
        self._title.value = f'<div class="sae-nb-cardtitle">{escape(title)}</div>' if title else ""
        captions = [self._caption(shared, n_atoms) for shared in self._inputs]
        every = range(len(self._inputs))
        self._on_images = [i for i in every if self._mixed and self._inputs[i].picture is not None]
        self._in_texts = [i for i in every if i not in self._on_images]
        if isinstance(self.component, TokenStrip | PictureGrid):
            self.component.hint = f"Colour: {READ[n_atoms == 1]}."
            self.component.unit = UNITS[n_atoms == 1]
        if isinstance(self.component, TokenStrip):
            self._show_texts([captions[i] for i in self._in_texts])
            if self._mixed:
                self._show_images([captions[i] for i in self._on_images])
        elif isinstance(self.component, PictureGrid):
            self._show_pictures(captions)
        elif isinstance(self.component, Sparkbars):
            self.component.description, self._title.value = title, ""
            places = [shared.place for shared in self._inputs]
            self.component.show(places, [shared.strength for shared in self._inputs])
        self.component.empty_text = "No input activates the chosen atoms." if title else ""

    def _caption(self, shared: SharedInput, n_atoms: int) -> str:
        if n_atoms == 1:
            return f"{shared.sample}"
        return f"{shared.sample}: {format_count(shared.n_atoms)} of {format_count(n_atoms)}"

    def _show_texts(self, captions: Sequence[str]) -> None:
        inputs = [self._inputs[i] for i in self._in_texts]
        nothing = np.zeros(0)
        self.component.show(
            [shared.tokens for shared in inputs],
            [nothing if s.token_strengths is None else s.token_strengths for s in inputs],
            special=[shared.special for shared in inputs],
            captions=captions,
            strengths=[shared.strength for shared in inputs],
            first_positions=[shared.first_position for shared in inputs],
            numbers=[shared.numbers for shared in inputs],
            clipped=[shared.clipped for shared in inputs],
        )

    def _show_images(self, captions: Sequence[str]) -> None:
        """Draw the images of texts whose patches are among the inputs."""
        inputs = [self._inputs[i] for i in self._on_images]
        show(self.images, bool(inputs))
        show(self.component, bool(self._in_texts) or not inputs)
        if not inputs:
            self.images.show(np.zeros((0, 3, 1, 1), np.uint8))
            return
        self.images.unit = UNITS[self._n_atoms == 1]
        heat = of_one_grid([one.heat for one in inputs if one.heat is not None])
        self.images.show(
            np.stack([one.picture for one in inputs if one.picture is not None]),
            heat=np.stack(heat),
            captions=captions,
            places=[one.place for one in inputs],
            strengths=[one.strength for one in inputs],
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
            **(
                as_film(self._context)
                or as_sounds(self._context, [(one.sample, one.position) for one in inputs])
            ),
        )

    def _picture(self, shared: SharedInput) -> np.ndarray:
        if shared.picture is not None:
            return shared.picture
        rows, columns = self._context.face_grid or (1, 1)
        return np.full((3, rows * 4, columns * 4), 128, np.uint8)

    def close(self) -> None:
        """Free the component: another takes its place."""
        for widget in list(descendants(self.widget)):
            close_whole(widget)

    def _clicked(self, change: dict[str, object]) -> None:
        new = change["new"]
        index = new[0] if isinstance(new, tuple) else new
        if isinstance(index, int) and 0 <= index < len(self._in_texts):
            self._say(reading(self._inputs[self._in_texts[index]], self._n_atoms))

    def _clicked_image(self, change: t.Bunch) -> None:
        index = change["new"][0]
        if 0 <= index < len(self._on_images):
            self._say(reading(self._inputs[self._on_images[index]], self._n_atoms))


def _inputs_title(view: str, chosen: Sequence[int], name: str) -> str:
    if view != "atoms":
        return f"inputs among the {view} selected"
    if len(chosen) <= 1:
        return f"inputs that activate {name} most"
    return "inputs at which the largest number of them fires at once"


def reading(shared: SharedInput, n_atoms: int) -> str:
    """Return an input in words: where, how many of the atoms fire, how strongly."""
    if n_atoms == 1:
        return f"{shared.place}: strength {format_number(shared.strength)}."
    fire = f"{format_count(shared.n_atoms)} of {format_count(n_atoms)} atoms fire"
    strength = format_number(shared.strength)
    return f"{shared.place}: {fire}, summed strength {strength} × 99th percentile."


# -------------------------------------------------------------------------------------------------
# Next to the map: the atom, its neighbours, buttons, and the table of the selection.


MOST_LISTED = 500
MOST_BARS = 5
MOST_SAID, ONE_CLOUD = 3, 0.9
"""Groups that are named; share of all points above which the largest group is called a cloud."""
LEFT_OUT = ("energy", "strength")
"""Columns of a selection that a narrow table has no room for."""
HEADERS = {"frequency": "fires on", "share": "of rows", "lift": "× usual"}
SHARES = ("frequency", "share")


class ConceptDetail:
    """The cards of the ConceptMap's detail column: the selection above, the current atom below."""

    def __init__(self, go: Callable[[int], None], buttons: Sequence[ipw.Button]) -> None:
        self._go = go
        self._listed: dict[Any, Sequence[int]] = {}
        self.headline = HTML()
        self.together = Sparkbars(description="how often two or more fire at once")
        self.alike = Sparkbars(description="how alike they are (mean cosine)")
        self.region = HTML()
        self.held = Sparkbars(
            description="part of their strength on their words, in other texts (full: 100 %)"
        )
        self._card = VBox([self.region, self.held, self.headline, self.together, self.alike])
        self._card.add_class("sae-nb-blocks")
        self.facts = HTML()
        self._buttons = Box(buttons).add_class("sae-nb-line")
        self._buttons.add_class(LIVE_ONLY)
        self.near = Sparkbars(description="nearest atoms (cosine)")
        self.joint = Sparkbars(description="fire together (× more than by chance)")
        self.joint.empty_text = "No atom fires with it more often than by chance."
        self._table_place = VBox()
        self.widgets: tuple[ipw.Widget, ...] = (
            self._card,
            self._table_place,
            self._buttons,
            self.facts,
            self.near,
            self.joint,
        )
        for clickable in (self.near, self.joint):
            clickable.observe(self._clicked, "selected")

    @cached_property
    def table(self) -> RowTable:
        """The selected atoms; made for the first selection, since a script is sent with it."""
        table = RowTable(description="selected atoms")
        table.observe(self._clicked, "selected")
        self._table_place.children = (table,)
        return table

    def _clicked(self, change: t.Bunch) -> None:
        listed = self._listed.get(change["owner"], ())
        if 0 <= change["new"] < len(listed):
            self._go(int(listed[change["new"]]))

    def show_atom(
        self, atlas: ConceptAtlas, names: AtomNames, record: ConceptMapSummary, atom: int
    ) -> None:
        """Draw one atom: what is measured of it, its nearest ones, those that fire with it."""
        of_atoms = record
        if record.show != "atoms":
            of_atoms = replace(record, columns=atlas.columns("atoms"), clusters=())
        self.facts.value = atom_facts(of_atoms, atom, names)
        rows, distances = atlas.nearest("atoms", atom)
        near, cosines = rows[:MOST_BARS].tolist(), 1 - distances[:MOST_BARS]
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
            words = [names.short(other) for other in atoms]
            low = min(values, default=0) < 0
            bars.show(
                words, values, signed=low, maximum=most, atoms=atoms, icons=icons_of(names, atoms)
            )

    def show_selection(
        self,
        atlas: ConceptAtlas,
        record: ConceptMapSummary | None,
        names: AtomNames,
        selection: SelectionSummary | None,
        view: str,
        chosen: Sequence[int],
        alike: tuple[float, float] | None,
        ranked: Sequence[int],
    ) -> None:
        """Say what the selection shares, and list its atoms; nothing without one.

        `alike`: mean cosine between two of what is selected, and of as many at random; `ranked`: atoms
        that a search selected, strongest first.
        """
        selection = selection if chosen else None
        for widget in (self._card, self._table_place):
            show(widget, selection is not None)
        of_one = selection is None or len(chosen) < 2 or view != "atoms"
        for widget in (self.near, *[self.joint] * (atlas.catalogue is not None)):
            show(widget, of_one)
        if selection is None:
            self.headline.value = ""
            return
        self.headline.value = _headline(selection, view, len(chosen))
        self.region.value = "" if record is None else region_html(record, selection)
        show(self.region, bool(self.region.value))
        self._show_together(atlas, selection, len(chosen), view, alike)
        n = len(selection.atoms)
        first = f"the first {MOST_LISTED} of {format_count(n)}" if n > MOST_LISTED else ""
        title = "selected atoms" if view == "atoms" else "atoms that fire there more than elsewhere"
        self.table.description = f"{title}, {first}" if first else title
        atoms = selection.atoms.tolist()
        place = {atom: i for i, atom in enumerate(atoms)}
        if view == "atoms" and tuple(chosen) == ranked:
            atoms = list(chosen)
        atoms = atoms[:MOST_LISTED]
        self._listed[self.table] = atoms
        columns = {n: v for n, v in selection.columns.items() if n not in LEFT_OUT}
        headers = ["atom", "name", *(HEADERS.get(name, name) for name in columns)]
        cells = [
            [
                str(atom),
                plain(said) if (said := names.short(atom)) != f"atom {atom}" else "",
                *(_cell(name, float(values[place[atom]])) for name, values in columns.items()),
            ]
            for atom in atoms
        ]
        numeric = [True, False, *[True] * len(columns)]
        self.table.show(headers, cells, numeric=numeric, atoms=atoms)

    def _show_together(
        self,
        atlas: ConceptAtlas,
        selection: SelectionSummary,
        n: int,
        view: str,
        alike: tuple[float, float] | None,
    ) -> None:
        """Draw how often what is selected fires together and how alike it is, each beside as many at random."""
        catalogue, many = atlas.catalogue, format_count(n)
        fired = catalogue if view == "atoms" and n > 1 else None
        held = selection.held if view == "atoms" else None
        show(self.together, fired is not None)
        show(self.alike, alike is not None)
        show(self.held, held is not None)
        labels = [f"these {many}", f"random {many}"]
        if held is not None:
            shares = parts(held).tolist()
            said = [format_percent(share, digits=2) for share in shares]
            colours = [theme.WARM, theme.CONTROL]
            self.held.show(labels, shares, notes=said, colours=colours, maximum=1.0)
        if fired is not None:
            n_rows = max(len(fired.acts), 1)
            shares = [selection.n_together / n_rows, selection.together_by_chance]
            said = [format_percent(share) for share in shares]
            self.together.show(
                [labels[0], "by chance"],
                shares,
                notes=said,
                colours=[theme.WARM, theme.CONTROL],
            )
        if alike is not None:
            said = [format_number(value, digits=2) for value in alike]
            low = min(alike) < 0
            self.alike.show(
                labels, list(alike), notes=said, colours=[theme.WARM, theme.CONTROL], signed=low
            )


SHARE_NOTE = "how many times more of their strength falls on a word than of all atoms’"


def _headline(selection: SelectionSummary, view: str, n: int) -> str:
    """What is selected and what it shares, as HTML."""
    things = view.removesuffix("s") if n == 1 else view
    said = f"<p><b>{escape(format_count(n))} {things} selected</b></p>"
    if selection.held is not None:  # its words are at their places, and in what the answer rests on
        return said
    if selection.words:
        chips = "".join(
            f'<li class="sae-nb-pill"><bdi>{escape(word)}</bdi> <small>×{escape(times)}</small></li>'
            for word, times in ((w, format_number(lift, digits=2)) for w, lift in selection.words)
        )
        return (
            f'{said}<div class="sae-nb-cardtitle">what they share</div><ul class="sae-nb-chiplist">{chips}</ul>'
            f'<p class="sae-nb-note">{SHARE_NOTE}</p>'
        )
    named = escape(_shared(selection))
    shared = f'<div class="sae-nb-cardtitle">what they share</div><p dir="auto">{named}</p>'
    return said + shared * bool(named)


# --- the answer -------------------------------------------------------------------------------------


def atom_answer(names: AtomNames, atlas: ConceptAtlas, atom: int) -> tuple[str, str]:
    """Return which atoms are nearest to one, in a sentence, and the numbers behind it."""
    close, cosines, chance = close_to(atlas, atom)
    if not cosines:
        return f"{_said(names, atom)} is the only atom.", ""
    if close:
        answer = f"Nearest to {_said(names, atom)}: {_and([_said(names, one) for one in close])}."
    else:
        answer = (
            f"No atom is close to {_said(names, atom)}: none is nearer than chance would bring one."
        )
    said = _and([f"{cosine:.2f}" for cosine in cosines[: max(len(close), 1)]])
    return answer, (
        f"Cosine {said}; the nearest of {format_count(len(atlas.dictionary))} random directions would have "
        f"about {chance:.2f}."
    )


def close_to(atlas: ConceptAtlas, atom: int) -> tuple[list[int], list[float], float]:
    """Return those of the nearest atoms that are nearer than chance, the cosines of all, and chance's."""
    rows, distances = atlas.nearest("atoms", atom)
    near, cosines = rows[:MOST_SAID].tolist(), (1 - distances[:MOST_SAID]).tolist()
    chance = _largest_by_chance(*atlas.dictionary.shape)
    return [one for one, c in zip(near, cosines, strict=True) if c > chance], cosines, chance


def _said(names: AtomNames, atom: int) -> str:
    """An atom in a sentence: never a bare number where it is known what it fires on."""
    said, made = names.in_text(atom), names.made(atom)
    if said != f"atom {atom}" or made is None or not made.seen:
        return said
    return f"{said} (fires on {made.seen[0]})"


def _largest_by_chance(n: int, d: int) -> float:
    """The cosine that one of n random directions exceeds: n P(cos > c) = 1, about √(2 ln n / d) for many d."""
    from scipy.special import betaincinv

    # P(cos > c) = I(1 − c²; (d − 1) / 2, 1/2) / 2.
    return math.sqrt(1 - betaincinv((d - 1) / 2, 0.5, min(2 / n, 1.0))) if d > 1 else 1.0


def groups_sentence(record: ConceptMapSummary) -> str:
    """Return how many groups of points there are and the largest, and how alike their points are."""
    if not record.clusters:
        return ""
    clusters, inside = record.clusters, sum(len(c.points) for c in record.clusters)
    sized = [(c, format_count(len(c.points))) for c in clusters[:MOST_SAID]]
    listed = [f"{c.name} ({size})" if c.is_named else f"one of {size}" for c, size in sized]
    n = len(clusters)
    said = f"{format_count(inside)} of {format_count(len(record.ids))} {record.show} lie in "
    if 1 < n <= MOST_SAID and len(clusters[0].points) > ONE_CLOUD * inside:
        said += f"one cloud, but for {_and(listed[1:])}."
    else:
        groups = "one group" if n == 1 else f"{format_count(n)} groups, the largest"
        said += f"{groups}: {_and(listed)}."
    weights = np.array([len(c.points) for c in clusters]) / inside
    cosine, floor = (
        format_number(float(weights @ values), digits=2)
        for values in ([c.cosine for c in clusters], [c.floor for c in clusters])
    )
    return f"{said} Mean cosine within a group {cosine} (random groups of these sizes: {floor})."


def selection_answer(
    names: AtomNames,
    selection: SelectionSummary,
    view: str,
    n: int,
    n_rows: int,
    alike: tuple[float, float] | None,
) -> tuple[str, str, tuple[str, ...]]:
    """Return what a selection has in common, in one claim, what that rests on, and what is bold."""
    many = f"{format_count(n)} {view.removesuffix('s') if n == 1 else view}"
    if view != "atoms":
        most = [names.in_text(atom) for atom in selection.atoms[:MOST_SAID].tolist()]
        return (f"{many} selected: {_and(most)} fire there more than elsewhere." if most else
                f"{many} selected."), "", ()  # fmt: skip
    if n == 1:
        return f"{many} selected: {names.in_text(int(selection.atoms[0]))}.", "", ()
    carry, more, held = _with_label(selection), "", selection.held
    if alike is not None and alike[1] > 0 and alike[0] > 0:
        times = format_number(alike[0] / alike[1], digits=2)
        more = (
            f"Two of them are {times} times as alike as two of {format_count(n)} atoms at random."
        )
    bold: tuple[str, ...] = ()
    if held is not None:
        said, how, bold = words_answer(held, n)
        more = f"{how} {more}".strip()
    elif selection.name and not carry:
        named = selection.name.replace(" · ", ", ")
        said = f"{many} together fire more on {named} than other atoms do."
    elif 2 * carry > n:
        said = f"{format_count(carry)} of {many} are called {_called(selection)}."
    elif carry and more:  # the title has the count
        said, more = more, ""
    else:
        said = f"{many} selected."
    if not n_rows:
        return said, more, bold
    here, chance = (
        format_percent(share)
        for share in (selection.n_together / n_rows, selection.together_by_chance)
    )
    where = "never" if not selection.n_together else f"on {here} of all positions"
    both = "Both" if n == 2 else "Two or more"
    at_once = f" At most {format_count(selection.most_together)} at once." * (n > 2)
    together = (
        f"{both} fire at once {where}; by chance, as often as each fires, on {chance}.{at_once}"
    )
    return said, f"{together} {more}".strip(), bold


def _with_label(selection: SelectionSummary) -> int:
    """Return how many of the atoms have a label that the selection is named by; 0 if it is named otherwise."""
    named = set(selection.name.split(" · ")) - {""}
    return sum(label in named for label in selection.labels)


def _called(selection: SelectionSummary) -> str:
    return " or ".join(f"“{label}”" for label in selection.name.split(" · "))


def _shared(selection: SelectionSummary) -> str:
    """Return what the selection is named by, and of labels how many have them."""
    carry, n = _with_label(selection), len(selection.atoms)
    return (
        f"{selection.name}: {format_count(carry)} of {format_count(n)}" if carry else selection.name
    )


def region_title(selection: SelectionSummary | None, view: str, n: int, region: str) -> str:
    """Return the title of several atoms that share something, or are the `region`; empty for others."""
    if selection is None or view != "atoms" or n < 2:
        return ""
    if selection.held is not None:
        return words_title(selection.held, n, is_region=bool(region))
    carry = _with_label(selection)
    if carry and 2 * carry <= n:
        return (
            f"{format_count(carry)} of {format_count(n)} atoms here are called {_called(selection)}"
        )
    if region:
        return f"A region of “{region}”"
    return f"Atoms at {selection.name.replace(' · ', ', ')}" * bool(selection.name)


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _cell(name: str, value: float) -> str:
    return format_percent(value) if name in SHARES else format_number(value)


def atom_facts(record: ConceptMapSummary, atom: int, names: AtomNames) -> str:
    """Return what is known of an atom as HTML: its name, a line of numbers, its cluster, its partner."""
    lines = [f"<p><b>{atom_mark(atom, f'atom {atom}')}</b>"]
    words = names.words(atom)
    dots = sure_dots(*names.sureness(atom), spelt_out=True)
    lines.append(f' <span dir="auto">{escape(words)}</span>{dots}</p>' if words else "</p>")
    numbers = []
    for name, column in record.columns.items():
        if column.is_category or name in ("distance", "energy"):
            continue
        value = float(column.values[atom])
        if name == "frequency":
            often = names.fires(atom) or format_percent(value)
            numbers.append("never fires" if np.isnan(value) else f"fires on {escape(often)}")
            continue
        if not np.isnan(value):
            called = "mean strength" if name == "strength" else name
            text = escape(column.written(value))
            numbers.append(f'{escape(called)} <b class="sae-nb-keep">{text}</b>')
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
    n = escape(format_count(len(cluster.points)))
    return (
        f'<p class="sae-nb-note">region <b dir="auto">{escape(cluster.name)}</b>: {n} atoms, mean cosine '
        f"{escape(format_number(cluster.cosine, digits=2))} (random {n}: "
        f"{escape(format_number(cluster.floor, digits=2))})</p>"
    )


def match_facts(record: ConceptMapSummary) -> str:
    """Return how much two dictionaries share, in a sentence."""
    match = record.match
    if match is None:
        return ""
    same = int(match.same.sum())
    how = "Hungarian" if match.exact else "auction"
    looked = ""
    if len(match.cosines) == 0:
        return "No atom has a partner in the other dictionary. Squares are the other dictionary."
    if match.found < 1:
        looked = f" The best partner of {format_percent(match.found)} of the atoms was looked at."
    if max(match.n_atoms, match.n_others) > MOST_COMPARED:
        most = format_count(MOST_COMPARED)
        looked += f" At most {most} squares and lines are drawn, evenly of all, and {MOST_RINGS} rings in view."
    return (
        f"{format_count(same)} of {format_count(match.n_atoms)} atoms are in both (cosine above 0.7; "
        f"{how} matching, mean {format_number(float(match.cosines.mean()), digits=2)}, random "
        f"{format_number(match.floor, digits=2)}). The rest is ringed; squares are the other dictionary."
        f"{looked}"
    )


def map_facts(record: ConceptMapSummary | None, atlas: ConceptAtlas, seed: int) -> dict[str, str]:
    """Return the facts next to the question."""
    facts = {} if record is None else dict(record.provenance)
    named = ("model", "hook point", "site", "SAE")
    shown: dict[str, str] = {name: facts[name] for name in named if name in facts}
    shown["atoms"] = format_count(atlas.n_atoms)
    if atlas.catalogue is not None:
        shown["rows"] = format_count(len(atlas.catalogue.acts))
    if record is not None and record.show != "atoms":
        shown[record.show] = format_count(len(record.ids))
    if record is not None:
        seeded = f" seed {seed}" if record.layout == "umap" else ""
        shown["layout"] = f"{record.layout}{seeded}"
    return shown


def corner_words(places: ArchetypePlaces, n_candidates: int) -> str:
    """State how much of the atoms the corners hold."""
    share = format_percent(float(places.held.mean()))
    return (
        f"The corners are the {len(places.archetypes)} archetypes of most weight among {n_candidates}; they "
        f"hold {share} of it, and an atom lies where its weights on them balance."
    )


def filter_sentence(kept: Bool[np.ndarray, " n"], show: str, columns: Iterable[str]) -> str:
    """State how many points a filter leaves."""
    n, of = format_count(int(kept.sum())), format_count(len(kept))
    return f"{n} of {of} {show} are shown, by {' and '.join(columns)}; the rest is faint or hidden."


def there_sentence(kept: Bool[np.ndarray, " n"], site: str) -> str:
    """State how many atoms have a direction at a site."""
    n, of = format_count(int(kept.sum())), format_count(len(kept))
    return f"{n} of {of} atoms have a direction at {site} and are shown."


def selection_csv(selection: SelectionSummary, names: AtomNames) -> str:
    """Return the table of a selection as comma-separated text."""
    table = selection.table
    table["label"] = [names.words(int(atom)) for atom in table["atom"]]
    rows = [[str(cell) for cell in row] for row in table.itertuples(index=False)]
    return csv_text(list(table.columns), rows, [name != "label" for name in table.columns])
