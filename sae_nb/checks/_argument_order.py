"""One order of arguments everywhere: model, hook_point, sae, inputs; one in another's place hears it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from sae_nb.checks._hook_point_names import STANDARD

OWN_NAMES = {
    "LiveModel": ("model", "first_model"),
    "SparseAutoencoder": ("sae", "dictionary"),
    "Activations": ("acts", "data", "x"),
    "SparseCodes": ("codes",),
}
"""Classes that calls take by place, and the names of their parameters."""


def add_order(
    error: TypeError | ValueError, call: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    """Add the order of a call's arguments to its error, if one was given in another's place."""
    names = list(inspect.signature(call).parameters)
    if names[:1] == ["self"]:
        names, args = names[1:], args[1:]
    owners = [_owners(value, names) for value in args]
    wrong = any(own and name not in own for name, own in zip(names, owners, strict=False))
    if not wrong or " order " in str(error):
        return
    wanted = {*names[: len(args)], *(name for own in owners for name in own[:1])}
    last = max(i for i, name in enumerate(names) if name in wanted)
    shown = ", ".join(names[: last + 1]) + (", …" if last + 1 < len(names) else "")
    called = call.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    # What to do instead is another thing here: the argument is there already.
    rule = re.match(r"`\w+` must be .*?, got .*?\.(?= |$)", str(error))
    error.args = (f"{rule[0] if rule else error} The order is {called}({shown}).",)


def _owners(value: object, names: list[str]) -> list[str]:
    """Return the parameters of a call that a value belongs to; none if it has none of its own."""
    if isinstance(value, str):
        is_place = STANDARD.fullmatch(value)
        return [name for name in names if name.startswith("hook_point")] if is_place else []
    kinds = [base.__name__ for base in type(value).__mro__]
    own = next((OWN_NAMES[kind] for kind in kinds if kind in OWN_NAMES), ())
    return [name for name in names if name in own]
