"""Our Muon is torch's, without its rounding."""

from __future__ import annotations

import pytest
import torch

from sae_nb_studies._muon import Muon


@pytest.mark.parametrize("rule", [None, "match_rms_adamw"])
def test_it_moves_weights_as_torch_does(rule: str | None) -> None:
    """Ten steps on tall and wide matrices: equal within what bfloat16 rounds away."""
    torch.manual_seed(0)
    shapes = [(8, 5), (5, 8), (6, 6)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    starts = [weight.detach().clone() for weight in ours]
    settings = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": rule}
    optimisers = Muon(ours, **settings), torch.optim.Muon(theirs, **settings)  # type: ignore[arg-type]
    for _ in range(10):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape)
            other.grad = mine.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for mine, other, start in zip(ours, theirs, starts, strict=True):
        moved = (other - start).norm()
        assert (mine - other).norm() < 0.02 * moved
        assert moved > 0.1


def test_a_checkpoint_of_torchs_goes_on() -> None:
    """The state has the same names, so that what was begun with one is continued with the other."""
    weight = torch.nn.Parameter(torch.eye(2, 3))
    weight.grad = torch.ones(2, 3)
    theirs = torch.optim.Muon([weight])
    theirs.step()
    ours = Muon([weight])
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(
        ours.state[weight]["momentum_buffer"], theirs.state[weight]["momentum_buffer"]
    )
