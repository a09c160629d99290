"""Is a word of an ordered list read right on a curve that was fitted without it? Days, months and numbers of SmolLM2.

The state of a word is its mean over sentences that end with it. It is put in the place of a word, and the rest of the
network reads it twice: by repeating the word ("The word is …. I repeat, the word is") and by naming the next one
("Today is …. Tomorrow will be"). For each word in turn the state is its own, a point of the curve through the other
words, the middle of the chord between its two neighbours, that point moved as far from the mean as the curve is, a
point as far out in a random direction, or a point of a curve through the others in shuffled order. Animals, in an order
that the seed draws, are the list without order. And, as a path: curves through all words, from a word to the third
after it, next to the chord between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.geometry import curve

SHORT = {"lists": ("days", "animals"), "n_frames": 3, "n_drawn": 2}
ORDERED = ("days", "months", "numbers")
LISTS = {
    "days": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "months": "January February March April May June July August September October November December",
    "numbers": "one two three four five six seven eight nine ten eleven twelve",
    "animals": "dog cat horse cow sheep pig rabbit lion tiger bear wolf fox mouse bird fish duck snake deer",
}
N_ANIMALS = 12
FRAMES = (
    "The word is {}", "He wrote down {}", "She said {}", "They spoke of {}", "The answer was {}", "Then came {}",
    "It is called {}", "We think of {}", "Next is {}", "I read about {}", "The card said {}", "You may choose {}",
    "My favourite is {}", "On the wall it said {}", "He whispered {}", "First we talk about {}",
)  # fmt: skip
REPEAT = "The word is {}. I repeat, the word is"
NEXT = {
    "days": "Today is {}. Tomorrow will be",
    "months": "This month is {}. Next month will be",
}
POINT = "resid_post.3"
APART = 3
"""Words from one end of a path to the other."""

Means = Float[Tensor, "words d"]


def run(
    seed: int,
    *,
    lists: Sequence[str] = (*ORDERED, "animals"),
    n_frames: int = 6,
    n_drawn: int = 5,
) -> dict[str, float]:
    """Read left-out words of some lists; a seed draws `n_frames` sentences, animals, and `n_drawn` controls."""
    live, rng = sn.load_model("smollm2-135m", "cpu"), np.random.default_rng(seed)
    frames = rng.choice(FRAMES, n_frames, replace=False).tolist()
    numbers = {}
    for name in lists:
        words = LISTS[name].split()
        if name == "animals":
            words = rng.permutation(words)[:N_ANIMALS].tolist()
        texts = [frame.format(word) for word in words for frame in frames]
        acts = sn.capture(live, texts, POINT, positions="last", progress=False)
        means = torch.as_tensor(acts.x).float().reshape(len(words), n_frames, -1).mean(dim=1)
        closed = name != "numbers"
        left = list(range(len(words))) if closed else list(range(1, len(words) - 1))
        whole = fitted(means, range(len(words)), closed, len(words))
        numbers[f"{name}: R² at left-out words"] = whole.r2
        states = left_out(means, left, closed, n_drawn, rng)
        ends = [s for s in range(len(words)) if closed or s + APART < len(words)]
        between = [(s + i) % len(words) for s in ends for i in range(1, APART)]
        for way, points in paths(means, ends, closed).items():
            right, _ = read(live, words, REPEAT, "that", points, between)
            numbers[f"{name}: between, {way}"] = right
        for kind, points in states.items():
            wanted = np.resize(left, len(points)).tolist()
            right, share = read(live, words, REPEAT, "that", points, wanted)
            numbers |= {f"{name}: {kind}": share, f"{name}: right, {kind}": right}
            if name in NEXT:
                after = [(s + 1) % len(words) for s in wanted]
                other = words[0]
                _, share = read(live, words, NEXT[name], other, points, after)
                numbers[f"{name}: next, {kind}"] = share
    return numbers | _over_lists(numbers)


def _over_lists(numbers: dict[str, float]) -> dict[str, float]:
    """Means over the ordered lists."""
    kinds = dict.fromkeys(key.partition(": ")[2] for key in numbers)
    found = {}
    for kind in kinds:
        of = [numbers[f"{name}: {kind}"] for name in ORDERED if f"{name}: {kind}" in numbers]
        found[f"ordered: {kind}"] = float(np.mean(of))
    return found


def fitted(
    means: Means, rows: Sequence[int], closed: bool, n: int, **options: Any
) -> sn.geometry.Curve:
    """Fit a curve through some words' states, at their places in a list of `n`."""
    period = float(n) if closed else None
    return curve(means, rows, closed=closed, period=period, n_shuffled=1, **options)


def left_out(
    means: Means, left: list[int], closed: bool, n_drawn: int, rng: np.random.Generator
) -> dict[str, Float[Tensor, "states d"]]:
    """Return the states that stand for each word of `left`; of drawn ones `n_drawn` in turn."""
    n = len(means)
    own, on, middle, far = [], [], [], []
    shuffled, random = torch.empty(2, n_drawn, len(left), means.shape[1])
    for i, s in enumerate(left):
        known = [w for w in range(n) if w != s]
        centre = means[known].mean(dim=0)
        here = fitted(means[known], known, closed, n).at(float(s))
        chord = (means[s - 1] + means[(s + 1) % n]) / 2
        out = (here - centre).norm()
        own.append(means[s])
        on.append(here)
        middle.append(chord)
        far.append(centre + (chord - centre) * out / (chord - centre).norm())
        for j in range(n_drawn):
            mixed = fitted(means[known], rng.permutation(known).tolist(), closed, n)
            shuffled[j, i] = mixed.at(float(s))
            drawn = torch.from_numpy(rng.normal(size=means.shape[1])).float()
            random[j, i] = centre + drawn * out / drawn.norm()
    return {
        "own state": torch.stack(own),
        "curve": torch.stack(on),
        "chord": torch.stack(middle),
        "chord, as far as the curve": torch.stack(far),
        "shuffled": shuffled.flatten(0, 1),
        "random direction": random.flatten(0, 1),
    }


def paths(means: Means, ends: list[int], closed: bool) -> dict[str, Float[Tensor, "states d"]]:
    """Return the states at the words between both ends, on a curve through all words and on the chord."""
    n = len(means)
    most = (n - 2) // 2 if closed else n - 4
    through = fitted(means, range(n), closed, n, order=most)
    steps = [(s, i) for s in ends for i in range(1, APART)]
    straight = [means[s] + (means[(s + APART) % n] - means[s]) * i / APART for s, i in steps]
    return {
        "curve": torch.stack([through.at(float(s + i)) for s, i in steps]),
        "chord": torch.stack(straight),
    }


def read(
    live: sn.LiveModel,
    words: Sequence[str],
    text: str,
    base: str,
    states: Float[Tensor, "states d"],
    wanted: Sequence[int],
) -> tuple[float, float]:
    """Put states in the place of the word of `text`: how often `wanted` is read, of the list, and its mean share."""
    encode = live.tokenizer.encode
    place = len(encode(text.partition(" {}")[0]))
    tokens = [encode(f" {word}")[0] for word in words]
    found = []
    for some in torch.split(states, 8):  # as many as a call takes at once

        def put(h: Tensor, some: Tensor = some) -> Tensor:
            h = h.clone()
            h[:, place] = some.to(h)
            return h

        with torch.no_grad(), sn.splice(live, POINT, put, backend="hooks"):
            logits = live([text.format(base)] * len(some))
        found.append(logits.as_subclass(Tensor)[:, -1, tokens].double().softmax(dim=1))
    share = torch.cat(found)
    at = torch.as_tensor(list(wanted))
    right = (share.argmax(dim=1) == at).double().mean()
    return float(right), float(share[torch.arange(len(at)), at].mean())
