"""The atoms of an SAE that point most as a direction does, next to what random directions find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn.functional import normalize

from sae_nb._hooks import Hook
from sae_nb.findings import Finding, column

shown_names: Hook[[object], Callable[[int], str]] = Hook("shown_names")
"""(sae) → the name under which an atom is shown, by its number."""


class NearestAtoms(Finding):
    """Atoms by their cosine to a direction, with their names: what `direction.nearest(sae)` finds.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> dogs, girls = ["The dog ran.", "A dog sat."], ["The girl ran.", "A girl sat."]
    >>> near = sn.direction(gpt, "resid_post.3", dogs, girls, positions="all").nearest(sae, 3)
    >>> len(near.names), 0 < near.by_chance < 1, bool((abs(near.cosines[:-1]) >= abs(near.cosines[1:])).all())
    (3, True, True)
    """

    atoms: Int[np.ndarray, " n"] = field(metadata=column("atom", index=True))
    """The nearest first, of either sign."""

    names: tuple[str, ...] = field(metadata=column("name"))
    cosines: Float[np.ndarray, " n"] = field(metadata=column("cosine"))
    by_chance: float
    """Largest |cosine| that a random direction has to an atom, its 95th percentile."""

    n_random: int

    @property
    def headline(self) -> str:
        """The nearest atom, and how near one is by chance."""
        near = int((np.abs(self.cosines) > self.by_chance).sum())
        return (
            f"{near} of {len(self.atoms)} nearer than by chance (|cosine| {self.by_chance:.2f}, "
            f"{self.n_random} random directions); nearest {self.names[0]}, {self.cosines[0]:+.2f}"
        )


def nearest_atoms(
    vector: Float[torch.Tensor, " d_in"], sae: object, n: int, n_random: int, seed: int
) -> NearestAtoms:
    """Return the nearest atoms of an SAE of the same width."""
    atoms = normalize(sae.dictionary.detach().float().cpu(), dim=1)  # type: ignore[attr-defined]
    drawn = torch.randn(n_random, atoms.shape[1], generator=torch.Generator().manual_seed(seed))
    chance = (normalize(drawn, dim=1) @ atoms.T).abs().amax(dim=1)
    cosines = atoms @ vector.cpu()
    nearest = cosines.abs().topk(min(n, len(atoms))).indices
    name = shown_names(sae)
    return NearestAtoms(
        atoms=nearest.numpy(),
        names=tuple(name(atom) for atom in nearest.tolist()),
        cosines=cosines[nearest].numpy(),
        by_chance=float(chance.quantile(0.95)),
        n_random=n_random,
    )
