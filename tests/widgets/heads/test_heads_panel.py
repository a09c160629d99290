"""Promises of the HeadsPanel: it opens on the head that matters, its numbers are those of the calls."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import sae_nb_widgets as sw
import traitlets as t

import sae_nb as sn

TEXT = "q k e f z q k e"


@cache
def induction() -> sn.LiveModel:
    return sn.load_model("tiny-induction")


@pytest.fixture
def panel() -> Iterator[sw.HeadsPanel]:
    made = sw.HeadsPanel(induction(), TEXT)
    made.wait(60)
    yield made
    made.close()


def test_it_opens_on_the_head_that_the_answer_needs(panel: sw.HeadsPanel) -> None:
    assert (panel.layer, panel.head) == (0, 2)
    assert panel.headline == "Head 2 of layer 0 looks back at “k”"
    assert panel.grid.selected == (1, 2)
    assert "falls from 100" in panel.answer
    f = induction().tokenizer.get_vocab()["f"]
    by_hand = sn.circuits.head_contributions(
        induction(), TEXT, target=lambda z: z.softmax(-1)[f], method="ablation", heads=[(0, 2)]
    )
    assert len(by_hand.table) == 1
    assert panel.look.without == pytest.approx(
        panel.bars.values[0] - by_hand.values[0, 2], abs=1e-4
    )
    assert panel.bars.values[1] == pytest.approx(panel.look.without)


def test_another_head_place_and_score_are_drawn(panel: sw.HeadsPanel) -> None:
    panel.choose(1, 3)
    panel.wait(60)
    assert panel.headline == "Head 3 of layer 1 looks back at “f” and says it"
    assert panel.pushes.labels[0].strip() == "f"
    direct = sn.circuits.direct_effects(induction(), TEXT, "f").values[1, 3]
    assert dict(panel.look.pushes)["f"] == pytest.approx(direct, rel=0.2)
    panel.strip.selected = (0, 7)
    assert panel.position == 7
    assert "from “k”" in panel._title.value
    panel.by = "induction"
    panel.wait(60)
    scores = sn.circuits.head_scores(induction())
    assert np.allclose(panel.grid.tints, scores.score("induction").reshape(2, 4)[::-1], atol=1e-5)
    assert panel.largest.cells[0][0].startswith("L1H")


def test_a_second_head_is_drawn_below_and_keys_move(panel: sw.HeadsPanel) -> None:
    panel.second = "1.3"
    panel.wait(60)
    assert "L1H3" in panel.second_title.value
    assert "“f”" in panel.second_arcs.value or "f</text>" in panel.second_arcs.value
    panel.press("ArrowUp")
    panel.wait(60)
    assert panel.layer == 1
    with pytest.raises(t.TraitError, match="layer.head"):
        panel.second = "9.9"


def test_a_long_text_is_a_picture_that_still_reads() -> None:
    from sae_nb_widgets.heads._drawing import SIDE, _reduced, arcs_html, pattern_html

    pattern = np.tril(np.full((2_000, 2_000), 1e-4))
    pattern[1_234, 777] = 0.9
    small = _reduced(pattern)
    assert small.shape == (SIDE, SIDE)
    assert small.max() == 0.9
    assert len(pattern_html(pattern, 1_999)) < 60_000
    line = arcs_html([f"w{i}" for i in range(2_000)], pattern[1_234, :1_235], 1_234, 777)
    assert "w777" in line
    assert "more" in line


def test_images_are_shaded_and_a_patch_is_looked_from() -> None:
    images = sn.data.scenes(2, seed=0).images
    panel = sw.HeadsPanel(sn.load_model("tiny-vit"), images)
    panel.wait(60)
    assert not panel.problem
    assert panel.pictures.patch_strength(0, 0) == pytest.approx(
        float(panel.look.pattern[0, 5]), abs=1e-6
    )
    panel.pictures.selected = (0, 7)
    assert panel.position == 12
    panel.example = 1
    panel.wait(60)
    assert not panel.problem
    panel.by = "neighbours"
    panel.wait(60)
    assert not panel.problem
    panel.close()


def test_pairs_of_atoms_say_why_it_looks_there() -> None:
    vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    image = sn.data.scenes(1, seed=0).images
    panel = sw.HeadsPanel(vit, image, saes=sae)
    panel.wait(60)
    panel.choose(7, 0)
    panel.wait(60)
    source = int(panel.look.pattern[0][1:].argmax()) + 1
    found = sn.circuits.qk(vit, sae, image, 7, 0, query=0, key=source)
    assert [row[2] for row in panel.why.cells] == [
        f"{value:+.2f}".replace("-", "−") for value in found.table.contribution[:4]
    ]
    assert "without two others" in panel.why.description
    panel.choose(3, 0)  # no SAE in front of it
    panel.wait(60)
    assert panel.why.layout.display == "none"
    panel.close()
    with pytest.raises(ValueError, match="in front of a layer"):
        sw.HeadsPanel(vit, image, saes=sn.load_sae("tiny-vit/mlp.3"))


@pytest.mark.slow
def test_heads_of_a_model_of_sounds_are_shown() -> None:
    panel = sw.HeadsPanel(sn.load_model("tiny-audio"), sn.data.sounds(2, seed=0))
    panel.wait(60)
    assert not panel.problem
    assert panel.headline.startswith("Head ")
    assert panel.pictures.layout.display is None
    panel.close()
