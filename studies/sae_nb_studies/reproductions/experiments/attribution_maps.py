"""Attribution maps of tiny-vit: are they on the digit, does the answer follow them, do trainings agree?

The outcome is the digit in the scene. Every map is compared with a random one, with the map of a model
whose weights were drawn again, and with closeness to the middle. The trainings that are compared are the
three bundled models that learned from the same scenes: tiny-vit, tiny-vit-tied (shared blocks) and
tiny-vit-plain (without residual drop); they differ in more than their seed.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

import sae_nb as sn

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"n": 2, "n_designs": 2, "n_steps": 2, "methods": ("sobol", "gradient")}
MODELS = ("tiny-vit", "tiny-vit-tied", "tiny-vit-plain")
METHODS = ("sobol", "occlusion", "gradient", "integrated", "smooth")
BASELINES = ("mean", "blur")


def run(
    seed: int,
    *,
    n: int = 6,
    n_designs: int = 8,
    n_steps: int = 8,
    methods: tuple[str, ...] = METHODS,
) -> dict[str, float]:
    """Map `n` scenes that no model was trained on, by every method and model, and measure the maps."""
    scenes = sn.data.scenes(n, seed=seed, split="test")
    models = {name: sn.load_model(name, "cpu") for name in MODELS}
    models["random"] = randomised(seed)
    settings: dict[str, Any] = {
        "outcome": scenes.digit.tolist(),
        "n_designs": n_designs,
        "n_steps": n_steps,
        "seed": seed,
    }
    numbers, maps = {}, {}
    drawn = torch.rand(n, 8, 8, generator=torch.Generator().manual_seed(seed))
    numbers["random, on the digit"] = on_digit(drawn, scenes.patch_mask)
    numbers["middle, on the digit"] = on_digit(middle(n), scenes.patch_mask)
    for method in methods:
        found = {
            name: sn.vision.attribution(model, scenes.images, method, **settings)  # type: ignore[arg-type]
            for name, model in models.items()
        }
        own = found["tiny-vit"].on_grid(8, 8)
        maps[method] = found["tiny-vit"].maps
        numbers[f"{method}, on the digit"] = on_digit(own, scenes.patch_mask)
        fake = found["random"].on_grid(8, 8)
        numbers[f"{method}, randomised, on the digit"] = on_digit(fake, scenes.patch_mask)
        pairs = [
            sn.vision.attribution_stability(found[a], found[b], n_bootstrap=0, seed=seed).table
            for a, b in combinations(MODELS, 2)
        ]
        rows = {row: float(np.mean([t.loc[row, "agreement"] for t in pairs])) for row in ROWS}
        numbers |= {f"{method}, {row}": value for row, value in rows.items()}
        numbers[f"{method}, above shuffled"] = rows["maps"] - rows["shuffled maps"]
        sanity = sn.vision.attribution_stability(
            found["tiny-vit"], found["random"], n_bootstrap=0, seed=seed
        )
        numbers[f"{method}, maps of a randomised model"] = float(
            sanity.table.loc["maps", "agreement"]
        )
    return numbers | faithful(models["tiny-vit"], scenes, maps, seed)


ROWS = ("maps", "shuffled maps", "answers", "relative")


def randomised(seed: int) -> Any:
    """Load tiny-vit with every matrix drawn again, of the same mean square; norms and biases are unchanged."""
    model = sn.load_model("tiny-vit", "cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                spread = weight.float().square().mean().sqrt()
                weight.copy_(spread * torch.randn(weight.shape, generator=generator))
    return model


def on_digit(maps: Tensor, truth: Tensor) -> float:
    """Score maps by their AUC for the patches that the digit covers, mean over scenes."""
    areas = []
    for own, on in zip(maps.flatten(1).double().numpy(), truth.numpy(), strict=True):
        n = int(on.sum())
        area = (rankdata(own)[on].sum() - n * (n + 1) / 2) / max(n * (len(on) - n), 1)
        areas.append(area)
    return float(np.mean(areas))


def middle(n: int) -> Tensor:
    """Return a map of closeness to the middle of the image, `n` times."""
    steps = torch.linspace(-1, 1, 8)
    return -(steps[:, None].square() + steps.square()).expand(n, 8, 8)


def faithful(model: LiveModel, scenes: Any, maps: dict[str, Tensor], seed: int) -> dict[str, float]:
    """Measure every method's insertion and deletion, also above a random map's, mean over two baselines."""
    found = sn.vision.pixel_fidelity(
        model, scenes.images, maps, baselines=BASELINES, n_masks=16, n_bootstrap=0, seed=seed
    )
    mean = found.scores.mean(axis=(1, 3))  # (metrics, maps)
    numbers = {}
    for j, name in enumerate(found.maps):
        for i, metric in enumerate(("insertion", "deletion")):
            numbers[f"{name}, {metric}"] = float(mean[i, j])
            numbers[f"{name}, {metric} above random"] = float(mean[i, j] - mean[i, -1])
    return numbers
