"""Torch's modes around a call: what the tool computes, it computes in ordinary tensors of its own dtype.

`checked` leaves `torch.inference_mode` and `torch.autocast` for the length of a public call; `in_own_modes`
and `methods_in_own_modes` do so where arguments are checked by hand, or there are none. Tensors made in
inference mode, which autograd may not keep, are copied on their way in. Grad mode stays as the caller has
it: inference mode is without gradients, and so is what is called in it.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Call = TypeVar("Call", bound=Callable[..., Any])

_DEVICES = ("cpu", "cuda", "mps")


def are_own(*, keep_autocast: bool = False) -> bool:
    """Return whether there is nothing to leave."""
    if torch.is_inference_mode_enabled():
        return False
    if keep_autocast or not torch._C._is_any_autocast_enabled():  # one question for all
        return True
    return not any(map(torch.is_autocast_enabled, _DEVICES))


@contextmanager
def own_modes(*, keep_autocast: bool = False) -> Iterator[None]:
    """Leave inference mode and autocast inside a block."""
    with ExitStack() as left:
        if torch.is_inference_mode_enabled():
            left.enter_context(torch.inference_mode(False))
            left.enter_context(torch.no_grad())
        if not keep_autocast:
            for device in filter(torch.is_autocast_enabled, _DEVICES):
                left.enter_context(torch.autocast(device, enabled=False))
        yield


def in_own_modes(call: Call) -> Call:
    """Return a function that leaves inference mode and autocast while it runs.

    >>> @in_own_modes
    ... def product(x: Tensor) -> Tensor:
    ...     return x @ x
    >>> with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
    ...     product(torch.eye(2)).dtype, product(torch.eye(2)).is_inference()
    (torch.float32, False)
    """

    @functools.wraps(call)
    def in_own(*args: Any, **kwargs: Any) -> Any:
        if not are_own():
            with own_modes():
                return in_own(*args, **kwargs)
        if not kwargs:
            return call(*map(ordinary, args))
        return call(*map(ordinary, args), **{name: ordinary(x) for name, x in kwargs.items()})

    return in_own  # type: ignore[return-value]


def methods_in_own_modes(cls: type, *names: str) -> None:
    """Let methods and properties of a class leave inference mode and autocast: those named, or all public."""
    for name, value in list(vars(cls).items()):
        if name not in names and (names or name.startswith("_")):
            continue
        if inspect.isfunction(value) and not hasattr(value, "left_out"):
            setattr(cls, name, in_own_modes(value))
        elif isinstance(value, property) and value.fget is not None:
            setattr(cls, name, value.getter(in_own_modes(value.fget)))
        elif isinstance(value, functools.cached_property):
            value.func = in_own_modes(value.func)


def ordinary(value: Any) -> Any:
    """Return a tensor, or those in a list or dict, as autograd may keep it: copied if made in inference mode.

    To be called outside of that mode.
    """
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    kind = type(value)
    if kind in (list, tuple) and value and type(value[0]) is not str:
        made = list(map(ordinary, value))
        return value if all(map(operator.is_, made, value)) else kind(made)
    if kind is dict:
        of_keys = {key: ordinary(one) for key, one in value.items()}
        return value if all(of_keys[key] is one for key, one in value.items()) else of_keys
    return value


def make_ordinary(module: nn.Module) -> None:
    """Put ordinary weights and buffers in the place of those that were made in inference mode."""
    with own_modes():
        made: dict[Tensor, Tensor] = {}  # what is shared stays so
        for part in module.modules():
            for table in (part._parameters, part._buffers):
                for name, old in table.items():
                    if old is None or not old.is_inference():
                        continue
                    if old not in made:
                        new = old.detach().clone()
                        is_weight = isinstance(old, nn.Parameter)
                        made[old] = nn.Parameter(new, old.requires_grad) if is_weight else new
                    table[name] = made[old]  # type: ignore[assignment]  # of the kind it was
