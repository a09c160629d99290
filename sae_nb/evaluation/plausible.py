"""Does a dictionary hold the directions a classifier reads? mean over classes of max_j ⟨v_i, d_j⟩."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_matrix
from sae_nb.evaluation.controls import chance_generator
from sae_nb.evaluation.measurement import Measurement, Resampling

_DRAWS = 5  # random dictionaries the floor is a mean over
_TILE = 2**24


def plausibility(
    sae: Any,
    directions: Float[Tensor, "classes d_in"],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Measurement:
    """How near the nearest atom is to what each class is read from; 1 if every direction is an atom.

    Parameters
    ----------
    sae
        An SAE at the place the directions read from, or a dictionary.
    directions
        Rows of the classifier, or any directions with a meaning; only directions count.
    n_bootstrap
        Resamples of the classes.
    seed
        Of the random dictionaries of the floor, and of the bootstrap.

    Returns
    -------
    Measurement
        Floor and control are a random dictionary's, which grows with the number of atoms.

    Raises
    ------
    ValueError
        If widths differ, or a direction is zero.

    Source
    ------
    "Archetypal SAE", arXiv 2502.12892, section 4. The floor is ours.

    Example
    -------
    >>> plausibility(torch.eye(4), torch.eye(4)[:2]).value
    1.0
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    atoms = sae if isinstance(sae, Tensor) else sae.dictionary
    atoms = check_matrix(atoms, name="dictionary").detach().float()
    rows = check_matrix(directions, name="directions", d_in=atoms.shape[1]).detach().to(atoms)
    if bool((rows.norm(dim=1) == 0).any()):
        raise ValueError(
            f"`directions` must not be zero, got row {int((rows.norm(dim=1) == 0).nonzero()[0])} so."
        )
    found, generator = nearest_atoms(atoms, rows), chance_generator(seed)
    drawn = (torch.randn(atoms.shape, generator=generator).to(atoms) for _ in range(_DRAWS))
    chance = float(np.mean([nearest_atoms(random, rows).mean() for random in drawn]))
    return resampling.mean(
        "plausibility",
        found,
        floor=chance,
        control=chance,
        unit="classes",
        seconds=time.perf_counter() - start,
    )


def nearest_atoms(
    dictionary: Float[Tensor, "n_atoms d_in"], directions: Float[Tensor, "classes d_in"]
) -> Float[np.ndarray, " classes"]:
    """Return the largest cosine of each direction with any atom.

    Parameters
    ----------
    dictionary, directions
        Only directions count.
    """
    unit, rows = (torch.nn.functional.normalize(part, dim=1) for part in (dictionary, directions))
    tiles = torch.split(rows, max(1, _TILE // len(unit)))
    best: np.ndarray = torch.cat([(t @ unit.T).amax(dim=1) for t in tiles]).double().cpu().numpy()
    return best
