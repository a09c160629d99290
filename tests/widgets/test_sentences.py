"""Sentences of panels against their records: drawn at random, and read by comparisons of their own."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.atom import _words as atom
from sae_nb_widgets.changes import _words as changes
from sae_nb_widgets.changes._words import answer_words as changes_words, headline_words
from sae_nb_widgets.circuit._story import full_bar
from sae_nb_widgets.circuit._summary import CircuitStory
from sae_nb_widgets.circuit._words import headline as circuit_title, overview, story_words
from sae_nb_widgets.concept_map._detail import region_title, selection_answer
from sae_nb_widgets.depth import _views as depth
from sae_nb_widgets.heads import _words as heads
from sae_nb_widgets.input_lens import _words as input_lens
from sae_nb_widgets.input_lens._lattice import MOST_NAMED, Lattice, ReadWord, claim_words
from sae_nb_widgets.pursuit._panel import pursuit_title
from sae_nb_widgets.superposition import _words as superposition
from sae_nb_widgets.temporal import _panel as temporal
from sae_nb_widgets.training._figure import training_figure
from sae_nb_widgets.training._gallery import training_answer, training_sentence

from sae_nb.atoms import SelectionSummary
from sae_nb.dynamics import ReadByBlock
from sae_nb.training import TrainingHistory

few = settings(max_examples=120)
share = st.sampled_from([0.0, 0.001, 0.09, 0.1, 0.19, 0.2, 0.21, 0.39, 0.5, 0.7, 0.996, 1.0])
TEXT = SimpleNamespace(
    of_neurons=True, grid=None, tokens=("<|endoftext|>", "The", " keys"), contrast_tokens=(),
    nodes=pd.DataFrame({"kind": ["target"], "name": ["“ are”"], "weight": [1.0]}),
)  # fmt: skip


def percents(text: str) -> list[float]:
    """Every percentage of a text, as a share."""
    return [float(one) / 100 for one in re.findall(r"([\d.]+)\s?%", text)]


# --- a circuit: what it says without its nodes, and what random changes do -----------------------------


@few
@given(
    before=share, without=share, random=st.lists(share, max_size=4), says=st.sampled_from(["are", "is"]),
    n=st.integers(1, 20), other=st.sampled_from([(), ("<|endoftext|>", "The", " key")]),
    further=st.integers(0, 12),
)  # fmt: skip
def test_a_circuit_is_further_than_random_changes_only_where_each_moved_less(
    before: float,
    without: float,
    random: list[float],
    says: str,
    n: int,
    other: tuple[str, ...],
    further: int,
) -> None:
    """What random changes make the model say is not in the record, and so not in the sentence. Where there is a
    contrast nodes are exchanged with it, not taken out.
    """
    graph = SimpleNamespace(**{**vars(TEXT), "contrast_tokens": other})
    circuit = SimpleNamespace(graph=graph, kinds=graph.nodes.kind)
    story = CircuitStory(
        stations=((1, tuple(range(n))), (2, (20,) * further)), n=n, answers=("are", "is"),
        before=np.array([before, 0.1]), without=np.array([without, 0.2]), without_other=np.array([0, 0]),
        random=np.array([[one, 0.1] for one in random]).reshape(-1, 2), says=("are", says),
        says_shares=(0.5, 0.31),
    )  # fmt: skip
    said, _ = story_words(circuit, story)
    title = circuit_title(circuit, story, SimpleNamespace(at=lambda place: f"at word {place}"))
    moved = [abs(one - before) for one in random]
    assert ("no random" in said) == (bool(random) and max(moved) < abs(without - before))
    assert ("; random" in said) == (bool(random) and max(moved) >= abs(without - before))
    assert ("likeliest answer is “is” (31" in said) == (says == "is")
    assert ("this neuron" in said) == (n == 1)
    assert said.startswith("With " if other else "Without ")
    assert ("“The key”" in said) == bool(other)
    assert title.startswith("The keys → are")
    alone = bool(random) and max(moved) < abs(without - before)
    assert (" decide" in title) == (says == "is" and alone)
    assert ("at word 1 decide" in title) == (" decide" in title and further > 0)
    assert len(title.split()) <= 12
    assert says == "is" or percents(said) == pytest.approx([before, without], abs=0.006)


def test_a_full_bar_is_a_power_of_ten() -> None:
    assert [full_bar(p) for p in (1.0, 0.39, 0.1, 0.02, 0.0)] == pytest.approx([1, 1, 0.1, 0.1, 1])


def test_neurons_that_add_nothing_speak_neither_for_nor_against() -> None:
    nodes = pd.DataFrame({"kind": ["atom"], "adds": [0.0], "position": [1], "node": [0]})
    graph = SimpleNamespace(
        of_neurons=True,
        nodes=pd.DataFrame({"name": ["“ are”"], "weight": [1.0]}),
    )
    circuit = SimpleNamespace(graph=graph, kinds=np.array(["target"]))
    said, _ = overview(circuit, SimpleNamespace(reaches=True, nodes=nodes), None)
    assert "neither" in said
    assert "“are”" in said


# --- atoms ---------------------------------------------------------------------------------------------


@few
@given(
    fits=st.sampled_from([math.nan, 0.0, 0.5, 0.95, 1.0]), named=st.booleans(),
    read=st.lists(st.sampled_from(["mars", "Mars", "outer", ".", "alien"]), max_size=4),
)  # fmt: skip
def test_an_atom_is_called_with_a_share_only_where_that_was_measured_of_its_name(
    fits: float, named: bool, read: list[str]
) -> None:
    examples = [
        SimpleNamespace(tokens=(" x", f" {one}"), position=1, first_position=0) for one in read
    ]
    record = SimpleNamespace(atom=7, band="top", page=0, examples=examples)
    names = SimpleNamespace(
        source=lambda _: "label" * named, words=lambda _: "outer space" * named, fits=lambda _: fits,
        made=lambda _: None,
    )  # fmt: skip
    said = atom.headline(record, names)
    assert ("true of" in said) == (named and not math.isnan(fits))
    if "true of" in said:
        assert percents(said) == [fits]
    words = [one for one in read if one != "."]
    listed = named and math.isnan(fits) and bool(words) and words[0] not in "outer space"
    assert ("most strongly on" in said) == listed
    if listed:
        assert re.findall("“(.+?)”", said)[0] == words[0]
        assert len(re.findall("“(.+?)”", said)) == len({one.casefold() for one in words})
    assert ("no name yet" in said) == (not named)


# --- heads ---------------------------------------------------------------------------------------------


@few
@given(before=share, without=share, random=st.lists(share, min_size=1, max_size=3))
def test_an_answer_stays_without_a_head_only_where_both_numbers_are_printed_alike(
    before: float, without: float, random: list[float]
) -> None:
    seen = SimpleNamespace(
        tokens=("The", " old", " keys"), picture=None, name=" old", probability=before,
        random=dict.fromkeys(range(len(random))), chance=(min(random), max(random)),
    )  # fmt: skip
    look = SimpleNamespace(head=(1, 0), pattern=np.full((3, 3), 1 / 3), without=without)
    said, _ = heads.answer(seen, look, 2, 1, "")
    assert ("stays" in said) == (before == without)
    assert ("falls" in said) == (without < before)
    assert ("rises" in said) == (without > before)


# --- time ----------------------------------------------------------------------------------------------


def in_time(
    predicted: list[float], shuffled: list[float], previous: list[float], names: list[str]
) -> Any:
    from sae_nb.temporal import TemporalSummary

    record = object.__new__(TemporalSummary)
    shares = np.array([[one, 1 - one] for one in predicted])
    known = {
        "names": tuple(names),
        "kind": "text",
        "shares": shares,
        "shuffled": np.array(shuffled),
        "plain": {"previous token": np.array(previous), "running mean": np.zeros(len(names))},
    }
    known |= {
        "by_distance": {part: np.array([0.4]) for part in ("predicted", "novel", "raw")},
        "unread": 0,
    }
    known |= {"order_lost": {"predicted": 0.0, "novel": 0.0}}
    for name, value in known.items():
        object.__setattr__(record, name, value)
    return record


@few
@given(
    rows=st.lists(st.tuples(share, share, share, st.sampled_from([" fox", "na", " ran"])), min_size=2, max_size=5)
)  # fmt: skip
def test_what_the_past_predicted_is_named_only_where_it_is_much_and_beyond_its_rivals(
    rows: list[tuple[float, float, float, str]],
) -> None:
    predicted, shuffled, previous, names = (list(column) for column in zip(*rows, strict=True))
    record = in_time(predicted, shuffled, previous, names)
    title = temporal._headline(record)
    answer = temporal._answer(temporal._Answer(record, None, None))
    mean, chance, before = (float(np.mean(x[1:])) for x in (predicted, shuffled, previous))
    most = max(chance, before)
    if len(names) < 3:
        assert "too few" in title
        return
    assert mean < 1.11 * most or mean == 0 or "little" not in title
    assert mean > 1.09 * most or "little" in title
    if ", more than in shuffled" in answer:
        assert mean > 1.09 * max(chance, before)
        assert percents(answer)[:3] == pytest.approx([mean, chance, before], abs=0.006)
    for said, least in (("no more than", 0.9 * max(chance, before)), ("less than", 0.0)):
        if f"{said} in shuffled" in answer:
            assert before <= chance
            assert least <= mean <= chance
        if f"{said} from the token before" in answer:
            assert chance <= before
            assert least <= mean <= before
    if "less than" in answer:
        assert mean < 0.92 * max(chance, before)


@few
@given(answers=st.lists(st.integers(0, 2), min_size=1, max_size=13), truth=st.integers(0, 2))
def test_an_answer_after_a_block_is_filled_only_where_it_is_right(
    answers: list[int], truth: int
) -> None:
    """Read back from what is drawn: the answer after every block, and whether it is the picture's."""
    read = SimpleNamespace(
        names=("digit",), right=np.zeros((1, len(answers))), read_by=(None,), truth=np.array([[truth]]),
        answers=np.array(answers).reshape(1, -1, 1),
    )  # fmt: skip
    drawn = depth.answers_html(read, 0, {"digit": ("zero", "one", "two")})
    cells = re.findall(r"<b [^>]*?(--n: \d+)\"([^>]*)>(\w+)<small>([\w–]+)", drawn)
    told = [(name, "right" in kind) for n, kind, name, _ in cells for _ in range(int(n[5:]))]
    assert told == [(("zero", "one", "two")[one], one == truth) for one in answers]
    ends = [blocks.split("–") for *_, blocks in cells]
    assert ends[0][0] == "start"
    assert ends[-1][-1] == (str(len(answers) - 1) if len(answers) > 1 else "start")


# --- training ------------------------------------------------------------------------------------------


RECORDS = [
    SimpleNamespace(step=i, steps=40, loss=1.0, r2=0.5 + i / 100, l0=16.0, dead_fraction=0.0)
    for i in range(1, 41)
]


@few
@given(held=st.sampled_from([None, 0.3, 0.86, 0.9]))
def test_picture_and_words_of_a_training_have_one_number_of_one_set_of_rows(
    held: float | None,
) -> None:
    """The median of the last batches is .88. Of other rows the words are, and so is the large number."""
    history = TrainingHistory("run")
    history.extend(RECORDS)
    summary = history.summary(state="done")
    if held is not None:
        summary = summary.on_fixed_rows([(40, held)], held_out=True)
    said, numbers = training_answer([summary])
    figure = training_figure([summary])
    title, axis = figure.layout.annotations[0].text, figure.layout.xaxis.title.text
    (star,) = (
        mark.text
        for mark in figure.select_traces({"type": "scatter", "mode": "markers+text"})
        if mark.text  # the mark at the end of a line has none
    )
    large = re.findall("<b>(.+?)</b>", title)[0]
    in_words = re.findall(r"explains ([\d.]+) %", said)[-1]
    if held is None:
        assert percents(large) == pytest.approx([0.88])
        assert "batch" not in title + axis + star + numbers
    else:
        assert percents(large) == pytest.approx([held])
        assert float(in_words) / 100 == pytest.approx(held)
        assert (axis, star) == ("step", "best: step 40")
        assert title.startswith("explained: ")
        assert title.count("%") == 1
        assert "(best at step 40)" in numbers


def test_runs_that_failed_have_ended_and_not_finished() -> None:
    history = TrainingHistory("run")
    history.extend(RECORDS[:3])
    ended = [history.summary(state=state) for state in ("done", "failed")]
    assert training_sentence(ended) == "All 2 runs have ended."


# --- a region of the map -------------------------------------------------------------------------------


def selected(n: int, labels: list[str], name: str) -> Any:
    return SelectionSummary(
        atoms=np.arange(n),
        labels=tuple(labels),
        columns={},
        name=name,
        n_rows=3,
        shared=(),
    )


@few
@given(n=st.integers(2, 12), data=st.data())
def test_a_region_is_called_by_a_label_only_with_the_count_of_its_atoms_that_have_it(
    n: int, data: st.DataObject
) -> None:
    """Seven of 38 were "mostly" so. Not half of them: the title has the count, and the answer says what else."""
    k = data.draw(st.integers(0, n))
    found = selected(
        n, ["texture horizontal"] * k + [""] * (n - k), "texture horizontal" if k else ""
    )
    names = SimpleNamespace(in_text=str)
    said, _, _ = selection_answer(names, found, "atoms", n, 0, (0.3, 0.2))
    title = region_title(found, "atoms", n, "texture horizontal")
    assert "mostly" not in said
    if k:
        assert said.startswith(f"{k} of {n} atoms") == (2 * k > n)
        assert title.startswith(f"{k} of {n} atoms") == (2 * k <= n)
        assert ("1.5 times as alike" in said) == (2 * k <= n)
    else:
        assert "texture" not in said


# --- a difference of models ----------------------------------------------------------------------------


@pytest.mark.parametrize(("noun", "kind"), [("text", "token"), ("image", "class")])
def test_what_was_raised_most_is_called_what_it_is(noun: str, kind: str) -> None:
    """A token may be a piece of a word: “S” of “So”."""
    row = {"finding": "mean difference", "hook_point": "resid_post.2", "share": 0.3, "control": 0.1}
    found = SimpleNamespace(
        same=False, table=pd.DataFrame([row]), outcomes=pd.DataFrame({"outcome": ["S"]}), notes=()
    )
    said, _, bold = changes_words(found, noun)
    assert f"The {kind} that" in said
    assert bold == ["S"]


texts = st.lists(st.sampled_from(["So", "it", "was", "The", "fox", "ran"]), max_size=6)


@few
@given(before=texts, after=texts)
def test_a_text_goes_on_as_before_only_where_all_of_it_does(
    before: list[str], after: list[str]
) -> None:
    """Three words are quoted, from the beginning or from where the texts part."""
    both = SimpleNamespace(before=[f" {one}" for one in before], after=[f" {one}" for one in after])
    said = headline_words(both)
    if not (before and after):
        assert said == ""
        return
    assert ("as before" in said) == (before == after)
    quoted = re.findall("“(?:… ?)?(.*?)”", said)
    assert quoted[0] in " ".join(after)
    if before != after:
        assert quoted[0] != quoted[1]
        assert quoted[1] in " ".join(before)


@few
@given(
    rows=st.lists(
        st.tuples(st.booleans(), *[st.sampled_from([0.0, 0.04, 0.06, 0.4, 0.6, 0.89, 0.91, 1.0])] * 4),
        min_size=1, max_size=5,
    ),
    token=st.sampled_from([".", "!", " a"]), long=st.booleans(),
)  # fmt: skip
def test_a_phrase_is_said_everywhere_and_taken_away_only_by_its_chances(
    rows: list[Any], token: str, long: bool
) -> None:
    starts, before, after, back, random = (list(one) for one in zip(*rows, strict=True))
    first = [True, *starts[1:]]
    words = "So it was. " * 8 if long else "So it was."
    phrase = SimpleNamespace(
        phrase=words, token=token, first=np.array(first), before=np.array(before), d=128,
        after=np.array(after), set_back=np.array(back), random=np.array(random)[:, None],
    )  # fmt: skip
    title, said = changes.phrase_title(phrase), changes.phrase_answer(phrase)
    everywhere = min(after) > 0.9 and max(before) < 0.05
    assert ("after every" in title) == everywhere
    often = sum(one > 0.5 for one in after)
    assert everywhere or f"after {often} of {len(rows)} " in title
    assert ("sentence" in title) == (token != " a")
    assert len(title) < 110

    def mean(values: list[float], at: bool) -> float:
        chosen = [v for v, f in zip(values, first, strict=True) if f == at]
        return sum(chosen) / len(chosen) if chosen else -1.0

    takes = mean(back, True) < 0.5 <= min(mean(after, True), mean(random, True))
    assert ("takes the first one away" in said) == takes
    assert ("no random one does" in said) == takes
    if takes and False in first:
        assert ("stay likely" in said) == (mean(back, False) >= 0.5)
        assert (", and later ones" in said) == (mean(back, False) < 0.5 <= mean(after, False))
    shares = percents(said)
    assert shares[:2] == pytest.approx([mean(after, True), mean(back, True)], abs=0.006)


# --- depth ---------------------------------------------------------------------------------------------


@few
@given(
    right=st.lists(
        st.lists(st.sampled_from([0.1, 0.5, 0.89, 0.91, 0.95, 1.0]), min_size=6, max_size=6), min_size=1, max_size=3
    ),
    chance=st.sampled_from([0.1, 0.5, 0.95]),
)  # fmt: skip
def test_a_block_is_named_only_if_nine_in_ten_stay_right_from_it_on(
    right: list[list[float]], chance: float
) -> None:
    names = ("digit", "texture", "n" * 80)[: len(right)]
    read = ReadByBlock(
        names=names, answers=np.zeros((len(right), 6, 4), int), truth=np.zeros((len(right), 4), int),
        right=np.array(right), control=np.full((len(right), 6), chance),
    )  # fmt: skip
    by = {}
    for name, row in zip(names, right, strict=True):
        stays = [at for at in range(6) if min(row[at:]) > 0.9 and chance < 0.9]
        if stays:
            by[name] = stays[0]
    title, (said, _) = depth.read_title(read), depth.read_answer(read, "image")
    first = sorted(by, key=lambda name: (by[name], names.index(name)))[:2]
    assert ("After no block" in title) == (not by)
    named = [int(one) for one in re.findall(r"by block (\d+)", title)]
    if len(first) == 2 and by[first[1]] - by[first[0]] < 2:
        assert named == [by[first[1]]]
        assert f"{first[0]} and {first[1]}" in title
    else:
        assert named == [by[name] for name in first]
    at = by[first[0]] if by else 5
    assert said.startswith(f"After block {at} " if by else "At the end ")
    shares = [
        right[names.index(name)][at] for name in (*first, *[n for n in names if n not in first])
    ][:2]
    assert percents(said)[: len(shares)] == pytest.approx(shares, abs=0.006)
    assert percents(said)[-1] == pytest.approx(chance, abs=0.006)


# --- superposition -------------------------------------------------------------------------------------


@few
@given(
    toys=st.lists(st.tuples(st.sampled_from([0.0, 0.5, 0.97]), st.integers(0, 5)), min_size=1, max_size=2),
    angle=st.sampled_from([0.0, 1.0, 1.5, 1.57, 3.1]),
)  # fmt: skip
def test_features_fit_because_they_are_rare_only_if_the_rarer_toy_keeps_all_and_the_denser_not(
    toys: list[tuple[float, int]], angle: float
) -> None:
    ends = np.array([[1, 0], [np.cos(angle), np.sin(angle)], [-1, 0], [0, -1], [0.6, 0.8]])
    first, *second = (
        SimpleNamespace(
            stored=tuple(range(n)), directions=ends, n_hidden=2, sparsity=sparsity,
            dimensionality=np.zeros(5), interference=np.zeros(5), found=None,
        )
        for sparsity, n in toys
    )  # fmt: skip
    title = superposition.title_words(first, *(second or [None]))
    said = superposition.answer_words(first, *(second or [None]))
    (dense, few_kept), (rare, kept) = min(toys), max(toys)
    if dense == rare:
        assert (
            title == f"{toys[0][1] if second else kept} of 5 features fit into 2 neurons" or second
        )
        assert "rare" not in title.lower()
        assert "common" not in title
    else:
        assert ("because they are rare" in title) == (few_kept < 5 == kept)
        assert ("common" in title) == (few_kept < kept < 5)
        assert ("no more room" in title) == (kept <= few_kept)
        if "common" in title:
            assert f"{kept} of 5" in title
            assert title.endswith(f", {few_kept}")
    for sparsity, n in toys:
        when = {0.0: "always there", 0.5: "there 50 % of the time", 0.97: "there 3 % of the time"}
        assert f"{when[sparsity]}: {n} of 5".lower() in said.lower()
    right = 2 in [n for _, n in toys] and abs(np.cos(angle)) < 0.1
    assert ("right angles" in said) == right


@few
@given(f1=st.tuples(*3 * [st.sampled_from([0.0, 0.5, 0.51, 0.6, 1.0])]))
def test_an_atom_is_called_better_than_a_neuron_only_by_more_than_the_inputs_settle(
    f1: tuple[float, float, float],
) -> None:
    found = SimpleNamespace(
        cosine=0.9, cosine_neurons=0.5, cosine_floor=0.3,
        **{f"{name}_f1": np.full(5, one) for name, one in zip(("atom", "neuron", "random"), f1, strict=True)},
    )  # fmt: skip
    said, _ = superposition.compared_words(found)
    assert ("better" in said) == (f1[0] > f1[1] + 0.02)
    assert ("worse" in said) == (f1[1] > f1[0] + 0.02)


# --- words of a text and the atoms under them ----------------------------------------------------------


@few
@given(
    drawn=st.lists(
        st.tuples(st.sampled_from(["the", ",", "doctor", "week"]), st.sampled_from([None, "named", "not"])),
        min_size=1, max_size=MOST_NAMED + 3,
    )
)  # fmt: skip
def test_words_over_named_atoms_are_counted_among_all_content_words(drawn: list[Any]) -> None:
    """Those under which nothing is written count too: "all" was said of the others."""
    words = [
        ReadWord(text=text, positions=(i,), fired=() if kind is None else ((i, 1.0, 0.9),))
        for i, (text, kind) in enumerate(drawn)
    ]
    content = [i for i, (text, _) in enumerate(drawn) if text in ("doctor", "week")]
    loud = [i for i in content if drawn[i][1] is not None]
    under = [(i, 1.0, 0.9, 0.9) if i in loud[:MOST_NAMED] else None for i in range(len(drawn))]
    names = SimpleNamespace(source=lambda atom: "label" if drawn[atom][1] == "named" else "")
    said = claim_words(Lattice(words=words, under=under), names)
    named = sum(drawn[i][1] == "named" for i in loud[:MOST_NAMED])
    if not content:
        assert said == "No word here carries meaning of its own."
    elif len(loud) > MOST_NAMED:
        assert f"under {named or 'none'} of the {MOST_NAMED} words" in said
    else:
        assert f"under {named or 'none'} of {len(content)} content word" in said


@few
@given(
    norms=st.lists(
        st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.6, 1.0]), min_size=2, max_size=4),
        min_size=1,
        max_size=3,
    ),
    step=st.integers(0, 4),
)
def test_a_pursuit_is_called_by_what_it_leaves(norms: list[list[float]], step: int) -> None:
    """Step i has i atoms, one of them given back at the end; the norm of an input is 1."""
    steps: Any = []
    for i, lengths in enumerate(norms):
        n = len(lengths)
        codes = [(np.arange(j), np.ones(j)) for j in range(n + 1)]
        codes[-1][1][-1] = 0.0
        steps.append(
            SimpleNamespace(
                short=f"A{i}",
                residual_norms=np.array([1.0, *lengths]),
                reached=lambda step, n=n: min(step, n),
                code_at=lambda step, n=n, codes=codes: codes[min(step, n)],
            )
        )
    said = pursuit_title(steps, step)
    left = [100 * one.residual_norms[min(step, len(one.residual_norms) - 1)] ** 2 for one in steps]
    if step == 0:
        assert said == ""
    elif len(steps) > 1:
        least = [f"A{i}" for i, one in enumerate(left) if one == min(left)]
        assert (re.findall(r"A\d", said) == least) == (len(least) == 1)
        assert bool(said) == (len(least) == 1)
    else:
        last = len(norms[0])
        n = min(step, last) - (step >= last)
        assert said.startswith(f"{n} atom" if n else "")
        assert bool(said) == bool(n)
        if n:
            assert percents(said) == [pytest.approx(left[0] / 100)]
            assert ("atoms" in said) == (n > 1)


@few
@given(
    effects=st.lists(
        st.tuples(st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0]), st.booleans(), st.booleans()),
        max_size=5,
    ),
    answered=st.booleans(),
    asked=st.booleans(),
    shown=st.integers(0, 5),
    alike=st.booleans(),
)
def test_a_picture_is_called_by_its_answer_and_the_atom_that_speaks_for_it(
    effects: list[tuple[float, bool, bool]], answered: bool, asked: bool, shown: int, alike: bool
) -> None:
    """Of an effect, whether it is beyond chance, and whether its atom has a name; the one shown comes first."""
    attribution, mattering, named = (
        (np.array(part) for part in zip(*effects, strict=True)) if effects else 3 * [np.zeros(0)]
    )
    used = SimpleNamespace(
        atom=np.arange(len(effects)), attribution=attribution, mattering=mattering.astype(bool)
    )
    answers = ((7, "seven", 0.9), (1, "one", 0.1)) if answered else ()
    summary: Any = SimpleNamespace(answers=answers, target=1 if asked else 7, used=used)
    names: Any = SimpleNamespace(
        in_text=lambda atom: f"“a{atom}”", source=lambda atom: "label" * bool(named[atom]),
        words=lambda atom: "a" if alike else f"a{atom}",
    )  # fmt: skip
    said = input_lens.answer_title(summary, names, shown)
    assert bool(said) == (answered and not asked)
    if not said:
        return
    assert said.startswith("It is read as “seven”")
    speakers = {
        i: size for i, (size, beyond, name) in enumerate(effects) if beyond and name and size > 0
    }
    several = alike and len(speakers) > 1
    assert (f"{len(speakers)} atoms called “a” speak for it" in said) == several
    found = re.search(r"“a(\d)” (is one that )?speaks for it", said)
    assert bool(found) == (bool(speakers) and not several)
    if found:
        raising = [size for size, beyond, _ in effects if beyond and size > 0]
        assert speakers[int(found[1])] == speakers.get(shown, max(speakers.values()))
        most, others = max(raising), sorted(raising)[:-1]
        assert found[2] or speakers[int(found[1])] == most
        assert not found[2] or speakers[int(found[1])] < most or most in others
    assert ("stands out" in said) == (not any(beyond for _, beyond, _ in effects))
    assert ("no atom with a name" in said) == ("stands out" not in said and not speakers)
