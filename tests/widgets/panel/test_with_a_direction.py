"""A direction between two groups of texts where panels and recipes take an SAE."""

from __future__ import annotations

from typing import Any

import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn

PLACE = "resid_post.2"
TEXTS = ["The dog ran home to the girl.", "One day a girl sat.", "My dog is here."]
FRAMES = ["The %s was happy.", "A %s ran home.", "One day a %s sat down.", "My %s is here."]
GROUPS = tuple([frame % word for frame in FRAMES] for word in ("dog", "girl"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dogs() -> tuple[Any, Any]:
    gpt = sn.load_model("tiny-gpt")
    return gpt, sn.direction(gpt, PLACE, *GROUPS, positions="all", n_random=20, name="dogs")


def test_an_atom_browser_has_its_projections(dogs: Any) -> None:
    gpt, d = dogs
    acts = sn.capture(gpt, TEXTS, PLACE, progress=False)
    panel = sw.AtomBrowser(d, acts, gpt)
    panel.wait(120)
    record = panel.record
    largest = float(d.projections(acts.x).abs().max())
    assert (panel.headline, record["atom"], record["firings"]) == ("dogs", 0, len(acts))
    assert record["max_strength"] == pytest.approx(largest, rel=1e-5)
    panel.close()


def test_a_lens_panel_names_it_at_its_block(dogs: Any) -> None:
    gpt, d = dogs
    lens = sn.fit_lens(gpt, TEXTS, kind="logit", progress=False)
    panel = sw.LensPanel(gpt, lens, TEXTS, saes=d)
    panel.wait(120)
    layer, place = 2, 3
    state = sn.capture(gpt, TEXTS[:1], PLACE, drop_first=False, drop_massive=False, progress=False)
    (atom, strength), *_ = panel._seen.atoms[layer].at[place]
    assert atom == 0
    assert strength == pytest.approx(float(d.projections(state.x)[place]), rel=1e-4)
    panel.close()
    with pytest.raises(ValueError, match="one of the lens's blocks"):
        last = sn.direction(gpt, "resid_post.3", *GROUPS, positions="all", n_random=20)
        sw.LensPanel(gpt, lens, TEXTS, saes=last)


def test_a_circuit_panel_takes_it_out_of_the_running_model(dogs: Any) -> None:
    gpt, d = dogs
    graph = sn.circuits.attribution_graph(gpt, [d], TEXTS[:1])
    for panel in (sw.CircuitPanel(graph), sw.CircuitPanel(graph, gpt, [d])):
        panel.wait(120)
        assert "2/0 · dogs" in [panel.names.name(i) for i in range(30)]
        assert not panel.problem
        assert "atoms: " in panel.answer
        panel.close()


def test_a_map_marks_it_by_the_atoms_that_build_it(dogs: Any) -> None:
    gpt, _ = dogs
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    d = sn.direction(gpt, "resid_post.3", *GROUPS, positions="all", n_random=20, name="dogs")
    panel = sw.ConceptMap(sae, cones=[d])
    panel.layout_by, panel.cone = "pca", "dogs"
    panel.wait(120)
    nearest = int((sae.dictionary.detach() @ d.vector).argmax())
    assert nearest in panel.overlays.cone.atoms.tolist()
    assert "dogs" in [words[2] for words in panel.map.chart.words]
    assert ("agree on it no better than by chance" in panel.answer) is not d.agrees
    panel.close()
    two = sw.ConceptMap(sae, cones={"mine": d, "plain": d.vector})
    assert two.cones.names == ("mine", "plain")
    two.close()


@pytest.mark.parametrize("how", [{}, {"mode": "cap"}, {"mode": "set"}, {"gated": True}])
def test_its_recipe_leaves_as_hooks_and_as_an_edited_nnsight_model(dogs: Any, how: dict) -> None:
    """Both do what the block does, also as an SAE of one atom; the model they were made of stays as it was."""
    gpt, d = dogs
    settings = {"where": d} if how.get("gated") else dict(how)
    clean = gpt(TEXTS[0])
    for given in ({"direction": d}, {"sae": d}):
        with sn.steer(gpt, PLACE, **given, by=0.5 * d.scale, **settings) as steering:
            expected = gpt(TEXTS[0])
        ids = torch.tensor([gpt.tokens(TEXTS[0])["id"].tolist()])
        with torch.no_grad(), steering.recipe.to_hooks(gpt.module):
            torch.testing.assert_close(gpt.module(ids).logits, expected, atol=1e-5, rtol=1e-5)
        edited = steering.recipe.to_nnsight(gpt.nnsight)
        with torch.no_grad(), edited.trace(TEXTS[0]):
            raw = edited.output.save()
        torch.testing.assert_close(raw.logits, expected, atol=1e-5, rtol=1e-5)
        assert not torch.equal(expected, clean)
        torch.testing.assert_close(gpt(TEXTS[0]), clean)
