"""The trials behind the scores of explanations: half of the samples explains, the other half judges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from sae_nb.activations import Activations
from sae_nb.checks import check_atom, check_count
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.explanations import (
    ExemplarGuesser,
    Guesser,
    Judge,
    JudgeGuesser,
    RuleGuesser,
    ask_for_text,
    bags_of_tokens,
    shown,
)
from sae_nb.evaluation.row_facts import RowFacts
from sae_nb.evaluation.rules import FEWEST_FIRINGS, Rule, fires_in, induce_rule
from sae_nb.evaluation.windows import (
    WHOLE_SAMPLE,
    Neighbours,
    Window,
    active_windows,
    silent_windows,
)

Explain = Literal["rule", "exemplars"]

REACH = 8
"""Tokens on each side of a firing one that a window of text shows. Ours; delphi shows 32 in all."""

FEWEST_EXAMPLES = 4
"""Windows of a kind below which an atom is not scored."""


class Desk:
    """Rows to explain on, rows to judge on, and examples drawn from the latter.

    Parameters
    ----------
    acts, codes, facts
        Rows, checked.
    seed
        Which samples explain and which judge, and every draw.
    """

    def __init__(
        self, acts: Activations, codes: SparseCodes, facts: RowFacts, *, seed: int
    ) -> None:
        self.acts, self.codes, self.facts, self._seed = acts, codes, facts, seed
        samples = np.random.default_rng(seed).permutation(np.unique(facts.sample))
        if len(samples) < 2:
            raise ValueError(
                f"`acts` must have at least two samples, got {len(samples)}: explanations are made on "
                "some and judged on others."
            )
        self.first = np.isin(facts.sample, samples[: len(samples) // 2])
        self.neighbours = Neighbours(facts)
        self.reach = REACH if facts.kind == "language" else 0
        self.wide = REACH if facts.kind == "language" else WHOLE_SAMPLE
        self.rules: dict[int, Rule] = {}
        self.n_calls = self.n_unreadable = 0
        train = np.flatnonzero(self.first)
        self._train_acts, self._train_codes = acts.subset(train.tolist()), codes.rows(train)
        self._train_facts = facts.at(train)

    def choose(
        self, atoms: Sequence[int] | None, n_atoms: int
    ) -> tuple[list[int], tuple[int, ...]]:
        """Return atoms that fire often enough on both sides, and those asked for that do not."""
        z = self.codes.to_scipy().tocsc()
        z.eliminate_zeros()
        rows = np.repeat(np.arange(z.shape[1]), np.diff(z.indptr))
        on_first = np.bincount(rows, weights=self.first[z.indices], minlength=z.shape[1])
        on_second = np.bincount(rows, weights=~self.first[z.indices], minlength=z.shape[1])
        enough = (on_first >= FEWEST_FIRINGS) & (on_second >= FEWEST_EXAMPLES)
        if atoms is None:
            check_count(n_atoms, name="n_atoms")
            drawn = np.random.default_rng(self._seed).permutation(np.flatnonzero(enough))[:n_atoms]
            asked = sorted(int(atom) for atom in drawn)
        else:
            asked = [check_atom(atom, self.codes.n_atoms, name="atoms") for atom in atoms]
        chosen = [atom for atom in asked if enough[atom]]
        if not chosen:
            raise ValueError(
                f"`acts` must have an atom that fires in {FEWEST_FIRINGS} rows of one half of the "
                f"samples and {FEWEST_EXAMPLES} of the other, got none "
                f"{'in all' if atoms is None else f'among {asked}'}. Capture more samples."
            )
        return chosen, tuple(atom for atom in asked if not enough[atom])

    def guesser(
        self, atom: int, explain: Explain, judge: Judge | None, text: str | None
    ) -> Guesser:
        """Return who guesses for an atom, having seen the first half alone."""
        if judge is not None:
            return JudgeGuesser(judge, text or self._written(atom, judge), self.facts)
        if explain == "exemplars":
            return self._exemplars(atom)
        self.rules[atom] = induce_rule(
            self._train_acts, self._train_codes, atom, facts=self._train_facts
        )
        return RuleGuesser(self.rules[atom], self.facts)

    def scores(
        self,
        atom: int,
        guesser: Guesser,
        other: Guesser | None,
        judge: Judge | None,
        *,
        n: int,
        n_choices: int,
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return the scores of an atom, and those of another atom's explanation on its examples."""
        generator = np.random.default_rng((self._seed, atom))
        active = fires_in(self.codes, atom)
        held = active & ~self.first
        strength = self._strength(atom)
        draw = (strength, self.facts, self.neighbours, n)
        firing = active_windows(held, *draw, self.reach, generator)
        silent = silent_windows(active | self.first, self.neighbours, n, self.reach, generator)
        marked = self._marked(active_windows(held, *draw, self.wide, generator), active, generator)
        vectors = self._vectors([*firing, *silent])
        trial = (vectors, len(firing), n_choices, n)
        mine = {"intruder": self._intruders(*trial, judge, [*firing, *silent], generator)}
        mixed = generator.permutation(len(vectors))
        theirs = {"intruder": self._intruders(vectors[mixed], *trial[1:], None, [], generator)}
        for scores, one in ((mine, guesser), (theirs, other)):
            if one is not None:
                scores["detection"] = balanced(
                    [one.fires(w) for w in firing], [one.fires(w) for w in silent]
                )
                right = [one.fits(w, true) for w, true, _ in marked]
                scores["fuzzing"] = balanced(right, [one.fits(w, no) for w, _, no in marked])
        return {name: mine[name] for name in sorted(mine)}, theirs

    def _written(self, atom: int, judge: Judge) -> str:
        active = fires_in(self.codes, atom)
        generator = np.random.default_rng((self._seed, atom, 1))
        windows = active_windows(
            active & self.first, self._strength(atom), self.facts, self.neighbours, 10, self.reach,
            generator,
        )  # fmt: skip
        self.n_calls += 1
        return ask_for_text(judge, windows, active, self.facts)

    def _exemplars(self, atom: int) -> Guesser:
        x = self.acts.x.float().cpu().numpy()
        centred = x - x[self.first].mean(axis=0)
        unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        active = fires_in(self.codes, atom)
        firing, silent = (unit[self.first & where].mean(axis=0) for where in (active, ~active))
        along = unit @ (firing - silent)
        threshold = (along[self.first & active].mean() + along[self.first & ~active].mean()) / 2
        return ExemplarGuesser(unit, firing, silent, float(threshold))

    def _strength(self, atom: int) -> np.ndarray:
        rows, values = self.codes.strengths(atom)
        strength = np.zeros(len(self.codes))
        strength[rows.numpy()] = values.float().numpy()
        return strength

    def _marked(
        self, windows: list[Window], active: np.ndarray, generator: np.random.Generator
    ) -> list[tuple[Window, np.ndarray, np.ndarray]]:
        """Windows with the rows that fire, and as many that do not."""
        found = []
        for window in windows:
            true, rest = window.rows[active[window.rows]], window.rows[~active[window.rows]]
            if len(rest):
                found.append((window, true, generator.permutation(rest)[: len(true)]))
        return found

    def _vectors(self, windows: list[Window]) -> np.ndarray:
        """Unit vectors of windows: of their tokens for texts, else of the row in the middle."""
        if not windows:
            return np.zeros((0, 1))
        if self.facts.kind == "language":
            return np.asarray(bags_of_tokens(windows, self.facts, self._rarity()).toarray())
        rows = np.array([window.centre for window in windows])
        x = (
            self.acts.rows(rows.tolist()).float().cpu().numpy()
            - self.acts.x.float().mean(0).numpy()
        )
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    def _rarity(self) -> dict[int, float]:
        if not hasattr(self, "_weights"):
            pairs = np.unique(np.stack([self.facts.token, self.facts.sample]), axis=1)
            ids, counts = np.unique(pairs[0], return_counts=True)
            n = len(np.unique(self.facts.sample))
            self._weights = {
                int(i): float(np.log(1 + n / c)) for i, c in zip(ids, counts, strict=True)
            }
        return self._weights

    def _intruders(
        self,
        vectors: np.ndarray,
        n_firing: int,
        n_choices: int,
        n_trials: int,
        judge: Judge | None,
        windows: list[Window],
        generator: np.random.Generator,
    ) -> float:
        """Share of trials in which the window that does not belong is found."""
        n_silent = len(vectors) - n_firing
        if n_firing < n_choices - 1 or n_silent < 1:
            return float("nan")
        found = 0
        for _ in range(n_trials):
            picked = generator.permutation(n_firing)[: n_choices - 1]
            intruder = n_firing + int(generator.integers(n_silent))
            order = generator.permutation([*picked.tolist(), intruder])
            answer = (
                least_alike(vectors[order])
                if judge is None
                else self._pointed(judge, [windows[i] for i in order])
            )
            found += answer is not None and int(order[answer]) == intruder
        return found / n_trials

    def _pointed(self, judge: Judge, windows: list[Window]) -> int | None:
        texts = "\n".join(f"{i}. {shown(w, self.facts)}" for i, w in enumerate(windows, 1))
        prompt = (
            "All of these texts but one have something in common. Which one does not belong?\n"
            f"{texts}\nAnswer with its number alone."
        )
        self.n_calls += 1
        answer = re.search(r"\d+", str(judge(prompt)))
        if answer is None or not 1 <= int(answer.group()) <= len(windows):
            self.n_unreadable += 1
            return None
        return int(answer.group()) - 1


def balanced(yes: Sequence[bool], no: Sequence[bool]) -> float:
    """Mean of the share of yeses among what should be yes, and of noes among what should be no."""
    if len(yes) < FEWEST_EXAMPLES or len(no) < FEWEST_EXAMPLES:
        return float("nan")
    return (float(np.mean(yes)) + 1 - float(np.mean(no))) / 2


def least_alike(vectors: np.ndarray) -> int:
    """Which unit vector has the lowest mean cosine with the others."""
    cosines = vectors @ vectors.T
    return int(np.argmin(cosines.sum(axis=1) - np.diag(cosines)))
