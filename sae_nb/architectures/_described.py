"""SAEs described on the meta device, where they take no memory, and made later, in whole or in part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sae_nb.architectures.parts._operators import keeping_rows

if TYPE_CHECKING:
    from sae_nb.architectures._base import SparseAutoencoder


def is_described(sae: object) -> bool:
    """Whether an SAE has no numbers yet."""
    return bool(getattr(getattr(sae, "device", None), "type", None) == "meta")


def drawing(sae: SparseAutoencoder, seed: int) -> torch.Generator:
    """Return what draws a described SAE: its own generator, or one with this seed."""
    own: torch.Generator | None = getattr(sae.operator, "to_draw", None)
    return torch.Generator().manual_seed(seed) if own is None else own


def make(sae: SparseAutoencoder, generator: torch.Generator, rows: slice = slice(None)) -> None:
    """Give a described SAE the numbers it would have been built with; of its dictionary, some rows.

    Whichever rows are kept, all are drawn: it takes the time of all, and the memory of some.
    """
    kind: Any = type(sae)
    with keeping_rows(rows), torch.device("cpu"):
        made = kind(**sae.settings(), generator=generator).to(sae.dtype)
    for name, tensor in (*made.named_parameters(), *made.named_buffers()):
        owner, _, own_name = name.rpartition(".")
        setattr(sae.get_submodule(owner), own_name, tensor)
