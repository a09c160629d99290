"""Mistakes with a name: what an answer gets wrong, and the hint for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import WrongForm

CLOSE = 1e-4


@dataclass(frozen=True)
class Mistake:
    """A mistake in an answer, and the hint for it."""

    said: str
    """The mistake, in a sentence."""

    hint: str = ""
    """The hint for this mistake; empty: the next one of the exercise."""


@dataclass(frozen=True)
class Slip:
    """A common wrong way, as a function that takes it, and what to say to someone who did."""

    said: str
    """The mistake, in a sentence."""

    hint: str
    """The hint for it."""

    way: Callable[..., Any]
    """The function with the mistake; takes what the student's takes."""


FIXED = Mistake(
    "Whatever it is given, yours gives the same.",
    "Compute it from the arguments; a number that was right in the notebook is right for one input.",
)
"""Of a result that was written into the function."""


def diagnose(
    mine: Callable[..., Any],
    right: Callable[..., Any],
    cases: Mapping[str, Sequence[Any]],
    slips: Sequence[Slip] = (),
    *,
    atol: float = CLOSE,
) -> Mistake | str | None:
    """Compare a student's function with the right one, and if they differ, with each common mistake.

    `cases`: arguments by a description of them, "an input of length 5". Returns the mistake that gives
    the same numbers on every case, else `FIXED` if all answers are one, else where the first case
    differs, or None if all agree.
    """
    wanted = {name: _plain(right(*map(_copy, given))) for name, given in cases.items()}
    answers: dict[str, Tensor] = {}
    for name, given in cases.items():
        try:
            answers[name] = _plain(mine(*map(_copy, given)))
        except WrongForm:
            if all(_same(answer, wanted[name], atol) for name, answer in answers.items()):
                raise
            break  # a case before it says what is wrong
    off = [name for name, answer in answers.items() if not _same(answer, wanted[name], atol)]
    if not off:
        return None
    for slip in slips:
        if all(_same(one, _made(slip.way, cases[name]), atol) for name, one in answers.items()):
            return Mistake(slip.said, slip.hint)
    if _fixed(list(answers.values()), atol) and not _fixed([wanted[n] for n in answers], atol):
        return FIXED
    return _difference(off[0], answers[off[0]], wanted[off[0]])


def _fixed(answers: Sequence[Tensor], atol: float) -> bool:
    return len(answers) > 1 and all(_same(one, answers[0], atol) for one in answers)


def _difference(name: str, answer: Tensor, wanted: Tensor) -> str:
    if answer.shape != wanted.shape:
        return (
            f"For {name} yours returns the shape {tuple(answer.shape)}, and it is "
            f"{tuple(wanted.shape)}."
        )
    off = int((answer - wanted).abs().argmax()) if answer.numel() else 0
    at = torch.unravel_index(torch.tensor(off), answer.shape)
    place = f" at {tuple(map(int, at))}" if answer.ndim else ""
    mine, right = float(answer.flatten()[off]), float(wanted.flatten()[off])
    return f"For {name} yours gives {mine:.4g}{place}, and it is {right:.4g}."


def _made(way: Callable[..., Any], given: Sequence[Any]) -> Tensor | None:
    """Return what a mistake gives; None where it does not apply to this case."""
    try:
        return _plain(way(*map(_copy, given)))
    except (RuntimeError, ValueError, IndexError):
        return None


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _plain(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().cpu().double()


def _same(one: Tensor, other: Tensor | None, atol: float) -> bool:
    return (
        other is not None
        and one.shape == other.shape
        and torch.allclose(one, other, atol=atol, rtol=atol, equal_nan=True)
    )
