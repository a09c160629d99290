"""Directions in the cone of few atoms: against planted ones, and against floors measured elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

import sae_nb as sn
from sae_nb.geometry import containment

D, ATOMS = 24, 80


def drawn(n: int, seed: int) -> torch.Tensor:
    rows = torch.randn(n, D, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def planted(sign: float = 1.0) -> torch.Tensor:
    atoms = drawn(ATOMS, 0)
    return sign * (atoms[:10] + 0.5 * atoms[10:20])


@pytest.mark.slow
def test_what_was_built_of_two_atoms_is_found_in_two() -> None:
    found = containment(3 * planted(), drawn(ATOMS, 0), steps=(1, 2, 4))
    assert found.r[:, 1].max() < 1e-3
    assert found.held.all()
    assert found.random_directions[:, 1].mean() > 0.5
    assert found.random_atoms[:, 1].mean() > 0.5
    table = found.table.set_index("direction")
    assert set(table.atoms["3"]) >= {3, 13}
    assert found.coverage(0.01).covered.tolist() == [0.0, 1.0, 1.0]


def test_atoms_are_added_only() -> None:
    found = containment(planted(-1.0), drawn(ATOMS, 0), steps=(2,))
    assert found.r.min() > 0.5
    assert found.held.mean() <= 0.2  # one in twenty by chance


def test_random_directions_are_not_held() -> None:
    found = containment(drawn(300, 5), drawn(ATOMS, 0), steps=(1, 2, 4), n_random=30)
    assert found.held.mean() < 0.12


def test_all_atoms_give_the_distance_to_the_cone() -> None:
    wanted, atoms = drawn(3, 5), drawn(6, 0)
    found = containment(wanted, atoms, steps=(6,))
    exact = [nnls(atoms.T.double().numpy(), w.double().numpy())[1] for w in wanted]
    assert found.r[:, 0] == pytest.approx(exact, abs=0.05)  # greedy: from above
    assert (found.r[:, 0] >= np.array(exact) - 1e-5).all()


def test_the_area_counts_every_doubling_the_same() -> None:
    """Of 2, 4 and 16 atoms: one doubling and two, each as wide as its means."""
    found = containment(drawn(3, 5), drawn(ATOMS, 0), steps=(2, 4, 16))
    two, four, sixteen = found.r.mean(axis=0)
    assert found.area == pytest.approx(((two + four) / 2 + (four + sixteen)) / 3)
    assert containment(drawn(3, 5), drawn(ATOMS, 0), steps=(4,)).area == pytest.approx(four)


def test_directions_built_to_a_residual_are_counted_with_it() -> None:
    found = containment(drawn(4, 5), drawn(ATOMS, 0), steps=(1, 8))
    for tau in np.sort(found.r[:, 1])[:2]:
        table = found.coverage(float(tau))
        assert table.covered.tolist() == [np.mean(found.r[:, j] <= tau) for j in (0, 1)]
    assert table.covered[1] == 0.5


def test_floors_are_those_of_random_directions() -> None:
    """Measured beside the specification for 1024 atoms of 64 dimensions: .917, .735, .281 at 1, 4, 16."""
    rows = torch.randn(1124, 64, generator=torch.Generator().manual_seed(0))
    found = containment(rows[:100], rows[100:], steps=(1, 4, 16), n_random=1)
    assert found.r.mean(axis=0) == pytest.approx([0.917, 0.735, 0.281], abs=0.02)
    assert found.scores["random atoms"].to_numpy() == pytest.approx([0.917, 0.735, 0.281], abs=0.02)


def test_agreement_asks_whether_the_atoms_fire_with_the_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(400, ATOMS, generator=generator) * (
        torch.rand(400, ATOMS, generator=generator) < 0.05
    )
    atoms, codes = drawn(ATOMS, 0), sn.SparseCodes.from_dense(z)
    found = containment(planted(), atoms, steps=(1, 2))
    own = found.agreement(planted(), z @ atoms, codes)
    assert own.min() > 0.3
    strange = found.agreement(planted(), (z @ atoms).flip(0), codes)
    assert np.abs(strange).mean() < 0.1


def test_the_picture_shows_every_direction_their_mean_and_both_floors() -> None:
    generator = torch.Generator().manual_seed(0)
    found = containment(
        torch.randn(3, 8, generator=generator), torch.randn(12, 8, generator=generator)
    )
    figure = found.plot()
    assert [len(figure.data), *(one.name for one in figure.data[3:4])] == [6, "mean"]
    for i in range(3):
        np.testing.assert_allclose(figure.data[i].y, found.r[i])
    np.testing.assert_allclose(figure.data[3].y, found.r.mean(axis=0), atol=1e-6)
    assert [*figure.data[0].x] == [*found.steps]
    assert figure.layout.yaxis.range == (0, 1.02)
    assert figure.layout.xaxis.type == "log"


def test_a_direction_of_zeros_is_named() -> None:
    rows = torch.eye(4)
    rows[2] = 0
    with pytest.raises(ValueError, match="got one at 2"):
        containment(rows, torch.eye(4))
