"""A dictionary that reads every layer and writes to all later ones: equation, gradients, data, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures._cross_layer_transcoder import SELECTIONS

WIDTHS, N_ATOMS, K = [6, 8, 7], 12, 2
N_LAYERS = len(WIDTHS)


def layers(n: int = 600, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Concepts that come in at each layer and write at that and all later ones, the last layer loud."""
    draw, shared = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    on = torch.rand(N_LAYERS, n, 5, generator=draw) < 0.15
    z = on * (1 + torch.rand(N_LAYERS, n, 5, generator=draw))
    xs, ys = [], []
    for at, width in enumerate(WIDTHS):
        read, written = torch.randn(2, 5, width, generator=shared)
        xs.append(z[at] @ read + 3)
        ys.append(sum(z[a] @ written.roll(a, 1) for a in range(at + 1)) * 10.0**at - 20)
    return xs, ys


def build(base: str = "TopK", seed: int = 0, **settings: Any) -> Any:
    generator = torch.Generator().manual_seed(seed)
    kept = {"widths": WIDTHS, "n_atoms": N_ATOMS, "k": K} | settings
    return sn.CrossLayerTranscoder(**kept, base=base, generator=generator)


def rows_of(data: tuple[list[Tensor], list[Tensor]]) -> Tensor:
    return torch.cat([*data[0], *data[1]], dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("base", SELECTIONS)
def test_every_layer_is_reconstructed(base: str) -> None:
    c, (xs, ys) = build(base), layers()
    sn.train(c, (xs, ys), steps=150, batch_size=128, progress=False, seed=0)
    for y, y_hat in zip(ys, c(xs), strict=True):
        assert sn.evaluation.explained_variance(y, y_hat.detach()) > 0.8
    assert all(float(z.l0.double().mean()) <= 1.3 * K for z in c.encode(xs))


def test_a_layer_is_written_by_itself_and_those_before_it() -> None:
    """ŷ_l = Σ_{l' ≤ l} z_{l'} D_{l'→l} + b_l, in lists and side by side; what enters later changes nothing."""
    c, (xs, ys) = build(), layers(60)
    c.initialise((xs, ys))
    codes = c.eval().encode(xs)
    assert [z.shape for z in codes] == [(60, N_ATOMS)] * N_LAYERS
    for at, (y_hat, b) in enumerate(zip(c.decode(codes), c.biases, strict=True)):
        by_hand = sum(codes[a].to_dense() @ c.written(a, at) for a in range(at + 1)) + b
        torch.testing.assert_close(y_hat, by_hand, rtol=1e-4, atol=1e-3)
    whole = c.encode(torch.cat(xs, dim=1))
    assert whole.shape == (60, c.n_atoms) == (60, N_LAYERS * N_ATOMS)
    for one, other in zip(c.by_layer(whole), codes, strict=True):
        torch.testing.assert_close(one.to_dense(), other.to_dense())
    for one, other in zip(c.decode(whole), c.decode(codes), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    changed = c([xs[0], xs[1] + 1, xs[2] + 1])
    assert torch.equal(changed[0], c(xs)[0])
    assert not torch.allclose(changed[1], c(xs)[1])
    shares = c.shares()
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(c.n_atoms))
    assert bool((shares[2 * N_ATOMS :, :2] == 0).all())


@pytest.mark.parametrize("all_dead", [False, True])
def test_loss_and_gradients_are_those_of_dense_autograd(all_dead: bool) -> None:
    """Mean over layers of the unexplained share, and AuxK of each layer by what all together leave."""
    c, data = build().double(), layers(80)
    rows = rows_of(data).double()
    c.initialise(rows)
    silent = torch.full((c.n_atoms,), 100 if all_dead else 0)
    ours = c.training_loss(rows, silent, 100, 0.5)
    x, y = c.split(rows)
    unit = c.operator.unit
    target = (y - c.scaling.mean) / unit
    y_hat, dead, seen = c.pre_bias.expand_as(target), [], []
    for layer, part in zip(c.layers, x.split(WIDTHS, dim=1), strict=True):
        u = (
            layer.reading.scale * (part - layer.reading.mean) @ layer.encoder.weight.T
            + layer.encoder.bias
        )
        z = torch.zeros_like(u).scatter(1, u.topk(K).indices, u.topk(K).values.relu())
        tail = z @ layer.operator.weight
        y_hat = y_hat + torch.nn.functional.pad(tail, (target.shape[1] - tail.shape[1], 0))
        seen.append((layer, u))
    left = (target - y_hat).detach()
    for layer, u in seen:
        kept, rest = u.topk(layer.aux_k), left[:, -layer.d_out :]
        z = torch.zeros_like(u).scatter(1, kept.indices, kept.values.relu())
        spread = (rest - rest.mean(dim=0)).square().sum()
        dead.append((rest - z @ layer.operator.weight).square().sum() / spread)
    dense = (target - y_hat).square().sum() / (80 * sum(WIDTHS))
    by_layer = (target - y_hat).detach().square().split(WIDTHS, dim=1)
    shares = [
        float(part.sum() / t.square().sum()) for part, t in zip(by_layer, target.split(WIDTHS, 1))
    ]
    assert float(dense.detach()) == pytest.approx(sum(shares) / N_LAYERS, rel=1e-6)
    dense = dense + (torch.stack(dead).mean() / 32 if all_dead else 0)
    assert float(ours.total) == pytest.approx(float(dense.detach()))
    torch.testing.assert_close(ours.x_hat, c(x), rtol=1e-6, atol=1e-6)
    parameters = list(c.parameters())
    for one, two in zip(
        torch.autograd.grad(ours.total, parameters),
        torch.autograd.grad(dense, parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


def test_units_of_a_layer_change_nothing_but_what_is_written_there() -> None:
    xs, ys = layers(200)
    plain, other = build(), build()
    plain.initialise((xs, ys))
    other.initialise(([xs[0], 50 * xs[1] - 9, xs[2]], [ys[0], 1000 * ys[1] + 5, ys[2]]))
    one = plain.encode(xs)[1].to_dense()
    torch.testing.assert_close(
        one, other.encode([xs[0], 50 * xs[1] - 9, xs[2]])[1].to_dense(), rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(
        1000 * plain.written(0, 1), other.written(0, 1), rtol=1e-3, atol=1e-2
    )
    torch.testing.assert_close(plain.written(0, 2), other.written(0, 2), rtol=1e-3, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["disk", "stream"])
def test_it_trains_from_disk_and_from_a_stream(where: str, tmp_path: Path) -> None:
    model = sn.load_model("tiny-gpt")
    names = ["mlp_in.0", "mlp_in.1", "mlp_out.0", "mlp_out.1"]
    texts = ["The cat sat in the garden.", "Tom walked to the castle."]
    data: Any
    if where == "disk":
        acts = sn.capture(model, texts, names, store=tmp_path / "acts", progress=False)
        data = ([acts[n] for n in names[:2]], [acts[n] for n in names[2:]])
    else:
        data = sn.stream(model, texts, names, buffer=16)
    c = build(widths=[128, 128])
    sn.train(c, data, steps=2, batch_size=8, progress=False)
    assert c.hook_point == "mlp_in.0 + mlp_in.1"
    assert c.target_hook_point == "mlp_out.0 + mlp_out.1"


def test_rows_of_other_tokens_are_refused_with_the_first_that_differs() -> None:
    model = sn.load_model("tiny-gpt")
    names = ["mlp_in.0", "mlp_in.1", "mlp_out.0", "mlp_out.1"]
    a = list(sn.capture(model, ["The cat sat."], names, progress=False).values())
    b = list(sn.capture(model, ["The dog sat."], names, progress=False).values())
    c = build(widths=[128, 128])
    for data in (
        (a[:2], [a[2], b[3]]),
        (a[:2], [a[2], a[3][:-1]]),
        ([a[0], a[1][[1, 0, 2]]], a[2:]),
    ):
        with pytest.raises(
            ValueError, match=r"sites must hold the same tokens, but row \d is"
        ) as caught:
            sn.train(c, data, steps=1, progress=False)
        assert "mlp_" in str(caught.value)


def test_k_changes_for_all_layers() -> None:
    c, (xs, ys) = build(), layers(50)
    c.initialise((xs, ys))
    assert [int(z.l0.max()) for z in c.encode(xs, k=1)] == [1] * N_LAYERS
    c.k = 4
    assert c.settings()["k"] == 4
    assert max(int(z.l0.max()) for z in c.encode(xs)) == 4
