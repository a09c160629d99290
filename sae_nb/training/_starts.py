"""Where a dictionary may start: at directions read off the data, level by level.

A concept is identified at the fewest steps that reach it. Concepts that occur alone show at k = 1; a
child, which comes only with its parent, shows in the residual of one step. With more steps than that,
dictionaries of sums and differences reconstruct as exactly as the true one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures._initialisation import Directions, starting_atoms
from sae_nb.architectures.parts._operators import random_unit_rows
from sae_nb.architectures.parts._proxes import Rows
from sae_nb.codes import SparseCodes
from sae_nb.pursuit import matching_pursuit

TRIES = 3
"""Draws of every set of directions; the one with the smallest loss is kept."""

CANDIDATES = 20
"""Rows that are drawn for each direction; the one that explains most becomes it."""

ROUNDS, ROUNDS_OF_LEVELS = 50, 20
"""Rounds of Lloyd's algorithm on a whole dictionary, and on each part that a level replaces."""

MOST_SIZES = 64
"""Numbers of replaced atoms that a level tries: all of them below this, evenly spaced ones above."""


@starting_atoms.answer
def _starting_atoms(
    x: Rows,
    n_atoms: int,
    *,
    levels: int,
    tolerance: float,
    generator: torch.Generator | None,
) -> Directions:
    """Return unit directions that x is made of, with as few steps as possible.

    1. Spread: k-means++ on directions. Of 20 rows, drawn in proportion to what the atoms so far leave
       of ‖x‖², the one that explains most becomes the next atom.
    2. Lines: Lloyd's algorithm at k = 1. A row goes to its best atom; an atom becomes the direction of
       Σ amount · row.
    3. For every further level: atoms whose rows vary most after the steps before are candidates for
       being sums of two concepts. For m = 1 … n − 1 the first m of them are replaced by spread and lines
       on what the others leave; the set with the smallest loss at this level is kept.

    `x`: Centred activations, a sample of them. `levels`: 1 stops after the lines. `tolerance`: A residual
    of at most this norm counts as nothing.

    Source: Ours; the spread is greedy k-means++ (Arthur and Vassilvitskii, 2007) on directions.
    """
    search = _Search(x, tolerance, generator)
    tries = (search.lines(search.spread(x, n_atoms), x, ROUNDS) for _ in range(TRIES))
    atoms = min(tries, key=lambda found: search.loss(found, 1))
    for level in range(2, levels + 1):
        atoms = min(search.replaced(atoms, level), key=lambda found: search.loss(found, level))
    return atoms


@dataclass(frozen=True)
class _Search:
    """The rows to explain, and what draws."""

    x: Rows
    tolerance: float
    generator: torch.Generator | None

    def spread(self, rows: Rows, n: int) -> Directions:
        """Return directions of rows that lie far apart."""
        power = rows.square().sum(dim=1)
        left, chosen = power.clone(), list[Tensor]()
        while len(chosen) < n and bool(left.any()):
            drawn = rows[self._draw(left)]
            candidates = drawn / drawn.norm(dim=1, keepdim=True)
            amounts = (rows @ candidates.T).clamp_min(0)
            leaves = (power[:, None] - amounts.square()).clamp_min(0).minimum(left[:, None])
            best = leaves.sum(dim=0).argmin()
            left = leaves[:, best]
            chosen.append(candidates[best])
        # Rows with fewer directions than atoms are wanted leave the others to chance.
        missing = random_unit_rows(max(n - len(chosen), 1), rows.shape[1], self.generator)
        return torch.stack([*chosen, *missing.to(rows)][:n])

    def _draw(self, left: Float[Tensor, " rows"]) -> Tensor:
        where = left.device if self.generator is None else self.generator.device
        drawn = torch.multinomial(
            left.to(where), CANDIDATES, replacement=True, generator=self.generator
        )
        return drawn.to(left.device)

    def lines(self, atoms: Directions, rows: Rows, rounds: int) -> Directions:
        """Return directions in the middle of the rows that are nearest to them."""
        for _ in range(rounds):
            codes = matching_pursuit(rows, atoms, 1)
            shares = codes.values[:, None] * rows[_row_of(codes)]
            sums = torch.zeros_like(atoms).index_add_(0, codes.atoms.long(), shares)
            norms = sums.norm(dim=1, keepdim=True)
            # An atom that no row takes stays where it is.
            before, atoms = atoms, torch.where(norms > 0, sums / norms, atoms)
            if torch.equal(before, atoms):
                break
        return atoms

    def loss(self, atoms: Directions, steps: int) -> float:
        """Σ‖r‖² after some steps."""
        return float(self._left(atoms, steps)[1].double().square().sum())

    def replaced(self, atoms: Directions, level: int) -> Iterator[Directions]:
        """Yield the atoms, and sets in which those that mix concepts most are found again."""
        yield atoms
        n = len(atoms)
        order = self._variation(atoms, level - 1).argsort(descending=True, stable=True)
        sizes = torch.linspace(1, n - 1, min(n - 1, MOST_SIZES)).round().long().tolist()
        for size in sizes:
            kept = atoms[order[size:]]
            _, left = self._left(kept, level - 1)
            left = left[left.norm(dim=1) > self.tolerance]
            if not len(left):
                continue
            for _ in range(TRIES):
                new = self.lines(self.spread(left, size), left, ROUNDS_OF_LEVELS)
                yield torch.cat([new, kept])

    def _variation(self, atoms: Directions, steps: int) -> Float[Tensor, " n"]:
        """Leading eigenvalue of the second moment of what is left of each atom's rows."""
        codes, left = self._left(atoms, steps)
        used, rows = codes.atoms.long(), _row_of(codes)
        found = [left[rows[used == atom]] for atom in range(len(atoms))]
        values = [_largest(part) for part in found]
        return torch.stack(values)

    def _left(self, atoms: Directions, steps: int) -> tuple[SparseCodes, Rows]:
        codes = matching_pursuit(self.x, atoms, min(steps, len(atoms)), tolerance=self.tolerance)
        return codes, self.x - codes @ atoms


def _row_of(codes: SparseCodes) -> Tensor:
    rows = torch.arange(len(codes), device=codes.device)
    return rows.repeat_interleave(codes.l0)


def _largest(rows: Rows) -> Float[Tensor, ""]:
    if not len(rows):
        return rows.new_zeros(())
    return torch.linalg.matrix_norm(rows, ord=2).square() / len(rows)
