"""What stands beside the bars of a steering: pictures, tokens, changes downstream, continuations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.figures import current_theme as theme, escape, fade, format_number, visible_token
from sae_nb.steering import CalibratedStrength, Mode
from sae_nb.summaries import Continuation, SteeringRecipe, SteeringSummary
from sae_nb_widgets.components import PictureGrid, TokenStrip
from sae_nb_widgets.panel import button, show
from sae_nb_widgets.steering._controls import StrengthScale, fit_slider, follow, strength_slider
from sae_nb_widgets.steering._figure import AFTER_COLOUR, strength_words

# -------------------------------------------------------------------------------------------------
# Atoms that are changed together with the one in question: a row each, with its own slider.


Others = Sequence[tuple[int, float]]


class SteeringMix(ipw.Box):
    """One row per combined atom: its strength, its unit, and a button that takes it away."""

    def __init__(self, changed: Callable[[tuple[tuple[int, float], ...]], None]) -> None:
        super().__init__(layout=ipw.Layout(flex_flow="row wrap", width="100%", display="none"))
        self._changed = changed
        self._sliders: dict[int, ipw.FloatSlider] = {}
        self._rows: list[ipw.Box] = []

    def show(self, others: Others, scale: StrengthScale, mode: Mode) -> None:
        """Draw the combined atoms; rows that are there already keep their sliders."""
        if [atom for atom, _ in others] != list(self._sliders):
            for part in [part for row in self._rows for part in (*row.children, row)]:
                part.close()
            self._sliders = {}
            self._rows = [self._row(atom, scale, mode) for atom, _ in others]
            self.children = self._rows
            self.layout.display = None if others else "none"
        for atom, strength in others:
            follow(self._sliders[atom], strength)

    def _row(self, atom: int, scale: StrengthScale, mode: Mode) -> ipw.Box:
        slider = strength_slider(
            f"+ atom {atom}",
            f"How strongly atom {atom} is changed too; the model runs while you move it",
            "300px",
        )
        fit_slider(slider, 0.0, *scale.limits(atom, mode))
        slider.observe(self._moved, "value")
        self._sliders[atom] = slider
        words = scale.words(atom, mode)
        away = button(
            f"without {atom}",
            f"Change atom {atom} no longer",
            lambda: self._take_away(atom),
        )
        return ipw.Box([slider, ipw.HTML(f"<span>{escape(words)}</span>"), away]).add_class(
            "sae-nb-line"
        )

    def values(self) -> tuple[tuple[int, float], ...]:
        """Every combined atom with the strength its slider shows."""
        return tuple((atom, float(slider.value)) for atom, slider in self._sliders.items())

    def _moved(self, _: t.Bunch) -> None:
        self._changed(self.values())

    def _take_away(self, atom: int) -> None:
        self._changed(tuple(pair for pair in self.values() if pair[0] != atom))


# -------------------------------------------------------------------------------------------------
# What stands beside the bars of a steering: pictures, tokens, changes downstream, continuations.


THUMBNAIL_SHARE = 0.76  # of the theme's thumbnail: three stand side by side in the column
CHANGE = "‖Δ‖ / ‖x‖"


class SteeringDetail:
    """The cards of a SteeringPanel."""

    def __init__(self, kind: str, prefix_tokens: int) -> None:
        self._kind, self._prefix = kind, prefix_tokens
        self._continuation: Continuation | None = None
        self.grid = PictureGrid(description="change of each patch downstream", unit=CHANGE)
        self.strip = TokenStrip(description="change of each token downstream", unit=CHANGE)
        self.grid.hint = "Click a patch to steer only there."
        self.strip.hint = "Click a token to steer only there."
        self.changes, self.texts = ipw.HTML(), ipw.HTML()
        self.cards = (self.grid, self.strip, self.changes)
        for widget in (*self.cards, self.texts):
            show(widget, False)

    def on_pick(self, pick: Callable[[int], None]) -> None:
        """Call `pick` with the position of a patch or token that is clicked."""

        def on_patch(change: t.Bunch) -> None:
            if change["new"][1] >= 0:
                pick(self._prefix + change["new"][1])

        def on_token(change: t.Bunch) -> None:
            if change["new"][1] >= 0:
                pick(change["new"][1])

        self.grid.observe(on_patch, "selected")
        self.strip.observe(on_token, "selected")

    def show(self, summary: SteeringSummary) -> None:
        """Draw another answer's pictures, tokens and changes."""
        ours, control = summary.state_change, summary.state_change_random
        known = ours is not None and control is not None
        show(self.grid, summary.picture is not None)
        show(self.strip, self._kind == "language" and known)
        show(self.changes, known)
        if summary.picture is not None:
            self._show_picture(summary)
        if ours is None or control is None:
            return
        title = f"relative change of states at {summary.read_at}"
        self.changes.value = change_html(title, change_rows(summary))
        if self._kind == "language":
            self.strip.show(
                [summary.tokens, summary.tokens],
                [ours, control],
                captions=[summary.recipe.name, "random"],
                strengths=[float(ours.mean()), float(control.mean())],
            )

    def _show_picture(self, summary: SteeringSummary) -> None:
        ours, control = summary.patch_change(), summary.patch_change(random=True)
        if summary.picture is None:
            return
        if ours is None or control is None:
            self.grid.show(summary.picture[None], captions=[f"sample {summary.recipe.sample}"])
        else:
            self.grid.show(
                np.stack([summary.picture] * 3),
                heat=np.stack([np.zeros_like(ours), ours, control]),
                captions=["the picture", summary.recipe.name, "random"],
                strengths=[0.0, float(ours.mean()), float(control.mean())],
            )
        self.grid.thumbnail = int(THUMBNAIL_SHARE * theme().thumbnail_px)

    def show_continuation(self, record: Continuation, asked: SteeringRecipe) -> None:
        """Draw a text's continuations side by side; say so when `asked` is no longer its recipe."""
        self._continuation = record
        show(self.texts, True)
        note = f"Continued, {strength_words(record.recipe)}."
        if record.recipe != asked:
            note += " The settings have changed since then: continue again."
        self.texts.value = columns_html(
            [
                ("before", [(visible_token(token), False) for token in record.before]),
                ("after", _marked(record.after, record.after_changed)),
                ("random direction", _marked(record.random, record.random_changed)),
            ],
            note,
        )

    def mark_stale(self, asked: SteeringRecipe) -> None:
        """Say under the continuation whether it is still of the recipe that is asked for."""
        if self._continuation is not None:
            self.show_continuation(self._continuation, asked)


def _marked(tokens: Sequence[str], changed: Iterable[bool]) -> list[tuple[str, bool]]:
    return [(visible_token(token), bool(new)) for token, new in zip(tokens, changed, strict=True)]


def change_rows(summary: SteeringSummary) -> list[tuple[str, float, float]]:
    """Mean relative change of the states by kind of position."""
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
        f'<td style="color:var(--sae-nb-quiet)">random</td></tr>{body}</table></div>'
    )


def columns_html(parts: list[tuple[str, list[tuple[str, bool]]]], note: str) -> str:
    """Return texts side by side, changed tokens marked; tokens are escaped."""
    columns = "".join(
        f'<div style="flex:1 1 150px;min-width:0"><div class="sae-nb-cardtitle">{escape(title)}</div>'
        f'<div style="white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6">'
        f"{''.join(_token(text, changed) for text, changed in tokens)}</div></div>"
        for title, tokens in parts
    )
    small = f'<div style="color:var(--sae-nb-quiet)">{escape(note)}</div>' if note else ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px 18px">{columns}</div>{small}'


def _token(text: str, changed: bool) -> str:
    if not changed:
        return f"<span>{escape(text)}</span>"
    style = f"background:{fade(AFTER_COLOUR, 0.22)};border-bottom:2px solid {AFTER_COLOUR}"
    style += ";color:inherit"
    return f'<mark style="{style}">{escape(text)}</mark>'


def sentence(summary: SteeringSummary) -> str:
    """Say what the edit did, and what a random direction did, in one line."""
    recipe = summary.recipe
    place = int(np.flatnonzero(summary.ids == summary.target)[0])
    values = (summary.before[place], summary.after[place], summary.random[place])
    before, after, random = (format_number(float(value)) for value in values)
    name = visible_token(summary.target_name)
    text = f"{recipe.name.capitalize()}, {strength_words(recipe)}: "
    if summary.kl is None or summary.kl_random is None:
        return f"{text}“{name}” turns most, cosine {after} (random direction {random})"
    text += f"“{name}” {before} → {after} (random direction {random})"
    return (
        f"{text} · KL {format_number(summary.kl)} nats (random {format_number(summary.kl_random)})"
    )


def cost_words(found: CalibratedStrength | None) -> str:
    """Say what looking for a strength came to."""
    if found is None:
        return ""
    if not found.reached:
        return f" · KL {format_number(found.target_kl)} is out of reach"
    return f" · found for KL {format_number(found.target_kl)} in {found.n_runs} runs"


def changes_sentence(record: Continuation) -> str:
    """Say how many of the new tokens the edit changed, and a random direction."""
    ours, control = int(record.after_changed.sum()), int(record.random_changed.sum())
    return (
        f"{ours} of {len(record.after)} new tokens differ from those before "
        f"(random direction: {control} of {len(record.random)})"
    )
