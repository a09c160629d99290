"""What a GenerationLens asks off the main thread: ways on, the reason of a token, usual strengths."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sae_nb.atoms import Peaks, peaks
from sae_nb.background import result_of
from sae_nb.corpora import BaseRate, InputSummary, base_rate, top_atoms
from sae_nb.generation import Branch, Generation

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb_widgets.generation._panel import GenerationLens

WAYS = "ways"
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


class WaysRuns:
    """Asks for what `panel` shows, and keeps the newest answer."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel
        self.ways: Ways | None = None
        self._newest: Question | None = None

    def current(self) -> Question | None:
        """Return what the panel asks now; None where nothing can be turned up."""
        panel = self._panel
        if not panel.ready or not panel.strength or panel.playing:
            return None
        place = panel.place
        size = panel.scale.unit_size(panel.atom, "add")
        if place < panel.generation.of_images.stop:
            return None
        return Question(
            branch=panel.branch,
            place=place,
            atom=panel.atom,
            by=panel.strength * size,
            strength=panel.strength,
            unit=panel.scale.unit(panel.atom, "add"),
            seed=panel.seed,
        )

    def shown(self) -> tuple[Ways | None, bool]:
        """Return the answer that still belongs to the token shown, and whether it is of what is asked now."""
        ways, panel = self.ways, self._panel
        if ways is None or not panel.ready or ways.generation is not panel.generation:
            return None, False
        at = (ways.ask.branch, ways.ask.place) == (panel.branch, panel.place)
        return (ways, ways.ask == self.current()) if at else (None, False)

    def ask(self) -> None:
        """Have the texts written for what is asked now, unless they are."""
        ask = self.current()
        ways, fresh = self.shown()
        if ask is None or (fresh and ways is not None and ways.done):
            self._stop()
        elif ask != self._newest:
            generation, self._newest = self._panel.generation, ask
            self._run(lambda: begin(generation, ask, self._wanted))

    def _stop(self) -> None:
        """Have nothing written any more, and no answer handed over."""
        self._newest = None
        self._panel.forget_async(WAYS)

    def _wanted(self, ask: Question) -> bool:
        """Whether it is still the newest question: the words of an older one would not be drawn."""
        return ask is self._newest

    def _run(self, work: Callable[[], Ways]) -> None:
        self._panel.run_async(work, self._take, doing="", channel=WAYS, otherwise=self._stop)

    def _take(self, ways: Ways) -> None:
        if not self._wanted(ways.ask):
            return
        self.ways = ways
        self._panel._draw_ways()
        if not ways.done:
            self._run(lambda: ways.more(self._wanted))
        else:
            self._panel.margin.ask()

    def forget(self) -> None:
        """Drop the answer, and one in the making."""
        self.ways = None
        self._stop()

    def taken(self) -> Ways | None:
        """Return the texts, which are kept as a branch and written no further; None unless they answer what is
        asked now.
        """
        with self._panel._drawing, self._panel.model.lock:  # no token of them is under way
            ways, fresh = self.shown()
            if ways is None or not fresh or not ways.n:
                return None
            self.forget()
            return ways


# --- Why a token: the atoms before it that moved its score ----------------------------------------


WHY = "why"
FIRST_READ = 2
PART_OF_IMAGE = "It is a part of the image: choose a token before or after it."
"""Atoms read no first token, so the second has nothing before it that explains it."""


class Why:
    """The explanation of the chosen token of `panel`, found off the main thread."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel
        self.found: InputSummary | None = None

    def forget(self) -> None:
        """Drop the explanation of a token, also one in the making."""
        self.found = None
        self._panel.forget_async(WHY)

    def draw(self) -> None:
        """Show what was found, with names as they are now."""
        if self.found is not None:
            self._panel.views.explain(self._panel._now, self.found)

    def ask(self) -> None:
        """Find which atoms before the chosen token moved its score."""
        panel = self._panel
        self.found = None
        panel.views.explain(None, None)
        if panel.token < FIRST_READ:
            panel.forget_async(WHY)
            if panel.token >= 0:
                panel.views.say_of_why("There is no token before it that atoms read.")
            return
        if panel.token in panel.generation.of_images:
            panel.forget_async(WHY)
            panel.views.say_of_why(PART_OF_IMAGE)
            return
        self._explain(panel.token, panel.branch)

    def _explain(self, place: int, branch: int) -> None:
        panel = self._panel
        generation, base = panel.generation, panel._base
        before = generation.before(place, branch)
        target = generation.branches[branch].text.ids[place]

        def work() -> InputSummary:
            with generation.steered(branch):
                return top_atoms(
                    panel.model, panel.sae, before, panel.hook_point, frequency=base, target=target
                )

        def done(found: InputSummary) -> None:
            asked = (panel.token, panel.branch) == (place, branch)
            if asked and panel.ready and panel.generation is generation:
                self.found = found
                self.draw()
                panel._conclude()

        panel.run_async(work, done, doing=f"explaining token {place}", channel=WHY)


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
