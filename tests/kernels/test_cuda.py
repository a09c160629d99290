"""What a GPU computes by torch alone, and on a device the whole path against the reference."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

import sae_nb.kernels
from sae_nb.architectures import TopK
from sae_nb.codes import SparseCodes
from sae_nb.kernels import (
    _cuda as cuda,
    batch_topk_encode,
    decode,
    nested_squared_error,
    paths_taken,
    per_entry,
    squared_error,
    threshold_encode,
    topk_encode,
)
from sae_nb.kernels._backends import PreCodes, has_triton, is_exact
from sae_nb.kernels._dense import BLOCK, Dense, largest
from sae_nb.training import TrainConfig, train


def test_training_holds_the_precision_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of a run with precision "float32" forbids bf16, and nothing after the run does."""
    seen = []
    take = TopK.training_loss

    def watched(self: TopK, *inputs: Any) -> Any:
        seen.append(is_exact())
        return take(self, *inputs)

    monkeypatch.setattr(TopK, "training_loss", watched)
    for wanted in ("float32", "auto"):
        config = TrainConfig(steps=2, batch_size=8, precision=wanted)
        train(TopK(d_in=4, n_atoms=8, k=2), torch.randn(16, 4), config, progress=False)
    assert seen == [True, True, False, False]
    assert not is_exact()


@pytest.mark.parametrize("n_atoms", [4 * 3 * BLOCK, 1000, 40])
def test_the_largest_of_a_row_are_found_among_few_blocks(n_atoms: int) -> None:
    """The same values as sorting whole rows, at places that hold them; a ragged end counts, NaN is found."""
    u = torch.randn(50, n_atoms, generator=torch.Generator().manual_seed(0))
    u[0, -1], u[1], u[2, 5] = 9.0, -1.0, torch.nan
    values, places = largest(u, 3)
    expected = u.sort(dim=1, descending=True).values[:, :3]
    assert torch.equal(values.sort(dim=1, descending=True).values[3:], expected[3:])
    assert torch.equal(u.gather(1, places)[3:], values[3:])
    assert places[0].max() == n_atoms - 1
    assert (values[1] == -1).all()
    assert values[2].isnan().any()
    assert all(len(set(row)) == 3 for row in places.tolist())


def test_dots_of_entries_are_read_where_they_lie() -> None:
    """Equal to gathering both sides; rows without an entry, and no entry at all."""
    generator = torch.Generator().manual_seed(0)
    g, table = torch.randn(4, 6, generator=generator), torch.randn(200, 6, generator=generator)
    full = torch.zeros(4, 200)
    full[1, [3, 199]] = full[3, [0, 7]] = 1.0
    for z in (full, torch.zeros(4, 200)):
        support = SparseCodes.from_dense(z).support
        expected = (g[support.rows] * table[support.atoms.long()]).sum(dim=1)
        assert torch.allclose(cuda.Sparse().dots(g, support, table), expected, atol=1e-6)


def test_bf16_gradients_are_close() -> None:
    """Two decimal digits, as bf16 has; the codes decode the way they were made."""
    from sae_nb.kernels import _autograd as autograd

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(80, 32, generator=generator)
    weight = torch.randn(60, 32, generator=generator)
    gradients = []
    for primitives in (Dense(), Dense(torch.bfloat16)):
        encoder, atoms = weight.clone().requires_grad_(), weight.clone().requires_grad_()
        pre_codes = PreCodes(x, encoder)
        codes = autograd.chosen(primitives, pre_codes, primitives.topk(pre_codes.detach(), 60))
        assert codes.support.path is primitives
        inputs = (codes.values, atoms, None, x, codes.support, primitives)
        error, *_ = autograd.SquaredError.apply(*inputs)
        error.backward()
        gradients.append(torch.cat([encoder.grad, atoms.grad]))
    exact, rough = gradients
    assert 1e-5 < float((rough - exact).norm() / exact.norm()) < 2e-2


@pytest.mark.parametrize("missing", ["triton", "bf16"])
def test_where_triton_does_not_run_torch_does_and_says_why(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card without Triton, and one that is too old for its kernels."""
    device = torch.device("cpu" if missing == "triton" else "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "sae_nb.kernels._triton", raising=False)
    monkeypatch.delattr(sae_nb.kernels, "_triton", raising=False)
    has_triton.cache_clear()
    try:
        assert not has_triton(device)
        path = paths_taken()["triton"]
        assert path.chosen == "torch instead"
        assert {"triton": "triton", "bf16": "compute capability 8.0"}[missing] in path.reason
    finally:
        has_triton.cache_clear()


def close(ours: torch.Tensor, reference: torch.Tensor) -> bool:
    """To a hundred times the rounding of the largest: the sums of an entry may cancel, its terms' errors do not."""
    return float((ours - reference).abs().max()) <= 1e-5 * float(reference.abs().max())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_gpu_codes_and_gradients_equal_the_reference() -> None:
    """In fp32 on the device, and repeated bit for bit under deterministic algorithms."""
    torch.use_deterministic_algorithms(True)
    try:
        results = []
        for backend in ("cuda", "cuda", "reference"):
            generator = torch.Generator().manual_seed(0)
            x, weight = (
                torch.randn(*s, generator=generator).cuda() for s in ((256, 64), (512, 64))
            )
            weight.requires_grad_()
            codes = topk_encode(x, weight, k=8, backend=backend)
            x_hat = decode(codes, weight, backend=backend)
            error, *_ = squared_error(codes, weight, None, x, backend=backend)
            (error + x_hat.sum()).backward()
            results.append((codes.to_dense().detach(), weight.grad))
    finally:
        torch.use_deterministic_algorithms(False)
    for ours, again, reference in zip(*results, strict=True):
        assert torch.equal(ours, again)
        assert close(ours, reference)


SELECTIONS: dict[str, Any] = {
    "batch": lambda x, w, how: batch_topk_encode(x, w, k=7.5, backend=how),
    "signed": lambda x, w, how: topk_encode(x, w, k=8, signed=True, backend=how),
    "threshold": lambda x, w, how: threshold_encode(
        x, w, thresholds=torch.linspace(15, 25, len(w), device=x.device), backend=how
    ),
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("selection", list(SELECTIONS))
def test_gpu_selections_and_nested_errors_equal_the_reference(selection: str) -> None:
    """Every selection, decoded by nested prefixes, with its gradients, in fp32 on the device."""
    torch.use_deterministic_algorithms(True)
    try:
        results = []
        for backend in ("cuda", "cuda", "reference"):
            generator = torch.Generator().manual_seed(0)
            x, weight = (
                torch.randn(*s, generator=generator).cuda() for s in ((256, 64), (512, 64))
            )
            weight.requires_grad_()
            codes = SELECTIONS[selection](x, weight, backend)
            errors, *_ = nested_squared_error(
                codes, weight, None, x, widths=(32, 128, 512), backend=backend
            )
            vector = torch.ones(512, device=x.device, requires_grad=True)
            read = per_entry(vector, codes, backend=backend)
            (errors.sum() + (read * codes.values).sum()).backward()
            results.append((codes.to_dense().detach(), weight.grad, vector.grad))
    finally:
        torch.use_deterministic_algorithms(False)
    for ours, again, reference in zip(*results, strict=True):
        assert torch.equal(ours, again)
        assert close(ours, reference)
