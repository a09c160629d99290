"""What atoms are called: labels first, then captions made from what they fire on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sae_nb.activations import Activations, Ragged
from sae_nb.atoms import AtomCatalogue, LabelEvidence
from sae_nb.atoms._captions import (
    FEWEST,
    NO_NAME,
    Kind,
    _begins,
    _kinds,
    _number,
    _numbered,
    _Pairs,
    says_much,
)
from sae_nb.atoms._labels import Labels
from sae_nb.atoms._names import AtomNames
from sae_nb.atoms._words import PATCHES, PREFIX, _place, _tubelet
from sae_nb.codes import SparseCodes
from sae_nb.labelling import AtomLabel, AtomLabels
from sae_nb.pretrained import load_examples, load_sae
from sae_nb.sessions import names_of
from tests.random_texts import random_texts

GPT, VIT = "tiny-gpt/resid_post.3", "tiny-vit/resid_post.6"


class Signs:
    d_in, n_atoms, dictionary = 2, 2, torch.eye(2)

    def encode(self, x: torch.Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(x.relu())


def test_a_label_comes_before_a_caption() -> None:
    sae = load_sae(GPT)
    names = names_of(sae)
    scores = load_examples(GPT).facts["read"]
    labelled = max(scores, key=lambda match: match["f1"])["atom"]
    assert names.words(labelled) == names.labels[labelled]
    assert names.card(labelled).source == "label found automatically"
    names.labels.write(labelled, "mine")
    assert names.in_text(labelled) == f"“mine” (atom {labelled})"
    assert names.card(labelled).source == "label"


def evidence_of(names: AtomNames, atom: int) -> LabelEvidence:
    made = names.made(atom)
    assert made is not None
    assert made.evidence is not None
    return made.evidence


def planted(fires: torch.Tensor, seed: int = 0) -> AtomNames:
    """Names of atoms that fire in these rows of random texts, with strengths drawn at random."""
    acts, _, _ = random_texts()
    strength = 0.6 + 0.4 * torch.rand(fires.shape, generator=torch.Generator().manual_seed(seed))
    sae = SimpleNamespace(d_in=6, n_atoms=fires.shape[1], dictionary=torch.eye(6), encode=None)
    codes = SparseCodes.from_dense(fires * strength)
    return AtomNames(AtomCatalogue(sae, acts, codes=codes))


def test_a_caption_says_what_the_firings_share_and_what_that_is_worth() -> None:
    _, fires, _ = random_texts()
    names = planted(fires)
    assert names.words(0) in ("“cat” or “dog”", "“dog” or “cat”")
    assert names.words(1) in ("“undone” or “untied”", "“untied” or “undone”")
    assert names.words(2) == "after “the”"
    for atom in range(3):
        evidence = evidence_of(names, atom)
        assert evidence.f1 > 0.95
        assert evidence.f1_control < 0.5
        badge = names.badge(atom)
        assert badge is not None
        assert badge.text.startswith("✓ F1 ")


def test_where_nothing_separates_there_is_no_name() -> None:
    """Of 200 atoms that fire anywhere, none gets a name; what they fire on is shown."""
    acts, _, _ = random_texts()
    anywhere = torch.rand(len(acts), 200, generator=torch.Generator().manual_seed(1)) < 0.03
    names = planted(anywhere)
    for atom in range(200):
        assert names.words(atom).startswith("no name yet: “")
        assert names.in_text(atom) == f"atom {atom}"
        assert (names.source(atom), names.badge(atom)) == ("", None)


def test_a_place_is_no_name_unless_the_atom_is_nothing_but_that_place() -> None:
    catalogue = load_examples(VIT).catalogue(load_sae(VIT))
    names = AtomNames(catalogue)
    shown = [names.words(atom) for atom in np.flatnonzero(catalogue.alive).tolist()]
    named = [words for words in shown if says_much(words)]
    assert len(named) < len(shown) / 10
    for atom in np.flatnonzero(catalogue.alive).tolist():
        assert names.source(atom) == "" or evidence_of(names, atom).f1 >= 0.7
    assert not any("cls" in words or "registers" in words for words in named)


def test_tokens_before_an_images_patches_are_no_name() -> None:
    """An atom of all cls tokens, and one of them and the registers: where they fire, but not as a name."""
    acts = load_examples(VIT).catalogue(load_sae(VIT)).acts
    place = acts.position
    assert place is not None
    fires = torch.stack([place == 0, place < 5], dim=1).float()
    sae = SimpleNamespace(d_in=64, n_atoms=2, dictionary=torch.eye(64), encode=None)
    names = AtomNames(AtomCatalogue(sae, acts, codes=SparseCodes.from_dense(fires)))
    assert names.words(0) == "no name yet: cls"
    assert names.words(1).startswith(NO_NAME)
    for atom in (0, 1):
        assert (names.source(atom), names.in_text(atom)) == ("", f"atom {atom}")


@pytest.mark.slow
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


def test_the_surest_names_are_written_ones_then_those_that_beat_others() -> None:
    """Every one of them holds; without labels and activations there is none."""
    sae = load_sae(VIT)
    names = names_of(sae, load_examples(VIT).catalogue(sae))
    _ = names.catalogue.codes
    found = names.surest()
    assert len(found) > 10
    assert all(names.source(atom) and names.badge(atom).standing == "holds" for atom in found)
    fails = next(a for a in names.labels if names.badge(a) and names.badge(a).standing == "fails")
    assert fails not in found
    names.labels.write(fails, "mine")
    assert names.surest()[0] == fails
    assert names.short(fails) == "mine"
    names.labels.write(fails, " ")
    assert (names.source(fails), names.words(fails)) != ("label", " ")
    assert AtomNames().surest() == []
    assert AtomNames().short(4) == "atom 4"


def test_a_name_whose_words_come_when_its_atom_is_turned_up_leads_those_that_only_tell_it_apart() -> (
    None
):
    """24 beginnings of 30 are enough, 23 are not; the badge says how many."""
    plain = LabelEvidence(by="rule", detection=0.9, control=0.5, n=120)
    entries = {
        0: AtomLabel(atom=0, text="ships", evidence=plain),
        1: AtomLabel(
            atom=1, text="love", evidence=replace(plain, detection=0.8, turned=24, n_turned=30)
        ),
        2: AtomLabel(
            atom=2, text="war", evidence=replace(plain, detection=0.7, turned=23, n_turned=30)
        ),
    }
    names = AtomNames(labels=Labels(AtomLabels(entries=entries)))
    assert names.surest() == [1, 0, 2]
    assert [names._rank(atom) for atom in range(3)] == pytest.approx([1.4, 2.3, 1.2])
    assert names.steerable() == [1]
    assert "turned up 24 of 30" in names.badge(1).text
    names.labels.write(1, "mine")
    assert names.steerable() == []


def test_words_begin_where_letters_do_not_go_on() -> None:
    """A space token begins the word that follows it; Chinese is not joined; "##" goes on where tokens are bare."""
    assert _begins([" the", "re", "-", "is", " a"], False) == [True, False, True, True, True]
    assert _begins(["go", " ", "on", "\n", "up"], False) == [True, True, False, True, True]
    assert _begins(["中", "文", "a", "b"], False) == [True, True, True, False]
    assert _begins(["un", "##do", "it"], True) == [True, False, True]
    assert _begins(["##do", "it"], False) == [True, False]
    assert _begins([], False) == []


def test_what_stands_beside_a_word_is_of_its_own_text() -> None:
    """Three words, the last of another text; before the first and after the last there is nothing."""
    beside = Kind(
        "near {}", np.array([5, 6, 7]), [""] * 8, np.array([0, 0, 1]), np.ones(3, bool),
        offsets=(-1, 1),
    )  # fmt: skip
    assert beside.keys(np.arange(3)).tolist() == [[-1, 6], [5, -1], [-1, -1]]
    before = replace(beside, offsets=(-1,))
    assert before.keys(np.arange(3)).tolist() == [[-1], [5], [-1]]
    fired = np.array([True, False, True])
    assert before.reached(np.arange(3), fired).tolist() == [False, True, False]
    assert beside.reached(np.arange(3), fired).tolist() == [False, True, False]


def test_of_too_few_samples_parts_are_numbered() -> None:
    enough = np.repeat(np.arange(2 * FEWEST) * 3, 2)
    assert _numbered(enough).tolist() == np.repeat(np.arange(2 * FEWEST), 2).tolist()
    assert _numbered(np.array([5, 5, 7, 7])).tolist() == [0, FEWEST, 2 * FEWEST, 3 * FEWEST]
    assert len(_numbered(np.zeros(0, np.int64))) == 0


def test_words_before_and_after_are_of_the_same_text() -> None:
    """a b of one text, a of another: only b has a word before it, only the first a one after it."""
    word, sample = np.array([0, 1, 0]), np.array([0, 0, 1])
    kinds = _kinds(word, ["“a”", "“b”"], sample, np.ones(3, bool))
    told = {kind.template: kind.key.tolist() for kind in kinds}
    assert told["after {}"] == [-1, 0, -1]
    assert told["before {}"] == [1, -1, -1]
    assert kinds[0].key.tolist() == [0, 1, 0]
    (pair,) = (kind for kind in kinds if isinstance(kind.names, _Pairs))
    assert (pair.key >= 0).tolist() == [False, True, False]
    assert pair.names[pair.key[1]] == "“a b”"


def test_numbers_are_years_decades_or_others() -> None:
    kinds = {"1984": 0, "1000": 0, "2099": 0, "2100": 2, "0999": 2, "1980s": 1, "1980x": -1, "12,000": 2,
             "3.5": 2, "7": 2, "abc": -1, "": -1, "123x": -1, "123xs": -1, "12345": 2}  # fmt: skip
    assert {text: _number(text) for text in kinds} == kinds


def test_places_are_ninths_of_a_picture_and_quarters_of_a_sound() -> None:
    picture = SimpleNamespace(
        prefix_tokens=2, patch_grid=(3, 6), frames=None, seconds_per_step=None
    )
    wanted = {0: PREFIX[0], 1: PREFIX[1], 2: "top left", 2 + 8: "centre", 2 + 17: "bottom right",
              2 + 5: "top right", 2 + 18: "position 20"}  # fmt: skip
    for position, place in wanted.items():
        assert _place(position, picture).removesuffix(f" {PATCHES}") == place
    sound = {"prefix_tokens": 0, "frames": None, "seconds_per_step": 0.5}
    assert _place(5, SimpleNamespace(patch_grid=(1, 8), **sound)) == "2–3 s"
    bands = SimpleNamespace(patch_grid=(2, 8), modality=SimpleNamespace(row="band"), **sound)
    assert _place(15, bands) == "band 1, 3–4 s"


def test_a_tubelet_is_a_ninth_of_a_frame_and_a_third_of_the_time() -> None:
    def told(frames: int, face: tuple[int, int], at: tuple[int, int, int]) -> str:
        grid = (frames * face[0], face[1])
        return _tubelet(0, SimpleNamespace(tubelet=lambda _: at, face_grid=grid, frames=frames))

    assert told(2, (3, 3), (1, 2, 0)) == f"bottom left {PATCHES}"
    assert told(3, (3, 6), (1, 1, 3)) == f"midway centre {PATCHES}"
    assert told(6, (3, 6), (3, 1, 3)) == f"midway centre {PATCHES}"
    assert told(6, (3, 6), (4, 0, 5)) == f"late top right {PATCHES}"
    assert told(6, (6, 6), (1, 5, 2)) == f"early bottom {PATCHES}"
