"""The server: the tools, spoken over stdin and stdout. Nothing is printed, and nothing is written but scores.

`tools/list` answers without torch: a tool's arguments are read from its signature, and the registry is made
when the first tool is called.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sae_nb.checks import Count, checked
from sae_nb.serving._bench_session import BenchRun
from sae_nb.serving._tools import REFUSALS, Tools, tool_names

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from sae_nb.serving._bench_tasks import TaskName

INSTRUCTIONS = (
    "Look into small neural networks: models and SAEs go by the names that list_models gives. Every answer "
    "has its control and a sentence on what it does not show: report both. Texts are at most 4000 characters, "
    "16 at a time; pictures go by their numbers."
)


BENCH_INSTRUCTIONS = (
    "Tasks about small neural networks, to be done with these tools. Call next_task for a question, look with "
    "the other tools, and submit one answer; then call next_task again until nothing is left."
)


def server(models: Iterable[str] = (), saes: Iterable[str] = ()) -> MCPServer:
    """Return the server, ready to `run()` over stdin and stdout.

    Parameters
    ----------
    models, saes
        Names or folders that clients may use besides the bundled ones.

    Raises
    ------
    ImportError: If the package `mcp` is not installed.
    """
    given = tuple(models), tuple(saes)

    @functools.cache
    def tools() -> Tools:  # made at the first call
        from sae_nb.serving._registry import Registry

        return Tools(Registry(*given))

    def answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return dict(getattr(tools(), name)(**arguments))

    return _served(INSTRUCTIONS, {name: _tool(name, answer) for name in tool_names()})


@checked(leave=("folder",))
def bench_server(
    folder: str | Path,
    *,
    tasks: Sequence[TaskName] | None = None,
    seeds: Count = 5,
    max_calls: Count = 30,
) -> MCPServer:
    """Return a server that sets the tasks of `bench_agent` to whatever client connects, ready to `run()`.

    It has the tools, and two more: `next_task` gives a question, `submit` takes its answer. Scores, next to the
    fixed rules and the oracle, are written into the folder after every answer.

    Parameters
    ----------
    folder
        A folder of no bench, that is made if needed; `AgentBench.load(folder)` reads it.
    tasks, seeds, max_calls
        As of `bench_agent`.

    Raises
    ------
    ImportError: If the package `mcp` is not installed.
    FileExistsError: If the folder has something else in it.
    """
    run = BenchRun(folder, tasks, seeds, max_calls)
    own = {name: _called(getattr(run, name)) for name in ("next_task", "submit")}
    return _served(BENCH_INSTRUCTIONS, own | {name: _tool(name, run.call) for name in tool_names()})


def _served(instructions: str, tools: Mapping[str, Callable[..., str]]) -> MCPServer:
    """Return a server of some tools."""
    try:
        with _plain_objects():
            import anyio.streams.file
            import anyio.streams.tls  # noqa: F401 - with the rest, while they can be
            from mcp.server import MCPServer
            from mcp.types import ToolAnnotations
    except ImportError as error:
        raise ImportError(
            '`sae-nb mcp` needs the package mcp: pip install "sae-nb[mcp]".'
        ) from error
    built = MCPServer("sae-nb", instructions=instructions, log_level="ERROR")
    for name, tool in tools.items():
        how = ToolAnnotations(
            read_only_hint=name != "submit", destructive_hint=False, open_world_hint=False
        )
        built.tool(name, annotations=how, structured_output=False)(tool)
    return built


@contextmanager
def _plain_objects() -> Iterator[None]:
    """Take back, for the time of an import, the `save` that nnsight gives every object: anyio refuses it."""
    nnsight, mounting = (sys.modules.get(name) for name in ("nnsight", "nnsight._c"))
    if nnsight is None or mounting is None or not hasattr(object, "save"):
        yield
        return
    mounting.unmount("save")
    try:
        yield
    finally:
        mounting.mount(nnsight.save, "save")


def _tool(name: str, answer: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Callable[..., str]:
    """Return a tool with the words and arguments that clients read."""
    method = getattr(Tools, name)

    def call(**arguments: Any) -> dict[str, Any]:
        return answer(name, arguments)

    call.__name__, call.__doc__ = name, inspect.getdoc(method)
    signature = inspect.signature(method, eval_str=True)
    shape = signature.replace(parameters=list(signature.parameters.values())[1:])
    vars(call)["__signature__"] = shape
    return _called(call)


def _called(method: Callable[..., dict[str, Any]]) -> Callable[..., str]:
    """Return a function as the protocol has it: keywords, an answer in JSON, refusals as errors."""
    signature = inspect.signature(method, eval_str=True)
    by_name = inspect.Parameter.KEYWORD_ONLY
    keywords = [parameter.replace(kind=by_name) for parameter in signature.parameters.values()]

    def call(**arguments: Any) -> str:
        from mcp.server.mcpserver.exceptions import ToolError

        try:
            return json.dumps(method(**arguments), ensure_ascii=False)
        except REFUSALS as error:
            raise ToolError(str(error)) from error

    call.__name__, call.__doc__ = method.__name__, inspect.getdoc(method)
    shape = signature.replace(parameters=keywords, return_annotation=str)
    vars(call)["__signature__"] = shape  # which the protocol's schema is made from
    call.__annotations__ = {p.name: p.annotation for p in keywords} | {"return": str}
    return call
