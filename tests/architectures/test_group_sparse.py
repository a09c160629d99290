"""GroupSparse: its loss by definition, masks that repeat, and what a pair must be."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import TopK
from sae_nb.codes import SparseCodes
from sae_nb.training import train
from sae_nb_studies.architectures import GroupSparse
from sae_nb_studies.architectures._group_sparse import paired

WIDTHS = (5, 7)


def group(n_atoms: int = 20, k: int = 3, **settings: Any) -> GroupSparse:
    return GroupSparse(*WIDTHS, n_atoms, k, generator=torch.Generator().manual_seed(0), **settings)


@pytest.fixture
def pair() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    z = torch.rand(120, 12, generator=generator)
    z = z * (torch.rand(120, 12, generator=generator) < 0.2)
    maps = [torch.randn(12, d, generator=generator) for d in WIDTHS]
    return [3 * z @ maps[0] + 2, 0.5 * z @ maps[1] - 1]


def silent(g: GroupSparse) -> Tensor:
    return torch.zeros(g.n_atoms, dtype=torch.int64)


def test_the_union_holds_every_atom_of_either_once() -> None:
    dense = [
        torch.tensor(z, requires_grad=True)
        for z in ([[1.0, 0, 2], [0, 0, 0]], [[3.0, 4, 0], [0, 0, 5]])
    ]
    mean, strengths = paired(*(SparseCodes.from_dense(z) for z in dense))
    assert torch.equal(mean.to_dense(), (dense[0] + dense[1]) / 2)
    assert strengths.shape == (2, 4)
    assert mean.l0.tolist() == [3, 1]
    strengths[0].sum().backward()
    assert torch.equal(dense[0].grad, (dense[0] != 0).float())
    assert not dense[1].grad.any()


def test_the_loss_is_that_of_the_definition(pair: list[Tensor]) -> None:
    """Own errors, crossed errors and group term, entry by entry of dense codes in double precision."""
    g = group(mask=0.5, penalty=0.3).double()
    pair = [x.double() for x in pair]
    g.initialise(pair, torch.Generator().manual_seed(0))
    loss = g.training_loss(torch.cat(pair, dim=1), silent(g), 1000, 0.25)
    z = [g.encode(x, reads=m).to_dense() for m, x in enumerate(pair)]
    masked = g._masked(len(pair[0]), 0.25)
    share = (torch.bincount(masked + 1, minlength=3) / len(masked)).tolist()
    assert share == pytest.approx([0.5, 0.25, 0.25], abs=0.12)
    own = crossed = torch.zeros((), dtype=torch.double)
    for m, x in enumerate(pair):
        unit = (x - x.mean(dim=0)).square().sum(dim=1).mean() / (sum(WIDTHS) / 2)
        for source in (0, 1):
            x_hat = z[source] @ g.dictionaries[m] + g.biases[m]
            error = (x - x_hat).square().sum(dim=1) / unit
            if source == m:
                own = own + error[masked != m].sum()
            else:
                crossed = crossed + error[masked == m].sum()
    rows = len(pair[0]) * sum(WIDTHS)
    expected = torch.sqrt(z[0] ** 2 + z[1] ** 2).sum() / (len(pair[0]) * math.sqrt(sum(WIDTHS)))
    assert float(loss.parts["reconstruction"]) == pytest.approx(float(own / rows), rel=1e-6)
    assert float(loss.parts["crossed"]) == pytest.approx(float(crossed / rows), rel=1e-6)
    assert float(loss.parts["group"]) == pytest.approx(float(expected), rel=1e-6)
    total = own / rows + crossed / rows + 0.3 * expected
    assert float(loss.total.detach()) == pytest.approx(float(total), rel=1e-6)


def test_masks_are_a_function_of_the_step(pair: list[Tensor]) -> None:
    """The same again, another at another step, none at 0 and everywhere at 1."""
    g = group()
    g.initialise(pair, torch.Generator().manual_seed(0))
    assert torch.equal(g._masked(50, 0.1), g._masked(50, 0.1))
    assert not torch.equal(g._masked(50, 0.1), g._masked(50, 0.2))
    g.mask = 0.0
    assert bool((g._masked(50, 0.1) == -1).all())
    g.mask = 1.0
    assert bool((g._masked(50, 0.1) >= 0).all())


def test_each_modality_is_read_by_itself(pair: list[Tensor]) -> None:
    """What the other shows changes nothing, leading axes are kept, and a pair is the mean of both."""
    g = group()
    g.initialise(pair)
    image, text = (g.encode(x, reads=m) for m, x in enumerate(pair))
    assert isinstance(g, TopK)
    assert bool((image.l0 <= 3).all())
    assert g.encode(pair[1].reshape(10, 12, 7), reads=1).shape == (10, 12, 20)
    both = g.encode(pair).to_dense()
    assert torch.allclose(both, (image.to_dense() + text.to_dense()) / 2)
    assert int(g.encode(pair[0], 1, reads=0).l0.max()) == 1


@pytest.mark.slow
def test_training_ties_the_supports_of_a_pair(pair: list[Tensor]) -> None:
    """With group term and masks, codes of a pair share more of their atoms than without."""

    def shared(**settings: Any) -> float:
        g = group(n_atoms=12, **settings)
        train(g, pair, steps=150, batch_size=60, seed=0, progress=False)
        first, second = (g.encode(x, reads=m).to_dense() > 0 for m, x in enumerate(pair))
        return float((first & second).sum() / (first | second).sum())

    assert shared(penalty=0.05, mask=0.5) > shared(penalty=0.0, mask=0.0) + 0.1
