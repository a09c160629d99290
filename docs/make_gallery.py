"""Write docs/gallery: every panel as a page that needs no kernel and no network, and its picture.

    python docs/make_gallery.py [NAME ...]

Pages share one copy of plotly's script. Pictures (for README) are taken where a Chromium is at hand.
"""

from __future__ import annotations

import argparse
import html
import io
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import sae_nb_widgets as sw
import torch
from PIL import Image
from sae_nb_widgets.panel import PAGE_STYLE

import sae_nb as sn
from sae_nb.diagnosis import find_chromium
from sae_nb.figures import escape, theme

DOCS = Path(__file__).parent
GALLERY, PICTURES = DOCS / "gallery", DOCS / "pictures"
VISION, LANGUAGE = "tiny-vit/resid_post.6", "tiny-gpt/resid_post.3"
SUM = "sum-of-atoms"
"""A picture without a page."""

N_ATOMS = 5
SEVEN = [(9, 8), (22, 8), (14, 24)]
STORY = "Tom and Lucy walked to the castle. They carried a lamp."
IN_TIME = "Anna lived near the library with a small fox. One day the fox ran away and Anna wept."
LARGEST_PICTURE = 100_000
"""Bytes: README shows several."""

TALLEST_PICTURE = 700
"""Pixels, of 1060 in width."""

PLOT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STYLE = """
nav { font: 14px/1.6 system-ui, sans-serif; margin: 0 0 12px; color: var(--jp-ui-font-color2); }
nav a, .cards a { color: inherit; } nav b { color: var(--jp-ui-font-color1); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 18px;
  font: 15px/1.45 system-ui, sans-serif; color: var(--jp-ui-font-color1); }
.cards a { text-decoration: none; display: block; border: 1px solid var(--jp-border-color2);
  border-radius: 6px; padding: 10px; }
.cards img { width: 100%; height: 200px; object-fit: cover; object-position: top left; }
.cards a:focus, .cards a:hover { outline: 2px solid #0072B2; }
h1 { font: 600 22px/1.3 system-ui, sans-serif; color: var(--jp-ui-font-color1); }
p { font: 15px/1.5 system-ui, sans-serif; color: var(--jp-ui-font-color1); max-width: 46em; }
"""


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


@cache
def material(name: str) -> tuple[Any, Any, Any, Any]:
    """Return model, SAE, examples and catalogue of a pretrained SAE."""
    sae, examples = sn.load_sae(name), sn.load_examples(name)
    model = sn.load_model(name.partition("/")[0])
    return model, sae, examples, examples.catalogue(sae)


def best_factors(name: str, n: int) -> list[Any]:
    """Return the best match of each kind of factor ("digit", "texture" …), then the next best."""
    matches = material(name)[2].matches
    kinds: dict[str, Any] = {}
    for match in matches:
        kinds.setdefault(match.factor.partition(" ")[0], match)
    chosen = [*kinds.values(), *(m for m in matches if m not in kinds.values())]
    atoms = list({m.atom: m for m in reversed(chosen)}.values())[::-1]
    return sorted(atoms[:n], key=lambda m: -m.f1)


def browsers(name: str, stem: str, room: str, n: int) -> list[Entry]:
    """Return pages of the atoms that stand for known factors."""

    def make(atom: int) -> Any:
        model, sae, examples, catalogue = material(name)
        return sw.AtomBrowser(
            sae, examples.acts, model, atom=atom, labels=examples.labels, catalogue=catalogue
        )

    return [
        Entry(
            f"{stem}-{match.factor.replace(' ', '-')}",
            room,
            match.factor,
            partial(make, match.atom),
        )
        for match in best_factors(name, n)
    ]


def lens_on_picture() -> Any:
    """Return which atoms a drawn 7 uses."""
    model, sae, examples, _ = material(VISION)
    panel = sw.InputLens(model, sae, examples=examples)
    panel.draw([SEVEN])
    panel.sort = "attribution"
    return panel


def lens_on_text() -> Any:
    """Return which atoms the beginning of a story uses."""
    model, sae, examples, _ = material(LANGUAGE)
    panel = sw.InputLens(model, sae, examples=examples)
    panel.text = STORY
    panel.sort = "attribution"
    return panel


def pursuit() -> Any:
    """Return matching pursuit beside its orthogonal variant, half-way, on one state of a 7."""
    _, sae, examples, _ = material(VISION)
    panel = sw.PursuitStepper(examples.acts.x[:1], sae, k=12)
    panel.wait()
    panel.step = 6
    return panel


def superposition() -> Any:
    """Return the toy whose features are rare enough to share two neurons."""
    panel = sw.SuperpositionToy()
    panel.wait(120)
    panel.sparsity = 0.97
    return panel


def steered_picture() -> Any:
    """Return a 7 that is pushed towards another digit, with its dose-response curve."""
    model, sae, examples, catalogue = material(VISION)
    pictures = examples.acts.context.pictures
    sevens = pictures[model(pictures).argmax(dim=-1) == 7]
    atom = examples.match("digit 4").atom
    panel = sw.SteeringPanel(model, sae.hook_point, sae, sevens, catalogue, atom=atom)
    panel.wait()
    panel.dose_response()
    return panel


def steered_text() -> Any:
    """Return a story pushed towards another mood, continued before and after."""
    model, sae, examples, catalogue = material(LANGUAGE)
    atom = examples.match("bad story").atom
    panel = sw.SteeringPanel(
        model, sae.hook_point, sae, [STORY], catalogue, atom=atom, strength=1.5
    )
    panel.wait()
    panel.continue_text()
    return panel


def concept_map() -> Any:
    """Return the map of a vision model's atoms, one of them chosen."""
    _, sae, examples, _ = material(VISION)
    panel = sw.ConceptMap(sae, examples=examples)
    panel.wait(120)
    panel.atom = examples.match("digit 4").atom
    return panel


def depth() -> Any:
    """Return how pictures travel through the layers of the vision model."""
    model, sae, _, _ = material(VISION)
    panel = sw.DepthTrajectory(model, sn.data.scenes(24, seed=0, split="test"), sae=sae)
    panel.wait(120)
    return panel


def in_time() -> Any:
    """Return what the past of a story already said, for an SAE trained on 200 of them."""
    model = material(LANGUAGE)[0]
    texts = list(sn.data.stories(200, seed=0).texts)
    acts = sn.capture(model, texts, "resid_post.2", progress=False)
    generator = torch.Generator().manual_seed(0)
    sae = sn.Temporal(acts.d_in, 128, 8, bottleneck_factor=2, generator=generator)
    sn.train(sae, acts, steps=200, batch_size=512, progress=False)
    panel = sw.TemporalPanel(model, sae, IN_TIME)
    panel.wait(120)
    panel.token = 9
    return panel


def trained() -> Any:
    """Return the monitor of a short training run on the examples' pictures."""
    model, _, examples, _ = material(VISION)
    acts = sn.capture(model, examples.acts.context.pictures, "resid_post.6", progress=False)
    sae = sn.TopK(acts.d_in, n_atoms=512, k=16, generator=torch.Generator().manual_seed(0))
    run = sn.start_training(sae, acts, steps=400, batch_size=1024, seed=0)
    panel = sw.TrainingMonitor(run)
    run.wait()
    return panel


def entries() -> list[Entry]:
    """Return all pages, in the order of the index."""
    return [
        *browsers(VISION, "atom-vision", "atoms of a vision model", N_ATOMS),
        *browsers(LANGUAGE, "atom-language", "atoms of a language model", N_ATOMS),
        Entry("lens-vision", "a drawing read", "a drawing read", lens_on_picture),
        Entry("lens-language", "a text read", "a text read", lens_on_text),
        Entry("steering-vision", "a digit steered", "a digit steered", steered_picture),
        Entry("steering-language", "a text steered", "a text steered", steered_text),
        Entry("map", "a map of concepts", "a map of concepts", concept_map),
        Entry("depth", "pictures through the layers", "through the layers", depth),
        Entry("time", "a story and its past", "a story and its past", in_time),
        Entry("pursuit", "two pursuits in lock-step", "two pursuits", pursuit),
        Entry("superposition", "a toy of superposition", "a toy of superposition", superposition),
        Entry("training", "an SAE in training", "an SAE in training", trained),
    ]


def write_pages(chosen: Iterable[Entry], everything: list[Entry]) -> None:
    """Write one page an entry."""
    for entry in chosen:
        panel = entry.make()
        panel.wait()
        path = panel.to_html(GALLERY / f"{entry.name}.html", share_script=True)
        panel.close()
        text = PLOT_ID.sub(f"plot-{entry.name}", path.read_text(encoding="utf-8"))
        text = text.replace("</style>", f"{STYLE}</style>", 1)
        text = text.replace("<body>", f"<body>{navigation(entry, everything)}", 1)
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size // 1000} kB")


def navigation(entry: Entry, everything: list[Entry]) -> str:
    """Return links to the index and to the other pages of the same room."""
    others = [
        f"<b>{escape(e.title)}</b>"
        if e == entry
        else f'<a href="{e.name}.html">{escape(e.title)}</a>'
        for e in everything
        if e.room == entry.room
    ]
    here = f" · {escape(entry.room)}: {' · '.join(others)}" if len(others) > 1 else ""
    return f'<nav aria-label="gallery"><a href="index.html">All panels</a>{here}</nav>'


def write_index(everything: list[Entry]) -> Path:
    """Write the page that links to the first page of every room."""
    cards = []
    for room in dict.fromkeys(e.room for e in everything):
        inside = [e for e in everything if e.room == room]
        question = _question(GALLERY / f"{inside[0].name}.html")
        more = f" ({len(inside)} pages)" if len(inside) > 1 else ""
        cards.append(
            f'<a href="{inside[0].name}.html">'
            f'<img src="../pictures/{inside[0].name}.webp" alt="{escape(question)}" loading="lazy">'
            f"<br><b>{escape(question)}</b><br>{escape(room)}{more}</a>"
        )
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><title>sae_nb: the panels</title>'
        f"<style>{theme.PAGE_COLOURS}{PAGE_STYLE}{STYLE}</style></head><body>"
        "<h1>What a network's atoms look like</h1>"
        "<p>Every panel of sae_nb as it stands in a notebook, written by its own <i>html</i> button: "
        "hover and zoom work, what needs a live model does not. The models, the SAEs and their "
        "examples come with the package.</p>"
        f'<div class="cards">{"".join(cards)}</div></body></html>'
    )
    path = GALLERY / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def _question(page: Path) -> str:
    found = re.search(r"<title>(.*?)</title>", page.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{page.name} must have a title; make it again.")
    return html.unescape(found[1])


def sum_of_atoms() -> Any:
    """Return one patch of a 0 as the sum of its atoms: README's first picture."""
    model, sae, examples, _ = material(VISION)
    acts = sn.capture(model, sn.data.scenes(40, seed=7, split="test"), sae.hook_point)
    patch = (acts.sample == 39) & (acts.position == model.prefix_tokens + 4 * 8 + 3)
    return sn.summaries.sum_of_atoms(sae, acts[patch], labels=examples.labels).plot()


def take_pictures(chosen: Iterable[Entry], figures: Mapping[str, Any]) -> None:
    """Photograph pages and figures opened from disk, with the network off."""
    executable = find_chromium()
    if executable is None:
        print("No Chromium here: the pages are written, their pictures are left as they were.")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        context = launched.new_context(viewport={"width": 1060, "height": 900}, offline=True)
        page = context.new_page()
        for entry in chosen:
            page.goto((GALLERY / f"{entry.name}.html").as_uri())
            page.wait_for_timeout(600)
            # The numbers and the explanation are for reading on the page.
            page.add_style_tag(content="main > :is(details, .sae-nb-help) { display: none; }")
            shot = page.locator("main").screenshot()
            _keep(shot, PICTURES / f"{entry.name}.webp")
        for name, figure in figures.items():
            page.set_content(figure.to_html(include_plotlyjs=True, div_id=name))
            page.wait_for_timeout(600)
            _keep(page.locator(f"#{name}").screenshot(), PICTURES / f"{name}.webp")
        launched.close()


def _keep(png: bytes, path: Path) -> None:
    """Store a picture as WebP, no larger than README should load."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, TALLEST_PICTURE)))
    for quality in (88, 80, 70, 60):
        stream = io.BytesIO()
        picture.save(stream, "WEBP", quality=quality)
        if stream.tell() <= LARGEST_PICTURE:
            break
    path.write_bytes(stream.getvalue())


def main() -> int:
    """Parse, write pages, index and pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="pages to make again; none means all")
    names = parser.parse_args().names
    everything = entries()
    known = [*(e.name for e in everything), SUM]
    unknown = set(names) - set(known)
    if unknown:
        parser.error(f"no page {sorted(unknown)}; there are {known}")
    for folder in (GALLERY, PICTURES):
        folder.mkdir(exist_ok=True)
    chosen = [e for e in everything if not names or e.name in names]
    write_pages(chosen, everything)
    write_index(everything)
    shown = {e.room: e.name for e in reversed(everything)}.values()
    figures = {SUM: sum_of_atoms()} if not names or SUM in names else {}
    take_pictures((e for e in chosen if e.name in shown), figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
