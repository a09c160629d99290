"""Colours, fonts, sizes and number formats of every figure and panel: the only place they are chosen.

One colour means one thing everywhere: predicted is blue, novel is vermilion, strength is amber where
it lies over a text or a picture and cividis where it fills a matrix, a random control is grey, dashed
or hatched, a selection is an outline and never a colour change.

Every colour that marks are drawn with has a contrast of at least 3 on white and on #1b1b1b, so that
one colour serves light and dark pages; the browser tests compute it from what is on the screen.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8

from sae_nb.checks import one_of

PREDICTED = "#1A82C4"
NOVEL = "#D55E00"
CONTROL = "#888888"
# Counts and other bars without a meaning of their own; contrast 3.9 on white, 4.8 on
# JupyterLab's dark background.
NEUTRAL = "#7A818A"
CONTROL_DASH = "dash"
ALARM = "#C9252D"
"""Red: no better than chance. Contrast 5.5 on white and 3.3 on JupyterLab's dark: never without its words."""

OKABE_ITO = (
    PREDICTED, NOVEL, "#009E73", "#CC79A7", "#B98000", "#3399D6", "#8C8C00", "#8A6FD1"
)  # fmt: skip
"""Of categories: Okabe and Ito's hues, blue a little lighter, orange, sky and yellow darker, violet in
place of black: theirs were chosen for white paper, and four of them vanish on it or on a dark page."""

PALETTE = OKABE_ITO[:6]
BLACK = "#000000"

GREY = "#808080"
MID_GREY = "#767676"
"""Colour of text and rings without a style sheet: legible on white and on black."""

CLEAR = "rgba(0,0,0,0)"
WHITE = "#ffffff"
PAGE_INKS = ("#111111", "#f2f2f2")
"""Of a selected path, on a light and on a dark page."""

RINGS = ("black", "white")
"""Around what is chosen, on a light and on a dark page."""

UNKNOWN = CONTROL
"""Of points without a category."""

GLOBE = "#9a9a9a"
GLOBE_GRID = "#8a8a8a"
PAD = {"ink": "#f7f7f7", "paper": "#14161a", "hint": "#b8bcc4"}
"""Of the pad that is drawn on: light on dark, as the images that the models know."""

MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
# Ten equally spaced stops; between them colours are interpolated linearly in sRGB, by Python and by
# the browser alike, so that an exported image has the colours that were on the screen.
CIVIDIS = (
    (0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115),
    (138, 134, 120), (165, 156, 116), (195, 179, 105), (225, 204, 85), (254, 232, 56),
)  # fmt: skip
READABLE = ((0.0, 0.6), (0.42, 1.0))
"""Parts of cividis whose contrast is 3 on white and on #1b1b1b: single marks are coloured by these."""

SIGNED = ((26, 130, 196), (255, 255, 255), (213, 94, 0))
STRENGTH = (232, 137, 12)
"""Of heat over tokens and patches: one hue, more of it where the atom is stronger."""

WEAKEST, FAINTEST, BOLDEST = 0.15, 0.08, 0.45
"""Heat below this share of the maximum is not painted: it would tint whole sentences; the opacities at
that share and at the maximum, at which what lies below can still be read. Ours."""

CONFIRMED = (0, 158, 115)
"""Green: found in the running model, or the model's own answer."""

WARM, BLUE, OK = "#D07000", "#0B6BCB", "#0A7D54"
"""Of marks in panels: strength and "turned up"; turned down, or predicted; confirmed. Contrast of at least
3 on white and on #1b1b1b; as text each is mixed with the ink of the page."""

TONES = {"strength": STRENGTH, "predicted": SIGNED[0], "confirmed": CONFIRMED}
"""Hues of heat that has no sign, by what it means."""

LEGEND_STOPS = {
    "strength": (0.0, WEAKEST - 1e-6, WEAKEST, 1.0),
    "signed": (-1.0, -WEAKEST, -WEAKEST + 1e-6, WEAKEST - 1e-6, WEAKEST, 1.0),
}
"""Shares of the maximum between which heat is linear."""

THIN_SPACE = "\u2009"
MINUS = "\u2212"

Scale = Literal["normal", "lecture"]


def css_colour(rgb: Sequence[int], alpha: float | None = None) -> str:
    """Return red, green, blue from 0 to 255 as CSS, with an opacity where one is given.

    >>> css_colour((0, 114, 178)), css_colour((0, 114, 178), 0.5)
    ('rgb(0,114,178)', 'rgba(0,114,178,0.5)')
    """
    r, g, b = rgb
    return f"rgb({r},{g},{b})" if alpha is None else f"rgba({r},{g},{b},{alpha:.3g})"


def fade(colour: str, alpha: float) -> str:
    """Return a colour of this page, "#rrggbb", with an opacity.

    >>> fade(GREY, 0.25)
    'rgba(128,128,128,0.25)'
    """
    return css_colour([int(colour[i : i + 2], 16) for i in (1, 3, 5)], alpha)


LECTURE = 1.25
"""Of the lecture scale, by which every size of text in a panel is multiplied."""

AXIS = fade(GREY, 0.9)
GRID = fade(GREY, 0.25)


def _inked(colour: str, share: int) -> str:
    """Return a colour mixed with the ink of the page: darker on a light one, lighter on a dark one."""
    return f"color-mix(in srgb, {colour} {share}%, var(--sae-nb-ink))"


def _of_ink(share: float) -> str:
    return f"color-mix(in srgb, var(--sae-nb-ink) {share:g}%, transparent)"


# What style sheets and scripts draw with. JupyterLab's and VS Code's own colours come first. Three
# inks for text, one hairline, one soft ground; each of the other colours means one thing.
CSS_VARIABLES = f"""\
.sae-nb-component, .sae-nb-panel, .sae-nb-dashboard {{
  --sae-nb-ink: var(--jp-ui-font-color1, var(--vscode-editor-foreground, #212121));
  --sae-nb-ink2: {_of_ink(82)};
  --sae-nb-quiet: {_of_ink(69)};
  --sae-nb-hair: {_of_ink(12)};
  --sae-nb-soft: {_of_ink(5)};
  --sae-nb-line: var(--sae-nb-hair);
  --sae-nb-paper: var(--jp-layout-color1, var(--vscode-editor-background, #fff));
  --sae-nb-raised: var(--jp-layout-color2, {fade(GREY, 0.12)});
  --sae-nb-warm: {WARM};
  --sae-nb-blue: {BLUE};
  --sae-nb-ok: {OK};
  --sae-nb-warm-text: {_inked(WARM, 62)};
  --sae-nb-blue-text: {_inked(BLUE, 66)};
  --sae-nb-ok-text: {_inked(OK, 68)};
  --sae-nb-track-colour: {fade(GREY, 0.12)};
  --sae-nb-bar-colour: {NEUTRAL};
  --sae-nb-focus: {PREDICTED};
  --sae-nb-problem-colour: {NOVEL};
  --sae-nb-alarm: {ALARM};
  --sae-nb-control-colour: {CONTROL};
  --sae-nb-on-dark: {WHITE};
  --sae-nb-shadow: {fade(BLACK, 0.3)};
  --sae-nb-scale: 1;
  --sae-nb-title-size: calc(26px * var(--sae-nb-scale));
  --sae-nb-answer-size: calc(15px * var(--sae-nb-scale));
  --sae-nb-text-size: calc(14px * var(--sae-nb-scale));
  --sae-nb-control-size: calc(13px * var(--sae-nb-scale));
  --sae-nb-small-size: calc(12px * var(--sae-nb-scale));
  --sae-nb-radius: 8px;
}}
:is(.sae-nb-panel, .sae-nb-dashboard).sae-nb-lecture {{ --sae-nb-scale: {LECTURE}; }}
.sae-nb-lecture :is(.sae-nb-component, .sae-nb-panel) {{ --sae-nb-scale: {LECTURE}; }}
"""
PAGE_COLOURS = """
:root { color-scheme: light dark; --jp-ui-font-color1: #212121; --jp-ui-font-color2: #5f5f5f;
  --jp-border-color2: #d0d0d0; --jp-layout-color1: #fff; --jp-layout-color2: #eee; }
@media (prefers-color-scheme: dark) { :root { --jp-ui-font-color1: #fff; --jp-ui-font-color2: #b5b5b5;
  --jp-border-color2: #555; --jp-layout-color1: #1b1b1b; --jp-layout-color2: #333; } }
"""
"""Of an exported page, which has no JupyterLab around it."""


def _follows_the_page(part: str) -> str:
    """Return the rule by which what a figure draws in ink is in ink on a dark page, too."""
    inks = (", ".join(str(int(ink[i : i + 2], 16)) for i in (1, 3, 5)) for ink in PAGE_INKS)
    chosen = ", ".join(f'.js-plotly-plot path[style*="{part}: rgb({ink})"]' for ink in inks)
    return f"{chosen} {{ {part}: var(--jp-ui-font-color1) !important; }}\n"


PAGE_COLOURS += _follows_the_page("stroke") + _follows_the_page("fill")

_LIGHT = (
    "color-scheme: light; --ink: #212121; --paper: #fff; --quiet: #5f5f5f; "
    "--raised: #f0f0f0; --line: #d0d0d0; --first-stop: 0;"
)
_DARK = (
    "color-scheme: dark; --ink: #f2f2f2; --paper: #1b1b1b; --quiet: #b5b5b5; "
    "--raised: #2d2d2d; --line: #555; --first-stop: 4;"
)
SITE_COLOURS = f"""\
:root {{ {_LIGHT} --link: {PREDICTED}; --bar: {NEUTRAL}; --problem: {NOVEL};
  --pad-ink: {PAD["ink"]}; --pad-paper: {PAD["paper"]}; }}
@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {_DARK} }} }}
:root[data-theme=dark] {{ {_DARK} }}
@media print {{ :root:root:root {{ {_LIGHT} }} }}
"""
"""Of a site: light, dark, and whichever its reader chose; light on paper."""

SCRIPT_COLOURS = {
    "heat": {**TONES, "below": SIGNED[0], "above": SIGNED[-1]},
    "opacities": {"weakest": WEAKEST, "faintest": FAINTEST, "boldest": BOLDEST},
    "legend": LEGEND_STOPS,
    "axis": AXIS,
    "band": fade(GREY, 0.16),
    "cursor": fade(GREY, 0.8),
    "onLight": BLACK,
    "onDark": WHITE,
    "pad": PAD,
}


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Sizes of one scale, in CSS pixels."""

    scale: Scale = "normal"
    font_px: int = 13
    """Smallest text in a panel; panels.md asks for at least 13. Ours."""

    title_px: int = 16
    """The question in the header. Ours."""

    figure_height_px: int = 230
    """Height of a figure that shares its panel with examples. Ours."""

    thumbnail_px: int = 96
    """Side of one example image. Ours: six in a row at 960 px."""


SCALES: dict[str, Theme] = {
    "normal": Theme(),
    "lecture": Theme(
        scale="lecture", font_px=16, title_px=20, figure_height_px=300, thumbnail_px=112
    ),
}


_current = [SCALES["normal"]]


def current_theme() -> Theme:
    """Return the sizes in force."""
    return _current[0]


def use_scale(scale: Scale) -> None:
    """Put another scale in force for what is drawn from now on."""
    _current[0] = SCALES[one_of(scale, SCALES, name="scale")]


def scaled(px: float) -> int:
    """Return whole pixels at the current scale for so many at the normal one."""
    return int(px * current_theme().font_px / 13)


def cividis(strength: Float[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """Return colours of strengths in [0, 1] on the one sequential map; values outside are clipped.

    >>> cividis(np.array([0.0, 1.0])).tolist()
    [[0, 34, 78], [254, 232, 56]]
    """
    return _interpolate(np.asarray(strength, dtype=np.float64), CIVIDIS)


def readable_cividis(
    strength: Float[np.ndarray, " n"], *, dark: bool = False
) -> UInt8[np.ndarray, "n 3"]:
    """Return colours of marks by strengths in [0, 1]: the part of cividis that is seen on such a page.

    >>> readable_cividis(np.array([0.0]), dark=False).tolist()
    [[0, 34, 78]]
    """
    low, high = READABLE[dark]
    return cividis(low + (high - low) * np.clip(np.nan_to_num(strength), 0, 1))


def signed_colours(value: Float[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3"]:
    """Return colours of values in [-1, 1]: blue below zero, white at zero, orange above.

    >>> signed_colours(np.array([0.0])).tolist()
    [[255, 255, 255]]
    """
    return _interpolate((np.asarray(value, dtype=np.float64) + 1) / 2, SIGNED)


def heat_colour(
    fraction: float, signed: bool = False, tone: str = "strength"
) -> tuple[int, int, int, float]:
    """Return red, green, blue and opacity over a text or an image for a share of the maximum.

    Nothing is painted below `WEAKEST`; a signed value is blue below zero, orange above.

    >>> heat_colour(1.0), heat_colour(-1.0, signed=True)
    ((232, 137, 12, 0.45), (26, 130, 196, 0.45))
    >>> heat_colour(0.14)[-1], heat_colour(-1.0)[-1]
    (0.0, 0.0)
    """
    share = 0.0 if math.isnan(fraction) else min(max(fraction, -1.0 if signed else 0.0), 1.0)
    hue = SIGNED[0 if share < 0 else -1] if signed else TONES[tone]
    size = abs(share)
    opacity = FAINTEST + (BOLDEST - FAINTEST) * (size - WEAKEST) / (1 - WEAKEST)
    return (*hue, round(opacity, 3) if size >= WEAKEST else 0.0)


def _interpolate(
    position: Float[np.ndarray, " n"], stops: tuple[tuple[int, int, int], ...]
) -> UInt8[np.ndarray, "n 3"]:
    table = np.asarray(stops, dtype=np.float64)
    where = np.linspace(0, 1, len(table))
    clipped = np.clip(np.nan_to_num(position), 0, 1)
    channels = [np.interp(clipped, where, table[:, c]) for c in range(3)]
    # Halves are rounded up, as JavaScript's Math.round does.
    return np.floor(np.stack(channels, axis=-1) + 0.5).astype(np.uint8)


def colour_scale(signed: bool = False) -> list[list[Any]]:
    """Return the sequential (or signed) map in the form that plotly's `colorscale` takes."""
    stops = SIGNED if signed else CIVIDIS
    last = len(stops) - 1
    return [[i / last, css_colour(stop)] for i, stop in enumerate(stops)]


def category_style(index: int) -> tuple[str, str]:
    """Colour and marker of a category: Okabe–Ito first, then the next marker shape.

    >>> category_style(0)
    ('#1A82C4', 'circle')
    >>> category_style(8)
    ('#1A82C4', 'square')
    """
    shape = MARKERS[(index // len(OKABE_ITO)) % len(MARKERS)]
    return OKABE_ITO[index % len(OKABE_ITO)], shape


# --- numbers --------------------------------------------------------------------------------------


def format_number(value: float | None, unit: str = "", *, digits: int = 3) -> str:
    """Write a number with three significant digits and thin spaces in thousands.

    None and NaN become an en dash; a unit follows after a thin space.

    >>> format_number(0.012345), format_number(2), format_number(-1.5)
    ('0.0123', '2.00', '−1.50')
    >>> format_number(1234567.0).replace(THIN_SPACE, "_")
    '1_230_000'
    >>> format_number(float("nan"))
    '–'
    """
    if value is None or math.isnan(value):
        return "–"
    text = _significant(float(value), digits)
    return f"{text}{THIN_SPACE}{unit}" if unit else text


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    sign = MINUS if value < 0 else ""
    if math.isinf(value):
        return f"{sign}∞"
    size = abs(value)
    rounded = float(f"{size:.{digits - 1}e}")
    exponent = math.floor(math.log10(rounded))
    if exponent < -4 or exponent >= 9:
        mantissa, power = f"{size:.{digits - 1}e}".split("e")
        power_text = str(int(power)).replace("-", MINUS)
        return f"{sign}{mantissa}e{power_text}"
    decimals = max(digits - 1 - exponent, 0)
    return f"{sign}{rounded:,.{decimals}f}".replace(",", THIN_SPACE)


def format_count(count: int) -> str:
    """Write a whole number in full with thin spaces in thousands.

    >>> format_count(16384).replace(THIN_SPACE, "_")
    '16_384'
    """
    return f"{int(count):,}".replace(",", THIN_SPACE).replace("-", MINUS)


def format_percent(fraction: float | None, of: str = "", *, digits: int = 3) -> str:
    """Write a fraction as a percentage, with what it is a fraction of.

    >>> format_percent(0.0312, of="rows").replace(THIN_SPACE, "_")
    '3.12_% of rows'
    """
    if fraction is None or math.isnan(fraction):
        return "–"
    text = f"{format_number(100 * fraction, digits=digits)}{THIN_SPACE}%"
    return f"{text} of {of}" if of else text


def format_duration(seconds: float) -> str:
    """Write a duration in the unit a person would say it in.

    >>> [format_duration(s).replace(THIN_SPACE, "_") for s in (0.0123, 4.2, 75, 7300)]
    ['12_ms', '4.2_s', '1_min 15_s', '2_h 1_min']
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f}{THIN_SPACE}ms"
    if seconds < 60:
        return f"{seconds:.1f}{THIN_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{THIN_SPACE}min {rest}{THIN_SPACE}s"
    return f"{minutes // 60}{THIN_SPACE}h {minutes % 60}{THIN_SPACE}min"


# --- text -----------------------------------------------------------------------------------------


def escape(text: object) -> str:
    """Escape text for HTML, inside an element or a quoted attribute.

    >>> escape('<script>"x"</script>')
    '&lt;script&gt;&quot;x&quot;&lt;/script&gt;'
    """
    return html.escape(str(text), quote=True)


def plot_text(text: object) -> str:
    """Escape text for plotly, whose labels understand a little HTML.

    >>> plot_text("<b>")
    '&lt;b&gt;'
    """
    return html.escape(str(text), quote=False)


# --- pages ------------------------------------------------------------------------------------------

_PAGE_STYLE = (
    f"{PAGE_COLOURS} body {{ font: 15px/1.5 sans-serif; margin: 2em; "
    "color: var(--jp-ui-font-color1); background: var(--jp-layout-color0, var(--jp-layout-color1)) } "
    "table { border-collapse: collapse; display: block; width: fit-content; "
    "max-width: min(68em, 100%); overflow-x: auto } "
    "td, th { padding: .3em .6em; text-align: left; vertical-align: top; "
    "border-bottom: 1px solid var(--jp-border-color2) } "
    "caption { text-align: left } small { opacity: .75 }"
)


def html_page(title: str, body: str) -> str:
    """Return a whole page; `body` is HTML in which every text is escaped already."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_PAGE_STYLE}</style><h1>{escape(title)}</h1>{body}</html>\n"
    )


# --- figures --------------------------------------------------------------------------------------


def template() -> go.layout.Template:
    """Return the plotly template of the current scale: transparent, quiet axes, our colours.

    Text and grid lines are mid-grey so that a figure shown outside a panel reads on white and on
    black; inside a panel the style sheet replaces both with JupyterLab's own colours.
    """
    return _template(current_theme().font_px)


@cache
def _template(size: int) -> go.layout.Template:
    axis = {
        "gridcolor": GRID,
        "linecolor": AXIS,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": AXIS,
        "automargin": True,
        "title": {"standoff": 6, "font": {"size": size}},
        "tickfont": {"size": size},
    }
    layout = {
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"size": size, "color": MID_GREY, "family": "system-ui, Arial, sans-serif"},
        "colorway": list(PALETTE),
        "colorscale": {"sequential": colour_scale(), "diverging": colour_scale(signed=True)},
        "margin": {"l": 48, "r": 12, "t": 8, "b": 40},
        "xaxis": axis,
        "yaxis": axis,
        "hoverlabel": {"font": {"size": size}, "align": "left"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "bargap": 0.05,
    }
    return go.layout.Template(layout=layout)


FIGURE_CONFIG: dict[str, Any] = {"responsive": True, "displaylogo": False, "displayModeBar": False}


def still_config() -> dict[str, Any]:
    """Return the plotly configuration of exported figures: zoom and download; nothing is sent away."""
    without = ["sendChartToCloud", "select2d", "lasso2d"]
    return {"responsive": True, "displaylogo": False, "modeBarButtonsToRemove": without}
