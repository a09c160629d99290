"""Shorter names for what a script declares: it is sent with every widget.

A name is replaced everywhere by one that the script does not use, so scopes stay as they are. It keeps its
letters if a single use may be anything but that of a variable: a property, a key, a word in braces.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from string import ascii_letters

_NAME = re.compile(r"(?<![\w$.])[A-Za-z_]\w*|(?<=\.\.\.)[A-Za-z_]\w*")
_DECLARED = re.compile(
    r"\b(?:const|let|function) ([A-Za-z_]\w*)"  # a constant, a variable, a function
    r"|\b(?:const|let) \[([\w,]*)\]"  # an array taken apart
    r"|\bfunction \w*\(([\w,]*)\)|\(([\w,]*)\)=>|\b(\w+)=>"  # parameters
)
# A key follows a brace or a comma; what precedes the colon of a choice (`a ? b : c`) is a variable.
_PROPERTY = re.compile(r"(?<!\.)\.([A-Za-z_]\w*)|[{,]\s*([A-Za-z_]\w*) ?:")
_METHOD = re.compile(r"(?<=[{},])([A-Za-z_]\w*)\([^()]*\)\{")
_INSIDE = re.compile(r"\$\{((?:[^{}`]|`[^`]*`)*)\}")
_PAIRS = {"}": "{", "]": "[", ")": "("}
# What a module exports, words of the language, and what pages offer without a dot.
_LEFT = frozenset(
    re.findall(
        r"\w+",
        "render initialize model el name event open close stop find top parent self status length origin "
        "document window undefined null true false this new return typeof void delete in of if else for while "
        "do break continue switch case default try catch finally throw class async await yield function",
    )
)


def short_names(text: str, kept: re.Pattern[str]) -> str:
    """Return a script without blanks with shorter names; `kept` matches its strings, templates and patterns."""
    code = " ".join(_pieces_of_code(text, kept))
    declared = {
        name
        for found in _DECLARED.findall(code)
        for part in found
        for name in part.split(",")
        if name
    }
    other = {name for found in _PROPERTY.findall(code) for name in found}
    other |= set(_METHOD.findall(code)) | set(_words_in_braces(code)) | _LEFT
    uses = Counter(_NAME.findall(code))
    often = sorted(
        (n for n in declared - other if len(n) > 1), key=lambda n: (-uses[n] * len(n), n)
    )
    fresh = (name for name in _names() if name not in uses and name not in other)
    return _renamed(text, dict(zip(often, fresh)), kept)


def _names() -> Iterator[str]:
    for length in (1, 2, 3):
        yield from ("".join(letters) for letters in itertools.product(ascii_letters, repeat=length))


def _pieces_of_code(text: str, kept: re.Pattern[str]) -> Iterator[str]:
    """Yield the code between strings, and the code inside templates."""
    start = 0
    for piece in kept.finditer(text):
        yield text[start : piece.start()] + '""'
        start = piece.end()
        if piece[0].startswith("`"):
            for inside in _INSIDE.findall(piece[0]):
                yield from _pieces_of_code(inside, kept)
    yield text[start:]


def _words_in_braces(code: str) -> Iterator[str]:
    """Yield the names alone between commas in braces: keys as well as variables."""
    open_ones: list[str] = []
    before = ""
    for token in re.finditer(r"\w+|[^\w\s]", code):
        sign = token[0]
        if sign in "{[(":
            open_ones.append(sign)
        elif sign in _PAIRS and open_ones:
            open_ones.pop()
        after = code[token.end() : token.end() + 1]
        if open_ones[-1:] == ["{"] and before in ("{", ",") and after in (",", "}", "="):
            yield sign
        before = sign


def _renamed(text: str, names: Mapping[str, str], kept: re.Pattern[str]) -> str:
    def short(code: str) -> str:
        return _NAME.sub(lambda name: names.get(name[0], name[0]), code)

    done: list[str] = []
    start = 0
    for piece in kept.finditer(text):
        done.append(short(text[start : piece.start()]))
        start = piece.end()
        template = piece[0].startswith("`")
        done.append(
            _INSIDE.sub(lambda inside: f"${{{_renamed(inside[1], names, kept)}}}", piece[0])
            if template
            else piece[0]
        )
    return "".join([*done, short(text[start:])])
