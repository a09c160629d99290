"""Do explanations of atoms hold on inputs they were not made from? Detection, fuzzing, intruder.

Detection: window → does the atom fire in it? Fuzzing: marked tokens → are those the firing ones? Both are
balanced accuracies, so always saying no reaches ½. Intruder: which of n windows does not belong? Chance
is 1 / n. Nothing here needs a service: explanations are rules or likeness to examples; a language model
is asked only where the user passes one as `judge`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations, acts_for
from sae_nb.checks import check_atom, check_count
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.explanations._explanations import (
    WHOLE_SAMPLE,
    ExemplarGuesser,
    Guesser,
    Judge,
    JudgeGuesser,
    Neighbours,
    RuleGuesser,
    Window,
    active_windows,
    ask_for_text,
    bags_of_tokens,
    shown,
    silent_windows,
)
from sae_nb.evaluation.explanations._row_facts import RowFacts
from sae_nb.evaluation.explanations._rules import FEWEST_FIRINGS, Rule, fires_in, induce_rule
from sae_nb.evaluation.report._measurement import Measurement, Resampling
from sae_nb.evaluation.report._row_pass import codes_of

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder


# -------------------------------------------------------------------------------------------------
# The trials behind the scores of explanations: half of the samples explains, the other half judges.


Explain = Literal["rule", "exemplars"]

REACH = 8
"""Tokens on each side of a firing one that a window of text shows. Ours; delphi shows 32 in all."""

FEWEST_EXAMPLES = 4
"""Windows of a kind below which an atom is not scored."""


class Desk:
    """Rows to explain on, rows to judge on, and examples drawn from the latter."""

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


# -------------------------------------------------------------------------------------------------
# Do explanations of atoms hold on inputs they were not made from? Detection, fuzzing, intruder.


SCORES = ("detection", "fuzzing", "intruder")


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplanationScores(Measurement):
    """How well explanations of atoms hold on inputs they were not made from.

    `value` is the mean detection score over atoms; its control gives each atom the explanation of
    another one.
    """

    scores: dict[str, Measurement]
    """"detection", "fuzzing" and "intruder", means over the atoms that could be scored."""

    per_atom: dict[int, dict[str, float]]
    """Scores of each atom; NaN where it has too few examples of a kind."""

    texts: dict[int, str]
    """Explanation of each atom, in words."""

    rules: dict[int, Rule]
    """The rules themselves, where atoms are explained by rules."""

    left_out: tuple[int, ...]
    """Atoms asked for that fire too rarely to be explained and judged on fresh samples."""

    n_calls: int
    """Calls of the judge."""

    n_unreadable: int
    """Answers of it that were neither yes, no nor a number: counted as no."""

    seconds: float
    """What it cost."""

    @property
    def measurements(self) -> dict[str, Measurement]:
        """Everything as rows of a report."""
        return dict(self.scores)

    @property
    def table(self) -> pd.DataFrame:
        """One row per atom."""
        import pandas as pd

        table = pd.DataFrame.from_dict(self.per_atom, orient="index").rename_axis("atom")
        return table.assign(explanation=[self.texts[atom] for atom in table.index])

    def __repr__(self) -> str:
        parts = [
            f"{name} {m.value:.3f} (95 % {m.interval[0]:.3f} … {m.interval[1]:.3f}, chance "
            f"{m.floor:.2f}, another atom's {m.control:.3f})"
            for name, m in self.scores.items()
        ]
        return f"ExplanationScores({len(self.per_atom)} atoms; {'; '.join(parts)})"


def score_explanations(
    sae: SparseAutoencoder,
    acts: Activations | Float[Tensor, "n d_in"],
    atoms: Sequence[int] | None = None,
    *,
    codes: SparseCodes | None = None,
    labels: Mapping[str, Any] | None = None,
    explain: Explain = "rule",
    judge: Judge | None = None,
    explanations: Mapping[int, str] | None = None,
    n_atoms: int = 32,
    n_examples: int = 40,
    n_choices: int = 5,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> ExplanationScores:
    """Explain atoms on half of the samples, and judge the explanations on the other half.

    Examples are drawn evenly over the strengths of an atom; of every example without it, each row is
    looked at, so a dense atom does not get wrong ones.

    Parameters
    ----------
    sae
        Whose atoms.
    acts
        Rows with the samples behind them.
    atoms
        Which; None draws `n_atoms` of those that fire often enough.
    codes
        Of `acts`, where they are computed already.
    labels
        What rules may speak of besides tokens: booleans by name, per sample or per row.
    explain
        "rule": a small rule, applied to the letter. "exemplars": likeness of activations to rows
        where it fired; for pictures without labels.
    judge
        A language model of yours, prompt → answer: writes explanations where `explanations` has
        none, and makes the guesses. About 2 · n_examples + 10 calls per atom. Language alone.
    explanations
        Texts by atom, for the judge.
    n_atoms
        Atoms drawn.
    n_examples
        Windows per score and atom, half of them firing.
    n_choices
        Windows per intruder trial.
    n_bootstrap, seed
        Of draws and intervals.

    Returns
    -------
    ExplanationScores
        `.scores`, `.per_atom`, `.texts`.

    Raises
    ------
    TypeError, ValueError, IndexError: If atoms, codes or labels do not fit, no atom fires often enough, or
        a judge is given for inputs that are no text.

    Source
    ------
    Detection and fuzzing: Paulo et al., "Automatically interpreting millions of features in large
    language models", arXiv 2410.13928; balanced here, with negatives looked at.

    Example
    -------
    >>> import sae_nb as sn
    >>> examples = sn.load_examples("tiny-gpt/resid_post.3")
    >>> sae = sn.load_sae("tiny-gpt/resid_post.3")
    >>> found = score_explanations(sae, examples.acts, codes=examples.codes, n_atoms=2, n_bootstrap=0)
    >>> sorted(found.scores)
    ['detection', 'fuzzing', 'intruder']
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    acts = acts_for(sae, acts)
    codes = codes_of(sae, acts, codes)
    check_count(n_examples, name="n_examples", at_least=2 * FEWEST_EXAMPLES)
    check_count(n_choices, name="n_choices", at_least=3)
    if judge is not None and acts.context.kind != "language":
        raise ValueError(
            f"`judge` reads text, and these are samples of kind {acts.context.kind!r}. Leave it out, "
            'and use labels= or explain="exemplars".'
        )
    desk = Desk(acts, codes, RowFacts.of(acts, labels), seed=seed)
    chosen, left_out = desk.choose(atoms, n_atoms)
    guessers = {
        atom: desk.guesser(atom, explain, judge, (explanations or {}).get(atom)) for atom in chosen
    }
    sizes = {"n": n_examples // 2, "n_choices": n_choices}
    per_atom, control = {}, {}
    for place, atom in enumerate(chosen):
        other = guessers[chosen[place - 1]] if len(chosen) > 1 else None
        per_atom[atom], control[atom] = desk.scores(atom, guessers[atom], other, judge, **sizes)
    scores = _means(per_atom, control, n_choices, resampling)
    asked = [g for g in guessers.values() if isinstance(g, JudgeGuesser)]
    return ExplanationScores.of(
        scores["detection"],
        scores=scores,
        per_atom=per_atom,
        texts={atom: guesser.text for atom, guesser in guessers.items()},
        rules=desk.rules,
        left_out=left_out,
        n_calls=sum(g.n_calls for g in asked) + desk.n_calls,
        n_unreadable=sum(g.n_unreadable for g in asked) + desk.n_unreadable,
        seconds=round(time.perf_counter() - start, 3),
    )


def _means(
    per_atom: dict[int, dict[str, float]],
    control: dict[int, dict[str, float]],
    n_choices: int,
    resampling: Resampling,
) -> dict[str, Measurement]:
    found = {}
    for name in SCORES:
        values = np.array([scores[name] for scores in per_atom.values()])
        theirs = np.array([scores.get(name, np.nan) for scores in control.values()])
        theirs = theirs[np.isfinite(theirs)]
        found[name] = resampling.mean(
            f"explanation_{name}",
            values[np.isfinite(values)],
            floor=1 / n_choices if name == "intruder" else 0.5,
            control=theirs.mean() if len(theirs) else np.nan,
            unit="atoms",
        )
    return found
