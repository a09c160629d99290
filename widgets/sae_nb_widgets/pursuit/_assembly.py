"""The stage of the PursuitStepper: the input as a sum of what is built so far and what is left.

Inputs that are pictures are drawn as such, with a strip of all steps; of other inputs a staircase shows
the atoms by name, each with the part of the input that it added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from sae_nb.architectures import PursuitSteps
from sae_nb.atoms import says_much
from sae_nb.figures.theme import escape, format_number
from sae_nb_widgets.components._atom_card import png_address
from sae_nb_widgets.components._base import HTML, atom_mark
from sae_nb_widgets.pursuit._detail import PictureShape, picture, share_of, unexplained
from sae_nb_widgets.pursuit._figure import ALGORITHM_COLOURS, NameOf, counted

MOST_FRAMES, MOST_STAIRS = 12, 16
FRAME_PIXELS = 32
"""Rows of an image in the strip: larger ones lose pixels there, and stay whole above."""


class Assembly:
    """One sum for each algorithm: the input = rebuilt so far + left, and the atom that comes next.

    `icons_of` gives the image of an atom's strongest patch, `source_of` where an input is from, as HTML;
    both are empty where nothing is known.
    """

    def __init__(
        self,
        picture_shape: PictureShape | None,
        bias: Float[np.ndarray, " d_in"],
        words_of: NameOf,
        picture_of: NameOf,
        *,
        icons_of: Callable[[Sequence[int]], Sequence[str]],
        source_of: Callable[[int], str],
    ) -> None:
        self._shape, self._bias = picture_shape, bias
        self._words_of, self._picture_of = words_of, picture_of
        self._icons_of, self._source_of = icons_of, source_of
        self.html = HTML()

    def show(self, steps: Sequence[PursuitSteps], step: int) -> None:
        """Draw a step."""
        if self._shape is None:
            source = self._source_of(steps[0].row)
            parts = "".join(self._stairs(i, one, step) for i, one in enumerate(steps))
            body = f'{source}<div class="sae-nb-columns">{parts}</div>'
        else:
            limit = float(np.abs(steps[0].x + self._bias).max()) or 1.0
            body = "".join(
                self._sum(i, one, step, self._shape, limit, named=len(steps) > 1)
                for i, one in enumerate(steps)
            )
        self.html.value = f'<div class="sae-nb-assembly">{body}</div>'

    # --- pictures -----------------------------------------------------------------------------------

    def _sum(
        self,
        index: int,
        one: PursuitSteps,
        step: int,
        shape: PictureShape,
        limit: float,
        *,
        named: bool,
    ) -> str:
        """The input, what is built and what is left of it as images, and the strip of all steps."""
        at, x = one.reached(step), one.x + self._bias
        signed = bool((x < -1e-6 * limit).any())

        def drawn(vector: Float[np.ndarray, " d_in"], signs: bool = signed) -> str:
            return png_address(picture(vector, shape, limit, signed=signs))

        left, built = unexplained(one, step), counted(len(one.code_at(at)[0]))
        of = "the mean + " * bool(self._bias.any())
        cells = [
            _framed(drawn(x), "the input"),
            '<span class="sae-nb-sign">=</span>',
            _framed(drawn(one.x_hat[at] + self._bias), f"built: {of}{built}"),
            '<span class="sae-nb-sign">+</span>',
            _framed(drawn(one.residual_at(step), signs=True), f"left: {left}"),
            self._next(index, one, at),
        ]
        head = f'<div class="sae-nb-cardtitle">{one.short}</div>' if named else ""
        strip = "".join(self._frame(index, one, t, at, shape, limit, signed) for t in _frames(one))
        return (
            f'{head}<div class="sae-nb-sum" style="--own: {ALGORITHM_COLOURS[index]}">{"".join(cells)}'
            f'</div><div class="sae-nb-film" aria-label="step by step">{strip}</div>'
        )

    def _next(self, index: int, one: PursuitSteps, at: int) -> str:
        """The atom that the next step takes; nothing where steps are over, or change many atoms."""
        atom = one.next_atom(at)
        if not one.greedy or atom < 0 or at >= one.n_steps:
            return ""
        return _framed(
            self._picture_of(atom, index), f"added next: {self._named(atom, index)}", "sae-nb-next"
        )

    def _frame(
        self,
        index: int,
        one: PursuitSteps,
        t: int,
        at: int,
        shape: PictureShape,
        limit: float,
        signed: bool,
    ) -> str:
        """What is built after step t, small, and under it the atom that the step took."""
        every = max(1, shape[-2] // FRAME_PIXELS)
        whole = picture(one.x_hat[t] + self._bias, shape, limit, signed=signed)
        kind = "sae-nb-now" if t == at else "sae-nb-later" if t > at else ""
        took = f"step {t}"
        if t and one.greedy:
            atom = int(one.chosen[t - 1])
            image = f'<img alt="" src="{self._picture_of(atom, index)}">'
            took = f"+ {image} {self._mark(atom, index, str(atom))}"
        elif not t:
            took = "the mean" if self._bias.any() else "nothing"
        address = png_address(whole[:, ::every, ::every])
        return (
            f'<figure class="{kind}"><img alt="after step {t}" src="{address}">'
            f"<figcaption>{took}</figcaption></figure>"
        )

    # --- other inputs -------------------------------------------------------------------------------

    def _stairs(self, index: int, one: PursuitSteps, step: int) -> str:
        """Atoms by name, each a stair as wide as what it added; of a solver its largest atoms."""
        at = one.reached(step)
        rows = self._taken(index, one, at) if one.greedy else self._used(index, one, at)
        gone = 100.0 - share_of(one, float(one.residual_norms[at]))
        rows.append(_stair("what is left", gone, 100.0, unexplained(one, step), "sae-nb-rest"))
        atom = one.next_atom(at)
        if one.greedy and atom >= 0 and at < one.n_steps:
            words = f"added next: {self._named(atom, index)}"
            rows.append(
                f'<div class="sae-nb-stair sae-nb-next">{self._icon(index, atom)}{words}</div>'
            )
        return (
            f'<div style="--own: {ALGORITHM_COLOURS[index]}"><div class="sae-nb-cardtitle">{one.short}: '
            f"{counted(len(one.code_at(at)[0]))}</div>{''.join(rows)}</div>"
        )

    def _taken(self, index: int, one: PursuitSteps, at: int) -> list[str]:
        shares = [100.0 - share_of(one, float(norm)) for norm in one.residual_norms[: at + 1]]
        first = max(0, at - MOST_STAIRS)
        rows = [_stair(f"the first {counted(first)}", 0.0, shares[first])] * bool(first)
        for t in range(first, at):
            atom = int(one.chosen[t])
            name = f"{self._icon(index, atom)}{self._named(atom, index)}"
            rows.append(_stair(name, shares[t], shares[t + 1]))
        return rows

    def _used(self, index: int, one: PursuitSteps, at: int) -> list[str]:
        """A solver's atoms by their coefficients: each step changes all, so none has a part of its own."""
        atoms, values = one.code_at(at)
        order = np.argsort(-np.abs(values))[:MOST_STAIRS]
        top = float(np.abs(values).max(initial=0.0)) or 1.0
        return [
            _stair(
                f"{self._icon(index, int(atoms[i]))}{self._named(int(atoms[i]), index)}",
                0.0,
                100 * abs(float(values[i])) / top,
                format_number(float(values[i]), digits=2),
            )
            for i in order
        ]

    # --- names --------------------------------------------------------------------------------------

    def _named(self, atom: int, index: int) -> str:
        """An atom's name, or its number, as HTML; pointing at it shows its card."""
        words = self._words_of(atom, index)
        return self._mark(atom, index, words if says_much(words) else f"atom {atom}")

    def _mark(self, atom: int, index: int, text: str) -> str:
        # Cards are of the first dictionary's atoms; the second one's have no words.
        known = index == 0 or self._words_of(atom, index)
        return atom_mark(atom, text) if known else escape(text)

    def _icon(self, index: int, atom: int) -> str:
        if index and not self._words_of(atom, index):
            return ""
        address = self._icons_of([atom])[0]
        return f'<img class="sae-nb-icon" src="{escape(address)}" alt="">' if address else ""


def source_html(acts: Any, row: int) -> str:
    """Return where a row of activations is from: its image with the patch outlined, and in words."""
    context, position = acts.context, int(acts.position[row])
    words = f"<figcaption>the input: {escape(acts.where(row))}</figcaption>"
    grid, pictures = context.face_grid, context.pictures
    if pictures is None:
        return f'<figure class="sae-nb-source">{words}</figure>'
    outline, patch = "", position - context.prefix_tokens
    if grid is not None and 0 <= patch < grid[0] * grid[1]:
        down, across = divmod(context.cell_of(patch), grid[1])
        outline = (
            f'<i style="left:{100 * across / grid[1]:.2f}%;top:{100 * down / grid[0]:.2f}%;'
            f'width:{100 / grid[1]:.2f}%;height:{100 / grid[0]:.2f}%"></i>'
        )
    address = png_address(pictures[int(acts.sample[row])].cpu().numpy())
    return (
        f'<figure class="sae-nb-source"><span><img alt="" width="96" src="{address}">{outline}</span>'
        f"{words}</figure>"
    )


def _frames(one: PursuitSteps) -> list[int]:
    """Steps in the strip: all, or some at equal distances, the first and the last among them."""
    return (
        np.unique(np.linspace(0, one.n_steps, min(one.n_steps, MOST_FRAMES) + 1).round())
        .astype(int)
        .tolist()
    )


def _framed(address: str, caption: str, kind: str = "") -> str:
    """An image over its caption, which is HTML."""
    image = f'<img alt="" width="120" src="{address}">' if address else ""
    return f'<figure class="{kind}">{image}<figcaption>{caption}</figcaption></figure>'


def _stair(name: str, start: float, end: float, number: str = "", kind: str = "") -> str:
    """A row: a name, which is HTML, its part of the input from `start` to `end`, and that in figures."""
    said = number or f"{format_number(end - start, '%', digits=2)}"
    return (
        f'<div class="sae-nb-stair {kind}"><span>{name}</span><span class="sae-nb-track"><i style="'
        f'left:{start:.1f}%;width:{max(end - start, 0.4):.1f}%"></i></span>'
        f'<span class="sae-nb-number">{said}</span></div>'
    )
