"""Are gradients of a 1-Lipschitz network clearer than those of an ordinary one as large and as accurate?

Handwritten digits lie at one of nine places on a noisy ground of 14 × 14 pixels, so the pixels that matter are
known. The ordinary network (ReLU, cross-entropy) is trained until it is as accurate as the 1-Lipschitz one
(GroupSort, orthonormal weights, hinge Kantorovich–Rubinstein loss); the control is the latter before training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import sae_nb as sn
from sae_nb.statistics import rank_correlation
from sae_nb_studies.models import LipschitzNetwork, train_lipschitz
from sae_nb_studies.reproductions._small_images import accuracy
from sae_nb_studies.reproductions.experiments.attribution_maps import on_digit

SHORT = {"steps": 100, "n": 12, "copies": 2}
SIDE, INK, GROUND = 14, 0.3, 0.4
HIDDEN = (128, 128)
STEP, FARTHEST = 0.05, 6.0
"""Of the walk to another answer, and its greatest length."""


def run(seed: int, *, steps: int = 1500, n: int = 100, copies: int = 8) -> dict[str, float]:
    """Train both and measure their gradients on `n` test images that both answer right."""
    generator = torch.Generator().manual_seed(seed)
    images, _, labels = placed(sn.data.digits("train"), copies, generator)
    asked, ink, truth = placed(sn.data.digits("test"), 1, generator)
    smooth = train_lipschitz(images, labels, hidden=HIDDEN, steps=steps, seed=seed)
    reached = accuracy(smooth, asked, truth)
    ordinary = ordinary_network(images, labels, asked, truth, reached, steps, seed)
    fresh = LipschitzNetwork(SIDE**2, HIDDEN, 10, seed).eval()
    with torch.no_grad():
        right = (smooth(asked).argmax(dim=1) == truth) & (ordinary(asked).argmax(dim=1) == truth)
    some = right.nonzero()[:n, 0]
    judge = images[:4000].flatten(1), labels[:4000]
    numbers = {
        "accuracy: 1-Lipschitz": reached,
        "accuracy: ordinary": accuracy(ordinary, asked, truth),
    }
    for name, network in (("1-Lipschitz", smooth), ("ordinary", ordinary), ("untrained", fresh)):
        found = _maps(network, asked[some], ink[some], truth[some], seed)
        if name != "untrained":
            found |= _walks(network, asked[some], truth[some], judge)
        numbers |= {f"{key}: {name}": value for key, value in found.items()}
    numbers["attacks within the radius"] = _attacked(
        smooth, asked[some], smooth.radius(asked[some])
    )
    margins = _margin(ordinary, asked[some], ordinary(asked[some]).argmax(dim=1)).detach() / 2**0.5
    numbers["attacks within margin / √2: ordinary"] = _attacked(
        ordinary, asked[some], margins.clamp(0, 3)
    )
    numbers["radius"] = float(smooth.radius(asked[some]).median())
    return numbers


def placed(digits: Any, copies: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return digits on noisy ground (n, 1, side, side), the pixels that their ink covers, and their classes."""
    images, masks, labels = [], [], []
    for _ in range(copies):
        ground = GROUND * torch.rand(len(digits), SIDE, SIDE, generator=generator)
        mask = torch.zeros(ground.shape, dtype=torch.bool)
        corners = torch.randint(2, 5, (len(digits), 2), generator=generator).tolist()
        for i, (top, left) in enumerate(corners):
            at = (i, slice(top, top + 8), slice(left, left + 8))
            ground[at] = torch.maximum(ground[at], digits.images[i])
            mask[at] = digits.images[i] > INK
        images.append(ground[:, None])
        masks.append(mask)
        labels.append(digits.digit)
    return torch.cat(images), torch.cat(masks), torch.cat(labels)


def ordinary_network(
    images: Tensor,
    labels: Tensor,
    asked: Tensor,
    truth: Tensor,
    enough: float,
    steps: int,
    seed: int,
) -> nn.Module:
    """Train a network of the same widths until its accuracy on the images asked is enough."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        first, second = (nn.Linear(a, b) for a, b in zip((SIDE**2, HIDDEN[0]), HIDDEN, strict=True))
        network = nn.Sequential(
            nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(HIDDEN[1], 10)
        )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        some = torch.randint(len(images), (128,), generator=generator)
        loss = cross_entropy(network(images[some]), labels[some])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step % 25 == 24 and accuracy(network, asked, truth) >= enough:
            break
    return network.eval()


def _maps(
    network: nn.Module, images: Tensor, ink: Tensor, truth: Tensor, seed: int
) -> dict[str, float]:
    """Measure gradient maps: on the ink, rough, like the smoothed one, and like that under noise."""
    model = sn.wrap(network, name="digits")
    settings: dict[str, Any] = {"outcome": truth.tolist(), "n_steps": 16, "seed": seed}
    own = sn.vision.attribution(model, images, "gradient", **settings).maps
    smooth = sn.vision.attribution(model, images, "smooth", **settings).maps
    generator = torch.Generator().manual_seed(seed)
    noisy = (images + 0.1 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    again = sn.vision.attribution(model, noisy, "gradient", **settings).maps
    down, across = (own.diff(dim=axis).abs().sum(dim=(1, 2)) for axis in (1, 2))
    rough = (down + across) / own.sum(dim=(1, 2)).clamp_min(1e-12)
    return {
        "on the ink": on_digit(own, ink.flatten(1)),
        "rough": float(rough.mean()),
        "like smoothed": _alike(own, smooth),
        "like under noise": _alike(own, again),
    }


def _alike(one: Tensor, other: Tensor) -> float:
    pairs = zip(one.flatten(1).numpy(), other.flatten(1).numpy(), strict=True)
    return float(np.mean([rank_correlation(a, b, undefined=0.0) for a, b in pairs]))


def _margin(network: nn.Module, x: Tensor, answer: Tensor) -> Tensor:
    outcomes = network(x)
    own = outcomes.gather(1, answer[:, None])[:, 0]
    rest = outcomes.scatter(1, answer[:, None], -torch.inf).amax(dim=1)
    return own - rest


def _walks(
    network: nn.Module, images: Tensor, truth: Tensor, judge: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """Follow the gradient down to another answer: how far it is, and whether neighbours see another digit."""
    x = images.clone()
    flipped = torch.zeros(len(x), dtype=torch.bool)
    for _ in range(round(FARTHEST / STEP)):
        walking = x.clone().requires_grad_()
        margin = _margin(network, walking, truth)
        (slope,) = torch.autograd.grad(margin.sum(), walking)
        flipped = margin.detach() < 0
        if flipped.all():
            break
        length = slope.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        x = torch.where(flipped[:, None, None, None], x, x - STEP * slope / length)
    known, labels = judge
    near = torch.cdist(x.flatten(1), known).topk(5, dim=1, largest=False).indices
    seen = torch.mode(labels[near], dim=1).values
    with torch.no_grad():
        answers = network(x).argmax(dim=1)
    far = (x - images).flatten(1).norm(dim=1)
    return {
        "distance to another answer": float(far[flipped].mean()) if flipped.any() else FARTHEST,
        "neighbours see the other digit": float(((seen == answers) & flipped).double().mean()),
    }


def _attacked(network: nn.Module, images: Tensor, radius: Tensor) -> float:
    """Share of answers that projected gradients change within a distance of each image."""
    answer = network(images).argmax(dim=1)
    reach = 0.999 * radius[:, None, None, None]
    x = images.clone()
    changed = torch.zeros(len(images), dtype=torch.bool)
    for _ in range(40):
        walking = x.clone().requires_grad_()
        margin = _margin(network, walking, answer)
        changed |= margin.detach() < 0
        (slope,) = torch.autograd.grad(margin.sum(), walking)
        x = (
            x
            - reach / 8 * slope / slope.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        )
        moved = x - images
        length = moved.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        x = images + moved * (reach / length).clamp_max(1)
    return float(changed.double().mean())
