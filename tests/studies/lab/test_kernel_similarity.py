"""Promises of KernelSimilarity: it is sparse coding that sees similarities alone, and its atoms are implicit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sae_nb_studies.lab import KernelSimilarity, MatchedSimilarity


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def planted() -> tuple[Tensor, Tensor]:
    atoms = torch.nn.functional.normalize(torch.randn(8, 8, generator=drawn()), dim=1)
    z = torch.zeros(200, 8)
    for row in z:
        row[torch.randperm(8, generator=drawn(int(row.data_ptr() % 1009)))[:2]] = 1.5
    return atoms, z @ atoms


@pytest.fixture(scope="module")
def found(planted: tuple[Tensor, Tensor]) -> MatchedSimilarity:
    return KernelSimilarity(8, kernel="precomputed").fit(planted[1] @ planted[1].T)


@pytest.mark.slow
def test_atoms_are_found_from_similarities(
    planted: tuple[Tensor, Tensor], found: MatchedSimilarity
) -> None:
    """Nobody showed it an input; mixtures of the inputs by its weights are the true atoms."""
    atoms, x = planted
    mixed = torch.nn.functional.normalize(found.top_down @ x.double(), dim=1)
    assert float((atoms.double() @ mixed.T).amax(dim=1).min()) > 0.95


def test_objective_is_ridge_sparse_coding_with_the_best_dictionary(
    planted: tuple[Tensor, Tensor], found: MatchedSimilarity
) -> None:
    """½ tr(K(I + ZᵀZ/ω)⁻¹) = min over D of ½‖Φ − DZ‖² + ω/2 ‖D‖², here by least squares."""
    x, z, ridge = planted[1].double(), found.z, found.settings.ridge
    best = torch.linalg.solve(z @ z.T + ridge * torch.eye(8), z @ x)
    by_hand = 0.5 * (x - z.T @ best).square().sum() + 0.5 * ridge * best.square().sum()
    penalty = found.settings.sparsity * z.sum()
    assert float(found.objective[-1]) == pytest.approx(float(by_hand + penalty), rel=1e-6)


def test_objective_never_rises(found: MatchedSimilarity) -> None:
    assert float(found.objective.diff().max()) <= 1e-9 * float(found.objective[0])
    assert float(found.objective[-1]) < 0.5 * float(found.objective[0])


@pytest.mark.slow
def test_given_similarities_or_inputs(planted: tuple[Tensor, Tensor]) -> None:
    """The linear kernel computes what "precomputed" is given, and can say what atoms look like."""
    x = planted[1]
    one = KernelSimilarity(8).fit(x)
    other = KernelSimilarity(8, kernel="precomputed").fit(x @ x.T)
    assert torch.allclose(one.z, other.z, atol=1e-4)
    assert torch.allclose(one.dictionary, one.top_down @ x.double())
    with pytest.raises(ValueError, match="only their similarities"):
        _ = other.dictionary


def test_encoding_again_gives_the_codes(found: MatchedSimilarity) -> None:
    """Inputs that were fitted are encoded as they were, from their similarities alone."""
    again = found.encode(found.gram).to_dense()
    assert float((again - found.z.T).abs().max()) < 0.02 * float(found.z.max())


@pytest.mark.slow
def test_units_tile_a_ring() -> None:
    """Twelve units on a circle, known by a radial kernel: each fires in one piece of it, and all is explained."""
    angle = torch.linspace(0, 2 * math.pi, 201)[:-1]
    ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    found = KernelSimilarity(12, kernel="rbf", width=0.5, sparsity=0.02, ridge=0.1).fit(ring)
    on = found.z > 0.05 * found.z.amax(dim=1, keepdim=True)
    pieces = (on & ~on.roll(1, dims=1)).sum(dim=1)
    assert float((pieces == 1).double().mean()) >= 0.9
    assert found.residual < 0.05
