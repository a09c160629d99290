"""The bench for agents: tasks with known answers, done with the server's tools, a floor and a ceiling."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from sae_nb.checks import Count, Seed, at_least, checked, one_of, shown
from sae_nb.findings import Finding
from sae_nb.progress import progress_bar
from sae_nb.serving._bench_agents import Agent, NoAnswerError, Session, oracle, program, rule_based
from sae_nb.serving._bench_tasks import TASK_NAMES, AgentTask, TaskName, task
from sae_nb.statistics import mean_interval

if TYPE_CHECKING:
    from pandas import DataFrame

RULES, ORACLE, YOURS = "rule-based", "oracle", "yours"
ALL = "all"
MAX_CALLS = 30


class AgentBench(Finding):
    """Scores of agents on tasks with known answers; made by `bench_agent`."""

    table: DataFrame
    """A row per task and agent: task ("all": the mean over tasks), agent, score (mean over seeds, in [0, 1]),
    low, high (Student's 95 % interval over seeds; NaN for one seed), chance (mean score of a guess), calls
    (mean number of tool calls), refused (how many of all calls were), unanswered (tasks without an answer in
    the form that was asked for, which score 0)."""

    runs: DataFrame
    """A row per task, seed and agent: task, seed, agent, score, chance, answer, calls, refused, reason (why
    there is no valid answer)."""

    calls: DataFrame
    """A row per tool call: task, seed, agent, tool, arguments, answer (both as JSON)."""

    questions: DataFrame
    """A row per task and seed: task, seed, question."""

    @property
    def headline(self) -> str:
        """Every agent's mean over the tasks, next to a guess."""
        rows = self.table[self.table["task"] == ALL]
        scores = ", ".join(f"{a} {s:.2f}" for a, s in zip(rows["agent"], rows["score"]))
        n_seeds = self.runs["seed"].nunique()
        return (
            f"{scores}; a guess {rows['chance'].iloc[0]:.2f}; {n_seeds} seed{'s' * (n_seeds > 1)}"
        )

    @property
    def below(self) -> tuple[str | DataFrame, ...]:
        """The table."""
        return (self.table.round(3),)

    def transcript(self, task: str, seed: int = 0, agent: str = RULES) -> str:
        """Return one conversation as Markdown: the question, every call with what came back, the answer.

        Raises
        ------
        ValueError: If there is no such task, seed or agent in this bench.
        """
        known = [tuple(row) for row in self.runs[["task", "seed", "agent"]].to_numpy().tolist()]
        if (task, seed, agent) not in known:
            raise ValueError(
                f"`task`, `seed` and `agent` must be of this bench, got {task!r}, {seed!r}, {agent!r}. "
                f"The first of {len(known)} is {known[0]}."
            )
        asked = self.questions[(self.questions["task"] == task) & (self.questions["seed"] == seed)]
        parts = [f"**Question.** {asked['question'].iloc[0]}"]
        for row in _of(self.calls, task, seed, agent).to_dict("records"):
            parts.append(f"**Call.** `{row['tool']}`\n\n```json\n{row['arguments']}\n```")
            parts.append(f"```json\n{row['answer']}\n```")
        run = _of(self.runs, task, seed, agent).iloc[0]
        parts.append(
            f"**Answer.** {run['answer']} Score {run['score']:.2f}; a guess {run['chance']:.2f}."
        )
        return "\n\n".join(parts)


def _of(table: DataFrame, task: str, seed: int, agent: str) -> DataFrame:
    return table[(table["task"] == task) & (table["seed"] == seed) & (table["agent"] == agent)]


@checked(leave=("agent", "tasks"))
def bench_agent(
    agent: Agent | str | Sequence[str] | None = None,
    *,
    tasks: Sequence[TaskName] | None = None,
    seeds: Count = 5,
    max_calls: Count = MAX_CALLS,
    timeout: Annotated[float, at_least(1)] = 600.0,
    progress: bool = True,
) -> AgentBench:
    """Score an agent that looks into small networks with the server's tools, next to fixed rules and an oracle.

    Each task is drawn by its seed: planted atoms, circuits that are known, changes planted by fine-tuning. All
    tasks of one seed take about twenty seconds, and the agent's own time.

    Parameters
    ----------
    agent
        A program, as a command line or a list of its parts: it is started for every task, and reads and writes
        lines of JSON. Or a function that takes a session (`question`, `call(name, arguments)`) and returns the
        answer. None: the fixed rules and the oracle alone.
    tasks
        Some of "atoms", "head", "neurons", "change", "faint change"; None: all.
    seeds
        Number of seeds, from 0 on; intervals need two.
    max_calls
        Tool calls that are answered in one task.
    timeout
        Seconds that a program has for one task, the tools' own included.

    Raises
    ------
    ValueError, TypeError: If there is no such task or program.

    Source
    ------
    Ours. Planted fine-tunings that an agent has to name: arXiv 2510.13900.

    Example
    -------
    >>> found = bench_agent(lambda session: "2", tasks=["head"], seeds=1, progress=False)
    >>> found.table["agent"].tolist()[:3]
    ['rule-based', 'oracle', 'yours']
    """
    names = task_names(tasks)
    yours = None if agent is None else _agent(agent, timeout)
    book = Book()
    with progress_bar(len(names) * seeds, "tasks", "task", enabled=progress) as bar:
        for drawn in drawn_tasks(names, seeds):
            book.judge(drawn, max_calls)
            if yours is not None:
                book.have(yours, drawn, max_calls, YOURS)
            bar.update()
    return book.closed()


@checked
def bench_task(name: TaskName, seed: Seed = 0) -> dict[str, float]:
    """Return what the fixed rules, the oracle and a guess score on one task.

    Example
    -------
    >>> bench_task("head", 0)
    {'rule-based': 1.0, 'oracle': 1.0, 'a guess': 0.25}
    """
    drawn, book = task(name, seed), Book()
    book.judge(drawn, MAX_CALLS)
    runs = book.closed().runs
    return dict(zip(runs["agent"], runs["score"])) | {"a guess": drawn.chance}


def drawn_tasks(names: Sequence[TaskName], seeds: int) -> Iterator[AgentTask]:
    """Yield every task of every seed, made when it is asked for."""
    for seed in range(seeds):
        for name in names:
            yield task(name, seed)


def task_names(tasks: object) -> list[TaskName]:
    """Return the tasks that were asked for, once each."""
    if tasks is None:
        return list(TASK_NAMES)
    if isinstance(tasks, str) or not isinstance(tasks, Sequence) or not tasks:
        raise TypeError(f"`tasks` must be a list of tasks, got {shown(tasks)}. Pass ['head'], say.")
    for name in tasks:
        one_of(name, TASK_NAMES, name="tasks")
    return list(dict.fromkeys(tasks))


def _agent(agent: Agent | str | Sequence[str], timeout: float) -> Agent:
    if callable(agent):
        return agent
    command = shlex.split(agent) if isinstance(agent, str) else agent
    if not isinstance(command, Sequence) or not all(isinstance(part, str) for part in command):
        raise TypeError(
            f"`agent` must be a function, a command line or a list of its parts, got {shown(agent)}. Pass "
            "'python my_agent.py', say."
        )
    if not command or shutil.which(command[0]) is None:
        raise ValueError(
            f"`agent` must begin with a program that is there, got {shown(agent)}. Give its full path."
        )
    return program(list(command), timeout)


class Book:
    """A record of every answer and call."""

    def __init__(self) -> None:
        self._runs: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._questions: dict[tuple[str, int], str] = {}

    def judge(self, drawn: AgentTask, max_calls: int) -> None:
        """Have the fixed rules and the oracle do a task."""
        calls = max(max_calls, MAX_CALLS)
        self.have(rule_based, drawn, calls, RULES)
        self.note(drawn, Session(drawn, calls), ORACLE, oracle(drawn))

    def have(self, agent: Agent, drawn: AgentTask, max_calls: int, name: str) -> None:
        """Have an agent do a task, whose answer it is not given; without an answer it scores 0."""
        session = Session(drawn, max_calls)
        try:
            self.note(drawn, session, name, agent(session))
        except NoAnswerError as error:
            self._note(drawn, session, name, None, 0.0, str(error))

    def note(self, drawn: AgentTask, session: Session, name: str, answer: object) -> None:
        """Note an answer and its score, which is 0 if it has not the form that was asked for."""
        try:
            self._note(drawn, session, name, answer, drawn.score(answer), "")
        except (ValueError, TypeError) as error:
            self._note(drawn, session, name, answer, 0.0, str(error))

    def _note(
        self,
        drawn: AgentTask,
        session: Session,
        agent: str,
        answer: object,
        score: float,
        reason: str,
    ) -> None:
        here = {"task": drawn.name, "seed": drawn.seed, "agent": agent}
        refused = sum("error" in call["answer"] for call in session.calls)
        self._questions[drawn.name, drawn.seed] = drawn.question
        self._runs.append(
            here
            | {"score": score, "chance": drawn.chance, "answer": _json(answer)}
            | {"calls": len(session.calls), "refused": refused, "reason": reason}
        )
        self._calls += [
            here
            | {"tool": str(call["tool"])}
            | {name: _json(call[name]) for name in ("arguments", "answer")}
            for call in session.calls
        ]

    def closed(self) -> AgentBench:
        """Return the scores."""
        import pandas as pd

        runs, columns = (
            pd.DataFrame(self._runs),
            ["task", "seed", "agent", "tool", "arguments", "answer"],
        )
        asked = [(*key, question) for key, question in self._questions.items()]
        return AgentBench(
            table=_scores(runs),
            runs=runs,
            calls=pd.DataFrame(self._calls, columns=columns),
            questions=pd.DataFrame(asked, columns=["task", "seed", "question"]),
        )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _scores(runs: DataFrame) -> DataFrame:
    import pandas as pd

    by_task = [(str(name), part) for name, part in runs.groupby("task", sort=False)]
    rows = []
    for name, part in [(ALL, runs), *by_task]:
        for agent, own in part.groupby("agent", sort=False):
            seeds = own.groupby("seed")[["score", "chance"]].mean()
            mean = float(seeds["score"].mean())
            sd = statistics.stdev(seeds["score"]) if len(seeds) > 1 else math.nan
            low, high = (
                mean_interval(mean, sd, len(seeds)) if len(seeds) > 1 else (math.nan, math.nan)
            )
            rows.append(
                {"task": name, "agent": agent, "score": mean, "low": low, "high": high}
                | {"chance": float(seeds["chance"].mean()), "calls": float(own["calls"].mean())}
                | {
                    "refused": int(own["refused"].sum()),
                    "unanswered": int((own["reason"] != "").sum()),
                }
            )
    return pd.DataFrame(rows)
