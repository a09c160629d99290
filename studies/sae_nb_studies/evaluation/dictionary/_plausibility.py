"""Does a dictionary hold the directions a classifier reads? mean over classes of max_j ⟨v_i, d_j⟩."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Resamples, Seed, check_matrix, checked
from sae_nb.evaluation import Measurement, Resampling, chance_generator
from sae_nb.geometry import largest_cosines

_DRAWS = 5  # random dictionaries the floor is a mean over


@checked
def plausibility(
    sae: Any,
    directions: Float[Tensor, "classes d_in"],
    *,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Measurement:
    """Measure how near the nearest atom is to the direction each class is read from; 1 if every
    direction is an atom.

    Only directions count. The score of random atoms, floor and control, grows with their number. The
    interval resamples classes.

    Parameters
    ----------
    sae, directions
        An SAE or a dictionary; rows of the classifier that reads there, or others with a meaning.

    Raises
    ------
    ValueError: If widths differ, or a direction is zero.

    Source
    ------
    "Archetypal SAE", arXiv 2502.12892, section 4. The floor is ours.

    Example
    -------
    >>> plausibility(torch.eye(4), torch.eye(4)[:2]).value
    1.0
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    atoms = check_matrix(getattr(sae, "dictionary", sae), name="dictionary").detach().float()
    rows = check_matrix(directions, name="directions", d_in=atoms.shape[1]).detach().to(atoms)
    zero = (rows.norm(dim=1) == 0).nonzero()
    if len(zero):
        raise ValueError(f"`directions` must not be zero, got row {int(zero[0])} of zeros.")
    generator = chance_generator(seed)
    drawn = (torch.randn(atoms.shape, generator=generator).to(atoms) for _ in range(_DRAWS))
    control = float(np.mean([nearest_atoms(random, rows).mean() for random in drawn]))
    return resampling.mean(
        "plausibility",
        nearest_atoms(atoms, rows),
        floor=control,
        control=control,
        unit="classes",
        seconds=time.perf_counter() - start,
    )


def nearest_atoms(
    dictionary: Float[Tensor, "n_atoms d_in"], directions: Float[Tensor, "classes d_in"]
) -> Float[np.ndarray, " classes"]:
    """Return the largest cosine of each direction with any atom."""
    unit, rows = (torch.nn.functional.normalize(part, dim=1) for part in (dictionary, directions))
    return np.asarray(largest_cosines(rows, unit).double().cpu())
