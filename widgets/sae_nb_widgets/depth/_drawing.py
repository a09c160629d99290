"""What a DepthTrajectory draws: phases, paths with what lies over them, the input, the strips."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics import Quantity, SelfCorrection, Trajectories
from sae_nb.figures import (
    CONTROL,
    NOVEL,
    OKABE_ITO,
    PAGE_INKS,
    PREDICTED,
    category_style,
    escape,
    format_count,
    format_number,
    format_percent,
)
from sae_nb.summaries import AtomDepths, DepthPaths, DepthSummary, lambert
from sae_nb_widgets.components import Chart, DepthStrips, Line
from sae_nb_widgets.depth import _controls as depth_controls, _figure as figures
from sae_nb_widgets.depth._figure import KIND_COLOURS
from sae_nb_widgets.depth._input import DepthInputView
from sae_nb_widgets.depth._runs import DepthRuns
from sae_nb_widgets.depth._traces import MOST_GROUPS, style_of

# -------------------------------------------------------------------------------------------------
# The strips of a DepthTrajectory: measurements over layers as charts, the selected token among them.


THIS = "this one"
ATOM_COLOURS = tuple(category_style(i)[0] for i in (5, 4, 2, 3))


def measured_charts(summary: DepthSummary, picture: int, token: int) -> list[Chart]:
    """Charts of everything that is measured of the states themselves."""
    paths = summary.trajectories
    charts = [
        _by_kind(paths, "convergence", "direction to the end γ", picture, token),
        _by_kind(paths, "speed", "angular speed, rad", picture, token),
        _coherence(paths, picture),
        _ranks(paths),
    ]
    if paths.basins is not None:
        basins = paths.basins
        lines = [
            Line(values=basins.gap, colour=PREDICTED),
            Line(values=basins.floor, name="floor", colour=CONTROL, dashed=True),
        ]
        title = "classes apart"
        charts.append(_chart(title, lines, low=min(0.0, float(basins.gap.min()))))
    return charts


def push_chart(pushed: SelfCorrection, token: int) -> Chart:
    """How far the push of one input's token is still felt."""
    angles, control = (x[0, :, token].numpy().copy() for x in (pushed.angles, pushed.norm_only))
    angles[: pushed.layer], control[: pushed.layer] = np.nan, np.nan
    lines = [
        Line(values=angles, name="pushed", colour=NOVEL),
        Line(values=control, name="if blocks ignored the push", colour=CONTROL, dashed=True),
    ]
    return _chart("angle to no push, rad", lines)


def rolled_chart(angles: Float[np.ndarray, " layers"]) -> Chart:
    """How far Raptor's own roll-out is from the states."""
    line = Line(values=angles, name="Raptor", colour=PREDICTED, dashed=True)
    return _chart("angle of Raptor, rad", [line])


def atoms_chart(depths: AtomDepths, atoms: Sequence[int]) -> Chart:
    """Energy of some atoms over depth, each as a share of its peak."""
    shown = list(atoms)[: len(ATOM_COLOURS)]
    lines = []
    for atom, colour in zip(shown, ATOM_COLOURS):
        energy = depths.energy[atom]
        lines.append(
            Line(
                values=energy / max(float(energy.max()), 1e-12), name=f"atom {atom}", colour=colour
            )
        )
    return _chart("atoms, share of peak", lines, high=1.0)


def _by_kind(
    paths: Trajectories, quantity: Quantity, title: str, picture: int, token: int
) -> Chart:
    lines = [
        Line(
            values=_from_embeddings(paths.mean(quantity, kind), paths.n_layers),
            name=kind,
            colour=KIND_COLOURS[kind],
        )
        for kind in paths.kinds
    ]
    own: Tensor = getattr(paths, quantity)[picture, :, token]
    lines.append(Line(values=_from_embeddings(own, paths.n_layers), name=THIS))
    low = min(0.0, *(float(np.nanmin(line.values)) for line in lines))
    # A round number, so that it fits beside the chart.
    low = float(np.floor(10 * low)) / 10
    high = 1.0 if quantity == "convergence" else None
    return _chart(title, lines, low=low, high=high)


def _coherence(paths: Trajectories, picture: int) -> Chart:
    floor = np.full(paths.n_layers + 1, paths.coherence_floor)
    colour = KIND_COLOURS["patch" if "patch" in paths.kinds else "token"]
    word = "patches" if "patch" in paths.kinds else "tokens"
    lines = [
        Line(values=paths.coherence.mean(dim=0).numpy(), colour=colour),
        Line(values=paths.coherence[picture].numpy(), name=THIS),
        Line(values=floor, name="floor", colour=CONTROL, dashed=True),
    ]
    return _chart(f"coherence ρ of {word}", lines, high=1.0)


def _ranks(paths: Trajectories) -> Chart:
    lines = [
        Line(values=_from_embeddings(paths.update_rank.effective, paths.n_layers), colour=CONTROL),
        Line(
            values=_from_embeddings(paths.update_rank.stable, paths.n_layers), colour=OKABE_ITO[5]
        ),
    ]
    return _chart("update rank", lines)


def _from_embeddings(values: Tensor, n_layers: int) -> Float[np.ndarray, " layers"]:
    """Put what blocks do at the layer they put out."""
    array = values.numpy().astype(np.float64)
    return array if len(array) == n_layers + 1 else np.concatenate([[np.nan], array])


def _chart(title: str, lines: list[Line], *, low: float = 0.0, high: float | None = None) -> Chart:
    tops = [float(np.nanmax(line.values)) for line in lines if np.isfinite(line.values).any()]
    top = high if high is not None else max(tops, default=1.0)
    return Chart(title=title, lines=lines, low=low, high=max(top, low + 1e-6))


# -------------------------------------------------------------------------------------------------
# What a DepthTrajectory draws: phases, paths with what lies over them, the input, the strips.


Flat = Any
SHAPES = {"square": "", "diamond": "transform:rotate(45deg)"}


class DepthDrawing(DepthRuns):
    """A DepthTrajectory's picture of what its runs gave."""

    _picture: go.FigureWidget
    _strips: DepthStrips
    _legend: ipw.HTML
    _view: DepthInputView
    _drawn: figures.DrawnPaths | None

    @property
    def _cuts(self) -> tuple[int, ...]:
        if self.summary is None:
            return (0, self.n_layers)
        return self.summary.phases[self.similarity][self.k].cuts

    def _draw_phases(self) -> None:
        if self.summary is None:
            return
        figures.draw_similarity(
            self._picture,
            self.summary.similarity[self.similarity],
            self._cuts,
            self.summary.gains(self.similarity),
            words=depth_controls.SIMILARITY_WORDS[self.similarity],
        )
        figures.draw_layer_mark(self._picture, self.layer)
        self.say(self._phase_words())

    def _phase_words(self) -> str:
        if self.summary is None:
            return ""
        phases = self.summary.phases[self.similarity][self.k]
        words = f"blocks {phases}: {format_percent(phases.gain)} of the dissimilarity lies between"
        if self.k > 1 and np.isfinite(phases.contrast):
            words += (
                f"; contrast at equal distance {format_number(phases.contrast)} (0: a smooth band)"
            )
        return words

    def _draw_input(self) -> None:
        if self._view.ready:
            self._view.show(self.picture, self.token, self._turned(), self._most_turned())
        self._draw_strips()
        self.chips = self._facts()

    def _turned(self) -> Float[np.ndarray, " tokens"]:
        """How far the block before the cursor turned each token; nothing at the embeddings."""
        if self.summary is None or self.layer == 0:
            return np.zeros(self.n_tokens)
        found = self.summary.trajectories.speed[self.picture, self.layer - 1]
        return np.asarray(found.numpy())

    def _most_turned(self) -> float:
        """Brightest colour: the same at all layers, the violent first block left out."""
        if self.summary is None:
            return 1.0
        return float(self.summary.trajectories.speed[self.picture, 1:].max())

    def _draw_strips(self) -> None:
        if self.summary is None:
            return
        charts = measured_charts(self.summary, self.picture, self.token)
        if self.pushed is not None:
            charts.append(push_chart(self.pushed, self.token))
        angles = self._rolled_angles()
        if angles is not None:
            charts.append(rolled_chart(angles))
        if self.depths is not None and self.atoms:
            charts.append(atoms_chart(self.depths, self.atoms))
        self._strips.show(charts, cuts=self._cuts)
        self._strips.cursor = self.layer

    def _draw_paths(self) -> None:
        if self.paths is not None and self.summary is not None:
            self._drawn = self._dressed(self.paths, self.dimensions)
            self._legend.value = _legend_html(self._drawn)
            self._draw_trails()

    def _draw_trails(self) -> None:
        if self._drawn is not None:
            ink = PAGE_INKS[self.dark]
            figures.draw_paths(self._picture, self._drawn, self.layer, ink=ink)

    def _dressed(self, paths: DepthPaths, dimensions: int) -> figures.DrawnPaths:
        """Paths with their colours and what lies over them."""
        groups, names, colours, symbols = self._groups(paths)
        flat = _flattening(paths, dimensions)
        own = (paths.inputs == self.picture) & (paths.tokens == self.token)
        pushed = None if self.pushed is None else self.pushed.states[0, :, self.token]
        rolled = None if self.rolled is None else self.rolled[:, self.token]
        return figures.DrawnPaths(
            points=flat(paths.points),
            groups=groups,
            names=names,
            colours=colours,
            symbols=symbols,
            texts=tuple(self._path_text(i, j) for i, j in zip(paths.inputs, paths.tokens)),
            own=int(np.flatnonzero(own)[0]) if own.any() else -1,
            axes=("", "", "") if paths.coordinates == "sphere" and dimensions == 2 else paths.axes,
            title=self._path_title(paths),
            pushed=_over(paths, flat, pushed),
            pushed_from=0 if self.pushed is None else self.pushed.layer,
            rolled=_over(paths, flat, rolled),
            rim=2.0 if paths.coordinates == "sphere" else 0.0,
        )

    def _groups(
        self, paths: DepthPaths
    ) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Colour of every stretch of every path, and what colours are called."""
        n, layers = len(paths.points), self.n_layers + 1
        if self.color_by == "phase":
            cuts = np.array(self._cuts)
            phase = np.clip(
                np.searchsorted(cuts, np.arange(layers), side="left") - 1, 0, self.k - 1
            )
            names = tuple(f"blocks {a + 1}–{b}" for a, b in pairwise(cuts.tolist()))
            colours = figures.PHASE_COLOURS[: self.k]
            return np.tile(phase, (n, 1)), names, colours, ("circle",) * self.k
        if (
            self.color_by == "class"
            and self.summary is not None
            and self.summary.classes is not None
        ):
            numbers = np.minimum(self.summary.classes[paths.inputs], MOST_GROUPS - 1)
            styles = [style_of(i) for i in range(min(len(self.summary.class_names), 10))]
            names = self.summary.class_names[: len(styles)]
            if len(self.summary.class_names) > len(styles):
                names = (*names[:-1], "others")
            colours, symbols = (tuple(part) for part in zip(*styles))
            return _wide(numbers, layers), names, colours, symbols
        kinds = [] if self.summary is None else list(self.summary.trajectories.token_kinds)
        listed = () if self.summary is None else self.summary.trajectories.kinds
        numbers = np.array([listed.index(kinds[token]) for token in paths.tokens])
        colours = tuple(figures.KIND_COLOURS[kind] for kind in listed)
        return (
            _wide(numbers, layers),
            listed,
            colours,
            ("circle", "diamond", "square")[: len(listed)],
        )

    def _path_text(self, picture: int, token: int) -> str:
        where = f" · {self._view.name(token)}"
        named = ""
        if self.summary is not None and self.summary.classes is not None:
            named = f" · {self.summary.class_names[self.summary.classes[picture]]}"
        return f"input {picture}{named}{where}"

    def _path_title(self, paths: DepthPaths) -> str:
        whose = "all tokens"
        if self.show == "pictures":
            whose = f"{self._view.name(self.token)} of {len(paths.points)} inputs"
        words = depth_controls.COORDINATE_WORDS[paths.coordinates]
        kept = f", {100 * paths.kept:.0f} % kept" if np.isfinite(paths.kept) else ""
        return f"{whose} · {words}{kept}"

    def _facts(self) -> dict[str, str]:
        """What stands beside the question."""
        facts = {"model": self.model.name, "blocks": str(self.n_layers)}
        facts["inputs"] = format_count(self.n_inputs)
        if self.summary is not None:
            facts["input"] = self._path_text(self.picture, self.token).removeprefix("input ")
        return facts


def _legend_html(drawn: figures.DrawnPaths) -> str:
    """What colours and dashes of paths mean."""
    entries = [
        f'<span class="sae-nb-keep" style="margin-right:12px"><span style="display:inline-block;'
        f"width:10px;height:10px;background:{colour};vertical-align:baseline;margin-right:5px;"
        f'{SHAPES.get(symbol, "border-radius:50%")}"></span>{escape(name)}</span>'
        for name, colour, symbol in zip(drawn.names, drawn.colours, drawn.symbols)
    ]
    lines = [("solid", "currentColor", "this one")]
    lines += [("dotted", NOVEL, "pushed")] if drawn.pushed is not None else []
    lines += [("dashed", PREDICTED, "Raptor")] if drawn.rolled is not None else []
    entries += [
        f'<span class="sae-nb-keep" style="margin-right:12px"><span style="display:inline-block;'
        f'width:20px;border-top:3px {style} {colour};vertical-align:middle;margin-right:4px">'
        f"</span>{name}</span>"
        for style, colour, name in lines
    ]
    return f"<div>{''.join(entries)}</div>"


def _over(paths: DepthPaths, flat: Flat, states: Tensor | None) -> np.ndarray | None:
    """Where states of one token lie on the axes of the paths."""
    return None if states is None else np.asarray(flat(paths.project(states)))


def _flattening(paths: DepthPaths, dimensions: int) -> Flat:
    """Return what turns three coordinates into those that are drawn."""
    if dimensions == 3:
        return lambda points: points
    if paths.coordinates != "sphere":
        return lambda points: points[..., :2]
    north = paths.points[:, -1].mean(axis=0)
    return lambda points: lambert(points, north)


def _wide(numbers: np.ndarray, layers: int) -> np.ndarray:
    return np.repeat(numbers[:, None], layers, axis=1)
