"""How a text goes on before and after steering, and which tokens the edit changed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from sae_nb.summaries.answers import as_batch, outcome_names
from sae_nb.summaries.steering import control_of, edit_of
from sae_nb.summaries.steering_recipe import SteeringRecipe

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.models.live_model import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Continuation:
    """How a text goes on without the edit, with it, and under the random direction."""

    recipe: SteeringRecipe
    """What was asked for."""

    prompt: str
    """What is continued."""

    before: tuple[str, ...]
    """New tokens without the edit."""

    after: tuple[str, ...]
    """With it."""

    random: tuple[str, ...]
    """Under the random direction."""

    after_changed: Bool[np.ndarray, " n_after"]
    """Which tokens of `after` are not in `before`, by longest common runs."""

    random_changed: Bool[np.ndarray, " n_random"]
    """Which tokens of `random` are not in `before`."""


def summarise_continuation(
    model: LiveModel,
    inputs: Any,
    sae: SparseAutoencoder,
    recipe: SteeringRecipe,
    *,
    max_new_tokens: int = 20,
) -> Continuation:
    """Continue one text without the edit, with it, and under a random direction.

    Each token is the likeliest one, so what differs is the edit's doing.

    Parameters
    ----------
    model
        A causal language model.
    inputs
        One text, or its batch.
    sae
        Whose atom.
    recipe
        What to do, at the prompt and at every new token that `positions` names.
    max_new_tokens
        Tokens to add.

    Returns
    -------
    Continuation
        Tokens, and which of them changed.

    Raises
    ------
    HookPointNotFound, ValueError, TypeError, IndexError
        As `steer` and `model.generate`.
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
            new = model.generate(prompt.cpu(), max_new_tokens, return_ids=True, echo=False)
        parts.append(tuple(outcome_names(model, np.asarray(cast(Tensor, new).cpu()))))
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


def changed_tokens(before: Sequence[str], after: Sequence[str]) -> Bool[np.ndarray, " n"]:
    """Return which tokens of `after` are not part of what both have in common, in order.

    Examples
    --------
    >>> changed_tokens(["a", " dog", " ran"], ["a", " big", " dog", " sat"]).tolist()
    [False, True, False, True]
    """
    changed = np.ones(len(after), dtype=bool)
    matcher = SequenceMatcher(a=list(before), b=list(after), autojunk=False)
    for block in matcher.get_matching_blocks():
        changed[block.b : block.b + block.size] = False
    return changed
