"""Interaction bases: are layers connected more sparsely in them than in principal components? Do modules show?

Planted: two tasks that share nothing, each two maps of ReLUs with random weights; every place between the
maps is rotated, so no coordinate belongs to one task. Trained: tiny-modular, from its attention's output
through the stream after its MLP to the answer, at "=". Edges are cut starting with the weakest, and bases
are compared at the same loss. Seeds draw weights, inputs and sums.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

import sae_nb as sn
from sae_nb_studies.circuits import InteractionBasis, interaction_basis
from sae_nb_studies.data.tasks import TASKS

SHORT = {"n_rows": 300, "n_sums": 40, "n_steps": 1, "n_shares": 4}
KINDS = ("local", "plain", "pca")
WIDTH, NEURONS = 8, 16
"""Per task: directions of a place, and ReLUs of a map."""

UNEXPLAINED, WRONG = 0.1, 0.1
"""Losses at which edges are counted: 1 − R² of the planted answers, share of wrong sums."""


def run(
    seed: int, *, n_rows: int = 4000, n_sums: int = 150, n_steps: int = 2, n_shares: int = 13
) -> dict[str, float]:
    """Measure both networks; the number of edges is reduced `n_shares` − 1 times by a factor of √2."""
    shares = [2.0 ** (-i / 2) for i in range(n_shares)]
    return planted(seed, n_rows, shares) | modular(seed, n_sums, n_steps, shares)


# -------------------------------------------------------------------------------------------------
# Two tasks.


def planted(seed: int, n_rows: int, shares: list[float]) -> dict[str, float]:
    """Compare groups of features with tasks, and count edges at equal loss."""
    generator = torch.Generator().manual_seed(1000 + seed)
    net, turns = two_tasks(generator)
    model, x = sn.wrap(net), torch.randn(n_rows, 2 * WIDTH, generator=generator)
    numbers = {}  # type: ignore[var-annotated]
    for kind in KINDS:
        basis = interaction_basis(model, x, ["0", "3"], kind=kind)  # type: ignore[arg-type]
        task, purity = tasks_of(basis, turns)
        groups = basis.modules(2, seed=seed)
        found = np.concatenate(groups.labels)
        numbers |= {
            f"planted, {kind}, ARI": adjusted_rand_score(task, found),
            f"planted, {kind}, purity": purity,
            f"planted, {kind}, modularity": groups.modularity,
            f"planted, {kind}, modularity of shuffled edges": float(groups.shuffled.mean()),
            f"planted, {kind}, edges": needed(basis.cut(shares), UNEXPLAINED),
        }
        if kind == "local":
            shuffled = np.concatenate(with_shuffled_edges(basis, seed).modules(2, seed=seed).labels)
            numbers["planted, shuffled, ARI"] = adjusted_rand_score(task, shuffled)
            numbers["planted, random, edges"] = needed(basis.cut(shares, seed=seed), UNEXPLAINED)
    return numbers | compared(numbers, "planted")


def two_tasks(generator: torch.Generator) -> tuple[nn.Module, list[Tensor]]:
    """Build the network, and the rotation of each place."""

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / shape[1] ** 0.5

    turns = [torch.linalg.qr(drawn(2 * WIDTH, 2 * WIDTH))[0] for _ in range(3)]
    parts: list[nn.Module] = [nn.Identity()]
    for i in range(2):
        into = torch.block_diag(drawn(NEURONS, WIDTH), drawn(NEURONS, WIDTH))  # type: ignore[no-untyped-call]
        out = torch.block_diag(drawn(WIDTH, NEURONS), drawn(WIDTH, NEURONS))  # type: ignore[no-untyped-call]
        parts += [linear(into @ turns[i].T), nn.ReLU(), linear(turns[i + 1] @ out)]
    return nn.Sequential(*parts), turns


def linear(matrix: Tensor) -> nn.Linear:
    """Build a layer without biases."""
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(matrix)
    return layer


def tasks_of(basis: InteractionBasis, turns: list[Tensor]) -> tuple[np.ndarray, float]:
    """Return the task with the larger share of each feature's direction, and that share, on average."""
    shares = []
    for write, turn in zip(basis.writes, turns, strict=True):
        power = (turn.T.double().numpy() @ write) ** 2
        shares.append(power[:WIDTH].sum(axis=0) / power.sum(axis=0))
    share = np.concatenate(shares)
    return share > 0.5, float(np.maximum(share, 1 - share).mean())


def with_shuffled_edges(basis: InteractionBasis, seed: int) -> InteractionBasis:
    """Assign the same edges to other features."""
    rng = np.random.default_rng(seed)
    edges = tuple(rng.permutation(part.ravel()).reshape(part.shape) for part in basis.edges)
    return replace(basis, edges=edges)


# -------------------------------------------------------------------------------------------------
# Sums.


def modular(seed: int, n_sums: int, n_steps: int, shares: list[float]) -> dict[str, float]:
    """Count edges at an equal share of wrong sums."""
    rows = TASKS["tiny-modular"].draw(n_sums, np.random.default_rng(seed), False)
    model, right = sn.load_model("tiny-modular"), rows.targets[:, -1]

    def wrong(answers: Tensor) -> float:
        return float((answers.argmax(dim=1).cpu() != right).double().mean())

    numbers = {}  # type: ignore[var-annotated]
    for kind in KINDS:
        basis = interaction_basis(
            model,
            rows.ids,
            ["attn_out.0", "resid_post.0"],
            kind=kind,  # type: ignore[arg-type]
            n_steps=n_steps,
        )
        curve = basis.cut(shares, loss=wrong)
        numbers |= {
            f"modular, {kind}, edges": needed(curve, WRONG),
            f"modular, {kind}, all edges": float(sum(part.size for part in basis.edges)),
            f"modular, {kind}, wrong with all": float(curve.loss[0]),
            f"modular, {kind}, modularity": basis.modules(seed=seed).modularity,
        }
        if kind == "local":
            numbers["modular, random, edges"] = needed(
                basis.cut(shares, loss=wrong, seed=seed), WRONG
            )
            shuffled = basis.modules(seed=seed).shuffled
            numbers["modular, modularity of shuffled edges"] = float(shuffled.mean())
    return numbers | compared(numbers, "modular")


def needed(curve: Any, most: float) -> float:
    """Return the smallest number of edges whose loss is at most `most`.

    Between two counts, the logarithm of edges is interpolated.
    """
    edges, loss = curve.edges.to_numpy(float), curve.loss.to_numpy()
    beyond = np.flatnonzero(loss > most)
    if not len(beyond):
        return float(edges[-1])
    first = int(beyond[0])
    if first == 0:
        return float(edges[0])
    part = (most - loss[first - 1]) / (loss[first] - loss[first - 1])
    return float(np.exp(np.interp(part, [0, 1], np.log(edges[[first - 1, first]]))))


def compared(numbers: dict[str, float], name: str) -> dict[str, float]:
    """Divide the edges of each basis by those of principal components."""
    pca = numbers[f"{name}, pca, edges"]
    return {
        f"{name}, {kind} over PCA": numbers[f"{name}, {kind}, edges"] / pca
        for kind in ("local", "plain", "random")
    }
