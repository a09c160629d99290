"""What the tree weighs: `python tests/size.py [ROOT [ANOTHER]]`; prints only.

Lines and lines that hold code (no docstring, comment or blank line) of every part, test functions, words of
Markdown, annotations that are or contain `Any`. Two roots stand side by side.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable
from pathlib import Path

PARTS = {
    "tool": ("sae_nb",),
    "panels": ("widgets/sae_nb_widgets",),
    "studies": ("studies/sae_nb_studies",),
    "lessons": ("notebooks/sae_nb_lessons",),
    "tests": ("tests",),
    "benchmarks": ("benchmarks",),
    "tools of the documentation": ("docs",),
}
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
NO_CODE |= {tokenize.ENCODING, tokenize.ENDMARKER}


def counts(root: Path) -> dict[str, str]:
    """Every row of one tree."""
    files = {part: _files(root, folders) for part, folders in PARTS.items()}
    found = {
        f"lines of {part} (code)": f"{sum(map(_length, mine))} ({sum(map(_code, mine))})"
        for part, mine in files.items()
    }
    tests = sum(len(re.findall(r"^ *(?:async )?def test", _text(f), re.M)) for f in files["tests"])
    trees = [ast.parse(_text(file)) for part in list(PARTS)[:4] for file in files[part]]
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=root, capture_output=True, text=True)
    words = sum(len(_text(root / page).split()) for page in listed.stdout.splitlines())
    written = [
        part
        for tree in trees
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if (part := getattr(node, field, None)) is not None
    ]
    return found | {
        "test functions": str(tests),
        "words of Markdown": str(words),
        "annotations that are `Any`": str(sum(map(_is_any, written))),
        "`Any` in annotations": str(sum(map(_is_any, (x for w in written for x in ast.walk(w))))),
    }


def _files(root: Path, folders: Iterable[str]) -> list[Path]:
    return [file for folder in folders for file in sorted((root / folder).rglob("*.py"))]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _length(file: Path) -> int:
    return len(_text(file).splitlines())


def _code(file: Path) -> int:
    """Lines that hold something other than docstring, comment or nothing."""
    with file.open("rb") as source:
        tokens = list(tokenize.tokenize(source.readline))
    held = {
        line
        for token in tokens
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(_text(file))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            held -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(held)


def _is_any(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "Any"


def main(*roots: str) -> None:
    """Print the table of one tree or several."""
    trees = [Path(root).resolve() for root in roots] or [Path(__file__).parents[1]]
    columns = [counts(root) for root in trees]
    print("## tree\n\n| counted | " + " | ".join(root.name for root in trees) + " |")
    print("| --- " * (1 + len(trees)) + "|")
    for row in columns[0]:
        print(f"| {row} | " + " | ".join(column[row] for column in columns) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
