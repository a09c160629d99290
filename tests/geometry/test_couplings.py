"""Couplings are those of the penalised likelihood; a common cause couples nothing; communities are those planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import block_diag, csr_matrix

from sae_nb.codes import SparseCodes
from sae_nb.geometry import communities, couplings


def codes_of(*columns: np.ndarray) -> SparseCodes:
    return SparseCodes.from_dense(torch.from_numpy(np.stack(columns, axis=1).astype(np.float32)))


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


@pytest.mark.parametrize("both", [180, 0])
def test_two_atoms_are_coupled_by_their_table(both: int) -> None:
    """The fitted table has the margins of the counted one, and the penalty less in common.

    Of 1000 rows atom 0 fires in 200, atom 1 in 300, together in 180 or none, by chance in 60.
    """
    rows = np.arange(1000)
    second = (rows < both) | ((rows >= 200) & (rows < 500 - both))
    j = couplings(codes_of(rows < 200, second), penalty=2.0).toarray()
    penalty = 2.0 * np.sqrt(1000 * 0.2 * 0.8 * 0.3 * 0.7)
    held = both - penalty if both else both + penalty
    one = logit(held / 300) - logit((200 - held) / 700)
    other = logit(held / 200) - logit((300 - held) / 800)
    np.testing.assert_allclose(j, [[0, (one + other) / 2], [(one + other) / 2, 0]], atol=2e-3)


def test_a_common_cause_couples_nothing() -> None:
    """Atoms 1 and 2 follow atom 0 each by itself: correlated, and coupled to atom 0 alone."""
    rng = np.random.default_rng(0)
    cause = rng.random(20_000) < 0.3
    one, two = (rng.random(20_000) < np.where(cause, 0.4, 0.05) for _ in range(2))
    assert np.corrcoef(one, two)[0, 1] * np.sqrt(20_000) > 20
    j = couplings(codes_of(cause, one, two)).toarray()
    assert j[0, 1] > 1.5
    assert j[0, 2] > 1.5
    assert j[1, 2] == 0
    np.testing.assert_array_equal(j, j.T)


def test_rare_atoms_and_those_of_more_than_half_of_the_rows_are_left_out() -> None:
    rows = np.arange(1000)
    pair = rows < 100
    assert couplings(codes_of(pair, pair)).nnz == 2
    assert couplings(codes_of(rows < 19, rows < 19)).nnz == 0
    assert couplings(codes_of(rows < 20, rows < 20)).nnz == 2
    assert couplings(codes_of(rows < 500, rows < 500)).nnz == 2
    assert couplings(codes_of(rows < 501, rows < 501)).nnz == 0


def test_signs_are_counted_by_firing_alone() -> None:
    rows = np.arange(1000)
    fires = (rows < 100).astype(float)
    one = couplings(codes_of(fires, -3 * fires)).toarray()
    np.testing.assert_array_equal(one, couplings(codes_of(fires, fires)).toarray())


def clique(m: int) -> np.ndarray:
    return 1.0 - np.eye(m)


def test_communities_are_the_cliques_by_either_sign() -> None:
    weights = csr_matrix(block_diag([clique(3), -clique(4), [[0.0]]]))
    assert [one.tolist() for one in communities(weights)] == [[3, 4, 5, 6], [0, 1, 2]]


def test_a_large_community_is_divided_by_its_own_ties_or_left_out() -> None:
    """Two cliques of six, tied by one weak edge, and a clique of nine that nothing divides."""
    two = block_diag([clique(6), clique(6)]).toarray()
    two[0, 6] = two[6, 0] = 0.1
    found = communities(csr_matrix(block_diag([two, clique(9)])), at_most=8)
    assert [one.tolist() for one in found] == [list(range(6)), list(range(6, 12))]
