"""E1 and E2, on small digit transformers: does residual drop make layers alike, and alike enough to share?

Twelve pre-norm blocks of width 32 read 8×8 digits (cls, 2 registers, 16 patches), trained with and
without residual drop. Then k shared blocks learn their states: a Raptor.
"""

from __future__ import annotations

from itertools import combinations
from typing import cast
import numpy as np
import torch
from torch import Tensor
from sae_nb.data import digits
from sae_nb.dynamics import segment_phases
from sae_nb.dynamics import RaptorConfig, one_cycle
from sae_nb.dynamics import RaptorResult
from sae_nb.dynamics import raptor_accuracy, raptor_fit
from sae_nb.dynamics import train_raptor
from sae_nb.dynamics import layer_similarity, mean_adjacent, mean_off_diagonal
from sae_nb.dynamics import States, capture_states
from sae_nb.models import LiveModel, wrap
from sae_nb.models import Block, VisionTransformer, VisionTransformerConfig


SHORT = {"teacher_steps": 40, "stage_1": 8, "stage_2": 8}
DROPS = {"p=0": 0.0, "p=.3": 0.3}
N_LAYERS = 12
BATCH, RATE, DECAY = 100, 3e-3, 0.02


def run(
    seed: int, *, teacher_steps: int = 240, stage_1: int = 60, stage_2: int = 90
) -> dict[str, float]:
    """Train both teachers and every Raptor, and take the numbers of the claims.

    `teacher_steps` of 100 digits; `stage_1`, `stage_2`: steps of the Raptors' stages, 32 digits
    each.
    """
    numbers: dict[str, float] = {}
    for name, drop in DROPS.items():
        model = teacher(seed, drop, teacher_steps)
        numbers |= {f"{name} {what}": value for what, value in looked_at(model).items()}
        for kind, result in raptors(model, seed, stage_1, stage_2, name).items():
            found = scored(result, model)
            numbers |= {f"{name} {kind} {what}": value for what, value in found.items()}
    return numbers | compared(numbers)


def teacher(seed: int, drop: float, steps: int) -> LiveModel:
    """Train one transformer on the training digits; each branch is dropped with the same chance."""
    config = VisionTransformerConfig(
        image_size=8, patch_size=2, d_model=32, mlp_ratio=4, n_registers=2, residual_drop=0.0
    )
    generator = torch.Generator().manual_seed(seed)
    module = VisionTransformer(config, generator=generator)
    for block in module.blocks:
        cast(Block, block).residual_drop = drop
    pictures, label = coloured("train")
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY)
    module.train()
    # Which pictures a block leaves out is drawn from torch's global generator.
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
    """Digits as colour pictures of three equal channels, and their labels."""
    record = digits(split)  # type: ignore[arg-type]
    return record.images[:, None].expand(-1, 3, -1, -1).contiguous(), record.digit.long()


def states_of(model: LiveModel, split: str = "train") -> States:
    """States of the digits, all the test ones or as many of the training ones."""
    pictures, _ = coloured(split)
    return capture_states(model, pictures[:397], batch_size=200)


def looked_at(model: LiveModel) -> dict[str, float]:
    """Accuracy and similarity of layers on test digits, and the same before training."""
    pictures, label = coloured("test")
    similarity = layer_similarity(states_of(model, "test"))
    answers = model(pictures, batch_size=200).argmax(dim=1)
    config = cast(VisionTransformer, model.module).config
    untrained = VisionTransformer(config, generator=torch.Generator().manual_seed(0))
    floor = layer_similarity(states_of(wrap(untrained.eval()), "test"))
    cuts = segment_phases(similarity, 2).cuts
    return {
        "accuracy": float((answers == label).double().mean()),
        "similarity": mean_off_diagonal(similarity.raw),
        "adjacent similarity": mean_adjacent(similarity.raw),
        "centred similarity": mean_off_diagonal(similarity.centred),
        "CKA": mean_off_diagonal(similarity.cka),
        "untrained similarity": mean_off_diagonal(floor.raw),
        "first cut": float(cuts[1]),
    }


def raptors(
    model: LiveModel, seed: int, stage_1: int, stage_2: int, name: str
) -> dict[str, RaptorResult]:
    """Every Raptor of one teacher by name: by k, and for the second teacher the controls."""
    states = states_of(model)
    similarity = layer_similarity(states)
    dp = {k: segment_phases(similarity, k).cuts for k in (2, 3)}

    def fit(
        cuts: tuple[int, ...], first: int, second: int, forcing: str = "annealed"
    ) -> RaptorResult:
        config = RaptorConfig(
            steps_1=first,
            steps_2=second,
            forcing=forcing,  # type: ignore[arg-type]
            batch_size=32,
            learning_rate=5e-3,
            test_fraction=0.0,
            seed=seed,
        )
        return train_raptor(states, cuts, config, model=model, progress=False)

    found = {"k=2": fit(dp[2], stage_1, stage_2)}
    if name != "p=.3":
        return found
    # Stage 1 costs about what stage 2 does, per step: each block runs on from its own first state.
    whole = stage_1 + stage_2
    return found | {
        "k=1": fit((0, N_LAYERS), stage_1, stage_2),
        "k=3": fit(dp[3], stage_1, stage_2),
        "untied": fit(tuple(range(N_LAYERS + 1)), stage_1, stage_2),
        "random cut": fit(random_cut(seed, dp[2]), stage_1, stage_2),
        "stage 1 alone": fit(dp[2], whole, 0),
        "teacher forcing alone": fit(dp[2], whole, 0, "always"),
    }


def random_cut(seed: int, other: tuple[int, ...]) -> tuple[int, ...]:
    """One of the other admissible cuts into two."""
    inner = [c for (c,) in combinations(range(2, N_LAYERS - 1), 1) if c != other[1]]
    return 0, int(np.random.default_rng(seed).choice(inner)), N_LAYERS


def scored(result: RaptorResult, model: LiveModel) -> dict[str, float]:
    """Layer R² on test digits, floors, and accuracy under the teacher's head."""
    pictures, label = coloured("test")
    fit = raptor_fit(result.raptor, states_of(model, "test"))
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
    """Differences that the claims speak of."""
    n, p = numbers, "p=.3 "
    return {
        "similarity gained": n[p + "similarity"] - n["p=0 similarity"],
        "adjacent gained": n[p + "adjacent similarity"] - n["p=0 adjacent similarity"],
        "centred gained": n[p + "centred similarity"] - n["p=0 centred similarity"],
        "CKA gained": n[p + "CKA"] - n["p=0 CKA"],
        "R2 gained by drop": n[p + "k=2 R2"] - n["p=0 k=2 R2"],
        "R2 k=2 - k=1": n[p + "k=2 R2"] - n[p + "k=1 R2"],
        "R2 k=3 - k=2": n[p + "k=3 R2"] - n[p + "k=2 R2"],
        "R2 untied - k=3": n[p + "untied R2"] - n[p + "k=3 R2"],
        "last R2 own - forced": n[p + "stage 1 alone last R2"]
        - n[p + "teacher forcing alone last R2"],
        "kept own - forced": n[p + "stage 1 alone kept"] - n[p + "teacher forcing alone kept"],
        "kept stage 2 - stage 1": n[p + "k=2 kept"] - n[p + "stage 1 alone kept"],
        "last R2 stage 2 - stage 1": n[p + "k=2 last R2"] - n[p + "stage 1 alone last R2"],
        "R2 similarity cut - random cut": n[p + "k=2 R2"] - n[p + "random cut R2"],
    }
