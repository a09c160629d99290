"""GradientSAE: selection by strength and gradient, against the dense definition."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.training import TrainConfig, train
from sae_nb_studies.architectures import GradientSAE, _largest_by as proxes

D, N, K = 12, 40, 4


def drawn(n: int = 200, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 + torch.randn(n, D, generator=generator), 0.01 * torch.randn(n, D, generator=generator)


def started(**settings: float) -> GradientSAE:
    sae = GradientSAE(D, N, K, generator=torch.Generator().manual_seed(1), **settings)  # type: ignore[arg-type]
    x, g = drawn()
    sae.initialise(Activations.from_tensor(x, gradient=g), torch.Generator().manual_seed(2))
    return sae


def by_definition(sae: GradientSAE, x: Tensor, g: Tensor) -> Tensor:
    """Dense: s = u (1 + β |g Dᵀ| / γ); the k largest by s, of strength u."""
    u = (x - sae.bias) @ sae.encoder.weight.T + sae.encoder.bias / sae.scaling.scale
    s = u * (1 + sae.gradient_weight * (g @ sae.dictionary.T).abs() / sae.gradient_scale)
    kept = torch.zeros_like(u).scatter(1, s.topk(K, dim=1).indices, 1.0)
    return (u * kept).clamp_min(0).detach()


@pytest.mark.parametrize("weight", [0.3, 1.0, 30.0])
def test_it_is_its_definition(weight: float) -> None:
    """Which atoms, and with TopK's strengths; the scale is the gradient's root mean square."""
    sae, (x, g) = started(gradient_weight=weight), drawn(seed=3)
    assert float(sae.gradient_scale) == pytest.approx(float(drawn()[1].square().mean().sqrt()))
    expected = by_definition(sae, x, g)
    assert torch.allclose(sae.encode(x, gradient=g).to_dense(), expected, atol=1e-5)
    acts = Activations.from_tensor(x, gradient=g)
    assert torch.allclose(sae.encode(acts).to_dense(), expected, atol=1e-5)
    assert torch.allclose(sae(acts), expected @ sae.dictionary + sae.bias, atol=1e-4)


def test_without_a_gradient_it_is_topk_and_says_so_once() -> None:
    """β = 0, a gradient of zero and no gradient are TopK; only the last is a surprise."""
    sae, (x, g) = started(), drawn()
    topk = sn.TopK(D, N, K)
    state = {k: v for k, v in sae.state_dict().items() if k != "gradient_scale"}
    topk.load_state_dict(state)
    expected = topk.encode(x).to_dense()
    assert torch.allclose(sae.encode(x, gradient=torch.zeros_like(g)).to_dense(), expected)
    with pytest.warns(UserWarning, match="as TopK does") as said:
        codes = sae.encode(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sae.encode(x)
    assert len(said) == 1
    assert torch.equal(codes.to_dense(), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        without = started(gradient_weight=0.0)
        without.load_state_dict(sae.state_dict())
        assert torch.equal(without.encode(x, gradient=g).to_dense(), expected)
        assert torch.equal(without.encode(x).to_dense(), expected)


def test_tiles_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    sae, (x, g) = started(), drawn()
    whole = sae.encode(x, gradient=g)
    seen = []
    monkeypatch.setattr(
        proxes, "row_tiles", lambda n, m, tiles=proxes.row_tiles: tiles(n, m, 7 * N)
    )
    affine = proxes.affine

    def watched(x: Tensor, *rest: Tensor) -> Tensor:
        seen.append(len(x))
        return affine(x, *rest)

    monkeypatch.setattr(proxes, "affine", watched)
    tiled = sae.encode(x, gradient=g)
    assert max(seen) == 7
    assert torch.allclose(tiled.to_dense(), whole.to_dense(), atol=1e-6)


@pytest.mark.slow
def test_training_takes_the_gradient_along(tmp_path: Path) -> None:
    """From memory and from disk alike, to the bit; shuffled gradients train another SAE."""
    x, g = drawn(300)
    acts = Activations.from_tensor(x, gradient=g)
    acts.save(tmp_path / "acts")
    stored = sn.load_activations(tmp_path / "acts")
    assert isinstance(stored, Activations)
    wrong = Activations.from_tensor(x, gradient=g.roll(1, dims=0))
    states = []
    for data in (acts, stored, wrong):
        sae = GradientSAE(D, N, K, generator=torch.Generator().manual_seed(1))
        train(sae, data, TrainConfig(steps=12, batch_size=64), progress=False)
        states.append(sae.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["operator.weight"], states[2]["operator.weight"])


def test_it_trains_beside_others_on_the_same_batches() -> None:
    x, g = drawn(300)
    acts = Activations.from_tensor(x, gradient=g)
    config = TrainConfig(steps=8, batch_size=64)

    def topk() -> sn.TopK:
        return sn.TopK(D, N, K, generator=torch.Generator().manual_seed(1))

    alone, beside, sae = topk(), topk(), started()
    train(alone, x, config, progress=False)
    train([beside, sae], acts, config, progress=False)
    assert torch.equal(alone.dictionary, beside.dictionary)
