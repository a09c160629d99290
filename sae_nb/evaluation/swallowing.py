"""Does a child's latent swallow its parent's? P(parent latent silent | child latent active, parent true)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import check_matrix
from sae_nb.codes import SparseCodes
from sae_nb.evaluation.controls import random_like
from sae_nb.evaluation.matching import match_atoms
from sae_nb.evaluation.measurement import Measurement, Resampling, measured


def swallowed(
    sae: Any,
    x: Float[Tensor, "n d_in"],
    truth: SparseCodes,
    dictionary: Float[Tensor, "n_concepts d_in"],
    parent: Int[Tensor, " n_concepts"],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Measurement:
    """Where the true concepts and their tree are known: how often a parent is silent under its child.

    Every concept is given an atom by matching its direction with the dictionary's.

    Parameters
    ----------
    sae
        Any SAE trained on such vectors.
    x
        Vectors, as of `concept_tree`.
    truth
        Their true codes.
    dictionary
        The true directions.
    parent
        Parent of each concept; −1 at the top.
    n_bootstrap
        Resamples of rows.
    seed
        Of the random dictionary and the bootstrap.

    Returns
    -------
    Measurement
        Mean over the concepts that have a parent; NaN where no child's latent is ever active with its
        child. The control is a random dictionary of the same size and L0.

    Raises
    ------
    ValueError
        If the truth is of other rows or concepts, there are more concepts than atoms, or no concept
        has a parent.

    Example
    -------
    >>> import sae_nb as sn
    >>> tree = sn.data.concept_tree(500)
    >>> class Known:
    ...     n_atoms, d_in, dictionary = 20, 20, tree.dictionary
    ...     def encode(self, x):
    ...         return tree.codes
    >>> swallowed(Known(), tree.x, tree.codes, tree.dictionary, tree.parent, n_bootstrap=10).value
    0.0
    """
    resampling = Resampling(n_bootstrap, seed)
    rows = check_matrix(x, d_in=sae.d_in)
    children = np.flatnonzero(parent.numpy() >= 0)
    if (len(truth), truth.n_atoms) != (len(rows), len(dictionary)) or len(parent) != len(
        dictionary
    ):
        raise ValueError(
            f"`truth` must be of {len(rows)} rows and {len(dictionary)} concepts, as `x` and "
            f"`dictionary`, got {len(truth)} × {truth.n_atoms} and {len(parent)} parents."
        )
    if sae.n_atoms < len(dictionary):
        raise ValueError(
            f"`sae` must have an atom per concept, {len(dictionary)}, got {sae.n_atoms}."
        )
    if not len(children):
        raise ValueError("`parent` must name a parent of some concept, got −1 for all.")
    codes = sae.encode(rows.to(sae.dictionary)).detach()
    own = _counts(codes, sae.dictionary, truth, dictionary, parent.numpy(), children)
    random = random_like(sae, Activations.from_tensor(rows), seed=seed)
    chance = _counts(
        random.encode(rows), random.dictionary, truth, dictionary, parent.numpy(), children
    )
    value, interval = resampling.estimates(own, {"share": _share})["share"]
    return measured(
        "swallowed",
        value,
        floor=0.0,
        control=_share(chance.sum(axis=0)[None])[0],
        interval=interval,
        n=int(own[:, len(children) :].sum()),
    )


def _counts(
    codes: SparseCodes,
    atoms: Tensor,
    truth: SparseCodes,
    dictionary: Tensor,
    parent: np.ndarray,
    children: np.ndarray,
) -> Float[np.ndarray, "n columns"]:
    """Of every row: which children were told without their parent, and which were told at all."""
    concepts, partners, _ = match_atoms(dictionary.float(), atoms.detach().float().cpu())
    atom_of = np.empty(len(dictionary), dtype=np.int64)
    atom_of[concepts] = partners
    z = codes.to("cpu").to_scipy().tocsc() != 0
    true = truth.to_scipy().tocsc() != 0
    told = z[:, atom_of[children]].multiply(true[:, children]).toarray().astype(bool)
    silent = ~z[:, atom_of[parent[children]]].toarray().astype(bool)
    return np.concatenate((told & silent, told), axis=1).astype(np.float64)


def _share(sums: Float[np.ndarray, "resamples columns"]) -> Float[np.ndarray, " resamples"]:
    """Mean over children told of the share without their parent."""
    half = sums.shape[1] // 2
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = sums[:, :half] / sums[:, half:]
    told = np.isfinite(shares)
    total = np.where(told, shares, 0.0).sum(axis=1)
    return np.divide(
        total, told.sum(axis=1), out=np.full(len(sums), np.nan), where=told.any(axis=1)
    )
