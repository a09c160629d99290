"""Functions with a known answer, dressed as atoms: does the describer of atoms find what they are?

Each function is a statement about a token that is true or not; an atom fires (z > 0) where it is. Some
are one statement of the kind that rules are made of, some are two of them, some hold with exceptions,
and some need words that rules do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from jaxtyping import Bool

from sae_nb.activations import Activations
from sae_nb.architectures import TopK
from sae_nb.checks import Between, Count, Seed, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import TOKEN_SHAPES, Predicate, RowFacts, score_explanations
from sae_nb.findings import Finding, column

if TYPE_CHECKING:
    from pandas import DataFrame

KINDS = ("token", "letters", "place", "or", "and", "and not", "noisy", "biased", "in other words")
SHARE = (0.004, 0.3)
"""Of the rows in which a function may be true."""

FEWEST_TOKENS = 50
"""Different ones, to draw functions from."""

_MOST_TRIES = 400


class PlantedFunctions(Finding):
    """Atoms whose meaning is known, on rows of texts; made by `planted_functions`."""

    HEADLINE = "{kinds.len} on {acts.len} rows: {kinds.counts}"

    acts: Activations
    codes: SparseCodes
    kinds: tuple[str, ...] = field(metadata=column("kind"))
    """Of each atom, among `KINDS`."""

    texts: tuple[str, ...] = field(metadata=column("function"))
    """Meaning of each atom, in words."""

    def score(
        self,
        judge: Callable[[str], str] | None = None,
        *,
        explanations: Mapping[int, str] | None = None,
        n_examples: int = 40,
        seed: int = 0,
    ) -> DataFrame:
        """Return how well descriptions foresee each function on other texts, a row per kind.

        `judge` and `explanations` are those of `score_explanations`, without them rules are tried. Columns:
        kind, score (balanced accuracy of detection), constant (what a description that is always the same
        gets, ½), other (what the description of another atom gets), n (functions). A score is NaN where no
        function of its kind could be judged.
        """
        import pandas as pd

        sae = TopK(self.acts.d_in, len(self.kinds), 1)  # only its shape is read
        found = score_explanations(
            sae,
            self.acts,
            range(len(self.kinds)),
            codes=self.codes,
            judge=judge,
            explanations=explanations,
            n_examples=n_examples,
            n_bootstrap=0,
            seed=seed,
        )
        rows = []
        for kind in dict.fromkeys(self.kinds):
            of = [atom for atom, its in enumerate(self.kinds) if its == kind]
            scores = [found.per_atom[atom]["detection"] for atom in of if atom in found.per_atom]
            mean = float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")
            rows.append({"kind": kind, "score": mean, "constant": 0.5, "n": len(scores)})
        other = found.scores["detection"].control
        return pd.DataFrame(rows).assign(other=other)[["kind", "score", "constant", "other", "n"]]

    def __len__(self) -> int:
        return len(self.kinds)


@checked
def planted_functions(
    acts: Activations,
    *,
    n_each: Count = 4,
    noise: Annotated[float, Between(0, 1, "[)")] = 0.1,
    seed: Seed = 0,
) -> PlantedFunctions:
    """Plant functions of tokens with a known meaning, to try rules and judges on.

    Parameters
    ----------
    acts
        Rows of texts; only their tokens are used, not their activations.
    n_each
        Functions of each kind: one set of tokens, one ending, a range of positions; two of these (or, and, and
        not); a noisy one; one that is silent later in the text; one that rules have no words for.
    noise
        Of a noisy function, the share of its firings that are left out, and as many that are put elsewhere.

    Raises
    ------
    ValueError, TypeError: If the rows are not of texts, or too few for functions that are true often enough.

    Source
    ------
    After FIND, Schwettmann et al., arXiv 2309.03886 (functions of strings and numbers, with noise, composition
    and bias); functions of tokens alone, and scoring by detection in place of rewritten code, are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> acts = sn.load_examples("tiny-gpt/resid_post.3").acts
    >>> planted = planted_functions(acts, n_each=1)
    >>> len(planted), planted.kinds[0]
    (9, 'token')
    """
    rng = np.random.default_rng(seed)
    if not acts.context.modality.is_text or acts.context.token_ids is None:
        raise ValueError(
            f"`acts` must be rows of texts, got samples of kind {acts.context.kind!r}. Capture a language "
            "model."
        )
    facts = RowFacts.of(acts)
    if len(facts.names) < FEWEST_TOKENS:
        raise ValueError(
            f"`acts` must hold at least {FEWEST_TOKENS} different tokens, got {len(facts.names)}. Capture "
            "more texts."
        )
    made = _Making(facts, noise, rng)
    found = [(kind, *made.one(kind)) for kind in KINDS for _ in range(n_each)]
    fires = np.stack([holds for _, _, holds in found], axis=1)
    return PlantedFunctions(
        acts=acts,
        codes=_as_codes(fires, rng),
        kinds=tuple(kind for kind, _, _ in found),
        texts=tuple(text for _, text, _ in found),
    )


def _as_codes(fires: Bool[np.ndarray, "n n_atoms"], rng: np.random.Generator) -> SparseCodes:
    """Strengths of ½ to 1½ wherever a function is true."""
    atoms = np.nonzero(fires)[1]
    return SparseCodes(
        values=torch.from_numpy(rng.uniform(0.5, 1.5, len(atoms)).astype(np.float32)),
        atoms=torch.from_numpy(atoms),
        offsets=torch.from_numpy(np.concatenate([[0], fires.sum(axis=1).cumsum()])),
        n_atoms=fires.shape[1],
    )


Made = tuple[str, Bool[np.ndarray, " n"]]


class _Making:
    """Draws functions that are true often enough, and not too often."""

    def __init__(self, facts: RowFacts, noise: float, rng: np.random.Generator) -> None:
        self.facts, self.noise, self.rng = facts, noise, rng
        self.middle = max(int(np.median(facts.position)), 4)
        ids, counts = np.unique(facts.token, return_counts=True)
        common = ids[np.argsort(-counts, kind="stable")][:200]
        self.tokens = [facts.names[int(i)] for i in common]
        self.endings = sorted({name.strip()[-2:] for name in self.tokens if len(name.strip()) > 3})

    def one(self, kind: str) -> Made:
        """Return a function of a kind, in words and as the rows where it is true."""
        draw = self._draws()[kind]
        for _ in range(_MOST_TRIES):
            text, holds = draw()
            if SHARE[0] <= holds.mean() <= SHARE[1]:
                return text, holds
        raise ValueError(
            f"`acts` must hold texts in which functions are true in {SHARE[0]:.1%} to {SHARE[1]:.0%} of the "
            f"tokens, and none of {_MOST_TRIES} of kind {kind!r} was. Capture more texts."
        )

    def _draws(self) -> dict[str, Callable[[], Made]]:
        return {
            "token": self._token,
            "letters": self._letters,
            "place": self._place,
            "or": self._either,
            "and": self._both,
            "and not": self._but,
            "noisy": self._noisy,
            "biased": self._biased,
            "in other words": self._in_other_words,
        }

    def _said(self, predicate: Predicate) -> Made:
        return predicate.text, predicate.holds(self.facts)

    def _token(self) -> Made:
        chosen = self.rng.choice(self.tokens, int(self.rng.integers(1, 4)), replace=False)
        return self._said(Predicate("token", tuple(sorted(map(str, chosen)))))

    def _letters(self) -> Made:
        return self._said(Predicate("ends", (str(self.rng.choice(self.endings)),)))

    def _shape(self) -> Made:
        return self._said(Predicate("shape", (str(self.rng.choice(list(TOKEN_SHAPES))),)))

    def _place(self) -> Made:
        first, length = (int(n) for n in self.rng.integers((0, 2), self.middle))
        at = self.facts.position
        text = f"position {first} or later and before position {first + length}"
        return text, (at >= first) & (at < first + length)

    def _either(self) -> Made:
        (a, in_a), (b, in_b) = self._token(), self._place()
        return f"{a}, or {b}", in_a | in_b

    def _both(self) -> Made:
        (a, in_a), (b, in_b) = self._shape(), self._place()
        return f"{a}, and {b}", in_a & in_b

    def _but(self) -> Made:
        """A shape without the tokens that have it most often."""
        text, holds = self._shape()
        ids, counts = np.unique(self.facts.token[holds], return_counts=True)
        most = ids[np.argsort(-counts, kind="stable")][: int(self.rng.integers(1, 4))]
        names = " or ".join(f"“{self.facts.names[int(i)]}”" for i in most)
        return f"{text}, and is not {names}", holds & ~np.isin(self.facts.token, most)

    def _noisy(self) -> Made:
        text, holds = self._token()
        noisy, true, false = holds.copy(), np.flatnonzero(holds), np.flatnonzero(~holds)
        n = round(self.noise * len(true))
        noisy[self.rng.choice(true, n, replace=False)] = False
        noisy[self.rng.choice(false, min(n, len(false)), replace=False)] = True
        return f"{text}, with exceptions", noisy

    def _biased(self) -> Made:
        text, holds = self._token()
        early = self.facts.position < self.middle
        return f"{text}, and nowhere from position {self.middle} on", holds & early

    def _in_other_words(self) -> Made:
        text, says = list(_others())[int(self.rng.integers(len(list(_others()))))]
        return text, says(self.facts)


def _others() -> Iterator[tuple[str, Callable[[RowFacts], Bool[np.ndarray, " n"]]]]:
    """Functions that no small rule can say."""

    def of_names(test: Callable[[str], bool]) -> Callable[[RowFacts], Bool[np.ndarray, " n"]]:
        return lambda facts: np.isin(
            facts.token, [i for i, name in facts.names.items() if test(name.strip())]
        )

    yield "the token has six letters or more", of_names(lambda name: len(name) >= 6)
    yield (
        "the token has a letter twice in a row",
        of_names(lambda name: any(a == b for a, b in pairwise(name))),
    )
    yield (
        "the token has an odd number of letters, five or more",
        of_names(lambda name: len(name) % 2 == 1 and len(name) >= 5),
    )
    yield "every fifth position", lambda facts: facts.position % 5 == 0
