"""Texts that are kept beside the code in TOML: claims of experiments, tasks of lessons; and records made of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import resources
from typing import Any, TypeVar

_Record = TypeVar("_Record")


def read_toml(package: str, name: str) -> dict[str, Any]:
    """Read a TOML file of texts that lies in a package; as in Markdown, a line break is a space."""
    try:
        text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
        return {key: _unwrapped(value) for key, value in tomllib.loads(text).items()}
    except (FileNotFoundError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{package} needs a TOML file {name}, but: {error}.") from error


def _unwrapped(value: object) -> Any:
    """Return paragraphs of one line each, in every text of the value."""
    if isinstance(value, str):
        return "\n\n".join(" ".join(part.split()) for part in value.split("\n\n"))
    if isinstance(value, list):
        return [_unwrapped(part) for part in value]
    if isinstance(value, dict):
        return {key: _unwrapped(part) for key, part in value.items()}
    return value


def filled(kind: type[_Record], entry: Mapping[str, Any], where: str, **more: Any) -> _Record:
    """Make a record of an entry of a file, and of `more`; `where` names the entry in errors."""
    known = {field.name: field for field in fields(kind) if field.name not in more}  # type: ignore[arg-type]
    needed = {
        name
        for name, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING
    }
    for what, names in (("lacks", needed - entry.keys()), ("must not have", entry.keys() - known)):
        if names:
            raise ValueError(
                f"{where} {what} {', '.join(sorted(names))}. It takes {', '.join(known)}."
            )
    return kind(**entry, **more)
