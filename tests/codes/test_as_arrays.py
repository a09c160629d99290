"""Codes are used like the matrix they stand for: indexed, summed, multiplied, tabulated, converted."""

from __future__ import annotations

import copy
import operator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes

SHAPES = [(7, 5), (2, 3, 5), (2, 2, 2, 5)]


def dense_code(shape: tuple[int, ...] = (7, 5), dtype: torch.dtype = torch.float64) -> Tensor:
    """A code with both signs, about half its entries, and an atom that is always on and negative."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(*shape, generator=generator, dtype=dtype)
    z = torch.where(z.abs() > 0.6, z, 0.0)
    z[..., 1] = -1 - torch.rand(shape[:-1], generator=generator, dtype=dtype)
    return z


# Indexing


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(1),
        torch.tensor(1),
        slice(1, None),
        slice(None, None, -1),
        slice(5, 2),
        [1, 0, 1],
        [],
        range(2),
        np.array([[0, 1], [1, 0]]),
        torch.tensor([-1, 0]),
        ...,
        None,
        (1, ...),
        (..., None),
    ],
    ids=repr,
)
def test_an_index_chooses_what_numpy_would(shape: tuple[int, ...], index: Any) -> None:
    """Rows, and their leading axes, are those of the dense code."""
    z = dense_code(shape)
    leading = np.arange(z[..., 0].numel()).reshape(shape[:-1])
    rows = leading[index.numpy() if isinstance(index, Tensor) else index]
    chosen = SparseCodes.from_dense(z)[index]
    assert chosen.leading_shape == np.shape(rows)
    assert torch.equal(chosen.to_dense(), z.reshape(-1, 5)[np.array(rows)])


def test_several_leading_axes_are_indexed_together() -> None:
    """A number per axis, a slice of the second, a mask over both."""
    z = dense_code((2, 3, 5))
    codes = SparseCodes.from_dense(z)
    assert torch.equal(codes[1, 2].to_dense(), z[1, 2])
    assert torch.equal(codes[:, 1:].to_dense(), z[:, 1:])
    mask = z.abs().sum(dim=-1) > 1.5
    assert torch.equal(codes[mask].to_dense(), z[mask])
    assert torch.equal(codes[mask.numpy()].to_dense(), z[mask])
    assert torch.equal(codes[[True, False]].to_dense(), z[[True, False]])


def test_codes_are_iterated_over_their_first_axis() -> None:
    """As long as their first axis; one row alone is no sequence."""
    z = dense_code((2, 3, 5))
    codes = SparseCodes.from_dense(z)
    assert (len(codes), codes.n_rows, codes.ndim, codes.shape) == (2, 6, 3, (2, 3, 5))
    assert all(torch.equal(part.to_dense(), row) for part, row in zip(codes, z, strict=True))
    with pytest.raises(TypeError, match="single row have no length"):
        len(codes[0, 0])


# Sums


@pytest.mark.parametrize("shape", [*SHAPES, (0, 5)], ids=str)
@pytest.mark.parametrize("axis", [None, 0, -1, 1, (0, 1), ()], ids=str)
def test_sums_are_those_of_the_dense_code(shape: tuple[int, ...], axis: Any) -> None:
    """Sum, mean, largest and number of active entries, zeros counted, over any axes."""
    z = dense_code(shape) if shape[0] else torch.zeros(shape, dtype=torch.float64)
    codes, dense = SparseCodes.from_dense(z), z.numpy()
    assert np.allclose(codes.sum(axis), dense.sum(axis))
    assert np.array_equal(codes.count(axis), np.count_nonzero(dense, axis))
    if dense.size:
        assert np.allclose(codes.mean(axis), dense.mean(axis))
        assert np.array_equal(codes.max(axis), dense.max(axis))


def test_numpys_own_functions_sum_codes() -> None:
    """np.sum and its like call the methods, so no dense code is made."""
    z = dense_code()
    codes = SparseCodes.from_dense(z)
    assert np.allclose(np.sum(codes, axis=0), z.sum(dim=0))
    assert np.allclose(np.mean(codes), z.mean())
    assert np.allclose(np.max(codes, axis=1), z.amax(dim=1))
    with pytest.raises(TypeError, match="must be None"):
        np.sum(codes, dtype=np.float32)


# Products


def test_a_product_with_a_matrix_is_the_dense_product() -> None:
    """From both sides, with vectors, transposed matrices and arrays, leading axes kept."""
    z = dense_code((2, 3, 5))
    codes = SparseCodes.from_dense(z)
    table = torch.randn(4, 5, dtype=torch.float64)
    assert torch.allclose(codes @ table.T, z @ table.T)
    assert torch.allclose(codes @ table[0], z @ table[0])
    assert torch.allclose(codes @ table.T.numpy(), z @ table.T)
    flat, x = z.reshape(6, 5), torch.randn(6, 3, dtype=torch.float64)
    assert torch.allclose(x.T @ codes, x.T @ flat)
    assert torch.allclose(x[:, 0] @ codes, x[:, 0] @ flat)
    assert torch.allclose(codes[0, 1] @ table.T, z[0, 1] @ table.T)
    empty = SparseCodes.from_dense(torch.zeros(2, 5))
    assert torch.equal(empty @ torch.ones(5, 3), torch.zeros(2, 3))


def test_a_product_takes_the_wider_number() -> None:
    z = dense_code(dtype=torch.float32)
    product = SparseCodes.from_dense(z.half()) @ torch.eye(5)
    assert product.dtype == torch.float32
    assert torch.allclose(product, z, atol=1e-2)


@pytest.mark.parametrize(
    "use",
    [
        lambda z, _: z.sum(),
        lambda z, _: z.sum(0).square(),
        lambda z, _: z.mean(-1).square(),
        lambda z, _: z[[2, 2, 0]].sum(1).square(),
        lambda z, _: z[3:].sum(0).square(),
        lambda z, table: (z @ table).square(),
        lambda z, table: (table.T[:, [0] * 7] @ z).square(),
        lambda z, table: (z[4] @ table).square(),
    ],
)
def test_gradients_are_those_of_the_dense_code(use: Any) -> None:
    """Of index, sum and product, to the active entries and to the matrix."""
    z, table = dense_code().requires_grad_(), torch.randn(5, 3, dtype=torch.float64)
    table.requires_grad_()
    expected = torch.autograd.grad(use(z, table).sum(), (z, table), allow_unused=True)
    actual = torch.autograd.grad(
        use(SparseCodes.from_dense(z), table).sum(), (z, table), allow_unused=True
    )
    assert torch.allclose(actual[0], expected[0] * (z != 0))
    assert (actual[1] is None) == (expected[1] is None)
    assert actual[1] is None or torch.allclose(actual[1], expected[1])


def test_the_largest_entry_gets_the_gradient() -> None:
    """As in the dense code, where it is not a zero."""
    z = dense_code().abs().requires_grad_()
    expected = torch.autograd.grad(z.amax(dim=0).sum(), z)[0]
    assert torch.equal(torch.autograd.grad(SparseCodes.from_dense(z).max(0).sum(), z)[0], expected)


# Tables and arrays


def test_the_strongest_entries_of_each_row_are_tabulated() -> None:
    """By magnitude, strongest first, fewer where a row has fewer."""
    z = torch.tensor([[0.5, -3.0, -1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    codes = SparseCodes.from_dense(z)
    table = codes.top(2)
    assert table.to_dict("list") == {
        "row": [0, 0, 2],
        "atom": [1, 2, 0],
        "value": [-3.0, -1.0, 1.0],
    }
    assert codes[2].top(5)["atom"].tolist() == [0]
    wide = SparseCodes.from_dense(torch.arange(1.0, 13)[None])
    assert wide.top()["atom"].tolist() == list(range(11, 1, -1))


def test_a_table_has_the_active_entries_behind_the_places_of_their_rows() -> None:
    codes = SparseCodes.from_dense(torch.tensor([[0.0, -1.0], [4.0, 2.0]]))
    codes = codes.with_values(torch.tensor([-1.0, 0.0, 2.0]))
    acts = Activations.from_tensor(
        torch.zeros(2, 3), sample=torch.tensor([5, 7]), position=torch.tensor([1, 3])
    )
    table = codes.to_pandas(acts, labels={0: "never", 1: "one"})
    assert table.to_dict("list") == {
        "row": [0, 1], "sample": [5, 7], "position": [1, 3],
        "atom": [1, 1], "value": [-1.0, 2.0], "label": ["one", "one"],
    }  # fmt: skip
    assert list(table.columns) == ["row", "sample", "position", "atom", "value", "label"]


@pytest.mark.slow
def test_a_table_says_where_rows_come_from_and_what_atoms_are() -> None:
    """Sample, position and token from the activations; labels from a mapping or a list."""
    model = sn.load_model("tiny-gpt")
    acts = sn.capture(model, ["The dog ran.", "A cat sat."], "resid_post.1", progress=False)
    codes = sn.TopK(acts.d_in, 16, 2).eval().encode(acts.x)
    table = codes.to_pandas(acts, labels={3: "animals"})
    assert list(table.columns) == ["row", "sample", "position", "token", "atom", "value", "label"]
    assert table["token"].tolist() == [acts.tokens[row] for row in table["row"]]
    assert table["sample"].tolist() == acts.sample[table["row"].tolist()].tolist()
    assert set(table["label"][table["atom"] == 3]) <= {"animals"}
    assert set(table["label"][table["atom"] != 3]) <= {""}
    assert codes.to_pandas(labels=list("abcdefghijklmnop"))["label"].str.len().eq(1).all()
    with pytest.raises(ValueError, match="`acts` must have one entry per row of the codes"):
        codes.to_pandas(acts[:2])


def test_arrays_and_tensors_are_made_of_codes() -> None:
    """np.asarray, torch.as_tensor and from_dlpack give the dense code; nothing dense is shared."""
    z = dense_code((2, 3, 5), torch.float32)
    codes = SparseCodes.from_dense(z.clone().requires_grad_())
    for convert in (np.asarray, torch.as_tensor, torch.from_dlpack):
        assert np.array_equal(convert(codes), z)
    assert np.asarray(codes, dtype=np.float64).dtype == np.float64
    assert np.asarray(SparseCodes.from_dense(z.bfloat16())).dtype == np.float32
    with pytest.raises(ValueError, match="no dense matrix to share"):
        np.array(codes, copy=False)


def test_codes_are_not_compared_by_element_in_silence() -> None:
    """Numbers, arrays and tensors are refused; the same object equals itself alone, and has a hash."""
    codes = SparseCodes.from_dense(dense_code())
    for other in (0, 0.5, np.zeros(3), torch.zeros(7, 5)):
        for compare in (operator.eq, operator.ne, operator.gt):
            with pytest.raises(TypeError, match=r"codes\.only\(codes\.values > 1\)"):
                compare(codes, other)
    assert codes == codes
    assert codes != SparseCodes.from_dense(dense_code())
    assert len({codes, codes}) == 1


def test_a_deep_copy_shares_nothing_and_has_no_gradient() -> None:
    """As pickle, and as tensors that were computed do not allow."""
    codes = SparseCodes.from_dense(dense_code((2, 3, 5)).requires_grad_())
    assert codes.values.grad_fn is not None
    copied = copy.deepcopy(codes)
    assert torch.equal(copied.to_dense(), codes.to_dense())
    assert copied.leading_shape == codes.leading_shape
    assert not copied.values.requires_grad
    for name in ("values", "atoms", "offsets"):
        assert getattr(copied, name).data_ptr() != getattr(codes, name).data_ptr()


def test_codes_are_joined_by_row() -> None:
    z = dense_code(dtype=torch.float32)
    codes = SparseCodes.from_dense(z)
    for joined in (torch.cat([codes, codes]), torch.cat([codes, codes], dim=0)):
        assert torch.equal(joined.to_dense(), torch.cat([z, z]))
    with pytest.raises(TypeError, match="sparse codes"):
        torch.cat([codes, codes], dim=1)


def test_what_would_be_too_large_is_said_in_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """1024 rows of 2²⁰ atoms of four bytes; sums of 2²⁸ atoms of eight."""
    monkeypatch.setattr("sae_nb.checks._values.available_memory", lambda: 2**30)

    def empty(rows: int, n_atoms: int) -> SparseCodes:
        nothing = torch.zeros(0, dtype=torch.int32)
        return SparseCodes(
            torch.zeros(0), nothing, torch.zeros(rows + 1, dtype=torch.long), n_atoms
        )

    with pytest.raises(MemoryError, match=r"needs 4\.0 GiB"):
        empty(1024, 2**20).to_dense()
    with pytest.raises(MemoryError, match=r"needs 2\.0 GiB"):
        empty(3, 2**28).sum(0)
