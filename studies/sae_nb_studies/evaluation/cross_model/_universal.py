"""Are atoms shared? Firing entropy, co-firing over the true union, and reconstruction across models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import field, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csc_matrix

from sae_nb.activations import Activations
from sae_nb.architectures import UniversalSAE
from sae_nb.checks import Resamples, Seed, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Measurement, Resampling, explained_variance
from sae_nb.findings import column
from sae_nb_studies.evaluation.cross_model._matching import check_aligned, check_same_rows


class Universality(Measurement):
    """The extent to which a code is shared by the models it is made from.

    `value` is the mean over atoms that fire of rows in which all models fire, over rows in which any
    does; its floor is the same with the rows of the models shuffled against each other.
    """

    entropy: Float[np.ndarray, " n_atoms"] = field(metadata=column())
    """FE: 1 where all models fire equally often, 0 where one alone fires; NaN where none does."""

    overlap: Float[np.ndarray, " n_atoms"] = field(metadata=column())
    """Rows in which all models fire, over rows in which any does: the true union."""

    cofiring: Float[np.ndarray, "n_atoms models"]
    fires: Float[np.ndarray, "n_atoms models"]
    """CFP: share of one model's firings in which all the others fire too; rows in which each fires."""

    r2: Float[np.ndarray, "models models"] | None
    r2_floor: Float[np.ndarray, "models models"] | None
    """R² of model j's activations from model i's code, and with rows shuffled; None of codes alone."""

    @property
    def headline(self) -> str:
        """Share of rows in which all fire together; R² within a model and across, if measured."""
        text = (
            f"all fire in {self.value:.3f} of the rows in which any does, shuffled {self.floor:.3f}; firing "
            f"entropy {np.nanmean(self.entropy):.3f}"
        )
        if self.r2 is None:
            return text
        own, across = np.diag(self.r2).mean(), self.r2[~np.eye(len(self.r2), dtype=bool)].mean()
        return f"{text}; R² own {own:.3f}, across {across:.3f}"


@checked
def compare_firing(
    codes: Sequence[SparseCodes], *, n_bootstrap: Resamples = 1000, seed: Seed = 0
) -> Universality:
    """Compare where the same atoms fire in several models' codes of the same rows.

    With f_km the rows in which atom k fires for model m, p_km = f_km / Σ_m f_km:
    FE_k = −Σ_m p_km log p_km / log M; CFP_km = #(all fire) / f_km; overlap_k = #(all) / #(any).

    Parameters
    ----------
    codes
        One per model, of one dictionary of shared codes.

    Raises
    ------
    ValueError: If rows or dictionaries differ, or nothing fires.

    Source
    ------
    Thasarathan et al., "Universal sparse autoencoders", arXiv 2502.03714. Their code divides by the
    sum of firings instead of the union, which cannot exceed 1 / M.

    Example
    -------
    >>> z = SparseCodes.from_dense(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]]))
    >>> compare_firing([z, z]).value
    1.0
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    check_same_rows(codes)
    widths = {one.n_atoms for one in codes}
    if len(widths) > 1:
        raise ValueError(
            f"`codes` must be of one shared dictionary, got {sorted(widths)} atoms. Use match_latents "
            "for SAEs that were trained apart."
        )
    fired = [_fired(one) for one in codes]
    fires = np.stack([np.asarray(f.sum(axis=0)).ravel() for f in fired], axis=1).astype(float)
    every, overlap = _overlap(fired)
    alive, generator = np.isfinite(overlap), np.random.default_rng(seed)
    moved = [f.tocsr()[generator.permutation(f.shape[0])].tocsc() for f in fired[1:]]
    floor = np.nanmean(_overlap([fired[0], *moved])[1])
    return Universality.of(
        resampling.mean("cofiring_union", overlap[alive], floor=floor, unit="atoms"),
        seconds=round(time.perf_counter() - start, 3),
        entropy=_entropy(fires),
        overlap=overlap,
        cofiring=np.divide(every[:, None], fires, out=np.full_like(fires, np.nan), where=fires > 0),
        fires=fires,
        r2=None,
        r2_floor=None,
    )


@checked
def measure_universality(
    sae: UniversalSAE, acts: Sequence[Activations], *, n_bootstrap: Resamples = 1000, seed: Seed = 0
) -> Universality:
    """Compare firing, and decode each model's activations from every model's code.

    Parameters
    ----------
    acts
        Aligned activations of its models, in order; ones it was not trained on.

    Raises
    ------
    TypeError, ValueError: If activations are not aligned, or are not those of its models.

    Example
    -------
    >>> x = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    >>> acts = [Activations.from_tensor(x), Activations.from_tensor(2 * x)]
    >>> u = UniversalSAE([4, 4], n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> u.initialise(acts)
    >>> measure_universality(u, acts).r2.shape
    (2, 2)
    """
    check_aligned(acts)
    if tuple(one.d_in for one in acts) != sae.widths:
        raise ValueError(
            f"`acts` must be of the models of the SAE, of widths {list(sae.widths)} in this order, got "
            f"{[one.d_in for one in acts]}. Capture each at its hook point."
        )
    r2, floor = np.zeros((2, len(acts), len(acts)))
    order = torch.randperm(len(acts[0]), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        codes = [sae.encode(one, reads=i) for i, one in enumerate(acts)]
        for i, one in enumerate(codes):
            for j, (target, x_hat) in enumerate(zip(acts, sae.decode(one), strict=True)):
                x = target.x.to(x_hat)
                r2[i, j] = explained_variance(x, x_hat)
                floor[i, j] = explained_variance(x, x_hat[order.to(x_hat.device)])
    found = compare_firing(codes, n_bootstrap=n_bootstrap, seed=seed)
    return replace(found, r2=r2, r2_floor=floor)


def _fired(codes: SparseCodes) -> csc_matrix:
    table = codes.to_scipy().tocsc()
    table.eliminate_zeros()
    table.data = np.ones(len(table.data), dtype=np.int32)
    return table


def _overlap(
    fired: Sequence[csc_matrix],
) -> tuple[Float[np.ndarray, " n_atoms"], Float[np.ndarray, " n_atoms"]]:
    """Rows in which all fire, and their share of those in which any does; NaN where none does."""
    total = sum(fired[1:], fired[0]).tocsc()
    column = np.repeat(np.arange(total.shape[1]), np.diff(total.indptr))
    union = np.bincount(column, minlength=total.shape[1]).astype(float)
    every = np.bincount(column, weights=total.data == len(fired), minlength=total.shape[1])
    return every, np.divide(every, union, out=np.full_like(union, np.nan), where=union > 0)


def _entropy(fires: Float[np.ndarray, "n_atoms models"]) -> Float[np.ndarray, " n_atoms"]:
    total = fires.sum(axis=1, keepdims=True)
    p = np.divide(fires, total, out=np.zeros_like(fires), where=total > 0)
    log = np.log(np.where(p > 0, p, 1.0))
    entropy = -(p * log).sum(axis=1) / np.log(fires.shape[1])
    return np.where(total[:, 0] > 0, np.maximum(entropy, 0.0), np.nan)
