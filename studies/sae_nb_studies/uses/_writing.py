"""The common parts of uses of a model that writes: token ids, changes of one size, other atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations.tokens import token_texts
from sae_nb.checks import as_tensor
from sae_nb.steering import policy_for, splice

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel
    from sae_nb.steering import Active


def output_ids(model: LiveModel, output: object, *, name: str) -> Int[Tensor, " n"]:
    """Return the ids of a continuation: a text without special tokens, or ids as they are."""
    if isinstance(output, str):
        if model.tokenizer is None:
            raise TypeError(f"`{name}` must be token ids: {model.name} has no tokenizer. Pass ids.")
        output = model.tokenizer(output, add_special_tokens=False)["input_ids"]
    ids = as_tensor(output, name=name)
    if ids.ndim != 1 or not len(ids) or ids.is_floating_point():
        raise ValueError(
            f"`{name}` must be a text of at least one token, or its ids, got {output!r}. Pass what the "
            "model wrote after the prompt."
        )
    return ids.long()


def token_names(model: LiveModel, ids: Int[Tensor, " n"]) -> tuple[str, ...]:
    """Return each token by its text, or by its number where there is no tokenizer."""
    listed = ids.tolist()
    if model.tokenizer is None:
        return tuple(map(str, listed))
    return tuple(token_texts(model.tokenizer, listed))


class Along:
    """x − s·‖w_t‖·û_t with w_t = Σ_j z_tj d_j: what some atoms wrote there, or something of that length.

    `along` replaces each d_j (another atom, in the same proportion), or is one direction for all; what comes
    of it is brought to the length of w_t, so that every control changes each position by just so much.
    """

    def __init__(
        self,
        sae: SparseAutoencoder,
        atoms: Sequence[int],
        strength: float,
        along: Float[Tensor, "n d_in"] | Float[Tensor, " d_in"] | None = None,
    ) -> None:
        self.sae, self.atoms, self.strength, self.along = sae, tuple(atoms), strength, along
        self.rows = sae.dictionary[list(atoms)].detach()

    def __call__(self, x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        """Subtract it."""
        with torch.no_grad():
            z = self.sae.encode(x.to(self.rows)).of_atoms(self.atoms)
            written = z @ self.rows
            if self.along is not None:
                size = written.norm(dim=-1, keepdim=True)
                other = z @ self.along if self.along.ndim == 2 else self.along.expand_as(written)
                written = torch.nn.functional.normalize(other.to(written), dim=-1) * size
        return x - (self.strength * written).to(x)


def subtracting(model: LiveModel, hook_point: str, change: Along) -> Active:
    """Return the edit that makes a change wherever codes mean something: at the positions the SAE is for."""
    return splice(model, hook_point, change, policy_for(model, change.sae), backend="hooks")


def other_atoms(
    n_atoms: int, chosen: Sequence[int], n_draws: int, seed: int, among: np.ndarray | None = None
) -> list[list[int]]:
    """Draw the same number of atoms, `n_draws` times, of those that may be drawn where they are enough.

    A dictionary with too few others has some of them twice.
    """
    pool = np.setdiff1d(np.arange(n_atoms) if among is None else among, chosen)
    if len(pool) < len(chosen):
        pool = np.setdiff1d(np.arange(n_atoms), chosen)
    pool = pool if len(pool) else np.arange(n_atoms)
    generator = np.random.default_rng(seed)
    twice = len(pool) < len(chosen)
    return [generator.choice(pool, len(chosen), replace=twice).tolist() for _ in range(n_draws)]
