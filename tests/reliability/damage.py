"""Ways in which a file goes bad, drawn from a seed; none leaves it as it was."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable

PICKLE = pickle.dumps({"atoms": [1, 2, 3]}, protocol=4)
"""A harmless one; nothing may open it all the same."""


def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Name of a damage, and the content after it.

    Parameters
    ----------
    content
        Of the file.
    draw
        Where chance comes from.
    """
    while True:
        name = draw.choice(list(WAYS))
        after = WAYS[name](content, draw)
        if after != content:
            return name, after


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))] if content else content


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 8])):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _flip_early(content: bytes, draw: random.Random) -> bytes:
    """Where headers are: the first 200 bytes decide what the rest means."""
    return _flip(content[:200], draw) + content[200:]


def _blank(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    stop = min(len(content), start + draw.choice([1, 16, 512]))
    return content[:start] + bytes(stop - start) + content[stop:]


def _swap(content: bytes, draw: random.Random) -> bytes:
    a, b, c = sorted(draw.randrange(len(content) + 1) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    a, b = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:b] + content[a:b] + content[b:]


def _drop(content: bytes, draw: random.Random) -> bytes:
    a, b = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:a] + content[b:]


def _noise(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.randbytes(draw.choice([1, 7, 300])) + content[at:]


def _digit(content: bytes, draw: random.Random) -> bytes:
    """Another digit for one that is written out: sizes, offsets and counts of headers and JSON."""
    places = [i for i, byte in enumerate(content[:5000]) if chr(byte).isdigit()]
    if not places:
        return content
    at = draw.choice(places)
    return content[:at] + str(draw.randrange(10)).encode() + content[at + 1 :]


def _word(content: bytes, draw: random.Random) -> bytes:
    """Another value of JSON's in the place of one that is there."""
    old = draw.choice([b"null", b"true", b"[", b"{", b'"', b":", b"0", b"1"])
    new = draw.choice([b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN", b'"x"', b"9" * 40])
    at = content.find(old, draw.randrange(len(content) + 1))
    return content if at < 0 else content[:at] + new + content[at + len(old) :]


WAYS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut short": _cut,
    "bits flipped": _flip,
    "header flipped": _flip_early,
    "zeros written over": _blank,
    "pieces swapped": _swap,
    "a piece twice": _repeat,
    "a piece lost": _drop,
    "noise put in": _noise,
    "a digit changed": _digit,
    "a value changed": _word,
    "emptied": lambda _content, _draw: b"",
    "a pickle instead": lambda _content, _draw: PICKLE,
}
