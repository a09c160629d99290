"""TopAFA: an input uses atoms until its code is as long as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.architectures import NormProx
from sae_nb_studies.architectures import TopAFA

D, N = 12, 48


@pytest.fixture
def rows() -> Tensor:
    return 5 + 2 * torch.randn(200, D, generator=torch.Generator().manual_seed(1))


def started(rows: Tensor, **settings: Any) -> TopAFA:
    sae = TopAFA(D, N, generator=torch.Generator().manual_seed(0), **settings)
    sae.initialise(rows, torch.Generator().manual_seed(0))
    return sae


def by_hand(pre_codes: Tensor, length: float, k_max: int) -> set[int]:
    order = [int(j) for j in pre_codes.argsort(descending=True) if pre_codes[j] > 0][:k_max]
    missed = [abs(float(pre_codes[order[:k]].norm()) - length) for k in range(1, len(order) + 1)]
    return set(order[: missed.index(min(missed)) + 1]) if order else set()


@pytest.mark.parametrize("k_max", [1, 5, N])
def test_the_number_of_atoms_is_the_one_that_misses_least(k_max: int) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(60, D, generator=generator, dtype=torch.float64)
    weight = torch.randn(N, D, generator=generator, dtype=torch.float64) / D**0.5
    bias, centre = torch.randn(N, generator=generator).double(), x[0] / 3
    x[3] = centre  # of length 0: one atom all the same
    pre_codes, lengths = (x - centre) @ weight.T + bias, (x - centre).norm(dim=1)
    expected = [
        by_hand(u, float(length), k_max) for u, length in zip(pre_codes, lengths, strict=True)
    ]
    for codes in (
        NormProx(k_max).of_affine(x, weight, bias, centre),
        NormProx(k_max, lengths)(pre_codes),
    ):
        dense = codes.to_dense()
        assert [set(row.nonzero().flatten().tolist()) for row in dense] == expected
        assert torch.allclose(dense[dense != 0], pre_codes[dense != 0])
    assert len({len(row) for row in expected}) > (k_max > 1)


def test_a_row_without_a_positive_pre_code_has_no_atom() -> None:
    pre_codes = torch.tensor([[-1.0, -2.0], [3.0, 4.0]])
    assert NormProx(2, torch.tensor([1.0, 5.0]))(pre_codes).l0.tolist() == [0, 2]
    assert NormProx(2, torch.ones(2))(-pre_codes.abs()).nnz == 0


def test_orthonormal_atoms_are_taken_until_nothing_is_left() -> None:
    """With E = D orthonormal and x − b a sum of few of them: exactly those, ‖z‖ = ‖x − b‖, nothing is missed."""
    sae = TopAFA(D, D, norm_weight=1.0)
    atoms, _ = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        sae.operator.weight.copy_(atoms)
        sae.encoder.weight.copy_(atoms)
        sae.pre_bias.fill_(0.3)
    z = torch.rand(40, D, generator=torch.Generator().manual_seed(1)) + 0.5
    z *= torch.rand(40, D, generator=torch.Generator().manual_seed(2)) < 0.3
    z[:, 0] += 1.0
    x = z @ atoms + sae.bias.detach()
    assert torch.allclose(sae.encode(x).to_dense(), z, atol=1e-4)
    loss = sae.training_loss(x, torch.zeros(D, dtype=torch.long), 10, 0.0)
    assert float(loss.parts["norms"]) < 1e-8
    assert sae.bound(x) == 0.0


def test_the_norms_are_part_of_the_loss(rows: Tensor) -> None:
    """Mean (‖z‖ − ‖x − b‖)² in units of the variance, times its weight; its gradient is that."""
    totals = {}
    for weight in (0.0, 2.0):
        sae = started(rows, norm_weight=weight)
        loss = sae.training_loss(rows, torch.zeros(N, dtype=torch.long), 10, 0.0)
        codes = sae.encode(rows).to_dense()
        missed = (codes.norm(dim=1) - (rows - sae.bias).norm(dim=1)).square().mean()
        expected = missed / (rows - rows.mean(dim=0)).square().sum(dim=1).mean()
        assert torch.allclose(loss.parts["norms"], expected, rtol=1e-4)
        assert float(loss.parts["norms"]) > 0
        totals[weight] = float(loss.total.detach())
        if weight == 0:
            (expected * 2).backward()
            alone = sae.encoder.weight.grad.clone()
            sae.zero_grad()
        loss.total.backward()
        totals[f"gradient {weight}"] = sae.encoder.weight.grad.clone()
    assert totals[2.0] - totals[0.0] == pytest.approx(2 * float(expected.detach()), rel=1e-4)
    change = totals["gradient 2.0"] - totals["gradient 0.0"]
    assert torch.allclose(change, alone, rtol=1e-3, atol=1e-5)


def test_bound_counts_inputs_for_which_k_max_is_too_few(rows: Tensor) -> None:
    """All of them with one atom, none with every atom and long pre-codes; as the definition says between."""
    sae = started(rows, k_max=5)
    codes = sae.encode(rows).to_dense()
    short = codes.norm(dim=1) < (rows - sae.bias).norm(dim=1)
    expected = float((short & ((codes != 0).sum(dim=1) == 5)).double().mean())
    assert sae.bound(rows) == pytest.approx(expected)
    assert 0 < expected <= 1
    with torch.no_grad():
        sae.encoder.weight.mul_(100)
    assert sae.bound(rows) == 0.0
    assert (sae.encode(rows).l0 == 1).all()
