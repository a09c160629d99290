"""How the house stands: rooms, floors, doors, circles and lines, counted from the source.

Run `python benchmarks/house.py`, with `--root DIR` for another copy of the tree and `--against DIR`
to see two side by side. Nothing is imported and nothing is timed: the same tree gives the same
table. What each row counts:

- *top*: modules directly in `sae_nb`, its `__init__` among them.
- *rooms*: packages and modules directly in `sae_nb` without `__init__` and `__main__`; then the same
  with the packages inside packages.
- *floors*: the longest way down from a panel or a lesson to the lowest room, a circle being one
  floor, imports for type checkers not counted; in brackets the same within sae_nb alone.
- *past a door*: pairs of modules from two rooms where the import ends in a file instead of an
  `__init__`. What house.md leaves at the top (`checks`, `progress`, `_lazy`) is open to all.
- *one circle*: the most rooms that reach each other, and the most modules, function-local imports
  counted; in brackets with imports under `if TYPE_CHECKING` as well. The circles follow the table.
- *one importer, a sibling*: modules that one module alone imports (doors aside), in the same folder.
- *exported nowhere*: functions and classes without an underscore, in modules without one, that no
  `__init__` exports; and the lines of their docstrings.
- *lines*: of Python; in brackets those that hold code (no docstring, comment or blank line).
"""

from __future__ import annotations

import argparse
import ast
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "tools"))

from rooms import (  # noqa: E402  (docs/tools is no package)
    PACKAGES,
    House,
    between_rooms,
    circles,
    floors,
    is_private,
    module_graph,
    room_graph,
    rooms,
)

# What may stand at the top of sae_nb beside the rooms.
CONTENTS = {"sae_nb.__main__", "sae_nb._lazy", "sae_nb.checks", "sae_nb.progress"}
LESSONS = ("notebooks/sae_nb_lessons",), ("sae_nb/exercises", "sae_nb/proofs")
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
Rows = dict[str, str]


def counts(root: Path) -> Rows:
    """The whole table of one tree, by row."""
    house = House(root)
    return {**_rooms(house), **_imports(house), **_names(house), **_lines(root)}


def _rooms(house: House) -> Rows:
    top = [name for name in house.modules if _is_top(house, name)]
    seen = [room for room in rooms(house) if room != "sae_nb.__main__"]
    inner = [
        name
        for name in house.modules
        if name.startswith("sae_nb.") and house.is_package(name) and name.count(".") > 1
    ]
    everywhere = floors(room_graph(house, *PACKAGES, typing=False))
    headless = floors(room_graph(house, typing=False))
    return {
        "modules at the top of sae_nb": f"{len(top)}",
        "rooms and loose files (with rooms inside rooms)": f"{len(seen)} ({len(seen + inner)})",
        "floors (of sae_nb alone)": f"{_highest(everywhere)} ({_highest(headless)})",
    }


def _is_top(house: House, name: str) -> bool:
    stands_alone = name.count(".") == 1 and not house.is_package(name)
    return name == "sae_nb" or (name.startswith("sae_nb.") and stands_alone)


def _highest(floor: dict[str, int]) -> int:
    return max(floor.values(), default=0)


def _imports(house: House) -> Rows:
    pairs = {(one.importer, one.target) for one in between_rooms(house)}
    past = [to for _, to in pairs if not house.is_package(to) and to not in CONTENTS]
    past += [to for _, to in pairs if house.is_package(to) and is_private(to)]
    share = 100 * len(past) / max(len(pairs), 1)
    run, typed = _circles(house, typing=False), _circles(house, typing=True)
    return {
        "imports between rooms past a door": f"{len(past)} of {len(pairs)} ({share:.0f} %)",
        "rooms in one circle / modules (typing counted)": f"{run} ({typed})",
        "modules with one importer, a sibling": f"{len(list(_only_children(house)))}",
    }


def _circles(house: House, *, typing: bool) -> str:
    def largest(graph: dict[str, set[str]]) -> int:
        return max(map(len, circles(graph)), default=0)

    of_rooms = largest(room_graph(house, typing=typing))
    return f"{of_rooms} / {largest(module_graph(house, typing=typing))}"


def _only_children(house: House) -> Iterator[str]:
    importers: dict[str, set[str]] = {}
    for one in house.imports:
        if not house.is_package(one.importer) and one.importer != one.target:
            importers.setdefault(one.target, set()).add(one.importer)
    for name in house.modules:
        only = importers.get(name, set())
        folders = {importer.rpartition(".")[0] for importer in only}
        if len(only) == 1 and folders == {name.rpartition(".")[0]} and not house.is_package(name):
            yield name


def _names(house: House) -> Rows:
    exported = {pair for name in house.modules for pair in _exports(house, name)}
    lost = [
        node
        for name, tree in house.trees.items()
        if not is_private(name) and not house.is_package(name) and name not in CONTENTS
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not node.name.startswith("_") and (name, node.name) not in exported
    ]
    lines = sum(last - first + 1 for node in lost for first, last in _own_docstring(node))
    return {"public looks, exported nowhere (docstring lines)": f"{len(lost)} ({lines})"}


def _exports(house: House, door: str) -> Iterator[tuple[str, str | None]]:
    """What a door exports, as (module, name): what its `__all__` lists or it imports `as` itself."""
    if not house.is_package(door):
        return
    tree = house.trees[door]
    listed = _all(tree) | {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    for one in house.imports:
        if one.importer == door and one.name in listed:
            yield one.target, one.name


def _all(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and "__all__" in {ast.unparse(to) for to in node.targets}:
            return {one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)}
    return set()


def _lines(root: Path) -> Rows:
    lessons = next(folders for folders in LESSONS if (root / folders[0]).is_dir())
    toml = [
        file
        for folder in ("sae_nb", "widgets/sae_nb_widgets", "notebooks/sae_nb_lessons")
        for file in (root / folder).rglob("*.toml")
    ]
    inside = "" if lessons == LESSONS[0] else ", inside sae_nb"
    return {
        "lines of sae_nb (code)": _sizes(root, ("sae_nb",)),
        "lines of widgets (code)": _sizes(root, ("widgets/sae_nb_widgets",)),
        "lines of lessons (code)": _sizes(root, lessons) + inside,
        "lines of TOML": f"{sum(len(file.read_text('utf-8').splitlines()) for file in toml)}",
    }


def _sizes(root: Path, folders: Iterable[str]) -> str:
    files = [file for folder in folders for file in sorted((root / folder).rglob("*.py"))]
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    return f"{lines} ({sum(map(code_lines, files))})"


def code_lines(file: Path) -> int:
    """How many lines of a file hold code: something other than docstring, comment or nothing."""
    with file.open("rb") as source:
        tokens = list(tokenize.tokenize(source.readline))
    held = {
        line
        for token in tokens
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for first, last in _own_docstring(node):
                held -= set(range(first, last + 1))
    return len(held)


def _own_docstring(node: ast.AST) -> Iterator[tuple[int, int]]:
    """First and last line of a docstring; also of the strings that document a class's fields."""
    body = getattr(node, "body", [])
    for place, child in enumerate(body):
        documents = not place or isinstance(body[place - 1], ast.AnnAssign | ast.Assign)
        if documents and isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            yield child.lineno, child.end_lineno or child.lineno


def table(columns: dict[str, Rows]) -> str:
    """The rows of several trees side by side, in Markdown."""
    heads = " | ".join(columns)
    lines = [f"| counted | {heads} |", "| --- " * (1 + len(columns)) + "|"]
    for row in next(iter(columns.values())):
        cells = " | ".join(column[row] for column in columns.values())
        lines.append(f"| {row} | {cells} |")
    return "\n".join(lines)


def all_circles(root: Path) -> str:
    """Which rooms stand in circles, one line each."""
    house = House(root)
    groups = circles(room_graph(house))
    return "\n".join(
        "circle: " + ", ".join(sorted(room.removeprefix("sae_nb.") for room in group))
        for group in groups
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Counts of the house, from its source.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to look at")
    parser.add_argument("--against", type=Path, help="another tree, in a column of its own")
    given = parser.parse_args()
    trees = {"this tree": given.root}
    if given.against:
        trees = {"before": given.against, "after": given.root}
    print(table({name: counts(root) for name, root in trees.items()}))
    print(f"\n{all_circles(given.root) or 'no circles between rooms'}")


if __name__ == "__main__":
    main()
