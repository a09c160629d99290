"""Two atoms side by side count as the dense codes do."""

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue
from sae_nb.atoms._pair import compare_atoms


def test_a_comparison_counts_as_the_codes_do() -> None:
    """Cosine, rows in which both fire, and samples that fire one and at no position the other."""
    draws = torch.Generator().manual_seed(1)
    rows, row = torch.randn(200, 6, generator=draws), torch.arange(200)
    acts = sn.Activations.from_tensor(rows, sample=row // 5, position=row % 5)
    sae = sn.TopK(d_in=6, n_atoms=24, k=3, generator=draws)
    catalogue = AtomCatalogue(sae, acts)
    order = catalogue.order(alive_only=True)
    a, b = int(order[0]), int(order[3])
    pair = compare_atoms(catalogue, a, b, n_examples=100)
    fired = catalogue.codes.to_dense().numpy()[:, [a, b]] != 0
    both = int(fired.all(axis=1).sum())
    by_chance = fired[:, 0].sum() * fired[:, 1].sum() / len(fired)
    assert (pair.n_both, pair.lift) == (both, pytest.approx(both / by_chance))
    per_sample = fired.reshape(-1, 5, 2).any(axis=1)
    only = set(np.flatnonzero(per_sample[:, 0] & ~per_sample[:, 1]).tolist())
    assert {example.sample for example in pair.only_first} == only
    assert pair.n_only_first == len(only) > 0
    d = sae.dictionary.double()
    assert pair.cosine == pytest.approx(float(d[a] @ d[b] / d[a].norm() / d[b].norm()))
    strengths = [abs(example.strength) for example in pair.only_first]
    assert strengths == sorted(strengths, reverse=True)
