"""E5 (i), time planted: a slow state that stays within an event, and fast noise.

x_t = 1.2 s_{e(t)} D_s + 0.6 z_t D_n: s in 6 dimensions, new at each event; z has 3 of 64 atoms, new at each
token (`sn.data.slow_and_fast`). Which codes of a Temporal reveal s, and which separate events?
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import Temporal
from sae_nb_studies.data import SlowAndFast
from sae_nb_studies.reproductions.experiments.temporal import (
    BATCH,
    dense_codes,
    predicted_share,
    trend,
)

if TYPE_CHECKING:
    from sae_nb.temporal import Decomposition


SHORT = {"steps": 150, "published_steps": [150]}
ATOMS, K = 96, 4
RATE = 0.006
"""Half the recipe's rate: if atoms learn fast, the novel part takes up the slow state before attention does."""
TRAIN, TEST = slice(0, 400), slice(400, 500)


def run(
    seed: int, *, steps: int = 600, published_steps: Sequence[int] = (150, 600, 2400)
) -> dict[str, float]:
    """Measure both forms on the planted process, the null, and planted growth.

    `steps` of 960 tokens, for the strict form, its null, and the published form whose k grows;
    `published_steps`: for the published form, one training run for each.
    """
    time = sn.studies.temporal
    grown = sn.studies.data.growing_rank(400, seed=seed)
    mixed = time.permuted_order(grown, seed)
    return planted(seed, steps, published_steps) | {
        "planted growth": trend(time.dimension_by_position(grown)),
        "planted growth, order lost": trend(time.dimension_by_position(mixed)),
    }


def planted(seed: int, steps: int, published_steps: Sequence[int]) -> dict[str, float]:
    """Measure how well each part predicts the slow state and separates events; both forms, and the null."""
    data = sn.studies.data.slow_and_fast(500, seed=seed)
    saes = {"strict": _trained(data.x[TRAIN], steps, seed, strict=True)}
    saes |= {f"{n} steps": _trained(data.x[TRAIN], n, seed) for n in published_steps}
    saes["k grown"] = _trained(data.x[TRAIN], steps, seed, grow_k=True)
    numbers: dict[str, float] = {}
    for name, sae in saes.items():
        numbers |= {f"planted {name} {k}": v for k, v in _measured(sae, data).items()}
    return numbers | _planted_null(data, seed, steps)


def _measured(sae: Temporal, data: SlowAndFast) -> dict[str, float]:
    """Measure slow R² and event gaps of both parts, on sequences that were not trained on."""
    fit, held_out = (sn.temporal.decompose(sae, data.x[part]) for part in (TRAIN, TEST))
    numbers = {"share": predicted_share(held_out)}
    for part in ("predicted", "novel"):
        codes, held = dense_codes(fit, part), dense_codes(held_out, part)
        gap = sn.studies.temporal.event_gap(held, data.events[TEST])
        numbers[f"{part} slow R²"] = _slow_r2(codes, data.slow[TRAIN], held, data.slow[TEST])
        numbers[f"{part} event gap"] = gap.gap
        numbers[f"{part} matched event gap"] = gap.matched
    for what in ("slow R²", "event gap", "matched event gap"):
        numbers[f"{what} lead"] = numbers[f"predicted {what}"] - numbers[f"novel {what}"]
    return numbers


def _planted_null(data: SlowAndFast, seed: int, steps: int) -> dict[str, float]:
    """Measure slow R² with the same tokens in random order: nothing is left to forecast from."""
    x = sn.studies.temporal.permuted_order(data.x, seed)
    slow = sn.studies.temporal.permuted_order(data.slow, seed)
    sae = _trained(x[TRAIN], steps, seed, strict=True)
    codes, held = (
        dense_codes(sn.temporal.decompose(sae, x[part]), "predicted") for part in (TRAIN, TEST)
    )
    return {"planted strict permuted slow R²": _slow_r2(codes, slow[TRAIN], held, slow[TEST])}


def _slow_r2(codes: Tensor, slow: Tensor, held_codes: Tensor, held_slow: Tensor) -> float:
    """Return R² of the slow state read from codes, token by token."""
    read = (part.flatten(0, 1) for part in (codes, slow, held_codes, held_slow))
    return sn.studies.temporal.readout_r2(*read)


def _trained(
    x: Tensor, steps: int, seed: int, *, strict: bool = False, grow_k: bool | None = None
) -> Temporal:
    """Train a Temporal on the planted process for `steps` of 960 tokens."""
    generator = torch.Generator().manual_seed(seed)
    sae = sn.Temporal(32, ATOMS, K, strict, generator=generator)
    config = sn.TrainConfig(
        steps=steps, batch_size=BATCH, seed=seed, learning_rate=RATE, grow_k=grow_k
    )
    sn.train(sae, x, config, progress=False)
    return sae


def look(seed: int = 0, *, steps: int = 250) -> tuple[SlowAndFast, Decomposition, Temporal]:
    """Train the strict form briefly on the planted process, and decompose its first hundred sequences.

    `steps` of 960 tokens; returns the process, the decomposition of its first hundred sequences, and
    the SAE.
    """
    data = sn.studies.data.slow_and_fast(400, seed=seed)
    sae = _trained(data.x[100:], steps, seed, strict=True)
    return data, sn.temporal.decompose(sae, data.x[:100]), sae
