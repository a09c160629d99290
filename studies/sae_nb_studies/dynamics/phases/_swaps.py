"""A network's response to two of its blocks exchanged."""

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

from sae_nb.checks import as_tensor, check_data, checked, one_of
from sae_nb.dynamics import check_cuts

if TYPE_CHECKING:
    from sae_nb.models import LiveModel


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
        """Return the mean drop of pairs within and across phases, and the same at equal distance."""
        ends = check_cuts(cuts, n_layers=len(self.score))
        phase = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        same = phase[:, None] == phase
        tried = np.triu(~np.isnan(self.score), 1)
        drop, differences = self.drop, []
        for distance in range(1, len(same)):
            pairs = np.eye(len(same), k=distance, dtype=bool) & tried
            if (pairs & same).any() and (pairs & ~same).any():
                differences.append(drop[pairs & ~same].mean() - drop[pairs & same].mean())
        return SwapContrast(
            within=_mean(drop[tried & same]),
            across=_mean(drop[tried & ~same]),
            at_equal_distance=_mean(np.array(differences)),
        )


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if x.size else float("nan")


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
    ValueError: If the model has no blocks of one kind.

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
    if structure.looped:
        raise ValueError(
            f"`model` must run each of its blocks once for two of them to change places, and {model.name} runs "
            f"{len(set(structure.paths))} blocks {structure.n_blocks} times: see `model.layers`. Compare its "
            "applications by sn.dynamics.layer_similarity."
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
