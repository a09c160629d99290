"""The content of codes about one manifold: its atoms, their receptive fields, how well they explain it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Regime = Literal["capture", "tiling", "shattering", "dilution", "missed"]

OWN = 0.5
"""Share of an atom's strength on rows of a manifold from which it counts as that manifold's (ours)."""

FIRES = 1e-3
"""Least frequency of an atom that is considered, as in the grouping of arXiv 2604.28119."""

HELD, NARROW = 0.8, 0.5
"""R² from which atoms hold a manifold; width below which their fields are pieces of it. Ours."""


class Manifold(NamedTuple):
    """One manifold of rows."""

    name: str
    target: Float[np.ndarray, "n d_in"]
    """Contribution to each row."""
    on: Bool[np.ndarray, " n"]
    place: Float[np.ndarray, "n m"]
    angles: tuple[bool, ...]
    n_dimensions: int
    cell: Int[np.ndarray, " n"]
    """Piece of the manifold that a row lies in; −1 if it lies on none."""


# -------------------------------------------------------------------------------------------------
# What codes hold of one.


def components(
    rows: Float[np.ndarray, "n d_in"], fitted: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "n rank"]:
    """Return principal components of the fitted rows, for all rows."""
    centred = rows - rows[fitted].mean(axis=0)
    axes = np.linalg.eigh(np.atleast_2d(centred[fitted].T @ centred[fitted]))[1]
    return centred @ axes


def measured(
    one: Manifold,
    z: csr_matrix,
    parts: Float[np.ndarray, "n rank"],
    fitted: Bool[np.ndarray, " n"],
    shuffled: Int[np.ndarray, " n"],
    n_atoms: int,
) -> dict[str, Any]:
    """Return all numbers of one manifold, by the names of the record."""
    own = _own(one, z)
    weights = z[one.on][:, own].toarray()
    none = float("nan")
    spread = _median(_receptive_fields(np.abs(weights), one)) if len(own) else none
    width = spread / _half_axis(one)
    most = max(1, int(fitted.sum()) // 10)
    own_r2 = _r2(z[:, own[:most]].toarray(), one.target, fitted) if len(own) else 0.0
    inside = one.cell[one.on]
    counts = np.bincount(inside)[:, None]
    sums = np.zeros((len(counts), weights.shape[1]))
    np.add.at(sums, inside, weights)
    middles = np.zeros((len(counts), one.place.shape[1]))
    np.add.at(middles, inside, one.place[one.on])
    return {
        "names": one.name,
        "r2": _restricted_r2(z, one.target, fitted, n_atoms),
        "floor": _restricted_r2(z, one.target[shuffled], fitted, n_atoms),
        "components": _restricted_r2(parts, one.target, fitted, min(n_atoms, parts.shape[1])),
        "own_r2": own_r2,
        "support": len(own),
        "spread": spread,
        "width": width,
        "n_dimensions": one.n_dimensions,
        "regime": _regime(own_r2, len(own), width, one.n_dimensions),
        "atoms": own,
        "places": middles / counts,
        "responses": sums / counts,
    }


def _own(one: Manifold, z: csr_matrix) -> Int[np.ndarray, " own"]:
    """Atoms that belong to a manifold, the strongest first."""
    strength = np.asarray(abs(z).sum(axis=0)).ravel()
    here = np.asarray(abs(z[one.on]).sum(axis=0)).ravel()
    fires = z.getnnz(axis=0) >= FIRES * z.shape[0]
    own = (here >= OWN * strength.clip(1e-30)) & fires
    if one.on.mean() > 0.5:
        own &= _explained(one.cell, z) >= OWN
    return np.flatnonzero(own)[np.argsort(-here[own], kind="stable")]


def _explained(cell: Int[np.ndarray, " n"], z: csr_matrix) -> Float[np.ndarray, " n_atoms"]:
    """Share of each latent's variance between cells: its correlation ratio η²."""
    from scipy.sparse import csr_matrix as sparse

    at = cell - cell.min()
    within = sparse((np.ones(len(at)), (at, np.arange(len(at)))))
    counts = np.bincount(at).clip(1)[:, None]
    means = (within @ z).toarray() / counts
    middle = np.asarray(z.mean(axis=0)).ravel()
    total = np.asarray(z.multiply(z).sum(axis=0)).ravel() - len(at) * middle**2
    between = (counts * (means - middle) ** 2).sum(axis=0)
    return np.where(total > 1e-12 * len(at), between / total.clip(1e-30), 0.0)


def _restricted_r2(
    z: Any, target: Float[np.ndarray, "n d_in"], fitted: Bool[np.ndarray, " n"], n_atoms: int
) -> float:
    """R² of the columns that correlate best with the target."""
    known, wanted = z[fitted], target[fitted] - target[fitted].mean(axis=0)
    middle = np.asarray(known.mean(axis=0)).ravel()
    squares = known.multiply(known) if hasattr(known, "multiply") else known**2
    size = np.asarray(squares.sum(axis=0)).ravel() - len(wanted) * middle**2
    score = np.square(known.T @ wanted).sum(axis=1) / size.clip(1e-30)
    score[size <= 1e-12 * len(wanted)] = 0
    best = np.sort(np.argsort(-score, kind="stable")[:n_atoms])
    chosen = z[:, best]
    return _r2(chosen.toarray() if hasattr(chosen, "toarray") else chosen, target, fitted)


def _r2(
    columns: Float[np.ndarray, "n k"],
    target: Float[np.ndarray, "n d_in"],
    fitted: Bool[np.ndarray, " n"],
) -> float:
    """Of affine least squares, on the rows that were not fitted."""
    regressors = np.column_stack([columns, np.ones(len(columns))])
    weight = np.linalg.lstsq(regressors[fitted], target[fitted], rcond=None)[0]
    missed = target[~fitted] - regressors[~fitted] @ weight
    spread = target[~fitted] - target[~fitted].mean(axis=0)
    total = (spread**2).sum()
    return float(1 - (missed**2).sum() / total) if total > 0 else float("nan")


def _receptive_fields(
    weight: Float[np.ndarray, "rows own"], one: Manifold
) -> Float[np.ndarray, " own"]:
    """Return the share of the manifold that each atom responds to, mean over coordinates."""
    share = weight / weight.sum(axis=0).clip(1e-30)
    widths = []
    for place, angle in zip(one.place[one.on].T, one.angles, strict=True):
        if angle:
            widths.append(1 - np.abs(np.exp(1j * place) @ share))
        else:
            mean = place @ share
            squares = (share * (place[:, None] - mean) ** 2).sum(axis=0)
            widths.append(squares / max(place.var(), 1e-30))
    return np.mean(widths, axis=0)


def _half_axis(one: Manifold) -> float:
    """Median spread of max(0, ±γ along each principal axis of a manifold)."""
    if not one.on.any():
        return float("nan")
    points = one.target[one.on] - one.target[one.on].mean(axis=0)
    axes = np.linalg.eigh(np.atleast_2d(points.T @ points))[1][:, -one.n_dimensions :]
    along = points @ axes
    halves = np.concatenate([along.clip(0), (-along).clip(0)], axis=1)
    return max(_median(_receptive_fields(halves, one)), 1e-12)


def _median(values: Float[np.ndarray, " n"]) -> float:
    """The lower of two, as torch has it."""
    return float(np.quantile(values, 0.5, method="lower"))


def _regime(r2: float, support: int, width: float, p: int) -> Regime:
    if support and width < NARROW:
        return "tiling" if r2 >= HELD else "shattering"
    if support > 2 * p + 1:
        return "dilution"
    return "capture" if support and r2 >= HELD else "missed"
