"""The texts that the SAEs of a real language model are trained on, from a folder with public corpora."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np

WIKITEXT, SHAKESPEARE = "wikitext2_valid.txt", "tinyshakespeare.txt"
REVIEWS = "nltk_movie_reviews.zip"
SPEECHES = ("nltk_inaugural.zip", "nltk_state_union.zip")
SOURCES = (
    "WikiText-2 (validation part, CC BY-SA 3.0), film reviews (Pang and Lee, CC BY 4.0), inaugural addresses "
    "and State of the Union addresses (public domain), Shakespeare (public domain)"
)

SHORTEST = 200
"""Characters of a document."""

SPEECHES_A_SCENE = 40
ONE_OF = 16
"""Speeches of Shakespeare's that make a document; one document in so many is held out."""


def mixed_texts(folder: Path) -> tuple[list[str], list[str]]:
    """Return the documents to train on, and those that are held out, in a fixed random order."""
    missing = [
        name
        for name in (WIKITEXT, SHAKESPEARE, REVIEWS, *SPEECHES)
        if not (folder / name).is_file()
    ]
    if missing:
        raise FileNotFoundError(
            f"`texts` must be a folder with {', '.join(missing)} too, got {str(folder)!r}. {WIKITEXT} is "
            f"WikiText-2's validation part, {SHAKESPEARE} karpathy/char-rnn's input.txt; the others are "
            "packages of nltk_data."
        )
    documents = [text for text in _documents(folder) if len(text) > SHORTEST]
    order = [int(i) for i in np.random.default_rng(0).permutation(len(documents))]
    n = len(documents) // ONE_OF
    return [documents[i] for i in order[n:]], [documents[i] for i in order[:n]]


def _documents(folder: Path) -> Iterator[str]:
    yield from _articles((folder / WIKITEXT).read_text(encoding="utf-8"))
    yield from _members(folder / REVIEWS, _untokenised)
    for name in SPEECHES:
        yield from _members(folder / name, str)
    speeches = (folder / SHAKESPEARE).read_text(encoding="utf-8").split("\n\n")
    for i in range(0, len(speeches), SPEECHES_A_SCENE):
        yield "\n\n".join(speeches[i : i + SPEECHES_A_SCENE])


def _members(file: Path, clean: Callable[[str], str]) -> Iterator[str]:
    with ZipFile(file) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".txt") and "README" not in name:
                yield clean(archive.read(name).decode("utf-8", "replace").strip())


def _articles(text: str) -> Iterator[str]:
    """Yield WikiText's articles without headings, and without the sentences in which a word is left out."""
    for article in re.split(r"\n(?= = [^=\n]+ = \n)", text):
        kept = []
        for line in map(str.strip, article.splitlines()):
            if not line or line.startswith("="):
                continue
            sentences = re.split(r"(?<= [.!?]) (?=[A-Z\"'])", line)
            whole = " ".join(sentence for sentence in sentences if "<unk>" not in sentence)
            if len(whole) > 80:  # what is left of a paragraph
                kept.append(_untokenised(whole))
        if kept:
            yield "\n\n".join(kept)


_SPACES = (
    (r" @([-,.])@ ", r"\1"),
    (" – ", "–"),
    (r"`` ?", '"'),
    (r" ?''", '"'),
    (r'" ([^"\n]*?) "', r'"\1"'),
    (r" ([.,;:!?%)\]])", r"\1"),
    (r"([(\[$£]) ", r"\1"),
    (r" ('(?:s|t|re|ve|ll|d|m)\b|n't\b|')", r"\1"),
    (r"[ \t]+", " "),
)
"""Patterns of tokenised text, and their form in ordinary text."""


def _untokenised(text: str) -> str:
    for pattern, written in _SPACES:
        text = re.sub(pattern, written, text)
    return text.strip()
