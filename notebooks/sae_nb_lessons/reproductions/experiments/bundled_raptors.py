"""E2 on the bundled networks: three blocks for shared layers, one to three for free ones.

The tied network is told at its true cut and at the others among the three of least segment error; the
free one at even cuts, since nothing says where to cut it.
"""

from __future__ import annotations

import torch
from sae_nb.data import scenes
from sae_nb.dynamics import RaptorConfig
from sae_nb.dynamics import RaptorResult
from sae_nb.dynamics import raptor_accuracy, raptor_fit
from sae_nb.dynamics import train_raptor
from sae_nb.dynamics import States, capture_states
from sae_nb.models import LiveModel, load_model
from sae_nb_lessons.reproductions.experiments.known_phases import BATCH, RATE, TRUE, ranked


SHORT = {"pictures": 32, "segment_steps": 1, "stage_1": 2, "stage_2": 2}


def run(
    seed: int,
    *,
    pictures: int = 160,
    segment_steps: int = 32,
    stage_1: int = 140,
    stage_2: int = 80,
) -> dict[str, float]:
    """Approximate both networks by shared blocks.

    `pictures`: for training; a quarter as many, of digits no network was trained on, for testing;
    `stage_1`, `stage_2`: steps of each Raptor, 16 pictures each.
    """
    config = RaptorConfig(
        steps_1=stage_1,
        steps_2=stage_2,
        batch_size=BATCH,
        learning_rate=RATE,
        test_fraction=0.0,
        seed=seed,
    )
    tied, free = load_model("tiny-vit-tied"), load_model("tiny-vit")
    best = [cuts for cuts, _ in ranked(tied, seed, pictures, segment_steps)[:3]]
    return told_tied(tied, seed, pictures, best, config) | told_free(free, seed, pictures, config)


def states_of(model: LiveModel, seed: int, n: int, *, test: bool = False) -> States:
    """States of pictures in half precision."""
    given = scenes(n // 4, seed=900 + seed, split="test") if test else scenes(n, seed=100 + seed)
    return capture_states(model, given, dtype=torch.float16)


def told_tied(
    model: LiveModel, seed: int, n: int, best: list[tuple[int, ...]], config: RaptorConfig
) -> dict[str, float]:
    """The true cut and its rivals in full."""
    states, test = states_of(model, seed, n), states_of(model, seed, n, test=True)
    full = {cuts: fitted(model, states, cuts, config) for cuts in dict.fromkeys([TRUE, *best])}
    r2 = {cuts: raptor_fit(one.raptor, test).mean_r2 for cuts, one in full.items()}
    others = [value for cuts, value in r2.items() if cuts != TRUE]
    found = {
        "R2": r2[TRUE],
        "R2 - best other": r2[TRUE] - max(others),
        "floor": float(raptor_fit(full[TRUE].raptor, test).floor.mean()),
        **judged(full[TRUE], model, seed),
    }
    return {f"tied {name}": value for name, value in found.items()}


def told_free(model: LiveModel, seed: int, n: int, config: RaptorConfig) -> dict[str, float]:
    """One, two and three blocks for the network whose layers are free, cut evenly."""
    states, test = states_of(model, seed, n), states_of(model, seed, n, test=True)
    numbers: dict[str, float] = {}
    for k, cuts in {1: (0, 12), 2: (0, 6, 12), 3: TRUE}.items():
        result = fitted(model, states, cuts, config)
        fit = raptor_fit(result.raptor, test)
        numbers |= {
            f"free k={k} R2": fit.mean_r2,
            f"free k={k} last R2": float(fit.r2[-1]),
            f"free k={k} floor": float(fit.floor.mean()),
        }
        if k == 2:
            found = judged(result, model, seed)
            numbers |= {f"free {what}": value for what, value in found.items()}
    return numbers | {
        "free R2 k=2 - k=1": numbers["free k=2 R2"] - numbers["free k=1 R2"],
        "free R2 k=3 - k=2": numbers["free k=3 R2"] - numbers["free k=2 R2"],
    }


def fitted(
    model: LiveModel, states: States, cuts: tuple[int, ...], config: RaptorConfig
) -> RaptorResult:
    """One Raptor."""
    return train_raptor(states, cuts, config, model=model, progress=False)


def judged(result: RaptorResult, model: LiveModel, seed: int) -> dict[str, float]:
    """Accuracy under the teacher's heads, on digits no network was trained on."""
    pictures = scenes(128, seed=900 + seed, split="test")
    found = raptor_accuracy(result.raptor, model, pictures, pictures.digit)
    return {"teacher": found.teacher, "accuracy": found.raptor, "kept": found.kept}
