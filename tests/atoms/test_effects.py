"""Promises of an atom's effects: the way they were found is stated, and the running model decides."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations, Context, Ragged
from sae_nb.atoms import AtomCatalogue, measure_atom
from sae_nb.atoms._effects import _ends, _inputs_of, _words_first, effects_of
from sae_nb.codes import SparseCodes

PLACE = "resid_post.6"


@pytest.fixture(scope="module")
def catalogue(vit: Any) -> AtomCatalogue:
    acts = sn.capture(vit, sn.data.scenes(12, seed=1).images, PLACE, progress=False)
    return AtomCatalogue(sn.load_sae(f"tiny-vit/{PLACE}"), acts)


@pytest.fixture(scope="module")
def lens(vit: Any) -> sn.Lens:
    return sn.fit_lens(vit, sn.data.scenes(4, seed=2).images, layers=[6], progress=False)


@pytest.mark.slow
def test_a_card_states_the_direct_path_or_the_score_of_its_lens(
    catalogue: AtomCatalogue, lens: sn.Lens
) -> None:
    atom = int(catalogue.order("frequency")[0])
    gpt = sn.load_model("tiny-gpt")
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    words = sn.capture(gpt, ["Once upon a time there was a dog."], "resid_post.3", progress=False)
    direct = AtomCatalogue(sae, words).summary(3, model=gpt)
    assert direct.logits_by.startswith("direct path only")
    plain = catalogue.summary(atom, lens=lens)
    assert len(plain.logits_up) == 5
    found = lens.check(sn.data.scenes(6, seed=3).images, catalogue.sae, n_atoms=8)
    scored = catalogue.summary(atom, lens=lens.with_score(found))
    assert scored.logits_by.startswith("jacobian lens: rank correlation 0.")
    assert scored.logits_up == plain.logits_up


def test_a_measured_atom_is_what_steering_does(
    vit: Any, catalogue: AtomCatalogue, lens: sn.Lens
) -> None:
    """The change of the class logits with the atom added, on the examples; outputs of the lens are counted."""
    atom = int(catalogue.order("frequency")[0])
    effects = measure_atom(catalogue, atom, vit, lens=lens, n_examples=3)
    assert effects.by == "measured on 3 examples"
    assert "of 5 raised by the jacobian lens" in effects.score
    rows = catalogue.summary(atom).examples
    images = catalogue.acts.context.pictures[[example.sample for example in rows[:3]]]
    with sn.steer(vit, PLACE, catalogue.sae, atom, by=float(catalogue.max_strength[atom])):
        steered = vit(images)
    change = (steered - vit(images)).mean(dim=0)
    assert effects.up[0][0] == str(int(change.argmax()))
    assert effects.up[0][1] == pytest.approx(float(change.max() - change.mean()), abs=1e-3)
    assert effects.down[0][0] == str(int(change.argmin()))
    assert effects.down[0][1] == pytest.approx(float(change.min() - change.mean()), abs=1e-3)


def test_raised_outputs_are_confirmed_on_other_examples_next_to_a_random_direction(
    vit: Any, catalogue: AtomCatalogue
) -> None:
    """What is confirmed is among as many that are raised most on the samples after the first ones."""
    atom = int(catalogue.order("frequency")[0])
    effects = measure_atom(catalogue, atom, vit, n_examples=3, n=3)
    record = catalogue.summary(atom)
    samples = list(dict.fromkeys(example.sample for example in record.examples))[3:6]
    images = catalogue.acts.context.pictures[samples]
    strength = float(catalogue.max_strength[atom])
    with sn.steer(vit, PLACE, catalogue.sae, atom, by=strength):
        steered = vit(images)
    raised = set((steered - vit(images)).mean(dim=0).topk(3).indices.tolist())
    assert effects.confirmed == tuple(int(name) in raised for name, _ in effects.up)
    assert effects.by_chance is not None
    assert 0 <= effects.by_chance <= 3
    everything = measure_atom(catalogue, atom, vit, n_examples=10_000, n=3)
    assert everything.confirmed == ()
    assert everything.by_chance is None


def test_an_atom_can_be_added_where_it_does_not_fire(vit: Any) -> None:
    """A four is called a four already; on other images the atom of fours raises 4, a random one little."""
    sae = sn.load_sae("tiny-vit/resid_post.6")
    whole = sn.load_examples("tiny-vit/resid_post.6").catalogue(sae)
    effects = measure_atom(whole, 474, vit, n_examples=12, n=3, elsewhere=True)
    assert effects.by == "measured on 12 other examples"
    assert (effects.up[0][0], effects.confirmed[0]) == ("4", True)
    assert effects.random_most is not None
    assert effects.up[0][1] > 3 * effects.random_most
    here = measure_atom(whole, 474, vit, n_examples=12, n=3)
    assert dict(here.up).get("4", 0.0) < 0.3 * effects.up[0][1]


def test_a_word_in_several_spellings_is_one_of_those_that_an_atom_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Case and white space around it apart, a word is measured, confirmed and drawn by chance once."""

    def spelled(model: Any, lens: Any, ids: Any, n: int) -> dict[int, str]:
        """Four tokens in a row are one word; every fourth one begins with a space."""
        words = {i: f"word{i // 4}" for i in ids}
        return {i: [w, w.title(), w.upper(), f" {w}"][i % 4] for i, w in words.items()}

    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    whole = sn.load_examples("tiny-gpt/resid_post.3").catalogue(sae)
    atom = int(whole.order("frequency")[0])
    apart = measure_atom(whole, atom, gpt, n_examples=2, n=8)
    monkeypatch.setattr("sae_nb.atoms._effects._names_of", spelled)
    effects = measure_atom(whole, atom, gpt, n_examples=2, n=8)
    words = [name.strip().casefold() for name, _ in effects.up]
    assert len(set(words)) == len(words) == len(effects.confirmed) == 8
    assert effects.by_chance is not None
    assert 0 <= effects.by_chance <= 8
    assert max(by for _, by in effects.up) <= apart.up[0][1]
    assert len({name.strip().casefold() for name, _ in effects.down}) == 8


def pictures(n: int = 16) -> Context:
    return Context(
        kind="vision", n_samples=n, patch_grid=(1, 1),
        pictures=torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 3, 2, 2),
    )  # fmt: skip


def test_a_measured_effect_is_counted_against_random_directions(
    vit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten outputs whose changes are given; the atom fires most in the last picture, 12 of 16 in all."""
    asked: list[tuple[list[int], torch.Tensor, dict[str, Any]]] = []
    here = torch.tensor([[9.0, 4, 8, 3, 0, 0, 0, 0, -2, -3]])
    there = torch.stack([
        torch.tensor(one)
        for one in (
            [9.0, 0, 0, 8, 7, 6, 5, 0, 0, 0],  # confirms 0 and 3
            [1.0, 2, 3, 4, 5, 0, 0, 0, 0, 0],  # raises 0, 1, 2, 3 among its five
            [0.0, 0, 0, 0, 5, 4, 3, 2, 1, 0],  # none
            [6.0, 0, 0, 0, 5, 4, 3, 2, 0, 0],  # 0
            [0.0, 0, 0, 0, 0, 5, 4, 3, 2, 1],  # none
            [0.0, 6, 6, 0, 0, 0, 5, 4, 3, 0],  # 1 and 2
        )
    ])  # fmt: skip

    def measured(_: Any, inputs: Any, place: str, directions: torch.Tensor, **how: Any) -> Any:
        assert place == PLACE
        asked.append((inputs[:, 0, 0, 0].tolist(), directions, how))
        return here if len(directions) == 1 else there

    monkeypatch.setattr("sae_nb.atoms._effects.measured_effects", measured)
    context = pictures()
    acts = Activations.from_tensor(
        torch.ones(16, 4), context=context, sample=torch.arange(16), hook_point=PLACE,
        position=torch.zeros(16, dtype=torch.long),
    )  # fmt: skip
    z = torch.zeros(16, 2)
    z[4:, 1] = torch.arange(1.0, 13.0)
    directions = torch.tensor([[1.0, 0, 0, 0], [3, 0, 4, 0]])
    sae = SimpleNamespace(d_in=4, n_atoms=2, dictionary=directions, encode=None)
    catalogue = AtomCatalogue(sae, acts, codes=SparseCodes.from_dense(z))
    found = measure_atom(catalogue, 1, vit, n=5)
    (first, alone, how), (held_out, drawn, same) = asked
    assert (first, held_out) == ([*range(15, 9, -1)], [*range(9, 3, -1)])
    assert how == same == {"strengths": 12.0, "skip_first": 1, "context_length": None}
    assert torch.equal(alone, directions[1:])
    assert torch.equal(drawn[0], directions[1])
    assert drawn.shape == (6, 4)
    assert drawn.norm(dim=1).tolist() == pytest.approx([5.0] * 6)
    assert len({tuple(one.tolist()) for one in drawn}) == 6
    mean = 19 / 10
    names = [name for name, _ in found.up]
    assert names[:4] == ["0", "2", "1", "3"]
    assert [x for _, x in found.up[:4]] == pytest.approx([9 - mean, 8 - mean, 4 - mean, 3 - mean])
    assert [name for name, _ in found.down[:2]] == ["9", "8"]
    assert [x for _, x in found.down[:2]] == pytest.approx([-3 - mean, -2 - mean])
    assert found.confirmed[:4] == (True, False, False, True)
    wanted = [{0, 1, 2, 3, 4}, {4, 5, 6, 7, 8}, {0, 4, 5, 6, 7}, {5, 6, 7, 8, 9}, {1, 2, 6, 7, 8}]
    raised = {int(name) for name in names}
    assert found.chance == tuple(len(one & raised) for one in wanted)
    assert found.by_chance == max(found.chance)
    assert found.random_most == pytest.approx(float((there[1:] - there[1:].mean(1, True)).max()))
    assert (found.by, found.score) == ("measured on 6 examples", "")
    # By default eight, but no more than half of the outputs.
    assert len(measure_atom(catalogue, 1, vit).up) == 5
    # In samples where it does not fire, and after them in those where it fires least.
    asked.clear()
    assert measure_atom(catalogue, 1, vit, n=5, elsewhere=True).by == "measured on 6 other examples"
    assert (sorted(asked[0][0][:4]), asked[0][0][4:]) == ([0, 1, 2, 3], [4, 5])
    with pytest.raises(ValueError, match="atom 0 has none here"):
        measure_atom(catalogue, 0, vit)
    asked.clear()
    for n_outputs in (3, 1):
        here, there = torch.arange(float(n_outputs))[None], torch.zeros(6, n_outputs)
        assert len(measure_atom(catalogue, 1, vit, n_examples=5).up) == 1
    assert [one[0] for one in asked[:2]] == [[15, 14, 13, 12, 11], [10, 9, 8, 7, 6]]


def test_the_words_raised_most_are_told_in_their_strongest_spelling_after_a_space() -> None:
    """Of two words four tokens each are read, the ninth not; a spelling without a space stands where no other is."""
    names = ["dog", "Dog", " dog", "cat", " Dog", "Cat", "mouse", "mouse", " cat", " mouse"]
    named = dict(enumerate(names)).__getitem__
    effect = torch.arange(10.0, 0, -1)
    told = _words_first(effect, 2, lambda ids: {i: named(i) for i in ids})
    assert told == {2: " dog", 3: "cat"}
    assert _words_first(effect, 3, lambda ids: {i: named(i) for i in ids}) == {
        2: " dog", 8: " cat", 9: " mouse",
    }  # fmt: skip
    blank = _words_first(torch.tensor([2.0, 1.0]), 2, lambda ids: {i: "\n" * (i + 1) for i in ids})
    assert blank == {0: "\n", 1: "\n\n"}


def test_ends_of_an_effect_have_their_signs() -> None:
    effect = torch.tensor([3.0, -5.0, 1.0, -2.0])
    up, down = _ends(effect, 2, lambda ids: {i: f"t{i}" for i in ids})
    assert (up, down) == ((("t0", 3.0), ("t2", 1.0)), (("t1", -5.0), ("t3", -2.0)))


@pytest.mark.parametrize(("n_outputs", "told"), [(1, 1), (3, 1), (7, 3), (16, 8), (40, 8)])
def test_a_lens_tells_at_most_one_half_raised_and_one_lowered(n_outputs: int, told: int) -> None:
    lens: Any = SimpleNamespace(
        kind="logit", blocks=[2], layer_of=lambda place: int(place[-1]), names=lambda ids: {i: f"t{i}" for i in ids},
        effects=lambda direction, layer: layer * direction, score_in_words="score of {}".format,
    )  # fmt: skip
    direction = torch.arange(float(n_outputs))[None]
    found = effects_of(None, direction, lens=lens, hook_point="resid_post.2")
    top = n_outputs - 1
    assert found.up == tuple((f"t{top - i}", 2.0 * (top - i)) for i in range(told))
    assert found.down == tuple((f"t{i}", 2.0 * i) for i in range(told))
    assert found.words == "logit lens: score of 2"
    assert effects_of(None, direction, lens=lens, hook_point="resid_post.3").up == ()


def test_texts_of_one_token_are_not_measured() -> None:
    texts = Ragged(torch.tensor([5, 7, 8, 9]), torch.tensor([0, 1, 3, 4]))
    acts: Any = SimpleNamespace(context=Context(kind="language", n_samples=3, token_ids=texts))
    assert _inputs_of(acts, [0, 1, 2]) == [[7, 8]]
    images: Any = SimpleNamespace(context=pictures())
    assert len(_inputs_of(images, [])) == 0
    assert _inputs_of(images, [3])[0, 0, 0, 0] == 3
