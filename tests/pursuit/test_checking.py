"""What pursuits refuse before any work, by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sae_nb.pursuit import (
    _checking as checking,
    _pursuits as pursuits,
    explain_plan,
    matching_pursuit,
    orthogonal_matching_pursuit,
)
from sae_nb.pursuit._problem import Problem
from tests.left_out import numbers_left_out

D = torch.nn.functional.normalize(torch.ones(6, 4) + torch.eye(6, 4), dim=1)
X = torch.ones(3, 4)


def _with(tensor: torch.Tensor, place: tuple[int, int], value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed[place] = value
    return changed


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"k": 7}, ValueError, "n_atoms=6"),
    ({"k": 2.0}, TypeError, "`k`"),
    ({"x": torch.ones(3, 5)}, ValueError, "d_in=4"),
    ({"x": torch.ones(0, 4)}, ValueError, "`x`"),
    ({"x": _with(X, (1, 2), float("nan"))}, ValueError, "row 1"),
    ({"dictionary": _with(D, (4, 0), float("nan"))}, ValueError, "row 4"),
    (
        {"dictionary": D * (torch.arange(6) != 2)[:, None], "normalise": True},
        ValueError,
        "1 of 6 .* row 2",
    ),
    ({"dictionary": D * torch.tensor([1, 1, 1, 1, 1, 3.0])[:, None]}, ValueError, "normalise=True"),
    ({"x": X.double()}, ValueError, "torch.float64"),
    ({"relative_tolerance": float("nan")}, ValueError, "`relative_tolerance`"),
    ({"memory_cap": 100}, MemoryError, r"at least \d+ bytes"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD)
def test_bad_input_is_named_before_any_work(
    change: dict[str, Any], kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sae_nb.pursuit import _gram as gram

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr(torch, "mm", refuse)
    monkeypatch.setattr(gram, "gram_matrix", refuse)
    with pytest.raises(kind, match=message):
        matching_pursuit(**{"x": X, "dictionary": D, "k": 2} | change)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_cuda_without_a_gpu_says_what_to_do(pursuit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    with pytest.raises(ValueError, match=r"need an NVIDIA GPU.*visible\. .*backend='cpu'"):
        pursuit(X, D, 2, backend="cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ValueError, match=r"CUDA_VISIBLE_DEVICES='' hides every GPU: unset it"):
        pursuit(X, D, 2, backend="cuda")


def test_who_computes_is_chosen_by_where_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of devices that are not here."""
    cpu, card, meta = map(torch.device, ("cpu", "cuda", "meta"))
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    for there, of_card in ((False, "reference"), (True, "cuda")):
        monkeypatch.setattr(checking, "_kernels_for_gpu", lambda there=there: there)
        chosen = [checking.pick_backend("auto", where) for where in (cpu, card, meta)]
        assert chosen == ["cpu", of_card, "reference"]
        assert checking.pick_backend("auto", card, triton=True) == "cuda"
        assert checking.pick_backend("cuda", cpu, triton=True) == "cuda"
        assert checking.pick_backend("reference", card) == "reference"
    for where in (card, meta):
        with pytest.raises(ValueError, match="need tensors on the CPU, got"):
            checking.pick_backend("cpu", where)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert checking.pick_backend("cuda", card) == "cuda"
    with pytest.raises(ValueError, match="need tensors on the GPU, got cpu"):
        checking.pick_backend("cuda", cpu)
    monkeypatch.setattr(checking, "_kernels_for_gpu", lambda: False)
    with pytest.raises(ValueError, match="need numba-cuda"):
        checking.pick_backend("cuda", card)
    for value, simulated in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", value)
        assert checking.simulated() == simulated
        if simulated:
            assert checking.pick_backend("cuda", cpu) == "cuda"


@pytest.mark.parametrize(
    ("dtype", "off", "refused"),
    [
        (torch.float64, 9e-5, False), (torch.float64, 1.1e-4, True), (torch.float64, -9e-5, False),
        (torch.float64, -1.1e-4, True), (torch.bfloat16, 2**-7, False), (torch.bfloat16, 2**-6, True),
    ],
)  # fmt: skip
def test_unit_norm_is_so_to_a_ten_thousandth_or_a_rounding(
    dtype: torch.dtype, off: float, refused: bool
) -> None:
    dictionary = torch.diag(torch.tensor([1.0, 1 + off, 1], dtype=torch.float64)).to(dtype)
    if refused:
        with pytest.raises(ValueError, match="1 of 3 have not; the worst is row 1"):
            checking.check_dictionary(dictionary)
    else:
        checking.check_dictionary(dictionary)
    for how in ({"normalise": True}, {"any_norm": True}):
        checking.check_dictionary(dictionary, **how)
        with pytest.raises(ValueError, match="1 of 3 are zero; the first is row 2"):
            checking.check_dictionary(dictionary * torch.tensor([[1.0], [1], [0]]), **how)


def test_a_tolerance_is_a_norm_or_none() -> None:
    found = [checking.check_tolerance(value, "tolerance") for value in (None, 0, 0.5, 3)]
    assert found == [None, 0, 0.5, 3]
    for wrong in (-1e-9, float("inf"), float("nan"), True, "1"):
        with pytest.raises(ValueError, match="`tolerance`"):
            checking.check_tolerance(wrong, "tolerance")


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


def test_rows_stop_at_the_larger_of_two_limits() -> None:
    """Norms 5 and 1: a residual of ½, or of a fifth of the row; rounding is eight units of the last place."""
    x = torch.tensor([[3.0, 4.0], [0.6, 0.8]])

    def problem(x: torch.Tensor, **given: Any) -> Problem:
        return Problem(x=x, dictionary=torch.eye(2), k=2, algorithm="matching_pursuit", **given)

    for given, limits, watches in (
        ({}, [-1, -1], False),
        ({"tolerance": 0.5}, [0.25, 0.25], True),
        ({"tolerance": 0.0}, [0, 0], True),
        ({"relative_tolerance": 0.2}, [1, 0.04], True),
        ({"tolerance": 0.5, "relative_tolerance": 0.2}, [1, 0.25], True),
        ({"trace": True}, [-1, -1], True),
    ):
        one = problem(x, **given)
        assert one.limits().tolist() == pytest.approx(limits)
        assert one.watches == watches
    assert (problem(x).threshold, problem(x.double()).threshold) == (1e-6, 1e-12)
    assert problem(x).floors().tolist() == pytest.approx([8 * 2**-23 * 5, 8 * 2**-23])
    assert (problem(x).rounds, problem(x.double()).rounds) == (True, False)


def test_codes_at_a_step_are_those_so_far() -> None:
    """3 + 4 + 0 along the axes: the largest first, then nothing more; an amount of an atom taken twice is added."""
    x = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])
    _, trace = matching_pursuit(x, torch.eye(3), 3, nonnegative=False, trace=True)
    found = [trace.codes_at(step).to_dense().tolist() for step in range(4)]
    nothing = [0, 0, 0]
    assert found == [
        [nothing, nothing], [[0, -4, 0], nothing], [[3, -4, 0], nothing], [[3, -4, 0], nothing],
    ]  # fmt: skip
    assert trace.residual_norms.tolist() == [[5, 3, 0, 0], [0, 0, 0, 0]]
    assert (trace.n_steps.tolist(), trace.atoms[0].tolist()) == ([2, 0], [1, 0, -1])
    with pytest.raises(ValueError, match="between 0 and 3, got 4"):
        trace.codes_at(4)
    slanted, x = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1]]), torch.tensor([[1.0, 1, 0]])
    codes, twice = matching_pursuit(x, slanted, 3, trace=True)
    # ⟨x, d⟩ = 1, 1.4; then 1 − 1.4 · .6 = .16 of the first, which leaves −.096 of the second.
    assert twice.atoms.tolist() == [[1, 0, -1]]
    assert codes.to_dense().tolist() == [pytest.approx([0.16, 1.4, 0])]
    signed = matching_pursuit(x, slanted, 3, nonnegative=False)
    assert signed.to_dense().tolist() == [pytest.approx([0.16, 1.4 - 0.096, 0])]


def test_correlations_are_refreshed_after_32_steps_unless_asked_otherwise() -> None:
    for call in (matching_pursuit, explain_plan, Problem, pursuits._run):
        assert numbers_left_out(call)["refresh_every"] == 32
