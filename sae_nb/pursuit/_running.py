"""The one way through for every pursuit: check, plan, run, pack."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import check_count, check_k, one_of
from sae_nb.codes import SparseCodes, offsets_of
from sae_nb.pursuit import _reference as reference
from sae_nb.pursuit._checking import (
    Backend,
    Gradient,
    check_dictionary,
    check_input,
    check_tolerance,
    pick_backend,
)
from sae_nb.pursuit._gram import Known
from sae_nb.pursuit._planning import Plan, Size, lost_without_gram, make_plan
from sae_nb.pursuit._problem import Algorithm, Problem, Steps
from sae_nb.pursuit._results import PursuitTrace

Codes = SparseCodes | tuple[SparseCodes, PursuitTrace]


def run_pursuit(
    algorithm: Algorithm,
    x: Tensor,
    dictionary: Tensor,
    k: int,
    *,
    backend: Backend,
    gradient: Gradient,
    normalise: bool,
    memory_cap: int | None,
    **asked: Any,
) -> Codes:
    """Check everything, choose a way, take the steps, and pack the codes."""
    one_of(gradient, get_args(Gradient), name="gradient")
    facts = check_dictionary(dictionary, normalise=normalise)
    for name in ("tolerance", "relative_tolerance"):
        asked[name] = check_tolerance(asked[name], name)
    if "refresh_every" in asked:
        check_count(asked["refresh_every"], name="refresh_every")
    problem = Problem(
        x=rows_of(x, dictionary),
        dictionary=facts.atoms(dictionary),
        k=check_k(k, len(dictionary)),
        algorithm=algorithm,
        **asked,
    )
    chosen = pick_backend(backend, problem.x.device)
    graph = _graph(x, dictionary, problem, gradient=gradient, normalise=normalise)
    if chosen == "reference":
        steps, amounts = _by_reference(problem, graph)
    else:
        steps, amounts = _by_kernels(chosen, problem, facts, graph, memory_cap)
    stopped = int((steps.state == 2).sum())
    if stopped:
        warnings.warn(
            f"{stopped} of {len(steps.state)} rows stopped before k={k} steps: the best atom left "
            "depends linearly on those chosen. Their residuals may be larger than asked for; look for "
            "duplicate atoms.",
            stacklevel=3,
        )
    codes = _pack(problem, steps, amounts, tuple(x.shape[:-1]))
    return (codes, PursuitTrace.of(problem, steps)) if problem.trace else codes


def rows_of(x: Tensor, dictionary: Tensor) -> Tensor:
    """Checked inputs as contiguous rows in the precision of the computation."""
    rows = check_input(x, dictionary).detach()
    return (rows if rows.dtype == torch.float64 else rows.float()).contiguous()


def _graph(
    x: Tensor, dictionary: Tensor, problem: Problem, *, gradient: Gradient, normalise: bool
) -> tuple[Tensor, Tensor] | None:
    """Inputs and unit atoms as the caller's graph knows them; None where no gradient is wanted."""
    wanted = torch.is_grad_enabled() and (x.requires_grad or dictionary.requires_grad)
    if gradient != "full" or not wanted:
        return None
    atoms = dictionary.to(problem.x.dtype)
    atoms = atoms / atoms.norm(dim=1, keepdim=True) if normalise else atoms
    return x.reshape(problem.x.shape).to(problem.x.dtype).contiguous(), atoms.contiguous()


def _by_reference(
    problem: Problem, graph: tuple[Tensor, Tensor] | None
) -> tuple[Steps, Float[Tensor, "rows k"]]:
    if graph is None:
        with torch.no_grad():
            return reference.pursue(problem)
    return reference.pursue(replace(problem, x=graph[0], dictionary=graph[1]))


def _by_kernels(
    backend: Backend,
    problem: Problem,
    facts: Known,
    graph: tuple[Tensor, Tensor] | None,
    memory_cap: int | None,
) -> tuple[Steps, Float[Tensor, "rows k"]]:
    from sae_nb.pursuit._engine import Kernels, pursue

    plan = plan_for(problem, facts, memory_cap)
    facts.seconds_without += lost_without_gram(_size(problem, facts), plan)
    if backend == "cpu":
        from sae_nb.pursuit._cpu import Cpu

        kernels: Kernels = Cpu()
    else:
        from sae_nb.pursuit._cuda import Cuda

        kernels = Cuda()
    steps = pursue(problem, plan, facts, kernels)
    if graph is not None:
        from sae_nb.pursuit._autograd import attach

        return steps, attach(problem, steps, *graph)
    return steps, steps.coefficients.to(problem.x.dtype) if problem.refits else steps.amounts


def plan_for(problem: Problem, facts: Known, memory_cap: int | None) -> Plan:
    """The way a problem will go."""
    cap = None if memory_cap is None else check_count(memory_cap, name="memory_cap")
    return make_plan(_size(problem, facts), cap)


def _size(problem: Problem, facts: Known) -> Size:
    return Size(
        rows=len(problem.x),
        d_in=problem.x.shape[1],
        n_atoms=len(problem.dictionary),
        k=problem.k,
        dtype=problem.x.dtype,
        device=problem.x.device,
        refits=problem.refits,
        trace=problem.trace,
        refresh_every=problem.refresh_every,
        gram_known=facts.gram is not None,
        seconds_without=facts.seconds_without,
    )


def _pack(
    problem: Problem, steps: Steps, amounts: Float[Tensor, "rows k"], shape: tuple[int, ...]
) -> SparseCodes:
    """Sparse codes from what every step chose."""
    n_atoms = len(problem.dictionary)
    if problem.refits:
        used = steps.chosen() & (steps.coefficients != 0)
        offsets = offsets_of(used.sum(dim=1))
        return SparseCodes(amounts[used], steps.atoms[used], offsets, n_atoms, shape)
    selections = steps.selections()
    values = selections.merge(amounts[steps.taken()])
    return SparseCodes(values, selections.merged_atoms, selections.merged_offsets, n_atoms, shape)
