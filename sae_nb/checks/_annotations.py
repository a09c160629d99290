"""Arguments of public calls, checked by their annotations before the call, and given by other names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeVar, overload

from sae_nb._hints import wrong_call
from sae_nb.checks._argument_order import add_order
from sae_nb.checks._classes import CLASSES
from sae_nb.checks._directions import as_dictionary
from sae_nb.checks._kinds import Kind, Sizes, kinds_of, taken
from sae_nb.checks._modes import are_own, ordinary, own_modes
from sae_nb.checks._rules import Rule
from sae_nb.checks._values import check_plain

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

    >>> from sae_nb.checks import Between
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
        fits = None
        try:
            fits = placed, named = arguments.taken(args, kwargs)
            return call(*placed, **named)
        except (TypeError, ValueError) as error:
            # Of a call that does not fit, that is said first, but where the function has said it itself.
            wrong = wrong_call(call, args, kwargs) if fits is None or "() " in str(error) else ""
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


_SAME = {"feature": "atom", "latent": "atom", "features": "atoms", "latents": "atoms"}
"""Other names of an atom: a call takes them where it takes that."""


class _Argument(NamedTuple):
    name: str
    default: object
    kinds: list[Kind] | None

    @property
    def is_sae(self) -> bool:
        """Whether it is an SAE, in whose place a direction can stand."""
        words = CLASSES["SparseAutoencoder"]
        return self.name == "sae" or any(kind.words == words for kind in self.kinds or ())

    def taken(self, value: object, sizes: Sizes) -> object:
        name, default, kinds = self
        check_plain(value, name=name)
        if kinds is None or value is default:
            return value
        if isinstance(default, float) and default != default and value != value:
            return value  # NaN again, read from a file for example
        return taken(value, kinds, name, sizes)


class _Arguments:
    """The arguments that a function takes, by place and by name."""

    def __init__(self, call: Callable[..., Any], leave: Collection[str]) -> None:
        kinds, self.in_order, self.by_name = kinds_of(call, leave), [], {}
        for p in inspect.signature(call).parameters.values():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                continue
            self.by_name[p.name] = argument = _Argument(p.name, p.default, kinds[p.name])
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
        names = [one.name for one in self.in_order[: len(args)]]
        named = dict(zip(names, args, strict=False)) | kwargs
        model, point, acts = (named.get(one) for one in ("model", "hook_point", "acts"))
        model = getattr(acts, "model_name", None) if model is None else model
        point = getattr(acts, "hook_point", None) if point is None else point
        of_atoms = {
            name for name in named.keys() & self.by_name.keys() if self.by_name[name].is_sae
        }
        made = {
            name: as_dictionary(value, model, point) if name in of_atoms else value
            for name, value in named.items()
        }
        changed = any(made[name] is not named[name] for name in made)
        kwargs = {name: made[name] for name in kwargs}
        if changed and "atom" in self.by_name and not named.keys() & {"atom", *_SAME}:
            kwargs["atom"] = 0
        return (*(made[name] for name in names), *args[len(names) :]), kwargs

    def renamed(self, kwargs: dict[str, object]) -> dict[str, object] | None:
        """Return keywords with `feature=` or `latent=` as the `atom=` that is meant; None if there is none."""
        meant = {word: _SAME[word] for word in kwargs if word in _SAME and word not in self.by_name}
        names = set(meant.values())
        if len(names) < len(meant) or not names <= self.by_name.keys() - kwargs.keys():
            return None  # none of them is taken, or one of them twice
        return {meant.get(word, word): value for word, value in kwargs.items()} if meant else None


@functools.cache
def _arguments(call: Callable[..., Any], leave: frozenset[str]) -> _Arguments:
    """Return the arguments of a function, read at its first call: importing it stays cheap."""
    return _Arguments(call, leave)
