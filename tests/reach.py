"""How much of the tree a reader must hold: lines of definitions that a public call can reach.

    python tests/reach.py                      calls, panels, private names across packages, circles
    python tests/reach.py --why TopK interop   a shortest way from sn.TopK into a package

Definitions (functions, classes, constants) are nodes; names in a body, resolved through imports and lazy exports
written as strings, are edges. A class counts whole, with all overloads of a function. What answers a hook is not
counted: who asks knows the question alone; nor are names reached by getattr.
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parent.parent
DISTRIBUTIONS = {
    "sae_nb": "sae_nb",
    "sae_nb_widgets": "widgets/sae_nb_widgets",
    "sae_nb_studies": "studies/sae_nb_studies",
    "sae_nb_lessons": "notebooks/sae_nb_lessons",
}
CALLS = ("TopK", "load_model", "capture", "train", "load_sae", "evaluate", "steer")
PANELS = ("CurvePanel", "AtomBrowser", "SteeringPanel", "InputLens")
N_CIRCLES = 3

Key = tuple[str, str | None]
"""A module, and a definition of it; None: the module itself."""

Imports = (ast.Import, ast.ImportFrom)
Bound = dict[str, Key]


class Tree:
    """All definitions below a folder, and which of them name which."""

    def __init__(self, root: Path) -> None:
        self.modules: dict[str, tuple[ast.Module, bool]] = {}
        for distribution, folder in DISTRIBUTIONS.items():
            for path in sorted((root / folder).rglob("*.py")):
                parts = [distribution, *path.relative_to(root / folder).with_suffix("").parts]
                is_package = parts[-1] == "__init__"
                name = ".".join(parts[:-1] if is_package else parts)
                self.modules[name] = ast.parse(path.read_text(encoding="utf-8")), is_package
        self.bound = {
            name: self._imports(_top(tree.body), name) for name, (tree, _) in self.modules.items()
        }
        nodes: defaultdict[Key, list[ast.stmt]] = defaultdict(list)
        loose: defaultdict[str, list[ast.stmt]] = defaultdict(list)
        for module, (tree, _) in self.modules.items():
            for node in tree.body:
                for name in (names := _defined(node)):
                    nodes[module, name].append(node)
                if not names and not isinstance(node, Imports) and not _is_typing(node):
                    loose[module].append(node)
        self.lines = {key: sum(map(_length, parts)) for key, parts in nodes.items()}
        self.edges = {key: self._used(parts, key[0]) for key, parts in nodes.items()}
        self.of_module = {module: self._used(parts, module) for module, parts in loose.items()}

    def _imports(self, nodes: Iterable[ast.stmt], module: str) -> Bound:
        """The names of ours that some imports bind."""
        found: Bound = {}
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                source = self._source(node, module)
                if source.startswith("sae_nb"):
                    for alias in node.names:
                        whole = f"{source}.{alias.name}"
                        at: Key = (whole, None) if whole in self.modules else (source, alias.name)
                        found[alias.asname or alias.name] = at
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.split(".")[0]
                    if top.startswith("sae_nb"):
                        found[alias.asname or top] = (alias.name if alias.asname else top), None
        return found

    def _source(self, node: ast.ImportFrom, module: str) -> str:
        if not node.level:
            return node.module or ""
        base = module.split(".") if self.modules[module][1] else module.split(".")[:-1]
        return ".".join(base[: len(base) - node.level + 1] + ([node.module] if node.module else []))

    def resolve(self, module: str, name: str, seen: tuple[Key, ...] = ()) -> Key | None:
        """Return where a name of a module is defined."""
        if (module, name) in seen:
            return None
        if (module, name) in self.lines:
            return module, name
        if name in self.bound.get(module, {}):
            to, what = self.bound[module][name]
            return (to, None) if what is None else self.resolve(to, what, (*seen, (module, name)))
        return (f"{module}.{name}", None) if f"{module}.{name}" in self.modules else None

    def _used(self, parts: Iterable[ast.stmt], module: str) -> set[Key]:
        inside = [n for part in parts for n in ast.walk(part)]
        bound = self.bound[module] | self._imports(
            (n for n in inside if isinstance(n, Imports)), module
        )
        return {
            key for node in inside for key in [self._at(node, module, bound)] if key is not None
        }

    def _at(self, node: ast.AST, module: str, bound: Bound) -> Key | None:
        """The definition of ours that a node names."""
        if isinstance(node, ast.Name):
            return self._begun(node.id, module, bound)
        if isinstance(node, ast.Attribute) and (chain := _chain(node)):
            at = self._begun(chain[0], module, bound)
            for name in chain[1:]:
                further = None if at is None or at[1] is not None else self.resolve(at[0], name)
                if further is None:
                    break
                at = further
            return at
        if isinstance(node, ast.Call):
            words = [
                a.value
                for a in node.args
                if isinstance(a, ast.Constant) and isinstance(a.value, str)
            ]
            if len(words) > 1 and words[0] in self.modules:
                return self.resolve(words[0], words[1])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            home, _, name = node.value.rpartition(".")
            if home in self.modules:
                return self.resolve(home, name)
        return None

    def _begun(self, name: str, module: str, bound: Bound) -> Key | None:
        if name in bound:
            to, what = bound[name]
            return (to, None) if what is None else self.resolve(to, what)
        return (module, name) if (module, name) in self.lines else None

    def of(self, name: str) -> list[Key]:
        """Return the definitions of a public name."""
        found = (self.resolve(top, name) for top in ("sae_nb", "sae_nb_widgets"))
        return [key for key in found if key is not None and key[1] is not None]

    def reach(self, roots: Iterable[Key]) -> dict[Key, Key | None]:
        """Return of each definition that is reached the one from which it was."""
        came: dict[Key, Key | None] = dict.fromkeys(roots)
        todo = deque(came)
        while todo:
            key = todo.popleft()
            further = self.edges.get(key, set()) | self.of_module.get(key[0], set())
            for other in sorted(further - came.keys(), key=str):
                came[other] = key
                todo.append(other)
        return came

    def count(self, name: str) -> int:
        """Return the lines of the tool that a public name reaches."""
        return sum(self.lines.get(key, 0) for key in self.reach(self.of(name)) if _of_tool(key))

    def why(self, name: str, package: str) -> Iterator[str]:
        """Yield the definitions on a shortest way from a public name into a package, the last first."""
        came = self.reach(self.of(name))
        key = next((key for key in came if key[0].startswith(f"sae_nb.{package}")), None)
        while key is not None:
            yield f"{'.'.join(filter(None, key))} {self.lines.get(key, '')}"
            key = came[key]

    def imported(self, module: str) -> Bound:
        """Return every name of ours that a module imports, inside functions too."""
        tree = self.modules[module][0]
        return self._imports((n for n in ast.walk(tree) if isinstance(n, Imports)), module)

    def private(self) -> dict[str, set[Key]]:
        """Return the private names of the tool that other distributions import, by distribution."""
        out: defaultdict[str, set[Key]] = defaultdict(set)
        for module in self.modules:
            owner = module.split(".")[0]
            for to, what in self.imported(module).values():
                words = [*to.split("."), what or ""]
                if (
                    owner != "sae_nb"
                    and words[0] == "sae_nb"
                    and any(w.startswith("_") for w in words)
                ):
                    out[owner].add((to, what))
        return dict(out)

    def circles(self) -> list[list[str]]:
        """Return files that need each other, also for their types alone; the largest circles first."""
        names = [module for module in self.modules if "." in module]
        number = {name: i for i, name in enumerate(names)}
        pairs = [
            (number[module], number[to])
            for module in names
            for to, _ in self.imported(module).values()
            if to in number
        ]
        ones = np.ones(len(pairs)), tuple(np.array(pairs).T)
        _, circle = connected_components(
            coo_array(ones, shape=2 * (len(names),)), connection="strong"
        )
        found = defaultdict(list)
        for name, of in zip(names, circle.tolist(), strict=True):
            found[of].append(name)
        return sorted((one for one in found.values() if len(one) > 1), key=len, reverse=True)


def _top(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _top([*node.body, *node.orelse])
        elif isinstance(node, Imports):
            yield node


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def _length(node: ast.stmt) -> int:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return (node.end_lineno or first) - first + 1


def _is_typing(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _chain(node: ast.expr) -> list[str]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names, node = [node.attr, *names], node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def _of_tool(key: Key) -> bool:
    return key[0].split(".")[0] == "sae_nb"


def main() -> None:
    """Print the table, or a way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--why", nargs=2, metavar=("NAME", "PACKAGE"))
    asked = parser.parse_args()
    tree = Tree(asked.root)
    if asked.why:
        print(*tree.why(*asked.why), sep="\n")
        return
    print(
        f"lines of definitions of the tool: {sum(n for k, n in tree.lines.items() if _of_tool(k))}"
    )
    for name in (*CALLS, *PANELS):
        print(f"  {name} reaches {tree.count(name)}")
    for owner, keys in sorted(tree.private().items()):
        print(
            f"private names of the tool in {owner}: {len(keys)} from {len({m for m, _ in keys})} modules"
        )
    for circle in tree.circles()[:N_CIRCLES]:
        print(f"circle of {len(circle)} files: {', '.join(circle)}")


if __name__ == "__main__":
    main()
