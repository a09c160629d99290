"""What an interrupted training keeps is the last state unless the loss had clearly risen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sae_nb.training._learner import BestState


def numbered(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, value)
    return layer


def follow(losses: list[float], every: int = 5) -> tuple[nn.Linear, BestState]:
    layer = numbered(0.0)
    best = BestState(layer)
    for step, loss in enumerate(losses, start=1):
        nn.init.constant_(layer.weight, float(step))
        best.see(loss)
        if step % every == 0:
            best.offer(step)
    return layer, best


def test_falling_loss_keeps_the_last_state() -> None:
    _, best = follow([1 / (1 + step) + 0.005 * (-1) ** step for step in range(20)] + [0.05] * 100)
    assert not best.diverged
    assert not follow([-1.0] * 20)[1].diverged


def test_risen_loss_puts_the_lowest_state_back() -> None:
    """After a blow-up the weights are those of the record with the lowest running loss."""
    layer, best = follow([1.0] * 50 + [5.0] * 30)
    assert best.diverged
    assert best.restore() == 50
    assert layer.weight.item() == 50.0


def test_change_of_the_objective_starts_over() -> None:
    _, best = follow([1.0] * 50)
    best.forget()
    assert best.step is None
    best.see(10.0)
    assert best.running_loss == pytest.approx(10)
    best.offer(51)
    assert (best.step, best.diverged) == (51, False)


def test_copy_is_not_the_state_itself() -> None:
    """Later steps do not leak into the copy, and the copy is made in place the second time."""
    layer, best = follow([2.0] * 5 + [1.0] * 5)
    storage = best._copy["weight"].data_ptr()
    best.see(0.5)
    best.offer(11)
    assert best._copy["weight"].data_ptr() == storage
    nn.init.constant_(layer.weight, -1.0)
    best.restore()
    assert torch.equal(layer.weight, torch.full((1, 1), 10.0))


def test_running_loss_is_the_bias_corrected_mean() -> None:
    """Equal losses give exactly their value from the first one on."""
    _, best = follow([3.0])
    assert best.running_loss == pytest.approx(3.0)
    best.see(1.0)
    assert best.running_loss == pytest.approx((0.95 * 3.0 + 1.0) / 1.95)
