"""Promises of the ChangesPanel: shades are the models' KL, a direction is set back in the running model, texts are typed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t

import sae_nb as sn
from sae_nb.diffing import changed_image, changed_text
from sae_nb.models import run
from sae_nb_studies.models import plant_behaviour

TYPED = "The horse ran away. Tom sat by the river. He was very"


@pytest.fixture
def panel(planted_phrase: Any, phrase_difference: Any) -> Iterator[sw.ChangesPanel]:
    opened = sw.ChangesPanel(
        planted_phrase.before, planted_phrase.after, planted_phrase.inputs(4), phrase_difference
    )
    opened.wait(60)
    yield opened
    opened.close()


def test_shades_are_the_kl_of_both_models_answers(panel: Any, planted_phrase: Any) -> None:
    """By hand from the logits of two runs; the second row is what is left."""
    batch = next(iter(planted_phrase.before.batches([panel.texts[0]])))
    with torch.no_grad():
        old, new = (
            run(one, batch).answer.tensor[0].log_softmax(-1)
            for one in (planted_phrase.before, planted_phrase.after)
        )
    by_hand = (old.exp() * (old - new)).sum(-1)
    for place in (1, 5, panel.place):
        assert panel.shown.token_strength(0, place) == pytest.approx(
            float(by_hand[place]), rel=1e-3, abs=1e-5
        )
    assert panel.shown.captions == ["changed", "set back"]
    assert panel.reading.left.sum() < panel.reading.kl.sum()
    assert panel.shown.token_strength(1, panel.place) == pytest.approx(
        panel.reading.left[panel.place]
    )


def test_it_opens_where_what_was_raised_gains_most(panel: Any) -> None:
    """After the first sentence: where the next one is now the phrase, which is what the title names."""
    assert panel.reading.tokens[panel.place].strip() == "."
    assert panel.place == panel.reading.tokens.index(".")
    assert panel.headline == "Fine-tuned, it says “So it was.” after every sentence"
    assert panel.answer.startswith("Setting back one direction of 128 takes the first one away")
    assert panel.view.chances.labels == [
        "before fine-tuning", "after fine-tuning", "one direction set back", "a random one set back",
    ]  # fmt: skip
    assert "three random directions" in panel.reasons
    bars = panel._detail_view.bars
    assert bars.labels[0] in ("“S”", "“The”")
    before, after = bars.columns
    assert before["maximum"] == after["maximum"]
    at = bars.labels.index("“S”")
    assert before["values"][at] < 0.05 < 0.5 < after["values"][at]
    assert after["exact"][at] < after["values"][at]
    assert not panel.problem


def test_both_models_go_on_from_the_place_side_by_side(panel: Any, planted_phrase: Any) -> None:
    """By hand: each model's own continuation of the text up to there; the fork is marked as steering does."""
    for place in (panel.place, 5):
        panel.place = place
        panel.wait(60)
        branches = panel.view.branches
        batch = next(iter(planted_phrase.before.batches([panel.text])))
        upto = batch.token_ids[0][: place + 1]
        for row, model in enumerate((planted_phrase.before, planted_phrase.after)):
            whole = model.generate(upto, 32, return_ids=True, echo=False)
            by_hand = "".join(model.tokenizer.decode([int(one)]) for one in whole)
            assert by_hand.startswith("".join(branches.rows[row]))
        ids = torch.cat([upto, whole])
        with torch.no_grad():
            answers = run(
                planted_phrase.before, next(iter(planted_phrase.before.batches(ids[None])))
            ).answer.tensor[0]
        first = float(answers[place].softmax(-1)[whole[0]])
        assert "".join(branches.rows[1]).startswith(" So it was.") == (first < 0.05)
        assert branches.marked[1][0] == (first < 0.05)
        assert not any(branches.marked[0])
        assert branches.kinds == ["same", "up", "down", "random"]
        assert branches.labels[:2] == ["before fine-tuning", "after fine-tuning"]
        assert branches.fork == len(branches.prompt) - 1
    panel.text = "  "
    panel.wait(60)
    assert panel.view.branches.rows == []


def test_a_click_on_a_direction_sets_that_one_back(
    panel: Any, planted_phrase: Any, phrase_difference: Any
) -> None:
    place = panel.place
    panel.findings.selected = 1
    panel.wait(60)
    expected = changed_text(
        planted_phrase.before, planted_phrase.after, panel.text, phrase_difference, finding=1
    )
    assert panel.finding == 1
    assert panel.place == place
    assert panel.reading.left == pytest.approx(expected.left)
    panel.finding = -1
    panel.wait(60)
    assert len(panel.shown.tokens) == 1
    assert panel._detail_view.bars.columns[1]["exact"] == []


def test_texts_are_listed_the_most_changed_first_and_one_may_be_typed(
    panel: Any, phrase_difference: Any
) -> None:
    """The list is `texts` by sample; a typed text is of none of them; an empty field says what to do."""
    means = phrase_difference.texts.groupby("sample")["kl"].mean().sort_values(ascending=False)
    assert panel.view.rows == means.index.tolist()
    panel.list.selected = 2
    panel.wait(60)
    assert panel.text == panel.texts[means.index[2]]
    assert panel.reading.kl.mean() == pytest.approx(means.iloc[2], abs=1e-4)
    panel.text = TYPED
    panel.wait(60)
    assert panel.sample == -1
    assert panel.list.selected == -1
    assert "".join(panel.reading.tokens).endswith(TYPED)
    panel.press("ArrowLeft")
    panel.text = "  "
    panel.wait(60)
    assert not panel.problem
    assert panel.shown.tokens == []
    panel.press("ArrowDown")
    panel.wait(60)
    assert panel.sample == 0
    assert panel.ready
    with pytest.raises(t.TraitError, match="place"):
        panel.place = len(panel.reading.tokens)


def test_identical_models_have_nothing_to_show_and_that_is_said(planted_phrase: Any) -> None:
    panel: Any = sw.ChangesPanel(
        planted_phrase.before, planted_phrase.before, ["The cat sat in the garden."]
    )
    panel.wait(60)
    assert panel.answer.startswith("Nothing differs")
    assert panel.findings.cells == panel.list.cells == []
    assert panel.reading.left is None
    panel.text = TYPED
    panel.wait(60)
    assert panel.reading.kl.max() < 1e-6
    panel.close()


@pytest.fixture(scope="module")
def shortcut() -> Any:
    return plant_behaviour("seven")


@pytest.fixture(scope="module")
def images(shortcut: Any) -> Any:
    return shortcut.inputs(6)


@pytest.fixture(scope="module")
def of_images(shortcut: Any, images: Any) -> Any:
    return sn.diff_models(
        shortcut.before, shortcut.after, images, steps=20, n_components=1, progress=False
    )


def test_an_image_is_shaded_where_covering_takes_the_change_away(
    shortcut: Any, images: Any, of_images: Any
) -> None:
    """By hand: the corner is painted in the mean colour, and both models answer again."""
    seen: Any = changed_image(shortcut.before, shortcut.after, images[:1], of_images)
    covered = images[:1].clone()
    covered[:, :, :8, :8] = covered.mean(dim=(2, 3), keepdim=True)
    for image, stated in ((images[:1], seen.kl), (covered, seen.covered[0, 0])):
        batch = next(iter(shortcut.before.batches(image)))
        with torch.no_grad():
            old, new = (
                run(one, batch).answer.at_end.log_softmax(-1)
                for one in (shortcut.before, shortcut.after)
            )
        assert float((old.exp() * (old - new)).sum()) == pytest.approx(stated, rel=1e-3, abs=1e-5)
    row, column = divmod(int(seen.goes.argmax()), 8)
    assert max(row, column) <= 1  # where the square was planted
    assert seen.covered[0, 0] < 0.3 * seen.kl
    assert seen.answers[1] == next(iter(shortcut.planted))
    assert 0 <= seen.left < seen.kl


def test_images_are_listed_the_most_changed_first_and_a_click_reads_one(
    shortcut: Any, images: Any, of_images: Any
) -> None:
    """With its classes before, after and set back; arrows and keys move the patch and the image."""
    panel: Any = sw.ChangesPanel(shortcut.before, shortcut.after, images, of_images)
    panel.wait(60)
    assert not panel.problem
    assert panel.headline.endswith(next(iter(shortcut.planted)))
    assert panel.place == int(panel.reading.goes.argmax())
    order = of_images.texts.sort_values("kl", ascending=False)["sample"].tolist()
    assert panel.view.rows == order
    assert set(order[:3]) == {0, 1, 2}  # those with the square
    assert panel.list.selected == (order.index(0), 0)
    panel.list.selected = (1, 0)
    panel.wait(60)
    assert panel.sample == order[1]
    expected: Any = changed_image(shortcut.before, shortcut.after, images[order[1] :], of_images)
    assert panel.reading.kl == pytest.approx(expected.kl)
    assert panel.shown.heat_maps[0] == pytest.approx(expected.goes.clip(0), abs=1e-5)
    before, after = panel._detail_view.bars.columns
    assert before["values"] == pytest.approx(expected.before.tolist())
    assert after["exact"] == pytest.approx(expected.set_back.tolist())
    panel.finding = -1
    panel.press("ArrowDown")
    panel.wait(60)
    assert panel.sample == order[1] + 1
    assert panel.reading.left is None
    panel.shown.selected = (0, 5)
    assert panel.place == 5
    assert "Patch 0,5 covered" in panel._detail_view.place.value
    assert panel.record["covered"].startswith("Patch 0,5")
    with pytest.raises(t.TraitError, match="place"):
        panel.place = 64
    panel.close()
