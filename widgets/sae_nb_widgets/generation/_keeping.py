"""The kept state of a GenerationLens: branches in plain numbers, messages and the content of the box."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from sae_nb.checks import check_count, check_real, one_of, shown
from sae_nb.generation import Generation
from sae_nb.steering.modes import UNITS, USUAL

FIRST = (0.0, USUAL)
"""Of the text itself, to which nothing is added."""

Strength = tuple[float, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """The text at the time of the snapshot."""

    branches: Sequence[Mapping[str, Any]] = ()
    strengths: Sequence[Strength] = (FIRST,)
    """Amount that each branch adds, as it was chosen."""

    shown: tuple[int, int] = (0, -1)
    """Branch and token."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Kept:
        """Read it off a state, where it is there."""
        branches = state.get("branches", [])
        if not isinstance(branches, Sequence) or not all(isinstance(b, Mapping) for b in branches):
            raise ValueError(
                f"`branches` must be a list of branches as they were kept, got {shown(branches)}. Take it from "
                "the state of a panel."
            )
        if not branches:
            return NOTHING_KEPT
        last, place = len(branches) - 1, state.get("shown", (0, -1))
        if not isinstance(place, list | tuple) or len(place) != 2:
            raise ValueError(
                f"`shown` must be a branch and a token, got {shown(place)}. Take it from the state of a panel."
            )
        branch, token = place
        return cls(
            branches=[{k: one.get(k) for k in ("rows", "fork")} for one in branches],
            strengths=[_strength(one) for one in branches],
            shown=(
                check_count(branch, name="the branch shown", at_least=0, at_most=last),
                check_count(token, name="the token shown", at_least=-1),
            ),
        )


NOTHING_KEPT = Kept()


def _strength(one: Mapping[str, Any]) -> Strength:
    number, unit = one.get("strength", FIRST[0]), one.get("unit", FIRST[1])
    return check_real(number, name="a strength"), one_of(unit, UNITS, name="a unit")


def kept_branches(generation: Generation, strengths: Sequence[Strength]) -> list[dict[str, Any]]:
    """Return every branch ready for JSON, with its strength as it was chosen."""
    return [
        {**one, "strength": float(number), "unit": unit}
        for one, (number, unit) in zip(generation.saved(), strengths, strict=True)
    ]


def kept_picture(picture: Tensor | None) -> str | None:
    """Return an image as text, ready for JSON."""
    if picture is None:
        return None
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def read_picture(kept: str | None) -> bytes | None:
    """Return the file of an image that was kept."""
    return None if kept is None else base64.b64decode(kept)


def whole_message(message: Mapping[str, Any]) -> dict[str, str]:
    """Return a message as plain text, if it has a role and a content."""
    role, content = (message.get(name) for name in ("role", "content"))
    if not all(isinstance(part, str) and part for part in (role, content)):
        raise ValueError(
            f"A message must have a role and a content, both text that is not empty, got {shown(message)}. "
            'Write {"role": "user", "content": "…"}.'
        )
    return {"role": str(role), "content": str(content)}


def split_prompt(prompt: str | Sequence[Mapping[str, str]]) -> tuple[list[dict[str, str]], str]:
    """Return the messages before what is typed in the box, and that: the user's last message."""
    if isinstance(prompt, str):
        return [], prompt
    messages = [dict(message) for message in prompt]
    if messages and messages[-1].get("role") == "user" and messages[-1].get("content"):
        return messages[:-1], messages[-1]["content"]
    return messages, ""


def whole_prompt(messages: list[dict[str, str]], box: str) -> str | list[dict[str, str]]:
    """Return messages and box as a prompt; the box alone without messages, "" where there is nothing."""
    said = box.strip()
    if not messages:
        return box if said else ""
    return [*messages, *([{"role": "user", "content": box}] if said else [])]
