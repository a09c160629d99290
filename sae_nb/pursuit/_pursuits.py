"""The three pursuits, and below them the one way through for all: check, plan, run, pack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args, overload

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, check_count, check_k, checked, one_of, warn_caller
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import offsets_of
from sae_nb.kernels._dense import note
from sae_nb.pursuit import _card as card, _reference as reference
from sae_nb.pursuit._checking import (
    Backend,
    Gradient,
    as_tensors,
    check_dictionary,
    check_input,
    check_tolerance,
    pick_backend,
)
from sae_nb.pursuit._gram import Known
from sae_nb.pursuit._planning import Plan, Size, lost_without_gram, make_plan
from sae_nb.pursuit._problem import Problem, PursuitName, PursuitTrace, Reselect, Steps

Codes = SparseCodes | tuple[SparseCodes, PursuitTrace]

# Overloads say only what `trace` changes; the options are spelled out once, below them.


@overload
def matching_pursuit(
    x: Tensor, dictionary: Tensor, k: int, *, trace: Literal[False] = ..., **options: object
) -> SparseCodes: ...
@overload
def matching_pursuit(
    x: Tensor, dictionary: Tensor, k: int, *, trace: Literal[True], **options: object
) -> tuple[SparseCodes, PursuitTrace]: ...
@checked(leave=("x", "dictionary"))  # type: ignore[misc]
def matching_pursuit(
    x: Float[Tensor, "*batch d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    k: int,
    *,
    nonnegative: bool = True,
    backend: Backend = "auto",
    tolerance: float | None = None,
    relative_tolerance: float | None = None,
    reselect: Reselect = True,
    normalise: bool = False,
    any_norm: bool = False,
    gradient: Gradient = "full",
    trace: bool = False,
    memory_cap: int | None = None,
    refresh_every: int = 32,
) -> Codes:
    """Take, k times, the atom most correlated with what is left, and subtract it.

    With unit atoms and r_0 = x:  j_t = argmax_j ⟨r_t, d_j⟩,  a_t = ⟨r_t, d_{j_t}⟩,
    z_{j_t} += a_t,  r_{t+1} = r_t − a_t d_{j_t}.  Then ‖r_{t+1}‖² = ‖r_t‖² − a_t², so the residual
    never grows, and r_{t+1} ⟂ d_{j_t}. A row stops when no atom has a correlation above rounding.

    Parameters
    ----------
    x
        Inputs; leading axes are kept in `codes.leading_shape`. fp16 and bf16 are computed in fp32.
    dictionary
        Atoms of unit norm. Its Gram matrix is kept while it lives unchanged.
    k
        Most steps per input, 1 ≤ k ≤ n_atoms.
    nonnegative
        Only positive coefficients; otherwise atoms are chosen by |⟨r, d_j⟩|.
    backend
        Backend: "auto" is "cuda" on a GPU, "cpu" on the CPU. "cuda" is Triton's kernels, in fp32, and else
        Numba's; where neither runs, "auto" is "reference". `sae_nb.kernels.paths_taken()` says which ran.
    tolerance
        Stop an input when ‖r‖ is at most this, in units of x.
    relative_tolerance
        Stop an input when ‖r‖ is at most this times ‖x‖; whichever of the two is met first.
    reselect
        Whether an atom may be chosen again; its amounts are added up, so l0 ≤ k. "stop": it may, and that
        step is the last of its input, as in mpsae/MP-SAE (the steps after it are still computed).
    normalise
        Scale the rows of the dictionary to unit norm first; codes then belong to the scaled atoms.
    any_norm
        Take rows as they are, of any norm; above √2 the residual may then grow. For dictionaries whose
        norms are being learned.
    gradient
        "full": through the amounts and the residual chain into x and the dictionary (the choice of
        atoms is a constant). "dictionary": codes are constants, so only decoding has a gradient;
        a cheaper, alternating way to learn the dictionary.
    trace
        Also return every step, for small inputs: coefficients take rows × k² numbers.
    memory_cap
        Most bytes beyond the inputs; None is half of what is free. `explain_plan` shows the effect.
    refresh_every
        Steps after which correlations are recomputed, against drift by rounding.

    Returns
    -------
    SparseCodes or tuple
        The codes; with `trace` also a `PursuitTrace`.

    Raises
    ------
    TypeError, ValueError: If x, dictionary or k do not fit, an atom is zero or not of unit norm (the worst
        row is named), or the backend cannot run here.
    MemoryError: If the smallest plan is over the cap.

    Source
    ------
    Mallat and Zhang, "Matching pursuits with time-frequency dictionaries", 1993; as an encoder:
    "From Flat to Hierarchical", arXiv 2506.03093. Ours updates correlations with Gram rows.

    Example
    -------
    >>> import torch
    >>> dictionary = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> matching_pursuit(torch.tensor([[3.0, 4.0]]), dictionary, 1).to_dense().tolist()
    [[0.0, 0.0, 5.0]]
    """
    way = _Way(
        backend=backend,
        gradient=gradient,
        normalise=normalise,
        any_norm=any_norm,
        memory_cap=memory_cap,
    )
    stop = (tolerance, relative_tolerance)
    rules = {"nonnegative": nonnegative, "reselect": reselect, "trace": trace}
    return _run(
        "matching_pursuit", x, dictionary, k, way, stop, **rules, refresh_every=refresh_every
    )


@overload
def orthogonal_matching_pursuit(
    x: Tensor, dictionary: Tensor, k: int, *, trace: Literal[False] = ..., **options: object
) -> SparseCodes: ...
@overload
def orthogonal_matching_pursuit(
    x: Tensor, dictionary: Tensor, k: int, *, trace: Literal[True], **options: object
) -> tuple[SparseCodes, PursuitTrace]: ...
@checked(leave=("x", "dictionary"))  # type: ignore[misc]
def orthogonal_matching_pursuit(
    x: Float[Tensor, "*batch d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    k: int,
    *,
    nonnegative: bool = True,
    backend: Backend = "auto",
    tolerance: float | None = None,
    relative_tolerance: float | None = None,
    normalise: bool = False,
    gradient: Gradient = "full",
    trace: bool = False,
    memory_cap: int | None = None,
) -> Codes:
    """Take, k times, the atom most correlated with what is left, and refit all coefficients.

    j_t = argmax_{j ∉ Γ} ⟨r_t, d_j⟩,  Γ ← Γ ∪ {j_t},  z_Γ = argmin_z ‖x − z D_Γ‖² (over z ≥ 0 when
    non-negative),  r_{t+1} = x − z_Γ D_Γ. Signed residuals are orthogonal to every atom chosen; at
    k = n_atoms the code is the least-squares (or non-negative least-squares) solution.

    Parameters
    ----------
    x, dictionary, k
        As in `matching_pursuit`.
    nonnegative
        Coefficients ≥ 0; an atom whose best coefficient is zero is not in the codes, so l0 ≤ k.
    backend, tolerance, relative_tolerance, normalise, trace, memory_cap
        As in `matching_pursuit`.
    gradient
        "full": of the least-squares solution on its support. "dictionary": codes are constants.

    Returns and raises what `matching_pursuit` does.

    Warns
    -----
    UserWarning
        If inputs stopped early because the best atom left depends linearly on those chosen.

    Source
    ------
    Rubinstein, Zibulevsky and Elad, "Efficient Implementation of the K-SVD Algorithm using Batch
    Orthogonal Matching Pursuit", 2008; Lawson and Hanson, "Solving Least Squares Problems", ch. 23.
    Ours adds one step of iterative refinement with the residual of x itself.

    Example
    -------
    >>> import torch
    >>> dictionary = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    >>> codes = orthogonal_matching_pursuit(torch.tensor([[1.2, 0.8]]), dictionary, 2)
    >>> [round(z, 4) for z in codes.to_dense()[0].tolist()]
    [0.6, 1.0]
    """
    way = _Way(backend=backend, gradient=gradient, normalise=normalise, memory_cap=memory_cap)
    stop = (tolerance, relative_tolerance)
    rules = {"nonnegative": nonnegative, "reselect": False, "trace": trace}
    return _run("orthogonal_matching_pursuit", x, dictionary, k, way, stop, **rules)


@overload
def gradient_pursuit(
    x: Tensor, dictionary: Tensor, k: int, *, trace: Literal[False] = ..., **options: object
) -> SparseCodes: ...
@overload
def gradient_pursuit(
    x: Tensor, dictionary: Tensor, k: int, *, trace: Literal[True], **options: object
) -> tuple[SparseCodes, PursuitTrace]: ...
@checked(leave=("x", "dictionary"))  # type: ignore[misc]
def gradient_pursuit(
    x: Float[Tensor, "*batch d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    k: int,
    *,
    nonnegative: bool = True,
    backend: Backend = "auto",
    tolerance: float | None = None,
    relative_tolerance: float | None = None,
    reselect: bool = True,
    normalise: bool = False,
    gradient: Gradient = "full",
    trace: bool = False,
    memory_cap: int | None = None,
) -> Codes:
    """Take, k times, the atom most correlated with what is left, and move along the gradient.

    Γ ← Γ ∪ {argmax_j ⟨r, d_j⟩},  g = D_Γ r,  z_Γ += α g,  α = ‖g‖² / ‖g D_Γ‖². Between matching
    pursuit (one coefficient moves) and its orthogonal form (all are solved for). Non-negative: the
    step ends where the first coefficient reaches zero. The residual never grows.

    Parameters
    ----------
    x, dictionary, k
        As in `matching_pursuit`.
    nonnegative, backend, tolerance, relative_tolerance, reselect, normalise, gradient, trace, memory_cap
        As in `matching_pursuit`. Choosing an atom again is a further gradient step on the support.

    Returns and raises what `matching_pursuit` does.

    Source
    ------
    Blumensath and Davies, "Gradient Pursuits", IEEE Transactions on Signal Processing, 2008. The
    non-negative form is ours.

    Example
    -------
    >>> import torch
    >>> codes = gradient_pursuit(torch.tensor([[3.0, 4.0]]), torch.eye(2), 2)
    >>> codes.to_dense().tolist()
    [[3.0, 4.0]]
    """
    way = _Way(backend=backend, gradient=gradient, normalise=normalise, memory_cap=memory_cap)
    stop = (tolerance, relative_tolerance)
    rules = {"nonnegative": nonnegative, "reselect": reselect, "trace": trace}
    return _run("gradient_pursuit", x, dictionary, k, way, stop, **rules)


@checked(leave=("x", "dictionary"))
def explain_plan(
    x: Float[Tensor, "*batch d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    k: int,
    *,
    algorithm: PursuitName = "matching_pursuit",
    memory_cap: int | None = None,
    trace: bool = False,
    normalise: bool = False,
    refresh_every: Count = 32,
) -> Plan:
    """Explain the plan of a pursuit, with its memory and time, without running it.

    Parameters
    ----------
    x, dictionary, k, memory_cap, trace, normalise, refresh_every
        As in the pursuit.
    algorithm
        Its name.

    Returns
    -------
    Plan
        Strategy, tile size, predicted bytes by part and seconds; print it.

    Raises
    ------
    TypeError, ValueError, MemoryError: As in the pursuit.

    Example
    -------
    >>> import torch
    >>> plan = explain_plan(torch.randn(100, 16), torch.eye(16), 4)
    >>> plan.strategy, plan.tile_rows, plan.bytes["Gram matrix"]
    ('gram', 100, 512)
    """
    x, dictionary = as_tensors(x, dictionary)
    facts = check_dictionary(dictionary, normalise=normalise)
    problem = Problem(
        x=_rows(x, dictionary),
        dictionary=facts.atoms(dictionary),
        k=check_k(k, len(dictionary)),
        algorithm=algorithm,
        trace=trace,
        refresh_every=refresh_every,
    )
    return _plan(problem, facts, memory_cap, triton=x.is_cuda and card.runs(problem.x))


@dataclass(frozen=True, kw_only=True)
class _Way:
    """The strategy that computes a pursuit, whatever its rules."""

    backend: Backend
    gradient: Gradient
    normalise: bool
    memory_cap: int | None
    any_norm: bool = False


def _run(
    algorithm: PursuitName,
    x: Tensor,
    dictionary: Tensor,
    k: int,
    way: _Way,
    stop: tuple[float | None, float | None],
    *,
    refresh_every: int = 32,
    **rules: Any,
) -> Codes:
    """Check everything, choose a way, take the steps, and pack the codes."""
    one_of(way.gradient, get_args(Gradient), name="gradient")
    x, dictionary = as_tensors(x, dictionary)
    facts = check_dictionary(dictionary, normalise=way.normalise, any_norm=way.any_norm)
    problem = Problem(
        tolerance=check_tolerance(stop[0], "tolerance"),
        relative_tolerance=check_tolerance(stop[1], "relative_tolerance"),
        refresh_every=check_count(refresh_every, name="refresh_every"),
        x=_rows(x, dictionary),
        dictionary=facts.atoms(dictionary),
        k=check_k(k, len(dictionary)),
        algorithm=algorithm,
        **rules,
    )
    backend = pick_backend(way.backend, problem.x.device, triton=card.runs(problem.x))
    graph = _graph(x, dictionary, problem, way)
    if backend == "reference":
        inputs, atoms = graph or (problem.x, problem.dictionary)
        with torch.set_grad_enabled(graph is not None):
            steps, amounts = reference.pursue(replace(problem, x=inputs, dictionary=atoms))
    else:
        steps, amounts = _by_kernels(backend, problem, facts, graph, way.memory_cap)
    if problem.reselect == "stop":
        steps.end_at_repeats()
    stopped = int((steps.state == 2).sum())
    if stopped:
        warn_caller(
            f"{stopped} of {len(steps.state)} rows stopped before k={k} steps: the best atom left "
            "depends linearly on those chosen. Their residuals may be larger than asked for; look for "
            "duplicate atoms."
        )
    codes = _pack(problem, steps, amounts, tuple(x.shape[:-1]))
    return (codes, PursuitTrace.of(problem, steps)) if problem.trace else codes


def _rows(x: Tensor, dictionary: Tensor) -> Tensor:
    """Checked inputs as contiguous rows in the precision of the computation."""
    rows = check_input(x, dictionary).detach()
    return (rows if rows.dtype == torch.float64 else rows.float()).contiguous()


def _graph(
    x: Tensor, dictionary: Tensor, problem: Problem, way: _Way
) -> tuple[Tensor, Tensor] | None:
    """Inputs and unit atoms as the caller's graph knows them; None where no gradient is wanted."""
    wanted = torch.is_grad_enabled() and (x.requires_grad or dictionary.requires_grad)
    if way.gradient != "full" or not wanted:
        return None
    atoms = dictionary.to(problem.x.dtype)
    atoms = atoms / atoms.norm(dim=1, keepdim=True) if way.normalise else atoms
    return x.reshape(problem.x.shape).to(problem.x.dtype).contiguous(), atoms.contiguous()


def _by_kernels(
    backend: Backend,
    problem: Problem,
    facts: Known,
    graph: tuple[Tensor, Tensor] | None,
    memory_cap: int | None,
) -> tuple[Steps, Float[Tensor, "rows k"]]:
    from sae_nb.kernels._memory import explain_out_of_memory
    from sae_nb.pursuit._engine import Kernels, pursue

    triton = backend == "cuda" and card.runs(problem.x)
    plan = _plan(problem, facts, memory_cap, triton=triton)
    facts.seconds_without += lost_without_gram(_size(problem, facts, triton=triton), plan)
    if backend == "cpu":
        from sae_nb.pursuit._cpu import Cpu

        kernels: Kernels = Cpu()
    elif not triton:
        from sae_nb.pursuit._cuda import Cuda

        kernels = Cuda()
        plain = problem.x.dtype == torch.float32
        reason = (
            "Triton does not run here, see `triton`" if plain else f"inputs of {problem.x.dtype}"
        )
        note(problem.algorithm, "Numba", reason)
    per_row = plan.peak_bytes // max(1, len(problem.x))
    instead = "{rows} rows at a time would, or a smaller `memory_cap`."
    with explain_out_of_memory(problem.algorithm, problem.x, per_row, instead):
        if triton:
            steps = card.pursue(problem, plan, facts)
            note(problem.algorithm, "Triton", f"{plan.strategy}, tiles of {plan.tile_rows} rows")
        else:
            steps = pursue(problem, plan, facts, kernels)
    if graph is not None:
        from sae_nb.pursuit._autograd import attach

        return steps, attach(problem, steps, *graph)
    return steps, steps.coefficients.to(problem.x.dtype) if problem.refits else steps.amounts


def _plan(problem: Problem, facts: Known, memory_cap: int | None, *, triton: bool) -> Plan:
    """The way a problem will go."""
    cap = None if memory_cap is None else check_count(memory_cap, name="memory_cap")
    return make_plan(_size(problem, facts, triton=triton), cap)


def has_steps_of_one_shape(x: Tensor) -> bool:
    """Return whether `codes_of_step` takes these inputs."""
    return card.runs(x)


def codes_of_step(problem: Problem, graph: tuple[Tensor, Tensor] | None) -> SparseCodes:
    """Return codes of a training step on a card with Triton: k entries a row; nothing is checked or read.

    `graph`: the inputs and atoms that get a gradient; None: codes are constants.
    """
    from sae_nb.kernels._triton_primitives import Padded, key_dtype

    plan = _plan_of_step(_size(problem, None, triton=True))
    note(problem.algorithm, "Triton", f"{plan.strategy}, tiles of {plan.tile_rows} rows")
    values, atoms, counts, _ = card.fixed_codes(problem, plan, graph)
    (n_rows, k), n_atoms = values.shape, len(problem.dictionary)
    used = torch.arange(k, device=values.device) < counts[:, None]
    keys = torch.where(used, atoms, n_atoms).flatten().to(key_dtype(n_atoms))
    offsets = torch.arange(0, n_rows * k + 1, k, device=values.device)
    support = Padded(atoms.flatten(), offsets, n_atoms, keys=keys, counts=counts, k=k)
    return SparseCodes._made(values.flatten(), support)


@lru_cache(maxsize=16)
def _plan_of_step(size: Size) -> Plan:
    """The way of a training step, planned once: what is free is not asked for again."""
    return make_plan(size, None)


def _size(problem: Problem, facts: Known | None, *, triton: bool) -> Size:
    grams = () if facts is None else facts.grams
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
        gram_known=(problem.rounds or (triton and not problem.refits)) in grams,
        triton=triton,
        solves=problem.algorithm == "orthogonal_matching_pursuit",
        seconds_without=0.0 if facts is None else facts.seconds_without,
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
