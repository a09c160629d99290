"""Names of positions in a sample: the same words for what is captured and for what is changed."""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Bool, Int
from torch import Tensor

NamedPositions = Literal[
    "all", "last", "not_first", "cls", "registers", "patches", "system", "user", "assistant", "tool"
]
"""Of images the tokens before the patches, and the patches; of conversations who wrote a token."""

NAMED_POSITIONS: tuple[NamedPositions, ...] = get_args(NamedPositions)
ROLE_POSITIONS = NAMED_POSITIONS[-4:]
_NEEDED = {"cls": 1, "registers": 2, "patches": 1}
"""Tokens before the patches that a model must have for a name to mean something."""


def check_named_position(name: NamedPositions, prefix_tokens: int) -> None:
    """Refuse the name of a token that a model does not have."""
    if prefix_tokens < _NEEDED.get(name, 0):
        tokens = "a class token and registers" if name == "registers" else "a class token"
        raise ValueError(
            f'`positions="{name}"` must be of a model with {tokens} before the patches, got one with '
            f"prefix_tokens={prefix_tokens}. Choose by number: positions=0 where it is changed, "
            "acts[acts.position == 0] of what was captured."
        )


def named_mask(
    name: NamedPositions, position: Int[Tensor, "*places"], prefix_tokens: int
) -> Bool[Tensor, "*places"]:
    """Return which positions have a name that depends on the position alone."""
    if name == "not_first":
        return position > 0
    if name == "patches":
        return position >= prefix_tokens
    first = 1 if name == "registers" else 0
    return (position >= first) & (position < (prefix_tokens if first else min(prefix_tokens, 1)))
