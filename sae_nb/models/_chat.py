"""Conversations to token ids: rendered by the tokenizer's chat template, with role and turn of every token.

Whose a token is, the template does not say. It is found by what changes in the rendering when one message
does: those are its words, and the markers that begin and end a turn of its role go with them. The rest is the
template's: what it adds of its own, and what it writes to ask for an answer. So the assistant's tokens are
those that a model writes, the one that ends its turn included. A system turn that the template puts in front
of messages without one is the system's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sae_nb.activations._context import ROLES
from sae_nb.checks import warn_caller

if TYPE_CHECKING:
    from sae_nb.models._interface import Reads

Message = Mapping[str, Any]
Render = Callable[[Sequence[Message]], str]


@dataclass(frozen=True, eq=False)
class Conversation:
    """One conversation as the model reads it."""

    ids: Int[Tensor, " time"]
    role: Int[Tensor, " time"]
    """Index into `ROLES`."""

    turn: Int[Tensor, " time"]
    """Number of the message; what the template writes before one, or to ask for one, has its number."""


def is_message(item: object) -> TypeGuard[Message]:
    """Return whether it is one message: a mapping with a role and its content."""
    return isinstance(item, Mapping) and "role" in item and "content" in item


def is_conversation(item: object) -> TypeGuard[Sequence[Message]]:
    """Return whether it is a list of messages."""
    if not isinstance(item, Sequence) or isinstance(item, str):
        return False
    return len(item) > 0 and all(is_message(message) for message in item)


def conversation(model: Reads, messages: Sequence[Message], *, asks: bool = False) -> Conversation:
    """Render messages; with `asks`, up to where the assistant continues its message or begins its answer."""
    _check(model, messages)
    begun = asks and messages[-1]["role"] == "assistant"
    whole = partial(_rendered, model, asks=asks and not begun, begun=begun)
    text = whole(messages)
    said = _with_inserted(whole, messages, text)
    owner = np.zeros((2, len(text)), dtype=np.int64)  # role and turn of every character
    end = 0
    for index, start, stop in _turns(model, whole, said, text):
        role = said[index]["role"]
        owner[0, start:stop] = ROLES.index(role if role in ROLES else "other")
        owner[1, end:] = max(index + len(messages) - len(said), 0)
        end = stop
    if asks and not begun:
        owner[1, end:] = len(messages)
    # Special tokens are the template's business: it has written them already.
    how = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
    read = model.tokenizer(text, **how)
    columns = [_of_token(owner[:, min(a, b - 1) : b]) for a, b in read["offset_mapping"]]
    roles, turns = torch.tensor(columns, dtype=torch.int64).reshape(-1, 2).T
    return Conversation(torch.tensor(read["input_ids"], dtype=torch.int64), roles, turns)


def _of_token(owner: Int[np.ndarray, "2 n"]) -> list[int]:
    """Return role and turn of a token; one with characters of a role and of the template is the role's."""
    said = owner[0].nonzero()[0]
    return [*map(int, owner[:, said[-1] if len(said) else -1])] if owner.size else [0, 0]


def _turns(
    model: Reads, whole: Render, said: Sequence[Message], text: str
) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of every turn in a text, its markers included where they are known."""
    render = partial(_tried, model)
    end, is_known = 0, False  # of the turn before
    for index, message in enumerate(said):
        before, after = said[:index], said[index + 1 :]
        others = [whole([*before, one, *after]) for one in _reworded(message)]
        if others[0] == others[1]:
            warn_caller(
                f"The chat template of {model.name} leaves out a message of {message['role']!r}, which begins "
                f"{message['content'][:20]!r}: it is not read."
            )
            continue
        start, stop = _changed(text, *others)
        # What closes a turn where it is the last closes it anywhere.
        closed = [render([*before, one]) for one in _reworded(message)]
        marker = closed[0][_changed(*closed)[1] :]
        closes = closed[0] != closed[1] and text.startswith(marker, stop)
        if not end:
            start = _opening(model, message, text, start, closes)
        elif is_known and message["role"] == "assistant":
            asked = render(before, asks=True).removeprefix(render(before))
            start = end + len(asked) if text.startswith(asked, end) else start
        elif is_known:
            start = end
        end, is_known = stop + len(marker) * closes, closes
        yield index, start, end


def _opening(model: Reads, message: Message, text: str, words: int, closes: bool) -> int:
    """Return where the first turn of a text begins: at the marker that opens its role later, or its words."""
    role, system = message["role"], message["role"] == "system"
    if role == "assistant":
        return words  # what is before them asks for them
    asked = [{"role": "user", "content": "q"}]
    for earlier in (asked, [*asked, {"role": "assistant", "content": "q"}]):
        until = _tried(model, earlier)
        later = [_tried(model, [*earlier, one]) for one in _reworded(message)]
        if until and later[0] != later[1] and later[0].startswith(until):
            marker = later[0][len(until) : _changed(*later)[0]].lstrip()
            # A template may add to a system turn, between its marker and the words.
            at = text.rfind(marker, 0, words) if system else words - len(marker)
            if marker and at >= 0 and text.startswith(marker, at):
                return at
    begin = model.tokenizer.bos_token or ""
    return len(begin) * text.startswith(begin) if system and closes else words


def _with_inserted(whole: Render, messages: Sequence[Message], text: str) -> Sequence[Message]:
    """Return the messages, after the system's if the template puts it in front of them."""
    if messages[0]["role"] == "system":
        return messages
    system = {"role": "system", "content": ""}
    try:
        first, second = (whole([one, *messages]) for one in _reworded(system))
    except ValueError:  # no system in this template
        return messages
    start, stop = _changed(first, second)
    rest = len(first) - stop
    if first == second or len(text) < start + rest:
        return messages
    inserted = {"role": "system", "content": text[start : len(text) - rest]}
    return [inserted, *messages] if whole([inserted, *messages]) == text else messages


def _reworded(message: Message) -> list[Message]:
    """Return a message with other words: two, since its own may begin or end like one of them."""
    return [{**message, "content": words} for words in ("q", "z")]


def _changed(text: str, *others: str) -> tuple[int, int]:
    """Return where a text begins and ends to differ from others."""
    reverse = [one[::-1] for one in (text, *others)]
    return _alike(text, *others), len(text) - _alike(*reverse)


def _alike(*texts: str) -> int:
    """Return the number of characters with which all of some texts begin."""
    first, last = min(texts), max(texts)  # between them all others lie
    return next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), len(first))


def _tried(model: Reads, messages: Sequence[Message], *, asks: bool = False) -> str:
    """Return messages as rendered, nothing where the template refuses them."""
    try:
        return _rendered(model, messages, asks=asks)
    except ValueError:
        return ""


def _rendered(
    model: Reads, messages: Sequence[Message], *, asks: bool = False, begun: bool = False
) -> str:
    try:
        text: str = model.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=asks,
            continue_final_message=begun,
        )
    except Exception as error:  # a template raises what it likes
        raise ValueError(
            f"The chat template of {model.name} must take the messages, and refuses them: {error}. Their roles "
            f"are {[message['role'] for message in messages]}."
        ) from error
    return text


def _check(model: Reads, messages: Sequence[Message]) -> None:
    if model.tokenizer is None or not getattr(model.tokenizer, "chat_template", None):
        raise ValueError(
            f"Messages need a tokenizer with a chat template, and {model.name} has none. Set "
            "model.tokenizer.chat_template, or pass texts."
        )
    if not getattr(model.tokenizer, "is_fast", False):
        raise ValueError(
            f"Messages need a fast tokenizer, which gives the place of each token in a text, and {model.name} "
            "has none. Pass ids, without roles: model.tokenizer.apply_chat_template(messages)."
        )
    for number, message in enumerate(messages):
        if not all(isinstance(message[key], str) and message[key] for key in ("role", "content")):
            raise ValueError(
                f"A message must have a role and a content, both text that is not empty, and message {number} "
                f"is {dict(message)!r}. Leave it out, or give it words."
            )
