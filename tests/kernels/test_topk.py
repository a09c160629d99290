"""Selection: exactly the k largest positive pre-codes, whatever their order, ties or size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from sae_nb.kernels import _cpu as cpu, _reference as reference, threshold_encode, topk_encode
from sae_nb.kernels._backends import PreCodes
from sae_nb.kernels._cuda import Sparse


def select(pre_codes: Tensor, k: int, backend: Any = "cpu") -> Tensor:
    identity = torch.eye(pre_codes.shape[1], dtype=pre_codes.dtype)
    return topk_encode(pre_codes, identity, k=k, backend=backend).to_dense()


def brute_force(pre_codes: Tensor, k: int) -> Tensor:
    z = torch.zeros_like(pre_codes)
    for i, row in enumerate(pre_codes.tolist()):
        for j in sorted(range(len(row)), key=lambda j: (-row[j], j))[:k]:
            z[i, j] = max(row[j], 0.0)
    return z


def hard_rows(n_atoms: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ramp = torch.arange(1, n_atoms + 1).float()
    return {
        "random": torch.randn(40, n_atoms, generator=generator),
        "ascending": ramp.expand(3, -1).clone(),
        "descending": ramp.flip(0).expand(3, -1).clone(),
        "all equal": torch.full((2, n_atoms), 2.0),
        "few values": torch.randint(-2, 3, (40, n_atoms), generator=generator).float(),
        "all negative": -torch.rand(4, n_atoms, generator=generator) - 0.1,
        "all zero": torch.zeros(2, n_atoms),
        "one positive": torch.eye(n_atoms)[-1:] - 0.5,
        "last block only": torch.cat([torch.zeros(n_atoms - 40), torch.rand(40)])[None],
        "tiny and huge": torch.randn(20, n_atoms, generator=generator).exp().pow(9),
    }


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("k", [1, 5, 32, 200, 299, 300])
def test_selection_equals_sorting(backend: Any, k: int) -> None:
    """Ties go to the lower atom, negatives to nobody, in every hard case."""
    for name, pre_codes in hard_rows(300).items():
        assert torch.equal(select(pre_codes, k, backend), brute_force(pre_codes, k)), name


@pytest.mark.parametrize(("rows", "entries"), [(64, 64 * 300), (64, 64 * 37), (5, 500)])
def test_tiles_do_not_change_the_selection(
    monkeypatch: pytest.MonkeyPatch, rows: int, entries: int
) -> None:
    """Cutting rows or atoms into tiles gives the same codes as one piece."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-3, 4, (64, 8), generator=generator).float()
    weight = torch.randint(-3, 4, (300, 8), generator=generator).float()
    whole = reference.topk(x @ weight.T, 20).to_dense()
    monkeypatch.setattr(cpu, "ROWS", rows)
    monkeypatch.setattr(cpu, "TILE_ENTRIES", entries)
    assert torch.equal(topk_encode(x, weight, k=20).to_dense(), whole)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(1, 9),
    n_atoms=st.integers(1, 400),
    share=st.floats(0, 1),
    kind=st.sampled_from(["whole", "normal", "from tiny to huge"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    signed=st.booleans(),
    tile=st.integers(1, 2000),
    seed=st.integers(0, 2**16),
)
def test_any_selection_is_that_of_a_stable_sort(
    rows: int, n_atoms: int, share: float, kind: str, dtype: Any, signed: bool, tile: int, seed: int
) -> None:
    """The same atoms in the same order, from tiles of any width; whole numbers tie often."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(rows, n_atoms, generator=generator, dtype=torch.float64)
    u = {"whole": (2 * u).round(), "normal": u, "from tiny to huge": u.sinh().pow(31)}[kind]
    u = u.clamp(*(sign * torch.finfo(dtype).max for sign in (-1, 1))).to(dtype)
    k, strength = max(1, round(share * n_atoms)), u.abs() if signed else u
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "TILE_ENTRIES", tile)
        given_u = PreCodes(u, torch.eye(n_atoms, dtype=dtype))
        values, atoms, offsets = cpu.Cpu().topk(given_u, k, signed=signed)
    for i, row in enumerate(strength.numpy()):
        chosen = np.argsort(-row, kind="stable")[:k]
        chosen = np.sort(chosen[row[chosen] > 0])
        here = slice(int(offsets[i]), int(offsets[i + 1]))
        assert atoms[here].tolist() == chosen.tolist()
        assert torch.equal(values[here], u[i, chosen])


def test_entries_come_in_the_order_of_their_atoms() -> None:
    """On the CPU, so that codes do not depend on how they were found."""
    codes = topk_encode(torch.randn(50, 16), torch.randn(400, 16), k=30)
    steps = codes.atoms.diff()
    within = codes.support.rows.diff() == 0
    assert bool((steps[within] > 0).all())


def test_codes_do_not_depend_on_the_number_of_threads() -> None:
    """Nor on who else runs, be there fewer cores: every row is one thread's work. Of whole numbers, so that
    no sum is rounded.
    """
    x, weight = (torch.randint(-9, 10, (n, 16)).float() for n in (500, 400))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = topk_encode(x, weight, k=30)
        assert torch.get_num_threads() == 1
        torch.set_num_threads(4)
        together = topk_encode(x, weight, k=30)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone.atoms, together.atoms)
    assert torch.equal(alone.values, together.values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_and_strides_select_the_same(dtype: torch.dtype) -> None:
    """Whole numbers, which each of them holds; rows that lie across memory."""
    rows = torch.randint(-3, 4, (300, 9), generator=torch.Generator().manual_seed(2)).to(dtype).T
    assert not rows.is_contiguous()
    found = topk_encode(rows, torch.eye(300, dtype=dtype), k=20).to_dense()
    assert found.dtype == dtype
    assert torch.equal(found, brute_force(rows, 20).to(dtype))


@pytest.mark.parametrize("n", [1, 40])
def test_a_million_atoms(n: int) -> None:
    """In one row, and in so many that atoms are cut into tiles: of three equal ones the two lower are chosen."""
    weight = -torch.ones(10**6, 1)
    weight[[3, 500_000, 999_999]] = 2.0
    weight[700_000] = 5.0
    codes = topk_encode(torch.arange(n, 0, -1.0)[:, None], weight, k=3)
    assert codes.atoms.view(n, 3).unique(dim=0).tolist() == [[3, 500_000, 700_000]]
    assert codes.values.view(n, 3)[0].tolist() == [2.0 * n, 2.0 * n, 5.0 * n]


@pytest.mark.parametrize("signed", [False, True])
def test_the_gpu_selection_agrees_without_ties(signed: bool) -> None:
    x, weight = torch.randn(70, 16), torch.randn(500, 16)
    values, atoms, offsets = Sparse().topk(PreCodes(x, weight), 9, signed=signed)
    expected = reference.topk(x @ weight.T, 9, signed=signed)
    assert offsets.tolist() == expected.offsets.tolist()
    got = torch.zeros(70, 500)
    got[torch.repeat_interleave(torch.arange(70), offsets.diff()), atoms.long()] = values
    assert torch.allclose(got, expected.to_dense(), atol=1e-5)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("k", [1, 5, 32, 200, 300])
def test_signed_selection_equals_sorting_magnitudes(backend: Any, k: int) -> None:
    """The k largest magnitudes with their sign; ties go to the lower atom whatever the sign."""
    for name, pre_codes in hard_rows(300).items():
        identity = torch.eye(300)
        found = topk_encode(pre_codes, identity, k=k, signed=True, backend=backend).to_dense()
        expected = brute_force(pre_codes.abs(), k) * pre_codes.sign()
        assert torch.equal(found, expected), name


def test_a_nan_is_never_selected() -> None:
    """It loses every comparison: no index goes astray, and the rest is still found."""
    pre_codes = torch.rand(3, 100) + 0.5
    pre_codes[1] = torch.nan
    codes = topk_encode(pre_codes, torch.eye(100), k=7)
    assert bool((codes.atoms < 100).all())
    assert codes.l0.tolist()[1] == 0


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_what_passes_a_threshold_has_its_bias_added(backend: Any) -> None:
    """4 + 1 and 2 + 3 are above 3; 4 − 2, 5 − 3 and 6 − 4 are not."""
    weight = torch.tensor([[4.0], [4.0], [2.0], [5.0], [6.0]])
    bias = torch.tensor([1.0, -2.0, 3.0, -3.0, -4.0])
    codes = threshold_encode(torch.ones(1, 1), weight, bias, thresholds=3.0, backend=backend)
    assert (codes.atoms.tolist(), codes.values.tolist()) == ([0, 2], [5.0, 5.0])


def test_no_rows_are_no_codes_and_no_columns_no_input() -> None:
    codes = threshold_encode(torch.zeros(0, 3), torch.eye(3), thresholds=0.5)
    assert codes.to_dense().shape == (0, 3)
    with pytest.raises(ValueError, match="two axes"):
        threshold_encode(torch.zeros(3, 0), torch.zeros(3, 0), thresholds=0.5)
