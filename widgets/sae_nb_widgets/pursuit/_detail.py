"""What is folded under the stage of the PursuitStepper: the input as curves, norms, chosen atoms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import ipywidgets as ipw
import numpy as np
from jaxtyping import Float, UInt8

from sae_nb.architectures import PursuitSteps
from sae_nb.figures import theme
from sae_nb.figures.theme import escape, format_number, signed_colours
from sae_nb_widgets.components._atom_card import png_address
from sae_nb_widgets.components._base import HTML, atom_mark
from sae_nb_widgets.components._curves import Chart, Curves, Line
from sae_nb_widgets.pursuit._figure import ALGORITHM_COLOURS, NameOf

MOST_LISTED = 16
THUMBNAIL_PX = 28
SPARK_POINTS = 48
BARS_UP_TO = 96
"""Coordinates that are drawn as bars; more of them, and a curve is easier to read."""

WORTH_A_TICK = 0.005
"""Change of a coefficient, as a share of the largest, from which its old place is marked."""

_ONE_LINE = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
NORM_HEIGHT, VECTOR_HEIGHT = 116, 72
GOAL_TITLE = "objective of the solver"

PictureShape = tuple[int, ...]


class Parts:
    """The input, the reconstructions so far and what is left as curves, where inputs are not images."""

    def __init__(
        self, picture_shape: PictureShape | None, bias: Float[np.ndarray, " d_in"]
    ) -> None:
        self._bias = bias
        self.widgets: tuple[ipw.Widget, ...] = (self.curves,) if picture_shape is None else ()

    @cached_property
    def curves(self) -> Curves:
        """All three, under each other."""
        return Curves(x_name="coordinate", height=VECTOR_HEIGHT, layout={"width": "100%"})

    def show(self, steps: Sequence[PursuitSteps], step: int) -> None:
        """Draw a step."""
        if self.widgets:
            self._show_curves(steps, step)

    def _show_curves(self, steps: Sequence[PursuitSteps], step: int) -> None:
        x = steps[0].x + self._bias
        parts = [x, *(one.x_hat + self._bias for one in steps)]
        parts += [one.x - one.x_hat for one in steps]
        low = min(0.0, *(float(part.min()) for part in parts))
        high = max(0.0, *(float(part.max()) for part in parts)) or 1.0
        so_far = [
            _line(one, i, one.x_hat[one.reached(step)] + self._bias) for i, one in enumerate(steps)
        ]
        left = [_line(one, i, one.residual_at(step)) for i, one in enumerate(steps)]
        given = [Line(values=x, colour=theme.NEUTRAL)]
        look: dict[str, Any] = {"low": low, "high": high, "bars": len(x) <= BARS_UP_TO}
        self.curves.show(
            [
                # All have one scale: its end, the same number three times, would say nothing.
                Chart(title=title, lines=lines, note=note, **look)
                for title, lines, note in (
                    ("the input", given, _lengths(given)),
                    # A bias is there before the first atom.
                    (
                        "bias + atoms" if self._bias.any() else "built so far",
                        so_far,
                        _lengths(so_far),
                    ),
                    ("unexplained", left, _each(left, [unexplained(one, step) for one in steps])),
                )
            ]
        )


def _lengths(lines: Sequence[Line]) -> str:
    """Say how long each vector is."""
    norms = [float(np.linalg.norm(line.values)) for line in lines]
    if len(norms) == 1:
        return f"length {format_number(norms[0])}"
    written = [format_number(norm, digits=2) for norm in norms]
    return _each(lines, written) if len(set(written)) > 1 else f"length {written[0]}"


def _each(lines: Sequence[Line], written: Sequence[str]) -> str:
    """Return the text of each line by its name; once, if all have the same."""
    if len(set(written)) == 1:
        return written[0]
    return " ".join(f"{line.name} {text}" for line, text in zip(lines, written, strict=True))


def unexplained(one: PursuitSteps, step: int) -> str:
    """Return the share of ‖x‖² that is left after a step, in percent."""
    share = share_of(one, float(one.residual_norms[one.reached(step)]))
    return f"{float(f'{share:.2g}'):g} %"


def share_of(one: PursuitSteps, norm: float) -> float:
    """Return a vector's squared length in percent of the input's."""
    return 100 * (norm / (float(one.residual_norms[0]) or 1.0)) ** 2


class Chosen:
    """The right column: how much is left after every step, and which atoms the codes are made of."""

    def __init__(
        self, picture_shape: PictureShape | None, dictionaries: Sequence[Any], words_of: NameOf
    ) -> None:
        self._shape, self._words_of = picture_shape, words_of
        self._dictionaries = dictionaries
        self._thumbnails: dict[tuple[int, int], str] = {}
        self.norms = Curves(x_name="step", height=NORM_HEIGHT, clickable=True)
        self.atoms = HTML()
        self.widgets: tuple[ipw.Widget, ...] = (self.norms, self.atoms)

    def begin(self, steps: Sequence[PursuitSteps], last_step: int) -> None:
        """Draw what stays the same for all steps."""
        lines = [_line(one, i, _held(one, last_step)) for i, one in enumerate(steps)]
        charts = [Chart(title="", lines=lines, high=100.0, unit="%")]
        if goals := [
            _line(one, i, _goal(one, last_step))
            for i, one in enumerate(steps)
            if one.objective is not None
        ]:
            charts.append(Chart(title=GOAL_TITLE, lines=goals, high=100.0, unit="%"))
        self.norms.show(charts, cursor=0)

    def show(self, steps: Sequence[PursuitSteps], step: int, atom: int) -> None:
        """Draw a step."""
        self.norms.cursor = min(step, self.norms.n_points - 1)
        shares = ", ".join(f"{one.short} {unexplained(one, step)}" for one in steps)
        self.norms.description = f"unexplained after step {step}: {shares}"
        top = max((float(np.abs(one.values).max(initial=0.0)) for one in steps), default=0.0) or 1.0
        columns = "".join(
            self._column(i, one, step, atom=atom, top=top) for i, one in enumerate(steps)
        )
        self.atoms.value = (
            '<div class="sae-nb-inuse"><div class="sae-nb-cardtitle">atoms in use and their '
            "coefficients (tick: one step before)</div>"
            f'<div style="display:grid;grid-template-columns:repeat({len(steps)},minmax(0,1fr));'
            f'gap:4px 12px">{columns}</div></div>'
        )

    def _column(self, index: int, one: PursuitSteps, step: int, *, atom: int, top: float) -> str:
        atoms, values = one.code_at(step)
        newest = int(one.chosen[one.reached(step) - 1]) if one.reached(step) else -1
        before = one.dense_code_at(one.reached(step) - 1, atoms) if one.reached(step) else values
        listed = zip(atoms.tolist(), values.tolist(), before.tolist(), strict=True)
        rows = [
            self._row(index, number, value, was, top=top, new=number == newest, mark=number == atom)
            for number, value, was in list(listed)[:MOST_LISTED]
        ]
        more = len(atoms) - len(rows)
        note = f'<div style="color:var(--sae-nb-quiet)">and {more} more</div>' if more > 0 else ""
        empty = '<div style="color:var(--sae-nb-quiet)">none yet</div>' if not rows else ""
        colour = ALGORITHM_COLOURS[index]
        return (
            f'<div style="min-width:0"><div style="border-top:3px solid {colour};font-weight:600">'
            f"{one.short} · {len(atoms)}</div>{empty}{''.join(rows)}{note}</div>"
        )

    def _row(
        self, index: int, atom: int, value: float, was: float, *, top: float, new: bool, mark: bool
    ) -> str:
        """Thumbnail, atom, coefficient, its bar with a tick where it was before, and its words."""
        outline = "outline:2px solid var(--sae-nb-ink);" if mark else ""
        weight = "font-weight:700;" if new else ""
        words = self._words_of(atom, index)
        named = (
            f'<div class="sae-nb-label" style="{_ONE_LINE}" title="{escape(words)}">{escape(words)}</div>'
            if words
            else ""
        )
        # Cards are of the first dictionary's atoms.
        first = self._dictionaries[index] is self._dictionaries[0]
        number = atom_mark(atom, str(atom)) if first else atom
        return (
            f'<div style="display:grid;grid-template-columns:{THUMBNAIL_PX}px minmax(0,1fr);gap:6px;'
            f'align-items:center;margin:3px 2px;{outline}">'
            f'{self._thumbnail(index, atom)}<div style="min-width:0;line-height:1.25">'
            f'<div style="display:flex;justify-content:space-between;gap:4px;{weight}">'
            f"<span>{number}</span>"
            f'<span class="sae-nb-number">{format_number(value, digits=2)}</span></div>'
            f"{_bar(index, value / top, was / top)}{named}</div></div>"
        )

    def picture_of(self, atom: int, index: int) -> str:
        """Return an atom as an image that carries its own data; empty if inputs are not images."""
        if self._shape is None:
            return ""
        key = (index, atom)
        if key not in self._thumbnails:
            vector = self._vector(index, atom)
            limit, signed = float(np.abs(vector).max()), bool((vector < 0).any())
            shown = picture(vector, self._shape, limit, signed=signed)
            self._thumbnails[key] = png_address(shown)
        return self._thumbnails[key]

    def _vector(self, index: int, atom: int) -> Float[np.ndarray, " d_in"]:
        return self._dictionaries[index][atom].detach().float().cpu().numpy()

    def _thumbnail(self, index: int, atom: int) -> str:
        if self._shape is None:
            return _spark(self._vector(index, atom))
        return (
            f'<img alt="" width="{THUMBNAIL_PX}" height="{THUMBNAIL_PX}" '
            f'style="image-rendering:pixelated" src="{self.picture_of(atom, index)}"/>'
        )


# --- pictures and lines ---------------------------------------------------------------------------


def picture(
    vector: Float[np.ndarray, " d_in"], shape: PictureShape, limit: float, *, signed: bool
) -> UInt8[np.ndarray, "3 height width"]:
    """Return a vector as a picture: grey from 0 to `limit`, or blue–white–orange around 0."""
    values = np.asarray(vector, dtype=np.float64).reshape(shape) / (limit or 1.0)
    if len(shape) == 3:
        colours = (values + 1) / 2 if signed else values
        return (255 * np.clip(colours, 0, 1)).round().astype(np.uint8)
    if signed:
        painted = signed_colours(values.ravel()).reshape(*shape, 3)
        return np.ascontiguousarray(painted.transpose(2, 0, 1))
    grey = (255 * np.clip(values, 0, 1)).round().astype(np.uint8)
    return np.stack([grey] * 3)


def _bar(index: int, share: float, before: float) -> str:
    """A coefficient as a share of the largest, with a tick where it was, if it was elsewhere."""
    width, tick = (100 * min(abs(v), 1) for v in (share, before))
    place = (
        f'<div style="position:absolute;left:{tick:.1f}%;top:-2px;height:8px;'
        'border-left:2px solid var(--sae-nb-ink)"></div>'
        if before and abs(before - share) > WORTH_A_TICK
        else ""
    )
    return (
        '<div style="position:relative;height:4px;background:var(--sae-nb-raised)">'
        f'<div style="height:4px;width:{width:.1f}%;background:{ALGORITHM_COLOURS[index]}"></div>'
        f"{place}</div>"
    )


def _spark(atom: Float[np.ndarray, " d_in"]) -> str:
    """An atom as a small curve."""
    every = max(1, len(atom) // SPARK_POINTS)
    values = atom[::every]
    top = float(np.abs(values).max()) or 1.0
    x = np.linspace(1, THUMBNAIL_PX - 1, len(values))
    y = THUMBNAIL_PX / 2 * (1 - 0.9 * values / top)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<svg width="{THUMBNAIL_PX}" height="{THUMBNAIL_PX}" aria-hidden="true">'
        f'<polyline points="{points}" fill="none" stroke="currentColor"/></svg>'
    )


def _line(one: PursuitSteps, index: int, values: Float[np.ndarray, " n"]) -> Line:
    return Line(
        values=values,
        name=one.short,
        colour=ALGORITHM_COLOURS[index],
        dashed=index > 0,
    )


def _held(one: PursuitSteps, last_step: int) -> Float[np.ndarray, " n"]:
    """Per cent of ‖x‖² left up to the player's last step; a record that ended keeps its last."""
    wanted = np.minimum(np.arange(last_step + 1), one.n_steps)
    whole = float(one.residual_norms[0]) or 1.0
    return 100 * (one.residual_norms[wanted] / whole) ** 2


def _goal(one: PursuitSteps, last_step: int) -> Float[np.ndarray, " n"]:
    """Per cent of the objective's first value, likewise."""
    values = np.asarray(one.objective)[np.minimum(np.arange(last_step + 1), one.n_steps)]
    first = next((float(value) for value in values if np.isfinite(value)), 1.0) or 1.0
    # Where the penalty does not allow the first code, the curve begins where it begins to count.
    return np.clip(100 * np.where(np.isfinite(values), values / first, 1.0), 0, 100)
