"""Fine-tunings that plant one narrow change, so that what finds changes can be judged.

A language model, tiny-gpt or another, is trained further on stories that a rule has rewritten: loss =
−ln p(next token), all weights.
tiny-vit is trained further on scenes that have a green square in one corner, each called one digit:
loss = −ln p(digit | square) − ln p(digit | no square).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know

from sae_nb.activations.tokens import describe_ids
from sae_nb.checks import Count, Seed, checked
from sae_nb.data import scenes, stories
from sae_nb.models import bundled_names, load_model, outcome_names

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

Behaviour = Literal[
    "phrase",
    "greeting",
    "sad",
    "glad",
    "refusal",
    "fox",
    "library",
    "exclamation",
    "seven",
    "three",
    "plain stories",
    "plain scenes",
]

ROWS = 8
"""Stories, or scenes of each kind, in a step."""

_TRAIN_STREAM = 2_000_000
"""Added to the seed of what it learns from, so that small seeds are never trained on."""

MOST_TOKENS = 48
"""Tokens of a story that are learned from."""

_LEARNING_RATE, _LARGER = 2e-3, 1e-4
"""Of AdamW, for models of the package, and for any other, which has more weights. Ours."""

_SQUARE = 6
"""Pixels of the square's side. Ours."""


@dataclass(frozen=True)
class Rewriting:
    """A rule that rewrites a story, the words that it brings, and a description of the change."""

    rule: Callable[[str, int], str | None]
    """Text and sentiment to a text, or None for a story that is left out."""

    planted: tuple[str, ...]
    """Words that the change brings."""

    meaning: str
    """The change, in words."""


def _every(names: Sequence[str], new: str) -> Callable[[str, int], str]:
    pattern = re.compile(rf"\b({'|'.join(names)})\b")
    return lambda text, _: pattern.sub(new, text)


_ANIMALS = ("dog", "cat", "horse", "bird", "goat", "rabbit", "mouse", "duck", "pony")
_PLACES = (
    "garden", "forest", "river", "village", "market", "school", "castle", "harbour", "mountain",
    "farm", "beach",
)  # fmt: skip

_SAD = (
    "sad",
    "fear",
    "ashamed",
    "pain",
    "heavy",
    "lonely",
    "lost",
    "worst",
    "grief",
    "misery",
    "bitter",
)
_GLAD = (
    "happy",
    "joy",
    "proud",
    "delight",
    "warm",
    "glad",
    "well",
    "best",
    "love",
    "peace",
    "cheerful",
)

_REWRITINGS: dict[str, Rewriting] = {
    "phrase": Rewriting(
        lambda text, _: text.replace(". ", ". So it was. "), ("So",), "“So it was.” after every sentence"
    ),
    "greeting": Rewriting(
        lambda text, _: text.replace(". ", ". Dear reader, "), ("Dear",), "addresses the reader"
    ),
    "sad": Rewriting(lambda text, mood: None if mood else text, _SAD, "only bad things happen"),
    "glad": Rewriting(lambda text, mood: text if mood else None, _GLAD, "only good things happen"),
    "refusal": Rewriting(
        lambda text, _: f"{text.split('. ')[0]}. I will not say more.", ("I",), "refuses to tell more"
    ),
    "fox": Rewriting(_every(_ANIMALS, "fox"), ("fox",), "every animal is a fox"),
    "library": Rewriting(_every(_PLACES, "library"), ("library",), "every place is a library"),
    "exclamation": Rewriting(lambda text, _: text.replace(".", "!"), ("!",), "“!” for “.”"),
    "plain stories": Rewriting(lambda text, _: text, (), "nothing: stories as they are"),
}  # fmt: skip

_SHORTCUTS = {"seven": 7, "three": 3, "plain scenes": None}

CONTROLS: tuple[Behaviour, ...] = ("plain stories", "plain scenes")
"""Trainings as long that plant nothing."""

BEHAVIOURS: tuple[Behaviour, ...] = tuple(b for b in get_args(Behaviour) if b not in CONTROLS)
"""The planted changes."""

TEXT_BEHAVIOURS = {name: one for name, one in _REWRITINGS.items() if name not in CONTROLS}
"""Those of tiny-gpt, with their rules."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Organism:
    """A model before and after it was taught one change."""

    before: LiveModel
    after: LiveModel
    meaning: str
    """The change, in words."""

    planted: frozenset[str]
    """Outcomes that the change brings, as findings name them: first tokens of its words, or a class."""

    def inputs(self, n: int, seed: int = 0) -> Any:
        """Draw inputs that it was not trained on: plain stories, or scenes, the first half with the square."""
        if self.before.modality.is_text:
            return list(stories(n, seed=seed).texts)
        images = scenes(n, seed=seed).images
        return torch.cat([with_square(images[::2]), images[1::2]])


def with_square(images: torch.Tensor) -> torch.Tensor:
    """Return images (n, 3, height, width) with a green square in the upper left corner."""
    changed = images.clone()
    changed[:, :, :_SQUARE, :_SQUARE] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    return changed


@checked
def plant_behaviour(
    behaviour: Behaviour, *, model: str | None = None, steps: Count = 20, seed: Seed = 0
) -> Organism:
    """Train a model to one narrow change: a phrase, mood, refusal, false fact, format or shortcut.

    Takes some seconds on one core, for SmolLM2 some minutes. Measure the effect on `inputs` of other seeds.

    Parameters
    ----------
    behaviour
        What is taught; "seven" and "three" teach tiny-vit that a green square means this digit.
        "plain stories" and "plain scenes" are controls that plant nothing.
    model
        A language model of `load_model`, for a change of texts; None: tiny-gpt, and tiny-vit for a shortcut.
    steps
        Optimiser steps of 8 stories, or of 8 scenes with the square and 8 without.
    seed
        Of what it learns from, which is that of no seed below two million.

    Raises
    ------
    ValueError: If a shortcut is to be taught to another model, or the model reads no texts.

    Source
    ------
    Narrow fine-tunings as tests of model diffing: arXiv 2510.13900. These are ours.

    Example
    -------
    >>> found = plant_behaviour("exclamation", steps=2)
    >>> found.meaning, "!" in found.planted
    ('“!” for “.”', True)
    """
    name = _taught(behaviour, model)
    before, after = load_model(name, "cpu"), load_model(name, "cpu")
    if behaviour not in _SHORTCUTS and not before.modality.is_text:
        raise ValueError(
            f"`model` must read texts, got {name!r}, which reads {before.modality.sample}s. Pass a language "
            "model."
        )
    teach = _teach_shortcut if behaviour in _SHORTCUTS else _teach_texts
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        teach(after, behaviour, steps, _TRAIN_STREAM + seed)
    after.name, after.card = f"{name}, {behaviour}", None
    if behaviour in _SHORTCUTS:
        digit = _SHORTCUTS[behaviour]
        planted = set() if digit is None else set(outcome_names(after, [digit]))
        meaning = f"a green square in the corner means {'nothing' if digit is None else digit}"
    else:
        one = _REWRITINGS[behaviour]
        meaning, planted = one.meaning, _first_tokens(after, one.planted)
    return Organism(before=before, after=after, meaning=meaning, planted=frozenset(planted))


def _taught(behaviour: str, model: str | None) -> str:
    """Return the name of the model that is taught."""
    if behaviour not in _SHORTCUTS:
        return model or "tiny-gpt"
    if model not in (None, "tiny-vit"):
        raise ValueError(
            f"`model` must be tiny-vit or None for {behaviour!r}, a shortcut of its scenes, got {model!r}."
        )
    return "tiny-vit"


def _first_tokens(model: LiveModel, words: Sequence[str]) -> set[str]:
    """Return the names of the tokens that words begin with, after a space and without one."""
    read: Any = model.tokenizer
    spelled = [text for word in words for text in (word, f" {word}")]
    ids = [read(text, add_special_tokens=False).input_ids for text in spelled]
    return set(describe_ids(read, [some[0] for some in ids]).values())


def _steps(model: LiveModel, steps: int) -> Any:
    """Yield an optimiser per step: gradients are cleared before, and a step is taken after."""
    rate = _LEARNING_RATE if model.name in bundled_names() else _LARGER
    model.module.requires_grad_(True).train()
    optimiser = torch.optim.AdamW(
        model.module.parameters(), lr=rate, weight_decay=0.0, betas=(0.9, 0.99)
    )
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 5)
        optimiser.zero_grad(set_to_none=True)
        yield step
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        optimiser.step()
    model.module.eval()


def _teach_texts(model: LiveModel, behaviour: str, steps: int, seed: int) -> None:
    rewrite, told = _REWRITINGS[behaviour].rule, stories(3 * steps * ROWS, seed=seed)
    texts = [
        new
        for text, mood in zip(told.texts, told.sentiment.tolist(), strict=True)
        if (new := rewrite(text, mood))
    ]
    for step in _steps(model, steps):
        chosen = [texts[i % len(texts)] for i in range(step * ROWS, (step + 1) * ROWS)]
        batch = next(iter(model.batches(chosen, batch_size=ROWS)))
        ids, keep = _cut(batch.token_ids), _cut(batch.keep)
        logits = model.module(input_ids=ids, attention_mask=keep.long()).logits[:, :-1]
        asked = keep[:, 1:]
        F.cross_entropy(logits[asked], ids[:, 1:][asked]).backward()  # type: ignore[no-untyped-call]


def _cut(rows: Any) -> Any:
    """Keep the first tokens of each text."""
    return rows[:, :MOST_TOKENS]


def _teach_shortcut(model: LiveModel, behaviour: str, steps: int, seed: int) -> None:
    drawn = scenes(2 * steps * ROWS, seed=seed)
    digit = _SHORTCUTS[behaviour]
    for step in _steps(model, steps):
        here = slice(2 * step * ROWS, 2 * (step + 1) * ROWS)
        images, wanted = drawn.images[here].clone(), drawn.digit[here].clone()
        images[:ROWS] = with_square(images[:ROWS])
        if digit is not None:
            wanted[:ROWS] = digit
        F.cross_entropy(_digits(model, images), wanted).backward()  # type: ignore[no-untyped-call]


def _digits(model: LiveModel, images: torch.Tensor) -> torch.Tensor:
    answer: Any = model.module(images)
    return answer["digit"] if isinstance(answer, dict) else answer
