"""How the house stands: weight, names, forms, rooms, floors, doors and circles, counted from the source.

Run `python benchmarks/house.py`, with `--root DIR` for another copy of the tree and `--against DIR`
to see two side by side; `--walks` adds the files of the three walks of `walks.py`, which runs the
toolkit. All else imports nothing and times nothing: the same tree gives the same table. What the rows
count:

Weight
- *lines*: of Python; in brackets those that hold code (no docstring, comment or blank line). The tool
  is sae_nb without `studies`; where a tree has no `studies`, all of it.
- *tests*: lines of tests/, and functions that begin with `test`; a parametrised one counts once.

Names and forms
- *names at sn.* and *exported by rooms*: what the first `if TYPE_CHECKING:` of a door lists, the doors
  of rooms inside rooms among them.
- *parameters*: of every function and method, `self` among them, `*args` and `**kwargs` not.
- *records*: classes that are dataclasses, or that are a `Finding`. They, `__repr__`, `table` and `plot`
  are counted in sae_nb and the panels, as methods that a class writes itself.
- *exported nowhere*: functions and classes without an underscore, in modules without one, that no
  `__init__` exports; and the lines of their docstrings.

What varies
- *"vision" as a kind*: files of sae_nb and the panels with that string, recipes of bundled models not
  counted.
- *p99*: files of sae_nb and the panels whose code has a name or a string with it.
- *a state's layout*: files of sae_nb that turn a map of several axes into places
  (`.flatten(2).transpose(1, 2)`), or skip prefix tokens by the number of axes (`prefix_tokens if … ndim`).
  The lab, which lays out images of its own, and the arithmetic of our own transformer are not counted.

Rooms
- *top*: modules directly in `sae_nb`, its `__init__` among them.
- *rooms*: packages and modules directly in `sae_nb` without `__init__` and `__main__`, each study
  among them; then the same with the packages inside packages.
- *floors*: the longest way down from a panel or a lesson to the lowest room, a circle being one
  floor, imports for type checkers not counted; in brackets the same within sae_nb alone.
- *past a door*: pairs of modules from two rooms where the import ends in a file that the other room's
  door does not offer as a whole. A file at the top (`background`, `progress`, `_lazy`) is its own door.
- *one circle*: the most rooms that reach each other, and the most modules, function-local imports
  counted; in brackets with imports under `if TYPE_CHECKING` as well.
- *one importer, a sibling*: modules that one module alone imports (doors aside), in the same folder.

A second table has the largest circle of files of every room that has one, counted in the same two ways.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "docs" / "tools"), str(ROOT / "benchmarks")]

from rooms import (  # noqa: E402  (docs/tools is no package)
    PACKAGES,
    House,
    between_rooms,
    circles,
    floors,
    goes_past_a_door,
    is_private,
    module_graph,
    room_graph,
    room_of,
    rooms,
)
from walks import elsewhere  # noqa: E402  (nor is benchmarks)

# What may stand at the top of sae_nb next to the rooms.
CONTENTS = {
    "sae_nb.__main__",
    "sae_nb._lazy",
    "sae_nb.background",
    "sae_nb.checks",
    "sae_nb.progress",
}
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
STUDIES = "sae_nb_studies"
PRODUCT = ("sae_nb.", "sae_nb_widgets.")
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
METHODS = ("__repr__", "table", "plot")
LAYOUT = re.compile(r"\.flatten\(2\)\.transpose\(1, 2\)|prefix_tokens if [^\n]*\.ndim")
OF_ITS_OWN = re.compile(r"\.lab\.|\._vision_transformer$")
Rows = dict[str, str]


def counts(root: Path) -> Rows:
    """The whole table of one tree, by row."""
    house = House(root)
    return {
        "**Weight**": "",
        **_lines(root),
        "**Names and forms**": "",
        **_names(house),
        **_forms(house),
        "**What varies**": "",
        **_varying(house),
        "**Rooms**": "",
        **_rooms(house),
        **_imports(house),
    }


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
    between = between_rooms(house)
    pairs = {(one.importer, one.target) for one in between}
    past = {(one.importer, one.target) for one in between if goes_past_a_door(house, one)}
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
    doors = [
        name for name in house.modules if name.startswith("sae_nb.") and house.is_package(name)
    ]
    studies = [name for name in doors if _is_study(name) and name != STUDIES]
    tool = [name for name in doors if not _is_study(name)]
    return {
        "names at sn.": f"{_offered(house, 'sae_nb')}",
        "names exported by the tool's rooms": f"{sum(_offered(house, name) for name in tool)}",
        "names exported by studies": f"{sum(_offered(house, name) for name in studies)}",
        "public looks, exported nowhere (docstring lines)": _unexported(house),
    }


def _is_study(name: str) -> bool:
    return name == STUDIES or name.startswith(f"{STUDIES}.")


def _offered(house: House, door: str) -> int:
    """How many names a door offers: what its first `if` imports."""
    block = next((node for node in house.trees[door].body if isinstance(node, ast.If)), None)
    imports = block.body if block is not None else []
    return sum(len(node.names) for node in imports if isinstance(node, ast.ImportFrom))


def _unexported(house: House) -> str:
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
    return f"{len(lost)} ({lines})"


def _forms(house: House) -> Rows:
    tool = [tree for name, tree in house.trees.items() if name.startswith("sae_nb.")]
    drawn = [tree for name, tree in house.trees.items() if name.startswith(PRODUCT)]
    classes = [node for tree in drawn for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    written = [one.name for node in classes for one in node.body if isinstance(one, FUNCTIONS)]
    return {
        "parameters of sae_nb": f"{sum(map(_parameters, tool))}",
        "records (findings)": f"{sum(map(_is_record, classes))} ({sum(map(_is_finding, classes))})",
        **{f"`{name}` written by a class": f"{written.count(name)}" for name in METHODS},
    }


def _parameters(tree: ast.Module) -> int:
    found = [node.args for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    return sum(len(args.posonlyargs + args.args + args.kwonlyargs) for args in found)


def _is_record(node: ast.ClassDef) -> bool:
    marks = (ast.unparse(mark) for mark in node.decorator_list)
    return _is_finding(node) or any("dataclass" in mark for mark in marks)


def _is_finding(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).endswith("Finding") for base in node.bases)


# -------------------------------------------------------------------------------------------------
# What varies: how many files know it.


def _varying(house: House) -> Rows:
    files = [name for name in house.modules if name.startswith(PRODUCT)]
    own = [name for name in files if name.startswith("sae_nb.") and not OF_ITS_OWN.search(name)]
    return {
        'files with "vision" as a kind': _share(house, files, _names_vision),
        "files that name p99": _share(house, files, _names_p99),
        "files where a state's layout is decided": _share(house, own, _lays_out),
    }


def _share(house: House, names: list[str], holds: Callable[[ast.Module], bool]) -> str:
    left_out = ("sae_nb_studies.recipes.", "sae_nb_studies.recipes.saes.")
    kept = [name for name in names if not name.startswith(left_out)]
    return f"{sum(holds(house.trees[name]) for name in kept)}"


def _names_vision(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.Constant) and node.value == "vision" for node in ast.walk(tree))


def _names_p99(tree: ast.Module) -> bool:
    said = {id(text) for node in ast.walk(tree) for text in _docstrings(node)}
    return any("p99" in _word(node).lower() for node in ast.walk(tree) if id(node) not in said)


def _word(node: ast.AST) -> str:
    """The name or the string that a node is; empty for others."""
    found = [getattr(node, field, None) for field in ("id", "attr", "arg", "value")]
    return next((word for word in found if isinstance(word, str)), "")


def _lays_out(tree: ast.Module) -> bool:
    return bool(LAYOUT.search(ast.unparse(tree)))


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
    product = [*_files(root, ("sae_nb",)), *_files(root, ("widgets/sae_nb_widgets",))]
    tests = _files(root, ("tests",))
    shelf = set(_files(root, ("studies/sae_nb_studies",)))
    tool = [file for file in _files(root, ("sae_nb",)) if file not in shelf]
    functions = sum(len(re.findall(r"^ *(?:async )?def test", _text(f), re.M)) for f in tests)
    return {
        "lines of the tool (code)": _sizes(tool),
        "lines of studies (code)": _sizes(sorted(shelf)),
        "lines of widgets (code)": _sizes(_files(root, ("widgets/sae_nb_widgets",))),
        "lines of lessons (code)": _sizes(_files(root, lessons)),
        "lines of tests (test functions)": f"{sum(map(_length, tests))} ({functions})",
        "lines of sae_nb, widgets and tests": f"{sum(map(_length, [*product, *tests]))}",
        "lines of TOML": f"{sum(map(_length, toml))}",
    }


def _files(root: Path, folders: Iterable[str]) -> list[Path]:
    return [file for folder in folders for file in sorted((root / folder).rglob("*.py"))]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _length(file: Path) -> int:
    return len(_text(file).splitlines())


def _sizes(files: list[Path]) -> str:
    return f"{sum(map(_length, files))} ({sum(map(code_lines, files))})"


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
    for text in _docstrings(node):
        yield text.lineno, text.end_lineno or text.lineno


def _docstrings(node: ast.AST) -> Iterator[ast.Constant]:
    body = getattr(node, "body", [])
    for place, child in enumerate(body if isinstance(body, list) else []):
        documents = not place or isinstance(body[place - 1], ast.AnnAssign | ast.Assign)
        if documents and isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            yield child.value


def table(columns: dict[str, Rows]) -> str:
    """The rows of several trees side by side, in Markdown."""
    heads = " | ".join(columns)
    lines = [f"| counted | {heads} |", "| --- " * (1 + len(columns)) + "|"]
    for row in {row: None for column in columns.values() for row in column}:
        cells = " | ".join(column.get(row, "none") for column in columns.values())
        lines.append(f"| {row} | {cells} |")
    return "\n".join(lines)


def circles_of_rooms(root: Path) -> Rows:
    """The largest circle of files of each room that has one; in brackets with imports for types."""
    house, sizes = House(root), {}
    for typing in (False, True):
        for group in circles(module_graph(house, typing=typing)):
            room = room_of(min(group)).removeprefix("sae_nb.").removeprefix("studies.")
            sizes.setdefault(room, {}).setdefault(typing, len(group))
    return {
        room: f"{found.get(False, 'none')} ({found.get(True, 'none')})"
        for room, found in sorted(sizes.items(), key=lambda one: -max(one[1].values()))
    }


def walks_of(root: Path) -> Rows:
    """How many files each of the three walks enters."""
    walks = elsewhere(root)
    return {"**Walks**": ""} | {
        f"files of a walk: {n}": str(len(w["files"])) for n, w in walks.items()
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Counts of the house, from its source.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to look at")
    parser.add_argument("--against", type=Path, help="another tree, in a column of its own")
    parser.add_argument(
        "--walks", action="store_true", help="follow the walks too: a minute a tree"
    )
    given = parser.parse_args()
    trees = {"this tree": given.root}
    if given.against:
        trees = {"before": given.against, "after": given.root}
    more = walks_of if given.walks else lambda _: {}
    print(table({name: counts(root) | more(root) for name, root in trees.items()}))
    print("\nLargest circle of files in a room (imports for types counted)\n")
    print(table({name: circles_of_rooms(root) for name, root in trees.items()}))


if __name__ == "__main__":
    main()
