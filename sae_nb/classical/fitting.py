"""fit_classical: PCA, k-means, NMF and its kin, archetypal analysis, on captured activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.architectures.archetypal import centroids
from sae_nb.checks import check_count, check_matrix
from sae_nb.classical.archetypal_analysis import archetypal_analysis
from sae_nb.classical.model import Classical, Method
from sae_nb.classical.multiplicative import convex_nmf, semi_nmf

METHODS: tuple[Method, ...] = get_args(Method)
MOST_ROWS = 4096
"""Rows that methods on n × n numbers look at, drawn at random from more."""

Fitted = tuple[Tensor, Tensor | None]


def fit_classical(
    data: Activations | Float[Tensor, "n d_in"],
    method: Method,
    n_atoms: int,
    *,
    k: int | None = None,
    n_steps: int = 200,
    max_rows: int | None = None,
    seed: int = 0,
) -> Classical:
    """Factorise activations as people did before SAEs; the result is used like an SAE.

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
        Most atoms per input when encoding; None uses as many as the method does.
    n_steps
        Alternations of the iterative methods.
    max_rows
        Rows looked at, drawn at random. None: all for PCA and KMeans, 4096 for the others.
    seed
        Of every draw.

    Returns
    -------
    Classical
        With `encode`, `decode`, `dictionary`, `save`; for `evaluate`, `steer` and every panel.

    Raises
    ------
    ValueError
        If the method is unknown, there are more atoms than it can find, or NMF meets a negative
        number.

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
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
    rows = data.x if isinstance(data, Activations) else check_matrix(data, name="data")
    n_atoms = check_count(n_atoms, name="n_atoms")
    _check_size(method, n_atoms, len(rows), rows.shape[1])
    check_count(n_steps, name="n_steps")
    model = Classical(rows.shape[1], n_atoms, method=method, k=k)
    if max_rows is None and method not in ("PCA", "KMeans"):
        max_rows = MOST_ROWS
    generator = torch.Generator().manual_seed(seed)
    dictionary, bias = _FITS[method](_drawn(rows, max_rows, generator), n_atoms, n_steps, generator)
    model.hold_(dictionary.float(), None if bias is None else bias.float())
    if isinstance(data, Activations):
        model.hook_point, model.model_name = data.hook_point, data.model_name
    return model


def _check_size(method: Method, n_atoms: int, n: int, d_in: int) -> None:
    most = min(n, d_in) if method == "PCA" else n
    if n_atoms > most:
        raise ValueError(
            f"`n_atoms` must be at most {most} for {method} on {n} rows of width {d_in}, got {n_atoms}."
        )


def _drawn(rows: Tensor, most: int | None, generator: torch.Generator) -> Tensor:
    rows = rows.detach().cpu().double()
    if most is None or len(rows) <= most:
        return rows
    return rows[torch.randperm(len(rows), generator=generator)[:most]]


def _pca(x: Tensor, n_atoms: int, _: int, generator: torch.Generator) -> Fitted:
    from sklearn.decomposition import PCA

    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    found = PCA(n_atoms, random_state=seed).fit(x.numpy())
    return torch.from_numpy(found.components_), torch.from_numpy(found.mean_)


def _kmeans(x: Tensor, n_atoms: int, _: int, generator: torch.Generator) -> Fitted:
    return centroids(x, n_atoms, generator), None


def _nmf(x: Tensor, n_atoms: int, n_steps: int, generator: torch.Generator) -> Fitted:
    from sklearn.decomposition import NMF

    if float(x.min()) < 0:
        raise ValueError(
            f"`data` must be ≥ 0 for NMF, got {float(x.min()):.4g}. Use 'SemiNMF', or activations "
            "after a ReLU."
        )
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    # More components than min(n, d_in) have no singular vectors to start from.
    start = "nndsvda" if n_atoms <= min(x.shape) else "random"
    found = NMF(n_atoms, init=start, max_iter=n_steps, tol=1e-4, random_state=seed)
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # n_steps is the caller's choice of when to stop.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(x.numpy())
    return torch.from_numpy(found.components_), None


def _memberships(x: Tensor, n_atoms: int, generator: torch.Generator) -> Tensor:
    centres = centroids(x, n_atoms, generator)
    nearest = torch.cdist(x, centres).argmin(dim=1)
    return torch.nn.functional.one_hot(nearest, n_atoms).to(x)


def _semi_nmf(x: Tensor, n_atoms: int, n_steps: int, generator: torch.Generator) -> Fitted:
    return semi_nmf(x, _memberships(x, n_atoms, generator), n_steps)[0], None


def _convex_nmf(x: Tensor, n_atoms: int, n_steps: int, generator: torch.Generator) -> Fitted:
    mixture, _ = convex_nmf(x, _memberships(x, n_atoms, generator), n_steps)
    return mixture @ x, None


def _archetypes(x: Tensor, n_atoms: int, n_steps: int, generator: torch.Generator) -> Fitted:
    mixture, _ = archetypal_analysis(x, n_atoms, n_steps=n_steps, generator=generator)
    return mixture @ x, None


_FITS: dict[str, Callable[[Tensor, int, int, torch.Generator], Any]] = {
    "PCA": _pca,
    "KMeans": _kmeans,
    "NMF": _nmf,
    "SemiNMF": _semi_nmf,
    "ConvexNMF": _convex_nmf,
    "ArchetypalAnalysis": _archetypes,
}
