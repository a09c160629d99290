"""Token lift: which tokens an atom fires on more often than tokens are there, lift(v) = P(v | a) / P(v)."""

from __future__ import annotations

from dataclasses import field

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.activations import Activations
from sae_nb.checks import Count, Resamples, Seed, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Measurement, Resampling, RowFacts, active_rows
from sae_nb.findings import column
from sae_nb.statistics import Interval, group_rows

_DRAWS = 20  # random sets of rows behind the floor


class TokenLift(Measurement):
    """Tokens an atom fires on more often than by chance.

    `value` is the information of the token about a firing in bits, Σ_v P(v | a) log₂ (P(v | a) / P(v));
    its floor is that of the same number of rows drawn at random, which is above 0 when they are few.
    """

    atom: int
    tokens: tuple[str, ...] = field(metadata=column("token"))
    """Row of the dictionary; its tokens by lift, largest first."""

    lifts: Float[np.ndarray, " tokens"] = field(metadata=column("lift"))
    shares: Float[np.ndarray, " tokens"] = field(metadata=column("share"))
    counts: Int[np.ndarray, " tokens"] = field(metadata=column("count"))
    """P(v | active) / P(v), P(v | active), and the number of firings on this token."""

    entropy: float
    """Of the token, given that the atom fires, bits."""

    @property
    def headline(self) -> str:
        """The tokens with their lift."""
        best = ", ".join(
            f"“{token}” × {lift:.3g} ({share:.0%})"
            for token, lift, share in zip(self.tokens, self.lifts, self.shares, strict=True)
        )
        return f"atom {self.atom}: {best}; {self.value:.2f} bits, floor {self.floor:.2f}"


@checked
def token_lift(
    acts: Activations,
    codes: SparseCodes,
    atom: int,
    *,
    n_tokens: Count = 10,
    min_count: Count = 5,
    facts: RowFacts | None = None,
    n_bootstrap: Resamples = 200,
    seed: Seed = 0,
) -> TokenLift:
    """Return the tokens with the largest lift, and the token's information about a firing.

    Parameters
    ----------
    acts, codes, atom, facts
        As for `induce_rule`: rows of texts, or of images, whose tokens are places.
    n_tokens, min_count
        At most so many; firings on a token for it to be named, fewer where the atom fires rarely.

    Raises
    ------
    TypeError, ValueError, IndexError: If rows have no tokens, or as for `induce_rule`.

    Example
    -------
    >>> import sae_nb as sn
    >>> examples = sn.load_examples("tiny-gpt/resid_post.3")
    >>> atom = examples.match("thing key").atom
    >>> token_lift(examples.acts, examples.codes, atom).value > 1  # bits
    True
    """
    resampling = Resampling(n_bootstrap, seed)
    active = active_rows(acts, codes, atom)
    facts = RowFacts.of(acts) if facts is None else facts
    if not facts.names:
        raise ValueError(
            f"`acts` must have tokens, got rows of kind {facts.kind!r} without any. Use induce_rule "
            "with labels."
        )
    ids, place = np.unique(facts.token, return_inverse=True)
    there = np.bincount(place) / len(place)
    fires = np.bincount(place[active], minlength=len(ids))
    share = fires / fires.sum()
    named = np.flatnonzero(fires >= min(min_count, fires.max()))
    best = named[np.argsort(-(share / there)[named], kind="stable")][:n_tokens]
    generator, some = np.random.default_rng(seed), share[share > 0]
    drawn = [
        np.bincount(generator.permutation(place)[: fires.sum()], minlength=len(ids))
        for _ in range(_DRAWS)
    ]
    return TokenLift.measured(
        "token_information",
        _bits(fires[None], there)[0],
        floor=_bits(np.stack(drawn), there).mean(),
        interval=_interval(place, there, active, facts.sample, resampling),
        n=int(fires.sum()),
        atom=atom,
        tokens=tuple(facts.names[int(i)] for i in ids[best]),
        lifts=(share / there)[best],
        shares=share[best],
        counts=fires[best],
        entropy=float(-(some * np.log2(some)).sum()),
    )


def _bits(
    fires: Float[np.ndarray, "resamples tokens"], there: Float[np.ndarray, " tokens"]
) -> Float[np.ndarray, " resamples"]:
    share = fires / np.maximum(fires.sum(axis=1, keepdims=True), 1)
    ratio = np.log2(np.where(share > 0, share / there, 1.0))
    return (share * ratio).sum(axis=1)


def _interval(
    place: Int[np.ndarray, " n"],
    there: Float[np.ndarray, " tokens"],
    active: Bool[np.ndarray, " n"],
    sample: Int[np.ndarray, " n"],
    resampling: Resampling,
) -> Interval:
    """Resample the samples in which it fires."""
    group, n_groups = group_rows(sample[active], int(active.sum()), seed=resampling.seed)
    used, column = np.unique(place[active], return_inverse=True)
    sums = np.zeros((n_groups, len(used)))
    np.add.at(sums, (group, column), 1.0)
    return resampling.interval(sums, lambda s: _bits(s, there[used]))
