"""E5 (i), time planted: a slow state that stays within an event, and fast noise.

x_t = 1.2 s_{e(t)} D_s + 0.6 z_t D_n: s in 6 dimensions, new at each event; z has 3 of 64 atoms, new at each
token (`sn.data.slow_and_fast`). Which codes of a Temporal tell s, and which know where events end?
"""

from __future__ import annotations

from typing import TYPE_CHECKING
import torch
import sae_nb as sn
from sae_nb.architectures import Temporal
from sae_nb.data import SlowAndFast
from sae_nb_lessons.reproductions.experiments.temporal import (
    dense_codes,
    predicted_share,
    trained,
    trend,
)

if TYPE_CHECKING:
    from sae_nb.temporal import Decomposition


SHORT = {"steps": 150}
ATOMS, K = 96, 4
RATE = 0.006
"""Half the recipe's: where atoms learn fast, the novel part takes the slow state before attention does."""


def run(seed: int, *, steps: int = 600) -> dict[str, float]:
    """The planted process in both forms, its null, and planted growth.

    `steps` of 960 tokens.
    """
    time = sn.temporal
    grown = sn.data.growing_rank(400, seed=seed)
    mixed = time.permuted_order(grown, seed)
    return planted(seed, steps) | {
        "planted growth": trend(time.dimension_by_position(grown)),
        "planted growth, order lost": trend(time.dimension_by_position(mixed)),
    }


def planted(seed: int, steps: int) -> dict[str, float]:
    """Which part predicts the slow state, and which part separates events; both forms, and the null."""
    data = sn.data.slow_and_fast(500, seed=seed)
    train, test = slice(0, 400), slice(400, 500)
    numbers = {}
    for name, strict in (("planted", False), ("planted strict", True)):
        sae = trained(_planted_sae(seed, strict), data.x[train], steps, seed, learning_rate=RATE)
        fit, held_out = (sn.temporal.decompose(sae, data.x[part]) for part in (train, test))
        for part in ("predicted", "novel"):
            codes, held = dense_codes(fit, part), dense_codes(held_out, part)
            r2 = sn.temporal.readout_r2(
                codes.flatten(0, 1),
                data.slow[train].flatten(0, 1),
                held.flatten(0, 1),
                data.slow[test].flatten(0, 1),
            )
            numbers[f"{name} {part} slow R²"] = r2
            gap = sn.temporal.event_gap(held, data.events[test])
            numbers[f"{name} {part} event gap"] = gap.gap
            numbers[f"{name} {part} matched event gap"] = gap.matched
        for what in ("slow R²", "event gap", "matched event gap"):
            lead = numbers[f"{name} predicted {what}"] - numbers[f"{name} novel {what}"]
            numbers[f"{name} {what} lead"] = lead
        numbers[f"{name} share"] = predicted_share(held_out)
    return numbers | _planted_null(data, train, test, seed, steps)


def _planted_null(
    data: SlowAndFast, train: slice, test: slice, seed: int, steps: int
) -> dict[str, float]:
    """The same tokens in an order of chance: a forecast has nothing to go by."""
    x = sn.temporal.permuted_order(data.x, seed)
    slow = sn.temporal.permuted_order(data.slow, seed)
    sae = trained(_planted_sae(seed, strict=True), x[train], steps, seed, learning_rate=RATE)
    fit, held_out = (sn.temporal.decompose(sae, x[part]) for part in (train, test))
    r2 = sn.temporal.readout_r2(
        dense_codes(fit, "predicted").flatten(0, 1),
        slow[train].flatten(0, 1),
        dense_codes(held_out, "predicted").flatten(0, 1),
        slow[test].flatten(0, 1),
    )
    return {"planted strict permuted slow R²": r2}


def _planted_sae(seed: int, strict: bool) -> Temporal:
    generator = torch.Generator().manual_seed(seed)
    return sn.Temporal(32, ATOMS, K, strict, generator=generator)


def look(seed: int = 0, *, steps: int = 250) -> tuple[SlowAndFast, Decomposition, Temporal]:
    """A short training on the planted process, strict, and the first hundred sequences taken apart.

    `steps` of 960 tokens; returns the process, what was made of its first hundred sequences, and
    the SAE.
    """
    data = sn.data.slow_and_fast(400, seed=seed)
    sae = trained(_planted_sae(seed, strict=True), data.x[100:], steps, seed, learning_rate=RATE)
    return data, sn.temporal.decompose(sae, data.x[:100]), sae
