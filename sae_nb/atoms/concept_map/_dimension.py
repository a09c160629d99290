"""The dimension around each point of a map, of its nearest neighbours by cosine; how far the nearest is."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.atoms.concept_map._concept_map import Column
from sae_nb.figures.theme import format_number, format_percent
from sae_nb.geometry import nearest_by_cosine
from sae_nb.geometry._dimension import dimension_of_distances
from sae_nb.geometry._ivf_index import NearDistances, random_distances

DIMENSION = "local dimension"
DISTANCE = "distance"
FEWEST_NEIGHBOURS = 5
"""Fewer do not say of how many dimensions they are."""
SAME = 1e-6
"""Cosine distance below which two points coincide: nothing is known of the dimension there."""


def dimension_column(x: Float[Tensor, "n d"], near: NearDistances, what: str, seed: int) -> Column:
    """Return the dimension of the unit rows around each point; its `meaning` has that of random directions.

    `near` are the cosine distances 1 − cos to the nearest of `x`; of unit rows the Euclidean distance is
    √(2 (1 − cos)). A point that coincides with another has none. Where `near` is a search of some lists, the
    random directions are 1000 among as many as the points, searched among all.
    """
    values = _dimensions(near.distances)
    k = near.distances.shape[1]
    if near.n_tried:
        control = _dimensions(random_distances((len(x), x.shape[1]), k, seed=seed))
    else:
        # Not torch's: it may have drawn the very atoms from this seed.
        strangers = np.random.default_rng(seed).standard_normal(tuple(x.shape))
        control = _dimensions(
            nearest_by_cosine(torch.from_numpy(strangers.astype(np.float32)), k)[1]
        )
    here, there = (
        format_number(float(np.nanmedian(some)) if np.isfinite(some).any() else np.nan, digits=2)
        for some in (values, control)
    )
    meaning = (
        f"directions that the nearest {what} spread into (median {here}; random {what} {there}"
        f"{how_found(near)})"
    )
    return Column(DIMENSION, meaning, values, log=True)


def distance_column(near: NearDistances) -> Column:
    """Return how far the nearest atom of each is, and which share of the nearest was found."""
    meaning = "cosine distance to the nearest atom"
    words = how_found(near).removeprefix("; ")
    meaning += f" ({words})" if words else ""
    return Column(DISTANCE, meaning, near.distances[:, 0].astype(np.float64))


def how_found(near: NearDistances) -> str:
    """Describe how reliable the nearest points are; nothing if all were compared."""
    if not near.n_tried:
        return ""
    return f"; {format_percent(near.found)} of the nearest found, tried on {near.n_tried}"


def _dimensions(distances: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    chords = torch.from_numpy(distances).double().mul(2).sqrt()
    values = dimension_of_distances(chords).numpy()
    return np.where(distances[:, 0] > SAME, values, np.nan)
