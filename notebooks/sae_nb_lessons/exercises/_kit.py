"""Exercises that check themselves: hints by mistake, predict before reveal, and texts with a rubric."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from sae_nb_studies.reproductions.toml_texts import filled, read_toml
from sae_nb_lessons.exercises._answers import (
    Blank,
    Form,
    WrongForm,
    tensor,
    whole_number,
    written,
)
from sae_nb_lessons.exercises._cells import digest, solutions
from sae_nb_lessons.exercises._mistakes import Mistake
from sae_nb_lessons.exercises._predictions import COURSE, Prediction
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

NO_MORE = "There are no more hints; `.solution()` shows an answer."
ASK = "There are no more hints but the code: `.hint()` shows it."
N_KEPT = 100
"""Answers that a record keeps: the last ones."""


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
    """Notebook and number: "01.3"."""

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
    """From the idea to an outline; a mistake without a hint of its own reveals the next."""

    code: str = ""
    """Nearly the answer. Only `hint` shows it, after the hints."""

    judge: Callable[[Any], Mistake | str | None] | None = None
    """Takes the answer in its form; returns what is wrong with it, or None. Called by `check`."""

    measure: Callable[[], float | str] | None = None
    """The measurement that a prediction is compared with; computed when it is revealed."""

    unit: str = ""
    """Of a measured number."""

    panel: str = ""
    """Panel of the notebook that the answer is read off, "AtomBrowser", or "slider": a figure that is moved."""

    rubric: tuple[str, ...] = ()
    """Of an open task, which has neither judge nor measurement: what a good text holds, a point each."""

    def __post_init__(self) -> None:
        ways = (self.judge is not None) + (self.measure is not None) + bool(self.rubric)
        if ways != 1:
            raise ValueError(
                f"Exercise {self.id} must have either `judge` (it is checked), `measure` (it is "
                "predicted) or `rubric` (it is written), got "
                + ("neither." if not ways else f"{'both' if ways == 2 else 'all'}.")
            )


@dataclass(frozen=True)
class Answer:
    """The form of an answer, and its judge or measurement (as in `Task`)."""

    form: Form
    judge: Callable[[Any], Mistake | str | None] | None = None
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
            texts[id] | {name: tuple(texts[id].get(name, ())) for name in ("hints", "rubric")},
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
    >>> blank = exercise("01.2").check(...)
    >>> bool(blank), blank.state
    (False, 'blank')
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._tries = 0
        self._hints_shown = 0
        self._solved = False
        self._predicted: Any = None
        self._within: tuple[float, float] | None = None
        self._revelation: Revelation | None = None
        self._text = ""
        self._seen: set[str] = set()
        self._answers: list[dict[str, Any]] = []
        self._solution_shown = False
        self._since: float | None = None

    # --- what a student sees before answering -------------------------------------------------------

    @property
    def id(self) -> str:
        """Notebook and number: "01.3"."""
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
    def panel(self) -> str:
        """Panel of the notebook that the answer is read off; empty: none is needed."""
        return self._task.panel

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
        """Number of hints that have been shown, the code included."""
        return self._hints_shown

    @property
    def record(self) -> dict[str, Any]:
        """What was answered in this kernel, as plain data: every answer in words, what was said of it, and seconds.

        A cell that shows a verdict, and `exercise_report()`, keep it in their outputs, where
        `python -m sae_nb_lessons collect` finds it. `checker` is the digest of the files that judge.
        """
        return {
            "exercise": self.id,
            "checker": digest(),
            "tries": self._tries,
            "hints": self._hints_shown,
            "solution": self._solution_shown,
            "answers": [dict(one) for one in self._answers],
        }

    @property
    def solved(self) -> bool:
        """Whether it was answered correctly, predicted and revealed, or written and assessed."""
        return self._solved

    @property
    def status(self) -> str:
        """One line: the progress so far, and the method to call next."""
        if self.solved:
            return f"solved · {count(self._tries, 'try', 'tries')} · {self._hints_line()}"
        if self._task.rubric:
            return "written, call .score(points)" if self._text else "open · call .write(text)"
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
            True if right, with the reason why it matters; otherwise with what is wrong, and the hint for
            this mistake, or the next one.
        """
        return self._kept("check", answer, self._check(answer))

    def _check(self, answer: object) -> Verdict:
        if self._task.judge is None:
            return self._say("refused", self._way())
        try:
            problem = self._task.judge(self._task.form.read(answer))
        except WrongForm as unreadable:
            return self._unreadable(unreadable)
        self._tries += 1
        if problem is None:
            self._solved = True
            return self._say("right", self._task.why)
        mistake = problem if isinstance(problem, Mistake) else Mistake(problem)
        return self._say("wrong", mistake.said, self._advice(mistake))

    def predict(self, value: object, within: object = None) -> Verdict:
        """Commit to a prediction before looking; it may be changed until it is revealed.

        Parameters
        ----------
        value
            The prediction.
        within
            Two numbers, (low, high): a range that holds the measured number, you are 80 % sure. None: no
            range. `exercise_report` counts how many of them did.
        """
        return self._kept("predict", value, self._predict(value, within))

    def _predict(self, value: object, within: object) -> Verdict:
        if self._task.measure is None:
            return self._say("refused", self._way())
        if self._revelation is not None:
            return self._say(
                "refused", "Already revealed: the first prediction is the one that counts."
            )
        try:
            predicted = self._task.form.read(value)
            self._within = None if within is None else _range(within)
        except WrongForm as unreadable:
            return self._unreadable(unreadable)
        self._predicted = predicted
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
            return self._say("refused", f"Nothing is hidden here. {self._way()}")
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
                record=self.record,
            )
            self._solved = True
            limits = self._task.form.limits
            known = Prediction(self._predicted, self._revelation.measured, limits, self._within)
            COURSE.note(self.id, known)
        return self._revelation

    def write(self, text: object) -> Verdict:
        """Note a text of your own for an open task, and show what a good one holds.

        Parameters
        ----------
        text
            The explanation, in sentences; it may be written again until it is scored.
        """
        return self._kept("write", text, self._write(text))

    def _write(self, text: object) -> Verdict:
        if not self._task.rubric:
            return self._say("refused", self._way())
        try:
            self._text = self._task.form.read(text)
        except WrongForm as unreadable:
            return self._unreadable(unreadable)
        points = (f"({i}) {point}" for i, point in enumerate(self._task.rubric, 1))
        return self._say(
            "noted",
            f"A point for each of these that your text has: {' '.join(points)}",
            "Count them: `.score(points)`.",
        )

    def score(self, points: object) -> Verdict:
        """Assess your own text by the rubric that `write` showed.

        Parameters
        ----------
        points
            The number of points of the rubric that your text has.
        """
        return self._kept("score", points, self._score(points))

    def _score(self, points: object) -> Verdict:
        if not self._task.rubric:
            return self._say("refused", self._way())
        most = len(self._task.rubric)
        try:
            reached = whole_number(0, most).read(points)
        except WrongForm as unreadable:
            return self._unreadable(unreadable)
        if not self._text:
            return self._say("refused", "Write first: `.write(text)` shows the rubric.")
        self._tries += 1
        self._solved = True
        return self._say("assessed", f"{reached} of {most} by your own count. {self._task.why}")

    def hint(self) -> Verdict:
        """Show the next hint without a try, after the last one the code; then that again."""
        shown = self._next_hint(code=True) or self._last_hint()
        return self._say("hint", shown or "There are no hints for this one.")

    def solution(self) -> Verdict:
        """Show an answer of the course, once there was a try; the record says that it was shown."""
        if not (self._tries or self._answers):
            return self._say("refused", "An answer is shown after a try of your own.")
        found = [code for (id, _), code in solutions().items() if id == self.id]
        if not found:
            return self._say(
                "refused", "No answer is installed here: ask for it where you got the course."
            )
        self._solution_shown = True
        shown = self._say("hint", f"An answer: `{found[0]}`")
        return replace(shown, record=self.record)

    def again(self) -> Exercise:
        """Return the same exercise without a try."""
        return Exercise(self._task)

    def reset(self) -> None:
        """Forget tries, hints, prediction, text and record."""
        self._tries = self._hints_shown = 0
        self._solved = False
        self._predicted = self._within = self._revelation = None
        self._text = ""
        self._seen.clear()
        self._answers.clear()
        self._solution_shown, self._since = False, None
        COURSE.forget(self.id)

    # --- saying -----------------------------------------------------------------------------------------

    def _say(self, state: State, said: str, hint: str = "") -> Verdict:
        return Verdict(exercise=self.id, state=state, said=said, hint=hint)

    def _kept(self, method: str, answer: object, verdict: Verdict) -> Verdict:
        """Note an answer and what was said of it; not of a blank, nor of one that this exercise does not take."""
        if verdict.state in ("blank", "refused"):
            return verdict
        self._begin()
        said = verdict.said if verdict.state in ("wrong", "form") else ""
        one = {"asked": method, "answer": written(answer), "state": verdict.state, "said": said}
        self._answers.append(one | {"seconds": round(time.monotonic() - (self._since or 0.0), 1)})
        del self._answers[:-N_KEPT]
        return replace(verdict, record=self.record)

    def _begin(self) -> None:
        """Count seconds from when the question was first seen."""
        if self._since is None:
            self._since = time.monotonic()

    def _unreadable(self, problem: WrongForm) -> Verdict:
        said = str(problem)
        said = f"{said[:1].upper()}{said[1:]}" + "." * (
            not said.rstrip("`").endswith(("?", "…", "."))
        )
        if isinstance(problem, Blank):
            return self._say("blank", said, f"It takes {self.expects}.")
        return self._say("form", said)

    def _way(self) -> str:
        """Return how an exercise of this kind is answered."""
        if self._task.measure is not None:
            return "This one is predicted: `.predict(value)`, then `.reveal()`."
        if self._task.rubric:
            return "This one is written: `.write(text)`, then `.score(points)`."
        return "This one is answered: `.check(answer)`."

    def _advice(self, mistake: Mistake) -> str:
        """Return the hint for a mistake when it is made first, else the next of the exercise; never code."""
        if mistake.hint and mistake.hint not in self._seen:
            self._seen.add(mistake.hint)
            return f"Hint: {mistake.hint}"
        if following := self._next_hint(code=False):
            return following
        return ASK if self._hints_shown < self._n_hints else NO_MORE

    @property
    def _n_hints(self) -> int:
        return len(self._task.hints) + bool(self._task.code)

    def _next_hint(self, *, code: bool) -> str:
        if self._hints_shown == (self._n_hints if code else len(self._task.hints)):
            return ""
        if self._hints_shown > len(self._task.hints):
            return ""
        self._hints_shown += 1
        return self._last_hint()

    def _last_hint(self) -> str:
        if not self._hints_shown:
            return ""
        told = (*self._task.hints, self._task.code)[self._hints_shown - 1]
        return f"Hint {self._hints_shown} of {self._n_hints}: {told}"

    def _hints_line(self) -> str:
        return f"{self._hints_shown} of {count(self._n_hints, 'hint')} shown"

    def _heading(self) -> str:
        used = f" · with the {self.panel}" if self.panel else ""
        return f"Exercise {self.id} · {self.title} · {self.difficulty} · {self.minutes} min{used}"

    def __repr__(self) -> str:
        self._begin()
        return f"{self._heading()}\n{self.question}\nTakes {self.expects}. {self.status}"

    def _repr_html_(self) -> str:
        self._begin()
        parts = (*self.question.split("\n\n"), f"Takes {self.expects}.", self.status)
        return card(self._heading(), parts, CARD)


def _range(within: object) -> tuple[float, float]:
    """Read a range of two numbers, the smaller first."""
    low, high = tensor(2).read(within).tolist()
    if low > high:
        raise WrongForm(f"expected a range (low, high), got {low:g} above {high:g}")
    return low, high
