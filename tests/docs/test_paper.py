"""The paper is as long, and has the sections and references, that the Journal of Open Source Software asks for."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAPER = re.sub(r"<!--.*?-->", "", (DOCS / "paper.md").read_text(encoding="utf-8"))
ENTRIES = re.findall(
    r"^@\w+\{(\w+), (.*)\}$", (DOCS / "paper.bib").read_text(encoding="utf-8"), re.M
)


def test_it_has_the_sections_and_the_length() -> None:
    """Between 750 and 1750 words, nothing left to be filled in, each picture there."""
    sections = re.findall(r"^## (.+)$", PAPER, re.M)
    asked = ["Summary", "Statement of need", "State of the field", "Software design"]
    assert sections == [*asked, "Research impact statement"]
    assert 750 <= len(PAPER.split()) <= 1750
    assert "{{" not in PAPER
    pictures = re.findall(r"^!\[.+\]\((.+)\)$", PAPER, re.M)
    assert len(pictures) == 2
    assert all((DOCS / one).is_file() for one in pictures)


def test_every_reference_is_there_and_leads_somewhere() -> None:
    """What is cited has an entry, what has an entry is cited; each with a DOI or an address."""
    cited = set(re.findall(r"@(\w+)", PAPER))
    assert cited == {name for name, _ in ENTRIES}
    for name, fields in ENTRIES:
        address = re.search(r"doi = \{10\.48550/arXiv\.\d{4}\.\d{5}\}|\\url\{https://\S+\}", fields)
        assert address, name
