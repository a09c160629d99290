"""Interaction bases of a language model: do its layers need fewer edges in them than in principal components?

tiny-gpt at one position of stories: from its stream before the last block to the answer, and from the
stream two blocks before the end through that before the last to the answer. Edges are cut starting with
the weakest, and bases are compared at the same loss: the divergence of the answer's distribution, in
nats. Seeds draw stories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.circuits import interaction_basis
from sae_nb_studies.reproductions.experiments.interaction_basis import needed

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"n_rows": 48, "n_tokens": 5, "n_shares": 2, "n_blocks": 1}
KINDS = ("local", "pca")
NATS = 0.1
"""Loss at which edges are counted: KL divergence from the model's own answer to that of the edges."""

TOLERANCE = 1e-3
"""Directions below this share of the largest variance, or importance, are dropped: the same for every basis."""


def run(
    seed: int, *, n_rows: int = 128, n_tokens: int = 8, n_shares: int = 6, n_blocks: int = 2
) -> dict[str, float]:
    """Measure the last block, and the last `n_blocks`; shares are halved `n_shares` − 1 times."""
    model, shares = sn.load_model("tiny-gpt"), [2.0**-i for i in range(n_shares)]
    ids = beginnings(model, n_rows, n_tokens, seed)
    with torch.no_grad():
        answer = model(ids)[:, -1].log_softmax(dim=-1).double()

    def nats(answers: Tensor) -> float:
        other = answers.log_softmax(dim=-1)
        return float((answer.exp() * (answer - other.to(answer))).sum(dim=-1).mean())

    numbers, last = {}, (model.n_layers or 0) - 1  # type: ignore[var-annotated]
    for n in range(1, n_blocks + 1):
        places = [f"resid_post.{layer}" for layer in range(last - n, last)]
        for kind in KINDS:
            basis = interaction_basis(model, ids, places, kind=kind, tolerance=TOLERANCE, n_steps=1)  # type: ignore[arg-type]
            curve = basis.cut(shares, loss=nats)
            numbers |= {
                f"{n}, {kind}, edges": needed(curve, NATS),
                f"{n}, {kind}, all edges": float(sum(part.size for part in basis.edges)),
                f"{n}, {kind}, nats with all": float(curve.loss[0]),
                f"{n}, {kind}, nats with the fewest": float(curve.loss.iloc[-1]),
            }
            if kind == "local":
                cut = basis.cut(shares, loss=nats, seed=seed)
                numbers[f"{n}, random, edges"] = needed(cut, NATS)
        pca = numbers[f"{n}, pca, edges"]
        for kind in ("local", "random"):
            numbers[f"{n}, {kind} over PCA"] = numbers[f"{n}, {kind}, edges"] / pca
    return numbers


def beginnings(model: LiveModel, n: int, n_tokens: int, seed: int) -> Tensor:
    """Return the first tokens of stories, all different."""
    found: dict[tuple[int, ...], None] = {}
    for text in sn.data.stories(4 * n, seed=3000 + seed).texts:
        found[tuple(model.tokens(text)["id"].tolist()[:n_tokens])] = None
        if len(found) == n:
            break
    return torch.tensor(list(found))
