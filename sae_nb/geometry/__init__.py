"""How atoms and rows lie to each other: layouts in the plane, local dimension, nested directions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.geometry.layout import LayoutSettings, nearest_by_cosine, pca_layout
    from sae_nb.geometry.local_dimension import local_dimensions, participation_ratio
    from sae_nb.geometry.nested import nested_directions, nested_fraction
    from sae_nb.geometry.umap import UmapProcess, start_umap, umap_layout

_HOME = {
    "LayoutSettings": "layout",
    "UmapProcess": "umap",
    "local_dimensions": "local_dimension",
    "nearest_by_cosine": "layout",
    "nested_directions": "nested",
    "nested_fraction": "nested",
    "participation_ratio": "local_dimension",
    "pca_layout": "layout",
    "start_umap": "umap",
    "umap_layout": "umap",
}

__all__ = [
    "LayoutSettings",
    "UmapProcess",
    "local_dimensions",
    "nearest_by_cosine",
    "nested_directions",
    "nested_fraction",
    "participation_ratio",
    "pca_layout",
    "start_umap",
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
