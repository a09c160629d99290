"""Script in labels, notes, texts, names and titles is shown as words and never runs, in any panel's page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.panel import Panel

import sae_nb as sn
from sae_nb.atoms import LabelEvidence
from sae_nb.labelling import AtomLabel, AtomLabels
from sae_nb.sessions import Annotations

pytestmark = [pytest.mark.slow, pytest.mark.browser]
HOSTILE = '"><img src=x onerror=window.hurt=1><script>window.hurt=1</script><b>words'
TEXTS = [f"Lily said {HOSTILE} and was sad.", "Tom was happy."]
ONCE = f"Once {HOSTILE} there was"


@pytest.fixture(scope="module")
def parts() -> SimpleNamespace:
    """The bundled models with pretrained SAEs, and hostile labels and notes for every atom."""
    made = SimpleNamespace()
    for kind, shelf in (("vision", "tiny-vit/resid_post.6"), ("language", "tiny-gpt/resid_post.3")):
        examples, sae = sn.load_examples(shelf), sn.load_sae(shelf)
        worth = LabelEvidence(why=HOSTILE, returns=1, n_sisters=2)
        every = range(0, sae.n_atoms, 2)
        read = {a: AtomLabel(atom=a, text=HOSTILE, source=HOSTILE, evidence=worth) for a in every}
        book = Annotations(given=AtomLabels(entries=read))
        book.write(3, HOSTILE, note=HOSTILE)
        model = sn.load_model(shelf.split("/")[0])
        setattr(made, kind, SimpleNamespace(model=model, sae=sae, examples=examples, labels=book))
    made.acts = sn.capture(model, TEXTS, sae.hook_point, progress=False)
    made.fires = int(sae.encode(made.acts.x).atoms[40])
    return made


def _corpora(parts: SimpleNamespace) -> Panel:
    one = parts.language
    asked = {"labels": dict(one.labels), "progress": False}
    docs = sn.uses.documents(one.model, one.sae, 3 * TEXTS, one.sae.hook_point, **asked)
    odd, even = docs.subset(slice(0, None, 2)), docs.subset(slice(1, None, 2))
    return sw.CorpusPanel(odd, even, (HOSTILE, "b"), min_count=1)


def _circuit(parts: SimpleNamespace) -> Panel:
    model, sae, text = parts.language.model, parts.language.sae, f"Once {HOSTILE[:12]} he"
    graph = sn.circuits.attribution_graph(
        model, {sae.hook_point: sae}, text, target=" a", max_nodes=4
    )
    panel = sw.CircuitPanel(graph)
    panel.group([int(graph.nodes.index[graph.nodes.kind == "atom"][0])], HOSTILE)
    return panel


def _writing(parts: SimpleNamespace) -> Panel:
    one = parts.language
    given = {"prompt": f"Lily said {HOSTILE}", "labels": one.labels, "pinned": [2, 3]}
    lens = sw.GenerationLens(one.model, one.sae, **given)
    lens.step(2)
    lens.token = 5
    lens.go_on(2)
    return lens


def _map(parts: SimpleNamespace) -> Panel:
    one = parts.vision
    shown = sw.ConceptMap(one.sae, examples=one.examples, labels=one.labels)
    shown.selected = (2, 3, 4)
    return shown


def _lens(parts: SimpleNamespace) -> Panel:
    one = parts.language
    lens = sw.InputLens(one.model, one.sae, examples=one.examples)
    lens.text = ONCE
    return lens


def _time(parts: SimpleNamespace) -> Panel:
    one = parts.language
    sae = sn.Temporal(d_in=one.sae.d_in, n_atoms=32, k=4, context=64).eval()
    sae.hook_point = one.sae.hook_point
    return sw.TemporalPanel(one.model, sae, ONCE)


def _card(_parts: SimpleNamespace) -> Panel:
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    saes = [sn.TopK(d_in=8, n_atoms=16, k=k).eval() for k in (2, 4)]
    return sw.ReportCard([sn.evaluate(sae, x, n_bootstrap=50) for sae in saes], [HOSTILE, "b"])


PANELS: dict[str, Callable[[SimpleNamespace], Panel]] = {
    "atoms of texts": lambda p: sw.AtomBrowser(
        p.language.sae, p.acts, labels=p.language.labels, atom=p.fires
    ),
    "atoms of pictures": lambda p: sw.AtomBrowser(
        p.vision.sae, p.vision.examples.acts, labels=p.vision.labels, atom=3
    ),
    "two atoms": lambda p: sw.AtomComparison(
        p.language.sae, p.acts, labels=p.language.labels, atom=2, other=3
    ),
    "work list": lambda p: sw.WorkList(p.language.sae, p.acts, labels=p.language.labels),
    "corpora": _corpora,
    "circuit": _circuit,
    "writing": _writing,
    "map": _map,
    "steering": lambda p: sw.SteeringPanel(
        p.language.model, p.language.sae.hook_point, p.language.sae, [ONCE], p.acts, atom=3
    ),
    "lens": _lens,
    "time": _time,
    "depth": lambda p: sw.DepthTrajectory(
        p.vision.model, p.vision.examples.acts.context.pictures[:4], labels=2 * [HOSTILE, "b"]
    ),
    "card": _card,
}


@pytest.mark.parametrize("name", PANELS)
def test_script_in_words_never_runs(
    name: str, parts: SimpleNamespace, opened: Any, tmp_path: Path
) -> None:
    """Nor does any of it become an element; where the panel shows it, it is there as words."""
    torch.set_num_threads(1)
    panel = PANELS[name](parts)
    panel.wait(120)
    assert not panel.problem, panel.status
    page = opened.new_page()
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    panel.to_html(tmp_path / "page.html")
    panel.close()
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_load_state("load")
    page.mouse.move(300, 300)
    page.mouse.move(500, 400)
    assert page.evaluate("window.hurt") is None
    assert asked == []
    assert page.locator('img[src="x"]').count() == 0
    inner = page.locator("script", has_text="window.hurt=1").evaluate_all(
        "found => found.filter(e => !e.src && e.textContent.trim() === 'window.hurt=1').length"
    )
    assert inner == 0
    page.close()
