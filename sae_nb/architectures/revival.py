"""Revival by rebirth: an atom that stays silent becomes what some input was left with.

Silent atoms are drawn to distinct residuals, r_i with chance ∝ ‖r_i‖². A push along the mean residual
instead (the term −10⁻² mean(r Dᵀ) in circulation) moves all of them one way: in a long run seventeen
became collinear.
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
    residual: Float[Tensor, "rows d_in"],
    dead: Int[Tensor, " n_dead"],
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, " n_born"], Float[Tensor, "n_born d_in"]]:
    """Atoms to replace, and the unit residuals of different rows that replace them.

    Parameters
    ----------
    residual
        What the codes left of each input.
    dead
        Atoms that may be replaced; where there are more than rows, the first ones are.
    generator
        Draws the rows; None is torch's global generator.

    Source
    ------
    Rows drawn by their loss: resampling in saprmarks/dictionary_learning, trainers/standard.py. Ours
    takes residuals, not inputs: what a greedy encoder still looks for when the other atoms are used up.
    """
    weight = residual.square().sum(dim=1)
    n = min(len(dead), int((weight > 0).sum()))
    if n == 0:
        return dead[:0], residual[:0]
    rows = torch.multinomial(weight, n, generator=generator)
    return dead[:n], torch.nn.functional.normalize(residual[rows], dim=1)
