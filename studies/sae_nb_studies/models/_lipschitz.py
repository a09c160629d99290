"""Classifiers that cannot change faster than their input: 1-Lipschitz networks, and what that certifies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb.checks import (
    Count,
    Positive,
    Seed,
    at_least,
    check_classes,
    check_count,
    checked,
    same_length,
)

MARGIN, ALPHA = 1.0, 10.0
"""Of the hinge, and its weight against the distance of the classes. Ours."""

NEAR = 3
"""Steps by which weights are made orthonormal again after a step."""


class MaxMin(nn.Module):
    """GroupSort of two: neighbours in order of size, which keeps every length."""

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return larger ones first, smaller ones after."""
        one, other = x.chunk(2, dim=1)
        return torch.cat([torch.maximum(one, other), torch.minimum(one, other)], dim=1)


class LipschitzNetwork(nn.Module):
    """Linear maps with orthonormal rows or columns and GroupSort: |f(x) − f(y)| ≤ |x − y|, all outcomes as one.

    Parameters
    ----------
    d_in
        Numbers of an input.
    hidden
        Widths of the layers between, even.
    n_outcomes
        Classes, at most the last width.
    seed
        Of the weights.

    Source
    ------
    Serrurier et al., arXiv 2206.06854; GroupSort: arXiv 1811.05381. Weights are projected, not
    parametrised as there.

    Example
    -------
    >>> network = LipschitzNetwork(8, (16,), 3)
    >>> x = torch.randn(5, 2, 8)
    >>> moved = network(x[:, 0]) - network(x[:, 1])
    >>> bool((moved.norm(dim=1) <= (x[:, 0] - x[:, 1]).norm(dim=1) + 1e-5).all())
    True
    """

    @checked
    def __init__(
        self,
        d_in: Count,
        hidden: Sequence[int],
        n_outcomes: Annotated[int, at_least(2)],
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        widths = [check_count(width, name="hidden") for width in hidden]
        if not widths or any(width % 2 for width in widths) or widths[-1] < n_outcomes:
            raise ValueError(
                f"`hidden` must be even widths, the last at least {n_outcomes}, got {list(hidden)}."
            )
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            parts: list[nn.Module] = [nn.Flatten()]
            for before, after in pairwise([d_in, *widths]):
                parts += [nn.Linear(before, after), MaxMin()]
            self.layers = nn.Sequential(*parts, nn.Linear(widths[-1], n_outcomes))
            for part in self.layers:
                if isinstance(part, nn.Linear):
                    nn.init.orthogonal_(part.weight)

    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n outcomes"]:
        """Return a number per outcome."""
        return self.layers(x)

    @torch.no_grad()
    def project(self, steps: int = 0) -> None:
        """Make every weight the nearest matrix with orthonormal rows or columns.

        `steps` of Newton and Schulz, which is enough close by; 0: by singular values.
        """
        for part in self.layers:
            if isinstance(part, nn.Linear):
                weight = (
                    part.weight if part.weight.shape[0] <= part.weight.shape[1] else part.weight.T
                )
                for _ in range(steps):
                    weight = 1.5 * weight - 0.5 * (weight @ weight.T) @ weight
                if not steps:
                    left, _, right = torch.linalg.svd(weight, full_matrices=False)
                    weight = left @ right
                part.weight.copy_(weight if weight.shape == part.weight.shape else weight.T)

    @torch.no_grad()
    def radius(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Return the distance within which no change of an input can change its answer: margin / √2."""
        best = self(x).topk(2, dim=1).values
        return (best[:, 0] - best[:, 1]) / 2**0.5


def hkr_loss(
    outcomes: Float[Tensor, "n outcomes"],
    labels: Int[Tensor, " n"],
    *,
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> Float[Tensor, ""]:
    """Return −(mean within a class − mean of the rest), the dual of its transport, + α · hinge, over outcomes.

    Source
    ------
    Hinge Kantorovich–Rubinstein, arXiv 2006.06520, of several classes as in deel-lip: each against the rest,
    the hinge at half of the margin.

    Example
    -------
    >>> far, near = torch.eye(2) * 9, torch.eye(2) * 0.1
    >>> bool(hkr_loss(far, torch.tensor([0, 1])) < hkr_loss(near, torch.tensor([0, 1])))
    True
    """
    own = nn.functional.one_hot(labels, outcomes.shape[1]).to(outcomes)
    within = (own * outcomes).sum(dim=0) / own.sum(dim=0).clamp_min(1)
    rest = ((1 - own) * outcomes).sum(dim=0) / (1 - own).sum(dim=0).clamp_min(1)
    hinge = (margin / 2 - (2 * own - 1) * outcomes).relu().mean()
    return alpha * hinge - (within - rest).mean()


@checked
def train_lipschitz(
    images: Float[Tensor, "n ..."],
    labels: Int[Tensor, " n"],
    *,
    hidden: Sequence[int] = (128, 128),
    margin: Positive = MARGIN,
    alpha: Positive = ALPHA,
    steps: Count = 1500,
    batch_size: Count = 128,
    learning_rate: Positive = 1.0,
    seed: Seed = 0,
) -> LipschitzNetwork:
    """Train a 1-Lipschitz classifier by the hinge Kantorovich–Rubinstein loss.

    Its gradients have length 1 at most, so that a picture of them is a picture of where the answer can be
    changed; `radius` of the result certifies that no smaller change does.

    Parameters
    ----------
    images, labels
        Inputs of one shape, and their classes from 0.
    hidden
        Widths of the layers between, even.
    margin, alpha
        Of the hinge; its weight. A large `alpha` gives accuracy, a small one margins.
    steps, batch_size, learning_rate, seed
        Of steepest descent with momentum .9 on loss / alpha, on a one-cycle rate; of weights and batches.

    Raises
    ------
    TypeError, ValueError: If labels do not fit, a width is odd, or the last is less than the classes.

    Source
    ------
    Serrurier et al., arXiv 2206.06854. Sizes, rates, and that weights are projected after each step, are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> digits = sn.data.digits("train")
    >>> network = train_lipschitz(digits.images, digits.digit, hidden=(64,), steps=60)
    >>> bool(network.radius(digits.images[:4]).min() > 0)
    True
    """
    classes = check_classes(labels)
    same_length(classes, len(images), name="labels", per="image")
    n_outcomes = max(int(classes.max()) + 1, 2)
    network = LipschitzNetwork(images[0].numel(), hidden, n_outcomes, seed)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(network.parameters(), learning_rate, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps, cycle_momentum=False
    )
    for _ in range(steps):
        some = torch.randint(len(images), (batch_size,), generator=generator)
        loss = hkr_loss(network(images[some].float()), classes[some], margin=margin, alpha=alpha)
        optimiser.zero_grad()
        (loss / alpha).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        network.project(NEAR)
    network.project()
    return network.eval()
