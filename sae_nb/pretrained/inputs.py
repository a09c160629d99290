"""Inputs of a pretrained SAE by purpose: to train on, to match atoms with factors, to judge, to show.

For builders of recipes: a recipe trains and judges on what is drawn here, and a transcoder's examples are
drawn here again when they are opened.
"""

from __future__ import annotations

from dataclasses import dataclass

from sae_nb.activations._modality import AUDIO
from sae_nb.data import Scenes, Sounds, prose, scenes, sounds, stories
from sae_nb.models import LiveModel

TRAIN, MATCH, JUDGE, SHOW = 0, 1, 2, 3
"""Purposes; each has samples of its own, never the same twice."""
FRESH = (JUDGE, SHOW)
"""Purposes whose handwriting and prose are held out."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Number of samples for each purpose, and of prose paragraphs in addition to stories."""

    samples: tuple[int, int, int, int]
    prose: tuple[int | None, int | None, int | None, int | None] = (0, 0, 0, 0)
    """Images or stories to train on, match on, judge on, show; paragraphs likewise, None is all."""


def seed_of(purpose: int, seed: int) -> int:
    """Return the seed of the samples of one purpose."""
    return 1000 * (seed + 1) + purpose


def inputs_of(
    model: LiveModel, purpose: int, sizes: Sizes, seed: int
) -> Scenes | Sounds | list[str]:
    """Return the inputs of one purpose: scenes, sounds, or stories and then paragraphs of prose."""
    n, own_seed = sizes.samples[purpose], seed_of(purpose, seed)
    if model.modality.is_image:
        return scenes(n, own_seed, "test" if purpose in FRESH else "train")
    if model.modality == AUDIO:
        return sounds(n, own_seed)
    return [*stories(n, own_seed).texts, *_paragraphs(purpose, sizes)]


def _paragraphs(purpose: int, sizes: Sizes) -> tuple[str, ...]:
    """Whose turn it is in the prose: matching and training, judging and showing, share no paragraph."""
    texts = prose("test" if purpose in FRESH else "train").texts
    n = sizes.prose[purpose]
    if purpose == TRAIN and n is None:
        return tuple(texts)
    turn = texts[::2] if purpose in (TRAIN, JUDGE) else texts[1::2]
    return tuple(turn[:n])
