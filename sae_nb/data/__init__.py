"""Data with known answers, made on the fly from a seed, and readers for pictures and texts people have.

Each name is imported from its room on first use. The rooms are called after ideas (`rendering`,
`handwriting`), because a function and a module may not share a name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.data.blanking import scenes_without_digit
    from sae_nb.data.cifar import Photos, cifar10
    from sae_nb.data.concept_clouds import ConceptClouds, six_gaussians, uneven_dimensions
    from sae_nb.data.corpus import Prose, prose
    from sae_nb.data.drawing import Paper, drawn_scene
    from sae_nb.data.families import planted_families
    from sae_nb.data.grammar import Stories, stories
    from sae_nb.data.handwriting import Digits, digits
    from sae_nb.data.hierarchy import ConceptTree, concept_tree
    from sae_nb.data.hulls import PlantedHulls, planted_hulls
    from sae_nb.data.manifolds import PlantedManifolds, planted_manifolds
    from sae_nb.data.picture_folder import PictureFolder, pictures
    from sae_nb.data.planted import PlantedDictionary, planted_dictionary
    from sae_nb.data.processes import SlowAndFast, growing_rank, slow_and_fast
    from sae_nb.data.rendering import Scenes, scenes
    from sae_nb.data.sparse_inputs import sparse_features
    from sae_nb.data.text_folder import TextFolder, text

_HOME = {
    "ConceptClouds": "concept_clouds",
    "ConceptTree": "hierarchy",
    "Digits": "handwriting",
    "Paper": "drawing",
    "Photos": "cifar",
    "PictureFolder": "picture_folder",
    "PlantedDictionary": "planted",
    "PlantedHulls": "hulls",
    "PlantedManifolds": "manifolds",
    "Prose": "corpus",
    "Scenes": "rendering",
    "SlowAndFast": "processes",
    "Stories": "grammar",
    "TextFolder": "text_folder",
    "cifar10": "cifar",
    "concept_tree": "hierarchy",
    "digits": "handwriting",
    "drawn_scene": "drawing",
    "growing_rank": "processes",
    "pictures": "picture_folder",
    "planted_dictionary": "planted",
    "planted_families": "families",
    "planted_hulls": "hulls",
    "planted_manifolds": "manifolds",
    "prose": "corpus",
    "scenes": "rendering",
    "scenes_without_digit": "blanking",
    "six_gaussians": "concept_clouds",
    "slow_and_fast": "processes",
    "sparse_features": "sparse_inputs",
    "stories": "grammar",
    "text": "text_folder",
    "uneven_dimensions": "concept_clouds",
}

__all__ = [
    "ConceptClouds",
    "ConceptTree",
    "Digits",
    "Paper",
    "Photos",
    "PictureFolder",
    "PlantedDictionary",
    "PlantedHulls",
    "PlantedManifolds",
    "Prose",
    "Scenes",
    "SlowAndFast",
    "Stories",
    "TextFolder",
    "cifar10",
    "concept_tree",
    "digits",
    "drawn_scene",
    "growing_rank",
    "pictures",
    "planted_dictionary",
    "planted_families",
    "planted_hulls",
    "planted_manifolds",
    "prose",
    "scenes",
    "scenes_without_digit",
    "six_gaussians",
    "slow_and_fast",
    "sparse_features",
    "stories",
    "text",
    "uneven_dimensions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has {__all__}.")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
