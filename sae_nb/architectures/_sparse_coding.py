"""Sparse coding against a given dictionary: choose a penalty, a likelihood and a solver by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures.parts._largest import TopKProx
from sae_nb.architectures.parts._links import BinomialLink, GaussianLink, Link, PoissonLink
from sae_nb.architectures.parts._operators import FixedOperator, Operator
from sae_nb.architectures.parts._proxes import (
    GroupProx,
    HardProx,
    IdentityProx,
    Penalty,
    RidgeProx,
    Rows,
    SimplexProx,
    SoftProx,
    row_tiles,
)
from sae_nb.architectures.parts._solvers import SOLVERS, Solved, SolverTrace
from sae_nb.checks import (
    as_tensor,
    check_finite,
    check_k,
    check_matrix,
    check_memory,
    checked,
    one_of,
)
from sae_nb.codes import SparseCodes
from sae_nb.pursuit._checking import as_tensors

ProxName = Literal[
    "soft+", "soft", "hard+", "hard", "group+", "group", "top-k", "simplex", "ridge", "identity"
]
SolverName = Literal["fista", "ista", "admm", "cg"]
LinkName = Literal["gaussian", "poisson", "binomial"]

STEP_TILES = 3
"""Most dense tiles that autograd keeps of a step: 1 to 3 measured, by penalty and solver."""


@overload
def sparse_code(
    x: Tensor, dictionary: Tensor | Operator, *, trace: Literal[False] = ..., **options: Any
) -> SparseCodes: ...
@overload
def sparse_code(
    x: Tensor, dictionary: Tensor | Operator, *, trace: Literal[True], **options: Any
) -> tuple[SparseCodes, SolverTrace]: ...


# The overloads say only what `trace` changes; the options are spelled out once, below.
@checked(leave=("bias", "weight", "x", "start"))
def sparse_code(
    x: Float[Tensor, "*batch d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"] | Operator,
    *,
    prox: ProxName | Penalty = "soft+",
    weight: float | Tensor | None = None,
    k: int | None = None,
    groups: Int[Tensor, " n_atoms"] | None = None,
    link: LinkName | Link = "gaussian",
    bias: Float[Tensor, " d_in"] | None = None,
    solver: SolverName = "fista",
    n_steps: int = 100,
    start: SparseCodes | None = None,
    tolerance: float | None = None,
    tail: int | None = None,
    trace: bool = False,
    memory_cap: int | None = None,
    **settings: Any,
) -> Solved:
    """Find the codes that explain x by few atoms: min_z nll(x, z D + b) + g(z).

    Every step is 1 / (‖D‖² · curvature of the nll), computed from the dictionary. Dense codes exist in
    tiles of bounded memory only. Gradients flow into `x` and the dictionary through all steps, or
    through the last `tail` of them.

    Parameters
    ----------
    x
        Inputs; leading axes are kept in `codes.leading_shape`. fp16 and bf16 are computed in fp32.
    dictionary
        Atoms, of any norms, or an operator (a convolution, say).
    prox
        The penalty g by name, with "+" for codes ≥ 0, or a `Penalty`. "soft": λ‖z‖₁; "hard": λ‖z‖₀;
        "group": λ Σ‖z_G‖₂; "top-k": at most k entries, ≥ 0; "simplex": entries ≥ 0 that sum to 1, with
        λ as their cost; "ridge": ½ λ‖z‖²; "identity": nothing, least squares.
    weight
        λ ≥ 0: one number; for "soft", "ridge" and "simplex" also one per atom or per input and atom.
        None: for "soft" and "group" a tenth of the λ at which an input's code is zero, in the mean
        over inputs; for "hard" half the square of that; 0 for "simplex".
    k
        For "top-k".
    groups
        For "group": the group of each atom, counted from 0.
    link
        "gaussian" (½‖x − x̂‖²), "poisson" (counts, x̂ the log-rate) or "binomial" (shares in [0, 1], x̂
        the log-odds), or a `Link`.
    bias
        b, added to every reconstruction.
    solver
        "fista" and "ista" for every penalty and link, "admm" for Gaussian ones (fewer, dearer steps),
        "cg" for "ridge" and "identity".
    n_steps
        Most steps.
    start
        Codes to begin with; None is zero.
    tolerance
        Stop an input when a step changes its code by less than this share of its norm.
    tail
        Only the last this many steps carry a gradient; the memory of the others is not kept.
    trace
        Also return every step, for small inputs.
    memory_cap
        Most bytes of dense codes at once; None is 256 MiB.
    settings
        Of one solver: `restart` (fista), `rho` (admm).

    Returns
    -------
    SparseCodes or tuple
        The codes; with `trace` also a `SolverTrace`, which is read like a pursuit's.

    Raises
    ------
    TypeError, ValueError: If inputs do not fit together or are not finite, the penalty lacks what it needs,
        data are impossible under the link, or the solver cannot do what is asked.
    MemoryError: If not even one row fits under the cap, or the graph of all steps would not fit in memory.

    Source
    ------
    One problem, four solvers: Beck and Teboulle 2009 (FISTA), Boyd et al. 2011 (ADMM). Truncated
    gradients as in DUNL (btolooshams/dunl-compneuro).

    Example
    -------
    >>> x = torch.tensor([[3.0, 0.5]])
    >>> sparse_code(x, torch.eye(2), weight=1.0).to_dense().tolist()
    [[2.0, 0.0]]
    >>> sparse_code(x, torch.eye(2), prox="simplex").to_dense().tolist()
    [[1.0, 0.0]]
    """
    operator, rows = _checked(x, dictionary, bias)
    likelihood = _link(link, rows)
    penalty = choose_penalty(prox, operator, rows, bias, weight=weight, k=k, groups=groups)
    _check_graph(operator, rows, n_steps if tail is None else tail)
    solve = SOLVERS[solver]
    solved = solve(
        operator,
        rows,
        penalty,
        n_steps=n_steps,
        link=likelihood,
        bias=bias,
        start=_checked_start(start, rows, operator),
        tolerance=tolerance,
        tail=tail,
        trace=trace,
        memory_cap=memory_cap,
        **_settings(settings, solver),
    )
    shape = as_tensor(x).shape[:-1]
    if isinstance(solved, tuple):
        return solved[0].reshape(*shape), solved[1]
    return solved.reshape(*shape)


def _checked(
    x: object, dictionary: Tensor | Operator, bias: Tensor | None
) -> tuple[Operator, Rows]:
    if not isinstance(dictionary, Operator):
        x, dictionary = as_tensors(x, dictionary)
        atoms = check_matrix(dictionary, name="dictionary")
        half = atoms.dtype in (torch.float16, torch.bfloat16)
        operator: Operator = FixedOperator(atoms.float() if half else atoms)
    else:
        operator = dictionary
    rows = check_matrix(x, d_in=operator.d_in, flatten=True)
    rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
    if not isinstance(bias, Tensor | None):
        raise TypeError(f"`bias` must be a torch tensor or None, got {type(bias).__name__}.")
    like = operator.energy()
    for name, tensor in (("x", rows), ("bias", bias)):
        if tensor is not None and (tensor.dtype, tensor.device) != (like.dtype, like.device):
            raise ValueError(
                f"`{name}` and `dictionary` must have one dtype and device, got {tensor.dtype} on "
                f"{tensor.device} and {like.dtype} on {like.device}. Use .to(…) first."
            )
    if bias is not None:
        if bias.shape != (operator.d_in,):
            raise ValueError(
                f"`bias` must have shape ({operator.d_in},), got {tuple(bias.shape)}. Flatten it."
            )
        check_finite(bias[None], name="bias")
    return operator, rows


def _check_graph(operator: Operator, rows: Tensor, steps: object) -> None:
    """Refuse an unrolled graph that would not fit; other calls need tiles only."""
    wanted = rows.requires_grad or operator.energy().requires_grad
    if torch.is_grad_enabled() and wanted and isinstance(steps, int):
        per_step = STEP_TILES * len(rows) * operator.n_atoms * rows.element_size()
        check_memory(
            steps * per_step,
            f"The graph of {steps} steps on {len(rows)} rows × {operator.n_atoms} atoms",
            "Use a smaller `tail`, fewer rows at once, or torch.no_grad().",
        )


def _checked_start(
    start: SparseCodes | None, rows: Tensor, operator: Operator
) -> SparseCodes | None:
    if start is None:
        return None
    if not isinstance(start, SparseCodes):
        raise TypeError(
            f"`start` must be SparseCodes or None, got {type(start).__name__}. Use SparseCodes.from_dense."
        )
    if (start.n_rows, start.n_atoms) != (len(rows), operator.n_atoms):
        raise ValueError(
            f"`start` must be codes of {len(rows)} rows × {operator.n_atoms} atoms, got {start!r}. "
            "Encode the same inputs with the same dictionary."
        )
    return start


def _settings(settings: dict[str, Any], solver: str) -> dict[str, Any]:
    own = {"fista": {"restart"}, "admm": {"rho"}}.get(solver, set())
    unknown = sorted(settings.keys() - own)
    if unknown:
        raise TypeError(
            f"`{unknown[0]}` must be a setting of solver={solver!r}, which has "
            f"{', '.join(sorted(own)) or 'none of its own'}. Leave it out, or choose another solver."
        )
    return settings


def _link(link: LinkName | Link, x: Tensor) -> Link:
    if isinstance(link, Link):
        return link
    one_of(link, get_args(LinkName), name="link")
    if link == "gaussian":
        return GaussianLink()
    low, high = float(x.detach().min()), float(x.detach().max())
    if link == "binomial":
        if low < 0 or high > 1:
            raise ValueError(
                f"`x` must hold shares between 0 and 1 for link='binomial', got {low:g} … {high:g}. "
                "Divide counts by the number of trials."
            )
        return BinomialLink()
    if low < 0:
        raise ValueError(
            f"`x` must hold counts ≥ 0 for link='poisson', got {low:g}. Use link='gaussian'."
        )
    # Twice the largest count: rates of the fit stay below it, and the step stays as large as it can.
    return PoissonLink(max_rate=max(2 * high, 1.0))


# -------------------------------------------------------------------------------------------------
# Choosing a penalty by name: what each one needs, and a weight where none was given.


DEFAULT_SHARE = 0.1
"""Default λ as a share of the mean λ at which a row's code becomes zero (ours: tens of atoms per row
on image patches and activations)."""


def choose_penalty(
    prox: ProxName | Penalty,
    operator: Operator,
    x: Tensor,
    bias: Tensor | None,
    *,
    weight: float | Tensor | None,
    k: int | None,
    groups: Tensor | None,
) -> Penalty:
    """Return the requested penalty, checked."""
    if isinstance(prox, Penalty):
        given = {"weight": weight, "k": k, "groups": groups}
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise TypeError(f"`{extra[0]}` must be left out where `prox` is a penalty already.")
        return prox
    one_of(prox, get_args(ProxName), name="prox")
    kind = prox.removesuffix("+")
    for name, value, wanted in (("k", k, "top-k"), ("groups", groups, "group")):
        if (value is not None) != (kind == wanted):
            raise ValueError(
                f"`{name}` must be given for prox={wanted!r} and for no other, got {name}="
                f"{'…' if value is not None else None} with prox={prox!r}."
            )
    checked = _weight(weight, kind, x, operator)
    build: dict[str, Callable[[], Penalty]] = {
        "soft": lambda: SoftProx(_or_default(checked, operator, x, bias), prox.endswith("+")),
        "hard": lambda: HardProx(_hard_weight(checked, operator, x, bias), prox.endswith("+")),
        "group": lambda: GroupProx(
            _groups(groups, operator),
            float(_or_default(checked, operator, x, bias)),
            prox.endswith("+"),
        ),
        "top-k": lambda: TopKProx(check_k(k, operator.n_atoms)),
        "simplex": lambda: SimplexProx(_cost(checked, operator, x)),
        "ridge": lambda: RidgeProx(_needed(checked)),
        "identity": IdentityProx,
    }
    return build[kind]()


def _weight(
    weight: float | Tensor | None, kind: str, x: Tensor, operator: Operator
) -> float | Tensor | None:
    """λ as the user gave it, if the penalty can use it."""
    if weight is None:
        return None
    if kind in ("top-k", "identity"):
        raise ValueError(
            f"`weight` must be None for prox={kind!r}, which has none, got {weight!r}."
        )
    shape = tuple(weight.shape) if isinstance(weight, Tensor) else ()
    allowed = [(), (operator.n_atoms,), (len(x), operator.n_atoms)]
    if shape and (kind not in ("soft", "ridge", "simplex") or shape not in allowed):
        raise ValueError(
            f"`weight` must be one number, or for 'soft', 'ridge' and 'simplex' have shape {allowed[1]} "
            f"or {allowed[2]}, got shape {shape} with {kind!r}."
        )
    if isinstance(weight, bool) or not isinstance(weight, int | float | Tensor):
        raise TypeError(f"`weight` must be a number or a tensor, got {weight!r}.")
    values = torch.as_tensor(weight).detach()
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise ValueError(f"`weight` must be finite and not negative, got {float(values.min()):g}.")
    return weight.to(x) if isinstance(weight, Tensor) and shape else float(weight)


@torch.no_grad()
def _or_default(
    weight: float | Tensor | None, operator: Operator, x: Tensor, bias: Tensor | None
) -> float | Tensor:
    """λ, or a tenth of the mean over rows of max_j |⟨x − b, d_j⟩|, above which a code is zero."""
    if weight is not None:
        return weight
    largest = []
    for rows in row_tiles(len(x), operator.n_atoms):
        centred = x[rows] if bias is None else x[rows] - bias
        largest.append(operator.adjoint(centred).abs().amax(dim=1))
    return DEFAULT_SHARE * float(torch.cat(largest).mean())


def _hard_weight(
    weight: float | Tensor | None, operator: Operator, x: Tensor, bias: Tensor | None
) -> float:
    """λ, or what an entry at the default threshold of soft shrinkage gains: half its square."""
    if weight is not None:
        return float(weight)
    return 0.5 * float(_or_default(None, operator, x, bias)) ** 2


def _cost(weight: float | Tensor | None, operator: Operator, x: Tensor) -> Tensor | None:
    return x.new_full((operator.n_atoms,), weight) if isinstance(weight, float) else weight


def _needed(weight: float | Tensor | None) -> float | Tensor:
    if weight is None:
        raise ValueError("`weight` must be given for prox='ridge', got None. Or use 'identity'.")
    return weight


def _groups(groups: Tensor | None, operator: Operator) -> Tensor:
    whole = isinstance(groups, Tensor) and not groups.is_floating_point()
    if not whole or groups.shape != (operator.n_atoms,) or int(groups.min()) < 0:  # type: ignore[union-attr]
        raise ValueError(
            f"`groups` must be {operator.n_atoms} integers ≥ 0, one per atom, got "
            f"{tuple(groups.shape) if isinstance(groups, Tensor) else groups!r}. Number groups from 0."
        )
    return groups.long()  # type: ignore[union-attr]
