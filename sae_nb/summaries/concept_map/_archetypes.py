"""Where atoms lie among the archetypes they are mixed from: the layout of an archetypal dictionary.

An atom is a mixture of data points, a_j = Σ_i W_ji c_i with W_ji ≥ 0 and Σ_i W_ji = 1. The K points that
carry most weight become the corners v_1 … v_K of a regular polygon, and the atom lies at
Σ_i W_ji v_i / Σ_i W_ji over those K: for K = 3 the ternary plot of the subcomposition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from sae_nb.checks import check_count

if TYPE_CHECKING:
    from sae_nb.summaries.concept_map._concept_map import ConceptMapSummary


LAYOUT = "archetypes"
N_CORNERS = 3
HELD = "corner weight"
FAINT = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class ArchetypePlaces:
    """Atoms on a polygon of archetypes."""

    xy: Float[np.ndarray, "n_atoms 2"]
    """Where each atom lies; the centre where it has no weight on any corner."""

    corners: Float[np.ndarray, "n_corners 2"]
    """Corners of a regular polygon with radius 1, the first on top."""

    archetypes: Int[np.ndarray, " n_corners"]
    """Which candidate each corner is, that of most weight first."""

    held: Float[np.ndarray, " n_atoms"]
    """Share of each atom's weight that lies on the corners, in [0, 1]."""


def has_archetypes(sae: Any) -> bool:
    """Whether the atoms are known as mixtures of at least three points."""
    mixture = getattr(sae, "mixture", None)
    return isinstance(mixture, torch.Tensor) and mixture.dim() == 2 and mixture.shape[1] >= 3


def archetype_places(sae: Any, n_corners: int = N_CORNERS) -> ArchetypePlaces:
    """Place every atom by its weights on the archetypes that carry most weight.

    With more than three corners different mixtures may share a place, and with any number an atom may have
    most of its weight elsewhere: `held` says how much the corners have of it.
    """
    if not has_archetypes(sae):
        raise ValueError(
            "The layout 'archetypes' needs an SAE whose atoms are mixtures of at least three points, got "
            f"{type(sae).__name__}. Train an `Archetypal`, or choose 'umap' or 'pca'."
        )
    weights = sae.mixture.detach().cpu().double().numpy()
    check_count(n_corners, name="n_corners", at_least=3)
    most = min(12, weights.shape[1])
    if n_corners > most:
        raise ValueError(f"`n_corners` must be at most {most}, got {n_corners}.")
    chosen = np.argsort(-weights.sum(axis=0), kind="stable")[:n_corners]
    angle = np.pi / 2 - 2 * np.pi * np.arange(n_corners) / n_corners
    corners = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    on_corners = weights[:, chosen]
    held = on_corners.sum(axis=1)
    xy = on_corners @ corners / np.where(held > FAINT, held, np.inf)[:, None]
    return ArchetypePlaces(
        xy=xy.astype(np.float32),
        corners=corners.astype(np.float32),
        archetypes=chosen.astype(np.int64),
        held=held.astype(np.float32),
    )


def with_archetypes(record: ConceptMapSummary, sae: Any) -> ConceptMapSummary:
    """Return the record with its polygon and the share of weight it holds, if it is laid out so."""
    from sae_nb.summaries.concept_map._concept_map import Column

    if record.layout != LAYOUT:
        return record
    places = archetype_places(sae)
    column = Column(
        name=HELD, meaning="share of the atom's weight on the corners", values=places.held
    )
    return replace(record, archetypes=places, columns={**record.columns, HELD: column})
