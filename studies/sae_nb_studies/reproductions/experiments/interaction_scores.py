"""Interaction of columns in one model and in many nearly as good, where the pairs that interact are planted.

y = 1.5 x₀x₁ + x₂ + 2 max(x₃ − x₄, 0) + noise of 0.5, of six independent columns; a seed draws the rows and trains
networks of two hidden layers on two thirds of them. Scores are of the last third.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from sae_nb_studies.evaluation import InteractionCloud, interaction_cloud

SHORT = {"rows": 900, "steps": 150, "others": 1}
PLANTED = ((0, 1), (3, 4))
COLUMNS = 6


def run(seed: int, *, rows: int = 4500, steps: int = 1000, others: int = 4) -> dict[str, float]:
    """Score pairs in the network's set, in one of shuffled answers, and in `others` trained from other starts."""
    x, y = _drawn(rows, seed)
    cut = 2 * rows // 3
    held, answers = x[cut:], y[cut:]
    networks = [_trained(x[:cut], y[:cut], 100 * seed + i, steps) for i in range(1 + others)]
    order = torch.randperm(cut, generator=torch.Generator().manual_seed(seed))
    shuffled = _trained(x[:cut], y[:cut][order], 100 * seed, steps)
    weights = torch.linalg.lstsq(x[:cut], y[:cut, None]).solution[:, 0]
    numbers: dict[str, float] = {}
    clouds: dict[str, InteractionCloud] = {}
    for name, model in (
        ("network", networks[0]),
        ("shuffled", shuffled),
        ("linear", lambda x: x @ weights),
    ):
        cloud = clouds[name] = interaction_cloud(
            model, held, answers, steps=2, n_shuffles=4, seed=seed
        )
        table = cloud.table
        planted = np.array([pair in PLANTED for pair in cloud.pairs])
        numbers |= {
            f"{name}: planted pairs interact": float(table.interacts[planted].mean()),
            f"{name}: other pairs interact": float(table.interacts[~planted].mean()),
        }
    cloud = clouds["network"]
    bent = np.array([np.abs(halo[:, 1] - 1).mean() for halo in cloud.halos])
    planted = np.array([pair in PLANTED for pair in cloud.pairs])
    again = [m for m in networks[1:] if _loss(m, held, answers) <= cloud.loss + cloud.epsilon]
    apart = [
        interaction_cloud(m, held, answers, steps=1, n_shuffles=4, seed=seed).scores[:, 0]
        for m in again
    ]
    scores = np.stack([cloud.scores[:, 0], *apart], axis=1)
    size = np.abs(cloud.scores[:, 0])
    return numbers | {
        "models": float(cloud.n_models),
        "loss over noise": cloud.loss / 0.25,
        "halo off the circle, planted": float(bent[planted].mean()),
        "halo off the circle, others": float(bent[~planted].mean()),
        "range, masks": float((np.ptp(cloud.scores, axis=1) / size)[planted].mean()),
        "range, trained again": float((np.ptp(scores, axis=1) / size)[planted].mean()),
        "trained again and as good": float(len(again)),
        "standard error": float((cloud.errors[:, 0] / size)[planted].mean()),
    }


def _drawn(n: int, seed: int) -> tuple[Float[Tensor, "n columns"], Float[Tensor, " n"]]:
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(n, COLUMNS, generator=draws)
    y = 1.5 * x[:, 0] * x[:, 1] + x[:, 2] + 2 * (x[:, 3] - x[:, 4]).clamp_min(0)
    return x, y + 0.5 * torch.randn(n, generator=draws)


def _loss(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(mse_loss(model(x), y))


def _trained(x: Tensor, y: Tensor, seed: int, steps: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = [nn.Linear(COLUMNS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
        model = nn.Sequential(*hidden, nn.Linear(64, 1), nn.Flatten(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    draws = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (256,), generator=draws)
        loss = mse_loss(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.eval()
