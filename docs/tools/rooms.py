"""The house as its source tells it: modules, the imports between them, rooms and floors.

Everything is read with `ast` and nothing is imported, so any copy of the tree can be looked at. A
room is a package directly under `sae_nb`, `sae_nb_widgets` or `sae_nb_lessons`; a module that stands
there alone counts as a room of its own. A room's door is its `__init__.py`.

Used by tests of the tree.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "sae_nb": "sae_nb",
    "sae_nb_widgets": "widgets/sae_nb_widgets",
    "sae_nb_studies": "studies/sae_nb_studies",
    "sae_nb_lessons": "notebooks/sae_nb_lessons",
}
"""Where each package lies in the tree. The last one may be missing."""
ImportNode = tuple[ast.Import | ast.ImportFrom, bool, bool]
"""An import in a source, whether it is in a function, and whether it is for types alone."""


@dataclass(frozen=True)
class Import:
    """One name that a module imports.

    `target` is a module of the tree, or the full dotted path of something that is not in it. `lazy`
    is an import inside a function, `typing` one under `if TYPE_CHECKING`.
    """

    importer: str
    target: str
    name: str | None
    line: int
    lazy: bool
    typing: bool


class House:
    """The modules of a tree and who imports what."""

    def __init__(self, root: Path = ROOT, packages: Mapping[str, str] = PACKAGES) -> None:
        self.root = root
        self.modules = {
            name: file
            for package, folder in packages.items()
            for name, file in _modules(package, root / folder)
        }

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """The parsed source of every module."""
        return {name: parsed(file) for name, file in self.modules.items()}

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of every module, those of other packages too."""
        return [
            one
            for name, file in self.modules.items()
            for one in self._imports(name, _imports_in(file.read_text(encoding="utf-8")))
        ]

    def imports_of(self, module: str, tree: ast.Module) -> list[Import]:
        """The imports of one module; `tree` may come from outside the house (a test's, say)."""
        return self._imports(module, _import_nodes(tree))

    def _imports(self, module: str, nodes: Iterable[ImportNode]) -> list[Import]:
        found = []
        for node, lazy, typing in nodes:
            for target, name in self._targets(module, node):
                found.append(Import(module, target, name, node.lineno, lazy, typing))
        return found

    def is_package(self, module: str) -> bool:
        """Whether the module is an `__init__.py`, and so a door."""
        return module in self.modules and self.modules[module].name == "__init__.py"

    def _targets(
        self, module: str, node: ast.Import | ast.ImportFrom
    ) -> Iterator[tuple[str, str | None]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
            return
        base = self._base(module, node)
        for alias in node.names:
            full = f"{base}.{alias.name}"
            yield (full, None) if full in self.modules else (base, alias.name)

    def _base(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        up = node.level - self.is_package(module)
        parent = module.rsplit(".", up)[0] if up else module
        return f"{parent}.{node.module}" if node.module else parent


def room_of(module: str) -> str:
    """The room a module belongs to; the top of a package belongs to the package itself.

    >>> room_of("sae_nb.evaluation._fit"), room_of("sae_nb.checks"), room_of("sae_nb")
    ('sae_nb.evaluation', 'sae_nb.checks', 'sae_nb')
    """
    parts = module.split(".")
    return ".".join(parts[:2])


Graph = dict[str, set[str]]


def between_rooms(house: House, *packages: str) -> list[Import]:
    """The imports from one room to another, of these packages; a package's own top is no room."""
    packages = packages or ("sae_nb",)
    inside = tuple(f"{package}." for package in packages)
    return [
        one
        for one in house.imports
        if one.target in house.modules
        and one.importer.startswith(inside)
        and one.target.startswith(inside)
        and room_of(one.importer) != room_of(one.target)
    ]


def room_graph(house: House, *packages: str, typing: bool = True) -> Graph:
    """Which rooms each room imports from, lazy imports counted; without `typing`, fewer."""
    graph: Graph = {room: set() for room in rooms(house, *packages)}
    for one in between_rooms(house, *packages):
        if typing or not one.typing:
            graph[room_of(one.importer)].add(room_of(one.target))
    return graph


def module_graph(house: House, *packages: str, typing: bool = True) -> Graph:
    """The same between modules, within rooms too."""
    inside = tuple(f"{package}." for package in packages or ("sae_nb",))
    graph: Graph = {name: set() for name in house.modules if name.startswith(inside)}
    for one in house.imports:
        if one.importer in graph and one.target in graph and (typing or not one.typing):
            graph[one.importer].add(one.target)
    return graph


def rooms(house: House, *packages: str) -> list[str]:
    """The rooms and the modules that stand alone at the top of the packages."""
    inside = tuple(f"{package}." for package in packages or ("sae_nb",))
    return sorted({room_of(name) for name in house.modules if name.startswith(inside)})


def circles(graph: Graph) -> list[set[str]]:
    """The groups of nodes that reach each other, largest first (Tarjan's components)."""
    return sorted((group for group in _components(graph) if len(group) > 1), key=len, reverse=True)


def parsed(file: Path) -> ast.Module:
    """The source of a file, as a tree."""
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


@cache
def _imports_in(source: str) -> tuple[ImportNode, ...]:
    """Parse a source once, though several copies of a tree are looked at; most of their files are equal."""
    return tuple(_import_nodes(ast.parse(source)))


def _modules(package: str, folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*.py")):
        parts = [package, *file.relative_to(folder).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


def _import_nodes(node: ast.AST, lazy: bool = False, typing: bool = False) -> Iterator[ImportNode]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, lazy, typing
        return
    lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        inside = part == "body" and isinstance(node, ast.If) and _is_for_types(node.test)
        for child in _statements(node, part):
            yield from _import_nodes(child, lazy, typing or inside)


def _statements(node: ast.AST, part: str) -> list[ast.AST]:
    found = getattr(node, part, [])
    return found if isinstance(found, list) else []  # a lambda's body is an expression


def _is_for_types(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _components(graph: Graph) -> list[set[str]]:
    """Strongly connected components, each after those it leads to (Tarjan 1972, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[set[str]] = []
    for start in sorted(graph):
        if start in index:
            continue
        work = [(start, iter(sorted(graph[start])))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            node, onward = work[-1]
            for other in onward:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(sorted(graph[other]))))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = set()
                    while node not in group:
                        group.add(stack.pop())
                    on_stack -= group
                    found.append(group)
    return found
