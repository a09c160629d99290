"""PursuitSteps → one plotly figure: correlation of every atom with what is left, algorithm by algorithm.

Pale bars are the correlations with the input itself; over them lie those with what is left, paler the
more of them has gone. Atoms in the code carry a dot, the one that comes next is ringed; a key explains them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from sae_nb.architectures import PursuitSteps
from sae_nb.figures import current_theme, fade, number_of, on_axes, plot_text, template, theme
from sae_nb.figures.theme import format_number, scaled
from sae_nb_widgets.panel._theming import figure_widget

START, NOW, PENALTY, IN_CODE, RING, SELECTED = range(6)
TRACES_PER_ALGORITHM = 6

ALGORITHM_COLOURS = (theme.OKABE_ITO[2], theme.OKABE_ITO[3])
"""First and second algorithm; blue and vermilion mean something else in other panels."""

START_COLOUR = fade(theme.GREY, 0.22)
PALEST = 0.45  # opacity of a bar of which nothing is left
ROOM_FOR_RING = 0.16
N_TICKS = 3
GAP = 0.19  # between two algorithms, as a share of the height
MOST_BARS = 200  # more than a bar chart has pixels for
PLOT_PX = 215
TOP_PX, BOTTOM_PX = 66, 72
SPACE_PX = TOP_PX + BOTTOM_PX
KEY = {
    START: "match with the whole input",
    NOW: "with what is left of it",
    IN_CODE: "atoms taken so far",
}
"""Meaning of the marks, in the key above the bars."""

KEY_PLACE = {
    "orientation": "h", "x": 0.5, "xanchor": "center", "y": 1, "yref": "container", "yanchor": "top",
    "itemclick": False, "itemdoubleclick": False,
}  # fmt: skip
PICTURE_PX = 24
LONGEST_TICK, LONGEST_NAME = 10, 26
"""Letters of a name under the axis, and in a heading."""

NameOf = Callable[[int, int], str]
"""Name of an atom, by its number and that of the algorithm; empty if it is not known."""


def no_name(_: int, __: int) -> str:
    """Return no names."""
    return ""


def pursuit_figure(
    steps: Sequence[PursuitSteps] = (),
    shown: Sequence[Int[np.ndarray, " n"]] = (),
    step: int = 0,
    *,
    words_of: NameOf = no_name,
) -> go.Figure:
    """Draw bars of the correlations of one or two algorithms, one above the other; axes alone for none.

    `update_records` and `update_step` change it in place. A figure on screen must never be rebuilt: the
    browser would forget that it fits its column.
    """
    figure = go.Figure(
        [*_traces(0), *_traces(1)],
        {
            "template": template(),
            "autosize": True,
            "barmode": "overlay",
            "bargap": 0.04,
            "hovermode": "x",
            "showlegend": True,
            "legend": KEY_PLACE,
            "margin": {"l": 52, "r": 18, "t": TOP_PX, "b": BOTTOM_PX},
        },
    )
    for i in (0, 1):
        y_axis = {
            "anchor": f"x{number_of(i)}",
            "title": {"text": "match (inner product)"},
            "zeroline": True,
            "zerolinecolor": theme.AXIS,
        }
        x_axis = {"anchor": f"y{number_of(i)}", "showgrid": False}
        figure.update_layout({f"xaxis{number_of(i)}": x_axis, f"yaxis{number_of(i)}": y_axis})
    update_records(figure, steps, shown, words_of=words_of)
    update_step(figure, steps, shown, step, words_of=words_of)
    return figure


def strongest_atoms(
    steps: Sequence[PursuitSteps], *, most: int = MOST_BARS, order: str = "sorted"
) -> Int[np.ndarray, " n"]:
    """Return atoms worth a bar: all that are ever chosen, then those most correlated at any step."""
    score = np.max([np.abs(one.correlations).max(axis=0) for one in steps], axis=0)
    for one in steps:
        score[one.atoms] = np.inf
    # Stable, so that ties keep the order of the dictionary everywhere.
    shown = np.sort(np.argsort(-score, kind="stable")[:most])
    if order == "sorted":
        shown = shown[np.argsort(-steps[0].correlations[0, shown], kind="stable")]
    return shown


class PursuitFigure:
    """The figure on screen, and which atoms have bars in it.

    `picture_of` gives an atom as an image that carries its own data; empty if inputs are not images.
    """

    def __init__(self, words_of: NameOf, picture_of: NameOf) -> None:
        self._words_of, self._picture_of = words_of, picture_of
        self.plot = figure_widget(pursuit_figure())
        self.shown: list[Int[np.ndarray, " n"]] = []

    def show_records(
        self,
        steps: Sequence[PursuitSteps],
        *,
        order: str,
        same_atoms: bool,
    ) -> None:
        """Remake the bars: other atoms, another order, another size."""
        groups = [steps] * len(steps) if same_atoms else [(one,) for one in steps]
        self.shown = [strongest_atoms(group, order=order) for group in groups]
        update_records(
            self.plot, steps, self.shown, words_of=self._words_of, picture_of=self._picture_of
        )
        # Pointing at a bar shows the card of its atom; cards are of the first dictionary's.
        for i, atoms in enumerate(self.shown):
            if i == 0 or same_atoms:
                self.plot.data[TRACES_PER_ALGORITHM * i + NOW].meta = {"atoms": atoms.tolist()}

    def show_step(self, steps: Sequence[PursuitSteps], step: int, *, atom: int, fit: bool) -> None:
        """Show another step, and mark an atom (none: −1)."""
        update_step(self.plot, steps, self.shown, step, atom=atom, fit=fit, words_of=self._words_of)

    def atom_at(self, trace: go.Bar, place: int) -> int:
        """Return the atom whose bar was clicked."""
        return int(self.shown[list(self.plot.data).index(trace) // TRACES_PER_ALGORITHM][place])


def update_records(
    figure: go.Figure,
    steps: Sequence[PursuitSteps],
    shown: Sequence[Int[np.ndarray, " n"]],
    *,
    words_of: NameOf = no_name,
    picture_of: NameOf = no_name,
) -> None:
    """Show other algorithms, inputs or atoms in that figure; `update_step` draws the rest."""
    pictures: list[dict[str, Any]] = []
    with figure.batch_update():
        figure.layout.height = figure_height(max(len(steps), 1))
        figure.layout.margin.b = scaled(BOTTOM_PX)
        for i in (0, 1):
            present = i < len(steps)
            for trace in figure.data[TRACES_PER_ALGORITHM * i :][:TRACES_PER_ALGORITHM]:
                trace.visible = present
            for name in ("xaxis", "yaxis"):
                figure.layout[f"{name}{number_of(i)}"].visible = present
            if present:
                _set_axes(figure, i, len(steps), steps[i], shown[i])
                pictures += _name_ticks(figure, i, steps[i], shown[i], words_of, picture_of)
                _start(figure, i, steps[i], shown[i], words_of)
        figure.layout.images = pictures


def update_step(
    figure: go.Figure,
    steps: Sequence[PursuitSteps],
    shown: Sequence[Int[np.ndarray, " n"]],
    step: int,
    *,
    atom: int = -1,
    fit: bool = False,
    words_of: NameOf = no_name,
) -> None:
    """Show another step in a figure of `pursuit_figure`; a widget sends one message."""
    if not steps:
        return
    ends = _range(steps, shown, step if fit else None)
    with figure.batch_update():
        for i, (record, atoms) in enumerate(zip(steps, shown, strict=True)):
            _now(figure.data, i, record, atoms, step)
            _ring(figure.data, i, record, atoms, step, words_of)
            _select(figure.data, i, record, atoms, step, atom)
            figure.layout[f"yaxis{number_of(i)}"].range = ends
        figure.layout.annotations = [
            _heading(i, one, step, words_of) for i, one in enumerate(steps)
        ]


def figure_height(n: int) -> int:
    """Return height in CSS pixels of the bars of n algorithms."""
    scale = current_theme().font_px / 13
    return int(scale * (SPACE_PX + PLOT_PX * n + (60 if n == 1 else 0)))


# --- the parts ------------------------------------------------------------------------------------


def _traces(index: int) -> list[Any]:
    axes = on_axes(index)
    colour, quiet = ALGORITHM_COLOURS[index], {"hoverinfo": "skip", "showlegend": False}
    shown = (
        "%{hovertext}<br>now %{y:.3g}<br>before this step %{customdata[0]:.3g}"
        "<br>with the input %{customdata[1]:.3g}<br>coefficient %{customdata[2]:.3g}<extra></extra>"
    )
    text, ring = {"size": current_theme().font_px}, {"width": 2.5, "color": colour}
    traces = [
        go.Bar(marker={"color": START_COLOUR, "line": {"width": 0}}, **axes, **quiet),
        go.Bar(
            marker={"color": theme.NEUTRAL, "line": {"width": 0}}, hovertemplate=shown, showlegend=False, **axes
        ),
        go.Scatter(mode="lines", line={"color": colour, "width": 1.2, "dash": "dot"}, **axes, **quiet),
        go.Scatter(
            mode="markers",
            marker={"symbol": ("circle", "diamond")[index], "size": 7, "color": colour},
            cliponaxis=False,
            **axes,
            **quiet,
        ),
        go.Scatter(
            mode="markers+text",
            marker={"symbol": "circle-open", "size": 13, "color": colour, "line": ring},
            textposition="middle right",
            textfont=text,
            cliponaxis=False,
            **axes,
            **quiet,
        ),
        go.Scatter(
            mode="text", textposition="bottom center", textfont=text, cliponaxis=False,
            **axes, **quiet,
        ),
    ]  # fmt: skip
    if index == 0:
        for which, words in KEY.items():
            traces[which].name, traces[which].showlegend = words, True
    return traces


def _start(
    figure: go.Figure,
    index: int,
    record: PursuitSteps,
    atoms: Int[np.ndarray, " n"],
    words_of: NameOf,
) -> None:
    """Draw what stays the same from step to step."""
    traces = figure.data[TRACES_PER_ALGORITHM * index :]
    places = np.arange(len(atoms), dtype=np.float32)
    traces[START].x, traces[START].y = places, _floats(record.correlations[0, atoms])
    traces[NOW].x = places
    traces[NOW].hovertext = [plot_text(_named(atom, index, words_of)) for atom in atoms.tolist()]
    ends, level = [-0.8, len(atoms) - 0.2], record.penalty
    lines = [] if level is None else [level] if record.nonnegative else [level, -level]
    # A gap between the two lines of a signed code.
    traces[PENALTY].x = _floats([x for _ in lines for x in (*ends, np.nan)])
    traces[PENALTY].y = _floats([y for line in lines for y in (line, line, np.nan)])


def _now(
    data: Sequence[go.Scatter],
    index: int,
    record: PursuitSteps,
    atoms: Int[np.ndarray, " n"],
    step: int,
) -> None:
    at = record.reached(step)
    now, start = record.correlations[at, atoms], record.correlations[0, atoms]
    before = record.correlations[max(at - 1, 0), atoms]
    code = record.dense_code_at(step, atoms)
    bars, dots = (data[TRACES_PER_ALGORITHM * index + which] for which in (NOW, IN_CODE))
    bars.y = _floats(now)
    bars.customdata = np.stack([before, start, code], axis=1).astype(np.float32)
    # Only numbers change from step to step: a message that named the colours of some traces would
    # make the browser forget those of the others.
    bars.marker.opacity = _opacity(now, start)
    used = np.flatnonzero(code)
    dots.x, dots.y = used.astype(np.float32), _floats(now[used])


def _opacity(
    now: Float[np.ndarray, " n"], start: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Opacity of each bar: the less is left of its correlation with the input, the paler."""
    left = np.abs(now) / np.maximum(np.abs(start), 1e-12)
    return _floats(PALEST + (1 - PALEST) * np.clip(left, 0, 1))


def _ring(
    data: Sequence[go.Scatter],
    index: int,
    record: PursuitSteps,
    atoms: Int[np.ndarray, " n"],
    step: int,
    words_of: NameOf,
) -> None:
    """Ring the atom that comes next, where its bar is shown."""
    ring, atom = data[TRACES_PER_ALGORITHM * index + RING], record.next_atom(step)
    place = np.flatnonzero(atoms == atom)
    ring.x = place.astype(np.float32)
    ring.y = _floats(record.correlations_at(step)[[atom] * len(place)])
    # A label that starts in the right half could be cut off.
    right = not len(place) or place[0] < 0.5 * len(atoms)
    ring.textposition = "middle right" if right else "middle left"
    ring.text = [f" taken next: {plot_text(_named(atom, index, words_of))} " for _ in place]


def _select(
    data: Sequence[go.Scatter],
    index: int,
    record: PursuitSteps,
    atoms: Int[np.ndarray, " n"],
    step: int,
    atom: int,
) -> None:
    """Point at the selected atom from below; text takes the page's own colour."""
    mark, place = data[TRACES_PER_ALGORITHM * index + SELECTED], np.flatnonzero(atoms == atom)
    low = np.minimum(record.correlations_at(step)[[atom] * len(place)], 0)
    mark.x, mark.y, mark.text = place.astype(np.float32), _floats(low), ["▲"] * len(place)


def _heading(index: int, record: PursuitSteps, step: int, words_of: NameOf) -> dict[str, Any]:
    return {
        "text": plot_text(heading(record, step, index, words_of)),
        "x": 0.5,
        "y": 1.0,
        "xref": f"x{number_of(index)} domain",
        "yref": f"y{number_of(index)} domain",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": current_theme().font_px},
    }


def heading(record: PursuitSteps, step: int, index: int = 0, words_of: NameOf = no_name) -> str:
    """State what the step did and which atom comes next."""
    at, name = record.reached(step), record.short
    if record.objective is not None:
        used, _ = record.code_at(at)
        level = record.penalty
        more = f"dotted: λ = {format_number(level)}" if level is not None else _goal(record, at)
        return f"{name} · {counted(len(used))} · {more}"
    took = f": took atom {_named(int(record.chosen[at - 1]), index, words_of)}" if at else ""
    if at < record.n_steps:
        # Two names are too long for a chart.
        return f"{name}{took}{',' if at else ':'} next comes {record.next_atom(at)}"
    why = "nothing left to take" if record.next_atom(at) < 0 else f"{at} steps done"
    return f"{name}{took}, {why}"


def counted(n: int) -> str:
    """Return that many atoms, in words."""
    return f"{n} atom{'s' if n != 1 else ''}"


def _goal(record: PursuitSteps, at: int) -> str:
    """Return the solver's objective, in words; infinite while the prox does not allow the codes."""
    value = float(record.objective[at]) if record.objective is not None else math.inf
    return f"objective {format_number(value) if math.isfinite(value) else '∞'}"


def _named(atom: int, index: int, words_of: NameOf) -> str:
    """Number and words of an atom, short enough for a heading."""
    words = words_of(atom, index)
    return _shortened(f"{atom} · {words}", LONGEST_NAME) if words else str(atom)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# --- axes -----------------------------------------------------------------------------------------


def _floats(values: object) -> Float[np.ndarray, " n"]:
    return np.asarray(values, dtype=np.float32)


def _range(
    steps: Sequence[PursuitSteps], shown: Sequence[Int[np.ndarray, " n"]], step: int | None
) -> list[float]:
    """One range for all algorithms: of one step and the one before it, or of all steps."""
    ends = [0.0]
    for record, atoms in zip(steps, shown, strict=True):
        at = 0 if step is None else record.reached(step)
        rows = slice(None) if step is None else slice(max(at - 1, 0), at + 1)
        part = record.correlations[rows][:, atoms]
        ends += [float(part.min()), float(part.max())]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    return [low - (0.1 if low < 0 else 0.06) * span, high + ROOM_FOR_RING * span]


def _set_axes(
    figure: go.Figure, index: int, n: int, record: PursuitSteps, atoms: Int[np.ndarray, " n"]
) -> None:
    part = (1 - GAP * (n - 1)) / n
    top = 1 - index * (part + GAP)
    figure.layout[f"yaxis{number_of(index)}"].domain = [max(top - part, 0), top]
    x = figure.layout[f"xaxis{number_of(index)}"]
    x.range = [-0.8, len(atoms) - 0.2]
    # Only the lowest axis is named: all have the same.
    x.title.text = _axis_title(record, atoms) if index == n - 1 else ""


def _name_ticks(
    figure: go.Figure,
    index: int,
    record: PursuitSteps,
    atoms: Int[np.ndarray, " n"],
    words_of: NameOf,
    picture_of: NameOf,
) -> list[dict[str, Any]]:
    """Name the first atoms of the code under their bars; return them as images, where they are such.

    Sorted bars of atoms without names have no ticks: a row of numbers would say nothing.
    """
    x, by_number = figure.layout[f"xaxis{number_of(index)}"], _in_dictionary_order(atoms)
    places = _apart(record, atoms)
    chosen = atoms[places].tolist()
    words = [words_of(atom, index) for atom in chosen]
    pictures = [picture_of(atom, index) for atom in chosen]
    x.title.standoff = PICTURE_PX + 8 if any(pictures) else 4
    x.tickvals, x.tickangle = places, 0
    x.ticktext = [
        plot_text(_shortened(text, LONGEST_TICK)) if text else str(atom) if by_number else ""
        for text, atom in zip(words, chosen, strict=True)
    ]
    across = {"xref": f"x{number_of(index)}", "yref": f"y{number_of(index)} domain"}
    size = {"sizex": PICTURE_PX * len(atoms) / 420, "sizey": PICTURE_PX / PLOT_PX}
    below = {"xanchor": "center", "yanchor": "top", "y": -0.02 if not any(words) else -0.12}
    return [
        {"source": picture, "x": place, **across, **size, **below}
        for place, picture in zip(places, pictures, strict=True)
        if picture
    ]


def _apart(record: PursuitSteps, atoms: Int[np.ndarray, " n"]) -> list[int]:
    """Places of atoms of the code, the first chosen first, as far apart as their names need.

    A code may use more atoms than there are bars: those without one have no place.
    """
    code, _ = record.code_at(record.n_steps)
    places: list[int] = []
    for atom in code.tolist():
        for place in np.flatnonzero(atoms == atom).tolist():
            if all(abs(place - other) >= len(atoms) / N_TICKS for other in places):
                places.append(place)
    return sorted(places)


def _in_dictionary_order(atoms: Int[np.ndarray, " n"]) -> bool:
    return bool((np.diff(atoms) > 0).all())


def _axis_title(record: PursuitSteps, atoms: Int[np.ndarray, " n"]) -> str:
    """Return the title of the axis; number and name of every bar are in its hover text."""
    order = "by number" if _in_dictionary_order(atoms) else "best match first"
    if len(atoms) == record.n_atoms:
        return f"atoms, {order}"
    return f"{len(atoms)} of {record.n_atoms} atoms, {order}"


def scale_texts(figure: go.Figure) -> None:
    """Give numbers and titles the size of the current scale."""
    size = current_theme().font_px
    with figure.batch_update():
        for trace in figure.data:
            if trace.type == "scatter" and trace.mode and "text" in trace.mode:
                trace.textfont.size = size
        for note in figure.layout.annotations:
            note.font.size = size
