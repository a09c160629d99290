"""The panels of the demo: `sw.Deferred` makes each while its place is already on screen."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import sae_nb as sn
import sae_nb_lessons as lessons
import sae_nb_widgets as sw

if TYPE_CHECKING:
    from sae_nb_widgets import GenerationLens, InputLens, InputSteering

VISION = "tiny-vit/resid_post.6"
NINE: list[list[tuple[float, float]]] = [
    [(20, 16), (12, 17), (11, 13), (14, 7), (19, 7), (20, 16), (18, 26)]
]
"""The strokes of a 9, in pixels."""

SCHOOL = (300, 1.0, "The teacher walked home. On the way, he")
"""Atom "school" of SmolLM2-135M, how far it is turned up, and a beginning at which it fires."""


def writing(name: str | None = None) -> GenerationLens:
    """Return the language model at a sentence's end, with an atom turned up; `name` as in `language_model`.

    Example
    -------
    >>> lens = writing()
    >>> lens.atom >= 0 and lens.strength > 0
    True
    >>> lens.close()
    """
    lm = _language_model(name)
    atom, strength, beginning = lm.atom, lm.plan.strength, lm.plan.beginning
    lens = sw.GenerationLens(lm.model, lm.sae)
    lens.temperature = lm.plan.temperature
    if lm.model.name == "smollm2-135m":
        (atom, strength, beginning), lens.temperature, lens.seed = SCHOOL, 0.8, 4
    lens.atom, lens.strength = atom, strength  # first: no other atom is measured
    lens.prompt = beginning
    return lens


def drawing() -> InputLens:
    """Return a canvas on which a 9 is drawn, with the atoms that fire and what they do to the answer."""
    model, sae = sn.load_model("tiny-vit"), sn.load_sae(VISION)
    lens = sw.InputLens(model, sae, examples=sn.load_examples(VISION))
    lens.draw(NINE)
    lens.sort = "attribution"
    return lens


def turned_up(lens: InputLens) -> InputSteering:
    """Return a panel that follows a lens, with an atom for fours turned up in the network that reads it."""
    examples = sn.load_examples(VISION)
    lens.wait()  # its answer first
    lens.atom = examples.match("digit 4").atom
    return sw.InputSteering(lens, examples.catalogue(lens.sae), atom=lens.atom, strength=3.0)


def looking(name: str | None = None) -> sw.AtomBrowser:
    """Return the atoms of the language model, open on the one that was turned up."""
    lm = _language_model(name)
    return sw.AtomBrowser(
        lm.sae, lm.examples.acts, lm.model, atom=lm.atom, catalogue=lm.examples.catalogue(lm.sae)
    )


def warm() -> None:
    """Import, in the background, what the demo's first panel needs; where the kernel starts before its page."""

    def imports() -> None:
        _language_model(None)
        sw.GenerationLens  # loads its modules

    sw.Deferred.in_turn(imports)


@lru_cache(maxsize=1)
def _language_model(name: str | None) -> lessons.LanguageModel:
    """Return one for all panels of a kernel: SmolLM2 takes half a gigabyte."""
    return lessons.language_model(name)
