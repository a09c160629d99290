"""One order of arguments everywhere: model, hook_point, sae, inputs.

An older one is read for one release; an argument in the place of another is answered with the order.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

from sae_nb.checks._hook_point_names import STANDARD
from sae_nb.checks._values import warn_caller

Function = TypeVar("Function", bound=Callable[..., Any])


def takes_old_order(*old: str) -> Callable[[Function], Function]:
    """Let a function take its first arguments in an old order too, with a warning that names the new one.

    The old order is told by what is passed: where the new one has an SAE, it has none, and it has a hook point
    later. Or it has inputs by place and the hook point by name.

    >>> @takes_old_order("model", "inputs", "hook_point", "sae")
    ... def read(model: Any, hook_point: str, sae: Any, inputs: Any) -> str:
    ...     return hook_point
    >>> read("a model", "resid_post.0", type("SAE", (), {"dictionary": 1}), ["a text"])
    'resid_post.0'
    """

    def decorated(function: Function) -> Function:
        parameters = list(inspect.signature(function).parameters)
        first = parameters[: len(old)]
        hook_point, sae = (
            old.index("hook_point"),
            next(i for i, name in enumerate(first) if name in ("sae", "dictionary")),
        )

        @functools.wraps(function)
        def in_order(*args: object, **kwargs: object) -> object:
            by_place = len(args) > hook_point and isinstance(args[hook_point], str)
            is_old = by_place and not hasattr(args[sae], "dictionary")
            is_old |= len(args) > 1 and "hook_point" in kwargs
            if is_old:
                names = [name for name in old if name not in kwargs] + parameters[len(old) :]
                warn_caller(
                    f"`{function.__name__}` takes its arguments in the order {', '.join(first)}, as "
                    "everything that reads a model does. The old order is read too, for one more release."
                )
                args, kwargs = (), dict(zip(names, args, strict=False)) | kwargs
            return function(*args, **kwargs)

        return in_order  # type: ignore[return-value]

    return decorated


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
    """Add the order of a call's arguments to an error on one that was given in another's place."""
    about = re.match(r"`(\w+)`|(No hook point|Hook points are)", str(error))
    names = [p.name for p in inspect.signature(call).parameters.values()]
    if names[:1] == ["self"]:
        names, args = names[1:], args[1:]
    wrong = _misplaced(names, args)
    if about is None or " order " in str(error):
        return
    of_place = about[2] and any(name.startswith("hook_point") for name in wrong)
    if about[1] not in wrong and not of_place:
        return
    called = call.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    last = max(i for i, name in enumerate(names) if name in _wanted(names, args))
    shown = ", ".join(names[: last + 1]) + (", …" if last + 1 < len(names) else "")
    # What to do instead is another thing here: the argument is there already.
    rule = re.match(r"`\w+` must be .*?, got .*?\.(?= |$)", str(error))
    error.args = (f"{rule[0] if rule else error} The order is {called}({shown}).",)


def _misplaced(names: list[str], args: tuple[Any, ...]) -> set[str]:
    """Return the parameters from the first that got what belongs to another."""
    places = zip(names, args, strict=False)
    wrong = [
        i
        for i, (name, value) in enumerate(places)
        if (own := _own(value, names)) and name not in own
    ]
    return set(names[wrong[0] : len(args)]) if wrong else set()


def _wanted(names: list[str], args: tuple[Any, ...]) -> set[str]:
    """Return the parameters that arguments belong to, and those that got them."""
    owners = {name for value in args for name in _own(value, names)[:1]}
    return owners | set(names[: len(args)])


def _own(value: object, names: list[str]) -> list[str]:
    """Return the parameters of a call that a value belongs to; none if it has none of its own."""
    if isinstance(value, str):
        is_place = STANDARD.fullmatch(value)
        return [name for name in names if name.startswith("hook_point")] if is_place else []
    kinds = [base.__name__ for base in type(value).__mro__]
    own = next((OWN_NAMES[kind] for kind in kinds if kind in OWN_NAMES), ())
    return [name for name in names if name in own]
