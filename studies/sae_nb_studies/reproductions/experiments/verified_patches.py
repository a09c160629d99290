"""Attribution with a guarantee: which patches of a digit can change a classifier's answer, proven.

Handwritten digits of 8 × 8 pixels and a small classifier (two convolutions, two linear layers), trained on
1 400 of them. Of images that it classifies rightly, every patch of 2 × 2 pixels may change by at most `RADIUS`. A bound (CROWN, or intervals) proves that the answer stays; an attack (projected gradients, four
starts) shows that it does not; what is neither is open. Control: random changes of the same patches, as
attributions by sampling look at them, and a classifier whose bounds are intervals. Ranks: a patch's strongest
attack against its importance by the bound, by occlusion and by the gradient.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.statistics import rank_correlation

SHORT = {"n_images": 10, "steps": 150}
RADIUS, GRID, N_SAMPLES, BATCH = 0.3, (4, 4), 256, 64


def run(seed: int, *, n_images: int = 24, steps: int = 500) -> dict[str, float]:
    """Train a classifier, bound and attack every patch of some images, and compare maps."""
    network, x, accuracy = trained(seed, steps)
    x = x[:n_images]
    settings: dict[str, Any] = {"radius": RADIUS, "grid": GRID}
    numbers = {"accuracy": accuracy}
    found = {}
    for bounds in ("interval", "crown-ibp", "crown"):
        start = time.process_time()
        found[bounds] = sn.vision.verified_attribution(network, x, bounds=bounds, **settings)
        numbers[f"{bounds}, seconds an image"] = (time.process_time() - start) / len(x)
    reached = sn.vision.attacked(network, x, seed=seed, **settings)
    drawn = sn.vision.attacked(network, x, seed=seed, n_samples=N_SAMPLES, **settings)
    changed = reached > 0
    for bounds, proven in found.items():
        numbers[f"{bounds}, decided"] = float((proven.safe | changed).double().mean())
        numbers[f"{bounds}, slack"] = float((proven.alone - reached).mean())
        numbers[f"{bounds}, proven and changed"] = float((proven.safe & changed).sum())
    numbers |= {
        "patches that change the answer": float(changed.double().mean()),
        "missed by samples": float((drawn[changed] <= 0).double().mean()),
        "crown, missed": float(found["crown"].safe[changed].double().mean()),
    }
    return numbers | agreement(network, x, reached, found["crown"])


def trained(seed: int, steps: int) -> tuple[nn.Sequential, Tensor, float]:
    """Return a classifier, held-out digits that it classifies rightly, and its accuracy on held-out digits."""
    parts = [sn.data.digits(split) for split in ("train", "test")]
    (x, held), (y, truth) = (
        [torch.as_tensor(getattr(part, name)) for part in parts] for name in ("images", "digit")
    )
    x, held = (images.float().reshape(-1, 1, 8, 8) for images in (x, held))
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        loss = nn.functional.cross_entropy(network(x[rows]), y[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    network.eval().requires_grad_(False)
    right = network(held).argmax(dim=1) == truth
    shown = held[right][torch.randperm(int(right.sum()), generator=generator)]
    return network, shown, float(right.double().mean())


def agreement(network: nn.Module, x: Tensor, reached: Tensor, proven: Any) -> dict[str, float]:
    """Rank correlation over patches of the strongest attack with each map, mean over images."""
    model = sn.wrap(nn.Sequential(Grey(), network), name="digits", patch_grid=GRID)
    colour, outcome = x.expand(-1, 3, -1, -1), proven.outcomes.tolist()
    chance = torch.rand(proven.maps.shape, generator=torch.Generator().manual_seed(0))
    maps = {"bound": proven.alone, "held": proven.maps, "random": chance}
    for method in ("occlusion", "gradient", "sobol"):
        own = sn.vision.attribution(model, colour, method, outcome=outcome)
        maps[method] = own.on_grid(*GRID)
    return {
        f"rank, {name}": float(
            np.mean(
                [
                    rank_correlation(a.flatten().numpy(), b.flatten().numpy())
                    for a, b in zip(reached, of)
                ]
            )
        )
        for name, of in maps.items()
    }


class Grey(nn.Module):
    """The mean of three channels: attributions read colour."""

    def forward(self, x: Tensor) -> Tensor:
        """Return one channel."""
        return x.mean(dim=1, keepdim=True)
