"""Do explanations of atoms hold on inputs they were not made from? Detection, fuzzing, intruder.

Detection: window → does the atom fire in it? Fuzzing: marked tokens → are those the firing ones? Both
are balanced accuracies, so always answering no reaches ½. Intruder: which of n windows does not belong?
Chance is 1 / n. Nothing here needs a service: explanations are rules or likeness to examples; a
language model is asked only where the user passes one as `judge`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._modality import Modality
from sae_nb.activations._sites import acts_for
from sae_nb.activations.tokens import join_tokens
from sae_nb.checks import Count, Resamples, Seed, at_least, check_atom, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation._second_code import SecondCode
from sae_nb.evaluation.explanations._rules import (
    FEWEST_FIRINGS,
    RowFacts,
    Rule,
    fires_in,
    induce_rule,
)
from sae_nb.evaluation.report._measurement import Measurement, Resampling
from sae_nb.evaluation.report._row_pass import codes_of

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder


SCORES = ("detection", "fuzzing", "intruder")


class ExplanationScores(Measurement):
    """The accuracy of explanations of atoms on inputs they were not made from.

    `value` is the mean detection score over atoms; its control gives each atom the explanation of
    another one.
    """

    scores: dict[str, Measurement]
    """"detection", "fuzzing" and "intruder", means over the atoms that could be scored."""

    per_atom: dict[int, dict[str, float]]
    """Scores of each atom; NaN where it has too few examples of a kind."""

    texts: dict[int, str]
    rules: dict[int, Rule]
    """Explanation of each atom, in words; the rules themselves, where atoms are explained by rules."""

    left_out: tuple[int, ...]
    """Atoms asked for that fire too rarely to be explained and judged on fresh samples."""

    n_calls: int
    n_unreadable: int
    """Calls of the judge; answers of it that were neither yes, no nor a number, and counted as no."""

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

    @property
    def headline(self) -> str:
        """Each score with its interval, chance, and another atom's explanation."""
        parts = [
            f"{name} {m.value:.3f} (95 % {m.interval[0]:.3f} … {m.interval[1]:.3f}, chance "
            f"{m.floor:.2f}, another atom's {m.control:.3f})"
            for name, m in self.scores.items()
        ]
        return f"{len(self.per_atom)} atoms; {'; '.join(parts)}"


@checked
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
    second: SecondCode | None = None,
    n_atoms: Count = 32,
    n_examples: Annotated[int, at_least(2 * FEWEST_EXAMPLES)] = 40,
    n_choices: Annotated[int, at_least(3)] = 5,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> ExplanationScores:
    """Explain atoms on half of the samples, and judge the explanations on the other half.

    Examples are drawn evenly over the strengths of an atom. In an example without it every row is
    checked, so that a dense atom gets no wrong ones.

    Parameters
    ----------
    acts, codes
        Rows with the samples behind them; their codes, where computed already.
    atoms, n_atoms
        Atoms to score; None draws `n_atoms` of those that fire often enough.
    labels
        Facts that rules may use besides tokens: booleans by name, per sample or per row.
    explain
        "rule": a small rule. "exemplars": likeness to rows where it fired; for images without labels.
    judge, explanations
        A language model of yours, prompt → answer, which writes explanations where `explanations` has no
        text for an atom, and makes the guesses: about 2 · n_examples + 10 calls per atom.
    second
        What `sn.second_code` found in the same rows: explanations are judged on firings that its first solver
        keeps, next to windows without any firing.
    n_examples, n_choices
        Windows per score and atom, half of them firing; windows per intruder trial.

    Raises
    ------
    ValueError: If no atom fires often enough, a judge is to read what is not text, or the second code is of
        other rows.

    Source
    ------
    Detection and fuzzing: Paulo et al., "Automatically interpreting millions of features in large
    language models", arXiv 2410.13928; balanced here, with negatives that were checked.

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
    if judge is not None and not acts.context.modality.is_text:
        raise ValueError(
            f"`judge` reads text, and these are samples of kind {acts.context.kind!r}. Leave it out, "
            'and use labels= or explain="exemplars".'
        )
    facts = RowFacts.of(acts, labels)
    asked = None if judge is None else CountedJudge(judge)
    kept = None if second is None else kept_codes(second, codes)
    trials = ExplanationTrials(acts, codes, facts, asked, n_examples // 2, n_choices, seed, kept)
    chosen, left_out = trials.choose(atoms, n_atoms)
    texts = explanations or {}
    guessers = {atom: trials.guesser(atom, explain, texts.get(atom)) for atom in chosen}
    per_atom, control = {}, {}
    for place, atom in enumerate(chosen):
        other = guessers[chosen[place - 1]] if len(chosen) > 1 else None
        per_atom[atom], control[atom] = trials.scores(atom, guessers[atom], other)
    scores = _means(per_atom, control, n_choices, resampling)
    return ExplanationScores.of(
        scores["detection"],
        scores=scores,
        per_atom=per_atom,
        texts={atom: guesser.text for atom, guesser in guessers.items()},
        rules=trials.rules,
        left_out=left_out,
        n_calls=asked.n_calls if asked else 0,
        n_unreadable=asked.n_unreadable if asked else 0,
        seconds=round(time.perf_counter() - start, 3),
    )


def _means(
    per_atom: dict[int, dict[str, float]],
    control: dict[int, dict[str, float]],
    n_choices: int,
    resampling: Resampling,
) -> dict[str, Measurement]:
    means = {}
    for name in SCORES:
        values, theirs = (
            np.array([s[name] for s in every.values() if np.isfinite(s.get(name, np.nan))])
            for every in (per_atom, control)
        )
        means[name] = resampling.mean(
            f"explanation_{name}",
            values,
            floor=1 / n_choices if name == "intruder" else 0.5,
            control=theirs.mean() if len(theirs) else np.nan,
            unit="atoms",
        )
    return means


# -------------------------------------------------------------------------------------------------
# The trials behind the scores: half of the samples explains, the other half judges.


Explain = Literal["rule", "exemplars"]

REACH = 8
"""Tokens on each side of a firing one that a window of text shows. Ours; delphi shows 32 in all."""

FEWEST_EXAMPLES = 4
"""Windows of a kind below which an atom is not scored."""


@dataclass(eq=False)
class ExplanationTrials:
    """Rows to explain on, rows to judge on, and examples drawn from the latter."""

    acts: Activations
    codes: SparseCodes
    facts: RowFacts
    judge: CountedJudge | None
    n: int  # windows of a kind, and trials
    n_choices: int
    seed: int
    kept: SparseCodes | None = None
    """The firings that are judged; None: all."""

    def __post_init__(self) -> None:
        samples = np.random.default_rng(self.seed).permutation(np.unique(self.facts.sample))
        if len(samples) < 2:
            raise ValueError(
                f"`acts` must have at least two samples, got {len(samples)}: explanations are made on "
                "some and judged on others."
            )
        self.first = np.isin(self.facts.sample, samples[: len(samples) // 2])
        self.windows = Windows(self.facts)
        self.reach = REACH if Modality.of(self.facts.kind).is_text else 0
        self.rules: dict[int, Rule] = {}
        train = np.flatnonzero(self.first)
        self._train = self.acts.subset(train.tolist()), self.codes.rows(train)
        self._train_facts = self.facts.at(train)

    def choose(
        self, atoms: Sequence[int] | None, n_atoms: int
    ) -> tuple[list[int], tuple[int, ...]]:
        """Return atoms that fire often enough on both sides, and those asked for that do not."""
        on_first = _counts(self.codes, self.first)
        on_second = _counts(self._judged, ~self.first)
        enough = (on_first >= FEWEST_FIRINGS) & (on_second >= FEWEST_EXAMPLES)
        if atoms is None:
            drawn = np.random.default_rng(self.seed).permutation(np.flatnonzero(enough))[:n_atoms]
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

    def guesser(self, atom: int, explain: Explain, text: str | None) -> Guesser:
        """Return who guesses for an atom, having seen the first half alone."""
        if self.judge is not None:
            return JudgeGuesser(self.judge, text or self.written(atom, self.judge), self.facts)
        if explain == "exemplars":
            return self._exemplars(atom)
        rule = self.rules[atom] = self.rule(atom)
        return RowGuesser(rule.text, rule.holds(self.facts))

    def scores(
        self, atom: int, guesser: Guesser, other: Guesser | None
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return the scores of an atom, and those of another atom's explanation on its examples."""
        generator = np.random.default_rng((self.seed, atom))
        active, strength = fires_in(self._judged, atom), self._strength(atom)
        held = active & ~self.first
        firing, silent = self.examples(atom, generator)
        widest = self.reach or WHOLE_SAMPLE
        wide = self.windows.firing(held, strength, self.n, widest, generator)
        marked = self._marked(wide, active, fires_in(self.codes, atom), generator)
        vectors = self._vectors([*firing, *silent])
        asked = [*firing, *silent] if self.judge else None
        mine = {"intruder": self._intruders(vectors, len(firing), generator, asked)}
        mixed = generator.permutation(len(vectors))
        theirs = {"intruder": self._intruders(vectors[mixed], len(firing), generator)}
        for scores, one in ((mine, guesser), (theirs, other)):
            if one is not None:
                scores["detection"] = balanced(
                    [one.fires(w) for w in firing], [one.fires(w) for w in silent]
                )
                right = [one.fits(w, true) for w, true, _ in marked]
                scores["fuzzing"] = balanced(right, [one.fits(w, no) for w, _, no in marked])
        return {name: mine[name] for name in sorted(mine)}, theirs

    def examples(
        self, atom: int, generator: np.random.Generator | None = None
    ) -> tuple[list[Window], list[Window]]:
        """Return windows of the second half in which an atom fires, and some in which it does not."""
        generator = generator or np.random.default_rng((self.seed, atom))
        active = fires_in(self.codes, atom)
        held, strength = fires_in(self._judged, atom) & ~self.first, self._strength(atom)
        return (
            self.windows.firing(held, strength, self.n, self.reach, generator),
            self.windows.silent(active | self.first, self.n, self.reach, generator),
        )

    @property
    def _judged(self) -> SparseCodes:
        return self.codes if self.kept is None else self.kept

    def rule(self, atom: int) -> Rule:
        """Return a rule made on the first half."""
        return induce_rule(*self._train, atom, facts=self._train_facts)

    def written(self, atom: int, judge: CountedJudge) -> str:
        """Return a judge's description of what an atom fires on, from examples of the first half."""
        active, strength = fires_in(self.codes, atom), self._strength(atom)
        generator = np.random.default_rng((self.seed, atom, 1))
        windows = self.windows.firing(active & self.first, strength, 10, self.reach, generator)
        lines = (f"- {shown(w, self.facts, w.rows[active[w.rows]])}\n" for w in windows)
        return judge.answer(
            "A detector fires on the tokens marked with << >> in these texts:\n"
            f"{''.join(lines)}Say in at most twenty words what it fires on."
        )

    def _exemplars(self, atom: int) -> Guesser:
        x = self.acts.x.float().cpu().numpy()
        centred = x - x[self.first].mean(axis=0)
        unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        active = fires_in(self.codes, atom)
        # More like rows in which the atom fired than like rows in which it did not.
        firing, others = (unit[self.first & where].mean(axis=0) for where in (active, ~active))
        along = unit @ (firing - others)
        threshold = (along[self.first & active].mean() + along[self.first & ~active].mean()) / 2
        return RowGuesser("like the examples", along > float(threshold))

    def _strength(self, atom: int) -> np.ndarray:
        rows, values = self.codes.strengths(atom)
        strength = np.zeros(self.codes.n_rows)
        strength[rows.numpy()] = values.float().numpy()
        return strength

    def _marked(
        self,
        windows: list[Window],
        judged: Bool[np.ndarray, " n"],
        active: Bool[np.ndarray, " n"],
        generator: np.random.Generator,
    ) -> list[tuple[Window, np.ndarray, np.ndarray]]:
        """Windows with the rows that fire, and the same number that do not, where there are so many."""
        marked = []
        for window in windows:
            true, rest = window.rows[judged[window.rows]], window.rows[~active[window.rows]]
            if len(rest):
                marked.append((window, true, generator.permutation(rest)[: len(true)]))
        return marked

    def _vectors(self, windows: list[Window]) -> np.ndarray:
        """Unit vectors of windows: of their tokens for texts, else of the row in the middle."""
        if not windows:
            return np.zeros((0, 1))
        if Modality.of(self.facts.kind).is_text:
            return np.asarray(bags_of_tokens(windows, self.facts, self._rarity).toarray())
        rows = self.acts.rows([window.centre for window in windows]).float().cpu().numpy()
        x = rows - self.acts.x.float().mean(0).numpy()
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    @cached_property
    def _rarity(self) -> dict[int, float]:
        """Weight of each token: the fewer samples it is in, the more."""
        pairs = np.unique(np.stack([self.facts.token, self.facts.sample]), axis=1)
        ids, counts = np.unique(pairs[0], return_counts=True)
        n = len(np.unique(self.facts.sample))
        return {int(i): float(np.log(1 + n / c)) for i, c in zip(ids, counts, strict=True)}

    def _intruders(
        self,
        vectors: np.ndarray,
        n_firing: int,
        generator: np.random.Generator,
        asked: list[Window] | None = None,
    ) -> float:
        """Share of trials in which the window that does not belong is found, by likeness or a judge."""
        n_others, n_silent = self.n_choices - 1, len(vectors) - n_firing
        if n_firing < n_others or n_silent < 1:
            return float("nan")
        hits = 0
        for _ in range(self.n):
            picked = generator.permutation(n_firing)[:n_others]
            intruder = n_firing + int(generator.integers(n_silent))
            order = generator.permutation([*picked.tolist(), intruder])
            if asked is None or self.judge is None:
                answer: int | None = least_alike(vectors[order])
            else:
                answer = self._pointed(self.judge, [asked[i] for i in order])
            hits += answer is not None and int(order[answer]) == intruder
        return hits / self.n

    def _pointed(self, judge: CountedJudge, windows: list[Window]) -> int | None:
        texts = "\n".join(f"{i}. {shown(w, self.facts)}" for i, w in enumerate(windows, 1))
        numbers = [str(i) for i in range(1, len(windows) + 1)]
        answer = judge.choice(
            "All of these texts but one have something in common. Which one does not belong?\n"
            f"{texts}\nAnswer with its number alone.",
            r"\d+",
            numbers,
        )
        return None if answer is None else int(answer) - 1


def kept_codes(second: SecondCode, codes: SparseCodes) -> SparseCodes:
    """Return the encoder's codes with the firings alone that a second solver keeps."""
    return codes.only(torch.from_numpy(second.keeps(codes)))


def _counts(codes: SparseCodes, rows: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n_atoms"]:
    """Firings of each atom in some rows."""
    z = codes.to_scipy().tocsc()
    z.eliminate_zeros()
    atoms = np.repeat(np.arange(z.shape[1]), np.diff(z.indptr))
    return np.bincount(atoms, weights=rows[z.indices], minlength=z.shape[1])


def balanced(yes: Sequence[bool], no: Sequence[bool]) -> float:
    """Return mean of the share of yeses among what should be yes, and of noes among what should be no."""
    if len(yes) < FEWEST_EXAMPLES or len(no) < FEWEST_EXAMPLES:
        return float("nan")
    return (float(np.mean(yes)) + 1 - float(np.mean(no))) / 2


def least_alike(vectors: np.ndarray) -> int:
    """Return the unit vector with the lowest mean cosine with the others."""
    cosines = vectors @ vectors.T
    return int(np.argmin(cosines.sum(axis=1) - np.diag(cosines)))


# -------------------------------------------------------------------------------------------------
# Who guesses from an explanation: a rule, likeness to examples, or the user's language model.


Judge = Callable[[str], str]
"""A prompt in, an answer out: a user's own language model. Nothing here calls one unless given."""


class CountedJudge:
    """A judge, how often it was asked, and how many of its answers could not be read."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.n_calls = self.n_unreadable = 0

    def answer(self, prompt: str) -> str:
        """Return the answer in words."""
        self.n_calls += 1
        return str(self._judge(prompt)).strip()

    def choice(self, prompt: str, pattern: str, choices: Sequence[str]) -> str | None:
        """Return the first match in the answer if it is one of the choices."""
        match = re.search(pattern, self.answer(prompt).lower())
        if match is not None and match.group() in choices:
            return match.group()
        self.n_unreadable += 1
        return None


@dataclass(eq=False)
class RowGuesser:
    """An explanation that predicts for every row whether the atom fires: a rule, or similarity to examples."""

    text: str
    predicted: Bool[np.ndarray, " n"]

    def fires(self, window: Window) -> bool:
        """Return whether it names a row of the window."""
        return bool(self.predicted[window.rows].any())

    def fits(self, _window: Window, marked: Int[np.ndarray, " m"]) -> bool:
        """Return whether it names more than half of the marked rows."""
        return bool(self.predicted[marked].mean() > 0.5)


@dataclass(eq=False)
class JudgeGuesser:
    """A language model that reads an explanation and a window; windows of language alone."""

    judge: CountedJudge
    text: str
    facts: RowFacts

    def fires(self, window: Window) -> bool:
        """Return whether the judge finds a match in the window."""
        return self._is_yes(
            f"A detector fires on: {self.text}\nText: {shown(window, self.facts)}\n"
            "Does it fire anywhere in the text? Answer yes or no."
        )

    def fits(self, window: Window, marked: Int[np.ndarray, " m"]) -> bool:
        """Return whether the judge finds that the marked tokens are the right ones."""
        return self._is_yes(
            f"A detector fires on: {self.text}\nText, some tokens marked with << >>: "
            f"{shown(window, self.facts, marked)}\n"
            "Are the marked tokens those on which it fires? Answer yes or no."
        )

    def _is_yes(self, prompt: str) -> bool:
        return self.judge.choice(prompt, r"\b(yes|no)\b", ("yes", "no")) == "yes"


Guesser = RowGuesser | JudgeGuesser


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


def bags_of_tokens(
    windows: Sequence[Window], facts: RowFacts, weights: dict[int, float]
) -> csr_matrix:
    """Return unit vectors of windows: the frequency of each token in it, rare ones counting more."""
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


# -------------------------------------------------------------------------------------------------
# Windows around rows, and fair examples of an atom: where it fires, and where it verifiably does not.


WHOLE_SAMPLE = 1_000_000


@dataclass(frozen=True, eq=False)
class Window:
    """Neighbouring rows of one sample, in order."""

    rows: Int[np.ndarray, " m"]
    centre: int  # the row it was drawn around


class Windows:
    """Rows ordered by sample and position, to cut windows from."""

    def __init__(self, facts: RowFacts) -> None:
        self._of = facts.sample
        self._order = np.lexsort((facts.position, facts.sample))
        self._rank = np.argsort(self._order)
        self._sample, self._position = facts.sample[self._order], facts.position[self._order]

    def around(self, row: int, reach: int) -> Window:
        """Return the rows of the same sample at most `reach` positions away."""
        at = int(self._rank[row])
        near = np.arange(max(0, at - reach), min(len(self._order), at + reach + 1))
        same = self._sample[near] == self._sample[at]
        close = np.abs(self._position[near] - self._position[at]) <= reach
        return Window(self._order[near[same & close]], row)

    def firing(
        self,
        active: Bool[np.ndarray, " n"],
        strength: np.ndarray,
        n: int,
        reach: int,
        generator: np.random.Generator,
    ) -> list[Window]:
        """Return windows around rows in which an atom fires, spread over its strengths.

        At most one per sample while samples last: firings are sorted by strength and drawn from n
        equal parts, so that weak ones count as much as strong ones.
        """
        rows = generator.permutation(np.flatnonzero(active))
        _, first = np.unique(self._of[rows], return_index=True)
        once = rows[np.sort(first)]
        again = np.setdiff1d(rows, once, assume_unique=True)
        pool = once if len(once) >= n else np.concatenate([once, again[: n - len(once)]])
        pool = pool[np.argsort(-np.abs(strength[pool]), kind="stable")]
        parts = np.array_split(pool, min(n, len(pool)))
        drawn = [int(part[generator.integers(len(part))]) for part in parts if len(part)]
        return [self.around(row, reach) for row in drawn]

    def silent(
        self, active: Bool[np.ndarray, " n"], n: int, reach: int, generator: np.random.Generator
    ) -> list[Window]:
        """Return windows in which an atom fires nowhere, each of which was checked."""
        rows = generator.permutation(np.flatnonzero(~active))[: 20 * n]
        windows = (self.around(int(row), reach) for row in rows)
        return list(islice((w for w in windows if not active[w.rows].any()), n))
