"""What an atom's record says is what the codes say, for pictures, texts and plain vectors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations, Context, Ragged
from sae_nb.atoms import AtomCatalogue, _sites, peaks
from sae_nb.atoms._atom import describe_atom
from sae_nb.atoms._effects import logit_effects
from sae_nb.atoms._examples import (
    MOST_CANDIDATES,
    QUANTILES,
    _candidates,
    _in_tens,
    _walked,
    choose_rows,
    in_picture,
    place_in,
    text_around,
)
from sae_nb.atoms._searching import find_atoms, preferring
from sae_nb.atoms._words import kinds_of_words, row_words
from sae_nb.codes import SparseCodes

N_ATOMS, D_IN, K = 24, 8, 3


class FakeTopK:
    def __init__(self, n_atoms: int = N_ATOMS, d_in: int = D_IN, k: int = K) -> None:
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(n_atoms, d_in, generator=generator)
        self.dictionary = rows / rows.norm(dim=1, keepdim=True)
        self.n_atoms, self.d_in, self.k = n_atoms, d_in, k
        self.rows_encoded = 0

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        self.rows_encoded += len(x)
        u = (x @ self.dictionary.T).relu()
        best = u.topk(k or self.k, dim=1)
        return SparseCodes.from_dense(torch.zeros_like(u).scatter(1, best.indices, best.values))


def vectors(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(seed))


def picture_acts(n_pictures: int = 20, grid: tuple[int, int] = (3, 4), prefix: int = 3):
    positions = [p for p in range(prefix + grid[0] * grid[1]) if p != 2]
    sample = torch.arange(n_pictures).repeat_interleave(len(positions))
    position = torch.tensor(positions).repeat(n_pictures)
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (n_pictures, 3, 6, 8), dtype=torch.uint8, generator=generator)
    context = Context(
        kind="vision",
        n_samples=n_pictures,
        pictures=pictures,
        patch_grid=grid,
        prefix_tokens=prefix,
    )
    return Activations.from_tensor(
        vectors(len(sample)), sample=sample, position=position, context=context
    )


def text_acts(lengths: tuple[int, ...] = (90, 3, 40, 7), drop_first: bool = True):
    words = {0: "<|begin|>", 1: " cat", 2: "<script>alert(1)</script>", 3: " dog", 4: "\n"}
    generator = torch.Generator().manual_seed(2)
    ids = [torch.randint(1, 5, (length,), generator=generator) for length in lengths]
    for text in ids:
        text[0] = 0
    first = 1 if drop_first else 0
    sample = torch.cat([torch.full((length - first,), i) for i, length in enumerate(lengths)])
    position = torch.cat([torch.arange(first, length) for length in lengths])
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    context = Context(
        kind="language",
        n_samples=len(lengths),
        token_ids=Ragged(torch.cat(ids), offsets),
        vocabulary=words,
    )
    return Activations.from_tensor(
        vectors(len(sample)), sample=sample, position=position, context=context
    )


@pytest.fixture
def dense() -> np.ndarray:
    return FakeTopK().encode(vectors(500)).to_dense().numpy()


@pytest.fixture
def catalogue() -> AtomCatalogue:
    return AtomCatalogue(FakeTopK(), vectors(500), batch_size=64)


def test_a_later_page_has_the_strengths_of_its_rows(catalogue, dense) -> None:
    atom = int(catalogue.order("frequency")[0])
    later = catalogue.summary(atom, page=1, n_examples=4)
    assert (later.page, len(later.examples)) == (1, 4)
    for example in later.examples:
        assert example.strength == pytest.approx(dense[example.row, atom])


def test_statistics_equal_those_of_the_dense_code(catalogue, dense) -> None:
    """Frequency, mean, maximum and 99th percentile, against the definition on a dense matrix."""
    fired = dense != 0
    np.testing.assert_allclose(catalogue.frequency, fired.mean(axis=0))
    np.testing.assert_allclose(catalogue.max_strength, dense.max(axis=0), rtol=1e-6)
    for atom in range(N_ATOMS):
        mine = dense[fired[:, atom], atom]
        assert catalogue.mean_strength[atom] == pytest.approx(mine.mean(), rel=1e-5)
        assert catalogue.p99[atom] == pytest.approx(np.quantile(mine, 0.99), rel=1e-5)
        assert catalogue.summary(atom).p99 == pytest.approx(catalogue.p99[atom], rel=1e-5)


def test_negative_strengths_count_by_size_and_keep_their_sign() -> None:
    """An atom that fires with −5 is stronger than one that fires with 2."""
    codes = SparseCodes.from_dense(torch.tensor([[-5.0, 0.0], [1.0, 2.0]]))
    record = AtomCatalogue(FakeTopK(2), vectors(2), codes=codes).summary(0)
    assert record.max_strength == 5.0
    assert [example.strength for example in record.examples] == [-5.0, 1.0]
    assert record.histogram.edges[0] == -5.0


def test_every_order_is_a_permutation_and_alive_only_leaves_out_the_dead() -> None:
    codes = SparseCodes.from_dense(torch.tensor([[1.0, 0, 3, 0], [0, 0, 4, 0], [9, 0, 0, 0]]))
    catalogue = AtomCatalogue(FakeTopK(4), vectors(3), codes=codes)
    for by in AtomCatalogue.ORDERS:
        assert sorted(catalogue.order(by).tolist()) == [0, 1, 2, 3]
        assert sorted(catalogue.order(by, alive_only=True).tolist()) == [0, 2]
    assert catalogue.order("strength").tolist()[:2] == [0, 2]
    assert catalogue.order("rarest").tolist()[:2] == [0, 2]
    assert catalogue.order("index").tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="`by` must be one of"):
        catalogue.order("beauty")


@pytest.mark.slow
def test_rows_are_encoded_once(catalogue) -> None:
    """Many questions, one pass over the activations; chunks join to the whole."""
    whole = FakeTopK().encode(vectors(500))
    for atom in range(N_ATOMS):
        catalogue.summary(atom)
    assert catalogue.sae.rows_encoded == 500
    assert torch.equal(catalogue.codes.atoms, whole.atoms)
    assert torch.allclose(catalogue.codes.values, whole.values)


def test_nearest_atoms_are_those_of_the_full_cosine_matrix(catalogue, monkeypatch) -> None:
    """Chunk by chunk gives what the n × n matrix would, itself left out."""
    monkeypatch.setattr("sae_nb.atoms._catalogue.DICTIONARY_CHUNK", 5)
    unit = catalogue.dictionary / catalogue.dictionary.norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    for atom in (0, 11, N_ATOMS - 1):
        atoms, values = catalogue.nearest(atom, 4)
        expected = cosines[atom].topk(4).values
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        np.testing.assert_allclose(cosines[atom, atoms], expected, rtol=1e-5)


def test_r2_is_the_share_of_the_variance_around_the_mean() -> None:
    """Rows (3 0), (1 0), (0 2) come back, (0 −2) comes back as 0: 1 − 4 / 14, where the mean is (1 0)."""
    sae = FakeTopK(2, 2, k=2)
    sae.dictionary = torch.eye(2)
    sae.decode = lambda codes: codes.to_dense() @ sae.dictionary
    x = torch.tensor([[3.0, 0], [1, 0], [0, 2], [0, -2]])
    for unit in (1, 0.01):
        assert AtomCatalogue(sae, unit * x).r2 == pytest.approx(1 - 4 / 14)
    assert AtomCatalogue(sae, torch.ones(4, 2)).r2 is None


def test_lift_is_joint_over_product(catalogue, dense) -> None:
    fired = dense != 0
    atoms, lifts, counts = catalogue.coactive(3, 5, min_count=2)
    for atom, lift, count in zip(atoms, lifts, counts, strict=True):
        both = (fired[:, 3] & fired[:, atom]).sum()
        assert count == both
        expected = both / len(fired) / (fired[:, 3].mean() * fired[:, atom].mean())
        assert lift == pytest.approx(expected)
    assert 3 not in atoms
    assert len(atoms) > 0
    assert sorted(lifts.tolist(), reverse=True) == lifts.tolist()


def test_top_band_shows_the_strongest_row_of_each_sample() -> None:
    acts = picture_acts()
    catalogue = AtomCatalogue(FakeTopK(), acts)
    dense = catalogue.codes.to_dense()[:, 5]
    best = torch.stack([dense[acts.sample == s].max() for s in range(20)])
    record = catalogue.summary(5, n_examples=6)
    expected = best.sort(descending=True)
    assert [e.strength for e in record.examples] == pytest.approx(expected.values[:6].tolist())
    assert len({e.sample for e in record.examples}) == 6
    assert all(e.sample == int(acts.sample[e.row]) for e in record.examples)


@pytest.mark.parametrize(("band", "q"), [("99 %", 0.99), ("50 %", 0.5)])
def test_quantile_bands_show_rows_at_that_quantile(catalogue, band: str, q: float) -> None:
    """The first example lies within one rank of the quantile."""
    strengths = np.sort(catalogue.strengths(7)[1])
    first = describe_atom(catalogue, 7, band=band).examples[0].strength
    rank = np.searchsorted(strengths, first)
    assert abs(rank - q * (len(strengths) - 1)) <= 1


@pytest.mark.parametrize("band", ["top", "99 %", "50 %"])
def test_bands_of_an_atom_that_fires_everywhere_are_those_of_a_full_sort(
    monkeypatch, band: str
) -> None:
    """Looking only at the ranks near the band changes nothing that is shown."""
    generator = torch.Generator().manual_seed(5)
    codes = SparseCodes.from_dense(torch.rand(3000, 2, generator=generator) + 0.1)
    catalogue = AtomCatalogue(FakeTopK(2), vectors(3000), codes=codes)
    whole = choose_rows(catalogue, 0, band).rows[:40]
    monkeypatch.setattr("sae_nb.atoms._examples.MOST_CANDIDATES", 100)
    assert choose_rows(catalogue, 0, band).rows[:40].tolist() == whole.tolist()


def test_random_band_is_seeded_and_spans_the_strengths(catalogue) -> None:
    """The same seed gives the same rows; another seed others; not only the top."""
    first = choose_rows(catalogue, 7, "random", seed=1).rows[:8]
    again = choose_rows(catalogue, 7, "random", seed=1).rows[:8]
    other = choose_rows(catalogue, 7, "random", seed=2).rows[:8]
    assert first.tolist() == again.tolist() != other.tolist()
    assert not set(first) <= set(choose_rows(catalogue, 7, "top").rows[:8])


def test_just_below_shows_rows_that_a_larger_k_would_add(catalogue, dense) -> None:
    """None of them fires; all of them are among the next k correlations."""
    choice = choose_rows(catalogue, 2, "just below")
    wide = FakeTopK().encode(vectors(500), k=2 * K).to_dense().numpy()
    assert len(choice.rows) > 0
    assert (dense[choice.rows, 2] == 0).all()
    np.testing.assert_allclose(wide[choice.rows, 2], choice.strengths, rtol=1e-5)
    assert (np.diff(choice.strengths) <= 0).all()


def test_token_strengths_surround_the_peak() -> None:
    """The window holds the position; the dropped first token is NaN; text left out is said."""
    acts = text_acts()
    catalogue = AtomCatalogue(FakeTopK(), acts)
    dense = catalogue.codes.to_dense()
    for atom in range(N_ATOMS):
        for example in catalogue.summary(atom).examples:
            peak = example.position - example.first_position
            assert example.token_strengths[peak] == pytest.approx(example.strength)
            ids = acts.context.token_ids.sample(example.sample).tolist()
            last = example.first_position + len(example.tokens)
            words = [acts.context.vocabulary[i] for i in ids[example.first_position : last]]
            assert list(example.tokens) == words
            assert example.clipped == (example.first_position > 0, last < len(ids))
            if example.first_position == 0:
                assert np.isnan(example.token_strengths[0])
                assert example.special[0]
            here = acts.sample == example.sample
            for offset, value in enumerate(example.token_strengths):
                row = here & (acts.position == example.first_position + offset)
                if row.any():
                    assert value == pytest.approx(float(dense[row, atom]))


def test_a_window_begins_where_a_character_begins() -> None:
    """Cut in the middle of a joined family, it reaches back to the family's first byte."""
    family = "👩‍👩‍👧".encode()
    vocabulary = {256: "a"} | {byte: f"<0x{byte:02X}>" for byte in range(256)}
    ids = [256, *family, *[256] * 20]
    context = Context(kind="language", n_samples=1, vocabulary=vocabulary)
    strengths = np.arange(len(ids), dtype=float)
    for position in range(25, 1 + len(family) + 24):
        window = text_around(context, ids, position, strengths)
        assert window["first_position"] == 1
        assert window["tokens"][0] == "👩‍👩‍👧"
        assert len(window["tokens"]) == len(window["token_strengths"]) == len(window["special"])
        assert window["token_strengths"][0] == 1


def test_letters_are_shown_from_a_ten_to_a_ten() -> None:
    """A token before 300 letters: around letter 125 those from 60 (65 rounded down) to 190 (185 and on)."""
    numbers = [0, *range(1, 301), 0]
    assert _in_tens(1 + 125, numbers) == (1 + 60, 1 + 190)
    assert _in_tens(1 + 130, numbers) == (1 + 70, 1 + 200)
    assert _in_tens(1 + 69, numbers) == (0, 1 + 130)
    assert _in_tens(1 + 295, numbers) == (1 + 230, len(numbers))
    assert _in_tens(125, numbers[1:]) == (60, 190)


@pytest.mark.parametrize(
    ("steps", "to"), [(1, 6), (2, 7), (3, 8), (30, 9), (-1, 4), (-2, 1), (-3, 0), (-30, 0), (0, 5)]
)
def test_an_image_is_one_step(steps: int, to: int) -> None:
    """Of ten tokens, 1 to 3 are an image; so are 7 and 8 for whoever comes from before."""
    runs = [range(1, 4)] if steps <= 0 else [range(1, 4), range(6, 7)]
    assert _walked(5, steps, runs, 10) == to


def test_atoms_prefer_the_group_that_holds_more_of_them_than_of_the_rows() -> None:
    """Ten rows, two and one of them in groups: of one atom all is in the first, of one half in the second, one is
    everywhere. More than twice is asked for: half of an atom in a fifth of the rows is, two fifths of it are not.
    """
    z = torch.zeros(10, 5)
    z[0, 0], z[2, 1], z[5, 1], z[:, 2] = 2, -3, 3, 1
    z[0, 3], z[5, 3], z[0, 4], z[5, 4] = 1, 1, 2, 3
    catalogue = AtomCatalogue(FakeTopK(5), vectors(10), codes=SparseCodes.from_dense(z))
    groups = np.array([0, 0, 1, *[-1] * 7])
    found = [(a.tolist(), s.tolist()) for a, s in preferring(catalogue, groups, 2)]
    assert found == [([0, 3], [1.0, 0.5]), ([1], [0.5])]


def test_a_place_is_told_by_what_the_sample_has() -> None:
    """A picture's patch by row and column, a text's token by its number, of a vector the sample alone."""
    assert place_in(picture_acts().context, 3, 3 + 6) == "image 3, patch 1,2"
    assert place_in(text_acts().context, 2, 7) == "text 2, token 7"
    assert "," not in place_in(Activations.from_tensor(vectors(5)).context, 4, 0)


def test_strengths_in_a_picture_lie_on_their_patches() -> None:
    """Three tokens before a grid of 3 × 4; a position beyond the picture is left out."""
    context = picture_acts().context
    found = in_picture(context, 2, np.array([1, 3, 3 + 6, 15]), np.array([9.0, 1.0, 2.0, 5.0]))
    expected = np.full((3, 4), np.nan)
    expected[0, 0], expected[1, 2] = 1, 2
    np.testing.assert_array_equal(found["heat"], expected)
    np.testing.assert_array_equal(found["picture"], context.pictures[2])


def test_pages_of_several_sites_end_with_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 and 5 rows, two a page, the last page is the third, with one row."""
    monkeypatch.setattr(_sites, "_sites_of", lambda rows: rows)
    monkeypatch.setattr(_sites, "choose_rows", lambda n, *_, **__: SimpleNamespace(rows=range(n)))
    monkeypatch.setattr(_sites, "_at_site", lambda site, atom, choice, shown: choice.rows[shown])

    def page(number: int) -> Any:
        found, at = _sites.examples_at_sites([3, 5], 0, "top", page=number, n=2, seed=0)
        return [list(one) for one in found], at

    assert page(0) == ([[0, 1], [0, 1]], 0)
    assert page(2) == page(9) == ([[], [4]], 2)


def test_footprint_of_pictures_is_the_frequency_at_cls_registers_and_patches() -> None:
    """Against the definition, row by row; a place that was not captured is NaN in the map."""
    acts = picture_acts()
    catalogue = AtomCatalogue(FakeTopK(), acts)
    fired = (catalogue.codes.to_dense()[:, 5] != 0).numpy()
    position = acts.position.numpy()
    found = catalogue.summary(5).footprint
    kinds = {"cls": position == 0, "registers": (position == 1), "patches": position >= 3}
    assert found.places == tuple(kinds)
    np.testing.assert_allclose(found.frequency, [fired[rows].mean() for rows in kinds.values()])
    assert found.patch_frequency[1, 2] == pytest.approx(fired[position == 3 + 6].mean())


def test_footprint_of_texts_covers_every_row() -> None:
    """Ranges of positions, none counted twice; the dropped first position is absent."""
    acts = text_acts()
    found = AtomCatalogue(FakeTopK(), acts).summary(5).footprint
    assert int(found.rows.sum()) == len(acts)
    assert "token 0" not in found.places
    assert found.places[:2] == ("token 1", "2–15")


def test_search_finds_number_then_label_then_token() -> None:
    """A name comes first, then what fires at the word, strongest there first; what fires alike everywhere does not."""
    acts = text_acts()
    cat = (acts.tokens.ids == 1).float()
    codes = SparseCodes.from_dense(torch.stack([cat, 1 - cat, cat + 0.5, 0 * cat], dim=1))
    catalogue = AtomCatalogue(FakeTopK(4), acts, codes=codes, labels={3: "a Cat that sleeps"})
    assert catalogue.search("2").tolist() == [2]
    assert catalogue.search("#2").tolist() == [2]
    assert catalogue.search("CAT").tolist() == [3, 2, 0]
    assert 1 not in catalogue.search("cat")
    assert catalogue.search("  ").tolist() == []
    assert catalogue.search("no such thing").tolist() == []
    assert catalogue.search("99999").tolist() == []


def test_what_was_searched_for_has_its_strength_share_and_row() -> None:
    """Atom 2 fires with 1.5 on cats and 0.5 elsewhere, atom 0 with 1; atom 3 was found by its name alone."""
    acts = text_acts()
    cat = (acts.tokens.ids == 1).float()
    codes = SparseCodes.from_dense(torch.stack([cat, 1 - cat, cat + 0.5, 0 * cat], dim=1))
    catalogue = AtomCatalogue(FakeTopK(4), acts, codes=codes, labels={3: "a Cat that sleeps"})
    found = find_atoms(catalogue, "cat")
    first = int(cat.nonzero()[0])
    assert found.atoms.tolist() == [3, 2, 0]
    assert found.strengths.tolist() == pytest.approx([0, 1.5, 1])
    assert found.shares.tolist() == pytest.approx([0, 1, 1])
    assert found.rows.tolist() == [-1, first, first]
    assert found.n_places == int(cat.sum())


def test_a_word_that_mostly_goes_on_is_a_piece() -> None:
    """ "snow" goes on each time, "wolf" once of two times; what goes on is a piece itself; gaps join nothing."""
    words = {0: " snow", 1: "flake", 2: " wolf", 3: "ish", 4: " bear", 5: "."}
    ids = [0, 1, 2, 2, 3, 4, 3, 4, 3, 0, 1, 5]
    position = torch.tensor([0, 1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13])  # not after "bear"
    context = Context(
        kind="language",
        n_samples=1,
        token_ids=Ragged(
            torch.zeros(14, dtype=torch.long).scatter(0, position, torch.tensor(ids)),
            torch.tensor([0, 14]),
        ),
        vocabulary=words,
    )
    acts = Activations.from_tensor(
        vectors(12), sample=torch.zeros(12, dtype=torch.long), position=position, context=context
    )
    catalogue = AtomCatalogue(FakeTopK(), acts)
    word, names = row_words(catalogue)
    whole, pieces = kinds_of_words(catalogue, word, names)
    bare = [name.strip("“” ") for name in names]
    assert {bare[i] for i in np.flatnonzero(whole)} == {"wolf", "bear"}
    assert {bare[i] for i in np.flatnonzero(pieces)} == {"snow", "flake", "ish"}


class Names:
    """A tokenizer that names ids."""

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [f"t{i}" for i in ids]

    def decode(self, ids: list[int], **_: bool) -> str:
        return "".join(f"t{i}" for i in ids)


def of_family(name: str, **settings: Any) -> Any:
    """A small random network whose norms, embeddings and unembedding are far from those of a new one."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    ids = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, f"{name}Config")(**sizes, **ids, **settings)
    kind = "MaskedLM" if name in ("Bert", "Albert") else "CausalLM"
    module = getattr(transformers, f"{name}For{kind}")(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape) * 0.4 + 0.1)
    return sn.wrap(module, Names())


NEXT = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "num_experts": 2,
    "linear_value_head_dim": 8, "num_experts_per_tok": 1, "moe_intermediate_size": 8, "head_dim": 8,
    "num_key_value_heads": 2, "shared_expert_intermediate_size": 8, "layer_types": ["full_attention"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings"),
    [("Llama", {}), ("Cohere", {}), ("Olmo", {}), ("Qwen3Next", NEXT), ("Nemotron", {"num_key_value_heads": 2}), ("GPTNeoX", {})],
)  # fmt: skip
def test_raised_tokens_are_those_of_the_models_own_final_norm(name: str, settings: Any) -> None:
    """A large state behind the norm is the direction itself, divided by its size, whatever the norm is called."""
    model, direction = of_family(name, **settings), torch.randn(16) + 0.5
    norm = model.get_module(model.hook_point("final_norm").path)
    unembedding = model.module.get_output_embeddings()
    with torch.no_grad():
        both = norm(1e4 * direction[None]) - norm(-1e4 * direction[None])
        right = (both @ unembedding.weight.T)[0].argsort(descending=True).tolist()
    up, down = logit_effects(model, direction, n=8)
    assert [name for name, _ in up] == [f"t{i}" for i in right[:8]]
    assert [name for name, _ in down] == [f"t{i}" for i in right[::-1][:8]]


def test_raised_tokens_of_a_masked_model_go_through_its_own_head() -> None:
    """To first order, on the tokens that its head was tried on; ALBERT's has another width than its blocks."""
    model, direction = of_family("Albert", embedding_size=8), torch.randn(16)
    ids = torch.arange(1, 6)[None]
    with torch.no_grad():
        x = model.module.albert(ids).last_hidden_state
        head = model.module.predictions
        right = (head(x + 1e-3 * direction) - head(x - 1e-3 * direction))[0].mean(dim=0) / 2e-3
    up, _ = logit_effects(model, direction, n=5)
    best = right.topk(5)
    assert [name for name, _ in up] == [f"t{i}" for i in best.indices.tolist()]
    assert [x for _, x in up] == pytest.approx(best.values.tolist(), rel=1e-2)


def test_logit_effect_is_the_change_of_the_logits_at_a_fixed_norm() -> None:
    """Against a finite difference through the real final norm, its divisor held fixed."""
    model, direction = of_family("GPTNeoX"), torch.randn(16)
    up, down = logit_effects(model, direction, n=60)
    x = torch.randn(16) * 100
    norm, head = model.module.gpt_neox.final_layer_norm, model.module.get_output_embeddings()
    with torch.no_grad():
        scale = (x - x.mean()).pow(2).mean().sqrt()
        change = head(norm(x + 1e-2 * direction) - norm(x)) * scale / 1e-2
        radial = head(norm(x) - norm.bias) * ((x - x.mean()) @ direction) / 16 / scale
    effects = dict(up)
    for token in range(60):
        assert effects[f"t{token}"] == pytest.approx(float((change + radial)[token]), abs=0.05)
    assert [name for name, _ in down] == [name for name, _ in up][::-1]
    assert [x for _, x in down] == pytest.approx([x for _, x in up][::-1])


@pytest.mark.parametrize("band", ["top", *QUANTILES])
def test_equal_strengths_are_examples_in_the_order_of_their_rows(band: Any) -> None:
    """As if all were sorted: a partition has equal ones in any order, another processor's in another."""
    size = np.random.default_rng(0).integers(1, 4, 20 * MOST_CANDIDATES).astype(np.float32)
    found = _candidates(size, band, np.random.default_rng(0))
    wanted = QUANTILES.get(band, 1.0) * (len(size) - 1)
    first = int(np.clip(wanted - MOST_CANDIDATES / 2, 0, len(size) - MOST_CANDIDATES))
    places = np.argsort(size, kind="stable")[first : first + MOST_CANDIDATES]
    assert sorted(found.tolist()) == sorted(places.tolist())


def test_an_atom_has_one_peak_whatever_it_is_counted_from() -> None:
    """Catalogue, activations, codes and record of an atom give the same two numbers; usual is below strongest."""
    acts = text_acts()
    catalogue = AtomCatalogue(FakeTopK(4), acts)
    found = peaks(catalogue.sae, catalogue)
    z = np.abs(catalogue.codes.to_dense().numpy())
    for atom in range(4):
        record, fired = catalogue.summary(atom), z[:, atom][z[:, atom] > 0]
        assert found.strongest[atom] == record.max_strength == fired.max()
        assert found.usual[atom] == record.p99 == pytest.approx(np.quantile(fired, 0.99))
    for source in (acts, catalogue.codes):
        again = peaks(catalogue.sae, source)
        assert np.array_equal(again.usual, found.usual)
        assert np.array_equal(again.strongest, found.strongest)
    assert peaks(catalogue.sae) is None
