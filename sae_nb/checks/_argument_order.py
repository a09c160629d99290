"""One order of arguments everywhere: model, hook_point, sae, inputs; an older one is read for one release."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

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
        def in_order(*args: Any, **kwargs: Any) -> Any:
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
