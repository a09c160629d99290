"""Words of some atoms, chosen on every other text and tried on those between, counted by hand."""

from __future__ import annotations

import numpy as np
import torch

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.atoms import AtomCatalogue, ConceptAtlas, HeldWords
from sae_nb.atoms.concept_map._held_words import held_words
from tests.small_catalogues import catalogue_of

WORDS = (" sea", " ship", " law", " of", " tea")


def catalogue(texts: list[list[int]], z: torch.Tensor) -> AtomCatalogue:
    """Texts of words, and the strength of every atom at each of them."""
    ids = torch.tensor([word for text in texts for word in text])
    ends = torch.tensor([0, *np.cumsum([len(text) for text in texts])])
    context = Context(
        kind="language", n_samples=len(texts), vocabulary=dict(enumerate(WORDS)),
        token_ids=Ragged(ids, ends),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.ones(len(ids), 2),
        sample=torch.tensor([i for i, text in enumerate(texts) for _ in text]),
        position=torch.tensor([i for text in texts for i in range(len(text))]),
        context=context,
    )
    return catalogue_of(z, acts=acts)


def test_a_share_is_counted_on_the_texts_that_chose_nothing() -> None:
    """Atoms 0 and 1 fire on "sea" first; in the second text with 3 of 4 and 1 of 2 of their strength."""
    z = torch.zeros(10, 12)
    z[0, :2] = 1.0  # "sea" in the first text, which alone chooses
    z[5, 0], z[6, 0], z[5, 1], z[7, 1] = 3.0, 1.0, 1.0, 1.0
    z[3, :2] = 5.0  # "of" is short, and no word of theirs; its strength counts
    for atom in range(2, 12):
        z[2 + 5 * (atom % 2), atom] = 1.0
    found = held_words(catalogue([[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]], z), np.array([0, 1]))
    assert found.words == ("sea",)
    assert found.share == (3 / 4 + 1 / 2) / 2
    assert found.random.shape == (20,)
    assert found.random.min() == 0
    assert set(np.round(found.random * 8)) <= {0.0, 2.0, 3.0, 5.0}  # atom 1, 0, both, of two
    assert found.strongest == ("sea", "sea")  # "of" can be no word of theirs


def test_words_hold_from_eight_times_chance_on_and_above_every_draw() -> None:
    def held(share: float, random: list[float]) -> bool:
        return HeldWords(
            words=("sea",), share=share, random=np.array(random), strongest=("sea",)
        ).hold

    assert held(0.8, [0.1, 0.1])
    assert not held(0.79, [0.1, 0.1])
    assert not held(0.5, [0.5, *[0.0] * 19])
    assert held(0.51, [0.5, *[0.0] * 19])
    assert not held(0.9, [])


def test_one_text_has_no_other_and_images_have_no_words() -> None:
    one = catalogue([[0, 1, 2]], torch.eye(3))
    assert held_words(one, np.array([0])) is None
    assert held_words(catalogue_of(torch.eye(3)), np.array([0])) is None


def test_a_region_whose_words_do_not_hold_has_no_name_of_its_own() -> None:
    """All atoms fire alike: whatever group there is has words of everyone."""
    z = torch.ones(40, 30)
    texts = [[0, 1, 2, 4]] * 10
    c = catalogue(texts, z)
    atlas = ConceptAtlas(c.sae, catalogue=c)
    xy = np.repeat([[0.0, 0.0], [9.0, 9.0]], 15, axis=0) + np.random.default_rng(0).normal(
        0, 0.1, (30, 2)
    )
    regions = atlas.clusters("atoms", xy.astype(np.float32))
    assert len(regions) == 2
    assert [region.name for region in regions] == ["group 1", "group 2"]
    assert not any(region.is_named for region in regions)
    named = ConceptAtlas(c.sae, catalogue=c, labels=dict.fromkeys(range(8), "sea"))
    assert "sea" in {region.name for region in named.clusters("atoms", xy.astype(np.float32))}


def test_regions_are_called_by_the_words_that_hold() -> None:
    """Each of 24 regions has a word of its own, at which its three atoms fire in every text."""
    n, texts = 24, 4
    words = [" " + "abcdefghijklmnopqrstuvwx"[i] * 4 for i in range(n)]
    row = torch.arange(n * texts)
    z = (row[:, None] % n == torch.arange(3 * n) // 3).float()
    context = Context(
        kind="language", n_samples=texts, vocabulary=dict(enumerate(words)),
        token_ids=Ragged(row % n, n * torch.arange(texts + 1)),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.ones(len(row), 2), sample=row // n, position=row % n, context=context
    )
    c = catalogue_of(z, acts=acts)
    held = held_words(c, np.array([0, 1, 2]))
    assert (held.words, held.share, held.hold) == (("aaaa",), 1.0, True)
    corners = np.array([(i % 6, i // 6) for i in range(n)], np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, (3 * n, 2))
    xy = (9 * np.repeat(corners, 3, axis=0) + noise).astype(np.float32)
    regions = ConceptAtlas(c.sae, catalogue=c).clusters("atoms", xy)
    for region in regions:
        own = {words[atom // 3].strip() for atom in region.points}
        assert region.is_named == region.held.hold
        assert not region.is_named or set(region.name.split(" · ")) <= own
    assert any(region.is_named for region in regions)
