"""AtomComparison: two atoms side by side — strengths, examples, neighbours, and what fires only one of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
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
)
from sae_nb.checks import check_atom, checked
from sae_nb.figures.theme import escape, format_count, format_number, format_percent
from sae_nb.pretrained import needed_examples
from sae_nb.sessions import names_of
from sae_nb_widgets.components import Histogram, ThinBars
from sae_nb_widgets.components._atom_card import icons_of
from sae_nb_widgets.components._base import HTML, Box, VBox, atom_mark
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Atom, control, reacts, small_button
from sae_nb_widgets.panel._examples import card_title, examples_view
from sae_nb_widgets.panel._pages import COLUMNS

if TYPE_CHECKING:
    from sae_nb.activations import Activations

SIDES = ("first", "second")
EXAMPLES = 6
N_BINS = 40


@checked(leave=("acts",))
class AtomComparison(HasAtoms):
    """How do two atoms differ?

    Parameters
    ----------
    sae
        Any sparse autoencoder.
    acts
        Activations of its width, or a plain matrix. None: the examples of a pretrained SAE.
    atom, other
        The two atoms; both are traits. None: the atom whose name is surest, and of the atoms close to the first
        the closest with a name.
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
        "Two atoms of one SAE: the inputs that fire one and not the other, the strongest examples of each, its "
        "nearest atoms, and how strongly it fires. The cosine compares their directions, the lift how "
        "often they fire together with how often they would by chance.",
        "Inputs that fire only one say where the atoms differ on this example set; they do not say what "
        "the model does with either. Steer with each to see that.",
        "Ours; lift as in market-basket analysis (Brin et al. 1997).",
    )
    stem = "two_atoms"
    kept_traits = ("atom", "other")
    needs_kernel = "Other atoms need a running kernel; the examples and numbers are all here."

    atom = Atom(help="The first atom.")
    other = Atom(help="The second atom.")

    def __init__(
        self,
        sae: Any,
        acts: Activations | Float[Tensor, "n d_in"] | None = None,
        *,
        atom: int | None = None,
        other: int | None = None,
        labels: Labels | Mapping[int, str] | str | Path | None = None,
        catalogue: AtomCatalogue | None = None,
    ) -> None:
        if catalogue is None:
            made = (
                AtomCatalogue(sae, acts)
                if acts is not None
                else needed_examples(sae).catalogue(sae)
            )
            catalogue = made
        self.catalogue, self.n_atoms = catalogue, catalogue.n_atoms
        for given in (atom, other):
            if given is not None:
                check_atom(given, self.n_atoms)
        acts = catalogue.acts
        facts = {"model": acts.model_name, "hook point": acts.hook_point}
        facts |= {"SAE": type(catalogue.sae).__name__}
        super().__init__(chips={name: str(text) for name, text in facts.items() if text})
        self.names = names_of(catalogue.sae, catalogue, labels)
        self._pair: AtomPair | None = None
        self._sides = [Side(self, catalogue) for _ in SIDES]
        self.atom = _surest(self.names, other) if atom is None else atom
        self.other = _closest(catalogue, self.names, self.atom) if other is None else other
        sides = Box([side.widget for side in self._sides]).add_class(COLUMNS)
        self.arrange(
            controls=[
                control(self, "atom", "first atom", "Number of the atom on the left", 160),
                control(self, "other", "second atom", "Number of the atom on the right", 180),
                small_button("⇄", "Swap the two", self.swap),
            ],
            figure=[sides],
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
        word = self.catalogue.acts.context.sample_word
        self.conclude(_answer(pair, self.names, word), _numbers(pair))
        left, right = self._sides
        # One axis for both, so that bars can be compared.
        edges = np.concatenate([one.histogram.edges for one in (pair.first, pair.second)])
        across = (float(edges.min()), float(edges.max()))
        left.show(pair.first, pair.second.atom, pair.only_first, pair.n_only_first, across)
        right.show(pair.second, pair.first.atom, pair.only_second, pair.n_only_second, across)


class Side:
    """One of the two atoms: what fires it alone, its strongest examples, its neighbours, its strengths."""

    def __init__(self, panel: Panel, catalogue: AtomCatalogue) -> None:
        self._panel, self._word = panel, catalogue.acts.context.sample_word
        self._strengths = catalogue.strengths
        self.title = HTML()
        self.examples, self.alone = (examples_view(catalogue.acts.context) for _ in range(2))
        self.alone_title, self.examples_title = HTML(), HTML()
        self.near = ThinBars(description="Close to it")
        self.bars = Histogram(description="How strongly it fires", brush=False)
        self.widget = VBox(
            [
                self.title, self.alone_title, self.alone.widget, self.near, self.bars,
                self.examples_title, self.examples.widget,
            ]
        ).add_class("sae-nb-blocks")  # fmt: skip

    def show(
        self,
        record: AtomSummary,
        other: int,
        alone: tuple[Example, ...],
        n: int,
        across: tuple[float, float],
    ) -> None:
        """Draw one atom, and the examples that fire it and not the other one; strengths lie `across`."""
        names, top = self._panel.names, record.max_strength
        name = atom_mark(record.atom, names.name(record.atom))
        fires = escape(names.fires(record.atom))
        self.title.value = card_title(f"{name}: fires on {fires}")
        self.examples_title.value = card_title(
            f"Its strongest {self._word}s, with or without the other"
        )
        self.examples.show(record.examples, top, record.missing)
        words = f"{format_count(n)} {self._word}{'s' * (n != 1)}"
        without = atom_mark(other, names.name(other))
        self.alone_title.value = card_title(f"{words} fire it and not {without}")
        self.alone.show(alone, top, f"Every {self._word} that fires it fires the other one too.")
        atoms = record.nearest_atoms.tolist()
        cosines = record.nearest_cosines.tolist()
        self.near.show(
            [names.short(atom) for atom in atoms], cosines, maximum=1.0, atoms=atoms,
            icons=icons_of(names, atoms),
            notes=[format_number(cosine, digits=2) for cosine in cosines],
        )  # fmt: skip
        counts, edges = np.histogram(self._strengths(record.atom)[1], bins=N_BINS, range=across)
        self.bars.show(counts, ends=[format_number(edge, digits=2) for edge in edges.tolist()])


def _surest(names: AtomNames, other: int | None) -> int:
    """Return the atom to compare first: one whose name holds; else atom 0, or 1 if that is the other one."""
    held = (atom for atom in names.surest() if atom != other)
    return next(held, int(other == 0))


def _closest(catalogue: AtomCatalogue, names: AtomNames, atom: int) -> int:
    """Return the atom to compare it with: of those close to it the closest with a name, else the closest."""
    near = catalogue.nearest(atom, EXAMPLES)[0].tolist()
    named = (one for one in near if names.source(one))
    return next(named, near[0] if near else int(atom == 0))


def _answer(pair: AtomPair, names: AtomNames, word: str) -> str:
    first, second = names.in_text(pair.first.atom), names.in_text(pair.second.atom)
    both = f"{first[0].upper()}{first[1:]} and {second}"
    if not pair.n_by_chance:
        return f"{both} cannot be compared by their firing: one of them never fires here."
    if not pair.n_shared:
        return f"{both} never fire in the same {word}: below is what fires each."
    either = pair.n_shared + pair.n_only_first + pair.n_only_second
    share = format_percent(pair.n_shared / either, digits=2)
    said = f"{both} share {share} of the {word}s in which they fire"
    known = [names.made(one.atom) for one in (pair.first, pair.second)]
    seen = [made.seen[0] for made in known if made is not None and made.seen]
    if len(set(seen)) == len(SIDES):
        return f"{said}: the first fires on {seen[0]}, the second on {seen[1]}."
    return f"{said}; below is what fires only one."


def _numbers(pair: AtomPair) -> str:
    shares = [
        format_percent(pair.n_both / record.n_fired, of=f"the {side}’s firings")
        for side, record in zip(SIDES, (pair.first, pair.second))
        if record.n_fired
    ]
    both = f"both fire on {format_count(pair.n_both)} rows ({', '.join(shares)})"
    chance = f"{format_number(pair.n_by_chance)} expected by chance"
    if pair.n_by_chance:
        chance += f" ({format_number(pair.lift, digits=2)}× that)"
    return f"cosine {format_number(pair.cosine)} · {both}, {chance}"


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
