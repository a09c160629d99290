"""support_recovery: a share of the true atoms, whatever else a code holds."""

from __future__ import annotations

import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb_studies.evaluation import support_recovery


def codes(rows: list[list[float]]) -> SparseCodes:
    return SparseCodes.from_dense(torch.tensor(rows))


TRUTH = codes([[1.0, 0.0, 2.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0, 0.0]])


def test_the_truth_recovers_itself() -> None:
    assert support_recovery(TRUTH, TRUTH).tolist() == [1.0, 1.0]
    rescaled = codes([[-0.1, 0.0, 9.0, 0.0, 3.0], [0.0, -1.0, 0.0, 0.0, 0.0]])
    assert support_recovery(rescaled, TRUTH).tolist() == [1.0, 1.0]


def test_it_agrees_with_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(40, 12, generator=generator).relu()
    true = (torch.rand(40, 12, generator=generator) < 0.3).float()
    true[:, 0] = 1
    got = support_recovery(SparseCodes.from_dense(dense), SparseCodes.from_dense(true))
    for row in range(40):
        wanted = set(true[row].nonzero().flatten().tolist())
        ranked = dense[row].argsort(descending=True)[: len(wanted)].tolist()
        named = {atom for atom in ranked if dense[row, atom] > 0}
        assert float(got[row]) == pytest.approx(len(wanted & named) / len(wanted))


def test_random_atoms_recover_their_share() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [torch.rand(4000, 50, generator=generator) for _ in range(2)]
    drawn = [
        SparseCodes.from_dense(torch.zeros_like(s).scatter_(1, s.topk(5, dim=1).indices, 1.0))
        for s in scores
    ]
    assert float(support_recovery(*drawn).mean()) == pytest.approx(0.1, abs=0.01)
