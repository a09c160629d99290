"""Experiments by name: every module of `sae_nb_lessons.reproductions.experiments` is one."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_nb.files import read_toml
from sae_nb_lessons.reproductions import experiments
from sae_nb_lessons.reproductions._claims import Claim, Kind, read_claims

RENAMED = {
    "sae_nb.pretrained": "sae_nb.ready_made",
    "callbacks=": "listeners=",
    "sn.studies.": "sn.",
    "numbers_of_": "_",
    ", drop_massive=False": "",
}
"""Names that changed after the artefacts were made, and a default that is written out since it changed: neither
counts as new code."""


RECIPES = ("sae_nb.models.recipes", "sae_nb.pretrained.making")
"""Packages that made the bundled models and SAEs; the installed wheel leaves them out."""


@dataclass(frozen=True)
class Experiment:
    """One file of `sae_nb_lessons.reproductions.experiments`.

    Example
    -------
    >>> found = experiment("monotone")
    >>> found.name, "steps" in found.size
    ('monotone', True)
    """

    name: str
    """Of the file, and of its artefact."""

    title: str
    """Its headline on the pages of claims."""

    kind: Kind
    """Kind of question, by which a reader finds it."""

    run: Callable[..., dict[str, float]]
    """run(seed, **size): the numbers of one seed."""

    claims: tuple[Claim, ...]
    """Statements that the numbers are to test."""

    columns: tuple[str, ...]
    """Names of the other experiment's data and of these data, if claims are shown next to another's."""

    size: dict[str, Any]
    """Full size: the keyword defaults of `run`."""

    short: dict[str, Any]
    """Sizes that a short run, as `make reproduce` makes it, changes."""

    code: str
    """Fingerprint of the code, docstrings, comments and wording of the claims left out."""


def experiment_names() -> list[str]:
    """List all experiments.

    Example
    -------
    >>> "monotone" in experiment_names()
    True
    """
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def experiment(name: str) -> Experiment:
    """Find an experiment by the name of its file.

    Parameters
    ----------
    name
        One of `experiment_names()`.

    Raises
    ------
    ValueError: If there is no experiment of this name.
    FileNotFoundError: If it trains a bundled model by a recipe, and this is not a checkout.

    Example
    -------
    >>> experiment("monotone").claims[0].paper
    'arXiv 2506.05239'
    """
    names = experiment_names()
    if name not in names:
        raise ValueError(f"No experiment {name!r}. There are {', '.join(names)}.")
    try:
        module = importlib.import_module(f".{name}", experiments.__name__)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith(RECIPES):
            raise
        raise FileNotFoundError(
            f"{name} trains a bundled model again, by {error.name}, which an installed package does not "
            "hold. Run it in a checkout."
        ) from error
    title, kind, claims, columns = read_claims(experiments.__name__, name)
    defaults = inspect.signature(module.run).parameters.values()
    return Experiment(
        name=name,
        title=title,
        kind=kind,
        run=module.run,
        claims=claims,
        columns=columns,
        size={p.name: _plain(p.default) for p in defaults if p.name != "seed"},
        short=dict(module.SHORT),
        code=fingerprint(Path(inspect.getfile(module)).read_text(encoding="utf-8")),
    )


def floor_exceptions() -> dict[str, tuple[str, ...]]:
    """Return the numbers whose lines a claim's floor or control may meet, by claim; the file has the reasons.

    Example
    -------
    >>> floor_exceptions()["shrinkage / shrinkage"]
    ('l1 least stretch',)
    """
    entries = read_toml(__package__, "exceptions.toml")["exception"]
    return {entry["claim"]: tuple(entry["numbers"]) for entry in entries if entry["why"]}


def _plain(value: Any) -> Any:
    """Return a default as JSON reads it back."""
    return list(value) if isinstance(value, tuple) else value


def fingerprint(source: str) -> str:
    r"""Compute a digest of `run` and of all that it uses of its module, without comments and docstrings.

    Claims may be reworded without making the numbers old. Other modules are not part of the digest:
    their versions are in the artefact.
    """
    parts = {name: node for node in ast.parse(source).body for name in _names(node)}
    used, waiting = {}, ["run"]
    while waiting:
        name = waiting.pop()
        if name in parts and name not in used:
            used[name] = _text(parts[name])
            waiting += [n.id for n in ast.walk(parts[name]) if isinstance(n, ast.Name)]
    in_order = sorted(used, key=_as_before)
    return hashlib.sha256("\n".join(used[name] for name in in_order).encode()).hexdigest()[:16]


def _names(node: ast.stmt) -> list[str]:
    """Return the names that a statement at the top of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def _text(node: ast.stmt) -> str:
    """Return a definition without docstrings and comments."""
    for inner in ast.walk(node):
        body = getattr(inner, "body", None)
        if isinstance(body, list) and len(body) > 1 and _is_text(body[0]):
            inner.body = body[1:]  # type: ignore[attr-defined]
    return _as_before(ast.unparse(node))


def _as_before(text: str) -> str:
    """Return code, or a name, as it was when the artefacts were made."""
    for name, before in RENAMED.items():
        text = text.replace(name, before)
    return text


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
