"""Does an SAE capture a manifold, tile it, or dilute it? Restricted R², support, receptive fields.

R²_i(n): affine least squares from the n best latents to what manifold i adds to x, on held-out rows.
The contribution of a coordinate of a real model to x is the mean of x at each of its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Seed, as_tensor, check_count, check_matrix, checked, one_of
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding
from sae_nb_studies.data import PlantedManifolds
from sae_nb_studies.geometry._receptive_fields import Manifold, Regime, components, measured

if TYPE_CHECKING:
    from pandas import DataFrame

SPANS = 0.95
"""Share of the variance of a manifold that the dimensions counted for it hold. Ours."""

FEWEST, MOST_CELLS = 20, 64
MOST_VALUES = 1024
DRAWN = 12
"""Atoms that a figure shows."""


class ManifoldCapture(Finding):
    """The way the atoms of an SAE hold each manifold; made by `manifold_capture`."""

    HEADLINE = (
        "{names.len} manifolds: {regime.counts}; R² of {n_atoms} latents {r2.nanmean:.2f}, "
        "shuffled {floor.nanmean:.2f}"
    )

    names: tuple[str, ...]
    """Of the manifolds."""

    r2: Float[np.ndarray, " n_manifolds"]
    """Restricted R² of the n best latents; NaN where held-out rows lie nowhere on the manifold."""

    floor: Float[np.ndarray, " n_manifolds"]
    """The same where each row has the place of another."""

    components: Float[np.ndarray, " n_manifolds"]
    """The same of the n best principal components of the rows."""

    own_r2: Float[np.ndarray, " n_manifolds"]
    """R² of the atoms that belong to the manifold, however many; 0 without."""

    support: Float[np.ndarray, " n_manifolds"]
    """Atoms that belong to the manifold."""

    spread: Float[np.ndarray, " n_manifolds"]
    """Median over these atoms of the width of their receptive field, 1 = the whole manifold; NaN without."""

    width: Float[np.ndarray, " n_manifolds"]
    """The spread in units of that of half axes, max(0, ±γ along a principal axis); NaN without."""

    n_dimensions: tuple[int, ...]
    """p of each manifold: dimensions that it spans."""

    regime: tuple[Regime, ...]
    """The resulting regime: see `manifold_capture`."""

    atoms: tuple[Int[np.ndarray, " own"], ...]
    """Atoms that belong to each manifold, the strongest first."""

    n_atoms: int
    """n, latents that the regression may use."""

    places: tuple[Float[np.ndarray, "cells m"], ...]
    """Coordinates of the middle of each piece of each manifold."""

    responses: tuple[Float[np.ndarray, "cells own"], ...]
    """Mean latent of each of `atoms` in each piece: the receptive fields."""

    @property
    def table(self) -> DataFrame:
        """A manifold per row: its regime, R² with floor and control, support, spread, width and p."""
        import pandas as pd

        columns = {
            "manifold": self.names,
            "regime": self.regime,
            "r2": self.r2,
            "shuffled": self.floor,
            "components": self.components,
            "own r2": self.own_r2,
            "support": self.support.astype(int),
            "spread": self.spread,
            "width": self.width,
            "dimensions": self.n_dimensions,
        }
        return pd.DataFrame(columns)

    @checked
    def figure(self, name: str | None = None) -> Any:
        """Draw the R² of all manifolds, or the receptive fields of the atoms of one.

        Parameters
        ----------
        name
            Of a manifold: mean latents of its strongest atoms along it; where it has two coordinates,
            the strongest atom of each piece. None: R² of all, with floor and control.

        Raises
        ------
        ValueError: If there is no manifold of that name, or it has no atoms.
        """
        if name is None:
            return self._r2_figure()
        i = self.names.index(one_of(name, self.names, name="name"))
        if not len(self.atoms[i]):
            raise ValueError(
                f"`name` must be a manifold with atoms of its own, got {name!r}, which has none. Draw "
                "another, or leave it out."
            )
        return self._line_figure(i) if self.places[i].shape[1] == 1 else self._map_figure(i)

    def _r2_figure(self) -> Any:
        from sae_nb.figures import framed, line, theme

        names = list(self.names)
        control: dict[str, Any] = {"colour": theme.CONTROL, "width": 1.6, "hover": "%{y:.2f}"}
        lines = [
            line(
                "principal components", names, self.components, dash=theme.CONTROL_DASH, **control
            ),
            line("shuffled", names, self.floor, dash="dot", **control),
        ]
        return framed(lines, y="restricted R²", height=320).add_bar(
            name=f"R² of {self.n_atoms} latents",
            x=names,
            y=self.r2,
            marker_color=theme.PALETTE[0],
            customdata=self.regime,
            hovertemplate="%{x}: %{y:.2f}, %{customdata}<extra></extra>",
        )

    def _line_figure(self, i: int) -> Any:
        from sae_nb.figures import framed, line, theme

        order = self.places[i][:, 0].argsort()
        lines = [
            line(
                f"atom {atom}",
                self.places[i][order, 0],
                self.responses[i][order, j],
                colour=theme.PALETTE[j % len(theme.PALETTE)],
                hover="%{x:.2f}: %{y:.2f}",
            )
            for j, atom in enumerate(self.atoms[i][:DRAWN])
        ]
        return framed(lines, x=self.names[i], y="mean latent", height=320)

    def _map_figure(self, i: int) -> Any:
        from sae_nb.figures import framed, theme

        responses = self.responses[i][:, :DRAWN]
        strongest = responses.argmax(axis=1)
        strongest[responses.max(axis=1) <= 0] = -1
        first, second = (f"{self.names[i]}, coordinate {c}" for c in (1, 2))
        figure = framed([], x=first, y=second, height=360)
        for j in np.unique(strongest).tolist():
            colour = theme.CONTROL if j < 0 else theme.PALETTE[j % len(theme.PALETTE)]
            symbol = theme.MARKERS[max(j, 0) // len(theme.PALETTE)]
            figure.add_scatter(
                name="none" if j < 0 else f"atom {self.atoms[i][j]}",
                x=self.places[i][strongest == j, 0],
                y=self.places[i][strongest == j, 1],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 10},
            )
        return figure


@checked(leave=("manifolds",))
@torch.no_grad()
def manifold_capture(
    codes: SparseCodes,
    manifolds: PlantedManifolds | Mapping[str, Any],
    x: Float[Tensor, "n d_in"] | None = None,
    *,
    periods: Mapping[str, float] | None = None,
    n_atoms: int = 8,
    seed: Seed = 0,
) -> ManifoldCapture:
    """Measure how latents hold each manifold, planted or of a real model.

    Latents are ranked by their squared correlation with what the manifold adds to the rows, on half of the
    rows, fitted there, and judged on the others. Decoding through the SAE's own atoms instead would give
    badly low values, since they also carry other manifolds.

    An atom belongs to a manifold that has half of its strength; where most rows lie on the manifold, its place
    must also explain half of the atom's variance. The width of a receptive field is 1 − |mean e^{iθ}| of an
    angle and Var_w(θ) / Var(θ) of a number, weighted by the latent, averaged over coordinates.

    | regime | R² of its own atoms | their number | width |
    |---|---|---|---|
    | capture: few atoms span it | ≥ 0.8 | ≤ 2 p + 1 | ≥ 0.5 |
    | tiling: many atoms, each with a piece | ≥ 0.8 | any | < 0.5 |
    | shattering: pieces that do not make a whole | < 0.8 | any | < 0.5 |
    | dilution: many atoms, each with much of it | any | > 2 p + 1 | ≥ 0.5 |
    | missed: too few atoms, or none | < 0.8 | ≤ 2 p + 1 | ≥ 0.5 or none |

    Widths are in units of half axes, max(0, ±γ along a principal axis), which span a manifold by non-negative
    codes. All these thresholds are ours.

    Parameters
    ----------
    manifolds
        Planted rows with their truth; or coordinates by name: a number per row, or several, NaN where the
        row does not lie on the manifold. A month of each row, `acts.position`, row and column of a patch.
    x
        Rows that the codes are of; with coordinates only.
    periods
        After how much a coordinate by name begins again: {"month": 12}. Others are numbers on a line.
    n_atoms
        Latents that the regression may use.
    seed
        Of the halves of rows that were not planted, and of the shuffled places.

    Raises
    ------
    TypeError, ValueError: If codes and rows do not match, there are fewer atoms than asked for, or a coordinate
        has one value, too few rows or an unknown period.

    Source
    ------
    arXiv 2604.28119 from abstract and public re-implementations. Where ours differs: the unit of width, and
    shattering, which is theirs of atoms that exclude each other and ours of pieces that leave gaps.

    Example
    -------
    >>> from sae_nb.data import planted_manifolds
    >>> planted = planted_manifolds(600, shapes=("circle",), n_active=1, d_in=4)
    >>> there = planted.x @ planted.directions[0].T
    >>> codes = SparseCodes.from_dense(torch.relu(torch.cat([there, -there], dim=1)))
    >>> found = manifold_capture(codes, planted, n_atoms=4)
    >>> found.support.tolist(), found.regime
    ([4.0], ('capture',))
    >>> angle = {"angle": planted.theta[:, 0, 0]}
    >>> manifold_capture(codes, angle, planted.x, periods={"angle": 6.2832}, n_atoms=4).regime
    ('capture',)
    """
    n_atoms = check_count(n_atoms, name="n_atoms", at_most=codes.n_atoms)
    rng = np.random.default_rng(seed)
    if isinstance(manifolds, PlantedManifolds):
        rows = (manifolds.x if x is None else x).double().cpu().numpy()
        _check_rows(codes, rows, len(manifolds.x))
        fitted = np.arange(len(rows)) < len(rows) // 2
        each = _planted(manifolds)
    else:
        rows, given = _given(manifolds, x)
        _check_rows(codes, rows, len(rows))
        fitted = rng.permutation(len(rows)) < len(rows) // 2
        each = _of_coordinates(given, rows, fitted, _checked_periods(periods, given))
    z = codes.to_scipy().astype(np.float64)
    parts = components(rows, fitted)
    shuffled = rng.permutation(len(rows))
    found = [measured(one, z, parts, fitted, shuffled, n_atoms) for one in each]
    numbers = {name: np.array([float(one[name]) for one in found]) for name in _NUMBERS}
    rest = {name: tuple(one[name] for one in found) for name in found[0] if name not in _NUMBERS}
    fields: dict[str, Any] = {**numbers, **rest}
    return ManifoldCapture(n_atoms=n_atoms, **fields)


_NUMBERS = ("r2", "floor", "components", "own_r2", "support", "spread", "width")


# -------------------------------------------------------------------------------------------------
# Manifolds of rows: planted, or of a coordinate.


def _planted(planted: PlantedManifolds) -> list[Manifold]:
    active, found = planted.active.cpu().numpy(), []
    for i, name in enumerate(planted.names):
        place, angles = planted.place(i)
        where, on = place.double().cpu().numpy(), active[:, i]
        target = planted.part(i).double().cpu().numpy()
        p = planted.n_dimensions[i]
        found.append(Manifold(name, target, on, where, angles, p, _cells(where, on)))
    return found


def _given(
    manifolds: Any, x: Tensor | None
) -> tuple[Float[np.ndarray, "n d_in"], dict[str, Float[np.ndarray, "n m"]]]:
    """Rows, and the coordinates of each manifold as a matrix."""
    if not isinstance(manifolds, Mapping):
        raise TypeError(
            "`manifolds` must be planted manifolds (sn.data.planted_manifolds) or a dict of coordinates "
            f'by name, such as {{"position": acts.position}}, got {type(manifolds).__name__}.'
        )
    if x is None or not manifolds:
        raise ValueError(
            "`manifolds` must name a coordinate, and `x` must hold the rows that the codes are of. Pass "
            "acts.x."
        )
    rows = check_matrix(x).double().cpu().numpy()
    given = {}
    for name, values in manifolds.items():
        called = f"manifolds[{name!r}]"
        place = as_tensor(values, name=called).double().cpu().numpy()
        place = place[:, None] if place.ndim == 1 else place
        if place.ndim != 2 or len(place) != len(rows):
            raise ValueError(
                f"`{called}` must have one entry per row of `x`, {len(rows)}, got shape {place.shape}."
            )
        on = ~np.isnan(place).any(axis=1)
        if on.sum() < FEWEST or not (np.ptp(place[on], axis=0) > 0).all() or np.isinf(place).any():
            raise ValueError(
                f"`{called}` must have two finite values or more on at least {FEWEST} rows, got "
                f"{on.sum()} rows. Pass more rows; NaN marks those that are not on it."
            )
        given[str(name)] = place
    return rows, given


def _check_rows(codes: SparseCodes, rows: Float[np.ndarray, "n d_in"], n: int) -> None:
    if not codes.n_rows == len(rows) == n:
        raise ValueError(
            f"`codes` must have the {n} rows that lie on the manifolds, got {codes.n_rows}."
        )


def _checked_periods(
    periods: Mapping[str, float] | None, given: Mapping[str, Any]
) -> Mapping[str, float]:
    for name, period in (periods or {}).items():
        one_of(name, list(given), name="a key of periods")
        if not 0 < period < np.inf:
            raise ValueError(f"`periods` must be finite and above 0, got {period} for {name!r}.")
    return periods or {}


def _of_coordinates(
    given: Mapping[str, Float[np.ndarray, "n m"]],
    rows: Float[np.ndarray, "n d_in"],
    fitted: Bool[np.ndarray, " n"],
    periods: Mapping[str, float],
) -> list[Manifold]:
    """Mean of the rows in each cell of a coordinate, less that of all rows on it."""
    found = []
    for name, values in given.items():
        on = ~np.isnan(values).any(axis=1)
        place = np.nan_to_num(values)
        if name in periods:
            place = 2 * np.pi * (place / periods[name] % 1)
        cell = _cells(place, on)
        means = np.zeros((cell.max() + 1, rows.shape[1]))
        known = on & fitted
        np.add.at(means, cell[known], rows[known] - rows[known].mean(axis=0))
        means /= np.bincount(cell[known], minlength=len(means)).clip(1)[:, None]
        target = np.where(on[:, None], means[cell], 0.0)
        angles = (name in periods,) * place.shape[1]
        found.append(Manifold(name, target, on, place, angles, _spanned(target[on]), cell))
    return found


def _spanned(points: Float[np.ndarray, "n d_in"]) -> int:
    """Principal components that hold most of the variance."""
    energies = np.linalg.eigvalsh(np.atleast_2d(np.cov(points.T)))[::-1].clip(0)
    return int(np.searchsorted(energies.cumsum(), SPANS * energies.sum())) + 1


def _cells(place: Float[np.ndarray, "n m"], on: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """A number for each piece of the coordinates: their values, or bins with alike many rows."""
    there = place[on]
    values, cell = np.unique(there, axis=0, return_inverse=True)
    if len(values) > min(MOST_VALUES, len(there) // 4):
        bins = max(2, int(np.clip(len(there) // FEWEST, 4, MOST_CELLS) ** (1 / place.shape[1])))
        ranks = there.argsort(axis=0).argsort(axis=0)
        pieces = ranks * bins // max(len(there), 1)
        cell = np.unique(pieces, axis=0, return_inverse=True)[1]
    found = np.full(len(place), -1)
    found[on] = cell.reshape(-1)
    return found
