"""Bounds of a client's arguments: few short texts of printable characters, and small numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

MAX_INPUTS = 16
"""Most inputs of one call."""

MAX_CHARACTERS = 4000
"""Most characters of one text."""

MAX_SCENES = 1024
"""Number of scenes that a client may name."""


def text_of(value: Any, *, name: str = "text") -> str:
    """Return a text of printable characters; line breaks and tabs are fine."""
    if not isinstance(value, str):
        raise ValueError(f"`{name}` must be a text, got {type(value).__name__}.")
    if not value.strip():
        raise ValueError(f"`{name}` must have characters, got an empty text.")
    if len(value) > MAX_CHARACTERS:
        raise ValueError(
            f"`{name}` must have at most {MAX_CHARACTERS} characters, got {len(value)}. Send a part of it."
        )
    strange = next(
        (c for c in value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\r\t"), None
    )
    if strange is not None:
        raise ValueError(
            f"`{name}` must have no control characters, got U+{ord(strange):04X}. Send plain text."
        )
    return value


def inputs_of(inputs: Any, *, text: bool, name: str = "inputs") -> Any:
    """Return texts for a language model, or pictures by their numbers for any other."""
    if not isinstance(inputs, Sequence) or isinstance(inputs, str) or not inputs:
        raise ValueError(
            f"`{name}` must be a list of {'texts' if text else 'numbers'}, got {inputs!r:.40}."
        )
    if len(inputs) > MAX_INPUTS:
        raise ValueError(f"`{name}` must be at most {MAX_INPUTS}, got {len(inputs)}. Send fewer.")
    if text:
        return [text_of(one, name=f"{name}[{i}]") for i, one in enumerate(inputs)]
    import torch

    from sae_nb.data import scenes

    numbers = [
        number_of(one, 0, MAX_SCENES - 1, name=f"{name}[{i}]") for i, one in enumerate(inputs)
    ]
    drawn = scenes(max(numbers) + 1, seed=0, split="test").images
    return drawn[torch.tensor(numbers)]


def number_of(value: Any, low: int, high: int, *, name: str) -> int:
    """Return a whole number between two others."""
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"`{name}` must be a whole number, got {value!r:.40}.")
    if not low <= number <= high:
        raise ValueError(f"`{name}` must be from {low} to {high}, got {number}.")
    return number
