"""Which rules of parity does a diffusion model learn (the lab)?

Strings of 12 bits in groups of neighbours, each with an even number of −1. `BitDenoiser` learns to denoise 20 000 of
them: each bit's network sees all bits or the three around it (which hold a group of two, and not one of four), by three
layers or one. From noise 2 000 strings are made; counted are the groups with an even number of −1, ½ by chance. Floor:
the network as it begins. Control: the same network, trained on strings without a rule. The most that the way of making
strings allows: those of a perfect denoiser.
"""

from __future__ import annotations

import torch

from sae_nb_studies.lab import BitDenoiser, even_strings, group_parity, parity_posterior
from sae_nb_studies.lab._bit_denoiser import strings_from

SHORT = {"steps": 100, "n_made": 400}
N_BITS, N_KNOWN, LEVELS = 12, 20_000, 32
NETWORKS: dict[str, tuple[int | None, int, tuple[int, ...]]] = {
    "all bits": (None, 3, (2, 3, 4, 6)),
    "one layer": (None, 1, (4,)),
    "3 bits": (3, 3, (2, 4)),
    "7 bits": (7, 3, (4,)),
}
"""Bits seen, layers, and bits of a group."""


def run(seed: int, *, steps: int = 1500, n_made: int = 2000) -> dict[str, float]:
    """Train each network on each size of groups; return the share of groups that keep the rule."""
    numbers = {}
    for name, (seen, depth, groups) in NETWORKS.items():
        for group in groups:
            known = even_strings(N_KNOWN, N_BITS, group, seed=seed)
            model = BitDenoiser(seen, depth=depth).fit(known, steps=steps, seed=seed)
            label = f"{name}, groups of {group}"
            numbers[label] = group_parity(model.sample(n_made, n_steps=LEVELS, seed=seed), group)
            numbers[f"{label}, rule"] = model.rule_learned(group, seed=seed).share
            numbers[f"{label}, error"] = float(model.losses[-100:].mean())
            if label == "all bits, groups of 4":
                for few in (4, 8, 16):
                    made = model.sample(n_made, n_steps=few, seed=seed)
                    numbers[f"{label}, {few} levels"] = group_parity(made, group)
    settings = BitDenoiser(depth=3)
    free = settings.fit(even_strings(N_KNOWN, N_BITS, 1, seed=seed), steps=steps, seed=seed)
    known = even_strings(N_KNOWN, N_BITS, 4, seed=seed)
    begun = settings.fit(known, steps=1, learning_rate=1e-9, seed=seed)
    for label, model in (("free bits", free), ("untrained", begun)):
        numbers[label] = group_parity(model.sample(n_made, n_steps=LEVELS, seed=seed), 4)
    for group in (4, 6):
        best = strings_from(perfect(group), n_made, N_BITS, LEVELS, seed)
        numbers[f"perfect, groups of {group}"] = group_parity(best, group)
    return numbers


def perfect(group: int):  # type: ignore[no-untyped-def]
    """Return the best denoiser of strings in groups of that many bits."""

    def guess(y: torch.Tensor, sigma: float) -> torch.Tensor:
        return parity_posterior(y.reshape(-1, group), sigma).mean.reshape(y.shape)

    return guess
