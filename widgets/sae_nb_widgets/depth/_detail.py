"""What stands beside and under the paths: measurements over layers, and the input with its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as ipw
import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics import Quantity, SelfCorrection, Trajectories
from sae_nb.figures import category_style, current_theme, theme
from sae_nb.summaries import AtomDepths, DepthInputs, DepthSummary
from sae_nb_widgets.components import Chart, Line, PictureGrid, TokenStrip
from sae_nb_widgets.depth._figure import KIND_COLOURS

# --- the strips: measurements over layers, the selected token among them ---------------------------

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
            Line(values=basins.gap, colour=theme.PREDICTED),
            Line(values=basins.floor, name="floor", colour=theme.CONTROL, dashed=True),
        ]
        title = "classes apart"
        charts.append(_chart(title, lines, low=min(0.0, float(basins.gap.min()))))
    return charts


def push_chart(pushed: SelfCorrection, token: int) -> Chart:
    """How far the push of one input's token is still felt."""
    angles, control = (x[0, :, token].numpy().copy() for x in (pushed.angles, pushed.norm_only))
    angles[: pushed.layer], control[: pushed.layer] = np.nan, np.nan
    lines = [
        Line(values=angles, name="pushed", colour=theme.NOVEL),
        Line(values=control, name="if blocks ignored the push", colour=theme.CONTROL, dashed=True),
    ]
    return _chart("angle to no push, rad", lines)


def rolled_chart(angles: Float[np.ndarray, " layers"]) -> Chart:
    """How far Raptor's own roll-out is from the states."""
    line = Line(values=angles, name="Raptor", colour=theme.PREDICTED, dashed=True)
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
        Line(values=floor, name="floor", colour=theme.CONTROL, dashed=True),
    ]
    return _chart(f"coherence ρ of {word}", lines, high=1.0)


def _ranks(paths: Trajectories) -> Chart:
    lines = [
        Line(
            values=_from_embeddings(paths.update_rank.effective, paths.n_layers),
            colour=theme.CONTROL,
        ),
        Line(
            values=_from_embeddings(paths.update_rank.stable, paths.n_layers),
            colour=theme.OKABE_ITO[5],
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


# --- the input, with a token picker ----------------------------------------------------------------

PICTURE_SHARE = 1.65
"""Side of the picture in thumbnails."""


class DepthInputView:
    """One input with its tokens shaded by how far the last block turned them; a click picks one.

    Its widgets are made at once, so that a browser has loaded them when the model has run; what the
    tokens are is told by `prepare`.
    """

    def __init__(self, inputs: DepthInputs, pick: Callable[[int], None]) -> None:
        self._inputs, self._pick, self._filling = inputs, pick, False
        self._kinds: tuple[str, ...] = ()
        self._positions: tuple[int, ...] = ()
        self._patches: list[int] = []
        self._others: list[int] = []
        self._grid_shape: tuple[int, int] | None = None
        self.grid = PictureGrid(
            description="the input, patches shaded by how far the last block turned them",
            hint="shade: turned by the last block; click a patch",
            unit="rad",
            bare=True,
        )
        self.strip = TokenStrip(
            description="tokens of the input, shaded by how far the last block turned them",
            unit="rad",
            bare=inputs.pictures is not None,
            hint="shade: turned by the last block; click a token",
        )
        self.grid.empty_text = self.strip.empty_text = "The model is running."
        self.grid.layout.width = f"{int(PICTURE_SHARE * current_theme().thumbnail_px) + 24}px"
        self.strip.layout.min_width = "0"
        self.grid.observe(lambda change: self._on_patch(change["new"]), "selected")
        self.strip.observe(lambda change: self._on_token(change["new"]), "selected")

    def prepare(
        self,
        token_kinds: Sequence[str],
        positions: Sequence[int],
        patch_grid: tuple[int, int] | None,
    ) -> None:
        """Learn what the tokens are."""
        self._kinds, self._positions = tuple(token_kinds), tuple(positions)
        self._patches = [i for i, kind in enumerate(self._kinds) if kind == "patch"]
        fits = patch_grid is not None and patch_grid[0] * patch_grid[1] == len(self._patches)
        self._grid_shape = patch_grid if fits else None
        self._others = [i for i, kind in enumerate(self._kinds) if kind != "patch"]
        self.strip.layout.display = None if self._others else "none"

    @property
    def ready(self) -> bool:
        """Whether it knows its tokens."""
        return bool(self._kinds)

    def arranged(self, chooser: ipw.Widget) -> tuple[ipw.Widget, ...]:
        """Return the picture, and beside it the chooser over the tokens that are no patches."""
        beside = ipw.VBox([chooser, self.strip])
        beside.layout.flex, beside.layout.min_width = "1 1 220px", "0"
        return (self.grid, beside) if self._inputs.pictures is not None else (beside,)

    def name(self, token: int) -> str:
        """What a token is called."""
        kind = self._kinds[token]
        if kind == "patch" and self._grid_shape is not None:
            row, column = divmod(self._patches.index(token), self._grid_shape[1])
            return f"patch {row},{column}"
        if kind == "token":
            return f"token {self._positions[token]}"
        same = [i for i, other in enumerate(self._kinds) if other == kind]
        return kind if len(same) == 1 else f"{kind} {same.index(token)}"

    def show(
        self, picture: int, token: int, values: Float[np.ndarray, " tokens"], maximum: float
    ) -> None:
        """Show another input."""
        self._filling, maximum = True, max(maximum, 1e-6)
        pictures = self._inputs.pictures
        if pictures is not None:
            self.grid.show(
                pictures[picture : picture + 1], heat=self._heat(values), maximum=maximum
            )
            self.grid.thumbnail = int(PICTURE_SHARE * current_theme().thumbnail_px)
        if self._others:
            texts = [self._text(picture, i) for i in self._others]
            self.strip.show(
                [texts],
                [self._strengths(values)],
                maximum=maximum,
                captions=["others" if pictures is not None else f"input {picture}"],
            )
        self._filling = False
        self.mark(token)

    def shade(self, values: Float[np.ndarray, " tokens"]) -> None:
        """Show other values of the same input: a few hundred bytes."""
        heat = self._heat(values)
        if heat is not None and self.grid.captions:
            self.grid.heat = heat.tobytes()
        if self._others and self.strip.tokens:
            self.strip.token_strengths = self._strengths(values).tobytes()

    def mark(self, token: int) -> None:
        """Outline a token."""
        self._filling = True
        patch = self._patches.index(token) if token in self._patches else -1
        if self.grid.captions:
            self.grid.selected = (0, patch) if self._grid_shape else (-1, -1)
        if self.strip.tokens:
            other = self._others.index(token) if token in self._others else -1
            self.strip.selected = (0, other) if other >= 0 else (-1, -1)
        self._filling = False

    def _heat(self, values: np.ndarray) -> np.ndarray | None:
        if self._grid_shape is None:
            return None
        heat = values[self._patches].astype(np.float32)
        return heat.reshape(1, *self._grid_shape)

    def _strengths(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values[self._others], np.float32)

    def _text(self, picture: int, token: int) -> str:
        if self._inputs.tokens:
            return self._inputs.tokens[picture][self._positions[token]]
        return f" {self.name(token).replace('register', 'reg')} "

    def _on_patch(self, chosen: Any) -> None:
        if not self._filling and chosen[1] >= 0 and self._grid_shape is not None:
            self._pick(self._patches[chosen[1]])

    def _on_token(self, chosen: Any) -> None:
        if not self._filling and chosen[1] >= 0:
            self._pick(self._others[chosen[1]])
