"""The passes over the rows: means first, then the SAE, then floor and control on a part of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures.base import SparseAutoencoder
from sae_nb.checks import check_finite
from sae_nb.evaluation.controls import RandomDictionary
from sae_nb.evaluation.measurement import group_rows
from sae_nb.evaluation.reconstruction import Moments, ReconstructionSums
from sae_nb.evaluation.sparsity import SparsitySums

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.codes import SparseCodes

CONTROL_ROWS = 65_536
"""The floor and the random dictionary are measured on at most so many rows."""

_FIT_ROWS = 4096  # rows the random dictionary's one gain is fitted on


@dataclass(frozen=True, kw_only=True, eq=False)
class RowPass:
    """Sums of every row under the SAE, the mean predictor and the random dictionary."""

    mean: Float[Tensor, " d_in"]
    """μ, on the SAE's device and in its precision."""

    reconstruction: ReconstructionSums
    floor: ReconstructionSums
    control: ReconstructionSums
    sparsity: SparsitySums
    control_sparsity: SparsitySums
    random: RandomDictionary
    """The control itself."""


def pass_over_rows(
    sae: SparseAutoencoder, acts: Activations, *, batch_size: int, seed: int
) -> RowPass:
    """Read all rows twice, and a part of them once more; only codes in CSR are ever held.

    Raises
    ------
    ValueError
        If a row holds NaN or infinity.
    """
    moments = _moments(acts, batch_size)
    group, n_groups = group_rows(acts.sample.numpy(), len(acts), seed=seed)
    recovered, sparsity = ReconstructionSums(moments, n_groups), SparsitySums(sae.n_atoms, n_groups)
    with torch.no_grad():
        for rows, x in _chunks(acts, np.arange(len(acts)), batch_size, sae.dictionary):
            codes = sae.encode(x)
            recovered.update(x, _reconstruction(sae, x, codes), group[rows])
            sparsity.update(codes, group[rows])
    part = _part(len(acts), seed)
    random = _random_like(sae, moments, sparsity, seed)
    random.fit(acts.rows(torch.from_numpy(part[:_FIT_ROWS])))
    floor, control = ReconstructionSums(moments, n_groups), ReconstructionSums(moments, n_groups)
    control_sparsity = SparsitySums(sae.n_atoms, n_groups)
    for rows, x in _chunks(acts, np.sort(part), batch_size, sae.dictionary):
        codes = random.encode(x)
        floor.update(x, random.mean.expand_as(x), group[rows])
        control.update(x, random.decode(codes), group[rows])
        control_sparsity.update(codes, group[rows])
    return RowPass(
        mean=random.mean,
        reconstruction=recovered,
        floor=floor,
        control=control,
        sparsity=sparsity,
        control_sparsity=control_sparsity,
        random=random,
    )


def _moments(acts: Activations, batch_size: int) -> Moments:
    moments = Moments(acts.d_in)
    for rows, x in _chunks(acts, np.arange(len(acts)), batch_size):
        check_finite(x, name="acts", row_name=partial(_row_name, acts, rows))
        moments.update(x)
    return moments


def _row_name(acts: Activations, rows: Int[np.ndarray, " batch"], i: int) -> str:
    return f"row {rows[i]} of the whole: {acts.where(int(rows[i]))}"


def _reconstruction(sae: SparseAutoencoder, x: Tensor, codes: SparseCodes) -> Tensor:
    """Decode the codes; an SAE whose forward does more than that is run once more."""
    plain = type(sae).forward is SparseAutoencoder.forward
    return sae.decode(codes) if plain else sae(x)


def _chunks(
    acts: Activations, rows: Int[np.ndarray, " m"], size: int, like: Tensor | None = None
) -> Iterator[tuple[Int[np.ndarray, " batch"], Tensor]]:
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        x = acts.rows(torch.from_numpy(chosen))
        yield chosen, x if like is None else x.to(like)


def _part(n: int, seed: int) -> Int[np.ndarray, " m"]:
    return np.random.default_rng(seed).permutation(n)[:CONTROL_ROWS]


def _random_like(
    sae: SparseAutoencoder, moments: Moments, sparsity: SparsitySums, seed: int
) -> RandomDictionary:
    k = min(max(round(sparsity.l0), 1), sae.n_atoms)
    mean = moments.mean.to(sae.dictionary)
    return RandomDictionary(sae.d_in, sae.n_atoms, k, mean=mean, seed=seed, signed=sparsity.signed)
