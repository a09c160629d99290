"""Atoms that fire at the places of an input, each with what it raises by the lens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sae_nb.activations import check_one_place
from sae_nb.checks import as_dictionary
from sae_nb.figures import quoted_tokens
from sae_nb.lenses import Lens

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

MOST, RAISED = 6, 2
"""Atoms listed at a place, and outputs named of each."""


@dataclass(frozen=True, eq=False)
class Firing:
    """The strongest atoms at each place of an input, of one SAE."""

    layer: int
    at: tuple[tuple[tuple[int, float], ...], ...]
    """Per place: atom and strength, strongest first."""

    names: dict[int, str]
    """Outputs that each atom raises, by the lens."""


def saes_by_layer(
    lens: Lens, saes: SparseAutoencoder | Sequence[SparseAutoencoder] | None
) -> dict[int, SparseAutoencoder]:
    """Return the SAEs by the block whose cells they are shown in; None: none.

    Raises
    ------
    TypeError, ValueError: If one is of no block that the lens reads, or of another width.
    """
    given: list[SparseAutoencoder] = []
    if saes is not None:
        several = list(saes) if isinstance(saes, Sequence) else [saes]
        given = [as_dictionary(sae, lens.model_name) for sae in several]
    found: dict[int, SparseAutoencoder] = {}
    for sae in given:
        check_one_place(sae, name="saes")
        layer = lens.layer_of(sae)
        if layer not in lens.layers or sae.d_in != lens.d:
            raise ValueError(
                f"`saes` must read the output of one of the lens's blocks, {list(lens.layers)}, of width "
                f"{lens.d}, got {sae.hook_point} of width {sae.d_in}. Leave it out."
            )
        found[layer] = sae
    return found


def point_read(sae: SparseAutoencoder, layer: int) -> str:
    """Return the hook point that an SAE reads; of one that names none, the output of its block."""
    return str(sae.hook_point or f"resid_post.{layer}")


@torch.no_grad()
def firing(
    lens: Lens, saes: dict[int, SparseAutoencoder], states: Mapping[str, Tensor]
) -> dict[int, Firing]:
    """Return the atoms that fire in an input, by block, from its states at each SAE's hook point."""
    found = {}
    for layer, sae in saes.items():
        at: list[tuple[tuple[int, float], ...]] = []
        for one in sae.encode(states[point_read(sae, layer)]):
            best = one.values.float().argsort(descending=True, stable=True)[:MOST].cpu()
            pairs = zip(
                one.atoms.cpu()[best].tolist(), one.values.cpu()[best].tolist(), strict=True
            )
            at.append(tuple((atom, float(value)) for atom, value in pairs if value > 0))
        atoms = sorted({atom for pairs in at for atom, _ in pairs})
        found[layer] = Firing(layer, tuple(at), _names(lens, sae, layer, atoms))
    return found


def _names(lens: Lens, sae: SparseAutoencoder, layer: int, atoms: Sequence[int]) -> dict[int, str]:
    if not atoms:
        return {}
    top = lens.effects(sae.dictionary[torch.tensor(atoms)], layer).topk(RAISED, dim=1).indices
    names = lens.names(sorted(set(top.flatten().tolist())))
    return {
        atom: ", ".join(quoted_tokens([names[one] for one in row]))
        for atom, row in zip(atoms, top.tolist(), strict=True)
    }
