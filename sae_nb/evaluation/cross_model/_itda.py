"""ITDA: a dictionary of real activations, built greedily where pursuit errs, compared by the rows taken.

A row joins the dictionary if its error ‖r‖² / ‖x − μ‖² after k steps of matching pursuit is above τ. Two
models that saw the same inputs are compared by J = |A ∩ B| / |A ∪ B| of the rows they took.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import between, check_count, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.report._measurement import Measurement, Resampling
from sae_nb.evaluation.report._row_pass import summed_atoms
from sae_nb.pursuit import matching_pursuit

_DRAWS = 50  # random choices of rows behind the floor of the overlap


@dataclass(frozen=True, kw_only=True, eq=False)
class Itda(Measurement):
    """A dictionary whose atoms are rows of real activations.

    `value` is R² on the rows it was built from; its control has the same number of random rows.
    """

    dictionary: Float[Tensor, "n_atoms d_in"]
    rows: Int[np.ndarray, " n_atoms"]
    """x − μ of the rows taken, scaled to unit norm; which rows these are, in order."""

    mean: Float[Tensor, " d_in"]
    k: int
    threshold: float
    """μ; steps of pursuit; τ, the share of a row's energy that may be missed."""

    sample: Int[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    """Of all rows it was built from, to compare with other models."""

    @property
    def n_atoms(self) -> int:
        """Rows taken."""
        return len(self.rows)

    @checked
    def encode(self, x: Float[Tensor, "n d_in"]) -> SparseCodes:
        """Find codes of activations by matching pursuit; coefficients may be negative."""
        x = check_matrix(x, d_in=self.dictionary.shape[1])
        return _pursued(x.float() - self.mean, self.dictionary, self.k)

    @checked
    def decode(self, codes: SparseCodes) -> Float[Tensor, "n d_in"]:
        """Add up the atoms, and the mean."""
        return summed_atoms(codes, self.dictionary) + self.mean

    def __repr__(self) -> str:
        return (
            f"Itda({self.n_atoms} of {self.n} rows, k={self.k}, τ={self.threshold:g}; R² "
            f"{self.value:.3f}, random rows {self.control:.3f})"
        )


@checked
def build_itda(
    acts: Activations | Float[Tensor, "n d_in"],
    *,
    k: int = 8,
    threshold: float = 0.3,
    max_atoms: int = 2048,
    batch_size: int = 512,
    n_bootstrap: int = 200,
    seed: int = 0,
) -> Itda:
    """Go through the rows once, in random order, and take those that the rows taken so far explain badly.

    Parameters
    ----------
    k, threshold, max_atoms
        Steps of pursuit; τ in (0, 1): a row that misses more of its energy joins; rows taken at most.
    batch_size
        Rows encoded at a time; within a batch, rows join worst first and explain the others at once.
    seed
        Also of the order of the rows: the same for two models that are to be compared.

    Raises
    ------
    TypeError, ValueError: If rows are no finite matrix, all the same, or a setting is out of range.

    Source
    ------
    Leask et al., "Inference-time decomposition of activations", arXiv 2505.17769.

    Example
    -------
    >>> x = torch.eye(4).repeat(8, 1)
    >>> build_itda(x, k=3, n_bootstrap=0).n_atoms  # one row of each kind
    4
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    if not isinstance(acts, Activations):
        acts = Activations.from_tensor(check_matrix(acts, name="acts"))
    for name, count in (("k", k), ("max_atoms", max_atoms), ("batch_size", batch_size)):
        check_count(count, name=name)
    between(threshold, 0, 1, name="threshold", ends="()")
    x = acts.x.detach().float().cpu()
    mean = x.mean(dim=0)
    centred = x - mean
    energy = centred.square().sum(dim=1)
    if float(energy.max()) <= 1e-12 * float(x.square().sum(dim=1).max()):
        raise ValueError(
            f"`acts` must vary, but all {len(x)} rows are the same. Capture other inputs."
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    rows = _taken(centred, torch.split(order, batch_size), k, threshold * energy, max_atoms)
    alive = (energy > 0).nonzero().flatten()
    drawn = torch.randperm(len(alive), generator=torch.Generator().manual_seed(seed))
    dictionary, random = _unit(centred[rows]), _unit(centred[alive[drawn[: len(rows)]]])
    missed, missed_random = (
        torch.cat([_missed(part, atoms, k) for part in torch.split(centred, 4096)])
        for atoms in (dictionary, random)
    )
    columns = np.stack([missed.numpy(), energy.numpy()], axis=1).astype(np.float64)
    sums = resampling.grouped(columns, acts.sample.numpy())
    return Itda.measured(
        "itda_r2",
        1 - missed.sum() / energy.sum(),
        floor=0.0,
        control=1 - missed_random.sum() / energy.sum(),
        interval=resampling.interval(sums, lambda s: 1 - s[:, 0] / s[:, 1]),
        n=len(x),
        seconds=round(time.perf_counter() - start, 3),
        dictionary=dictionary,
        rows=np.array(rows),
        mean=mean,
        k=k,
        threshold=threshold,
        sample=acts.sample.numpy(),
        position=acts.position.numpy(),
    )


@checked
def compare_itda(
    first: Itda, second: Itda, *, n_bootstrap: int = 1000, seed: int = 0
) -> Measurement:
    """Return the Jaccard index of the rows that two dictionaries took from the same inputs.

    J = |A ∩ B| / |A ∪ B|, of dictionaries built with one seed from aligned activations of two models or
    layers. Its floor is the mean for the same numbers of rows drawn at random.

    Raises
    ------
    ValueError: If they were built from other rows.

    Example
    -------
    >>> one = build_itda(torch.randn(64, 4, generator=torch.Generator().manual_seed(0)), k=2)
    >>> compare_itda(one, one).value
    1.0
    """
    resampling = Resampling(n_bootstrap, seed)
    here, there = (np.stack([one.sample, one.position]) for one in (first, second))
    if not np.array_equal(here, there):
        raise ValueError(
            f"`first` and `second` must be built from the same rows, got {len(first.sample)} and "
            f"{len(second.sample)} rows that are not the same places. Capture the same inputs."
        )
    n, n_first, n_second = len(first.sample), len(first.rows), len(second.rows)
    a, b = np.zeros((2, n), dtype=bool)
    a[first.rows], b[second.rows] = True, True
    # The overlap of random choices is hypergeometric.
    drawn = np.random.default_rng(seed).hypergeometric(n_first, n - n_first, n_second, size=_DRAWS)
    columns = np.stack([a & b, a | b], axis=1).astype(np.float64)
    both, either = resampling.grouped(columns, first.sample).T
    floor = (drawn / (n_first + n_second - drawn)).mean()
    return resampling.ratio(
        "itda_jaccard", both, either, floor=floor, n=int(either.sum()), unit="rows"
    )


def _taken(
    centred: Float[Tensor, "n d_in"],
    batches: Sequence[Int[Tensor, " batch"]],
    k: int,
    allowed: Float[Tensor, " n"],
    max_atoms: int,
) -> list[int]:
    """Rows that the rows taken so far explain worse than is allowed."""
    taken: list[int] = []
    for batch in batches:
        residual = centred[batch]
        if taken:
            atoms = _unit(centred[taken])
            residual = residual - summed_atoms(_pursued(residual, atoms, k), atoms)
        missed = residual.square().sum(dim=1)
        while len(taken) < max_atoms:
            excess = torch.where(missed > allowed[batch], missed, -torch.inf)
            worst = int(excess.argmax())
            # A row that is all mean has no direction to offer.
            if not bool(torch.isfinite(excess[worst])) or float(allowed[batch[worst]]) == 0:
                break
            taken.append(int(batch[worst]))
            atom = _unit(centred[batch[worst]][None])[0]
            # What the row alone, or as one more step, leaves of the others: never less than pursuit
            # with it would be allowed to leave, and no second encoding of the batch.
            for rows in (centred[batch], residual):
                missed = torch.minimum(missed, rows.square().sum(dim=1) - (rows @ atom).square())
            missed[worst] = 0
    return taken


def _unit(rows: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
    return torch.nn.functional.normalize(rows, dim=1)


def _pursued(
    x: Float[Tensor, "n d_in"], atoms: Float[Tensor, "n_atoms d_in"], k: int
) -> SparseCodes:
    return matching_pursuit(x, atoms, min(k, len(atoms)), nonnegative=False)


def _missed(
    x: Float[Tensor, "n d_in"], atoms: Float[Tensor, "n_atoms d_in"], k: int
) -> Float[Tensor, " n"]:
    """Squared error of every row."""
    return (x - summed_atoms(_pursued(x, atoms, k), atoms)).square().sum(dim=1)
