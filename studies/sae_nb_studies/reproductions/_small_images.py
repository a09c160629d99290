"""Small convolutional networks that read digits, alone or in our scenes, trained in seconds."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

BATCH = 64


def small_network(
    width: int = 16, *, channels: int = 3, dropout: float = 0.0, seed: int = 0
) -> nn.Sequential:
    """Make four convolutions with batch norm and ReLU, the mean over places, and one linear map."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        sizes = (channels, width, 2 * width, 4 * width, 4 * width)
        parts: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(sizes)):
            stride = 1 if i == 0 else 2
            parts += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
        head = nn.Linear(sizes[-1], 10)
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(nn.Sequential(*parts, *pooled), nn.Dropout(dropout), head)


def trained(
    network: nn.Module,
    images: Float[Tensor, "n channels h w"],
    labels: Int[Tensor, " n"],
    *,
    steps: int,
    seed: int,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.0,
    smoothing: float = 0.0,
) -> nn.Module:
    """Train by AdamW on a one-cycle rate, batches of 64 drawn again in every pass; return it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    order = torch.empty(0, dtype=torch.long)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network.train()
        for _ in range(steps):
            if len(order) < BATCH:
                order = torch.randperm(len(images), generator=generator)
            some, order = order[:BATCH], order[BATCH:]
            loss = cross_entropy(network(images[some]), labels[some], label_smoothing=smoothing)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, images: Float[Tensor, "n channels h w"], labels: Tensor) -> float:
    """Return the share of images that are answered right."""
    answers = torch.cat([network(some).argmax(dim=1) for some in torch.split(images, 256)])
    return float((answers == labels).double().mean())
