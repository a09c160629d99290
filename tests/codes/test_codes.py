"""Sparse codes: two readings of one matrix, parts, unions and files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sae_nb.codes import SparseCodes, _support
from sae_nb.codes._support import Support, index_dtype, ranks


@pytest.mark.parametrize(("limit", "dtype"), [(8, torch.int32), (7, torch.int64)])
def test_a_sort_by_atom_counts_in_numbers_that_hold_it(
    monkeypatch: pytest.MonkeyPatch, limit: int, dtype: torch.dtype
) -> None:
    """Seven atoms, of three entries."""
    monkeypatch.setattr(_support, "INT32_MAX", limit)
    by_atom = SparseCodes.from_dense(torch.eye(7)[[5, 2, 5]]).support.by_atom
    assert by_atom.order.dtype == dtype
    assert by_atom.order.tolist() == [1, 0, 2]


def dense_code(rows: int = 9, n_atoms: int = 7, seed: int = 0) -> Tensor:
    """A code with an empty row, an empty atom, and otherwise about a third of its entries."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.rand(rows, n_atoms, generator=generator)
    z[z < 0.66] = 0
    z[3] = 0
    z[:, min(5, n_atoms - 1)] = 0
    return z


def test_the_csc_reading_equals_scipys() -> None:
    """By atom: same rows, same values, same order as scipy's transpose."""
    codes = SparseCodes.from_dense(dense_code())
    index, csc = codes.by_atom(), codes.to_scipy().tocsc()
    assert index.offsets.tolist() == csc.indptr.tolist()
    assert index.rows.tolist() == csc.indices.tolist()
    assert index.values.tolist() == csc.data.tolist()
    assert torch.equal(codes.values[index.order], index.values)


def test_the_csc_reading_does_not_depend_on_how_it_is_sorted() -> None:
    """The counting sort of the CPU and the stable sort of other devices agree."""
    codes = SparseCodes.from_dense(dense_code(seed=1))
    counted = codes.support.by_atom

    order = torch.argsort(codes.atoms, stable=True)
    assert torch.equal(counted.order.long(), order)
    assert torch.equal(counted.rows.long(), codes.support.rows[order])


def test_dense_and_sparse_are_the_same_codes() -> None:
    z = dense_code(8, 5).reshape(2, 4, 5)
    codes = SparseCodes.from_dense(z)
    assert (codes.shape, codes.leading_shape) == ((2, 4, 5), (2, 4))
    assert torch.equal(codes.to_dense(), z)
    matrix = codes.to_scipy()
    assert np.array_equal(matrix.toarray(), z.reshape(8, 5).numpy())
    assert (matrix.indices.dtype, matrix.indptr.dtype) == (np.int32, np.int32)


def test_counts_follow_from_the_entries() -> None:
    """l0, frequency, nnz and len are those of the dense code."""
    z = dense_code()
    codes = SparseCodes.from_dense(z)
    assert codes.l0.tolist() == (z != 0).sum(dim=1).tolist()
    assert torch.allclose(codes.frequency, (z != 0).float().mean(dim=0))
    assert (len(codes), codes.nnz) == (9, int((z != 0).sum()))


def test_a_stored_zero_is_not_active() -> None:
    codes = SparseCodes(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]), torch.tensor([0, 1, 2]), 2)
    assert codes.frequency.tolist() == [0.0, 0.5]
    assert codes.with_values(-codes.values).count(0).tolist() == [0, 1]


def test_strengths_are_the_column() -> None:
    """One atom's rows and values, also for an atom nobody uses."""
    z = dense_code()
    codes = SparseCodes.from_dense(z)
    for atom in range(7):
        rows, values = codes.strengths(atom)
        assert rows.tolist() == z[:, atom].nonzero().flatten().tolist()
        assert torch.equal(values, z[rows, atom])
    with pytest.raises(IndexError, match=r"between 0 and 6 .* got 7"):
        codes.strengths(7)


def test_concatenation_is_dense_concatenation() -> None:
    """Rows in order; axes after the first kept where they agree."""
    a, b = dense_code(6, 5, 1).reshape(2, 3, 5), dense_code(9, 5, 2).reshape(3, 3, 5)
    joined = SparseCodes.concatenate([SparseCodes.from_dense(a), SparseCodes.from_dense(b)])
    assert joined.leading_shape == (5, 3)
    assert torch.equal(joined.to_dense(), torch.cat([a, b]))
    flat = SparseCodes.concatenate([SparseCodes.from_dense(a), SparseCodes.from_dense(b[0])])
    assert flat.leading_shape == (9,)
    with pytest.raises(ValueError, match=r"widths \[5, 7\]"):
        SparseCodes.concatenate([joined, SparseCodes.from_dense(dense_code())])
    with pytest.raises(ValueError, match="no codes at all"):
        SparseCodes.concatenate([])


def test_values_keep_their_gradient_until_detached() -> None:
    """A gradient flows through to_dense and rows; detach shares the grouping."""
    z = dense_code().requires_grad_()
    codes = SparseCodes.from_dense(z)
    codes.rows([0, 2]).to_dense().sum().backward()
    expected = torch.zeros_like(z)
    expected[[0, 2]] = (z[[0, 2]] != 0).float()
    assert torch.equal(z.grad, expected)
    assert not codes.detach().values.requires_grad
    assert codes.detach().by_atom().order is codes.support.by_atom.order


def test_one_row_has_an_axis_unless_told_otherwise() -> None:
    """A single row is (1,), and () for a bare vector."""
    parts = (torch.ones(1), torch.zeros(1, dtype=torch.int32), torch.tensor([0, 1]), 3)
    assert SparseCodes(*parts).to_dense().shape == (1, 3)
    assert SparseCodes(*parts, ()).to_dense().shape == (3,)
    assert SparseCodes(*parts).reshape().leading_shape == ()


def test_files_give_back_the_same_bits(tmp_path: Path) -> None:
    """Values, atoms, offsets, width and axes survive; saving again needs permission."""
    codes = SparseCodes.from_dense(dense_code(8, 5).reshape(2, 4, 5))
    codes.save(tmp_path / "codes")
    loaded = SparseCodes.load(tmp_path / "codes")
    assert loaded.leading_shape == (2, 4)
    # The leading axes have been called this in files since the first release.
    config = json.loads((tmp_path / "codes" / "config.json").read_text())
    assert config == {"n_atoms": 5, "shape": [2, 4]}
    for name in ("values", "atoms", "offsets"):
        before, after = getattr(codes, name), getattr(loaded, name)
        assert before.dtype == after.dtype
        assert torch.equal(before, after)
    with pytest.raises(FileExistsError):
        codes.save(tmp_path / "codes")
    codes.save(tmp_path / "codes", replace=True)


ONE, ATOM, OFFSETS = torch.ones(1), torch.tensor([2]), torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"values": torch.ones(2)}, ValueError, "one length"),
        ({"atoms": torch.ones(1)}, TypeError, "`atoms`"),
        ({"atoms": torch.tensor([3])}, ValueError, "`atoms`"),
        ({"atoms": torch.tensor([-1])}, ValueError, "`atoms`"),
        ({"atoms": torch.zeros(1, dtype=torch.long, device="meta")}, ValueError, "one device"),
        ({"offsets": torch.tensor([0, 3, 1])}, ValueError, "must ascend"),
        ({"offsets": torch.zeros(0, dtype=torch.long)}, ValueError, "one entry more"),
        ({"leading_shape": (2,)}, ValueError, "rows"),
    ],
    ids=str,
)
def test_parts_that_do_not_fit_together_are_refused(
    wrong: dict[str, object], error: type[Exception], words: str
) -> None:
    """A part that does not fit the others is named when the codes are made."""
    with pytest.raises(error, match=words):
        SparseCodes(**({"values": ONE, "atoms": ATOM, "offsets": OFFSETS, "n_atoms": 3} | wrong))


def test_an_atoms_number_has_four_bytes_as_long_as_it_fits() -> None:
    assert index_dtype(2**31 - 1) == torch.int32
    assert index_dtype(2**31) == torch.int64


def test_a_draw_of_all_rows_is_all_rows() -> None:
    """One more is refused; fewer are different rows in their order."""
    codes = SparseCodes.from_dense(dense_code())
    assert torch.equal(codes.sample_rows(9).to_dense(), codes.to_dense())
    with pytest.raises(ValueError, match="at most the 9 rows"):
        codes.sample_rows(10)
    numbered = SparseCodes.from_dense(torch.arange(1.0, 10)[:, None])
    drawn = numbered.sample_rows(4, seed=1).values
    assert len(drawn) == 4
    assert (drawn.diff() > 0).all()


def test_an_entrys_rank_counts_from_its_rows_largest() -> None:
    """Of equal ones the first is first; an empty row takes no part."""
    sizes = torch.tensor([2.0, 5.0, 1.0, 3.0, 4.0, 4.0])
    support = Support(torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 3, 3, 6]), 3)
    assert ranks(sizes, support).tolist() == [1, 0, 2, 2, 0, 1]


def test_codes_without_rows_atoms_or_axes() -> None:
    assert SparseCodes.from_dense(torch.zeros(0, 3)).frequency.tolist() == [0, 0, 0]
    assert SparseCodes.from_dense(torch.tensor([[0.0, 2.0]])).frequency.tolist() == [0, 1]
    nothing = torch.zeros(0, dtype=torch.long)
    assert SparseCodes(torch.zeros(0), nothing, torch.tensor([0, 0]), 0).shape == (1, 0)
    assert SparseCodes.from_dense(torch.tensor([0.0, 2.0])).leading_shape == ()
    support = Support(torch.tensor([1]), torch.tensor([0, 1, 1]), 2)
    assert SparseCodes._made(torch.ones(1), support).leading_shape == (2,)


def test_codes_stay_where_they_are_or_go_where_numbers_are_kept() -> None:
    codes = SparseCodes.from_dense(dense_code())
    assert codes.to("cpu") is codes
    with pytest.raises(ValueError, match="got 'meta'"):
        codes.to("meta")


def test_codes_say_their_size() -> None:
    codes = SparseCodes.from_dense(torch.tensor([[1.0, 0, 2], [0, 0, 0]]).repeat(2, 1))
    assert repr(codes) == "SparseCodes(4 rows × 3 atoms, 4 entries, 1.0 per row)"


def test_importing_codes_does_not_import_numba() -> None:
    program = (
        "import sys, sae_nb.codes, sae_nb.kernels, sae_nb.architectures;"
        "print('numba' in sys.modules, 'scipy' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "False"], result.stderr


def test_some_atoms_are_dense_columns_in_the_order_asked_for() -> None:
    """By hand, with one asked for twice, one that never fires, and none; leading axes and slopes stay."""
    z = torch.tensor([[[1.0, 0, -2, 3], [0, 4, 0, 5]]], requires_grad=True)
    codes = SparseCodes.from_dense(z.detach()).with_values(z[z != 0])
    block = codes.of_atoms([3, 0, 3])
    assert block.tolist() == [[[3, 1, 3], [5, 0, 5]]]
    (slope,) = torch.autograd.grad(block[0, :, 0].sum(), z)
    assert slope.tolist() == [[[0, 0, 0, 1], [0, 0, 0, 1]]]
    silent = SparseCodes.from_dense(torch.tensor([[2.0, 0, 0]]))
    assert silent.of_atoms([2, 1]).tolist() == [[0, 0]]
    assert codes.of_atoms([]).shape == (1, 2, 0)


def test_entries_by_row_and_atom_are_put_in_order() -> None:
    """Rows are sorted, the order within one stays; leading axes are counted through; gradients are kept."""
    values = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    rows, atoms = torch.tensor([3, 0, 3, 1]), torch.tensor([4, 2, 0, 1])
    codes = SparseCodes.from_entries(values, rows, atoms, (2, 2, 5))
    assert codes.leading_shape == (2, 2)
    assert codes.n_atoms == 5
    assert codes.offsets.tolist() == [0, 1, 2, 2, 4]
    assert codes.atoms.tolist() == [2, 1, 4, 0]
    assert codes.values.tolist() == [2, 4, 1, 3]
    (codes.values * torch.tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [100, 1, 1000, 10]
    for outside in (-1, 4):
        with pytest.raises(ValueError, match="between 0 and 3"):
            SparseCodes.from_entries(values[:1], torch.tensor([outside]), atoms[:1], (2, 2, 5))
