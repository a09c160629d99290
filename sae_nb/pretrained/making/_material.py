"""What a pretrained SAE is trained on, matched on, judged on and shown with: never the same twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sae_nb.activations import Activations
from sae_nb.data import prose, scenes, stories
from sae_nb.evaluation import Factor
from sae_nb.models import LiveModel
from sae_nb.pretrained.making._factors import scene_factors, story_factors

TRAIN, MATCH, JUDGE, SHOW = 0, 1, 2, 3
"""Purposes; each has samples of its own."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many samples each purpose gets, and prose paragraphs beside stories."""

    samples: tuple[int, int, int, int]
    """Pictures or stories to train on, match on, judge on, show."""

    prose: tuple[int | None, int | None, int | None, int | None] = (0, 0, 0, 0)
    """Paragraphs beside stories; None: all there are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Inputs for one purpose, and what is known of the rows captured from them."""

    inputs: Any
    """What the model reads."""

    words: str
    """What it is, for the card."""

    factors: Callable[[Activations], list[Factor]]
    """Known truths about captured rows."""

    labels: Any = None
    """A class per sample, where the model answers with one."""


def material(model: LiveModel, purpose: int, sizes: Sizes, seed: int) -> Material:
    """Return the inputs of one purpose."""
    own_seed = 1000 * (seed + 1) + purpose
    n = sizes.samples[purpose]
    fresh = purpose in (JUDGE, SHOW)
    if model.kind == "vision":
        pictures = scenes(n, own_seed, "test" if fresh else "train")
        side = "held-out" if fresh else "training"
        return Material(
            inputs=pictures,
            words=f"{n} scenes with {side} handwriting (seed {own_seed})",
            factors=lambda acts: scene_factors(pictures, acts),
            labels=pictures.digit,
        )
    told = stories(n, own_seed)
    paragraphs = _paragraphs(purpose, sizes)
    texts = [*told.texts, *paragraphs]
    return Material(
        inputs=texts,
        words=f"{n} stories (seed {own_seed}) and {len(paragraphs)} paragraphs of "
        f"{'held-out' if fresh else 'training'} prose",
        factors=lambda acts: story_factors(told, n, acts, _starts(model, texts)),
    )


def _paragraphs(purpose: int, sizes: Sizes) -> tuple[str, ...]:
    """Whose turn it is in the prose: matching and training, judging and showing, share no paragraph."""
    found = prose("test" if purpose in (JUDGE, SHOW) else "train").texts
    n = sizes.prose[purpose]
    turn = found[::2] if purpose in (TRAIN, JUDGE) else found[1::2]
    if purpose == TRAIN and n is None:
        return tuple(found)
    return tuple(turn[:n])


def _starts(model: LiveModel, texts: list[str]) -> list[np.ndarray]:
    """Character at which each token of each text begins."""
    encoded = model.tokenizer(texts, return_offsets_mapping=True)
    return [np.array([start for start, _ in spans]) for spans in encoded["offset_mapping"]]
