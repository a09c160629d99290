"""The messages that the sources can raise, in hand-made groups, and the rules that parameters share."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

from rooms import PACKAGES, room_of

ROOT = Path(__file__).parents[2]
SOURCES = tuple(ROOT / folder for folder in PACKAGES.values())

GROUPS: dict[str, tuple[str, ...]] = {
    "models": ("sae_nb.models",),
    "capture": ("sae_nb.capturing", "sae_nb.activations"),
    "numbers": (
        "sae_nb.checks",
        "sae_nb.codes",
        "sae_nb.serving",
        "sae_nb._lazy",
        "sae_nb.__main__",
    ),
    "architectures": (
        "sae_nb.architectures",
        "sae_nb.classical",
        "sae_nb.kernels",
        "sae_nb.pursuit",
    ),
    "training": (
        "sae_nb.training",
        "sae_nb.sweeps",
        "sae_nb.progress",
        "sae_nb.interrupts",
    ),
    "files": (
        "sae_nb.files",
        "sae_nb.findings",
        "sae_nb.sessions",
        "sae_nb.pretrained",
        "sae_nb.interop",
        "sae_nb.labelling",
        "sae_nb.site",
    ),
    "steering": ("sae_nb.steering", "sae_nb_studies.steering"),
    "evaluation": (
        "sae_nb.atoms",
        "sae_nb.evaluation",
        "sae_nb.figures",
        "sae_nb.geometry",
        "sae_nb.lenses",
        "sae_nb.statistics",
        "sae_nb.summaries",
        *(
            f"sae_nb_studies.{study}"
            for study in ("circuits", "evaluation", "geometry", "lab", "models", "uses", "vision")
        ),
    ),
    "depth": (
        "sae_nb.dynamics",
        "sae_nb.temporal",
        *(f"sae_nb_studies.{study}" for study in ("dynamics", "minkowski", "temporal")),
    ),
    "data": ("sae_nb.data", "sae_nb_studies.data"),
    "lessons": ("sae_nb_lessons", "sae_nb.diagnosis"),
    "panels": ("sae_nb_widgets",),
}
"""Group of the page → rooms whose messages it lists; `sae_nb` itself belongs to "numbers"."""


@dataclass(frozen=True, order=True)
class Raised:
    """One message, with what varies in braces."""

    module: str
    error: str
    message: str


def errors(group: str) -> str:
    """Every message of a group as a list."""
    found: dict[tuple[str, str], set[str]] = {}
    for one in messages():
        if group_of(one.module) == group:
            found.setdefault((one.error, one.message), set()).add(room_of(one.module))
    if not found:
        raise ValueError(f"No message belongs to {group!r}; groups are {', '.join(GROUPS)}.")
    lines = [
        f"- **{error}** `` {message} `` <small>{', '.join(sorted(rooms))}</small>"
        for (error, message), rooms in sorted(found.items(), key=lambda item: item[0][1])
    ]
    return "\n".join(lines)


def rules(what: str) -> str:
    """A table of the rules that parameters share, read from their annotations.

    Raises
    ------
    ValueError
        If it is asked for anything but "shared".
    """
    if what != "shared":
        raise ValueError(f"`rules` lists those that are 'shared', got {what!r}.")
    from sae_nb import checks

    lines = ["| rule | a parameter must | parameters |", "|---|---|---|"]
    for name, n in _annotated().items():
        kind, rule, *_ = get_args(getattr(checks, name))
        lines.append(f"| `{name}` | {rule.of_kind(kind.__name__).words} | {n} |")
    return "\n".join(lines)


@cache
def _annotated() -> dict[str, int]:
    """How many parameters and fields have each shared rule in their annotation."""
    tree = ast.parse((ROOT / "sae_nb" / "checks" / "_rules.py").read_text(encoding="utf-8"))
    shared = [
        ast.unparse(node.targets[0])
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Annotated")
    ]
    found = dict.fromkeys(shared, 0)
    for folder in SOURCES:
        for file in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                written = node.annotation if isinstance(node, ast.arg | ast.AnnAssign) else None
                for part in ast.walk(written) if written is not None else ():
                    if isinstance(part, ast.Name) and part.id in found:
                        found[part.id] += 1
    return found


def group_of(module: str) -> str | None:
    """The group that lists a module's messages; None if nobody has put it in one."""
    if module == "sae_nb":
        return "numbers"
    for group, modules in GROUPS.items():
        if any(module == name or module.startswith(f"{name}.") for name in modules):
            return group
    return None


@cache
def messages() -> tuple[Raised, ...]:
    """All of them, sorted; statements that pass an error on have none of their own."""
    return tuple(sorted({one for folder in SOURCES for one in _of_folder(folder)}))


def _of_folder(folder: Path) -> Iterator[Raised]:
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        yield from _of_module(module, ast.parse(file.read_text(encoding="utf-8")))


def _of_module(module: str, tree: ast.Module) -> Iterator[Raised]:
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for function in [tree, *functions.values()]:
        for node in _own(function):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for error, message in _called(node.exc, function, functions):
                    yield Raised(module, error, " ".join(message.split()))


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a function (or module) that belong to no function inside it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _own(child)


def _called(
    call: ast.Call, scope: ast.AST, functions: dict[str, ast.FunctionDef]
) -> Iterator[tuple[str, str]]:
    """Error and messages of `ValueError(…)`, or of a function here that makes the error."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in functions:
        for returned in _returned(functions[name]):
            if isinstance(returned, ast.Call):
                yield from _called(returned, functions[name], {})
    elif name[:1].isupper() and call.args:
        for message in _texts(call.args[0], scope, functions):
            yield name, message


def _returned(function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in _own(function):
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value


def _texts(node: ast.expr, scope: ast.AST, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """What an expression can say; an expression that is no text says nothing."""
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(_part(part) for part in parts)
        case ast.IfExp(body=one, orelse=other):
            yield from _texts(one, scope, functions)
            yield from _texts(other, scope, functions)
        case ast.BinOp(left=left, right=right, op=ast.Add()):
            for first in _texts(left, scope, functions):
                for second in list(_texts(right, scope, functions)) or ["{…}"]:
                    yield first + second
        case ast.Name(id=name):
            for value in _assigned(name, scope):
                yield from _texts(value, scope, functions)
        case ast.Call(func=ast.Name(id=name)) if name in functions:
            for value in _returned(functions[name]):
                yield from _texts(value, functions[name], {})


def _assigned(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    for node in _own(scope):
        if isinstance(node, ast.Assign) and name in {ast.unparse(t) for t in node.targets}:
            yield node.value


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else part
    return f"{{{ast.unparse(value)}}}" if isinstance(value, ast.Name | ast.Attribute) else "{…}"
