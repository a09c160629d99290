"""PictureGrid: pictures with heat over their patches, a caption and a bar each; sounds and videos play."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets as t
from jaxtyping import Bool, Float, Int16, UInt8
from PIL import Image

from sae_nb.activations import Context
from sae_nb.atoms.sounds import clip_at, eight_bits, wave_file
from sae_nb.figures import current_theme as theme, fade, theme as colours
from sae_nb.figures.shapes import Drawing, Label, Picture, Polyline, Rectangle, Stroke, shortened
from sae_nb.figures.theme import css_colour, escape, format_number
from sae_nb_widgets.components._base import (
    Component,
    bar_html,
    bar_strokes,
    common_maximum,
    float_list,
    legend_drawing,
    legend_html,
    shade,
    title_drawing,
)
from sae_nb_widgets.components._scripts import script
from sae_nb_widgets.components._sheets import hstack, paragraph, stacked

# Above this side a picture is scaled down before it is sent: twelve of them must fit in 200 kB.
LARGEST_SIDE = 128
JPEG_FROM = 64
LONG = 2.0
"""Width over height from which an image is a trace, and that much wider than others. Ours."""

WIDER = 1.5
"""A spectrogram is shown this much wider than an image. Ours."""
FILM = 1.5
"""Likewise a frame of a video, above the strip of all its frames."""
IN_ROW = 4
"""Frames next to each other in a strip."""
FILM_GAP = 0.04
"""Space between them, as a share of a frame's width."""
TALLEST = 16_000
"""Pixels of all pictures below one another: the height that browsers decode."""
FRAME_SECONDS = 0.25
SLOWEST, FASTEST = 1.0, 0.08
"""Time that a frame is shown, seconds: where its rate is not known; at most and at least. Ours."""
FIRES_FROM = 0.15
"""Share of a picture's own maximum from which a patch counts as one where the atom fires."""
VEIL = fade(colours.BLACK, 0.42)
"""Over the other patches. The script has the same."""
AROUND = ((VEIL, 4.0), (css_colour(colours.STRENGTH), 2.0))
"""Around the patches where it fires: colour and width of two strokes."""
OUTLINE = ((colours.BLACK, 4.5), (colours.WHITE, 1.5))
"""Around a patch: colour and width of two strokes, so that one is seen on whatever lies beneath."""


def as_film(context: Context) -> dict[str, Any]:
    """Return how the samples of a context are shown as videos, as arguments of `PictureGrid.show`; nothing for
    samples that are not.
    """
    grid, steps = context.face_grid, context.frames
    if grid is None or steps is None:
        return {}
    step = context.seconds_per_step
    names = [f"frame {time}" for time in range(steps)]
    if step is not None:
        names = [f"frame {time}, {time * step:.2f} s" for time in range(steps)]
    return {
        "frames": steps,
        "frame_names": names,
        "frame_seconds": step,
        "patch_names": context.cell_names(),
    }


def as_sounds(context: Context, places: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return what is played of (sample, position) of a context, and the names of its places by time, as
    arguments of `PictureGrid.show`; nothing for samples that are not in time.
    """
    sounds = [one for one in (clip_at(context, *place) for place in places) if one is not None]
    first, grid = context.prefix_tokens, context.patch_grid
    timed = bool(sounds) or context.seconds_per_step is not None
    names = context.position_names(first + grid[0] * grid[1])[first:] if grid and timed else ()
    if not sounds:
        return {"patch_names": names} if names else {}
    return {
        "sounds": [one.values for one in sounds],
        "sound_rate": sounds[0].rate,
        "spans": [one.span for one in sounds],
        "patch_names": names,
    }


def of_one_grid(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return maps with as many rows and columns as the finest of them; each cell is that of its place."""
    rows, columns = (max(one.shape[axis] for one in maps) for axis in (0, 1))
    return [
        one[
            np.arange(rows)[:, None] * len(one) // rows,
            np.arange(columns) * one.shape[1] // columns,
        ]
        for one in maps
    ]


def outlined(heat: Float[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """Return the patches of a picture that an outline goes round: where its atom fires."""
    size = np.abs(np.nan_to_num(heat))
    return (size > 0) & (size >= FIRES_FROM * size.max(initial=0))


class PictureGrid(Component):
    """Pictures in a grid; hover a patch to read its strength, click to select it.

    Pictures travel as one encoded strip, heat-maps as float32; NaN marks a patch that was not
    captured and is drawn with a stroke instead of a shade.

    Examples
    --------
    >>> grid = PictureGrid()
    >>> grid.show(np.zeros((2, 3, 8, 8), np.uint8), heat=np.ones((2, 2, 2), np.float32),
    ...           captions=["sample 0", "sample 1"], strengths=[1.0, 0.5])
    >>> grid.selected = (1, 3)
    >>> grid.patch_strength(1, 3)
    1.0
    """

    _esm = script("picture_playing", "picture_grid")

    sprite = t.Bytes(b"", help="The pictures under each other, PNG or JPEG.").tag(sync=True)
    tile = t.Tuple(t.Int(), t.Int(), default_value=(1, 1), help="Width, height of one.").tag(
        sync=True
    )
    heat = t.Bytes(b"", help="float32 strengths, one map per picture.").tag(sync=True)
    heat_shape = t.Tuple(t.Int(), t.Int(), default_value=(0, 0), help="Patch rows, columns.").tag(
        sync=True
    )
    captions = t.List(t.Unicode(), help="One line under each picture.").tag(sync=True)
    places = t.List(t.Unicode(), help="Each picture in words, for the read-out.").tag(sync=True)
    strengths = t.List(t.Float(), help="Length of the bar under each picture.").tag(sync=True)
    maximum = t.Float(1.0, help="Strength of the brightest colour and the longest bar.").tag(
        sync=True
    )
    prefix = t.List(t.List(), help="Strengths next to the image, one row per image.").tag(sync=True)
    prefix_names = t.List(t.Unicode(), help="What each of them is: cls, register 1, …").tag(
        sync=True
    )
    atoms = t.List(
        t.Int(), help="Atom that each picture is of; pointing at it shows its card."
    ).tag(sync=True)
    unit = t.Unicode("", help="Unit written in the legend.").tag(sync=True)
    hint = t.Unicode("", help="Said in the read-out while nothing is hovered.").tag(sync=True)
    signed = t.Bool(False, help="Shade blue below zero, orange above.").tag(sync=True)
    show_heat = t.Bool(True, help="Draw the heat-map over the pictures.").tag(sync=True)
    bare = t.Bool(False, help="Leave out captions, bars and numbers.").tag(sync=True)
    buttons = t.List(
        t.Tuple(t.Unicode(), t.Enum(("", "good", "bad")), t.Unicode()),
        help="Each picture as a button: its words, which answer it was, its name. Empty: no buttons.",
    ).tag(sync=True)
    titled = t.Bool(False, help="Write the description above the pictures.").tag(sync=True)
    outlined = t.Bool(
        False, help="Outline the patches that have a number, in place of shades; leave the others."
    ).tag(sync=True)
    look = t.Enum(
        ("tint", "veil"),
        "tint",
        help="Tint patches by strength; or outline those where it fires, with a veil over the others, six "
        "pictures in a row, numbers on hover.",
    ).tag(sync=True)
    thumbnail = t.Int(88, help="Side of one picture in CSS pixels.").tag(sync=True)
    patch_names = t.List(
        t.Unicode(), help="Name of each patch; its row and column when empty."
    ).tag(sync=True)
    sounds = t.Bytes(b"", help="What is played of each picture: 8-bit samples, end to end.").tag(
        sync=True
    )
    sound_lengths = t.List(t.Int(), help="How many of them each picture has.").tag(sync=True)
    sound_rate = t.Int(8_000, help="Samples per second.").tag(sync=True)
    frames = t.Int(1, help="Frames below one another in each picture: more than one, a video.").tag(
        sync=True
    )
    frame_names = t.List(t.Unicode(), help="Name of each frame; its number when empty.").tag(
        sync=True
    )
    frame_seconds = t.Float(FRAME_SECONDS, help="Time that each is shown when playing.").tag(
        sync=True
    )
    spans = t.List(
        t.List(t.Float()),
        help="Where in each picture its sound begins and ends, as shares of its width.",
    ).tag(sync=True)
    selected = t.Tuple(
        t.Int(), t.Int(), default_value=(-1, -1), help="Picture and patch; -1 for none."
    ).tag(sync=True)

    def show(
        self,
        pictures: UInt8[np.ndarray, "n 3 height width"],
        *,
        heat: Float[np.ndarray, "n rows columns"] | None = None,
        captions: Sequence[str] = (),
        places: Sequence[str] = (),
        strengths: Sequence[float] | None = None,
        prefix: Sequence[Sequence[float]] = (),
        prefix_names: Sequence[str] = (),
        maximum: float | None = None,
        atoms: Sequence[int] = (),
        patch_names: Sequence[str] = (),
        sounds: Sequence[Int16[np.ndarray, " length"]] = (),
        sound_rate: int = 8_000,
        spans: Sequence[tuple[float, float]] = (),
        frames: int = 1,
        frame_names: Sequence[str] = (),
        frame_seconds: float | None = None,
    ) -> None:
        """Replace what is shown, in one message to the browser.

        Parameters
        ----------
        pictures
            0–255, channels first.
        heat
            Strength per patch; NaN where no activation was captured.
        captions
            One short line per picture.
        places
            The same in words, for the read-out; the captions when empty.
        strengths
            Bar lengths; the largest of each heat-map when None.
        prefix, prefix_names
            Strengths at positions that are not part of the image (cls, registers), drawn as small
            squares under it, and their names.
        maximum
            Strength of the brightest colour; the largest shown when None.
        atoms
            Atom of each image, if it is of one.
        patch_names
            Name of each patch, row by row; "patch 3,4" when empty.
        sounds, sound_rate, spans
            What a button under each picture plays, all equally loud; samples per second; begin and end of
            each as shares of the picture's width, the whole width when empty.
        frames, frame_names, frame_seconds
            Of videos: how many frames lie below one another in each picture, each with its part of the heat;
            their names; the time from one to the next.

        Raises
        ------
        ValueError: If the arrays disagree on the number of pictures, or pictures are not (n, 3, h, w)
            uint8, or their height or that of the heat is not a multiple of `frames`.
        """
        _check_pictures(pictures, heat, captions, strengths, prefix, sounds)
        _check_frames(pictures, heat, frames)
        n = len(pictures)
        maps = np.zeros((n, 0, 0), np.float32) if heat is None else heat.astype(np.float32)
        bars = _bars(maps, strengths)
        sprite, tile = _encode(pictures, frames)
        width = FILM if frames > 1 else WIDER if len(sounds) else 1
        if frames == 1 and tile[0] > LONG * tile[1]:
            width = LONG
        with self.hold_sync(), self.hold_trait_notifications():
            self.sprite, self.tile = sprite, tile
            self.heat, self.heat_shape = maps.tobytes(), (maps.shape[1], maps.shape[2])
            self.captions = [str(c) for c in captions] or [f"image {i}" for i in range(n)]
            self.places = [str(p) for p in places] or self.captions
            self.strengths = bars.tolist()
            self.prefix = [float_list(row) for row in prefix]
            self.prefix_names = [str(name) for name in prefix_names] if prefix else []
            self.maximum = common_maximum(np.append(bars, maps.ravel()), maximum)
            self.atoms = [int(atom) for atom in atoms]
            self.patch_names = [str(name) for name in patch_names]
            self.sounds, self.sound_rate = b"".join(map(eight_bits, sounds)), int(sound_rate)
            self.sound_lengths = [len(sound) for sound in sounds]
            self.spans = [list(map(float, span)) for span in spans]
            self.frames, self.frame_names = int(frames), [str(name) for name in frame_names]
            pause = FRAME_SECONDS if frame_seconds is None else float(frame_seconds)
            self.frame_seconds = min(max(pause, FASTEST), SLOWEST)
            self.thumbnail = round(theme().thumbnail_px * width)
            self.selected = (-1, -1)

    @property
    def heat_maps(self) -> Float[np.ndarray, "n rows columns"]:
        """The heat-maps shown."""
        return np.frombuffer(self.heat, np.float32).reshape(-1, *self.heat_shape)

    def patch_strength(self, index: int, patch: int) -> float:
        """Return the strength at a patch of an image, as hovering shows it."""
        return float(self.heat_maps[index].ravel()[patch])

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> tuple[int, int]:
        picture, patch = proposal["value"]
        n, patches = len(self.captions), self.heat_shape[0] * self.heat_shape[1]
        if not -1 <= picture < n or not -1 <= patch < max(patches, 1):
            raise t.TraitError(
                f"`selected` must be (picture, patch) with picture < {n} and patch < {patches}, "
                f"or (-1, -1), got {(picture, patch)}."
            )
        return picture, patch

    def static_html(self) -> str:
        """Return the pictures, heat and captions as inline SVG with titles on the patches."""
        if not self.captions:
            return self._empty_html()
        title = f'<div class="sae-nb-cardtitle">{escape(self.description)}</div>'
        title = title if self.titled else ""
        figures = "".join(self._picture_html(i) for i in range(len(self.captions)))
        legend = legend_html(self.maximum, self.unit, self.signed) if self._shaded else ""
        width = round(self.thumbnail * (WIDER if self.frames > 1 else 1))
        look = " sae-nb-veiled" * self._veiled
        return (
            f'<div class="sae-nb-component" role="group" aria-label="{escape(self.description)}">'
            f'{title}<div class="sae-nb-grid{look}" style="--thumbnail:{width}px">{figures}</div>'
            f'<div class="sae-nb-foot"><span>{escape(self.hint) * self._veiled}</span>{legend}</div></div>'
        )

    @property
    def _veiled(self) -> bool:
        return self.look == "veil" and not self.signed and not self.outlined

    @property
    def _shaded(self) -> bool:
        """Whether patches are tinted by strength, which a legend explains."""
        tinted = not self.outlined and not self._veiled
        return bool(self.heat_shape[0]) and tinted and self.show_heat

    def fires(self, index: int) -> Bool[np.ndarray, "rows columns"]:
        """Return the patches of a picture where the atom fires: from 15 % of its maximum there."""
        return outlined(self.heat_maps[index])

    def drawing(self, width: float) -> Drawing:
        """Return the images as strokes: as many next to each other as fit, heat over each."""
        title = title_drawing(self.description if self.titled else "", width)
        if not self.captions:
            return stacked([title, paragraph(self.empty_text, width)], gap=4)
        fit = max(int((width + 8) // (self.thumbnail + 8)), 1)
        columns = -(-len(self.captions) // -(-len(self.captions) // fit))
        cells = [self._picture_drawing(i) for i in range(len(self.captions))]
        rows = [hstack(cells[i : i + columns], gap=8) for i in range(0, len(cells), columns)]
        legend = legend_drawing(self.maximum, width, self.unit, self.signed)
        return stacked([title, *rows, *([legend] if self._shaded else [])])

    def _picture_drawing(self, index: int) -> Drawing:
        side, size = float(self.thumbnail), theme().font_px
        width, height = self._sheet
        scale = side / width
        high = height * scale
        file, _ = self._file(index)
        strokes: list[Stroke] = [Picture(0, 0, side, high, file, True)]
        if self._veiled and self.heat_shape[0] and self.show_heat:
            strokes += self._veil_strokes(index, scale)
        elif self.heat_shape[0] and self.show_heat:
            for patch, value in enumerate(self.heat_maps[index].ravel().tolist()):
                left, top, wide, tall = (scale * edge for edge in self._box(patch))
                if self.outlined:
                    if np.isfinite(value):
                        strokes += _outline(left, top, wide, tall)
                    continue
                heat = shade(value / self.maximum, self.signed)
                strokes.append(Rectangle(left, top, wide, tall, heat))
        if self.selected[0] == index and self.selected[1] >= 0 and self.heat_shape[0]:
            left, top, wide, tall = (scale * edge for edge in self._box(self.selected[1]))
            strokes += _outline(left, top, wide, tall)
        elif self.selected[0] == index:
            corners = [(0, 0), (side, 0), (side, high), (0, high), (0, 0)]
            strokes.append(Polyline([(float(x), float(y)) for x, y in corners], width=2))
        if self.bare:
            return Drawing(side, high, tuple(strokes))
        if self._veiled:
            strokes += bar_strokes(0, high + 4, side, self.strengths[index] / self.maximum)
            return Drawing(side, high + 14, tuple(strokes))
        if self.prefix_names:
            box = 0.8 * size
            for place, value in enumerate(self.prefix[index]):
                tint = shade((value or 0) / self.maximum)
                strokes.append(Rectangle(place * (box + 2), high + 2, box, box, tint))
            high += box + 2
        caption = shortened(self.captions[index], size, side)
        strokes.append(Label(0, high + 1.2 * size, caption, "start", size))
        strokes += bar_strokes(0, high + 1.6 * size, side, self.strengths[index] / self.maximum)
        number = format_number(self.strengths[index])
        strokes.append(Label(0, high + 2.9 * size, number, "start", size))
        return Drawing(side, high + 3.3 * size, tuple(strokes))

    def _veil_strokes(self, index: int, scale: float) -> list[Stroke]:
        fires = self.fires(index)
        boxes = []
        for patch in np.flatnonzero(~fires.ravel()).tolist():
            left, top, wide, tall = (scale * edge for edge in self._box(patch))
            boxes.append(Rectangle(left, top, wide, tall, VEIL))
        lines = [
            Polyline([(scale * x0, scale * y0), (scale * x1, scale * y1)], colour, px)
            for colour, px in AROUND
            for (x0, y0), (x1, y1) in self._edges(fires)
        ]
        return [*boxes, *lines]

    def _edges(self, fires: Bool[np.ndarray, "rows columns"]) -> list[tuple[Any, Any]]:
        """Return the lines between patches where it fires and those where it does not, in pixels."""
        rows, columns = fires.shape
        tall = rows // self.frames
        found = []
        for patch in np.flatnonzero(fires.ravel()).tolist():
            row, column = divmod(patch, columns)
            x, y, width, height = self._box(patch)
            for step, corners in (
                ((-1, 0), ((x, y), (x + width, y))),
                ((1, 0), ((x, y + height), (x + width, y + height))),
                ((0, -1), ((x, y), (x, y + height))),
                ((0, 1), ((x + width, y), (x + width, y + height))),
            ):
                to_row, to_column = row + step[0], column + step[1]
                inside = 0 <= to_column < columns and 0 <= to_row < rows
                same_frame = to_row // tall == row // tall
                if not (inside and same_frame and fires[to_row, to_column]):
                    found.append(corners)
        return found

    def _picture_html(self, index: int) -> str:
        caption, place = self.captions[index], self.places[index]
        strength = self.strengths[index]
        chosen = "true" if self.selected[0] == index else "false"
        tip = f' title="{escape(place)} · {format_number(strength)}"' if self._veiled else ""
        picture = f'<div class="sae-nb-picture"{tip} aria-selected="{chosen}">{self._svg(index)}'
        if self.bare:
            return f"{picture}</div>"
        if self._veiled:
            return f"{picture}{self._player_html(index)}{bar_html(strength, self.maximum)}</div>"
        return (
            f"{picture}{self._prefix_html(index)}{self._player_html(index)}"
            f'<div class="sae-nb-caption" title="{escape(place)}">{escape(caption)}</div>'
            f"{bar_html(strength, self.maximum)}"
            f'<div class="sae-nb-number">{format_number(strength)}</div></div>'
        )

    def _prefix_html(self, index: int) -> str:
        if not self.prefix_names:
            return ""
        squares = "".join(
            f'<span title="{escape(name)}: {format_number(value)}" '
            f'style="background:{shade((value or 0) / self.maximum)}"></span>'
            for name, value in zip(self.prefix_names, self.prefix[index])
        )
        return f'<div class="sae-nb-prefix">{squares}</div>'

    def _player_html(self, index: int) -> str:
        if not self.sounds:
            return ""
        first = sum(self.sound_lengths[:index])
        samples = self.sounds[first : first + self.sound_lengths[index]]
        file = wave_file(samples, self.sound_rate)
        address = f"data:audio/wav;base64,{base64.b64encode(file).decode()}"
        return f'<audio controls src="{address}" aria-label="{escape(self.places[index])}"></audio>'

    def _svg(self, index: int) -> str:
        width, height = self._sheet
        patches = "".join(self._patch_rects(index)) if self.heat_shape[0] else ""
        return (
            f'<svg viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{escape(self.captions[index])}">'
            f'<image width="{width}" height="{height}" href="{self._uri(index)}"/>'
            f"{patches}</svg>"
        )

    def _patch_rects(self, index: int) -> list[str]:
        rects, outlines = [], ""
        veiled = self._veiled and self.show_heat
        fires = self.fires(index).ravel()
        for patch, value in enumerate(self.heat_maps[index].ravel().tolist()):
            x, y, width, height = self._box(patch)
            heat = shade(value / self.maximum, self.signed)
            fill = heat if self.show_heat and not self.outlined else "transparent"
            if veiled:
                fill = "transparent" if fires[patch] else VEIL
            shown = escape(self.absent) if np.isnan(value) else format_number(value)
            place = f'x="{x:.4g}" y="{y:.4g}" width="{width:.3g}" height="{height:.3g}"'
            rects.append(
                f'<rect {place} fill="{fill}"><title>{self._patch_name(patch)}: {shown}</title></rect>'
            )
            if (self.outlined and np.isfinite(value)) or self.selected == (index, patch):
                outlines += "".join(
                    f'<rect {place} fill="none" pointer-events="none" stroke="{colour}" '
                    f'stroke-width="{px}" vector-effect="non-scaling-stroke"/>'
                    for colour, px in OUTLINE
                )
        if veiled:
            path = " ".join(
                f"M{x0:.4g} {y0:.4g}L{x1:.4g} {y1:.4g}"
                for (x0, y0), (x1, y1) in self._edges(self.fires(index))
            )
            outlines = "".join(
                f'<path d="{path}" fill="none" pointer-events="none" stroke="{colour}" '
                f'stroke-width="{px}" stroke-linecap="square" vector-effect="non-scaling-stroke"/>'
                for colour, px in AROUND
            )
        return [*rects, outlines]

    def _patch_name(self, patch: int) -> str:
        if patch < len(self.patch_names):
            return escape(self.patch_names[patch])
        row, column = divmod(patch, self.heat_shape[1])
        return f"patch {row},{column}"

    def _uri(self, index: int) -> str:
        """One picture of the strip as a data address."""
        data, kind = self._file(index)
        return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"

    def _file(self, index: int) -> tuple[bytes, str]:
        """One picture of the strip as a file, and which kind of file; a video's frames lie in rows of four."""
        width, height = self.tile
        with Image.open(io.BytesIO(self.sprite)) as strip:
            one = strip.crop((0, index * height, width, (index + 1) * height))
            return _encode_image(
                one if self.frames == 1 else self._laid_out(one), strip.format or "PNG"
            )

    @property
    def _sheet(self) -> tuple[int, int]:
        """Width and height of a picture at rest: of a video, of its frames in rows of four."""
        width, height = self.tile
        if self.frames == 1:
            return width, height
        gap, across = round(FILM_GAP * width) + 1, min(self.frames, IN_ROW)
        down, tall = -(-self.frames // across), height // self.frames
        return across * (width + gap) - gap, down * (tall + gap) - gap

    def _corner(self, frame: int) -> tuple[int, int]:
        """Left and upper edge of a frame there."""
        width, height = self.tile
        gap = round(FILM_GAP * width) + 1
        row, column = divmod(frame, min(self.frames, IN_ROW))
        return column * (width + gap), row * (height // self.frames + gap)

    def _laid_out(self, frames: Image.Image) -> Image.Image:
        """Return a video's frames in rows of four."""
        width, tall = self.tile[0], self.tile[1] // self.frames
        sheet = Image.new("RGB", self._sheet, colours.CONTROL)
        for frame in range(self.frames):
            one = frames.crop((0, frame * tall, width, (frame + 1) * tall))
            sheet.paste(one, self._corner(frame))
        return sheet

    def _box(self, patch: int) -> tuple[float, float, float, float]:
        """Left and upper edge, width and height of a patch of a picture at rest."""
        rows, columns = self.heat_shape
        width, height = self.tile[0] / columns, self.tile[1] / rows
        row, column = divmod(patch, columns)
        if self.frames == 1:
            return column * width, row * height, width, height
        frame, row = divmod(row, rows // self.frames)
        left, top = self._corner(frame)
        return left + column * width, top + row * height, width, height


def _outline(x: float, y: float, width: float, height: float) -> list[Stroke]:
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
    return [Polyline(corners, colour, px) for colour, px in OUTLINE]


def _check_pictures(
    pictures: UInt8[np.ndarray, "n 3 height width"],
    heat: Float[np.ndarray, "n rows columns"] | None,
    captions: Sequence[str],
    strengths: Sequence[float] | None,
    prefix: Sequence[Sequence[float]],
    sounds: Sequence[np.ndarray],
) -> None:
    shape, dtype = np.shape(pictures), getattr(pictures, "dtype", None)
    if len(shape) != 4 or shape[1] != 3 or dtype != np.uint8:
        raise ValueError(
            f"`pictures` must be uint8 of shape (n, 3, height, width), got {dtype} {shape}."
        )
    sizes: dict[str, Sequence[Any] | np.ndarray | None] = {
        "heat": heat,
        "captions": captions or None,
        "strengths": strengths,
        "prefix": prefix or None,
        "sounds": sounds or None,
    }
    for name, value in sizes.items():
        if value is not None and len(value) != shape[0]:
            raise ValueError(
                f"`{name}` must have one entry per picture ({shape[0]}), got {len(value)}."
            )


def _check_frames(
    pictures: UInt8[np.ndarray, "n 3 height width"],
    heat: Float[np.ndarray, "n rows columns"] | None,
    frames: int,
) -> None:
    sizes = [pictures.shape[2], *([] if heat is None else [heat.shape[1]])]
    if frames < 1 or (len(pictures) and any(size % frames for size in sizes)):
        raise ValueError(
            f"`frames` must divide the height of the pictures and of the heat ({sizes}), got {frames}. Put "
            "frames of one size below one another."
        )


def _bars(
    maps: Float[np.ndarray, "n rows columns"], strengths: Sequence[float] | None
) -> Float[np.ndarray, " n"]:
    if strengths is not None:
        return np.nan_to_num(np.asarray(strengths, dtype=np.float64))
    return np.nan_to_num(maps).max(axis=(1, 2), initial=0.0).astype(np.float64)


def _encode(
    pictures: UInt8[np.ndarray, "n 3 h w"], frames: int = 1
) -> tuple[bytes, tuple[int, int]]:
    """Return the pictures as one vertical strip and the size of a tile."""
    if not len(pictures):
        return b"", (1, 1)
    rows = pictures.transpose(0, 2, 3, 1)
    n, height, width, _ = rows.shape
    side = LARGEST_SIDE * (2 if frames == 1 and width > LONG * height else 1)
    scale = min(1.0, side / max(height // frames, width))
    if frames > 1:
        scale = min(scale, TALLEST / (n * height))
    tile = (max(round(width * scale), 1), frames * max(round(height // frames * scale), 1))
    strip = Image.new("RGB", (tile[0], tile[1] * n))
    for i, row in enumerate(rows):
        picture = Image.fromarray(np.ascontiguousarray(row))
        if scale < 1:
            picture = picture.resize(tile, Image.Resampling.LANCZOS)
        strip.paste(picture, (0, i * tile[1]))
    return _encode_image(strip, "JPEG" if max(tile[0], tile[1] // frames) > JPEG_FROM else "PNG")[
        0
    ], tile


def _encode_image(picture: Image.Image, kind: str) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    if kind == "JPEG":
        picture.save(buffer, "JPEG", quality=85)
    else:
        picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), kind


class StillGrid(PictureGrid):
    """A PictureGrid of images alone: a page is not sent what plays sounds and videos."""

    _esm = script("picture_grid")

    @t.validate("frames", "sound_lengths")
    def _stand_still(self, proposal: t.Bunch) -> object:
        if proposal["value"] not in (1, []):
            raise t.TraitError(
                f"`{proposal['trait'].name}` must be left out, since these pictures are not played. Use a "
                "PictureGrid."
            )
        return proposal["value"]


def grid_for(context: Context, **given: object) -> PictureGrid:
    """Return a grid for the samples of a context, which plays them where they are sounds or videos."""
    still = context.frames is None and context.modality.is_image
    return (StillGrid if still else PictureGrid)(**given)
