"""OrtSAE: BatchTopK with a penalty on the nearest other atom of each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import BatchTopK
from sae_nb.training import TrainConfig, train
from sae_nb_studies.architectures import OrtSAE
from sae_nb_studies.architectures._ort import nearest_in_chunks

D, N, K = 12, 40, 3


def made(kind: Any = OrtSAE, **settings: Any) -> Any:
    return kind(D, N, K, generator=torch.Generator().manual_seed(0), **settings)


def loss_of(sae: Any, x: Tensor) -> Any:
    return sae.training_loss(x, torch.zeros(N, dtype=torch.long), 100, 0.5)


@pytest.fixture
def x() -> Tensor:
    return 5 + 2 * torch.randn(200, D, generator=torch.Generator().manual_seed(1))


def test_the_penalty_and_its_gradient_are_those_of_all_cosines() -> None:
    """In one chunk: the mean over atoms of the squared largest cosine with another, by autograd."""
    sae = made()
    atoms = sae.operator.weight
    sae.likeness().backward()
    found, atoms.grad = atoms.grad.clone(), None
    cosines = atoms @ atoms.T
    expected = (cosines - 2 * torch.eye(N)).amax(dim=1).square().mean()
    expected.backward()
    assert torch.allclose(sae.likeness(), expected)
    assert torch.allclose(found, atoms.grad, atol=1e-6)


@pytest.mark.parametrize("chunk", [2, 7, 20, 39])
def test_atoms_are_compared_within_random_chunks(chunk: int) -> None:
    """Chunks are a partition, of no more than `chunk` atoms and none of a single one; others each time."""
    atoms = made().dictionary
    deal = torch.Generator().manual_seed(0)
    first, second = (nearest_in_chunks(atoms, chunk, deal) for _ in range(2))
    assert not torch.equal(first, second)
    assert bool((first != torch.arange(N)).all())
    cosines = atoms @ atoms.T - 2 * torch.eye(N)
    assert bool((cosines.gather(1, first[:, None])[:, 0] <= cosines.amax(dim=1)).all())
    # Within a chunk of 2 the nearest of the nearest is the atom itself.
    if chunk == 2:
        assert torch.equal(first[first], torch.arange(N))


def test_without_its_weight_it_is_batch_topk(x: Tensor) -> None:
    found = []
    for sae in (made(orthogonality=0.0), made(BatchTopK)):
        sae.initialise(x)
        loss = loss_of(sae, x)
        loss.total.backward()
        found.append([loss.codes.to_dense(), loss.total.detach(), sae.operator.weight.grad])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_training_moves_atoms_apart(x: Tensor) -> None:
    """After forty steps the nearest atoms are less alike than BatchTopK's, and less than before."""
    ends = {}
    for kind in (OrtSAE, BatchTopK):
        sae = made(kind)
        train(sae, x, TrainConfig(steps=40, batch_size=100), progress=False)
        atoms = sae.dictionary
        ends[kind] = float((atoms @ atoms.T - 2 * torch.eye(N)).amax(dim=1).mean())
    assert ends[OrtSAE] < ends[BatchTopK] - 0.05
