"""The words rules are made of: small statements about a row that anybody can check by eye."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from sae_nb.evaluation.row_facts import RowFacts

Kind = Literal[
    "token", "before", "begins", "ends", "shape", "from position", "up to position", "repeated",
    "label", "not label",
]  # fmt: skip

MOST_TOKENS = 12
"""Tokens that a set may name: more is no explanation."""

_FEWEST_EACH = 2  # firings on a token for a set to name it
_MOST_ENDINGS = 24
_POSITIONS = (1, 2, 4, 8, 16, 32, 64, 128)

SHAPES: dict[str, Callable[[str], bool]] = {
    "a capital letter first": lambda text: text.strip()[:1].isupper(),
    "capitals alone": lambda text: len(text.strip()) > 1 and text.strip().isupper(),
    "lower case": lambda text: text.strip().islower(),
    "a space before": lambda text: text[:1].isspace(),
    "no space before": lambda text: not text[:1].isspace(),
    "a digit": lambda text: any(c.isdigit() for c in text),
    "punctuation": lambda text: bool(text.strip()) and not any(c.isalnum() for c in text),
    "a line break": lambda text: "\n" in text,
}
"""What a token looks like, in words."""


@dataclass(frozen=True)
class Predicate:
    """One statement about a row.

    Example
    -------
    >>> Predicate("token", (" cat", " dog")).text
    'the token is “ cat” or “ dog”'
    """

    kind: Kind
    values: tuple[str, ...]
    """Tokens, endings, a shape, a position or a label's name: any of them."""

    @property
    def text(self) -> str:
        """In words."""
        quoted = " or ".join(f"“{value}”" for value in self.values)
        plain = " or ".join(self.values)
        return {
            "token": f"the token is {quoted}",
            "before": f"the token before is {quoted}",
            "begins": f"the token begins with {quoted}",
            "ends": f"the token ends with {quoted}",
            "shape": f"the token has {plain}",
            "from position": f"position {plain} or later",
            "up to position": f"before position {plain}",
            "repeated": "the token stands earlier in the text too",
            "label": plain,
            "not label": f"not {plain}",
        }[self.kind]

    def holds(self, facts: RowFacts) -> Bool[np.ndarray, " n"]:
        """Return of which rows it is true.

        Parameters
        ----------
        facts
            Of the rows; a label they do not carry is true of none.
        """
        silent = np.zeros(len(facts), dtype=bool)
        if self.kind in ("label", "not label"):
            found = facts.labels.get(self.values[0])
            if found is None:
                return silent
            return found if self.kind == "label" else ~found
        if self.kind == "repeated":
            return facts.repeated
        if self.kind == "from position":
            return facts.position >= int(self.values[0])
        if self.kind == "up to position":
            return facts.position < int(self.values[0])
        ids = facts.before if self.kind == "before" else facts.token
        wanted = [i for i, name in facts.names.items() if self._says(name)]
        return np.isin(ids, wanted) if wanted else silent

    def _says(self, name: str) -> bool:
        if self.kind in ("token", "before"):
            return name in self.values
        if self.kind == "begins":
            return name.strip().startswith(self.values)
        if self.kind == "ends":
            return name.strip().endswith(self.values)
        return SHAPES[self.values[0]](name)


def candidates(
    facts: RowFacts, active: Bool[np.ndarray, " n"], within: Bool[np.ndarray, " n"]
) -> Iterator[Predicate]:
    """Yield statements that may tell where an atom fires, among the rows where a rule holds so far.

    Parameters
    ----------
    facts
        Of the rows.
    active
        Where the atom fires.
    within
        Where the rule so far holds.
    """
    if facts.names:
        yield from _token_sets("token", facts.token, facts, active, within)
    if facts.kind == "language":
        yield from _token_sets("before", facts.before, facts, active, within)
        yield from _endings(facts, active, within)
        yield from (Predicate("shape", (shape,)) for shape in SHAPES)
        yield Predicate("repeated", ())
        for position in _POSITIONS:
            yield Predicate("from position", (str(position),))
            yield Predicate("up to position", (str(position),))
    for name in facts.labels:
        yield Predicate("label", (name,))
        yield Predicate("not label", (name,))


def _token_sets(
    kind: Literal["token", "before"],
    ids: np.ndarray,
    facts: RowFacts,
    active: np.ndarray,
    within: np.ndarray,
) -> Iterator[Predicate]:
    """The set of tokens, most telling first, that reaches the largest F1."""
    known = within & (ids >= 0)
    kinds, place = np.unique(ids[known], return_inverse=True)
    fires = np.bincount(place, weights=active[known], minlength=len(kinds))
    there = np.bincount(place, minlength=len(kinds))
    often = np.flatnonzero(fires >= _FEWEST_EACH)
    # Rare sure tokens first, or the sure ones of the most common.
    for most in (often, often[np.argsort(-fires[often], kind="stable")][:MOST_TOKENS]):
        order = most[np.lexsort((-fires[most], -fires[most] / there[most]))][:MOST_TOKENS]
        if len(order):
            f1 = np.cumsum(fires[order]) / (np.cumsum(there[order]) + active.sum())
            yield _named(kind, kinds[order[: int(np.argmax(f1)) + 1]], facts)


def _named(kind: Literal["token", "before"], ids: np.ndarray, facts: RowFacts) -> Predicate:
    return Predicate(kind, tuple(sorted({facts.names[int(i)] for i in ids})))


def _endings(facts: RowFacts, active: np.ndarray, within: np.ndarray) -> Iterator[Predicate]:
    """Beginnings and endings of two to four letters that active tokens share."""
    chosen, counts = np.unique(facts.token[active & within], return_counts=True)
    for kind in ("begins", "ends"):
        found: dict[str, int] = {}
        for token, count in zip(chosen.tolist(), counts.tolist(), strict=True):
            text = facts.names[token].strip()
            for size in range(2, min(5, len(text))):
                part = text[:size] if kind == "begins" else text[-size:]
                found[part] = found.get(part, 0) + count
        best = sorted(found, key=lambda part: (-found[part], part))[:_MOST_ENDINGS]
        yield from (Predicate(kind, (part,)) for part in best)
