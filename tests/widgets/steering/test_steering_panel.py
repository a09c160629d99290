"""SteeringPanel: every control is a trait, every trait runs the model, and the control is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.steering._choices import Phase
from sae_nb_widgets.steering._detail import _whole
from sae_nb_widgets.steering._figure import AFTER, BEFORE, EFFECT, EFFECT_BAND, RANDOM
from sae_nb_widgets.steering._scale import StrengthScale

import sae_nb as sn
from tests.widgets.steering.small import PICTURES, SAE, bars, steered


@pytest.mark.slow
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


@pytest.mark.slow
def test_slider_is_the_strength(vit: Any, panel: sw.SteeringPanel) -> None:
    """Moving the slider runs the model; setting the trait moves the slider, however far."""
    panel.controls.strength.value = 1.5
    panel.wait()
    assert panel.strength == 1.5
    np.testing.assert_allclose(bars(panel, AFTER), steered(vit, panel), atol=1e-5)
    panel.strength = 400.0
    panel.wait()
    assert panel.controls.strength.value == 400.0
    assert panel.controls.strength.high == 400.0
    panel.strength = -3.0
    assert panel.controls.strength.value == -3.0


@pytest.mark.slow
def test_random_pushes_are_a_band_and_follow_their_seed(panel: sw.SteeringPanel) -> None:
    """It ends at the record's least and most, and another seed moves it."""
    trace = panel.current_figure().data[RANDOM]
    drawn = panel.summary.controls
    assert len(drawn) == 19
    np.testing.assert_allclose(trace.base, drawn.min(axis=0), rtol=1e-5)
    np.testing.assert_allclose(np.add(trace.base, trace.x), drawn.max(axis=0), rtol=1e-5)
    panel.seed = 1
    assert not np.allclose(panel.summary.controls[0], drawn[0])


@pytest.mark.slow
def test_an_atom_browser_steers_the_panel(vit: Any, acts: Any) -> None:
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


@pytest.mark.slow
def test_another_head_answers(vit: Any, panel: sw.SteeringPanel) -> None:
    """The menu offers the heads that score classes, and choosing one shows it."""
    assert [value for _, value in panel.controls.head.options] == ["", "texture"]
    panel.head = "texture"
    panel.wait()
    expected = vit.heads(PICTURES[:1])["texture"][0].softmax(-1)
    np.testing.assert_allclose(bars(panel, BEFORE), expected, atol=1e-5)


@pytest.mark.slow
def test_a_strength_set_for_another_atom_never_breaks_the_model_silently(
    vit: Any, acts: Any
) -> None:
    """Above the safe one it goes back, with its sign, and that is said; one below stays."""
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, acts=acts, atom=5)
    made.wait()
    assert made.controls.strength.unit == "× usual"
    assert made.controls.strength.size == pytest.approx(made.scale.unit_size(5, "add"))
    made.strength = -4.5
    made.wait()
    made.atom = 7
    made.wait()
    assert made.strength == made.summary.recipe.strength == -2.0
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
    early = sw.SteeringPanel(vit, "resid_post.1", SAE, acts=acts, atom=5)
    with early._drawing:  # before its units are measured
        early._phase = Phase.MEASURING
        early.scale = StrengthScale()
        early.replay(recipe)
        early._begin(made.scale, None)
    early.wait()
    assert (early.atom, early.unit, early.strength) == (9, "p99", pytest.approx(4.0))


@pytest.mark.slow
def test_strength_is_in_multiples_of_p99_where_acts_are_given(vit: Any, acts: Any) -> None:
    """Two on the slider adds twice the atom's 99th percentile, and the panel says so."""
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, acts=acts, atom=5)
    made.wait()
    strengths = (acts.x @ SAE.dictionary[5]).abs().numpy()
    p99 = np.percentile(strengths[strengths > 0], 99)
    assert (made.unit, made.strength) == ("p99", 2.0)
    assert made.summary.edit_norm == pytest.approx(2 * p99, rel=1e-4)
    unit = made.controls.unit.value
    assert ">× usual strength<" in unit
    assert "99th percentile" in unit
    made.mode = "scale"
    made.wait()
    assert made.unit == "coefficient"


@pytest.mark.slow
def test_first_strength_without_acts_is_twice_what_fires_in_the_input(vit: Any) -> None:
    """In the model's units; of an atom that fires weakly, twice what a tenth of the atoms reach."""
    made = sw.SteeringPanel(vit, "resid_post.1", SAE, PICTURES, atom=5)
    made.wait()
    assert made.unit == "coefficient"
    assert "model units" in made.controls.unit.value
    x = sn.capture(vit, PICTURES[:1], "resid_post.1", progress=False).x
    firing = (x @ SAE.dictionary.T).abs().amax(dim=0).numpy()
    assert firing[5] < np.quantile(firing, 0.9)
    assert made.strength == pytest.approx(2 * np.quantile(firing, 0.9), abs=0.05)


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


@pytest.mark.slow
def test_text_box_is_the_input(gpt: Any, talking: sw.SteeringPanel) -> None:
    talking.text = "the dog"
    talking.wait()
    clean = gpt(["the dog"])[0, -1].softmax(-1).numpy()
    summary = talking.summary
    np.testing.assert_allclose(summary.before, clean[summary.ids], atol=1e-5)
    assert summary.tokens == ("the", "dog")
    talking.sample = 1
    assert talking.summary.tokens == ("the", "dog", "sat")


@pytest.mark.slow
def test_continuation_is_drawn_in_columns_and_marked_stale(talking: sw.SteeringPanel) -> None:
    """Before, after, random; after another strength it says that it is of an older one."""
    assert talking.continuation is None
    talking.controls.go_on.click()
    record = talking.continuation
    assert len(record.before) > 0
    texts = talking.cards.texts
    assert texts.labels == [
        "+ atom 3 5",
        "untouched",
        *[f"random {i}, same length" for i in (1, 2, 3)],
    ]
    assert not texts.stale
    # Where it is pushed tells it from a GenerationLens, which leaves the beginning as it is.
    assert texts.note.startswith("push: from “the")
    # A page about texts has the odds of one token folded; a picture of the panel has them.
    assert talking.current_figure() is None
    assert talking.still_figure() is not None
    assert talking.static_main().startswith("<details><summary>the very next word alone")
    assert talking.static_detail() == ""
    # What comes out of it is the heading; the odds of one token are behind it.
    assert talking.headline.startswith("Atom 3 turned up: ")
    assert "3 equally long random pushes" in talking.answer
    assert "prove" in talking.reasons
    assert "P(" in talking.reasons
    talking.strength = 1.0
    talking.wait()
    assert texts.stale
    assert "write on again" in texts.note
    assert talking.current_figure() is not None
    assert not talking.static_main().startswith("<details>")
    assert "andom pushes" in talking.answer


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        ([" The", " forest", " of", " m"], " The forest of …"),
        ([" He", " slept", "."], " He slept."),
    ],
)
def test_a_continuation_never_ends_within_a_word(tokens: list[str], shown: str) -> None:
    """The last word may go on where the tokens end: it is left out, and "…" says so."""
    way = _whole("up", tokens)
    assert "".join(way.tokens) + " …" * (not way.ended) == shown


@pytest.mark.slow
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


@pytest.mark.slow
def test_another_atom_takes_the_old_curve_away(planted: sw.SteeringPanel) -> None:
    """A curve is never left standing under an atom it is not of."""
    planted.controls.curve.click()
    assert planted.curve is not None
    planted.atom = 4
    assert planted.curve is None
    assert planted.current_figure().data[EFFECT].visible is False
    assert not planted.current_figure().layout.shapes


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


@pytest.mark.slow
def test_what_was_asked_last_is_not_asked_again(panel: sw.SteeringPanel, monkeypatch: Any) -> None:
    """The model runs for another strength, and once more after a refresh."""
    asked: list[Any] = []
    answer = panel._runs.answer
    monkeypatch.setattr(panel._runs, "answer", lambda *q: asked.append(q) or answer(*q))
    panel._request()
    panel.wait()
    assert not asked
    panel.strength = 1.0
    panel.wait()
    panel.refresh()
    panel.wait()
    assert len(asked) == 2
