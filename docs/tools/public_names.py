"""Public names of packages, as the packages export them, and where they are documented."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from sae_nb.exports import exports_of

# One page for all: `sae_nb_lessons` names functions, its packages the rest.
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


@cache
def pages() -> dict[str, str]:
    """Where each package is documented, in docs/api: every package of the contents of `sae_nb`.

    A study has a page like any package; what it adds to one of the same name is on that one's.
    """
    packages = sorted(
        f"{top}.{name}"
        for top in ("sae_nb", "sae_nb_studies")
        for name, module in exports_of(top).items()
        if module == top
    )
    return {
        "sae_nb": "sae_nb.md",
        "sae_nb_widgets": "widgets.md",
        **{package: f"{package.rpartition('.')[2]}.md" for package in packages},
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
    """Where each public name of a package is defined, by name; the packages that it names are left out."""
    return {
        name: _resolved(module, name)
        for name, module in sorted(exports_of(package).items())
        if module not in (package, "sae_nb_studies", "sae_nb_widgets")
    }


def _resolved(module: str, name: str) -> str:
    """Follow packages that import a name themselves, to the file that makes it."""
    spec = find_spec(module)
    onward = exports_of(module) if spec and spec.submodule_search_locations else {}
    return _resolved(onward[name], name) if name in onward else f"{module}.{name}"
