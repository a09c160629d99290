"""The systems of the lab: what each one is in terms of the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

_SYSTEMS = (
    ("KDS", "dense", "Gaussian", "simplex, cost by distance", "FISTA", "2012.02134"),
    (
        "WLSC",
        "dense, unit atoms",
        "Gaussian",
        "soft ≥ 0, weight by distance",
        "FISTA",
        "2402.10213",
    ),
    (
        "KernelSimilarity",
        "implicit, D = ΦPᵀ",
        "Gaussian, in features",
        "soft ≥ 0",
        "ADMM",
        "2503.00655",
    ),
    ("Waves", "five-point Laplacian", "none", "none", "steps of time", "2502.06034"),
    (
        "DUNL",
        "convolution, baseline",
        "Gaussian, Poisson, binomial",
        "soft, groups of neurons, top k",
        "FISTA",
        "none",
    ),
    ("SparKer", "Gaussian kernels", "Poisson", "bound", "Adam", "2511.03095"),
    (
        "SparseBayes",
        "any; masked cosines",
        "Gaussian",
        "ridge, learned per coefficient",
        "CG",
        "2306.03249",
    ),
    ("Momentum", "attention of 1 + γ(1 − shift)", "categorical", "none", "none", "2602.04902"),
    ("Signatures", "features; affine movements", "Gaussian", "none", "eigenvectors", "2412.04441"),
    ("GroupNetwork", "orbits b, Ab, A²b, …", "Gaussian", "soft ≥ 0", "FISTA", "2305.18552"),
    ("PatchMosaic", "patches, shared by all pixels", "Gaussian", "softmax", "DDIM", "2412.20292"),
)
_COLUMNS = ("system", "operator", "link", "prox", "solver", "arXiv")


def names() -> DataFrame:
    """List the systems, and what each is made of.

    Returns
    -------
    DataFrame
        One row per system: system, operator, link, prox, solver, arXiv.

    Example
    -------
    >>> names()["system"].tolist()[:4]
    ['KDS', 'WLSC', 'KernelSimilarity', 'Waves']
    """
    import pandas as pd

    return pd.DataFrame(_SYSTEMS, columns=list(_COLUMNS))
