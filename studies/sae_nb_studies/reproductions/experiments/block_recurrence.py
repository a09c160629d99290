"""E1 and E2, on small digit transformers: does residual drop make layers alike, and alike enough to share?

Twelve pre-norm blocks of width 32 read 8×8 digits (cls, 2 registers, 16 patches), trained with five
amounts of residual drop. Then k shared blocks learn the states by the joint schedule: a Raptor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sae_nb.data import digits
from sae_nb.dynamics import States, capture_states, layer_similarity, segment_phases
from sae_nb.models import LiveModel, VisionTransformer, VisionTransformerConfig, wrap
from sae_nb_studies.dynamics import (
    RaptorConfig,
    RaptorResult,
    raptor_accuracy,
    raptor_fit,
    train_raptor,
)
from sae_nb_studies.dynamics.raptor._config import one_cycle

SHORT = {"teacher_steps": 10, "steps": 4, "taught": 32}
DROPS = {"p=0": 0.0, "p=.1": 0.1, "p=.2": 0.2, "p=.3": 0.3, "p=.5": 0.5}
STUDIED = "p=.3"
READINGS = ("similarity", "adjacent similarity", "centred similarity", "CKA")
N_LAYERS = 12
BATCH, RATE, DECAY = 100, 3e-3, 0.02


def run(
    seed: int, *, teacher_steps: int = 240, steps: int = 300, taught: int = 1400
) -> dict[str, float]:
    """Train the teachers and every Raptor, and measure the numbers of the claims.

    `teacher_steps` of 100 digits; `steps` of each Raptor, 16 digits each, out of `taught`.
    """
    numbers: dict[str, float] = {}
    for name, drop in DROPS.items():
        model = teacher(seed, drop, teacher_steps)
        test = states_of(model, "test")
        numbers |= {f"{name} {what}": value for what, value in looked_at(model, test).items()}
        states = states_of(model, "train", taught)
        for kind, result in raptors(model, states, seed, steps, name == STUDIED).items():
            found = scored(result, model, test)
            numbers |= {f"{name} {kind} {what}": value for what, value in found.items()}
        numbers["untrained similarity"] = untrained_similarity(model)
    for name in ("p=0", STUDIED):
        early = teacher(seed, DROPS[name], teacher_steps // 2)
        numbers[f"{name} similarity, half the steps"] = looked_at(early, states_of(early, "test"))[
            "similarity"
        ]
    return numbers | compared(numbers)


def teacher(seed: int, drop: float, steps: int) -> LiveModel:
    """Train one transformer on the training digits; each branch is dropped with the same probability."""
    config = VisionTransformerConfig(
        image_size=8, patch_size=2, d_model=32, mlp_ratio=4, n_registers=2, residual_drop=0.0
    )
    generator = torch.Generator().manual_seed(seed)
    module = VisionTransformer(config, generator=generator)
    for block in module.blocks:
        cast(Any, block).residual_drop = drop
    pictures, label = coloured("train")
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY)
    module.train()
    # torch's global generator draws the images that a block skips.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = RATE * one_cycle(step, steps)
            rows = torch.randint(len(pictures), (BATCH,), generator=generator)
            loss = torch.nn.functional.cross_entropy(module(pictures[rows]), label[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
    return wrap(module.eval(), name=f"digits, residual drop {drop}")


def coloured(split: str) -> tuple[Tensor, Tensor]:
    """Return digits as colour images of three equal channels, and their labels."""
    record = digits(split)  # type: ignore[arg-type]
    return record.images[:, None].expand(-1, 3, -1, -1).contiguous(), record.digit.long()


def states_of(model: LiveModel, split: str, n: int | None = None) -> States:
    """Capture the states of the first n digits of a split, or of all."""
    return capture_states(model, coloured(split)[0][:n], batch_size=200)


def looked_at(model: LiveModel, test: States) -> dict[str, float]:
    """Measure accuracy and the similarity of layers on test digits."""
    pictures, label = coloured("test")
    similarity = layer_similarity(test)
    answers = model(pictures, batch_size=200).argmax(dim=1)
    return {
        "accuracy": float((answers == label).double().mean()),
        "similarity": similarity.means["raw"],
        "adjacent similarity": float(similarity.raw.diagonal(1).mean()),
        "centred similarity": similarity.means["centred"],
        "CKA": similarity.means["cka"],
        "first cut": float(segment_phases(similarity, 2).cuts[1]),
    }


def untrained_similarity(model: LiveModel) -> float:
    """Measure the mean similarity of the same network's layers before training."""
    config = cast(VisionTransformer, model.module).config
    module = VisionTransformer(config, generator=torch.Generator().manual_seed(0))
    return layer_similarity(states_of(wrap(module.eval()), "test")).means["raw"]


def raptors(
    model: LiveModel, states: States, seed: int, steps: int, studied: bool
) -> dict[str, RaptorResult]:
    """Train two shared blocks, cut by similarity; for the studied teacher also other k, cuts and trainings."""
    similarity = layer_similarity(states)
    two = segment_phases(similarity, 2).cuts
    joint = RaptorConfig(steps=steps, test_fraction=0.0, seed=seed)

    def fit(cuts: tuple[int, ...], config: RaptorConfig = joint) -> RaptorResult:
        return train_raptor(states, cuts, config, model=model, progress=False)

    found = {"k=2": fit(two)}
    if not studied:
        return found
    return found | {
        "k=1": fit((0, N_LAYERS)),
        "k=3": fit(segment_phases(similarity, 3).cuts),
        "untied": fit(tuple(range(N_LAYERS + 1))),
        "teacher forcing alone": fit(two, replace(joint, forcing="always")),
        "both stages": fit(two, published(joint, steps - steps * 2 // 5)),
        "stage 1 alone": fit(two, published(joint, 0)),
        **{f"other cut {i}": fit((0, c, N_LAYERS)) for i, c in enumerate(other_cuts(two), 1)},
    }


def published(joint: RaptorConfig, stage_2: int) -> RaptorConfig:
    """Return the authors' two stages in as many steps; the last `stage_2` of them train all blocks together."""
    return RaptorConfig(
        steps_1=joint.steps - stage_2,
        steps_2=stage_2,
        batch_size=joint.batch_size,
        learning_rate=5e-3,
        test_fraction=0.0,
        seed=joint.seed,
    )


def other_cuts(chosen: tuple[int, ...]) -> list[int]:
    """Return every second of the other eight cuts into two phases of at least two layers."""
    return [cut for cut in range(2, N_LAYERS - 1) if cut != chosen[1]][::2]


def scored(result: RaptorResult, model: LiveModel, test: States) -> dict[str, float]:
    """Measure R² per layer on test digits, its floors, and accuracy under the teacher's head."""
    pictures, label = coloured("test")
    fit = raptor_fit(result.raptor, test)
    accuracy = raptor_accuracy(result.raptor, model, pictures, label, batch_size=200)
    return {
        "R2": fit.mean_r2,
        "last R2": float(fit.r2[-1]),
        "relative error": float(fit.relative_error.mean()),
        "floor R2": float(fit.floor.mean()),
        "accuracy": accuracy.raptor,
        "kept": accuracy.kept,
    }


def compared(numbers: dict[str, float]) -> dict[str, float]:
    """Compute the differences in the claims, and the effect of a tenth more of residual drop."""
    n, p = numbers, f"{STUDIED} "
    others = [n[f"{p}other cut {i} R2"] for i in range(1, 5)]
    return {
        "similarity gained": n[p + "similarity"] - n["p=0 similarity"],
        "similarity gained, half the steps": n[p + "similarity, half the steps"]
        - n["p=0 similarity, half the steps"],
        **{f"{what} per tenth": per_tenth(n, what) for what in (*READINGS, "k=2 R2")},
        "R2 gained by drop": n[p + "k=2 R2"] - n["p=0 k=2 R2"],
        "R2 k=2 - k=1": n[p + "k=2 R2"] - n[p + "k=1 R2"],
        "R2 k=3 - k=2": n[p + "k=3 R2"] - n[p + "k=2 R2"],
        "R2 untied - k=3": n[p + "untied R2"] - n[p + "k=3 R2"],
        "kept own - forced": n[p + "k=2 kept"] - n[p + "teacher forcing alone kept"],
        "last R2 own - forced": n[p + "k=2 last R2"] - n[p + "teacher forcing alone last R2"],
        "kept stage 2 - stage 1": n[p + "both stages kept"] - n[p + "stage 1 alone kept"],
        "last R2 stage 2 - stage 1": n[p + "both stages last R2"] - n[p + "stage 1 alone last R2"],
        "other cuts R2": float(np.mean(others)),
        "best other cut R2": max(others),
        "R2 similarity cut - other cuts": n[p + "k=2 R2"] - float(np.mean(others)),
    }


def per_tenth(numbers: dict[str, float], what: str) -> float:
    """Return the least-squares slope of a number over the amounts of residual drop, per tenth."""
    values = [numbers[f"{name} {what}"] for name in DROPS]
    return float(np.polyfit(list(DROPS.values()), values, 1)[0]) / 10
