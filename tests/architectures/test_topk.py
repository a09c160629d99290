"""TopK: what it finds, what it costs in memory, and how dead atoms come back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb import kernels
from sae_nb.architectures import AbsTopK, TopK
from sae_nb.architectures._revival import Dead, auxk_loss
from sae_nb.architectures.parts._proxes import FEW
from sae_nb.codes import SparseCodes


def topk(d_in: int, n_atoms: int, k: int, seed: int = 0, **settings: Any) -> TopK:
    return TopK(d_in, n_atoms, k, generator=torch.Generator().manual_seed(seed), **settings)


@torch.no_grad()
def with_dictionary(dictionary: Tensor, k: int) -> TopK:
    sae = topk(dictionary.shape[1], len(dictionary), k)
    sae.operator.weight.copy_(dictionary)
    sae.encoder.weight.copy_(dictionary)
    return sae


def planted(dictionary: Tensor, k: int, rows: int = 200) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    chosen = torch.rand(rows, len(dictionary), generator=generator).topk(k, dim=1).indices
    strengths = 1 + torch.rand(rows, k, generator=generator)
    return torch.zeros(rows, len(dictionary)).scatter(1, chosen, strengths)


def test_an_orthonormal_dictionary_is_decoded_exactly() -> None:
    dictionary, _ = torch.linalg.qr(torch.randn(32, 32))
    z = planted(dictionary, 5)
    sae = with_dictionary(dictionary, 5)
    codes = sae.encode(z @ dictionary)
    assert torch.equal(codes.to_dense() != 0, z != 0)
    assert torch.allclose(codes.to_dense(), z, atol=1e-5)
    assert torch.allclose(sae(z @ dictionary), z @ dictionary, atol=1e-5)


def test_a_smaller_k_keeps_the_strongest() -> None:
    dictionary, _ = torch.linalg.qr(torch.randn(32, 32))
    z = planted(dictionary, 5)
    sae = with_dictionary(dictionary, 5)
    few, all_of_them = sae.encode(z @ dictionary, k=2), sae.encode(z @ dictionary, k=32)
    assert few.l0.tolist() == [2] * len(z)
    strongest = torch.zeros_like(z).scatter(1, z.topk(2).indices, z.topk(2).values)
    assert torch.allclose(few.to_dense(), strongest, atol=1e-5)
    # Rounding leaves a few positive crumbs beside the five.
    assert torch.allclose(all_of_them.to_dense(), z, atol=1e-5)
    assert sae.k == 5


def test_k_equal_to_n_atoms_is_a_relu() -> None:
    sae, x = topk(8, 24, 24), torch.randn(40, 8)
    pre_codes = sae.encoder(x - sae.bias, sae.scaling.scale)
    assert torch.allclose(sae.encode(x).to_dense(), pre_codes.relu(), atol=1e-6)


def test_of_twin_atoms_the_first_is_used() -> None:
    dictionary = normalize(torch.randn(6, 4), dim=1).repeat(2, 1)
    codes = with_dictionary(dictionary, 1).encode(dictionary[:6])
    assert codes.atoms.tolist() == list(range(6))


def test_initialisation_reads_centre_scale_and_gain() -> None:
    """The bias is a median that outliers do not move; the first loss is below that of a constant."""
    generator = torch.Generator().manual_seed(0)
    x = 50 + 9 * torch.randn(4000, 16, generator=generator)
    x[:40] += 1e4
    sae = topk(16, 64, 8)
    sae.initialise(x, generator)
    assert torch.allclose(sae.bias, torch.full((16,), 50.0), atol=1)
    assert float((x.mean(dim=0) - 50).abs().min()) > 50
    clean = 50 + 9 * torch.randn(4000, 16, generator=generator)
    sae = topk(16, 64, 8)
    sae.initialise(clean, generator)
    loss = sae.training_loss(clean, torch.zeros(64, dtype=torch.long), 1, 0.0)
    # Without the gain the eight correlated atoms overshoot: 2.5 instead of 0.5.
    assert float(loss.parts["reconstruction"]) < 0.75


def dense_auxk(sae: TopK, x: Tensor, residual: Tensor, dead: Tensor, aux_k: int) -> Tensor:
    pre_codes = sae.encoder(x - sae.bias, sae.scaling.scale)
    masked = torch.full_like(pre_codes, -torch.inf)
    masked[:, dead] = pre_codes[:, dead]
    values, atoms = masked.topk(min(aux_k, len(dead)), dim=1)
    z = torch.zeros_like(pre_codes).scatter(1, atoms, values.relu())
    error = (residual - z @ sae.operator.weight).square().sum()
    spread = (residual - residual.mean(dim=0)).square().sum()
    return error / spread * min(len(dead) / aux_k, 1.0)


@pytest.mark.parametrize(("n_dead", "aux_k"), [(3, 8), (40, 8), (300, 8), (300, 200)])
def test_auxk_equals_its_dense_definition(n_dead: int, aux_k: int) -> None:
    sae, x = topk(16, 400, 8).double(), torch.randn(50, 16).double()
    sae.initialise(x, None)
    dead = torch.randperm(400)[:n_dead].sort().values
    residual = (x - sae(x)).detach()
    losses, gradients = [], []
    for fast in (True, False):
        if fast:
            loss = auxk_loss(
                x,
                residual,
                sae.encoder,
                sae.operator.atoms()[dead],
                dead=Dead(dead),
                aux_k=aux_k,
                centre=sae.bias,
                scale=sae.scaling.scale,
            )
        else:
            loss = dense_auxk(sae, x, residual, dead, aux_k)
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, list(sae.parameters())))
    assert torch.allclose(*losses)
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-10)


def test_auxk_moves_dead_atoms_only() -> None:
    """Living atoms get no gradient from it; a perfect reconstruction gives zero, not NaN."""
    sae, x = topk(16, 60, 8), torch.randn(50, 16)
    dead = torch.tensor([3, 17, 59])
    arguments: dict[str, Any] = {"dead": Dead(dead), "aux_k": 8, "centre": sae.bias.detach()}
    arguments["scale"] = sae.scaling.scale
    auxk_loss(
        x, x - sae(x).detach(), sae.encoder, sae.operator.atoms()[dead], **arguments
    ).backward()
    for weight in (sae.operator.weight, sae.encoder.weight):
        moved = weight.grad.abs().sum(dim=1).nonzero().flatten()
        assert set(moved.tolist()) <= set(dead.tolist())
        assert len(moved) > 0
    sae.zero_grad()
    loss = auxk_loss(x, torch.zeros_like(x), sae.encoder, sae.operator.atoms()[dead], **arguments)
    loss.backward()
    assert loss.item() == 0
    assert bool(torch.isfinite(sae.encoder.weight.grad).all())


def test_auxk_costs_nothing_while_all_atoms_live() -> None:
    x, silent = torch.randn(20, 16), torch.full((60,), 99)
    alive = topk(16, 60, 8).training_loss(x, silent, 100, 0.0)
    off = topk(16, 60, 8, aux_weight=0.0).training_loss(x, silent, 1, 0.0)
    assert alive.parts["auxiliary"].item() == off.parts["auxiliary"].item() == 0
    on = topk(16, 60, 8).training_loss(x, silent, 99, 0.0)
    assert on.parts["auxiliary"].item() > 0
    assert on.total.item() == pytest.approx(
        on.parts["reconstruction"].item() + on.parts["auxiliary"].item() / 32
    )


def test_it_works_inside_a_trace() -> None:
    import nnsight

    network = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Linear(16, 3))
    model = nnsight.NNsight(network)
    sae, x = topk(16, 60, 8), torch.randn(5, 16)
    with torch.no_grad(), model.trace(x):
        codes = sae.encode(model[0].output)
        model[0].output[:] = sae.decode(codes)
        values = codes.values.save()
        out = model.output.save()
    with torch.no_grad():
        expected = sae.encode(network[0](x))
        assert torch.equal(values, expected.values)
        assert torch.allclose(out, network[1](sae.decode(expected)), atol=1e-6)


@pytest.mark.parametrize("rows", ["spread", "tied", "mostly negative", "zero"])
@pytest.mark.parametrize("architecture", [TopK, AbsTopK])
def test_few_rows_are_encoded_as_many_are(architecture: Any, rows: str) -> None:
    """One loop for a few rows, tiles and threads for many: codes, ties, decoding and gradients agree."""
    sae = architecture(6, 20, 3, generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        sae.pre_bias.copy_(torch.linspace(-0.1, 0.1, 6))
        sae.encoder.bias.fill_(-1.5 if rows == "mostly negative" else 0.1)
        if rows == "tied":
            sae.encoder.weight[10:] = sae.encoder.weight[:10]
        if rows == "zero":
            x.zero_()
    many = FEW // 20 + 1
    results = []
    for batch in (x, x.repeat(many // 4 + 1, 1)):
        batch.requires_grad_()
        codes = sae.encode(batch)
        few = codes[:4]
        wanted = (sae.decode(few) ** 2).sum() + few.values.square().sum()
        grads = torch.autograd.grad(wanted, [batch, *sae.parameters()], allow_unused=True)
        results.append((few, [grads[0][:4], *grads[1:]]))
    (few, grads), (of_many, expected) = results
    assert few.offsets.tolist() == of_many.offsets.tolist()
    assert few.atoms.tolist() == of_many.atoms.tolist()
    assert few.atoms.dtype == of_many.atoms.dtype
    assert torch.allclose(few.values, of_many.values, atol=1e-6)
    for one, other in zip(grads, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=1e-5)


def test_few_rows_are_decoded_as_the_loops_do() -> None:
    """Rows without an entry are the bias alone."""
    codes = SparseCodes.from_dense(
        torch.tensor([[0.0, 2.0, 1.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    )
    atoms, bias = torch.randn(3, 5), torch.randn(5)
    for one in (codes, codes.only(codes.values < 0)):
        expected = kernels.decode(one, atoms, bias, backend="cpu")
        assert torch.allclose(kernels.decode(one, atoms, bias), expected, atol=1e-6)
