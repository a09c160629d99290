"""The names that a package offers: its `__init__` names them once, they are imported on first use (PEP 562).

For every package, of the tool and of those above it; `check_version` for the top of a distribution.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from sae_nb._hints import not_exported

Exports = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]

STUDIES = "sae_nb_studies"  # above the tool, which imports none of them: found here by name alone
_PANELS = "sae_nb_widgets"
_REPOSITORY = "git+https://github.com/sae-nb/sae_nb"
_INSTALL = f'pip install "sae-nb-studies @ {_REPOSITORY}#subdirectory=studies"'


def lazy_exports(module: str) -> Exports:
    """Return `__getattr__`, `__dir__` and `__all__` of a package, read from its `if TYPE_CHECKING:`.

    Type checkers and editors follow the imports written there; nothing is imported before a name is
    used. A package of the tool goes on in the study of its name, if studies are installed. To be called
    in the branch `else:`, with `__name__`.

    Example
    -------
    >>> __getattr__, __dir__, __all__ = lazy_exports("sae_nb.sweeps")
    >>> __all__, exports_of("sae_nb.sweeps")
    (['sweep'], {'sweep': 'sae_nb.sweeps._sweep'})
    """
    homes = exports_of(module)
    present = [n for n, home in homes.items() if not home.startswith(STUDIES) or _has_studies()]
    public = sorted(name for name in present if homes[name] not in (module, STUDIES, _PANELS))

    def find(name: str) -> object:
        if name in homes:
            home = homes[name]
            if home == module:  # a package inside this one
                return import_module(f"{module}.{name}")
            value = getattr(imported(home), name)
            setattr(sys.modules[module], name, value)
            return value
        if not name.startswith("_") and (study := _study_of(module)) and hasattr(study, name):
            return getattr(study, name)
        more = "" if _has_studies() else f"More is in the package `sae-nb-studies`: `{_INSTALL}`."
        raise AttributeError(not_exported(module, name, listed, more), name=name)

    def listed() -> list[str]:
        return sorted({*present, *getattr(_study_of(module), "__all__", ())})

    return find, listed, public


def exports_of(package: str) -> dict[str, str]:
    """Return the module that each name of a package is in, from the first `if TYPE_CHECKING:` there."""
    loader: Any = find_spec(package).loader  # type: ignore[union-attr]
    body = ast.parse(loader.get_source(package)).body
    typed = (n for n in body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    imports = [node for node in next(typed).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def studies() -> ModuleType:
    """Import the package of studies; if it is not installed, say how to get it."""
    return imported(STUDIES)


def offered_by_a_study(name: str) -> Any:
    """Return what a study offers under a name, or None if no study offers it."""
    packages = [getattr(studies(), study) for study in dir(studies())]
    return next((getattr(one, name) for one in packages if name in one.__all__), None)


def check_version(package: str) -> None:
    """Refuse a distribution that goes with `sae-nb` and is installed in another version; "sae-nb-studies", say.

    Raises
    ------
    ImportError
        If the versions differ. A folder on the path, which is not installed, is not asked.
    """
    from importlib import metadata

    try:
        own, tool = metadata.version(package), metadata.version("sae-nb")
    except metadata.PackageNotFoundError:
        return
    if own != tool:
        raise ImportError(
            f"`{package}` must have the version of `sae-nb`, {tool}, got {own}. "
            "Install both from one version of the repository."
        )


def imported(module: str) -> ModuleType:
    """Import a module; if it is of a part that is not installed, say what to install."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        part, lacks = module.partition(".")[0], error.name
    if part == STUDIES and not _has_studies():
        said = f"This is part of the package `sae-nb-studies`, which is not installed here. Run `{_INSTALL}`."
    elif part == _PANELS:
        run = f'pip install "sae-nb @ {_REPOSITORY}"'
        said = f"Panels need `{lacks}`, which is not installed here. Run `{run}`."
    else:
        return import_module(module)  # its own error
    raise ModuleNotFoundError(said, name=lacks)


def _has_studies() -> bool:
    return find_spec(STUDIES) is not None


def _study_of(package: str) -> ModuleType | None:
    """Return the study that continues where a package of the tool ends, if there is one."""
    top, _, name = package.partition(".")
    if top != "sae_nb" or not name or "." in name or not _has_studies():
        return None
    study = f"{STUDIES}.{name}"
    return import_module(study) if find_spec(study) is not None else None


class _OlderPaths:
    """Asked last for a module: one of `sae_nb` that is nowhere is where an older version had it."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name.startswith("sae_nb."):
            install = "" if _has_studies() else f", which is not installed here: `{_INSTALL}`"
            raise ModuleNotFoundError(
                f"There is no module {name!r} in this version. Public names are in `sae_nb` and its packages, "
                f"papers' own code is in `{STUDIES}` (`sn.lab`, `from sae_nb_studies.lab import …`){install}; "
                "docs/upgrade.md lists what moved. A pickle is opened by the version that wrote it: save what "
                "it holds by its `.save(folder)`.",
                name=name,
            )


sys.meta_path.append(_OlderPaths)
