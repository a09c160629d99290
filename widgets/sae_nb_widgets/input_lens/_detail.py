"""The parts next to the bars of an InputLens: the model's answer, one atom, one position."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets as ipw
import traitlets as t

from sae_nb.corpora import Contrast, InputSummary
from sae_nb.evaluation import SpliceCheck
from sae_nb.figures import quoted_token, quoted_tokens, visible_token
from sae_nb.figures.theme import format_percent
from sae_nb.models import Modality
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.components._atom_card import icons_of
from sae_nb_widgets.components._base import HTML, Box, VBox
from sae_nb_widgets.components._find_box import plain
from sae_nb_widgets.input_lens._words import NO_ANSWER, card_html, last_words
from sae_nb_widgets.panel._declaring import show, small_button
from sae_nb_widgets.panel._pages import LIVE_ONLY

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames

MOST_ANSWERS = 5


class InputLensDetail:
    """The cards of the InputLens's detail column."""

    def __init__(
        self,
        ask: Callable[[int], None],
        go: Callable[[int], None],
        check: Callable[[], None],
        *,
        words: bool = False,
    ) -> None:
        self.answers = Sparkbars(description="The model's answer")
        self.card = HTML()
        self.here = Sparkbars()
        self.answers.empty_text = self.here.empty_text = ""  # until something is known
        self.check = small_button(
            "measure by removing it", "Run the model without this atom: its effect, not estimated"
        )
        self.strongest = small_button("strongest here", "Show the strongest atom of this input")
        self.offered = -1
        self.open = small_button("open", "Show this atom in the atom browser")
        self.steer = small_button("steer", "Make this atom stronger in the steering panel")
        buttons = (self.strongest, self.check, self.open, self.steer)
        self.buttons = Box(buttons).add_class("sae-nb-line")
        self.buttons.add_class(LIVE_ONLY).add_class("sae-nb-flush")
        atom = VBox([self.card, self.buttons])
        # Of a text what fires at the word comes first.
        self.widgets: tuple[ipw.Widget, ...] = (self.answers, atom, self.here)
        if words:
            self.widgets = (self.here, self.answers, atom)
        self._ids: list[int] = []
        self._atoms: list[int] = []
        self._filling = False
        self.answers.observe(lambda change: self._chosen(change, self._ids, ask), "selected")
        self.here.observe(lambda change: self._chosen(change, self._atoms, go), "selected")
        self.check.on_click(lambda _: check())
        self.strongest.on_click(lambda _: go(self.offered))
        for widget in (self.open, self.steer):
            show(widget, False)
        self.clear()

    def of_words(self, shown: bool) -> None:
        """Leave out the answers where the words of a text carry its atoms."""
        show(self.answers, not shown and bool(self._ids))

    def clear(self) -> None:
        """Clear all texts about an input."""
        self.answers.empty_text = ""
        self._ids = []
        self.answers.show([], [])
        show(self.answers, False)
        self.card.value = ""
        show(self.buttons, False)
        show(self.here, False)

    def _chosen(self, change: t.Bunch, numbers: list[int], then: Callable[[int], None]) -> None:
        if 0 <= change["new"] < len(numbers) and not self._filling:
            then(numbers[change["new"]])

    def show_answers(self, summary: InputSummary, other: InputSummary | None) -> None:
        """Draw the likeliest answers; those of the second input as ticks."""
        shown = list(summary.answers[:MOST_ANSWERS])
        if summary.target is not None and summary.target not in [i for i, _, _ in shown]:
            shown += [a for a in summary.answers if a[0] == summary.target]
        self._ids = [index for index, _, _ in shown]
        p = [probability for _, _, probability in shown]
        there = {index: probability for index, _, probability in other.answers} if other else {}
        quoted = Modality.of(summary.kind).is_text
        names = [name for _, name, _ in shown]
        names = quoted_tokens(names) if quoted else names
        where = f" after {last_words(summary)}" if quoted and not other else ""
        self.answers.description = f"The model's answer{where}" + (
            " (A; B as a tick)" if other else ""
        )
        before = [there.get(index) for index in self._ids] if other else None
        notes = [format_percent(value, digits=2) for value in p]
        self.answers.show(names, p, notes=notes, before=before, maximum=1.0)
        self.answers.empty_text = NO_ANSWER
        show(self.answers, True)
        if summary.target in self._ids:
            self._filling = True
            self.answers.selected = self._ids.index(summary.target)
            self._filling = False

    def show_atom(
        self,
        summary: InputSummary,
        atom: int,
        check: SpliceCheck | None,
        contrast: Contrast | None,
        names: AtomNames,
        *,
        effect: bool = True,
    ) -> None:
        """Describe the chosen atom in this input, perhaps with its effect on the answer.

        Where it is silent, the strongest one is offered.
        """
        self.card.value = card_html(summary, atom, check, contrast, names, effect=effect)
        silent = summary.place(atom) is None
        strongest = summary.top(1, "strength") if silent else []
        if strongest:
            self.offered = strongest[0]
            self.strongest.description = f"strongest here: {names.name(self.offered)}"
        show(self.check, effect and not silent)
        show(self.strongest, bool(strongest))
        show(self.buttons, True)  # only now: those that are not meant are hidden

    def show_position(
        self,
        summary: InputSummary,
        position: int,
        names: AtomNames,
        n_shown: int,
        word: str = "",
    ) -> None:
        """List the strongest atoms at a position, perhaps a word's; a negative one hides the list."""
        if position < 0:
            show(self.here, False)
            return
        found = summary.at(position, n_shown)
        self._atoms = [atom for atom, _, _ in found]
        name, modality = summary.tokens[position], Modality.of(summary.kind)
        place = (
            f"token {position} {quoted_token(name)}" if modality.is_text else visible_token(name)
        )
        if modality.letters:
            place = modality.token_place(summary.tokens, position)
        self.here.description = f"At “{word}”" if word else f"Strongest atoms at {place}"
        sizes = [abs(strength) for _, strength, _ in found]
        self.here.show(
            [plain(names.short(atom)) for atom in self._atoms],
            sizes,
            atoms=self._atoms,
            icons=icons_of(names, self._atoms) if Modality.of(summary.kind).is_image else (),
        )
        # Only now: nothing is said before it is known.
        unread = position not in summary.read
        self.here.empty_text = "The SAE does not read this position." if unread else "None fires."
        show(self.here, True)
