"""Public names and signatures, as the last release had them, and what has changed since.

    python -m tests.packaging.public_api --write  # after a release: its names become those to compare with

`tests/packaging/public_api.txt` holds the list: the version, then a name on each line, below what it belongs to. A name that is gone, a parameter that is gone, needed, moved or has another
default: each needs a line in CHANGELOG.md above the release's heading.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sae_nb_widgets as sw

import sae_nb as sn

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name("public_api.txt")
OURS = ("sae_nb", "sae_nb_widgets", "sae_nb_studies")

Names = dict[str, list[str] | None]
"""Dotted names; of what can be called, its parameters, `name` or `name=default`, after `*` by keyword alone."""


def public_names(*, once: bool = False) -> Names:
    """Everything in `__all__` of `sae_nb`, of the panels and of its packages, with the members of classes.

    `once` leaves out what follows from another line: parameters and members of what was listed under another name,
    members of a class above, fields that are parameters of their dataclass.
    """
    modules = [value for name in dir(sn) if inspect.ismodule(value := getattr(sn, name))]
    packages = [one for one in modules if one.__name__.startswith("sae_nb.")]
    found: Names = {}
    values: set[object] = set()
    bases: set[type] = set()
    for package in (sn, sw, *packages):
        found[package.__name__] = None
        for name in package.__all__:
            value, path = getattr(package, name), f"{package.__name__}.{name}"
            found[path] = None
            if not callable(value) or (once and value in values):
                continue
            values.add(value)
            found[path] = _parameters(value)
            if inspect.isclass(value):
                members = _members(value, bases if once else set())
                if once and dataclasses.is_dataclass(value):
                    members -= {field.name for field in dataclasses.fields(value) if field.init}
                for one in members:
                    found[f"{path}.{one}"] = _parameters(inspect.getattr_static(value, one, None))
                bases.update(value.__mro__)
    return dict(sorted(found.items()))


def _members(kind: type, left_out: set[type]) -> set[str]:
    bases = [one for one in kind.__mro__ if one.__module__.startswith(OURS) and one not in left_out]
    names = {
        name for base in bases for name in (*vars(base), *vars(base).get("__annotations__", ()))
    }
    return {name for name in names if not name.startswith("_")}


def _parameters(value: Any) -> list[str] | None:
    value = getattr(value, "__func__", value)  # of a classmethod or staticmethod
    if not inspect.isroutine(value) and not inspect.isclass(value):
        return None
    try:
        given = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return None
    found: list[str] = []
    for one in (one for one in given if one.name != "self"):
        if one.kind is one.KEYWORD_ONLY and not any(other.startswith("*") for other in found):
            found.append("*")
        default = "" if one.default is one.empty else f"={_written(one.default)}"
        stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        found.append(f"{stars}{one.name}{default}")
    return found


def _written(default: object) -> str:
    text = repr(default)
    return f"<{type(default).__name__}>" if " at 0x" in text or len(text) > 60 else text


def changes(before: Names, now: Names) -> list[tuple[str, str, list[str]]]:
    """What a caller of before may stumble over: the name, a sentence, the words that a line about it must have."""
    found: list[tuple[str, str, list[str]]] = []
    for name, old in before.items():
        inside, _, last = name.rpartition(".")
        if name not in now:
            if inside in now or inside not in before:  # else its class or package is gone
                found.append((name, "is gone", [last]))
        elif old is not None and (new := now[name]) is not None:
            found += [(name, said, [last, *words]) for said, words in _changed_parameters(old, new)]
    return found


def _changed_parameters(old: list[str], new: list[str]) -> list[tuple[str, list[str]]]:
    before, after = (dict(one.partition("=")[::2] for one in given) for given in (old, new))
    found = []
    for name in (name for name in before if not name.startswith("*")):
        if name not in after:
            found.append((f"takes no `{name}` any more", [name]))
        elif before[name] != after[name]:
            was, is_now = (one or "no default" for one in (before[name], after[name]))
            found.append((f"`{name}`: {was} is {is_now} now", [name]))
    needed = [n for n in after if n not in before and not after[n] and not n.startswith("*")]
    found += [(f"needs `{name}` now", [name]) for name in needed]
    places, places_now = (
        [name for name in _before_star(given) if name in after]
        for given in (list(before), list(after))
    )
    if places_now[: len(places)] != places and not needed:
        found.append(("takes its arguments in another order", []))
    return found


def _before_star(names: list[str]) -> list[str]:
    stars = [i for i, name in enumerate(names) if name.startswith("*")]
    return names[: stars[0]] if stars else names


def unexplained(found: list[tuple[str, str, list[str]]], changelog: str, release: str) -> list[str]:
    """Those of the changes that no line above the release's heading names, with all their words, in code."""
    lines = changelog.partition(f"\n## {release}")[0].splitlines()
    codes = [set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", line)))) for line in lines]
    return [
        f"`{name}` {said}, and no line of CHANGELOG.md above {release} has {', '.join(words)} in code."
        for name, said, words in found
        if not any(set(words) <= there for there in codes)
    ]


def since_release() -> list[str]:
    """What has changed since the list was written, and no line of CHANGELOG.md says."""
    release, _, kept = KEPT.read_text(encoding="utf-8").partition("\n")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return unexplained(changes(listed(kept), public_names()), changelog, release)


def as_list(names: Names) -> str:
    """One line for each name, indented below what it belongs to."""
    called = {
        name: "" if given is None else f"({'; '.join(given)})" for name, given in names.items()
    }
    return "".join(
        f"{' ' * name.count('.')}{name.rpartition('.')[2]}{what}\n" for name, what in called.items()
    )


def listed(text: str) -> Names:
    """The names of such a list."""
    found: Names = {}
    above: list[str] = []
    for line in text.splitlines():
        name, called, given = line.strip().removesuffix(")").partition("(")
        above[len(line) - len(line.lstrip()) :] = [name]
        found[".".join(above)] = (given.split("; ") if given else []) if called else None
    return found


def main() -> None:
    """Print what no line says; with `--write`, keep today's names."""
    if "--write" not in sys.argv:
        sys.exit("\n".join(since_release()))
    KEPT.write_text(f"{version('sae-nb')}\n{as_list(public_names(once=True))}", encoding="utf-8")


if __name__ == "__main__":
    main()
