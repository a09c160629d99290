"""A dead atom that is resampled points at what the step left over."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sae_nb.training import TrainConfig
from sae_nb.training._learner import Learner
from tests.architectures.test_one_step import COUNTS, make


@pytest.fixture
def rows() -> Tensor:
    return 5 + 2 * torch.randn(200, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", list(COUNTS))
def test_resampled_atoms_point_at_what_was_left_over(name: str, rows: Tensor) -> None:
    """Decoder and encoder rows along residuals, without Adam's memory; others untouched."""
    sae = make(name, revival="resample", aux_weight=0.0)
    learner = Learner(sae, TrainConfig(steps=10, dead_after_tokens=100), rows=len(rows))
    learner.begin(rows, seed=0)
    for step in range(2):
        learner.step(rows, step, rows=len(rows), share=1.0)
    dead = torch.tensor([4, 17, 29])
    learner.dead.silent_tokens.zero_()
    learner.dead.silent_tokens[dead] = 200
    before = sae.dictionary.clone()
    loss = learner.step(rows, 2, rows=len(rows), share=1.0).loss
    assert sae.resampled.tolist() == dead.tolist()
    left = torch.nn.functional.normalize(rows - loss.x_hat, dim=1)
    assert float((sae.dictionary[dead] @ left.T).amax(dim=1).min()) > 0.999
    lengths = sae.encoder.weight.detach().norm(dim=1)
    alive = torch.ones(40, dtype=torch.bool).index_fill(0, dead, value=False)
    assert torch.allclose(lengths[dead], sae.resampled_length * lengths[alive].mean(), rtol=1e-4)
    for parameter in sae.atom_parameters():
        memory = learner.optimiser.state[parameter]["exp_avg"]
        assert bool((memory[dead] == 0).all())
        assert bool((memory[alive] != 0).any())
    turned = (before * sae.dictionary).sum(dim=1)
    assert float(turned[alive].min()) > 0.9
    sae.after_optimiser_step()
    assert sae.resampled is None
