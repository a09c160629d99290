"""VariationalSAE: noise only in the loss, repeatable, and an exact price without a dense code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb_studies.architectures import VariationalSAE, _largest_by as proxes

D, N, K = 12, 40, 4


def drawn(n: int = 300) -> Tensor:
    return 3 + 2 * torch.randn(n, D, generator=torch.Generator().manual_seed(0))


def started(**settings: float) -> VariationalSAE:
    sae = VariationalSAE(D, N, K, generator=torch.Generator().manual_seed(1), **settings)  # type: ignore[arg-type]
    sae.initialise(drawn(), torch.Generator().manual_seed(2))
    with torch.no_grad():
        sae.encoder.bias.normal_(generator=torch.Generator().manual_seed(3))
    return sae


def loss_of(sae: VariationalSAE) -> Any:
    return sae.training_loss(drawn(), torch.zeros(N, dtype=torch.int64), 100, 0.5)


def test_the_price_is_the_dense_one_and_so_is_its_gradient() -> None:
    sae, x = started().double(), drawn().double()
    found = sae._mean_power(x)
    scale = sae.scaling.scale
    dense = (
        ((x - sae.bias) @ sae.encoder.weight.T * scale + sae.encoder.bias).square().sum(1).mean()
    )
    assert torch.allclose(found, dense, rtol=1e-10)
    of = [sae.encoder.weight, sae.encoder.bias, sae.pre_bias]
    for ours, theirs in zip(
        torch.autograd.grad(found, of), torch.autograd.grad(dense, of), strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-10)


def test_noise_is_that_of_its_size() -> None:
    """What competes differs from the pre-codes by draws of standard deviation σ, in scaled units."""
    sae = started(noise=0.5)
    score = sae._noisy().score
    u = torch.zeros(2000, N)
    seen = score(u, slice(0, 2000))[0] * sae.scaling.scale
    assert abs(float(seen.std()) - 0.5) < 0.01
    assert abs(float(seen.mean())) < 0.01


def test_noise_is_in_the_loss_alone() -> None:
    """The same at one step, other noise at the next; none in eval mode, at σ = 0, in codes and in x̂."""
    sae, x = started(), drawn()
    first, again = loss_of(sae), loss_of(sae)
    assert torch.equal(first.total, again.total)
    sae.after_optimiser_step()
    assert not torch.equal(first.total, loss_of(sae).total)
    assert torch.equal(first.codes.to_dense(), sae.encode(x).to_dense().detach())
    quiet = started(noise=0.0)
    quiet.load_state_dict(sae.state_dict())
    silent = loss_of(quiet)
    assert torch.allclose(loss_of(sae.eval()).total, silent.total)
    assert float(first.parts["reconstruction"]) > float(silent.parts["reconstruction"])
    assert torch.allclose(first.parts["divergence"], silent.parts["divergence"])


def test_noise_is_drawn_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    sae = started()
    score = sae._noisy().score
    u = torch.zeros(5, N)
    assert torch.equal(score(u, slice(0, 5))[0], score(u, slice(0, 5))[0])
    assert not torch.equal(score(u, slice(0, 5))[0], score(u, slice(5, 10))[0])
    monkeypatch.setattr(
        proxes, "row_tiles", lambda n, m, tiles=proxes.row_tiles: tiles(n, m, 7 * N)
    )
    x, shapes, randn = drawn(20), [], torch.randn

    def watched(shape: Any, **kwargs: Any) -> Tensor:
        shapes.append(tuple(shape))
        return randn(shape, **kwargs)

    monkeypatch.setattr(torch, "randn", watched)
    sae.training_loss(x, torch.zeros(N, dtype=torch.int64), 100, 0.5)
    assert shapes == [(7, N), (7, N), (6, N)]
