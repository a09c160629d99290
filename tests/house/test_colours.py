"""Every colour stands in one file: no other one of the product holds a literal of its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THEME = "theme.py"
LITERAL = re.compile(
    r"#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})\b|\b(?:rgb|hsl)a?\(\s*[\d.]", re.I
)
NAMES = "aqua|black|blue|brown|crimson|cyan|fuchsia|gold|gray|green|grey|lime|magenta|maroon|navy|"
NAMES += "olive|orange|pink|purple|red|silver|teal|violet|white|yellow"
NAMED = re.compile(NAMES)
NAMED_IN_STYLE = re.compile(rf"(?<=[:\s,(\"'])({NAMES})(?=\s*[;,)\"'}}!])")
COMMENT = re.compile(r"/\*.*?\*/|(?m:^\s*//.*$)", re.S)


def _strings(source: str) -> Iterator[tuple[int, str]]:
    """Texts of a module with their lines, without its docstrings."""
    tree = ast.parse(source)
    said = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.lineno, node.value


def _found(path: Path, source: str) -> list[str]:
    """Colour literals of a file; in Python of the screen a bare name counts too."""
    if path.suffix == ".py":
        drawn = "sae_nb_widgets" in path.parts or "figures" in path.parts
        return [
            f"{path.name}:{line}: {text.strip()[:60]!r}"
            for line, text in _strings(source)
            if LITERAL.search(text) or (drawn and NAMED.fullmatch(text))
        ]
    plain = COMMENT.sub("", source)
    hits = [*LITERAL.finditer(plain), *NAMED_IN_STYLE.finditer(plain)]
    return [f"{path.name}: {hit[0]!r}" for hit in hits]


def _sources() -> list[Path]:
    """Python, style sheets and scripts of every package of the product, from its root."""
    packages = [
        init.parent for pattern in ("*", "*/*") for init in ROOT.glob(f"{pattern}/__init__.py")
    ]
    roots = [package for package in packages if not (package.parent / "__init__.py").exists()]
    own = [package for package in roots if package.name.startswith("sae_nb")]
    files = (path for package in own for path in package.rglob("*"))
    return [path.relative_to(ROOT) for path in files if path.suffix in (".py", ".css", ".js")]


def _read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.slow
def test_no_file_but_the_theme_holds_a_colour() -> None:
    """A colour is changed in one place."""
    sources = _sources()
    assert {"theme.py", "panel.css", "shared.js"} <= {path.name for path in sources}
    others = [path for path in sources if path.name != THEME]
    found = [hit for path in others for hit in _found(path, _read(path))]
    assert not found, "Colours belong in the theme: " + "; ".join(found)


def test_the_theme_is_where_they_are() -> None:
    """And what counts as a literal is what stands there."""
    (theme,) = [path for path in _sources() if path.name == THEME]
    assert len(_found(theme, _read(theme))) > 20


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.py", 'X = "#0072b2"'),
        ("b.py", 'X = {"color": "#888"}'),
        ("c.py", 'X = f"rgba(128,128,128,{a})"'),
        ("d.py", 'X = "background: rgb(1, 2, 3)"'),
        ("figures/e.py", 'line(color="black")'),
        ("f.css", "a { color: #fff; }"),
        ("g.css", "a { border: 1px solid grey; }"),
        ("h.js", 'context.fillStyle = "red";'),
        ("i.js", 'x.stroke = "rgba(0,0,0,.5)";'),
    ],
)
def test_a_planted_colour_is_found(name: str, source: str) -> None:
    """In every kind of file, whichever way it is written."""
    assert len(_found(Path(name), source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.py", '"""Like \'#0072B2\', which is blue."""'),
        ("b.py", 'X = f"rgb({r},{g},{b})"'),
        ("data/c.py", 'INK = "white"'),
        ("d.css", "a { color: var(--sae-nb-ink); background: none; } /* white, #fff */"),
        ("e.js", "node.id = `#${name}`; // grey"),
    ],
)
def test_what_is_no_colour_passes(name: str, source: str) -> None:
    """Variables, words about colours, the names of inks in data."""
    assert not _found(Path(name), source)
