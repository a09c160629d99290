"""The edits of a CircuitPanel in the live model: the chosen atom at another strength, the effect, and
chance.
"""

from __future__ import annotations

import time
from functools import partial

import ipywidgets as ipw

from sae_nb.checks import checked
from sae_nb.figures import format_percent, theme, visible_token
from sae_nb.studies.circuits import CircuitAnswer, FaithfulnessCurve, summarise_flow
from sae_nb_widgets.circuit import _words as words
from sae_nb_widgets.circuit._drawing import CircuitDrawing
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.panel import Number, Whole, control, line, reacts, show, small_button

MOST_STRENGTH = 4.0
N_TESTED = 20
"""Neurons whose absence is measured when a panel opens."""
LIVE_COLOUR = theme.OKABE_ITO[2]
AFTER = "likeliest answers now (solid tick: before; dashed: random)"


class ChangesAtoms(CircuitDrawing):
    """`strength` is that of the chosen atom in the live model; `change` is what it did."""

    strength = Number(
        0.0, 0.0, MOST_STRENGTH, help="What the strength of the chosen atom is multiplied by."
    )
    n_random = Whole(3, 0, 50, help="Random directions of the same size, run with every change.")

    _change: CircuitAnswer | None = None
    _seconds: float = 0.0
    _curve: FaithfulnessCurve | None = None

    @property
    def change(self) -> CircuitAnswer | None:
        """The last change of the chosen node; None before one. Waits for work that is under way."""
        self.wait()
        return self._change

    def _build_answers(self) -> None:
        self.effects = Sparkbars(empty_text="")
        self.outcomes = Sparkbars(description=AFTER, empty_text="")
        self._answers = ipw.Box([self.effects, self.outcomes])
        self._note, self._strength_line = ipw.HTML(), line(*self._strength_controls())

    def _strength_controls(self) -> list[ipw.Widget]:
        tip = "What its strength is multiplied by in the live model: 0 takes it out, 1 leaves it, 2 doubles it"
        slider = control(self, "strength", "strength ×", tip, 380, step=0.05)
        set_to = partial(self.set_trait, "strength")
        return [
            slider,
            small_button("cut", "Take the atom out of the live model", lambda: set_to(0.0)),
            small_button("as it is", "Leave it", lambda: set_to(1.0)),
            small_button("double", "Make it twice as strong", lambda: set_to(2.0)),
        ]

    def _changed(self) -> list[int]:
        """The atoms that the slider changes: the chosen one, or those of the chosen group."""
        place = self._summary.place_of(self.node) if self.node >= 0 else -1
        nodes = self._summary.nodes_at(place) if place >= 0 else ()
        return [node for node in nodes if self.circuit.kinds[node] == "atom"]

    def _cannot(self) -> str:
        """Return the reason why nothing can be changed; empty if it can."""
        if self.live is None:
            return words.SHOWS_ONLY
        if self.live.passes is None or not self.live.passes.measures:
            return words.CANNOT_ASK
        if self.node >= 0 and not self._changed():
            return words.NOT_AN_ATOM
        return ""

    def _show_note(self) -> None:
        why = self._cannot()
        show(self._strength_line, not why and self.node >= 0)
        self._note.value = f'<div class="sae-nb-cardfacts">{why}</div>' if why else ""
        show(self._note, bool(why))

    @reacts("strength", "n_random", "groups", doing="changing an atom")
    def _ask(self) -> None:
        """Run the live model with the chosen atom changed; the newest request wins."""
        live, nodes = self.live, self._changed()
        if live is None or self._cannot() or not nodes:
            self.forget_async("main")
            self._draw_change(None)
            return
        factor, n_random, started = self.strength, self.n_random, time.perf_counter()

        def done(answer: CircuitAnswer) -> None:
            self._seconds = time.perf_counter() - started
            self._draw_change(answer)

        self.run_async(
            lambda: summarise_flow(live, nodes, live.intervene(nodes, factor, n_random=n_random)),
            done,
            doing=f"changing {self._named.short(self.node)}",
            otherwise=lambda: self._draw_change(None),
        )

    def _test_strongest(self) -> None:
        """Of a graph of neurons: what the strongest take away in the live model, once."""
        live = self.live
        if live is None or not live.of_neurons or self._cannot():
            return

        def done(curve: FaithfulnessCurve) -> None:
            self._curve = curve
            self._conclude()

        def tested() -> FaithfulnessCurve:
            return live.faithfulness([n], n_random=3)

        n = min(N_TESTED, int((self.circuit.kinds == "atom").sum()))
        self.run_async(tested, done, doing="testing", channel="curve")

    @checked
    def intervene(self, factor: float | None = None) -> CircuitAnswer:
        """Run the live model with the chosen atom, or group, at so many times its strength; draw the answer.

        Parameters
        ----------
        factor
            0 takes it out, 1 leaves it; None: the trait `strength`.

        Raises
        ------
        ValueError: If there is no live model, nothing is chosen, or the chosen node is not an atom.
        """
        why = self._cannot() or ("" if self.node >= 0 else words.NOTHING_CHOSEN)
        if why:
            raise ValueError(why)
        if factor is not None and factor != self.strength:
            self.strength = factor
        else:
            self._ask()
        self.wait()
        if self._change is None:
            raise RuntimeError(f"There is no answer: {self.status}")
        return self._change

    def _draw_change(self, answer: CircuitAnswer | None) -> None:
        self._change = answer
        show(self._answers, answer is not None)
        self._conclude()
        if answer is None:
            return
        targets, n_random = words.targets_words(self.circuit), len(answer.random)
        luck = f" (random: the largest of {n_random})" if n_random else ""
        self.effects.description = f"change of the score of {targets}{luck}"
        largest = float(max(answer.random, key=abs)) if n_random else float("nan")
        self.effects.show(
            ["live model", "foreseen", "random"],
            [answer.effect, answer.predicted, largest],
            signed=True,
            colours=[LIVE_COLOUR, theme.PREDICTED, theme.CONTROL],
        )
        random = answer.after_random.mean(axis=0) if len(answer.after_random) else None
        self.outcomes.show(
            [visible_token(name) for name in answer.names],
            answer.after.tolist(),
            notes=[format_percent(p, digits=2) for p in answer.after],
            before=answer.before.tolist(),
            control=None if random is None else random.tolist(),
        )
        show(self.outcomes, bool(answer.names))

    def _conclude(self) -> None:
        answer = self._change
        if answer is None:
            super()._conclude()
            return
        circuit, summary = self.circuit, self._summary
        said, spent = words.overview(circuit, summary), words.overview_numbers(circuit, summary)
        name = self._group_of(self.node) or self._named.in_text(self.node)
        done = words.change_words(answer, name, words.targets_words(circuit))
        if not summary.reaches:
            done, said = f"{said} {done}", ""
        if self._curve is not None:
            done = f"{words.curve_words(self._curve, words.targets_words(circuit))} {done}"
        numbers = (words.change_numbers(answer, self._seconds), said, spent)
        self.conclude(done, " ".join(filter(None, numbers)))
