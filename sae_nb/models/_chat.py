"""Conversations to token ids: rendered by the tokenizer's chat template, with role and turn of every token.

Whose a token is, the template does not say. It is found by rendering message by message: what a message adds
is its own, and what the template writes before an answer, to ask for it, is the template's. So the assistant's
tokens are those that a model writes, the one that ends its turn included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.activations import ROLES

if TYPE_CHECKING:
    from sae_nb.models._live_model import LiveModel


@dataclass(frozen=True, eq=False)
class Conversation:
    """One conversation as the model reads it."""

    ids: Int[Tensor, " time"]
    role: Int[Tensor, " time"]
    """Index into `ROLES`."""

    turn: Int[Tensor, " time"]
    """Number of the message; what the template writes to ask for an answer has that of the answer."""


def is_message(item: Any) -> bool:
    """Return whether it is one message: a mapping with a role and its content."""
    return isinstance(item, Mapping) and "role" in item and "content" in item


def is_conversation(item: Any) -> bool:
    """Return whether it is a list of messages."""
    several = isinstance(item, Sequence) and not isinstance(item, str)
    return several and len(item) > 0 and all(is_message(message) for message in item)


def conversation(
    model: LiveModel, messages: Sequence[Mapping[str, Any]], *, asks: bool = False
) -> Conversation:
    """Render messages; with `asks`, up to where the assistant would begin its answer.

    Raises
    ------
    ValueError: If the tokenizer has no chat template, a message is none, or the template refuses them or writes
        earlier messages otherwise once later ones are there.
    """
    _check(model, messages)
    ids: list[int] = []
    role: list[int] = []
    turn: list[int] = []

    def add(until: Sequence[int], name: str, number: int) -> None:
        new = until[len(ids) :]
        if list(until[: len(ids)]) != ids:
            raise ValueError(
                f"The chat template of {model.name} must write a message alike whatever comes after it, for "
                f"roles to be known, and message {number} changes what is before it. Render the messages "
                "yourself and pass the text."
            )
        ids.extend(new)
        role.extend([ROLES.index(name)] * len(new))
        turn.extend([number] * len(new))

    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            add(_rendered(model, messages[:number], asks=True), "template", number)
        add(_rendered(model, messages[: number + 1]), _name(message), number)
    if asks:
        add(_rendered(model, messages, asks=True), "template", len(messages))
    return Conversation(*(torch.tensor(part, dtype=torch.int64) for part in (ids, role, turn)))


def _name(message: Mapping[str, Any]) -> str:
    return message["role"] if message["role"] in ROLES else "other"


def _rendered(
    model: LiveModel, messages: Sequence[Mapping[str, Any]], *, asks: bool = False
) -> list[int]:
    if not messages:
        return []
    try:
        text = model.tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=asks
        )
    except Exception as error:  # a template raises what it likes
        raise ValueError(
            f"The chat template of {model.name} must take the messages, and refuses them: {error}. Their roles "
            f"are {[message['role'] for message in messages]}."
        ) from error
    # Special tokens are the template's business: it has written them already.
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])


def _check(model: LiveModel, messages: Sequence[Mapping[str, Any]]) -> None:
    if model.tokenizer is None or not getattr(model.tokenizer, "chat_template", None):
        raise ValueError(
            f"Messages need a tokenizer with a chat template, and {model.name} has none. Set "
            "model.tokenizer.chat_template, or pass texts."
        )
    for number, message in enumerate(messages):
        if not all(isinstance(message[key], str) and message[key] for key in ("role", "content")):
            raise ValueError(
                f"A message must have a role and a content, both text that is not empty, and message {number} "
                f"is {dict(message)!r}."
            )
