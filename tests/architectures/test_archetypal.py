"""Archetypal: what the constraint guarantees, at every step of training, over every base."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import ARCHITECTURES, Archetypal, SparseAutoencoder
from sae_nb.architectures._composition import HOSTS

BASES = [name for name in HOSTS if name in ARCHITECTURES]
D_IN, N_ATOMS = 10, 24


def build(base: str = "TopK", seed: int = 0, **settings: Any) -> Archetypal:
    generator = torch.Generator().manual_seed(seed)
    try:
        return Archetypal(D_IN, N_ATOMS, 4, base=base, generator=generator, **settings)
    except TypeError:
        return Archetypal(D_IN, N_ATOMS, base=base, generator=generator, **settings)


@pytest.fixture
def x() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    z = torch.rand(400, 12, generator=generator) * (torch.rand(400, 12, generator=generator) < 0.25)
    return 20 + 3 * z @ torch.randn(12, D_IN, generator=generator)


def train(sae: SparseAutoencoder, x: Tensor, steps: int = 40) -> None:
    sn.train(sae, x, sn.TrainConfig(steps=steps, batch_size=128, seed=0), progress=False)


def hull_residuals(points: Tensor, candidates: Tensor) -> np.ndarray:
    """Distance of each point to the convex hull, by NNLS with a row that makes weights sum to 1."""
    scale = float(candidates.std())
    middle = candidates.mean(dim=0)
    weight = 100.0  # of the sum constraint
    system = torch.cat([(candidates - middle).T / scale, torch.full((1, len(candidates)), weight)])
    targets = torch.cat([(points - middle) / scale, torch.full((len(points), 1), weight)], dim=1)
    return np.array([nnls(system.double().numpy(), t.double().numpy())[1] for t in targets])


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("delta", [0.0, 0.7])
def test_the_constraint_holds_after_training(base: str, delta: float, x: Tensor) -> None:
    """Rows of W on the simplex, ‖Λ_j‖ ≤ δ, and with δ = 0 every archetype in conv(C)."""
    sae = build(base, delta=delta)
    assert isinstance(sae, ARCHITECTURES[base])
    train(sae, x)
    assert float(sae.mixture.min()) >= 0
    assert torch.allclose(sae.mixture.sum(dim=1), torch.ones(N_ATOMS), atol=1e-5)
    assert float(sae.relaxation.norm(dim=1).max()) <= delta + 1e-5
    assert float((sae.mixture - torch.eye(N_ATOMS)).abs().max()) > 0.05
    if delta == 0:
        assert hull_residuals(sae.archetypes, sae.candidates).max() <= 1e-4
        assert hull_residuals(sae.archetypes, x).max() <= 1e-4
    else:
        assert float(sae.relaxation.norm(dim=1).max()) > 0.1 * delta


def test_atoms_point_from_the_mean_at_archetypes(x: Tensor) -> None:
    sae = build()
    train(sae, x, steps=10)
    directions = sae.archetypes - sae.scaling.mean
    directions = directions / directions.norm(dim=1, keepdim=True)
    assert torch.allclose(sae.dictionary, directions, atol=1e-5)
    by_hand = sae.mixture @ (sae.candidates - sae.scaling.mean) + sae.relaxation / sae.scaling.scale
    assert torch.allclose(sae.archetypes - sae.scaling.mean, by_hand, rtol=1e-3, atol=1e-3)


def test_without_candidates_it_starts_from_centroids(x: Tensor) -> None:
    sae = build(n_candidates=30)
    sae.initialise(x, torch.Generator().manual_seed(0))
    assert sae.candidates.shape == (30, D_IN)
    inertia = torch.cdist(x, sae.candidates).min(dim=1).values.square().sum()
    drawn = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(2))[:30]]
    assert float(inertia) < 0.8 * float(torch.cdist(x, drawn).min(dim=1).values.square().sum())
    assert torch.allclose(sae.dictionary.norm(dim=1), torch.ones(N_ATOMS), atol=1e-5)
    assert len(torch.unique(sae.mixture.argmax(dim=1))) == N_ATOMS
    assert torch.allclose(
        sae.encoder.weight / sae.encoder.weight.norm(dim=1)[:, None], sae.dictionary
    )


@pytest.mark.slow
def test_given_candidates_stay_as_given(x: Tensor) -> None:
    """Through training, saving and loading; order kept where there are as many as atoms."""
    points = x[:N_ATOMS]
    sae = build(candidates=points, delta=0.0)
    assert torch.allclose(sae.candidates, points, rtol=1e-4)
    assert torch.equal(sae.mixture, torch.eye(N_ATOMS))
    train(sae, x)
    assert torch.allclose(sae.candidates, points, rtol=1e-4)
    assert hull_residuals(sae.archetypes, points).max() <= 1e-4


def test_files_and_copies_keep_base_and_constraint(x: Tensor, tmp_path: Path) -> None:
    sae = build(BASES[-1], delta=0.3, n_candidates=31, tied=False)
    train(sae, x, steps=5)
    sae.save(tmp_path / "sae")
    loaded = sn.load_sae(tmp_path / "sae")
    assert type(loaded) is type(sae)
    assert isinstance(loaded, ARCHITECTURES[BASES[-1]])
    for other in (loaded, copy.deepcopy(sae).eval()):
        assert other.settings() == sae.settings()
        assert torch.equal(other.dictionary, sae.eval().dictionary)
        assert torch.equal(other.encode(x).values, sae.encode(x).values)


def test_the_dictionary_is_never_stale(x: Tensor) -> None:
    sae = build()
    sae.initialise(x, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first = sae.dictionary
    assert sae.dictionary is not None
    with torch.no_grad():
        assert sae.operator.atoms() is sae.operator.atoms()
        sae.operator.mixture[0] = sae.operator.mixture[1]
    assert torch.allclose(sae.dictionary[0], first[1])
    with torch.no_grad():
        assert torch.equal(sae.operator.atoms()[0], sae.operator.atoms()[1])
    sae.double()
    with torch.no_grad():
        assert sae.operator.atoms().dtype == torch.float64


@pytest.mark.slow
def test_a_relaxed_atom_gains_what_the_hull_denies(x: Tensor) -> None:
    """R² rises from δ = 0 to δ = 2, to that of the free dictionary: of three seeds, it lay .011 ± .011 above."""
    r2 = []
    for sae in (
        build(delta=0.0),
        build(delta=2.0),
        sn.TopK(D_IN, N_ATOMS, 4, generator=torch.Generator().manual_seed(0)),
    ):
        train(sae, x, steps=150)
        r2.append(sn.evaluation.explained_variance(x, sae(x).detach()))
    assert r2[0] < r2[1]
    assert abs(r2[1] - r2[2]) < 0.055
