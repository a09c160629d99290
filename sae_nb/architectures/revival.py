"""Revival by rebirth: an atom that stays silent becomes what some input was left with.

Silent atoms become residuals of different inputs, r_i in proportion to ‖r_i‖². A push along the mean
residual instead (the term −10⁻² mean(r Dᵀ) in circulation) moves all of them one way: in a long run
seventeen became collinear.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def due(
    silent_tokens: Int[Tensor, " n_atoms"], dead_after: int, rows: int
) -> Bool[Tensor, " n_atoms"]:
    """Which atoms are dead, and get another try with this batch: one every `dead_after` rows.

    The counts alone decide, so a resumed run revives the same atoms.

    Parameters
    ----------
    silent_tokens
        Rows since each atom last fired.
    dead_after
        Silent for this many, an atom is dead.
    rows
        Of the batch.

    Example
    -------
    >>> due(torch.tensor([0, 100, 110, 150, 200]), 100, 10).tolist()
    [False, True, False, False, True]
    """
    return (silent_tokens >= dead_after) & (silent_tokens % dead_after < rows)


@torch.no_grad()
def rebirths(
    residual: Float[Tensor, "rows d_in"], dead: Int[Tensor, " n_dead"]
) -> tuple[Int[Tensor, " n_born"], Float[Tensor, "n_born d_in"]]:
    """Atoms to replace, and the unit residuals of different rows that replace them.

    Rows stand on a line, each as long as ‖r_i‖²; the line is cut in n equal parts and the row in the
    middle of each is taken. Batches come in random order, so this is a draw without a generator.

    Parameters
    ----------
    residual
        What the codes left of each input.
    dead
        Atoms that may be replaced; where they outnumber the rows that differ, the first ones are.

    Source
    ------
    Rows in proportion to their loss: resampling in saprmarks/dictionary_learning,
    trainers/standard.py. Ours takes residuals, not inputs: what a greedy encoder still looks for when
    the other atoms are used up.

    Example
    -------
    >>> residual = torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 4.0]])
    >>> atoms, directions = rebirths(residual, torch.tensor([5, 7]))
    >>> atoms.tolist(), directions.tolist()
    ([5, 7], [[1.0, 0.0], [0.0, 1.0]])
    """
    line = residual.double().square().sum(dim=1).cumsum(dim=0)
    n = min(len(dead), len(residual))
    if n == 0 or not bool(line[-1] > 0):
        return dead[:0], residual[:0]
    middle = (torch.arange(n, device=line.device, dtype=line.dtype) + 0.5) / n * line[-1]
    rows = torch.unique(torch.searchsorted(line, middle).clamp_max(len(line) - 1))
    return dead[: len(rows)], torch.nn.functional.normalize(residual[rows], dim=1)
