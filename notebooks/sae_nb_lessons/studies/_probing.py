"""Probes of the lesson *Probing*: logistic regression and columns apart, in plain torch, and their controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import repeat
from statistics import mean

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.architectures import SparseAutoencoder

PENALTY, N_SHUFFLES = 0.01, 6
Labels = Bool[Tensor, " n"]


def logistic(x: Float[Tensor, "n d"], y: Labels, penalty: float = PENALTY) -> Float[Tensor, " d+1"]:
    """Return w and b, one after the other, that minimise mean log loss + ½ penalty ‖w‖²; b is free."""
    return descend(lambda p: log_loss(p, x.double(), y) + penalty / 2 * p[:-1].square().sum(), x)


def log_loss(p: Tensor, x: Tensor, y: Labels) -> Tensor:
    """Return the mean of log(1 + e^−s) over rows, with s the score of the right class."""
    scores = x @ p[:-1] + p[-1]
    return torch.nn.functional.softplus(torch.where(y, -scores, scores)).mean()


def descend(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the minimum of a convex loss of d + 1 numbers, from 0, by L-BFGS."""
    p = torch.zeros(x.shape[1] + 1, dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([p], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        value = loss(p)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return p.detach()


def accuracy(p: Float[Tensor, " d+1"], x: Float[Tensor, "n d"], y: Labels) -> float:
    """Return the share of rows whose score has the right sign."""
    return float(((x.double() @ p[:-1] + p[-1] > 0) == y).double().mean())


def columns_apart(z: Float[Tensor, "n columns"], y: Labels, k: int) -> Int[Tensor, " k"]:
    """Return the k columns whose means over both classes are farthest apart, the farthest first.

    Source: Gurnee et al., "Finding neurons in a haystack", arXiv 2305.01610.
    """
    return (z[y].mean(dim=0) - z[~y].mean(dim=0)).abs().topk(k).indices


def spread(x: Float[Tensor, "n d"], like: Float[Tensor, "m d"]) -> Float[Tensor, "n d"]:
    """Return columns with mean 0 and deviation 1 over the rows of `like`; columns that never vary are 0."""
    deviation = like.std(dim=0)
    return (x - like.mean(dim=0)) / torch.where(deviation > 0, deviation, torch.inf)


def shuffled(y: Labels, seed: int = 0) -> Labels:
    """Return the same labels on other rows."""
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]


@torch.no_grad()
def random_latents(sae: SparseAutoencoder, x: Float[Tensor, "n d"], seed: int = 0) -> Tensor:
    """Return codes of a dictionary of random directions: the k largest of the same number of projections."""
    draws = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(
        torch.randn(sae.n_atoms, x.shape[1], generator=draws), dim=1
    )
    u = (x - sae.bias) @ directions.T
    values, atoms = u.topk(round(float(sae.encode(x).l0.double().mean())), dim=1)
    return torch.zeros_like(u).scatter(1, atoms, values.relu())


def probe_table(
    columns: Mapping[str, Float[Tensor, "n d"]], y: Labels, n_train: int, *, k: int = 5
) -> pd.DataFrame:
    """Return test accuracies of probes on all columns, on the k farthest apart, and of six on shuffled labels.

    The first `n_train` rows are trained on; the second half of all rows is tested on. The last column is the
    accuracy of the six on the rows and shuffled labels that they were trained on.
    """
    half, found = len(y) // 2, {}
    for name, given in columns.items():
        x = spread(given, given[:n_train])
        some, test = x[:n_train], x[half:]
        chosen = columns_apart(given[:n_train], y[:n_train], k)
        labels = [shuffled(y[:n_train], seed) for seed in range(N_SHUFFLES)]
        wrong = [logistic(some, one) for one in labels]
        found[name] = {
            "all columns": accuracy(logistic(some, y[:n_train]), test, y[half:]),
            f"{k} columns": accuracy(
                logistic(some[:, chosen], y[:n_train]), test[:, chosen], y[half:]
            ),
            "control: shuffled labels": mean(accuracy(p, test, y[half:]) for p in wrong),
            "control, training rows": mean(map(accuracy, wrong, repeat(some), labels)),
        }
    return pd.DataFrame(found).T


def tested(x: Float[Tensor, "n d"], y: Labels, train: Labels, test: Labels) -> float:
    """Return the accuracy on rows `test` of a probe trained on rows `train`."""
    x = spread(x, x[train])
    return accuracy(logistic(x[train], y[train]), x[test], y[test])


@cache
def even_digits(n: int = 1200) -> tuple[Float[Tensor, "n d"], Labels]:
    """Return the class token of tiny-vit's block 6 on images, and whether their digit is even."""
    import sae_nb as sn

    scenes = sn.data.scenes(n, seed=25, split="test")
    acts = sn.capture(sn.load_model("tiny-vit"), scenes, "resid_post.6", progress=False)
    return acts.x[acts.position == 0], scenes.digit % 2 == 0


@cache
def shuffled_fit() -> float:
    """Return the accuracy on its own 60 training rows of a probe with shuffled labels, mean over six shuffles."""
    x, y = even_digits()
    return float(probe_table({"activations": x}, y, 60)["control, training rows"].iloc[0])
