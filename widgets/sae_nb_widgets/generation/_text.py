"""The text of a GenerationLens: its prompt is read, it is written, branches, goes on in other ways, and each
token has its reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets as t
from torch import Tensor

from sae_nb.corpora import InputSummary, top_atoms
from sae_nb.figures.theme import format_number
from sae_nb.generation import Generation
from sae_nb.models import with_place
from sae_nb_widgets.generation._keeping import NOTHING_KEPT, Kept, Strength, whole_prompt
from sae_nb_widgets.generation._queries import Question, Ways, begin
from sae_nb_widgets.generation._views import EMPTY
from sae_nb_widgets.panel._samples import newest
from sae_nb_widgets.steering._initial_state import find_firing, opening_atom
from sae_nb_widgets.steering._scale import StrengthScale

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb_widgets.generation._panel import GenerationLens


class Prompt:
    """Reads the prompt of `panel`, off the main thread."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel

    @property
    def asked(self) -> str | list[dict[str, str]]:
        """The text, or the messages with it as the last."""
        return whole_prompt(self._panel.messages, self._panel.prompt)

    def placed(self) -> object:
        """Return the prompt, with its image where there is one.

        Raises
        ------
        ValueError: If there are messages and an image.
        """
        asked, picture = self.asked, self._panel.picture
        if picture is None:
            return asked
        if not isinstance(asked, str):
            raise ValueError(
                "A picture goes into one text, and there are messages. Set `messages` to [], or `picture` to "
                "None."
            )
        return [(with_place(self._panel.model, asked), picture)]

    def read(self, listens: bool, kept: Kept = NOTHING_KEPT) -> None:
        """Read the prompt, and what was kept of the text after it; `listens`: find an atom to open on."""
        panel = self._panel
        given: dict[str, Any] = {"temperature": panel.temperature, "seed": panel.seed}
        given |= {"meter": panel.meter}
        if not self.asked:
            panel.forget_async("main")
            panel.conclude("")
            panel.say(EMPTY)
            return
        prompt = self.placed()
        panel.loading("The model is reading the prompt")
        panel.say("")

        def work() -> tuple[Generation, int | None]:
            generation = Generation(panel.model, panel.sae, prompt, panel.hook_point, **given)
            opening = self._opening(generation) if listens else None
            return generation.resume(kept.branches), opening

        panel.run_async(
            work, lambda found: self._take(found[0], found[1], kept), otherwise=panel._show_nothing
        )

    def _opening(self, generation: Generation) -> int | None:
        """Return the atom to open on: the same one, however long each part takes."""
        panel = self._panel
        _, measured = panel.measuring.wait()
        scale = StrengthScale(talks=True)
        scale.know(panel.sae, measured)
        read = generation.before(generation.n_prompt)
        found = find_firing(panel.model, panel.sae, read, panel.hook_point, scale)
        return None if found is None else opening_atom(found, scale, panel.names)

    def _take(self, generation: Generation, opening: int | None, kept: Kept) -> None:
        """Show what was read, and what was kept of its text."""
        panel = self._panel
        panel._generation, panel._writing.left = generation, 0
        measured = panel.measuring.known
        if measured is not None:
            panel.note_measures(measured)
        read = generation.branches[0].text.codes[: generation.n_prompt]
        panel.scale.note_firings(*(np.concatenate(column) for column in zip(*read)))
        panel._branching.take(kept.strengths)
        if kept.branches:
            branch, token = kept.shown
            last = len(generation.branches[branch].text.ids) - 1
            panel.branch = branch
            panel._draw()  # a token is marked in what is drawn
            panel.token = min(token, last)
        panel._open_on(opening)
        panel.controls.offer(True)
        if panel.token >= panel.n_tokens:
            panel.token = -1
        panel.controls.fit(panel.scale)
        panel._draw()
        panel._why.ask()
        if not kept.branches:
            panel._ask_ways()
        if not panel.playing:
            panel.say("")


def fitted(model: LiveModel, given: object, old: object) -> Tensor | None:
    """Return an image as the model reads it; `old` where it is the same.

    Raises
    ------
    traitlets.TraitError: If the model reads no image, or not this one.
    """
    fit = model.modality.fit
    if given is None:
        return None
    if not model.placeholders or fit is None:
        raise t.TraitError(
            f"`picture` must be left None for {model.name}, which reads {model.modality.reads}."
        )
    try:
        found, *_ = fit(model, given)
    except (OSError, TypeError, ValueError) as error:
        raise t.TraitError(str(error)) from None
    return newest(old, found)


# --- Writing: token by token, at a readable pace, in the text or in a branch of it ----------------


FRAME_SECONDS = 0.04
"""Between two drawings while it writes: more tokens than eyes can follow are drawn together."""


class Writing:
    """Writes token by token for `panel`, and knows how many are left until it pauses."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel
        self.left = 0
        """Tokens until it pauses."""

        self.seconds, self.n = 0.0, 0
        """Duration of the last stretch of writing, and its number of tokens."""

        self.undrawn = False
        """Whether something was written since the last frame."""

        self._drawn_at = 0.0

    def begin(self, n: int) -> None:
        """Start counting a stretch of writing, of `n` tokens."""
        self.left = n
        self._count_anew()

    def _count_anew(self) -> None:
        self.seconds, self.n = 0.0, 0

    def forth(self) -> None:
        """Write one token more of the stretch; at its end say why it stops."""
        self.left -= 1
        self._one_more()
        if self._panel.at_end:
            self.draw_rest()
            self._say_why_it_stops()

    def step(self, n: int) -> None:
        """Write `n` tokens more, fewer where the text ends, and draw them."""
        with self._panel._drawing:
            self._count_anew()
            for _ in range(n):
                if not self._one_more():
                    self._panel.say("The text has ended.")
                    break
            self.draw_rest()

    def _one_more(self) -> bool:
        """Write one token more; say whether there was one."""
        started = time.perf_counter()
        wrote: bool = self._panel.generation.step(self._panel.branch)
        if wrote:
            self.undrawn = True
            if started - self._drawn_at >= FRAME_SECONDS:
                self._panel._draw()
            self.seconds += time.perf_counter() - started
            self.n += 1
        return wrote

    def drawn(self) -> None:
        """Note that everything written is on screen."""
        self.undrawn, self._drawn_at = False, time.perf_counter()

    def draw_rest(self) -> None:
        """Draw what was written since the last frame, once it has stopped."""
        if self.undrawn and (not self._panel.playing or self._panel.at_end):
            self._panel._draw()

    def _say_why_it_stops(self) -> None:
        panel = self._panel
        rate = format_number(self.n / max(self.seconds, 1e-9), digits=2)
        ended = panel.generation.ended(panel.branch)
        why = "The text has ended" if ended else "Paused; “Write on” continues"
        panel.say(f"{why}. {self.n} tokens, at {rate} a second with everything drawn.")


# --- Branches: another way in which the text continues --------------------------------------------


class Branching:
    """Makes the branches of `panel`, and keeps by how much each was steered."""

    def __init__(self, panel: GenerationLens) -> None:
        self._panel = panel
        self.strengths: list[Strength] = []
        """As they were chosen, by branch."""

    def take(self, strengths: Sequence[Strength] = NOTHING_KEPT.strengths) -> None:
        """Begin with the branches that a text has."""
        self.strengths = list(strengths)

    def forget(self) -> None:
        """Note that there is no text, hence no branch."""
        self.strengths = []

    def fork(self) -> None:
        """Add the atom from the chosen token on, in a branch that is shown."""
        panel = self._panel
        generation = panel.generation
        if not panel.strength:
            raise ValueError("strength must not be 0, which adds nothing. Move the slider.")
        panel.playing = False
        with panel._drawing:
            unit = panel.scale.unit(panel.atom, "add")
            by = panel.strength * panel.scale.unit_size(panel.atom, "add")
            made = generation.fork(
                panel._now.place, panel.atom, by, branch=panel.branch, seed=panel.seed
            )
            self.strengths.append((panel.strength, unit))
            with panel.hold_trait_notifications():
                panel.branch, panel.token = made, -1

    def adopt(self, ways: Ways) -> None:
        """Keep texts that are written already as a branch, which is shown."""
        panel = self._panel
        panel.playing = False
        with panel._drawing:
            made = panel.generation.adopt(ways.made)
            self.strengths.append((ways.ask.strength, ways.ask.unit))
            with panel.hold_trait_notifications():
                panel.branch, panel.token = made, -1

    def undo(self) -> None:
        """Remove the newest branch; if it is shown, show where it started from."""
        panel = self._panel
        generation, last = panel.generation, panel.n_branches - 1
        if last == 0:
            panel.say("There is no branch to take away.")
            return
        panel.playing = False
        fork = generation.branches[last].fork
        if panel.branch == last and fork is not None:
            with panel.hold_trait_notifications():
                panel.branch, panel.token = fork.branch, fork.position
        generation.undo()
        self.strengths.pop()
        panel._draw()


# --- Ways on: the text as it continues from the token shown ----------------------------------------


WAYS = "ways"


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
"""Atoms read no first token, so the second has nothing before it that explains it."""

PART_OF_IMAGE = "It is a part of the image: choose a token before or after it."


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
