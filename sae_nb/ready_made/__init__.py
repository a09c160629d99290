"""SAEs that are trained already, with examples, coordinates and labels: open, look, steer.

Each is a folder on the shelf, named after its live model and hook point. Nothing here imports umap,
scikit-learn or nnsight, so a demo opens at once; `recipe` is the program that made the folders.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sae_nb.ready_made.class_steering import ClassTrial, ClassTurn
    from sae_nb.ready_made.examples import ExampleStore, SteeredAtom, load_examples
    from sae_nb.ready_made.loading import load_sae
    from sae_nb.ready_made.matching import FactorMatch
    from sae_nb.ready_made.sentiment import neutral_beginnings, story_sentiment
    from sae_nb.ready_made.sentiment_steering import SentimentShift, SentimentTrial
    from sae_nb.ready_made.shelf import ready_made_names

_HOME = {
    "ClassTrial": "class_steering",
    "ClassTurn": "class_steering",
    "ExampleStore": "examples",
    "FactorMatch": "matching",
    "SentimentShift": "sentiment_steering",
    "SentimentTrial": "sentiment_steering",
    "SteeredAtom": "examples",
    "load_examples": "examples",
    "load_sae": "loading",
    "neutral_beginnings": "sentiment",
    "ready_made_names": "shelf",
    "story_sentiment": "sentiment",
}

__all__ = [
    "ClassTrial",
    "ClassTurn",
    "ExampleStore",
    "FactorMatch",
    "SentimentShift",
    "SentimentTrial",
    "SteeredAtom",
    "load_examples",
    "load_sae",
    "neutral_beginnings",
    "ready_made_names",
    "story_sentiment",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It has {__all__}.")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
