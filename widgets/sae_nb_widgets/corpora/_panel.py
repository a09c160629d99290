"""CorpusPanel: how two corpora differ — a volcano of atoms, a list, and examples of both sides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as ipw
import numpy as np
import traitlets as t
from jaxtyping import Float

from sae_nb.atoms import FoundAtoms, named, numbered
from sae_nb.checks import check_atom, checked
from sae_nb.corpora import CorpusSummary, Documents, summarise_corpora
from sae_nb.figures.theme import format_count
from sae_nb.files import write_bytes
from sae_nb_widgets.components import PictureGrid
from sae_nb_widgets.components._base import HTML
from sae_nb_widgets.components._concordance import words_around
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.corpora import _pairs as pairs, _words as words
from sae_nb_widgets.corpora._finding import CorpusFinder
from sae_nb_widgets.corpora._volcano import draw_volcano, ring_volcano, volcano
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import (
    Atom,
    Entry,
    Number,
    Whole,
    control,
    line,
    reacts,
    show,
    small_button,
)
from sae_nb_widgets.panel._examples import examples_view
from sae_nb_widgets.panel._pages import COLUMNS, static_html
from sae_nb_widgets.panel._theming import figure_widget

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from plotly.callbacks import Points

    from sae_nb_widgets.components import Component

SHOWN = {"few": "five a side", "all": "all atoms"}
ORDERS = ("difference", "relative")
AXES = {
    "difference": "difference of shares",
    "relative": "relative difference",
}
MOST_ROWS, MOST_EXAMPLES = 500, 24
CANDIDATES = 24
"""Atoms whose name may be written into the figure."""

NOT_KEPT = "not kept (only the peak is)"
TEXT_HINT = "Shaded: the token at which the atom is strongest in this text."
IMAGE_HINT = "Framed: the patch at which the atom is strongest in this image."
EMPTY = "No atom is within these limits: a larger q, or a smaller share, lists more."


@checked
class CorpusPanel(HasAtoms):
    """How do two corpora differ?

    At first sight five atoms of each corpus: in how many of the documents each fires, and in how many the word
    at its peak stands. Behind that every atom that fires in enough documents is a point: how much the shares of
    documents differ in which it fires, and how sure that is. `atom` is a trait; a click, the list, ← and → or a
    search set it, and the documents of both corpora in which it is strongest are shown, with the token or patch
    where it peaks.

    Parameters
    ----------
    docs_a, docs_b
        Two corpora, read at one hook point of one model by one SAE (`sn.uses.documents`).
    names
        Names of the corpora.
    atom
        First one shown; the one that differs most when None.
    min_count
        Atoms and words of fewer documents in both together are not tested, as in `sn.uses.diff`.
    strongest
        The strongest firing of each atom on the rows that it was named on; an atom whose strongest one here is
        below 30 % of that is then called at first sight by the word at its peak, not by its name.

    Raises
    ------
    ValueError: If a corpus has fewer than two documents, or they are of different models, hook points,
        tokenizers, SAEs or pools, the names are not two different ones, or `strongest` has not one number for
        each atom.

    Example
    -------
    >>> import torch
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.models import wrap
    >>> from sae_nb.corpora import documents
    >>> model = wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> sae = TopK(4, 8, 1, generator=torch.Generator().manual_seed(0))
    >>> rows = torch.eye(4)[torch.arange(40) // 10] * 2  # four kinds of documents, ten of each
    >>> docs = documents(model, sae, rows, "0", progress=False)
    >>> panel = CorpusPanel(docs.subset(slice(20)), docs.subset(slice(20, 40)))
    >>> panel.wait()
    >>> panel.summary.n_sure(panel.max_q), len(panel.to_csv().splitlines())
    (2, 9)
    >>> panel.close()
    """

    question = "How do these two corpora differ?"
    explanation = (
        "Each point is an atom: further right, more documents of the first corpus have it; further left, more "
        "of the second; further up, the difference is surer. q is p (Fisher’s exact test) corrected for "
        "looking at every atom: of the atoms above the dashed line, about that share is expected there by "
        "chance. The examples are the documents in which the chosen atom is strongest, with the token or "
        "patch where it peaks. Next to each atom of the list is how much the word differs at which it "
        "peaks: where it differs as much, a count of words would have done.",
        "This shows what the SAE sees, not why: corpora that differ in length, source or format differ in "
        "many atoms. A name is a hypothesis; read the examples of both sides. Atoms in few documents are "
        "not tested.",
        "“Interpretable Embeddings with Sparse Autoencoders”, arXiv 2512.10092, which has no test; intervals "
        "of Wilson and Newcombe; q of Benjamini and Hochberg.",
    )
    stem = "corpora"
    kept_traits = (
        "shown", "by", "max_q", "min_share", "n_rows", "n_examples", "sorted_by", "search", "atom",
    )  # fmt: skip
    needs_kernel = (
        "Other atoms, limits, search and the file of all atoms need a running kernel and were left out; the "
        "figure, the list and the examples of the chosen atom are all here."
    )

    atom = Atom(help="The atom whose documents are shown.")
    shown = t.Enum(tuple(SHOWN), default_value="few", help="Five atoms a side, or all of them.")
    by = t.Enum(ORDERS, default_value="difference", help="What is compared, and listed first.")
    max_q = Number(0.05, 0.0, 1.0, help="Largest q of an atom that is listed and coloured.")
    min_share = Number(0.0, 0.0, 1.0, help="Smallest share of either corpus an atom must be in.")
    search = t.Unicode("", help="Number, label or word; ‹ and › then step through the matches.")
    found = t.Tuple(help="Atoms that match the search, the largest difference first.")
    n_rows = Whole(8, 1, MOST_ROWS, help="Atoms in the list.")
    n_examples = Whole(4, 1, MOST_EXAMPLES, help="Documents of each corpus.")
    sorted_by = t.Tuple(
        t.Int(),
        t.Bool(),
        default_value=(-1, False),
        help="Column of the list and whether it falls; −1: the largest difference first.",
    )

    def __init__(
        self,
        docs_a: Documents,
        docs_b: Documents,
        names: Sequence[str] = ("A", "B"),
        *,
        atom: int | None = None,
        min_count: int = 5,
        strongest: Float[np.ndarray, " n_atoms"] | None = None,
    ) -> None:
        self.summary: CorpusSummary = summarise_corpora(docs_a, docs_b, _two(names), min_count)
        self.docs = (docs_a, docs_b)
        self.n_atoms = docs_a.n_atoms
        if strongest is not None and np.shape(strongest) != (self.n_atoms,):
            raise ValueError(
                f"`strongest` must have one number for each of {self.n_atoms} atoms, got shape "
                f"{np.shape(strongest)}."
            )
        self._strongest = strongest
        first = None if atom is None else check_atom(atom, self.n_atoms)
        self._has_words = docs_a.has_texts and docs_b.has_texts
        super().__init__(chips=self._chips())
        self.names = words.CorpusNames(self.docs, self.summary.names)
        self._listed = self._list()
        self._rows: Sequence[Sequence[pairs.PairRow]] = ((), ())
        if first is None:
            first = int(self._listed[0]) if len(self._listed) else 0
        self.atom = first
        self._build()
        self._count_words()

    # --- building ---------------------------------------------------------------------------------

    def _chips(self) -> dict[str, str]:
        first, (a, b) = self.docs[0], self.summary.names
        return {
            "model": first.model_name,
            "hook point": first.hook_point,
            "atoms": format_count(self.n_atoms),
            a: format_count(self.summary.n_a),
            b: format_count(self.summary.n_b),
        }

    def _build(self) -> None:
        drawn = self._volcano()
        self.finder = CorpusFinder(self)
        self._points = drawn.points
        self.plot = figure_widget(drawn.figure, height=drawn.figure.layout.height)
        for place in range(len(drawn.points)):
            self.plot.data[place].on_click(partial(self._click, place))
        self.table = RowTable(empty_text=EMPTY).add_class("sae-nb-wide")
        self.table.observe(self._choose, "selected")
        self._heading = ipw.HTML()
        self._titles = [ipw.HTML() for _ in self.docs]
        self.views = [examples_view(docs.context) for docs in self.docs]
        for view, docs, name in zip(self.views, self.docs, self.summary.names):
            self._dress(view.component, docs, name)
        sides = [ipw.VBox([title, view.widget]) for title, view in zip(self._titles, self.views)]
        self._pairs = HTML()
        documents = ipw.Box(sides).add_class(COLUMNS)
        self._whole = ipw.VBox([self.plot, self._heading, documents, self.table])
        self.arrange(
            controls=self._first_controls(),
            more=self._more_controls(),
            figure=[self._pairs, self._whole],
        )
        t.link((self, "sorted_by"), (self.table, "sorted_by"))
        self.bind_key("ArrowRight", self.next)
        self.bind_key("ArrowLeft", self.previous)
        self.bind_key("Escape", self.clear_selection)
        self._draw_list()
        self._draw_atom()
        self._fold()

    @reacts("shown", doing="showing other atoms")
    def _fold(self) -> None:
        """Show a few atoms of each side, or all of them with the documents of one."""
        few = self.shown == "few"
        show(self._pairs, few)
        show(self._whole, not few)

    def current_figure(self) -> go.Figure | None:
        """Return the figure of all atoms where that is shown."""
        return None if self.shown == "few" else super().current_figure()

    def static_main(self) -> str:
        """Return what is shown; of a few atoms the list of all, folded below them."""
        if self.shown != "few":
            return super().static_main()
        listed = static_html(self._whole.children[1:])
        n = format_count(len(self._listed))
        summary = f"All {n} atoms that differ"
        return f"{super().static_main()}<details><summary>{summary}</summary>{listed}</details>"

    def _dress(self, component: Component, docs: Documents, name: str) -> None:
        """Say of a component of examples that one strength of each document is known."""
        component.description = f"documents of {name}"
        component.absent = NOT_KEPT
        component.hint = TEXT_HINT
        if hasattr(component, "unit"):
            component.unit = words.UNITS[docs.pool]
        if isinstance(component, PictureGrid):
            component.hint, component.outlined = IMAGE_HINT, True

    def _first_controls(self) -> list[ipw.Widget]:
        tips = {
            "difference": "Shares of documents, one minus the other",
            "relative": "That difference over the larger share, which puts rare atoms first",
        }
        shown = {
            "few": "Five atoms of each corpus",
            "all": "Every atom, and the documents in which one is strongest",
        }
        return [
            control(self, "shown", "", shown, kind=ipw.ToggleButtons, options=SHOWN),
            line(
                control(self, "atom", "atom", "Number of the atom shown", 120),
                small_button("‹", "The atom before, of the list or the matches (←)", self.previous),
                small_button("›", "The next atom, of the list or the matches (→)", self.next),
            ),
            self.finder.widget,
            control(self, "by", "by", tips, kind=ipw.ToggleButtons, tooltip="What is compared"),
        ]

    def _more_controls(self) -> list[ipw.Widget]:
        limit = "List and colour atoms with a q of at most this: the share expected by chance"
        share = "Leave out atoms in a smaller share of both corpora (0 to 1)"
        return [
            control(self, "max_q", "q at most", limit, 130, kind=Entry),
            control(self, "min_share", "share at least", share, 160, kind=Entry),
            control(self, "n_rows", "atoms listed", "How many atoms the list has", 140),
            control(self, "n_examples", "examples", "Documents of each corpus", 130),
            small_button("⤓ csv", "Write every atom as comma-separated text", self._write_csv),
        ]

    def _count_words(self) -> None:
        """Count what the simpler method reads, off the main thread: it takes longer than the atoms."""
        summary = self.summary

        def done(found: CorpusSummary) -> None:
            self.summary = found
            self._draw_list()
            self._draw_figure()
            self._draw_heading()

        what = "counting words" if self._has_words else "testing channels"
        self.run_async(
            lambda: summary.with_simpler(*self.docs), done, doing=what, channel="simpler"
        )

    # --- what is shown ----------------------------------------------------------------------------

    def _list(self) -> np.ndarray:
        return self.summary.listed(self.by, self.max_q, self.min_share)

    def _volcano(self) -> go.FigureWidget:
        summary = self.summary
        return volcano(
            summary.size(self.by),
            summary.table["q"].to_numpy(),
            max_q=self.max_q,
            sides=summary.names,
            x=AXES[self.by],
            shown=summary.shown(self.min_share),
            chosen=self.atom,
            hover=lambda atom: words.hover(summary, atom, self._short_name(atom)),
            names={int(atom): self._short_name(int(atom)) for atom in self._listed[:CANDIDATES]},
        )

    def _short_name(self, atom: int) -> str:
        said = self._known_words(atom)
        return f"{atom} · {said}" if said else f"{atom}"

    def _sure_label(self, atom: int) -> str:
        """Return the label of an atom that fires about as strongly here as where it was named, and not at the
        name of a person or a place, of which a label says little.
        """
        label = self.names.labels.label(atom)
        if not label:
            return ""
        before, word, _ = self.line_of(atom)
        if word[:1].isupper() and (before[-1:].isalnum() or before.endswith(",")):
            return ""
        if self._strongest is None:
            return label
        here = max(
            (abs(one.strength) for docs in self.docs for one in docs.examples(atom, 1)), default=0.0
        )
        return label if here >= pairs.STRONG * self._strongest[atom] else ""

    def _known_words(self, atom: int) -> str:
        """Return the name of an atom, as far as no document must be read for it: there may be thousands."""
        if label := self.names.labels.label(atom):
            return label
        word = self.summary.table.at[atom, "word"]
        return f"at “{word}”" if word else ""

    @reacts("by", "max_q", "min_share", "n_rows", doing="listing atoms")
    def _draw(self) -> None:
        self._draw_list()
        self._draw_figure()

    def draw_names(self) -> None:
        """Rewrite names: a label was changed."""
        self._draw()
        self._draw_heading()

    def _draw_figure(self) -> None:
        drawn = self._volcano()
        self._points = drawn.points
        draw_volcano(self.plot, drawn)

    def _draw_list(self) -> None:
        self._listed = self._list()
        rows = [int(atom) for atom in self._listed[: self.n_rows]]
        summary = self.summary
        n = format_count(len(self._listed))
        self.table.description = (
            f"{format_count(len(rows))} of {n} atoms that differ"
            if len(rows) < len(self._listed)
            else f"{n} atoms that differ"
        )
        self.table.show(
            words.headers(summary, self._has_words),
            [
                words.cells(
                    summary,
                    atom,
                    (self._known_words(atom) if self._has_words else self.names.words(atom)),
                    self._has_words,
                )
                for atom in rows
            ],
            numeric=words.NUMERIC[: len(words.headers(summary, self._has_words))],
            atoms=rows,
        )
        self._mark_row()
        word = self.docs[0].context.sample_word
        self._rows = pairs.pair_rows(summary, self._listed, self._sure_label, self.line_of)
        self._pairs.value = pairs.pairs_html(summary, self._rows, word)
        self.headline = pairs.headline(summary, self._rows)
        self.conclude(
            pairs.answer(summary, self._rows),
            words.numbers(summary, self.max_q, word),
            reasons=words.reasons(summary, self._listed, self.max_q),
        )

    @reacts("atom", doing="showing atom {panel.atom}")
    def _show_its_documents(self) -> None:
        self.shown = "all"

    @reacts("atom", "n_examples", doing="showing atom {panel.atom}")
    def _draw_atom(self) -> None:
        row = self.summary.table.loc[self.atom]
        ring_volcano(self.plot, float(row[self.by]), self._shown_q())
        self._draw_heading()
        self._mark_row()
        examples = [docs.examples(self.atom, self.n_examples) for docs in self.docs]
        top = max((abs(one.strength) for side in examples for one in side), default=1.0)
        for side, (view, found) in enumerate(zip(self.views, examples)):
            name, word = self.summary.names[side], self.docs[side].context.sample_word
            view.show(found, top, missing=f"The atom is in no {word} of {name}.")

    def _shown_q(self) -> float:
        """The q of the atom; NaN where it is not drawn."""
        shown = self.summary.shown(self.min_share)[self.atom]
        return float(self.summary.table.at[self.atom, "q"]) if shown else float("nan")

    def _draw_heading(self) -> None:
        self._heading.value = words.heading(self.summary, self.atom, self.names)
        for side, (title, docs) in enumerate(zip(self._titles, self.docs)):
            title.value = words.side_title(self.summary, self.atom, side, docs)

    def _mark_row(self) -> None:
        atoms = self.table.atoms
        self.table.selected = atoms.index(self.atom) if self.atom in atoms else -1

    @property
    def record(self) -> dict[str, str]:
        """The list as a record, for the table of exported pages."""
        heads = self.table.headers[2:]
        return {
            f"{row[0]} · {row[1]}" if row[1] else row[0]: "; ".join(
                f"{head} {text}" for head, text in zip(heads, row[2:]) if text
            )
            for row in self.table.cells
        }

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question in exports, and which atom is shown."""
        return {"atom": self.names.name(self.atom), **self.chips}

    # --- choosing an atom -------------------------------------------------------------------------

    def _click(self, place: int, _: object, points: Points, __: object) -> None:
        if points.point_inds:
            with self.guarded("choosing an atom"):
                self.atom = int(self._points[place][points.point_inds[0]])

    def _choose(self, change: t.Bunch) -> None:
        if 0 <= change["new"] < len(self.table.atoms):
            self.atom = self.table.atoms[change["new"]]

    def next(self) -> None:
        """Show the next atom of the list, or of those that match the search."""
        self._step(1)

    def previous(self) -> None:
        """Show the atom before, of the list or of those that match the search."""
        self._step(-1)

    def _step(self, by: int) -> None:
        atoms = self.found or tuple(self.table.atoms[i] for i in self.table.order)
        if not atoms:
            self.say(EMPTY)
            return
        # From an atom of neither, the first or the last one.
        at = atoms.index(self.atom) if self.atom in atoms else (-1 if by > 0 else len(atoms))
        self.atom = atoms[min(max(at + by, 0), len(atoms) - 1)]

    @reacts("search", doing="searching")
    def _search(self) -> None:
        self.finder.search(self.search.strip(), self._use_found)

    def _use_found(self, found: FoundAtoms | None) -> None:
        self.found = () if found is None else tuple(found.atoms.tolist())
        if self.found:
            self.atom = self.found[0]
        if self.search.strip():
            self.say_found(self.search.strip(), len(self.found), self.finder.advice)

    def take_found(self, atom: int, found: FoundAtoms) -> None:
        """Show an atom that was found; ‹ and › then step through all of them."""
        self.search = found.query
        self.atom = atom

    def matches(self, query: str) -> FoundAtoms:
        """Return the atom of that number, then those with a label, or a word at their peak, that begins so;
        the largest difference first.
        """
        words = {i: str(word).strip() for i, word in enumerate(self.summary.table["word"])}
        called = (named(query, one, self.n_atoms) for one in (self.names.labels, words))
        found = np.unique([atom for some in called for atom in some]).astype(int)
        size = np.abs(self.summary.size(self.by))
        largest = found[np.argsort(-size[found], kind="stable")].tolist()
        atoms = np.array([*dict.fromkeys([*numbered(query, self.n_atoms), *largest])], int)
        nowhere = np.full(len(atoms), -1)
        return FoundAtoms(
            query=query.strip(), atoms=atoms, strengths=size[atoms], shares=size[atoms], rows=nowhere,
            n_places=0,
        )  # fmt: skip

    def line_of(self, atom: int) -> tuple[str, str, str]:
        """Return a line of the corpus that has more of an atom, where it peaks: before, the word, after."""
        docs = max(self.docs, key=lambda one: one.counts[atom] / len(one))
        for example in docs.examples(atom, 1) if docs.has_texts else ():
            return words_around(example.tokens, example.position - example.first_position)
        return "", "", ""

    def clear_selection(self) -> None:
        """End the search."""
        self.search = ""
        self.finder.clear()
        for view in self.views:
            view.clear()
        self.say("")

    # --- the file of all atoms --------------------------------------------------------------------

    @checked
    def to_csv(self, path: str | Path | None = None) -> str:
        """Return every atom as comma-separated text, tested or not, and write it to `path` if one is given.

        Shares are fractions; what was not measured is empty. Waits for the words.
        """
        self.wait()
        text = words.file_of_atoms(self.summary, self.names)
        if path is not None:
            write_bytes(Path(path), text.encode())
        return text

    def _write_csv(self) -> None:
        self._write_table(self.stem, self.to_csv, f"{format_count(self.n_atoms)} atoms")


def _two(names: Sequence[str]) -> tuple[str, str]:
    given = tuple(map(str, names))
    if len(given) != 2 or len(set(given)) != 2 or not all(name.strip() for name in given):
        raise ValueError(
            f"`names` must be two different names, got {names!r}. Pass what the corpora are called, such "
            'as ("sad", "glad").'
        )
    return given[0], given[1]
