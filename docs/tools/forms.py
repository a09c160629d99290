"""Write docs/forms-live.html: every form of the panels on measured examples, light, dark, large and narrow.

    python docs/tools/forms.py

The page needs no kernel and no network: it holds the forms' own scripts and their states, so they answer to
mouse and keyboard as in a notebook.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sae_nb_widgets.components import (
    Branches,
    Chips,
    Component,
    Concordance,
    Histogram,
    PictureGrid,
    StrengthSlider,
    ThinBars,
    TokenStrip,
)
from sae_nb_widgets.components._branches import Way
from sae_nb_widgets.components._chips import sure_dots
from sae_nb_widgets.components._histogram import Mark
from sae_nb_widgets.components._layer_grid import LayerGrid

import sae_nb as sn
from sae_nb.atoms import AtomSummary
from sae_nb.figures.theme import (
    escape,
    format_number,
)
from sae_nb.files._atomic import write_bytes
from sae_nb.generation._generation import STEERED, Generation
from sae_nb.sessions._names import names_of

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "forms-live.html"
LANGUAGE, VISION = "tiny-gpt/resid_post.3", "tiny-vit/resid_post.6"
STORY = "Tom and Lucy walked to the castle with a fox. The fox ran away. They"
SHORT = "Anna lost her hat. She was very"
STORY_LABEL = "bad story"
SURE = "The name finds 90 % of what fires; other names 55 %."
N_NEW, STRENGTH = 16, 1.5
MODES = {
    "light": ("Light", "light", ""),
    "dark": ("Dark", "dark", ""),
    "lecture": ("Lecture scale", "light", "sae-nb-lecture"),
    "narrow": ("420 px", "light", "narrow"),
}
"""Word, colours and class of each part of the page."""

FIRST = "light"
"""The part that readers without a script get."""

STYLE = """
body { margin: 0; background: #f5f6f8; font: 14px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: auto; padding: 16px; display: grid; gap: 20px; }
.light { --jp-ui-font-color1: #1c2024; --jp-layout-color1: #fff; --jp-layout-color2: #f5f6f8;
  color-scheme: light; }
.dark { --jp-ui-font-color1: #edeef0; --jp-layout-color1: #15171b; --jp-layout-color2: #24272e;
  color-scheme: dark; }
section { background: var(--jp-layout-color1); color: var(--jp-ui-font-color1); border-radius: 12px;
  padding: 16px 24px; min-width: 0; box-sizing: border-box; max-width: 100%; }
section.narrow { width: 420px; padding: 12px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 0 0 8px; }
h3 { font-size: 13px; margin: 22px 0 6px; } h3 code { font-weight: 400; }
.form { min-width: 0; } .form.margin { max-width: 330px; }
"""
# The smallest model that a form can live with: what it sets is kept, nothing is sent.
SCRIPT = """
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
function modelOf(state) {
  const heard = {};
  return {
    get: (name) => state[name],
    set(name, value) { state[name] = value; (heard["change:" + name] || []).forEach((f) => f()); },
    save_changes() {}, off() {}, send() {},
    on(event, f) { (heard[event] = heard[event] || []).push(f); },
  };
}
const { scripts, forms } = JSON.parse(document.getElementById("forms").textContent);
const loaded = await Promise.all(scripts.map((text) =>
  import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })))));
document.querySelectorAll("[data-form]").forEach((el) => {
  const { script, plain, data } = forms[el.dataset.form];
  const state = structuredClone(plain);
  for (const [name, text] of Object.entries(data)) state[name] = bytes(text);
  el.replaceChildren();
  loaded[script].default.render({ model: modelOf(state), el });
});
"""


@cache
def material(name: str) -> tuple[Any, Any, Any, Any]:
    """Return model, SAE, examples and catalogue of a bundled SAE."""
    sae, examples = sn.load_sae(name), sn.load_examples(name)
    model = sn.load_model(name.split("/")[0])
    return model, sae, examples, examples.catalogue(sae)


@cache
def _summary(name: str, label: str) -> AtomSummary:
    _, _, examples, catalogue = material(name)
    found: AtomSummary = catalogue.summary(examples.match(label).atom)
    return found


def concordance() -> Concordance:
    """Return the strongest examples of an atom of tiny-gpt."""
    record = _summary(LANGUAGE, STORY_LABEL)
    shown = [example for example in record.examples if example.token_strengths is not None][:8]
    made = Concordance(
        description="examples", hint=f"{len(shown)} of {record.n_fired} places, strongest first"
    )
    made.show(
        [example.tokens for example in shown],
        [np.abs(np.asarray(example.token_strengths)) for example in shown],
        special=[example.special for example in shown],
        captions=[example.place for example in shown],
        strengths=[abs(example.strength) for example in shown],
        maximum=record.max_strength,
    )
    return made


def odd_texts() -> Concordance:
    """Return lines whose tokens are of the difficult kind: from the right, broken, blank, markup."""
    made = Concordance(
        description="difficult texts", hint="right to left, emoji, blanks, markup, long words"
    )
    rows = [
        ["הכלב", " ברח", " ולא", " חזר", " אל", " הבית"],
        ["彼", "は", "森", "へ", "走った", "。"],
        ["if", " x", ":", "\n", "    ", "return", " None"],
        ["<img", " src=x", " onerror=", "alert(1)", ">", " <b>bold</b>"],
        ["very", " Donau", "dampf", "schiff", "fahrts", "gesell", "schaft", " nice"],
        ["\ufffd", " \ufffd", " ", "👩\u200d👩\u200d👧", " family"],
    ]
    made.show(rows, [np.linspace(0, 2, len(row))[::-1] * (i + 1) for i, row in enumerate(rows)])
    return made


def _measured() -> Any:
    model, _, _, catalogue = material(LANGUAGE)
    return sn.atoms.measure_atom(catalogue, _summary(LANGUAGE, STORY_LABEL).atom, model)


def says() -> Chips:
    """Return what the atom makes the model say, as measured, with a random direction."""
    found = _measured()
    made = Chips(description="What it makes the model say")
    made.show(
        [token for token, _ in found.up],
        ["confirmed" if held else "unconfirmed" for held in found.confirmed],
        score=f"{sum(found.confirmed)} of {len(found.up)} confirmed on other texts",
        control=f"random direction: {found.by_chance} of {len(found.up)}",
    )
    return made


def less_of() -> Chips:
    """Return what it makes the model say less."""
    made = Chips(description="and less of")
    made.show([token for token, _ in _measured().down][:5], "low")
    return made


def named() -> Chips:
    """Return other atoms with names, to be clicked."""
    labels = material(LANGUAGE)[2].labels
    atoms = [atom for atom in labels if labels.label(atom)][:5]
    made = Chips(description="Try", clickable=True)
    made.show([labels.label(atom) for atom in atoms], atoms=atoms)
    return made


def slider() -> StrengthSlider:
    """Return the slider of that atom's strength."""
    record = _summary(LANGUAGE, STORY_LABEL)
    made = StrengthSlider(
        name=STORY_LABEL, size=record.max_strength, value=0.9, sure=3, sure_words=SURE
    )
    made.fit(
        -2.0, 3.0, usual=(record.histogram.marks["50 %"] / record.max_strength, 1.0), breaks=2.2
    )
    return made


def strengths() -> Histogram:
    """Return how strongly that atom fires."""
    record = _summary(LANGUAGE, STORY_LABEL)
    counts, edges = record.histogram.counts, record.histogram.edges
    width = edges[1] - edges[0]
    made = Histogram(description="How strongly it fires", brush=False)
    marks = [
        Mark(float((value - edges[0]) / width), f"{word} {format_number(value)}")
        for name, word in (("50 %", "median"), ("99 %", "99 %"))
        if (value := record.histogram.marks.get(name)) is not None
    ]
    made.show(counts, ends=[format_number(edge) for edge in edges], marks=marks)
    return made


def near() -> ThinBars:
    """Return the atoms closest to it."""
    record, names = _summary(LANGUAGE, STORY_LABEL), names_of(material(LANGUAGE)[1])
    made = ThinBars(description="Close to it (cosine)")
    found = [*zip(record.nearest_atoms.tolist(), record.nearest_cosines.tolist(), strict=True)][:4]
    made.show([names.name(atom) for atom, _ in found], [cosine for _, cosine in found], maximum=1.0)
    return made


def branches() -> Branches:
    """Return a story that goes on with the atom, without it, and along a random direction."""
    model, sae, _, _ = material(LANGUAGE)
    record = _summary(LANGUAGE, STORY_LABEL)
    generation = Generation(model, sae, STORY, sae.hook_point)
    fork = generation.fork(generation.n_prompt - 1, record.atom, STRENGTH * record.max_strength)
    for _ in range(N_NEW):
        generation.step(fork)
    ways = [
        Way(kind, generation.tokens(fork, row)[generation.n_prompt :])
        for row, kind in enumerate(("up", "same", "random"))
    ]
    made = Branches(description="the story, three ways")
    before = generation.branches[fork].rows[STEERED].strengths(record.atom)[: generation.n_prompt]
    note = f"same state in all three · {N_NEW} tokens · tinted: words that only this one has"
    made.show(generation.tokens(0)[: generation.n_prompt], ways, strengths=before, note=note)
    return made


def images() -> PictureGrid:
    """Return the strongest images of an atom of tiny-vit."""
    record = _summary(VISION, "digit 4")
    shown = record.examples[:12]
    made = PictureGrid(
        look="veil",
        hint=f"12 of {record.n_fired} places, strongest first; outlined: where it fires",
    )
    made.show(
        np.stack([np.asarray(example.picture) for example in shown]),
        heat=np.abs(np.stack([np.asarray(example.heat) for example in shown])),
        captions=[example.place for example in shown],
        strengths=[abs(example.strength) for example in shown],
        maximum=record.max_strength,
    )
    return made


def tokens() -> TokenStrip:
    """Return a text shaded token by token."""
    example = _summary(LANGUAGE, STORY_LABEL).examples[0]
    made = TokenStrip(description="one text", hint="Hover: strength at this token.")
    made.show([example.tokens], [np.abs(np.asarray(example.token_strengths))])
    return made


def token_map() -> LayerGrid:
    """Return what each block would say next, at every token."""
    seen = sn.load_lens("tiny-gpt").read([SHORT])
    order = range(len(seen.layers))[::-1]
    made = LayerGrid(description="what each block would say next")
    made.show(
        ["answer", *(f"block {seen.layers[i]}" for i in order)],
        seen.tokens,
        [
            [seen.names[int(x)] for x in row]
            for row in (seen.answer, *(seen.top[i, :, 0] for i in order))
        ],
        tints=[seen.answer_probability, *(seen.top_probability[i, :, 0] for i in order)],
        agrees=[[True] * len(seen.tokens), *(seen.agrees[i] for i in order)],
    )
    return made


FORMS: dict[str, tuple[str, Callable[[], Component], bool]] = {
    "Concordance": ("Examples of text", concordance, False),
    "Concordance of difficult texts": ("Nothing breaks the column", odd_texts, False),
    "PictureGrid": ("Examples of images", images, False),
    "TokenStrip": ("One text, token by token", tokens, False),
    "LayerGrid": ("Token map: layers by tokens", token_map, False),
    "Branches": ("Before and after", branches, False),
    "StrengthSlider": ("A strength, in units of the atom's own peak", slider, False),
    "Chips": ("What it makes the model say", says, True),
    "Chips, less likely": ("What it makes the model say less", less_of, True),
    "Chips, clickable": ("Other atoms", named, True),
    "Histogram": ("How strongly it fires", strengths, True),
    "ThinBars": ("Neighbours", near, True),
}
"""Heading, maker, and whether it belongs to the margin."""


def packed(form: Component, scripts: list[str]) -> dict[str, Any]:
    """Return script, plain state and bytes of a form, ready for JSON."""
    state = form.get_state()
    script = str(state.pop("_esm"))
    if script not in scripts:
        scripts.append(script)
    data = {k: base64.b64encode(v).decode() for k, v in state.items() if isinstance(v, bytes)}
    plain = {
        k: v
        for k, v in state.items()
        if not k.startswith("_") and k not in data and k not in ("layout", "tabbable", "tooltip")
    }
    return {"script": scripts.index(script), "plain": plain, "data": data}


def page() -> str:
    """Return the whole page."""
    scripts: list[str] = []
    made = {name: make() for name, (_, make, _) in FORMS.items()}
    forms = {name: packed(form, scripts) for name, form in made.items()}
    sections = "".join(_section(mode, made) for mode in MODES)
    style = "".join(dict.fromkeys(form._css for form in made.values()))
    given = json.dumps({"scripts": scripts, "forms": forms}).replace("</", "<\\/")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        'content="width=device-width, initial-scale=1"><title>Every form of the panels</title>'
        f"<style>{style}{STYLE}</style><main><h1>Every form of the panels</h1>{sections}</main>"
        f'<script type="application/json" id="forms">{given}</script>'
        f'<script type="module">{SCRIPT}</script></html>'
    )


def _section(mode: str, made: dict[str, Component]) -> str:
    title, colours, kind = MODES[mode]
    parts = "".join(
        f"<h3>{escape(heading)} <code>{escape(name.split()[0].strip(','))}</code></h3>"
        f'<div class="form{" margin" * margin}" data-form="{escape(name)}">'
        f"{made[name].static_html() if mode == FIRST else ''}</div>"
        for name, (heading, _, margin) in FORMS.items()
    )
    dots = " ".join(f"{n} {sure_dots(n, SURE)}" for n in range(5))
    return (
        f'<section class="{colours} {kind}" id="{mode}"><h2>{title}</h2>'
        f'<h3>How sure a name is <code>sure_dots</code></h3><div class="sae-nb-component">{dots}</div>'
        f"{parts}</section>"
    )


def main() -> None:
    """Write the page."""
    write_bytes(PAGE, page().encode())
    print(f"wrote {PAGE} ({PAGE.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
