"""SteeringPanel: every control is a trait, every trait runs the model, and the control is drawn."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import ipywidgets as ipw
import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.panel import Panel, descendants
from sae_nb_widgets.steering._detail import _whole
from sae_nb_widgets.steering._figure import AFTER, BEFORE, EFFECT, EFFECT_BAND, RANDOM
from torch import nn

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.models import HookPointNotFound
from tests.widgets.made import control_named
from tests.widgets.steering.small import PICTURES, SAE, PlainSae, bars, steered

# --- every trait runs the model -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("atom", 9),
        ("strength", -2.0),
        ("mode", "set"),
        ("mode", "scale"),
        ("positions", "patches"),
        ("positions", (0, 7)),
        ("hook_point", "resid_post.0"),
        ("sample", 3),
    ],
)
def test_trait_runs_the_model_anew(
    vit: Any, panel: sw.SteeringPanel, name: str, value: Any
) -> None:
    """After a change the green bars are the model's answer under the new settings."""
    setattr(panel, name, value)
    panel.wait()
    np.testing.assert_allclose(bars(panel, AFTER), steered(vit, panel), atol=1e-5)
    clean = vit(PICTURES[panel.sample : panel.sample + 1])[0].softmax(-1)
    np.testing.assert_allclose(bars(panel, BEFORE), clean, atol=1e-5)
    assert getattr(panel.summary.recipe, name) == value
    assert not panel.problem


def test_slider_is_the_strength(vit: Any, panel: sw.SteeringPanel) -> None:
    """Moving the slider runs the model; setting the trait moves the slider, however far."""
    panel.controls.strength.value = 1.5
    panel.wait()
    assert panel.strength == 1.5
    np.testing.assert_allclose(bars(panel, AFTER), steered(vit, panel), atol=1e-5)
    panel.strength = 400.0
    panel.wait()
    assert panel.controls.strength.value == 400.0
    panel.strength = -3.0
    assert panel.controls.strength.value == -3.0


def test_the_slider_speaks_of_the_atoms_own_peak(panel: sw.SteeringPanel) -> None:
    """Its number in the model's units is what is added; what was set is not changed by being shown."""
    panel.strength = 1.2345
    slider = panel.controls.strength
    peak, unit = panel.scale.of_peak(panel.atom, "add")
    assert slider.unit == unit
    assert slider.value * peak == pytest.approx(1.2345)
    assert panel.strength == 1.2345
    assert panel.headline.startswith("Turn up ")
    slider.value = -0.5
    assert panel.strength == pytest.approx(-0.5 * peak)
    assert panel.headline.startswith("Turn down ")


def test_random_control_is_drawn_hatched_and_follows_its_seed(panel: sw.SteeringPanel) -> None:
    """Its outline ends at the record's values, and another seed moves it."""
    trace = panel.current_figure().data[RANDOM]
    assert trace.fillpattern.shape == "/"
    np.testing.assert_allclose(np.asarray(trace.x).reshape(-1, 6)[:, 1], panel.summary.random)
    before = panel.summary.random
    panel.seed = 1
    assert not np.allclose(panel.summary.random, before)


def test_newest_request_wins(vit: Any, panel: sw.SteeringPanel) -> None:
    """Of twenty changes in a row the last one is drawn, and not all of them were run."""
    runs = []
    original = type(vit).forward

    def counted(self: Any, batch: Any, **given: Any) -> Any:
        runs.append(1)
        return original(self, batch, **given)

    type(vit).forward = counted
    try:
        for strength in np.linspace(0, 4, 20):
            panel.strength = float(strength)
        panel.wait()
    finally:
        type(vit).forward = original
    assert panel.summary.recipe.strength == 4.0
    assert len(runs) < 40


def test_an_atom_browser_steers_the_panel(vit: Any, acts: Any) -> None:
    """Browser and panel share one catalogue and one atom."""
    sae = sn.TopK(d_in=32, n_atoms=64, k=4)
    sn.train(sae, acts, sn.TrainConfig(steps=30), progress=False)
    browser = sw.AtomBrowser(sae, acts)
    browser.wait()
    made = sw.SteeringPanel(vit, "resid_post.1", sae, acts=browser.catalogue, atom=browser.atom)
    t.link((browser, "atom"), (made, "atom"))
    browser.next()
    summary = made.summary
    assert summary.recipe.atom == browser.atom
    assert summary.recipe.p99 == pytest.approx(browser.catalogue.p99[browser.atom], rel=1e-5)
    assert summary.edit_norm == pytest.approx(2 * summary.recipe.p99, rel=1e-4)
    assert made.names is browser.names


def test_another_head_answers(vit: Any, panel: sw.SteeringPanel) -> None:
    """The menu offers the heads that score classes, and choosing one shows it."""
    assert [value for _, value in panel.controls.head.options] == ["", "texture"]
    panel.head = "texture"
    panel.wait()
    expected = vit.heads(PICTURES[:1])["texture"][0].softmax(-1)
    np.testing.assert_allclose(bars(panel, BEFORE), expected, atol=1e-5)


# --- names ----------------------------------------------------------------------------------------


def test_a_label_typed_elsewhere_reaches_the_open_panel(panel: sw.SteeringPanel) -> None:
    """Field, sentence, heat and kept recipes call the atom what people call it now."""
    panel.keep_recipe()
    panel.wait()
    assert panel.answer.startswith(f"{panel.names.in_text(5)} added at 4 model units: the answer ")
    browser = sw.AtomBrowser(SAE, sn.capture(panel.model, PICTURES, "resid_post.1", progress=False))
    browser.wait()
    browser.names.labels.write(5, "bad story")
    assert panel.headline == "Turn up “bad story”"
    assert panel.controls.strength.name == "bad story"
    assert panel.answer.startswith("“bad story” (atom 5) added at 4 model units: the answer ")
    assert "bad story" in panel.controls.kept.options[1][0]
    panel.seed = 3
    panel.wait()
    assert panel.cards.grid.captions[1] == "bad story"
    panel.names.labels.write(5, "")


# --- strengths ------------------------------------------------------------------------------------


def test_a_strength_set_for_another_atom_never_breaks_the_model_silently(
    vit: Any, acts: Any
) -> None:
    """Above the safe one it goes back, with its sign, and that is said; one below stays."""
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, acts=acts, atom=5)
    made.wait()
    assert made.controls.strength.unit == "× its peak"
    assert made.controls.strength.size == pytest.approx(made.scale.unit_size(5, "add"))
    made.strength = -4.5
    made.wait()
    made.atom = 7
    made.wait()
    assert made.strength == made.summary.recipe.strength == -2.0
    assert "Strength back to −2×: −4.5 was set for another atom" in made.status
    made.strength = 1.5
    made.wait()
    assert "back to" not in made.status
    made.atom = 8
    made.wait()
    assert made.strength == 1.5
    assert "back to" not in made.status
    recipe = made.recipe() | {"atom": 9, "strength": 4.0, "p99": float(made.scale.sizes[9])}
    made.replay(recipe)  # whoever gives both means both
    made.wait()
    assert (made.atom, made.strength) == (9, pytest.approx(4.0))


def test_texts_bear_less_than_classes(gpt: Any) -> None:
    """A language panel opens at the strength that an atom reaches by itself, and returns to it."""
    acts = sn.capture(gpt, ["the cat sat", "the dog sat"], "resid_post.0", progress=False)
    made = sw.SteeringPanel(gpt, "resid_post.0", PlainSae(16, 32), ["the cat"], acts=acts, atom=3)
    made.wait()
    assert made.strength == 1.0
    made.strength = 3.0
    made.atom = 4
    made.wait()
    assert made.strength == 1.0


def test_nonsense_as_a_target_token_is_refused(talking: sw.SteeringPanel) -> None:
    """Another script, ten thousand characters, two words; a word of the model is taken."""
    field = control_named(talking, "effect on token")
    field.value = "dog"
    talking.wait()
    assert talking.summary.target_name.strip() == "dog"
    assert "“dog”" in talking.answer
    for given in ("the cat", "the " * 2500):
        field.value = given
        assert talking.status.startswith("effect on token: one token of small gpt")
        assert field.value == "dog"


# --- what is asked about --------------------------------------------------------------------------


def test_sentence_and_curve_are_about_the_class_that_was_chosen(planted: sw.SteeringPanel) -> None:
    """Else about the model's answer; another choice takes the old curve away."""
    assert planted.summary.target_name == "b"
    control_named(planted, "effect on").value = "c"
    assert planted.target == "c"
    assert planted.summary.target_name == "c"
    assert ": P(c) " in planted.answer
    planted.dose_response([0.0, 3.0])
    assert planted.curve.target_name == "c"
    assert planted.curve.response.effect[1] == pytest.approx(planted.summary.effect, abs=1e-5)
    assert "P(c) falls by" in planted.status
    planted.target = "a"
    assert planted.summary.target_name == "a"
    assert planted.curve is None


def test_combine_says_what_is_kept_until_another_atom_is_chosen(panel: sw.SteeringPanel) -> None:
    """Also while a strength is searched for, and then what happens to both."""
    panel.target_kl = 0.002
    panel.wait()
    panel.combine()
    panel.wait()
    assert f"Kept: {panel.names.in_text(5)} added at" in panel.mix._kept.value
    assert "scales both together" in panel.mix._kept.value
    assert panel.mix.layout.display is None
    assert panel.mix._kept in panel.mix.children
    panel.atom = 20
    panel.wait()
    assert panel.mix._kept.value == ""


def test_an_emptied_text_takes_what_was_concluded_with_it(talking: sw.SteeringPanel) -> None:
    """Sentence, bars, continuations; typing brings an answer to the new text."""
    talking.continue_text()
    talking.wait()
    talking.text = "  "
    talking.wait()
    assert (talking.answer, talking.continuation) == ("", None)
    assert talking.cards.texts.layout.display == "none"
    assert talking.status == "The text is empty. Type at least one word."
    talking.continue_text()
    assert talking.status == "The text is empty. Type at least one word."
    talking.text = "the dog"
    assert talking.summary.tokens == ("the", "dog")
    assert talking.answer


def test_changes_that_are_alike_by_construction_are_not_shown(panel: sw.SteeringPanel) -> None:
    """At the last hook point atom and random push move every state equally far: no table of equals."""
    assert panel.cards.changes.layout.display is None
    assert len(panel.cards.grid.captions) == 3
    panel.hook_point = "resid_post.2"
    panel.wait()
    assert panel.summary.read_at == "resid_post.2"
    assert panel.cards.changes.layout.display == "none"
    assert len(panel.cards.grid.captions) == 1


def test_a_text_can_be_picked_from_where_its_changes_are_alike(talking: sw.SteeringPanel) -> None:
    """One plain row of tokens, without heat or legend; a click steers only there."""
    talking.hook_point = "resid_post.1"
    talking.wait()
    strip = talking.cards.strip
    assert strip.captions == ["the text"]
    assert not np.frombuffer(strip.token_strengths, np.float32).any()
    assert "sae-nb-legend" not in strip.static_html()
    strip.selected = (0, 1)
    talking.wait()
    assert talking.positions == (1,)


# --- the scale ------------------------------------------------------------------------------------


def test_strength_is_in_multiples_of_p99_where_acts_are_given(vit: Any, acts: Any) -> None:
    """Two on the slider adds twice the atom's 99th percentile, and the panel says so."""
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, acts=acts, atom=5)
    made.wait()
    strengths = (acts.x @ SAE.dictionary[5]).abs().numpy()
    p99 = np.percentile(strengths[strengths > 0], 99)
    assert (made.unit, made.strength) == ("p99", 2.0)
    assert made.summary.edit_norm == pytest.approx(2 * p99, rel=1e-4)
    unit = made.controls.unit.value
    assert ">× full strength<" in unit
    assert "99th percentile" in unit
    made.mode = "scale"
    made.wait()
    assert made.unit == "coefficient"


def test_strength_chosen_while_percentiles_are_measured_stays(vit: Any, acts: Any) -> None:
    """The panel's own first choice never overrides a person's."""
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, acts=acts)
    made.atom, made.strength = 7, 3.5
    made.wait()
    assert (made.unit, made.strength, made.summary.recipe.strength) == ("p99", 3.5, 3.5)


def test_first_strength_without_acts_is_on_the_scale_of_the_states(vit: Any) -> None:
    """It is stated in the model's units, and strong enough to be seen."""
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, PICTURES, atom=5)
    made.wait()
    assert made.unit == "coefficient"
    assert "model units" in made.controls.unit.value
    lengths = sn.capture(vit, PICTURES[:1], "resid_post.1", progress=False).x.norm(dim=1)
    assert 0.2 < made.strength / float(lengths.mean()) < 1.0


def test_atom_that_never_fires_says_so(vit: Any) -> None:
    """It has no percentile: its strength is in the model's units."""
    codes = SparseCodes.from_dense(torch.eye(64)[:8] * 3.0)
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, PICTURES, acts=codes, atom=1)
    made.wait()
    assert made.unit == "p99"
    made.atom = 40
    made.wait()
    assert made.unit == "coefficient"
    assert "never fires" in made.controls.unit.value
    assert not made.problem


# --- pictures and places --------------------------------------------------------------------------


def test_heat_is_the_change_downstream_beside_the_random_one(panel: sw.SteeringPanel) -> None:
    """The plain picture, and two maps over it on one scale."""
    grid = panel.cards.grid
    plain, ours, control = grid.heat_maps
    assert grid.captions == ["the image", panel.names.words(5) or "atom 5", "random"]
    assert not plain.any()
    np.testing.assert_allclose(ours, panel.summary.patch_change(), rtol=1e-5)
    np.testing.assert_allclose(control, panel.summary.patch_change(random=True), rtol=1e-5)


def test_clicking_a_patch_steers_only_there(panel: sw.SteeringPanel) -> None:
    """The patch becomes the position, the menu shows it, and Escape goes back to all."""
    panel.cards.grid.selected = (0, 10)
    panel.wait()
    assert panel.positions == (15,)
    assert panel.summary.tokens[15] == "patch 1,2"
    assert panel.controls.positions.label == "picked: 15"
    panel.press("Escape")
    panel.wait()
    assert panel.positions is None
    assert panel.controls.positions.value == "all"


def test_pictures_are_made_up_where_none_are_given(vit: Any) -> None:
    """And the panel says that they are."""
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, strength=1.0)
    assert made.summary.picture.shape == (3, 32, 32)
    assert "made up" in made.chips["inputs"]


# --- language -------------------------------------------------------------------------------------


def test_text_box_is_the_input(gpt: Any, talking: sw.SteeringPanel) -> None:
    """What is typed is what is read."""
    talking.text = "the dog"
    talking.wait()
    clean = gpt(["the dog"])[0, -1].softmax(-1).numpy()
    summary = talking.summary
    np.testing.assert_allclose(summary.before, clean[summary.ids], atol=1e-5)
    assert summary.tokens == ("the", "dog")
    talking.sample = 1
    assert talking.summary.tokens == ("the", "dog", "sat")


def test_continuation_is_drawn_in_columns_and_marked_stale(talking: sw.SteeringPanel) -> None:
    """Before, after, random; after another strength it says that it is of an older one."""
    assert talking.continuation is None
    talking.controls.go_on.click()
    record = talking.continuation
    assert len(record.before) > 0
    texts = talking.cards.texts
    assert texts.labels == ["turned up", "untouched", "random, same size"]
    assert "prove" in texts.note
    assert not texts.stale
    # What comes out of it is the answer; the odds of one token are behind it.
    assert ": the text " in talking.answer
    assert "the next token" not in talking.answer
    assert "the next token" in talking.numbers
    talking.strength = 1.0
    talking.wait()
    assert texts.stale
    assert "Write on again" in texts.note
    assert "the next token" in talking.answer


def test_a_continuation_is_dimmed_as_soon_as_another_atom_is_chosen(
    talking: sw.SteeringPanel, gpt: Any
) -> None:
    """Before the new answer is there: the old atom's text never stands as if it were the new one's."""
    talking.controls.go_on.click()
    talking.wait()
    assert not talking.cards.texts.stale
    with gpt.lock:  # the model is busy: no answer comes
        talking.atom = 9
        assert talking.cards.texts.stale
        assert "Write on again" in talking.cards.texts.note


def test_a_continuation_asked_for_too_early_waits_for_the_unit(gpt: Any) -> None:
    """Asked while strengths are measured, it is in multiples of the percentile, not in model units."""
    acts = sn.capture(gpt, ["the cat sat", "the dog sat"], "resid_post.0", progress=False)
    panel = sw.SteeringPanel(gpt, "resid_post.0", PlainSae(16, 32), ["the cat"], acts=acts, atom=3)
    panel.strength = 1.5
    panel.continue_text()
    panel.wait()
    assert panel.continuation is not None
    assert panel.unit == "p99"
    assert "added at 1.5× full strength" in panel.cards.texts.note


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        ([" The", " forest", " of", " m"], " The forest of …"),
        ([" The", " for", "est"], " The …"),
        ([" He", " slept", "."], " He slept."),
        ([" go", "”", "!", "”"], " go”!”"),
        (["king", "dom"], "kingdom …"),
        ([" were very", " sad. The next day the hor"], " were very sad. The next day the …"),
        ([], ""),
    ],
)
def test_a_continuation_never_ends_within_a_word(tokens: list[str], shown: str) -> None:
    """The last word may go on where the tokens end: it is left out, and "…" says so."""
    way = _whole("up", tokens)
    assert "".join(way.tokens) + " …" * (not way.ended) == shown


def test_markup_in_tokens_is_inert(gpt: Any, talking: sw.SteeringPanel) -> None:
    """A token that is a script is text in every view and in the exported page."""
    talking.text = "the <script>alert(1)</script> cat"
    with torch.no_grad():
        gpt.module.lm_head.weight[4] += 1.0  # make it likely, so that it becomes a bar
    talking.refresh()
    talking.continue_text()
    talking.wait()
    shown = [str(widget.value) for widget in descendants(talking) if isinstance(widget, ipw.HTML)]
    assert not [value for value in shown if "<script>alert" in value]
    labels = talking.current_figure().layout.yaxis.ticktext
    assert not [label for label in labels if "<script>" in label]
    assert "<script>alert" not in talking.static_detail()


# --- dose and response ----------------------------------------------------------------------------


def test_dose_response_appears_in_the_same_figure(planted: sw.SteeringPanel) -> None:
    """The effect rises, the band is drawn, the strength shown in the bars is marked."""
    assert planted.current_figure().data[EFFECT].visible is False
    planted.dose_response([-3.0, 0.0, 3.0], n_controls=10)
    curve = planted.curve
    figure = planted.current_figure()
    np.testing.assert_allclose(figure.data[EFFECT].y, curve.response.effect, rtol=1e-5)
    assert curve.response.effect[2] == pytest.approx(planted.summary.effect, abs=1e-5)
    assert curve.response.effect[0] < 0 < curve.response.effect[2]
    assert len(figure.data[EFFECT_BAND].x) == 6
    assert {shape.x0 for shape in figure.layout.shapes} == {3.0}
    planted.strength = -2.0
    planted.wait()
    assert {shape.x0 for shape in planted.current_figure().layout.shapes} == {-2.0}


def test_another_atom_takes_the_old_curve_away(planted: sw.SteeringPanel) -> None:
    """A curve is never left standing under an atom it is not of."""
    planted.controls.curve.click()
    assert planted.curve is not None
    planted.atom = 4
    assert planted.curve is None
    assert planted.current_figure().data[EFFECT].visible is False
    assert not planted.current_figure().layout.shapes


def test_states_have_no_dose_response(vit: Any) -> None:
    """A model without classes says why in the status line."""
    model = sn.wrap(nn.Sequential(nn.Identity()))
    made = sw.SteeringPanel(model, "0", SAE, torch.ones(1, 32), strength=1.0)
    made.dose_response()
    assert made.problem
    assert "class_names=" in made.status
    assert made.controls.curve.disabled


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hook_point", "resid_post.7", "resid_post"),
        ("positions", "everywhere", "`positions` must be"),
        ("target", "giraffe", "one of the classes"),
    ],
)
def test_impossible_value_is_a_trait_error(
    panel: sw.SteeringPanel, name: str, value: Any, message: str
) -> None:
    """And the panel stays as it was."""
    before = getattr(panel, name)
    with pytest.raises(t.TraitError, match=message):
        setattr(panel, name, value)
    assert getattr(panel, name) == before


def test_wrong_parts_are_refused_at_construction(vit: Any) -> None:
    """With what was given and what to do."""
    with pytest.raises(HookPointNotFound, match="resid_post.2"):
        sw.SteeringPanel(vit, "resid_post.9", SAE)
    with pytest.raises(ValueError, match=r"width 32 and the SAE 16"):
        sw.SteeringPanel(vit, "resid_post.1", PlainSae(16, 8))
    with pytest.raises(TypeError, match=r"must be a live model, got VisionTransformer\. Use"):
        sw.SteeringPanel(vit.module, "resid_post.1", SAE)
    with pytest.raises(TypeError, match="must be a sparse autoencoder, got 3"):
        sw.SteeringPanel(vit, "resid_post.1", 3)
    with pytest.raises(TypeError, match="`inputs` must be given"):
        sw.SteeringPanel(sn.wrap(nn.Sequential(nn.Identity())), "0", SAE)


def test_failing_model_is_a_sentence(panel: sw.SteeringPanel, vit: Any) -> None:
    """What goes wrong in the model's thread is said in the status line."""

    def broken(*_: Any) -> None:
        raise RuntimeError("out of\n luck")

    handle = vit.module.register_forward_pre_hook(broken)
    try:
        panel.sample = 2
        panel.wait()
    finally:
        handle.remove()
    assert panel.problem
    assert panel.status == "steering atom 5: out of luck"
    assert panel.answer == ""
    assert not any(len(trace.x) for trace in panel.current_figure().data[:4])
    assert vit.interventions == []


# --- taking it away -------------------------------------------------------------------------------


def test_closed_panel_answers_no_more(vit: Any) -> None:
    """Closing twice is harmless, and a trait that changes later runs nothing."""
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, PICTURES, strength=1.0)
    made.close()
    made.close()
    with vit.lock:  # a run under way is finished, and undone, before this
        assert vit.interventions == []
    answered = made._summary  # the first run may have been faster
    made.strength = 2.0
    made.wait()
    assert made._summary is answered


def test_a_steering_panel_is_one_class_above_panel() -> None:
    assert sw.SteeringPanel.__bases__ == (Panel,)


def test_weights_that_change_are_steered_with(vit: Any) -> None:
    """An SAE may be in training: its atoms are those of now."""
    sae = sn.TopK(32, 64, 4, generator=torch.Generator().manual_seed(0))
    made = sw.SteeringPanel(vit, "resid_post.1", sae, PICTURES, atom=5, strength=4.0)
    before = made.summary.after
    with torch.no_grad():
        for weight in sae.parameters():
            weight.copy_(weight.flip(0))
    made.strength = 4.5
    made.strength = 4.0
    made.wait()
    fresh = sw.SteeringPanel(vit, "resid_post.1", sae, PICTURES, atom=5, strength=4.0)
    np.testing.assert_array_equal(made.summary.after, fresh.summary.after)
    assert not np.array_equal(made.summary.after, before)


def test_a_slider_goes_a_short_way(panel: sw.SteeringPanel) -> None:
    """Measured: 31 files on the bundled SAE; names, labels, hook points and checks are not asked again."""
    slider = panel.controls.strength
    for step in (0.1, 0.2):  # the second is followed
        files: set[str] = set()

        def see(frame: FrameType, *_: object, files: set[str] = files) -> None:
            if "sae_nb" in frame.f_code.co_filename:
                files.add(Path(frame.f_code.co_filename).name)

        threading.setprofile(see)
        sys.setprofile(see)
        try:
            slider.value += step
            panel.wait()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    assert 10 < len(files) <= 34
    assert not files & {"_request.py", "_contexts.py", "_names.py", "_labels.py", "_captions.py"}
