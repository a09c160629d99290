"""Broader and narrower atoms: one that fires wherever another does, and elsewhere too. Their forest.

A is broader than B if B's firings lie within A's: P(A | B) high above A's own rate, P(B | A) low. The parent of
an atom is the broader one that fires least often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.checks import Between, Seed, checked
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding, column

LEAST_ROWS = 20
"""Rows on which an atom must fire to have a place. Ours."""

LEAST_SCORE = 6.0
"""Standard deviations of a chance count by which both must fire together oftener. Ours."""


class Ontology(Finding):
    """The broader atom of each atom; made by `ontology`."""

    names: tuple[str, ...] = field(metadata=column("name", index=True))
    """Of atoms their number, of known concepts their name; those that fire often enough."""

    parent: tuple[str, ...] = field(metadata=column("broader"))
    """The narrowest of those that are broader; empty at the top."""

    inside: Float[np.ndarray, " n"] = field(metadata=column("P(broader | this)"))
    """How often the broader one fires where this one does; NaN at the top."""

    back: Float[np.ndarray, " n"] = field(metadata=column("P(this | broader)"))
    """How often this one fires where the broader one does; NaN at the top."""

    rate: Float[np.ndarray, " n"] = field(metadata=column("rate"))
    """Share of rows on which it fires."""

    n_shuffled: int
    """Relations where each atom keeps its rate, but fires on other rows."""

    @property
    def n_relations(self) -> int:
        """Atoms that have a broader one."""
        return sum(bool(parent) for parent in self.parent)

    @property
    def depth(self) -> Int[np.ndarray, " n"]:
        """Steps up to the top."""
        place = {name: i for i, name in enumerate(self.names)}
        steps = []
        for name in self.parent:
            n = 0
            while name:
                n, name = n + 1, self.parent[place[name]]
            steps.append(n)
        return np.array(steps, dtype=int)

    @property
    def headline(self) -> str:
        """How many are related, beside chance."""
        deepest = int(self.depth.max(initial=0))
        return (
            f"{self.n_relations} of {len(self.names)} have a broader one, {deepest} steps at most "
            f"(rows shuffled: {self.n_shuffled})"
        )

    @checked
    def figure(self) -> Any:
        """Draw the forest: broader ones to the left, as high as they are many; a click on one opens it alone.

        Colour is how often it fires, paler for more; those without a relation are left out.
        """
        from sae_nb.figures import framed, icicle

        related = [i for i, n in enumerate(self.names) if self.parent[i] or n in self.parent]
        drawn = icicle(
            [self.names[i] for i in related],
            [self.parent[i] for i in related],
            self.rate[related] ** 0.5,
            customdata=np.stack([self.rate, self.inside, self.back], axis=1)[related],
            hovertemplate="%{label} fires on %{customdata[0]:.2%}; where it does, %{parent} fires on "
            "%{customdata[1]:.0%}, and back %{customdata[2]:.0%}<extra></extra>",
        )
        return framed([drawn], height=420)


@checked(leave=("concepts",))
def ontology(
    codes: SparseCodes,
    concepts: Mapping[str, Any] | None = None,
    *,
    inside: Annotated[float, Between(0, 1, "(]")] = 0.75,
    back: Annotated[float, Between(0, 1, "(]")] = 0.6,
    seed: Seed = 0,
) -> Ontology:
    """Find which atoms are broader than which, from their firings alone, and the forest that they make.

    A is broader than B if (P(A | B) − P(A)) / (1 − P(A)) ≥ `inside`, P(B | A) ≤ `back`, and both fire together
    oftener than atoms of their rates would by chance.

    Parameters
    ----------
    concepts
        What is known of each row, by name, as truth values: a colour, a class. They take part like atoms, so
        that atoms come to stand below what they are part of.
    inside
        1: B never fires without A; 0: no oftener with A than by chance.
    back
        How often B may fire where A does. Two atoms that are one another's copies are not related.
    seed
        Of the shuffled rows.

    Raises
    ------
    ValueError: If a concept has another number of rows.

    Source
    ------
    Ours; the words are those of thesauri (broader, narrower: SKOS).

    Example
    -------
    >>> from sae_nb.data import concept_tree
    >>> tree = concept_tree(3000)  # 3 parents, numbers 0, 4 and 8, with three children each; 8 leaves
    >>> found = ontology(tree.codes)
    >>> found.n_relations, found.parent[1:4], found.n_shuffled
    (9, ('0', '0', '0'), 0)
    """
    used = np.unique(codes.atoms.cpu().numpy())
    fires = (codes.of_atoms(used) != 0).numpy(force=True)
    names = [str(atom) for atom in used.tolist()]
    for name, rows in (concepts or {}).items():
        true = np.asarray(rows, dtype=bool)
        if true.shape != (len(fires),):
            raise ValueError(
                f"`concepts[{name!r}]` must have a truth value for each of {len(fires)} rows, got shape "
                f"{true.shape}."
            )
        fires, names = np.column_stack([fires, true]), [*names, str(name)]
    often = fires.sum(axis=0) >= LEAST_ROWS
    fires, names = fires[:, often], [n for n, on in zip(names, often, strict=True) if on]
    parent, given, reverse = _parents(fires, inside, back)
    mixed = np.random.default_rng(seed).permuted(fires, axis=0)
    top = parent < 0
    return Ontology(
        names=tuple(names),
        parent=tuple("" if p < 0 else names[p] for p in parent),
        inside=np.where(top, np.nan, given),
        back=np.where(top, np.nan, reverse),
        rate=fires.mean(axis=0) if len(names) else np.zeros(0),
        n_shuffled=int((_parents(mixed, inside, back)[0] >= 0).sum()),
    )


def _parents(
    fires: Bool[np.ndarray, "rows n"], inside: float, back: float
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The narrowest broader one of each, −1 at the top; P(broader | this) and P(this | broader)."""
    n = fires.shape[1]
    if not n:
        return np.zeros(0, dtype=int), np.zeros(0), np.zeros(0)
    x = fires.astype(np.float64)
    counts, together = x.sum(axis=0), x.T @ x
    usual, rate = np.outer(counts, counts) / len(x), counts / len(x)
    given = together / counts[:, None]  # row B, column A: P(A | B)
    above = (given - rate) / np.maximum(1 - rate, 1e-12)
    broader = (
        (above >= inside) & (back >= given.T) & (together > usual + LEAST_SCORE * np.sqrt(usual))
    )
    broader &= (counts[:, None] < counts) & ~np.eye(n, dtype=bool)
    parent = np.where(broader, counts, np.inf).argmin(axis=1)
    rows = np.arange(n)
    return np.where(broader.any(axis=1), parent, -1), given[rows, parent], given.T[rows, parent]
