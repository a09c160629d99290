"""support_recovery: a share of the true atoms, whatever else a code holds."""

from __future__ import annotations

import pytest
import torch

from sae_nb.codes import SparseCodes
from sae_nb.evaluation import support_recovery


def codes(rows: list[list[float]]) -> SparseCodes:
    """Sparse codes of a dense list."""
    return SparseCodes.from_dense(torch.tensor(rows))


TRUTH = codes([[1.0, 0.0, 2.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.0, 0.0]])


def test_the_truth_recovers_itself() -> None:
    """Strengths do not matter, only which atoms."""
    assert support_recovery(TRUTH, TRUTH).tolist() == [1.0, 1.0]
    rescaled = codes([[-0.1, 0.0, 9.0, 0.0, 3.0], [0.0, -1.0, 0.0, 0.0, 0.0]])
    assert support_recovery(rescaled, TRUTH).tolist() == [1.0, 1.0]


def test_too_many_atoms_must_rank_the_true_ones_first() -> None:
    """Only as many of the strongest as there are true atoms count."""
    found = codes([[3.0, 2.5, 2.0, 0.4, 0.3], [0.2, 0.1, 0.0, 0.0, 0.0]])
    assert support_recovery(found, TRUTH).tolist() == pytest.approx([2 / 3, 0.0])


def test_too_few_atoms_miss_the_rest() -> None:
    """An empty code names nothing."""
    found = codes([[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert support_recovery(found, TRUTH).tolist() == pytest.approx([1 / 3, 0.0])


def test_it_agrees_with_sets() -> None:
    """Against a plain double loop, on random codes in any order of entries."""
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
    """The floor: k of n_atoms."""
    generator = torch.Generator().manual_seed(0)
    scores = [torch.rand(4000, 50, generator=generator) for _ in range(2)]
    drawn = [
        SparseCodes.from_dense(torch.zeros_like(s).scatter_(1, s.topk(5, dim=1).indices, 1.0))
        for s in scores
    ]
    assert float(support_recovery(*drawn).mean()) == pytest.approx(0.1, abs=0.01)


def test_other_rows_or_dictionaries_are_refused() -> None:
    """By name, with both sizes."""
    with pytest.raises(ValueError, match="2 × 5"):
        support_recovery(codes([[1.0, 0.0, 0.0, 0.0, 0.0]]), TRUTH)
