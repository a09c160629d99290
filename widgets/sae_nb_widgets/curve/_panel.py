"""CurvePanel: a dial that moves a state along a curve, beside the straight line to the same end."""

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
from sae_nb.figures import current_theme, quoted_token
from sae_nb.figures.theme import CONTROL, NOVEL, format_percent
from sae_nb.geometry import Curve
from sae_nb.models import outcome_names
from sae_nb.steering import CurveWalk, walk_along
from sae_nb_widgets.components._row_table import RowTable
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._declaring import Entry, Number, Whole, control, reacts
from sae_nb_widgets.panel._theming import figure_widget
from sae_nb_widgets.steering._words import plain_number

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

HEIGHT, PLAIN_PX = 460, 13
"""Of the figure, where letters are as large as this."""

ALONG, CHORD = 2, 3
"""Traces of a drawn curve: the way along it, and the chord."""


@checked(leave=("positions",))
class CurvePanel(Panel):
    """What lies on the way along a curve?

    A state of the running model is moved along the curve, step by step, and on the straight line to the same
    end. The dial chooses a step; the table has the model's answers at all of them. Both ways begin and end with
    the same states: what differs is what the model reads on the way.

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
        "The state of the input's last position is moved along the curve that its concept lies on; what is off "
        "the curve stays. The dashed line is the chord: straight to the same end, as a push along a direction "
        "goes. The table has what the model answers at each step of both.",
        "The picture is a shadow: the curve in its two largest axes. That a model reads states on a curve does "
        "not show that it uses the curve; a curve through words of no order can be walked as well.",
        "After Wurgaft et al., arXiv 2605.05115.",
    )
    stem = "curve"
    kept_traits = ("text", "by", "step")
    needs_kernel = "Other texts and ends need a running kernel and were left out."

    text = t.Unicode("", help="What the model reads.")
    by = Number(
        1.0,
        lambda panel: -panel.far,
        lambda panel: panel.far,
        help="How far the walk goes, in units of the coordinate.",
    )
    step = Whole(0, 0, lambda panel: panel.n_steps, help="Step of the walk that is shown.")

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
    ) -> None:
        values = curve.values.tolist()
        if names is not None and len(names) != len(values):
            raise ValueError(
                f"`names` must have one for each of {len(values)} values, got {len(names)}."
            )
        self.model, self.hook_point, self.curve = model, str(model.hook_point(hook_point)), curve
        self.value_names, self.positions = names, positions
        self._walk: CurveWalk | None = None
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
        self.plot = figure_widget(self._drawn(), height=HEIGHT)
        self.table = RowTable(description="What the model answers at each step", empty_text="")
        self.table.observe(self._choose, "selected")
        self.arrange(
            controls=[self.dial, self.field, self.end], figure=self.plot, detail=[self.table]
        )
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
        asked = self.model, [self.text], self.hook_point, self.curve, self.by
        self.run_async(
            lambda: walk_along(*asked, positions=self.positions),
            self._take,
            doing="walking along the curve",
        )

    def _take(self, walk: CurveWalk) -> None:
        self._walk = walk
        drawn = self._drawn()
        with self.plot.batch_update():
            self.plot.data = ()
        self.plot.add_traces(drawn.data)
        self.plot.layout = drawn.layout
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
        self._show()
        self.say("")

    # --- showing ----------------------------------------------------------------------------------

    @reacts("step", doing="showing a step")
    def _show(self) -> None:
        walk = self._walk
        if walk is None:
            return
        i = self.step
        along, chord = (self.plot.data[k] for k in (ALONG, CHORD))
        share = i / self.n_steps
        at = round(share * (len(along.x) - 1))
        ends = [(np.asarray(axis)[0], np.asarray(axis)[-1]) for axis in (chord.x, chord.y)]
        with self.plot.batch_update():
            here = self.plot.data[-1]
            here.x = (along.x[at], ends[0][0] + share * (ends[0][1] - ends[0][0]))
            here.y = (along.y[at], ends[1][0] + share * (ends[1][1] - ends[1][0]))
        if self.table.selected != i:
            self.table.selected = i
        (one, p), (other, q) = self._top(walk.path[i]), self._top(walk.chord[i])
        self.conclude(
            f"At {self._place(walk.places[i])} along the curve: {one}; on the chord: {other}.",
            f"along the curve {p}, on the chord {q} · untouched {' '.join(self._top(walk.before))}",
            reasons=f"The walk begins at {plain_number(round(walk.start, 1))}. Both ways end with the same "
            f"state; on the way the answers differ at {_apart(walk).sum()} of {len(walk.places)} places.",
        )

    def _place(self, u: float) -> str:
        """Return a coordinate, or the name of the nearest value."""
        if self.value_names is None:
            return plain_number(round(float(u), 1))
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

    def _drawn(self) -> go.Figure:
        """Return the curve with the walk, and where the dial stands on both ways."""
        walk, values = self._walk, self.curve.values
        start = float(values[0]) if walk is None else walk.start
        if not self.curve.closed:
            start = min(max(start, float(values[0])), float(values[-1]))
        to = start if walk is None else start + walk.by
        if not self.curve.closed:
            to = min(max(to, float(values[0])), float(values[-1]))
        figure = self.curve.plot(start, to, self.value_names)
        marker = {"size": 13, "color": [NOVEL, CONTROL], "symbol": ["circle", "diamond"]}
        figure.add_scatter(
            name="the dial", x=[None, None], y=[None, None], mode="markers", marker=marker,
            hoverinfo="skip",
        )  # fmt: skip
        return figure

    def _choose(self, change: t.Bunch) -> None:
        if self._walk is not None and change["new"] >= 0:
            self.step = change["new"]

    def _go(self, by: int) -> None:
        self.step = min(max(self.step + by, 0), self.n_steps)


def _telling(walk: CurveWalk) -> int:
    """Return the step to open on: where both ways are answered otherwise, and surest along the curve."""
    return int((walk.path.max(axis=1) * _apart(walk)).argmax()) or len(walk.places) // 2


def _apart(walk: CurveWalk) -> Bool[np.ndarray, " places"]:
    """Return at which places both ways are answered otherwise."""
    return np.asarray(walk.path.argmax(axis=1) != walk.chord.argmax(axis=1))
