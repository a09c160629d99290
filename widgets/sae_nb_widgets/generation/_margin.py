"""The margin of a GenerationLens: what fires at a token, what the atom makes the model say, other atoms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sae_nb.atoms import AtomEffects, measure_atom
from sae_nb_widgets.atom._detail import by_chance
from sae_nb_widgets.components import Chips, ThinBars
from sae_nb_widgets.panel._declaring import show

if TYPE_CHECKING:
    import traitlets as t

    from sae_nb.atoms import AtomNames
    from sae_nb.models import LiveModel
    from sae_nb_widgets.panel._atoms import HasAtoms

CHANNEL = "about"
N_WORDS, N_TEXTS, N_OTHERS = 8, 3, 6
"""Words that are measured, texts they are measured on and as many held out, other atoms."""

SAYS = "Words it raises most in texts where it fires"
Found = tuple[AtomEffects | None, Sequence[tuple[int, str]]]


class Margin:
    """The blocks next to the text of `panel`, and `says` under it; what takes long is measured once.

    `shown` returns the atom shown.
    """

    def __init__(self, panel: HasAtoms, model: LiveModel, shown: Callable[[], int]) -> None:
        self._panel, self._model, self._shown = panel, model, shown
        self.here = ThinBars(description="Firing", empty_text="", bare=True)
        self.says = Chips(description=SAYS, empty_text="")
        self.others = Chips(description="Try", empty_text="", clickable=True)
        self.widgets = [self.here, self.others]
        self._measured: dict[int, AtomEffects | None] = {}
        self._names: Sequence[tuple[int, str]] | None = None
        self.others.observe(self._try, "selected")
        for block in (*self.widgets, self.says):
            show(block, False)

    def _try(self, change: t.Bunch) -> None:
        if change["new"] >= 0:
            self._panel.set_trait("atom", self.others.atoms[change["new"]])

    def ask(self) -> None:
        """Measure what the atom makes the model say, and find atoms with names, unless that is known."""
        atom, names = self._shown(), self._panel.names
        if atom in self._measured and self._names is not None:
            self.draw()
            return

        def work() -> Found:
            found = self._names if self._names is not None else named_atoms(names)
            return self._effects(atom) if atom not in self._measured else None, found

        def done(answer: Found) -> None:
            effects, self._names = answer
            self._measured.setdefault(atom, effects)
            self.draw()

        self._panel.run_async(work, done, channel=CHANNEL)

    def draw(self) -> None:
        """Draw what is known of the atom that is shown."""
        atom = self._shown()
        effects = self._measured.get(atom)
        show(self.says, effects is not None and bool(effects.up))
        if effects is not None:
            self._draw_words(effects)
        others = [(one, name) for one, name in self._names or () if one != atom][:N_OTHERS]
        show(self.others, bool(others))
        self.others.show([name for _, name in others], atoms=[one for one, _ in others])

    def _draw_words(self, effects: AtomEffects) -> None:
        n, held = len(effects.up), effects.confirmed
        states = ["confirmed" if one else "unconfirmed" for one in held] or "unconfirmed"
        score = f"{sum(held)} of {n} confirmed on other texts" if held else effects.by
        self.says.show(
            [word for word, _ in effects.up], states, score=score, control=by_chance(effects)
        )

    def _effects(self, atom: int) -> AtomEffects | None:
        """Measure an atom on its strongest texts; None where there are none."""
        catalogue = self._panel.names.catalogue
        if catalogue is None or not catalogue.encoded:
            return None
        try:
            return measure_atom(catalogue, atom, self._model, n_examples=N_TEXTS, n=N_WORDS)
        except (ValueError, TypeError):  # it fires on no text that is kept
            return None


def named_atoms(names: AtomNames) -> list[tuple[int, str]]:
    """Return atoms whose names hold, the surest first, each name once."""
    found: dict[str, int] = {}
    for atom in names.surest():
        found.setdefault(names.words(atom), atom)
        if len(found) > N_OTHERS:
            break
    return [(atom, name) for name, atom in found.items()]
