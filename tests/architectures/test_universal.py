"""One code that any of several models gives: whose turn it is, what moves then, and what is shared after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from tests.architectures.test_crosscoder import sites

WIDTHS, N_ATOMS, K = (16, 20), 32, 2
SILENT, ALIVE = torch.full((N_ATOMS,), 1000), torch.zeros(N_ATOMS, dtype=torch.int64)


def build(seed: int = 0, **settings: Any) -> sn.UniversalSAE:
    generator = torch.Generator().manual_seed(seed)
    return sn.UniversalSAE(WIDTHS, N_ATOMS, K, generator=generator, **settings)


def begun(x: list[Tensor], seed: int = 0, **settings: Any) -> sn.UniversalSAE:
    u = build(**settings)
    u.initialise(x, torch.Generator().manual_seed(seed))
    return u


def of_model(u: sn.UniversalSAE, i: int) -> dict[str, Tensor]:
    parts = (f"of_models.{i}.", f"encoders.{i}.", f"pre_biases.{i}")
    return {n: p for n, p in u.named_parameters() if any(part in n for part in parts)}


def test_a_step_moves_the_drawn_model_alone() -> None:
    """Over steps, with and without dead atoms: every parameter of the others keeps its bits."""
    x, _ = sites(300)
    u, turns = begun(x), set()
    optimiser = torch.optim.Adam(u.parameters(), lr=0.01)
    for step in range(8):
        turn = u.turn
        turns.add(turn)
        before = {i: {n: p.clone() for n, p in of_model(u, i).items()} for i in range(2)}
        optimiser.zero_grad()
        silent = ALIVE if step % 2 else SILENT
        u.training_loss(torch.cat(x, dim=1), silent, 100, 0.5).total.backward()
        u.before_optimiser_step()
        optimiser.step()
        u.after_optimiser_step()
        for i in range(2):
            same = [torch.equal(p, before[i][n]) for n, p in of_model(u, i).items()]
            assert len(same) == 4
            assert not any(same) if i == turn else all(same)
    assert turns == {0, 1}


@pytest.mark.slow
def test_training_keeps_adams_memories_of_each_model_apart() -> None:
    x, _ = sites(300)
    u = begun(x, seed=3)
    expected = [0, 0]
    for _ in range(12):
        expected[u.turn] += 1
        u.draws[1] += 1
    u.draws[1] = 0
    training = sn.training._loop.Training(
        u, x, sn.TrainConfig(steps=12, batch_size=64), callbacks=None
    )
    training.run()
    state = training.learners[0].optimiser.state
    for i, count in enumerate(expected):
        assert {int(state[p]["step"]) for p in of_model(u, i).values()} == {count}
    assert min(expected) > 0


@pytest.mark.parametrize("update", ["turns", "joint"])
def test_the_loss_is_that_of_dense_codes(update: str) -> None:
    """1/M Σ_m ‖x_m − x̂_m‖² over the spread of x_m, and every gradient that a step has."""
    x, _ = sites(200)
    x = [part.double() for part in x]
    u = build(update=update).double()
    u.initialise(x, torch.Generator().manual_seed(0))
    rows, turn = torch.cat(x, dim=1), u.turn
    loss = u.training_loss(rows, ALIVE, 100, 0.5)
    units = u.operator.unit.split(list(WIDTHS))
    means = u.scaling.mean.split(list(WIDTHS))
    seen = [(part - m) / unit for part, m, unit in zip(x, means, units, strict=True)]
    encoder = u.encoders[turn]
    pre = (seen[turn] - u.pre_biases[turn]) @ encoder.weight.T + encoder.bias
    top = pre.topk(K, dim=1)
    z = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    missed = torch.zeros(())
    for m, part in enumerate(seen):
        own = update == "joint" or m == turn
        weight, bias = u.operator.weights[m], u.pre_biases[m]
        x_hat = z @ (weight if own else weight.detach()) + (bias if own else bias.detach())
        spread = part.square().sum(dim=1).mean()
        missed = missed + (part - x_hat).square().sum(dim=1).mean() / spread / 2
    assert float(loss.total.detach()) == pytest.approx(float(missed.detach()), rel=1e-9)
    named = dict(u.named_parameters())
    ours = torch.autograd.grad(loss.total, list(named.values()), allow_unused=True)
    theirs = torch.autograd.grad(missed, list(named.values()), allow_unused=True)
    for one, two in zip(ours, theirs, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two)


def test_models_are_drawn_alike_from_one_seed_and_take_equal_turns() -> None:
    def turns(seed: int, n: int = 600) -> list[int]:
        u, drawn = begun(sites(50)[0], seed), []
        for _ in range(n):
            drawn.append(u.turn)
            u.draws[1] += 1
        return drawn

    first = turns(0)
    torch.manual_seed(5)
    assert turns(0) == first
    assert turns(1, 40) != first[:40]
    assert 0.4 < np.mean(first) < 0.6
    assert 0.4 < np.mean(np.diff(first) != 0) < 0.6


@pytest.mark.slow
def test_what_is_shared_is_found_and_shuffled_rows_share_nothing() -> None:
    """R² of each model from a code of the other; the floor is a training on shuffled rows."""
    x, _ = sites(1200)
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(0))
    found = {}
    for name, data in (("aligned", x), ("shuffled", [x[0], x[1][order]])):
        u = build()
        sn.train(u, data, steps=250, batch_size=256, progress=False)
        acts = [sn.Activations.from_tensor(part) for part in x]
        found[name] = sn.evaluation.measure_universality(u, acts, n_bootstrap=0)
    across = ~np.eye(2, dtype=bool)
    assert np.diag(found["aligned"].r2).min() > 0.6
    assert found["aligned"].r2[across].min() > 0.35
    assert found["shuffled"].r2[across].max() < 0.1
    assert found["aligned"].value > 4 * found["aligned"].floor


def test_one_model_is_enough_to_read() -> None:
    """Alone, in a list or side by side: the same code; lists in, lists out, leading axes kept."""
    x, _ = sites(120)
    u = begun(x).eval()
    for i, part in enumerate(x):
        codes = u.encode(part, reads=i)
        for other in (x, torch.cat(x, dim=1)):
            assert torch.equal(u.encode(other, reads=i).values, codes.values)
        for x_hat, d, b in zip(u.decode(codes), u.dictionaries, u.biases, strict=True):
            torch.testing.assert_close(x_hat, codes.to_dense() @ d + b, rtol=1e-4, atol=1e-3)
        assert u.encode(part.reshape(4, 30, -1), reads=i).shape == (4, 30, N_ATOMS)
    assert [part.shape[1] for part in u(x, reads=1)] == list(WIDTHS)
    assert u(x[1], reads=1).shape == (120, sum(WIDTHS))


@pytest.mark.slow
def test_atoms_can_start_at_the_data() -> None:
    """The parts of an atom come from the same rows of each model, and have length 1 in its unit."""
    x, _ = sites(300)
    u = build()
    u.initialise(x, torch.Generator().manual_seed(0), method="spread")
    for weight, encoder in zip(u.operator.weights, u.encoders, strict=True):
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(N_ATOMS))
        cosines = torch.nn.functional.cosine_similarity(weight, encoder.weight, dim=1)
        torch.testing.assert_close(cosines, torch.ones(N_ATOMS))
    acts = [sn.Activations.from_tensor(part) for part in x]
    r2 = sn.evaluation.measure_universality(u, acts, n_bootstrap=0).r2
    assert r2[~np.eye(2, dtype=bool)].min() > 0.2  # before any step


def test_wider_models_take_smaller_steps() -> None:
    u = sn.UniversalSAE([4, 16], 8, 2)
    shares = u.learning_rate_shares()
    rate = u.recipe().learning_rate
    assert len(shares) == len(list(u.parameters())) == 8
    for i, width in enumerate((4, 16)):
        for parameter in of_model(u, i).values():
            assert rate * shares[parameter] == pytest.approx(0.08 / width**0.5)


def test_only_the_model_that_is_asked_is_read_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = sites(60)
    u = begun(x)
    for i, part in enumerate(x):
        sn.Activations.from_tensor(part).save(tmp_path / str(i))
    stored = [sn.load_activations(tmp_path / str(i)) for i in range(2)]
    read: set[str] = set()
    rows = sn.activations._rows
    plainly = rows._read_rows

    def noted(file: Path, key: str, index: Any) -> Tensor:
        read.add(file.relative_to(tmp_path).parts[0])
        return plainly(file, key, index)

    monkeypatch.setattr(rows, "_read_rows", noted)
    for i in range(2):
        read.clear()
        codes = u.encode(stored, reads=i)
        assert read == {str(i)}
        assert torch.allclose(codes.to_dense(), u.encode(x, reads=i).to_dense(), atol=1e-6)
