"""CircuitMap: the nodes of a circuit as their names over their tokens, and the lines between them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import traitlets as t

from sae_nb.figures import fade, theme
from sae_nb.figures.shapes import Drawing, Label, Picture, Polyline, Rectangle, Stroke
from sae_nb.figures.theme import escape
from sae_nb_widgets.circuit._layout import Face, Layout, Pill
from sae_nb_widgets.components import Component
from sae_nb_widgets.components._base import style_sheet
from sae_nb_widgets.components._scripts import read_static, script

WIDTHS = (1240, 860, 560, 350)
"""Stages in pixels: the browser shows the widest that it has room for."""

COLOURS = {
    "for": theme.WARM, "against": theme.BLUE, "missed": theme.CONTROL, "group": theme.OK,
    "answer": theme.BLACK, "input": theme.CLEAR,
}  # fmt: skip


class CircuitMap(Component):
    """Nodes as names in outlines, orange for the answer and blue against it; click one to select it.

    Examples
    --------
    >>> map = CircuitMap(description="circuit")
    >>> map.selected
    -1
    """

    _esm = script("circuit_map")
    _css = style_sheet("components.css", "circuit_map.css")

    faces = t.List(t.Dict(), help="Words and marks of each node.").tag(sync=True)
    layouts = t.List(t.Dict(), help="Where everything is, the widest stage first.").tag(sync=True)
    selected = t.Int(-1, help="Node chosen, by its place in `faces`; -1 for none.").tag(sync=True)

    _drawn: tuple[Sequence[Face], Sequence[Layout]] = ((), ())

    def show(self, faces: Sequence[Face], layouts: Sequence[Layout], selected: int = -1) -> None:
        """Replace what is shown, in one message to the browser."""
        self._drawn = tuple(faces), tuple(layouts)
        with self.hold_sync(), self.hold_trait_notifications():
            self.faces = [vars(face) | {"marks": list(face.marks)} for face in faces]
            self.layouts = [layout.plain() for layout in layouts]
            self.atoms = [face.atom for face in faces]
            self.selected = selected

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> int:
        if not -1 <= proposal["value"] < len(self.faces):
            raise t.TraitError(
                f"`selected` must be one of {len(self.faces)} nodes, or -1, got {proposal['value']}."
            )
        return int(proposal["value"])

    # --- without a browser ------------------------------------------------------------------------

    def static_html(self) -> str:
        """Return the drawing for every width as escaped SVG; the style sheet shows the one that fits."""
        if not self.layouts:
            return self._empty_html()
        stages = "".join(
            f'<div class="sae-nb-stage{i}">{self._svg(layout)}</div>'
            for i, layout in enumerate(self._drawn[1])
        )
        return (
            f"<style>{read_static('circuit_map.css')}</style>"
            f'<div class="sae-nb-component sae-nb-circuit sae-nb-still">{stages}</div>'
        )

    def _svg(self, layout: Layout) -> str:
        lines = "".join(
            f'<path class="sae-nb-tie sae-nb-tie-{"for" if tie.adds else "against"}{self._mine(tie)}" '
            f'd="M{tie.x0:.0f} {tie.y0:.0f}C{tie.x0:.0f} {(tie.y0 + tie.y1) / 2:.0f} {tie.x1:.0f} '
            f'{(tie.y0 + tie.y1) / 2:.0f} {tie.x1:.0f} {tie.y1:.0f}" stroke-width="{tie.wide:.1f}"/>'
            for tie in layout.ties
        )
        rows = "".join(
            f'<text class="sae-nb-rowname" x="2" y="{y:.0f}">{escape(name)}</text>'
            for name, y in layout.rows
        )
        words = "".join(_word_svg(*word) for word in layout.words)
        pills = "".join(self._pill_svg(pill) for pill in layout.pills)
        chosen = " sae-nb-some" if self.selected >= 0 else ""
        return (
            f'<svg class="sae-nb-circuitsvg{chosen}" viewBox="0 0 {layout.wide:.0f} {layout.high:.0f}" '
            f'font-size="{layout.size:g}" role="img" aria-label="{escape(self.description)}">'
            f"{lines}{rows}{words}{pills}</svg>"
        )

    def _mine(self, tie: object) -> str:
        ends = (getattr(tie, "source"), getattr(tie, "target"))  # noqa: B009
        return " sae-nb-mine" if self.selected in ends else ""

    def _pill_svg(self, pill: Pill) -> str:
        face = self._drawn[0][pill.place]
        tag = f' data-atom="{face.atom}"' if face.atom >= 0 else ""
        box = (
            f'x="{pill.x - pill.wide / 2:.1f}" y="{pill.y - pill.high / 2:.1f}" width="{pill.wide:.1f}" '
            f'height="{pill.high:.1f}"'
        )
        drawn = (
            f'<rect {box} rx="{pill.high / 2:.1f}"/><text x="{pill.x:.1f}" y="{pill.y:.1f}">'
            f"{escape(pill.text)}</text>"
        )
        if face.tone == "answer":
            ground = f'<div class="sae-nb-answerpill">{escape(pill.text)}</div>'
            drawn = f"<foreignObject {box}>{ground}</foreignObject>"
        return (
            f'<g class="{" ".join(_classes(face, pill.place == self.selected))}"{tag}>{drawn}'
            f"<title>{escape(face.tip)}</title></g>"
        )

    def drawing(self, width: float) -> Drawing:
        """Return the widest stage that fits as strokes."""
        faces, layouts = self._drawn
        fitting = [layout for layout in layouts if layout.wide <= width] or list(layouts[-1:])
        if not fitting:
            return super().drawing(width)
        layout, strokes = fitting[0], list[Stroke]()
        for tie in layout.ties:
            colour = fade(theme.WARM if tie.adds else theme.BLUE, 0.45)
            strokes.append(Polyline(tie.points, colour, tie.wide))
        for name, y in layout.rows:
            strokes.append(Label(2, y + 4, name, "start", layout.size - 2))
        for text, x, y, crop, side in layout.words:
            if crop:
                file = base64.b64decode(crop.partition(",")[2])
                strokes.append(Picture(x - side / 2, y - side / 2, side, side, file, smooth=False))
            else:
                strokes.append(Label(x, y + 4, text, "middle", layout.size + 1))
        for pill in layout.pills:
            strokes += _pill_strokes(
                pill, faces[pill.place], pill.place == self.selected, layout.size
            )
        return Drawing(layout.wide, layout.high, tuple(strokes))


def _word_svg(text: str, x: float, y: float, crop: str, side: float) -> str:
    if crop:
        at = f'x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}"'
        return f'<image href="{escape(crop)}" {at}/>'
    return f'<text class="sae-nb-word" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _classes(face: Face, chosen: bool) -> list[str]:
    marks = [f"sae-nb-{mark}" for mark in face.marks]
    quiet = ["sae-nb-nameless"] * face.quiet
    return ["sae-nb-node", f"sae-nb-node-{face.tone}", *marks, *quiet, *["sae-nb-chosen"] * chosen]


def _pill_strokes(pill: Pill, face: Face, chosen: bool, size: float) -> list[Stroke]:
    if face.tone == "input":
        return []
    left, top = pill.x - pill.wide / 2, pill.y - pill.high / 2
    right, bottom = left + pill.wide, top + pill.high
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    answer = face.tone == "answer"
    return [
        Rectangle(left, top, pill.wide, pill.high, theme.BLACK if answer else theme.WHITE),
        Polyline(corners, COLOURS[face.tone], 2.6 if chosen else 1.4, dashed="pinned" in face.marks),
        Label(
            pill.x, pill.y + size / 3, pill.text, "middle", size, bold=answer,
            colour=theme.WHITE if answer else theme.BLACK,
        ),
    ]  # fmt: skip
