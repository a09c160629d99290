"""What a GenerationLens finds off the main thread: ways on, usual strengths."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sae_nb.atoms import Peaks, peaks
from sae_nb.background import result_of
from sae_nb.corpora import BaseRate, base_rate
from sae_nb.generation import Branch, Generation

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

N_AHEAD = 24
"""Tokens written ahead in each. Ours: two lines."""

DRAWN_FIRST, DRAWN_EVERY = 0.04, 0.15
"""Seconds of writing before the first drawing, so that a slider answers at once, and between two later ones."""


@dataclass(frozen=True)
class Chosen:
    """Atom and strength that a GenerationLens chose by itself: they follow the text until others are set."""

    atom: int
    strength: float


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question: what follows a token if an atom is turned up by so much from there on."""

    branch: int
    place: int
    atom: int
    by: float
    """Length of what is added, in the model's units."""

    strength: float
    unit: str
    """The same as it was chosen."""

    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Ways:
    """Its answer as far as it has been written: the text turned up, untouched, along random directions."""

    ask: Question
    generation: Generation
    made: Branch
    done: bool
    seconds: float = 0.0

    @property
    def start(self) -> int:
        """Number of tokens before they part."""
        return self.ask.place + 1

    @property
    def n(self) -> int:
        """Tokens written in the longest."""
        return self.made.n_tokens - self.start

    def rows(self) -> list[list[str]]:
        """Return the new tokens of each row."""
        names = self.generation.names_of
        return [names(row.ids)[self.start :] for row in self.made.rows]

    def more(self, wanted: Callable[[Question], bool], moment: float = DRAWN_EVERY) -> Ways:
        """Continue for a moment, or until something else is wanted."""
        started = time.perf_counter()
        done = enough = False
        while not (done or enough):
            with self.generation.model.lock:  # whoever stops this waits for the token under way
                if not wanted(self.ask):
                    break
                done = not self.generation.write(self.made) or self.n >= N_AHEAD
            enough = self.n > 0 and time.perf_counter() - started >= moment
        seconds = self.seconds + time.perf_counter() - started
        return Ways(
            ask=self.ask, generation=self.generation, made=self.made, done=done, seconds=seconds
        )


def begin(generation: Generation, ask: Question, wanted: Callable[[Question], bool]) -> Ways:
    """Answer with the first tokens."""
    made = generation.branched(ask.place, ask.atom, ask.by, branch=ask.branch, seed=ask.seed)
    return Ways(ask=ask, generation=generation, made=made, done=False).more(wanted, DRAWN_FIRST)


# --- How often and how strongly atoms fire elsewhere, measured once -------------------------------


Measures = tuple[BaseRate | None, Peaks | None]
"""Base rates of atoms, and how strongly each fires; None where they are not known."""


class Measuring:
    """Measures an SAE once, in any thread, for whoever waits for that in others."""

    def __init__(self) -> None:
        self._found: Future[Measures] = Future()

    def measure(self, sae: SparseAutoencoder, acts: Any, frequency: object) -> Measures:
        """Measure an SAE on activations, and how often its atoms fire if that is given."""
        found: Measures = (None, None)
        try:
            found = base_rate(sae, frequency), peaks(sae, acts)
        finally:
            with contextlib.suppress(InvalidStateError):  # the panel was closed meanwhile
                self._found.set_result(found)
        return found

    @property
    def known(self) -> Measures | None:
        """The measures; None while they are being taken."""
        found = self._found
        return found.result() if found.done() and not found.cancelled() else None

    def wait(self) -> Measures:
        """Return what was found as soon as it is; ends with Python, or with the panel's work."""
        return result_of(self._found)

    def close(self) -> None:
        """End the waiting for what will not be measured any more."""
        self._found.cancel()
