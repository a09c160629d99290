"""The exercise kit: verdicts and hints, never a traceback, and no answer given away."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import sae_nb_lessons
import torch
from hypothesis import given, settings, strategies as st
from sae_nb_lessons.exercises import Exercise, Task, exercise, exercise_report
from sae_nb_lessons.exercises._answers import (
    function,
    number,
    one_of,
    tensor,
    whole_number,
    whole_numbers,
    words,
)
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
from sae_nb_lessons.exercises._predictions import Calibration, Course, Prediction
from sae_nb_lessons.exercises._verdicts import Revelation

HOSTILE = "<script>alert(1)</script>"
SECRET = 41.5


def task(**given: object) -> Task:
    facts = {
        "id": "00.1",
        "title": "The number",
        "question": "Which number, `x < y`?\n\nTake care.",
        "form": number(),
        "difficulty": "core",
        "minutes": 4,
        "why": "Numbers matter.",
        "hints": ("It is positive.", "It is above 40.", "It ends in a half."),
        "judge": lambda answer: None if answer == SECRET else f"{answer:g} is not it.",
    }
    return Task(**(facts | given))


@pytest.fixture
def one() -> Exercise:
    return Exercise(task())


@pytest.fixture
def guessed() -> Exercise:
    return Exercise(task(judge=None, measure=lambda: SECRET, unit="atoms", hints=()))


# --- checking -------------------------------------------------------------------------------------


def test_every_wrong_try_reveals_the_next_hint(one: Exercise) -> None:
    hints = [one.check(wrong).hint for wrong in range(5)]
    assert [hint[:11] for hint in hints[:3]] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3"]
    assert "It is above 40." in hints[1]
    assert ".solution()" in hints[3]
    assert hints[3] == hints[4]
    assert (one.tries, one.hints_shown, one.solved) == (5, 3, False)


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


def test_a_common_mistake_is_recognised_by_what_it_gives() -> None:
    """On every case; else the first case that differs is told, and a mistake that raises on a case is none."""
    cases = {"one": (torch.ones(2),), "two": (torch.tensor([1.0, 3.0]),)}
    raises = Slip("raised", "", lambda x: x @ torch.ones(5))
    slips = (raises, Slip("You tripled.", "Twice.", lambda x: 3 * x))
    assert diagnose(_doubled, _doubled, cases, slips) is None
    assert diagnose(lambda x: 3 * x, _doubled, cases, slips) == Mistake("You tripled.", "Twice.")
    told = diagnose(lambda x: x + 1, _doubled, cases, slips)
    assert told == "For two yours gives 4 at (1,), and it is 6."
    assert "the shape (), and it is (2,)" in diagnose(lambda x: x.sum(), _doubled, cases, slips)


def test_a_solved_exercise_stays_solved(one: Exercise) -> None:
    one.check(SECRET)
    one.check(1)
    assert one.solved
    one.reset()
    assert not one.solved
    assert one.hints_shown == 0


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True),
    st.complex_numbers(),
    st.text(max_size=20),
    st.binary(max_size=4),
    st.lists(st.one_of(st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=3))),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=3),
    st.sampled_from(
        [
            torch.zeros(2, 3),
            torch.zeros(5, dtype=torch.bool),
            torch.full((5,), math.nan),
            torch.zeros(5, device="meta"),
            np.array(["a", "b"]),
            np.array([object(), None]),
            np.zeros((0, 5)),
            range(3),
            print,
            int,
            object(),
            iter([1]),
            {1, 2},
            lambda: ...,
        ]
    ),
)
FORMS = [
    number(0, 1),
    whole_number(0, 10),
    tensor(5),
    tensor("n", 2),
    whole_numbers(3),
    one_of("up", "down"),
    function(number(), takes="one number"),
]


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(answer=ANYTHING, form=st.sampled_from(FORMS))
def test_no_answer_gives_a_traceback(answer: object, form: object) -> None:
    asked = Exercise(task(form=form, judge=lambda value: "no" if not callable(value) else None))
    for verdict in (asked.check(answer), asked.predict(answer), asked.reveal()):
        assert isinstance(verdict.message, str)
        assert "<div" in verdict._repr_html_()


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "answer", "value"),
    [
        (number(), torch.tensor([0.5]), 0.5),
        (number(), np.float32(0.5), 0.5),
        (whole_number(), 5.0, 5),
        (whole_number(), torch.tensor(3), 3),
        (whole_numbers(2), (1, 2.0), [1, 2]),
        (whole_numbers(), np.array([4, 1]), [4, 1]),
        (one_of("up", "down"), " UP ", "up"),
    ],
)
def test_many_spellings_of_an_answer_are_read(form: object, answer: object, value: object) -> None:
    assert form.read(answer) == value


def test_tensors_are_judged_without_their_graph() -> None:
    read = tensor(2, 2).read(torch.eye(2, dtype=torch.float16, requires_grad=True))
    assert read.dtype == torch.float64
    assert not read.requires_grad
    assert torch.equal(read, tensor(2, 2).read([[1, 0], [0, 1]]))


def broken(x: object) -> object:
    return x / 0


@pytest.mark.parametrize(
    ("asked", "state", "told"),
    [
        (broken, "form", "your function raised ZeroDivisionError"),
        (lambda x: None, "form", "returned nothing"),
        (lambda x: ..., "blank", "still returns ..."),
        (lambda x: "five", "form", "about what your function returned: expected a number"),
        (lambda x: "2/5", "form", "leave the quotes out"),
        (lambda: 1, "form", "raised TypeError"),
        (lambda x: written_above(x), "form", "a kernel that was restarted has forgotten them"),  # noqa: F821
    ],
)
def test_a_students_function_is_asked_gently(asked: object, state: str, told: str) -> None:
    form = function(number(), takes="one number")
    judge = lambda measure: None if measure(2.0) == SECRET else "no"  # noqa: E731
    verdict = Exercise(task(form=form, judge=judge)).check(asked)
    assert verdict.state == state
    assert told.lower() in verdict.message.lower()


def test_a_keyboard_interrupt_is_no_answer() -> None:
    def endless(x: object) -> object:
        raise KeyboardInterrupt

    form = function(number(), takes="one number")
    with pytest.raises(KeyboardInterrupt):
        Exercise(task(form=form, judge=lambda measure: measure(1.0))).check(endless)


def _never_returns(x: object) -> object:
    while True:
        with contextlib.suppress(Exception):  # as students write it
            time.sleep(0.001)


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_function_that_never_returns_is_stopped_with_a_sentence(in_thread: bool) -> None:
    """By an alarm in the main thread, and from another one elsewhere; what it catches does not keep it."""
    form = function(number(), takes="one number", seconds=0.2)
    asked = Exercise(task(form=form, judge=lambda measure: measure(1.0)))
    verdicts: list[object] = []
    answer = lambda: verdicts.append(asked.check(_never_returns))  # noqa: E731
    if in_thread:
        thread = threading.Thread(target=answer)
        thread.start()
        thread.join(30)
    else:
        answer()
    (verdict,) = verdicts
    assert verdict.state == "form"
    assert "had not returned after 0.2 s and was stopped" in verdict.message
    assert asked.tries == 0


def test_an_alarm_of_someone_else_goes_on() -> None:
    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no alarms")
    handler = signal.signal(signal.SIGALRM, lambda *_: None)
    before = signal.setitimer(signal.ITIMER_REAL, 500)
    form = function(number(), takes="one number")
    assert Exercise(task(form=form, judge=lambda f: None if f(1.0) else "no")).check(lambda x: x)
    left, _ = signal.setitimer(signal.ITIMER_REAL, *before)
    signal.signal(signal.SIGALRM, handler)
    assert 400 < left <= 500


def test_side_effects_are_told_or_undone() -> None:
    """An argument that was changed is named; torch's random state, number type and gradients are put back."""

    def in_place(x: torch.Tensor, y: np.ndarray) -> float:
        y += 1
        return 1.0

    def careless(x: torch.Tensor, y: np.ndarray) -> float:
        torch.manual_seed(5)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return 1.0

    form = function(number(), takes="a tensor and an array")
    judge = lambda f: None if f(torch.ones(2), np.ones(3)) else "no"  # noqa: E731
    asked, state = Exercise(task(form=form, judge=judge)), torch.random.get_rng_state()
    told = asked.check(in_place)
    assert told.state == "form"
    assert "changed its argument 2, an array of shape (3,)" in told.message
    assert asked.check(careless)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
    assert "raised SystemExit" in asked.check(lambda x, y: sys.exit(3)).message


def _adds_in_place(*given: object) -> object:
    for value in given:
        if (
            isinstance(value, torch.Tensor)
            and value.is_floating_point()
            and not value.requires_grad
        ):
            value += 1
    return 0.0


def _elsewhere(*given: object) -> torch.Tensor:
    return torch.zeros(3, device="meta")


def _raises(*given: object) -> object:
    raise RuntimeError(HOSTILE)


BAD = {
    "nothing": None,
    "another type": object(),
    "a text": "five",
    "another shape": torch.zeros(2, 0, 7),
    "another device": torch.zeros(3, device="meta"),
    "not finite": [math.nan],
    "a function that raises": _raises,
    "a function on another device": _elsewhere,
    "a function with side effects": _adds_in_place,
    "a function that needs a cell above": lambda *given: written_above(*given),  # noqa: F821
}
"""What no exercise of the course can take for an answer."""


@pytest.mark.slow
def test_no_exercise_of_the_course_takes_a_bad_answer() -> None:
    for id, *_ in exercise_report().rows:
        asked = Exercise(exercise(id)._task)
        takes_function = asked.expects.startswith("a function")
        for name, answer in BAD.items():
            verdict = asked.check(answer)
            assert not verdict, (id, name)
            if asked._task.judge is not None and callable(answer) != takes_function:
                assert verdict.state == "form", (id, name)
        assert asked.tries <= 3, "only an answer that could be judged counts"


# --- predict, then reveal -------------------------------------------------------------------------


def test_nothing_is_revealed_before_a_prediction(guessed: Exercise) -> None:
    refused = guessed.reveal()
    assert (bool(refused), refused.state) == (False, "refused")
    assert "predict" in refused.message.lower()
    assert str(SECRET) not in repr(refused) + refused._repr_html_()


def test_the_prediction_stands_beside_the_measured_value(guessed: Exercise) -> None:
    assert guessed.predict(40).state == "noted"
    assert not guessed.solved
    seen = guessed.reveal()
    assert isinstance(seen, Revelation)
    assert seen.passed
    assert (seen.predicted, seen.measured, seen.error) == (40.0, SECRET, -1.5)
    for part in ("40 atoms", "41.5 atoms", "1.5 atoms too low", "Numbers matter."):
        assert part in seen.message
    assert guessed.solved


def test_a_prediction_counts_once_it_is_revealed(guessed: Exercise) -> None:
    guessed.predict(1)
    guessed.predict(2)
    first = guessed.reveal()
    assert guessed.predict(SECRET).state == "refused"
    assert guessed.reveal() is first
    assert first.predicted == 2.0


def test_predictions_are_calibrated_over_the_course() -> None:
    """How far off, next to one who names the middle, and how many ranges held; the first prediction counts."""
    form = number(0, 100)
    for id, said, within in (("00.1", 41.5, (30, 50)), ("00.2", 1.5, (0, 3))):
        asked = Exercise(task(id=id, judge=None, measure=lambda: SECRET, form=form))
        assert asked.predict(said, within=within).state == "noted"
        asked.reveal()
    again = Exercise(task(id="00.2", judge=None, measure=lambda: SECRET, form=form))
    again.predict(41)  # as after a restart of the kernel
    again.reveal()
    found = Calibration.of(Course().all().values())
    assert (found.n, found.n_ranges, found.n_held) == (2, 2, 1)
    assert found.off == pytest.approx(0.2)
    assert found.middle_off == pytest.approx(0.085)
    shown = repr(sae_nb_lessons.exercise_report("01"))
    assert "off by 20% of the possible range in the mean (always its middle: 8%)" in shown
    assert "1 of 2 ranges held the number" in shown


def test_a_course_that_cannot_be_written_is_kept_in_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Prediction(1.0, 2.0, (-math.inf, math.inf))
    course = Course()
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("SAE_NB_COURSE", str(tmp_path / "file"))
    course.note("00.1", known)
    assert course.all() == {"00.1": known}
    monkeypatch.setenv("SAE_NB_COURSE", str(tmp_path))
    course.note("00.2", known)
    assert Course().all() == {"00.1": known, "00.2": known}
    (tmp_path / "predictions.json").write_text('{"00.1": 3}')
    assert Course().all() == {}


# --- open tasks -----------------------------------------------------------------------------------


def test_an_open_task_is_written_held_against_a_rubric_and_scored() -> None:
    """No score before a text, no text of three words; what it is worth its writer counts."""
    asked = Exercise(task(judge=None, form=words(5), rubric=("It names the cause.", "A number.")))
    assert asked.score(1).state == "refused"
    assert asked.write(...).state == "blank"
    assert "at least 5 words, and yours has 2" in asked.write("Too short.").message
    noted = asked.write("The penalty shrinks codes, and norms grow.")
    assert noted.state == "noted"
    assert "(1) It names the cause. (2) A number." in noted.message
    assert asked.score(3).state == "form"
    done = asked.score(2)
    assert done
    assert "Assessed. 2 of 2 by your own count. Numbers matter." in done.message
    assert asked.solved
    assert ".write(text)" in asked.check(1).message
    with pytest.raises(ValueError, match="got both"):
        task(rubric=("One.",))


# --- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["one", "guessed"])
def test_the_answer_is_nowhere_to_be_read(which: str, request: pytest.FixtureRequest) -> None:
    asked = request.getfixturevalue(which)
    verdicts = [asked.check(3), asked.predict(3), asked.hint()]
    shown = [repr(asked), asked._repr_html_(), str(asked), repr(asked._task)]
    shown += [text for v in verdicts for text in (repr(v), v._repr_html_())]
    shown += [str(dataclasses.asdict(v)) for v in verdicts]
    assert not any(str(SECRET) in text for text in shown)


def test_what_a_student_types_is_escaped() -> None:
    form = one_of("up", HOSTILE)
    asked = Exercise(task(form=form, title=HOSTILE, judge=lambda a: f"{a} is wrong"))
    cards = [asked._repr_html_(), asked.check(HOSTILE)._repr_html_()]
    cards += [asked.check(HOSTILE * 2)._repr_html_()]
    assert all("<script>" not in card and "&lt;script&gt;" in card for card in cards)


# --- at the front door ----------------------------------------------------------------------------


def test_the_report_counts_what_is_solved() -> None:
    before = sae_nb_lessons.exercise_report("01")
    assert (before.n_solved, before.all_solved) == (0, False)
    assert before.rows[0][0] == "01.1"
    sae_nb_lessons.exercise("01.2").check(0.4)
    after = sae_nb_lessons.exercise_report("01")
    assert after.n_solved == 1
    assert "1 of" in repr(after)
    assert "solved" in after._repr_html_()
    with pytest.raises(ValueError, match="got '77'"):
        sae_nb_lessons.exercise_report("77")
