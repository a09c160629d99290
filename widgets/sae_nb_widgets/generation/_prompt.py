"""The prompt of a GenerationLens: what the model reads first, with its image, and the reading of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets as t
from torch import Tensor

from sae_nb.generation import Generation
from sae_nb.models import with_place
from sae_nb_widgets.generation._keeping import NOTHING_KEPT, Kept, whole_prompt
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
