"""Which tokens of the states are what: cls, registers, patches of a picture; tokens of a text."""

from __future__ import annotations

from collections.abc import Sequence

from sae_nb.dynamics.states import TOKEN_KINDS


def tokens_of(kinds: Sequence[str], kind: str) -> list[int]:
    """Positions of one kind.

    Parameters
    ----------
    kinds
        Of every token.
    kind
        Which.

    Example
    -------
    >>> tokens_of(["cls", "patch", "patch"], "patch")
    [1, 2]
    """
    return [i for i, one in enumerate(kinds) if one == kind]


def content_tokens(kinds: Sequence[str]) -> list[int]:
    """Positions that carry the input: patches where there are any, else the tokens of a text.

    Parameters
    ----------
    kinds
        Of every token.

    Raises
    ------
    ValueError
        If there is neither.

    Example
    -------
    >>> content_tokens(["cls", "register", "patch", "patch"])
    [2, 3]
    """
    for kind in ("patch", "token"):
        if kind in kinds:
            return tokens_of(kinds, kind)
    raise ValueError(
        f"`token_kinds` must have a patch or a token, got only {sorted(set(kinds))}. Keep the patches "
        "when capturing."
    )


def listed_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """Every kind that occurs, in the order of `TOKEN_KINDS`.

    Parameters
    ----------
    kinds
        Of every token.

    Example
    -------
    >>> listed_kinds(["patch", "cls", "patch"])
    ('cls', 'patch')
    """
    return tuple(kind for kind in TOKEN_KINDS if kind in kinds)
