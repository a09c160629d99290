"""Names of positions in a sample, the same for what is captured and what is changed; a policy in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

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


# -------------------------------------------------------------------------------------------------
# A policy in words.

_SHOWN = 4  # positions of dropped rows, in a repr
_POSITIONS_IN_WORDS = {
    "last": "of every sample its last token alone",
    "not_first": "without the first token of every sample",
    "cls": "class tokens alone",
    "registers": "registers alone",
    "patches": "patches alone",
}

RECONSTRUCTED = "reconstructed"
"""Entry of a policy: the SAE whose reconstructions the rows are, in place of activations."""


def policy_text(policy: Mapping[str, Any]) -> str:
    """Return a policy in words, short enough for a repr."""
    parts = []
    if policy.get(RECONSTRUCTED):
        parts.append(f"reconstructions by {policy[RECONSTRUCTED]}")
    if policy.get("features") == "channels":
        parts.append("channels are features, positions time")
    if policy.get("features") == "unknown":
        parts.append("features taken from the last axis")
    parts += _of_parts(policy.get("drop_first"), "first tokens dropped")
    if n := policy.get("n_dropped_massive"):
        at = sorted({position for _, position in policy.get("massive_at", ())})
        few = ", ".join(map(str, at[:_SHOWN])) + ", …" * (len(at) > _SHOWN)
        where = f" (at position{'s' * (len(at) > 1)} {few})" if few else ""
        parts.append(f"{n} row{'s' * (n != 1)} of massive norm dropped{where}")
    if policy.get("n_dropped_padding"):
        parts.append("padding dropped")
    if "special_tokens" in policy:
        special = _of_parts(policy.get("keep_special", True), "special tokens kept")
        parts += special or ["special tokens dropped"]
    if policy.get("roles"):
        parts.append(f"roles by rendering {policy['roles']}")
    positions = policy.get("positions", "all")
    if isinstance(positions, list):  # of parts that were put together
        parts.append(f"positions {', '.join(dict.fromkeys(_flat(positions)))}")
    elif positions != "all":
        others = f"of conversations the {positions}'s tokens alone"
        parts.append(_POSITIONS_IN_WORDS.get(positions, others))
    if policy.get("n_dropped_ids"):
        parts.append(f"{policy['n_dropped_ids']} of unwanted tokens dropped")
    if policy.get("truncated"):
        parts.append(f"{policy['truncated']} cut at {policy.get('context_length')} tokens")
    parts += _of_parts(policy.get("packed"), f"packed to {policy.get('context_length')} tokens")
    if policy.get("interventions"):
        parts.append("captured under edits at " + ", ".join(policy["interventions"]))
    if policy.get("interrupted"):
        parts.append("interrupted")
    return ", ".join(parts)


def _of_parts(value: object, words: str) -> list[str]:
    """Words for a setting that holds, in all activations that were put together or in some."""
    flags = list(_flat(value))
    return [words + " in some parts" * (not all(flags))] if any(flags) else []


def _flat(value: object) -> Iterator[Any]:
    """The values of a setting in parts of parts."""
    if not isinstance(value, list):
        yield value
        return
    for one in value:
        yield from _flat(one)
