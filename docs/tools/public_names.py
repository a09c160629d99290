"""Public names of packages, read from their doors without importing them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from rooms import PACKAGES as FOLDERS

ROOT = Path(__file__).parents[2]
# One page for all: `sae_nb_lessons` names functions, its rooms the rest.
LESSONS = (
    "sae_nb_lessons",
    *(f"sae_nb_lessons.{package}" for package in ("exercises", "studies", "figures")),
    "sae_nb_studies.reproductions",
)


def api(package: str) -> str:
    """Every public name of a package: documented here, or a link to where it is."""
    documented, elsewhere = [], []
    for name, home in homes(package).items():
        page, path = place_of(home)
        if path == f"{package}.{name}":
            documented.append(f"::: {path}\n")
        else:
            elsewhere.append(f"[`{name}`]({page}#{path})")
    also = f"Also here: {' · '.join(elsewhere)}\n" if elsewhere else ""
    return "\n".join([also, *documented])


def settings(name: str) -> str:
    """The link to everything about a public name of `sae_nb`."""
    page, path = place_of(homes("sae_nb")[name])
    return f"[every argument of `{name}`](../api/{page}#{path})"


@cache
def pages() -> dict[str, str]:
    """Where each package is documented, in docs/api: every room of `sae_nb`'s table of contents.

    A study has a page like any room; what it adds to a room of the same name is on that one's.
    """
    rooms = sorted(
        home
        for package in ("sae_nb", "sae_nb_studies")
        for name, home in _offered(package).items()
        if home == f"{package}.{name}"
    )
    return {
        "sae_nb": "sae_nb.md",
        "sae_nb_widgets": "widgets.md",
        **{room: f"{room.rpartition('.')[2]}.md" for room in rooms},
        **dict.fromkeys(LESSONS, "lessons.md"),
    }


@cache
def place_of(home: str) -> tuple[str, str]:
    """The page of docs/api that documents a name, and its shortest public path, by its home."""
    return next(
        (page, f"{package}.{name}")
        for package, page in pages().items()
        for name, other in homes(package).items()
        if other == home
    )


@cache
def homes(package: str) -> dict[str, str]:
    """Where each public name of a package is defined, by name; the rooms it names are left out.

    Raises
    ------
    ValueError
        If the package has no door.
    """
    offered = _offered(package)
    return {
        name: _resolved(home) for name, home in sorted(offered.items()) if not _file(home).is_file()
    }


@cache
def _offered(package: str) -> dict[str, str]:
    """What a door imports in its first `if TYPE_CHECKING:`, by name."""
    tree = ast.parse(_file(package).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.If)]
    blocks = [node for node in found if ast.unparse(node.test) == "TYPE_CHECKING"]
    if not blocks:
        raise ValueError(f"{package} has no door: no `if TYPE_CHECKING:` names what it offers.")
    return _imported(blocks[0].body)


def _file(module: str) -> Path:
    package, *parts = module.split(".")
    path = ROOT.joinpath(FOLDERS.get(package, package), *parts)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imported(body: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for statement in body:
        for node in ast.walk(statement):
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
    """Follows doors that import a name themselves, to the file that makes it."""
    module, _, name = path.rpartition(".")
    file = _file(module)
    if not file.is_file():
        return path
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if name in _defined(tree):
        return path
    onward = _imported(tree.body).get(name)
    return _resolved(onward) if onward and onward.startswith("sae_nb") else path
