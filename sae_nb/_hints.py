"""A name, a keyword or an attribute that is not there is answered with what it is called here.

`words.toml` has the words of other libraries; what it has not is answered with the nearest name.
"""

from __future__ import annotations

import functools
from abc import ABCMeta
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn


@functools.cache
def words(kind: str) -> dict[str, list[str]]:
    """Return what to write here for each name of others: of "names", or of "models" on the hub."""
    import tomllib
    from importlib.resources import files

    table = tomllib.loads(files("sae_nb").joinpath("words.toml").read_text(encoding="utf-8"))[kind]
    here: dict[str, list[str]] = {}
    for ours, theirs in table.items():
        for name in theirs:
            here.setdefault(name, []).append(ours)
    return here


def near(name: str, known: Iterable[str], n: int = 3, *, likeness: float = 0.67) -> list[str]:
    """Return the known names that are spelled most like one that is unknown, in small letters."""
    from difflib import get_close_matches

    small = {str(other).lower(): str(other) for other in known}
    return [small[other] for other in get_close_matches(name.lower(), small, n, likeness)]


def hint(name: str, known: Iterable[str]) -> str:
    """Return the sentence that says what a name is here; "" where nothing is near.

    >>> hint("d_sae", ["d_in", "n_atoms"]), hint("n_atom", ["d_in", "n_atoms"])
    ('Here it is `n_atoms`.', 'Did you mean `n_atoms`?')
    """
    known = set(known)
    ours = words("names").get(name, [])
    fitting = [one for one in ours if one in known][:1]
    ways = fitting or [one.replace("*", name) for one in ours if not one.isidentifier()]
    if ways and ways[0].endswith("."):
        return ways[0]
    if ways:
        return f"Here it is {_either(ways)}."
    close = near(name, known)
    return f"Did you mean {_either(close)}?" if close else ""


def _either(options: list[str]) -> str:
    *most, last = [f"`{option}`" for option in options]
    return f"{', '.join(most)} or {last}" if most else last


# -------------------------------------------------------------------------------------------------
# Names of modules, attributes of objects.


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


def not_exported(module: str, name: str, listed: Callable[[], list[str]], otherwise: str) -> _Later:
    """Return the answer for a name that a package does not have, which is `otherwise` if nothing is near."""

    def said() -> str:
        short = module.replace("sae_nb_widgets", "sw").replace("sae_nb", "sn", 1)
        do = hint(name, listed()) or otherwise or f"`dir({short})` lists what it has."
        return f"module {module!r} has no attribute {name!r}. {do}"

    return _Later(said)


def no_attribute(owner: object, name: str) -> Any:
    """Answer for an attribute that an object has not; to be the `__getattr__` of its class.

    Raises
    ------
    AttributeError
        With what the name is called here; a property that failed raises its own error.
    """
    if hasattr(type(owner), name):
        return object.__getattribute__(owner, name)
    raise AttributeError(_Later(functools.partial(_not_there, owner, name)), name=name)


def _not_there(owner: object, name: str) -> str:
    kind = owner if isinstance(owner, type) else type(owner)
    known = [one for one in dir(owner) if not one.startswith("_")]
    if getattr(kind, "save", None) is KnowsOtherWords.save:
        known.remove("save")
    return f"{kind.__name__!r} object has no attribute {name!r}. {hint(name, known)}".strip()


class ClassOfOtherWords(ABCMeta):
    """Metaclass: `TopK.from_pretrained`, an attribute of the class itself, is answered in the same way."""

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> NoReturn:
            raise AttributeError(_Later(functools.partial(_not_there, cls, name)), name=name)


class KnowsOtherWords(metaclass=ClassOfOtherWords):
    """Mixed in: an attribute that is not there is answered with what it is called here."""

    if not TYPE_CHECKING:
        __getattr__ = no_attribute

    def save(self, *_: Any, **__: Any) -> Any:
        """Answer where nothing is saved: nnsight puts a `save` of its own on every object."""
        raise AttributeError(_not_there(self, "save"), name="save")


# -------------------------------------------------------------------------------------------------
# Calls that do not fit.


def wrong_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return what would fit in place of a call of a function, or of `__init__`, that does not; else ""."""
    import inspect

    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        misfit = error
    else:
        return ""
    made = function.__name__ in ("__init__", "__new__")
    called = args[0] if made else function
    name = called.__name__ if hasattr(called, "__name__") else type(called).__name__
    taken = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    names = [one.name for one in taken]
    unknown = [unknown_keyword(word, names, name) for word in kwargs if word not in names]
    places = [one.name for one in taken if one.kind is not one.KEYWORD_ONLY]
    by_name = [f"{one.name}=…" for one in taken if one.kind is one.KEYWORD_ONLY]
    shown = ", ".join([*places, *by_name[:3], *(["…"] if len(by_name) > 3 else [])])
    return " ".join(unknown) or f"`{name}` is called as {name}({shown}): {misfit}."


def unknown_keyword(word: str, known: Iterable[str], call: str) -> str:
    """Return what to write for a keyword that a call does not take."""
    known = list(known)
    do = hint(word, known) or f"It takes {', '.join(known)}."
    return f"`{call}` takes no `{word}`. {do}"
