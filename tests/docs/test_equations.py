"""Equations of the pages are MathML before a browser sees them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("latex2mathml", reason="`make docs` and `make test` install it")

Tool = Callable[[str], ModuleType]


def test_every_method_page_has_its_equation_typeset(docs: Path, tool: Tool) -> None:
    """No block of code in its place, no script, and nothing of the LaTeX left over."""
    for page in set((docs / "methods").glob("*.md")) - {docs / "methods" / "index.md"}:
        text = page.read_text(encoding="utf-8")
        equation = text.partition("## Equation")[2].partition("\n## ")[0]
        assert "```text" not in equation, page.name
        made = tool("equations").typeset(equation)
        assert "<math" in made, page.name
        assert "<script" not in made
        assert not re.search(r"\\[a-z]|`\$|```math", made), page.name


def test_an_equation_keeps_its_lines_and_its_place_in_a_sentence(tool: Tool) -> None:
    """A row for each line; a sentence that begins with a symbol stays one paragraph."""
    typeset = tool("equations").typeset
    rows = typeset("```math\n\\begin{split}\nu &= a \\\\\nz &= b\n\\end{split}\n```")
    assert rows.count("<mtr>") == 2
    assert rows.startswith('<div class="equation"><math')
    assert typeset("$`z_t`$ is a code.").startswith("<span><math")
