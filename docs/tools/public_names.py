"""Public names of packages, read from their sources without importing them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIDGETS = ROOT / "widgets"


PACKAGES = {
    "sae_nb": "sae_nb.md",
    "sae_nb_widgets": "widgets.md",
    **{
        f"sae_nb.{room}": f"{room}.md"
        for room in (
            "architectures",
            "classical",
            "data",
            "dynamics",
            "evaluation",
            "exercises",
            "geometry",
            "golden",
            "interop",
            "minkowski",
            "models",
            "pursuit",
            "pretrained",
            "summaries",
            "temporal",
            "training",
        )
    },
}
"""Where each package is documented, in docs/api. A name is told where it is exported first."""


def api(package: str) -> str:
    """Every public name of a package: told here, or a link to where it is."""
    told, elsewhere = [], []
    for name, home in homes(package).items():
        page = page_of(home)
        if page == PACKAGES[package]:
            told.append(f"::: {home}\n")
        else:
            elsewhere.append(f"[`{name}`]({page}#{home})")
    also = f"Also here: {' · '.join(elsewhere)}\n" if elsewhere else ""
    return "\n".join([also, *told])


def page_of(home: str) -> str:
    """The page of docs/api that tells a name, by where the name is defined."""
    return next(page for package, page in PACKAGES.items() if home in homes(package).values())


def settings(name: str) -> str:
    """The link to everything about a public name of `sae_nb`."""
    home = homes("sae_nb")[name]
    return f"[every argument of `{name}`](../api/{page_of(home)}#{home})"


@cache
def homes(package: str) -> dict[str, str]:
    """Where each public name of a package is defined, by name.

    Raises
    ------
    ValueError
        If the package has no `__all__`, or a name comes from nowhere.
    """
    tree = ast.parse(_init(package).read_text(encoding="utf-8"))
    names = _all(tree)
    if names is None:
        raise ValueError(f"{package} has no `__all__`.")
    origin = _imported(tree) | {name: f"{package}.{name}" for name in _defined(tree)}
    lost = [name for name in names if name not in origin]
    if lost:
        raise ValueError(f"{package} exports {', '.join(lost)} from nowhere that can be read.")
    return {name: _resolved(origin[name]) for name in names}


def _init(module: str) -> Path:
    root = WIDGETS if module.startswith("sae_nb_widgets") else ROOT
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _all(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and "__all__" in {ast.unparse(t) for t in node.targets}:
            return list(ast.literal_eval(node.value))
    return None


def _imported(tree: ast.Module) -> dict[str, str]:
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def _defined(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {ast.unparse(target) for target in node.targets}
        elif isinstance(node, ast.AnnAssign):
            names.add(ast.unparse(node.target))
    return names


def _resolved(path: str) -> str:
    """Follows packages that import a name themselves, to the file that makes it."""
    module, _, name = path.rpartition(".")
    file = _init(module)
    if not file.is_file():
        return path
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if name in _defined(tree):
        return path
    onward = _imported(tree).get(name)
    return _resolved(onward) if onward and onward.startswith("sae_nb") else path
