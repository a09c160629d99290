"""Promises of group networks: atoms are powers of an action, actions come from pairs, and what pairs cannot say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.lab import GroupNetwork, learn_action


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return 40 + 7 * torch.randn(300, 9, generator=drawn(3))


@pytest.fixture(scope="module")
def network(x: Tensor) -> GroupNetwork:
    return GroupNetwork(9, 2, 3, generator=drawn()).fit(x, steps=15)


@pytest.mark.slow
def test_atoms_are_powers_of_an_action(network: GroupNetwork) -> None:
    for k in range(2):
        b, matrix = network.operator.base[k].detach(), network.action(k).matrix
        for g in range(3):
            atom = torch.linalg.matrix_power(matrix, g) @ b
            expected = atom / atom.norm()
            assert torch.allclose(network.dictionary[3 * k + g], expected, atol=1e-5)
            assert torch.allclose(network.orbits[k, g], expected, atol=1e-5)


def test_codes_are_sparse_coding(network: GroupNetwork, x: Tensor) -> None:
    """They are those of `sparse_code` over the atoms, in units of the data."""
    with torch.no_grad():
        rows = network._scaled_rows(x)
        codes = sn.sparse_code(rows, network.dictionary, weight=0.1, n_steps=15)
        z = network.encode(x).to_dense()
    assert torch.allclose(z, codes.to_dense() * network._unit, atol=1e-4)


@pytest.mark.slow
def test_rolled_atoms_are_found() -> None:
    base = torch.nn.functional.normalize(torch.randn(2, 16, generator=drawn()), dim=1)
    atoms = torch.cat([base.roll(4 * g, dims=1) for g in range(4)])
    z = torch.zeros(500, 8)
    chosen = torch.rand(z.shape, generator=drawn(1)).argsort(dim=1)[:, :2]
    z.scatter_(1, chosen, 1.5)
    network = GroupNetwork(16, 2, 4, closure=0.1, generator=drawn()).fit(z @ atoms, steps=200)
    assert float((atoms @ network.dictionary.T).amax(dim=1).mean()) > 0.85
    assert float(network.closing_errors.max()) < 0.2


def test_closing_is_a_term_of_the_loss(x: Tensor) -> None:
    """‖A^G b − b‖², mean over orbits, at its weight; nothing in the data asks for it."""
    network = GroupNetwork(9, 2, 3, closure=0.5, generator=drawn())
    network.initialise(x, drawn(1))
    silent = torch.zeros(6, dtype=torch.long)
    loss = network.training_loss(x, silent, 100, 0.0)
    assert float(loss.parts["closure"]) == pytest.approx(
        float(network.closing_errors.square().mean()), rel=1e-4
    )
    network.closure = 0.0
    open_loss = network.training_loss(x, silent, 100, 0.0)
    left = float((loss.total - open_loss.total).detach())
    assert left == pytest.approx(0.5 * float(loss.parts["closure"]), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("turns", "order"), [(1, 6), (2, 3), (3, 2)])
def test_a_roll_is_learned_from_pairs(turns: int, order: int) -> None:
    """Its matrix, and that so many of them lead back; its eigenvalues are roots of 1."""
    x = torch.randn(500, 6, generator=drawn())
    action = learn_action(x, x.roll(turns, dims=1), steps=1000)
    assert action.distance(torch.eye(6).roll(turns, dims=0)) < 0.01
    assert action.closure(order) < 0.01 < action.closure(order + 1)
    assert torch.allclose(
        action.eigenvalues**order, torch.ones(6, dtype=torch.complex64), atol=0.05
    )


@pytest.mark.slow
def test_pairs_do_not_say_what_inputs_lack() -> None:
    """Without their mean all pairs are matched, and the matrix is wrong along the mean alone."""
    x = torch.randn(500, 6, generator=drawn())
    x = x - x.mean(dim=1, keepdim=True)
    move = torch.eye(6).roll(1, dims=0)
    action = learn_action(x, x @ move.T, steps=1000)
    assert action.unseen == 1
    assert action.error is not None
    assert action.error < 1e-6
    assert action.distance(move) > 0.1
    apart = action.matrix - move
    lost = apart @ torch.full((6,), 6**-0.5)
    assert float(lost.norm()) == pytest.approx(float(apart.norm()), rel=0.01)
