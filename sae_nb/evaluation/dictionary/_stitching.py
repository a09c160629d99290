"""What does a larger SAE know that a smaller one does not? Its atoms are added one by one.

Δ_i = mean_t ‖e_t − z_ti d_i‖² − ‖e_t‖² = mean_t z_ti² ‖d_i‖² − 2 z_ti ⟨e_t, d_i⟩ with e the smaller SAE's
error: an atom is novel if Δ_i < 0, and repeats what is there (to be swapped, not added) if not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.dictionary._near_data import nearest_atoms
from sae_nb.evaluation.report._measurement import Measurement, Resampling, random_like
from sae_nb.evaluation.report._row_pass import codes_of_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Stitching(Measurement):
    """Which atoms of a larger SAE are novel to a smaller one."""

    change: Float[np.ndarray, " n_atoms"]
    """Δ of each atom of the larger SAE, as a share of the variance; NaN where it never fired."""

    nearest: Float[np.ndarray, " n_atoms"]
    """Its largest cosine with an atom of the smaller one."""

    r2_small: float
    """Of the smaller SAE."""

    r2_stitched: float
    """With every novel atom added."""

    r2_large: float
    """Of the larger SAE."""

    @property
    def novel(self) -> Bool[np.ndarray, " n_atoms"]:
        """Which atoms lower the error."""
        return np.asarray(self.change < 0)


def stitch(
    small: Any,
    large: Any,
    acts: Activations | Float[Tensor, "n d_in"],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Stitching:
    """Add each atom of a larger SAE to a smaller one, and see whether the error falls.

    Parameters
    ----------
    small, large
        SAEs of one place.
    acts
        Activations neither was trained on.
    n_bootstrap
        Resamples of atoms.
    seed
        Of the random dictionary of the control, and of the bootstrap.

    Returns
    -------
    Stitching
        The share of live atoms that are novel; the control is that of random atoms, as many and of the
        same L0: noise, too, sometimes points along an error.

    Raises
    ------
    ValueError: If widths differ.

    Source
    ------
    Leask et al., "Sparse autoencoders do not find canonical units of analysis", arXiv 2502.04878.

    Example
    -------
    >>> import sae_nb as sn
    >>> planted = sn.data.planted_dictionary(n_atoms=6, d_in=8, n=200, k=1)
    >>> class Known:
    ...     d_in = 8
    ...     def __init__(self, atoms):
    ...         self.dictionary, self.n_atoms = atoms, len(atoms)
    ...     def encode(self, x):
    ...         return sn.matching_pursuit(x, self.dictionary, 1)
    ...     def decode(self, codes):
    ...         return codes.to_dense() @ self.dictionary
    >>> found = stitch(Known(planted.dictionary[:3]), Known(planted.dictionary), planted.x)
    >>> found.novel[3:].tolist(), round(found.r2_large, 3)
    ([True, True, True], 1.0)
    """
    start = time.perf_counter()
    source = acts if isinstance(acts, Activations) else Activations.from_tensor(acts)
    resampling = Resampling(n_bootstrap, seed)
    for name, sae in (("small", small), ("large", large)):
        if sae.d_in != source.d_in:
            raise ValueError(
                f"`{name}` must have the width of `acts`, {source.d_in}, got d_in={sae.d_in}."
            )
    own = _Changes(small, large, source)
    chance = _Changes(small, random_like(large, source, seed=seed), source)
    novel = (own.change < 0)[own.fired].astype(np.float64)
    total = own.variance
    return Stitching.of(
        resampling.mean(
            "novel_fraction",
            novel,
            floor=0.0,
            control=(chance.change < 0)[chance.fired].mean(),
            unit="atoms",
        ),
        seconds=time.perf_counter() - start,
        change=np.where(own.fired, own.change / total, np.nan),
        nearest=nearest_atoms(
            small.dictionary.detach(), large.dictionary.detach().to(small.dictionary)
        ),
        r2_small=1 - own.error / total,
        r2_stitched=1 - own.stitched() / total,
        r2_large=1 - own.error_large / total,
    )


class _Changes:
    """One pass: errors of both, and what each atom of the larger changes for the smaller."""

    @torch.no_grad()
    def __init__(self, small: Any, large: Any, acts: Activations) -> None:
        self.small, self.large, self.acts = small, large, acts
        change = torch.zeros(large.n_atoms, dtype=torch.float64)
        fired = torch.zeros(large.n_atoms, dtype=torch.bool)
        squares = large.dictionary.detach().double().square().sum(dim=1).cpu()
        self.error = self.error_large = 0.0
        moments = torch.zeros(2, acts.d_in, dtype=torch.float64)
        for _, x, codes, error, error_large in self._chunks():
            along, atoms = _along(codes, large.dictionary, error)
            z = codes.values.double().cpu()
            change.index_add_(0, atoms, z * (z * squares[atoms] - 2 * along))
            fired[atoms[z != 0]] = True
            self.error += float(error.double().square().sum())
            self.error_large += float(error_large.double().square().sum())
            moments += torch.stack((x.double().sum(0), x.double().square().sum(0))).cpu()
        n = len(acts)
        self.variance = float((moments[1] / n - (moments[0] / n).square()).sum())
        self.error, self.error_large = self.error / n, self.error_large / n
        self.change, self.fired = change.numpy() / n, fired.numpy()

    def _chunks(self) -> Any:
        for rows, x, codes in codes_of_rows(self.large, self.acts):
            error = x - self.small.decode(self.small.encode(x.to(self.small.dictionary))).to(x)
            yield rows, x, codes, error, x - self.large.decode(codes).to(x)

    @torch.no_grad()
    def stitched(self) -> float:
        """Mean squared error of the smaller SAE with every novel atom added."""
        novel = torch.from_numpy((self.change < 0) & self.fired)
        total = 0.0
        for _, _, codes, error, _ in self._chunks():
            values = torch.where(
                novel[codes.atoms.long().cpu()].to(codes.device), codes.values, 0.0
            )
            added = torch.nn.functional.embedding_bag(
                codes.atoms.long(),
                self.large.dictionary.detach(),
                codes.offsets[:-1].long(),
                per_sample_weights=values.to(self.large.dictionary),
                mode="sum",
            )
            total += float((error - added.to(error)).double().square().sum())
        return total / len(self.acts)


def _along(codes: SparseCodes, dictionary: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """⟨e_t, d_i⟩ of every entry (t, i), a chunk of entries at a time."""
    row = torch.arange(len(codes), device=codes.device).repeat_interleave(codes.l0)
    atoms = codes.atoms.long()
    size = max(1, 2**24 // dictionary.shape[1])
    parts = [
        (error[r] * dictionary.detach()[a]).sum(dim=1).double().cpu()
        for r, a in zip(torch.split(row, size), torch.split(atoms, size), strict=True)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64), atoms.cpu()
