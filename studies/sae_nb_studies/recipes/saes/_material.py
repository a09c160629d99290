"""Inputs of a pretrained SAE with what is known of them: factors of scenes, sounds, stories and prose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.data import Scenes, Sounds, Stories, stories
from sae_nb.data.grammar import CONNECTIVES, NEGATIVE, POSITIVE
from sae_nb.evaluation import Factor
from sae_nb.models import LiveModel
from sae_nb.pretrained.inputs import FRESH, Sizes, inputs_of, seed_of

SAMPLES_AT_ONCE = 64
"""Of each forward pass."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Inputs for one purpose, and what is known of the rows captured from them."""

    inputs: Scenes | Sounds | list[str]
    words: str
    factors: Callable[[Activations], list[Factor]]
    """Description for the card; known truths about captured rows."""

    labels: Tensor | None = None
    """A class per sample, where the model answers with one."""


def transcoder_places(place: str) -> tuple[str, str] | None:
    """Return what a transcoder "mlp.L" reads and writes; None for a hook point."""
    kind, _, layer = place.partition(".")
    return (f"mlp_in.{layer}", f"mlp_out.{layer}") if kind == "mlp" else None


def material(model: LiveModel, purpose: int, sizes: Sizes, seed: int) -> Material:
    """Return the inputs of one purpose."""
    n, own_seed = sizes.samples[purpose], seed_of(purpose, seed)
    inputs, side = (
        inputs_of(model, purpose, sizes, seed),
        "held-out" if purpose in FRESH else "training",
    )
    if isinstance(inputs, Scenes):
        return Material(
            inputs=inputs,
            words=f"{n} scenes with {side} handwriting (seed {own_seed})",
            factors=lambda acts: scene_factors(inputs, acts),
            labels=inputs.digit,
        )
    if isinstance(inputs, Sounds):
        return Material(
            inputs=inputs,
            words=f"{n} sounds (seed {own_seed})",
            factors=lambda acts: sound_factors(inputs, acts),
            labels=inputs.pitch,
        )
    spans = model.tokenizer(inputs, return_offsets_mapping=True)["offset_mapping"]
    starts = [np.array([start for start, _ in tokens]) for tokens in spans]
    return Material(
        inputs=inputs,
        words=f"{n} stories (seed {own_seed}) and {len(inputs) - n} paragraphs of {side} prose",
        factors=lambda acts: story_factors(stories(n, own_seed), n, acts, starts),
    )


# -------------------------------------------------------------------------------------------------
# The known factors of scenes, sounds, stories and prose, as truths about rows or samples.


def scene_factors(pictures: Scenes, acts: Activations) -> list[Factor]:
    """Return what is known of images and their patches.

    Digit, texture, position and disc are true of an image; ink, and ink of one colour, of patches
    that the digit covers to a quarter or more.
    """
    values = {
        "digit": (pictures.digit, [str(digit) for digit in range(10)]),
        "texture": (pictures.texture, pictures.texture_names),
        "position": (pictures.position, pictures.position_names),
    }
    factors = [
        Factor(name=f"{kind} {name}", per="sample", truth=(column == value).numpy())
        for kind, (column, names) in values.items()
        for value, name in enumerate(names)
    ]
    factors.append(Factor(name="disc", per="sample", truth=(pictures.distractor == 1).numpy()))
    patch = acts.position - acts.context.prefix_tokens
    inked = pictures.patch_mask[acts.sample, patch.clamp(min=0)] & (patch >= 0)
    factors.append(Factor(name="ink on a patch", per="row", truth=inked.numpy()))
    colour = pictures.colour[acts.sample]
    factors += [
        Factor(name=f"{name} ink on a patch", per="row", truth=(inked & (colour == value)).numpy())
        for value, name in enumerate(pictures.colour_names)
    ]
    return factors


def sound_factors(heard: Sounds, acts: Activations) -> list[Factor]:
    """Return what is known of sounds and their patches.

    Pitch class, timbre, envelope, place, noise and octave are true of a sound; a tone, and one of a pitch
    class or timbre, of patches at a time of which the tone covers half or more.
    """
    kinds = ("pitch", "timbre", "envelope", "place", "noise")
    factors = [
        Factor(name=f"{kind} {name}", per="sample", truth=(getattr(heard, kind) == value).numpy())
        for kind in kinds
        for value, name in enumerate(getattr(heard, f"{kind}_names"))
    ]
    factors.append(Factor(name="upper octave", per="sample", truth=(heard.octave == 5).numpy()))
    patch = acts.position - acts.context.prefix_tokens
    column = patch % heard.sounding.shape[1]
    within = heard.sounding[acts.sample, column] & (patch >= 0)
    factors.append(Factor(name="tone at a patch", per="row", truth=within.numpy()))
    factors += [
        Factor(
            name=f"{kind} {name} at a patch",
            per="row",
            truth=(within & (getattr(heard, kind)[acts.sample] == value)).numpy(),
        )
        for kind in kinds[:2]
        for value, name in enumerate(getattr(heard, f"{kind}_names"))
    ]
    return factors


def story_factors(
    told: Stories, prose_from: int, acts: Activations, starts: Sequence[Int[np.ndarray, " length"]]
) -> list[Factor]:
    """Return what is known of the tokens of texts: stories first, then prose.

    Sentiment is known three times: of the clause a token is in, of the story so far (from the end of
    its first charged clause on), and of the whole story.
    """
    sample = acts.sample.numpy()
    at = np.array([starts[s][p] for s, p in zip(sample, acts.position.numpy(), strict=True)])
    place = _Places(sample, at)
    clause, n_samples = told.clauses, int(sample.max()) + 1
    columns = (clause.story.numpy(), clause.start.numpy(), clause.end.numpy())
    sentiment, plural = clause.sentiment.numpy(), clause.plural.numpy()
    rows = {
        "good clause": place.inside(*(c[sentiment == 1] for c in columns)),
        "bad clause": place.inside(*(c[sentiment == -1] for c in columns)),
        "story turned good": place.after(*_turning(told, 1)),
        "story turned bad": place.after(*_turning(told, -1)),
        "plural subject": place.inside(*(c[plural == 1] for c in columns)),
        "new event": place.inside(*_openings(told)),
        "prose": sample >= prose_from,
    }
    rows |= _mentioned(told, place)
    factors = [Factor(name=name, per="row", truth=truth) for name, truth in rows.items()]
    for name, value in (("good story", POSITIVE), ("bad story", NEGATIVE)):
        truth = np.zeros(n_samples, dtype=bool)
        truth[: len(told)] = (told.sentiment == value).numpy()
        factors.append(Factor(name=name, per="sample", truth=truth))
    return factors


class _Places:
    """Positions of tokens, to be compared with stretches of characters."""

    def __init__(self, sample: Int[np.ndarray, " rows"], at: Int[np.ndarray, " rows"]) -> None:
        # One number per place, larger in later texts: no text has a million characters.
        self.key = sample * 1_000_000 + at

    def inside(
        self,
        story: Int[np.ndarray, " m"],
        start: Int[np.ndarray, " m"],
        end: Int[np.ndarray, " m"],
    ) -> Bool[np.ndarray, " rows"]:
        """Return whether each token begins in one of the stretches, which do not overlap.

        A token that begins with the space before a stretch belongs to it.
        """
        if len(story) == 0:
            return np.zeros(len(self.key), dtype=bool)
        order = np.lexsort((start, story))
        first = (story * 1_000_000 + start)[order] - 1
        last = (story * 1_000_000 + end)[order]
        behind = np.searchsorted(first, self.key, side="right") - 1
        return (behind >= 0) & (self.key < last[np.maximum(behind, 0)])

    def ending(
        self,
        story: Int[np.ndarray, " m"],
        start: Int[np.ndarray, " m"],
        end: Int[np.ndarray, " m"],
    ) -> Bool[np.ndarray, " rows"]:
        """Return whether each token is the last that begins in one of the stretches."""
        within = self.inside(story, start, end)
        return within & ~np.append(within[1:], False)

    def after(
        self, story: Int[np.ndarray, " m"], at: Int[np.ndarray, " m"]
    ) -> Bool[np.ndarray, " rows"]:
        """Return whether each token begins in one of the stories, at this character or later."""
        return self.inside(story, at, np.full_like(at, 999_999))


def _turning(told: Stories, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Stories of one sentiment, and the end of the first clause that shows it."""
    charged = (told.clauses.sentiment == sign).numpy()
    story, end = told.clauses.story.numpy()[charged], told.clauses.end.numpy()[charged]
    first = np.diff(story, prepend=-1) != 0
    return story[first], end[first]


def _openings(told: Stories) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Story, start and end of the words that open each event after the first."""
    story, start = told.boundary_story.numpy(), told.boundary.numpy()
    texts = [told.texts[s][b:] for s, b in zip(story, start, strict=True)]
    lengths = [next(len(c) for c in CONNECTIVES if text.startswith(c)) for text in texts]
    return story, start, start + np.array(lengths, dtype=np.int64)


def _mentioned(told: Stories, place: _Places) -> dict[str, Bool[np.ndarray, " rows"]]:
    """Last tokens of names, where it is known who is meant: by kind, and one by one."""
    mention = told.mentions
    columns = (mention.story.numpy(), mention.start.numpy(), mention.end.numpy())
    entity = mention.entity.numpy()
    kinds = np.array(told.entity_kinds)
    truths = {
        f"any {kind}": place.ending(*(c[kinds[entity] == kind] for c in columns))
        for kind in dict.fromkeys(told.entity_kinds)
    }
    for number, (name, kind) in enumerate(zip(told.entities, told.entity_kinds, strict=True)):
        truths[f"{kind} {name}"] = place.ending(*(c[entity == number] for c in columns))
    return truths
