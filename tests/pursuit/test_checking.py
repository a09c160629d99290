"""What pursuits refuse before any work, by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sae_nb.pursuit import explain_plan, matching_pursuit, orthogonal_matching_pursuit

D = torch.nn.functional.normalize(torch.ones(6, 4) + torch.eye(6, 4), dim=1)
X = torch.ones(3, 4)


def _with(tensor: torch.Tensor, place: tuple[int, int], value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed[place] = value
    return changed


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "k too small": ({"k": 0}, ValueError, r"`k` must be between 1 and n_atoms=6, got 0"),
    "k too large": ({"k": 7}, ValueError, r"`k` must be between 1 and n_atoms=6, got 7"),
    "k no integer": ({"k": 2.0}, TypeError, r"`k` must be an integer"),
    "width": ({"x": torch.ones(3, 5)}, ValueError, r"d_in=4, got shape \(3, 5\)"),
    "empty": ({"x": torch.ones(0, 4)}, ValueError, r"`x` must not be empty"),
    "integers": ({"x": torch.ones(3, 4, dtype=torch.int32)}, TypeError, r"`x` must hold floating"),
    "no numbers": ({"x": [["a"] * 4]}, TypeError, r"`x` must hold numbers.*got list"),
    "NaN": ({"x": _with(X, (1, 2), float("nan"))}, ValueError, r"`x` must be finite.*row 1"),
    "infinity": ({"x": _with(X, (2, 0), float("inf"))}, ValueError, r"`x` must be finite.*row 2"),
    "NaN atom": (
        {"dictionary": _with(D, (4, 0), float("nan"))},
        ValueError,
        r"`dictionary` must be finite.*row 4",
    ),
    "zero atom": (
        {"dictionary": D * (torch.arange(6) != 2)[:, None]},
        ValueError,
        r"no zero rows, but 1 of 6 are zero; the first is row 2",
    ),
    "long atom": (
        {"dictionary": D * torch.tensor([1, 1, 1.5, 1, 1, 3.0])[:, None]},
        ValueError,
        r"unit norm, but 2 of 6 have not; the worst is row 5 with norm 3\. .*normalise=True",
    ),
    "dtype": ({"x": X.double()}, ValueError, r"one dtype and device, got torch.float64"),
    "backend": ({"backend": "gpu"}, ValueError, r"`backend` must be one of .*, got 'gpu'"),
    "gradient": ({"gradient": "none"}, ValueError, r"`gradient` must be one of"),
    "tolerance": ({"tolerance": -1.0}, ValueError, r"`tolerance` must be a residual norm"),
    "tolerance NaN": ({"relative_tolerance": float("nan")}, ValueError, r"`relative_tolerance`"),
    "cap": ({"memory_cap": 100}, MemoryError, r"needs at least \d+ bytes .*, got 100"),
    "cap no number": ({"memory_cap": 0}, ValueError, r"`memory_cap` must be at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str, pursuit: Any) -> None:
    """Rule, given, do."""
    change, kind, message = BAD[case]
    arguments = {"x": X, "dictionary": D, "k": 2} | change
    with pytest.raises(kind, match=message):
        pursuit(arguments.pop("x"), arguments.pop("dictionary"), arguments.pop("k"), **arguments)


def test_bad_input_is_found_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither correlations nor a Gram matrix exist when a request is refused."""
    from sae_nb.pursuit import _gram as gram

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr(torch, "mm", refuse)
    monkeypatch.setattr(gram, "gram_matrix", refuse)
    for change, kind, _ in BAD.values():
        arguments = {"x": X, "dictionary": D, "k": 2} | change
        with pytest.raises(kind):
            matching_pursuit(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_cuda_without_a_gpu_says_what_to_do(pursuit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver error from deep inside."""
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    with pytest.raises(ValueError, match=r"need an NVIDIA GPU.*backend='cpu'"):
        pursuit(X, D, 2, backend="cuda")


def test_normalise_scales_the_rows(pursuit: Any, backend: str) -> None:
    """Codes belong to the scaled atoms, and the user's dictionary stays as it is."""
    long = D * torch.arange(1.0, 7.0)[:, None]
    before = long.clone()
    ours = pursuit(X, long, 2, normalise=True, backend=backend).to_dense()
    assert torch.allclose(ours, pursuit(X, D, 2, backend=backend).to_dense(), atol=1e-6)
    assert torch.equal(long, before)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_dependent_atoms_stop_early_with_a_warning(backend: str) -> None:
    """Two atoms that fp32 cannot tell apart: the second is left out, and rows are counted."""
    dictionary = torch.tensor([[1.0, 0.0, 0.0], [1.0, 2e-4, 0.0]])
    x = torch.tensor([[0.1, 1.0, 0.5], [1.0, 0.0, 0.0], [0.2, 1.0, 0.0]])
    with pytest.warns(UserWarning, match="2 of 3 rows stopped before k=2"):
        codes = orthogonal_matching_pursuit(x, dictionary, 2, nonnegative=False, backend=backend)
    assert codes.l0.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_fp32(pursuit: Any, dtype: torch.dtype) -> None:
    """Half-precision activations need no cast by hand."""
    codes = pursuit(X.to(dtype), torch.eye(4, dtype=dtype), 2)
    assert codes.dtype == torch.float32
    assert codes.values.tolist() == [1.0] * 6


def test_leading_axes_are_kept(pursuit: Any, backend: str) -> None:
    """Codes of (batch, position, d_in) have shape (batch, position, n_atoms); views need no copy by hand."""
    x = torch.randn(4, 3, 2).permute(2, 1, 0)
    codes = pursuit(x, D, 2, backend=backend)
    assert codes.shape == (2, 3, 6)
    flat = pursuit(x.reshape(6, 4).contiguous(), D.T.contiguous().T, 2, backend=backend)
    assert torch.equal(codes.to_dense().reshape(6, 6), flat.to_dense())
    assert pursuit(x[0, 0], D, 2, backend=backend).shape == (6,)


def test_a_plan_refuses_what_the_pursuit_refuses() -> None:
    """Same checks, no work."""
    with pytest.raises(ValueError, match="`algorithm` must be one of"):
        explain_plan(X, D, 2, algorithm="lasso")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`k` must be between"):
        explain_plan(X, D, 9)
