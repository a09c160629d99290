"""An argument's annotation, checked before the call: kinds, rules, shapes, what goes together."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, overload

import numpy as np
import torch
from torch import Tensor

from sae_nb._hints import wrong_call
from sae_nb.checks import _rules
from sae_nb.checks._argument_order import add_order
from sae_nb.checks._classes import ANY, CLASSES, LIKE
from sae_nb.checks._directions import as_dictionary
from sae_nb.checks._modes import are_own, ordinary, own_modes
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
    check_plain,
    check_real,
    check_seed,
    check_text,
    is_array,
    numbers_of_ours,
    shown,
)

Checked = TypeVar("Checked", bound=Callable[..., Any])


@overload
def checked(call: Checked) -> Checked: ...
@overload
def checked(
    *, leave: Collection[str] = (), keep_autocast: bool = False
) -> Callable[[Checked], Checked]: ...
def checked(call: Any = None, *, leave: Collection[str] = (), keep_autocast: bool = False) -> Any:
    """Check each argument of a public function, or of a class's making, by its annotation, before any work.

    The work is done outside of `torch.inference_mode` and `torch.autocast`, whatever the caller is in; with
    `keep_autocast`, which is for answers of a person's own model, outside of the first alone.

    Numbers of numpy become Python's. Rules that the function checks itself, because they differ, are
    named by `leave`; an annotation that has no words known here is left too. Of a data class the fields
    are checked, those that it inherits too.

    >>> @checked
    ... def repeat(text: str, n: int = 2) -> str:
    ...     return text * n
    >>> repeat("ab", n=2.5)
    Traceback (most recent call last):
    ...
    TypeError: `n` must be an integer, got 2.5.

    A rule in the annotation is checked with it.

    >>> @checked
    ... def shortened(text: str, n: Count) -> str:
    ...     return text[:n]
    >>> shortened("abc", 0)
    Traceback (most recent call last):
    ...
    ValueError: `n` must be at least 1, got 0.
    """
    if call is None:
        return lambda made: _with_checks(made, frozenset(leave), keep_autocast)
    return _with_checks(call, frozenset(leave), keep_autocast)


def shows_fields(of: Callable[..., Any]) -> Callable[[Checked], Checked]:
    """Spell out a function's `**settings`, the fields of a data class, in the signature that `help`,
    Jupyter's completion and `checked` read.

    >>> @shows_fields(Between)
    ... def drawn(n: int, **settings: float) -> list[float]:
    ...     return []
    >>> inspect.signature(drawn).parameters["low"].annotation
    'float'
    """

    def spelled_out(function: Checked) -> Checked:
        signature = inspect.signature(function)
        *own, _ = signature.parameters.values()
        parameters = [*own, *inspect.signature(of).parameters.values()]
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        function.fields_of = of  # type: ignore[attr-defined]
        return function

    return spelled_out


def _with_checks(call: Any, leave: frozenset[str], keep_autocast: bool) -> Any:
    if isinstance(call, type):
        own = "__init__" if "__init__" in vars(call) else "__new__"
        setattr(call, own, _with_checks(vars(call)[own], leave, keep_autocast))
        return call

    @functools.wraps(call)
    def with_checks(*args: object, **kwargs: object) -> object:
        if not are_own(keep_autocast=keep_autocast):
            with own_modes(keep_autocast=keep_autocast):
                return with_checks(*args, **kwargs)
        args, kwargs = tuple(map(ordinary, args)), ordinary(kwargs)
        arguments = _arguments(call, leave)
        if any(hasattr(type(value), "as_sae") for value in (*args, *kwargs.values())):
            args, kwargs = arguments.with_sae(args, kwargs)
        taken = None
        try:
            taken = placed, named = arguments.taken(args, kwargs)
            return call(*placed, **named)
        except (TypeError, ValueError) as error:
            # Of a call that does not fit, that is said first, but where the function has said it itself.
            wrong = wrong_call(call, args, kwargs) if taken is None or "() " in str(error) else ""
            if not wrong:
                add_order(error, call, args)
                raise
        if renamed := arguments.renamed(kwargs):
            return with_checks(*args, **renamed)
        raise TypeError(wrong)

    with_checks.left_out = leave  # type: ignore[attr-defined]
    return with_checks


def unchecked(call: Checked) -> Checked:
    """Return a checked function without its checks, for calls whose arguments are known to fit."""
    plain: Checked = inspect.unwrap(call)
    return plain


def rules_of(call: Callable[..., Any]) -> dict[str, tuple[Rule, ...]]:
    """Return the rules that the annotations of a public function, or of a class's making, give its arguments.

    Example
    -------
    >>> @checked
    ... def shortened(text: str, n: Count | None = None) -> str:
    ...     return text[:n]
    >>> {name: rule.words for name, (rule,) in rules_of(shortened).items()}
    {'n': 'be an integer, at least 1'}
    """
    if isinstance(call, type):
        makers = (getattr(call, own) for own in ("__init__", "__new__"))
        return next((rules_of(one) for one in makers if hasattr(one, "left_out")), {})
    leave = getattr(call, "left_out", None)
    if leave is None:
        return {}
    arguments = _arguments(inspect.unwrap(call), leave)
    rules = {
        name: tuple(kind.rule for kind in argument.kinds or () if kind.rule is not None)
        for name, argument in arguments.by_name.items()
    }
    return {name: of_one for name, of_one in rules.items() if of_one}


class _OtherKindError(TypeError):
    """The value is of another kind; the caller that tries the kinds names the right one."""


Sizes = dict[str, tuple[int, str]]
Names = Mapping[str, Any]
"""Values of the names in an annotation, if they are of the module that wrote it."""

Take = Callable[[object, str, Sizes], object]
"""Value, its argument's name, axes met so far → the value to continue with, or an error."""


class _Kind:
    """One alternative of an annotation: its words, what takes a value of it, the rule that it follows."""

    def __init__(self, words: str, take: Take, rule: Rule | None = None) -> None:
        self.words, self.take, self.rule = words, take, rule


_SAME = {"feature": "atom", "latent": "atom", "features": "atoms", "latents": "atoms"}
"""Other names of an atom: a call takes them where it takes that."""


class _Argument:
    """Name, default and kinds of an argument."""

    def __init__(self, parameter: inspect.Parameter, kinds: list[_Kind] | None) -> None:
        self.name, self.default, self.kinds = parameter.name, parameter.default, kinds
        self.of_atoms = self.name == "sae" or any(
            kind.words == CLASSES["SparseAutoencoder"] for kind in kinds or ()
        )
        """Whether it is an SAE, in whose place a direction can stand."""

    def taken(self, value: object, sizes: Sizes) -> object:
        check_plain(value, name=self.name)
        default = self.default
        if self.kinds is None or value is default:
            return value
        if isinstance(default, float) and default != default and value != value:
            return value  # NaN again, read from a file for example
        return _taken(value, self.kinds, self.name, sizes)


class _Arguments:
    """The arguments that a function takes, by place and by name."""

    def __init__(self, call: Callable[..., Any], leave: Collection[str]) -> None:
        self.signature = inspect.signature(call)
        names = _names(call)
        self.in_order: list[_Argument] = []
        self.by_name: dict[str, _Argument] = {}
        for p in self.signature.parameters.values():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                continue
            annotation = ANY.get(p.name, "Any") if p.annotation == "Any" else p.annotation
            argument = _Argument(p, None if p.name in leave else _kinds(annotation, names))
            self.by_name[p.name] = argument
            if p.kind is not p.KEYWORD_ONLY:
                self.in_order.append(argument)

    def taken(
        self, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        sizes: Sizes = {}
        placed, named = list(args), dict(kwargs)
        for i, argument in enumerate(self.in_order[: len(args)]):
            placed[i] = argument.taken(args[i], sizes)
        for name, value in kwargs.items():
            if name in self.by_name:
                named[name] = self.by_name[name].taken(value, sizes)
        return tuple(placed), named

    def with_sae(
        self, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """Put the SAE of one atom where a direction stands for one; its atom, if none is named, is 0."""
        named = dict(zip((one.name for one in self.in_order), args, strict=False)) | kwargs
        model, point, acts = (named.get(one) for one in ("model", "hook_point", "acts"))
        model = getattr(acts, "model_name", None) if model is None else model
        point = getattr(acts, "hook_point", None) if point is None else point
        made = {
            name: as_dictionary(value, model, point)
            for name, value in named.items()
            if name in self.by_name and self.by_name[name].of_atoms
        }
        changed = any(made[name] is not named[name] for name in made)
        kwargs = kwargs | {name: made[name] for name in made if name in kwargs}
        if changed and "atom" in self.by_name and not named.keys() & {"atom", *_SAME}:
            kwargs["atom"] = 0
        names = [one.name for one in self.in_order[: len(args)]]
        return tuple(made.get(name, value) for name, value in zip(names, args)), kwargs

    def renamed(self, kwargs: dict[str, object]) -> dict[str, object] | None:
        """Return keywords with `feature=` or `latent=` as the `atom=` that is meant; None if there is none."""
        meant = {word: _SAME[word] for word in kwargs if word in _SAME and word not in self.by_name}
        names = set(meant.values())
        if len(names) < len(meant) or not names <= self.by_name.keys() - kwargs.keys():
            return None  # none of them is taken, or one of them twice
        return {meant.get(word, word): value for word, value in kwargs.items()} if meant else None


def _names(call: Callable[..., Any]) -> Names:
    """Return the values of the annotations' names: rules, and names of the module of the function or
    its class.

    A data class takes over the fields of those it is made from, and with them the words of their modules;
    a function, those of the data class whose fields are its keywords (`shows_fields`).
    """
    written: Any = inspect.unwrap(call)
    own: dict[str, Any] = written.__globals__
    made = getattr(written, "fields_of", own.get(written.__qualname__.partition(".")[0]))
    above = made.__mro__ if isinstance(made, type) else ()
    return ChainMap(own, vars(_rules), *(vars(sys.modules[base.__module__]) for base in above))


@functools.cache
def _arguments(call: Callable[..., Any], leave: frozenset[str]) -> _Arguments:
    """Return the arguments of a function, read at its first call: importing it stays cheap."""
    return _Arguments(call, leave)


def _taken(value: object, kinds: list[_Kind], name: str, sizes: Sizes) -> object:
    wrong: Exception | None = None
    for kind in kinds:
        try:
            return kind.take(value, name, sizes)
        except _OtherKindError:
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


def _all_taken(values: Collection[Any], kinds: list[_Kind], name: str) -> bool:
    try:
        for value in values:
            _taken(value, kinds, name, {})
    except (TypeError, ValueError):
        return False
    return True


def _kinds(annotation: object, names: Names) -> list[_Kind] | None:
    """Return the alternatives of an annotation as written, or None if one of them is not known here."""
    if not isinstance(annotation, str):
        return None
    # Last what is read as a tensor: activations and lists are, where nothing else takes them.
    nodes = sorted(_alternatives(ast.parse(annotation, mode="eval").body), key=_is_array)
    found = [_kind(node, names) for node in nodes]
    if _PLAIN["Path"] in found:  # then text is a path too
        found = [kind for kind in found if kind is not _PLAIN["str"]]
    return None if None in found else [kind for kind in found if kind is not None]


def _alternatives(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _alternatives(node.left)
        yield from _alternatives(node.right)
    else:
        yield node


def _is_array(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and _SUBSCRIPTED.get(ast.unparse(node.value)) is _array


def _kind(node: ast.expr, names: Names) -> _Kind | None:
    if isinstance(node, ast.Subscript):
        head = ast.unparse(node.value).rpartition(".")[2]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _SUBSCRIPTED[head](head, inner, names) if head in _SUBSCRIPTED else None
    written = ast.unparse(node).rpartition(".")[2]
    if written in CLASSES:
        return _instance(written)
    return _PLAIN.get(written) or _alias(names.get(written))


def _alias(meant: object) -> _Kind | None:
    """A name for choices or for a rule: `Count`, or a `Literal` that its module has given a name."""
    if get_origin(meant) is Literal:
        return _choice(get_args(meant))
    if get_origin(meant) is Annotated:
        of, rule, *_ = get_args(meant)
        if isinstance(rule, OneOf):  # choices that may grow with a table
            return _choice(rule.choices)
        return _ruled(of.__name__, rule) if isinstance(rule, Between) else None
    return None


def _ruled(kind: str, rule: Between) -> _Kind:
    """A kind of which only some values are permitted."""
    permitted = rule.of_kind(kind)
    plain = _integer if kind == "int" else _PLAIN[kind]  # a rule has its own largest integer

    def take(value: object, name: str, sizes: Sizes) -> object:
        return permitted.check(plain.take(value, name, sizes), name=name)

    return _Kind(plain.words, take, permitted)


def _annotated(_: str, inner: list[ast.expr], names: Names) -> _Kind | None:
    """A rule that is written at the parameter: `Annotated[int, at_least(2)]`."""
    kind, written = ast.unparse(inner[0]), ast.unparse(inner[1])
    rule = eval(written, {}, names)  # noqa: S307 - the source's own words
    if isinstance(rule, OneOf):
        return _choice(rule.choices)
    return _ruled(kind, rule) if isinstance(rule, Between) else None


def _of(
    matches: Callable[[object], bool], words: str, check: Callable[..., Any] | None = None
) -> _Kind:
    """A kind that a checker above takes where the type fits; a value without one stays as it is."""

    def take(value: object, name: str, _: Sizes) -> object:
        if not matches(value):
            raise _OtherKindError
        return value if check is None else check(value, name=name)

    return _Kind(words, take)


def _what_passes(words: str, check: Callable[..., Any]) -> _Kind:
    """A kind whose checker knows the type: of another one it raises a TypeError."""

    def take(value: object, name: str, _: Sizes) -> object:
        try:
            return check(value, name=name)
        except TypeError:
            raise _OtherKindError from None

    return _Kind(words, take)


def _whole(value: object, *, name: str) -> int:
    if "seed" in name:
        return check_seed(value, name=name)
    most = None if "memory" in name or "bytes" in name else LARGEST
    return check_count(value, name=name, at_least=-LARGEST, at_most=most)


def _path(value: object, *, name: str) -> object:
    check_path(value, name=name)
    return value


def _instance(written: str) -> _Kind:
    """Return a class of ours, by its name: this module is below all of them."""

    def matches(value: object) -> bool:
        if written in map(attrgetter("__name__"), type(value).__mro__):
            return True
        if isinstance(value, type):
            return False
        return any(hasattr(value, name) for name in LIKE.get(written, ()))

    return _of(matches, CLASSES[written])


def _choice(choices: Collection[Any]) -> _Kind:
    rule = OneOf(choices)

    def take(value: object, name: str, _: Sizes) -> object:
        return rule.check(value, name=name)

    return _Kind(" or ".join(map(repr, choices)), take, rule)


def _several(head: str, inner: list[ast.expr], names: Names) -> _Kind:
    """A sequence: `Sequence[int]`, `tuple[float, float]`, `Iterable[str]`."""
    fixed = head == "tuple" and not any(ast.unparse(node) == "..." for node in inner)
    kinds = [_kinds(ast.unparse(node), names) for node in inner]
    words = f"a list of {len(kinds)} values" if fixed else "a list"

    def take(value: object, name: str, _: Sizes) -> object:
        if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | set):
            raise _OtherKindError
        one_shot = isinstance(value, Iterator) and head != "Iterable"
        if one_shot or getattr(value, "ndim", 1) == 0:
            raise _OtherKindError
        entries = list(value)
        if fixed and len(entries) != len(kinds):
            raise ValueError(f"`{name}` must hold {len(kinds)} values, got {len(entries)}.")
        each = kinds if fixed else [kinds[0]] * len(entries)
        made = [
            entry if kind is None else _taken(entry, kind, f"{name}[{i}]", {})
            for i, (entry, kind) in enumerate(zip(entries, each, strict=True))
        ]
        if isinstance(value, Iterator):
            return made
        same = all(a is b for a, b in zip(made, entries, strict=True))
        return value if same else tuple(made)

    each_rule = [kind.rule for kind in kinds[0] or () if isinstance(kind.rule, Between | OneOf)]
    return _Kind(words, take, Each(each_rule[0]) if each_rule and not fixed else None)


def _mapped(_: str, inner: list[ast.expr], names: Names) -> _Kind:
    keys, values = (_kinds(ast.unparse(node), names) for node in inner)

    def take(value: object, name: str, _: Sizes) -> object:
        if not isinstance(value, Mapping):
            raise _OtherKindError
        for key, entry in value.items():
            if keys is not None:
                _taken(key, keys, f"a key of {name}", {})
            if values is not None:
                _taken(entry, values, f"{name}[{shown(key)}]", {})
        return value

    return _Kind("a dict", take)


def _array(head: str, inner: list[ast.expr], _: Names) -> _Kind:
    """A tensor or array with the axes that jaxtyping's annotation names: `Float[Tensor, "n d_in"]`."""
    where, axes = ast.unparse(inner[0]), ast.literal_eval(inner[1]).split()
    wants_tensor = where.endswith("Tensor")
    words = "a torch tensor. Use torch.as_tensor(…)." if wants_tensor else "a numpy array"

    def take(value: object, name: str, sizes: Sizes) -> object:
        if wants_tensor and not isinstance(value, Tensor):
            try:
                value = as_tensor(value, name=name)
            except TypeError:
                raise _OtherKindError from None
        if not isinstance(value, Tensor if wants_tensor else np.ndarray):
            raise _OtherKindError
        _check_entries(value, head, name)
        _check_axes(value, axes, name, sizes)
        return value

    return _Kind(words, take)


def _check_entries(value: Tensor | np.ndarray, head: str, name: str) -> None:
    """Refuse a tensor without values, or with values of another sort than `Float`, `Int`, `Bool`."""
    dtype = str(value.dtype).removeprefix("torch.")
    kinds = {"float": "Float", "bool": "Bool", "int": "Int"}
    sort = next((sort for part, sort in kinds.items() if part in dtype), "")
    if isinstance(value, Tensor) and (value.layout != torch.strided or value.device.type == "meta"):
        what = "on the meta device" if value.device.type == "meta" else f"of layout {value.layout}"
        raise ValueError(f"`{name}` must be a dense tensor with values, got one {what}.")
    wanted = {"UInt8": "Int", "Float": "Float", "Int": "Int", "Bool": "Bool"}[head]
    if sort != wanted and not (wanted == "Int" and sort == "Bool"):
        rule = {"Float": "floating-point numbers", "Int": "integers", "Bool": "True and False"}[
            wanted
        ]
        do = f" Use {name}.float()." if wanted == "Float" and sort else ""
        raise TypeError(f"`{name}` must hold {rule}, got {value.dtype}.{do}")
    if isinstance(value, Tensor) and wanted == "Float" and value.ndim and value.numel():
        check_finite(value, name=name)


def _check_axes(value: Tensor | np.ndarray, axes: list[str], name: str, sizes: Sizes) -> None:
    """Refuse a tensor with other axes than named, empty, or unlike another argument's of the same name."""
    free = any(axis.startswith(("*", "...")) for axis in axes)
    if value.ndim < len(axes) - free or (value.ndim > len(axes) and not free):
        raise ValueError(f"`{name}` must have shape ({', '.join(axes)}), got {tuple(value.shape)}.")
    if axes and 0 in value.shape:
        raise ValueError(
            f"`{name}` must not be empty, got shape {tuple(value.shape)}. Pass at least one row."
        )
    if free:
        axes, lengths = axes[1:], value.shape[value.ndim - len(axes) + 1 :]
    else:
        lengths = value.shape
    for axis, length in zip(axes, lengths, strict=True):
        if axis.isdigit() and length != int(axis):
            raise ValueError(
                f"`{name}` must have shape ({', '.join(axes)}), got {tuple(value.shape)}."
            )
        if axis.isdigit():
            continue
        there, other = sizes.setdefault(axis, (length, name))
        if length != there:
            raise ValueError(
                f"`{name}` must have {axis}={there} like `{other}`, got shape {tuple(value.shape)}."
            )


_integer = _what_passes("an integer", check_integer)
_PLAIN: dict[str, _Kind] = {
    "int": _what_passes("an integer", _whole),
    "float": _what_passes("a number", check_real),
    "bool": _what_passes("True or False", check_flag),
    "str": _what_passes("text", check_text),
    "Path": _what_passes("a path", _path),
    "None": _of(lambda value: value is None, "None"),
    "slice": _of(lambda value: isinstance(value, slice), "a slice"),
    "Generator": _of(
        lambda value: isinstance(value, torch.Generator),
        "a torch generator. Use torch.Generator().manual_seed(0).",
    ),
    "dtype": _of(
        lambda value: isinstance(value, torch.dtype),
        "a torch dtype. Use one such as torch.float32.",
    ),
    "device": _of(lambda value: isinstance(value, torch.device), "a device"),
    **dict.fromkeys(("Judge", "Make"), _of(callable, "a function", check_callable)),
    "Tensor": _of(is_array, "a torch tensor. Use torch.as_tensor(…).", as_tensor),
}
"""Names in annotations that are a kind of their own."""

_SUBSCRIPTED: dict[str, Callable[[str, list[ast.expr], Names], _Kind | None]] = {
    **dict.fromkeys(("Sequence", "Iterable", "list", "tuple"), _several),
    **dict.fromkeys(("Mapping", "dict"), _mapped),
    **dict.fromkeys(("Float", "Int", "Bool", "UInt8"), _array),
    "Callable": lambda *_: _of(callable, "a function", check_callable),
    "PathLike": lambda *_: _PLAIN["Path"],
    "Literal": lambda _, inner, __: _choice(tuple(ast.literal_eval(node) for node in inner)),
    "Annotated": _annotated,
}
