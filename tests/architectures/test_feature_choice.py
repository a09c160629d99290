"""FeatureChoice: every atom has its share of a batch, and a threshold of its own at inference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import ColumnTopKProx
from sae_nb_studies.architectures import FeatureChoice
from sae_nb_studies.architectures._zipf import zipf_rates

D, N, K = 12, 48, 6


@pytest.fixture
def rows() -> Tensor:
    return 5 + 2 * torch.randn(200, D, generator=torch.Generator().manual_seed(1))


def started(rows: Tensor, **settings: Any) -> FeatureChoice:
    sae = FeatureChoice(D, N, K, generator=torch.Generator().manual_seed(0), **settings)
    sae.initialise(rows, None)
    return sae.train()


def counts_of(codes: Any) -> list[int]:
    return torch.bincount(codes.atoms.long(), minlength=N).tolist()


def test_every_atom_keeps_its_share_and_the_largest(rows: Tensor) -> None:
    """B·k / n_atoms rows each, and no larger pre-code of the same atom was left out."""
    sae = started(rows)
    codes = sae.encode(rows)
    assert counts_of(codes) == [200 * K // N] * N
    pre_codes = sae.encoder(rows - sae.bias, sae.scaling.scale).detach()
    dense = codes.to_dense().detach()
    kept = dense != 0
    assert torch.allclose(dense[kept], pre_codes[kept], rtol=1e-4, atol=1e-4)
    smallest = dense.masked_fill(~kept, torch.inf).amin(dim=0)
    assert bool((pre_codes.masked_fill(kept, -torch.inf).amax(dim=0) <= smallest + 1e-4).all())
    assert len(set(codes.l0.tolist())) > 2  # inputs get what chooses them


@pytest.mark.parametrize("exponent", [0.0, 0.8, 2.0])
def test_sparse_and_dense_choose_alike(exponent: float) -> None:
    """By groups of atoms with the roles exchanged, and by sorting every column; gradients too."""
    generator = torch.Generator().manual_seed(3)
    prox = ColumnTopKProx(zipf_rates(N, K, exponent, 1.0))
    x = torch.randn(70, D, generator=generator, dtype=torch.float64)
    found = []
    for dense in (False, True):
        parts = [torch.randn(n, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
                 for i, n in enumerate((N * D, N, D))]  # fmt: skip
        weight, bias, centre = (part.requires_grad_() for part in parts)
        matrix = weight.view(N, D)
        if dense:
            codes = prox((x - centre) @ matrix.T + bias)
        else:
            codes = prox.of_affine(x, matrix, bias, centre)
        codes.values.square().sum().backward()
        found.append((codes.to_dense().detach(), weight.grad, bias.grad, centre.grad))
    assert int((found[0][0] != 0).sum()) > 300
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs)


def test_what_is_looked_at_stays_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """One atom in every row, the others rare: less than four times the entries kept are ever stored."""
    from sae_nb.architectures.parts import _largest as proxes

    looked: list[int] = []
    encode = proxes.kernels.topk_encode

    def counted(*args: Any, **kwargs: Any) -> Any:
        codes = encode(*args, **kwargs)
        looked.append(codes.nnz)
        return codes

    monkeypatch.setattr(proxes.kernels, "topk_encode", counted)
    x = 1 + torch.rand(256, D, generator=torch.Generator().manual_seed(0))
    prox = ColumnTopKProx(zipf_rates(N, 2, 1.5, 0.0))
    codes = prox.of_affine(x, torch.ones(N, D), None, None)
    assert float(prox.rates.max()) > 0.8
    assert codes.nnz == int(prox.counts(256).sum())
    assert sum(looked) < 4 * codes.nnz < 256 * N


def test_rates_add_up_fall_and_stay_below_one() -> None:
    """Uniform without an exponent; what is above 1 goes to the others."""
    assert torch.allclose(zipf_rates(N, K, 0.0, 3.0), torch.full((N,), K / N).double())
    for exponent, offset in ((0.5, 0.0), (1.0, 2.0), (3.0, 0.0)):
        rates = zipf_rates(N, K, exponent, offset)
        assert float(rates.sum()) == pytest.approx(K)
        assert float(rates.max()) <= 1.0
        assert bool((rates.diff() <= 0).all())
    free = zipf_rates(N, K, 1.0, 2.0)
    assert float(free[0] / free[5]) == pytest.approx(8 / 3)
    assert zipf_rates(4, 4, 1.0, 0.0).tolist() == [1.0] * 4


def test_counts_add_up_to_the_budget_and_none_is_zero() -> None:
    for rows in (64, 100, 999):
        counts = ColumnTopKProx(torch.full((N,), K / N)).counts(rows)
        assert int(counts.sum()) == round(rows * K)
    assert ColumnTopKProx(torch.full((N,), 0.01)).counts(5).tolist() == [1] * N
    assert ColumnTopKProx(torch.ones(N)).counts(5).tolist() == [5] * N


def test_at_inference_each_atom_has_its_threshold(rows: Tensor) -> None:
    """The rates of the first rows come out again, row by row; another k is fitted, not asked for."""
    sae = started(rows).eval()
    assert counts_of(sae.encode(rows)) == [25] * N
    alone = torch.cat([sae.encode(row).to_dense()[None] for row in rows[:20]])
    assert torch.equal(alone != 0, sae.encode(rows[:20]).to_dense() != 0)
    assert sae.fit_threshold(rows, k=3.0) == pytest.approx(float(sae.threshold.mean()))
    assert sum(counts_of(sae.encode(rows))) == 3 * 200
    with pytest.raises(ValueError, match=r"`k` must be None for FeatureChoice.*fit_threshold"):
        sae.encode(rows, k=3)


def test_thresholds_follow_the_batches(rows: Tensor) -> None:
    """Each by a running mean of what its atom kept last; of an atom with room to spare, towards 0."""
    sae, silent = started(rows), torch.zeros(N, dtype=torch.long)
    before = sae.threshold.clone()
    dense = sae.training_loss(2 * rows, silent, 1, 0.0).codes.to_dense()
    smallest = dense.masked_fill(dense == 0, torch.inf).amin(dim=0)
    full = (dense != 0).sum(dim=0) == 25
    expected = 0.9 * before + 0.1 * torch.where(full, smallest, 0.0)
    assert torch.allclose(sae.threshold, expected, rtol=1e-4)
    with torch.no_grad():
        sae.encoder.bias[0] = -1e6
    sae.training_loss(rows, silent, 1, 0.0)
    assert float(sae.threshold[0]) == pytest.approx(0.9 * float(expected[0]), rel=1e-4)


def test_shares_by_zipf_are_those_of_the_atoms(rows: Tensor) -> None:
    sae = started(rows, exponent=0.5, offset=2.0)
    expected = (sae.target_rates * 200).tolist()
    assert all(abs(n - m) <= 1 for n, m in zip(counts_of(sae.encode(rows)), expected, strict=True))
