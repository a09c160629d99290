"""Numbers in the prose of lessons: those of a record that a cell above the sentence shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sae_nb_lessons import exercise, recorded

from tests.lessons.exercises.answered import CELLS
from tests.notebooks.exercised import FOLDER

QUOTED = [
    ("05_steering", "steering_science", "digits, beyond random", "In X of the cases the atom beats"),
    ("05_steering", "steering_science", "digits, beyond untrained", "(its whole 95 % interval) in X of"),
    ("05_steering", "steering_science", "sentiments, success", "have a mean (X) below"),
    ("08_following_a_circuit", "attribution_graphs", "recovered", "the graph's X, random"),
    ("08_following_a_circuit", "attribution_graphs", "strongest, same positions", "bring back X, the"),
    ("08_following_a_circuit", "attribution_graphs", "random, same positions", "atoms there X:"),
]  # fmt: skip
"""Lesson, record, number, and the sentence with X in the number's place."""


@pytest.mark.parametrize(("lesson", "record", "name", "sentence"), QUOTED)
def test_a_number_in_prose_is_the_records(
    lesson: str, record: str, name: str, sentence: str
) -> None:
    text = re.sub(r"\n# ?", " ", (FOLDER / f"{lesson}.py").read_text("utf-8"))
    number = r"(\.\d\d?)"
    found = re.search(re.escape(sentence).replace("X", number), text)
    assert found is not None
    assert float(found[1]) == pytest.approx(recorded(record).of(name).mean, abs=0.005001)
    assert f'"{name}"' in text[: found.start()]


def test_a_question_names_the_losses_of_its_record() -> None:
    """38.2: what the true answers leave, and what guessing does."""
    found = re.search(r"true answers it is (\.\d+)", exercise("38.2").question)
    assert found is not None
    assert float(found[1]) == pytest.approx(
        recorded("few_weights").of("loss: sparse").mean, abs=0.005001
    )


def _about(name: str, value: float, off: float = 0.05) -> Callable[[Any], bool]:
    return lambda record: bool(abs(record.of(name).mean - value) < off)


def _below(name: str, most: float) -> Callable[[Any], bool]:
    return lambda record: bool(abs(record.of(name).mean) < most)


def _largest(name: str, *others: str) -> Callable[[Any], bool]:
    return lambda record: bool(record.of(name).mean > max(record.of(one).mean for one in others))


def _ahead(name: str, other: str, by: float) -> Callable[[Any], bool]:
    return lambda record: bool(record.of(name).mean > record.of(other).mean + by)


def _within(name: str, other: str, by: float) -> Callable[[Any], bool]:
    return lambda record: bool(record.of(name).mean < record.of(other).mean + by)


SAID = [
    ("41.4", "lying_probes", "is right on 85 % of new ones", _about("trained on mixed", 0.85, 0.005)),
    ("41.4", "lying_probes", "Three tenths, clearly less than chance", _about("denied", 0.3, 0.05)),
    ("41.4", "lying_probes", "clearly less than chance", lambda r: r.high("denied") < 0.5),
    ("41.6", "lying_probes", "on SmolLM2 pairs of words were", _about("same writers, pairs of words", 1, 0.001)),
    ("41.6", "lying_probes", "shuffled labels gave about a half", _about("same writers, shuffled", 0.5)),
    ("41.6", "lying_probes", "right on 85 % of mixed statements", _about("trained on mixed", 0.85, 0.005)),
    ("41.6", "lying_probes", "and on 30 % of denials", _about("denied", 0.3, 0.005)),
    ("42.3", "name_heads", "Next to nothing.", _below("movers", 0.1)),
    ("42.3", "name_heads", "two or three heads look there", lambda r: set(r.seeds("movers, heads")) <= {2, 3}),
    ("42.4", "name_heads", "bring nothing, 0.00", _below("previous", 0.005)),
    ("42.5", "name_heads", "about a twelfth of all heads", _about("needed, heads", 270 / 12, 1.5)),
    ("42.5", "name_heads", "All of it, and more", lambda r: r.low("enough") > 1),
    ("42.5", "name_heads", "bring back next to nothing", _below("enough, random", 0.1)),
    ("42.6", "name_heads", "they bring the whole change", lambda r: r.low("needed") > 1),
    ("42.6", "name_heads", "other heads of the same layers next to nothing", _below("needed, random", 0.1)),
    ("42.6", "name_heads", "name movers bring little", _below("movers", 0.1)),
    ("42.6", "name_heads", "comes again bring most", _largest("inhibition", "movers", "induction", "duplicate", "previous")),
    ("42.6", "name_heads", "are there and not needed", _below("duplicate", 0.05)),
    ("42.6", "name_heads", "write the same in both runs", _below("previous", 0.005)),
    ("43.5", "persona", "About as much.", _about("cost of random adding as a share of adding's", 1, 0.1)),
    ("43.6", "persona", "about 4 % of the push's cost", _about("cost of capping as a share of adding's", 0.04, 0.01)),
    ("43.6", "persona", "about a third of it", _about("cost of gating as a share of adding's", 0.35, 0.05)),
    ("43.7", "persona", "of formal next words by several nats", lambda r: r.low("moved of adding") > 2),
    ("43.7", "persona", "of the same length by next to nothing", _below("moved of random adding", 0.5)),
    ("43.7", "persona", "it paid as much for random directions", _about("cost of random adding as a share of adding's", 1, 0.1)),
    ("43.7", "persona", "cost about a third", _about("cost of gating as a share of adding's", 0.35, 0.05)),
    ("43.7", "persona", "the cap about 4 % of it", _about("cost of capping as a share of adding's", 0.04, 0.01)),
    ("44.7", "clean_pushes", "About .4.", _about("stability, rank", 0.4, 0.1)),
    ("44.7", "clean_pushes", "above what shuffles reach", _ahead("stability, rank", "stability, shuffled", 0.1)),
    ("44.7", "clean_pushes", "no more than what density alone reaches", _within("stability, rank", "stability, by density", 0.1)),
    ("44.7", "clean_pushes", "not predicted at all", _within("spread, rank", "spread, shuffled", 0)),
    ("44.8", "clean_pushes", "a rank correlation of about .4", _about("stability, rank", 0.4, 0.1)),
    ("44.8", "clean_pushes", "but density alone reached as much", _within("stability, rank", "stability, by density", 0.1)),
    ("44.8", "clean_pushes", "In the mean atoms are steadier than random directions", lambda r: (r.seeds("stability, mean") > r.seeds("stability, random")).all()),
    ("45.7", "found_shapes", "every one of the ten has its group", _about("groups found", 1, 0.005)),
    ("45.7", "found_shapes", "About half,", _about("groups found, by correlations", 0.5, 0.1)),
    ("45.7", "found_shapes", "three in ten are not one manifold", _about("precision of groups, by correlations", 0.7, 0.05)),
    ("45.8", "found_shapes", "found all ten planted manifolds", _about("found", 1, 0.005)),
    ("45.8", "found_shapes", "the SAE before training showed none", _below("found, before training", 0.005)),
    ("45.8", "found_shapes", "by correlations only about half", _about("groups found, by correlations", 0.5, 0.1)),
]  # fmt: skip
"""Exercise, record, a sentence of its question, its why or the course's answer, and what must hold of the record."""


@pytest.mark.parametrize(("id", "record", "sentence", "holds"), SAID)
def test_a_sentence_of_an_exercise_is_true_of_its_record(
    id: str, record: str, sentence: str, holds: Callable[[Any], bool]
) -> None:
    answers = [text for (of, _), text in CELLS.items() if of == id]
    said = " ".join(" ".join([exercise(id).question, exercise(id)._task.why, *answers]).split())
    assert sentence in said
    assert holds(recorded(record))
