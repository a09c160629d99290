"""How atoms and rows lie to each other: layouts in the plane, local dimension, nested directions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.geometry.clusters import cluster_points, mean_cosines
    from sae_nb.geometry.layout import LayoutSettings, nearest_by_cosine, pca_layout
    from sae_nb.geometry.local_dimension import local_dimensions, participation_ratio
    from sae_nb.geometry.manifolds import ManifoldCapture, manifold_capture
    from sae_nb.geometry.nested import nested_directions, nested_fraction
    from sae_nb.geometry.ranks import direction_dimension, effective_rank, stable_rank
    from sae_nb.geometry.split_stability import feature_split_stability
    from sae_nb.geometry.two_nn import two_nn_dimension
    from sae_nb.geometry.umap import UmapProcess, start_umap, umap_layout

_HOME = {
    "LayoutSettings": "layout",
    "ManifoldCapture": "manifolds",
    "UmapProcess": "umap",
    "cluster_points": "clusters",
    "direction_dimension": "ranks",
    "effective_rank": "ranks",
    "feature_split_stability": "split_stability",
    "local_dimensions": "local_dimension",
    "manifold_capture": "manifolds",
    "mean_cosines": "clusters",
    "nearest_by_cosine": "layout",
    "nested_directions": "nested",
    "nested_fraction": "nested",
    "participation_ratio": "local_dimension",
    "pca_layout": "layout",
    "stable_rank": "ranks",
    "start_umap": "umap",
    "two_nn_dimension": "two_nn",
    "umap_layout": "umap",
}

__all__ = [
    "LayoutSettings",
    "ManifoldCapture",
    "UmapProcess",
    "cluster_points",
    "direction_dimension",
    "effective_rank",
    "feature_split_stability",
    "local_dimensions",
    "manifold_capture",
    "mean_cosines",
    "nearest_by_cosine",
    "nested_directions",
    "nested_fraction",
    "participation_ratio",
    "pca_layout",
    "stable_rank",
    "start_umap",
    "two_nn_dimension",
    "umap_layout",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has {__all__}.")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
