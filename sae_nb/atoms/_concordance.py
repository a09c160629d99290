"""concordance: an atom's firings as lines of text, the token on which it fires in one column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from sae_nb.activations.tokens import CONTINUED
from sae_nb.atoms._catalogue import AtomCatalogue
from sae_nb.atoms._examples import Choice, build_examples, choose_rows, one_per_sample
from sae_nb.atoms._records import Example
from sae_nb.checks import Count, at_least, check_atom, checked
from sae_nb.figures import visible_token

if TYPE_CHECKING:
    from jaxtyping import Int

BEFORE, AFTER = 8, 4
MIDDLE = (0.8, 0.3)
"""Tokens on each side of the marked one; quantiles of the strengths between which the middle ones lie."""


@checked
def concordance(
    catalogue: AtomCatalogue,
    atom: int,
    n: Count = 20,
    *,
    before: Annotated[int, at_least(0)] = BEFORE,
    after: Annotated[int, at_least(0)] = AFTER,
) -> list[str]:
    """Return firings of an atom as lines of text, as a reader needs them who is to name it.

    The first half are the strongest, the other half are spread over the middle of the atom's range (its 80th
    to its 30th percentile), at most one of each half per text. A line is the strength as a share of the atom's
    largest, the tokens before, the token on which it fires in « », and those after; ↵ is a line break.

    Parameters
    ----------
    n
        Lines, fewer where the atom fires in fewer texts.
    before, after
        Tokens on each side.

    Raises
    ------
    ValueError: If the activations do not keep the texts they are of.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.load_sae("tiny-gpt/resid_post.3")
    >>> catalogue = sn.load_examples("tiny-gpt/resid_post.3").catalogue(sae)
    >>> len(concordance(catalogue, 9, n=6))
    6
    """
    context = catalogue.acts.context
    if not context.modality.is_text or context.token_ids is None:
        raise ValueError(
            f"`catalogue` must hold activations of texts that keep their tokens, got {context.kind!r}. Pass "
            "activations that sn.capture made of texts."
        )
    atom = check_atom(atom, catalogue.n_atoms)
    top = choose_rows(catalogue, atom, "top").rows
    rows = [*top[: n - n // 2], *_middle(catalogue, atom, top[: n - n // 2], n // 2)]
    at, z = catalogue.strengths(atom)
    strengths = z[np.searchsorted(at, rows)] if rows else z[:0]
    chosen = Choice(rows=np.array(rows, np.int64), strengths=strengths)
    peak = max(float(catalogue.max_strength[atom]), 1e-12)
    return [_line(one, peak, before, after) for one in build_examples(catalogue, atom, chosen)]


def _middle(
    catalogue: AtomCatalogue, atom: int, taken: Int[np.ndarray, " m"], n: int
) -> Int[np.ndarray, " k"]:
    """Rows spread over the middle of an atom's strengths, of texts that are not shown yet."""
    rows, strengths = catalogue.strengths(atom)
    ranked = rows[np.argsort(-np.abs(strengths), kind="stable")]
    high, low = (round((1 - share) * len(ranked)) for share in MIDDLE)
    samples = catalogue.samples
    inside = ranked[high:low][~np.isin(samples[ranked[high:low]], samples[taken])]
    once = inside[one_per_sample(np.arange(len(inside)), samples[inside])]
    return once[np.unique(np.linspace(0, len(once) - 1, min(n, len(once))).astype(np.int64))]


def _line(example: Example, peak: float, before: int, after: int) -> str:
    at = example.position - example.first_position
    before_it, after_it = example.tokens[max(at - before, 0) : at], example.tokens[at + 1 :][:after]
    # What begins before the token may end in it: its sign then stands there.
    token = example.tokens[at]
    word = token.strip() or token
    space = token[: token.index(word)]
    line = visible_token(f"{''.join(before_it)}{space}«{word}»{''.join(after_it)}")
    return f"{abs(example.strength) / peak:4.0%}  {line.replace(CONTINUED, '')}"
