"""Lazy exports: the `__init__` of a package names what it offers, once, and imports it on first use.

A name, a keyword or an attribute that is not there is answered with what it is called here: first by
`words.toml`, the words of other libraries, else by the nearest name.
"""

from __future__ import annotations

import ast
import functools
import itertools
import sys
from abc import ABCMeta
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
Exports = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def lazy_exports(module: str) -> Exports:
    """Return `__getattr__`, `__dir__` and `__all__` of a package, read from its `if TYPE_CHECKING:`.

    Type checkers and editors follow the imports written there; nothing is imported before a name is
    used.
    """
    homes = exports(module)
    if module == "sae_nb" and find_spec(STUDIES) is None:  # listed is what is there
        present = [name for name, home in homes.items() if not home.startswith(STUDIES)]
    else:
        present = list(homes)
    public = sorted(name for name in present if homes[name] not in (module, STUDIES, _PANELS))

    def find(name: str) -> object:
        if name not in homes:
            private = name.startswith("_")  # which no study offers
            if not private and (study := _study_of(module)) and hasattr(study, name):
                return getattr(study, name)
            if (tool := _tool_of(module)) and name in tool.__all__:
                return getattr(tool, name)
            raise AttributeError(_Later(lambda: _not_exported(module, name, listed())), name=name)
        home = homes[name]
        if home == module:  # a package inside this one
            return import_module(f"{module}.{name}")
        if home.partition(".")[0] == STUDIES:
            studies()  # or what to install
        value = getattr(_panels() if home == _PANELS else import_module(home), name)
        setattr(sys.modules[module], name, value)
        return value

    def listed() -> list[str]:
        study = _study_of(module)
        return sorted({*present, *(study.__all__ if study is not None else ())})

    return find, listed, public


def exports(package: str) -> dict[str, str]:
    """Return the module of each name that a package offers, from its first `if TYPE_CHECKING:`."""
    loader: Any = find_spec(package).loader  # type: ignore[union-attr]
    body = ast.parse(loader.get_source(package)).body
    typed = (n for n in body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    imports = [node for node in next(typed).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


# -------------------------------------------------------------------------------------------------
# Studies: a package of their own, above the tool, which imports none of them; found here by name alone.

STUDIES = "sae_nb_studies"
_PANELS = "sae_nb_widgets"
_INSTALL = (
    'pip install "sae-nb-studies @ git+https://github.com/sae-nb/sae_nb#subdirectory=studies"'
)


def studies() -> ModuleType:
    """Import the package of studies; if it is not installed, say how to get it."""
    try:
        return import_module(STUDIES)
    except ModuleNotFoundError as error:
        if error.name != STUDIES:
            raise
    raise ModuleNotFoundError(
        f"This is part of the package `sae-nb-studies`, which is not installed here. Run `{_INSTALL}`.",
        name=STUDIES,
    )


def _panels() -> ModuleType:
    """Import the panels, which are names of `sae_nb` too; if a part is not installed, say how to get it."""
    try:
        return import_module(_PANELS)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Panels need `{error.name}`, which is not installed here. Run "
            '`pip install "sae-nb @ git+https://github.com/sae-nb/sae_nb"`.',
            name=error.name,
        ) from None


def check_version(package: str) -> None:
    """Raise ImportError where a package that goes with `sae-nb` is installed in another version."""
    from importlib import metadata

    try:
        own, tool = metadata.version(package), metadata.version("sae-nb")
    except metadata.PackageNotFoundError:  # a folder on the path
        return
    if own != tool:
        raise ImportError(
            f"`{package}` must have the version of `sae-nb`, {tool}, got {own}. "
            "Install both from one version of the repository."
        )


def _study_of(package: str) -> ModuleType | None:
    """Return the study that continues where a package of the tool ends, if there is one."""
    top, _, name = package.partition(".")
    if top != "sae_nb" or not name or "." in name or find_spec(STUDIES) is None:
        return None
    study = f"{STUDIES}.{name}"
    return import_module(study) if find_spec(study) is not None else None


def _tool_of(study: str) -> ModuleType | None:
    """Return the package of the tool that a study continues, if there is one."""
    top, _, name = study.partition(".")
    is_study = top == STUDIES and name and "." not in name
    there = is_study and PathFinder.find_spec(f"sae_nb.{name}", sys.modules["sae_nb"].__path__)
    return import_module(f"sae_nb.{name}") if there and there.origin else None


def offered_by_a_study(name: str) -> Any:
    """Return what a study offers under a name, or None if no study offers it."""
    packages = [getattr(studies(), study) for study in dir(studies())]
    return next((getattr(one, name) for one in packages if name in one.__all__), None)


# -------------------------------------------------------------------------------------------------
# Where a module is now that scripts, cards and pickles know by its path of 0.2.0; for one release.

_MOVED = (
    ("sae_nb.studies", STUDIES),
    ("sae_nb.studies.circuits", "sae_nb.circuits"),
    ("sae_nb.studies.evaluation.cross_model", "sae_nb.diffing"),
    ("sae_nb.studies.uses", "sae_nb.corpora"),
    ("sae_nb.studies.uses", "sae_nb.generation"),
    ("sae_nb.models.recipes", f"{STUDIES}.recipes"),
    ("sae_nb.pretrained.making", f"{STUDIES}.recipes.saes"),
    ("sae_nb_lessons.reproductions", f"{STUDIES}.reproductions"),
    ("sae_nb.studies.minkowski._places", f"{STUDIES}.minkowski._atom_positions"),
    ("sae_nb.architectures._memberships", "sae_nb.architectures._simplex_codes"),
    ("sae_nb.atoms._heard", "sae_nb.atoms._sound_clips"),
    ("sae_nb.evaluation._which", "sae_nb.evaluation._recommend"),
    ("sae_nb.geometry._lists", "sae_nb.geometry._ivf_index"),
    ("sae_nb.serving._shelf", "sae_nb.serving._registry"),
    *(
        (f"sae_nb.{study}", f"{STUDIES}.{study}")
        for study in ("lab", "minkowski", "uses", "vision")
    ),
    ("sae_nb", STUDIES),
)
"""Older and present beginnings of paths; the first under which there is a source is taken."""


class _FormerPlaces(MetaPathFinder, Loader):
    """Finds a module where it once was; one that has a source is found as always.

    It is asked first, since a folder that an older version left behind, without a source, would be
    taken for the module.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(("sae_nb.", "sae_nb_lessons.reproductions")):
            return None
        parent = name.rpartition(".")[0]
        if sys.modules[parent].__name__ == parent:  # else it was found by an older path itself
            here = PathFinder.find_spec(name, path, target)
            if here is not None and here.origin is not None:
                return here
        there = _moved(name)
        return there and ModuleSpec(
            name,
            self,
            origin=there.origin,
            loader_state=there.name,
            is_package=there.submodule_search_locations is not None,
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(spec.loader_state)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec again, in place of this finder's."""
        module.__spec__ = module.__spec__.loader_state  # type: ignore[union-attr]

    def get_code(self, name: str) -> CodeType:
        """`python -m` with an older path, which cards name."""
        there: Any = _moved(name)
        code: CodeType = there.loader.get_code(there.name)
        return code


def _moved(name: str) -> ModuleSpec | None:
    """Return where a module of an older path is today, or say what to install for it."""
    fitting = [(old, now) for old, now in _MOVED if f"{name}.".startswith(f"{old}.")]
    for old, now in fitting:
        try:
            there = find_spec(now + name[len(old) :])
        except ModuleNotFoundError:
            continue
        if there is not None and there.origin is not None:
            return there
    if len(fitting) > 1 and find_spec(STUDIES) is None:  # the last one fits any name
        studies()
    return None


sys.meta_path.insert(0, _FormerPlaces())


# -------------------------------------------------------------------------------------------------
# Names and attributes that are not there.


class _Later:
    """A sentence that is written when it is read: `hasattr` asks often and reads nothing."""

    def __init__(self, write: Callable[[], str]) -> None:
        self._write = write

    def __str__(self) -> str:
        return self._write()

    def __repr__(self) -> str:
        return repr(str(self))

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


@functools.cache
def words() -> dict[str, dict[str, Any]]:
    """Return the words of other libraries, by what they are names of: a package, a class, a call's
    keywords.
    """
    import tomllib
    from importlib.resources import files

    return tomllib.loads(files("sae_nb").joinpath("words.toml").read_text(encoding="utf-8"))


def near(name: str, known: Iterable[str], n: int = 3, *, likeness: float = 0.67) -> list[str]:
    """Return the known names that are spelled most like one that is unknown: within two edits, alike as a
    whole, or with a long word of it.
    """
    from difflib import get_close_matches

    wanted, small = name.lower(), {str(other).lower(): str(other) for other in known}
    most = 2 if len(wanted) > 5 else min(1, len(wanted) - 1)  # two make any short name of any other
    distances = {other: edits(wanted, other, most=most) for other in small}
    typed = sorted((far, other) for other, far in distances.items() if far is not None)
    alike = get_close_matches(wanted, small, n=n, cutoff=likeness)
    long = [word for word in wanted.split("_") if len(word) > 5]
    shared = [other for other in small if any(word in other.split("_") for word in long)]
    found = dict.fromkeys([*(other for _, other in typed), *alike, *shared])
    return [small[other] for other in found][:n]


def edits(a: str, b: str, *, most: int) -> int | None:
    """Return how many letters must be put in, left out, exchanged or swapped with the next; None beyond `most`.

    Source: Damerau 1964 (optimal string alignment).

    Example
    -------
    >>> edits("r3", "r2", most=2), edits("resid", "reisd", most=2), edits("atom", "code", most=2)
    (1, 1, None)
    """
    if abs(len(a) - len(b)) > most:
        return None
    before, row = [0] * (len(b) + 1), list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        older, before, row = before, row, [i]
        for j, other in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, a[i - 2]) == (b[j - 2], other):
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1] if row[-1] <= most else None


_SHORT = {"sae_nb": "sn", "sae_nb_widgets": "sw"}
"""Names under which notebooks import the packages."""


def _not_exported(module: str, name: str, known: Iterable[str]) -> str:
    said = f"module {module!r} has no attribute {name!r}."
    package = module.partition(".")[0]
    if word := words().get(package, {}).get(name):
        return f"{said} {_as_sentence(word)}"
    panels = package == "sae_nb" and find_spec(_PANELS) is not None
    if panels and name in exports(_PANELS):
        return f"{said} It is a panel: `sw.{name}`, after `import sae_nb_widgets as sw`."
    if close := near(name, known):
        return f"{said} Did you mean {_either(close)}?"
    if package == "sae_nb" and find_spec(STUDIES) is None:
        return f"{said} More is in the package `sae-nb-studies`: `{_INSTALL}`."
    return (
        f"{said} `dir({_SHORT.get(package, package)}{module[len(package) :]})` lists what it has."
    )


def no_attribute(owner: object, name: str) -> Any:
    """Answer for an attribute that an object has not; a property that failed raises its own error."""
    if hasattr(type(owner), name):
        return object.__getattribute__(owner, name)
    raise AttributeError(_Later(lambda: _not_an_attribute(type(owner), name)), name=name)


def _not_an_attribute(kind: type, name: str) -> str:
    known = [attribute for attribute in dir(kind) if not attribute.startswith("_")]
    said = f"{kind.__name__!r} object has no attribute {name!r}."
    return f"{said} {here_it_is(kind, name, known)}".strip()


def here_it_is(kind: type, name: str, known: Iterable[str]) -> str:
    """Return our words for a name of another library; nothing if nothing is near."""
    for base in kind.__mro__:
        if word := words().get(base.__name__, {}).get(name):
            return _as_sentence(word)
    if hasattr(kind, "to_pandas") and not name.startswith("_"):
        from pandas import DataFrame  # slow to import, and only an error asks

        if hasattr(DataFrame, name):
            return f"Its table has it: `.to_pandas().{name}`."
    close = near(name, known)
    return f"Did you mean {_either(close)}?" if close else ""


class ClassOfOtherWords(ABCMeta):
    """Metaclass: `TopK.from_pretrained`, an attribute of the class itself, is answered in the same way."""

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> NoReturn:
            raise AttributeError(_Later(lambda: _not_an_attribute(cls, name)), name=name)


class KnowsOtherWords(metaclass=ClassOfOtherWords):
    """Mixed in: an attribute that is not there is answered with what it is called here."""

    if not TYPE_CHECKING:
        __getattr__ = no_attribute

    def save(self, *_: Any, **__: Any) -> Any:
        """Answer where nothing is saved: nnsight puts a `save` of its own on every object."""
        raise AttributeError(_not_an_attribute(type(self), "save"), name="save")


def _as_sentence(word: str | list[str]) -> str:
    """Return the words for what to write instead, or the sentence where there is nothing to write."""
    is_sentence = isinstance(word, str) and word.endswith(".")
    return str(word) if is_sentence else f"Here it is {_either(word)}."


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _either(options: str | list[str]) -> str:
    return _listed_with("or", _listed(options))


def _listed_with(word: str, options: list[str]) -> str:
    *most, last = [f"`{option}`" for option in options]
    return f"{', '.join(most)} {word} {last}" if most else last


# -------------------------------------------------------------------------------------------------
# Calls that do not fit.


def answers_wrong_calls(function: Function) -> Function:
    """Return the same function, but a call that does not fit is answered with one that would."""
    outside = codes_around(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if last_frame(error) not in outside | {call.__code__}:  # type: ignore[attr-defined]
                raise
            sentence = wrong_call(function, args, kwargs) or str(error)
        raise TypeError(sentence)

    return call  # type: ignore[return-value]


def codes_around(function: object) -> set[CodeType | None]:
    """Return the code of what is wrapped around a function: a call that does not fit never gets further."""
    around: set[CodeType | None] = set()
    while hasattr(function, "__wrapped__"):
        around.add(getattr(function, "__code__", None))
        function = function.__wrapped__
    return around


def last_frame(error: BaseException) -> CodeType | None:
    """The code that an error left last."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code if traceback is not None else None


def wrong_call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return what would fit in place of a call of a function, or of `__init__`, that does not."""
    called = type(args[0]) if function.__name__ == "__init__" and args else function
    called = args[0] if function.__name__ == "__new__" and args else called
    import inspect

    name, parameters = called.__name__, list(inspect.signature(function).parameters.values())
    bound = int(bool(parameters) and parameters[0].name == "self")
    parameters, args = parameters[bound:], args[bound:]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    places = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [base.__name__ for base in called.__mro__] if isinstance(called, type) else [name]
    unknown = [word for word in kwargs if word not in named]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):  # others may be right
        unknown = [word for word in unknown if _meant(word, named, names)]
    said = [unknown_keyword(word, named, *names) for word in unknown]
    twice = [word for word in places[: len(args)] if word in kwargs]
    said += [f"`{name}` got `{word}` twice: by place, and by name." for word in twice]
    if len(args) > len(places):
        others = ", ".join(f"{word}=…" for word in named if word not in places)
        by_name = f" Give the others by name: {others}." if others else ""
        most = f"at most {len(places)} argument{'s' * (len(places) != 1)} by place"
        said.append(f"`{name}` takes {most}, got {len(args)}.{by_name}")
        said += _instead(name)
    if not said:
        given = {*places[: len(args)], *kwargs}
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p.name for p in parameters if p.default is p.empty and p.kind not in several]
        missing = [name for name in needed if name not in given]
        about = _documented(called, missing[0]) if len(missing) == 1 else ""
        said = (
            [f"`{name}` needs {_listed_with('and', missing)}. {about}".strip(), *_instead(name)]
            if missing
            else []
        )
    return " ".join(said)


def _instead(name: str) -> list[str]:
    """Return the sentence on a call that is often written otherwise."""
    return [sentence] if (sentence := words()["calls"].get(name)) else []


def _documented(called: object, name: str) -> str:
    """The first sentence that a docstring has about a parameter."""
    import inspect

    lines = iter((inspect.getdoc(called) or "").splitlines())
    if not any(name in line.split(", ") for line in lines):
        return ""
    about = " ".join(itertools.takewhile(lambda line: line.startswith(" "), lines)).split()
    sentence = " ".join(about).partition(". ")[0].rstrip(".")
    return f"{sentence}." if sentence else ""


def unknown_keyword(word: str, known: Iterable[str], *names: str) -> str:
    """Return what to write for a keyword that a call does not take, known by its name (a class: its
    bases' too).
    """
    known = list(known)
    options, said = _meant(word, known, names), f"`{names[0]}` takes no `{word}`."
    if options and options[0].endswith("."):
        return f"{said} {options[0]}"
    if options:
        note = words()["notes"].get(options[0])
        return f"{said} Here it is {_either(options)}{f': {note}' if note else ''}."
    if close := near(word, known, n=2):
        return f"{said} Did you mean {_either(close)}?"
    return f"{said} It takes {', '.join(known)}." if known else said


def _meant(word: str, known: list[str], names: Iterable[str]) -> list[str]:
    """The keyword that goes by another word elsewhere, or what to write where there is none."""
    general = words()["keywords"]
    tables = [general[name] for name in names if isinstance(general.get(name), dict)]
    options = next((_listed(table[word]) for table in (*tables, general) if word in table), [])
    keywords = [option for option in options if option in known]
    return keywords[:1] or [option for option in options if not option.isidentifier()]
