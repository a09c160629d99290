"""The column next to the bars of a steering: images, tokens, changes downstream, continuations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.figures import current_theme as theme
from sae_nb.figures.theme import escape, format_number
from sae_nb.generation import Continuation
from sae_nb.steering import SteeringSummary
from sae_nb.steering.modes import Mode
from sae_nb_widgets.components import Branches, TokenStrip
from sae_nb_widgets.components._base import HTML, atom_mark, layout_of
from sae_nb_widgets.components._branches import TINT_NOTE, Way, pushed_note
from sae_nb_widgets.components._picture_grid import StillGrid
from sae_nb_widgets.panel._declaring import TIGHT, button, line, show
from sae_nb_widgets.panel._heading import place_words
from sae_nb_widgets.steering._scale import StrengthScale
from sae_nb_widgets.steering._words import WORDS, plain_number, whole_words

if TYPE_CHECKING:
    from sae_nb.atoms import AtomNames
    from sae_nb.models import LiveModel

# -------------------------------------------------------------------------------------------------
# Atoms that are changed together with the one in question: a row each, with its own slider.


Others = Sequence[tuple[int, float]]


class SteeringMix(ipw.Box):
    """One row per combined atom: its strength, its unit, and a button that takes it away."""

    def __init__(self, changed: Callable[[tuple[tuple[int, float], ...]], None]) -> None:
        super().__init__(layout=ipw.Layout(flex_flow="row wrap", width="100%", display="none"))
        self._changed = changed
        self._kept = HTML()
        self._sliders: dict[int, ipw.FloatSlider] = {}
        self._rows: list[ipw.Box] = []
        self.children = (self._kept,)

    def show(
        self, others: Others, kept: str, scale: StrengthScale, mode: Mode, names: AtomNames
    ) -> None:
        """Draw the combined atoms, and what was `kept` until another atom is chosen."""
        if [atom for atom, _ in others] != list(self._sliders):
            for part in [part for row in self._rows for part in (*row.children, row)]:
                part.close()
            self._sliders = {}
            self._rows = [self._row(atom, scale, mode) for atom, _ in others]
            self.children = (*self._rows, self._kept)
        self._kept.value = escape(kept)
        show(self, bool(others or kept))
        for row, (atom, strength) in zip(self._rows, others, strict=True):
            follow(self._sliders[atom], strength)
            _, name, unit, _ = row.children
            name.value = atom_mark(atom, names.words(atom))
            # A browser shows a slider on its steps; this is what is in force.
            unit.value = escape(f"{plain_number(strength)} {scale.words(atom, mode)}")

    def _row(self, atom: int, scale: StrengthScale, mode: Mode) -> ipw.Box:
        slider = strength_slider(
            f"+ atom {atom}",
            f"How strongly atom {atom} is changed too; the model runs while you move it",
            "300px",
        )
        fit_slider(slider, 0.0, *scale.limits(atom, mode))
        slider.observe(self._moved, "value")
        self._sliders[atom] = slider
        away = button(
            f"without {atom}",
            f"Change atom {atom} no longer",
            lambda: self._take_away(atom),
        )
        slider.readout = False
        return line(slider, HTML(), HTML(), away)

    def values(self) -> tuple[tuple[int, float], ...]:
        """Return every combined atom with the strength its slider shows."""
        return tuple((atom, float(slider.value)) for atom, slider in self._sliders.items())

    def _moved(self, _: t.Bunch) -> None:
        self._changed(self.values())

    def _take_away(self, atom: int) -> None:
        self._changed(tuple(pair for pair in self.values() if pair[0] != atom))


def strength_slider(name: str, tip: str, width: str) -> ipw.FloatSlider:
    """Return a slider of strengths; `fit_slider` gives it its range."""
    return ipw.FloatSlider(
        description=name,
        tooltip=tip,
        readout_format=".2f",
        layout=layout_of(width=width),
        style=TIGHT,
    )


def fit_slider(slider: ipw.FloatSlider, value: float, low: float, high: float) -> None:
    """Give a slider a range that holds `value`, then the value."""
    low, high = min(low, value), max(high, value)
    with slider.hold_trait_notifications():
        # Widen first: a range that leaves the old value out would clip it.
        slider.min, slider.max = min(low, slider.value), max(high, slider.value)
        slider.value = value
        slider.min, slider.max = low, high
        slider.step = (high - low) / 200


def follow(slider: ipw.FloatSlider, strength: float) -> None:
    """Have a slider show a strength that was set elsewhere, beyond its ends if need be."""
    if slider.value != strength:
        fit_slider(slider, strength, slider.min, slider.max)


# -------------------------------------------------------------------------------------------------
# Next to the bars of a steering: pictures, tokens, changes downstream, continuations.


THUMBNAIL_SHARE = 0.76  # of the theme's thumbnail: three stand side by side in the column
CHANGE = "of the state's length"
ASKED_ABOVE = "sae-nb-askedabove"
"""Of texts whose beginning is in a field above them: it is not drawn a second time."""

IDENTICAL = 1e-3
"""Relative difference below which the changes under atom and random push are one and the same."""


class SteeringDetail:
    """The cards of a SteeringPanel: those that the inputs of its model need, since each brings its script."""

    def __init__(self, model: LiveModel) -> None:
        self._is_text, self._prefix = model.modality.is_text, model.prefix_tokens
        self.continuation: Continuation | None = None
        self.changes = HTML(layout=layout_of(width="100%"))
        pictures = (self.grid,) if model.placeholders or not self._is_text else ()
        self.moved = HTML()
        self.cards = (*pictures, *((self.strip,) if self._is_text else ()))
        self.main = (self.texts,) if model.causal else ()
        for widget in (self.moved, *self.cards, *self.main, self.changes):
            show(widget, False)

    @cached_property
    def grid(self) -> StillGrid:
        """The image, and what changes on it."""
        return StillGrid(
            description="change of each patch downstream",
            unit=CHANGE,
            hint="Click a patch to steer only there.",
            empty_text="",  # until the first answer is known
        )

    @cached_property
    def strip(self) -> TokenStrip:
        """The text, and what changes in it."""
        return TokenStrip(
            description="change of each token downstream",
            unit=CHANGE,
            hint="Click a token to steer only there.",
            empty_text="",
        )

    @cached_property
    def texts(self) -> Branches:
        """The continuations of a text; the field above them has the text itself."""
        return Branches(description="how the text goes on").add_class(ASKED_ABOVE)

    def on_pick(self, pick: Callable[[int], None]) -> None:
        """Call `pick` with the position of a patch or token that is clicked."""

        def on_patch(change: t.Bunch) -> None:
            if change["new"][1] >= 0:
                pick(self._prefix + change["new"][1])

        def on_token(change: t.Bunch) -> None:
            if change["new"][1] >= 0:
                pick(change["new"][1])

        for card in self.cards:
            card.observe(on_token if isinstance(card, TokenStrip) else on_patch, "selected")

    def show(self, summary: SteeringSummary | None, name: str = "") -> None:
        """Draw another answer's pictures, tokens and changes under the name of its atoms, or none."""
        distinct = summary is not None and tells_them_apart(summary)
        for card in self.cards:
            is_there = isinstance(card, TokenStrip) or (summary and summary.picture is not None)
            show(card, summary is not None and bool(is_there))
        for widget in (self.moved, self.changes):
            show(widget, distinct)
        if summary is None:
            self.continuation = None
            for one in self.main:
                show(one, False)
            return
        if summary.picture is not None:
            self._show_picture(summary, name, distinct)
        if self._is_text:
            self._show_text(summary, name, distinct)
        if distinct:
            self.moved.value = moved_html(summary.read_at or summary.recipe.hook_point)
            title = f"change of states, as a share of their length, at {summary.read_at}"
            self.changes.value = change_html(title, change_rows(summary))

    def _show_text(self, summary: SteeringSummary, name: str, distinct: bool) -> None:
        ours, control = summary.state_change, summary.state_change_random
        if not distinct or ours is None or control is None:
            self.strip.show([summary.tokens], captions=["the text"])
            return
        self.strip.show(
            [summary.tokens, summary.tokens],
            [ours, control],
            captions=[name, "random push"],
            strengths=[float(ours.mean()), float(control.mean())],
        )

    def _show_picture(self, summary: SteeringSummary, name: str, distinct: bool) -> None:
        ours, control = summary.patch_change(), summary.patch_change(random=True)
        if summary.picture is None:
            return
        if not distinct or ours is None or control is None:
            self.grid.show(summary.picture[None], captions=[f"input {summary.recipe.sample}"])
        else:
            self.grid.show(
                np.stack([summary.picture] * 3),
                heat=np.stack([np.zeros_like(ours), ours, control]),
                captions=["the image", name, "random"],
                strengths=[0.0, float(ours.mean()), float(control.mean())],
            )
        self.grid.thumbnail = int(THUMBNAIL_SHARE * theme().thumbnail_px)

    def expect_continuation(self, prompt: str, push: str, down: bool) -> None:
        """Keep the room of the ways in which a text continues, while they are written for the first time."""
        if self.continuation is None:
            ways = [Way(kind, [], label) for kind, label in _kinds(push, down)]
            self.texts.show(WORDS.findall(prompt), ways, note="The model writes them all …")
            show(self.texts, True)

    def show_continuation(self, push: str, fresh: bool) -> None:
        """Draw the ways in which a text continues; dimmed where they are of another edit."""
        record = self.continuation
        if record is None:
            return
        note, recipe = TINT_NOTE, record.recipe
        words = WORDS.findall(record.prompt)
        if words and recipe.mode == "add" and recipe.positions in (None, "all"):
            note = pushed_note(words[0])
        if not fresh:
            note = "Of the settings before: write on again to see what these give."
        kinds = _kinds(push, recipe.strength < 0)
        shown = [
            _whole(kind, row, label) for (kind, label), row in zip(kinds, record.rows, strict=True)
        ]
        self.texts.show(words, shown, note=note, stale=not fresh)
        show(self.texts, True)


def _kinds(push: str, down: bool) -> list[tuple[str, str]]:
    """Return the kind of each text and its label: with the edit, without, along random directions."""
    return [
        ("down" if down else "up", push),
        ("same", ""),
        *[("random", "")] * Continuation.N_RANDOM,
    ]


def _whole(kind: str, tokens: Sequence[str], label: str = "") -> Way:
    """One way without a possibly incomplete last word."""
    kept, cut = whole_words(tokens)
    return Way(kind, kept, label, ended=not cut)


def tells_them_apart(summary: SteeringSummary) -> bool:
    """Return whether atom and random direction change the states differently.

    Where consequences are read at the steered hook point itself both move every state equally far, by
    construction.
    """
    ours, control = summary.state_change, summary.state_change_random
    if ours is None or control is None:
        return False
    return not np.allclose(
        ours, control, rtol=IDENTICAL, atol=IDENTICAL * float(ours.max(initial=0))
    )


def moved_html(place: str) -> str:
    """Return what the numbers under pictures and texts are, and what is equal and what is not, as HTML."""
    title = escape(f"How far states move {place_words(place)}, in their own lengths")
    return (
        f'<div class="sae-nb-cardtitle">{title}</div><p class="sae-nb-note">Both pushes have the same length '
        "where they are added; later they need not move states as far.</p>"
    )


def change_rows(summary: SteeringSummary) -> list[tuple[str, float, float]]:
    """Return the mean relative change of the states by kind of position."""
    ours, control = summary.state_change, summary.state_change_random
    if ours is None or control is None:
        return []
    n, prefix = len(ours), summary.prefix_tokens
    parts = {"last token": slice(n - 1, n), "all tokens": slice(0, n)}
    if summary.patch_grid is not None:
        parts = {"cls": slice(0, min(prefix, 1)), "registers": slice(1, prefix)}
        parts["patches"] = slice(prefix, n)
    elif summary.outcome == "class":
        parts = {"all positions": slice(0, n)}
    return [
        (name, float(ours[part].mean()), float(control[part].mean()))
        for name, part in parts.items()
        if len(ours[part])
    ]


def change_html(title: str, rows: list[tuple[str, float, float]]) -> str:
    """Return a small table: what changed downstream, under the atom and the random direction."""
    body = "".join(
        f"<tr><td>{escape(name)}</td><td class='sae-nb-number'>{format_number(ours)}</td>"
        f"<td class='sae-nb-number' style='color:var(--sae-nb-quiet)'>{format_number(control)}</td></tr>"
        for name, ours, control in rows
    )
    return (
        f'<div class="sae-nb-card"><div class="sae-nb-cardtitle">{escape(title)}</div>'
        '<table style="border-spacing:12px 1px;margin-left:-12px"><tr><td></td><td>atom</td>'
        f'<td style="color:var(--sae-nb-quiet)">random push</td></tr>{body}</table></div>'
    )
