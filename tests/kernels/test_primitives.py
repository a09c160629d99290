"""Sparse sums: the same numbers in every backend, whatever the pattern, and the same bits each time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.kernels import decode, paths_taken, squared_error
from sae_nb.kernels._dense import is_dense


def sparse_code(rows: int, n_atoms: int, density: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, n_atoms, generator=generator)
    share = density * torch.linspace(0, 2, rows)[:, None]
    z[torch.rand(rows, n_atoms, generator=generator) >= share] = 0
    z[rows // 2] = 0
    return z


@pytest.mark.parametrize("density", [0.03, 0.6])
def test_every_sum_is_its_dense_product(
    primitives: Any, density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zD + s, zᵀT, (g Dᵀ) at the entries, column totals and residuals, where tiles are dense seven rows a tile."""
    monkeypatch.setattr("sae_nb.kernels._dense.TILE_ENTRIES", 7 * 70)
    z = sparse_code(90, 70, density).double()
    table, start, rows = (torch.randn(*s).double() for s in ((70, 33), (33,), (90, 33)))
    codes = SparseCodes.from_dense(z)
    values, support = codes.values, codes.support
    where = (support.rows, codes.atoms.long())

    def same(a: Tensor, b: Tensor) -> bool:
        return torch.allclose(a, b, rtol=1e-10, atol=1e-10)

    assert same(primitives.sum_atoms(values, support, table, start), z @ table + start)
    assert same(primitives.sum_atoms(values, support, table), z @ table)
    assert same(primitives.sum_inputs(values, support, rows), z.T @ rows)
    assert same(primitives.dots(rows, support, table), (rows @ table.T)[where])
    assert same(primitives.totals(values, support), z.sum(dim=0))
    assert same(primitives.scaled(values, torch.tensor(-2.0).double()), -2 * values)
    found = primitives.residuals(values, support, table, start, rows)
    left = rows - (z @ table + start)
    assert same(found.x_hat, z @ table + start)
    assert same(found.residual, left)
    assert same(found.squared_error, left.square().sum())
    assert same(found.column_sums, left.sum(dim=0))


def test_codes_without_entries_decode_to_the_bias(primitives: Any) -> None:
    codes = SparseCodes.from_dense(torch.zeros(4, 5))
    table, start = torch.randn(5, 3), torch.randn(3)
    assert torch.equal(
        primitives.sum_atoms(codes.values, codes.support, table, start), start.expand(4, 3)
    )
    assert torch.equal(
        primitives.sum_inputs(codes.values, codes.support, torch.randn(4, 3)), torch.zeros(5, 3)
    )
    assert len(primitives.dots(torch.randn(4, 3), codes.support, table)) == 0


def test_gradients_by_atom_have_the_same_bits_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of threads: one atom is added up by one thread, in the order of rows."""
    monkeypatch.setattr("sae_nb.kernels._cpu.GRAIN", 0)  # as if there were many entries
    x = torch.randn(400, 24)
    threads = torch.get_num_threads()
    gradients = []
    try:
        for n_threads in (1, 2, 2):
            torch.set_num_threads(n_threads)
            codes = SparseCodes.from_dense(sparse_code(400, 60, 0.05))
            dictionary = torch.ones(60, 24).requires_grad_()
            error, *_ = squared_error(codes, dictionary, None, x)
            error.backward()
            gradients.append((error.detach(), dictionary.grad))
    finally:
        torch.set_num_threads(threads)
    for error, gradient in gradients[1:]:
        assert torch.equal(error, gradients[0][0])
        assert torch.equal(gradient, gradients[0][1])


def test_dense_codes_go_through_matrix_products_and_say_so() -> None:
    """Above a tenth of all entries the path is `dense`, with the density as the reason."""
    decode(SparseCodes.from_dense(sparse_code(90, 70, 0.25)), torch.randn(70, 4))
    path = paths_taken()["sum_atoms"]
    assert path.chosen == "dense"
    assert "entries are non-zero" in path.reason
    for n_entries, dense in ((10, False), (11, True)):  # of 5 rows of 20 atoms
        z = torch.zeros(100)
        z[:n_entries] = 1
        assert is_dense("any", SparseCodes.from_dense(z.view(5, 20)).support) == dense
    assert not is_dense("any", SparseCodes.from_dense(torch.zeros(0, 20)).support)
