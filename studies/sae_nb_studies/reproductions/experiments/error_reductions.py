"""What lowers the error of an SAE that is not linear in its input: a dearer code, or an earlier SAE's output?

TopK SAEs of two small models (8 atoms per dimension, k = 16), trained at two places on the same samples, and
the bundled ones of SmolLM2-135M, of which a seed draws nine tenths of the rows of prose that they were not
trained on.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

import sae_nb as sn
from sae_nb_studies.evaluation import ErrorReductions, reduce_error
from sae_nb_studies.reproductions._three_models import Seen, trained_on

SHORT = {"steps": 60, "samples": 60, "blocks": ()}
PLACES = {
    "tiny-vit": ("resid_post.3", "resid_post.6"),
    "tiny-gpt": ("resid_post.1", "resid_post.3"),
}
EARLIER = {16: 9, 23: 16}
"""Of SmolLM2: the block of the earlier SAE, by that of the later one."""


def run(
    seed: int,
    *,
    steps: int = 600,
    samples: int = 400,
    blocks: tuple[int, ...] = (16, 23),
) -> dict[str, float]:
    """Measure both ways; `blocks`: those of SmolLM2's later SAEs."""
    found = {name: _small(name, seed, steps, samples) for name in PLACES}
    for block in blocks:
        before, after = (
            (sn.load_sae(f"smollm2-135m/resid_post.{one}"), _drawn(one, seed))
            for one in (EARLIER[block], block)
        )
        found[f"smollm2 {block}"] = reduce_error(*after, *before, seed=seed)
    return {f"{name}: {what}": value for name, one in found.items() for what, value in _facts(one)}


def _facts(found: ErrorReductions) -> list[tuple[str, float]]:
    """Return the share that is not linear, and by how much of itself each way lowers it."""
    ways = {
        "gradient pursuit": found.pursuit,
        "earlier": found.earlier,
        "own output": found.own,
        "other rows": found.other_rows,
    }
    lowered = [(f"lowered by {way}", 1 - left / found.encoder) for way, left in ways.items()]
    more = [
        (f"{way} less pursuit", (found.pursuit - ways[way]) / found.encoder)
        for way in ("earlier", "own output", "other rows")
    ]
    return [("not linear", found.encoder), *lowered, *more]


def _small(name: str, seed: int, steps: int, samples: int) -> ErrorReductions:
    model, places = sn.load_model(name), list(PLACES[name])
    seeds = 2 * seed + 700, 2 * seed + 701
    inputs: tuple[Any, ...] = (
        (sn.data.scenes(samples, seeds[0]).images, sn.data.scenes(samples, seeds[1], "test").images)
        if name == "tiny-vit"
        else tuple(list(sn.data.stories(samples, s).texts) for s in seeds)
    )
    (train, test) = (
        [sn.capture(model, given, place, progress=False) for place in places] for given in inputs
    )
    saes = [
        trained_on(Seen(name=name, train=a, test=b, labels={}), seed, steps=steps)
        for a, b in zip(train, test, strict=True)
    ]
    return reduce_error(saes[1], test[1], saes[0], test[0], seed=seed)


@cache
def _prose(block: int) -> sn.Activations:
    model = sn.load_model("smollm2-135m")
    return sn.capture(model, sn.data.prose("test"), f"resid_post.{block}", progress=False)


def _drawn(block: int, seed: int) -> sn.Activations:
    """Return nine tenths of the rows, the same at every block."""
    acts = _prose(block)
    generator = torch.Generator().manual_seed(seed)
    kept = torch.randperm(len(acts), generator=generator)[: len(acts) * 9 // 10]
    return acts.subset(torch.zeros(len(acts), dtype=torch.bool).index_fill(0, kept, True))
