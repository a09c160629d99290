"""Two atoms next to each other: the similarity of their directions, and the inputs that fire only one
of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sae_nb.atoms._atom import describe_atom
from sae_nb.atoms._catalogue import AtomCatalogue
from sae_nb.atoms._examples import Choice, build_examples, one_per_sample
from sae_nb.atoms._records import AtomSummary, Example
from sae_nb.checks import Count, check_atom, checked


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomPair:
    """Two atoms on the same rows."""

    first: AtomSummary
    second: AtomSummary
    cosine: float
    """Of their directions in the dictionary."""

    n_both: int
    """Rows in which both fire; how many there would be if they were independent."""

    n_by_chance: float
    only_first: tuple[Example, ...]
    """The strongest rows of each sample in which the first fires and the second nowhere does, at most
    one per sample; then the other way round."""

    only_second: tuple[Example, ...]
    n_only_first: int
    """Samples that fire the first and not the second; the other way round."""

    n_only_second: int
    n_shared: int
    """Samples that fire both, at the same position or not."""

    @property
    def lift(self) -> float:
        """Ratio of how often both fire to chance: P(both) / (P(first) P(second)); NaN for a dead atom."""
        return self.n_both / self.n_by_chance if self.n_by_chance else float("nan")


@checked
def compare_atoms(
    catalogue: AtomCatalogue, first: int, second: int, *, n_examples: Count = 6
) -> AtomPair:
    """Compare two atoms.

    Example
    -------
    >>> import torch
    >>> from sae_nb.codes import SparseCodes
    >>> class Signs:
    ...     d_in, n_atoms, dictionary = 2, 2, torch.eye(2)
    ...     def encode(self, x, k=None):
    ...         return SparseCodes.from_dense(x.relu())
    >>> catalogue = AtomCatalogue(Signs(), torch.tensor([[1.0, -1.0], [2.0, 3.0]]))
    >>> pair = compare_atoms(catalogue, 0, 1)
    >>> pair.n_both, pair.lift, [example.row for example in pair.only_first]
    (1, 1.0, [0])
    """
    a, b = (check_atom(atom, catalogue.n_atoms) for atom in (first, second))
    directions = catalogue.dictionary[[a, b]].double()
    lengths = directions.norm(dim=1).clamp_min(1e-12)
    rows_a, rows_b = catalogue.strengths(a)[0], catalogue.strengths(b)[0]
    only_a, only_b = _without(catalogue, a, b), _without(catalogue, b, a)
    return AtomPair(
        first=describe_atom(catalogue, a, n_examples=n_examples, n_neighbours=n_examples),
        second=describe_atom(catalogue, b, n_examples=n_examples, n_neighbours=n_examples),
        cosine=float(directions[0] @ directions[1] / lengths.prod()),
        n_both=len(np.intersect1d(rows_a, rows_b, assume_unique=True)),
        n_by_chance=len(rows_a) * len(rows_b) / catalogue.n_rows,
        only_first=build_examples(catalogue, a, only_a.part(slice(n_examples))),
        only_second=build_examples(catalogue, b, only_b.part(slice(n_examples))),
        n_only_first=len(only_a.rows),
        n_only_second=len(only_b.rows),
        n_shared=len(np.intersect1d(catalogue.samples[rows_a], catalogue.samples[rows_b])),
    )


def _without(catalogue: AtomCatalogue, atom: int, other: int) -> Choice:
    """The strongest row of every sample that fires `atom` and at no position `other`, strongest first."""
    rows, strengths = catalogue.strengths(atom)
    elsewhere = np.unique(catalogue.samples[catalogue.strengths(other)[0]])
    alone = ~np.isin(catalogue.samples[rows], elsewhere)
    rows, strengths = rows[alone], strengths[alone]
    order = np.argsort(-np.abs(strengths), kind="stable")
    order = one_per_sample(order, catalogue.samples[rows])
    return Choice(rows=rows[order], strengths=strengths[order])
