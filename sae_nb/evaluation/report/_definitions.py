"""Which formula stands behind a number: every measurement names one of these by its id.

Several quantities carry the same name in different libraries and are not interchangeable, so a
value without its definition id says nothing. The texts are in `definitions.toml`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from sae_nb.checks import one_of


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One measured quantity, in words and as a formula."""

    id: str
    """Stable name that reports and files carry."""

    formula: str
    """How it is computed; e = x − x̂, z the code, μ the mean row of the whole set."""

    better: Literal["higher", "lower", "one", "none"]
    """Which direction is good; "one" means close to 1, "none" that it depends."""

    floor: str
    """What the floor beside the value is."""

    resampled: Literal["samples", "atoms"]
    """What the bootstrap draws."""

    differs: str = ""
    """Where libraries compute something else under this name; empty where they agree or have none."""


@cache
def definition_families() -> dict[str, dict[str, Definition]]:
    """Return every definition by id, under the title of its family."""
    text = resources.files(str(__package__)).joinpath("definitions.toml").read_text("utf-8")
    families = {}
    for family in tomllib.loads(text).values():
        shared = {key: value for key, value in family.items() if not isinstance(value, dict)}
        title = shared.pop("title")
        families[title] = {
            name: Definition(id=name, **shared | entry)
            for name, entry in family.items()
            if isinstance(entry, dict)
        }
    return families


def known_definitions() -> dict[str, Definition]:
    """Return every definition there is, by id."""
    return {name: one for family in definition_families().values() for name, one in family.items()}


def define(definition: str) -> Definition:
    """Return what a definition id stands for.

    Parameters
    ----------
    definition
        An id as carried by `Measurement.definition`.

    Returns
    -------
    Definition
        Formula, direction, floor.

    Raises
    ------
    ValueError: If there is no such id.

    Example
    -------
    >>> define("fvu_pooled").better
    'lower'
    """
    known = known_definitions()
    return known[one_of(definition, sorted(known), name="definition")]
