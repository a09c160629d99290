"""What can be read off codes by a linear map: held-out R² of an affine least-squares fit."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

RIDGE = 1e-4
"""Share of the mean squared code added to the diagonal: codes of dead atoms are zero. Ours."""


def readout_r2(
    codes: Float[Tensor, "n width"],
    target: Float[Tensor, "n m"],
    held_out_codes: Float[Tensor, "p width"],
    held_out_target: Float[Tensor, "p m"],
) -> float:
    """R² on held-out rows of target ≈ codes A + b, fitted by least squares on the others.

    Parameters
    ----------
    codes, target
        Rows to fit on; ten times as many as codes are wide, or more.
    held_out_codes, held_out_target
        Rows to score.

    Raises
    ------
    ValueError
        If rows do not match.

    Example
    -------
    >>> codes = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> target = codes @ torch.tensor([[1.0], [2.0], [0.0]]) + 1
    >>> readout_r2(codes[:100], target[:100], codes[100:], target[100:]) > 0.999
    True
    """
    if len(codes) != len(target) or len(held_out_codes) != len(held_out_target):
        raise ValueError(
            f"`codes` and `target` must have as many rows, got {len(codes)} and {len(target)}, held out "
            f"{len(held_out_codes)} and {len(held_out_target)}."
        )
    mean, level = codes.double().mean(dim=0), target.double().mean(dim=0)
    z, y = codes.double() - mean, target.double() - level
    gram = z.T @ z
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.solve(gram + ridge, z.T @ y)
    held_out = held_out_target.double()
    missed = held_out - level - (held_out_codes.double() - mean) @ weights
    spread = held_out - held_out.mean(dim=0)
    return 1 - float(missed.square().sum() / spread.square().sum())
