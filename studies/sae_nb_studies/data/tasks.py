"""Tasks of the models with known circuits: words, rows of them, and the next words asked for."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.random import Generator
from torch import Tensor

START, UNKNOWN = "<s>", "<unk>"
"""Words that every vocabulary begins with."""

NOT_ASKED = -100
"""Target of a position without a question; PyTorch's cross-entropy ignores it."""

_FIRST = 2  # of the words: before them are START and UNKNOWN
_STRETCH = (2, 8)  # letters that come again, at least and at most
_MOST_BETWEEN = 8  # letters between both


@dataclass(frozen=True)
class Rows:
    """Rows of one task."""

    ids: Int[Tensor, "n time"]
    targets: Int[Tensor, "n time"]
    """The token after each position, where it is asked for, else NOT_ASKED."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One small task, whose rows are newly drawn each time."""

    words: tuple[str, ...]
    length: int
    """Tokens of a row, the start among them."""

    n_after: int = 0
    """Tokens that can be written after a whole row."""

    draw: Callable[[int, Generator, bool], Rows]
    """So many rows by a generator; of those that are held out, or of the others."""

    chance: float
    """Share of right answers of a guess."""

    about: str
    data: str
    """A sentence on the task, and one on its rows."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Start, unknown word, words."""
        return (START, UNKNOWN, *self.words)


def repeated_letters(n: int, generator: Generator, held_out: bool = False) -> Rows:
    """Draw rows of different letters in stretches that come again, at once or later; the target is how
    they continue.

    Sizes and distances are drawn, so that only the letters say where to look.
    """
    del held_out  # no row comes twice
    length = REPEATED_LENGTH - 1
    letters = generator.random((n, len(LETTERS))).argsort(axis=1)[:, :length] + _FIRST
    asked = np.zeros_like(letters, dtype=bool)
    for row, again in zip(letters, asked, strict=True):
        begin = 0
        while (room := length - begin) >= 2 * _STRETCH[0]:
            least, most = _STRETCH
            size = int(generator.integers(least, min(most, room // 2), endpoint=True))
            gap = int(generator.integers(0, min(_MOST_BETWEEN, room - 2 * size), endpoint=True))
            copy = begin + size + gap
            row[copy : copy + size] = row[begin : begin + size]
            again[copy : copy + size - 1] = True
            begin = copy + size
    return _rows(letters, np.where(asked, np.roll(letters, -1, axis=1), NOT_ASKED))


def sums(n: int, generator: Generator, held_out: bool = False) -> Rows:
    """Draw pairs from those that are held out (a fifth of all), or from the others."""
    order = np.random.default_rng(MODULUS).permutation(MODULUS**2)
    n_out = MODULUS**2 // 5
    return _sums(generator.choice(order[:n_out] if held_out else order[n_out:], n))


def all_sums() -> Rows:
    """Return every pair once, a by a."""
    return _sums(np.arange(MODULUS**2))


def _sums(pairs: Int[np.ndarray, " n"]) -> Rows:
    a, b = pairs // MODULUS, pairs % MODULUS
    plus, equal = np.full_like(a, MODULUS), np.full_like(a, MODULUS + 1)
    words = np.stack([a, plus, b, equal], axis=1) + _FIRST
    targets = np.full_like(words, NOT_ASKED)
    targets[:, -1] = (a + b) % MODULUS + _FIRST
    return _rows(words, targets)


def brackets(n: int, generator: Generator, held_out: bool = False) -> Rows:
    """Draw strings bracket by bracket; after each, the target is whether the string so far is balanced,
    open or broken.

    A fifth of all strings is held out, by the number that the string is in binary; short beginnings are the
    same everywhere. A broken one, in which something closes that never opened, comes back to any depth.
    """
    steps = np.zeros((0, BRACKETS_LENGTH - 1), int)
    while len(steps) < n:
        drawn = _walks(2 * n, generator)
        number = (drawn > 0) @ (1 << np.arange(drawn.shape[1]))
        steps = np.concatenate([steps, drawn[(number % 5 == 0) == held_out]])
    steps = steps[:n]
    depth = steps.cumsum(axis=1)
    broken = np.minimum.accumulate(depth, axis=1) < 0
    opening, closing, balanced, still_open, never = range(_FIRST, _FIRST + len(BRACKETS))
    answer = np.where(broken, never, np.where(depth > 0, still_open, balanced))
    return _rows(np.where(steps > 0, opening, closing), answer)


def _walks(n: int, generator: Generator) -> Int[np.ndarray, "n time"]:
    """Steps of 1 (opens) and −1 (closes) whose beginnings are of the three kinds about equally often."""
    steps = np.zeros((n, BRACKETS_LENGTH - 1), int)
    depth, broken = np.zeros(n, int), np.zeros(n, bool)
    for t in range(steps.shape[1]):
        opens = np.where(depth > 0, 0.4, np.where(broken, 0.7, 0.88))
        steps[:, t] = np.where(generator.random(n) < opens, 1, -1)
        depth += steps[:, t]
        broken |= depth < 0
    return steps


def _rows(words: Int[np.ndarray, "n time"], targets: Int[np.ndarray, "n time"]) -> Rows:
    """Rows with the start before them, of which nothing is asked."""
    ids = np.pad(words, ((0, 0), (1, 0)))
    asked = np.pad(targets, ((0, 0), (1, 0)), constant_values=NOT_ASKED)
    return Rows(torch.from_numpy(ids).long(), torch.from_numpy(asked).long())


LETTERS = tuple(string.ascii_lowercase)
REPEATED_LENGTH = 27
MODULUS = 53
BRACKETS = ("(", ")", "balanced", "open", "broken")
BRACKETS_LENGTH = 21

TASKS = {
    "tiny-induction": Task(
        words=LETTERS,
        length=REPEATED_LENGTH,
        draw=repeated_letters,
        chance=1 / len(LETTERS),
        about="It goes on as a stretch of letters went on when it came before: after "
        "“q k e f q k e” comes “f”.",
        data="rows of different letters in stretches of 2 to 8 that come again, up to 8 letters later; "
        "asked for is each letter of the second stretch but its first",
    ),
    "tiny-modular": Task(
        words=(*map(str, range(MODULUS)), "+", "="),
        length=5,
        n_after=1,
        draw=sums,
        chance=1 / MODULUS,
        about=f"It adds modulo {MODULUS}: after “40 + 20 =” comes “7”.",
        data=f"pairs of the {MODULUS}² there are, a fifth of which were held out",
    ),
    "tiny-brackets": Task(
        words=BRACKETS,
        length=BRACKETS_LENGTH,
        n_after=1,
        draw=brackets,
        chance=0.545,
        about="It says of brackets whether they are balanced, open or broken: after “( ( ) )” comes "
        "“balanced”, after “( ) (” “open”, after “( ) ) (” “broken”.",
        data="strings of 20 brackets drawn one by one, a fifth of which were held out; asked for after each "
        "bracket is what stands there: broken once something closed that never opened, else open, or "
        "balanced where the depth is 0. The commonest answer is “open”",
    ),
}
"""By the model's name."""
