"""What the tree weighs, counted from its files: `python benchmarks/house.py [ROOT [ANOTHER]]`.

Lines and lines that hold code (no docstring, comment or blank line) of every part, test functions (a
parametrised one counts once), words of Markdown, public names, annotations that say `Any`, and the files under
one call of `TopK.encode`, which is run. Two roots stand side by side.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

PARTS = {
    "tool": ("sae_nb",),
    "panels": ("widgets/sae_nb_widgets",),
    "studies": ("sae_nb/studies", "studies/sae_nb_studies"),
    "lessons": ("notebooks/sae_nb_lessons",),
    "tests": ("tests",),
    "benchmarks": ("benchmarks",),
    "tools of the documentation": ("docs",),
}
BESIDE = {"tool": "sae_nb/studies"}
"""What lies in a part's folder and counts elsewhere."""

NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
NO_CODE |= {tokenize.ENCODING, tokenize.ENDMARKER}
CALL = """
import sys, torch, sae_nb as sn
sae, x, seen = sn.TopK(8, 16, 2), torch.randn(4, 8), set()
sae.encode(x)
sys.setprofile(lambda frame, *_: seen.add(frame.f_code.co_filename))
sae.encode(x)
sys.setprofile(None)
print(len([file for file in seen if "/sae_nb/" in file]))
"""


def counts(root: Path) -> dict[str, str]:
    """Every row of one tree."""
    found = {}
    for part, folders in PARTS.items():
        beside = root / BESIDE[part] if part in BESIDE else None
        files = [
            file
            for file in _files(root, folders)
            if beside is None or not file.is_relative_to(beside)
        ]
        found[f"lines of {part} (code)"] = f"{sum(map(_length, files))} ({sum(map(_code, files))})"
    tests = [_text(file) for file in _files(root, ("tests",))]
    functions = sum(len(re.findall(r"^ *(?:async )?def test", text, re.M)) for text in tests)
    product = [
        ast.parse(_text(file)) for file in _files(root, ("sae_nb", "widgets/sae_nb_widgets"))
    ]
    pages = [file for file in _tracked(root) if file.suffix == ".md"]
    script = subprocess.run(
        [sys.executable, "-c", CALL],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    return found | {
        "test functions": str(functions),
        "words of Markdown": str(sum(len(_text(file).split()) for file in pages)),
        "names at sn.": str(_public(root / "sae_nb" / "__init__.py")),
        "annotations with `Any`": str(sum(map(_anys, product))),
        "files under `TopK.encode(x)`": script.stdout.strip() or "not run",
    }


def _tracked(root: Path) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    return [root / name for name in listed.stdout.split("\0") if name]


def _files(root: Path, folders: Iterable[str]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((root / folder).rglob("*.py"))


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


def _public(door: Path) -> int:
    """How many names an `__init__` imports for type checkers and as themselves."""
    nodes = [node for node in ast.walk(ast.parse(_text(door))) if isinstance(node, ast.ImportFrom)]
    return len({alias.name for node in nodes for alias in node.names if alias.asname == alias.name})


def _anys(tree: ast.Module) -> int:
    written = [
        getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns")
    ]
    return sum(
        isinstance(part, ast.Name) and part.id == "Any"
        for node in written
        if node is not None
        for part in ast.walk(node)
    )


def main() -> None:
    """Print the table."""
    roots = [Path(root).resolve() for root in sys.argv[1:]] or [Path(__file__).parents[1]]
    columns = [counts(root) for root in roots]
    print("## tree\n\n| counted | " + " | ".join(root.name for root in roots) + " |")
    print("| --- " * (1 + len(roots)) + "|")
    for row in columns[0]:
        print(f"| {row} | " + " | ".join(column[row] for column in columns) + " |")


if __name__ == "__main__":
    main()
