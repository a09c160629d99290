"""Write docs/gallery: every panel as a page that needs no kernel and no network, and its picture.

    python docs/make_gallery.py [--pages] [--measure] [NAME ...]

Pages share one copy of plotly's script and are not kept in the repository: `make docs` writes those that are
missing or were made from other code (`--pages`). Pictures (for README and the cards) are kept; they are taken
where a Chromium is at hand. A page whose model was not fetched says how to fetch it.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import html
import io
import re
import sys
import threading
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import sae_nb_widgets as sw
import torch
from PIL import Image
from sae_nb_widgets.panel._pages import PAGE_STYLE

import sae_nb as sn
from sae_nb.diagnosis._doctor import find_chromium
from sae_nb.figures import theme
from sae_nb.figures.theme import escape
from sae_nb_studies.models import plant_behaviour

DOCS = Path(__file__).parent
GALLERY, PICTURES = DOCS / "gallery", DOCS / "pictures"
RECORDS = DOCS / "records"
"""What pages show and `--measure` measured, in minutes."""

VISION, LANGUAGE = "tiny-vit/resid_post.6", "smollm2-135m/resid_post.16"
STORIES = "tiny-gpt/resid_post.3"
"""The bundled story model, for questions about stories whose sentiment is known."""

SEVEN = [(9, 8), (22, 8), (14, 24)]
STROKES = (217, 504)
"""Atoms for sevens and noughts that fire along strokes and, turned up, make the model read what they are."""

ROME = "Last summer in Rome he"
ILL = "The doctor told her that she had to stay in the hospital for another week, until the"
CABINET = "The keys to the old cabinet hung by the door, and every evening she counted them. The keys to the"
HOT = "The opposite of hot is"
KEYS = ("The keys to the cabinet", "The key to the cabinet")
ATOM, OTHER = "outer space", "banks, money, debt"
"""Names of two atoms that were seen to bring their words when they are turned up."""

IN_TIME = (
    "I bought this coffee machine two months ago and it has already broken twice. The milk frother "
    "is too weak, and the water tank leaks. Customer service never answered. In 1914 the war began "
    "after the murder of the archduke in Sarajevo. Within weeks the great powers of Europe had "
    "mobilised their armies."
)
BUSY = 600.0
"""Seconds that a panel's work may take: on a busy machine what takes ten takes minutes."""

LARGEST_PICTURE = 26_000
"""Bytes: an index shows many, and the gallery has room for no more."""

HERO = ("hero", "hero-narrow")
"""Written by make_hero.py next to them, light and dark."""

CARD = {"width": 320, "height": 230}
"""What a card shows, in pixels of the page. Taken twice as fine."""

EDGE, LARGER, LEAST_PX = 10, 1.3, 11
"""Pixels of a card that stay free on every side; how much larger than on its page a card shows what it shows at
most; and the smallest letters, in pixels of the card, with which that is taken."""

SMALL_WORDS = (
    ".sae-nb-lattice { gap: 7px 4px !important; padding: 0 !important; max-height: none !important; }"
    ".sae-nb-latticeword { padding: 0 2px !important; font-size: 15px !important; "
    "line-height: 1.3 !important; }"
    ".sae-nb-wordchip { max-width: 116px !important; min-width: 0 !important; margin: 2px 0 0 !important; "
    "padding: 0 4px !important; font-size: 11px !important; line-height: 1.2 !important; }"
    ".sae-nb-wordchip .sae-nb-bar, .sae-nb-lattice > :nth-child(n+15) { display: none !important; }"
)
"""Of a text its first words and the atoms under them."""

PICTURE_AND_EFFECTS = (
    "main .sae-nb-main { display: grid; grid-template-columns: 104px 1fr; gap: 12px; align-items: center; }"
    ".sae-nb-grid { zoom: 0.58; } .sae-nb-pairrow > :nth-child(2), .sae-nb-pairhead, "
    ".sae-nb-grid .sae-nb-caption, .sae-nb-number, .sae-nb-bar, .sae-nb-side { display: none !important; }"
    ".sae-nb-pairrow { grid-template-columns: 104px 1fr !important; padding: 4px 0 !important; "
    "outline: 0 !important; } .sae-nb-label { white-space: normal !important; } "
    ".sae-nb-pairrow:nth-child(n+7) { display: none !important; }"
)
"""Of an input the input, and rows of atoms: their names, and what each does to the answer."""

FIRST_QUESTION = (
    ".sae-nb-grid { --thumbnail: 52px !important; gap: 6px !important; padding: 2px 0 !important; "
    "grid-template-columns: repeat(5, 52px) !important; }"
    ".sae-nb-grid .sae-nb-caption { display: none !important; }"
    ".sae-nb-main .sae-nb-cardtitle { font-size: 14px; margin: 0 0 4px !important; } "
    ".sae-nb-component { margin: 0 0 8px; }"
)
"""Of a quiz the first question: examples in a row, and the options in another."""

ONE_ROW_OF_STEPS = (
    ".sae-nb-sum .sae-nb-next, .sae-nb-film :is(.sae-nb-later, .sae-nb-atom) { display: none; }"
    ".sae-nb-film { gap: 8px; flex-wrap: nowrap; margin: 10px 4px 0; }"
    ".sae-nb-film figure { flex: 1 1 0; }"
)
"""Of an input that is put together the sum, and the steps up to it."""

ROWS_ALONE = (
    ".sae-nb-verdicts small, .sae-nb-verdicts p, .sae-nb-verdicts .sae-nb-sharescale span "
    "{ display: none !important; }"
    ".sae-nb-verdicts > dt { padding: 6px 0 0 !important; font-size: 13px !important; }"
    ".sae-nb-verdicts > dd { padding: 0 0 4px !important; border: 0 !important; }"
    ".sae-nb-verdicts .sae-nb-sharescale { height: 34px !important; margin-top: -6px !important; }"
)
"""Of a report card its rows, without what they mean."""

THREE_WAYS = (
    ".sae-nb-leaves, .sae-nb-note, .sae-nb-ways > :nth-child(n+7) { display: none !important; }"
    ".sae-nb-prompt { font-size: 14px !important; margin: 0 0 2px !important; line-height: 1.35 !important; }"
    ".sae-nb-ways > dt { padding: 4px 8px 0 !important; font-size: 12.5px; }"
    ".sae-nb-ways > dd { font-size: 13.5px !important; min-height: 0 !important; "
    "padding: 0 8px !important; margin: 1px 0 3px !important; line-height: 1.35 !important; "
    "display: -webkit-box !important; -webkit-box-orient: vertical; -webkit-line-clamp: 2; "
    "overflow: hidden; } .sae-nb-ways > dd:first-of-type { -webkit-line-clamp: 3; }"
)
"""Of the ways in which a text goes on that with the atom, the untouched one and one at random."""

TWO_OF_EACH = (
    ".sae-nb-pair .sae-nb-atom { display: block; font-size: 13px !important; white-space: nowrap; }"
    ".sae-nb-pairs small, .sae-nb-pair:nth-of-type(n+3), .sae-nb-pairs h4 span { display: none !important; }"
    ".sae-nb-pair { padding: 3px 8px 3px 0 !important; } .sae-nb-pairs { gap: 8px !important; }"
    ".sae-nb-pairs h4 { font-size: 12.5px !important; margin: 0 0 2px !important; "
    "font-weight: 400 !important; }"
    ".sae-nb-twobars { gap: 3px 6px !important; } .sae-nb-twobars > span { height: 10px !important; }"
    ".sae-nb-tick { height: 14px !important; top: -2px !important; }"
)
"""Of two corpora two atoms of each."""

EXAMPLES = (
    ".sae-nb-veiled { grid-template-columns: repeat(4, 66px) !important; gap: 6px !important; "
    "padding: 2px 0 !important; } .sae-nb-picture:nth-child(n+9) { display: none; }"
)
"""Of an atom its first examples, in two rows."""

WORDS_BY_BLOCK = (
    ".sae-nb-layerbox { margin: 0 !important; }"
    ".sae-nb-layers.sae-nb-spread tr > th:first-child { width: 66px !important; padding: 0 6px 0 0 !important;"
    "font-size: 14px; }"
    ".sae-nb-layers.sae-nb-spread { --cell: 27px !important; --gap: 3px !important; }"
    ".sae-nb-layers.sae-nb-spread td { font-size: 0 !important; }"
)
"""Of a map of words and blocks the colours."""

LAST_WORD = (
    ".sae-nb-ranks > :not(.sae-nb-rankplot, .sae-nb-rankblocks) { display: none !important; }"
    ".sae-nb-ranks { grid-template-columns: minmax(0, 1fr) !important; gap: 4px !important; }"
    ".sae-nb-rankplot { height: 170px !important; } .sae-nb-rankblocks span { color: transparent; }"
    ".sae-nb-rankplot, .sae-nb-rankblocks { margin-left: 62px !important; margin-right: 8px !important; }"
    ".sae-nb-rank { transform: scale(0.65); }"
)
"""Of a lens over a text the place of its last word after each block."""

CHANCES_ALONE = (
    ".sae-nb-pairhead, .sae-nb-pairrow > :nth-child(3) { display: none !important; }"
    ".sae-nb-pairrow { grid-template-columns: 140px 1fr !important; padding: 6px 0 !important; }"
)
"""Of four ways in which a text goes on the chance of what was added, a row each."""

WHOLE_MAP = ".sae-nb-mapstage { height: 208px !important; border: 0 !important; }"
"""Of a map the points and their names, to its end."""

NEVER_SHOWN = (
    ".sae-nb-foot, .modebar, .sae-nb-prefix, .sae-nb-maptools, .sae-nb-mapkey, .sae-nb-readout"
)
"""Parts of what a crop names that no card shows."""

RUN = "https://mybinder.org/v2/gh/{slug}/main?urlpath=lab/tree/notebooks/{notebook}.ipynb"
NEW_TAB = ' target="_blank" rel="noopener"'
"""Who waits for Binder keeps the gallery."""

SAID = re.compile(
    r'<div class="sae-nb-(?:question"[^>]*? title="(?P<question>[^"]*)"|answer")[^>]*>(?P<said>.*?)</div>'
)
"""Title and answer of a page; where there is nothing to state the title is the panel's question."""

MARKUP = re.compile(r"<small.*?</small>|<[^>]+>")
"""Tags, and the words that spell out how sure a name is."""

PLOT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STYLE = """
nav { font: 14px/1.6 system-ui, sans-serif; margin: 0 0 12px; color: var(--jp-ui-font-color2); }
nav a, .cards a { color: inherit; } nav b { color: var(--jp-ui-font-color1); }
.sae-nb-help { width: fit-content; max-width: 100%; box-sizing: border-box; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 334px), 1fr)); gap: 16px;
  font: 15px/1.45 system-ui, sans-serif; color: var(--jp-ui-font-color1); }
.cards article { display: flex; flex-flow: column; align-items: flex-start; padding: 8px 16px 10px;
  border: 1px solid var(--jp-border-color2); border-radius: 10px; }
.cards article > a:first-child {
  align-self: stretch; padding-bottom: 8px; border-bottom: 1px solid var(--jp-border-color2);
}
.cards img { width: 100%; aspect-ratio: 32 / 23; display: block; }
.cards h2 { font: 600 17px/1.3 system-ui, sans-serif; margin: 10px 0 2px; }
.cards p { margin: 2px 0 8px; font-size: 14px; color: var(--jp-ui-font-color2); }
.cards .foot { display: flex; gap: 12px; align-items: center; justify-content: space-between;
  align-self: stretch; margin: auto 0 0; }
.cards h2 a { text-decoration: none; }
.run { display: inline-block; border: 1px solid currentColor; border-radius: 4px; padding: 2px 10px;
  font-size: 13px; text-decoration: none; }
a:focus-visible, .cards a:hover { outline: 2px solid #0072B2; outline-offset: 2px; }
h1 { font: 600 22px/1.3 system-ui, sans-serif; color: var(--jp-ui-font-color1); }
body > p { font: 15px/1.5 system-ui, sans-serif; color: var(--jp-ui-font-color1); max-width: 46em; }
@media (max-width: 480px) { body > :is(nav, h1, p, .cards) { padding: 8px 8px 0; margin: 0 0 8px; } }
"""
# Leaves of a page what a crop names, at the width of a card.
CROP = """([crop, never, edge]) => {
  const main = document.querySelector('.sae-nb-dashboard') || document.querySelector('main');
  const wanted = [...main.querySelectorAll(crop)].filter(n => n.getClientRects().length);
  const keep = new Set(wanted);
  for (const node of wanted)
    for (let up = node.parentElement; up && up !== main; up = up.parentElement) keep.add(up);
  for (const node of [...document.body.querySelectorAll('*')]) {
    // plotly measures texts in the last of these: hidden, every text has no width.
    if (node === main || node.contains(main) || keep.has(node) || node.closest('#js-plotly-tester')) continue;
    const inside = wanted.some(w => w.contains(node));
    if (!inside || node.matches(never)) node.style.setProperty('display', 'none', 'important');
  }
  for (const node of [document.documentElement, document.body, main, ...keep])
    Object.assign(node.style, {margin: 0, minHeight: 0, border: 'none', borderRadius: 0});
  for (const node of [main, ...keep])
    if (!wanted.some(w => w.contains(node))) node.style.padding = 0;
  main.style.padding = 0;
  main.style.border = 'none';
  Object.assign(document.body.style, {padding: 0, width: `${innerWidth - 2 * edge}px`, maxWidth: 'none'});
  return wanted.length;
}"""
# Moves and sizes what is left so that all of it is in the card, and returns the size of its smallest letters.
FIT = """([edge, larger]) => {
  const boxes = [], letters = [], range = document.createRange();
  // What a box around it cuts off is not seen.
  const seen = (node, {left, top, right, bottom}) => {
    for (let up = node; up && up !== document.body; up = up.parentElement) {
      const {overflowX, visibility, opacity} = getComputedStyle(up);
      if (visibility === 'hidden' || opacity === '0') return;
      if (overflowX === 'visible') continue;
      const box = up.getBoundingClientRect();
      left = Math.max(left, box.left), right = Math.min(right, box.right);
      top = Math.max(top, box.top), bottom = Math.min(bottom, box.bottom);
    }
    if (right - left > 0.5 && bottom - top > 0.5) boxes.push({left, top, right, bottom});
    return true;
  };
  const drawn = 'img, canvas, image, circle, path, line, i, u, span:empty, td, dd, ' +
    '.sae-nb-wordchip, .sae-nb-track';
  for (const node of document.querySelectorAll('main *, .sae-nb-dashboard *')) {
    if (!node.getClientRects().length || node.closest('#js-plotly-tester, defs')) continue;
    if (node.matches(drawn)) seen(node, node.getBoundingClientRect());
    const {fontSize, color} = getComputedStyle(node);
    if (color === 'rgba(0, 0, 0, 0)' || !parseFloat(fontSize)) continue;
    for (const text of node.childNodes) {
      if (text.nodeType !== 3 || !text.data.trim()) continue;
      range.selectNodeContents(text);
      for (const box of range.getClientRects()) if (seen(node, box)) letters.push(parseFloat(fontSize));
    }
  }
  const left = Math.min(...boxes.map(b => b.left)), width = Math.max(...boxes.map(b => b.right)) - left;
  const top = Math.min(...boxes.map(b => b.top)), height = Math.max(...boxes.map(b => b.bottom)) - top;
  const scale = Math.min((innerWidth - 2 * edge) / width, (innerHeight - 2 * edge) / height, larger);
  const x = (innerWidth - scale * width) / 2 - scale * left;
  const y = (innerHeight - scale * height) / 2 - scale * top;
  document.body.style.overflow = document.documentElement.style.overflow = 'hidden';
  document.body.style.transformOrigin = '0 0';
  document.body.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  return scale * Math.min(...letters, Infinity);
}"""
# Draws of a figure what is on some axes, side by side and as large as a card: anew, since axes that are
# bound to each other keep the room that they had.
ONLY = """async ([axes, height]) => {
  const plot = document.querySelector('.js-plotly-plot'), full = plot._fullLayout;
  height -= plot.getBoundingClientRect().top;
  plot.style.height = plot.closest('.sae-nb-live').style.height = `${height}px`;
  const kept = axes.split(' '), across = kept.filter(name => name[0] === 'x');
  const data = plot.data.filter(t => kept.includes(t.xaxis || 'x')).map(
    t => ({...t, cliponaxis: false, ...(t.marker && {marker: {...t.marker}})}));
  const lower = {};
  const layout = JSON.parse(JSON.stringify(plot.layout));
  Object.assign(layout, {height, width: undefined, autosize: true, shapes: [], showlegend: false,
    margin: {l: Math.max(44, full.margin.l), r: Math.max(24, full.margin.r), t: 30, b: 26}});
  for (const name of Object.keys(full).filter(key => /^[xy]axis[0-9]*$/.test(key))) {
    const short = name.replace('axis', ''), place = across.indexOf(short);
    if (!kept.includes(short)) { delete layout[name]; continue; }
    if (short[0] === 'y') lower[short] = Math.min(1, (height - 56) / full[name]._length);
    const axis = layout[name] || (layout[name] = {});
    axis.title = '';
    const gap = 0.12, width = (1 - gap * (across.length - 1)) / across.length;
    axis.domain = short[0] === 'y' ? [0, 1] : [place * (width + gap), place * (width + gap) + width];
    if (short[0] !== 'x') continue;
    Object.assign(axis, {nticks: 4, tickangle: 0});
    const ends = (_, i, all) => i === 0 || i === all.length - 1;  // of ticks with words there is room for two
    for (const key of axis.ticktext ? ['tickvals', 'ticktext'] : [])
      axis[key] = Array.from(full[name][key]).filter(ends);
  }
  // Marks shrink with the distance of their rows, or those of two rows touch.
  for (const {marker, yaxis = 'y'} of data)
    if (marker?.size > 0) marker.size *= lower[yaxis];
  layout.annotations = (layout.annotations || []).filter(
    a => kept.includes((a.xref || '').split(' ')[0]) && kept.includes((a.yref || '').split(' ')[0]));
  for (const a of layout.annotations) a.text = a.text.replace(/ \\([^()]*\\)$/, '').split(/ · |<br>/)[0];
  await Plotly.newPlot(plot, data, layout, {displayModeBar: false, responsive: true});
}"""


@dataclass(frozen=True)
class Entry:
    """One page of the gallery."""

    name: str
    """File name without ending."""

    room: str
    """Pages of one room link to each other."""

    title: str
    """What the link says."""

    make: Callable[[], Any]
    """Builds the panel, ready to be shown."""

    crop: str = ""
    """What of the page the card shows: a CSS selector."""

    notebook: str = "00_tour"
    """Where it runs."""

    style: str = ""
    """How the card's crop is laid out, where it is not as the page is."""

    axes: str = ""
    """Of the page's figure, the axes that the card shows alone: "x y", or "x y x2 y2" side by side."""


class NotFetchedError(Exception):
    """A page shows a model, named in the message, that this machine has not fetched."""


@cache
def material(name: str) -> tuple[Any, Any, Any, Any]:
    """Return model, SAE, examples and catalogue of a pretrained SAE; pages have models from here alone."""
    model_name = name.partition("/")[0]
    try:
        model = sn.load_model(model_name)
    except FileNotFoundError as error:
        raise NotFetchedError(model_name) from error
    sae, examples = sn.load_sae(name), sn.load_examples(name)
    return model, sae, examples, examples.catalogue(sae)


@cache
def code() -> str:
    """Return a digest of every file that could change a page."""
    root = DOCS.parent
    sources = (root / "sae_nb", root / "widgets" / "sae_nb_widgets", root / "studies")
    seen = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted(file for source in sources for file in source.rglob("*")):
        if file.suffix in (".py", ".js", ".css", ".json"):
            seen.update(file.read_bytes())
    return seen.hexdigest()


def mark() -> str:
    """Return what a page that is whole says of the code that it was made from."""
    return f"<!-- made from {code()} -->"


def is_current(path: Path) -> bool:
    """Whether a page is whole and of today's code."""
    return path.is_file() and mark() in path.read_text(encoding="utf-8")


def browser(name: str, atom: int) -> Any:
    """Return what makes an atom fire."""
    model, sae, examples, catalogue = material(name)
    return sw.AtomBrowser(
        sae, examples.acts, model, atom=atom, labels=examples.labels, catalogue=catalogue
    )


def named(name: str, label: str) -> int:
    """Return the atom with a label."""
    labels = material(name)[2].labels
    return next(atom for atom in labels if labels[atom] == label)


def lens_on_picture() -> Any:
    """Return which atoms a drawn 7 uses, the first that lies on it painted."""
    model, sae, examples, _ = material(VISION)
    panel = sw.InputLens(model, sae, examples=examples)
    panel.draw([SEVEN])
    panel.n_shown = 8
    panel.wait(BUSY)
    return panel


def lens_on_text() -> Any:
    """Return which atoms a sentence about a hospital uses."""
    model, sae, examples, _ = material(LANGUAGE)
    panel = sw.InputLens(model, sae, examples=examples)
    panel.wait(BUSY)
    panel.text = ILL
    panel.wait(BUSY)
    panel.atom = named(LANGUAGE, "medicine, doctors, hospitals")
    panel.wait(BUSY)
    return panel


def pursuit() -> Any:
    """Return a handwritten digit put together from atoms, half-way."""
    images = sn.data.digits("train").images.flatten(1)
    sae = sn.MatchingPursuit(64, 128, k=8, generator=torch.Generator().manual_seed(0))
    sn.train(sae, images, steps=400, batch_size=512, seed=0, progress=False)
    five = sn.data.digits("test").images.flatten(1)[20:21]
    panel = sw.PursuitStepper(five, sae, algorithms=["mp"], k=8, picture_shape=(8, 8))
    panel.wait(BUSY)
    panel.step = 4
    return panel


def superposition() -> Any:
    """Return the toy whose features are rare enough to share two neurons."""
    panel = sw.SuperpositionToy()
    panel.wait(BUSY)
    panel.sparsity = 0.97
    return panel


def steered_picture() -> Any:
    """Return a 7 that is pushed towards another digit, with its dose-response curve."""
    model, sae, examples, catalogue = material(VISION)
    pictures = examples.acts.context.pictures
    sevens = pictures[model(pictures).argmax(dim=-1) == 7]
    atom = examples.match("digit 4").atom
    panel = sw.SteeringPanel(model, sae.hook_point, sae, sevens, catalogue, atom=atom)
    panel.wait(BUSY)
    panel.dose_response()
    return panel


def steered_text() -> Any:
    """Return a beginning that goes on with an atom for outer space turned up, as it is, and at random."""
    model, sae, _, catalogue = material(LANGUAGE)
    atom = named(LANGUAGE, ATOM)
    panel = sw.SteeringPanel(model, sae.hook_point, sae, [ROME], catalogue, atom=atom)
    panel.max_new_tokens = 24
    panel.wait(BUSY)
    panel.continue_text()
    panel.wait(BUSY)
    return panel


def concept_map() -> Any:
    """Return the map of a language model's atoms, which opens on the region whose words hold best."""
    _, sae, examples, catalogue = material(LANGUAGE)
    return sw.ConceptMap(sae, examples=examples, catalogue=catalogue)


def depth() -> Any:
    """Return how pictures travel through the layers of the vision model."""
    model, sae, _, _ = material(VISION)
    panel = sw.DepthTrajectory(model, sn.data.scenes(256, seed=0, split="test"), sae=sae)
    panel.wait(BUSY)
    return panel


def in_time() -> Any:
    """Return what the past of a text already said, by the temporal SAE that comes with the model."""
    panel = sw.TemporalPanel(material(LANGUAGE)[0], None, IN_TIME)
    panel.wait(BUSY)
    panel.token = panel.record.most_predicted
    return panel


def trained() -> Any:
    """Return the monitor of a training on few pictures that goes on too long, looked at after each record."""
    model, _, examples, _ = material(VISION)
    acts, new = (
        sn.capture(model, pictures, "resid_post.6", progress=False)
        for pictures in (
            examples.acts.context.pictures[:160],
            sn.data.scenes(100, seed=1, split="test").images,
        )
    )
    sae = sn.TopK(acts.d_in, n_atoms=512, k=16, generator=torch.Generator().manual_seed(0))
    made, panels = threading.Event(), []

    def look(_: object) -> None:
        made.wait()
        panels[0].refresh()

    asked = {"steps": 1600, "batch_size": 1024, "seed": 0, "held_out": 0.0, "log_every": 20}
    run = sn.start_training(sae, acts, callbacks=look, **asked)
    panels.append(sw.TrainingMonitor(run, held_out=new))
    made.set()
    run.wait()
    return panels[0]


def judged() -> Any:
    """Return the report card of the pretrained SAE of the vision model, beside a random one."""
    model, sae, _, _ = material(VISION)
    images = sn.data.scenes(600, seed=7, split="test")
    acts = sn.capture(model, images, sae.hook_point, progress=False)
    report = sn.evaluate(sae, acts, model=model, labels=images.digit)
    digits = torch.nn.functional.one_hot(images.digit, 10).bool()
    report = {**report, "identifiability": sn.evaluation.identifiability(sae, acts, digits)}
    card = sw.ReportCard([report], [sae.hook_point], saes=[sae], acts=acts)
    card.where = ("tiny-vit", "after block 6", f"{sae.n_atoms} atoms, {len(images)} images")
    return card


def corpora() -> Any:
    """Return sad stories against glad ones, by the atoms of a language model, whose names are words."""
    model, sae, examples, _ = material(LANGUAGE)
    stories = sn.data.stories(160, seed=0)
    docs = sn.uses.documents(
        model, sae, stories.texts, sae.hook_point, labels=examples.labels, progress=False
    )
    sad, codes = (stories.sentiment == 0).numpy(), examples.codes
    strongest = torch.zeros(codes.n_atoms).scatter_reduce(
        0, codes.atoms.long(), codes.values, "amax"
    )
    return sw.CorpusPanel(
        docs.subset(sad),
        docs.subset(~sad),
        ("sad stories", "glad stories"),
        strongest=strongest.numpy(),
    )


def circuit() -> Any:
    """Return the neurons that carry a plural past another noun, the strongest of them cut."""
    graph = sn.circuits.attribution_graph(
        material(LANGUAGE)[0], "neurons", KEYS[0], contrast=KEYS[1], target=(" are", " is")
    )
    panel = sw.CircuitPanel(graph)
    panel.wait(BUSY)
    return panel


def layers_of_text() -> Any:
    """Return what the model is about to answer after each block, by the bundled lens."""
    panel = sw.LensPanel(material(LANGUAGE)[0], sn.load_lens("smollm2-135m"), HOT)
    panel.wait(BUSY)
    return panel


def changed() -> Any:
    """Return what a planted fine-tuning changed, text by text."""
    made = plant_behaviour("phrase")
    panel = sw.ChangesPanel(made.before, made.after, made.inputs(8))
    panel.wait(BUSY)
    return panel


def patched() -> Any:
    """Return at which words and blocks the plural of an answer is decided, from the record of `--measure`."""
    panel = sw.PatchingPanel(sn.circuits.PatchMap.load(RECORDS / "patching"))
    panel.where = ("smollm2-135m", f"{KEYS[0]} → are", f"{KEYS[1]} → is")
    return panel


def measure() -> None:
    """Measure what takes longer than a page may: a map of patches against 19 controls."""
    found = sn.circuits.patch(material(LANGUAGE)[0], *KEYS, (" are", " is"), n_controls=19)
    found.save(RECORDS / "patching")


def along_curve() -> Any:
    """Return which hidden sums a model that adds modulo 53 reads along their ring, and half-way between two."""
    adder, sums = sn.load_model("tiny-modular"), [total for total in range(53) for _ in range(3)]
    texts = [f"{a} + {(total - a) % 53} =" for total, a in zip(sums, 53 * [5, 20, 41], strict=True)]
    asked = {"positions": "last", "drop_first": False, "progress": False}
    acts = sn.capture(adder, texts, "resid_post.0", **asked)
    found = sn.geometry.curve(acts, sums, closed=True, period=53)
    panel = sw.CurvePanel(adder, "resid_post.0", found, "3 + 4 =", by=20, noun="sums")
    panel.wait(BUSY)
    panel.where = ("tiny-modular, which adds modulo 53", *panel.where[1:])
    return panel


def heads() -> Any:
    """Return the head that the next word of a sentence needs, and where it looks."""
    panel = sw.HeadsPanel(material(LANGUAGE)[0], CABINET)
    panel.wait(BUSY)
    return panel


def generation() -> Any:
    """Return a text that goes on with an atom for outer space turned up, as it is, and at random."""
    model, sae, examples, _ = material(LANGUAGE)
    panel = sw.GenerationLens(model, sae, prompt=ROME, acts=examples.acts, labels=examples.labels)
    panel.wait(BUSY)
    panel.atom = named(LANGUAGE, ATOM)
    panel.go_on(24)
    panel.wait(BUSY)
    return panel


def quiz() -> Any:
    """Return questions about atoms, not answered yet."""
    return sw.AtomQuiz(catalogue=material(VISION)[3])


def everything_linked() -> Any:
    """Return the dashboard of the vision model, on an atom that stands for a digit."""
    model, sae, examples, _ = material(VISION)
    pictures = examples.acts.context.pictures
    sevens = pictures[model(pictures).argmax(dim=-1) == 7][:4]
    four = examples.match("digit 4").atom
    return sw.dashboard(model, sae, inputs=sevens, examples=examples, atom=four)


def entries() -> list[Entry]:
    """Return all pages, in the order of the index; each first page of a room has a card."""
    picture, bars = ".sae-nb-grid", ".sae-nb-live"
    atoms = "00_tour"
    return [
        Entry(
            "lens-vision",
            *twice("a drawn 7, explained"),
            lens_on_picture,
            f"{picture}, .sae-nb-pairrow",
            "demo",
            PICTURE_AND_EFFECTS,
        ),
        Entry(
            "steering-vision",
            *twice("a 7, and one atom turned up"),
            steered_picture,
            bars,
            "demo",
            axes="x y",
        ),
        *(
            Entry(
                f"atom-vision-{label.replace(' ', '-')}",
                "an atom of a vision model",
                label,
                partial(browser, VISION, atom),
                crop,
                style=EXAMPLES,
            )
            for atom, crop in zip(STROKES, (picture, ""), strict=True)
            for label in [material(VISION)[2].labels[atom]]
        ),
        Entry(
            "lens-language",
            *twice("a sentence, explained"),
            lens_on_text,
            ".sae-nb-lattice",
            "demo",
            SMALL_WORDS,
        ),
        Entry(
            "steering-language",
            *twice("a text, and one atom turned up"),
            steered_text,
            ".sae-nb-branches",
            "demo",
            THREE_WAYS,
        ),
        Entry(
            "atom-language-outer-space",
            "an atom of a language model",
            ATOM,
            lambda: browser(LANGUAGE, named(LANGUAGE, ATOM)),
            ".sae-nb-kwic",
            style=".sae-nb-kwic > :nth-child(n+7) { display: none; }",
        ),
        Entry(
            "atom-language-money",
            "an atom of a language model",
            OTHER,
            lambda: browser(LANGUAGE, named(LANGUAGE, OTHER)),
        ),
        Entry(
            "report-card",
            *twice("can this SAE be trusted?"),
            judged,
            ".sae-nb-verdicts",
            "03_evaluation",
            ROWS_ALONE,
        ),
        Entry(
            "corpora",
            *twice("sad stories against glad ones"),
            corpora,
            ".sae-nb-pairs",
            atoms,
            TWO_OF_EACH,
        ),
        Entry(
            "circuit",
            *twice("an answer, followed back"),
            circuit,
            ".sae-nb-storybars",
            atoms,
        ),
        Entry(
            "patching",
            *twice("where the answer is decided"),
            patched,
            ".sae-nb-layers",
            "07_patching",
            WORDS_BY_BLOCK,
        ),
        Entry(
            "curve",
            *twice("along a curve"),
            along_curve,
            ".sae-nb-beside svg",
            "36_along_a_curve",
            ".sae-nb-beside text { display: none; }",
        ),
        Entry(
            "heads",
            *twice("which heads look where"),
            heads,
            ".sae-nb-arcs",
            "07_patching",
            ".sae-nb-arcs, .sae-nb-arcs svg { overflow: visible !important; }",
        ),
        Entry(
            "layers",
            *twice("an answer, block by block"),
            layers_of_text,
            ".sae-nb-ranks",
            "06_the_lens",
            LAST_WORD,
        ),
        Entry(
            "changes",
            *twice("what a fine-tuning changed"),
            changed,
            ".sae-nb-main .sae-nb-paired",
            "29_what_did_fine_tuning_change",
            CHANCES_ALONE,
        ),
        Entry(
            "generation",
            *twice("a model while it writes"),
            generation,
            ".sae-nb-branches",
            "05_steering",
            THREE_WAYS,
        ),
        Entry(
            "quiz",
            *twice("guess where it fires"),
            quiz,
            "fieldset:first-of-type :is(.sae-nb-cardtitle, .sae-nb-grid)",
            atoms,
            FIRST_QUESTION,
        ),
        Entry(
            "dashboard",
            *twice("everything linked"),
            everything_linked,
            ".sae-nb-veiled",
            atoms,
            EXAMPLES,
        ),
        Entry(
            "map",
            *twice("a map of 4096 atoms"),
            concept_map,
            bars,
            atoms,
            WHOLE_MAP,
        ),
        Entry(
            "depth",
            *twice("an image through 12 layers"),
            depth,
            ".sae-nb-main .sae-nb-component",
            "15_block_recurrence",
            ".sae-nb-component > div { font-size: 12px !important; }"
            ".sae-nb-component > div:has(+ svg) { display: none !important; }",
        ),
        Entry(
            "time",
            *twice("what a text's past predicts"),
            in_time,
            ".sae-nb-likeness",
            "17_time",
            ".sae-nb-likeness { align-items: end !important; }",
        ),
        Entry(
            "pursuit",
            *twice("atoms chosen one by one"),
            pursuit,
            ".sae-nb-assembly",
            "11_pursuit",
            ONE_ROW_OF_STEPS,
        ),
        Entry(
            "superposition",
            *twice("five features in two neurons"),
            superposition,
            bars,
            "01_superposition",
            axes="x y x5 y5",
        ),
        Entry(
            "training",
            *twice("an SAE while it trains"),
            trained,
            bars,
            "00_tour",
            axes="x y",
        ),
    ]


def twice(title: str) -> tuple[str, str]:
    """Return room and title of a page that has its room for itself."""
    return title, title


def write_pages(chosen: Iterable[Entry], everything: list[Entry]) -> list[Entry]:
    """Write one page an entry, and return those that are whole."""
    whole = []
    for entry in chosen:
        path, links = GALLERY / f"{entry.name}.html", navigation(entry, everything)
        try:
            panel = entry.make()
        except NotFetchedError as error:
            path.write_text(instead(entry, links, str(error)), encoding="utf-8")
            print(f"{path.name} needs {error}, and says how to fetch it", file=sys.stderr)
            continue
        if hasattr(panel, "wait"):
            panel.wait(BUSY)
        panel.to_html(path, share_script=True)
        panel.close()
        text = PLOT_ID.sub(f"plot-{entry.name}", path.read_text(encoding="utf-8"))
        text = text.replace("</style>", f"{STYLE}</style>", 1)
        text = text.replace("<body>", f"<body>{mark()}{links}", 1)
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size // 1000} kB")
        whole.append(entry)
    return whole


def instead(entry: Entry, links: str, model: str) -> str:
    """Return the page that stands in until its model is there."""
    return framed(
        f"sae_nb: {entry.title}",
        f"{links}<h1>{escape(entry.title)}</h1><p>This panel runs {model}, which was not there when the page "
        f"was written. Fetch it by <code>sae-nb get {model}</code>; <code>make docs</code> then writes it.</p>",
    )


def framed(title: str, body: str) -> str:
    """Return a page of words alone."""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{theme.PAGE_COLOURS}{PAGE_STYLE}{STYLE}</style></head><body>{body}</body></html>"
    )


def navigation(entry: Entry, everything: list[Entry]) -> str:
    """Return links to the index, to the other pages of the same room, and to where the panel runs."""
    others = [
        f"<b>{escape(e.title)}</b>"
        if e == entry
        else f'<a href="{e.name}.html">{escape(e.title)}</a>'
        for e in everything
        if e.room == entry.room
    ]
    here = f" · {escape(entry.room)}: {' · '.join(others)}" if len(others) > 1 else ""
    return (
        f'<nav aria-label="gallery"><a href="index.html">All panels</a>{here} · '
        f'<a href="{run_link(entry)}"{NEW_TAB}>run it on Binder</a></nav>'
    )


@cache
def slug() -> str:
    """Return owner/name of the repository, which pyproject.toml alone says."""
    text = (DOCS.parent / "pyproject.toml").read_text(encoding="utf-8")
    address = str(tomllib.loads(text)["project"]["urls"]["Repository"])
    return address.removeprefix("https://github.com/")


def run_link(entry: Entry) -> str:
    """Return where the notebook with such a panel runs without an installation."""
    return RUN.format(slug=slug(), notebook=entry.notebook)


def live_atoms() -> str:
    """Return links to the sites of docs/tools/sites.py, which are published next to this page."""
    four, bad = (
        material(VISION)[2].match("digit 4").atom,
        material(STORIES)[2].match("bad story").atom,
    )
    return (
        "<p><b>Atoms that answer live</b>, in the page, without Python: "
        f'<a href="../atoms/tiny-vit/index.html#atom={four}">draw a digit</a> for a vision model, or '
        f'<a href="../atoms/tiny-gpt/index.html#atom={bad}">begin a story</a> for a language model. They '
        "run where this page is read from the web, not from a copy on disk.</p>"
    )


def finding(page: str) -> tuple[str, str]:
    """Return the title and the first answer of a page: a card has no sentence of its own.

    The title is empty where it only asks.

    >>> finding('<div class="sae-nb-question" title="Why?">7 becomes 4</div>')
    ('7 becomes 4', '')
    """
    found = [(one["question"], one["said"]) for one in SAID.finditer(page)]
    titles = [said for question, said in found[:1] if question is not None and said != question]
    answers = [said for question, said in found if question is None][:1]
    title, answer = (
        html.unescape(MARKUP.sub("", "".join(said))).strip() for said in (titles, answers)
    )
    return title, answer


def write_index(everything: list[Entry]) -> Path:
    """Write the page with a card for the first page of every room that is there."""
    cards: list[str] = []
    told: set[str] = set()
    everything = [e for e in everything if (GALLERY / f"{e.name}.html").is_file()]
    for room in dict.fromkeys(e.room for e in everything):
        first, *others = (e for e in everything if e.room == room)
        more = "".join(f' <a href="{other.name}.html">another</a>' for other in others)
        link = f"{first.name}.html"
        title, answer = map(escape, finding((GALLERY / link).read_text(encoding="utf-8")))
        image = f"../pictures/{first.name}"
        if title and title in told:  # what several panels find is a title once
            title, answer = "", f"{title}. {answer}"
        told.add(title)
        cards.append(
            f'<article><a href="{link}" tabindex="-1"><picture>'
            f'<source srcset="{image}-dark.webp" media="(prefers-color-scheme: dark)">'
            f'<img src="{image}.webp" alt="{title or answer}"></picture></a>'
            f'<h2><a href="{link}">{title or escape(room)}</a></h2><p>{answer}</p>'
            f'<p class="foot"><small>{escape(room) if title else ""}{more}</small>'
            f'<a class="run" href="{run_link(first)}"{NEW_TAB}>run it</a></p></article>'
        )
    page = framed(
        "sae_nb: the panels",
        "<h1>What was found in these models</h1>"
        "<p>A model’s activation is nearly the sum of a few <b>atoms</b>: directions, each with a meaning of "
        "its own at best, which a sparse autoencoder (SAE) learns.</p>"
        f'<div class="cards">{"".join(cards)}</div>'
        "<p>Each card is a finding with chance beside it, and opens the panel as it stood in a notebook: hover "
        "and zoom work. <i>run it</i> opens the notebook on Binder, with the model running. SAEs, examples and "
        f"small models come with the package; SmolLM2 is fetched once.</p>{live_atoms()}",
    )
    path = GALLERY / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def take_pictures(chosen: Iterable[Entry]) -> None:
    """Photograph what cards show of the pages, light and dark; from disk, the network off."""
    executable = find_chromium()
    if executable is None:
        print("No Chromium here: the pages are written, their pictures are left as they were.")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for entry in chosen:
            for scheme, ending in (("light", ""), ("dark", "-dark")):
                page = launched.new_page(
                    viewport=CARD, device_scale_factor=2, offline=True, color_scheme=scheme
                )
                page.goto((GALLERY / f"{entry.name}.html").as_uri())
                page.wait_for_timeout(500)
                page.add_style_tag(content=entry.style or "/* as it is */")
                if not page.evaluate(CROP, [entry.crop, NEVER_SHOWN, EDGE]):
                    raise ValueError(
                        f"{entry.name}.html must have what its card shows: {entry.crop}"
                    )
                if entry.axes:
                    page.evaluate(ONLY, [entry.axes, CARD["height"] - 2 * EDGE])
                page.wait_for_timeout(400)
                letters = page.evaluate(FIT, [EDGE, LARGER])
                if letters < LEAST_PX:
                    raise ValueError(
                        f"letters of a card must have {LEAST_PX:g} px or more, got {letters:.1f} "
                        f"for {entry.name}. "
                        "Show less of its page."
                    )
                _keep(_drawn(page, entry.name), PICTURES / f"{entry.name}{ending}.webp")
                page.close()
        launched.close()


def _drawn(page: Any, name: str) -> bytes:
    """Return a photograph of what is shown, taken once there is something: a busy machine plots late."""
    for _ in range(20):
        png: bytes = page.screenshot()
        picture = Image.open(io.BytesIO(png)).convert("RGB")
        n_pixels = picture.width * picture.height
        commonest = max(n for n, _ in picture.getcolors(n_pixels))
        if commonest < 0.99 * n_pixels:
            return png
        page.wait_for_timeout(250)
    raise ValueError(
        f"{name}.html must show something in its card, and is blank after five seconds."
    )


def _keep(png: bytes, path: Path) -> None:
    """Store a picture as WebP, no larger than an index should load."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in (88, 80, 70, 60, 50, 40):
        stream = io.BytesIO()
        picture.save(stream, "WEBP", quality=quality, method=6, use_sharp_yuv=True)
        if stream.tell() <= LARGEST_PICTURE:
            break
    path.write_bytes(stream.getvalue())


def main() -> int:
    """Parse, write pages, index and pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="pages to make again; none means all")
    parser.add_argument("--pages", action="store_true", help="what is not current, no pictures")
    parser.add_argument("--measure", action="store_true", help="first, what takes minutes")
    given = parser.parse_args()
    if given.measure:
        measure()
    names = given.names
    everything = entries()
    known = [e.name for e in everything]
    unknown = set(names) - set(known)
    if unknown:
        parser.error(f"no page {sorted(unknown)}; there are {known}")
    for folder in (GALLERY, PICTURES):
        folder.mkdir(exist_ok=True)
    lock = (GALLERY / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    chosen = [e for e in everything if not names or e.name in names]
    if given.pages:
        chosen = [e for e in chosen if not is_current(GALLERY / f"{e.name}.html")]
    if not names:
        here = {
            "index",
            "marimo",
            "readme",
            *(stem for name in (*known, *HERO) for stem in (name, f"{name}-dark")),
        }
        for old in (*GALLERY.glob("*.html"), *PICTURES.glob("*.webp")):
            if old.stem not in here:
                old.unlink()
    whole = write_pages(chosen, everything)
    write_index(everything)
    if not given.pages:
        take_pictures(e for e in whole if e.crop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
