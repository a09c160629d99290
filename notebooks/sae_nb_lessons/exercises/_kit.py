"""Exercises that check themselves: staged hints, and predict before reveal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sae_nb.files import filled, read_toml
from sae_nb_lessons.exercises._answers import Blank, Form, WrongForm
from sae_nb_lessons.exercises._verdicts import (
    CARD,
    Revelation,
    State,
    Verdict,
    card,
    count,
    with_unit,
)

Difficulty = Literal["warm-up", "core", "stretch"]

NO_MORE = "There are no more hints; the answers are in notebooks/answers.py."


@dataclass(frozen=True, kw_only=True, repr=False)
class Task:
    """A question and the judge of its answer, which tests its properties instead of comparing a stored answer.

    Raises
    ------
    ValueError: If it can neither be judged nor measured, or both.

    Example
    -------
    >>> from sae_nb_lessons.exercises._answers import number
    >>> task = Task(id="00.1", title="Half", question="What is 1 / 2?", form=number(),
    ...     difficulty="warm-up", minutes=1, why="Halves are everywhere.", hints=("Less than 1.",),
    ...     judge=lambda answer: None if 2 * answer == 1 else "Twice your answer is not 1.")
    >>> Exercise(task).check(0.4)
    [00.1] Not yet. Twice your answer is not 1. Hint 1 of 1: Less than 1.
    """

    id: str
    """Notebook and number: "01.2"."""

    title: str
    """A few words."""

    question: str
    """The question; `code` is in backticks."""

    form: Form
    """The kind of answer that it takes."""

    difficulty: Difficulty
    """Warm-up, core or stretch."""

    minutes: int
    """Minutes that it takes after following the notebook."""

    why: str
    """Text shown after the right answer: why it matters."""

    hints: tuple[str, ...] = ()
    """From a nudge to nearly the answer; each wrong try reveals the next."""

    judge: Callable[[Any], str | None] | None = None
    """Takes the answer in its form; returns what is wrong with it, or None. Called by `check`."""

    measure: Callable[[], float | str] | None = None
    """The measurement that a prediction is compared with; computed when it is revealed."""

    unit: str = ""
    """Of a measured number."""

    def __post_init__(self) -> None:
        if (self.judge is None) == (self.measure is None):
            raise ValueError(
                f"Exercise {self.id} must have either `judge` (it is checked) or `measure` (it is "
                "predicted), got " + ("neither." if self.judge is None else "both.")
            )


@dataclass(frozen=True)
class Answer:
    """The form of an answer, and its judge or measurement (as in `Task`)."""

    form: Form
    judge: Callable[[Any], str | None] | None = None
    measure: Callable[[], float | str] | None = None


def tasks(chapter: str, answers: Mapping[str, Answer]) -> tuple[Task, ...]:
    """Assemble the exercises of a notebook from the texts of `chapter.toml` and the answers, by number."""
    file = f"{chapter}.toml"
    texts = read_toml(__package__ or "", file)
    for id in texts.keys() ^ answers.keys():
        where, other = (file, f"{chapter}.py") if id in texts else (f"{chapter}.py", file)
        raise ValueError(f"Exercise {id} is in {where}, but not in {other}. Add it there.")
    return tuple(
        filled(
            Task,
            texts[id] | {"hints": tuple(texts[id].get("hints", ()))},
            f"{file}, exercise {id}",
            id=id,
            **vars(answer),
        )
        for id, answer in answers.items()
    )


class Exercise:
    """A question with its state in this kernel: tries, hints shown, prediction, whether it is solved.

    Wrong answers, answers of the wrong type or shape, and blanks give a `Verdict` that is false and
    explains what to do; none raises.

    Parameters
    ----------
    task
        The question and its judge.

    Example
    -------
    >>> from sae_nb_lessons.exercises import exercise
    >>> blank = exercise("01.1").check(...)
    >>> bool(blank), blank.state
    (False, 'blank')
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._tries = 0
        self._hints_shown = 0
        self._solved = False
        self._predicted: Any = None
        self._revelation: Revelation | None = None

    # --- what a student sees before answering -------------------------------------------------------

    @property
    def id(self) -> str:
        """Notebook and number: "01.2"."""
        return self._task.id

    @property
    def title(self) -> str:
        """A few words."""
        return self._task.title

    @property
    def question(self) -> str:
        """The question; `code` is in backticks."""
        return self._task.question

    @property
    def difficulty(self) -> Difficulty:
        """Warm-up, core or stretch."""
        return self._task.difficulty

    @property
    def minutes(self) -> int:
        """Minutes that it takes after following the notebook."""
        return self._task.minutes

    @property
    def expects(self) -> str:
        """The kind of answer that it takes."""
        return self._task.form.says

    @property
    def tries(self) -> int:
        """Answers judged so far; blanks and answers of the wrong form do not count."""
        return self._tries

    @property
    def hints_shown(self) -> int:
        """Number of hints that have been shown."""
        return self._hints_shown

    @property
    def solved(self) -> bool:
        """Whether it was answered correctly, or predicted and revealed."""
        return self._solved

    @property
    def status(self) -> str:
        """One line: the progress so far, and the method to call next."""
        if self.solved:
            return f"solved · {count(self._tries, 'try', 'tries')} · {self._hints_line()}"
        if self._task.measure is None:
            tries = count(self._tries, "try", "tries") if self._tries else "not answered yet"
            return f"{tries} · {self._hints_line()} · call .check(answer) or .hint()"
        said = (
            "predicted, call .reveal()" if self._predicted is not None else "call .predict(value)"
        )
        return f"{said} · {self._hints_line()}"

    # --- what a student does --------------------------------------------------------------------------

    def check(self, answer: object) -> Verdict:
        """Judge an answer.

        Parameters
        ----------
        answer
            Any object; one of the wrong form is reported and does not count as a try.

        Returns
        -------
        Verdict
            True if right, with the reason why it matters; otherwise with what is wrong and the next hint.
        """
        if self._task.judge is None:
            return self._say(
                "refused", "This one is predicted: `.predict(value)`, then `.reveal()`."
            )
        try:
            problem = self._task.judge(self._task.form.read(answer))
        except WrongForm as unreadable:
            return self._unreadable(unreadable)
        self._tries += 1
        if problem is None:
            self._solved = True
            return self._say("right", self._task.why)
        return self._say("wrong", problem, self._next_hint() or NO_MORE)

    def predict(self, value: object) -> Verdict:
        """Commit to a prediction before looking; it may be changed until it is revealed.

        Parameters
        ----------
        value
            The prediction.
        """
        if self._task.measure is None:
            return self._say("refused", "This one is answered: `.check(answer)`.")
        if self._revelation is not None:
            return self._say(
                "refused", "Already revealed: the first prediction is the one that counts."
            )
        try:
            self._predicted = self._task.form.read(value)
        except WrongForm as unreadable:
            return self._unreadable(unreadable)
        prediction = with_unit(self._predicted, self._task.unit)
        return self._say("noted", f"Your prediction is {prediction}. Now call `.reveal()`.")

    def reveal(self) -> Verdict:
        """Show the prediction next to the measurement; refused before a prediction.

        Returns
        -------
        Verdict
            A `Revelation` (true) after a prediction.
        """
        if self._task.measure is None:
            return self._say("refused", "Nothing is hidden here: `.check(answer)`.")
        if self._predicted is None:
            return self._say("refused", "Predict first: `.predict(value)`. A guess is fine.")
        if self._revelation is None:
            self._tries += 1
            self._revelation = Revelation(
                exercise=self.id,
                state="right",
                said=self._task.why,
                predicted=self._predicted,
                measured=self._task.measure(),
                unit=self._task.unit,
            )
            self._solved = True
        return self._revelation

    def hint(self) -> Verdict:
        """Show the next hint without a try; the last one again when there are no more."""
        shown = self._next_hint() or self._last_hint()
        return self._say("hint", shown or "There are no hints for this one.")

    def reset(self) -> None:
        """Forget tries, hints and prediction."""
        self._tries = self._hints_shown = 0
        self._solved = False
        self._predicted = self._revelation = None

    # --- saying -----------------------------------------------------------------------------------------

    def _say(self, state: State, said: str, hint: str = "") -> Verdict:
        return Verdict(exercise=self.id, state=state, said=said, hint=hint)

    def _unreadable(self, problem: WrongForm) -> Verdict:
        said = str(problem)
        said = f"{said[:1].upper()}{said[1:]}."
        if isinstance(problem, Blank):
            return self._say("blank", said, f"It takes {self.expects}.")
        return self._say("form", said)

    def _next_hint(self) -> str:
        if self._hints_shown == len(self._task.hints):
            return ""
        self._hints_shown += 1
        return self._last_hint()

    def _last_hint(self) -> str:
        if not self._hints_shown:
            return ""
        text = self._task.hints[self._hints_shown - 1]
        return f"Hint {self._hints_shown} of {len(self._task.hints)}: {text}"

    def _hints_line(self) -> str:
        return f"{self._hints_shown} of {count(len(self._task.hints), 'hint')} shown"

    def _heading(self) -> str:
        return f"Exercise {self.id} · {self.title} · {self.difficulty} · {self.minutes} min"

    def __repr__(self) -> str:
        return f"{self._heading()}\n{self.question}\nTakes {self.expects}. {self.status}"

    def _repr_html_(self) -> str:
        parts = (*self.question.split("\n\n"), f"Takes {self.expects}.", self.status)
        return card(self._heading(), parts, CARD)
