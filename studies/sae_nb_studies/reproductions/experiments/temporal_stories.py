"""Events in stories: time passes at a known word; which codes change there?

tiny-gpt reads the bundled short stories ("That same night …" begins a new event). Codes of one event
should be more alike than codes of two, also at equal distance; the null gives every story the borders
of another story, so that only their places in *this* story are lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder, Temporal
from sae_nb_studies.reproductions.experiments.temporal import (
    HOOK_POINT,
    MODEL,
    dense_codes,
    makers,
    trained,
)

SHORT = {"steps": 3, "stories": 120}
TOKENS = 64
"""Tokens read of each story, from its beginning; shorter stories are left out."""
FROM = 100_000
"""Number of the first story that is held out."""


@dataclass(frozen=True, eq=False)
class Told:
    """Stories of one length, and the event that each token belongs to."""

    x: Float[Tensor, "n time d_in"]
    """Activations."""

    events: Int[Tensor, "n time"]
    """Event of each token; every story has two or more."""


def run(seed: int, *, steps: int = 100, stories: int = 900) -> dict[str, float]:
    """Train on stories, and measure events in held-out stories.

    `steps` of 960 tokens; `stories`: to train on, including those too short; a third as many are
    held out.
    """
    train = told(stories, seed, 0)
    test = told(stories // 3, seed, FROM)
    numbers = gaps("raw", test.x, test.events, seed)
    saes = makers(train.x.shape[2], seed)
    del saes["batch_topk"]
    for name, sae in saes.items():
        trained(sae, train.x, steps, seed)
        numbers |= measured(name, sae, test, seed)
    return numbers | {
        f"{name} event gap lead": numbers[f"{name} predicted event gap"]
        - numbers[f"{name} novel event gap"]
        for name in ("temporal", "strict")
    }


def told(n: int, seed: int, first: int) -> Told:
    """Read stories, and keep the first 64 tokens of those in which time passes before the last of them.

    `n`, `seed`, `first`: as `n`, `seed` and `start` of `sn.data.stories`.
    """
    model = sn.load_model(MODEL)
    stories = sn.data.stories(n, seed, start=first)
    read = model.tokenizer(list(stories.texts), return_offsets_mapping=True)
    starts = [[begin for begin, _ in spans] for spans in read["offset_mapping"]]
    events = sn.studies.temporal.story_events(stories.boundary_story, stories.boundary, starts)
    # The first token is an attention sink and is not read; an event needs two tokens.
    long_enough = [
        (ids[: TOKENS + 1], of[1 : TOKENS + 1])
        for ids, of in zip(read["input_ids"], events, strict=True)
        if len(ids) > TOKENS and int(of[TOKENS - 1]) > 0
    ]
    ids = torch.tensor([ids for ids, _ in long_enough])
    acts = sn.capture(model, ids, HOOK_POINT, progress=False, drop_first=True)
    x = acts.x.reshape(len(ids), TOKENS, -1)
    return Told(x, torch.stack([of for _, of in long_enough]))


@torch.no_grad()
def measured(name: str, sae: SparseAutoencoder, test: Told, seed: int) -> dict[str, float]:
    """Measure FVU and the event gaps of an SAE's codes, or of both parts of a Temporal's."""
    numbers = {f"{name} FVU": sn.studies.temporal.unexplained(test.x, sae(test.x))}
    if not isinstance(sae, Temporal):
        return numbers | gaps(name, sae.encode(test.x).to_dense(), test.events, seed)
    parts = sn.temporal.decompose(sae, test.x)
    for part in ("predicted", "novel"):
        numbers |= gaps(f"{name} {part}", dense_codes(parts, part), test.events, seed)
    return numbers


def gaps(name: str, codes: Tensor, events: Tensor, seed: int) -> dict[str, float]:
    """Return similarity within events minus across, the same at equal distance, and the null of both.

    The null takes the borders of other stories. `codes` of stories, (n, time, width); `events`: event
    of each token.
    """
    lent = events[torch.randperm(len(events), generator=torch.Generator().manual_seed(seed))]
    true, null = (sn.studies.temporal.event_gap(codes, borders) for borders in (events, lent))
    return {
        f"{name} event gap": true.gap,
        f"{name} matched event gap": true.matched,
        f"{name} borders lent event gap": null.gap,
        f"{name} matched over lent": true.matched - null.matched,
    }
