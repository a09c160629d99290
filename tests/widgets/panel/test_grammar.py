"""One grammar for all panels: what each of them has to have, do and give away, whatever it shows."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as ipw
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from ipywidgets.widgets.widget import _remove_buffers
from jupyter_client.jsonutil import json_default
from PIL import Image
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._declaring import Number, Site, Whole
from sae_nb_widgets.panel._pages import descendants, exported
from sae_nb_widgets.panel._plot import shared_script

import sae_nb as sn
from sae_nb.atoms import AtomNames
from sae_nb.figures import to_svg
from sae_nb.figures.shapes import Label, Picture, text_width
from sae_nb.figures.theme import escape
from sae_nb_studies.models import plant_behaviour

CONTROLS = (ipw.Button, ipw.ToggleButton, ipw.Dropdown, ipw.Text, ipw.Textarea, ipw.Checkbox)
CONTROLS += (ipw.BoundedIntText, ipw.IntText, ipw.FloatText, ipw.FloatSlider, ipw.IntSlider)
CONTROLS += (ipw.FloatLogSlider, ipw.SelectionSlider, ipw.ToggleButtons, ipw.FloatRangeSlider)
PLOTLY_STARTS = "plotly.js v"  # in the licence line of its script
HEAVY, LIGHT, BROWSER = 6_500_000, 1_000_000, 600_000
"""Bytes of a page with plotly's script, of one without, and of an AtomBrowser's."""


@cache
def vision() -> SimpleNamespace:
    torch.set_num_threads(1)
    examples = sn.load_examples("tiny-vit/resid_post.6")
    sae = sn.load_sae("tiny-vit/resid_post.6")
    return SimpleNamespace(
        model=sn.load_model("tiny-vit"),
        sae=sae,
        examples=examples,
        catalogue=examples.catalogue(sae),
        pictures=examples.acts.context.pictures[:4],
    )


def _atom_browser() -> Panel:
    v = vision()
    return sw.AtomBrowser(v.sae, v.examples.acts, catalogue=v.catalogue)


def _comparison() -> Panel:
    v = vision()
    return sw.AtomComparison(v.sae, catalogue=v.catalogue, atom=474, other=308)


def _work_list() -> Panel:
    v = vision()
    return sw.WorkList(v.sae, catalogue=v.catalogue)


def _quiz() -> Panel:
    return sw.AtomQuiz(catalogue=vision().catalogue)


def _concept_map() -> Panel:
    return sw.ConceptMap(vision().sae, examples=vision().examples)


def _corpora() -> Panel:
    v = vision()
    images = v.examples.acts.context.pictures[:24]
    docs = sn.uses.documents(v.model, v.sae, images, v.sae.hook_point, progress=False)
    return sw.CorpusPanel(docs.subset(slice(12)), docs.subset(slice(12, 24)), min_count=2)


def _changes() -> Panel:
    made = plant_behaviour("phrase", steps=2)
    texts = ["Tom ran home. He was glad.", "Anna saw the sea."]
    settings = {"steps": 2, "n_components": 1, "progress": False}
    found = sn.diff_models(made.before, made.after, texts, **settings)
    return sw.ChangesPanel(made.before, made.after, texts, found)


def _circuit() -> Panel:
    gpt, last = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/mlp.3")
    last.model_name = None  # so that no examples are drawn
    return sw.CircuitPanel(sn.circuits.attribution_graph(gpt, last, "She saw", target=" a"))


def _curve() -> Panel:
    adder, sums = sn.load_model("tiny-modular"), [total for total in range(53) for _ in range(2)]
    texts = [f"{a} + {(total - a) % 53} =" for total, a in zip(sums, 53 * [5, 20], strict=True)]
    asked = {"positions": "last", "drop_first": False, "progress": False}
    acts = sn.capture(adder, texts, "resid_post.0", **asked)
    found = sn.geometry.curve(acts, sums, closed=True, period=53, n_shuffled=1)
    return sw.CurvePanel(adder, "resid_post.0", found, "3 + 4 =", by=4)


def _generation() -> Panel:
    """A text with a branch, a pinned atom and a token that is explained."""
    model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    lens = sw.GenerationLens(model, sae, prompt="The list of", pinned=[25])
    lens.speed, lens.n_new = 1000.0, 3
    lens.step(4)
    lens.go_on(3)
    lens.token = 6
    return lens


def _lens() -> Panel:
    lens = sw.InputLens(vision().model, vision().sae, examples=vision().examples)
    lens.draw([[(9, 8), (22, 8), (14, 24)]])
    return lens


def _layers() -> Panel:
    gpt = sn.load_model("tiny-gpt")
    return sw.LensPanel(gpt, sn.load_lens("tiny-gpt"), "Once upon a time there was a")


def _heads() -> Panel:
    return sw.HeadsPanel(sn.load_model("tiny-induction"), "q k e f z q k e")


def _patching() -> Panel:
    return sw.PatchingPanel(sn.load_model("tiny-induction"))


def _input_steering() -> Panel:
    return sw.InputSteering(_lens(), vision().catalogue, atom=3)


def _steering() -> Panel:
    v = vision()
    return sw.SteeringPanel(v.model, v.sae.hook_point, v.sae, v.pictures, v.catalogue, atom=3)


def _stepper() -> Panel:
    rows = torch.nn.functional.normalize(
        torch.randn(24, 16, generator=torch.Generator().manual_seed(0)), dim=1
    )
    stepper = sw.PursuitStepper(rows[:3] + 0.1, rows, k=4)
    stepper.wait(60)
    stepper.step = 2
    return stepper


def _toy() -> Panel:
    return sw.SuperpositionToy(sparsities=(0.0, 0.9), n_features=3, find_atoms=False)


def _monitor() -> Panel:
    fields = ("step", "steps", "tokens", "seconds", "loss", "r2", "l0", "dead_fraction")
    rows = [(i, 30, 64 * i, 0.1 * i, 1 / i, 1 - 1 / i, 8.0, 0.1) for i in range(1, 31)]
    return sw.TrainingMonitor([SimpleNamespace(**dict(zip(fields, r, strict=True))) for r in rows])


def _depth() -> Panel:
    return sw.DepthTrajectory(vision().model, vision().pictures)


def _temporal() -> Panel:
    start = torch.Generator().manual_seed(0)
    sae = sn.Temporal(d_in=128, n_atoms=64, k=4, generator=start).eval()
    sae.hook_point = "resid_post.2"
    text = "Anna lived near the library. One day the fox ran away."
    return sw.TemporalPanel(sn.load_model("tiny-gpt"), sae, text, boundaries=[6])


def _report_card() -> Panel:
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    saes = [sn.TopK(d_in=8, n_atoms=16, k=k).eval() for k in (2, 4)]
    reports = [sn.evaluate(sae, x, n_bootstrap=50) for sae in saes]
    index = torch.arange(len(x))
    acts = sn.Activations(x, sample=index, position=torch.zeros_like(index))
    card = sw.ReportCard(reports, ["k = 2", "k = 4"], saes=saes, acts=acts)
    card.metric = "r2"
    return card


MAKERS: dict[str, Callable[[], Panel]] = {
    "AtomBrowser": _atom_browser,
    "AtomComparison": _comparison,
    "AtomQuiz": _quiz,
    "ChangesPanel": _changes,
    "CircuitPanel": _circuit,
    "ConceptMap": _concept_map,
    "CorpusPanel": _corpora,
    "CurvePanel": _curve,
    "DepthTrajectory": _depth,
    "GenerationLens": _generation,
    "HeadsPanel": _heads,
    "InputLens": _lens,
    "InputSteering": _input_steering,
    "LensPanel": _layers,
    "PatchingPanel": _patching,
    "PursuitStepper": _stepper,
    "ReportCard": _report_card,
    "SteeringPanel": _steering,
    "SuperpositionToy": _toy,
    "TemporalPanel": _temporal,
    "TrainingMonitor": _monitor,
    "WorkList": _work_list,
}


@pytest.fixture(scope="module")
def panel(request: pytest.FixtureRequest) -> Iterator[Panel]:
    """One of each kind, shared by the tests; closing it frees every widget, and twice is harmless."""
    made = MAKERS[request.param]()
    made.wait(120)
    yield made
    inside = [w for w in descendants(made) if w is not shared_script()]
    made.close()
    made.close()
    assert [type(w).__name__ for w in inside if w.comm is not None] == []


every_panel = pytest.mark.parametrize("panel", sorted(MAKERS), indirect=True)


def test_every_public_panel_is_held_to_the_grammar() -> None:
    """A panel that is added to the package is added here."""
    public = {n for n in sw.__all__ if isinstance(getattr(sw, n), type)}
    panels = {n for n in public if issubclass(getattr(sw, n), Panel)} - {"Panel"}
    assert panels == set(MAKERS)
    assert [name for name in panels if not hasattr(sn, name)] == []


@pytest.mark.slow
@every_panel
def test_every_control_has_a_label_and_says_what_it_does(panel: Panel) -> None:
    controls = [w for w in descendants(panel) if isinstance(w, CONTROLS)]
    assert controls
    # Buttons in a row are named one by one; a number beside its words is named by its tooltip.
    named = ("description", "icon", "tooltip", "tooltips")
    assert [type(w) for w in controls if not any(getattr(w, n, "") for n in named)] == []
    explained = ("tooltip", "tooltips")
    assert [w.description for w in controls if not any(getattr(w, n, "") for n in explained)] == []
    assert all(all(w.tooltips) for w in controls if isinstance(w, ipw.ToggleButtons))


@every_panel
def test_a_value_outside_the_rule_of_its_trait_is_refused(panel: Panel) -> None:
    """Choices that are none, numbers beyond either end; the trait names itself and keeps its value."""
    for name, wrong in _outside(panel):
        before = getattr(panel, name)
        with pytest.raises(t.TraitError, match=name):
            panel.set_trait(name, wrong)
        assert getattr(panel, name) == before


def _outside(panel: Panel) -> Iterator[tuple[str, float | str]]:
    ours = [vars(kind) for kind in type(panel).__mro__ if kind.__module__.startswith("sae_nb_")]
    for name, trait in panel.traits().items():
        if not any(name in made for made in ours):
            continue
        if isinstance(trait, t.Enum | Site):
            yield name, "no such choice"
        if isinstance(trait, Whole | Number):
            low, high = trait.ends(panel)
            missing = getattr(trait, "_none", None)
            beyond = (
                [low - 1, high + 1]
                if isinstance(trait, Whole)
                else [low - 0.5, math.nan, high + 0.5]
            )
            ends = [low, high] if trait._inside else []
            yield from (
                (name, one) for one in beyond + ends if abs(one) != math.inf and one != missing
            )


@every_panel
def test_state_survives_json(panel: Panel) -> None:
    """What a session keeps comes back to the same panel unchanged."""
    state = json.loads(json.dumps(panel.state(), allow_nan=False))
    panel.restore(state)
    panel.wait(120)
    assert json.loads(json.dumps(panel.state())) == state
    assert not panel.problem, panel.status


@every_panel
def test_what_the_page_is_sent_is_json(panel: Panel) -> None:
    """NaN and infinity are none: a kernel warns of them, in red, above the panel."""
    panel.wait(120)
    for widget in descendants(panel):
        if widget is not shared_script():
            state, *_ = _remove_buffers(widget.get_state())
            json.dumps(state, allow_nan=False, default=json_default)


SAME_HEIGHT = {"AtomComparison", "CorpusPanel"}
"""Figures of one height at every scale."""


@every_panel
def test_lecture_scale_and_dark_are_redrawn_in_place(panel: Panel) -> None:
    """The traces shown stay the same objects; text and figure grow; nothing fails; all comes back."""
    figure = panel._figure
    before = () if figure is None else figure.data
    height = None if figure is None else figure.layout.height
    try:
        sw.theme("lecture")
        panel._frame.keys.dark = True
        panel.wait(120)
        assert panel.dark
        assert "--sae-nb-font: 16px" in panel._frame.style.value
        if figure is not None:
            assert all(a is b for a, b in zip(before, figure.data, strict=True))
            assert figure.layout.template.layout.font.size == 16
            grows = type(panel).__name__ not in SAME_HEIGHT
            assert (figure.layout.height > height) is grows
        assert not panel.problem, panel.status
    finally:
        panel._frame.keys.dark = False
        sw.theme("normal")
    assert figure is None or figure.layout.height == height


@pytest.mark.slow
@every_panel
def test_a_page_alone_needs_nothing_else(panel: Panel, tmp_path: Path) -> None:
    """Question and answer; one copy of plotly's script, nothing asked for elsewhere, a drawing without it."""
    text = panel.to_html(tmp_path / "alone.html").read_text(encoding="utf-8")
    has_figure = "plotly-graph-div" in text
    assert [path.name for path in tmp_path.iterdir()] == ["alone.html"]
    assert text.count(PLOTLY_STARTS) >= has_figure
    has_map = "widget.render" in text
    # The scripts of the cards and of a map name the word in a comment.
    allowed = 3 * has_figure + 2 * ("const CARDS" in text) + 2 * has_map + ("fitMargins" in text)
    assert text.count("<script") <= allowed
    assert 'src="http' not in text
    light = BROWSER if isinstance(panel, sw.AtomBrowser) else LIGHT
    assert len(text) < (HEAVY if has_figure else light)
    assert ("<noscript><div" in text) == (has_figure or has_map)
    assert '<table class="sae-nb-record">' in text
    assert escape(panel.question) in text
    assert "a running kernel" in text
    words = unescape(re.sub("<[^>]+>", "", text))
    assert all(word in words for word in panel.answer.split())


@pytest.mark.slow
@every_panel
def test_a_picture_is_complete_on_white_and_nothing_leaves_it(panel: Panel) -> None:
    """Question, answer, every named trace and every component; twice the size; all words on the sheet."""
    panel._frame.keys.dark = True
    panel.wait(120)
    sheet = panel._sheet()
    image = Image.open(io.BytesIO(panel.to_png()))
    panel._frame.keys.dark = False
    assert image.size == (round(2 * sheet.width), round(2 * sheet.height))
    assert {image.getpixel(place) for place in ((0, 0), (image.width - 1, image.height - 1))} == {
        (255, 255, 255)
    }
    labels = [stroke for stroke in sheet.strokes if isinstance(stroke, Label)]
    for label in labels:
        wide = 0 if label.angle else text_width(label.text, label.size, label.bold)
        left = label.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[label.anchor] * wide
        assert left > 0, label
        assert left + wide < sheet.width, label
        assert 0 < label.y < sheet.height, label
    said = " ".join(label.text for label in labels)
    for text in (panel.question, panel.answer):
        assert all(word in said for word in text.split())
    shown = [*exported(panel.main_widgets()), *exported([panel._frame.detail])]
    pictures = [w for w in shown if isinstance(w, sw.PictureGrid) and w.captions]
    drawn = [stroke for stroke in sheet.strokes if isinstance(stroke, Picture)]
    assert len(drawn) >= sum(len(grid.captions) for grid in pictures)
    for bars in (w for w in shown if isinstance(w, sw.Sparkbars | sw.PairedBars)):
        assert all(label[:4].strip() in said for label in bars.labels)


@pytest.mark.slow
@every_panel
def test_readers_without_widgets_see_picture_and_table(panel: Panel) -> None:
    """What a notebook shows where nothing runs: a drawing of the figure, and the record."""
    bundle = panel._repr_mimebundle_()
    fallback = bundle["text/html"]
    figure = panel.current_figure()
    assert panel.question.replace("'", "&#x27;") in fallback
    assert "<table" in fallback
    assert len(fallback) < 300_000
    for dump in ("<script", " object at 0x", "tensor("):
        assert dump not in fallback
    assert ("<img" in fallback) == (figure is not None)
    assert figure is None or "<svg" in to_svg(figure)
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"].startswith(f"{type(panel).__name__}(")


@every_panel
def test_atom_is_linkable(panel: Panel) -> None:
    """`traitlets.link` and nothing else joins it to another panel; impossible atoms are refused."""
    if not panel.has_trait("atom"):
        pytest.skip("shows no atom")
    begun, other = panel.atom, _Holder()
    other.atom = begun
    link = t.link((other, "atom"), (panel, "atom"))
    wanted = 1 if panel.atom != 1 else 2
    other.atom = wanted
    panel.wait(120)
    assert panel.atom == wanted
    with pytest.raises(t.TraitError):
        panel.atom = 10**9
    other.atom = begun  # which is among what the panel shows
    link.unlink()


class _Holder(t.HasTraits):
    atom = t.Int(0)


@every_panel
def test_keys_that_are_pressed_anywhere_do_no_harm(panel: Panel, sent: list[int]) -> None:
    """No error, the same figure, less than 200 kB as far as a key opens nothing; Escape leaves it whole."""
    figure = panel._figure
    for key in [*panel._key_actions, "Escape"]:
        sent.clear()
        panel.press(key)
        panel.wait(120)
        assert not panel.problem, f"{key}: {panel.status}"
        assert key == "Enter" or sum(sent) < 200_000, key
    assert panel._figure is figure


HOSTILE = "<script>alert(1)</script>zebra"
HIDES_NAMES = {"AtomQuiz", "TemporalPanel"}
"""A quiz does not say which atom it asks about; the atom chosen need not fire in a text."""


@every_panel
def test_a_label_written_elsewhere_shows_at_once_and_as_words(panel: Panel, tmp_path: Path) -> None:
    """Where the atom is named, on screen, in the figure and on the page; markup in it is never markup."""
    names = getattr(panel, "names", None)
    if not isinstance(names, AtomNames) or not panel.has_trait("atom"):
        pytest.skip("names no atoms")
    names.labels.write(panel.atom, HOSTILE)
    try:
        panel.wait(120)
        shown = [
            json.dumps(w.get_state(), default=str)
            for w in descendants(panel)
            if w is not shared_script()
        ]
        assert type(panel).__name__ in HIDES_NAMES or any("zebra" in one for one in shown)
        html = [w.value for w in descendants(panel) if isinstance(w, ipw.HTML)]
        figure = panel.current_figure()
        drawn = "" if figure is None else json.dumps(figure.to_plotly_json(), default=str)
        page = panel.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
        assert not any("<script>alert" in one for one in (*html, drawn))
        assert HOSTILE not in page
    finally:
        names.labels.write(panel.atom, "")


@pytest.mark.slow
def test_closing_leaves_the_shared_script_alone() -> None:
    """Other panels live on it, and it is 5 MB to send again."""
    first, second = _monitor(), _monitor()
    script = shared_script()
    first.close()
    assert script.comm is not None
    assert second._picture.bundle is shared_script() is script


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AtomBrowser", "InputLens", "SteeringPanel", "TrainingMonitor"])
def test_closing_frees_what_opening_made(name: str) -> None:
    """No widget stays behind, shared script apart; a second close is harmless."""
    alive = ipw.widgets.widget._instances
    warm = MAKERS[name]()
    warm.wait(120)
    warm.close()
    before = len(alive)
    for _ in range(3):
        made = MAKERS[name]()
        made.wait(120)
        made.close()
        made.close()
    assert len(alive) <= before
