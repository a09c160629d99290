"""Captions of `scenes`, made of their labels by templates: what an image shows, in words that vary."""

from __future__ import annotations

import numpy as np

from sae_nb.checks import Seed, checked
from sae_nb.data._scenes import Scenes

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_COLOURS = (
    ("red", "scarlet"), ("orange", "amber"), ("yellow", "golden"), ("green", "emerald"),
    ("cyan", "turquoise"), ("blue", "azure"), ("pink", "rosy"), ("white", "pale"),
)  # fmt: skip
_TEXTURES = (
    ("horizontal stripes", "level bars"), ("vertical stripes", "upright bars"),
    ("diagonal stripes", "slanting bars"), ("checks", "a chequered ground"),
    ("dots", "a dotted ground"), ("a grid", "crossed lines"), ("waves", "a wavy ground"),
    ("speckles", "a blotchy ground"),
)  # fmt: skip
_POSITIONS = (
    ("at the top left", "in the upper left corner"), ("at the top", "near the upper edge"),
    ("at the top right", "in the upper right corner"), ("at the left", "near the left edge"),
    ("in the centre", "in the middle"), ("at the right", "near the right edge"),
    ("at the bottom left", "in the lower left corner"), ("at the bottom", "near the lower edge"),
    ("at the bottom right", "in the lower right corner"),
)  # fmt: skip
_DISTRACTORS = (("without a disc", "and nothing else"), ("with a disc", "beside a disc"))
_TEMPLATES = (
    "{digit} {position} on {texture} {distractor}",
    "on {texture} there is {digit} {position} {distractor}",
    "{position} stands {digit} {distractor} on {texture}",
    "an image of {digit} {distractor} {position} over {texture}",
)
_N_DRAWS = 6  # uniform numbers that one caption takes


@checked
def captions(scenes: Scenes, seed: Seed = 0) -> list[str]:
    """Describe each image of `scenes` in one sentence without a full stop.

    A caption names all five factors: digit, ink, texture, position, and whether a disc lies about. For
    each there are two wordings, and four orders of words; the choice is uniform and independent of the
    image, so the wording is uninformative about it. Facts without a label (handwriting, tint, noise)
    are in no caption either.

    Parameters
    ----------
    scenes
        Images with their labels.
    seed
        ≥ 0, of the wording. Caption i of a seed is worded the same, however many there are.

    Source
    ------
    Ours.

    Example
    -------
    >>> from sae_nb.data import captions, scenes
    >>> captions(scenes(1, seed=0), seed=1)
    ['on dots there is an azure two in the upper right corner without a disc']
    """
    if not isinstance(scenes, Scenes):
        raise TypeError(
            f"`scenes` must be labelled images of `scenes`, got {type(scenes).__name__}. Make them with "
            "sn.data.scenes(n)."
        )
    draws = np.random.default_rng(seed)
    table = draws.random((len(scenes), _N_DRAWS))
    labels = zip(
        *(
            getattr(scenes, name).tolist()
            for name in ("digit", "colour", "texture", "position", "distractor")
        ),
        strict=True,
    )
    return [_caption(row, *shown) for row, shown in zip(table.tolist(), labels, strict=True)]


def _caption(
    draws: list[float], digit: int, colour: int, texture: int, position: int, distractor: int
) -> str:
    """One sentence; each draw in [0, 1) chooses a wording."""
    ink = _COLOURS[colour][draws[1] >= 0.5]
    number = str(digit) if draws[0] < 0.5 else _DIGITS[digit]
    return _TEMPLATES[int(draws[5] * len(_TEMPLATES))].format(
        digit=f"{'an' if ink[0] in 'aeo' else 'a'} {ink} {number}",
        texture=_TEXTURES[texture][draws[2] >= 0.5],
        position=_POSITIONS[position][draws[3] >= 0.5],
        distractor=_DISTRACTORS[distractor][draws[4] >= 0.5],
    )


def caption_words() -> list[str]:
    """Return every word that a caption can hold, in alphabetical order."""
    phrases = [*_DIGITS, *map(str, range(10)), "an", "a", *_TEMPLATES]
    phrases += [
        p for pairs in (_COLOURS, _TEXTURES, _POSITIONS, _DISTRACTORS) for q in pairs for p in q
    ]
    return sorted({word for p in phrases for word in p.split() if not word.startswith("{")})
