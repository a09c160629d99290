"""Parts of weights: planted ones are found, sums are kept, the module is left alone, misuse is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sae_nb_studies.circuits import decompose_weights, random_parts, singular_parts
from sae_nb_studies.reproductions.experiments.parameter_parts import purity

QUICK = {"steps": 10, "n_starts": 1, "batch_size": 16}


def sparse(n: int, d: int) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    x = torch.rand(n, d, generator=draws) * (torch.rand(n, d, generator=draws) < 0.2)
    return x[x.any(dim=1)]


@pytest.fixture(scope="module")
def three() -> nn.Sequential:
    """Three features that share nothing: the parts are the rows of its matrix."""
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU())
    with torch.no_grad():
        module[0].weight.copy_(torch.diag(torch.tensor([1.0, 1.5, 2.0])))
    return module


@pytest.mark.slow
def test_planted_parts_are_found_and_matter_where_their_feature_is(three: nn.Sequential) -> None:
    x = sparse(2000, 3)
    found = decompose_weights(
        three, x, n_components=9, coefficient=0.03, steps=600, batch_size=48, n_starts=2
    )
    true = torch.stack([torch.diag(row) for row in three[0].weight.detach()])
    match = found.match(true)
    assert match.value > 0.95 > match.random + 0.1
    assert found.n_alive["0"] == 3
    assert found.faithfulness["0"] < 1e-2
    gates = found.importance(torch.eye(3))["0"][:, torch.from_numpy(match.matched)]
    assert (gates.argmax(dim=1) == torch.arange(3)).all()
    errors = found.check(x).set_index("way").error
    assert errors["importance"] < 0.2 * errors["of other inputs"]
    assert errors["all parts"] < 0.05 * errors["no parts"]
    assert len(found.figure().data) == 4  # the matrix and three parts
    assert len(found.importance_figure(torch.eye(3)).data) == 1


def test_drawn_and_singular_parts_add_up_to_their_matrix() -> None:
    for shape in ((7, 3), (3, 7)):
        weight = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
        for parts in (random_parts(weight, 9), singular_parts(weight)):
            assert torch.allclose(parts.sum(dim=0), weight, atol=1e-4)
            assert torch.linalg.matrix_rank(parts, rtol=1e-3).max() == 1


class Words(nn.Module):
    """An embedding, a linear layer, and GPT-2's kind of one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.linear, self.conv = nn.Embedding(6, 4), nn.Linear(4, 5), Conv1D(6, 5)

    def forward(self, ids: Tensor) -> Tensor:
        return self.conv(self.linear(self.embed(ids)).relu())


def test_every_kind_of_layer_is_replaced_by_its_parts_and_put_back() -> None:
    """With all parts and what they leave over near nothing, answers are the module's own."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        module = Words().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    ids = torch.arange(6).repeat(8)[:, None].expand(48, 2)
    found = decompose_weights(module, ids, n_components=8, divergence="kl", **QUICK)
    assert {name: part.shape for name, part in found.parts.items()} == {
        "embed": (8, 6, 4),
        "linear": (8, 4, 5),
        "conv": (8, 5, 6),
    }
    for name, weight in (
        ("embed", module.embed.weight),
        ("linear", module.linear.weight.T),
        ("conv", module.conv.weight),
    ):
        off = (found.parts[name].sum(dim=0) - weight).square().sum() / weight.square().sum()
        assert float(off) == pytest.approx(found.faithfulness[name], rel=1e-3)
        assert float(off) < 0.1
    errors = found.check(ids).set_index("way").error
    assert errors["all parts"] < 0.2 * errors["no parts"]
    assert found.importance(ids)["linear"].shape == (48, 2, 8)
    assert module.training
    assert not any(part._forward_hooks for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_same_seed_gives_the_same_parts(three: nn.Sequential) -> None:
    x = sparse(200, 3)
    one, same, other = (
        decompose_weights(three, x, n_components=4, seed=seed, **QUICK) for seed in (0, 0, 1)
    )
    assert torch.equal(one.reads["0"], same.reads["0"])
    assert not torch.equal(one.reads["0"], other.reads["0"])


def test_a_part_that_reads_one_frequency_is_pure_and_one_that_reads_two_is_half() -> None:
    turns = 2 * torch.pi * torch.arange(53) / 53
    waves = [(f * turns).cos()[:, None] + (f * turns).cos()[None] for f in (5, 10)]
    rows = torch.stack([wave.flatten() for wave in waves], dim=1)
    assert purity(torch.tensor([[[1.0], [0.0]]]), rows) == pytest.approx(1)
    assert purity(torch.tensor([[[1.0], [1.0]]]), rows) == pytest.approx(0.5, abs=0.01)
