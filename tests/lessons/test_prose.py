"""Numbers in the prose of lessons: those of a record that a cell above the sentence shows."""

from __future__ import annotations

import re

import pytest
from sae_nb_lessons import exercise, recorded

from tests.notebooks.exercised import FOLDER

QUOTED = [
    ("05_steering", "steering_science", "digits, beyond random", "In X of the cases the atom beats"),
    ("05_steering", "steering_science", "digits, beyond untrained", "clearly beyond it in X of"),
    ("05_steering", "steering_science", "sentiments, beyond random", "directions in X of the cases"),
    ("08_following_a_circuit", "attribution_graphs", "recovered", "the graph's X:"),
    ("08_following_a_circuit", "attribution_graphs", "strongest, same positions", "bring back X, the"),
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
