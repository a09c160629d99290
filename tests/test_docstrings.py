"""Public names are documented, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest
import sae_nb_lessons
import sae_nb_widgets

import sae_nb

SCRIPTS = (
    "sae_nb.models.recipes",
    "sae_nb.pretrained.making.__main__",
)  # their imports are their work
HARDWARE = ("sae_nb.kernels._cuda",)


def _modules() -> list[str]:
    names = []
    for package in (sae_nb, sae_nb_widgets, sae_nb_lessons):
        walk = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [package.__name__, *(module.name for module in walk)]
    return [name for name in names if not name.startswith((*SCRIPTS, *HARDWARE))]


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


@pytest.mark.parametrize("name", _modules())
def test_public_names_have_docstrings(name: str) -> None:
    """Every module, public function, class and method says what it is."""
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} does not open with a sentence"
    silent = [n for n, value in _public(module) if not (inspect.getdoc(value) or "").strip()]
    assert not silent


class _Examples(doctest.DocTestFinder):
    """Doctest looks past what wraps a function only to read its text: also to see whose it is."""

    def _from_module(self, module: ModuleType | None, object: object) -> bool:
        return super()._from_module(module, inspect.unwrap(object))  # type: ignore


@pytest.mark.parametrize("name", _modules())
def test_examples_run(name: str) -> None:
    """What a docstring shows is what happens."""
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in _Examples().find(module, name):
        runner.run(test)
    assert runner.summarize().failed == 0


def test_the_names_people_meet_first_show_an_example() -> None:
    """Each function or class of the package's front door has an example."""
    silent = []
    for name in sae_nb.__all__:
        value = getattr(sae_nb, name)
        if callable(value) and ">>>" not in (inspect.getdoc(value) or ""):
            silent.append(name)
    assert set(silent) <= {"HookPointNotFound"}
