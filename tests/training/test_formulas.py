"""The numbers of a training by hand: rates, silence, running losses, and pursuit over shards."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb.pursuit import Problem
from sae_nb.training import TrainConfig, train
from sae_nb.training._dead_atoms import DeadAtoms, fire_counts
from sae_nb.training._learner import BestState
from sae_nb.training._process_group import Team
from sae_nb.training._schedule import Plateau, Schedule, growing
from sae_nb.training._sharded_pursuit import Walk, pursue, pursuit_loss, tiles_of


def test_rates_rise_and_fall_in_every_phase() -> None:
    """Phases of 7, 7 and 6 steps; two warm up, and the last half of each decays."""
    schedule = Schedule(base=6.0, steps=20, warmup_steps=2, decay_fraction=0.5, phases=3)
    rates = [schedule(step) for step in range(20)]
    # Of 7 steps round(3.5) = 4 decay: 7/5, 6/5, 1, 4/5, … are capped by 1; warm-up is 1/3, 2/3.
    seven = [2, 4, 6, 4.8, 3.6, 2.4, 1.2]
    assert rates == pytest.approx([*seven, *seven, 2, 4, 6, 4.5, 3, 1.5])
    assert [schedule.phase(step) for step in (0, 6, 7, 13, 14, 19)] == [0, 0, 1, 1, 2, 2]
    assert [step for step in range(20) if schedule.begins(step)] == [0, 7, 14]
    assert schedule(20) == 0
    assert growing(5) == [1, 2, 4, 5]
    assert growing(2) == [1, 2]
    assert growing(1) == [1]


def test_a_plateau_is_one_hundredth_after_a_tenth() -> None:
    schedule = Schedule(base=1.0, steps=100, warmup_steps=0, decay_fraction=0.1)
    plateau = Plateau()
    plateau.look(5.0, 10, schedule)  # a tenth of the steps is not yet over
    assert plateau.lowest == math.inf
    plateau.look(5.0, 11, schedule)
    assert plateau.lowest == 5
    plateau.look(5.0, 12, schedule)
    plateau.look(4.96, 13, schedule)  # 0.04 < 1 % of 4.96
    assert (plateau.lowest, plateau.waited) == (5, 2)
    plateau.look(4.95, 14, schedule)
    assert (plateau.lowest, plateau.waited) == (4.95, 0)
    plateau.look(4.95, 15, schedule)
    plateau.look(4.95, 100, schedule)  # in the decay
    assert plateau.waited == 1
    plateau.forget()
    assert (plateau.waited, plateau.lowest) == (0, math.inf)


def test_silence_and_frequency_are_counted_in_rows() -> None:
    """Windows of at least six rows: what fired before the last full one is forgotten."""
    dead = DeadAtoms(3, dead_after_tokens=6)
    assert dead.frequency.tolist() == [0, 0, 0]
    for rows, fired in ((4, [4, 1, 0]), (3, [0, 2, 0]), (5, [1, 0, 0]), (2, [0, 0, 0])):
        dead.begin(rows)
        dead.count(torch.tensor(fired), rows)
    # 7 rows in the first window, then 5 and 2 in one that is full when the next begins.
    assert dead.silent_tokens.tolist() == [2, 7, 14]
    assert dead.mask.tolist() == [False, True, True]
    assert dead.frequency.tolist() == pytest.approx([5 / 14, 3 / 14, 0])
    dead.begin(1)
    assert dead.frequency.tolist() == pytest.approx([1 / 8, 0, 0])
    again = DeadAtoms(3, dead_after_tokens=6)
    again.load(dead.state())
    assert again.frequency.tolist() == dead.frequency.tolist()
    assert again.silent_tokens.tolist() == [2, 7, 14]
    codes = SparseCodes.from_dense(torch.tensor([[1.0, 0.0, -2.0], [0.5, 0.0, 0.0]]))
    assert fire_counts(codes, 3).tolist() == [2, 0, 1]


def test_the_running_loss_is_a_weighted_mean_and_keeps_its_lowest() -> None:
    layer = torch.nn.Linear(1, 1)
    best = BestState(layer)
    assert best.running_loss == math.inf
    losses = [4.0, 2.0, 7.0]
    for loss in losses:
        best.see(loss)
    weights = [0.95**2, 0.95, 1.0]
    wanted = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    assert best.running_loss == pytest.approx(wanted)
    assert not best.diverged
    best.offer(3)
    for running, kept, diverged in ((1.009, 4, False), (1.011, 4, False), (1.11, 4, True)):
        best._mean, best._weight = running * wanted, 1.0
        best.offer(4)
        assert (best.step, best.diverged) == (kept, diverged)
    best._mean = 0.5 * wanted
    best.offer(9)
    assert (best.step, best.diverged) == (9, False)
    state = best.mean_to_json()
    best.forget()
    best.load_mean(state)
    assert best.running_loss == pytest.approx(0.5 * wanted)


def test_a_training_is_adam_at_the_scheduled_rates(plain_sae: Any, rows: Tensor) -> None:
    """Six steps by `torch.optim.Adam`, clipped, on the same batches; loss, length and rate of each."""
    config = TrainConfig(
        steps=6, batch_size=32, learning_rate=0.02, warmup_steps=2, decay_fraction=0.5,
        gradient_clip=0.7, log_every=1, dead_after_tokens=70,
    )  # fmt: skip
    sae, own = plain_sae(), plain_sae()
    for one in (sae, own):
        one.initialise(rows, torch.Generator().manual_seed(0))
    history = train(sae, rows, config, progress=False).history
    recipe = own.recipe()
    adam = torch.optim.Adam(own.parameters(), betas=recipe.betas, eps=recipe.epsilon)
    batches = Activations.from_tensor(rows).batches(32, seed=config.seed)
    silent = torch.zeros(16, dtype=torch.int64)
    for step, record in enumerate(history):
        x = next(batches)
        rate = 0.02 * [1 / 3, 2 / 3, 1, 3 / 4, 2 / 4, 1 / 4][step]
        adam.param_groups[0]["lr"] = rate
        loss = own.training_loss(x, silent, 70, step / 6)
        adam.zero_grad()
        loss.total.backward()
        own.before_optimiser_step()
        length = torch.nn.utils.clip_grad_norm_(own.parameters(), 0.7)
        adam.step()
        own.after_optimiser_step()
        z = loss.codes.to_dense()
        silent = torch.where((z != 0).any(dim=0), 0, silent + 32)
        assert record.step == step + 1
        assert record.tokens == 32 * (step + 1)
        assert record.learning_rate == pytest.approx(rate)
        assert record.loss == pytest.approx(float(loss.total.detach()), rel=1e-4)
        assert record.gradient_norm == pytest.approx(float(length), rel=1e-3)
        lost = (x - loss.x_hat).square().sum() / (x - x.mean(dim=0)).square().sum()
        assert record.r2 == pytest.approx(1 - float(lost), abs=1e-4)
        assert record.l0 == pytest.approx(float((z != 0).sum(dim=1).float().mean()))
        assert record.dead_fraction == pytest.approx(float((silent >= 70).float().mean()))
        assert record.parts["penalty"] == 0
    for name, value in own.state_dict().items():
        torch.testing.assert_close(sae.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_walked_atoms_are_coded_by_each_worker() -> None:
    """An atom that a row takes twice has the sum of both amounts; −1 is none."""
    walk = Walk(
        atoms=torch.tensor([[4, 1, 4], [0, 3, -1]]),
        amounts=torch.tensor([[1.0, 2.0, 0.5], [3.0, -1.0, 0.0]]),
        residual=torch.zeros(2, 2),
    )
    assert walk.codes(slice(0, 5)).to_dense().tolist() == [[0, 2, 0, 0, 1.5], [3, 0, 0, -1, 0]]
    assert walk.codes(slice(1, 4)).to_dense().tolist() == [[2, 0, 0], [0, 0, -1]]
    rows, own = walk.of(1, slice(1, 3))
    assert (rows.tolist(), own.tolist()) == ([0], [0])
    rows, own = walk.of(0, slice(0, 5))
    assert (rows.tolist(), own.tolist()) == ([0, 1], [4, 0])
    tiles = list(tiles_of(torch.arange(10.0).view(5, 2), 2**23))
    assert [first for first, _ in tiles] == [0, 2, 4]
    assert torch.cat([tile for _, tile in tiles]).flatten().tolist() == [*range(10)]


def test_matching_pursuit_over_tiles_is_the_greedy_loop() -> None:
    generator = torch.Generator().manual_seed(2)
    atoms = torch.nn.functional.normalize(torch.randn(7, 4, generator=generator), dim=1)
    x = torch.randn(5, 4, generator=generator)
    x[2] = 0
    problem = Problem(
        x=x, dictionary=atoms[:1], k=3, algorithm="matching_pursuit", nonnegative=False,
        reselect=True,
    )  # fmt: skip
    tiles = [(first, atoms[first : first + 3]) for first in range(0, 7, 3)]
    walk = pursue(problem, lambda: iter(tiles), slice(0, 7), Team())
    codes, residual = torch.zeros(5, 7), x.clone()
    for row in (0, 1, 3, 4):
        for _ in range(3):
            products = atoms @ residual[row]
            best = int(products.abs().argmax())
            codes[row, best] += products[best]
            residual[row] -= products[best] * atoms[best]
    torch.testing.assert_close(walk.codes(slice(0, 7)).to_dense(), codes, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(walk.residual, residual, atol=1e-5, rtol=1e-4)
    assert walk.atoms[2].tolist() == [-1, -1, -1]
    some = torch.tensor([True, False, True, False, True, False, True])
    kept = pursue(problem, lambda: iter(tiles), slice(0, 7), Team(), some)
    assert not bool(kept.codes(slice(0, 7)).to_dense()[:, ~some].any())


@pytest.mark.parametrize("kind", ["MatchingPursuit", "OrthogonalMatchingPursuit"])
def test_the_loss_of_a_sharded_pursuit_is_that_of_one_process(kind: str) -> None:
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(5)) + 0.5
    saes = [getattr(sn, kind)(4, 7, 2, generator=torch.Generator().manual_seed(1)) for _ in "ab"]
    silent, found = torch.zeros(7, dtype=torch.int64), []
    for sae in saes:
        sae.initialise(x, torch.Generator().manual_seed(0))
    found.append(pursuit_loss(saes[0], slice(0, 7), Team(), x, silent, 100, 0.5))
    found.append(saes[1].training_loss(x, silent, 100, 0.5))
    dense = found[0].codes.to_dense()
    left = x - saes[0].bias - dense @ saes[0].operator.atoms()
    share = left.square().sum() / (9 * saes[0].scaling.variance)
    assert float(found[0].total.detach()) == pytest.approx(float(share.detach()), rel=1e-4)
    torch.testing.assert_close(found[0].x_hat, (x - left).detach(), atol=1e-5, rtol=1e-4)
    for loss in found:
        loss.total.backward()
    torch.testing.assert_close(dense, found[1].codes.to_dense(), atol=1e-5, rtol=1e-4)
    for one, other in zip(saes[0].parameters(), saes[1].parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-3)


def test_a_run_is_asked_for_what_it_has(plain_sae: Any, rows: Tensor) -> None:
    """Width and number of hook points; a tenth is held out only where it is asked for."""
    config = TrainConfig(steps=2, batch_size=16)
    with pytest.raises(ValueError, match="width of the data, d_in=7"):
        train(plain_sae(), rows[:, :7], config, progress=False)
    grown = replace(config, grow_k=True)
    sae = sn.MatchingPursuit(8, 16, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="`steps` must be at least 3"):
        train(sae, rows, grown, progress=False)
    result = train(sae, rows, replace(grown, steps=3), progress=False)
    assert (result.sae.k, result.steps) == (4, 3)
