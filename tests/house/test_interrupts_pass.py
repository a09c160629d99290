"""Ctrl-C reaches the caller: no handler in the packages ends a KeyboardInterrupt, but those listed here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("sae_nb", "widgets/sae_nb_widgets", "notebooks/sae_nb_lessons")
CATCHES = {"BaseException", "KeyboardInterrupt", "Interrupted"}
RAISED_LATER = {
    "sae_nb/background.py": "a SIGINT that is given to Python again, at the end of a process",
    "sae_nb/capturing/_capture.py": "`capture` raises it with the activations so far",
    "sae_nb/interrupts.py": "a command, whose exit status it becomes",
    "studies/sae_nb_studies/dynamics/raptor/_loop.py": "`train_raptor` raises it with the result so far",
    "sae_nb/training/_control.py": "the error of a thread, raised by `wait`",
    "sae_nb/training/_loop.py": "`train` raises it with the result so far",
}


def handlers() -> Iterator[tuple[str, ast.AST]]:
    """Every `except`, `suppress` and `finally` that could end an interrupt, with its file."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(text)):
                if _ends_one(node):
                    yield name, node


def _ends_one(node: ast.AST) -> bool:
    if isinstance(node, ast.Try):  # leaving a `finally` drops what was on its way
        return any(_leaves(statement) for statement in node.finalbody)
    if isinstance(node, ast.ExceptHandler):
        caught = {"BaseException"} if node.type is None else _names(node.type)
        return bool(caught & CATCHES) and not _raises(node)
    if isinstance(node, ast.Call) and "suppress" in _names(node.func):
        return bool(set().union(*map(_names, node.args)) & CATCHES)
    return False


def _names(node: ast.AST) -> set[str]:
    """Last parts of the names in an expression."""
    here = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return here | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def _raises(handler: ast.ExceptHandler) -> bool:
    """Whether its last statement raises."""
    return isinstance(handler.body[-1], ast.Raise)


def _leaves(statement: ast.stmt) -> bool:
    return any(isinstance(part, ast.Return) for part in ast.walk(statement))


def test_no_handler_ends_an_interrupt() -> None:
    """Each that does not raise at its end is listed, with where it is raised instead."""
    found = {f"{name}, line {node.lineno}" for name, node in handlers() if name not in RAISED_LATER}
    assert not found


def test_the_list_is_not_longer_than_needed() -> None:
    """A file that no longer catches one is not excused."""
    assert {name for name, _ in handlers()} == set(RAISED_LATER)
