"""Promises of KDS and WLSC: what they minimise, what they are one step away from, and that they are SAEs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import FixedOperator, SimplexProx
from sae_nb_studies.lab import KDS, WLSC
from tests.refusing import refused


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def x() -> Tensor:
    """Points of the plane, far from the origin and in a unit of their own."""
    return 40 + 7 * torch.randn(200, 2, generator=drawn(3))


@pytest.fixture(scope="module")
def kds(x: Tensor) -> KDS:
    """Landmarks after a few steps."""
    return KDS(2, 12, generator=drawn()).fit(x, steps=30)


def test_codes_are_mixtures(kds: KDS, x: Tensor) -> None:
    """Memberships are ≥ 0 and sum to 1."""
    with torch.no_grad():
        z = kds.encode(x).to_dense()
    assert float(z.min()) >= 0
    assert torch.allclose(z.sum(dim=1), torch.ones(len(x)), atol=1e-5)


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
    """With a cost of distance an input uses fewer landmarks, and nearer ones."""
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


def test_distance_is_a_laplacian_form(kds: KDS, x: Tensor) -> None:
    """Σ z_ij ‖x_i − w_j‖² = tr(VᵀLV) of the graph of points and landmarks, as the paper has it."""
    with torch.no_grad():
        z = kds.encode(x).to_dense().double()
    atoms, points = kds.landmarks.double(), x.double()
    direct = float((z * torch.cdist(points, atoms).square()).sum())
    nodes, n = torch.cat([points, atoms]), len(x)
    weight = torch.zeros(len(nodes), len(nodes), dtype=torch.float64)
    weight[:n, n:], weight[n:, :n] = z, z.T
    form = float(torch.trace(nodes.T @ (torch.diag(weight.sum(dim=1)) - weight) @ nodes))
    assert form == pytest.approx(direct, rel=1e-4)


def test_two_moons_are_parted() -> None:
    """The ties of landmarks part what no straight line parts."""
    from sklearn.datasets import make_moons

    points, moon = make_moons(600, noise=0.03, random_state=1)
    moons = torch.tensor(points, dtype=torch.float32)
    kds = KDS(2, 24, generator=drawn(1)).fit(moons, steps=100, seed=1)
    assert sn.lab.local_map(kds, moons).accuracy(moon) > 0.95


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


@pytest.mark.parametrize("kind", [KDS, WLSC])
def test_training_lowers_its_objective(kind: type[KDS] | type[WLSC], x: Tensor) -> None:
    """A fit ends with a lower loss than it began with, through all steps of the solver."""
    sae = kind(2, 8, generator=drawn())
    sae.initialise(x, drawn(1))
    silent = torch.zeros(8, dtype=torch.long)
    before = float(sae.training_loss(x, silent, 100, 0.0).total.detach())
    sae.fit(x, steps=60)
    assert float(sae.training_loss(x, silent, 100, 0.0).total.detach()) < before


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


def test_accuracy_does_not_ask_for_names(kds: KDS, x: Tensor) -> None:
    """Groups are named as suits best: a permutation of them is as right."""
    found = sn.lab.local_map(kds, x, n_clusters=3)
    assert found.accuracy((found.labels + 1) % 3) == 1.0
    assert np.abs(found.landmarks - x.numpy().mean(axis=0)).max() < 40, "they lie among the data"
    refused("one entry per point", found.accuracy, [0, 1])


def test_negative_codes_are_refused(x: Tensor) -> None:
    """Ties need codes that add up."""
    sae = sn.AbsTopK(2, 8, k=2, generator=drawn())
    sae.initialise(x)
    refused("codes ≥ 0", sn.lab.local_map, sae, x)


def test_more_groups_than_atoms_are_refused(kds: KDS, x: Tensor) -> None:
    """The error says how many there could be."""
    refused("at most the number of atoms in use", sn.lab.local_map, kds, x[:2], n_clusters=50)


def test_table_names_what_is_there() -> None:
    """Every system of the table can be used by its name."""
    table = sn.lab.names()
    assert list(table.columns) == ["system", "operator", "link", "prox", "solver", "arXiv"]
    assert all(hasattr(sn.lab, name) for name in table["system"])
