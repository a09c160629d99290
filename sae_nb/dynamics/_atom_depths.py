"""At which layers atoms are alive: how strongly an SAE of one layer fires on the states of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Seed, checked
from sae_nb.dynamics.paths._states import check_states, content_tokens

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

MOST_ROWS = 2000
"""States encoded per layer: enough for a mean, and a twentieth of a second each."""
ALIVE = 0.1
"""Share of its peak energy from which an atom counts as alive. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomDepths:
    """Energy of every atom at every layer."""

    energy: Float[np.ndarray, "n_atoms layers"]
    """Mean z² over tokens, embeddings first."""

    scale: Float[np.ndarray, " layers"]
    """Factor for states of each layer that makes them as long as at the SAE's own."""

    home: int
    """Layer the SAE was trained at."""

    @property
    def birth(self) -> Int[np.ndarray, " n_atoms"]:
        """First layer with a tenth of the atom's peak energy; −1 for atoms that never fire."""
        alive = self._alive
        return np.where(alive.any(axis=1), alive.argmax(axis=1), -1)

    @property
    def death(self) -> Int[np.ndarray, " n_atoms"]:
        """Last layer with a tenth of the atom's peak energy; −1 for atoms that never fire."""
        alive = self._alive[:, ::-1]
        return np.where(alive.any(axis=1), alive.shape[1] - 1 - alive.argmax(axis=1), -1)

    @property
    def _alive(self) -> np.ndarray:
        peak = self.energy.max(axis=1, keepdims=True)
        return np.asarray((self.energy >= ALIVE * peak) & (peak > 0))

    def telling(self, count: int = 4) -> tuple[int, ...]:
        """Return atoms that peak in different parts of depth, the most energetic of each part first."""
        peaks, best = self.energy.argmax(axis=1), self.energy.max(axis=1)
        n_layers = self.energy.shape[1]
        parts = [[] for _ in range(count)]  # type: list[list[int]]
        for atom in np.argsort(-best, kind="stable"):
            if best[atom] > 0:
                parts[min(int(peaks[atom] * count / n_layers), count - 1)].append(int(atom))
        ranked = [part[i] for i in range(count) for part in parts if i < len(part)]
        return tuple(ranked[:count])


@checked
def atom_depths(
    sae: SparseAutoencoder,
    states: Float[Tensor, "n layers tokens d"],
    home: int,
    *,
    token_kinds: Sequence[str] | None = None,
    seed: Seed = 0,
) -> AtomDepths:
    """Encode states of every layer with one SAE.

    Norms grow with depth and the SAE knows those of its own layer, so states are scaled to the mean
    length there first.

    Parameters
    ----------
    home
        That layer: l for "resid_post.(l−1)".
    token_kinds
        Kind of every token; patches count where there are any, else tokens.
    seed
        Of the states taken where there are more than 2000.

    Raises
    ------
    ValueError: If the SAE has another width, or there is no such layer.
    """
    plain, kinds = check_states(states, token_kinds)
    if plain.shape[3] != sae.d_in or not 0 <= home < plain.shape[1]:
        raise ValueError(
            f"`sae` must have d_in={plain.shape[3]} and a layer below {plain.shape[1]}, got "
            f"d_in={sae.d_in} at layer {home}. Train it on the residual stream of this model."
        )
    rows = plain[:, :, content_tokens(kinds)].transpose(1, 2).flatten(0, 1)
    if len(rows) > MOST_ROWS:
        generator = torch.Generator().manual_seed(seed)
        rows = rows[torch.randperm(len(rows), generator=generator)[:MOST_ROWS]]
    lengths = rows.float().norm(dim=-1).mean(dim=0)
    scale = lengths[home] / lengths.clamp_min(1e-12)
    energy = np.zeros((sae.n_atoms, plain.shape[1]), np.float32)
    for layer in range(plain.shape[1]):
        with torch.no_grad():
            codes = sae.encode((rows[:, layer].float() * scale[layer]).to(sae.dictionary.device))
        atoms, values = codes.atoms.cpu().numpy(), codes.values.float().cpu().numpy()
        energy[:, layer] = np.bincount(atoms, values**2, sae.n_atoms) / len(rows)
    return AtomDepths(energy=energy, scale=scale.numpy(), home=home)
