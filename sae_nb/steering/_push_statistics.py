"""What is known of atoms before any is pushed: geometry, firings, co-firing, direct effect on the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csr_array

    from sae_nb.atoms._firings import Firings
    from sae_nb.lenses._head import Head

NEAR = 0.2
"""Cosine above which another atom counts as a neighbour. Ours."""

N_NEAREST = 10
AT_ONCE = 256
"""Atoms whose cosines, partners and direct effects are held at once."""

DENSITY, P99 = "density", "p99"


def push_statistics(
    firings: Firings,
    dictionary: Float[Tensor, "n_atoms d_in"],
    atoms: Int[np.ndarray, " n"],
    head: Head | None = None,
) -> DataFrame:
    """Return the statistics of some atoms, a row each, from stored codes and the dictionary; nothing is run.

    Columns: neighbours (atoms with a cosine above `NEAR`), nearest and near (the largest cosine; mean of ten),
    density (share of rows), p99 (99th percentile of |z|), unevenness (standard deviation of |z| over its mean,
    where it fires), partners (mean of the ten largest shares |A ∩ B| / |A ∪ B| of rows with another atom). With
    a head, of its direct effect on the outcomes, brought to mean 0 and deviation 1: peakedness (mean of its
    fourth power) and peak (the largest).

    >>> import numpy as np
    >>> import torch
    >>> from sae_nb.atoms._firings import Firings
    >>> from sae_nb.codes import SparseCodes
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 1.0], [3.0, 0.0]]))
    >>> found = push_statistics(Firings(codes), torch.eye(2), np.array([0]))
    >>> found[["density", "unevenness", "partners"]].round(2).to_numpy().tolist()
    [[1.0, 0.5, 0.5]]
    """
    import pandas as pd

    unit = normalize(dictionary.detach().float().cpu(), dim=1)
    rows = _fired(firings)
    parts = []
    for start in range(0, len(atoms), AT_ONCE):
        some = atoms[start : start + AT_ONCE]
        columns = {
            **_cosines(unit, some),
            DENSITY: firings.frequency[some],
            P99: firings.p99[some],
            "unevenness": _unevenness(firings, some),
            "partners": _partners(rows, firings.n_fired, some),
            **({} if head is None else _direct(head, unit[torch.from_numpy(some)])),
        }
        parts.append(pd.DataFrame(columns, index=pd.Index(some, name="atom")))
    return pd.concat(parts)


def _cosines(
    unit: Float[Tensor, "n_atoms d_in"], atoms: Int[np.ndarray, " n"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """How many atoms lie near each, and how near the nearest are."""
    cosine = unit[torch.from_numpy(atoms)] @ unit.T
    cosine[torch.arange(len(atoms)), torch.from_numpy(atoms)] = -1.0  # itself
    top = cosine.topk(min(N_NEAREST, max(len(unit) - 1, 1)), dim=1).values
    return {
        "neighbours": (cosine > NEAR).sum(dim=1).double().numpy(),
        "nearest": top[:, 0].double().numpy(),
        "near": top.mean(dim=1).double().numpy(),
    }


def _fired(firings: Firings) -> csr_array:
    """Whether an atom fires in a row, as a sparse matrix of ones."""
    from scipy.sparse import csr_array

    codes = firings.codes
    fired = (firings.values != 0).astype(np.float32)
    offsets = codes.offsets.numpy()
    found = csr_array((fired, firings.atoms, offsets), shape=(firings.n_rows, firings.n_atoms))
    found.eliminate_zeros()
    return found


def _unevenness(firings: Firings, atoms: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Standard deviation of |z| where an atom fires over its mean; 0 where it fires once at most."""
    sizes = [np.abs(firings.strengths(int(atom))[1]).astype(np.float64) for atom in atoms]
    return np.array([z.std() / z.mean() if len(z) > 1 else 0.0 for z in sizes])


def _partners(
    rows: csr_array, n_fired: Int[np.ndarray, " n_atoms"], atoms: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Mean of the ten largest |A ∩ B| / |A ∪ B|, A and B the rows of an atom and of another."""
    both = (rows[:, atoms].T @ rows).toarray()
    either = n_fired[atoms][:, None] + n_fired[None] - both
    shared = both / np.maximum(either, 1)
    shared[np.arange(len(atoms)), atoms] = 0.0
    n = min(N_NEAREST, max(shared.shape[1] - 1, 1))  # not itself
    return np.asarray(np.sort(shared, axis=1)[:, -n:].mean(axis=1))


def _direct(head: Head, directions: Float[Tensor, "n d"]) -> dict[str, Float[np.ndarray, " n"]]:
    """Shape of the direct effect on all outcomes."""
    with torch.no_grad():
        effect = head.effects(directions.to(head.device)).cpu()
    effect = effect - effect.mean(dim=1, keepdim=True)
    effect = effect / effect.std(dim=1, keepdim=True, correction=0).clamp_min(1e-12)
    return {
        "peakedness": effect.pow(4).mean(dim=1).double().numpy(),
        "peak": effect.amax(dim=1).double().numpy(),
    }
