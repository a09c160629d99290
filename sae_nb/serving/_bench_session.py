"""The bench as a client of the protocol takes it: a task at a time, on the same connection as the tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.files._atomic import free_folder, parsed_json

if TYPE_CHECKING:
    from sae_nb.serving._bench import Book
    from sae_nb.serving._bench_agents import Session
    from sae_nb.serving._bench_tasks import AgentTask, TaskName

ASK_FIRST = "`{what}` must come after next_task, and no task is open. Call next_task."


class BenchRun:
    """The tasks, the one that is open, and what has been answered.

    Parameters
    ----------
    folder
        Where scores are written after every answer.
    tasks, seeds, max_calls
        As of `bench_agent`.
    """

    def __init__(
        self, folder: str | Path, tasks: Sequence[TaskName] | None, seeds: int, max_calls: int
    ) -> None:
        self._folder, self._given = free_folder(folder), (tasks, seeds)
        self._max_calls = max_calls
        self._session: Session | None = None
        self._drawn: AgentTask | None = None
        self._left: Iterator[AgentTask] | None = None
        self._book: Book | None = None

    def next_task(self) -> dict[str, Any]:
        """Give the question that is open, or the next one, or {"done": true} when nothing is left."""
        from sae_nb.serving._bench import Book, drawn_tasks, task_names
        from sae_nb.serving._bench_agents import Session

        if self._left is None:
            tasks, seeds = self._given
            self._left, self._book = drawn_tasks(task_names(tasks), seeds), Book()
        if self._session is None:
            self._drawn = next(self._left, None)
            if self._drawn is None:
                return {"done": True}
            self._session = Session(self._drawn, self._max_calls)
        return {"question": self._session.question, "calls": self._max_calls}

    def submit(self, answer: str | list[int]) -> dict[str, Any]:
        """Answer the open task; one that has not the form it asks for is refused, and the task stays open."""
        if self._session is None or self._drawn is None or self._book is None:
            raise ValueError(ASK_FIRST.format(what="submit"))
        from sae_nb.serving._bench import YOURS

        session, drawn, given = self._session, self._drawn, answer
        if isinstance(answer, str) and answer.lstrip().startswith("["):  # a list as text
            with suppress(ValueError):
                given = parsed_json(answer)
        drawn.score(given)
        self._session = None
        self._book.judge(drawn, self._max_calls)
        self._book.note(drawn, session, YOURS, given)
        self._book.closed().save(self._folder)
        return {"taken": given}

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a tool's answer on the open task's registry."""
        if self._session is None:
            raise ValueError(ASK_FIRST.format(what=name))
        found = self._session.call(name, arguments)
        if "error" in found:
            raise ValueError(found["error"])
        return found
