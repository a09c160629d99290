"""Do codes keep what is near to what? Rank correlation of each row's distances before and after coding."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._sites import acts_for
from sae_nb.checks import Resamples, Seed, at_least, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._measurement import (
    Measurement,
    RandomDictionary,
    Resampling,
    measured,
)
from sae_nb.evaluation.report._row_pass import codes_of
from sae_nb.statistics import correlation, ranks_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

MOST_ROWS = 1024
"""Each is compared with all others: a third of a second. Ours."""
FEWEST_ROWS = 3
_RANKED = 64  # rows at a time, which stay in cache


@checked(leave=("acts",))
@torch.no_grad()
def distances_kept(
    sae: SparseAutoencoder,
    acts: Activations | Float[Tensor, "n d_in"],
    codes: SparseCodes | None = None,
    *,
    n_rows: Annotated[int, at_least(FEWEST_ROWS)] = MOST_ROWS,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Measurement:
    """Measure whether codes order rows by distance as activations do: 1 if what is nearer stays nearer.

    The mean over rows t of Spearman's correlation between 1 − cos(x_t − μ, x_s − μ) and 1 − cos(z_t,
    z_s) over all other rows s. Methods that read codes in place of activations (retrieval, clustering,
    a map of samples) work as far as this is high. A row whose code has no atom in common with any other
    counts 0. The floor is codes in random order; the control a dictionary of random atoms with the same
    L0, which keeps much of the order already: what training adds is the difference.

    Parameters
    ----------
    acts, codes
        Activations; the SAE's codes of them, encoded when None.
    n_rows
        At most so many rows are drawn and compared pair by pair.
    n_bootstrap, seed
        Resamples of samples; the seed is of the rows drawn, of random atoms and of the shuffled order.

    Raises
    ------
    ValueError: If there are fewer than three rows, all rows are alike, or no atom fires.

    Source
    ------
    Ours; after the representational similarity of Kriegeskorte, Mur and Bandettini, Frontiers in Systems
    Neuroscience 2 (2008). They correlate all pairs at once; row by row the interval can draw samples.

    Example
    -------
    >>> import sae_nb as sn
    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = sn.TopK(d_in=8, n_atoms=16, k=4, generator=torch.Generator().manual_seed(0))
    >>> kept = distances_kept(sae, x, n_bootstrap=50)
    >>> kept.value > 0.3, abs(kept.floor) < 0.05
    (True, True)
    """
    start = time.perf_counter()
    acts = acts_for(sae, acts)
    if len(acts) < FEWEST_ROWS:
        raise ValueError(f"`acts` must have at least {FEWEST_ROWS} rows, got {len(acts)}.")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(acts))[:n_rows])
    rows = torch.from_numpy(drawn)
    few = acts.subset(rows) if codes is None else acts
    own = codes_of(sae, few, codes)
    own = own if codes is None else own.rows(rows)
    x = acts.rows(rows).to(sae.dictionary)
    mean, l0 = x.double().mean(dim=0).to(x), float(own.l0.double().mean())
    signed = bool((own.values < 0).any())
    random = RandomDictionary.like(sae, l0, mean=mean, seed=seed, signed=signed)
    sample, resampling = acts.sample[rows].numpy(), Resampling(n_bootstrap, seed)
    kept = distances_row(x - mean, own, random.encode(x), sample, resampling)
    if kept is None:
        raise ValueError(f"`acts` must vary, got {len(acts)} rows that are all alike.")
    return Measurement.of(kept, seconds=time.perf_counter() - start)


def distances_row(
    x: Float[Tensor, "n d_in"],
    codes: SparseCodes,
    control: SparseCodes,
    sample: Int[np.ndarray, " n"],
    resampling: Resampling,
) -> Measurement | None:
    """Return the report's row of centred rows and their codes; None where there is no order to keep."""
    if len(x) < FEWEST_ROWS:
        return None
    wanted = _ranks(_cosines(x.double().cpu().numpy()))
    ordered = wanted.any(axis=1)
    if not ordered.any():
        return None
    coded = _ranks(_code_cosines(codes))
    order = np.random.default_rng(resampling.seed).permutation(len(x))
    values, shuffled, at_random = (
        correlation(wanted, some)[ordered]
        for some in (coded, coded[np.ix_(order, order)], _ranks(_code_cosines(control)))
    )
    columns = np.stack([values, np.ones_like(values)], axis=1)
    sums = resampling.grouped(columns, sample[ordered])
    return measured(
        "distances_kept",
        values.mean(),
        resampling.interval(sums, lambda s: s[:, 0] / s[:, 1]),
        floor=shuffled.mean(),
        control=at_random.mean(),
        n=int(ordered.sum()),
    )


def _cosines(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n n"]:
    """Cosines of all pairs; of rows that are zero, 0."""
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    unit = np.divide(x, lengths, out=np.zeros_like(x), where=lengths > 1e-6 * lengths.max())
    return unit @ unit.T


def _code_cosines(codes: SparseCodes) -> Float[np.ndarray, "n n"]:
    """The same of codes; nothing dense but the result."""
    z = codes.to_scipy().astype(np.float64)
    lengths = np.sqrt(np.asarray(z.multiply(z).sum(axis=1)).ravel())
    products = (z @ z.T).toarray()
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return products * scale[:, None] * scale[None, :]


def _ranks(cosines: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Rank, in place, of every other row by its cosine with each row, less the mean rank; 0 of a row itself.

    Rounding makes no difference of ties.
    """
    n = len(cosines)
    np.fill_diagonal(cosines, 2.0)  # above all others, so that it takes no rank from them
    for start in range(0, n, _RANKED):
        some = slice(start, start + _RANKED)
        cosines[some] = ranks_of(cosines[some], digits=9) - n / 2
    np.fill_diagonal(cosines, 0.0)
    return cosines
