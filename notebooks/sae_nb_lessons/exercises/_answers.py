"""The form of an answer, and the sentence by which a student learns that an answer has another one."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_nb_lessons.exercises._limits import (
    SECONDS,
    TooLong,
    at_most,
    changed,
    copies,
    torch_as_it_was,
)

LONGEST_SHOWN = 40
LONGEST_WRITTEN, MOST_WRITTEN = 2000, 100
"""Letters, and numbers, of an answer that is written down."""


class WrongForm(Exception):  # noqa: N818 - it is an answer to a student, not a failure of ours
    """An answer that cannot be judged; its text names what was expected and what was given."""


class Blank(WrongForm):
    """An answer that is still `...`."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """A kind of answer: its name, and its conversion from what a student typed."""

    says: str
    """The expected answer, with its article: "a number between 0 and 1"."""

    convert: Callable[[Any], Any]
    """Returns the value to judge; raises any exception if the answer does not fit."""

    limits: tuple[float, float] = (-math.inf, math.inf)
    """Of a number: the smallest and the largest that are accepted."""

    def read(self, answer: object) -> Any:
        """Convert an answer to the form that is judged."""
        if is_blank(answer):
            raise Blank("the blank is still empty: replace the ... by your answer")
        try:
            return self.convert(answer)
        except WrongForm:
            raise
        except Exception:  # noqa: BLE001 - whatever was given, the answer is the same sentence
            raise WrongForm(f"expected {self.says}, got {describe(answer)}") from None


def is_blank(answer: object) -> bool:
    """Test whether an answer is `...`, the same as text, or a list that contains it."""
    if isinstance(answer, list | tuple):
        return any(is_blank(part) for part in answer)
    return answer is ... or (isinstance(answer, str) and answer.strip() in ("...", "…", ""))


def describe(answer: object) -> str:
    """Describe any object in a few words."""
    match answer:
        case None:
            return "None"
        case bool() | int() | float() | complex():
            return _short(repr(answer))
        case str():
            return f"the text {_short(repr(answer))}"
        case Tensor() if answer.ndim == 0:
            return f"the number {float(answer):g}"
        case Tensor():
            return f"a tensor of shape {tuple(answer.shape)}"
        case np.ndarray():
            return f"an array of shape {answer.shape}"
        case [str() | list() | tuple() | dict() | Tensor() | np.ndarray() as first, *_]:
            return f"a {type(answer).__name__} of {len(answer)} that begins with {describe(first)}"
        case list() | tuple() | set() | dict():
            return f"a {type(answer).__name__} of {len(answer)}"
    if callable(answer):
        return f"the function {_short(getattr(answer, '__name__', type(answer).__name__))}"
    name = type(answer).__name__
    return f"{'an' if name[:1].lower() in set('aeiou') else 'a'} {name}"


def written(answer: object) -> str:
    """Write an answer down for a record: a function as its source, few numbers as they are, else in a few words."""
    # Without a source, on no device, or with a repr that raises, it is described.
    with suppress(Exception):
        if callable(answer):
            return inspect.getsource(answer)[:LONGEST_WRITTEN]
        if isinstance(answer, Tensor | np.ndarray) and math.prod(answer.shape) <= MOST_WRITTEN:
            answer = answer.tolist()
        if isinstance(answer, str):
            return answer[:LONGEST_WRITTEN]
        few = isinstance(answer, list | tuple | dict) and len(answer) <= MOST_WRITTEN
        if few or isinstance(answer, int | float):
            return repr(answer)[:LONGEST_WRITTEN]
    return describe(answer)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


# --- forms ----------------------------------------------------------------------------------------


def number(low: float = -math.inf, high: float = math.inf) -> Form:
    """Ask for a finite number; a 0-d tensor or an array of one counts as well.

    `low`, `high`: a number outside is reported to the student as of the wrong form, so they must be obvious
    limits (a share lies between 0 and 1) that reveal nothing about the answer.
    """
    says = "a number" + _limits(low, high)

    def convert(answer: Any) -> float:
        value = _plain_number(answer)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(value)
        return value

    return Form(says=says, convert=convert, limits=(low, high))


def whole_number(low: float = -math.inf, high: float = math.inf) -> Form:
    """Ask for a whole number; 5.0 counts as one."""
    says = "a whole number" + _limits(low, high)

    def convert(answer: Any) -> int:
        value = _plain_number(answer)
        if not (value.is_integer() and low <= value <= high):
            raise ValueError(value)
        return int(value)

    return Form(says=says, convert=convert, limits=(low, high))


def tensor(*shape: int | str | None) -> Form:
    """Ask for finite numbers in a given shape: a tensor, an array, or nested lists.

    `shape`: sizes; a letter ("n") or None where any size is accepted.
    """
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    says = f"a tensor of shape ({sizes}{',' if len(shape) == 1 else ''})"

    def convert(answer: Any) -> Tensor:
        value = answer if isinstance(answer, Tensor) else torch.as_tensor(np.asarray(answer, float))
        value = value.detach().cpu().double()
        fits = value.ndim == len(shape)
        asked = (want if isinstance(want, int) else have for want, have in zip(shape, value.shape))
        if not fits or tuple(asked) != tuple(value.shape):
            raise ValueError(value.shape)
        if not bool(torch.isfinite(value).all()):
            raise WrongForm(f"expected {says} of finite numbers, and yours holds NaN or infinity")
        return value

    return Form(says=says, convert=convert)


def whole_numbers(n: int | None = None) -> Form:
    """Ask for whole numbers in any order, each once: indices of atoms, neurons, features.

    `n`: their number; None accepts any.
    """
    count = "" if n is None else f"{n} "
    one = whole_number()

    def convert(answer: Any) -> list[int]:
        if isinstance(answer, str):
            raise TypeError(answer)
        given = answer.tolist() if isinstance(answer, Tensor | np.ndarray) else list(answer)
        values = [one.convert(value) for value in given]
        if len(set(values)) != len(values) or (n is not None and len(values) != n):
            raise ValueError(values)
        return values

    return Form(says=f"a list of {count}different whole numbers", convert=convert)


def one_of(*choices: str) -> Form:
    """Ask for one of a few words; case and surrounding space do not matter, and numbers may be given as such."""
    says = f"one of {', '.join(map(repr, choices))}"
    by_name = {choice.lower(): choice for choice in choices}

    def convert(answer: Any) -> str:
        if isinstance(answer, list | tuple | set) and len(answer) > 1:
            raise WrongForm(f"expected one of them alone, got {len(answer)} at once")
        text = answer if isinstance(answer, str) else f"{_plain_number(answer):g}"
        text = text.strip(" .\"'`").lower()
        if text not in by_name:
            raise WrongForm(_other_word(text, by_name, says))
        return by_name[text]

    return Form(says=says, convert=convert)


def _other_word(text: str, by_name: Mapping[str, str], says: str) -> str:
    """Return what is wrong with a text that is none of the choices."""
    given = f"expected {says}, got the text {_short(repr(text))}"
    if sum(bool(re.search(rf"(?<![\w.]){re.escape(one)}(?![\w.])", text)) for one in by_name) > 1:
        return f"{given}, which has more than one of them"
    near = difflib.get_close_matches(text, list(by_name), n=1)
    return f"{given}; perhaps {by_name[near[0]]!r} was meant" if near else given


def words(at_least: int) -> Form:
    """Ask for an explanation in words of one's own."""

    def convert(answer: Any) -> str:
        text = " ".join(answer.split())
        n = len(text.split(" "))
        if n < at_least:
            raise WrongForm(f"expected {says}, and yours has {n}")
        return text

    says = f"a text of at least {at_least} words"
    return Form(says=says, convert=convert)


FORGOTTEN = ": run the cells above this one; a kernel that was restarted has forgotten them"
"""Added where a name is not known."""


def function(returns: Form, *, takes: str, seconds: float = SECONDS) -> Form:
    """Ask for a function written by the student; an error in it, or a wrong result, becomes a sentence.

    The value that is judged is a function too: it calls the student's and converts the result. A call
    that takes longer than `seconds` is stopped, and one that changes its arguments is refused.

    `returns`: form of its result; `takes`: its arguments in words, for the message: "one tensor of
    shape (n, 2)".
    """

    def convert(answer: Any) -> Callable[..., Any]:
        if not callable(answer) or isinstance(answer, type):
            raise TypeError(answer)
        return lambda *given: _called(answer, given, returns, seconds)

    return Form(says=f"a function that takes {takes} and returns {returns.says}", convert=convert)


def _called(asked: Callable[..., Any], given: Sequence[Any], returns: Form, seconds: float) -> Any:
    before = copies(given)
    try:
        with torch_as_it_was(), at_most(seconds):
            answer = asked(*given)
    except TooLong:
        raise WrongForm(
            f"your function had not returned after {seconds:g} s and was stopped: does every loop end?"
        ) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a student's own code; told, not raised
        message = _short(" ".join(str(error).split())) or "no message"
        arguments = ", ".join(describe(value) for value in given)
        forgotten = isinstance(error, NameError) and not isinstance(error, UnboundLocalError)
        raise WrongForm(
            f"your function raised {type(error).__name__} ({message}) when it was given {arguments}"
            + f"{FORGOTTEN * forgotten}"
        ) from None
    place = changed(given, before)
    if place is not None:
        raise WrongForm(
            f"your function changed its argument {place + 1}, {describe(before[place])}, which its caller "
            "still needs: work on a copy, `x = x.clone()`"
        )
    if answer is None:
        raise WrongForm("your function returned nothing: does it end with `return …`?")
    if is_blank(answer):
        raise Blank("your function still returns ...: replace it by your answer")
    try:
        return returns.read(answer)
    except WrongForm as problem:
        raise WrongForm(f"about what your function returned: {problem}") from None


def _plain_number(answer: Any) -> float:
    """Return a number of any library as a float; text and truth values are refused."""
    if isinstance(answer, str) and _is_number(answer):
        raise WrongForm(f"expected a number, got the text {answer!r}: leave the quotes out")
    if isinstance(answer, bool | np.bool_ | str | bytes):
        raise TypeError(answer)
    if isinstance(answer, Tensor | np.ndarray):
        if answer.dtype in (torch.bool, np.bool_):
            raise TypeError(answer)
        return float(answer.item())
    if not isinstance(answer, numbers.Real):
        raise TypeError(answer)
    return float(answer)


def _is_number(text: str) -> bool:
    try:
        Fraction(text)
    except (ValueError, ZeroDivisionError):
        return False
    return True


def _limits(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return ""
    if math.isinf(high):
        return f" of at least {low:g}"
    if math.isinf(low):
        return f" of at most {high:g}"
    return f" between {low:g} and {high:g}"
