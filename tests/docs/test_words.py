"""The dozen words that a student stumbles over most stay out of what is read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# The word → what to write instead.
WORDS = {
    r"\btold\b|\btells?\b(?! (a|the|short) stor| us)|\btelling\b": "predict, reconstruct, detect",
    r"\b(order|direction|directions|orders) of chance\b": "random order, random directions",
    r"\bbeside (its|their|the) (floor|floors|null|control)\b": "with its floor",
    r"\bpush(es|ed)? (at|hard)\b": "perturbation",
    r"\brebirths?\b|\breborn\b": "resampling",
    r"\bswallow(s|ed|ing)?\b": "absorb",
    r"\b(living|silent) (atom|model|latent)s?\b": "alive, dead, live",
    r"\blisteners?\b": "callback",
    r"\bready-made\b|\bready_made": "pretrained",
    r"\bstands? for\b": "represents",
    r"\b(?:somebody|nobody|whoever)\b": "you, or the passive",
    r"\banew\b": "again",
}
CODE = re.compile(r"^```.*?^```|`[^`\n]*`|\]\([^)]*\)|<[^>]+>", re.S | re.M)
# They list old names, are written by programs, or quote what was measured before.
SPARED = {"upgrade.md", "metrics.md", "reliability.md", "interop.md", "scale.md"}


def _pages() -> list[tuple[Path, str]]:
    files = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "notebooks" / "README.md"]
    return [(f, f.read_text(encoding="utf-8")) for f in files if f.name not in SPARED]


def _notebooks() -> list[tuple[Path, str]]:
    files = (ROOT / "notebooks").glob("*.py")
    return [
        (f, "\n".join(re.findall(r"^# (.*)$", f.read_text(encoding="utf-8"), re.M))) for f in files
    ]


def _errors() -> list[tuple[Path, str]]:
    found = []
    for file in (ROOT / "sae_nb").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc:
                parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                found.append((file, "".join(part for part in parts if isinstance(part, str))))
    return found


@pytest.mark.parametrize("read", [_pages, _notebooks, _errors])
def test_replaced_words_stay_away(read) -> None:
    """Each with where it is; the list above has what to write instead."""
    texts = read()
    assert len(texts) > 10
    found = [
        f"{file.relative_to(ROOT)}: …{text[max(hit.start() - 30, 0) : hit.end() + 30]}… → {better}"
        for file, text in ((file, CODE.sub("…", text)) for file, text in texts)
        for word, better in WORDS.items()
        for hit in re.finditer(word, text, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)
