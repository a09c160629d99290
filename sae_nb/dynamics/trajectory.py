"""All measurements of one set of states in one record: where tokens go, how fast, how alike, how apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics.basins import ClassBasins, class_basins
from sae_nb.dynamics.coherence import coherence_floor, patch_coherence
from sae_nb.dynamics.directions import angular_speed, directional_convergence
from sae_nb.dynamics.ranks import UpdateRank, update_rank
from sae_nb.dynamics.states import check_states
from sae_nb.dynamics.token_groups import content_tokens, listed_kinds, tokens_of

if TYPE_CHECKING:
    import pandas as pd

Quantity = Literal["convergence", "speed", "norms"]


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Measurements of token states through depth; layers count from the embeddings (0) to L."""

    convergence: Float[Tensor, "n layers tokens"]
    """γ: cosine with the token's own last state."""

    speed: Float[Tensor, "n steps tokens"]
    """Radians by which block l + 1 turns the state."""

    norms: Float[Tensor, "n layers tokens"]
    """‖a_l‖, which grows: why angles are used."""

    coherence: Float[Tensor, "n layers"]
    """ρ: length of the mean direction of the patches, or of a text's tokens."""

    coherence_floor: float
    """ρ of independent directions."""

    update_rank: UpdateRank
    """Ranks of the updates of all tokens."""

    basins: ClassBasins | None
    """Classes at the first token; None without labels."""

    token_kinds: tuple[str, ...]
    """Kind of every token."""

    @property
    def n_layers(self) -> int:
        """Blocks L."""
        return self.speed.shape[1]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds there are, cls first."""
        return listed_kinds(self.token_kinds)

    def mean(self, quantity: Quantity, kind: str) -> Float[Tensor, " layers"]:
        """Mean over inputs and tokens of one kind, layer by layer.

        Parameters
        ----------
        quantity
            "convergence", "speed" or "norms".
        kind
            One of `kinds`.
        """
        return self._of(quantity, kind).mean(dim=(0, 2))

    def sd(self, quantity: Quantity, kind: str) -> Float[Tensor, " layers"]:
        """Standard deviation over inputs and tokens of one kind, layer by layer.

        Parameters
        ----------
        quantity, kind
            As for `mean`.
        """
        return self._of(quantity, kind).std(dim=(0, 2), correction=0)

    def _of(self, quantity: Quantity, kind: str) -> Tensor:
        chosen = tokens_of(self.token_kinds, kind)
        if not chosen:
            raise ValueError(f"`kind` must be one of {list(self.kinds)}, got {kind!r}.")
        values: Tensor = getattr(self, quantity)
        return values[:, :, chosen]

    @property
    def table(self) -> pd.DataFrame:
        """One row per layer: means by kind, coherence, ranks, basins."""
        import pandas as pd

        columns: dict[str, np.ndarray] = {}
        for kind in self.kinds:
            columns[f"convergence {kind}"] = self.mean("convergence", kind).numpy()
            columns[f"speed {kind}"] = _after(self.mean("speed", kind))
            columns[f"norm {kind}"] = self.mean("norms", kind).numpy()
        columns["coherence"] = self.coherence.mean(dim=0).numpy()
        columns["stable rank"] = _after(self.update_rank.stable)
        columns["effective rank"] = _after(self.update_rank.effective)
        if self.basins is not None:
            columns |= {
                "within": self.basins.within,
                "between": self.basins.between,
                "silhouette": self.basins.silhouette,
            }
        return pd.DataFrame(columns).rename_axis("layer")


def trajectories(
    states: Float[Tensor, "n layers tokens d"],
    labels: Sequence[int] | Sequence[str] | Tensor | np.ndarray | None = None,
    *,
    token_kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> Trajectories:
    """Measure how token states travel through depth.

    Parameters
    ----------
    states
        From `capture_states`, embeddings first.
    labels
        Class of every input, for basins; None leaves them out.
    token_kinds
        Kind of every token; those of the states when None.
    seed
        Of the shuffled labels behind the floor of the basins.

    Raises
    ------
    TypeError, ValueError
        If states, kinds and labels do not fit together, or labels name one class only.

    Source
    ------
    "Block-Recurrent Dynamics in Vision Transformers", arXiv 2512.19941; which formulas are inferred
    says each measurement.

    Example
    -------
    >>> states = torch.randn(6, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    >>> found = trajectories(states, [0, 0, 0, 1, 1, 1], token_kinds=["cls", "patch", "patch"])
    >>> found.kinds, found.n_layers, float(found.mean("convergence", "cls")[-1].round(decimals=4))
    (('cls', 'patch'), 3, 1.0)
    """
    plain, kinds = check_states(states, token_kinds, min_layers=1)
    layers = range(plain.shape[1])
    return Trajectories(
        convergence=directional_convergence(plain),
        speed=angular_speed(plain),
        norms=torch.stack([plain[:, layer].float().norm(dim=-1) for layer in layers], dim=1),
        coherence=patch_coherence(plain, token_kinds=kinds),
        coherence_floor=coherence_floor(len(content_tokens(kinds))),
        update_rank=update_rank(plain, token_kinds=kinds),
        basins=None if labels is None else class_basins(plain, labels, seed=seed),
        token_kinds=kinds,
    )


def _after(steps: Tensor) -> Float[np.ndarray, " layers"]:
    """What blocks do, at the layer they put out; the embeddings have no block."""
    return np.concatenate([[np.nan], steps.numpy()])
