"""The server: the tools, spoken over stdin and stdout. Nothing is written anywhere, and nothing is printed.

`tools/list` answers without torch: a tool's arguments are read from its signature, and the shelf is made when
the first tool is called.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any

from sae_nb.serving._tools import Tools

INSTRUCTIONS = (
    "Look into small neural networks: models and SAEs go by the names that list_models gives. Every answer "
    "has its control and a sentence on what it does not show: report both. Texts are at most 4000 characters, "
    "16 at a time; pictures go by their numbers."
)


def tool_names() -> tuple[str, ...]:
    """Return the names of all tools."""
    return tuple(name for name in vars(Tools) if not name.startswith("_"))


def server(models: Iterable[str] = (), saes: Iterable[str] = ()) -> Any:
    """Return the server, ready to `run()` over stdin and stdout.

    Parameters
    ----------
    models, saes
        Names or folders that clients may use besides the bundled ones.

    Raises
    ------
    ImportError: If the package `mcp` is not installed.
    """
    try:
        from mcp.server import MCPServer
        from mcp.types import ToolAnnotations
    except ImportError as error:
        raise ImportError(
            '`sae-nb mcp` needs the package mcp: pip install "sae-nb[mcp]".'
        ) from error
    built = MCPServer("sae-nb", instructions=INSTRUCTIONS, log_level="ERROR")
    shelf = _Later(tuple(models), tuple(saes))
    for name in tool_names():
        how = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
        built.tool(name, annotations=how, structured_output=False)(_called_later(name, shelf))
    return built


class _Later:
    """The shelf, made at the first call."""

    def __init__(self, models: tuple[str, ...], saes: tuple[str, ...]) -> None:
        self._given = models, saes

    @functools.cached_property
    def shelf(self) -> Any:
        from sae_nb.serving._shelf import Shelf

        return Shelf(*self._given)


def _called_later(name: str, later: _Later) -> Any:
    method = getattr(Tools, name)
    signature = inspect.signature(method, eval_str=True)
    parameters = list(signature.parameters.values())[1:]

    def call(**arguments: Any) -> str:
        import json

        from mcp.server.mcpserver.exceptions import ToolError

        try:
            return json.dumps(getattr(Tools(later.shelf), name)(**arguments), ensure_ascii=False)
        except (ValueError, TypeError, OSError, MemoryError, LookupError) as error:
            raise ToolError(str(error)) from error

    call.__name__, call.__doc__ = name, inspect.getdoc(method)
    keywords = [_keyword(parameter) for parameter in parameters]
    shape = signature.replace(parameters=keywords, return_annotation=str)
    vars(call)["__signature__"] = shape  # which the protocol's schema is made from
    call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": str}
    return call


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
