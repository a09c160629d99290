"""How a name is made and judged, and how atoms are searched, on units that can be counted by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sae_nb.activations import Activations, Context, Ragged
from sae_nb.atoms import AtomCatalogue, _captions
from sae_nb.atoms._captions import (
    BOTH,
    Captions,
    Firing,
    Found,
    Kind,
    Units,
    _begins,
    _counted,
    _f1,
    _folded,
    _grown,
    _joins,
    _kinds,
    _read,
    _words_of,
)
from sae_nb.atoms._names import AtomNames
from sae_nb.atoms._searching import _fired_at, _written, find_atoms
from sae_nb.atoms._words import PATCHES, kinds_of_words, row_words
from sae_nb.codes import SparseCodes
from sae_nb.models import LiveModel
from tests.random_texts import random_texts
from tests.small_catalogues import catalogue_of, mixed, text_of

# -------------------------------------------------------------------------------------------------
# Firings of one atom.


def kind_of(key: Any, sample: Any = None, *, names: Any = None, **more: Any) -> Kind:
    key = np.array(key)
    sample = np.arange(len(key)) if sample is None else np.array(sample)
    names = [f"“w{i}”" for i in range(int(key.max()) + 1)] if names is None else names
    return Kind("{}", key, names, sample, np.ones(len(key), bool), **more)


def units_of(*kinds: Kind, of_row: Any = None, of_text: bool = True) -> Units:
    of_row = np.arange(len(kinds[0].key)) if of_row is None else np.array(of_row)
    return Units(of_row, kinds[0].sample, list(kinds), of_text=of_text)


def test_a_firing_is_strong_from_half_of_the_hundredth_strongest_on() -> None:
    """Of 100 the second strongest is the measure, of 99 the strongest."""
    strengths = np.ones(100)
    strengths[[7, 3, 5, 9]] = [10, -4, 2, 1.9]
    units = units_of(kind_of(np.zeros(100, int)))
    found = units.firings(np.arange(100), strengths)
    assert found.strong.tolist() == [7, 3, 5]
    assert found.top.tolist() == [7, 3, 5, 9, 0, 1, 2, 4, 6, 8, 10, 11]
    assert units.firings(np.arange(99), strengths[:99]).strong.tolist() == [7]
    assert found.fired.all()
    assert len(units.firings(np.arange(70), np.ones(70)).strong) == 60
    assert units.firings(np.arange(0), np.ones(0)).strong.tolist() == []


def test_a_word_fires_as_strongly_as_its_strongest_token() -> None:
    """Rows 0 and 1 are of one word, row 2 is of none."""
    units = units_of(kind_of([0, 0, 0]), of_row=[0, 0, -1, 1, 2])
    found = units.firings(np.array([0, 1, 2, 3]), np.array([1.0, 3.0, 9.0, 1.4]))
    assert (found.top.tolist(), found.strong.tolist()) == ([0, 1], [0])
    assert found.fired.tolist() == [True, True, False]
    found = units.firings(np.array([0, 1, 2, 3]), np.array([1.0, 3.0, 9.0, 1.5]))
    assert found.strong.tolist() == [0, 1]


def test_samples_with_strong_firings_are_dealt_out_by_turns() -> None:
    units = units_of(kind_of([0] * 6, [4, 4, 1, 3, 0, 2]))
    assert sorted(units._half.tolist()) == [0, 0, 0, 1, 1] or sorted(units._half.tolist()) == [
        0, 0, 1, 1, 1,
    ]  # fmt: skip
    found = units.firings(np.array([0, 1, 2, 4]), np.array([4.0, 9.0, 5.0, 6.0]))
    assert found.strong.tolist() == [1, 4, 2]
    assert [found.half[i] for i in (4, 0, 1)] == [0, 1, 0]
    mine = found.part(found.strong, units.sample, 0)
    assert (mine.tolist(), found.part(found.strong, units.sample, BOTH).tolist()) == (
        [1, 2],
        [1, 4, 2],
    )
    nothing = Units(np.zeros(0, int), np.zeros(0, int), [], of_text=True)
    assert len(nothing._half) == 0


def test_what_an_atom_is_seen_on_is_its_commonest_words() -> None:
    """Three words; of places the one where more than half of the strongest lie."""
    units = units_of(kind_of([0, 1, 1, 2, 2, 2, 3, -1]))
    found = units.firings(np.arange(8), np.arange(8, 0, -1.0))
    assert units.seen(found) == ("“w2”", "“w1”", "“w0”")
    for key, seen in (([0, 0, 0, 1, 2], ("“w0”",)), ([0, 0, 1, 2], ()), ([0, 0, -1], ("“w0”",))):
        places = units_of(kind_of(key), of_text=False)
        found = places.firings(np.arange(len(key)), np.ones(len(key)))
        assert places.seen(found) == seen


# -------------------------------------------------------------------------------------------------
# Names.


def firing(fired: Any, strong: Any, half: Any) -> Firing:
    strong = np.array(strong, np.int64)
    return Firing(np.array(fired, bool), strong[:12], strong, np.array(half))


def test_f1_is_the_harmonic_mean() -> None:
    assert _f1(0.5, 1, 4) == pytest.approx(1 / 3)
    assert _f1(1.0, 3, 4) == pytest.approx(6 / 7)
    assert _f1(0.0, 0, 0) == 0


@pytest.mark.parametrize(("n_others", "keys", "f1"), [(2, (0, 1), 0.8), (3, (0,), 0.75)])
def test_a_name_grows_by_a_word_that_adds_two_hundredths(
    n_others: int, keys: tuple[int, ...], f1: float
) -> None:
    """Word 0 is on six of eight firings and two times elsewhere, word 1 on the other two.

    Alone F1 = 0.75. With word 1, which stands elsewhere two times: recall 1, precision 8 of 12, F1 = 0.8; three
    times: 16 / 21, which is not enough more.
    """
    key = [0] * 6 + [1] * 2 + [0] * 2 + [1] * n_others + [2] * 5
    fired = [True] * 8 + [False] * (len(key) - 8)
    kind = kind_of(key)
    found = firing(fired, range(8), np.arange(len(key)) % 2)
    grown, reached = _grown(kind, found, BOTH)
    assert (grown, reached) == (keys, pytest.approx(f1))
    assert _grown(kind, found, BOTH, above=0.99)[0] == keys
    # All firings hold one of the words, so that no F1 above 1 can be reached.
    assert _grown(kind, found, BOTH, above=1.0) == ((), 0.0)
    assert units_of(kind).best(found) == Found(0, keys)
    assert units_of(kind, kind).best(found) == Found(0, keys)  # of equal ones the first


def test_a_word_of_one_sample_names_nothing() -> None:
    """On all firings a word must be in two samples, on a half in one."""
    kind = kind_of([0, 0, 1, 1], [0, 0, 1, 2])
    found = firing([True] * 4, range(4), [0, 1, 0])
    assert _grown(kind, found, BOTH)[0] == (1,)
    assert _grown(kind, found, 0)[0] in ((0, 1), (1, 0), (0,))
    assert _grown(kind, firing([True] * 4, [0, 1], [0, 1, 0]), BOTH) == ((), 0.0)
    assert _grown(kind_of([-1, -1]), firing([True] * 2, [0, 1], [0, 1]), BOTH) == ((), 0.0)


def test_at_most_24_words_are_tried_and_12_are_kept() -> None:
    key = np.repeat(np.arange(30), 2)
    fired = np.ones(60, bool)
    found = firing(fired, range(60), np.arange(60) % 2)
    grown, f1 = _grown(kind_of(key), found, BOTH)
    assert grown == tuple(range(12))
    assert f1 == pytest.approx(2 * 0.4 / 1.4)
    # A word of three firings comes before those of two; the 25th of two would never be tried.
    key = np.concatenate([np.repeat(np.arange(24), 2), np.full(12, 24)])
    fired = np.ones(60, bool)
    kind = kind_of(np.concatenate([key, [24] * 900]), np.arange(960))
    found = firing(np.concatenate([fired, np.zeros(900, bool)]), range(60), np.arange(960) % 2)
    assert 24 not in _grown(kind, found, BOTH)[0]
    # Of words that are on two firings each the last alone is nowhere else: as the 24th it is tried, as the 25th not.
    for n, tried in ((24, True), (25, False)):
        key = np.concatenate([np.repeat(np.arange(n), 2), np.repeat(np.arange(n - 1), 20)])
        found = firing(np.arange(len(key)) < 2 * n, range(2 * n), np.arange(len(key)) % 2)
        assert (_grown(kind_of(key), found, BOTH)[0][:1] == (n - 1,)) == tried


def test_occurrences_are_counted_where_they_were_captured_and_in_a_half() -> None:
    key = np.array([0, 0, 1, 0, 1, 0])
    there = np.array([True] * 5 + [False])
    kind = Kind("{}", key, ["a", "b"], np.arange(6), there)
    found = firing([True, False, True, True, False, True], [0, 2, 3], [0, 0, 1, 1, 1, 0])
    hits, n = _counted(kind, found, BOTH, np.array([1, 0]))
    assert (hits.tolist(), n.tolist()) == ([1, 2], [2, 3])
    hits, n = _counted(kind, found, 1, np.array([0, 1]))
    assert (hits.tolist(), n.tolist()) == ([1, 1], [1, 2])
    units, which = kind.where(np.array([1, 0]))
    assert (units.tolist(), which.tolist()) == ([2, 4, 0, 1, 3], [0, 0, 1, 1, 1])


def test_a_name_is_judged_on_the_half_it_was_not_made_from() -> None:
    """Half 0 says word 0, which half 1 has on two of four firings and once elsewhere; half 1 says words 0 and 1,
    of which half 0 has the second elsewhere, two times."""
    key = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1])
    half = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0])
    fired = np.array([True] * 8 + [False] * 3)
    units = units_of(kind_of(key))
    found = firing(fired, range(8), half)
    assert _grown(units.kinds[0], found, 0)[0] == (0,)
    assert set(_grown(units.kinds[0], found, 1)[0]) == {0, 1}
    there = _f1(0.5, 2, 3)
    assert units.scores(Found(0, (0,)), found, 1) == (pytest.approx(there), 0.5)
    assert units.scores(Found(0, (0,)), found, 0) == (pytest.approx(1.0), 1.0)
    assert units.scores(Found(0, (0,)), found, BOTH) == (pytest.approx(_f1(0.75, 6, 7)), 0.75)
    assert units.judged(Found(0, (0,)), found) == (
        pytest.approx((there + _f1(1.0, 4, 6)) / 2),
        pytest.approx(0.75),
    )


def test_three_strong_firings_of_each_half_are_enough() -> None:
    units = units_of(kind_of([0] * 6 + [1] * 6))
    fired = [True] * 6 + [False] * 6
    assert units.best(firing(fired, range(6), [0, 1] * 6)) == Found(0, (0,))
    assert units.best(firing(fired, range(5), [0, 1] * 6)) is None
    assert units.best(firing(fired, range(1, 6), [0, 1] * 6)) is None


def test_a_kind_with_a_handicap_must_be_that_much_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first kind reaches 12 / 13, the second 1 less its handicap; from 0.97 on no other is tried."""
    first = kind_of([0] * 6 + [0] + [1] * 5)
    fired = [True] * 6 + [False] * 6
    found = firing(fired, range(6), [0, 1] * 6)
    for handicap, best in ((0.05, 1), (0.08, 0)):
        second = kind_of([0] * 6 + [1] * 6, handicap=handicap)
        assert units_of(first, second).best(found) == Found(best, (0,))
    # 33 of 34 occurrences are firings: 66 / 67 is above 0.97, 11 of 12 (22 / 23) is below.
    for n, best in ((33, 0), (11, 1)):
        found = firing([True] * n + [False], range(n), [0, 1] * 40)
        kinds = kind_of([0] * n + [0]), kind_of([0] * n + [1])
        assert units_of(*kinds).best(found) == Found(best, (0,))
    monkeypatch.setattr(
        _captions, "ENOUGH", units_of(*kinds).scores(Found(0, (0,)), found, BOTH)[0]
    )
    assert units_of(*kinds).best(found) == Found(0, (0,))


def test_a_name_in_words_lists_three() -> None:
    names = ["“a”", "“b”", "“c”", "“d”"]
    kind = kind_of([0, 1, 2, 3], names=names)
    units = units_of(kind)
    found = firing([True] * 4, range(4), [0] * 4)
    said = {keys: units.name(Found(0, keys), found) for keys in ((0,), (1, 0), (0, 2, 1))}
    assert [*said.values()] == ["“a”", "“b” or “a”", "“a”, “c” or “b”"]
    assert units.name(Found(0, (3, 2, 1, 0)), found) == "“d”, “c”, “b” …"
    places = [f"{zone} {PATCHES}" for zone in ("top", "left", "right")] + ["cls"]
    of_images = units_of(kind_of([0, 1, 2, 3], names=places), of_text=False)
    assert of_images.name(Found(0, (0, 2)), found) == f"top or right {PATCHES}"
    assert of_images.name(Found(0, (0, 1, 2)), found) == f"top, left or right {PATCHES}"
    assert of_images.name(Found(0, (1,)), found) == f"left {PATCHES}"
    assert of_images.is_prefix(Found(0, (3,)))
    assert not of_images.is_prefix(Found(0, (0,)))
    assert not units.is_prefix(Found(0, (0,)))


def test_forms_of_a_word_are_named_by_those_it_fires_on() -> None:
    """Of one stem: most often “walked”, then “walks”; “walk” never."""
    words = kind_of([0, 1, 1, 2, 3], names=["“walk”", "“walked”", "“walks”", "“sun”"])
    stems = Kind(
        "{}", np.array([0, 0, 0, 0, 1]), ["walk", "sun"], words.sample, words.there, of_forms=True
    )
    found = firing([False, True, True, True, True], [3, 1, 2, 4], [0, 1] * 3)
    assert units_of(words, stems).name(Found(1, (0,)), found) == "“walked” or “walks”"


def test_a_name_is_compared_with_four_names_of_other_atoms() -> None:
    acts, planted, _ = random_texts()
    fires = torch.cat([planted, planted, planted], dim=1).float()
    thin = torch.zeros(len(fires), 2)
    thin[:5, 0], thin[:6, 1] = 1, 1
    captions = Captions(catalogue_of(torch.cat([fires, thin], dim=1), acts=acts))
    units = captions._units
    assert units is not None
    pool = captions._others(units)
    assert len(pool) == 4
    assert all(atom != 9 for atom, _ in pool)
    made = captions.caption(0)
    assert made is not None
    assert made.evidence is not None
    firings = units.firings(*captions._catalogue.strengths(0))
    own = units.best(firings)
    others = [units.scores(one, firings, BOTH)[0] for a, one in pool if a != 0 and one != own]
    assert made.evidence.f1_control == pytest.approx(np.mean(others))
    assert (made.evidence.f1, made.evidence.fits) == pytest.approx(units.judged(own, firings))
    assert made.evidence.n == len(firings.strong)
    assert own is not None
    assert made.evidence.fits_floor == units.common(own)


def test_by_chance_a_name_fits_the_share_of_all_words_that_it_is_true_of() -> None:
    """Of eight words in two texts three are 0; six are one or stand beside one, of the same text."""
    key, sample = [0, 1, 1, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]
    here = kind_of(key, sample)
    beside = kind_of(key, sample, offsets=(-1, 0, 1))
    units = units_of(here, beside)
    assert units.common(Found(0, (0,))) == 3 / 8
    assert units.common(Found(0, (0, 1))) == 1
    assert units.common(Found(1, (0,))) == 6 / 8


# -------------------------------------------------------------------------------------------------
# Words.


def named(texts: list[list[str]], fires: list[list[float]]) -> str:
    """The words of an atom that fires with these strengths at these tokens."""
    words = list(dict.fromkeys(token for text in texts for token in text))
    ids = torch.tensor([words.index(token) for text in texts for token in text])
    lengths = torch.tensor([len(text) for text in texts])
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    context = Context(
        kind="language", n_samples=len(texts), vocabulary=dict(enumerate(words)),
        token_ids=Ragged(ids, offsets),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.ones(len(ids), 2), sample=torch.arange(len(texts)).repeat_interleave(lengths),
        position=torch.cat([torch.arange(n) for n in lengths.tolist()]), context=context,
    )  # fmt: skip
    z = torch.tensor([one for text in fires for one in text])[:, None]
    return AtomNames(catalogue_of(z, acts=acts)).words(0)


def test_an_atom_that_fires_on_a_piece_of_words_is_called_by_its_token() -> None:
    """At “cap” of capital and captain and at no other token; where “ox” is a word, by the word.

    A word of letters one by one is no case of it: there, every word is in pieces.
    """
    whole = [" the", " ox", " sees", " them"]
    pieces = [[" the", " cap", end, " sees", " them"] for end in ("ital", "tain", "able")] * 4
    on_piece = [[0.0, 1.0, 0.0, 0.0, 0.0]] * 12
    assert named([*pieces, whole], [*on_piece, [0.0] * 4]) == "token “cap”"
    assert named([*pieces, *[whole] * 12], [[0.0] * 5] * 12 + [[0, 1, 0, 0]] * 12) == "“ox”"
    letters = [[" c", "a", "t"], [" d", "o", "g"]] * 12
    assert named(letters, [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]] * 12) == "“cat”"


@pytest.mark.parametrize(("hits", "expected"), [(15, True), (13, False)])
def test_a_name_fits_seven_of_ten_strong_firings(hits: int, expected: bool) -> None:
    """Of twenty, `hits` are on “ox”, which stands nowhere else; the others are on words of their own."""
    at = [" ox"] * hits + [f" {letter}ug" for letter in "abcdefgh"[: 20 - hits]]
    words = named([[word, f" {i}th"] for i, word in enumerate(at)], [[1.0, 0.0]] * 20)
    assert (words == "“ox”") is expected
    assert words.startswith("no name yet: “ox”") is not expected


@pytest.mark.parametrize(("times", "expected"), [(4, True), (2, False)])
def test_a_name_has_three_strong_firings_for_each_of_its_words(times: int, expected: bool) -> None:
    at = [f" {word}" for word in ("ox", "ant", "bee") for _ in range(times)]
    words = named([[word, f" {i}th"] for i, word in enumerate(at)], [[1.0, 0.0]] * len(at))
    assert words.startswith("no name yet") is not expected, words


def test_what_no_name_can_be_read_from_has_none() -> None:
    """One firing, strengths that are no number, a word of eighty letters, words that no space sets apart."""
    texts = [[" ox", "."]] * 12
    assert named(texts, [[1.0, 0.0]] + [[0.0, 0.0]] * 11) == "no name yet: “ox”"
    assert named(texts, [[float("nan"), 0.0]] * 12).startswith("no name yet")
    long = " " + "o" * 80
    assert named([[long, "."]] * 12, [[1.0, 0.0]] * 12) == f"“{'o' * 58}…"
    apart = [["猫", "在", "家"], ["狗", "在", "家"]] * 12
    assert named(apart, [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]] * 12) == "“猫”"


def test_tokens_of_one_word_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five tokens of a text, two of them not captured, and two of another."""
    words = {0: "The", 1: " un", 2: "done", 3: " cat", 4: "s"}
    context = Context(
        kind="language", n_samples=2, vocabulary=words,
        token_ids=Ragged(torch.tensor([0, 1, 2, 3, 4, 0, 3]), torch.tensor([0, 5, 7])),
    )  # fmt: skip
    acts = Activations.from_tensor(
        torch.ones(5, 2), sample=torch.tensor([0, 0, 0, 1, 1]),
        position=torch.tensor([1, 2, 4, 0, 1]), context=context,
    )  # fmt: skip
    of_row, sample, texts, pieced = _words_of(catalogue_of(np.eye(5), acts=acts), context.token_ids)
    assert pieced.tolist() == [False, True, True, False, False]
    assert [texts[i] for i in of_row] == [" undone", " undone", " cats", "The", " cat"]
    assert sorted(texts) == sorted(["The", " undone", " cats", "The", " cat"])
    assert len(sample) == 5
    monkeypatch.setattr(_captions, "MOST_TOKENS", 0)  # one text is read
    of_row, *_ = _words_of(catalogue_of(np.eye(5), acts=acts), context.token_ids)
    assert [one < 0 for one in of_row] in ([False] * 3 + [True] * 2, [True] * 3 + [False] * 2)


def test_of_more_tokens_than_are_read_some_texts_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = Ragged(torch.zeros(12, dtype=torch.long), torch.tensor([0, 4, 8, 12]))
    catalogue: Any = SimpleNamespace(samples=np.array([0, 0, 1, 2]))
    assert sorted(_read(catalogue, ids)) == [0, 1, 2]
    for most, n in ((3, 1), (4, 2), (7, 2), (8, 3)):
        monkeypatch.setattr(_captions, "MOST_TOKENS", most)
        assert len([*_read(catalogue, ids)]) == n


def test_case_is_no_difference_and_the_commonest_spelling_is_shown() -> None:
    key, names = _folded(["The", " the", " the", " cat"])
    assert (key.tolist(), names) == ([0, 0, 0, 1], ["“the”", "“cat”"])


def test_letters_of_scripts_without_spaces_do_not_join() -> None:
    """Thai and Lao, and from the CJK radicals on."""
    assert [_joins(one) for one in "a9é\u0dc0\u0f40\u2c80"] == [True] * 6
    assert [_joins(one) for one in ("-", "", "\u0e01", "\u0eab", "\u2f00", "中")] == [False] * 6


@pytest.mark.parametrize(("n", "most"), [(100, 6), (5000, 10)])
def test_what_a_passage_is_about_are_rare_words_that_come_again(n: int, most: int) -> None:
    """At most two of a thousand words, or six; letters alone, three at least."""
    names = ["“rare”", "“often”", "“ox”", "“once”", "“x9z”", "“fill”", "“cat”"]
    counts = [most, most + 1, 2, 1, 2, 0, 2]
    word = np.repeat(np.arange(7), counts)
    word = np.concatenate([word, np.full(n - len(word), 5)])
    *_, near = _kinds(word, names, np.zeros(n, int), np.ones(n, bool))
    assert {i for i in np.unique(near.key).tolist() if i >= 0} == {0, 6}
    assert near.offsets == (*range(-8, 0), *range(1, 9))
    assert near.handicap == pytest.approx(0.1)


def test_a_word_begins_where_no_letters_join() -> None:
    for tokens, begins in (
        (["a", " ", " b", " ", "c"], [1, 1, 1, 1, 0]),  # a space goes with the word after it
        (["\n", "c"], [1, 1]),
        (["ab", "c1", "-", "d"], [1, 0, 1, 1]),
        (["-b", "c"], [1, 0]),
        (["b-", "c"], [1, 1]),
        (["b", "c-"], [1, 0]),
        (["b", "-c"], [1, 1]),
    ):
        assert _begins(tokens, False) == [bool(one) for one in begins], tokens


def test_neighbours_of_words_are_of_their_sample() -> None:
    """a b of a first text, numbered 1; a b c of a second."""
    names, word = ["“a”", "“b”", "“c”"], np.array([0, 1, 0, 1, 2])
    kinds = _kinds(word, names, np.array([1, 1, 2, 2, 2]), np.ones(5, bool))
    pairs, before, after = (kinds[i] for i in (2, 4, 5))
    assert before.key.tolist() == [-1, 0, -1, 0, 1]
    assert after.key.tolist() == [1, -1, 1, 2, -1]
    said = ["" if key < 0 else pairs.names[key] for key in pairs.key]
    assert said == ["", "“a b”", "", "“a b”", "“b c”"]


def test_forms_share_their_first_four_letters() -> None:
    names = ["“walk”", "“Walked”", "“wal”", "“wa1k”", "“sunny”"]
    kinds = _kinds(np.arange(5), names, np.zeros(5, int), np.ones(5, bool))
    (stems,) = (kind for kind in kinds if kind.of_forms)
    assert (stems.key.tolist(), list(stems.names)) == ([0, 0, -1, -1, 1], ["walk", "sunn"])
    assert [kind.handicap for kind in kinds] == pytest.approx([0, 0, 0, 0.02, 0.02, 0.02, 0.1])


def test_patches_in_a_text_are_words_of_their_own() -> None:
    units = Captions(mixed())._units
    assert units is not None
    plain = units.kinds[0]
    assert [plain.names[plain.key[i]] for i in units.of_row] == [
        "“one”", "top left patches", "top patches", "left patches", "right patches", "“two”",
        "top left patches",
    ]  # fmt: skip


# -------------------------------------------------------------------------------------------------
# Searching.


def test_a_query_is_looked_for_as_a_word_then_as_a_beginning_then_anywhere() -> None:
    written = _written(text_of(["The", " cat", "s", " sat", " cats", ".", " on"]))

    def rows(query: str) -> list[int]:
        return written.ends(query).tolist()

    assert rows("sat") == [3]
    assert rows("cat") == [1, 4]
    assert rows("cats") == [2, 4]
    assert rows("at") == [1, 3, 4]
    assert rows("cats sat cats.") == [5]
    assert rows("dog") == []
    # A gap in what was captured ends a word.
    apart = _written(text_of(["The", " cat", "s", " sat", "s"], position=[0, 1, 3, 4]))
    assert apart.ends("cat").tolist() == [1]
    assert apart.ends("sats").tolist() == [3]
    bare = _written(text_of(["play", "##ing", "well"]))
    assert bare.ends("playing").tolist() == [1]
    assert bare.ends("well").tolist() == [2]


def test_a_character_of_several_tokens_is_said_once() -> None:
    """Its pieces are shown as the whole of it; two letters of ASCII are two, and so is one after a gap."""
    for names, ids, position, text in (
        ([" a", "é", " b"], [0, 1, 1, 2, 1], [0, 1, 2, 3, 4], "\n aé bé"),
        ([" a", "é", " b"], [1, 1, 2, 1, 1], [0, 1, 3, 4, 6], "\né\n bé\né"),
        ([" a", "z", " é"], [0, 1, 1, 2, 2], [0, 1, 2, 3, 4], "\n azz é é"),
    ):
        whole = torch.zeros(7, dtype=torch.long)
        whole[position] = torch.tensor(ids)
        context = Context(
            kind="language", n_samples=1, vocabulary=dict(enumerate(names)),
            token_ids=Ragged(whole, torch.tensor([0, 7])),
        )  # fmt: skip
        acts = Activations.from_tensor(
            torch.ones(5, 2), context=context, sample=torch.zeros(5, dtype=torch.long),
            position=torch.tensor(position),
        )  # fmt: skip
        assert _written(catalogue_of(np.eye(5), acts=acts)).text == text


def test_what_fires_in_some_rows_has_its_mean_there_and_its_strongest_row() -> None:
    z = [[7, 0, 0], [-3, 0, 2], [2, 4, 0], [9, 9, 9]]
    found = _fired_at(catalogue_of(z), np.array([1, 2]))
    assert found.atoms.tolist() == [0, 1, 2]
    assert found.mean.tolist() == [2.5, 2, 1]
    assert found.largest.tolist() == [3, 4, 2]
    assert found.row.tolist() == [1, 2, 1]
    assert _fired_at(catalogue_of(z), np.zeros(0, np.int64)).atoms.tolist() == []


def test_an_atom_of_a_tenth_of_all_rows_comes_after_the_others() -> None:
    """Strongest is atom 0, which fires in three of twenty rows; atom 2 fires in two, which is a tenth."""
    z = np.zeros((20, 4))
    z[0] = [9, 4, 5, 0]
    z[[1, 2], 0], z[1, 2], z[0, 3], z[1, 3] = 9, 5, 2, 7
    words = text_of([" cat", *[f" w{i}" for i in range(19)]])
    found = find_atoms(catalogue_of(z, acts=words.acts), "cat")
    # Atom 3 fires there with less than 0.3 of its strongest.
    assert found.atoms.tolist() == [2, 1, 0]
    assert found.shares.tolist() == [1, 1, 1]


def test_a_word_of_several_tokens_counts_where_it_ends() -> None:
    """Atom 0 fires on its first piece, as it would in any other word that begins so."""
    z = [[9, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    catalogue = catalogue_of(z, acts=text_of([" Bra", "zil", " is", " big"]).acts)
    assert find_atoms(catalogue, "brazil").atoms.tolist() == [1]
    assert find_atoms(catalogue, "bra").atoms.tolist() == [0]
    assert find_atoms(catalogue, "Brazil is").atoms.tolist() == [2]


def test_a_word_counts_by_all_its_places() -> None:
    """Atom 0 fires at both, atom 1 more strongly at one of the two, atom 2 there with .25 of its strongest."""
    z = [[3, 5, 9], [0, 0, 0], [3, 0, 0], [0, 0, 36], [0, 0, 0]]
    catalogue = catalogue_of(z, acts=text_of([" cat", " a", " cat", " b", " c"]).acts)
    found = find_atoms(catalogue, "cat")
    assert found.atoms.tolist() == [0, 1]
    assert (found.strengths.tolist(), found.rows.tolist()) == ([3, 2.5], [0, 0])
    assert (found.shares.tolist(), found.n_places) == ([1, 1], 2)


def test_atoms_are_found_by_the_places_of_images() -> None:
    """Patch 0,1 holds all of atom 0 and half of atom 1; atom 2 fires on every place."""
    context = Context(kind="vision", n_samples=2, patch_grid=(2, 2), prefix_tokens=1)
    z = np.zeros((10, 3))
    z[[2, 7], 0], z[[2, 3], 1], z[:, 2] = 1, 1, 1
    acts = Activations.from_tensor(
        torch.ones(10, 2), sample=torch.arange(2).repeat_interleave(5),
        position=torch.arange(5).repeat(2), context=context,
    )  # fmt: skip
    catalogue = catalogue_of(z, acts=acts)
    assert find_atoms(catalogue, "patch 0,1").atoms.tolist() == [0, 1]
    assert find_atoms(catalogue, "2").atoms.tolist() == [2]
    assert find_atoms(catalogue, "patch 0,1", among=[1, 2]).atoms.tolist() == [1]
    plain = catalogue_of(np.eye(3))
    plain.labels = {1: "my cat", 5: "cat"}
    assert find_atoms(plain, "2").atoms.tolist() == [2]
    found = find_atoms(plain, "cat")
    assert (found.atoms.tolist(), found.rows.tolist(), found.n_places) == ([1], [-1], 0)


def test_the_running_model_is_asked_with_the_word_and_with_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kept is what fires at 0.3 of its peak, and more than twice as strongly as at other words."""
    at: dict[str, list[float]] = {
        "dog": [4.0, 3.0, 1.0, 0.89, 1.0],
        "something": [0.0, 3.0, 0.75, 0.0, 0.0],
        "things": [0.0, 0.0, 0.25, 0.0, 0.0],
        "it": [0.0, 3.0, 0.0, 0.0, 0.0],
    }

    def capture(_: Any, texts: list[str], hook_point: str, *, progress: bool) -> Activations:
        assert (hook_point, progress) == ("h", False)
        words = [[" " + word for word in text.split()] for text in texts]
        flat = [word for text in words for word in text]
        known = {word: i for i, word in enumerate(dict.fromkeys(flat))}
        lengths = torch.tensor([len(text) for text in words])
        context = Context(
            kind="language", n_samples=len(texts), vocabulary={i: w for w, i in known.items()},
            token_ids=Ragged(
                torch.tensor([known[word] for word in flat]),
                torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]),
            ),
        )  # fmt: skip
        last = {int(end) - 1 for end in lengths.cumsum(0)}
        x = [at[word.strip()] if i in last else [0.0] * 5 for i, word in enumerate(flat)]
        return Activations.from_tensor(
            torch.tensor(x), context=context, hook_point="h",
            sample=torch.arange(len(texts)).repeat_interleave(lengths),
            position=torch.cat([torch.arange(int(n)) for n in lengths]),
        )  # fmt: skip

    monkeypatch.setattr("sae_nb.capturing.capture", capture)
    sae = SimpleNamespace(
        d_in=5, n_atoms=5, dictionary=torch.eye(5), encode=lambda x: SparseCodes.from_dense(x)
    )
    acts = capture(None, ["dog"], "h", progress=False)
    peaks = torch.tensor([[8.0, 8.0, 3.0, 3.0, 3.0]])
    catalogue = AtomCatalogue(sae, acts, codes=SparseCodes.from_dense(peaks))
    model = LiveModel.__new__(LiveModel)
    found = find_atoms(catalogue, "dog", model=model)
    # Atom 1 fires at every word, atom 2 less than twice as strongly as at one of them, atom 3 too weakly.
    assert found.atoms.tolist() == [0, 4]
    assert found.strengths.tolist() == [4, 1]
    assert found.shares.tolist() == pytest.approx([0.5, 1 / 3])
    assert (found.rows.tolist(), found.n_places, found.live) == ([-1, -1], 4, True)
    # What a person calls so comes first; the number of an atom before it.
    catalogue.labels = {3: "a dog"}
    assert find_atoms(catalogue, "dog", model=model).atoms.tolist() == [3, 0, 4]
    at["2"] = at["dog"]
    assert find_atoms(catalogue, "2", model=model).atoms.tolist() == [2, 0, 4]
    nothing = find_atoms(catalogue, " ", model=model)
    assert (len(nothing), nothing.n_places, nothing.live) == (0, 0, True)


def test_names_rank_by_what_was_measured() -> None:
    names = AtomNames()
    assert names.card(3).max_strength == 0
    assert names.surest() == []
    names.labels.write(2, "mine")
    assert (names._rank(2), names._rank(3)) == (4.0, 0.0)


def test_words_of_four_letters_that_are_no_stop_words_tell_something() -> None:
    catalogue = text_of([" snow", " cat", " with", ".", " x9z", " wolf"])
    found = row_words(catalogue)
    assert found is not None
    word, names = found
    whole, pieces = kinds_of_words(catalogue, word, names)
    assert [name.strip("“” ") for name, one in zip(names, whole, strict=True) if one] == [
        "snow", "wolf",
    ]  # fmt: skip
    assert not pieces.any()


def test_places_of_images_are_words() -> None:
    """Every register is one of them; patches have ninths."""
    context = Context(kind="vision", n_samples=1, patch_grid=(3, 3), prefix_tokens=3)
    acts = Activations.from_tensor(
        torch.ones(12, 2), context=context, sample=torch.zeros(12, dtype=torch.long),
        position=torch.arange(12),
    )  # fmt: skip
    found = row_words(catalogue_of(np.ones((12, 1)), acts=acts))
    assert found is not None
    word, names = found
    assert word.tolist() == [0, 1, 1, *range(2, 11)]
    assert names[:3] == ("cls", "registers", "top left patches")
