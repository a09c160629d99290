"""Atoms while they are learned: a few samples' rows on which they are read again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from sae_nb.activations import Activations
from sae_nb.evaluation.report._row_pass import all_codes, encoded_rows

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

WINDOW = 5
"""Tokens shown on each side of the strongest one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomGallery:
    """Meaning of a few atoms at this moment of a training."""

    atoms: tuple[int, ...]
    strengths: Float[np.ndarray, " shown"]
    """Largest strength on the probe rows; without a probe, how often they fire, or their norms."""

    rows: Float[np.ndarray, "shown d_in"] | None = None
    """The atoms themselves, where inputs are pixels."""

    pictures: UInt8[np.ndarray, "shown 3 height width"] | None = None
    """The image on which each fires most."""

    heat: Float[np.ndarray, "shown rows columns"] | None = None
    """Its strength on that image's patches."""

    tokens: tuple[tuple[str, ...], ...] = ()
    """The token on which each fires most, with its neighbours."""

    token_strengths: tuple[tuple[float, ...], ...] = ()
    """Its strength on those."""


SINK = 10.0
"""Rows so many times as long as the middle one are sinks of attention, and no measure of a fit. Ours."""


class FixedRows:
    """A few samples' rows that atoms are read on, the same ones at every look.

    Parameters
    ----------
    acts
        Their first samples are taken, `most_rows` rows at most.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=1)
    >>> acts = sn.Activations(
    ...     sae.dictionary[:3], sample=torch.arange(3), position=torch.zeros(3, dtype=torch.long)
    ... )
    >>> FixedRows(acts).gallery(sae, (2,)).strengths.shape
    (1,)
    """

    def __init__(self, acts: Activations, most_rows: int = 2048) -> None:
        sample = acts.sample.cpu()
        counts = torch.bincount(sample)
        n_samples = max(int((counts.cumsum(0) <= most_rows).sum()), 1)
        part = acts.subset(sample < n_samples)
        self.context = acts.context
        # In memory: they are read at every look.
        self.acts = Activations(
            part.x, sample=part.sample, position=part.position, context=acts.context
        )
        self.sample = part.sample.cpu().numpy()
        self.position = part.position.cpu().numpy()
        self.tokens: Sequence[str] = [] if part.tokens is None else list(part.tokens)

    def gallery(self, sae: SparseAutoencoder, atoms: Sequence[int]) -> AtomGallery:
        """Read the atoms on the probe's rows."""
        strength = all_codes(sae, self.acts).of_atoms(atoms).abs().numpy()
        best = strength.argmax(axis=0)
        parts: dict[str, Any] = {}
        if self.context.pictures is not None:
            parts = self._on_pictures(strength, best)
        elif self.context.modality.is_text:
            parts = self._on_tokens(strength, best)
        return AtomGallery(atoms=tuple(atoms), strengths=strength.max(axis=0), **parts)

    @torch.no_grad()
    def explained(self, sae: SparseAutoencoder) -> float:
        """Return R² on the probe's rows: the same at every look, and none that is a sink of attention."""
        parts = [(x, x_hat) for _, x, _, x_hat in encoded_rows(sae, self.acts, len(self.acts))]
        x, x_hat = (torch.cat(part).detach().double() for part in zip(*parts))
        length = x.norm(dim=1)
        kept = length <= SINK * length.median()
        residual = (x - x_hat)[kept].square().sum()
        return 1 - float(residual / (x[kept] - x[kept].mean(dim=0)).square().sum().clamp_min(1e-30))

    def _on_pictures(
        self, strength: Float[np.ndarray, "n shown"], best: Int[np.ndarray, " shown"]
    ) -> dict[str, Any]:
        pictures = self.context.pictures
        if pictures is None:
            return {}
        chosen = self.sample[best]
        shown = {"pictures": pictures[torch.as_tensor(chosen)].cpu().numpy()}
        if self.context.patch_grid is None:
            return shown
        rows, columns = self.context.patch_grid
        heat = np.full((len(best), rows * columns), np.nan, dtype=np.float32)
        for i, sample in enumerate(chosen):
            mine = np.flatnonzero(self.sample == sample)
            patch = self.position[mine] - self.context.prefix_tokens
            inside = (patch >= 0) & (patch < rows * columns)
            heat[i, patch[inside]] = strength[mine[inside], i]
        return shown | {"heat": np.stack([self.context.on_face(one) for one in heat])}

    def _on_tokens(
        self, strength: Float[np.ndarray, "n shown"], best: Int[np.ndarray, " shown"]
    ) -> dict[str, Any]:
        tokens, strengths = [], []
        for i, row in enumerate(best):
            near = np.arange(max(row - WINDOW, 0), min(row + WINDOW + 1, len(self.tokens)))
            near = near[self.sample[near] == self.sample[row]]
            tokens.append(tuple(self.tokens[j] for j in near))
            strengths.append(tuple(float(v) for v in strength[near, i]))
        return {"tokens": tuple(tokens), "token_strengths": tuple(strengths)}
