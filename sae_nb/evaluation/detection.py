"""Do explanations of atoms hold on inputs they were not made from? Detection, fuzzing, intruder.

Detection: window → does the atom fire in it? Fuzzing: marked tokens → are those the firing ones? Both are
balanced accuracies, so always saying no reaches ½. Intruder: which of n windows does not belong? Chance
is 1 / n. Nothing here needs a service: explanations are rules or likeness to examples; a language model
is asked only where the user passes one as `judge`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations, acts_for
from sae_nb.checks import check_count
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.encoded_rows import codes_of
from sae_nb.evaluation.explanation_trials import FEWEST_EXAMPLES, Desk, Explain
from sae_nb.evaluation.explanations import (
    Judge,
    JudgeGuesser,
)
from sae_nb.evaluation.measurement import Measurement, Resampling
from sae_nb.evaluation.row_facts import RowFacts
from sae_nb.evaluation.rules import Rule

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures.base import SparseAutoencoder

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
    TypeError, ValueError, IndexError
        If atoms, codes or labels do not fit, no atom fires often enough, or a judge is given for
        inputs that are no text.

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
