"""Thresholds that are read off data separate what they were read from, however sums are rounded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb_studies.architectures import FeatureChoice, MutualChoice, TreeSAE

D, N, K, ROWS = 12, 40, 3, 120
OVER_A_BATCH: tuple[Any, ...] = (sn.BatchTopK, sn.Matryoshka, MutualChoice, FeatureChoice, TreeSAE)


@pytest.fixture(params=range(2))
def x(request: Any) -> Tensor:
    return 5 + 2 * torch.randn(ROWS, D, generator=torch.Generator().manual_seed(request.param))


def made(kind: Any, x: Tensor, **settings: Any) -> Any:
    sae = kind(D, N, generator=torch.Generator().manual_seed(0), **settings)
    sae.initialise(x)
    return sae


def fires(codes: sn.SparseCodes) -> Tensor:
    return codes.detach().to_dense() != 0


@pytest.mark.parametrize("kind", OVER_A_BATCH)
def test_what_was_kept_fires_in_small_batches_and_in_float64(kind: Any, x: Tensor) -> None:
    """As many entries as training keeps, the same ones, where no other lies nearer than rounding."""
    sae = made(kind, x, k=K)
    kept = fires(sae.encode(x))
    sae.eval()
    assert torch.equal(fires(sae.encode(x)), kept)
    assert torch.equal(torch.cat([fires(sae.encode(rows)) for rows in x.split(7)]), kept)
    assert torch.equal(fires(sae.double().encode(x.double())), kept)


@pytest.mark.parametrize("kind", [sn.JumpReLU, sn.ReLU, sn.Gated])
def test_a_first_threshold_does_too(kind: Any, x: Tensor) -> None:
    """The l0 that an SAE aims at, before training: twice that for those that a price thins out."""
    sae = made(kind, x, l0=K)
    found = fires(sae.encode(x))
    assert int(found.sum()) == ROWS * K * (1 if kind is sn.JumpReLU else 2)
    assert torch.equal(torch.cat([fires(sae.encode(rows)) for rows in x.split(7)]), found)
    assert torch.equal(fires(sae.double().encode(x.double())), found)


@pytest.mark.parametrize("kind", OVER_A_BATCH)
def test_the_threshold_lies_half_way_to_what_was_left_out(kind: Any, x: Tensor) -> None:
    sae = made(kind, x, k=K)
    kept = fires(sae.encode(x))
    u = (x - sae.bias) @ sae.encoder.weight.T + sae.encoder.bias / sae.scaling.scale
    if kind is FeatureChoice:
        smallest = u.where(kept, torch.inf).amin(dim=0)
        largest = u.where(~kept, -torch.inf).amax(dim=0)
    elif kind is TreeSAE:
        first = slice(0, sae.widths[0])
        smallest = u[:, first][kept[:, first]].min()
        largest = u[:, first][~kept[:, first]].max()
    else:
        smallest, largest = u[kept].min(), u[~kept].max()
    threshold = sae.threshold[0] if kind is TreeSAE else sae.threshold
    assert torch.allclose(threshold, (smallest + largest) / 2, atol=1e-4)


@pytest.mark.parametrize("kind", [sn.BatchTopK, FeatureChoice, TreeSAE])
def test_all_of_a_tie_are_kept(kind: Any, x: Tensor) -> None:
    """No threshold tells copies of a row apart: each fires as the others, whatever its batch."""
    copies = torch.cat([x[:7]] * 5)
    found = fires(made(kind, copies, k=K).eval().encode(copies))
    for i in range(1, 5):
        assert torch.equal(found[:7], found[7 * i : 7 * (i + 1)])


@pytest.mark.parametrize("kind", [sn.BatchTopK, FeatureChoice, TreeSAE])
def test_a_batch_seen_again_and_again_is_coded_as_in_training(kind: Any, x: Tensor) -> None:
    sae = made(kind, x, k=K)
    for _ in range(150):
        with torch.enable_grad():
            kept = fires(sae.training_loss(x, torch.zeros(N), 10, 0.0).codes)
    assert bool(fires(sae.eval().encode(x))[kept].all())
