"""What stands beside the bars of an InputLens: the model's answer, one atom, one position."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as ipw
import traitlets as t

from sae_nb.evaluation import SpliceCheck
from sae_nb.figures import escape, format_count, format_number, format_percent, visible_token
from sae_nb.summaries import Contrast, InputSummary
from sae_nb_widgets.components import Sparkbars
from sae_nb_widgets.input_lens._figure import signed_number
from sae_nb_widgets.panel import LIVE_ONLY, show, small_button

MOST_ANSWERS = 5
MOST_HERE = 6


class InputLensDetail:
    """The cards of the InputLens's detail column."""

    def __init__(
        self,
        ask: Callable[[int], None],
        go: Callable[[int], None],
        check: Callable[[], None],
    ) -> None:
        self.answers = Sparkbars(description="the model's answer")
        self.answers.empty_text = "The model gives a state, not a choice."
        self.card = ipw.HTML()
        self.here = Sparkbars(description="strongest atoms there")
        self.here.empty_text = "No atom fires there."
        self.check = small_button(
            "splice check", "Run the model without this atom: the exact effect"
        )
        self.open = small_button("open", "Show this atom in the atom browser")
        self.steer = small_button("steer", "Make this atom stronger in the steering panel")
        self.buttons = ipw.Box((self.check, self.open, self.steer)).add_class("sae-nb-line")
        self.buttons.add_class(LIVE_ONLY)
        self.widgets: tuple[ipw.Widget, ...] = (self.answers, self.card, self.buttons, self.here)
        self._ids: list[int] = []
        self._atoms: list[int] = []
        self._filling = False
        self.answers.observe(lambda change: self._chosen(change, self._ids, ask), "selected")
        self.here.observe(lambda change: self._chosen(change, self._atoms, go), "selected")
        self.check.on_click(lambda _: check())
        for widget in (self.open, self.steer, self.here):
            show(widget, False)

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
        quoted = summary.kind == "language"
        names = [f"“{visible_token(name)}”" if quoted else name for _, name, _ in shown]
        self.answers.description = "the model's answer" + (" (A; B as a tick)" if other else "")
        before = [there.get(index) for index in self._ids] if other else None
        notes = [format_number(value) for value in p]
        self.answers.show(names, p, notes=notes, before=before, maximum=1.0)
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
    ) -> None:
        """Describe the chosen atom in this input."""
        self.card.value = atom_html(summary, atom, check, contrast)

    def show_position(self, summary: InputSummary, position: int) -> None:
        """List the strongest atoms at a position; a negative one hides the list."""
        show(self.here, position >= 0)
        if position < 0:
            return
        found = summary.at(position, MOST_HERE)
        self._atoms = [atom for atom, _, _ in found]
        name = visible_token(summary.tokens[position])
        place = f"token {position} “{name}”" if summary.kind == "language" else name
        self.here.description = f"strongest atoms at {place}"
        unread = position not in summary.read
        self.here.empty_text = "The SAE does not read this position." if unread else "None fires."
        sizes = [abs(strength) for _, strength, _ in found]
        self.here.show([summary.name_of(atom) for atom in self._atoms], sizes)


def atom_html(
    summary: InputSummary, atom: int, check: SpliceCheck | None, contrast: Contrast | None
) -> str:
    """Return what is known of an atom in this input, as escaped HTML."""
    place = summary.place(atom)
    title = f'<div class="sae-nb-cardtitle">atom {escape(summary.name_of(atom))}</div>'
    if place is None:
        where = "this input" if contrast is None else "A"
        body = f"<p>does not fire in {where}.{_usual(summary, None, atom)}</p>"
    else:
        used = summary.used
        n, rows = int(used.n_fired[place]), len(summary.read)
        body = (
            f"<p>Fires at <b>{n}</b> of {format_count(rows)} positions"
            f"{_usual(summary, place, atom)}; strongest {format_number(float(used.strength[place]))}."
            f"</p><p>Contributes <b>{signed_number(float(used.attribution[place]))}</b> to the "
            f"{escape(summary.measure)}, first order; random directions stay within "
            f"±{format_number(float(used.control[place]))}.</p>"
        )
    return (
        f'<div class="sae-nb-card">{title}{body}{_check_html(check)}{_floor(contrast, atom)}</div>'
    )


def _usual(summary: InputSummary, place: int | None, atom: int) -> str:
    if summary.base is None:
        return ""
    often = format_percent(float(summary.base.frequency[atom]), of="rows")
    if place is None or summary.used.lift is None:
        return f" Elsewhere it fires on {escape(often)}."
    lift = format_number(float(summary.used.lift[place]))
    return f", <b>{lift}×</b> its base rate ({escape(often)})"


def _check_html(check: SpliceCheck | None) -> str:
    if check is None:
        return ""
    text = (
        f"Removing it takes <b>{signed_number(check.exact)}</b>, exactly (first order "
        f"{signed_number(check.first_order)}; random directions within "
        f"±{format_number(check.control)})"
    )
    if check.probability is not None:
        before, after = (format_number(p) for p in check.probability)
        text += f". Probability {before} → {after}"
    if check.kl is not None:
        text += f", KL {format_number(check.kl)} nats"
    return f"<p>{text}.</p>"


def _floor(contrast: Contrast | None, atom: int) -> str:
    if contrast is None:
        return ""
    found = contrast.strength
    value, floor = float(found.value[atom]), float(found.floor[atom])
    word = "beyond" if abs(value) > floor else "within"
    return (
        f"<p>A − B in mean strength: <b>{signed_number(value)}</b>, {word} the floor of "
        f"±{format_number(floor)} (p = {format_number(float(found.p_adjusted[atom]))}, corrected).</p>"
    )
