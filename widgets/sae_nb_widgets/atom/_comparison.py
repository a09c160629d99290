"""AtomComparison: two atoms side by side — strengths, examples, neighbours, and what fires only one of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from sae_nb.atoms import (
    AtomCatalogue,
    AtomNames,
    AtomPair,
    AtomSummary,
    Example,
    Labels,
    compare_atoms,
    row_word,
)
from sae_nb.checks import check_atom, checked
from sae_nb.figures import (
    current_theme,
    escape,
    format_count,
    format_number,
    format_percent,
    template,
    theme,
)
from sae_nb.pretrained import examples_of
from sae_nb.sessions import names_of
from sae_nb_widgets.atom._examples import card_title, examples_view
from sae_nb_widgets.components import Sparkbars, atom_mark, icons_of
from sae_nb_widgets.panel import COLUMNS, Atom, Panel, control, figure_widget, reacts, small_button

if TYPE_CHECKING:
    from sae_nb.activations import Activations

SIDES = ("first", "second")
EXAMPLES = 6


@checked(leave=("acts",))
class AtomComparison(Panel):
    """How do two atoms differ?

    Parameters
    ----------
    sae
        Any sparse autoencoder.
    acts
        Activations of its width, or a plain matrix. None: the examples of a pretrained SAE.
    atom, other
        The two atoms; both are traits.
    labels, catalogue
        As for `AtomBrowser`.

    Example
    -------
    >>> import torch
    >>> from sae_nb.codes import SparseCodes
    >>> class Signs:
    ...     d_in, n_atoms, dictionary = 2, 2, torch.eye(2)
    ...     def encode(self, x, k=None):
    ...         return SparseCodes.from_dense(x.relu())
    >>> both = AtomComparison(Signs(), torch.tensor([[1.0, -1.0], [2.0, 3.0]]), atom=0, other=1)
    >>> both.pair.n_both, both.pair.cosine
    (1, 0.0)
    >>> both.close()
    """

    question = "How do two atoms differ?"
    explanation = (
        "Two atoms of one SAE: how strongly each fires, its strongest examples, its nearest atoms, and "
        "the inputs that fire one and not the other. The cosine compares their directions, the lift how "
        "often they fire together with how often they would by chance.",
        "Inputs that fire only one say where the atoms differ on this example set; they do not say what "
        "the model does with either. Steer with each to see that.",
        "Ours; lift as in market-basket analysis (Brin et al. 1997).",
    )
    stem = "two_atoms"
    kept_traits = ("atom", "other")
    needs_kernel = (
        "Other atoms need a running kernel; the figure, examples and numbers are all here."
    )

    atom = Atom(help="The first atom.")
    other = Atom(help="The second atom.")

    def __init__(
        self,
        sae: Any,
        acts: Activations | Float[Tensor, "n d_in"] | None = None,
        *,
        atom: int = 0,
        other: int = 1,
        labels: Labels | Mapping[int, str] | str | Path | None = None,
        catalogue: AtomCatalogue | None = None,
    ) -> None:
        if catalogue is None:
            made = AtomCatalogue(sae, acts) if acts is not None else examples_of(sae).catalogue(sae)
            catalogue = made
        self.catalogue, self.n_atoms = catalogue, catalogue.n_atoms
        first, second = (check_atom(one, self.n_atoms) for one in (atom, other))
        super().__init__(chips={"SAE": type(catalogue.sae).__name__})
        self.names = names_of(catalogue.sae, catalogue, labels)
        self._pair: AtomPair | None = None
        self._sides = [Side(self, catalogue) for _ in SIDES]
        self.plot = figure_widget(_figure(row_word(catalogue)))
        self.atom, self.other = first, second
        sides = ipw.Box([side.widget for side in self._sides]).add_class(COLUMNS)
        self.arrange(
            controls=[
                control(self, "atom", "first atom", "Number of the atom on the left", 160),
                control(self, "other", "second atom", "Number of the atom on the right", 180),
                small_button("⇄", "Swap the two", self.swap),
            ],
            figure=[self.plot, sides],
        )
        with self.guarded("comparing"):
            self._draw()

    @property
    def pair(self) -> AtomPair:
        """The record shown.

        Raises
        ------
        RuntimeError: If there is none because encoding failed.
        """
        if self._pair is None:
            raise RuntimeError(f"There is no comparison: {self.status}")
        return self._pair

    @property
    def record(self) -> dict[str, Any] | None:
        """The numbers behind the figure, for the table of exported pages."""
        return None if self._pair is None else _table(self._pair, self.names)

    def export_name(self) -> str:
        """Return the file name of exports: both atoms."""
        return f"{self.stem}_{self.atom}_{self.other}"

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question in exports: which atoms these are."""
        names = {"first": self.names.name(self.atom), "second": self.names.name(self.other)}
        return {**names, **self.chips}

    def swap(self) -> None:
        """Put the second atom on the left."""
        with self.hold_trait_notifications():
            self.atom, self.other = self.other, self.atom

    @reacts("atom", "other", doing="comparing atoms {panel.atom} and {panel.other}")
    def _draw(self) -> None:
        shown = self._pair
        if shown and (shown.first.atom, shown.second.atom) == (self.atom, self.other):
            return
        self._pair = compare_atoms(self.catalogue, self.atom, self.other, n_examples=EXAMPLES)
        self._show(self._pair)

    def draw_names(self) -> None:
        """Write both sides again with the names they have now."""
        if self._pair is not None:
            self._show(self._pair)

    def _show(self, pair: AtomPair) -> None:
        self.conclude(_answer(pair, self.names), _numbers(pair))
        _update(self.plot, pair)
        left, right = self._sides
        left.show(pair.first, pair.second.atom, pair.only_first, pair.n_only_first)
        right.show(pair.second, pair.first.atom, pair.only_second, pair.n_only_second)


class Side:
    """One of the two atoms: its name, strongest examples, what fires it alone, its neighbours."""

    def __init__(self, panel: Panel, catalogue: AtomCatalogue) -> None:
        self._panel, self._word = panel, catalogue.acts.context.sample_word
        self.title = ipw.HTML()
        self.examples, self.alone = (examples_view(catalogue.acts.context) for _ in range(2))
        self.alone_title = ipw.HTML()
        self.near = Sparkbars(description="nearest atoms (cosine)")
        parts = [self.title, self.examples.widget, self.alone_title, self.alone.widget, self.near]
        self.widget = ipw.VBox(parts)

    def show(self, record: AtomSummary, other: int, alone: tuple[Example, ...], n: int) -> None:
        """Draw one atom, and the examples that fire it and not the other one."""
        names, top = self._panel.names, record.max_strength
        name = atom_mark(record.atom, names.name(record.atom))
        fires = escape(names.fires(record.atom))
        self.title.value = card_title(f"{name}: fires on {fires}")
        self.examples.show(record.examples, top, record.missing)
        words = f"{format_count(n)} {self._word}{'s' * (n != 1)}"
        without = atom_mark(other, names.name(other))
        self.alone_title.value = card_title(f"{words} fire it and not {without}")
        self.alone.show(alone, top, f"Every {self._word} that fires it fires the other one too.")
        atoms = record.nearest_atoms.tolist()
        cosines = record.nearest_cosines.tolist()
        self.near.show(
            [names.name(atom) for atom in atoms], cosines, maximum=1.0, atoms=atoms,
            icons=icons_of(names, atoms), notes=[format_number(cosine) for cosine in cosines],
            signed=any(cosine < 0 for cosine in cosines),
        )  # fmt: skip


def _answer(pair: AtomPair, names: AtomNames) -> str:
    first, second = names.in_text(pair.first.atom), names.in_text(pair.second.atom)
    both = f"{first[0].upper()}{first[1:]} and {second}"
    if not pair.n_by_chance:
        return f"{both} cannot be compared by their firing: one of them never fires here."
    if not pair.n_both:
        return f"{both} never fire together on the example set."
    shares = " and ".join(
        format_percent(pair.n_both / record.n_fired, of=f"the {side}’s firings")
        for side, record in zip(SIDES, (pair.first, pair.second))
    )
    usual = f"{format_number(pair.lift, digits=2)}× as often as by chance"
    return f"{both} fire together {usual}: on {shares}."


def _numbers(pair: AtomPair) -> str:
    return (
        f"cosine {format_number(pair.cosine)} · both fire on {format_count(pair.n_both)} rows, "
        f"{format_number(pair.n_by_chance)} expected by chance"
    )


def _figure(rows: str) -> go.Figure:
    bars = {"color": theme.NEUTRAL, "line": {"width": 0}}
    figure = go.Figure([go.Bar(marker=bars), go.Bar(marker=bars, xaxis="x2", yaxis="y2")])
    across = {"fixedrange": True, "title": {"text": "strength z"}}
    along = {"type": "log", "fixedrange": True, "dtick": 1}
    figure.update_layout(
        template=template(),
        height=round(0.8 * current_theme().figure_height_px),
        showlegend=False,
        xaxis={**across, "domain": [0, 0.46]},
        xaxis2={**across, "domain": [0.54, 1], "anchor": "y2"},
        yaxis={**along, "title": {"text": f"{rows} (log)"}},
        yaxis2={**along, "anchor": "x2"},
    )
    return figure


def _update(figure: go.Figure, pair: AtomPair) -> None:
    """Draw both histograms on axes of one length, so that bars can be compared."""
    records = (pair.first, pair.second)
    with figure.batch_update():
        for bars, record in zip(figure.data, records):
            counts, edges = record.histogram.counts, record.histogram.edges
            bars.x = ((edges[1:] + edges[:-1]) / 2).astype(np.float32)
            bars.width = (0.92 * np.diff(edges)).astype(np.float32)
            bars.y = counts.astype(np.float32)
            bars.hovertext = [
                f"{format_count(n)} with strength from {format_number(a)} to {format_number(b)}"
                for n, a, b in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist())
            ]
            bars.hoverinfo = "text"
        low = min(float(record.histogram.edges[0]) for record in records)
        high = max(float(record.histogram.edges[-1]) for record in records)
        top = max(float(record.histogram.counts.max(initial=1)) for record in records)
        for number in ("", "2"):
            figure.layout[f"xaxis{number}"].range = [low, 1.03 * high]
            figure.layout[f"yaxis{number}"].range = [np.log10(0.6), np.log10(2 * max(top, 1))]


def _table(pair: AtomPair, names: AtomNames) -> dict[str, Any]:
    return {
        "first": names.name(pair.first.atom),
        "second": names.name(pair.second.atom),
        "cosine": pair.cosine,
        "rows_in_which_both_fire": pair.n_both,
        "expected_by_chance": pair.n_by_chance,
        "fire_only_the_first": "; ".join(example.place for example in pair.only_first),
        "fire_only_the_second": "; ".join(example.place for example in pair.only_second),
    }
