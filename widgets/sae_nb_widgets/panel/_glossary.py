"""Words of the field that panels use, in plain ones: under the answer, under "help" and on the facts behind
"about"; keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sae_nb.figures.theme import escape

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

AN_ATOM = (
    "An atom is a pattern that the SAE (sparse autoencoder) found inside the model: a direction in its "
    "activations. It fires on inputs that have it."
)
"""For who has never seen one: a line under the question of panels that show atoms."""

WRITTEN_ELSEWHERE = (
    "An atom is a pattern that the transcoder found: it fires on inputs that have it at one place of the "
    "model, and adds a direction at another."
)
SEVERAL_PLACES = (
    "An atom is a pattern that the {kind} found: one direction at each of {n} places, of one model or of "
    "several. It fires on inputs that have it."
)


def an_atom(sae: SparseAutoencoder | None) -> str:
    """Return what an atom of this dictionary is, in a line."""
    if getattr(sae, "writes", None) is not None:
        return WRITTEN_ELSEWHERE
    if sae is not None and getattr(sae, "by_site", False):
        return SEVERAL_PLACES.format(kind=type(sae).__name__, n=len(sae.sites))
    return AN_ATOM


GLOSSARY = {
    "atom": "a direction in the model's states (of pixels: a picture); it fires where a state has some of it",
    "push": "a direction that is added to the model's states",
    "head": "a part of a block that looks at other tokens",
    "neuron": "a unit inside a block, which some inputs switch on",
    "MP": "matching pursuit: takes the atom that fits best, then the next",
    "strength": "how much of an atom a state has; formulas call it z, and the SAE adds z times the atom",
    "SAE": "sparse autoencoder, which writes each state of the model as a sum of few atoms",
    "hook point": "the place in the model whose states are read or changed",
    "token": "a piece of text, often part of a word",
    "patch": "one of the small squares that an image is cut into",
    "cls": "a position without a patch, which sums up the whole image",
    "register": "a position without a patch, which the model uses as scratch space",
    "cosine": "how alike two directions are: 1 the same, 0 unrelated, −1 opposite",
    "logit": "the score of an answer before it becomes a probability",
    "L0": "how many atoms are active at a position, on average",
    "R²": "share of the variance of the states that the SAE explains",
    "KL": "how far all answers together move, in nats",
}


_OCCURS = {word: re.compile(rf"(?<!\w){re.escape(word)}(?:e?s)?(?!\w)") for word in GLOSSARY}


def words_in(texts: Iterable[str]) -> dict[str, str]:
    """Return the words of the glossary that occur in any of `texts`, with their meanings."""
    text = " ".join(texts)
    return {word: meaning for word, meaning in GLOSSARY.items() if _OCCURS[word].search(text)}


QUOTED = re.compile(r"“[^”]*”|<[^>]*>")
"""Words of the data, which are no words of the field, and tags."""

MOST_EXPLAINED = 3


def first_words(texts: Iterable[str]) -> str:
    """Return the first words of the glossary in texts, the ones that are read first, with their meanings.

    >>> first_words(["“head” fires", "an MP"])
    'MP: matching pursuit: takes the atom that fits best, then the next'
    """
    text = QUOTED.sub(" ", " · ".join(texts))
    found = [(hit.start(), word) for word, one in _OCCURS.items() if (hit := one.search(text))]
    return " · ".join(f"{word}: {GLOSSARY[word]}" for _, word in sorted(found)[:MOST_EXPLAINED])


def first_words_html(words: str) -> str:
    """Return those words as escaped HTML: the first in a line, the others folded behind it.

    >>> first_words_html("atom: a direction · MP: matching pursuit")
    '<details><summary>atom: a direction <u>MP …</u></summary><div>MP: matching pursuit</div></details>'
    """
    first, _, others = words.partition(" · ")
    if not others:
        return escape(words)
    named = ", ".join(one.partition(":")[0] for one in others.split(" · "))
    return (
        f"<details><summary>{escape(first)} <u>{escape(named)} …</u></summary>"
        f"<div>{escape(others)}</div></details>"
    )


def words_html(texts: Iterable[str]) -> str:
    """Return those words as one escaped paragraph; nothing where there is none."""
    entries = "; ".join(
        f"<b>{escape(word)}</b>: {escape(meaning)}" for word, meaning in words_in(texts).items()
    )
    return f"<p>{entries}.</p>" if entries else ""


KEYS = {
    "ArrowLeft": ("←", "back"),
    "ArrowRight": ("→", "on"),
    "ArrowUp": ("↑", "up"),
    "ArrowDown": ("↓", "down"),
    "Home": ("Home", "to the start"),
    "End": ("End", "to the end"),
    "Enter": ("Enter", "open the atom"),
    "Escape": ("Esc", "clear"),
    "s": ("s", "keep the atom, or no longer"),
    "p": ("p", "pin"),
    " ": ("Space", "play or pause"),
    "/": ("/", "search"),
}


def keys_html(answered: Iterable[str]) -> str:
    """Return the keys that a panel answers, with what they do, as one paragraph."""
    known = [KEYS[key] for key in KEYS if key in set(answered)]
    said = ", ".join(f"<kbd>{escape(key)}</kbd> {escape(does)}" for key, does in known)
    return f"<p><b>Keys</b> in the panel: {said}.</p>" if known else ""
