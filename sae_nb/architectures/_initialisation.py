"""Where a dictionary may start: the rows that are looked at, and the hook for how."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb._hooks import Hook
from sae_nb.activations import Activations
from sae_nb.architectures.parts._proxes import Rows

Method = Literal["spread", "levels"]
Directions = Float[Tensor, "n d_in"]

LEAST_ROWS, ROWS_PER_ATOM = 8192, 4
"""Rows that are used: a number per atom, and at least as many as the recipe was measured with."""

starting_atoms: Hook[..., Directions] = Hook("starting_atoms")
"""(centred rows, n_atoms, levels=, tolerance=, generator=) → unit directions, which pursuits find."""


def rows_wanted(n_atoms: int) -> int:
    """Return rows that a start looks at: more would take memory and change little."""
    return max(LEAST_ROWS, ROWS_PER_ATOM * n_atoms)


def sample(
    x: Rows | Activations, at_most: int, generator: torch.Generator | None
) -> Float[Tensor, "m d_in"]:
    """Return some rows drawn without repetition, in their order; all where there are no more."""
    where = None if generator is None else generator.device
    drawn = torch.randperm(len(x), generator=generator, device=where)[:at_most].sort().values
    return x[drawn.to(x.device)] if isinstance(x, Tensor) else x.rows(drawn.cpu())
