"""Public names are documented, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Collection, Iterator
from types import ModuleType

import pytest
import sae_nb_lessons
import sae_nb_widgets

import sae_nb

SCRIPTS = (
    "sae_nb_studies.recipes",
    "sae_nb_studies.recipes.saes.__main__",
)  # their imports are their work
HARDWARE = ("sae_nb.kernels._cuda", "sae_nb.kernels._triton", "sae_nb.pursuit._triton")


def _by_package() -> dict[str, list[str]]:
    """The modules of each package; what stands alone at the top of a package counts to the package."""
    found: dict[str, list[str]] = {}
    for package in (sae_nb, sae_nb_widgets, sae_nb_lessons):
        names = [package.__name__]
        walk = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        for module in walk:
            names.append(module.name)
            if module.ispkg and module.name.count(".") <= 1 + (".studies." in module.name):
                found[module.name] = []
        found[package.__name__] = []
        for name in names:
            if not name.startswith((*SCRIPTS, *HARDWARE)):
                owner = max((r for r in found if f"{name}.".startswith(f"{r}.")), key=len)
                found[owner].append(name)
    return {package: names for package, names in sorted(found.items()) if names}


BY_PACKAGE = _by_package()
each_package = pytest.mark.parametrize("package", BY_PACKAGE)


def _public(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name, value in vars(module).items():
        made_here = getattr(value, "__module__", None) == module.__name__
        if made_here and not name.startswith("_") and callable(value):
            yield name, value
            if inspect.isclass(value):
                for method, body in vars(value).items():
                    function = getattr(body, "fget", body)
                    if not method.startswith("_") and inspect.isfunction(function):
                        yield f"{name}.{method}", function


@each_package
def test_public_names_have_docstrings(package: str) -> None:
    """Every module, public function, class and method says what it is."""
    silent = []
    for name in BY_PACKAGE[package]:
        module = importlib.import_module(name)
        found = [(name, module), *((f"{name}.{n}", value) for n, value in _public(module))]
        silent += [n for n, value in found if not (inspect.getdoc(value) or "").strip()]
    assert silent == []


class _Examples(doctest.DocTestFinder):
    """Doctest looks past what wraps a function only to read its text: also to see whose it is."""

    def _from_module(self, module: ModuleType | None, object: object) -> bool:
        return super()._from_module(module, inspect.unwrap(object))  # type: ignore


def failed_examples(names: list[str], left: Collection[str] = ()) -> str:
    """What the examples of some modules give that they do not show: file, line, expected and got.

    Those of the functions named in `left` are not run.
    """
    runner = doctest.DocTestRunner(
        verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    said: list[str] = []
    for name in names:
        for test in _Examples().find(importlib.import_module(name), name):
            if test.name.rpartition(".")[2] not in left:
                runner.run(test, out=said.append)
    return "".join(said)


@pytest.mark.slow
@each_package
def test_examples_run(package: str) -> None:
    """What a docstring shows is what happens."""
    assert failed_examples(BY_PACKAGE[package]) == ""


def test_the_names_people_meet_first_show_an_example() -> None:
    """Each function or class of the package's front module has an example."""
    silent = []
    for name in sae_nb.__all__:
        value = getattr(sae_nb, name)
        if callable(value) and ">>>" not in (inspect.getdoc(value) or ""):
            silent.append(name)
    assert set(silent) <= {"HookPointNotFound"}
