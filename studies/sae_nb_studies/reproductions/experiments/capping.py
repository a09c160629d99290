"""Does capping a direction, or a gate, harm other texts less than adding the direction does? SmolLM2-135M.

The direction is that of mood, from sentences with glad words against the same with sad ones. On new glad sentences it is
kept at most at the median of ordinary prose (cap), or pushed down everywhere (add), or pushed down only where it is
above that median (gate); both pushes are as strong as it takes to move the answer as far as the cap does: log-odds of
six sad words against six glad ones. Harm is KL(clean‖edited), in nats a token, on ordinary prose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn

SHORT = {"model": "tiny-gpt", "hook_point": "resid_post.2", "n_neutral": 4, "n_test": 4}
GLAD = [
    "wonderful",
    "lovely",
    "great",
    "happy",
    "delightful",
    "joyful",
    "brilliant",
    "charming",
    "pleasant",
    "cheerful",
    "beautiful",
    "superb",
]
SAD = [
    "terrible",
    "horrible",
    "awful",
    "sad",
    "dreadful",
    "gloomy",
    "dull",
    "nasty",
    "unpleasant",
    "miserable",
    "ugly",
    "poor",
]
FRAMES = (
    "The film was {} and we", "What a {} day it was. I", "Her letter was {}, and he", "It was a {} meal. The cook",
    "They had a {} evening, so they", "My trip was {} and the hotel", "His song is {}. People",
    "We saw a {} play; the actors",
)  # fmt: skip
UP = (" good", " great", " happy", " loved", " enjoyed", " wonderful")
DOWN = (" bad", " terrible", " sad", " hated", " hate", " awful")
HALVINGS = 8

Edited = Callable[[], AbstractContextManager[Any]]


def run(
    seed: int,
    *,
    model: str = "smollm2-135m",
    hook_point: str = "resid_post.15",
    n_neutral: int = 24,
    n_test: int = 12,
) -> dict[str, float]:
    """Fit on half of the words, drawn by the seed, and edit sentences of the other half.

    `n_test` glad sentences, `n_neutral` beginnings of prose.
    """
    live = sn.load_model(model, "cpu")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(GLAD), generator=generator).tolist()
    frames = torch.randperm(len(FRAMES), generator=generator).tolist()
    half = len(GLAD) // 2
    glad, sad = (
        [FRAMES[frames[i % len(FRAMES)]].format(words[order[i % half]]) for i in range(16)]
        for words in (GLAD, SAD)
    )
    test = [
        FRAMES[frames[(3 * i) % len(FRAMES)]].format(GLAD[order[half + i % half]])
        for i in range(n_test)
    ]
    prose = sn.data.prose("test").texts
    chosen = torch.randperm(len(prose), generator=generator)[:n_neutral].tolist()
    neutral = [prose[i][:300] for i in chosen]
    found = sn.direction(live, hook_point, glad, sad, positions="all", n_random=20, seed=seed)
    states = sn.capture(live, neutral, hook_point, progress=False)
    random = torch.randn(states.d_in, generator=generator)
    measure = Measure(live, test, neutral)

    median = float((states.x.float() @ found.vector).median())
    cap, goal, pushes = at_equal_effect(measure, found, median)
    harm = {name: measure.harm(push) for name, (push, _) in pushes.items()}
    unit = random / random.norm()
    usual = float((states.x.float() @ unit).median())
    other = partial(sn.steer, live, hook_point, direction=unit, mode="cap", by=usual)
    capped = measure.harm(cap)
    return {
        "effect of capping": goal,
        "effect of capping a random direction": measure.effect(other),
        "harm of capping": capped,
        "harm of capping a random direction": measure.harm(other),
        **{f"harm of {name}": value for name, value in harm.items()},
        **{
            f"strength of {name}, in distances of the groups": size / found.scale
            for name, (_, size) in pushes.items()
        },
        "harm of capping as a share of adding's": capped / harm["adding"],
        "harm of the gate as a share of adding's": harm["the gate"] / harm["adding"],
        "held-out AUC of the direction": found.separation,
    }


def at_equal_effect(
    measure: Measure, found: sn.steering.Direction, median: float
) -> tuple[Edited, float, dict[str, tuple[Edited, float]]]:
    """Return a cap at `median`, its effect, and both pushes that have this effect, with their strengths."""

    def steered(**options: Any) -> Edited:
        model, point = measure.model, found.hook_point
        return partial(sn.steer, model, point, direction=found.vector, backend="hooks", **options)

    cap = steered(mode="cap", by=median)
    goal = measure.effect(cap)
    ways: dict[str, Callable[[float], Edited]] = {
        "adding": lambda by: steered(by=-by),
        "the gate": lambda by: steered(by=-by, where=(found, median)),
    }
    sizes = {name: _strength(measure, push, goal, 4 * found.scale) for name, push in ways.items()}
    return cap, goal, {name: (ways[name](size), size) for name, size in sizes.items()}


class Measure:
    """What an edit does to the answers of some sentences, and to every token of others."""

    def __init__(
        self,
        model: sn.LiveModel,
        test: Sequence[str],
        neutral: Sequence[str],
        up: Sequence[str] = UP,
        down: Sequence[str] = DOWN,
    ) -> None:
        self.model, self.test, self.neutral = model, test, neutral
        encode = partial(model.tokenizer.encode, add_special_tokens=False)
        self.up, self.down = ([encode(word)[0] for word in words] for words in (up, down))
        self.before = self._odds(nullcontext)
        self.clean = [self._log_p(text, nullcontext) for text in neutral]

    def _log_p(self, text: str, edited: Edited) -> Float[Tensor, "time vocabulary"]:
        with torch.no_grad(), edited():
            logits = self.model([text])[0]
        return logits.as_subclass(Tensor).double().log_softmax(dim=-1)

    def _odds(self, edited: Edited) -> float:
        """Mean log-odds of sad words against glad ones, after the last token."""
        ends = torch.stack([self._log_p(text, edited)[-1] for text in self.test])
        return float((ends[:, self.down].logsumexp(1) - ends[:, self.up].logsumexp(1)).mean())

    def effect(self, edited: Edited) -> float:
        return self._odds(edited) - self.before

    def harm(self, edited: Edited) -> float:
        """Mean of KL(clean‖edited) over tokens after the first, then over texts."""
        texts = [
            (clean.exp() * (clean - self._log_p(text, edited))).sum(dim=-1)[1:].mean()
            for text, clean in zip(self.neutral, self.clean, strict=True)
        ]
        return float(torch.stack(texts).mean())


def _strength(measure: Measure, push: Callable[[float], Edited], goal: float, most: float) -> float:
    """By how much to push for an effect, by halving."""
    low, high = 0.0, most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if measure.effect(push(middle)) < goal else (low, middle)
    return high
