"""Promises of an atom's effects: the way they were found is stated, and the running model decides."""

from __future__ import annotations

from typing import Any

import pytest

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue, measure_atom

PLACE = "resid_post.6"


@pytest.fixture(scope="module")
def vit() -> Any:
    return sn.load_model("tiny-vit")


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
    direct = sn.atoms.summarise_atom(sae, words, atom=3, model=gpt)
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
    rows = sn.atoms.summarise_atom(catalogue.sae, catalogue.acts, catalogue.codes, atom).examples
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
    record = sn.atoms.summarise_atom(catalogue.sae, catalogue.acts, catalogue.codes, atom)
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
