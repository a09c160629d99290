"""The effect of a stronger atom on one input: the answer before, after, and under a random direction.

The random direction u has unit length and the edit's own norm at every position: where steering
gives x + δ, the control gives x + ‖δ‖·u. KL(p‖q) = Σ p (ln p − ln q) is the cost, in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.models._answers import answering
from sae_nb.models._one_input import (
    as_batch,
    layout_in,
    outcome_names,
    patch_map,
    shown_picture,
    token_names,
)
from sae_nb.models._prefix_cache import PrefixCache
from sae_nb.models._running import Runner
from sae_nb.steering._answers import kl
from sae_nb.steering._contexts import Active, random_direction, splice
from sae_nb.steering._reading import (
    Reading,
    read_answer,
    read_answers,
    read_hook_point,
    readings_of,
)
from sae_nb.steering._recipe import SteeringRecipe, edit_of
from sae_nb.steering.edits import Change, MaskedEdit, change_atoms

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch

Outcome = Literal["class", "next token", "state"]

FEW_CLASSES = 12
"""Up to so many classes all are shown, in their own order, so that bars never change places."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SteeringSummary:
    """The effect of one edit on one input, and of a random direction of the same norm."""

    recipe: SteeringRecipe
    edit_norm: float
    """Mean norm of the change at the hook point, over the positions that changed."""

    outcome: Outcome
    """Meaning of the bars: classes, next tokens, or states (cosine with the unsteered state)."""

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
    """Index, among all outcomes, of the one asked about; else of the likeliest one with the edit, the
    model's answer (states: of the one that turns most)."""

    kl: float | None
    """KL(before‖after) in nats, over all outcomes; None for states."""

    kl_random: float | None
    """KL(before‖random) in nats."""

    controls: Float[np.ndarray, "controls shown"]
    """Probability under several random directions, of which `random` is the first (states: cosine)."""

    kl_controls: Float[np.ndarray, " controls"] | None
    """KL(before‖control) in nats of each."""

    stands_out: int | None
    """Index, among all outcomes, of the one in which the edit exceeds every random direction by most; None
    where it exceeds them in none, and for states.
    """

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
    prefix_tokens: int
    """Positions before the first patch."""

    face: Int[np.ndarray, "rows columns"] | None = None
    """Position of every patch on a sample's face; None without patches."""

    @property
    def target_name(self) -> str:
        """Name of the outcome that `target` is."""
        return self.names[self._place]

    @property
    def answers(self) -> tuple[str, str]:
        """Names of the likeliest outcome before and after (states: of the ones that turn least)."""
        return self.names[int(np.argmax(self.before))], self.names[int(np.argmax(self.after))]

    @property
    def of_target(self) -> tuple[float, float, float]:
        """Its probability before, after, and under the random direction (states: its cosine)."""
        place = self._place
        return float(self.before[place]), float(self.after[place]), float(self.random[place])

    @property
    def changed_most(self) -> str:
        """Name of the outcome that fewest random directions change as far, among several the largest change."""
        by_luck = np.array([self.as_far(name) for name in self.names])
        return self.names[int(np.lexsort((-np.abs(self.after - self.before), by_luck))[0])]

    @property
    def moves_further(self) -> bool:
        """Whether the whole answer moves further, by KL, than under any of the random directions.

        A further random direction would in one case of twenty; of states it is not known.
        """
        if self.kl is None or self.kl_controls is None:
            return False
        return self.kl > float(self.kl_controls.max()) + LEAST_KL

    def as_far(self, name: str) -> int:
        """Return how many of the random directions change one of the outcomes as far as the edit does."""
        place = self.names.index(name)
        drawn = np.abs(self.controls[:, place] - self.before[place])
        return int((drawn + LEAST_CHANGE >= abs(self.after[place] - self.before[place])).sum())

    def beyond(self, name: str) -> bool:
        """Return whether one of the outcomes changes further than under any of the random directions."""
        return self.as_far(name) == 0

    @property
    def beats_chance(self) -> bool:
        """Whether the edit does what random directions of its norm do not, in all or in one outcome."""
        return self.moves_further or self.beyond(self.changed_most)

    @property
    def effect(self) -> float:
        """Change of the target's probability by the edit (states: of its cosine)."""
        before, after, _ = self.of_target
        return after - before

    @property
    def effect_random(self) -> float:
        """Change of it by the random direction."""
        before, _, random = self.of_target
        return random - before

    @property
    def _place(self) -> int:
        return int(np.flatnonzero(self.ids == self.target)[0])

    def patch_change(self, random: bool = False) -> Float[np.ndarray, "rows columns"] | None:
        """Return the change of the patches' states as a map; None where there are no patches."""
        values = self.state_change_random if random else self.state_change
        return None if values is None or self.face is None else values[self.face]


def control_of(
    model: LiveModel, sae: SparseAutoencoder, recipe: SteeringRecipe, n: int = 1
) -> Active:
    """Return the same edit with a random direction in the atom's place, and the same norm.

    Of a batch of n inputs each gets a direction of its own.
    """
    control = Control(sae, recipe, n)
    return splice(model, recipe.hook_point, control.change(recipe.amounts), recipe.positions)


class Control:
    """Random directions in the place of a recipe's atoms, of the length of what those change.

    Of n copies of an input each gets a direction of its own, from the recipe's seed on.
    """

    def __init__(self, sae: SparseAutoencoder, recipe: SteeringRecipe, n: int) -> None:
        drawn = [random_direction(sae.d_in, recipe.seed + i) for i in range(n)]
        self._sae, self._recipe, self._u = sae, recipe, torch.stack(drawn)[:, None]
        self._rows = sae.dictionary[list(recipe.atoms)].detach()

    def change(self, amounts: tuple[float, ...]) -> Change:
        """Return what they do where the atoms would be changed by so much."""
        u, rows, recipe = self._u, self._rows, self._recipe
        if recipe.mode == "add":  # the same norm at every position; a single atom keeps its sign
            unit = torch.nn.functional.normalize(rows.float(), dim=1)
            added = torch.tensor(amounts).to(unit) @ unit
            by = float(added.norm()) if recipe.others else amounts[0]
            return lambda x: x + by * u.to(x)
        inner = change_atoms(
            self._sae, recipe.atoms, rows, mode=recipe.mode, by=amounts, keep_error=True
        )

        def change(x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
            return x + (inner(x) - x).norm(dim=-1, keepdim=True) * u.to(x)

        return change


N_CONTROLS = 19
"""Random directions by which an effect is judged: one more would beat them all in 5 cases of 100."""

MOST_TOKENS = 1024
"""Tokens of all copies of a text in one pass, which bounds the memory."""

LEAST_KL = 1e-4
"""Divergence, in nats, below which nothing is seen to change."""

LEAST_CHANGE = 0.005
"""Change of a probability, or of a number of a state, below which nothing is seen to change."""


@checked
def summarise_steering(
    model: LiveModel,
    inputs: Inputs,
    sae: SparseAutoencoder,
    recipe: SteeringRecipe,
    *,
    n_shown: int = 10,
    target: int | None = None,
    clean: Reading | None = None,
) -> SteeringSummary:
    """Run the model without an edit, with it, and with random directions, on one input.

    Parameters
    ----------
    model
        From `load_model` or `wrap`; its lock is held during each run.
    inputs
        One sample, or its batch.
    n_shown
        Outcomes shown where there are many: the likeliest before and after, half each.
    target
        Class or token asked about, which is then shown too; None takes the answer with the edit.
    clean
        A run without the edit on this very input, to save one.

    Raises
    ------
    ValueError: If the model has no such `target`.

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
    return Steered(model, inputs, sae, recipe, clean=clean).answer(
        recipe, n_shown=n_shown, target=target
    )


class Steered:
    """One input, place and set of atoms, read and checked once, whose answer is asked at many strengths.

    `recipe` is any of them: all but its strength, and the other atoms' amounts, holds for every answer.
    """

    def __init__(
        self,
        model: LiveModel,
        inputs: Inputs,
        sae: SparseAutoencoder,
        recipe: SteeringRecipe,
        *,
        clean: Reading | None = None,
    ) -> None:
        live, self._model = model, answering(model, recipe.head)
        model = self._model
        self._batch = batch = as_batch(model, inputs)
        self._hook_point, self._read_at = (
            recipe.hook_point,
            read_hook_point(model, recipe.hook_point),
        )
        self.clean = clean or read_answer(model, batch, self._hook_point, self._read_at)
        """The answer without the edit."""

        read = {self._hook_point, self._read_at or self._hook_point}
        edit = edit_of(model, sae, recipe)
        points = [one.hook_point for one in edit.recipe.interventions()]
        self._edit = _Exchanged(model, edit, read, PrefixCache(live, points, edited=True))
        self._controls: list[tuple[Control, _Exchanged, Batch]] = []
        at_once = 1 if batch.images is not None else max(MOST_TOKENS // batch.sample.shape[1], 1)
        for first in range(0, N_CONTROLS, at_once):
            n = min(at_once, N_CONTROLS - first)
            following = replace(recipe, seed=recipe.seed + first)
            control = Control(sae, following, n)
            active = splice(
                model, recipe.hook_point, control.change(recipe.amounts), recipe.positions
            )
            exchanged = _Exchanged(model, active, read, PrefixCache(live, points, edited=True))
            copies = batch.copies(n)
            self._controls.append((control, exchanged, copies))
        n_places = len(self.clean.edited)
        self._layout = layout_in(model, batch, n_places, recipe.hook_point)
        self.tokens = token_names(model, batch, n_places, self._layout)
        """Names of the positions."""

        places = replace(model.places, patch_grid=self._layout.grid)
        self._face = patch_map(np.arange(n_places), places)
        self._names: dict[int, str] = {}

    def answer(
        self, recipe: SteeringRecipe, *, n_shown: int = 10, target: int | None = None
    ) -> SteeringSummary:
        """Run the model with the edit and with random directions, and compare with the answer without."""
        model, clean, amounts = self._model, self.clean, recipe.amounts
        of_amounts = cast(Callable[..., Change], self._edit.edit.of_amounts)
        places = self._hook_point, self._read_at
        after = self._edit.run(self._batch, of_amounts(by=amounts), *places)[0]
        controls: list[Reading] = []
        for control, exchanged, copies in self._controls:
            controls += exchanged.run(copies, control.change(amounts), *places)
        moved = np.linalg.norm(after.edited - clean.edited, axis=-1)
        return SteeringSummary(
            recipe=recipe,
            edit_norm=float(moved[moved > 0].mean()) if (moved > 0).any() else 0.0,
            **_outcomes(
                model, self.tokens, (clean, after, *controls), n_shown, target, self._named
            ),
            tokens=self.tokens,
            read_at=self._read_at,
            state_change=_relative_change(clean.later, after.later),
            state_change_random=_relative_change(clean.later, controls[0].later),
            picture=shown_picture(self._batch),
            patch_grid=self._layout.grid,
            prefix_tokens=model.prefix_tokens,
            face=self._face,
        )

    def _named(self, ids: Int[np.ndarray, " shown"]) -> tuple[str, ...]:
        """Return names of outcomes, each looked up once."""
        unknown = np.array([i for i in ids.tolist() if i not in self._names], dtype=int)
        if len(unknown):
            names = outcome_names(self._model, unknown)
            self._names |= dict(zip(unknown.tolist(), names, strict=True))
        return tuple(self._names[i] for i in ids.tolist())


class _Exchanged:
    """An edit of a model in passes of its own over one batch, whose change is another in each of them."""

    def __init__(
        self, model: LiveModel, active: Active, read: Iterable[str], below: PrefixCache
    ) -> None:
        self._model, self._active, self._below = model, active, below
        self.edit: MaskedEdit = active.recipe.edit
        under = active.recipe.interventions("nnsight" if model.remote else "hooks")
        self._runner = Runner(model, read=read, under=under, answer="end")

    def _from_the_edit_on(self) -> AbstractContextManager[None]:
        """Leave out the blocks below the edit, once they were noted: every change finds the same states."""
        if self._model.interventions:  # of others, perhaps below it
            return nullcontext()
        return self._below.left_out() if self._below.n_kept else self._below.noted()

    def run(
        self, batch: Batch, change: Change, hook_point: str, read_at: str | None
    ) -> list[Reading]:
        """Run the model with one change."""
        # The lock keeps other threads' forward passes, and their changes, out of this one.
        with self._model.lock, self._from_the_edit_on():
            self.edit.change = change
            ran = self._runner(batch)
        if not self.edit.n_touched:
            self._active.warn_of_idleness()
        return readings_of(self._model, ran, hook_point, read_at)


def effects_of_adding(
    model: LiveModel, batch: Batch, hook_point: str, directions: Float[Tensor, "n d_in"]
) -> Float[np.ndarray, " n"]:
    """Return KL(before‖after) in nats of adding each of several directions to one input, in one pass.

    Of states, how far they move all in all.
    """
    clean = read_answer(model, batch, hook_point)
    with model.lock, splice(model, hook_point, lambda x: x + directions[:, None].to(x)):
        found = read_answers(model, batch.copies(len(directions)), hook_point)
    if clean.scores is None:
        return np.array([np.linalg.norm(one.answer - clean.answer) for one in found])
    scores = np.stack([one.scores for one in found if one.scores is not None])
    return kl(torch.from_numpy(clean.scores)[None], torch.from_numpy(scores)).numpy()


def _relative_change(
    before: Float[np.ndarray, "tokens d"] | None, after: Float[np.ndarray, "tokens d"] | None
) -> Float[np.ndarray, " tokens"] | None:
    if before is None or after is None:
        return None
    size = np.linalg.norm(before, axis=-1)
    return np.linalg.norm(after - before, axis=-1) / np.maximum(size, 1e-12)


def _outcomes(
    model: LiveModel,
    tokens: Sequence[str],
    readings: Sequence[Reading],
    n_shown: int,
    target: int | None,
    named: Callable[[Int[np.ndarray, " shown"]], tuple[str, ...]],
) -> dict[str, Any]:
    """Return the values of the bars, by name of the summary's fields."""
    scores = [reading.scores for reading in readings if reading.scores is not None]
    if len(scores) < len(readings):
        return _state_outcomes(tokens, readings)
    clean, after, *random = map(torch.from_numpy, scores)
    p, q, *controls = map(np.exp, scores)
    drawn, out = np.stack(controls), _stands_out(p, np.stack([q, *controls]))
    if target is None:
        target = int(np.argmax(q))
    elif not 0 <= target < len(p):
        raise ValueError(
            f"`target` must be between 0 and {len(p) - 1}, the outcomes of {model.name}, got {target}."
        )
    kl_controls = kl(clean[None], torch.stack(random)).numpy()
    if len(p) <= FEW_CLASSES:
        ids = np.arange(len(p))
    else:  # the likeliest before and after, by falling p
        half = max(n_shown // 2, 1)
        most = int(np.argmax(np.abs(q - p))) if out is None else out
        ids = np.unique(
            [
                *np.argsort(-p, kind="stable")[:half],
                *np.argsort(-q, kind="stable")[:half],
                target,
                most,
            ]
        )
        ids = ids[np.argsort(-p[ids], kind="stable")]
    return {
        "outcome": "next token" if model.modality.is_text else "class",
        "names": named(ids),
        "ids": ids,
        "before": p[ids],
        "after": q[ids],
        "random": drawn[0, ids],
        "controls": drawn[:, ids],
        "stands_out": out,
        "target": target,
        "kl": float(kl(clean, after)),
        "kl_random": float(kl_controls[0]),
        "kl_controls": kl_controls,
    }


def _stands_out(
    before: Float[np.ndarray, " outcomes"], under: Float[np.ndarray, "edits outcomes"]
) -> int | None:
    """Return the outcome in which the first edit exceeds all others by most; None if it does in none."""
    ours, *others = np.abs(under - before)
    further = ours - np.max(others, axis=0)
    most = int(np.argmax(further))
    return most if further[most] > LEAST_CHANGE else None


def _state_outcomes(tokens: Sequence[str], readings: Sequence[Reading]) -> dict[str, Any]:
    """Cosine of every state of the answer with the same state without the edit."""
    clean, after, *random = (reading.answer for reading in readings)
    n, cosine = len(clean), _cosine(clean, after)
    controls = np.stack([_cosine(clean, one) for one in random])
    return {
        "outcome": "state",
        "names": tuple(tokens) if n == len(tokens) else tuple(f"state {i}" for i in range(n)),
        "ids": np.arange(n),
        "before": np.ones(n),
        "after": cosine,
        "random": controls[0],
        "controls": controls,
        "stands_out": None,
        "target": int(np.argmin(cosine)),
        "kl": None,
        "kl_random": None,
        "kl_controls": None,
    }


def _cosine(
    a: Float[np.ndarray, "tokens d"], b: Float[np.ndarray, "tokens d"]
) -> Float[np.ndarray, " tokens"]:
    size = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(axis=-1) / np.maximum(size, 1e-12)
