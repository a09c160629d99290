"""Induction in one layer, by queries and keys that include their change (the lab).

Attention-only models of width 64 with four heads learn tiny-induction's task: stretches of 2 to 8 letters
are repeated up to 8 letters later, and the model predicts how the repetition continues. One layer with
momentum γ, one without, two without; one without for twice the number of steps. They are compared with a
rule that ignores the letters: copy the letter a fixed number of positions ago, with the best such number
on the same rows.
"""

from __future__ import annotations

import torch

import sae_nb as sn

SHORT = {"steps": 120}
GAMMAS = (0.1, 0.3, 1.0, 3.0)
N_ROWS, FARTHEST = 1000, 20


def run(seed: int, *, steps: int = 1000) -> dict[str, float]:
    """Return accuracies by γ, layers and steps, and the induction score of the best head."""
    plain = trained(0.0, 1, steps, seed)
    two = trained(0.0, 2, steps, seed)
    by_gamma = {gamma: trained(gamma, 1, steps, seed) for gamma in GAMMAS}
    numbers = {f"γ = {gamma:g}": accuracy(model, seed) for gamma, model in by_gamma.items()}
    one = by_gamma[1.0]
    return numbers | {
        "one layer, momentum": numbers["γ = 1"],
        "one layer": accuracy(plain, seed),
        "one layer, twice as long": accuracy(trained(0.0, 1, 2 * steps, seed), seed),
        "two layers": accuracy(two, seed),
        "momentum gains": numbers["γ = 1"] - accuracy(plain, seed),
        "best head, momentum": float(one.scores(N_ROWS, seed).max()),
        "best head": float(plain.scores(N_ROWS, seed).max()),
        "best head, two layers": float(two.scores(N_ROWS, seed).max()),
        "by distance": by_distance(one, seed),
        "chance": 1 / 26,
    }


def trained(gamma: float, n_blocks: int, steps: int, seed: int) -> sn.lab.MomentumModel:
    """Train one model."""
    return sn.lab.Momentum(gamma, n_blocks=n_blocks).fit(steps=steps, seed=seed)


def accuracy(model: sn.lab.MomentumModel, seed: int) -> float:
    """Return the share of right letters on held-out rows."""
    return model.accuracy(N_ROWS, seed)


def by_distance(model: sn.lab.MomentumModel, seed: int) -> float:
    """Return the accuracy of copying the letter a fixed number of positions ago, at the best number."""
    ids, targets = model.rows(N_ROWS, seed)
    asked = targets >= 0
    best = 0.0
    for distance in range(1, FARTHEST):
        before = torch.nn.functional.pad(ids, (distance, 0), value=-1)[:, : ids.shape[1]]
        best = max(best, float((before == targets)[asked].float().mean()))
    return best
