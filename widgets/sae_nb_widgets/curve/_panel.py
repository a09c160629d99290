"""CurvePanel: hidden values read along a curve, and a dial that moves a state along it, beside the chord."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
import traitlets as t
from jaxtyping import Bool, Float

from sae_nb.checks import checked
from sae_nb.figures import current_theme, hidden_values, quoted_token, to_svg
from sae_nb.figures.shapes import Dot, Drawing, Label, Polyline, Stroke
from sae_nb.figures.theme import CONTROL, NOVEL, WARM, escape, format_percent
from sae_nb.geometry import Curve
from sae_nb.models import outcome_names
from sae_nb.steering import CurveReading, CurveWalk, read_hidden, walk_along
from sae_nb_widgets.components._base import HTML
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.curve._words import reading_answer, reading_title, ring_word
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._declaring import Entry, Number, Whole, control, reacts, show
from sae_nb_widgets.panel._frame import small_toggle
from sae_nb_widgets.panel._heading import usual_where
from sae_nb_widgets.panel._theming import figure_widget
from sae_nb_widgets.steering._words import plain_number

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

HEIGHT, PLAIN_PX = 460, 13
"""Of the figure, where letters are as large as this."""

RING, EDGE, CROSS = 430, 22, 6
"""Of the curve's shadow, in CSS pixels: its side, what is left free around it, half of a cross."""

WALK = "walk along it, step by step"

ALONG, CHORD = 2, 3
"""Traces of a drawn curve: the way along it, and the chord."""


@checked(leave=("positions",))
class CurvePanel(Panel):
    """What lies on the way along a curve?

    The curve is fitted anew to half of its values, and the model's state is put on it at each of the others:
    which value does it read there, and half-way between the known neighbours? Behind "walk" a state is moved
    along the curve, step by step, and on the straight line to the same end. The dial chooses a step; the table
    has the model's answers at all of them.

    Parameters
    ----------
    model
        Answers with next tokens or classes.
    hook_point
        Where the curve's states are.
    curve
        From `sn.geometry.curve`, of that hook point.
    text
        What the model reads to begin with.
    by
        How far the walk goes, in units of the coordinate; None: as far as can be, half way round or end to end.
    names
        Of the curve's values, such as days. None: the values.
    positions
        Of the states that are moved, as `sn.steer` takes them.
    noun
        What the values are, as the title calls them: "sums", "days".

    Raises
    ------
    TypeError, ValueError: If the model gives no scores, or there is not a name for each value.

    Examples
    --------
    >>> import sae_nb as sn
    >>> adder = sn.load_model("tiny-modular")
    >>> texts = [f"{a} + {(total - a) % 53} =" for total in range(53) for a in (5, 20)]
    >>> acts = sn.capture(adder, texts, "resid_post.0", positions="last", drop_first=False, progress=False)
    >>> c = sn.geometry.curve(acts, np.repeat(np.arange(53), 2), closed=True, period=53)
    >>> panel = CurvePanel(adder, "resid_post.0", c, "3 + 4 =", by=10)
    >>> panel.wait()
    >>> panel.step = 5
    >>> panel.close()
    """

    question = "What lies on the way along this curve?"
    explanation = (
        "Half of the values are left out at random, and a curve is fitted to the others. The state of the "
        "input's last position is replaced by the curve's point at each value left out. Right: the answer is "
        "as at the value's own mean state. Beside it the middle between the nearest known values, and curves "
        "through known values in random order. On a walk the state is moved along the curve of all values, and "
        "straight to the same end (the chord), as a push along a direction goes.",
        "A ring is a shadow: the curve by its widest frequency, which goes round many times; an open curve is "
        "drawn in its two largest axes. That a model reads states on a curve does not show that it uses the "
        "curve; a curve through words of no order can be walked as well.",
        "After Wurgaft et al., arXiv 2605.05115.",
    )
    stem = "curve"
    kept_traits = ("text", "by", "step", "walking")
    needs_kernel = "Other texts and ends need a running kernel and were left out."

    text = t.Unicode("", help="What the model reads.")
    by = Number(
        1.0,
        lambda panel: -panel.far,
        lambda panel: panel.far,
        help="How far the walk goes, in units of the coordinate.",
    )
    step = Whole(0, 0, lambda panel: panel.n_steps, help="Step of the walk that is shown.")
    walking = t.Bool(False, help="Whether the walk is shown in place of the hidden values.")

    def __init__(
        self,
        model: LiveModel,
        hook_point: str,
        curve: Curve,
        text: str,
        by: float | None = None,
        *,
        names: Sequence[str] | None = None,
        positions: Any = "last",
        noun: str = "values",
    ) -> None:
        values = curve.values.tolist()
        if names is not None and len(names) != len(values):
            raise ValueError(
                f"`names` must have one for each of {len(values)} values, got {len(names)}."
            )
        self.model, self.hook_point, self.curve = model, str(model.hook_point(hook_point)), curve
        self.value_names, self.positions, self.noun = names, positions, noun
        self._walk: CurveWalk | None = None
        self._read: dict[str, CurveReading | None] = {}
        super().__init__(chips={"model": model.name, "hook point": self.hook_point})
        with self.hold_trait_notifications():
            self.text, self.by = text, float(np.floor(self.far)) or self.far if by is None else by
        self._build()
        self._ask()

    def _build(self) -> None:
        tip = "What the model reads; it is walked when you leave the box"
        self.field = control(self, "text", "text", tip, "min(360px, 100%)").add_class(
            "sae-nb-search"
        )
        self.end = control(
            self, "by", "go by", "How far, in units of the coordinate", 140, kind=Entry
        )
        self.dial = control(
            self, "step", "dial", "How far along the walk", "min(420px, 100%)", kind=ipw.IntSlider
        )
        self.fold = small_toggle(WALK, "Move a state along the curve, step by step")
        t.link((self, "walking"), (self.fold, "value"))
        self.plot = figure_widget(self._drawn(), height=HEIGHT)
        self.ring, self.counts, self.told = HTML(), HTML(), HTML()
        self.table = RowTable(description="What the model answers at each step", empty_text="")
        self.table.observe(self._choose, "selected")
        self.arrange(
            controls=[self.fold, self.dial, self.field, self.end],
            figure=[self.ring, self.plot],
            detail=[self.counts, self.told, self.table],
        )
        self._swap()
        self.bind_key("ArrowLeft", partial(self._go, -1))
        self.bind_key("ArrowRight", partial(self._go, 1))

    # --- asking -----------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether a walk is shown."""
        return self._walk is not None

    @property
    def far(self) -> float:
        """The longest walk: half way round a closed curve, from end to end of an open one."""
        curve = self.curve
        return curve.period / 2 if curve.closed and curve.period else float(np.ptp(curve.values))

    @property
    def n_steps(self) -> int:
        """Steps of the walk; 1 before there is one."""
        return 1 if self._walk is None else len(self._walk.places) - 1

    @property
    def record(self) -> CurveWalk | None:
        """The walk that is shown; None before there is one."""
        return self._walk

    @reacts("text", "by", doing="walking along the curve", early=True)
    def _ask(self) -> None:
        if not self.text.strip():
            self.say("Type what the model should read.")
            return
        text, by, model = self.text, self.by, self.model
        at = self.hook_point, self.curve

        def work() -> tuple[CurveWalk, dict[str, CurveReading | None]]:
            walk = walk_along(model, [text], *at, by, positions=self.positions)
            if text in self._read:  # another end changes nothing of it
                return walk, self._read
            return walk, {text: read_hidden(model, text, *at, positions=self.positions)}

        self.run_async(work, self._take, doing="walking along the curve")

    @property
    def reading(self) -> CurveReading | None:
        """What is read at hidden values; None before that is known, and for a curve of too few values."""
        return next(iter(self._read.values()), None)

    def _take(self, found: tuple[CurveWalk, dict[str, CurveReading | None]]) -> None:
        walk, self._read = self._walk, _ = found
        self.dial.max = self.n_steps
        cells = [
            [self._place(u), *self._top(path), *self._top(chord)]
            for u, path, chord in zip(walk.places, walk.path, walk.chord, strict=True)
        ]
        self.table.show(
            ["at", "along the curve", "", "on the chord", ""],
            cells,
            numeric=[False, False, True, False, True],
        )
        self.step = min(self.step, self.n_steps) or _telling(walk)
        self.headline = self._title()
        asked = f"“{self.text.strip()}” → {self._top(walk.before)[0]}"
        self.where = (*usual_where(self.chips), asked)
        if self.reading is None:
            self.walking = True
        self._swap()
        self.say("")

    # --- showing ----------------------------------------------------------------------------------

    @reacts("walking", doing="showing the other view")
    def _swap(self) -> None:
        """Draw the walk, or what is read at hidden values."""
        drawn, reading = self._drawn(), self.reading
        with self.plot.batch_update():
            self.plot.data = ()
        self.plot.add_traces(drawn.data)
        self.plot.layout = drawn.layout
        hidden = None if self.walking else reading
        self.ring.value = "" if hidden is None else self._ring(hidden)
        if reading is not None:
            self.counts.value, self.told.value = self._counts(reading), self._example(reading)
        for widget in (self.dial, self.field, self.end, self.table):
            show(widget, self.walking)
        for widget in (self.counts, self.told):
            show(widget, not self.walking)
        self._show()

    @reacts("step", doing="showing a step")
    def _show(self) -> None:
        walk, reading = self._walk, self.reading
        if walk is None:
            return
        if self.table.selected != self.step:
            self.table.selected = self.step
        if not self.walking and reading is not None:
            answer, bold = reading_answer(reading, self.noun)
            self.conclude(answer, self._numbers(reading), bold)
            return
        with self.plot.batch_update():
            self._turn(self.plot)
        (one, p), (other, q) = self._top(walk.path[self.step]), self._top(walk.chord[self.step])
        self.conclude(
            f"At {self._place(walk.places[self.step])} along the curve: {one}; on the chord: {other}.",
            f"along the curve {p}, on the chord {q} · untouched {' '.join(self._top(walk.before))}",
            reasons=f"The walk begins at {plain_number(round(walk.start, 1))}. Both ways end with the same "
            f"state; on the way the answers differ at {_apart(walk).sum()} of {len(walk.places)} places.",
        )

    def _turn(self, figure: go.Figure) -> None:
        """Put the dial's two marks where the step is on both ways."""
        along, chord, here = figure.data[ALONG], figure.data[CHORD], figure.data[-1]
        share = self.step / self.n_steps
        at = round(share * (len(along.x) - 1))
        ends = [(np.asarray(axis)[0], np.asarray(axis)[-1]) for axis in (chord.x, chord.y)]
        here.x = (along.x[at], ends[0][0] + share * (ends[0][1] - ends[0][0]))
        here.y = (along.y[at], ends[1][0] + share * (ends[1][1] - ends[1][0]))

    def _title(self) -> str:
        if self.reading is not None:
            return reading_title(self.reading, self.noun)
        return f"{len(self.curve.values)} {self.noun} are too few to hide some of them"

    def _numbers(self, reading: CurveReading) -> str:
        order = ", ".join(map(str, reading.fitted.order)) if reading.fitted.closed else ""
        terms = f"frequencies {order}" if order else "a spline"
        return (
            f"{len(reading.fitted.values)} known, {len(reading.hidden)} left out: {reading.n_right} right on "
            f"the {ring_word(reading)} ({terms}), {reading.n_half_way} half-way, {reading.n_shuffled} on the "
            f"best of {len(reading.shuffled)} through shuffled {self.noun}"
        )

    def _counts(self, reading: CurveReading) -> str:
        """Return the three counts, each beside its mark."""
        n, ring = len(reading.hidden), ring_word(reading)
        rows = (
            ("●", "--sae-nb-warm-text", f"on the {ring}", f"{reading.n_right} of {n}"),
            ("✕", "--sae-nb-quiet", f"half-way between two known {self.noun}", reading.n_half_way),
            ("◌", "--sae-nb-quiet", f"on a {ring} through shuffled {self.noun}, at best", reading.n_shuffled),
        )  # fmt: skip
        body = "".join(
            f'<tr><td style="color: var({colour})">{mark}</td><td>{escape(what)}</td>'
            f'<td class="sae-nb-number"><b>{k}</b></td></tr>'
            for mark, colour, what, k in rows
        )
        return (
            f'<div class="sae-nb-cardtitle">Left-out {escape(self.noun)} answered right</div>'
            f'<table class="sae-nb-counts"><tbody>{body}</tbody></table>'
        )

    def _ring(self, reading: CurveReading) -> str:
        """Return the curve's shadow with known and hidden mean states, and one straight line between two.

        A hidden one is filled where the curve reads it right.
        """
        curve, hidden = self.curve, np.isin(self.curve.values, reading.hidden)
        shadow = curve.ring if curve.closed else curve.shadow
        right = np.isin(curve.values, reading.hidden[reading.on_curve == reading.hidden])
        line, states = shadow(curve.drawn), shadow(curve.states)
        both = np.concatenate([line, states])
        middle, extent = (both.max(0) + both.min(0)) / 2, np.ptp(both, axis=0).max()

        def at(place: Float[np.ndarray, " 2"]) -> tuple[float, float]:
            x, y = (place - middle) / extent * (RING - 2 * EDGE) + RING / 2
            return float(x), float(RING - y)

        strokes: list[Stroke] = [Polyline([at(p) for p in line], CONTROL, 1.5)]
        strokes += [Dot(*at(p), 4, CONTROL) for p in states[~hidden]]
        for p, fill in zip(states[hidden], right[hidden], strict=True):
            strokes.append(Dot(*at(p), 7, WARM if fill else "var(--sae-nb-paper)", WARM, 2))
        told = _told(reading)
        if told is not None:
            ends = [states[np.flatnonzero(curve.values == v)[0]] for v in reading.between[told]]
            x, y = at(np.mean(ends, axis=0))
            strokes.append(
                Polyline([at(end) for end in ends], "var(--sae-nb-quiet)", 1.5, dashed=True)
            )
            strokes += [
                Polyline(
                    [(x - CROSS, y - way * CROSS), (x + CROSS, y + way * CROSS)],
                    "var(--sae-nb-ink)",
                    2,
                )
                for way in (-1, 1)
            ]
            strokes.append(
                Label(
                    x + 12,
                    y,
                    f"half-way: {self._place(reading.half_way[told])}",
                    "start",
                    current_theme().font_px,
                    halo=True,
                )
            )
        svg = Drawing(RING, RING, tuple(strokes)).to_svg()
        title = (
            f"The {ring_word(reading)} of {self.noun}: fitted ones in grey, left-out ones filled "
            "where they are answered right"
        )
        return f'<div class="sae-nb-beside"><div class="sae-nb-cardtitle">{escape(title)}</div>{svg}</div>'

    def _example(self, reading: CurveReading) -> str:
        """Return what is answered at one hidden value; nothing where none tells the two ways apart."""
        told = _told(reading)
        if told is None:
            return ""
        low, high, here, wrong = (
            self._place(v)
            for v in (*reading.between[told], reading.hidden[told], reading.half_way[told])
        )
        words = (
            f"At {here} on the {ring_word(reading)} the model answers {here}; half-way between {low} and "
            f"{high} (✕) it answers {wrong}."
        )
        return f'<div class="sae-nb-cardtitle">One of them</div><p class="sae-nb-note">{escape(words)}</p>'

    def _place(self, u: float) -> str:
        """Return a coordinate, or the name of the nearest value."""
        if self.value_names is None:
            apart = float(np.diff(self.curve.values).min())
            return plain_number(round(float(u), max(1, int(np.ceil(-np.log10(apart))))))
        far = np.abs(self.curve.values - u)
        if self.curve.closed and self.curve.period:
            far = np.minimum(far, self.curve.period - far)
        return str(self.value_names[int(far.argmin())])

    def _top(self, shares: Float[np.ndarray, " outcomes"]) -> tuple[str, str]:
        """Return the likeliest answer and its probability."""
        best = np.array([int(shares.argmax())])
        name = outcome_names(self.model, best)[0]
        return quoted_token(name), format_percent(float(shares[best[0]]), digits=2)

    def _rescale(self) -> None:
        self.plot.layout.height = HEIGHT * current_theme().font_px / PLAIN_PX
        if self.reading is not None and not self.walking:
            self.ring.value = self._ring(self.reading)

    def _drawn(self) -> go.Figure:
        """Return the view that is chosen; the walk where there is no other."""
        if self.walking or self.reading is None:
            return self._walk_drawn()
        reading, names = self.reading, self.value_names
        return hidden_values(
            reading.fitted.values,
            reading.hidden,
            reading.on_curve,
            reading.half_way,
            ring=ring_word(reading),
            noun=self.noun,
            names=None
            if names is None
            else dict(zip(self.curve.values.tolist(), names, strict=True)),
        ).update_layout(showlegend=False)

    def _walk_drawn(self) -> go.Figure:
        """Return the curve with the walk, and where the dial stands on both ways."""
        walk, values = self._walk, self.curve.values
        start = float(values[0]) if walk is None else walk.start
        if not self.curve.closed:
            start = min(max(start, float(values[0])), float(values[-1]))
        to = start if walk is None else start + walk.by
        if not self.curve.closed:
            to = min(max(to, float(values[0])), float(values[-1]))
        figure = self.curve.plot(start, to, self.value_names or [*map(self._place, values)])
        marker = {"size": 13, "color": [NOVEL, CONTROL], "symbol": ["circle", "diamond"]}
        figure.add_scatter(
            name="the dial", x=[None, None], y=[None, None], mode="markers", marker=marker,
            hoverinfo="skip",
        )  # fmt: skip
        if walk is not None:
            self._turn(figure)
        return figure

    def above_widgets(self) -> Sequence[ipw.Widget]:
        """Return the curve, which stands before what is read on it."""
        return (self.ring,)

    def static_main(self) -> str:
        """Return what is under the figure; the walk that is not shown is folded."""
        if self.walking or self._walk is None:
            return super().static_main()
        figure = f'<div class="sae-nb-still">{to_svg(self._walk_drawn())}</div>'
        return f"<details><summary>{WALK}</summary>{figure}{self.table.static_html()}</details>"

    def _choose(self, change: t.Bunch) -> None:
        if self._walk is not None and change["new"] >= 0:
            self.step = change["new"]

    def _go(self, by: int) -> None:
        self.step = min(max(self.step + by, 0), self.n_steps)


def _told(reading: CurveReading) -> int | None:
    """Return the hidden value that is right on the curve and furthest off half-way; None: there is none."""
    far = np.abs(reading.half_way - reading.hidden) * (reading.on_curve == reading.hidden)
    return int(far.argmax()) if far.max(initial=0) > 0 else None


def _telling(walk: CurveWalk) -> int:
    """Return the step to open on: where both ways are answered otherwise, and surest along the curve."""
    return int((walk.path.max(axis=1) * _apart(walk)).argmax()) or len(walk.places) // 2


def _apart(walk: CurveWalk) -> Bool[np.ndarray, " places"]:
    """Return at which places both ways are answered otherwise."""
    return np.asarray(walk.path.argmax(axis=1) != walk.chord.argmax(axis=1))
