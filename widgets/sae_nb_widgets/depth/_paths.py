"""The paths: which there are, where they lie, their colours and names, and their overlays."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.dynamics import ChosenPaths, DepthPaths, choose_paths
from sae_nb.geometry import UmapProcess, start_umap
from sae_nb_widgets.depth._controls import COORDINATE_WORDS
from sae_nb_widgets.depth._figure import KIND_COLOURS, PHASE_COLOURS, DrawnPaths
from sae_nb_widgets.depth._runs import SMALL
from sae_nb_widgets.depth._state import DepthState
from sae_nb_widgets.depth._traces import MOST_GROUPS, style_of
from sae_nb_widgets.depth._views import noun

MOST_WORDS = 32
"""Dots that have their word next to them; more words hide each other. Ours."""
FEW = 3
"""Paths drawn in addition to the one that is followed: more are a tangle at first sight. Ours."""
Flat = Callable[[np.ndarray], np.ndarray]
"""Turns three coordinates into those that are drawn."""


class DepthLayout:
    """Lays out the paths of a panel; where that takes a UMAP, PCA is shown until it is there."""

    def __init__(self, panel: DepthState, done: Callable[[DepthPaths], None]) -> None:
        self._panel, self._done = panel, done
        self.process: UmapProcess | None = None

    def request(self) -> None:
        """Lay out what the traits of the panel ask for; what was asked before is dropped."""
        panel, asked = self._panel, self._panel.coordinates
        chosen = choose_paths(
            panel.states,
            show=panel.show,
            picture=panel.picture,
            token=panel.token,
            classes=panel.summary.classes,
        )
        self.end()
        process = None
        if asked == "umap":
            process = self.process = start_umap(chosen.directions)
        waiting = process is not None and not process.done
        atoms, sae, depths = tuple(panel.atoms), panel.sae, panel.depths
        scale = 1.0 if depths is None else float(depths.scale[depths.home])

        def work() -> DepthPaths:
            if waiting or process is None:
                shown = "pca" if waiting else asked
                return chosen.lay_out(shown, sae=sae, atoms=atoms, scale=scale)
            return chosen.lay_out(asked, xy=process.wait())

        def take(paths: DepthPaths) -> None:
            self._done(paths)
            # Only now: a layout that is there at once must not be replaced by PCA.
            if waiting and process is not None:
                self._wait_for(process, chosen)

        if chosen.fitted.numel() < SMALL and asked != "atoms":
            with panel.guarded("laying out paths"):
                take(work())
        else:
            panel.run_async(work, take, doing="laying out paths", channel="paths")

    def _wait_for(self, process: UmapProcess, chosen: ChosenPaths) -> None:
        def work() -> DepthPaths | None:
            try:
                return chosen.lay_out("umap", xy=process.wait())
            except RuntimeError:
                if process is self.process:
                    raise
                return None  # another layout was asked for meanwhile, and this one ended

        def take(paths: DepthPaths | None) -> None:
            wanted = process is self.process and self._panel.coordinates == "umap"
            if paths is not None and wanted:
                self._done(paths)

        doing = "UMAP of the paths (PCA meanwhile)"
        self._panel.run_async(work, take, doing=doing, channel="umap")

    def end(self) -> None:
        """Stop a UMAP that is no longer needed."""
        process, self.process = self.process, None
        if process is not None:
            process.close()


def drawn_paths(panel: DepthState, dimensions: int) -> DrawnPaths:
    """Return paths of a panel with their colours and overlays."""
    paths: DepthPaths = panel.paths
    groups, names, colours, symbols = _groups(panel)
    flat, n = _flattening(paths, dimensions), len(paths.points)
    mine = np.flatnonzero((paths.inputs == panel.picture) & (paths.tokens == panel.token))
    own = int(mine[0]) if len(mine) else -1
    pushed = None if panel.pushed is None else panel.pushed.states[0, :, panel.token]
    rolled = None if panel.rolled is None else panel.rolled[:, panel.token]
    trailed = np.ones(n, bool) if panel.trails == "all" else few_paths(paths.points[:, -1], own)
    return DrawnPaths(
        points=flat(paths.points),
        groups=groups,
        names=names,
        colours=colours,
        symbols=symbols,
        texts=tuple(path_text(panel, i, j) for i, j in zip(paths.inputs, paths.tokens)),
        words=_words(panel, groups, names, trailed & (np.arange(n) != own)),
        own=own,
        trailed=trailed,
        axes=("", "", "") if paths.coordinates == "sphere" and dimensions == 2 else paths.axes,
        title=_title(panel),
        what=noun(panel) if panel.show == "pictures" else "token",
        pushed=_over(paths, flat, pushed),
        pushed_from=0 if panel.pushed is None else panel.pushed.layer,
        rolled=_over(paths, flat, rolled),
        rim=2.0 if paths.coordinates == "sphere" else 0.0,
    )


def few_paths(ends: Float[np.ndarray, "paths axes"], own: int) -> Bool[np.ndarray, " paths"]:
    """Return the path that is followed and a few others, each ending far from those before it."""
    chosen = [max(own, 0)]
    while len(chosen) < min(1 + FEW, len(ends)):
        apart = np.linalg.norm(ends[:, None] - ends[chosen], axis=2).min(axis=1)
        chosen.append(int(apart.argmax()))
    return np.isin(np.arange(len(ends)), chosen)


def path_text(panel: DepthState, picture: int, token: int) -> str:
    """Name a path: its input, the input's class, its token."""
    known = panel.class_of(picture)
    return " · ".join(
        [f"{noun(panel)} {picture}", *[known] * bool(known), panel.view.place(picture, token)]
    )


def _title(panel: DepthState) -> str:
    paths, whose = panel.paths, f"{panel.view.crowd()} of {noun(panel)} {panel.picture}"
    if panel.show == "pictures":
        whose = f"{len(paths.points)} {noun(panel)}s · {panel.view.name(panel.token)}"
    return f"{whose}\nclose together: alike ({COORDINATE_WORDS[paths.coordinates]})"


def _words(
    panel: DepthState,
    groups: np.ndarray,
    names: tuple[str, ...],
    others: Bool[np.ndarray, " paths"],
) -> tuple[str, ...]:
    """The words of a text, where all of them are drawn and can be told apart; of classes each once; of
    patches the names of those whose way is drawn, the one that is followed left out.
    """
    paths = panel.paths
    if panel.color_by == "class" and panel.show == "pictures":
        return _each_once(paths.points[:, -1], groups[:, -1], names)
    if panel.show != "tokens":
        return ("",) * len(paths.tokens)
    if panel.model.modality.is_text:
        few = len(paths.tokens) <= MOST_WORDS
        return tuple(panel.view.word(panel.picture, token) if few else "" for token in paths.tokens)
    named = others & (others.sum() <= FEW)
    return tuple(panel.view.name(token) if on else "" for token, on in zip(paths.tokens, named))


def _each_once(
    ends: Float[np.ndarray, "paths axes"], groups: np.ndarray, names: tuple[str, ...]
) -> tuple[str, ...]:
    """The name of each group at the path that ends in the middle of it; empty for the other paths."""
    words = [""] * len(ends)
    for group in np.unique(groups):
        mine = np.flatnonzero(groups == group)
        apart = np.linalg.norm(ends[mine] - ends[mine].mean(axis=0), axis=1)
        words[int(mine[apart.argmin()])] = names[int(group)]
    return tuple(words)


def _groups(
    panel: DepthState,
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Colour of every stretch of every path, and what colours are called."""
    paths, summary = panel.paths, panel.summary
    n, layers = len(paths.points), panel.n_layers + 1
    if panel.color_by == "phase":
        cuts = np.array(panel.cuts)
        phase = np.searchsorted(cuts, np.arange(layers), side="left") - 1
        names = tuple(f"blocks {a + 1}–{b}" for a, b in pairwise(cuts.tolist()))
        groups = np.tile(np.clip(phase, 0, len(names) - 1), (n, 1))
        return groups, names, PHASE_COLOURS[: len(names)], ("circle",) * len(names)
    if panel.color_by == "class" and summary.classes is not None:
        numbers = np.minimum(summary.classes[paths.inputs], MOST_GROUPS - 1)
        styles = [style_of(i) for i in range(min(len(summary.class_names), MOST_GROUPS))]
        names = summary.class_names[: len(styles)]
        if len(summary.class_names) > len(styles):
            names = (*names[:-1], "others")
        colours, symbols = (tuple(part) for part in zip(*styles))
        return _wide(numbers, layers), names, colours, symbols
    kinds, listed = list(summary.trajectories.token_kinds), summary.trajectories.kinds
    numbers = np.array([listed.index(kinds[token]) for token in paths.tokens])
    symbols = ("circle", "diamond", "square")[: len(listed)]
    names = listed if len(listed) > 1 else ("the others",)
    return _wide(numbers, layers), names, tuple(KIND_COLOURS[kind] for kind in listed), symbols


def _over(paths: DepthPaths, flat: Flat, states: Tensor | None) -> np.ndarray | None:
    """Return the position of one token's states on the axes of the paths."""
    return None if states is None else np.asarray(flat(paths.project(states)))


def _flattening(paths: DepthPaths, dimensions: int) -> Flat:
    if dimensions == 3:
        return lambda points: points
    if paths.coordinates != "sphere":
        return lambda points: points[..., :2]
    north = paths.points[:, -1].mean(axis=0)
    return lambda points: lambert(points, north)


def _wide(numbers: np.ndarray, layers: int) -> np.ndarray:
    return np.repeat(numbers[:, None], layers, axis=1)


def lambert(points: Float[np.ndarray, "*rows 3"], north: Float[np.ndarray, " 3"]) -> np.ndarray:
    """Apply Lambert's map of the sphere around a pole: areas stay true, the far pole is the rim, radius 2."""
    pole = north / max(float(np.linalg.norm(north)), 1e-12)
    # Two axes at right angles to the pole, the first as near to x as it can be.
    first = np.eye(3)[0] - pole[0] * pole
    if np.linalg.norm(first) < 1e-6:
        first = np.eye(3)[1] - pole[1] * pole
    first /= np.linalg.norm(first)
    second = np.cross(pole, first)
    height = np.clip(points @ pole, -1, 1)
    stretch = np.sqrt(2 / np.maximum(1 + height, 1e-6))
    return np.stack([stretch * (points @ first), stretch * (points @ second)], axis=-1)
