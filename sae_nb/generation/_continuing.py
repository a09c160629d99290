"""Continuations of a text before and after steering, and the tokens that the edit changed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from jaxtyping import Int
from torch import Tensor

from sae_nb.models._one_input import as_batch, outcome_names
from sae_nb.steering._recipe import SteeringRecipe, edit_of
from sae_nb.steering._summary import control_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Continuation:
    """The continuation of a text without the edit, with it, and under random directions, by token."""

    N_RANDOM: ClassVar[int] = 3
    """Random directions beside an atom: one alone may happen to change a text much, or little."""

    recipe: SteeringRecipe
    prompt: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    random: tuple[tuple[str, ...], ...]
    """One text for each random direction, of the seeds from the recipe's on."""

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The texts in the order in which they are shown: with the edit, without, at random."""
        return [self.after, self.before, *self.random]

    @property
    def n_common(self) -> int:
        """Tokens with which all begin: they part after those."""
        return shared_beginning(self.rows)


def summarise_continuation(
    model: LiveModel,
    inputs: Inputs,
    sae: SparseAutoencoder,
    recipe: SteeringRecipe,
    *,
    max_new_tokens: int = 20,
) -> Continuation:
    """Continue one text without the edit, with it, and under random directions.

    Each token is the likeliest one, so what differs is the edit's doing.
    """
    batch = as_batch(model, inputs)
    ids = batch.token_ids
    if ids is None or not model.causal:
        raise TypeError(
            f"A continuation needs a causal language model, got {model.name} ({model.kind})."
        )
    prompt = ids[0] if batch.keep is None else ids[0][batch.keep[0].to(ids.device)]
    n_random = Continuation.N_RANDOM
    edits = (nullcontext(), 1), (edit_of(model, sae, recipe), 1)
    texts: list[tuple[str, ...]] = []
    for edit, n in (*edits, (control_of(model, sae, recipe, n_random), n_random)):
        with model.lock, edit:
            new = continued(model, prompt, max_new_tokens, n)
        texts += [tuple(outcome_names(model, one)) for one in new]
    before, after, *random = texts
    return Continuation(
        recipe=recipe,
        prompt="".join(outcome_names(model, prompt.cpu().numpy())),
        before=before,
        after=after,
        random=tuple(random),
    )


def continued(
    model: LiveModel, prompt: Int[Tensor, " n"], max_new_tokens: int, n_copies: int = 1
) -> list[Int[np.ndarray, " new"]]:
    """Return the likeliest tokens after each copy of a prompt; one that ends a text is no part of it."""
    new = model.generate([prompt.cpu()] * n_copies, max_new_tokens, return_ids=True, echo=False)
    texts = [np.asarray(ids.cpu()) for ids in cast("list[Tensor]", new)]
    return [ids[:-1] if len(ids) and ids[-1] == model.end_of_text else ids for ids in texts]


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
