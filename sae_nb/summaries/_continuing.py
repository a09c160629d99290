"""Continuations of a text before and after steering, and the tokens that the edit changed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from sae_nb.summaries._steering import SteeringRecipe, control_of, edit_of
from sae_nb.summaries.input._answers import as_batch, outcome_names

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Continuation:
    """The continuation of a text without the edit, with it, and under the random direction, by token."""

    recipe: SteeringRecipe
    prompt: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    random: tuple[str, ...]
    after_changed: Bool[np.ndarray, " n_after"]
    """Mask of the tokens that are not in `before`, by longest common runs."""

    random_changed: Bool[np.ndarray, " n_random"]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The three texts in the order in which they are shown: with the edit, without, at random."""
        return [self.after, self.before, self.random]

    @property
    def n_common(self) -> int:
        """Tokens with which all three begin: they part after those."""
        return shared_beginning(self.rows)


def summarise_continuation(
    model: LiveModel,
    inputs: Inputs,
    sae: SparseAutoencoder,
    recipe: SteeringRecipe,
    *,
    max_new_tokens: int = 20,
) -> Continuation:
    """Continue one text without the edit, with it, and under a random direction.

    Each token is the likeliest one, so what differs is the edit's doing.
    """
    batch = as_batch(model, inputs)
    ids = batch.token_ids
    if ids is None or not model.causal:
        raise TypeError(
            f"A continuation needs a causal language model, got {model.name} ({model.kind})."
        )
    prompt = ids[0] if batch.keep is None else ids[0][batch.keep[0].to(ids.device)]
    parts = []
    for edit in (nullcontext(), edit_of(model, sae, recipe), control_of(model, sae, recipe)):
        with model.lock, edit:
            parts.append(tuple(outcome_names(model, continued(model, prompt, max_new_tokens))))
    before, after, random = parts
    return Continuation(
        recipe=recipe,
        prompt="".join(outcome_names(model, prompt.cpu().numpy())),
        before=before,
        after=after,
        random=random,
        after_changed=changed_tokens(before, after),
        random_changed=changed_tokens(before, random),
    )


def continued(
    model: LiveModel, prompt: Int[Tensor, " n"], max_new_tokens: int
) -> Int[np.ndarray, " new"]:
    """Return the ids of the likeliest tokens after a prompt; a token that ends a text is no part of it."""
    new = model.generate(prompt.cpu(), max_new_tokens, return_ids=True, echo=False)
    found = np.asarray(cast(Tensor, new).cpu())
    return found[:-1] if len(found) and found[-1] == model.end_of_text else found


def changed_tokens(before: Sequence[str], after: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Return which tokens of `after` are not part of what both have in common, in order."""
    changed = np.ones(len(after), dtype=bool)
    matcher = SequenceMatcher(a=list(before), b=list(after), autojunk=False)
    for block in matcher.get_matching_blocks():
        changed[block.b : block.b + block.size] = False
    return changed


def shared_beginning(texts: Sequence[Sequence[str]]) -> int:
    """Return with how many tokens all texts begin, up to the end of a word; 0 where they never part.

    >>> shared_beginning([[" was", " sold"], [" was", " a", " slave"], [" was", " a", " king"]])
    1
    """
    n = next(
        (n for n, one in enumerate(zip(*texts)) if len(set(one)) > 1),
        min(map(len, texts), default=0),
    )
    if all(len(text) == n for text in texts):
        return 0
    while n and any(text[n][:1].isalnum() for text in texts if len(text) > n):
        n -= 1  # inside a word
    return n
