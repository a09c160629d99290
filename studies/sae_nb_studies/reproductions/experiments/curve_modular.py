"""Is a sum that a curve was not fitted on read right on the curve, and wrong on the chord of its neighbours?

Each seed trains the modular-addition model anew by its recipe. A closed curve goes through the mean states at "="
of 27 of the 53 sums. At each of the other 26 sums the state is replaced, and the rest of the network reads it: by
the curve, by the middle of the chord between the nearest known sums, by that point moved as far from the mean as the
curve is, and by curves through shuffled sums.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.geometry import Curve, curve
from sae_nb_studies.recipes.known_circuits import CIRCUIT_RECIPES, train_circuit

SHORT = {"model": "tiny-modular"}
P = 53
N_KNOWN = 27
POINT = "resid_post.0"
N_SHUFFLED = 5


def run(seed: int, *, model: str = "") -> dict[str, float]:
    """Train by the recipe's seed `seed`, or load `model`; count left-out sums that are read right, of 26."""
    with tempfile.TemporaryDirectory() as folder:
        if not model:
            recipe = replace(CIRCUIT_RECIPES["tiny-modular"], seed=seed)
            accuracy = train_circuit(recipe, Path(folder))["held_out"]["accuracy"]
        live = sn.load_model(model or str(Path(folder) / "tiny-modular"))
    means = states(live)
    if model:
        accuracy = float(np.mean(read(live, means) == np.arange(P)))
    rng = np.random.default_rng(seed)
    order = rng.permutation(P)
    known, left = np.sort(order[:N_KNOWN]), np.sort(order[N_KNOWN:])
    fitted = fit(means, known, known)

    def right(at: Callable[[int], Tensor]) -> float:
        return float((read(live, torch.stack([at(int(s)) for s in left])) == left).sum())

    chords = {int(s): chord(means, known, int(s)) for s in left}
    centre = means[torch.from_numpy(known)].mean(dim=0)

    def as_far(s: int) -> Tensor:
        off = chords[s] - centre
        return centre + off * (fitted.at(float(s)) - centre).norm() / off.norm()

    one = fit(means, known, known, fitted.order[:1])
    shuffled = [fit(means, known, rng.permutation(known)) for _ in range(N_SHUFFLED)]
    return {
        "accuracy": accuracy,
        "frequencies": float(len(fitted.order)),
        "R² at left-out sums": fitted.r2,
        "means": right(lambda s: means[s]),
        "curve": right(partial(place, fitted)),
        "chord": right(lambda s: chords[s]),
        "chord, as far as the curve": right(as_far),
        "shuffled": float(np.mean([right(partial(place, c)) for c in shuffled])),
        "one frequency": right(partial(place, one)),
    }


def states(live: sn.models.LiveModel) -> Float[Tensor, "p d"]:
    """Return the mean state at "=" of each sum, over a third of all ways to write it."""
    pairs = [(a, s) for a in range(0, P, 3) for s in range(P)]
    texts = [f"{a} + {(s - a) % P} =" for a, s in pairs]
    acts = sn.capture(
        live, texts, POINT, positions="last", drop_first=False, drop_massive=False, progress=False
    )
    return torch.as_tensor(acts.x).float().reshape(-1, P, acts.x.shape[1]).mean(dim=0)


def place(c: Curve, s: int) -> Float[Tensor, " d"]:
    """Return the point of a curve at a sum."""
    return c.at(float(s))


def fit(
    means: Float[Tensor, "p d"],
    rows: np.ndarray,
    values: np.ndarray,
    order: tuple[int, ...] | None = None,
) -> Curve:
    """Fit a closed curve through some sums' mean states, as the states of `values`."""
    return curve(
        means[torch.from_numpy(rows)], values, closed=True, period=P, order=order, n_shuffled=1
    )


def chord(means: Float[Tensor, "p d"], known: np.ndarray, s: int) -> Float[Tensor, " d"]:
    """Return the middle between the nearest known sums on either side, around the circle."""
    below, above = known[known < s], known[known > s]
    ends = below[-1] if len(below) else known[-1], above[0] if len(above) else known[0]
    return (means[ends[0]] + means[ends[1]]) / 2


def read(live: sn.models.LiveModel, states: Float[Tensor, "n d"]) -> np.ndarray:
    """Return the number that the rest of the network answers from each state."""
    numbers = live.tokenizer.convert_tokens_to_ids([str(n) for n in range(P)])
    found = []
    for x in states:
        with sn.splice(live, POINT, lambda h, x=x: x.to(h).expand_as(h), positions="last"):
            found.append(int(live("1 + 1 =")[0, -1][numbers].argmax()))
    return np.array(found)
