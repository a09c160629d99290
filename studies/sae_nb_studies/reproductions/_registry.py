"""Experiments by name: every module of `sae_nb_studies.reproductions.experiments` is one."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sae_nb_studies.reproductions import experiments
from sae_nb_studies.reproductions._claims import Claim, Kind, read_claims
from sae_nb_studies.reproductions.toml_texts import read_toml


@dataclass(frozen=True)
class Experiment:
    """One file of `sae_nb_studies.reproductions.experiments`.

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
    module = importlib.import_module(f".{name}", experiments.__name__)
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
