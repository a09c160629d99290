"""Are atoms canonical units? Atoms that a larger SAE adds to a smaller one, and meta-atoms they are made of.

Leask et al., "Sparse autoencoders do not find canonical units of analysis", arXiv 2502.04878.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.activations import Activations, check_one_place, reconstruction, written_codes
from sae_nb.checks import Between, Count, Resamples, Seed, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Measurement, Resampling, chance_generator, codes_of_rows, random_like
from sae_nb_studies.evaluation.dictionary._merging import summed_atoms
from sae_nb_studies.evaluation.dictionary._plausibility import nearest_atoms

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.training import TrainConfig


# -------------------------------------------------------------------------------------------------
# What does a larger SAE know that a smaller one does not? Its atoms are added one by one.
#
# Δ_i = mean_t ‖e_t − z_ti d_i‖² − ‖e_t‖² = mean_t z_ti² ‖d_i‖² − 2 z_ti ⟨e_t, d_i⟩ with e the smaller SAE's
# error: an atom is novel if Δ_i < 0, and repeats what is there (to be swapped, not added) if not.


class Stitching(Measurement):
    """The atoms of a larger SAE that are novel to a smaller one."""

    change: Float[np.ndarray, " n_atoms"]
    """Δ of each atom of the larger SAE, as a share of the variance; NaN where it never fired."""

    nearest: Float[np.ndarray, " n_atoms"]
    """Its largest cosine with an atom of the smaller one."""

    r2_small: float
    r2_stitched: float
    r2_large: float
    """R² of the smaller SAE, of it with every novel atom added, and of the larger SAE."""

    @property
    def novel(self) -> Bool[np.ndarray, " n_atoms"]:
        """Mask of the atoms that lower the error."""
        return np.asarray(self.change < 0)


@checked(leave=("acts",))
def stitch(
    small: Any,
    large: Any,
    acts: Activations | Float[Tensor, "n d_in"],
    *,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Stitching:
    """Add each atom of a larger SAE to a smaller one, and see whether the error falls.

    Both are SAEs of one place, and `acts` are ones that neither was trained on. The value is the share
    of alive atoms that are novel; the control is that of the same number of random atoms with the same
    L0: noise, too, sometimes points along an error.

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
    for name, sae in (("small", small), ("large", large)):
        check_one_place(sae, name=name)
    source = acts if isinstance(acts, Activations) else Activations.from_tensor(acts)
    resampling = Resampling(n_bootstrap, seed)
    for name, sae in (("small", small), ("large", large)):
        if sae.d_in != source.d_in:
            raise ValueError(
                f"`{name}` must have the width of `acts`, {source.d_in}, got d_in={sae.d_in}."
            )
    own = _Changes(small, large, source)
    chance = _Changes(small, random_like(large, source, seed=seed), source)
    total = own.variance
    if not 0 < total < float("inf"):
        raise ValueError(
            f"`acts` must vary, with a finite variance, got {total:g} over {len(source)} rows."
        )
    return Stitching.of(
        resampling.mean(
            "novel_fraction",
            (own.change < 0)[own.fired].astype(np.float64),
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
        for x, codes, error, error_large in self._chunks():
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
        for _, x, codes in codes_of_rows(self.large, self.acts):
            few = x.to(self.small.dictionary)
            error = x - reconstruction(self.small, self.small.encode(few), few).to(x)
            left = x - reconstruction(self.large, codes, x).to(x)
            yield x, written_codes(self.large, codes, x), error, left

    @torch.no_grad()
    def stitched(self) -> float:
        """Return mean squared error of the smaller SAE with every novel atom added."""
        novel = torch.from_numpy((self.change < 0) & self.fired)
        total = 0.0
        for _, codes, error, _ in self._chunks():
            is_novel = novel[codes.atoms.long().cpu()].to(codes.device)
            chosen = codes.with_values(torch.where(is_novel, codes.values, 0.0))
            added = summed_atoms(chosen, self.large.dictionary.detach())
            total += float((error - added.to(error)).double().square().sum())
        return total / len(self.acts)


def _along(codes: SparseCodes, dictionary: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """⟨e_t, d_i⟩ of every entry (t, i), a chunk of entries at a time."""
    atoms, size = codes.atoms.long(), max(1, 2**24 // dictionary.shape[1])
    pairs = zip(torch.split(codes.support.rows, size), torch.split(atoms, size), strict=True)
    parts = [(error[r] * dictionary.detach()[a]).sum(dim=1).double().cpu() for r, a in pairs]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64), atoms.cpu()


# -------------------------------------------------------------------------------------------------
# Are atoms made of fewer meta-atoms? A BatchTopK dictionary of the dictionary's own rows.
#
# High R² says that atoms are compositions; what random atoms reach under the same settings says how high
# is high.


RATIO, K, STEPS, BATCH = 0.25, 4, 1500, 1024
"""SAEBench's settings (evals/meta_structure)."""


class MetaDictionary(Measurement):
    """Atoms written as sums of meta-atoms."""

    sae: SparseAutoencoder
    codes: SparseCodes
    """The SAE of the atoms, and which meta-atoms each atom is made of."""


@checked
def meta_dictionary(
    sae: Any,
    *,
    ratio: Annotated[float, Between(0, 1e3, "(]")] = RATIO,
    k: Count = K,
    steps: int = STEPS,
    seed: Seed = 0,
    n_bootstrap: Resamples = 1000,
    progress: bool = True,
) -> MetaDictionary:
    """Train a dictionary of a dictionary, and one of random atoms to compare with.

    The value is R² of the unit atoms; the control is the same for random atoms. Costs two trainings of
    `steps` steps on n_atoms rows: about 10 s at 1024 atoms of width 64.

    Parameters
    ----------
    sae
        An SAE or a dictionary.
    ratio, k
        Meta-atoms per atom; meta-atoms each atom is made of, on average.

    Raises
    ------
    ValueError: If there are too few atoms for k meta-atoms each, or they are all one.

    Source
    ------
    Leask et al., "Sparse autoencoders do not find canonical units of analysis", arXiv 2502.04878;
    SAEBench, evals/meta_structure.

    Example
    -------
    >>> atoms = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    >>> found = meta_dictionary(atoms, k=2, steps=20, progress=False, n_bootstrap=10)
    >>> found.sae.n_atoms, found.codes.shape
    (10, (40, 10))
    """
    from sae_nb.training import TrainConfig

    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    rows = check_matrix(getattr(sae, "dictionary", sae), name="dictionary").detach()
    unit = torch.nn.functional.normalize(rows.float().cpu(), dim=1)
    n_meta = round(ratio * len(unit))
    if n_meta < k:
        raise ValueError(
            f"`ratio` × n_atoms must be at least k={k} meta-atoms, got {n_meta} of {len(unit)} atoms. "
            f"{round(k / ratio)} atoms are needed."
        )
    if float((unit - unit.mean(dim=0)).norm(dim=1).max()) < 1e-6:
        raise ValueError(
            "`sae` must have atoms that differ, got the same direction for all of them."
        )
    drawn = torch.randn(unit.shape, generator=chance_generator(seed))
    random = torch.nn.functional.normalize(drawn, dim=1)
    config = TrainConfig(steps=steps, batch_size=BATCH, seed=seed)
    (meta, shares), (_, chance) = (
        _trained(rows, n_meta, k, config, progress=progress) for rows in (unit, random)
    )
    return MetaDictionary.measured(
        "meta_r2",
        shares.mean(),
        floor=0.0,
        control=chance.mean(),
        interval=resampling.spread(shares.numpy()),
        n=len(unit),
        unit="atoms",
        seconds=time.perf_counter() - start,
        sae=meta,
        codes=meta.encode(unit).detach(),
    )


def _trained(
    unit: Float[Tensor, "n_atoms d_in"], n_meta: int, k: int, config: TrainConfig, *, progress: bool
) -> tuple[SparseAutoencoder, Float[Tensor, " n_atoms"]]:
    """A dictionary of the rows, and 1 − ‖e‖² / mean‖x − μ‖² of each row."""
    from sae_nb.architectures import BatchTopK
    from sae_nb.training import train

    generator = torch.Generator().manual_seed(config.seed)
    meta = BatchTopK(unit.shape[1], n_meta, k, generator=generator)
    train(meta, unit, config, progress=progress)
    total = (unit - unit.mean(dim=0)).square().sum(dim=1).double().mean()
    with torch.no_grad():
        return meta, 1 - (unit - meta(unit)).square().sum(dim=1).double() / total
