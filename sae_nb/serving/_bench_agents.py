"""Agents of the bench: a fixed rule for each kind of task (the floor), one that knows the answers (the
ceiling), and a program of yours that is spoken to over its stdin and stdout.
"""

from __future__ import annotations

import inspect
import json
import queue
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sae_nb.background import Task
from sae_nb.files._atomic import parsed_json
from sae_nb.serving._tools import REFUSALS, Tools, tool_names

if TYPE_CHECKING:
    from sae_nb.serving._bench_tasks import AgentTask

MAX_LINE = 100_000
"""Most characters of one line of a program."""


class NoAnswerError(ValueError):
    """An agent ended, was too slow, or wrote what is neither a call nor an answer."""


class Session:
    """One task in work: its question, the tools, and a record of every call. The right answer is not in it.

    Parameters
    ----------
    task
        The task.
    max_calls
        Calls that are answered; the ones after that come back as errors.
    """

    def __init__(self, task: AgentTask, max_calls: int) -> None:
        self.name: str = task.name
        self.question: str = task.question  # the text that the agent reads
        self.material: Mapping[str, Any] = (
            task.material
        )  # names on the registry, inputs to begin with
        self.n_asked: int | None = getattr(task.answer, "k", None)
        self.max_calls = max_calls
        self.calls: list[dict[str, Any]] = []
        self._tools = Tools(task.registry)

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Name, description and arguments of every tool."""
        return [
            {
                "name": name,
                "description": inspect.getdoc(getattr(Tools, name)),
                "arguments": {
                    p.name: f"{p.annotation}{'' if p.default is p.empty else f' = {p.default!r}'}"
                    for p in list(inspect.signature(getattr(Tools, name)).parameters.values())[1:]
                },
            }
            for name in tool_names()
        ]

    def call(self, name: object, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a tool's answer, or {"error": …} if the call is refused."""
        found = self._answered(name, arguments)
        self.calls.append({"tool": name, "arguments": arguments, "answer": found})
        return found

    def _answered(self, name: object, arguments: dict[str, Any]) -> dict[str, Any]:
        if len(self.calls) >= self.max_calls:
            return {"error": f"No calls are left: {self.max_calls} were made. Answer now."}
        if name not in tool_names():
            known = ", ".join(tool_names())
            return {"error": f"`call` must be one of {known}, got {name!r:.40}. Name a tool."}
        if not isinstance(arguments, dict):
            return {
                "error": f"`arguments` must be an object, got {arguments!r:.40}. Send {{}}, say."
            }
        method = getattr(self._tools, str(name))
        if (wrong := _unfit(method, arguments)) is not None:
            return {"error": wrong}
        try:
            return dict(method(**arguments))
        except REFUSALS as error:
            return {"error": str(error)}


def _unfit(method: Callable[..., Any], arguments: dict[str, Any]) -> str | None:
    """Return why arguments have not the names that a tool takes; None if they have."""
    taken = inspect.signature(method).parameters
    missing = [name for name, p in taken.items() if p.default is p.empty and name not in arguments]
    if not missing and arguments.keys() <= taken.keys():
        return None
    names, given = ", ".join(taken) or "no names", ", ".join(map(str, arguments)) or "none"
    advice = f"Add {', '.join(missing)}" if missing else "Leave the others out"
    return f"`arguments` must have {names}, got {given}. {advice}."


Agent = Callable[[Session], object]
"""A function of a session that returns the answer."""


def oracle(task: AgentTask) -> object:
    """Return the right answer: the ceiling."""
    truth = task.truth
    return (
        sorted(truth)[: getattr(task.answer, "k", None)] if isinstance(truth, frozenset) else truth
    )


def rule_based(session: Session) -> str | list[int]:
    """Answer by one fixed rule for each kind of task: the floor that an agent has to beat.

    atoms: those that a certificate calls real. head: the head of block 0 that restores most, on most pairs.
    neurons: those that most texts' circuits name. change: of the raised tokens, the first that begins a word of
    one of the choices; none does: nothing.
    """
    return _RULES[session.name](session)


def _answer(session: Session, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    found = session.call(name, arguments)
    if "error" in found:
        raise NoAnswerError(found["error"])
    return dict(found["answer"])


def _certified(session: Session) -> list[int]:
    asked = {"sae": session.material["sae"], "seconds": 300}
    return list(_answer(session, "certificate", asked)["real"])


def _restoring(session: Session) -> str:
    votes: Counter[int] = Counter()
    given = session.material
    for clean, corrupted in given["pairs"]:
        asked = {"model": given["model"], "clean": clean, "corrupted": corrupted, "sites": "heads"}
        places = _answer(session, "patch", asked)["places"]
        votes.update([next(place["head"] for place in places if place["layer"] == 0)])
    return str(votes.most_common(1)[0][0])


def _named_most(session: Session) -> list[int]:
    votes: Counter[int] = Counter()
    given = session.material
    for text in given["texts"]:
        nodes = _answer(session, "circuit", {"model": given["model"], "text": text})["nodes"]
        votes.update({int(name.split()[1]) for name in nodes})
    return [neuron for neuron, _ in votes.most_common(session.n_asked)]


def _raised(session: Session) -> str:
    given = session.material
    asked = {"model_a": given["before"], "model_b": given["after"], "inputs": given["texts"]}
    for one in _answer(session, "diff", asked)["outcomes"]:
        token = str(one["outcome"]).strip()
        tells = one["change"] > 0 and (len(token) > 1 or not token.isalpha())
        for name, choice in given["choices"].items():
            if tells and token and any(word.startswith(token) for word in choice["words"]):
                return str(name)
    return "nothing"


_RULES: dict[str, Callable[[Session], str | list[int]]] = {
    "atoms": _certified,
    "head": _restoring,
    "neurons": _named_most,
    "change": _raised,
    "faint change": _raised,
}


def program(command: Sequence[str], timeout: float) -> Agent:
    """Return the agent that a program is: started for every task, one JSON object per line.

    It reads {"question", "tools", "calls"} first, then {"result"} or {"error"} after each call; it writes
    {"call": name, "arguments": {…}} or, to end, {"answer": …}. Its stderr is not read.
    """

    def agent(session: Session) -> object:
        with _started(command, time.monotonic() + timeout) as (send, receive):
            send({"question": session.question, "tools": session.tools, "calls": session.max_calls})
            while True:
                said = receive()
                if "answer" in said:
                    return said["answer"]
                if "call" not in said:
                    raise NoAnswerError(
                        f'a line must have "call" or "answer", got {", ".join(said) or "neither"}'
                    )
                found = session.call(said["call"], said.get("arguments", {}))
                send(found if "error" in found else {"result": found})

    return agent


@contextmanager
def _started(
    command: Sequence[str], end: float
) -> Iterator[tuple[Callable[[Any], None], Callable[[], dict[str, Any]]]]:
    """Run a program; give what sends an object to it, and what receives one."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    lines: queue.Queue[str] = queue.Queue()
    to, of = process.stdin, process.stdout

    def read() -> None:
        while of is not None and (line := of.readline(MAX_LINE + 1)):
            lines.put(line)
        lines.put("")

    def send(content: object) -> None:
        with suppress(BrokenPipeError):  # it reads no more: what it wrote until then decides
            if to is not None:
                to.write(json.dumps(content, ensure_ascii=False) + "\n")
                to.flush()

    def receive() -> dict[str, Any]:
        try:
            line = lines.get(timeout=max(end - time.monotonic(), 0))
        except queue.Empty:
            raise NoAnswerError("no answer within the time") from None
        return _object(line)

    reader = Task("agent", read, stop=process.kill)
    try:
        yield send, receive
    finally:
        process.kill()
        process.wait()
        reader.wait()
        for stream in filter(None, (to, of)):
            with suppress(BrokenPipeError):  # what was not flushed has no reader
                stream.close()


def _object(line: str) -> dict[str, Any]:
    """Return the object of a line."""
    if not line:
        raise NoAnswerError("the program ended before it answered")
    if len(line) > MAX_LINE:
        raise NoAnswerError(f"a line must have at most {MAX_LINE} characters")
    try:
        found = parsed_json(line)
    except ValueError:
        raise NoAnswerError(f"a line must be JSON, got {line.strip()!r:.60}") from None
    if not isinstance(found, dict):
        raise NoAnswerError(f"a line must be a JSON object, got {line.strip()!r:.60}")
    return found
