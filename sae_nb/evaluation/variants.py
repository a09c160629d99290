"""The same input said otherwise: small changes under which an effect should stay what it is."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.evaluation.fluency import prompts_of

if TYPE_CHECKING:
    from sae_nb.steered_answers import Answers

Variant = Callable[[Any], Any]
"""All inputs → all inputs, as many and in the same order."""

PREFIXES = ("It was a quiet day.", "This is a story.")
"""Sentences without a target. Ours."""

SHIFT = 2
NOISE = 0.05
DIMMED = 0.7
"""Two of 32 pixels, a twentieth of full scale, seven tenths of the light. Ours."""


def text_variants(
    seed: int = 0,
    *,
    prefixes: Sequence[str] = PREFIXES,
    paraphrase: Callable[[str], str] | None = None,
) -> dict[str, Variant]:
    """Return changes of texts by name: prefix, typo, lower case, and a paraphrase if one is given.

    Parameters
    ----------
    seed
        Of the typos.
    prefixes
        Sentences put before the text, each a variant.
    paraphrase
        Says one text otherwise: a function of your own.

    Example
    -------
    >>> found = text_variants(prefixes=["So."])
    >>> found["prefix 1"](["A dog ran."]), found["lower case"](["A dog ran."])
    (['So. A dog ran.'], ['a dog ran.'])
    """
    found: dict[str, Variant] = {}
    for i, prefix in enumerate(prefixes, start=1):
        found[f"prefix {i}"] = partial(_prefixed, prefix)
    found["typo"] = lambda texts: [with_typo(text, seed + i) for i, text in enumerate(texts)]
    found["lower case"] = lambda texts: [text[:1].lower() + text[1:] for text in texts]
    if paraphrase is not None:
        found["paraphrase"] = lambda texts: [paraphrase(text) for text in texts]
    return found


def _prefixed(prefix: str, texts: Sequence[str]) -> list[str]:
    return [f"{prefix} {text}" for text in texts]


def with_typo(text: str, seed: int) -> str:
    """Return a text with two letters inside one of its longer words exchanged; never in the last word.

    Parameters
    ----------
    text
        At least one word of four letters before the last word, else it comes back as it is.
    seed
        Chooses the word.

    Example
    -------
    >>> with_typo("The little dog sat", 0)
    'The ltitle dog sat'
    """
    words = list(re.finditer(r"[A-Za-z]{4,}", text))
    last = len(text.rstrip().rsplit(" ", 1)[0])
    inside = [word for word in words if word.end() <= last]
    if not inside:
        return text
    chooser = random.Random(seed)  # noqa: S311 - chooses a word, guards no secret
    at = chooser.choice(inside).start() + 1
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def picture_variants(seed: int = 0) -> dict[str, Variant]:
    """Return changes of pictures by name: shifted, noisy, darker, without colour.

    Parameters
    ----------
    seed
        Of the noise.

    Example
    -------
    >>> sorted(picture_variants())
    ['darker', 'grey', 'noise', 'shifted']
    """
    return {
        "shifted": lambda x: torch.roll(_pixels(x), (SHIFT, SHIFT), dims=(-2, -1)),
        "noise": lambda x: _noisy(_pixels(x), seed),
        "darker": lambda x: _scaled(_pixels(x), DIMMED),
        "grey": lambda x: _like(
            _pixels(x), _pixels(x).float().mean(dim=-3, keepdim=True).expand_as(_pixels(x))
        ),
    }


def _pixels(pictures: Any) -> Tensor:
    return torch.as_tensor(getattr(pictures, "images", pictures))


def _like(x: Tensor, values: Float[Tensor, "..."]) -> Tensor:
    """Values of the scale of `x`, as it is written: bytes or floats."""
    top = 1.0 if x.is_floating_point() else 255.0
    held = values.clamp(0, top)
    return held.to(x.dtype) if x.is_floating_point() else held.round().to(x.dtype)


def _scaled(x: Tensor, by: float) -> Tensor:
    return _like(x, x.float() * by)


def _noisy(x: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    top = 1.0 if x.is_floating_point() else 255.0
    return _like(x, x.float() + NOISE * top * torch.randn(x.shape, generator=generator))


def texts_of(runs: Answers, inputs: Any) -> list[str]:
    """Return inputs as texts, by way of the tokens that the model reads.

    Parameters
    ----------
    runs
        Of a language model.
    inputs
        As they were given.
    """
    if isinstance(inputs, Sequence) and all(isinstance(text, str) for text in inputs):
        return list(inputs)
    decode = runs.model.tokenizer.decode
    return [str(decode(ids, skip_special_tokens=True)) for ids in prompts_of(runs)]


def default_variants(kind: str, seed: int) -> Mapping[str, Variant]:
    """Return the variants of a kind of model; none where inputs are plain vectors.

    Parameters
    ----------
    kind
        "language", "vision" or "other".
    seed
        Of typos and noise.
    """
    makers: dict[str, Callable[[int], dict[str, Variant]]] = {
        "language": text_variants,
        "vision": picture_variants,
    }
    return makers[kind](seed) if kind in makers else {}
