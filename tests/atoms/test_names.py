"""What atoms are called: labels first, then captions made from what they fire on."""

from __future__ import annotations

from dataclasses import replace

import torch

from sae_nb.activations import Activations, Ragged
from sae_nb.atoms import AtomCatalogue, AtomNames
from sae_nb.codes import SparseCodes
from sae_nb.pretrained import load_examples, load_sae
from sae_nb.sessions import names_of

GPT = "tiny-gpt/resid_post.3"


class Signs:
    """An SAE of two atoms whose codes are the activations themselves."""

    d_in, n_atoms, dictionary = 2, 2, torch.eye(2)

    def encode(self, x: torch.Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(x.relu())


def test_a_label_comes_before_a_caption() -> None:
    sae = load_sae(GPT)
    names = names_of(sae)
    labelled = next(iter(names.labels))
    assert names.words(labelled) == names.labels[labelled]
    assert names.card(labelled).source == "label found automatically"
    names.labels.write(labelled, "mine")
    assert names.in_text(labelled) == f"“mine” (atom {labelled})"
    assert names.card(labelled).source == "label"


def test_a_caption_names_the_tokens_an_atom_fires_on() -> None:
    catalogue = load_examples(GPT).catalogue(load_sae(GPT))
    catalogue.labels = {}
    names = AtomNames(catalogue)
    tokens = catalogue.acts.tokens
    assert tokens is not None
    for atom in catalogue.order("frequency", alive_only=True)[:200].tolist():
        words = names.words(atom)
        assert words
        if words.startswith("“") and " or " not in words:
            rows, _ = catalogue.strengths(atom)
            fired = [tokens[int(row)].strip() for row in rows]
            share = fired.count(words.strip("“”")) / len(fired)
            everywhere = [token.strip() for token in tokens].count(words.strip("“”")) / len(tokens)
            assert share > everywhere


def test_the_word_before_is_named_where_it_explains_the_atom() -> None:
    # The atom fires on whatever follows token 7.
    ids = torch.tensor([1, 7, 2, 3, 7, 4, 5, 7, 6, 1] * 4)
    fires = torch.roll(ids == 7, 1).float()
    fires[0] = 0
    catalogue = load_examples(GPT).catalogue(load_sae(GPT))
    context = catalogue.acts.context
    texts = replace(
        context,
        n_samples=1,
        token_ids=Ragged(ids, torch.tensor([0, 40])),
        vocabulary={i: f"w{i}" for i in range(8)},
    )
    x = torch.stack([fires, 1 - fires], dim=1)
    acts = Activations(x, sample=torch.zeros(40).long(), position=torch.arange(40), context=texts)
    assert AtomNames(AtomCatalogue(Signs(), acts)).words(0) == ""  # nothing is encoded yet
    encoded = AtomCatalogue(Signs(), acts)
    _ = encoded.codes
    assert AtomNames(encoded).words(0) == "after “w7”"


def test_without_activations_an_atom_is_its_number() -> None:
    names = names_of(Signs())
    assert (names.name(1), names.in_text(1), names.card(1).examples) == ("1", "atom 1", ())


def test_all_who_ask_for_one_sae_share_its_names() -> None:
    class Heard:
        times = 0

        def hear(self) -> None:
            self.times += 1

    sae, heard = Signs(), Heard()
    first = names_of(sae)
    first.observe(heard.hear)
    names_of(sae).labels.write(1, "seen")
    assert first.words(1) == "seen"
    assert heard.times == 1


def test_a_card_has_three_examples_and_says_of_what_it_counts() -> None:
    card = names_of(load_sae("tiny-vit/resid_post.6")).card(133)
    assert len(card.examples) == 3
    assert card.examples[0].strength == card.max_strength > 0
    assert card.fires.replace("\u2009", " ") == "26.4 % of 11 040 positions"
