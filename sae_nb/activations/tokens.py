"""Texts of tokens: a character belongs to the token in which it begins.

Tokenizers cut text anywhere: between the bytes of an emoji, between a letter and its accent, between
the parts of a joined family. Drawn one by one such pieces are nonsense, or hang on the wrong letter.
Here every character (with all that joins it) is written where it begins, and a token in which none
begins is written as nothing of no width. There is one text per token, so positions stay true. A byte
that is no character alone is written as its number, "<0xE4>", as sentencepiece does: in the letters of
byte-level vocabularies it could not be told from a true "ä".

For builders of panels and studies: `token_texts` of ids, or `describe_ids` one by one, `join_tokens` to
a text again; `texts_to_draw`, `is_special` and `CONTINUED` for what is drawn.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

IMAGE = "[image]"
"""Display of an image among the tokens of a text."""

CONTINUED = "\u2060"
"""Display of a token in which no character begins: it has no width, breaks no line, and lets Arabic
letters on both sides join.
"""

# How tokenizers write tokens that represent no text; used only to draw them quietly.
SPECIAL = re.compile(
    r"<\|.+\|>|\[(CLS|SEP|PAD|MASK|UNK|BOS|EOS)\]|<(s|/s|pad|bos|eos|cls|sep|unk|mask)>"
)
REACH = 32
"""Tokens a character may be spread over: a joined family of four emoji is 25 bytes."""

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# Byte of each letter in which byte-level tokenizers write bytes (GPT-2's table).
_PLAIN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PLAIN]
_BYTE_OF_LETTER = {chr(byte): byte for byte in _PLAIN}
_BYTE_OF_LETTER |= {chr(256 + i): byte for i, byte in enumerate(_OTHERS)}
_JOINER = "\u200d"
_NON_JOINER = "\u200c"
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))


@lru_cache(maxsize=4096)
def is_special(token: str) -> bool:
    """Return whether a token represents no text."""
    return SPECIAL.fullmatch(token) is not None


def describe_ids(tokenizer: Any, ids: Iterable[int]) -> dict[int, str]:
    """Return the text of every id, spaces included, one token at a time; a byte without text as its number.

    A sentencepiece tokenizer drops the leading space of one token, so its marker is translated by hand.
    """
    names: dict[int, str] = {}
    for token_id in ids:
        piece = tokenizer.convert_ids_to_tokens([token_id])[0]
        if piece is None:
            names[token_id] = f"<id {token_id}>"
        elif "▁" in piece:
            names[token_id] = piece.replace("▁", " ")
        else:
            text = tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
            names[token_id] = text if text and "�" not in text else spelled(piece)
    return names


def token_texts(tokenizer: object, ids: Sequence[int]) -> list[str]:
    """Return the texts of neighbouring tokens: a character is in the token in which it begins."""
    names = describe_ids(tokenizer, set(ids))
    return texts_to_draw([names[i] for i in ids])


def join_tokens(texts: Sequence[str], whole: Sequence[str] = ()) -> str:
    """Return the text of neighbouring tokens, with spaces where the tokenizer keeps none."""
    texts = [text for text in texts if text != CONTINUED]
    if any(text[:1].isspace() for text in (*texts, *whole)):
        return "".join(texts)
    return " ".join(texts).replace(" ##", "")


def texts_to_draw(tokens: Sequence[str], *, letters: bool = False) -> list[str]:
    """Return the texts to draw for neighbouring tokens; `letters`: bytes may be written as letters."""
    texts = _with_bytes_joined(tokens, letters)
    return _with_characters_joined(texts, [is_special(token) for token in tokens])


def needs_neighbours(name: str) -> bool:
    """Return whether what a token shows may depend on the tokens next to it."""
    return not name.isascii() or _BYTE.search(name) is not None


def whole_at(texts: Sequence[str], place: int) -> str:
    """Return the text at a place; in which no character begins, that of the character it goes on."""
    while place > 0 and texts[place] == CONTINUED:
        place -= 1
    return texts[place]


# --- bytes ----------------------------------------------------------------------------------------


def _numbered(error: UnicodeError) -> tuple[str, int]:
    """Write bytes that are no characters as numbers."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("sae_nb.numbered", _numbered)


def spelled(piece: str) -> str:
    """Return the text of a piece of a byte-level vocabulary, bytes that are no characters as numbers.

    >>> spelled("Ġä¸"), spelled("plain")
    (' <0xE4><0xB8>', 'plain')
    """
    if any(letter not in _BYTE_OF_LETTER for letter in piece):
        return piece
    return bytes(map(_BYTE_OF_LETTER.__getitem__, piece)).decode(errors="sae_nb.numbered")


def content_of(name: str) -> bytes:
    """Return the bytes of a token by its name, in which some may be written as numbers."""
    parts = _BYTE.split(name)  # by turns a text and a number
    return b"".join(
        bytes([int(part, 16)]) if i % 2 else part.encode() for i, part in enumerate(parts)
    )


@lru_cache(maxsize=4096)
def _incomplete(token: str, letters: bool) -> bytes | None:
    """Return bytes of a token that is not a text of its own; None for one that is."""
    if _BYTE.search(token):
        return content_of(token)
    if not letters or not token or any(letter not in _BYTE_OF_LETTER for letter in token):
        return None
    content = bytes(_BYTE_OF_LETTER[letter] for letter in token)
    return None if _decodes(content) else content


def _decodes(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _with_bytes_joined(tokens: Sequence[str], letters: bool) -> list[str]:
    texts = list(tokens)
    parts = [_incomplete(token, letters) for token in tokens]
    start = 0
    while start < len(parts):
        if parts[start] is None:
            start += 1
            continue
        text, lengths = _shortest_text(parts[start : start + REACH])
        if text is not None:
            texts[start : start + len(lengths)] = _shared_out(text, lengths)
        start += len(lengths)
    return texts


def _shortest_text(parts: Sequence[bytes | None]) -> tuple[str | None, list[int]]:
    """Text of the fewest tokens, from the first on, whose bytes are whole characters, and the bytes of each.

    True text may look like bytes (an "ð" alone): such a token is left as it is, and the next one is asked.
    """
    content = b""
    lengths: list[int] = []
    for part in parts:
        if part is None:
            break
        content += part
        lengths.append(len(part))
        text = _decodes(content)
        if text is not None:
            return text, lengths
    return None, [1]


def _shared_out(text: str, lengths: Sequence[int]) -> list[str]:
    """Give each character of a text to the token that holds its first byte."""
    owner = [i for i, length in enumerate(lengths) for _ in range(length)]
    out, at = [""] * len(lengths), 0
    for character in text:
        out[owner[at]] += character
        at += len(character.encode())
    return [piece or CONTINUED for piece in out]


# --- characters of several code points ------------------------------------------------------------


def _with_characters_joined(texts: Sequence[str], special: Sequence[bool]) -> list[str]:
    out = list(texts)
    if all(map(str.isascii, texts)):  # nothing of ASCII joins what comes before it
        return out
    home, before = -1, ""
    for i, text in enumerate(texts):
        if special[i] or not text or text == CONTINUED:
            home, before = (-1, "") if special[i] else (home, before)
            continue
        taken = 0  # characters at the start of this text that join what comes before
        while home >= 0 and taken < len(text) and _joins(before + text[:taken], text[taken]):
            taken += 1
        if taken:
            out[home] += text[:taken]
            out[i] = text[taken:] or CONTINUED
        before = (before + text)[-4:]
        home = i if taken < len(text) else home
    return out


def _joins(before: str, character: str) -> bool:
    if not before or before[-1].isspace():
        return False
    if unicodedata.category(character) in ("Mn", "Mc", "Me"):
        return True
    if character in (_JOINER, _NON_JOINER) or 0x1160 <= ord(character) <= 0x11FF:
        return True
    if 0x1F3FB <= ord(character) <= 0x1F3FF or 0xE0020 <= ord(character) <= 0xE007F:
        return True
    if character in _FLAG_LETTERS:  # two of them make a flag
        return (len(before) - len(before.rstrip(_FLAG_LETTERS))) % 2 == 1
    return before[-1] == _JOINER and ord(character) > 0x2000
