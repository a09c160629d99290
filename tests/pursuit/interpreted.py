"""The Triton kernels at toy sizes in Triton's interpreter, against fp64; run by `test_triton.py` in its own process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from triton_interpreter import NothingWaits

from sae_nb.kernels import paths_taken
from sae_nb.pursuit import (
    _autograd as autograd,
    _card as card,
    gradient_pursuit,
    matching_pursuit,
    orthogonal_matching_pursuit as omp,
)
from sae_nb.pursuit._checking import check_dictionary
from sae_nb.pursuit._planning import Plan
from sae_nb.pursuit._problem import Problem

# Tensors on the CPU pass for some on a card, and the interpreter runs its kernels.
mock.patch("sae_nb.kernels._backends.on_card", return_value=True).start()

generator = torch.Generator().manual_seed(0)


def draw(rows: int, d_in: int) -> Tensor:
    return torch.randn(rows, d_in, generator=generator)


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1)


D = unit(draw(53, 19))  # neither is a multiple of anything
X = draw(4, 19)
X[2] = 0
DIRECT = 11_500  # bytes: no room for a Gram matrix


def same(pursuit: Any, k: int = 5, x: Tensor = X, dictionary: Tensor = D, **options: Any) -> None:
    """Choices, coefficients and residuals of every step equal those of the CPU's kernels in fp64."""
    ours, trace = pursuit(x, dictionary, k, backend="cuda", trace=True, **options)
    strategy = paths_taken()[pursuit.__name__].reason.split(",")[0]
    if pursuit is not gradient_pursuit:
        assert strategy == ("direct" if options.pop("memory_cap", None) else "gram"), strategy
    options.pop("memory_cap", None)
    exact, true = pursuit(x.double(), dictionary.double(), k, backend="cpu", trace=True, **options)
    assert torch.equal(trace.atoms, true.atoms), (pursuit, options)
    largest = float(exact.to_dense().abs().max()) or 1.0
    assert torch.equal(ours.to_dense() != 0, exact.to_dense() != 0)
    assert float((ours.to_dense() - exact.to_dense()).abs().max()) < 1e-6 * largest
    size = float(true.residual_norms.max())
    assert float((trace.residual_norms - true.residual_norms).abs().max()) < 1e-5 * size
    assert float((trace.coefficients - true.coefficients).abs().max()) < 1e-4 * size


def every_rule() -> None:
    for pursuit in (matching_pursuit, omp, gradient_pursuit):
        same(pursuit)
        same(pursuit, memory_cap=DIRECT, nonnegative=False)
        same(pursuit, 6, relative_tolerance=0.5)
        same(pursuit, 1)
        few = unit(D[:9, :5])
        same(pursuit, 9, X[:, :5].contiguous(), few)
        same(pursuit, 3, -torch.ones(2, 4), torch.eye(4))  # all pre-codes negative
        same(pursuit, 8, draw(3, 8).abs(), torch.eye(8))  # nothing is left before k
    for pursuit in (matching_pursuit, gradient_pursuit):
        same(pursuit, 6, reselect=False)
        same(pursuit, 6, reselect=False, nonnegative=False, memory_cap=DIRECT)
    alike = unit(D + 2 * draw(1, 19) / 19**0.5)
    same(matching_pursuit, 6, dictionary=alike, reselect=False, memory_cap=DIRECT)
    same(gradient_pursuit, 6, dictionary=alike)
    same(gradient_pursuit, 6, dictionary=alike, reselect=False)
    same(omp, nonnegative=False)
    same(matching_pursuit, nonnegative=False)
    same(matching_pursuit, 7, refresh_every=2)
    same(matching_pursuit, 7, reselect="stop")
    lengths = D * torch.linspace(0.1, 1.3, 53)[:, None]
    same(matching_pursuit, dictionary=lengths, any_norm=True)
    same(matching_pursuit, dictionary=lengths, any_norm=True, memory_cap=DIRECT)
    registers, chunk = card.MOST_IN_REGISTERS, card.CHUNK
    card.MOST_IN_REGISTERS, card.CHUNK = 32, 16  # more atoms than registers hold
    same(matching_pursuit, 7, refresh_every=3)
    same(matching_pursuit, 6, dictionary=alike, reselect=False)
    same(matching_pursuit, 5, relative_tolerance=0.5)
    same(matching_pursuit, 4, torch.eye(40)[:2] + torch.eye(40)[5:7], torch.eye(40))
    same(matching_pursuit, dictionary=lengths, any_norm=True)
    near_ties()
    card.MOST_IN_REGISTERS, card.CHUNK = registers, chunk
    same(matching_pursuit, 3, 1e4 * X, D)  # 16 bits would overflow
    same(matching_pursuit, 3, 1e-6 * X, D)
    same(omp, 3, 1e-6 * X, D)


def overlapping_atoms() -> None:
    """Atoms leave the active set, and come back; more of them than a chunk of the inverse holds."""
    alike = unit(draw(40, 4) @ draw(4, 8) + 0.25 * draw(40, 8) + draw(1, 8))
    inputs = draw(12, 8)
    inputs = torch.where((inputs @ alike.mean(0) < 0)[:, None], -inputs, inputs)
    x, wide = draw(1, 40), unit(draw(80, 40))
    problems = ((inputs, alike, 8, True), (x, wide, 66, True), (x, wide, 34, False))
    for x, dictionary, k, positive in problems:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # where an atom depends on others is a matter of precision
            ours, exact = (
                omp(x, dictionary, k, nonnegative=positive, backend=backend).to_dense()
                for backend in ("cuda", "cpu")
            )
        assert not positive or float(ours.min()) >= 0
        assert torch.equal(ours != 0, exact != 0)
        assert float((ours - exact).abs().max()) < 1e-5 * float(exact.abs().max())
        assert k < 60 or int((exact != 0).sum()) > 16  # more than a chunk of its inverse


def close_to_the_best(x: Tensor, dictionary: Tensor, k: int, off: float, cap: int | None) -> None:
    """What matching pursuit takes is best in fp64 but for `off`."""
    steps = matching_pursuit(x, dictionary, k, backend="cuda", trace=True, memory_cap=cap)[1]
    left, atoms = x.double(), dictionary.double()
    for t in range(k):
        scores = left @ atoms.T
        j = steps.atoms[:, t].long()
        best = scores.max(dim=1).values.clamp_min(0)
        chosen = scores.gather(1, j.clamp_min(0)[:, None])[:, 0] * (j >= 0)
        assert bool((best - chosen <= off).all()), (t, cap, best - chosen)
        left = left - chosen[:, None] * atoms[j]


def near_ties() -> None:
    """Copies a rounding of 16 bits apart: what may be best is compared in fp32, few or many."""
    for copies in (4, 80):
        base = unit(draw(3, 16))
        dictionary = unit(torch.cat([base + 1e-5 * draw(3, 16) for _ in range(copies)]))
        x = torch.tensor([[1.0, 0.6, 0.3], [0.4, 1.0, 0.7]]) @ base + 0.05 * draw(2, 16)
        for cap in (None, 11_500 if copies == 4 else 40_000):
            close_to_the_best(x, dictionary, 3, 1e-6, cap)
    # What is left is below the error of Gram rows of 16 bits.
    close_to_the_best(D[:4] + 3e-6 * draw(4, 19), D, 3, 3e-7, None)
    # A product in 16 bits has the wrong sign.
    for _ in range(1000):
        x, atom = unit(draw(1, 24)), draw(1, 24)
        atom = unit(atom - (atom @ x.T - 1e-5) * x)
        if float(x.half().float() @ atom.half().float().T) < -5e-5:
            break
    problem = Problem(x=x, dictionary=atom, k=1, algorithm="matching_pursuit")
    assert card.pursue(problem, plan_of("direct")).steps.tolist() == [1]
    twins = torch.eye(6)[[0, 0, 1, 1, 2, 3]]
    codes = matching_pursuit(torch.tensor([[0.0, 2.0, 1.0, 0, 0, 0]]), twins, 2, backend="cuda")
    assert codes.atoms.tolist() == [2, 4]  # of equal atoms the first


def dependent_atoms() -> None:
    """Three atoms almost in a plane: the third explains what little they do not, and is named."""
    plane = unit(torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 3e-4]]))
    x = torch.tensor([[1.0, 0.9, 1.0], [1.0, 0.9, 0.0]])
    for positive in (True, False):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            codes = omp(x, plane, 3, nonnegative=positive, backend="cuda")
        assert codes.l0.tolist() == [2, 2]
        assert "1 of 2 rows" in str(caught[0].message)


@contextmanager
def no_reads() -> Iterator[None]:
    """A launch is Triton's: what its interpreter does on the host is not looked at."""
    from triton.runtime.interpreter import GridExecutor

    call: Callable[..., Any] = GridExecutor.__call__

    def outside(*args: Any, **kwargs: Any) -> Any:
        with torch.utils._python_dispatch._disable_current_modes():
            return call(*args, **kwargs)

    GridExecutor.__call__ = outside
    try:
        with NothingWaits():
            yield
    finally:
        GridExecutor.__call__ = call


def plan_of(strategy: Any) -> Plan:
    return Plan(strategy, tile_rows=3, gram_rows=len(D), bytes={}, seconds=0.0)


def a_step_asks_nothing() -> None:
    """Codes of a fixed size and their gradient, for every pursuit: no number is read, and NaN rows are flagged."""
    bad = X.clone()
    bad[1, 3] = torch.nan
    for algorithm, positive, strategy in (
        ("matching_pursuit", True, "gram"),
        ("matching_pursuit", False, "direct"),
        ("orthogonal_matching_pursuit", True, "gram"),
        ("orthogonal_matching_pursuit", False, "direct"),
        ("gradient_pursuit", True, "direct"),
    ):
        results = []
        for x in (X, bad):
            inputs, atoms = x.clone().requires_grad_(), D.clone().requires_grad_()
            problem = Problem(x=x, dictionary=D, k=4, algorithm=algorithm, nonnegative=positive)
            with no_reads():
                codes = card.fixed_codes(problem, plan_of(strategy), (inputs, atoms))
                codes.values.square().sum().backward()
            results.append((codes, inputs.grad, atoms.grad))
        (fine, *_), (broken, *_) = results
        assert not bool(fine.broken)
        assert bool(broken.broken)
        assert fine.values.shape == fine.atoms.shape == (4, 4)
        assert fine.counts.tolist()[2] == 0
        assert torch.equal(broken.values[1], torch.zeros(4))
        rest = torch.tensor([0, 2, 3])
        assert torch.equal(fine.values[rest], broken.values[rest])
        assert torch.equal(fine.atoms[rest], broken.atoms[rest])
        dense = torch.zeros(4, 53).scatter_add(1, fine.atoms.long(), fine.values)
        pursuit = {"matching_pursuit": matching_pursuit, "gradient_pursuit": gradient_pursuit}
        public = pursuit.get(algorithm, omp)
        exact = public(X.double(), D.double(), 4, nonnegative=positive, backend="cpu").to_dense()
        assert float((dense.detach() - exact).abs().max()) < 1e-5


def gradients() -> None:
    """Adjoints equal torch's in fp64: steps cut short, atoms that stay at 0, rows that end early, k = 1 and k = n."""
    skewed = torch.cat([D[:1].expand(2, -1) + 0.2 * draw(2, 19), X[1:]])
    alike = unit(D + 2 * draw(1, 19) / 19**0.5)
    lengths = D * torch.linspace(0.5, 1.2, 53)[:, None]
    whole = torch.eye(19)[[3, 0, 7]]  # gradients of exactly 0
    for algorithm in ("matching_pursuit", "orthogonal_matching_pursuit", "gradient_pursuit"):
        gradients_of(algorithm, skewed, D, 4, 1e-6, again=True)
        gradients_of(algorithm, skewed, D, 1, 1e-6)
        gradients_of(algorithm, skewed, D[:5].contiguous(), 5, 1e-6, relative_tolerance=0.6)
        gradients_of(algorithm, skewed, whole, 3, 1e-6)
    gradients_of("matching_pursuit", skewed, lengths, 4, 1e-6, nonnegative=False)
    # Of atoms that overlap, torch's own fp32 is as far from fp64. Some leave: a step is cut short there.
    for algorithm in ("orthogonal_matching_pursuit", "gradient_pursuit"):
        gradients_of(algorithm, skewed, alike, 6, 1e-5, nonnegative=False)
        generator.manual_seed(319)
        few = unit(draw(12, 3) @ draw(3, 6) + 0.15 * draw(12, 6) + draw(1, 6))
        x = draw(8, 6)[[1, 2, 4, 7]]
        x = torch.where((x @ few.mean(0) < 0)[:, None], -x, x)
        assert gradients_of(algorithm, x, few, 8, 1e-5)


def gradients_of(
    algorithm: Any, x: Tensor, dictionary: Tensor, k: int, off: float, *, again: bool = False, **rules: Any
) -> bool:  # fmt: skip
    """By atomics, a few rows at a time; and in one order, which repeats bit for bit. Return whether atoms left."""
    problem = Problem(x=x, dictionary=dictionary, k=k, algorithm=algorithm, **rules)
    facts = check_dictionary(dictionary, normalise=False, any_norm=True)
    with no_reads():
        steps = card.pursue(problem, plan_of("gram"), facts)
    positive, slopes = problem.nonnegative, draw(len(x), k)
    adjoint, chosen = autograd._matched_torch, steps.chosen_at_steps()
    if problem.refits:
        adjoint, chosen = autograd._refitted, steps.atoms
    if algorithm == "gradient_pursuit":
        adjoint = partial(autograd._replayed, nonnegative=positive)
    exact = torch.empty_like(x).double(), torch.zeros_like(dictionary).double()
    adjoint(x.double(), dictionary.double(), steps, chosen, slopes.double(), *exact)
    found, room = [], card.TERM_BYTES
    either = (False,) if algorithm == "gradient_pursuit" else (True, False)
    for flag in (False, True, True) if again else either:
        torch.use_deterministic_algorithms(flag)
        card.TERM_BYTES = room if flag else 1000
        with no_reads():
            found.append(
                card.adjoint(x, dictionary, steps, slopes, algorithm, nonnegative=positive)
            )
        card.TERM_BYTES = room
        torch.use_deterministic_algorithms(False)
        for ours, true in zip(found[-1], exact, strict=True):
            assert float((ours - true).norm() / true.norm()) < off, (algorithm, k, rules)
    assert not again or all(torch.equal(a, b) for a, b in zip(found[1], found[2], strict=True))
    return problem.refits and bool((steps.chosen() & (steps.coefficients == 0)).any())


if __name__ == "__main__":
    torch.set_num_threads(1)
    import sys
    import time

    began = time.process_time()
    globals()[sys.argv[1]]()
    print(sys.argv[1], round(time.process_time() - began, 1))
