"""How a token is shown, in every figure, table and panel; `tokens.js` does the same in the browser."""

from __future__ import annotations

from collections.abc import Sequence

from sae_nb.checks import checked

_SIGNS = {"\r\n": "↵", "\n": "↵", "\r": "↵", "\t": "⇥"}


def visible_token(token: str, *, bare: bool = False) -> str:
    r"""Show the white space of a token that would otherwise be invisible.

    `bare`: as a word stands alone, without the white space around it, unless there is nothing else.

    >>> [visible_token(t) for t in (" the", "\n", "\t", "", "  ")]
    [' the', '↵', '⇥', '∅', '␣␣']
    >>> [visible_token(t, bare=True) for t in (" the", "\n", " ")]
    ['the', '↵', '␣']
    """
    if bare:
        token = token.strip() or token
    if token.isspace():
        token = token.replace(" ", "␣")
    for space, sign in _SIGNS.items():
        token = token.replace(space, sign)
    return token or "∅"


@checked
def quoted_token(token: str) -> str:
    r"""Write a token in quotes, as a sentence has a word: without the white space around it.

    >>> [quoted_token(t) for t in (" the", "the", " ", "\n")]
    ['“the”', '“the”', '“␣”', '“↵”']
    """
    return f"“{visible_token(token, bare=True)}”"


def quoted_tokens(tokens: Sequence[str]) -> list[str]:
    """Write tokens in quotes; the space before a word is shown where two would read alike.

    >>> quoted_tokens([" the", "cat", " cat"])
    ['“the”', '“cat”', '“ cat”']
    """
    short = [quoted_token(token) for token in tokens]
    return [
        one if short.count(one) == 1 else f"“{visible_token(token)}”"
        for one, token in zip(short, tokens, strict=True)
    ]
