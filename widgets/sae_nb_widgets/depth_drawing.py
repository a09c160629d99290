"""What a DepthTrajectory draws: phases, paths with what lies over them, the input, the strips."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from sae_nb.summaries.depth_paths import DepthPaths, lambert
from sae_nb_widgets import depth_charts, depth_controls
from sae_nb_widgets.components.depth_strips import DepthStrips
from sae_nb_widgets.depth_input import DepthInputView
from sae_nb_widgets.depth_runs import DepthRuns
from sae_nb_widgets.figures import depth as figures
from sae_nb_widgets.figures.depth_traces import MOST_GROUPS, style_of
from sae_nb_widgets.figures.theme import (
    NOVEL,
    PAGE_INKS,
    PREDICTED,
    escape,
    format_count,
    format_number,
    format_percent,
)

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
        charts = depth_charts.measured_charts(self.summary, self.picture, self.token)
        if self.pushed is not None:
            charts.append(depth_charts.push_chart(self.pushed, self.token))
        angles = self._rolled_angles()
        if angles is not None:
            charts.append(depth_charts.rolled_chart(angles))
        if self.depths is not None and self.atoms:
            charts.append(depth_charts.atoms_chart(self.depths, self.atoms))
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
