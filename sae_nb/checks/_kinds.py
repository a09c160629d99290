"""What an annotation takes: alternatives with their words, how each takes a value, the rule it follows."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import torch
from jaxtyping import AbstractArray, Float
from torch import Tensor

from sae_nb.checks import _rules
from sae_nb.checks._classes import CLASSES, LIKE
from sae_nb.checks._rules import Between, Each, OneOf, Rule
from sae_nb.checks._values import (
    LARGEST,
    as_tensor,
    check_callable,
    check_count,
    check_finite,
    check_flag,
    check_hook_name,
    check_integer,
    check_path,
    check_real,
    check_seed,
    check_text,
    is_array,
    numbers_of_ours,
    shown,
)

Sizes = dict[str, tuple[int, str]]
"""Axes met so far: their length, and the argument that has it."""

Take = Callable[[Any, str, Sizes], object]
"""Value, its argument's name, axes met so far → the value to continue with, or an error."""


@dataclass(frozen=True)
class Kind:
    """One alternative of an annotation."""

    words: str
    take: Take
    rule: Rule | None = None


class OtherKindError(TypeError):
    """The value is of another kind; the caller that tries the kinds names the right one."""


def taken(value: object, kinds: list[Kind], name: str, sizes: Sizes) -> object:
    """Return a value as the first kind that it is of takes it; of none, say what there is."""
    wrong: Exception | None = None
    for kind in kinds:
        try:
            return kind.take(value, name, sizes)
        except OtherKindError:
            continue
        except (TypeError, ValueError) as error:
            wrong = wrong or error
    if wrong is not None:
        raise wrong
    if "hook_point" in name and not isinstance(value, Iterable):
        check_hook_name(value)
    parts = [kind.words.partition(". ") for kind in kinds]
    alternatives = dict.fromkeys(what for what, _, _ in parts)
    if len(alternatives) > 1:
        alternatives.pop("None", None)
    rule = " or ".join(alternatives)
    do = next((f" {do}" for _, _, do in parts if do), "")
    if "tensor" in rule and (of_ours := numbers_of_ours(value)):
        do = f" {of_ours}"
    if isinstance(value, list | tuple) and value and _all_taken(value, kinds, name):
        do = f" Call it for each of them: [… for {name} in {name}s]."
    raise TypeError(f"`{name}` must be {rule}, got {shown(value)}.{do}")


def _all_taken(values: Collection[Any], kinds: list[Kind], name: str) -> bool:
    try:
        for value in values:
            taken(value, kinds, name, {})
    except (TypeError, ValueError):
        return False
    return True


# -------------------------------------------------------------------------------------------------
# From an annotation as it is written to its kinds.


class _Elsewhere(type):
    """A class that is imported for type checkers alone: known here by its name."""

    def __getattr__(cls, name: str) -> _Elsewhere:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Elsewhere(name, (), {})

    def __getitem__(cls, _: object) -> _Elsewhere:
        return cls


class _Names(ChainMap[str, Any]):
    def __missing__(self, name: str) -> _Elsewhere:
        return _Elsewhere(name, (), {})


def kinds_of(call: Callable[..., Any], leave: Collection[str]) -> dict[str, list[Kind] | None]:
    """Return the kinds of each argument of a function; None where it is left, or one is not known here.

    A data class takes over the fields of those it is made from, and with them the words of their modules;
    a function, those of the data class whose fields are its keywords (`shows_fields`).
    """
    plain: Any = inspect.unwrap(call)
    own: dict[str, Any] = plain.__globals__
    made = getattr(plain, "fields_of", own.get(plain.__qualname__.partition(".")[0]))
    above = made.__mro__ if isinstance(made, type) else ()
    modules = [vars(sys.modules[base.__module__]) for base in above]
    known = {"Float": Float, "Tensor": Tensor, "np": np, "torch": torch}
    names = _Names(own, vars(_rules), *modules, vars(builtins), known)
    written = {p.name: p.annotation for p in inspect.signature(call).parameters.values()}
    return {
        name: _kinds(eval(_ANY.get(name, text) if text == "Any" else text, {}, names))  # noqa: S307 - source
        if isinstance(text, str) and name not in leave
        else None
        for name, text in written.items()
    }


_ANY = {
    "sae": 'SparseAutoencoder | Float[Tensor, "n_atoms d_in"] | None',
    "small": "SparseAutoencoder",
    "large": "SparseAutoencoder",
}
"""Meaning of `Any` for an argument of that name: an SAE, one of one's own, or its atoms alone."""


def _kinds(hint: Any) -> list[Kind] | None:
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    # Last what is read as a tensor: activations and lists are, where nothing else takes them.
    found = [_kind(one) for one in sorted(members, key=_is_array)]
    if _PLAIN["Path"] in found:  # then text is a path too
        found = [kind for kind in found if kind is not _PLAIN["str"]]
    return None if None in found else [kind for kind in found if kind is not None]


def _is_array(hint: Any) -> bool:
    return isinstance(hint, type) and get_origin(hint) is None and issubclass(hint, AbstractArray)


def _kind(hint: Any) -> Kind | None:
    origin, inner = get_origin(hint), get_args(hint)
    if _is_array(hint):
        return _array(hint)
    if hint is None:
        return _PLAIN["NoneType"]
    if origin is Literal:
        return _choice(inner)
    if origin is Annotated:
        return _ruled(*inner)
    name = getattr(hint if origin is None else origin, "__name__", "")
    if origin is not None:
        return _HOLDING[name](name, inner) if name in _HOLDING else None
    return _instance(name) if name in CLASSES else _PLAIN.get(name)


def _ruled(of: type, rule: object, *_: object) -> Kind | None:
    """A kind of which only some values are permitted: `Annotated[int, at_least(2)]`, `Count`."""
    if isinstance(rule, OneOf):
        return _choice(rule.choices)
    if not isinstance(rule, Between):
        return None
    permitted = rule.of_kind(of.__name__)
    plain = _INTEGER if of is int else _PLAIN[of.__name__]  # a rule has its own largest integer

    def take(value: object, name: str, sizes: Sizes) -> object:
        return permitted.check(plain.take(value, name, sizes), name=name)

    return Kind(plain.words, take, permitted)


def _choice(choices: Collection[Any]) -> Kind:
    rule = OneOf(choices)
    return Kind(
        " or ".join(map(repr, choices)), lambda value, name, _: rule.check(value, name=name), rule
    )


def _of(
    words: str, matches: Callable[[Any], bool] | None, check: Callable[..., Any] | None = None
) -> Kind:
    """A kind that a check above takes where the type matches; without `matches`, the check knows the type and
    raises a TypeError for another one.
    """

    def take(value: object, name: str, _: Sizes) -> object:
        if matches is not None and not matches(value):
            raise OtherKindError
        try:
            return value if check is None else check(value, name=name)
        except TypeError:
            if matches is None:
                raise OtherKindError from None
            raise

    return Kind(words, take)


def _whole(value: object, *, name: str) -> int:
    if "seed" in name:
        return check_seed(value, name=name)
    most = None if "memory" in name or "bytes" in name else LARGEST
    return check_count(value, name=name, at_least=-LARGEST, at_most=most)


def _path(value: object, *, name: str) -> object:
    check_path(value, name=name)
    return value


def _instance(written: str) -> Kind:
    """Return a class of ours, by its name: this module is below all of them."""

    def matches(value: object) -> bool:
        if written in map(attrgetter("__name__"), type(value).__mro__):
            return True
        like = () if isinstance(value, type) else LIKE.get(written, ())
        return any(hasattr(value, name) for name in like)

    return _of(CLASSES[written], matches)


def _several(head: str, inner: tuple[Any, ...]) -> Kind:
    """A sequence: `Sequence[int]`, `tuple[float, float]`, `Iterable[str]`."""
    fixed = head == "tuple" and ... not in inner
    kinds = [_kinds(one) for one in inner]
    words = f"a list of {len(kinds)} values" if fixed else "a list"

    def take(value: object, name: str, _: Sizes) -> object:
        if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | set):
            raise OtherKindError
        one_shot = isinstance(value, Iterator) and head != "Iterable"
        if one_shot or getattr(value, "ndim", 1) == 0:
            raise OtherKindError
        entries = list(value)
        if fixed and len(entries) != len(kinds):
            raise ValueError(f"`{name}` must hold {len(kinds)} values, got {len(entries)}.")
        each = kinds if fixed else [kinds[0]] * len(entries)
        made = [
            entry if kind is None else taken(entry, kind, f"{name}[{i}]", {})
            for i, (entry, kind) in enumerate(zip(entries, each, strict=True))
        ]
        if isinstance(value, Iterator):
            return made
        same = all(a is b for a, b in zip(made, entries, strict=True))
        return value if same else tuple(made)

    rules = [kind.rule for kind in kinds[0] or () if isinstance(kind.rule, Between | OneOf)]
    return Kind(words, take, Each(rules[0]) if rules and not fixed else None)


def _mapped(_: str, inner: tuple[Any, ...]) -> Kind:
    keys, values = map(_kinds, inner)

    def take(value: object, name: str, _: Sizes) -> object:
        if not isinstance(value, Mapping):
            raise OtherKindError
        for key, entry in value.items():
            if keys is not None:
                taken(key, keys, f"a key of {name}", {})
            if values is not None:
                taken(entry, values, f"{name}[{shown(key)}]", {})
        return value

    return Kind("a dict", take)


_INTEGER = _of("an integer", None, check_integer)
_FUNCTION = _of("a function", callable, check_callable)
_PLAIN = {
    "int": _of("an integer", None, _whole),
    "float": _of("a number", None, check_real),
    "bool": _of("True or False", None, check_flag),
    "str": _of("text", None, check_text),
    "Path": _of("a path", None, _path),
    "NoneType": _of("None", lambda value: value is None),
    "slice": _of("a slice", lambda value: isinstance(value, slice)),
    "Generator": _of(
        "a torch generator. Use torch.Generator().manual_seed(0).",
        lambda value: isinstance(value, torch.Generator),
    ),
    "dtype": _of(
        "a torch dtype. Use one such as torch.float32.",
        lambda value: isinstance(value, torch.dtype),
    ),
    "device": _of("a device", lambda value: isinstance(value, torch.device)),
    "Tensor": _of("a torch tensor. Use torch.as_tensor(…).", is_array, as_tensor),
}
"""Names in annotations that are a kind of their own."""

_HOLDING: dict[str, Callable[[str, tuple[Any, ...]], Kind]] = {
    **dict.fromkeys(("Sequence", "Iterable", "list", "tuple"), _several),
    **dict.fromkeys(("Mapping", "dict"), _mapped),
    "Callable": lambda *_: _FUNCTION,
    "PathLike": lambda *_: _PLAIN["Path"],
}


# -------------------------------------------------------------------------------------------------
# Tensors and arrays, with the axes that jaxtyping's annotation names.


def _array(hint: Any) -> Kind | None:
    """A tensor or array: `Float[Tensor, "n d_in"]`."""
    head, axes = hint.dtype.__name__, hint.dim_str.split()
    free = any(axis.startswith(("*", "...")) for axis in axes)
    if head not in _ENTRIES:
        return None
    wants_tensor = hint.array_type.__name__ == "Tensor"
    words = "a torch tensor. Use torch.as_tensor(…)." if wants_tensor else "a numpy array"

    def take(value: Any, name: str, sizes: Sizes) -> object:
        if wants_tensor and not isinstance(value, Tensor):
            try:
                value = as_tensor(value, name=name)
            except TypeError:
                raise OtherKindError from None
        if not isinstance(value, Tensor if wants_tensor else np.ndarray):
            raise OtherKindError
        _check_entries(value, head, name)
        _check_axes(value.shape, axes, free, name, sizes)
        return value

    return Kind(words, take)


_ENTRIES = {
    "Float": ("floating-point numbers", ("float",)),
    "Int": ("integers", ("int", "bool")),
    "UInt8": ("integers", ("int", "bool")),
    "Bool": ("True and False", ("bool",)),
}
"""Words for what an array holds, and what the names of its dtypes contain."""


@functools.cache
def _holds(head: str, dtype: object) -> bool:
    return any(sort in str(dtype) for sort in _ENTRIES[head][1])


def _check_entries(value: Tensor | np.ndarray, head: str, name: str) -> None:
    """Refuse a tensor without values, or with values of another sort than `Float`, `Int`, `Bool`."""
    if isinstance(value, Tensor) and (value.layout != torch.strided or value.device.type == "meta"):
        what = "on the meta device" if value.device.type == "meta" else f"of layout {value.layout}"
        raise ValueError(f"`{name}` must be a dense tensor with values, got one {what}.")
    if not _holds(head, value.dtype):
        do = f" Use {name}.float()." if head == "Float" and _holds("Int", value.dtype) else ""
        raise TypeError(f"`{name}` must hold {_ENTRIES[head][0]}, got {value.dtype}.{do}")
    if isinstance(value, Tensor) and head == "Float" and value.ndim and value.numel():
        check_finite(value, name=name)


def _check_axes(
    shape: tuple[int, ...], axes: list[str], free: bool, name: str, sizes: Sizes
) -> None:
    """Refuse a shape of other axes than named, empty, or unlike another argument's of the same name; before
    them may be others, if the first is `free`.
    """
    named = axes[1:] if free else axes
    lengths = shape[-len(named) :] if free and named else shape
    fits = len(shape) >= len(named) if free else len(shape) == len(named)
    if axes and 0 in shape and fits:
        raise ValueError(
            f"`{name}` must not be empty, got shape {tuple(shape)}. Pass at least one row."
        )
    for axis, length in zip(named, lengths, strict=False) if fits else ():
        if axis.isdigit():
            fits = fits and length == int(axis)
            continue
        there, other = sizes.setdefault(axis, (length, name))
        if length != there:
            raise ValueError(
                f"`{name}` must have {axis}={there} like `{other}`, got shape {tuple(shape)}."
            )
    if not fits:
        raise ValueError(f"`{name}` must have shape ({', '.join(axes)}), got {tuple(shape)}.")
