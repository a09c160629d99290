"""Words that were replaced stay out of what people read: pages, notebooks, claims, definitions, errors."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# The word → what to write instead.
WORDS = {
    r"\btold\b|\btells?\b(?! (a|the|short) stor| us)|\btelling\b": "predict, reconstruct, detect, …",
    r"\b(order|direction|directions|orders) of chance\b": "random order, random directions",
    r"\bas many\b(?! as (you|half))": "the same number of",
    r"\bbeside (its|their|the) (floor|floors|null|control)\b": "with its floor",
    r"\bpictures?\b": "image",
    r"\brandom push|\bpush(es|ed)? (at|hard)\b": "perturbation",
    r"\brebirths?\b|\breborn\b": "resampling",
    r"\bpush-up loss\b": "pre-activation loss",
    r"\bswallow(s|ed|ing)?\b": "absorb",
    r"\b(living|silent) (atom|model|latent)s?\b": "alive, dead, live",
    r"\blisteners?\b": "callback",
    r"\bmake proofs\b|\bproof experiments?\b": "reproduction",
    r"\bready-made\b|\bready_made": "pretrained",
    r"\blie to each other\b": "which are alike",
    r"\bmade good\b": "corrected",
    r"\bstands? for\b": "represents",
}
BANNED = re.compile("|".join(f"(?:{word})" for word in WORDS), re.IGNORECASE)
# Names of files and of things that people type keep theirs.
CODE = re.compile(r"^```.*?^```|`[^`\n]*`|\]\([^)]*\)|<[^>]+>|\{\{.*?\}\}", re.S | re.M)
# They tell of old names, are written by programs, or quote what was measured before.
SPARED = {"upgrade.md", "metrics.md", "reliability.md", "interop.md", "scale.md"}


def _pages() -> Iterator[tuple[str, str]]:
    files = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), ROOT / "notebooks" / "README.md"]
    for file in sorted(files):
        if file.name not in SPARED:
            yield str(file.relative_to(ROOT)), CODE.sub("", file.read_text(encoding="utf-8"))


def _notebooks() -> Iterator[tuple[str, str]]:
    """Prose and comments; the cells' code may use the names that there are."""
    for file in sorted((ROOT / "notebooks").glob("*.py")):
        lines = file.read_text(encoding="utf-8").splitlines()
        prose = "\n".join(line for line in lines if line.startswith("# "))
        yield file.name, CODE.sub("", prose)


def _tables() -> Iterator[tuple[str, str]]:
    """Claims, exercises, definitions."""
    folders = [ROOT / "notebooks" / "sae_nb_lessons", ROOT / "sae_nb"]
    for file in sorted(path for folder in folders for path in folder.rglob("*.toml")):
        texts = _texts(tomllib.loads(file.read_text(encoding="utf-8")))
        yield file.name, "\n".join(texts)


def _texts(table: Any, key: str = "") -> Iterator[str]:
    """Every text of a table, but those that name a number of an artefact."""
    if isinstance(table, dict):
        for name, value in table.items():
            yield from _texts(value, name)
    elif isinstance(table, list):
        for value in table:
            yield from _texts(value, key)
    elif isinstance(table, str) and key not in {"number", "name", "paper"}:
        yield CODE.sub("", table)


def _errors() -> Iterator[tuple[str, str]]:
    """What `raise` says in the library."""
    for file in sorted((ROOT / "sae_nb").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc]
        parts = [part for node in raised for part in ast.walk(node)]
        texts = [part.value for part in parts if isinstance(part, ast.Constant)]
        said = "\n".join(text for text in texts if isinstance(text, str))
        yield str(file.relative_to(ROOT)), CODE.sub("", said)


SOURCES = {"pages": _pages, "notebooks": _notebooks, "tables": _tables, "errors": _errors}


@pytest.mark.parametrize("source", SOURCES)
def test_replaced_words_stay_away(source: str) -> None:
    """Each with where it stands; the list above says what to write instead."""
    read = list(SOURCES[source]())
    assert len(read) > 10
    found = [
        f"{name}: …{text[max(hit.start() - 30, 0) : hit.end() + 30]}…".replace("\n", " ")
        for name, text in read
        for hit in BANNED.finditer(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "planted",
    [
        "No single atom tells it.",
        "with an order of chance",
        "the same, with as many atoms",
        "each beside its floor",
        "Four pictures",
        "dead atoms are reborn",
        "a child swallows its parent",
        "living atoms",
        "a listener is called",
        "Ready-made SAEs",
        "How do concepts lie to each other?",
        "what an atom stands for",
    ],
)
def test_a_planted_word_is_found(planted: str) -> None:
    """One sentence for each kind."""
    assert BANNED.search(planted)


def test_code_and_stories_pass() -> None:
    """Names that people type, and what a language model does."""
    assert not BANNED.search(
        CODE.sub("", "`sn.data.pictures(folder)` and [this](pictures/map.webp)")
    )
    assert not BANNED.search("has learned to tell short stories; as many as you like")
