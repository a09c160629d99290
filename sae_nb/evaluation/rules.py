"""Rule induction: say in a few words where an atom fires, by statements that anybody can check.

A rule is a conjunction of at most a few statements about the row (its token, the one before, its place,
its labels), added greedily while F1 = 2TP / (2TP + FP + FN) on the rows it is made from still grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from sae_nb.activations import Activations
from sae_nb.checks import check_atom, check_count
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.encoded_rows import check_codes
from sae_nb.evaluation.predicates import Predicate, candidates
from sae_nb.evaluation.row_facts import RowFacts

FEWEST_FIRINGS = 8
"""Rows in which an atom must fire for a rule to be made."""

_GROWS_BY = 0.01  # a further statement must raise F1 by so much


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Where an atom fires, in words, and how well that is true of the rows it was made from."""

    atom: int
    """Row of the dictionary."""

    terms: tuple[Predicate, ...]
    """All of which must hold; none: every row."""

    f1: float
    """On the rows it was made from; `score_explanations` judges rules on others."""

    precision: float
    """Share of the rows it names in which the atom fires."""

    recall: float
    """Share of the rows in which the atom fires that it names."""

    floor: float
    """F1 of naming every row."""

    n: int
    """Rows it was made from."""

    @property
    def text(self) -> str:
        """In words."""
        return " and ".join(term.text for term in self.terms) if self.terms else "everywhere"

    def holds(self, facts: RowFacts) -> Bool[np.ndarray, " n"]:
        """Return which rows it names.

        Parameters
        ----------
        facts
            Of the rows.
        """
        named = np.ones(len(facts), dtype=bool)
        for term in self.terms:
            named &= term.holds(facts)
        return named

    def __repr__(self) -> str:
        return f"Rule(atom {self.atom} fires where {self.text}; F1 {self.f1:.2f}, floor {self.floor:.2f})"


def induce_rule(
    acts: Activations,
    codes: SparseCodes,
    atom: int,
    *,
    labels: Mapping[str, Any] | None = None,
    max_terms: int = 3,
    facts: RowFacts | None = None,
) -> Rule:
    """Find a small rule for where an atom fires (z ≠ 0).

    Parameters
    ----------
    acts
        Rows with the samples behind them.
    codes
        Of these rows.
    atom
        Row of the dictionary.
    labels
        What else is known: booleans by name, one per sample or per row.
    max_terms
        Statements at most.
    facts
        Of the same rows, where they were read before; `labels` is then not looked at.

    Returns
    -------
    Rule
        With `.text`, and `.holds(facts)` for other rows.

    Raises
    ------
    TypeError, ValueError, IndexError
        If there is no such atom, it fires too rarely (the message says how often), or codes or labels
        are of other rows.

    Source
    ------
    Greedy conjunctions by F1 are ours; lists of token sets follow Bills et al. 2023 in spirit.

    Example
    -------
    >>> import torch
    >>> acts = Activations.from_tensor(torch.rand(40, 2))
    >>> even = torch.arange(40) % 2 == 0
    >>> codes = SparseCodes.from_dense(even[:, None].float())
    >>> induce_rule(acts, codes, 0, labels={"an even row": even}).text
    'an even row'
    """
    check_codes(codes, len(acts), codes.n_atoms)
    atom = check_atom(atom, codes.n_atoms)
    check_count(max_terms, name="max_terms")
    facts = RowFacts.of(acts, labels) if facts is None else facts
    active = fires_in(codes, atom)
    if int(active.sum()) < FEWEST_FIRINGS:
        raise ValueError(
            f"`atom` must fire in at least {FEWEST_FIRINGS} rows for a rule, got atom {atom}, which "
            f"fires in {int(active.sum())} of {len(active)}. Show it more inputs."
        )
    return _grown(atom, facts, active, max_terms)


def fires_in(codes: SparseCodes, atom: int) -> Bool[np.ndarray, " n"]:
    """Return in which rows an atom fires (z ≠ 0).

    Parameters
    ----------
    codes
        Of the rows.
    atom
        Row of the dictionary.
    """
    rows, values = codes.strengths(atom)
    active = np.zeros(len(codes), dtype=bool)
    active[rows[values != 0].cpu().numpy()] = True
    return active


def _grown(atom: int, facts: RowFacts, active: np.ndarray, max_terms: int) -> Rule:
    terms: tuple[Predicate, ...] = ()
    named = np.ones(len(facts), dtype=bool)
    reached = floor = _f1(named, active)
    for _ in range(max_terms):
        best: tuple[float, Predicate, np.ndarray] | None = None
        for term in candidates(facts, active, named):
            holds = named & term.holds(facts)
            f1 = _f1(holds, active)
            if best is None or f1 > best[0]:
                best = (f1, term, holds)
        if best is None or best[0] < reached + _GROWS_BY:
            break
        reached, terms, named = best[0], (*terms, best[1]), best[2]
    hits = int((named & active).sum())
    return Rule(
        atom=atom,
        terms=terms,
        f1=reached,
        precision=hits / max(int(named.sum()), 1),
        recall=hits / max(int(active.sum()), 1),
        floor=floor,
        n=len(facts),
    )


def _f1(named: np.ndarray, active: np.ndarray) -> float:
    return float(2 * (named & active).sum() / max(int(named.sum() + active.sum()), 1))
