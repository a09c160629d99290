"""In how many dimensions a block moves token states: stable and effective rank of its updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics.directions import unit
from sae_nb.dynamics.states import check_states
from sae_nb.dynamics.token_groups import tokens_of
from sae_nb.geometry.ranks import effective_rank, stable_rank


@dataclass(frozen=True, eq=False)
class UpdateRank:
    """Ranks of what each block adds to the directions; entry l belongs to block l + 1."""

    stable: Float[Tensor, " steps"]
    """‖D‖_F² / ‖D‖_2²: 1 if all updates are parallel."""

    effective: Float[Tensor, " steps"]
    """exp of the entropy of σ² / Σσ²."""

    limit: int
    """What neither can exceed: the width, or the number of updates where that is smaller."""


def update_rank(
    states: Float[Tensor, "n layers tokens d"],
    *,
    kind: str | None = None,
    token_kinds: Sequence[str] | None = None,
) -> UpdateRank:
    """Stable and effective rank of the updates of direction, block by block.

    D_l holds û_{l+1,t} − û_{l,t} of every input and token as rows, not centred.

    Parameters
    ----------
    states
        From `capture_states`, embeddings first.
    kind
        Only tokens of this kind; all when None.
    token_kinds
        Kind of every token; those of the states when None.

    Raises
    ------
    TypeError, ValueError
        If states and kinds do not fit together, or no token is of that kind.

    Source
    ------
    The quantity is in arXiv 2512.19941; that rows are inputs × tokens and uncentred is inferred.

    Example
    -------
    >>> states = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]], [[[1.0, 0.0]], [[0.0, 2.0]]]])
    >>> update_rank(states).stable.tolist()
    [1.0...]
    """
    plain, kinds = check_states(states, token_kinds, min_layers=1)
    chosen = list(range(len(kinds))) if kind is None else tokens_of(kinds, kind)
    if not chosen:
        raise ValueError(f"`kind` must be one of {sorted(set(kinds))}, got {kind!r}.")
    before = unit(plain[:, 0, chosen])
    found = []
    for layer in range(1, plain.shape[1]):
        after = unit(plain[:, layer, chosen])
        found.append(_ranks((after - before).flatten(0, 1)))
        before = after
    stable, effective = torch.tensor(found).unbind(dim=1)
    limit = min(plain.shape[0] * len(chosen), plain.shape[3])
    return UpdateRank(stable, effective, limit)


def _ranks(rows: Tensor) -> tuple[float, float]:
    """Stable and effective rank of updates, not centred; 0 where a block changes nothing."""
    rows = rows.detach().double()
    gram = rows.T @ rows if rows.shape[0] >= rows.shape[1] else rows @ rows.T
    # A small matrix with the singular values of the many rows: the ranks depend on nothing else.
    small = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().diag()
    if not bool(small.any()):
        return 0.0, 0.0
    return stable_rank(small), effective_rank(small)
