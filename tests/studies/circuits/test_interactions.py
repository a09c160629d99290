"""Interaction bases: exact where the model is linear, blind to how a place is written, and modules that are planted."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import nn

import sae_nb as sn
from sae_nb_studies.circuits import InteractionBasis, interaction_basis


def rows(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(7))


def drawn(d_in: int, d_out: int, seed: int) -> torch.Tensor:
    matrix = torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(seed))
    return matrix / d_in**0.5


def linear(matrix: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    layer.weight.data.copy_(matrix)
    return layer


def two_tasks(d: int = 6, width: int = 12) -> tuple[nn.Module, list[torch.Tensor]]:
    """Two maps of two blocks each; every place in between is turned by a rotation of its own."""
    turns = [torch.linalg.qr(drawn(2 * d, 2 * d, seed))[0] for seed in range(3)]
    parts: list[nn.Module] = [nn.Identity()]
    for i in range(2):
        into = torch.block_diag(*[drawn(d, width, 10 * i + j + 20) for j in range(2)])
        out = torch.block_diag(*[drawn(width, d, 10 * i + j + 25) for j in range(2)])
        parts += [linear(into @ turns[i].T), nn.ReLU(), linear(turns[i + 1] @ out)]
    return nn.Sequential(*parts), turns


@cache
def planted(kind: str) -> tuple[InteractionBasis, np.ndarray, np.ndarray]:
    net, turns = two_tasks()
    basis = interaction_basis(sn.wrap(net), rows(2000, 12), ["0", "3"], kind=kind)  # type: ignore[arg-type]
    shares = []
    for write, turn in zip(basis.writes, turns, strict=True):
        power = (turn.T.double().numpy() @ write) ** 2
        shares.append(power[:6].sum(axis=0) / power.sum(axis=0))
    share = np.concatenate(shares)
    return basis, share > 0.5, np.maximum(share, 1 - share)


def test_a_linear_model_has_one_edge_for_each_feature() -> None:
    net = nn.Sequential(linear(drawn(5, 7, 0)), linear(drawn(7, 4, 1)))
    model, x = sn.wrap(net), rows(300, 5)
    found = interaction_basis(model, x, ["0"])
    assert found.activation_ranks == (5, 4)
    assert found.jacobian_ranks == (4, 4)
    off = found.edges[0] - np.diag(np.diag(found.edges[0]))
    assert np.abs(off).max() < 1e-4 * found.edges[0].max()
    pca = interaction_basis(model, x, ["0"], kind="pca").edges[0]
    assert np.sort(pca, axis=1)[:, -2].max() > 0.1 * pca.max()
    assert found.cut((0.25,)).loss[0] < 1e-6


def test_interactions_do_not_hang_on_how_a_place_is_written() -> None:
    turn = drawn(6, 6, 2) + torch.eye(6)
    first, second, last = drawn(5, 6, 3), drawn(6, 8, 4), drawn(8, 3, 5)
    nets = [
        nn.Sequential(linear(first), linear(second), nn.ReLU(), linear(last)),
        nn.Sequential(
            linear(turn @ first), linear(second @ turn.inverse()), nn.ReLU(), linear(last)
        ),
    ]
    for kind, same in (("local", True), ("plain", True), ("pca", False)):
        one, other = (
            interaction_basis(sn.wrap(net), rows(300, 5), ["0"], kind=kind).edges[0]  # type: ignore[arg-type]
            for net in nets
        )
        assert np.allclose(one, other, rtol=1e-2, atol=1e-3 * one.max()) == same, kind


@pytest.mark.slow
def test_everything_kept_is_the_model_and_random_edges_are_worse() -> None:
    for kind in ("local", "plain", "pca"):
        basis = planted(kind)[0]
        curve = basis.cut((1.0, 0.5, 0.1))
        assert curve.loss[0] < 1e-6
        assert curve.loss.is_monotonic_increasing
        assert (basis.cut((0.5, 0.1), seed=0).loss.to_numpy() > curve.loss[1:]).all()
    worst = planted("local")[0].cut((0.5,), loss=lambda answer: float(answer.abs().max()))
    assert worst.loss[0] > 1


@pytest.mark.slow
def test_two_tasks_are_two_modules() -> None:
    """Features belong to one task each, and their groups are the tasks; principal components mix them."""
    basis, task, purity = planted("local")
    found = np.concatenate(basis.modules(2).labels)
    assert adjusted_rand_score(task, found) > 0.8
    assert purity.mean() > planted("pca")[2].mean() + 0.05
    whole = basis.modules()
    assert whole.modularity == pytest.approx(basis.modules().modularity)
    assert len(whole.shuffled) == 5
    assert [len(part) for part in whole.labels] == [len(read) for read in basis.reads]


def test_neurons_that_always_fire_together_are_synchronised() -> None:
    """Two copies of three neurons: of the pairs among four that vary, one; a constant one is left out."""
    matrix = torch.cat([drawn(3, 3, 0), drawn(3, 3, 0)[:1] * 2, torch.zeros(1, 3)])
    net = nn.Sequential(linear(matrix), nn.ReLU(), linear(drawn(5, 2, 1)))
    basis = interaction_basis(sn.wrap(net), rows(100, 3), ["1"])
    assert basis.synchronised[0] == pytest.approx(1 / 6)


def test_a_position_of_a_transformer() -> None:
    """All of the last position passes the stream: kept whole, the sums are those of the model."""
    modular = sn.load_model("tiny-modular", device="cpu")
    sums = [f"{a} + {3 * a % 53} =" for a in range(1, 13)]
    basis = interaction_basis(modular, sums, ["resid_post.0"], n_steps=1)
    assert basis.places == ("resid_post.0", "answer")
    assert basis.cut((1.0,)).loss[0] < 1e-4
