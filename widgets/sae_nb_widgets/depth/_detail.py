"""The input that is shown, with a token picker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float

from sae_nb.activations import Context
from sae_nb.dynamics import DepthInputs
from sae_nb.figures import current_theme, visible_token
from sae_nb_widgets.components import PictureGrid, TokenStrip
from sae_nb_widgets.components._picture_grid import as_film
from sae_nb_widgets.panel._declaring import show

HINT = "Colour: how much the last block turned it. Click one to follow it."
HINT_OF_PATCHES = "Outlined: the patch that is followed. Click one to follow it."
PICTURE_SHARE = 2.0
"""Side of the picture in thumbnails."""


class DepthInputView:
    """One input: the patch that is followed outlined, other tokens shaded by how far the last block turned
    them; a click picks one.

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
        self._places = Context()
        self.strip = TokenStrip(
            description="tokens of the input, coloured by how far the last block turned them",
            unit="°",
            bare=inputs.pictures is not None,
            hint=HINT,
        )
        self.strip.empty_text = "The model is running."
        self.strip.observe(lambda change: self._on_token(change["new"]), "selected")

    @cached_property
    def grid(self) -> PictureGrid:
        """The image; a model of texts has none, and is spared its script."""
        grid = PictureGrid(
            description="the input, the patch that is followed outlined",
            hint=HINT_OF_PATCHES,
            unit="°",
            bare=True,
            show_heat=False,  # the image is to be seen; pointing at a patch reads its number
            empty_text="The model is running.",
        )
        grid.observe(lambda change: self._on_patch(change["new"]), "selected")
        return grid

    def prepare(
        self,
        token_kinds: Sequence[str],
        positions: Sequence[int],
        places: Context,
    ) -> None:
        """Learn what the tokens are."""
        self._kinds, self._positions = tuple(token_kinds), tuple(positions)
        self._places = places
        self._patches = [i for i, kind in enumerate(self._kinds) if kind == "patch"]
        grid = self._places.face_grid
        self._grid_shape = grid if grid and grid[0] * grid[1] == len(self._patches) else None
        self._others = [i for i, kind in enumerate(self._kinds) if kind != "patch"]
        show(self.strip, bool(self._others))

    @property
    def ready(self) -> bool:
        """Whether it knows its tokens."""
        return bool(self._kinds)

    def name(self, token: int) -> str:
        """Return the name of a token: its place in the input."""
        kind = self._kinds[token]
        if kind == "patch" and self._grid_shape is not None:
            return self._places.token_name(self._places.prefix_tokens + self._patches.index(token))
        if kind == "token":
            return f"token {self._positions[token]}"
        same = [i for i, other in enumerate(self._kinds) if other == kind]
        return kind if len(same) == 1 else f"{kind} {same.index(token) + 1}"

    def crowd(self) -> str:
        """Return what the tokens of one input are: "cls, 4 registers and 64 patches"."""
        counts = {kind: self._kinds.count(kind) for kind in dict.fromkeys(self._kinds)}
        plural = {"patch": "patches"}
        said = [
            kind if n == 1 else f"{n} {plural.get(kind, kind + 's')}" for kind, n in counts.items()
        ]
        return f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else f"all {said[0]}"

    def place(self, picture: int, token: int) -> str:
        """Return the same with the token's word, if the input is a text."""
        word = self.word(picture, token)
        return f"“{word}” ({self.name(token)})" if word else self.name(token)

    def word(self, picture: int, token: int) -> str:
        """Return the word of a token of a text; empty for other inputs."""
        if not self._inputs.tokens:
            return ""
        return visible_token(self._inputs.tokens[picture][self._positions[token]], bare=True)

    def show(
        self, picture: int, token: int, values: Float[np.ndarray, " tokens"], maximum: float
    ) -> None:
        """Show another input: degrees by which a block turned its tokens, and the most of any block."""
        self._filling, maximum = True, max(maximum, 1e-6)
        pictures = self._inputs.pictures
        if pictures is not None:
            self.grid.show(
                pictures[picture : picture + 1],
                heat=self._heat(values),
                maximum=maximum,
                **as_film(self._places),
            )
            self.grid.thumbnail = int(PICTURE_SHARE * current_theme().thumbnail_px)
        if self._others:
            texts = [self._text(picture, i) for i in self._others]
            self.strip.show(
                [texts],
                [self._strengths(values)],
                maximum=maximum,
                peaks=[-1],
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
        patch = -1
        if token in self._patches:
            patch = self._places.cell_of(self._patches.index(token))
        if self._inputs.pictures is not None and self.grid.captions:
            self.grid.selected = (0, patch) if self._grid_shape else (-1, -1)
        if self.strip.tokens:
            other = self._others.index(token) if token in self._others else -1
            self.strip.selected = (0, other) if other >= 0 else (-1, -1)
        self._filling = False

    def _heat(self, values: np.ndarray) -> np.ndarray | None:
        if self._grid_shape is None:
            return None
        return self._places.on_face(values[self._patches].astype(np.float32))[None]

    def _strengths(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values[self._others], np.float32)

    def _text(self, picture: int, token: int) -> str:
        if self._inputs.tokens:
            return self._inputs.tokens[picture][self._positions[token]]
        return f" {self.name(token)} "

    def _on_patch(self, chosen: Sequence[int]) -> None:
        if not self._filling and chosen[1] >= 0 and self._grid_shape is not None:
            self._pick(self._patches[self._places.patch_in(chosen[1])])

    def _on_token(self, chosen: Sequence[int]) -> None:
        if not self._filling and chosen[1] >= 0:
            self._pick(self._others[chosen[1]])
