"""Selection over a batch and by threshold: exactly what sorting everything would find, in tiles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from sae_nb.kernels import (
    _cpu as cpu,
    _dense as dense,
    _reference as reference,
    batch_topk_encode,
    threshold_encode,
)
from sae_nb.kernels._backends import Entries, PreCodes


def brute_force(pre_codes: Tensor, n_kept: int) -> Tensor:
    """Sort every entry in Python: strength first, then the earlier row, then the lower atom."""
    z, flat = torch.zeros_like(pre_codes).flatten(), pre_codes.flatten().tolist()
    for place in sorted(range(len(flat)), key=lambda e: (-flat[e], e))[:n_kept]:
        z[place] = max(flat[place], 0.0)
    return z.view_as(pre_codes)


def spread(entries: Entries, n_atoms: int) -> Tensor:
    z = torch.zeros(len(entries.offsets) - 1, n_atoms, dtype=entries.values.dtype)
    rows = torch.arange(len(z)).repeat_interleave(entries.offsets.diff())
    z[rows, entries.atoms.long()] = entries.values
    return z


def hard_batches() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ramp = torch.arange(1.0, 1 + 30 * 70).view(30, 70)
    one_row = torch.zeros(30, 70)
    one_row[17] = torch.rand(70, generator=generator)
    return {
        "random": torch.randn(30, 70, generator=generator),
        "ascending": ramp,
        "descending": -ramp + 30 * 70,
        "all equal": torch.full((30, 70), 2.0),
        "few values": torch.randint(-2, 3, (30, 70), generator=generator).float(),
        "all negative": -torch.rand(30, 70, generator=generator) - 0.1,
        "all zero": torch.zeros(30, 70),
        "one greedy row": one_row,
        "one positive": torch.eye(70)[:30] - 0.5,
        "tiny and huge": torch.randn(30, 70, generator=generator).exp().pow(9),
    }


@pytest.mark.parametrize(
    "n_kept", [1, 30, *(pytest.param(n, marks=pytest.mark.slow) for n in (300, 2100))]
)
@pytest.mark.parametrize("tile", [10**6, 4 * 70])
def test_batch_selection_equals_sorting(
    primitives: Any, n_kept: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ties go to earlier rows, then lower atoms, in one tile, in several, and row by row."""
    for module in (cpu, dense):
        monkeypatch.setattr(module, "TILE_ENTRIES", tile)
    for name, pre_codes in hard_batches().items():
        found = primitives.batch_topk(PreCodes(pre_codes, torch.eye(70)), n_kept)
        assert torch.equal(spread(found, 70), brute_force(pre_codes, n_kept)), name
        assert int(found.offsets[-1]) == min(n_kept, int((pre_codes > 0).sum())), name
        codes = reference.batch_topk(pre_codes, n_kept)
        assert torch.equal(codes.to_dense(), brute_force(pre_codes, n_kept)), name


def test_a_bound_from_blocks_is_just_below_a_blocks_maximum() -> None:
    """Blocks of 32 with maxima 31, 63 and 95, and a rest that is no block."""
    flat = torch.arange(100.0)
    for n_kept, maximum in ((1, 95), (2, 63), (3, 31)):
        bound = dense.lower_bound(flat, n_kept)
        assert bound == torch.nextafter(torch.tensor(float(maximum)), torch.tensor(0.0))
    assert dense.lower_bound(flat, 4) == -torch.inf


@pytest.mark.parametrize("tile", [10**6, 4 * 70, 70])
def test_threshold_selection_equals_a_mask(
    primitives: Any, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strictly above, atom by atom, negative entries where a threshold is negative."""
    for module in (cpu, dense):
        monkeypatch.setattr(module, "TILE_ENTRIES", tile)
    thresholds = torch.randint(-2, 3, (70,), generator=torch.Generator().manual_seed(1)).float()
    for name, pre_codes in hard_batches().items():
        chosen = pre_codes > thresholds
        found = primitives.above(PreCodes(pre_codes, torch.eye(70)), thresholds)
        assert found.offsets.diff().tolist() == chosen.sum(dim=1).tolist(), name
        assert torch.equal(spread(found, 70), pre_codes * chosen), name


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 12),
    n_atoms=st.integers(1, 80),
    share=st.floats(0.01, 1.0),
    distinct=st.integers(2, 50),
    seed=st.integers(0, 2**16),
)
def test_any_batch_is_selected_like_the_reference(
    rows: int, n_atoms: int, share: float, distinct: int, seed: int
) -> None:
    """Whole numbers, so that ties abound: the same entries in the same order."""
    generator = torch.Generator().manual_seed(seed)
    pre_codes = torch.randint(-distinct, distinct, (rows, n_atoms), generator=generator).float()
    k = max(share * n_atoms, 1 / rows)
    identity = torch.eye(n_atoms)
    found = batch_topk_encode(pre_codes, identity, k=k, backend="cpu")
    expected = batch_topk_encode(pre_codes, identity, k=k, backend="reference")
    for part in ("values", "atoms", "offsets"):
        assert torch.equal(getattr(found, part), getattr(expected, part))


def test_selections_do_not_depend_on_the_number_of_threads() -> None:
    """Nor on who else runs. Of whole numbers, so that no sum is rounded."""
    x, weight = (torch.randint(-9, 10, (n, 16)).float() for n in (500, 400))
    threads, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            found.append(
                (
                    batch_topk_encode(x, weight, k=30),
                    threshold_encode(x, weight, thresholds=torch.linspace(0, 9, 400)),
                )
            )
    finally:
        torch.set_num_threads(threads)
    for alone, together in zip(*found, strict=True):
        assert torch.equal(alone.atoms, together.atoms)
        assert torch.equal(alone.values, together.values)


def test_a_nan_is_never_selected(primitives: Any) -> None:
    """It loses every comparison: no index goes astray, and finite rows are still searched."""
    pre_codes = torch.rand(3, 100) + 0.5
    pre_codes[1] = torch.nan
    given = PreCodes(pre_codes, torch.eye(100))
    # The product with the identity spreads the NaN over its row alone.
    found = primitives.above(given, torch.ones(100))
    assert bool((found.atoms < 100).all())
    assert found.offsets.diff().tolist()[1] == 0
    assert torch.equal(spread(found, 100)[[0, 2]], (pre_codes * (pre_codes > 1))[[0, 2]])


@pytest.mark.parametrize(("k", "nnz"), [(0.5, 5), (0.01, 1), (1, 10), (1.26, 13), (7, 70)])
def test_a_batch_keeps_rows_times_k_rounded_and_one_at_least(k: float, nnz: int) -> None:
    """Ten rows of seven numbers above 0."""
    x = torch.rand(10, 7, generator=torch.Generator().manual_seed(0)) + 0.1
    for backend in ("cpu", "reference"):
        assert batch_topk_encode(x, torch.eye(7), k=k, backend=backend).nnz == nnz
    with pytest.raises(ValueError, match="`k`"):
        batch_topk_encode(x, torch.eye(7), k=7.1)


@pytest.mark.parametrize("n_atoms", [255, 256, 261, 300])
def test_the_largest_of_a_row_lie_in_the_blocks_with_the_largest_maxima(n_atoms: int) -> None:
    """Eight blocks of 32 for two numbers, and what is no block."""
    u = torch.randn(40, n_atoms, generator=torch.Generator().manual_seed(0))
    u[0, -2:] = torch.tensor([9.0, 8.0])
    u[1, 64:66] = 9.0
    values, places = dense.largest(u, 2)
    expected = u.sort(dim=1, descending=True)
    assert torch.equal(values.sort(dim=1, descending=True).values, expected.values[:, :2])
    assert torch.equal(places.sort(dim=1).values, expected.indices[:, :2].sort(dim=1).values)


def test_tiles_hold_as_many_rows_as_entries_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "TILE_ENTRIES", 100)
    device = torch.device("cpu")
    assert list(dense._row_tiles(7, 30, device)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(dense._row_tiles(2, 300, device)) == [slice(0, 1), slice(1, 2)]
