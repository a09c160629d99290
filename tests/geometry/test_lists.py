"""The nearest of very many rows, looked for in lists of alike ones: what is found is true, and is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sae_nb.geometry import _ivf_index, nearest_by_cosine
from sae_nb.geometry._ivf_index import Lists, near_distances, random_distances


def patches(n: int, d: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, d, generator=generator)
    own = torch.randint(0, 40, (n,), generator=generator)
    rows = centres[own] + 0.5 * torch.randn(n, d, generator=generator)
    return rows * torch.rand(n, 1, generator=generator)


def test_every_row_is_in_one_list() -> None:
    """Lists share no row and leave none out; a row is nearest to the centre of its own."""
    x = patches(900, 8)
    lists = Lists(x, seed=0)
    assert torch.cat(lists.members).sort().values.tolist() == list(range(900))
    assert torch.equal(lists.nearest_list(x), lists.of)


def test_a_list_without_rows_keeps_its_centre() -> None:
    lists = Lists(torch.tensor([[3.0, 0.0]]).repeat(9, 1), seed=0)
    assert lists._centres.tolist() == [[1, 0]] * 3
    assert [len(rows) for rows in lists.members] == [9, 0, 0]


def test_as_many_lists_are_looked_at_as_asked_for() -> None:
    """More only where these hold too few rows; the nearest list is a row's own."""
    lists = Lists(patches(900, 8), seed=0)
    assert len(lists.members) == 30
    sizes = [len(lists.members[i]) for i in lists._near[4].tolist()]
    assert lists._near[4][0] == 4
    for looked_at in (1, 2, 5):
        assert len(lists.among(4, looked_at, 0)) == sum(sizes[:looked_at])
    enough = len(lists.among(4, 1, sum(sizes[:3])))
    assert enough == sum(sizes[:3])


def test_few_rows_are_searched_whole() -> None:
    x = patches(300, 8)
    near = near_distances(x, 5, seed=0)
    assert np.array_equal(near.distances, nearest_by_cosine(x, 5)[1])
    assert (near.found, near.n_tried) == (1.0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("d", [3, 24])
def test_what_is_found_is_never_too_near(d: int) -> None:
    """Of many rows each distance is at least the exact one, and the share of equal ones is as said."""
    x = patches(3000, d)
    exact = nearest_by_cosine(x, 10)[1]
    near = near_distances(x, 10, seed=1, whole_up_to=100)
    assert (near.distances >= exact - 1e-6).all()
    true = (near.distances <= exact[:, -1:] + 1e-6).mean()
    assert near.found == pytest.approx(true, abs=0.03)
    assert near.found > 0.9
    again = near_distances(x, 10, seed=1, whole_up_to=100)
    assert np.array_equal(near.distances, again.distances)


def test_the_share_found_is_that_of_rows_that_no_list_was_made_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One list of 45 is searched, with 40 rows to try it: the share that they find is that of all rows."""
    monkeypatch.setattr(_ivf_index, "LISTS_LOOKED_AT", (1,))
    monkeypatch.setattr(_ivf_index, "TRIED", 40)
    x = torch.randn(2000, 24, generator=torch.Generator().manual_seed(0))
    exact = nearest_by_cosine(x, 10)[1]
    near = near_distances(x, 10, seed=0, whole_up_to=100)
    true = (near.distances <= exact[:, -1:] + 1e-6).mean()
    assert near.found == pytest.approx(true, abs=0.2)


def test_all_lists_together_are_exact() -> None:
    """Random directions in fifty lists or fewer: every list is looked at, and nothing is missed."""
    x = torch.randn(400, 30, generator=torch.Generator().manual_seed(0))
    near = near_distances(x, 10, seed=0, whole_up_to=100)
    assert near.found >= 0.95
    exact = nearest_by_cosine(x, 10)[1]
    assert (near.distances >= exact - 1e-6).all()
    assert (near.distances <= exact + 1e-6).mean() > 0.95
    # Equal rows and zero rows are rows too.
    x[7] = x[8]
    x[11] = 0
    near = near_distances(x, 10, seed=0, whole_up_to=100)
    assert near.distances[7, 0] == pytest.approx(0, abs=1e-6)
    assert np.allclose(near.distances[11], 1)


def test_random_directions_are_as_far_as_sampled_ones() -> None:
    """Made by tiles, the nearest of some random directions are as far as the exact search has them."""
    x = torch.randn(3000, 12, generator=torch.Generator().manual_seed(0))
    exact = nearest_by_cosine(x, 5)[1].mean(axis=0)
    assert np.allclose(random_distances((3000, 12), 5, seed=0).mean(axis=0), exact, rtol=0.02)
    few = random_distances((4, 3), 9, seed=0)  # three others each
    assert few.shape == (4, 3)
    assert np.isfinite(few).all()
