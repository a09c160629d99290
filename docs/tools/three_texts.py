"""The three texts of the home page: a run of SmolLM2-135M that docs/make_hero.py recorded, word by word."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parents[1] / "hero.json"
CLICKED = " teacher"
WORDS = {
    "turned up": "with “school” turned up",
    "untouched": "untouched",
    "random": "a random direction, same length",
}


def three_texts(_: str) -> str:
    """The beginning and its three continuations; a word that is clicked lists the atoms that fire at it."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    atoms: list[Any] = []
    length = _length(record["rows"]["turned up"], record["prompt"])
    prompt = _words(record["rows"]["turned up"][:length], atoms)
    rows = "".join(
        f'<dt>{WORDS[name]}</dt><dd class="{name.split()[0]}">{_words(tokens[length:], atoms)}</dd>'
        for name, tokens in record["rows"].items()
    )
    shown = next(found for token, found in record["rows"]["turned up"] if token == CLICKED)
    data = json.dumps(atoms, ensure_ascii=False).replace("<", "\\u003c")
    return (
        '<div class="three-texts"><div class="texts"><p class="ask">Click a word: what fires there?</p>'
        f'<p class="prompt">{prompt} …</p><dl>{rows}</dl></div>'
        f'<div class="fires" aria-live="polite"><h3>Firing at “{CLICKED.strip()}”</h3>'
        f"<ol>{''.join(map(_row, shown))}</ol>"
        '<p class="key">Dots: how sure its name is, of four. '
        "Bar: how strong it is here, next to its strongest.</p></div>"
        f'<script type="application/json">{data}</script></div>'
        '<script src="javascripts/three-texts.js" defer></script>'
    )


def _length(tokens: list[Any], prompt: str) -> int:
    """The number of tokens that make the prompt."""
    return next(n for n in range(1, len(tokens)) if "".join(t for t, _ in tokens[:n]) == prompt)


def _words(tokens: list[Any], atoms: list[Any]) -> str:
    return "".join(_word(token, found, atoms) for token, found in tokens)


def _word(token: str, found: list[Any], atoms: list[Any]) -> str:
    """A token, to be clicked where a named atom fires at it; its atoms join the list."""
    word = escape(token.strip())
    if not found:
        return f"{' ' if token.startswith(' ') else ''}{word}"
    atoms.append(found)
    pressed = "true" if token == CLICKED and len(atoms) < 3 else "false"
    space = " " if token.startswith(" ") else ""
    return f'{space}<button type="button" data-at="{len(atoms) - 1}" aria-pressed="{pressed}">{word}</button>'


def _row(atom: list[Any]) -> str:
    words, dots, share = atom
    marks = "●" * dots + "○" * (4 - dots)
    return (
        f'<li><b>{escape(words)}</b><span class="dots">{marks}</span>'
        f'<i class="bar" style="--share:{min(share, 1)}"></i></li>'
    )
