"""Exchange two blocks of a live network and see what its answers lose: little within a phase, if it is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sae_nb.dynamics.raptor import check_cuts

if TYPE_CHECKING:
    from sae_nb.models.live_model import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSwap:
    """What exchanging layers i and j does to a network's answers."""

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
        """Return the mean drop of pairs within and across phases, and beside it at equal distance.

        Parameters
        ----------
        cuts
            Phases 0 = c_0 < … < c_k = L.

        Raises
        ------
        ValueError
            If the cuts do not fit.
        """
        found = check_cuts(cuts, n_layers=len(self.score))
        of = np.repeat(np.arange(len(found) - 1), np.diff(found))
        same: Bool[np.ndarray, "layers layers"] = of[:, None] == of[None, :]
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
    inputs
        As for `model(inputs)`.
    labels
        One class per answer; None: the network's own answers, whole.
    head
        Which of the model's heads; None: its main answer.
    pairs
        Pairs of layers, counted from 1; None: all.
    batch_size
        Samples per forward pass.

    Raises
    ------
    ValueError
        If the model has no blocks of one kind, a pair is none of its layers, or labels do not fit.

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

    def answers() -> Tensor:
        if head is None:
            return _answers(model(inputs, batch_size=batch_size))
        return _answers(model.heads(inputs, batch_size=batch_size)[head])

    whole = answers()
    right = whole if labels is None else torch.as_tensor(labels).reshape(-1)
    if right.shape != whole.shape:
        raise ValueError(
            f"`labels` must be one class for each of the {len(whole)} answers, got {len(right)}."
        )
    score = np.full((n, n), np.nan)
    np.fill_diagonal(score, _share(whole, right))
    for i, j in chosen:
        with _exchanged(model, blocks, i, j):
            score[i, j] = score[j, i] = _share(answers(), right)
    against = "own answers" if labels is None else "labels"
    return LayerSwap(score=score, whole=_share(whole, right), against=against)


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
    found = [(int(i) - 1, int(j) - 1) for i, j in pairs]
    for i, j in found:
        if not (0 <= i < n and 0 <= j < n and i != j):
            raise ValueError(
                f"`pairs` must be two different layers from 1 to {n}, got ({i + 1}, {j + 1})."
            )
    return found


def _answers(raw: Tensor) -> Tensor:
    """Answers of all samples and tokens; what lies behind a text's end stays NaN and is left out."""
    if not bool(torch.isnan(raw).any()):
        return raw.argmax(dim=-1).reshape(-1).cpu()
    kept = ~torch.isnan(raw).any(dim=-1)
    return raw[kept].argmax(dim=-1).reshape(-1).cpu()


def _share(answers: Tensor, right: Tensor) -> float:
    return float((answers == right).double().mean())


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if x.size else float("nan")
