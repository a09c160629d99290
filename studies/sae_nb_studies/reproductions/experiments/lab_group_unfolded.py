"""Are groups learned without supervision (the lab)? A linear group network as its authors train it.

Images of 14 × 14 are sums of two planted filters of 5 × 5 and their turns by 90°, at few
places, of unit variance as whitened images are. `UnfoldedGroups`
learns two orbits of four from them, by the loss of the authors' code: squared error, and that actions can be undone.
Asked of the last layer: is a filter the one before it, turned (largest cross-correlation with either turn)? Does the
orbit close (cosine of b and A⁴b)? Floor: the same network with its actions held as drawn. Control: as many free filters.
Twice: with actions of norm 1, the authors', and of the norm of a turn, with which an orbit keeps its length (ours).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb_studies.lab import UnfoldedGroups, UnfoldedModel

SHORT = {"steps": 20, "n_images": 100}
K, G, SIDE, PIXELS = 2, 4, 5, 14
RARE = 0.006
"""Share of places at which a planted filter is."""
STEP, BATCH = 0.1, 32


def run(seed: int, *, steps: int = 400, n_images: int = 1500) -> dict[str, float]:
    """Train with learned, held and no actions; return what of planted turns the filters have."""
    generator = torch.Generator().manual_seed(seed)
    base = F.normalize(torch.randn(K, SIDE**2, generator=generator)).reshape(K, SIDE, SIDE)
    planted = torch.stack([base.rot90(g, (1, 2)) for g in range(G)], dim=1).flatten(0, 1)
    images = of_filters(planted, 2 * n_images, generator)
    numbers: dict[str, float] = {}
    for name, filters, size in (
        ("learned", "orbits", 1.0),
        ("held", "held actions", 1.0),
        ("learned, long", "orbits", float(SIDE)),
        ("held, long", "held actions", float(SIDE)),
        ("free", "free", 1.0),
    ):
        network = UnfoldedGroups(K, G, SIDE, step=STEP, filters=filters, size=size)  # type: ignore[arg-type]
        model = network.fit(images[:n_images], steps=steps, batch_size=BATCH, seed=seed)
        found = judged(model, planted) | {"R²": model.explained(images[n_images:])}
        if filters == "free":
            del found["closed"]  # no action leads from one to the next
        numbers |= {f"{name}, {number}": value for number, value in found.items()}
        quarter = model.losses[int(0.7 * steps) : int(0.8 * steps)].mean()
        fallen = 1 - model.losses[-steps // 10 :].mean() / quarter
        numbers[f"{name}, last fall"] = float(fallen)
    return numbers


def of_filters(planted: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw images with filters at few places, each with a strength of 1 to 2."""
    shape = (n, len(planted), PIXELS - SIDE + 1, PIXELS - SIDE + 1)
    on = torch.rand(shape, generator=generator) < RARE
    strength = 1 + torch.rand(shape, generator=generator)
    images = F.conv_transpose2d(on * strength, planted[:, None])
    return images / images.std()


def judged(model: UnfoldedModel, planted: Tensor) -> dict[str, float]:
    """Return how far the last layer's filters are planted ones, turns of each other, and closed orbits."""
    orbits = model.orbits().reshape(K, G, SIDE, SIDE)
    turned = torch.stack(
        [
            torch.stack(
                [
                    alike(orbit[1:], orbit[:-1].rot90(q, (1, 2))).diagonal().mean()
                    for orbit in orbits
                ]
            )
            for q in (1, 3)
        ]
    )
    near = alike(orbits.flatten(0, 1), planted)
    owner = near.argmax(dim=1).reshape(K, G) // G
    together = torch.stack([(owner == k).double().mean(dim=1) for k in range(K)]).amax(dim=0)
    return {
        "turned": float(turned.amax(dim=0).mean()),
        "closed": float(model.closing().abs().mean()),
        "planted": float(near.amax(dim=0).mean()),
        "of one orbit": float(together.mean()),
    }


def alike(a: Tensor, b: Tensor) -> Tensor:
    """Return the largest cross-correlation of each filter of a with each of b, over shifts; 1 for copies."""
    size = a.flatten(1).norm(dim=1)[:, None] * b.flatten(1).norm(dim=1)
    return F.conv2d(a[:, None], b[:, None], padding=SIDE - 1).flatten(2).amax(dim=2) / size
