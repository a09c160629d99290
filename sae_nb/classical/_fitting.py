"""fit_classical: PCA, k-means, NMF and its kin, archetypal analysis, on captured activations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._positions import PositionPolicy
from sae_nb.architectures import SimplexProx
from sae_nb.architectures._archetypal import centroids
from sae_nb.checks import Count, Seed, check_count, check_matrix, checked
from sae_nb.classical._model import Classical, Method
from sae_nb.classical._semi_nmf import (
    FLOOR,
    GUARD,
    MOST_ROWS,
    SemiNMF,
    lower_error,
    memberships,
    parts,
)

METHODS: tuple[Method, ...] = get_args(Method)
Fitted = tuple[Tensor, Tensor | None]


@checked
def fit_classical(
    data: Activations | Float[Tensor, "n d_in"],
    method: Method,
    n_atoms: Count,
    *,
    k: int | None = None,
    n_steps: Count = 200,
    max_rows: int | None = None,
    seed: Seed = 0,
) -> Classical:
    """Factorise activations by a method from before SAEs; the result is used like an SAE.

    Parameters
    ----------
    data
        Activations.
    method
        "PCA", "KMeans", "NMF" (activations ≥ 0 only), "SemiNMF", "ConvexNMF" or
        "ArchetypalAnalysis".
    n_atoms
        Components, centroids or archetypes; for PCA at most d_in.
    k
        Most atoms per input when encoding; None uses the number that the method does.
    n_steps
        Alternations of the iterative methods.
    max_rows
        Rows used, drawn at random. None: all for PCA and KMeans, 4096 for the others.
    seed
        Of every draw.

    Returns
    -------
    Classical
        With `encode`, `decode`, `dictionary`, `save`; for `evaluate`, `steer` and every panel.

    Raises
    ------
    ValueError: If there are more atoms than the method can find, or NMF meets a negative number.

    Source
    ------
    PCA, KMeans, NMF: scikit-learn. SemiNMF, ConvexNMF: Ding, Li and Jordan, IEEE TPAMI 2010.
    ArchetypalAnalysis: Cutler and Breiman, Technometrics 1994.

    Example
    -------
    >>> x = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
    >>> pca = fit_classical(x, "PCA", 6)
    >>> torch.allclose(pca(x), x, atol=1e-4)
    True
    """
    rows = data.x if isinstance(data, Activations) else check_matrix(data, name="data")
    if max_rows is None:
        max_rows = len(rows) if method in ("PCA", "KMeans") else MOST_ROWS
    check_count(max_rows, name="max_rows")
    _check_size(method, n_atoms, min(max_rows, len(rows)), rows.shape[1])
    if method == "SemiNMF":
        free = SemiNMF(rows.shape[1], n_atoms, kept=1.0, k=k)
        return free.fit(data, n_steps=n_steps, max_rows=max_rows, seed=seed)
    model = Classical(rows.shape[1], n_atoms, method=method, k=k)
    generator = torch.Generator().manual_seed(seed)
    dictionary, bias = _FITS[method](_drawn(rows, max_rows, generator), n_atoms, n_steps, generator)
    model.hold_(dictionary.float(), None if bias is None else bias.float())
    if isinstance(data, Activations):
        model.hook_point, model.model_name = data.hook_point, data.model_name
        model.position_policy = PositionPolicy.of(data)
    return model


def _check_size(method: Method, n_atoms: int, n: int, d_in: int) -> None:
    most = min(n, d_in) if method == "PCA" else n
    if n_atoms > most:
        raise ValueError(
            f"`n_atoms` must be at most {most} for {method} on {n} rows of width {d_in}, got {n_atoms}. "
            "Ask for fewer, or look at more rows (`max_rows`)."
        )


def _drawn(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    if len(rows) > most:
        rows = rows[torch.randperm(len(rows), generator=generator)[:most].to(rows.device)]
    return rows.detach().cpu().double()


def _pca(x: Tensor, n_atoms: int, _: int, generator: torch.Generator) -> Fitted:
    from sklearn.decomposition import PCA

    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    found = PCA(n_atoms, random_state=seed).fit(x.numpy())
    return torch.from_numpy(found.components_), torch.from_numpy(found.mean_)


def _kmeans(x: Tensor, n_atoms: int, _: int, generator: torch.Generator) -> Fitted:
    return centroids(x, n_atoms, generator), None


def _nmf(x: Tensor, n_atoms: int, n_steps: int, generator: torch.Generator) -> Fitted:
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    if float(x.min()) < 0:
        raise ValueError(
            f"`data` must be ≥ 0 for NMF, got {float(x.min()):.4g}. Use 'SemiNMF', or activations "
            "after a ReLU."
        )
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    # More components than min(n, d_in) have no singular vectors to start from.
    start = "nndsvda" if n_atoms <= min(x.shape) else "random"
    found = NMF(n_atoms, init=start, max_iter=n_steps, tol=1e-4, random_state=seed)
    with warnings.catch_warnings():
        # n_steps is the caller's choice of when to stop.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(x.numpy())
    return torch.from_numpy(found.components_), None


def _convex_nmf(x: Tensor, n_atoms: int, n_steps: int, generator: torch.Generator) -> Fitted:
    mixture, _ = convex_nmf(x, memberships(x, n_atoms, generator), n_steps)
    return mixture @ x, None


def _archetypes(x: Tensor, n_atoms: int, n_steps: int, generator: torch.Generator) -> Fitted:
    mixture, _ = archetypal_analysis(x, n_atoms, n_steps=n_steps, generator=generator)
    return mixture @ x, None


_FITS: dict[str, Callable[[Tensor, int, int, torch.Generator], Any]] = {
    "PCA": _pca,
    "KMeans": _kmeans,
    "NMF": _nmf,
    "ConvexNMF": _convex_nmf,
    "ArchetypalAnalysis": _archetypes,
}


# -------------------------------------------------------------------------------------------------
# Convex NMF: X ≈ Z W X with Z, W ≥ 0, so every atom is a non-negative mixture of rows; as semi-NMF, with a
# step in W where that has one in D.


@torch.no_grad()
def convex_nmf(
    x: Float[Tensor, "n d_in"], start: Float[Tensor, "n n_atoms"], n_steps: int
) -> tuple[Float[Tensor, "n_atoms n"], list[float]]:
    """Find atoms that are non-negative mixtures of the rows.

    Source: Ding, Li and Jordan 2010, eqs. 24 and 28, with the roles of rows and columns exchanged.
    """
    gram = x @ x.T
    positive, negative = parts(gram)
    z = start + FLOOR
    w = (z / z.sum(dim=0)).T.contiguous()
    errors = []
    for _ in range(n_steps):
        up = z.T @ positive + z.T @ z @ w @ negative
        down = z.T @ negative + z.T @ z @ w @ positive
        w = w * (up / (down + GUARD)).sqrt()
        z = lower_error(z, gram @ w.T, w @ gram @ w.T)
        errors.append(float((x - z @ (w @ x)).square().sum()))
    return w, errors


# -------------------------------------------------------------------------------------------------
# Archetypal analysis: every row is a mixture of archetypes, every archetype a mixture of rows.
#
# min ‖X − Z W X‖²  with the rows of Z (n × K) and of W (K × n) on the probability simplex.


INNER = 10
"""Accelerated projected gradient steps in Z, and in W, per alternation. Ours."""


@torch.no_grad()
def archetypal_analysis(
    x: Float[Tensor, "n d_in"],
    n_atoms: int,
    *,
    n_steps: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n_atoms n"], list[float]]:
    """Find archetypes: extreme points whose hull holds the data as well as may be.

    Parameters
    ----------
    x
        Rows, which may lie anywhere.
    n_steps
        Alternations between mixtures of archetypes and mixtures of rows.
    generator
        Draws the row that the start is farthest from.

    Returns
    -------
    tuple
        W, whose rows ≥ 0 sum to 1, so that W x are the archetypes; and ‖x − ZWx‖² after every alternation.

    Source: Cutler and Breiman, "Archetypal analysis", Technometrics 1994; projected gradients as in
    Mørup and Hansen, Neurocomputing 2012, with steps from the Lipschitz constants instead of a
    search; started from rows far apart (their FurthestSum, simplified).
    """
    # Mixtures move with the data, so the mean can be taken off; steps may then be longer.
    x = x - x.mean(dim=0)
    w = x.new_zeros(n_atoms, len(x))
    w[torch.arange(n_atoms), far_apart(x, n_atoms, generator)] = 1
    z = x.new_full((len(x), n_atoms), 1 / n_atoms)
    spread = _squared_norm(x)
    errors = []
    for _ in range(n_steps):
        atoms = w @ x
        z = _descend(z, atoms, x, _squared_norm(atoms))
        _move_archetypes(w, x, z, spread)
        errors.append(float((x - z @ (w @ x)).square().sum()))
    return w, errors


def _move_archetypes(w: Tensor, x: Tensor, z: Tensor, spread: float) -> None:
    """Bring each archetype in turn to the point of the hull that serves best, the others fixed.

    With R what the others leave, ‖R − z_k a‖² = ‖z_k‖² ‖a − v‖² + const for v = Rᵀz_k / ‖z_k‖²: so
    a = w_k X is the projection of v on the hull.
    """
    residual = x - z @ (w @ x)
    for k in range(len(w)):
        weight = z[:, k]
        power = float(weight @ weight)
        if power == 0:
            continue
        atom = w[k] @ x
        wanted = atom + residual.T @ weight / power
        w[k] = _descend(w[k : k + 1], x, wanted[None], spread)[0]
        residual += torch.outer(weight, atom - w[k] @ x)


def _descend(start: Tensor, points: Tensor, target: Tensor, bound: float) -> Tensor:
    """Accelerated projected gradient steps on ‖target − m · points‖² over mixtures m."""
    project, step = SimplexProx(), 1 / max(bound, 1e-12)
    point = ahead = start
    for t in range(INNER):
        new = project.dense(ahead - step * (ahead @ points - target) @ points.T)
        # Momentum is dropped whenever it points uphill, so the error never rises.
        uphill = float(((ahead - new) * (new - point)).sum()) > 0
        ahead = new if uphill else new + t / (t + 3) * (new - point)
        point = new
    return point


def _squared_norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2)) ** 2


def far_apart(x: Float[Tensor, "n d_in"], n: int, generator: torch.Generator) -> Tensor:
    """Return numbers of n rows chosen one by one, each the farthest from those chosen before, (n,).

    The first is the farthest from a row that is drawn.
    """
    drawn = x[torch.randint(len(x), (1,), generator=generator)]
    # Of differences, not of products, whose rounding far from the origin is larger than a distance.
    chosen = [int((x - drawn).norm(dim=1).argmax())]
    distance = (x - x[chosen]).norm(dim=1)
    while len(chosen) < n:
        chosen.append(int(distance.argmax()))
        distance = distance.minimum((x - x[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)
