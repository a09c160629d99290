"""The GPU kernels without a GPU: run by Numba's simulator, and typed and lowered for a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_nb.pursuit import gradient_pursuit, matching_pursuit, orthogonal_matching_pursuit

STEADY = Path(__file__).parent
"""Holds `simulator.py`."""

# Every branch of the kernels: correlations in shared memory, in global memory, and split; all
# strategies; signed or not; tolerances; re-selection; dependent atoms; rows that stop; fp32 and fp64.
SIMULATED = """
import warnings
import simulator, torch
from sae_nb.pursuit import _cuda as cuda, _gram as gram, gradient_pursuit, matching_pursuit
from sae_nb.pursuit import orthogonal_matching_pursuit as omp

generator = torch.Generator().manual_seed(0)
D = torch.randn(21, 6, generator=generator, dtype=torch.float64)
D = D / D.norm(dim=1, keepdim=True)
X = torch.randn(3, 6, generator=generator, dtype=torch.float64)
X[2] = 0
ran = 0

def same(pursuit, k=4, x=X, dictionary=D, atol=1e-10, **options):
    global ran
    ours, trace = pursuit(x, dictionary, k, backend="cuda", trace=True, **options)
    options.pop("memory_cap", None)
    exact, expected = pursuit(x, dictionary, k, backend="reference", trace=True, **options)
    assert torch.equal(trace.atoms, expected.atoms), (pursuit, options)
    assert torch.allclose(ours.to_dense(), exact.to_dense(), atol=atol), (pursuit, options)
    assert torch.allclose(trace.residual_norms, expected.residual_norms, atol=atol)
    assert torch.allclose(trace.coefficients, expected.coefficients, atol=atol)
    ran += 1

for pursuit in (matching_pursuit, omp, gradient_pursuit):
    for nonnegative in (True, False):
        same(pursuit, nonnegative=nonnegative)
    same(pursuit, memory_cap=5000)                          # no room for the Gram matrix
    same(pursuit, relative_tolerance=0.6)
    same(pursuit, x=X.float(), dictionary=D.float(), atol=1e-5)
for shared in (0, 80):                                      # none, then half of the correlations near
    cuda.SHARED_BYTES = shared
    same(matching_pursuit, nonnegative=False)
    same(matching_pursuit, k=6, reselect=False)
same(matching_pursuit, k=6, dictionary=D[:6], nonnegative=False, reselect=False)
same(matching_pursuit, k=5, refresh_every=2)
same(matching_pursuit, k=3, x=-torch.ones(1, 6).double(), dictionary=torch.eye(6).double())
same(gradient_pursuit, k=5, reselect=False)
same(omp, k=6, dictionary=D[:6])                            # coefficients that turn negative and leave

from sae_nb.pursuit import _engine as engine
from sae_nb.pursuit._checking import check_dictionary
from sae_nb.pursuit import Plan
from sae_nb.pursuit._problem import Problem
for slots in (1, 8):                                        # Gram rows on the fly
    problem = Problem(x=X, dictionary=D, k=4, algorithm="matching_pursuit")
    plan = Plan("rows", tile_rows=2, gram_rows=slots, bytes={}, seconds=0.0)
    steps = engine.pursue(problem, plan, check_dictionary(D, normalise=False), cuda.Cuda())
    exact = matching_pursuit(X, D, 4, backend="reference")
    assert torch.allclose(steps.selections().merge(steps.amounts[steps.taken()]), exact.values)
    ran += 1

twins = torch.tensor([[1.0, 0.0, 0.0], [1.0, 2e-4, 0.0]])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    codes = omp(torch.tensor([[0.1, 1.0, 0.5], [1.0, 0.0, 0.0]]), twins, 2, nonnegative=False, backend="cuda")
assert codes.l0.tolist() == [1, 1] and "1 of 2 rows" in str(caught[0].message)

x, atoms = X[:2].clone().requires_grad_(), D.clone().requires_grad_()
grads = []
for backend in ("cuda", "reference"):
    z = matching_pursuit(x, atoms, 3, backend=backend).to_dense()
    grads.append(torch.autograd.grad(z.square().sum(), (x, atoms)))
assert all(torch.allclose(a, b) for a, b in zip(*grads))

# The kernel of the backward pass, with rows that stop early and one of nothing, against torch's on the device
from sae_nb.pursuit import _autograd as autograd
for number in (torch.float64, torch.float32):
    x, atoms = X.to(number), D.to(number)
    plan = Plan("gram", tile_rows=3, gram_rows=21, bytes={}, seconds=0.0)
    problem = Problem(x=x, dictionary=atoms, k=4, algorithm="matching_pursuit", relative_tolerance=0.6)
    steps = engine.pursue(problem, plan, check_dictionary(atoms, normalise=False, any_norm=True), cuda.Cuda())
    assert sorted(steps.steps.tolist())[0] == 0 and len(set(steps.steps.tolist())) > 1
    chosen = steps.atoms.gather(1, steps.places.long())
    slopes = torch.randn(3, 4, generator=generator, dtype=number)
    found = []
    for adjoint in (autograd.matched_kernels, autograd._matched_torch, autograd._matched_loops):
        grad_x, grad_dictionary = torch.empty_like(x), torch.zeros_like(atoms)
        adjoint(x, atoms, steps, chosen, slopes, grad_x, grad_dictionary)
        found.append((grad_x, grad_dictionary))
    for other in found[1:]:
        for ours, expected in zip(found[0], other, strict=True):
            assert torch.allclose(ours, expected, atol=1e-5 if number == torch.float32 else 1e-12)
    ran += 1
print("problems", ran)
"""


@pytest.mark.slow
def test_kernels_equal_the_reference_under_the_simulator() -> None:
    """Every branch, at toy sizes, in a process of its own: the simulator is chosen at import."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "OMP_NUM_THREADS": "1"}
    found = (str(STEADY), environment.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, found))
    result = subprocess.run(
        [sys.executable, "-c", SIMULATED], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert int(result.stdout.split()[-1]) >= 27


@pytest.mark.slow
def test_kernels_compile_for_a_gpu_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are inferred and LLVM code is made for an H100: what the simulator cannot check."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0":
        pytest.skip("the simulator compiles nothing")
    compiler = pytest.importorskip("numba.cuda.compiler")
    from numba import float32, float64, int8, int32, int64, types
    from numba.cuda import dispatcher

    from sae_nb.pursuit import _cuda as cuda

    class Hopper:
        compute_capability = (9, 0)

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: Hopper)

    def array(number: Any, axes: int) -> Any:
        return types.Array(number, axes, "C")

    whole, flag, counts, index = int64, types.boolean, array(int32, 1), array(int32, 2)
    for number in (float32, float64):
        rows, vector, exact = array(number, 2), array(number, 1), array(float64, 2)
        systems = (array(float64, 3), exact, array(float64, 3), exact, index, counts)
        matching = (*[rows] * 4, whole, whole, *[flag] * 4, vector, vector, index, index, rows)
        matching += (counts, counts, array(int8, 1), rows, whole)
        refit = (whole, *[rows] * 5, *[whole] * 3, *[flag] * 4, vector, vector, float64)
        refit += (index, index, exact, *systems, counts, counts, array(int8, 1), rows)
        refit += (array(number, 3),)
        subtract = (rows, rows, counts, index, index, rows, whole, counts)
        adjoint = (rows, rows, index, counts, *[rows] * 3, array(number, 3))
        for kernel, signature in (
            (cuda.matching_kernel(number), matching),
            (cuda.refit_kernel(number), refit),
            (cuda.subtract_rows, subtract),
            (cuda.adjoint_kernel(number), adjoint),
        ):
            made = compiler.compile_cuda(kernel.py_func, types.void, signature, cc=(9, 0))
            assert made.library.get_llvm_str().count("define") > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(
    "pursuit", [matching_pursuit, orthogonal_matching_pursuit, gradient_pursuit]
)
def test_gpu_codes_and_gradients_equal_the_reference(pursuit: Any) -> None:
    """On the device, with correlations that fit shared memory and that do not."""
    generator = torch.Generator().manual_seed(0)
    for n_atoms in (600, 14000):
        x = torch.randn(100, 64, generator=generator, dtype=torch.float64).cuda().requires_grad_()
        dictionary = torch.randn(n_atoms, 64, generator=generator, dtype=torch.float64)
        dictionary = torch.nn.functional.normalize(dictionary, dim=1).cuda().requires_grad_()
        results = []
        for backend in ("cuda", "reference"):
            codes = pursuit(x, dictionary, 8, backend=backend)
            loss = codes.values.square().sum()
            results.append((codes.to_dense(), *torch.autograd.grad(loss, (x, dictionary))))
        for ours, expected in zip(*results, strict=True):
            assert torch.allclose(ours, expected, atol=1e-8)
