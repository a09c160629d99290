"""Numbers of pairs, second codes, sites, sounds, texts and images of atoms, worked out by hand."""

from __future__ import annotations

import io
import wave
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations, Context, PlacedImages, Ragged
from sae_nb.atoms import AtomCatalogue, concordance
from sae_nb.atoms._atom import N_BINS, build_crops, footprint_of, strength_histogram
from sae_nb.atoms._concordance import _middle
from sae_nb.atoms._examples import build_examples, choose_rows, one_per_sample
from sae_nb.atoms._firings import Firings
from sae_nb.atoms._names import AtomNames, _shortened
from sae_nb.atoms._pair import compare_atoms
from sae_nb.atoms._searching import find_atoms, preferring
from sae_nb.atoms._second_codes import KeptFirings, _from_json, _to_json
from sae_nb.atoms._words import _with_patches
from sae_nb.atoms.sounds import clip_at, eight_bits, wave_file
from sae_nb.codes import SparseCodes
from tests.left_out import numbers_left_out
from tests.small_catalogues import catalogue_of, mixed, text_of

# -------------------------------------------------------------------------------------------------
# Two atoms.


def test_two_atoms_are_compared_row_by_row_and_sample_by_sample() -> None:
    """The first fires in samples 0 to 3, the second in 1, 3 and 4, both in one row of nine."""
    first, second = [1, 0, 2, 0, -5, 0, 4, 0, 0], [0, 0, 3, 0, 0, 1, 0, 7, 9]
    samples = torch.tensor([0, 0, 1, 1, 2, 3, 3, 4, 4])
    catalogue = catalogue_of(
        np.stack([first, second], axis=1), sample=samples,
        position=torch.tensor([0, 1, 0, 1, 0, 0, 1, 0, 1]),
        dictionary=[[0.3, 0.4], [0.0, 0.2]],
    )  # fmt: skip
    pair = compare_atoms(catalogue, 0, 1)
    assert pair.cosine == pytest.approx(0.8)
    assert (pair.n_both, pair.n_by_chance) == (1, pytest.approx(16 / 9))
    assert pair.lift == pytest.approx(9 / 16)
    assert (pair.n_only_first, pair.n_only_second, pair.n_shared) == (2, 1, 2)
    assert [(one.row, one.strength) for one in pair.only_first] == [(4, -5), (0, 1)]
    assert [(one.row, one.strength) for one in pair.only_second] == [(8, 9)]
    assert (pair.first.atom, pair.second.atom) == (0, 1)
    one = compare_atoms(catalogue, 0, 1, n_examples=1)
    assert [example.row for example in one.only_first] == [4]
    assert (one.n_only_first, len(one.first.examples)) == (2, 1)
    many = compare_atoms(catalogue_of(np.eye(8)[:, [0]] * [[1, 0]] + [[1, 0]] * 8), 0, 1)
    assert (len(many.only_first), len(many.first.examples), many.n_only_first) == (6, 6, 8)
    assert np.isnan(many.lift)
    zero = catalogue_of(np.eye(2), dictionary=[[0.0, 0.0], [0.0, 2.0]])
    assert compare_atoms(zero, 0, 1).cosine == 0


# -------------------------------------------------------------------------------------------------
# What another solver keeps.


def kept(**more: Any) -> KeptFirings:
    numbers = {
        "fires": [12, 12, 0, 10, 9, 2],
        "kept": [5, 6, 0, 4, 1, 0],
        "chance": [0.6, 1.4, 0, 0, 0, 0],
        "noise": [11.4, np.nan, 0, 9, 9, 2],
    }
    columns = {name: np.array(one) for name, one in numbers.items()}
    return KeptFirings(solver="omp", n_rows=20, **columns, **more)


def test_a_sentence_tells_how_many_firings_another_solver_keeps() -> None:
    """Below a half of ten or more the strongest alone are to be read."""
    found = kept()
    said = "Another solver (OMP) keeps 5 of 12 firings (chance 1, noise 11): read its strongest ones only."
    assert found.sentence(0) == found.sentence(0, 20) == said
    assert " 5 of 12 firings in 20 other rows (" in found.sentence(0, 21)
    assert found.sentence(1).endswith("keeps 6 of 12 firings (chance 1, noise not measured).")
    assert found.sentence(2) == ""
    assert found.sentence(3).endswith("read its strongest ones only.")
    assert found.sentence(4).endswith("(chance 0, noise 9).")
    report = {"kept_by_second_code": SimpleNamespace(value=0.25, control=0.02)}
    said = KeptFirings.of_report(report).replace("\u2009", " ")
    assert said == (
        "Another solver keeps 25.0 % of an atom’s firings (chance 2.00 %, noise not measured)."
    )
    report["kept_in_noise"] = SimpleNamespace(value=0.5)
    assert "noise 50.0" in KeptFirings.of_report(report)
    report["kept_by_second_code"].control = None
    assert KeptFirings.of_report(report) == KeptFirings.of_report({}) == ""


def test_firings_that_are_not_kept_are_told_on_the_same_rows_alone() -> None:
    rows, atoms = np.array([3, 7, 1, 4]), np.array([0, 0, 2, 5])
    found = kept(rows=rows, atoms=atoms)
    twelve = np.array([0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 13])
    wanted = [i in (3, 7) for i in twelve.tolist()]
    dropped = found.dropped(0, twelve, 20)
    assert dropped is not None
    assert dropped.tolist() == wanted
    assert found.dropped(5, np.array([3, 4]), 20).tolist() == [False, True]
    assert found.dropped(1, twelve, 20).tolist() == [False] * 12
    assert found.dropped(0, twelve, 21) is None
    assert found.dropped(0, twelve[1:], 20) is None
    assert found.dropped(0, np.arange(20, 32), 20) is None
    assert kept().dropped(0, twelve, 20) is None


def test_a_second_code_is_the_same_from_a_file() -> None:
    again = _from_json(_to_json(kept()), Path("second_code.json"))
    assert (again.solver, again.n_rows) == ("omp", 20)
    for name in ("fires", "kept", "chance", "noise"):
        np.testing.assert_array_equal(getattr(again, name), getattr(kept(), name))
    broken = _to_json(kept())
    broken["kept"] = broken["kept"][:-1]
    with pytest.raises(ValueError, match="columns of other lengths"):
        _from_json(broken, Path("second_code.json"))


# -------------------------------------------------------------------------------------------------
# Dictionaries of several sites.


def two_sites(n: int = 12) -> list[Activations]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, 4, generator=generator), torch.randn(n, 3, generator=generator)
    return [
        Activations.from_tensor(one, model_name=name, hook_point="h")
        for one, name in ((x, "a"), (3 * y, "b"))
    ]


def r2(x: Tensor, x_hat: Tensor) -> float:
    return float(1 - (x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum())


def test_an_atom_of_two_models_with_one_code_has_a_share_at_each() -> None:
    """Strengths are those of the code times the share; R² is each site's own."""
    parts = two_sites()
    sae = sn.Crosscoder([4, 3], 6, k=2, generator=torch.Generator().manual_seed(1))
    catalogue = AtomCatalogue(sae, parts)
    z, x_hat = catalogue.codes.to_dense(), sae([part.x for part in parts])
    shares = sae.shares()
    assert [one.sites for one in catalogue.side_by_side] == [(), ()]  # of two models
    same = [Activations.from_tensor(part.x, model_name="a", hook_point="h") for part in parts]
    assert AtomCatalogue(sae, same).side_by_side == ()
    atom = int(catalogue.order("frequency")[0])
    for i, name in enumerate(catalogue.sites):
        site = catalogue.at(name)
        torch.testing.assert_close(site.dictionary, sae.dictionaries[i])
        assert site.r2 == pytest.approx(r2(parts[i].x, x_hat[i].detach()), abs=1e-5)
        assert site.shares is not None
        np.testing.assert_allclose(site.shares, shares[:, i])
    found = catalogue.summary(atom, n_examples=5).sites
    top = float(z[:, atom].max())
    for i, site in enumerate(found):
        share = float(shares[atom, i])
        fired = np.sort(z[:, atom][z[:, atom] > 0].detach().numpy())[::-1]
        assert (site.n_fired, site.n_examples) == (len(fired), len(fired))
        assert site.frequency == pytest.approx(len(fired) / 12)
        assert (site.share, site.scaled) == (pytest.approx(share), True)
        assert len(site.examples) == min(3, len(fired))  # half of five, and one for both
        strengths = [example.strength for example in site.examples]
        assert strengths == pytest.approx((share * fired[:3]).tolist())
        assert site.max_strength == pytest.approx(top * float(shares[atom].max()))


def test_a_code_of_one_model_alone_is_read_there() -> None:
    parts = two_sites()
    sae = sn.UniversalSAE([4, 3], 6, k=2, generator=torch.Generator().manual_seed(1))
    catalogue = AtomCatalogue(sae, parts)
    for i, name in enumerate(catalogue.sites):
        site, codes = catalogue.at(name), sae.encode(parts[i].x, reads=i)
        assert torch.equal(site.codes.to_dense(), codes.to_dense())
        assert site.r2 == pytest.approx(r2(parts[i].x, sae.decode(codes)[i].detach()), abs=1e-5)
    record = catalogue.summary(int(catalogue.order("frequency")[0]), n_examples=4)
    for site, one in zip(record.sites, catalogue.side_by_side, strict=True):
        assert (site.share, site.scaled) == (None, False) or not site.scaled
        assert site.max_strength == pytest.approx(float(one.max_strength[record.atom]))
        assert len(site.examples) == min(2, site.n_fired)


def test_what_is_only_read_has_no_share_explained() -> None:
    """A transcoder reads the first site and writes the second; the second may be missing."""
    x, y = two_sites()
    sae = sn.Transcoder(4, 3, 6, k=2, generator=torch.Generator().manual_seed(1))
    catalogue = AtomCatalogue(sae, (x, y))
    read, written = (catalogue.at(name) for name in catalogue.sites)
    assert read.r2 is None
    assert written.r2 == pytest.approx(r2(y.x, sae(x.x).detach()), abs=1e-5)
    assert catalogue.r2 == pytest.approx(written.r2)
    alone = AtomCatalogue(sae, x)
    assert alone.r2 is None
    assert [alone.at(name).r2 for name in alone.sites] == [None, None]


# -------------------------------------------------------------------------------------------------
# Sounds.


def sound(length: int = 1000, **more: Any) -> Context:
    whole = torch.arange(length, dtype=torch.int16)
    return Context(
        kind="audio", n_samples=1, sounds=Ragged(whole, torch.tensor([0, length])),
        policy={"sample_rate": 100}, **more,
    )  # fmt: skip


def test_a_clip_lies_around_its_moment_and_knows_where_in_the_image() -> None:
    """Ten seconds in 10 columns of one second, ahead of which stand two tokens of no time."""
    context = sound(prefix_tokens=2, patch_grid=(1, 10), seconds_per_step=1.0)
    clip = clip_at(context, 0, 2 + 5, most=200)
    assert clip is not None
    assert (clip.rate, clip.first, clip.values.tolist()) == (100, 400, [*range(400, 600)])
    assert clip.span == pytest.approx((0.4, 0.6))
    begin, end = clip_at(context, 0, 2, most=200), clip_at(context, 0, 2 + 9, most=300)
    assert (begin.first, begin.span) == (0, pytest.approx((0, 0.2)))
    assert (end.first, len(end.values), end.span) == (700, 300, pytest.approx((0.7, 1.0)))
    assert clip_at(context, 0, 0, most=200).first == 0
    assert len(clip_at(context, 0, 3).values) == 1000
    # A shorter sound ends before its image, which is as wide as that of the longest.
    short = sound(250, prefix_tokens=2, patch_grid=(1, 10), seconds_per_step=1.0)
    assert clip_at(short, 0, 3, most=500).span == pytest.approx((0, 0.25))
    # Without a time per step the image is as wide as the sound.
    assert clip_at(sound(), 0, 3, most=500).span == pytest.approx((0, 0.5))
    nothing = clip_at(sound(0), 0, 3)
    assert (nothing.values.tolist(), nothing.first, nothing.span) == ([0], 0, (0.0, 1.0))
    assert clip_at(Context(), 0, 0) is None


def test_a_clip_as_a_file_is_as_loud_as_bytes_allow() -> None:
    """Silence is 128, the largest 128 ± 127."""
    samples = eight_bits(np.array([0, 50, -100, 100], np.int16))
    assert [*samples] == [128, 128 + 64, 1, 255]
    assert [*eight_bits(np.zeros(2, np.int16))] == [128, 128]
    with wave.open(io.BytesIO(wave_file(samples, 8000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 1, 8000)
        assert (file.getnframes(), file.readframes(9)) == (4, samples)


# -------------------------------------------------------------------------------------------------
# Images among the tokens of a text, and words without white space.


def test_patches_in_a_text_are_called_by_their_ninth() -> None:
    """Of 2 × 3: rows 0 and 1 of two are top and middle of three; a single patch is its top left."""
    catalogue = mixed()
    word, names = _with_patches(np.zeros(7, np.int64), ["w"], catalogue)
    assert len(names) == 10
    assert [names[i] for i in word] == [
        "w", "top left patches", "top patches", "left patches", "right patches", "w",
        "top left patches",
    ]  # fmt: skip


def test_an_image_in_a_text_is_shown_with_its_heat() -> None:
    """The strongest row lies in the last patch of the first image; what was not captured is NaN."""
    catalogue = mixed()
    (example,) = build_examples(catalogue, 0, choose_rows(catalogue, 0, "top"))
    assert (example.row, example.position, example.strength) == (4, 6, 3)
    np.testing.assert_array_equal(example.heat, [[0, 1, np.nan], [0, np.nan, 3]])
    assert example.picture is not None
    assert np.array_equal(example.picture, catalogue.acts.context.images.pictures[0].numpy())
    (word,) = build_examples(catalogue, 1, choose_rows(catalogue, 1, "top"))
    assert word.tokens == (" one", "[image]", *["\u2060"] * 5, " two", "[image]")
    assert word.clipped == (False, False)
    crop = build_crops(catalogue, 0, "top", 1)
    assert crop is not None
    # Patch (1, 2) of 2 × 3 patches of 2 × 2: in the corner, so that grey is on two sides.
    assert crop.pictures.shape == (1, 3, 6, 6)
    np.testing.assert_array_equal(
        crop.pictures[0, :, :4, :4], catalogue.acts.context.images.pictures[0, :, :, 2:]
    )
    assert (crop.pictures[0, :, 4:] == 128).all()
    assert (crop.pictures[0, :, :, 4:] == 128).all()
    assert crop.strengths.tolist() == [3]
    assert build_crops(catalogue, 1, "top", 1) is None


def test_words_that_keep_no_white_space_are_set_apart() -> None:
    catalogue = text_of(["[CLS]", "play", "##ing", "well", "[SEP]"])
    (example,) = build_examples(catalogue, 1, choose_rows(catalogue, 1, "top"))
    assert "".join(example.tokens) == "[CLS] playing well[SEP]"
    assert example.special == (True, False, False, False, True)
    plain = text_of(["play", "##ing", "well"])
    (example,) = build_examples(plain, 1, choose_rows(plain, 1, "top"))
    assert "".join(example.tokens) == "playing well"


def test_a_window_of_a_text_has_24_tokens_before_and_12_after() -> None:
    words = [f" w{i}" for i in range(60)]
    catalogue = text_of(words)
    for at, first, last in ((30, 6, 43), (24, 0, 37), (3, 0, 16), (47, 23, 60), (50, 26, 60)):
        (example,) = build_examples(catalogue, at, choose_rows(catalogue, at, "top"))
        assert example.tokens == tuple(words[first:last])
        assert example.first_position == first
        assert example.clipped == (first > 0, last < 60)
        assert example.token_strengths.tolist() == [float(i == at) for i in range(first, last)]
    # Of a whole text the beginning.
    one = text_of([f" w{i}" for i in range(70)], position=[0])
    (example,) = build_examples(one, 0, choose_rows(one, 0, "top"))
    assert (len(example.tokens), example.first_position, example.clipped) == (61, 0, (False, True))
    assert np.isnan(example.token_strengths).all()


def test_an_atom_just_below_is_said_to_be_nowhere() -> None:
    missing = choose_rows(catalogue_of(np.eye(3)), 0, "just below")
    assert (len(missing.rows), len(missing.strengths)) == (0, 0)
    assert "no k that can be doubled" in missing.missing


def test_a_vector_is_shown_by_its_eight_largest_coordinates() -> None:
    x = torch.zeros(1, 12)
    x[0, [3, 5, 7]] = torch.tensor([1.0, -9.0, 4.0])
    catalogue = catalogue_of([[1.0]], acts=Activations.from_tensor(x))
    (example,) = build_examples(catalogue, 0, choose_rows(catalogue, 0, "top"))
    assert len(example.coordinates) == 8
    assert example.coordinates[:3].tolist() == [5, 7, 3]
    assert example.coordinate_values[:3].tolist() == [-9, 4, 1]


# -------------------------------------------------------------------------------------------------
# Counts.


def test_rows_of_a_dense_atom_are_thinned_for_what_fires_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of six rows every third: rows 0 and 3; both hold the second atom, one the third."""
    z = np.zeros((7, 4))
    z[:6, 0], z[[0, 3], 1], z[[3, 4, 5], 2] = 1, 1, 1
    firings = Firings(SparseCodes.from_dense(torch.tensor(z)))
    monkeypatch.setattr("sae_nb.atoms._firings.MOST_ROWS", 2)
    atoms, lifts, counts = firings.coactive(0, min_count=1)
    assert (atoms.tolist(), counts.tolist()) == ([1, 2], [2, 1])
    assert lifts == pytest.approx([2 / (2 * 2 / 7), 1 / (2 * 3 / 7)])
    assert firings.coactive(0, min_count=2)[0].tolist() == [1]
    assert firings.coactive(0, 1, min_count=1)[0].tolist() == [1]
    monkeypatch.setattr("sae_nb.atoms._firings.MOST_ROWS", 6)
    assert firings.coactive(0, min_count=1)[2].tolist() == [2, 3]
    assert firings.coactive(3)[0].tolist() == []


def test_five_rows_together_are_enough_and_four_are_not() -> None:
    z = np.zeros((20, 3))
    z[:6, 0], z[:5, 1], z[:4, 2] = 1, 1, 1
    assert Firings(SparseCodes.from_dense(torch.tensor(z))).coactive(0)[0].tolist() == [1]


def test_entries_of_rows_are_found_in_any_order() -> None:
    z = torch.tensor([[1.0, 2, 0], [0, 0, 0], [0, 3, 0], [4, 5, 6]])
    firings = Firings(SparseCodes.from_dense(z))
    found = firings.entries_of(np.array([3, 1, 0, 2]))
    assert firings.values[found].tolist() == [4, 5, 6, 1, 2, 3]
    assert firings.entries_of(np.array([], np.int64)).tolist() == []


def test_an_entry_of_strength_zero_is_no_firing() -> None:
    """It counts for no percentile, mean or number of rows."""
    codes = SparseCodes.from_dense(torch.tensor([[1.0], [2.0], [3.0]]))
    codes = codes.with_values(torch.tensor([0.0, 2.0, 3.0]))
    firings = Firings(codes)
    assert firings.n_fired.tolist() == [2]
    assert firings.mean_strength.tolist() == [2.5]
    assert firings.p99.tolist() == pytest.approx([2.99])
    assert firings.strengths(0)[0].tolist() == [1, 2]
    assert firings.alive.tolist() == [True]
    z = torch.tensor([[1.0, -1.0, 5.0], [2.0, -1.0, 0.0], [3.0, 0.0, 0.0]])
    codes = SparseCodes.from_dense(z).with_values(torch.tensor([1.0, -1.0, 0.0, 2.0, -1.0, 3.0]))
    atoms, lifts, counts = Firings(codes).coactive(0, min_count=1)
    assert (atoms.tolist(), lifts.tolist(), counts.tolist()) == ([1], [1], [2])


def test_a_near_miss_fires_with_twice_the_k_and_did_not_before() -> None:
    """Of the rows 1, 2, 0 that were encoded again, row 0 fired already, and in row 2 the strength is 1."""
    catalogue = catalogue_of([[4.0], [0.0], [0.0]])
    wide = SparseCodes.from_dense(torch.tensor([[5.0], [6.0], [7.0]]))
    wide = wide.with_values(torch.tensor([0.0, 1.0, 3.0]))
    catalogue.__dict__["_near_misses"] = (wide, np.array([1, 2, 0]))
    rows, strengths = catalogue.near_misses(0)
    assert (rows.tolist(), strengths.tolist()) == ([2], [1])


def test_strengths_are_counted_in_forty_bins() -> None:
    found = strength_histogram(np.array([1.0, 40.0, 39.5]))
    assert len(found.counts) == N_BINS == 40
    assert np.flatnonzero(found.counts).tolist() == [1, 39]
    assert found.counts[39] == 2


def test_patches_of_a_large_image_in_a_text_are_called_by_their_ninth() -> None:
    """Four rows and five columns: two of three thirds have two columns, the first third two rows."""
    at = torch.tensor([[0, 1, 4, 5, 0]])
    context = Context(
        kind="language", n_samples=1, vocabulary={0: " one", 1: "<image>"}, placeholders={1: "image"},
        token_ids=Ragged(torch.tensor([0] + [1] * 20), torch.tensor([0, 21])),
        images=PlacedImages(torch.zeros(1, 3, 8, 10, dtype=torch.uint8), at),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.ones(21, 2), context=context, sample=torch.zeros(21, dtype=torch.long),
        position=torch.arange(21),
    )  # fmt: skip
    word, names = _with_patches(
        np.zeros(21, np.int64), ["w"], catalogue_of(np.ones((21, 1)), acts=acts)
    )
    assert len(names) == 10
    rows, columns = np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1, 2])
    assert (word[1:].reshape(4, 5) - 1).tolist() == (3 * rows[:, None] + columns).tolist()


def test_early_tokens_are_told_apart_more_finely_than_late_ones() -> None:
    """0, 1, 2 to 15, 16 to 127, …; shares of the rows at each."""
    n = 20
    z = np.zeros((n, 1))
    z[[1, 2, 3, 16]] = 1
    catalogue = text_of([f" w{i}" for i in range(n)])
    catalogue = catalogue_of(z, acts=catalogue.acts)
    found = footprint_of(catalogue, 0)
    assert found is not None
    assert found.places == ("token 0", "token 1", "2–15", "16–127")
    assert found.rows.tolist() == [1, 1, 14, 4]
    assert found.frequency.tolist() == pytest.approx([0, 1, 2 / 14, 1 / 4])


def test_the_first_of_each_sample_is_kept_in_order() -> None:
    assert one_per_sample(np.array([3, 1, 0, 2]), np.array([7, 7, 8, 8])).tolist() == [3, 1]


def test_strengths_of_a_sample_lie_at_their_positions() -> None:
    """What was not captured is NaN, what is beyond the length left out."""
    catalogue = catalogue_of(
        [[1.0], [0.0], [3.0], [9.0]], sample=torch.tensor([0, 0, 0, 1]),
        position=torch.tensor([4, 1, 2, 0]),
    )  # fmt: skip
    np.testing.assert_array_equal(catalogue.sample_strengths(0, 0, 5), [np.nan, 0, 3, np.nan, 1])
    np.testing.assert_array_equal(catalogue.sample_strengths(0, 0, 4), [np.nan, 0, 3, np.nan])
    assert catalogue.rows_of_sample(1).tolist() == [3]
    assert catalogue.rows_at_position.tolist() == [1, 1, 1, 0, 1]


def test_rows_are_called_what_they_are() -> None:
    assert catalogue_of(np.eye(2)).row_word == "rows"
    assert mixed().row_word == "positions"
    images = Context(kind="vision", n_samples=2)
    whole = catalogue_of(np.eye(2), acts=Activations.from_tensor(torch.ones(2, 2), context=images))
    assert whole.row_word == "images"
    texts = Context(kind="language", n_samples=2)
    sites = [
        catalogue_of(np.eye(2), acts=Activations.from_tensor(torch.ones(2, 2), context=one))
        for one in (images, texts)
    ]
    whole.side_by_side = tuple(sites)
    assert whole.row_word == "pairs"
    whole.side_by_side = (sites[0], sites[0])
    assert whole.row_word == "images"


def test_the_crop_of_a_name_is_its_strongest_patch() -> None:
    catalogue = mixed()
    crop = build_crops(catalogue, 0, "top", 2)
    assert crop is not None
    assert np.array_equal(AtomNames(catalogue).crop(0), crop.pictures[0])
    assert AtomNames(catalogue).crop(1) is None


# -------------------------------------------------------------------------------------------------
# What is shown where nothing is asked for.


def test_a_record_shows_twelve_examples_and_eight_neighbours() -> None:
    """Of thirty atoms that fire on forty rows of forty texts each, all with all but the last."""
    z = np.ones((40, 30))
    z[:20, 29] = 0
    z[20:, :29] = 0
    z[0, 29] = 1
    generator = torch.Generator().manual_seed(0)
    acts = Activations.from_tensor(torch.randn(40, 5, generator=generator))
    directions = torch.randn(30, 5, generator=generator)
    catalogue = catalogue_of(z, acts=acts, dictionary=directions)
    found = catalogue.summary(3)
    assert (found.atom, found.page, len(found.examples), found.n_examples) == (3, 0, 12, 20)
    assert (len(found.nearest_atoms), len(found.coactive_atoms)) == (8, 8)
    assert len(catalogue.nearest(3)[0]) == len(catalogue.coactive(3)[0]) == 8
    assert catalogue.summary(3, page=9).page == 1
    names = AtomNames(catalogue)
    assert len(names.examples(3)) == len(names.card(3).examples) == 3
    first = catalogue.summary(0)
    assert (first.atom, first.band, len(first.examples)) == (0, "top", 12)


def test_names_are_cut_at_sixty_letters_and_looked_for_in_two_hundred_atoms() -> None:
    assert _shortened("x" * 60) == "x" * 60
    assert _shortened("x" * 61) == "x" * 59 + "…"
    few = AtomNames(catalogue_of(np.ones((2, 3))))
    few.labels.write_all(dict.fromkeys((-1, 2, 3), ("x", "")))
    assert few._candidates() == [2, 0, 1]
    many = AtomNames(catalogue_of(np.ones((2, 250))))
    assert len(many._candidates()) == 200
    assert find_atoms(catalogue_of(np.ones((2, 2))), "y" * 300).query == "y" * 200


def test_lines_of_a_concordance_have_eight_tokens_before_and_four_after() -> None:
    catalogue = text_of([f" w{i}" for i in range(40)])
    (line,) = concordance(catalogue, 20)
    assert line.split() == [
        "100%", *(f"w{i}" for i in range(12, 20)), "«w20»", *(f"w{i}" for i in range(21, 25)),
    ]  # fmt: skip
    (line,) = concordance(catalogue, 2, before=1, after=0)
    assert line.split() == ["100%", "w1", "«w2»"]


def test_half_of_a_concordance_is_the_middle_of_the_range() -> None:
    """Ranks 20 to 70 of 100 texts: ten lines of the strongest, and ten spread from the 21st to the 70th."""
    n = 100
    context = Context(
        kind="language", n_samples=n, vocabulary=dict(enumerate(f" w{i}" for i in range(n))),
        token_ids=Ragged(torch.arange(n), torch.arange(n + 1)),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.ones(n, 2), sample=torch.arange(n), position=torch.zeros(n, dtype=torch.long),
        context=context,
    )  # fmt: skip
    z = np.zeros((n, 1))
    z[:, 0] = np.arange(n, 0, -1)
    found = [int(row) for row in _middle(catalogue_of(z, acts=acts), 0, np.arange(10), 10)]
    assert found == np.linspace(20, 69, 10).astype(int).tolist()
    assert _middle(catalogue_of(z, acts=acts), 0, np.arange(60), 10).tolist() == [*range(60, 70)]
    assert _middle(catalogue_of(z, acts=acts), 0, np.arange(100), 10).tolist() == []


def test_a_sound_of_unknown_rate_is_played_for_a_second() -> None:
    whole = torch.zeros(20_000, dtype=torch.int16)
    clip = clip_at(
        Context(kind="audio", n_samples=1, sounds=Ragged(whole, torch.tensor([0, 20_000]))), 0, 0
    )
    assert clip is not None
    assert (clip.rate, len(clip.values), clip.first) == (16_000, 16_000, 0)


def test_r2_is_read_from_rows_that_are_spread_evenly() -> None:
    rows = catalogue_of(np.ones((9000, 1)))._spread_rows
    assert rows[:3].tolist() == [0, 2, 4]
    assert len(rows) == 4096
    assert len(catalogue_of(np.ones((5000, 1)))._spread_rows) == 4096
    assert catalogue_of(np.ones((3, 1)))._spread_rows.tolist() == [0, 1, 2]


def test_two_labels_of_a_word_come_by_how_strongly_they_fire_there() -> None:
    catalogue = text_of([" a", " cat", " b"])
    z = torch.tensor([[0.0, 0, 0.5, 0], [1, 3, 2, 0], [0, 0, 0, 1]])
    catalogue = catalogue_of(z, acts=catalogue.acts)
    catalogue.labels = {0: "a cat", 1: "my cat", 3: "no cat"}
    assert find_atoms(catalogue, "cat").atoms.tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_what_is_found_does_not_depend_on_the_unit_of_strengths(unit: float) -> None:
    """Atom 0 fires half as strongly on cats as at most, atom 1 on cats alone."""
    catalogue = text_of([" a", " cat", " b", " c"])
    z = unit * torch.tensor([[0.0, 0], [2, 1], [0, 0], [0, 0]])
    catalogue = catalogue_of(z, acts=catalogue.acts)
    found = find_atoms(catalogue, "cat")
    assert (found.atoms.tolist(), found.rows.tolist()) == ([0, 1], [1, 1])
    assert found.strengths.tolist() == pytest.approx([2 * unit, unit])
    assert found.shares.tolist() == [1, 1]
    groups = np.array([-1, 0, -1, 1])
    (atoms, shares), (none, _) = preferring(catalogue, groups, 2)
    assert (atoms.tolist(), shares.tolist(), none.tolist()) == ([0, 1], [1, 1], [])
    (line,) = concordance(catalogue, 0)
    assert line.startswith("100%")
    pair = compare_atoms(catalogue, 0, 1)
    assert pair.cosine == pytest.approx(1)


def test_twenty_crops_are_shown() -> None:
    context = Context(
        kind="vision", n_samples=25, patch_grid=(1, 1),
        pictures=torch.zeros(25, 3, 2, 2, dtype=torch.uint8),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.ones(25, 2), context=context, sample=torch.arange(25),
        position=torch.zeros(25, dtype=torch.long),
    )  # fmt: skip
    crops = catalogue_of(np.ones((25, 1)), acts=acts).summary(0).crops
    assert crops is not None
    assert (len(crops.pictures), crops.n_context, crops.pictures.shape[2:]) == (20, 1, (6, 6))


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("AtomCatalogue.nearest", {'n': 8}),
        ("concordance", {'n': 20, 'before': 8, 'after': 4}),
        ("measure_atom", {'n_examples': 6, 'n': 8, 'seed': 0}),
        ("_effects.effects_of", {'n': 8}),
        ("sum_of_atoms", {'row': 0, 'n': 5}),
        ("_atom.describe_atom", {'n_examples': 12, 'page': 0, 'seed': 0, 'n_neighbours': 8}),
    ],
)  # fmt: skip
def test_numbers_that_are_left_out_are_those_that_its_page_states(
    name: str, numbers: dict[str, float]
) -> None:
    assert numbers_left_out(attrgetter(name)(sn.atoms)) == numbers
