"""A network's response to noise added at one layer, and to two of its blocks exchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb.checks import Seed, as_tensor, check_data, checked, one_of
from sae_nb.dynamics.paths._states import States, capture_states, check_states
from sae_nb.dynamics.paths._trajectory import angles_between
from sae_nb.dynamics.phases._phases import check_cuts, mean_or_nan, same_phase
from sae_nb.models import run
from sae_nb.steering import splice

if TYPE_CHECKING:
    from sae_nb.models import LiveModel


# At layer l every token gets noise of ‖n‖ = ε‖a_l‖ in a random direction; θ_k is the angle between the
# perturbed and the undisturbed state at layer k ≥ l. θ shrinks where the network corrects itself, but also
# where later blocks merely add to a longer state: that part alone is measured beside it.


@dataclass(frozen=True, eq=False)
class SelfCorrection:
    """Return how far a perturbation is still felt at every layer."""

    layer: int
    """Where it was perturbed: 0 at the embeddings, l after block l."""

    size: float
    """Length of the perturbation, in lengths of the state."""

    angles: Float[Tensor, "n layers tokens"]
    """Radians between perturbed and undisturbed states, embeddings first; 0 before the perturbation."""

    norm_only: Float[Tensor, "n layers tokens"]
    """The same if later blocks added exactly what they add without the perturbation: what longer states do."""

    states: Float[Tensor, "n layers tokens d"]
    """The perturbed states."""

    @property
    def mean_angle(self) -> Float[Tensor, " layers"]:
        """Mean angle over inputs and tokens, layer by layer."""
        return self.angles.mean(dim=(0, 2))

    @property
    def mean_norm_only(self) -> Float[Tensor, " layers"]:
        """Mean of `norm_only` over inputs and tokens, layer by layer."""
        return self.norm_only.mean(dim=(0, 2))

    @property
    def ratio(self) -> float:
        """Angle at the end over the angle where it was perturbed; below 1 the perturbation fades."""
        return _ratio(self.mean_angle, self.layer)

    @property
    def norm_only_ratio(self) -> float:
        """The same for `norm_only`; `ratio` below it is correction by the blocks themselves."""
        return _ratio(self.mean_norm_only, self.layer)


@checked
def self_correction(
    model: LiveModel,
    inputs: Any,
    *,
    layer: int,
    size: float,
    seed: Seed = 0,
    states: Float[Tensor, "n layers tokens d"] | None = None,
    batch_size: int | None = None,
) -> SelfCorrection:
    """Perturb every token state at one layer, run the rest of the network, and compare.

    θ_k = arccos⟨û_k(perturbed), û_k⟩ for k = l … L; `norm_only` has a_k + n in place of the perturbed a_k.

    Parameters
    ----------
    model
        A live model with blocks; edits that are active stay so.
    inputs
        Images, texts or token ids, as for `capture_states`.
    layer
        Where: 0 at the embeddings, l after block l.
    size
        ε, at least 0; 0 changes no bit.
    states
        Undisturbed states of these inputs, if they are known already.

    Raises
    ------
    ValueError: If `layer` or `size` is out of range, or `states` are of other inputs.

    Source
    ------
    Self-correction is claimed in arXiv 2512.19941; the protocol is inferred, `norm_only` is ours.

    Example
    -------
    >>> from sae_nb.data import scenes
    >>> from sae_nb.models import load_model
    >>> fading = self_correction(load_model("tiny-vit"), scenes(2, seed=0), layer=4, size=0.0)
    >>> float(fading.angles.abs().max())
    0.0
    """
    if states is None:
        states = capture_states(model, inputs, backend="hooks", batch_size=batch_size)
    plain, _ = check_states(states, min_layers=1)
    pushed = pushed_states(
        model, inputs, layer=layer, size=size, seed=seed, batch_size=batch_size, like=states
    )
    if pushed.shape != plain.shape:
        raise ValueError(
            f"`states` must be of these inputs, of shape {tuple(pushed.shape)}, got "
            f"{tuple(plain.shape)}. Leave them out to have them captured."
        )
    noise = pushed[:, layer] - plain[:, layer].float()
    angles, norm_only = (torch.zeros(plain.shape[:3]) for _ in range(2))
    for k in range(layer, plain.shape[1]):
        before = plain[:, k].float()
        angles[:, k] = angles_between(pushed[:, k], before)
        norm_only[:, k] = angles_between(before + noise, before)
    return SelfCorrection(layer, float(size), angles, norm_only, pushed)


@checked
def pushed_states(
    model: LiveModel,
    inputs: Any,
    *,
    layer: int,
    size: float,
    seed: Seed = 0,
    batch_size: int | None = None,
    like: Float[Tensor, "n layers tokens d"] | None = None,
) -> Float[Tensor, "n layers tokens d"]:
    """Return states of every layer when every token is perturbed at one of them.

    a_l ← a_l + ε‖a_l‖·n̂ with n̂ drawn evenly from the sphere, for each token of each input again.

    The states are in float32, embeddings first.

    Parameters as for `self_correction`; `like` are states that say which positions of a text are kept.

    Raises
    ------
    ValueError: If `layer` or `size` is out of range.

    Example
    -------
    >>> from sae_nb.data import scenes
    >>> from sae_nb.models import load_model
    >>> pushed_states(load_model("tiny-vit"), scenes(2, seed=0), layer=12, size=0.1).shape
    torch.Size([2, 13, 69, 64])
    """
    points = _checked_points(model, layer, size)
    generator = torch.Generator().manual_seed(seed)

    def push(x: Tensor) -> Tensor:
        if size == 0:
            return x
        noise = torch.randn(x.shape, generator=generator).to(x)
        return x + size * (
            noise * (x.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True))
        )

    kept = list(like.positions) if isinstance(like, States) else slice(None)
    parts = []
    # The lock is held over edit and pass, so that no other thread runs the perturbed model.
    with model.lock, splice(model, points[layer], push):
        for batch in model.batches(inputs, batch_size=batch_size):
            states = run(model, batch, read=points).states
            parts.append(
                torch.stack([states[point][:, kept].float().cpu() for point in points], dim=1)
            )
    return torch.cat(parts)


def _checked_points(model: LiveModel, layer: int, size: float) -> list[str]:
    n_blocks = 0 if model.structure is None else model.structure.n_blocks
    if not 0 <= layer <= n_blocks:
        raise ValueError(
            f"`layer` must be between 0 (embeddings) and {n_blocks}, got {layer}."
            + ("" if n_blocks else f" {model.name} has no blocks to run on.")
        )
    if not size >= 0 or size == float("inf"):
        raise ValueError(f"`size` must be finite and at least 0, got {size}.")
    return ["resid_pre.0", *(f"resid_post.{block}" for block in range(n_blocks))]


def _ratio(angles: Tensor, layer: int) -> float:
    start = float(angles[layer])
    return float(angles[-1]) / start if start > 0 else 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSwap:
    """The effect of exchanging layers i and j on a network's answers."""

    score: Float[np.ndarray, "layers layers"]
    """Share of answers that are right (or, without labels, as before) with layers i and j exchanged;
    NaN where the pair was not tried. The diagonal is the network as it is."""

    whole: float
    """The same share for the network as it is; 1 without labels."""

    against: str
    """"labels", or "own answers"."""

    @property
    def drop(self) -> Float[np.ndarray, "layers layers"]:
        """Share of answers lost."""
        return self.whole - self.score

    def within_and_across(self, cuts: Sequence[int]) -> SwapContrast:
        """Return the mean drop of pairs within and across phases, and the same at equal distance.

        Raises
        ------
        ValueError: If the cuts do not fit.
        """
        same = same_phase(check_cuts(cuts, n_layers=len(self.score)))
        tried = np.triu(~np.isnan(self.score), 1)
        drop, differences = self.drop, []
        for distance in range(1, len(same)):
            pairs = np.eye(len(same), k=distance, dtype=bool) & tried
            if (pairs & same).any() and (pairs & ~same).any():
                differences.append(drop[pairs & ~same].mean() - drop[pairs & same].mean())
        return SwapContrast(
            within=mean_or_nan(drop[tried & same]),
            across=mean_or_nan(drop[tried & ~same]),
            at_equal_distance=mean_or_nan(np.array(differences)),
        )


@dataclass(frozen=True, kw_only=True)
class SwapContrast:
    """Answers lost by exchanging two layers."""

    within: float
    """Of one phase; NaN where no such pair was tried."""

    across: float
    """Of different phases."""

    at_equal_distance: float
    """Across minus within at the same distance in depth, mean over distances: far layers differ more
    in any network. NaN where no distance has both."""


@checked
def swap_layers(
    model: LiveModel,
    inputs: Any,
    labels: Any = None,
    *,
    head: str | None = None,
    pairs: Iterable[tuple[int, int]] | None = None,
    batch_size: int | None = None,
) -> LayerSwap:
    """Exchange every pair of blocks in turn and count the answers that survive.

    Parameters
    ----------
    model
        From `load_model` or `wrap`. Its blocks are back in their places afterwards, also after an
        error; its lock is held meanwhile.
    labels
        One class per answer; None: the network's own answers, whole.
    head
        Head of the model; None: its main answer.
    pairs
        Pairs of layers, counted from 1; None: all.

    Raises
    ------
    ValueError: If the model has no blocks of one kind, a pair is none of its layers, or labels do not fit.

    Source
    ------
    "Block-Recurrent Dynamics in Vision Transformers", arXiv 2512.19941; protocol ours.

    Example
    -------
    >>> from sae_nb.data import scenes
    >>> from sae_nb.models import load_model
    >>> found = swap_layers(load_model("tiny-vit-tied"), scenes(4, seed=0), pairs=[(1, 2), (1, 12)])
    >>> float(found.drop[0, 1])  # layers 1 and 2 are one block, applied twice
    0.0
    """
    blocks = _blocks(model)
    n = len(blocks)
    chosen = _checked_pairs(pairs, n)
    answers = partial(answers_of, model, inputs, head=head, batch_size=batch_size)
    whole = answers()
    right = whole if labels is None else check_labels(labels, whole)
    score = np.full((n, n), np.nan)
    np.fill_diagonal(score, share_of(whole == right))
    for i, j in chosen:
        with _exchanged(model, blocks, i, j):
            score[i, j] = score[j, i] = share_of(answers() == right)
    against = "own answers" if labels is None else "labels"
    return LayerSwap(score=score, whole=share_of(whole == right), against=against)


@contextmanager
def _exchanged(model: LiveModel, blocks: nn.ModuleList, i: int, j: int) -> Iterator[None]:
    with model.lock:
        first, second = blocks[i], blocks[j]
        blocks[i], blocks[j] = second, first
        try:
            yield
        finally:
            blocks[i], blocks[j] = first, second


def _blocks(model: LiveModel) -> nn.ModuleList:
    structure = model.structure
    if structure is None or structure.n_blocks < 2:
        raise ValueError(
            f"`model` must have repeated blocks to exchange, and none were found in {model.name}."
        )
    blocks = model.get_module(structure.blocks)
    if not isinstance(blocks, nn.ModuleList | nn.Sequential):
        raise ValueError(
            f"`model` must keep its blocks in a list, but {structure.blocks} of {model.name} is a"
            f" {type(blocks).__name__}."
        )
    return cast(nn.ModuleList, blocks)


def _checked_pairs(pairs: Iterable[tuple[int, int]] | None, n: int) -> list[tuple[int, int]]:
    if pairs is None:
        return list(combinations(range(n), 2))
    places = [(int(i) - 1, int(j) - 1) for i, j in pairs]
    for i, j in places:
        if not (0 <= i < n and 0 <= j < n and i != j):
            raise ValueError(
                f"`pairs` must be two different layers from 1 to {n}, got ({i + 1}, {j + 1})."
            )
    return places


def answers_of(
    model: LiveModel, inputs: Any, *, head: str | None = None, batch_size: int | None = None
) -> Int[Tensor, " answers"]:
    """Return answers of all samples and tokens; what lies behind a text's end is NaN and is left out."""
    if head is None:
        raw = model(inputs, batch_size=batch_size)
    else:
        heads = model.heads(inputs, batch_size=batch_size)
        raw = heads[one_of(head, heads, name="head")]
    return raw[~torch.isnan(raw).any(dim=-1)].argmax(dim=-1).cpu()


def check_labels(labels: Any, answers: Tensor) -> Int[Tensor, " answers"]:
    """Return labels as a row of classes if there is one for each answer."""
    right = check_data(as_tensor(labels, name="labels"), name="labels", what="classes")
    if right.is_floating_point() or right.is_complex():
        raise TypeError(f"`labels` must be classes, whole numbers, got {right.dtype}.")
    right = right.flatten().long()
    if right.numel() and int(right.min()) < 0:
        raise ValueError(f"`labels` must be classes from 0, got {int(right.min())}.")
    if right.shape != answers.shape:
        raise ValueError(
            f"`labels` must be one class for each of the {len(answers)} answers, got {len(right)}."
        )
    return right


def share_of(x: Tensor) -> float:
    """Return the share of entries that are true."""
    return float(x.double().mean())
