"""Who guesses from an explanation: a rule, the likeness to examples, or a language model of the user's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix

from sae_nb.activations import join_tokens
from sae_nb.evaluation.explanations._row_facts import RowFacts
from sae_nb.evaluation.explanations._rules import Rule

# -------------------------------------------------------------------------------------------------
# Windows around rows, and fair examples of an atom: where it fires, and where it verifiably does not.


WHOLE_SAMPLE = 1_000_000


@dataclass(frozen=True, eq=False)
class Window:
    """Neighbouring rows of one sample, in order."""

    rows: Int[np.ndarray, " m"]
    centre: int
    """The row it was drawn around."""


class Neighbours:
    """Rows ordered by sample and position, to cut windows from."""

    def __init__(self, facts: RowFacts) -> None:
        self._order = np.lexsort((facts.position, facts.sample))
        self._rank = np.argsort(self._order)
        self._sample, self._position = facts.sample[self._order], facts.position[self._order]

    def window(self, row: int, reach: int) -> Window:
        """Return the rows of the same sample at most `reach` positions away."""
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
    """Return windows in which an atom fires nowhere: each one is looked at."""
    found: list[Window] = []
    for row in generator.permutation(np.flatnonzero(~active))[: 20 * n]:
        window = neighbours.window(int(row), reach)
        if not active[window.rows].any():
            found.append(window)
        if len(found) == n:
            break
    return found


# -------------------------------------------------------------------------------------------------
# Who guesses from an explanation: a rule, the likeness to examples, or a language model of the user's.


Judge = Callable[[str], str]
"""A prompt in, an answer out: a user's own language model. Nothing here calls one unless given."""


class Guesser(Protocol):
    """Answers the questions of the scores for one atom."""

    text: str
    """The explanation, in words."""

    def fires(self, window: Window) -> bool:
        """Whether the atom fires anywhere in a window."""
        ...

    def fits(self, window: Window, marked: Int[np.ndarray, " m"]) -> bool:
        """Whether the marked rows of a window are those in which the atom fires."""
        ...


class RuleGuesser:
    """A rule, applied to the letter."""

    def __init__(self, rule: Rule, facts: RowFacts) -> None:
        self.text = rule.text
        self._holds = rule.holds(facts)

    def fires(self, window: Window) -> bool:
        """Whether the rule names a row of the window."""
        return bool(self._holds[window.rows].any())

    def fits(self, _window: Window, marked: Int[np.ndarray, " m"]) -> bool:
        """Whether the rule names more than half of the marked rows."""
        return bool(self._holds[marked].mean() > 0.5)


class ExemplarGuesser:
    """Likeness: is a row more like rows in which the atom fired than like rows in which it did not?"""

    def __init__(
        self,
        vectors: Float[np.ndarray, "n d"],
        firing: Float[np.ndarray, " d"],
        silent: Float[np.ndarray, " d"],
        threshold: float,
    ) -> None:
        self.text = "like the examples"
        self._says = vectors @ (firing - silent) > threshold

    def fires(self, window: Window) -> bool:
        """Whether a row of the window is more like firing rows."""
        return bool(self._says[window.rows].any())

    def fits(self, _window: Window, marked: Int[np.ndarray, " m"]) -> bool:
        """Whether more than half of the marked rows are."""
        return bool(self._says[marked].mean() > 0.5)


class JudgeGuesser:
    """A language model that reads an explanation and a window; windows of language alone."""

    def __init__(self, judge: Judge, text: str, facts: RowFacts) -> None:
        self.text = text
        self._judge, self._facts = judge, facts
        self.n_calls = self.n_unreadable = 0

    def fires(self, window: Window) -> bool:
        """Whether the judge says that something in the window matches."""
        prompt = (
            f"A detector fires on: {self.text}\nText: {shown(window, self._facts)}\n"
            "Does it fire anywhere in the text? Answer yes or no."
        )
        return self._asked(prompt)

    def fits(self, window: Window, marked: Int[np.ndarray, " m"]) -> bool:
        """Whether the judge says that the marked tokens are the right ones."""
        prompt = (
            f"A detector fires on: {self.text}\nText, some tokens marked with << >>: "
            f"{shown(window, self._facts, marked)}\n"
            "Are the marked tokens those on which it fires? Answer yes or no."
        )
        return self._asked(prompt)

    def _asked(self, prompt: str) -> bool:
        self.n_calls += 1
        answer = re.search(r"\b(yes|no)\b", str(self._judge(prompt)).lower())
        if answer is None:
            self.n_unreadable += 1
            return False
        return answer.group(1) == "yes"


def shown(
    window: Window, facts: RowFacts, marked: Int[np.ndarray, " m"] | Sequence[int] = ()
) -> str:
    """Return a window as text, some tokens marked."""
    chosen = set(np.asarray(marked).tolist())
    texts = [
        f"<<{facts.names[int(facts.token[row])]}>>" if row in chosen
        else facts.names[int(facts.token[row])]
        for row in window.rows.tolist()
    ]  # fmt: skip
    return join_tokens(texts)


def ask_for_text(
    judge: Judge, windows: Sequence[Window], active: Bool[np.ndarray, " n"], facts: RowFacts
) -> str:
    """Have a judge write an explanation from windows in which the atom fires."""
    lines = "\n".join(
        f"- {shown(window, facts, window.rows[active[window.rows]])}" for window in windows
    )
    prompt = (
        "A detector fires on the tokens marked with << >> in these texts:\n"
        f"{lines}\nSay in at most twenty words what it fires on."
    )
    return str(judge(prompt)).strip()


def bags_of_tokens(
    windows: Sequence[Window], facts: RowFacts, weights: dict[int, float]
) -> csr_matrix:
    """Return unit vectors of windows: how often each token stands in it, rare ones counting more."""
    column = {token: i for i, token in enumerate(weights)}
    place, values, offsets = [], [], [0]
    for window in windows:
        tokens = facts.token[window.rows].tolist()
        place += [column[t] for t in tokens]
        # The row in the middle is what the window is about.
        values += [
            weights[t] * (3.0 if row == window.centre else 1.0)
            for t, row in zip(tokens, window.rows.tolist(), strict=True)
        ]
        offsets.append(len(place))
    table = csr_matrix((values, place, offsets), shape=(len(windows), len(column)))
    table.sum_duplicates()
    norms = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
    return csr_matrix(table.multiply((1 / np.maximum(norms, 1e-12))[:, None]))
