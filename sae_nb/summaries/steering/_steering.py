"""What a stronger atom does to one input: the answer before, after, and under a random direction.

The random direction u has unit length and the edit's own norm at every position: where steering
gives x + δ, the control gives x + ‖δ‖·u. KL(p‖q) = Σ p (ln p − ln q) is the price, in nats.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from sae_nb.steering import change_atoms, kl, random_direction, splice, steer
from sae_nb.summaries.input._answers import (
    Reading,
    answering,
    as_batch,
    outcome_names,
    read_answer,
    read_hook_point,
    token_names,
)
from sae_nb.summaries.steering._recipe import SteeringRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


Outcome = Literal["class", "next token", "state"]

FEW_CLASSES = 12
"""Up to so many classes all are shown, in their own order, so that bars never change places."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SteeringSummary:
    """What one edit does to one input, and what a random direction of the same norm does."""

    recipe: SteeringRecipe
    edit_norm: float
    """Mean norm of the change at the hook point, over the positions that changed."""

    outcome: Outcome
    """What the bars are: classes, next tokens, or states (cosine with the unsteered state)."""

    names: tuple[str, ...]
    ids: Int[np.ndarray, " shown"]
    """Their indices among all outcomes."""

    before: Float[np.ndarray, " shown"]
    """Probability without the edit (states: 1)."""

    after: Float[np.ndarray, " shown"]
    """Probability with it (states: cosine with the state without it)."""

    random: Float[np.ndarray, " shown"]
    """The same under the random direction."""

    target: int
    """Index, among all outcomes, of the one whose probability rises most (states: falls most)."""

    kl: float | None
    """KL(before‖after) in nats, over all outcomes; None for states."""

    kl_random: float | None
    """KL(before‖random) in nats."""

    tokens: tuple[str, ...]
    """Names of the positions."""

    read_at: str | None
    """Hook point where consequences are read; None when the model has none after the edit."""

    state_change: Float[np.ndarray, " tokens"] | None
    """‖after − before‖ / ‖before‖ of every position's state there."""

    state_change_random: Float[np.ndarray, " tokens"] | None
    """The same under the random direction."""

    picture: UInt8[np.ndarray, "3 height width"] | None = None
    patch_grid: tuple[int, int] | None = None
    prefix_tokens: int = 0
    """Positions before the first patch."""

    @property
    def target_name(self) -> str:
        """Name of the outcome that moved most."""
        return self.names[int(np.flatnonzero(self.ids == self.target)[0])]

    @property
    def effect(self) -> float:
        """What the edit adds to the target's probability (states: to its cosine)."""
        return self._change(self.after)

    @property
    def effect_random(self) -> float:
        """What the random direction adds to it."""
        return self._change(self.random)

    def _change(self, values: Float[np.ndarray, " shown"]) -> float:
        place = int(np.flatnonzero(self.ids == self.target)[0])
        return float(values[place] - self.before[place])

    def patch_change(self, random: bool = False) -> Float[np.ndarray, "rows columns"] | None:
        """Return the change of the patches' states as a map; None where there are no patches."""
        values = self.state_change_random if random else self.state_change
        if values is None or self.patch_grid is None:
            return None
        rows, columns = self.patch_grid
        patches = values[self.prefix_tokens :]
        return patches.reshape(rows, columns) if patches.size == rows * columns else None


def edit_of(
    model: LiveModel, sae: SparseAutoencoder, recipe: SteeringRecipe
) -> AbstractContextManager[Any]:
    """Return the steering that a recipe asks for, ready for a `with` block."""
    return steer(
        model,
        recipe.hook_point,
        sae,
        recipe.atoms,
        recipe.amounts,
        mode=recipe.mode,
        positions=recipe.positions,
    )


def control_of(
    model: LiveModel, sae: SparseAutoencoder, recipe: SteeringRecipe
) -> AbstractContextManager[Any]:
    """Return the same edit with a random direction in the atom's place, and the same norm."""
    u = random_direction(sae.d_in, recipe.seed)
    rows = sae.dictionary[list(recipe.atoms)].detach()
    if recipe.mode == "add":  # the same norm at every position; a single atom keeps its sign
        unit = torch.nn.functional.normalize(rows.float(), dim=1)
        added = torch.tensor(recipe.amounts).to(unit) @ unit
        by = float(added.norm()) if recipe.others else recipe.amount
        return steer(model, recipe.hook_point, direction=u, by=by, positions=recipe.positions)
    inner = change_atoms(
        sae, recipe.atoms, rows, mode=recipe.mode, by=recipe.amounts, keep_error=True
    )

    def change(x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        return x + (inner(x) - x).norm(dim=-1, keepdim=True) * u.to(x)

    return splice(model, recipe.hook_point, change, recipe.positions)


def summarise_steering(
    model: LiveModel,
    inputs: Any,
    sae: SparseAutoencoder,
    recipe: SteeringRecipe,
    *,
    n_shown: int = 10,
    clean: Reading | None = None,
) -> SteeringSummary:
    """Run the model without an edit, with it, and with a random direction, on one input.

    Parameters
    ----------
    model
        From `load_model` or `wrap`; its lock is held during each run.
    inputs
        One sample, or its batch.
    n_shown
        Outcomes shown where there are many: the likeliest before and after, half each.
    clean
        A run without the edit on this very input, to save one.

    Raises
    ------
    HookPointNotFound, ValueError, TypeError, IndexError: As `steer`, before the model runs.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b"])
    >>> sae = sn.TopK(d_in=2, n_atoms=4, k=1)
    >>> recipe = SteeringRecipe(hook_point="0", atom=0, strength=3.0)
    >>> summary = summarise_steering(model, torch.zeros(1, 2), sae, recipe)
    >>> summary.before.tolist(), round(summary.edit_norm, 5)
    ([0.5, 0.5], 3.0)
    """
    model = answering(model, recipe.head)
    edit, control = edit_of(model, sae, recipe), control_of(model, sae, recipe)
    batch = as_batch(model, inputs)
    point, read_at = recipe.hook_point, read_hook_point(model, recipe.hook_point)
    clean = clean or read_answer(model, batch, point, read_at)
    # The lock keeps other threads' forward passes out of the steered stretch.
    with model.lock, edit:
        after = read_answer(model, batch, point, read_at)
    with model.lock, control:
        random = read_answer(model, batch, point, read_at)
    moved = np.linalg.norm(after.edited - clean.edited, axis=-1)
    tokens = token_names(model, batch, len(clean.edited))
    return SteeringSummary(
        recipe=recipe,
        edit_norm=float(moved[moved > 0].mean()) if (moved > 0).any() else 0.0,
        **_outcomes(model, tokens, (clean, after, random), n_shown),
        tokens=tokens,
        read_at=read_at,
        state_change=_relative_change(clean.later, after.later),
        state_change_random=_relative_change(clean.later, random.later),
        picture=None if batch.pictures is None else batch.pictures[0].cpu().numpy(),
        patch_grid=model.patch_grid,
        prefix_tokens=model.prefix_tokens,
    )


def _relative_change(
    before: Float[np.ndarray, "tokens d"] | None, after: Float[np.ndarray, "tokens d"] | None
) -> Float[np.ndarray, " tokens"] | None:
    if before is None or after is None:
        return None
    size = np.linalg.norm(before, axis=-1)
    return np.linalg.norm(after - before, axis=-1) / np.maximum(size, 1e-12)


Readings = tuple[Reading, Reading, Reading]


def _outcomes(
    model: LiveModel, tokens: Sequence[str], readings: Readings, n_shown: int
) -> dict[str, Any]:
    """What the bars show, by name of the summary's fields."""
    clean, after, random = (reading.scores for reading in readings)
    if clean is None or after is None or random is None:
        return _state_outcomes(tokens, readings)
    p, q, r = np.exp(clean), np.exp(after), np.exp(random)
    target = int(np.argmax(q - p))
    ids = _shown(p, q, target, n_shown)
    return {
        "outcome": "next token" if model.kind == "language" else "class",
        "names": tuple(outcome_names(model, ids)),
        "ids": ids,
        "before": p[ids],
        "after": q[ids],
        "random": r[ids],
        "target": target,
        "kl": float(kl(torch.from_numpy(clean), torch.from_numpy(after))),
        "kl_random": float(kl(torch.from_numpy(clean), torch.from_numpy(random))),
    }


def _state_outcomes(tokens: Sequence[str], readings: Readings) -> dict[str, Any]:
    """Cosine of every state of the answer with the same state without the edit."""
    clean, after, random = (reading.answer for reading in readings)
    one_per_token = len(clean) == len(tokens)
    cosine_after, cosine_random = _cosine(clean, after), _cosine(clean, random)
    return {
        "outcome": "state",
        "names": tuple(tokens) if one_per_token else tuple(f"state {i}" for i in range(len(clean))),
        "ids": np.arange(len(clean)),
        "before": np.ones(len(clean)),
        "after": cosine_after,
        "random": cosine_random,
        "target": int(np.argmin(cosine_after)),
        "kl": None,
        "kl_random": None,
    }


def _cosine(
    a: Float[np.ndarray, "tokens d"], b: Float[np.ndarray, "tokens d"]
) -> Float[np.ndarray, " tokens"]:
    size = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(axis=-1) / np.maximum(size, 1e-12)


def _shown(
    p: Float[np.ndarray, " outcomes"],
    q: Float[np.ndarray, " outcomes"],
    target: int,
    n_shown: int,
) -> Int[np.ndarray, " shown"]:
    """All of few classes in their order; of many outcomes the likeliest, by falling p."""
    if len(p) <= FEW_CLASSES:
        return np.arange(len(p))
    half = max(n_shown // 2, 1)
    likely = np.concatenate([np.argsort(-p)[:half], np.argsort(-q)[:half], [target]])
    ids = np.unique(likely)
    return ids[np.argsort(-p[ids], kind="stable")]


# -------------------------------------------------------------------------------------------------
# How a text goes on before and after steering, and which tokens the edit changed.


@dataclass(frozen=True, kw_only=True, eq=False)
class Continuation:
    """How a text goes on without the edit, with it, and under the random direction, by token."""

    recipe: SteeringRecipe
    prompt: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    random: tuple[str, ...]
    after_changed: Bool[np.ndarray, " n_after"]
    """Which of those tokens are not in `before`, by longest common runs."""

    random_changed: Bool[np.ndarray, " n_random"]


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
    """Return which tokens of `after` are not part of what both have in common, in order."""
    changed = np.ones(len(after), dtype=bool)
    matcher = SequenceMatcher(a=list(before), b=list(after), autojunk=False)
    for block in matcher.get_matching_blocks():
        changed[block.b : block.b + block.size] = False
    return changed
