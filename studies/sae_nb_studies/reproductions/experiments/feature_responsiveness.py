"""Reasons that can be acted on: columns, and atoms of an SAE, whose change turns an answer.

Loans: a seed draws applicants and trains a network of two layers on noisy decisions; age and history weigh much
and cannot be changed. A ranking is judged by fresh values of the column that it puts first. Atoms: of tiny-gpt's
last block, on stories that a seed cuts; wanted is the runner-up.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import sae_nb as sn
from sae_nb.models import run as run_model
from sae_nb_studies.evaluation import atom_responsiveness, responsiveness
from sae_nb_studies.evaluation.tables._responsiveness import QUANTILES

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"rows": 600, "steps": 60, "texts": 1}
COLUMNS = ("age", "history", "income", "loans", "guarantor", "region")
WEIGHTS = torch.tensor([1.0, 1.6, 1.0, -0.9, 0.8, 0.0])
FRESH = (0.2, 0.4, 0.6, 0.8)
N_FIRST = 3
"""Atoms that a ranking puts first."""


def run(seed: int, *, rows: int = 3000, steps: int = 400, texts: int = 24) -> dict[str, float]:
    """Hold rankings by responsiveness, by attribution and at random against fresh changes."""
    return _loans(seed, rows, steps) | _atoms(seed, texts)


def _loans(seed: int, rows: int, steps: int) -> dict[str, float]:
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, len(COLUMNS), generator=draws)
    x[:, 4] = (x[:, 4] > 0.5).float()
    score = x @ WEIGHTS + x[:, 2].clamp_min(0) * x[:, 4] - 1.0
    y = (score + 0.5 * torch.randn(rows, generator=draws) > 0).float()
    network = _trained(x[: rows // 2], y[: rows // 2], seed, steps)
    held = x[rows // 2 :][:400]

    def approve(x: Tensor) -> Tensor:
        with torch.no_grad():
            return (network(x) > 0).long()

    tried, fresh = (_values(seed, once) for once in (0, 1))
    found, again = (responsiveness(approve, held, some, names=COLUMNS) for some in (tried, fresh))
    denied = held[found.rows]
    slopes = _slopes(network, denied)
    random = np.random.default_rng(seed).random(found.scores.shape)
    reasons = -_shapley(network, denied, x[: rows // 2].mean(dim=0))
    rankings = {
        "responsiveness": found.scores,
        "Shapley": reasons,
        "gradient": np.abs(slopes),
        "random": random,
    }
    able = again.scores.max(axis=1) > 0
    numbers = {
        "loans: accuracy": float((approve(held) == y[rows // 2 :][:400]).double().mean()),
        "loans: denied with recourse": again.recourse,
    }
    for name, ranking in rankings.items():
        first = ranking.argmax(axis=1)
        of_first = again.scores[np.arange(len(first)), first][able]
        numbers[f"loans: fresh changes that work, {name}"] = float(of_first.mean())
        numbers[f"loans: first reason without recourse, {name}"] = float((of_first == 0).mean())
    return numbers


def _values(seed: int, once: int) -> list[Any]:
    """Return what columns can be set to: income up, loans down, a guarantor, another region; nothing else."""
    draws = np.random.default_rng((seed, once))
    up, down, region = draws.uniform(0, 2, 10), draws.uniform(-2, 0, 10), draws.normal(size=10)
    return [None, None, lambda now: now + up, lambda now: now + down, [1.0], region.tolist()]


def _trained(x: Tensor, y: Tensor, seed: int, steps: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = binary_cross_entropy_with_logits(model(x), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def _slopes(model: nn.Module, x: Tensor) -> Float[np.ndarray, "n columns"]:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(x).sum(), x)
    return found.double().numpy()


@torch.no_grad()
def _shapley(model: nn.Module, x: Tensor, mean: Tensor) -> Float[np.ndarray, "n columns"]:
    """Return exact Shapley values of the logit: columns that are out are at their mean."""
    n = x.shape[1]
    worth = {}
    for size in range(n + 1):
        for inside in combinations(range(n), size):
            shown = mean.expand_as(x).clone()
            shown[:, list(inside)] = x[:, list(inside)]
            worth[inside] = model(shown)
    values = torch.zeros_like(x)
    for inside in worth:
        for column in set(range(n)) - set(inside):
            weight = factorial(len(inside)) * factorial(n - 1 - len(inside)) / factorial(n)
            more = worth[tuple(sorted((*inside, column)))] - worth[inside]
            values[:, column] += weight * more
    return values.double().numpy()


def _atoms(seed: int, texts: int) -> dict[str, float]:
    """Judge rankings of atoms by strengths between those that were tried."""
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    seen = sn.capture(gpt, sn.data.stories(40, seed=0).texts, "resid_post.3", progress=False)
    codes = sae.encode(seen.x).to_dense().detach().double().numpy()
    levels = [
        np.quantile(z[z > 0], QUANTILES) if (z > 0).any() else np.zeros(len(QUANTILES))
        for z in codes.T
    ]
    draws = np.random.default_rng((seed, 2))
    found: dict[str, list[float]] = {}
    for text in sn.data.stories(texts, seed=1000 + seed).texts:
        words = text.split()[: int(draws.integers(8, 20))]
        prompt = " ".join(words)
        top, wanted = gpt([prompt])[0, -1].topk(2).indices.tolist()
        tried, again = (
            atom_responsiveness(sae, gpt, prompt, seen, wanted=wanted, quantiles=quantiles)
            for quantiles in (QUANTILES, FRESH)
        )
        atoms = [int(name) for name in tried.names]
        slopes = _towards(gpt, sae, prompt, wanted, top)[atoms]
        now = sae.encode(_last(gpt, prompt)).to_dense()[0].detach().double().numpy()[atoms]
        moves = np.array([levels[a] for a in atoms]) - now[:, None]
        rankings = {"responsiveness": tried.scores[0], "gradient": np.abs(slopes)}
        rankings["gradient × change"] = (moves * slopes[:, None]).max(axis=1)
        rankings["random"] = draws.random(len(atoms))
        for name, ranking in rankings.items():
            first = np.argsort(-ranking, kind="stable")[:N_FIRST]
            found.setdefault(name, []).append(float(again.scores[0][first].mean()))
        found.setdefault("some atom", []).append(again.recourse)
    numbers = {
        f"atoms: fresh changes that work, {name}": float(np.mean(v)) for name, v in found.items()
    }
    numbers["atoms: texts that some atom turns"] = numbers.pop(
        "atoms: fresh changes that work, some atom"
    )
    return numbers


def _last(gpt: LiveModel, prompt: str) -> Tensor:
    return sn.capture(gpt, [prompt], "resid_post.3", progress=False).x[-1:]


def _towards(gpt: LiveModel, sae: Any, prompt: str, wanted: int, top: int) -> np.ndarray:
    """Return how much the wanted token gains on the top one along each atom at the last position."""
    batch = next(iter(gpt.batches([prompt], batch_size=1)))
    with torch.enable_grad():
        ran = run_model(gpt, batch, grad=["resid_post.3"])
        answer = ran.answer.one()
        answer = answer.reshape(-1, answer.shape[-1])[-1]
        slope = ran.gradients(answer[wanted] - answer[top])["resid_post.3"][0, -1]
    return (sae.dictionary.detach() @ slope).double().numpy()
