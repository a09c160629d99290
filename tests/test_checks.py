"""Checks: each refusal gives rule, given and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch
from jaxtyping import Float

from sae_nb import checks
from sae_nb.checks._hook_point_names import lens_name, standard_name

if TYPE_CHECKING:
    from sae_nb.models import LiveModel


def test_good_matrix_passes_unchanged() -> None:
    """A finite float matrix is returned as it is."""
    x = torch.randn(3, 4)
    assert checks.check_matrix(x, d_in=4) is not None
    assert torch.equal(checks.check_matrix(x, d_in=4), x)


def test_leading_axes_are_flattened_on_request() -> None:
    """With flatten=True the last axis counts."""
    assert checks.check_matrix(torch.zeros(2, 3, 4), d_in=4, flatten=True).shape == (6, 4)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        ([["a"]], TypeError, "must hold numbers.*got list"),
        (None, TypeError, "must hold numbers.*got NoneType"),
        (torch.zeros(2, 3, dtype=torch.int64), TypeError, "floating-point"),
        (torch.zeros(2, 3, 4), ValueError, r"\(2, 3, 4\).*x\.flatten\(0, -2\)"),
        (torch.zeros(768), ValueError, r"\(768,\)\. One row alone is x\[None\]"),
        (torch.zeros(2, 384), ValueError, "d_in=768.*384"),
        (torch.zeros(0, 768), ValueError, "empty"),
    ],
)
def test_bad_matrix_is_refused(x: object, error: type[Exception], words: str) -> None:
    """Type, dtype, rank, width and emptiness."""
    with pytest.raises(error, match=words):
        checks.check_matrix(x, d_in=768)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_first_bad_row_is_named(bad: float) -> None:
    """The message names how many rows are bad and the first of them."""
    x = torch.zeros(10, 4)
    x[7, 2] = bad
    x[9, 0] = bad
    with pytest.raises(ValueError, match=r"2 of 10 rows.*row 7 \(token 7\)"):
        checks.check_finite(x, row_name=lambda row: f"token {row}")


@pytest.mark.parametrize("take", [checks.as_tensor, checks.check_matrix])
def test_what_is_not_there_one_by_one_is_refused(take: Callable[..., torch.Tensor]) -> None:
    """Gaps of a masked array are no data; nested tensors and those of torch.func have no rows to look at."""
    numbers = np.ones((2, 3), dtype=np.float32)
    gaps = np.ma.masked_array(numbers, mask=[[False, False, True], [True, False, False]])
    with pytest.raises(ValueError, match="2 of 6 masked"):
        take(gaps)
    assert torch.equal(take(np.ma.masked_array(numbers)), torch.ones(2, 3))
    with pytest.raises(TypeError, match="nested"):
        take(torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)]))
    with pytest.raises(TypeError, match="torch.func"):
        torch.vmap(take)(torch.ones(2, 2, 3))


@pytest.mark.parametrize(
    ("dtype", "fits", "over"),
    [(torch.float32, 1.8e19, 1.9e19), (torch.float64, 1.3e154, 1.4e154), (torch.bfloat16, 1.8e19, 1.9e19)],
)  # fmt: skip
@pytest.mark.parametrize("width", [1, 3])
def test_numbers_must_have_squares(
    dtype: torch.dtype, fits: float, over: float, width: int
) -> None:
    """2^64 squared is the first power of two beyond fp32, 2^512 that beyond fp64; rows are taken one by one."""
    x = torch.zeros(10, width, dtype=dtype)
    x[:, 0] = fits
    checks.check_finite(x)  # all squares together overflow
    x[7, 0] = over
    with pytest.raises(ValueError, match=rf"squared in {str(dtype)[6:]}, but 1 of 10 .*row 7"):
        checks.check_finite(x)
    x[9, 0] = float("nan")
    with pytest.raises(ValueError, match=r"must be finite, but 1 of 10 rows hold NaN.*row 9"):
        checks.check_finite(x)


def test_halves_are_squared_in_32_bits() -> None:
    checks.check_finite(torch.full((4, 4), 6e4, dtype=torch.float16))


@pytest.mark.parametrize(
    ("k", "do"), [(0, "at least 1"), (-1, "at least 1"), (11, "a smaller `k`")]
)
def test_k_out_of_range_is_refused(k: int, do: str) -> None:
    """1 ≤ k ≤ n_atoms; what to do fits the side it lies on."""
    with pytest.raises(ValueError, match=rf"n_atoms=10, got {k}\. Choose {do}"):
        checks.check_k(k, 10)


@pytest.mark.parametrize("k", [1.5, True, "3"])
def test_k_must_be_an_integer(k: object) -> None:
    """No rounding behind the user's back."""
    with pytest.raises(TypeError, match="integer"):
        checks.check_k(k, 10)


def test_atom_out_of_range_names_the_range() -> None:
    """An atom beyond the dictionary says how many there are."""
    with pytest.raises(IndexError, match="between 0 and 63.*got 64"):
        checks.check_atom(64, 64)
    assert checks.check_atom(torch.tensor(3), 64) == 3


@pytest.mark.parametrize("atom", [1.0, "3", None, torch.tensor(1.0), torch.tensor([1, 2])])
def test_an_atom_must_be_one_integer(atom: object) -> None:
    """Tensors of another kind or of several are refused like anything else."""
    with pytest.raises(TypeError, match="`atom` must be an integer, got"):
        checks.check_atom(atom, 64)


def test_too_much_memory_is_refused_with_numbers() -> None:
    """A request larger than the machine says both sizes."""
    with pytest.raises(MemoryError, match=r"it needs 1048576\.0 GiB.*Use fewer rows"):
        checks.check_memory(2**50, "The activations", "Use fewer rows.")
    checks.check_memory(1, "A byte", "")


@pytest.mark.parametrize(
    ("ends", "inside", "outside", "rule"),
    [
        ("[]", (0, 0.5, 1), (-1, 2), "must be between 0 and 1, got"),
        ("()", (0.5,), (0, 1), "must lie strictly between 0 and 1, got"),
        ("(]", (0.5, 1), (0, 1.5), "must be above 0 and at most 1, got"),
        ("[)", (0, 0.5), (-1, 1), r"must be in \[0, 1\), got"),
    ],
)
def test_an_interval_takes_in_the_ends_its_brackets_say(ends, inside, outside, rule) -> None:
    """NaN lies in none of them."""
    for value in inside:
        assert checks.between(value, 0, 1, name="share", ends=ends) == value
    for value in (*outside, float("nan")):
        with pytest.raises(ValueError, match=f"`share` {rule} {value}"):
            checks.between(value, 0, 1, name="share", ends=ends)
    with pytest.raises(ValueError, match=r"at most n_atoms=6, got 7\. Take fewer\."):
        checks.between(7, 0, 6, name="k", ends="(]", high_name="n_atoms", do="Take fewer.")


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("blocks.6.hook_resid_pre", "resid_pre.6"),
        ("blocks.0.hook_resid_mid", "resid_mid.0"),
        ("blocks.11.hook_resid_post", "resid_post.11"),
        ("blocks.2.hook_attn_out", "attn_out.2"),
        ("blocks.2.hook_mlp_out", "mlp_out.2"),
        ("hook_embed", "embed"),
        ("blocks.2.attn.hook_z", "head_out.2"),
        ("blocks.2.mlp.hook_post", "mlp_post.2"),
        ("blocks.2.attn.hook_q", "blocks.2.attn.hook_q"),
    ],
)
def test_transformer_lens_names_are_understood(foreign: str, ours: str) -> None:
    """Names of the same place in TransformerLens translate, there and back; others are left alone."""
    assert standard_name(foreign) == ours
    assert lens_name(ours) == foreign


Size = int | Sequence[int] | None


@checks.checked
def resized(
    x: Float[torch.Tensor, "n d"],
    size: Size = None,
    *,
    model: LiveModel | None = None,
    at: Literal["start"] | checks.Share = "start",
    names: Mapping[str, Sequence[checks.Count]] | None = None,
    other: Float[torch.Tensor, "n"] | None = None,  # noqa: F821 - an axis
) -> tuple[object, ...]:
    return x, size, model, at, names, other


@checks.checked
def in_space(x: Float[torch.Tensor, "*batch 3"]) -> torch.Size:
    return x.shape


X = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": "three"}, r"^`size` must be an integer or a list, got 'three'\.$"),
        ({"size": [1, 2.5]}, r"^`size\[1\]` must be an integer, got 2\.5\.$"),
        ({"size": True}, r"^`size` must be an integer or a list, got True\.$"),
        ({"model": "gpt"}, r"^`model` must be a live model, got 'gpt'\. Use sae_nb\.load_model"),
        ({"at": 1.5}, r"^`at` must be .*1"),
        ({"names": {"a": [1, 0]}}, r"^`names\['a'\]\[1\]` must be at least 1, got 0\.$"),
        ({"names": {3: [1]}}, r"^`a key of names` must be text, got 3\.$"),
        ({"x": torch.zeros(2)}, r"^`x` must have shape \(n, d\), got \(2,\)\.$"),
        ({"x": torch.zeros(0, 3)}, r"^`x` must not be empty"),
        ({"x": X.long()}, r"^`x` must hold floating-point numbers, got torch\.int64\. Use x\.float\(\)\.$"),
        ({"x": X / 0}, r"^`x` must "),
        ({"other": torch.zeros(3)}, r"^`other` must have n=2 like `x`, got shape \(3,\)\.$"),
    ],
)  # fmt: skip
def test_an_annotation_is_what_a_call_takes(given: dict[str, Any], said: str) -> None:
    """Named unions, classes that are imported for type checkers alone, rules inside of lists, axes."""
    with pytest.raises((TypeError, ValueError), match=said):
        resized(**{"x": X, **given})


def test_numbers_of_numpy_and_arrays_become_those_of_the_annotation() -> None:
    """What fits is passed on as it is; the entry that is wrong is found wherever it stands."""
    x, size, model, at, *_ = resized(X.numpy(), np.int64(3), at=np.float32(0.5), names={"a": [1]})
    assert isinstance(x, torch.Tensor)
    assert (size, type(size), model, at, type(at)) == (3, int, None, 0.5, float)
    sizes = list(range(100))
    assert resized(X, sizes)[1] is sizes
    for i in (0, 57, 99):
        with pytest.raises(TypeError, match=rf"^`size\[{i}\]`"):
            resized(X, [*sizes[:i], "wrong", *sizes[i + 1 :]])


def test_a_free_axis_stands_for_any_number_of_them() -> None:
    """And a number for that length."""
    for shape in ((3,), (2, 3), (4, 2, 3)):
        assert in_space(torch.zeros(shape)) == shape
    for shape in ((), (4,), (3, 2)):
        with pytest.raises(ValueError, match=r"must have shape \(\*batch, 3\), got \("):
            in_space(torch.zeros(shape))
