"""Promises of KDS and WLSC: what they minimise, what they are one step away from, and that they are SAEs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import FixedOperator, SimplexProx
from sae_nb_studies.lab import KDS, WLSC


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return 40 + 7 * torch.randn(200, 2, generator=drawn(3))


@pytest.fixture(scope="module")
def kds(x: Tensor) -> KDS:
    return KDS(2, 12, generator=drawn()).fit(x, steps=30)


@pytest.mark.slow
def test_codes_minimise_reconstruction_and_distance(x: Tensor) -> None:
    """Enough steps end where no exchange between two landmarks lowers ½‖x − zW‖² + λ Σ z ‖x − w‖²."""
    kds = KDS(2, 6, locality=0.3, n_steps=2000, generator=drawn())
    kds.initialise(x, drawn(1))
    points, atoms = kds._scaled(x).double(), kds.operator.weight.detach().double()
    with torch.no_grad():
        z = kds.encode(x).to_dense().double()
    costs = 0.3 * torch.cdist(points, atoms).square()
    slope = (z @ atoms - points) @ atoms.T + costs
    used_most = torch.where(z > 1e-4, slope, -torch.inf).amax(dim=1)
    assert float((used_most - slope.amin(dim=1)).max()) < 1e-3


def test_distance_makes_mixtures_local(x: Tensor) -> None:
    local, wide = (KDS(2, 12, locality=cost, generator=drawn()) for cost in (1.0, 0.0))
    reach = []
    for sae in (local, wide):
        sae.initialise(x, drawn(1))
        with torch.no_grad():
            z = sae.encode(x).to_dense()
        reach.append(float((z * torch.cdist(x, sae.landmarks)).sum(dim=1).mean()))
    assert reach[0] < 0.7 * reach[1]
    assert local.encode(x).nnz < wide.encode(x).nnz


def test_one_step_is_spades_encoder(x: Tensor) -> None:
    """From zero and with landmarks of one norm, a step is sparsemax(−(1 + 2λ)/2‖W‖² · ‖x − w_j‖²)."""
    kds = KDS(2, 9, locality=0.7, n_steps=1, generator=drawn())
    kds.initialise(x, drawn(1))
    with torch.no_grad():
        atoms = torch.nn.functional.normalize(kds.operator.weight)
        kds.operator.weight.copy_(atoms)
        z = kds.encode(x).to_dense()
        sharpness = (1 + 2 * 0.7) / (2 * FixedOperator(atoms).lipschitz())
        spade = SimplexProx()(-sharpness * torch.cdist(kds._scaled(x), atoms).square())
    assert torch.allclose(z, spade.to_dense(), atol=1e-5)


@pytest.mark.slow
def test_two_moons_are_parted() -> None:
    from sklearn.datasets import make_moons

    points, moon = make_moons(600, noise=0.03, random_state=1)
    moons = torch.tensor(points, dtype=torch.float32)
    kds = KDS(2, 24, generator=drawn(1)).fit(moons, steps=100, seed=1)
    assert sn.lab.local_map(kds, moons).accuracy(moon) > 0.95


@pytest.mark.slow
def test_weighted_codes_pay_for_distance(x: Tensor) -> None:
    """WLSC ends where each code's slope is λ‖x − d‖² if it is used, and at most that if not."""
    wlsc = WLSC(2, 6, locality=0.2, n_steps=3000, generator=drawn())
    wlsc.initialise(x, drawn(1))
    with torch.no_grad():
        rows = wlsc._scaled_rows(x).double()
        z = wlsc.encode(x).to_dense().double() / float(wlsc._unit)
    atoms = wlsc.dictionary.double()
    gain = (rows - z @ atoms) @ atoms.T - 0.2 * torch.cdist(rows, atoms).square()
    assert float(gain.max()) < 1e-3
    assert float(torch.where(z > 1e-3, gain.abs(), 0.0).max()) < 1e-3


def test_plain_penalty_is_lasso(x: Tensor) -> None:
    """Without weights it is non-negative sparse coding, as `sparse_code` has it."""
    wlsc = WLSC(2, 6, locality=0.2, weighted=False, generator=drawn())
    wlsc.initialise(x, drawn(1))
    with torch.no_grad():
        rows = wlsc._scaled_rows(x)
        codes = sn.sparse_code(rows, wlsc.dictionary, weight=0.2, n_steps=wlsc.n_steps)
        z = wlsc.encode(x).to_dense()
    assert torch.allclose(z, codes.to_dense() * wlsc._unit, atol=1e-4)


def test_ties_are_shared_inputs(kds: KDS, x: Tensor) -> None:
    """Ties are Σ_i z_ij z_il off the diagonal, symmetric, and a point is grouped with its strongest atom."""
    found = sn.lab.local_map(kds, x, n_clusters=3)
    with torch.no_grad():
        z = kds.encode(x).to_dense().numpy()
    expected = z.T @ z
    np.fill_diagonal(expected, 0)
    assert np.allclose(found.ties.toarray(), expected, atol=1e-5)
    assert np.array_equal(found.labels, found.atom_labels[z.argmax(axis=1)])
    assert {trace.name for trace in found.figure().data} == {"points", "share inputs", "landmarks"}
