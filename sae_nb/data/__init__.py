"""Data with known answers, made on the fly from a seed, and readers for pictures people have.

Each name is imported from its room on first use. The rooms are called after ideas (`rendering`,
`handwriting`), because a function and a module may not share a name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.data.cifar import Photos, cifar10
    from sae_nb.data.handwriting import Digits, digits
    from sae_nb.data.picture_folder import PictureFolder, pictures
    from sae_nb.data.planted import PlantedDictionary, planted_dictionary
    from sae_nb.data.rendering import Scenes, scenes

_HOME = {
    "Digits": "handwriting",
    "Photos": "cifar",
    "PictureFolder": "picture_folder",
    "PlantedDictionary": "planted",
    "Scenes": "rendering",
    "cifar10": "cifar",
    "digits": "handwriting",
    "pictures": "picture_folder",
    "planted_dictionary": "planted",
    "scenes": "rendering",
}

__all__ = [
    "Digits",
    "Photos",
    "PictureFolder",
    "PlantedDictionary",
    "Scenes",
    "cifar10",
    "digits",
    "pictures",
    "planted_dictionary",
    "scenes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has {__all__}.")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
