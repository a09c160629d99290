"""Windows around rows, and fair examples of an atom: where it fires, and where it verifiably does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from sae_nb.evaluation.row_facts import RowFacts

WHOLE_SAMPLE = 1_000_000


@dataclass(frozen=True, eq=False)
class Window:
    """Neighbouring rows of one sample, in order."""

    rows: Int[np.ndarray, " m"]
    centre: int
    """The row it was drawn around."""


class Neighbours:
    """Rows ordered by sample and position, to cut windows from.

    Parameters
    ----------
    facts
        Of the rows.
    """

    def __init__(self, facts: RowFacts) -> None:
        self._order = np.lexsort((facts.position, facts.sample))
        self._rank = np.argsort(self._order)
        self._sample, self._position = facts.sample[self._order], facts.position[self._order]

    def window(self, row: int, reach: int) -> Window:
        """Return the rows of the same sample at most `reach` positions away.

        Parameters
        ----------
        row
            In the middle.
        reach
            0 is the row alone.
        """
        at = int(self._rank[row])
        low, high = max(0, at - reach), min(len(self._order), at + reach + 1)
        near = np.arange(low, high)
        same = self._sample[near] == self._sample[at]
        close = np.abs(self._position[near] - self._position[at]) <= reach
        return Window(self._order[near[same & close]], row)


def active_windows(
    active: Bool[np.ndarray, " n"],
    strength: np.ndarray,
    facts: RowFacts,
    neighbours: Neighbours,
    n: int,
    reach: int,
    generator: np.random.Generator,
) -> list[Window]:
    """Return windows around rows in which an atom fires, spread over its strengths.

    At most one per sample while samples last: firings are sorted by strength and drawn from n equal
    parts, so that weak ones count as much as strong ones.

    Parameters
    ----------
    active, strength
        Where and how strongly.
    facts, neighbours
        Of the rows.
    n
        At most so many.
    reach
        Of the windows.
    generator
        Draws.
    """
    rows = generator.permutation(np.flatnonzero(active))
    _, first = np.unique(facts.sample[rows], return_index=True)
    once = rows[np.sort(first)]
    again = np.setdiff1d(rows, once, assume_unique=True)
    pool = once if len(once) >= n else np.concatenate([once, again[: n - len(once)]])
    pool = pool[np.argsort(-np.abs(strength[pool]), kind="stable")]
    parts = np.array_split(pool, min(n, len(pool)))
    drawn = [int(part[generator.integers(len(part))]) for part in parts if len(part)]
    return [neighbours.window(row, reach) for row in drawn]


def silent_windows(
    active: Bool[np.ndarray, " n"],
    neighbours: Neighbours,
    n: int,
    reach: int,
    generator: np.random.Generator,
) -> list[Window]:
    """Return windows in which an atom fires nowhere: each one is looked at.

    Parameters
    ----------
    active
        Where the atom fires.
    neighbours
        Of the rows.
    n
        At most so many; fewer where the atom is hardly ever silent.
    reach
        Of the windows.
    generator
        Draws.
    """
    found: list[Window] = []
    for row in generator.permutation(np.flatnonzero(~active))[: 20 * n]:
        window = neighbours.window(int(row), reach)
        if not active[window.rows].any():
            found.append(window)
        if len(found) == n:
            break
    return found
