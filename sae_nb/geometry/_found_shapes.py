"""Shapes that nobody asked for: groups of atoms that fire because of each other, and what each group draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import acts_for, check_one_place
from sae_nb.checks import Count, Seed, check_atom, checked, one_of
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding
from sae_nb.geometry._couplings import LEAST_ROWS, MOST, MOST_OFTEN, communities, couplings
from sae_nb.geometry._curve import Curve, curve
from sae_nb.geometry._shape_fits import DIMENSION, Fit, Kind, fits_of, span_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csc_matrix

    from sae_nb.activations import Activations

DENSE = 0.25
"""Share of its atoms that an SAE may use in a row: above, which atoms fire says little."""

LEAST_L0 = 8
"""Atoms per row that are never too many: small SAEs use much of themselves."""

EQUAL = 0.99
"""Cosine from which two atoms of a group count as one."""

FAINT = 0.2
"""Share of a group's large contributions (nine tenths of them are smaller) below which a row is left out: an
encoder of fixed k fills up with firings that say nothing. Ours."""

LEFT = 0.5
"""Share of what the best random group leaves unexplained that a shape may leave. Ours."""

FEWEST_VALUES, FEWEST_ROWS, MOST_VALUES = 4, 5, 64
"""Values of a coordinate that a group must meet, each in so many rows; of more values steps are made."""

LEAST_R2 = 0.5
"""R² at left-out values from which the order of a group follows a coordinate. Ours."""

N_SHUFFLED = 20
N_STEPS = 24


class FoundShapes(Finding):
    """Groups of atoms, and the shape that each draws; made by `find_shapes`."""

    HEADLINE = (
        "{groups.len} groups of {n_known} atoms that fire often enough: {kind.counts}; "
        "{n_permuted} groups where each atom's firings are permuted"
    )

    groups: tuple[Int[np.ndarray, " m"], ...]
    """Atoms of each, largest group first; on a line or a ring in their order along it."""

    kind: tuple[str, ...]
    """"ring", "line", "sheet", "cluster" or "none"."""

    n_axes: Int[np.ndarray, " groups"]
    """Principal axes that hold nine tenths of the variance of the group's contributions."""

    fit: Float[np.ndarray, " groups"]
    """Share of the contributions' variance that the shape explains on left-out rows; of a cluster, of their
    energy; of "none", of the shape that came nearest."""

    control: Float[np.ndarray, " groups"]
    """Largest fit of the same kind of shape to random groups of as many atoms that fire as often."""

    coordinate: tuple[str, ...]
    """Name of the given coordinate that the order follows best; "" where it follows none."""

    order_r2: Float[np.ndarray, " groups"]
    """R² of a curve over that coordinate at values that it was not fitted on; NaN without."""

    order_shuffled: Float[np.ndarray, " groups"]
    """Largest of the same where the values are shuffled."""

    n_fired: Int[np.ndarray, " groups"]
    """Rows in which an atom of the group fires."""

    rows: tuple[Int[np.ndarray, " fired"], ...]
    """These rows."""

    places: tuple[Float[np.ndarray, " fired"], ...]
    """Place of each of them: around a ring from 0 to 1, along a line in standard deviations."""

    n_rows: int
    n_atoms: int
    """Of the dictionary."""

    n_known: int
    """Atoms that fire in 20 rows of the half that is fitted, or more, and in at most half of it."""

    n_permuted: int
    """Groups found the same way where each atom fires in as many rows, but in other ones."""

    @property
    def table(self) -> DataFrame:
        """A group per row: kind, dimension, fit beside its control, coordinate, and atoms."""
        import pandas as pd

        columns = {
            "kind": self.kind,
            "atoms": [len(group) for group in self.groups],
            "dimension": [DIMENSION[kind] if kind != "none" else pd.NA for kind in self.kind],  # type: ignore[index]
            "axes": self.n_axes,
            "rows": self.n_fired,
            "fit": self.fit,
            "control": self.control,
            "coordinate": self.coordinate,
            "order": self.order_r2,
            "order shuffled": self.order_shuffled,
            "which": [", ".join(map(str, group)) for group in self.groups],
        }
        return pd.DataFrame(columns)

    @property
    def of_atoms(self) -> list[str]:
        """The shape of each atom, such as "ring 0" in group 0; "" where it draws none.

        On a map: `ConceptMap(sae, acts, columns={"shape": found.of_atoms})`.
        """
        names = [""] * self.n_atoms
        for i, (group, kind) in enumerate(zip(self.groups, self.kind, strict=True)):
            for atom in group if kind != "none" else ():
                names[int(atom)] = f"{kind} {i}"
        return names

    @checked
    def place(self, group: int) -> Float[np.ndarray, " rows"]:
        """Return the place of each row in a group's shape; NaN where none of its atoms fires."""
        i = self._checked(group)
        found = np.full(self.n_rows, np.nan)
        found[self.rows[i]] = self.places[i]
        return found

    @checked(leave=("acts",))
    def curve(self, group: int, acts: Activations | Float[Tensor, "n d_in"]) -> Curve:
        """Return the curve through the states of a ring or a line, for `sn.steer(curve=…)` and CurvePanel.

        Parameters
        ----------
        group
            Number of a ring or a line in `table`.
        acts
            The rows that the shapes were found in.

        Raises
        ------
        ValueError: If the group is neither, or the rows are others.
        """
        i = self._checked(group)
        if self.kind[i] not in ("ring", "line"):
            lines = [j for j, kind in enumerate(self.kind) if kind in ("ring", "line")]
            raise ValueError(
                f"`group` must be a ring or a line, {lines or 'of which there are none'}, got {group}, "
                f"a {self.kind[i]}. Nothing orders its rows."
            )
        if len(acts) != self.n_rows:
            raise ValueError(
                f"`acts` must be the {self.n_rows} rows that the shapes were found in, got {len(acts)}."
            )
        place, closed = self.place(group), self.kind[i] == "ring"
        there = np.isfinite(place)
        period = 1.0 if closed else None
        values = _steps(place[there], period, N_STEPS)
        return curve(acts[torch.from_numpy(there)], values, closed=closed, period=period)

    def _checked(self, group: int) -> int:
        if not 0 <= group < len(self.groups):
            raise ValueError(
                f"`group` must be between 0 and {len(self.groups) - 1}, a row of `table`, got {group}."
            )
        return group


@checked(leave=("acts",))
@torch.no_grad()
def find_shapes(
    sae: Any,
    acts: Activations | Float[Tensor, "n d_in"],
    *,
    groups: Sequence[Sequence[int] | Int[np.ndarray, " m"]] | None = None,
    coordinates: Mapping[str, Any] | None = None,
    periods: Mapping[str, float] | None = None,
    n_random: Count = 5,
    seed: Seed = 0,
) -> FoundShapes:
    """Find groups of atoms that fire because of each other, and the shape that each group's atoms draw.

    On half of the samples atoms are coupled (`couplings`), and communities of |J| are the groups. What a group
    adds to each row, z_g D_g, is a point of its span; a shape is fitted to these points and judged on the other
    half, beside random groups: as many atoms that fire as often, each of another group while there are some. It
    counts if it explains four fifths of the variance and leaves less than half of what the best random group
    leaves, and if atoms lie at different places of it.

    | kind | what is fitted | dimension |
    |---|---|---|
    | line | an open curve over the first axis | 1 |
    | ring | a closed curve around a middle that is free, all the way round | 1 |
    | sheet | a plane, or a sphere whose middle is free | 2 |
    | cluster | one point: the atoms fire together | 0 |
    | none | none of these | |

    No model is asked: a shape in what an SAE writes need not be one that the model uses.

    Parameters
    ----------
    sae
        Of one place.
    acts
        Rows of many samples: an atom must fire in 20 rows of one half.
    groups
        Of atoms, 2 to 64 each, to be looked at as they are, such as `communities` returns. None: communities
        of the couplings.
    coordinates
        Name to one value per row, NaN where a row has none: a month, a place. A group's order follows one if
        curves over it foretell left-out values better than over shuffled ones.
    periods
        After how much a coordinate begins again: {"month": 12}. Others are numbers on a line.
    n_random
        Control: random groups for each group.
    seed
        Of the halves, the communities and the controls.

    Raises
    ------
    ValueError: If the codes are dense, fewer than two atoms fire often enough and not everywhere, a group has
        fewer than 2 atoms or more than 64 or one twice, or a coordinate is not one value per row.

    Source
    ------
    Groups from which atoms fire together, as an inverse Ising problem: "Do Sparse Autoencoders Capture Concept
    Manifolds?", arXiv 2604.28119. Fits, thresholds and controls are ours.

    Example
    -------
    >>> turn = torch.rand(3000, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
    >>> class OnACircle:  # eight atoms around it, of which those near a row fire
    ...     n_atoms, d_in = 8, 2
    ...     at = torch.arange(8) * torch.pi / 4
    ...     dictionary = torch.stack([at.cos(), at.sin()], dim=1)
    ...
    ...     def encode(self, acts):
    ...         near = getattr(acts, "x", acts) @ self.dictionary.T - 0.6
    ...         return SparseCodes.from_dense(near.clamp_min(0))
    >>> around = torch.stack([turn.cos(), turn.sin()], dim=1)
    >>> found = find_shapes(OnACircle(), around, groups=[range(8)])
    >>> found.kind, found.n_axes.tolist()
    (('ring',), [2])
    """
    check_one_place(sae)
    acts = acts_for(sae, acts)
    named = _checked_coordinates(coordinates, periods, len(acts))
    given = None if groups is None else [_checked_group(sae.n_atoms, group) for group in groups]
    codes = _codes(sae, acts)
    rng = np.random.default_rng(seed)
    first = _half(acts.sample.cpu().numpy(), rng)
    of_first = codes[torch.from_numpy(np.flatnonzero(first))]
    counts = of_first.count(0).cpu().numpy()
    known = np.flatnonzero((counts >= LEAST_ROWS) & (counts <= MOST_OFTEN * first.sum()))
    _check_known(known, counts, first, len(acts))
    if given is None:
        given = communities(couplings(of_first), seed=seed)
    chance = communities(couplings(_permuted(of_first, rng)), seed=seed)
    table = codes.to_scipy().tocsc()
    dictionary = sae.dictionary.detach().double().cpu().numpy()
    member = -np.arange(1, sae.n_atoms + 1)
    for i, group in enumerate(given):
        member[group] = i
    looking = _Looking(table, dictionary, first, known, counts, member, n_random, rng)
    found = [one for group in given if (one := looking.at(group, named)) is not None]
    return FoundShapes(
        groups=tuple(one.atoms for one in found),
        kind=tuple(one.kind for one in found),
        n_axes=np.array([one.n_axes for one in found], dtype=int),
        fit=np.array([one.fit for one in found], dtype=float),
        control=np.array([one.control for one in found], dtype=float),
        coordinate=tuple(one.coordinate for one in found),
        order_r2=np.array([one.order_r2 for one in found], dtype=float),
        order_shuffled=np.array([one.order_shuffled for one in found], dtype=float),
        n_fired=np.array([len(one.rows) for one in found], dtype=int),
        rows=tuple(one.rows for one in found),
        places=tuple(one.places for one in found),
        n_rows=len(acts),
        n_atoms=sae.n_atoms,
        n_known=len(known),
        n_permuted=len(chance),
    )


# -------------------------------------------------------------------------------------------------
# What is given.


def _checked_group(
    n_atoms: int, group: Sequence[int] | Int[np.ndarray, " m"]
) -> Int[np.ndarray, " m"]:
    atoms = [check_atom(atom, n_atoms, name="groups") for atom in group]
    if not 2 <= len(set(atoms)) == len(atoms) <= MOST:
        raise ValueError(
            f"`groups` must have 2 to {MOST} atoms each, none twice, got {len(atoms)}. A group of all atoms "
            "has the shape of the data: look at that by sn.geometry.dimensions."
        )
    return np.array(atoms)


def _checked_coordinates(
    coordinates: Mapping[str, Any] | None, periods: Mapping[str, float] | None, n: int
) -> dict[str, tuple[Float[np.ndarray, " n"], float | None]]:
    given = {}
    for name, values in (coordinates or {}).items():
        one = np.asarray(values, dtype=float)
        if one.shape != (n,) or np.isinf(one).any():
            raise ValueError(
                f"`coordinates[{name!r}]` must have one number per row of `acts`, {n}, NaN where it has none, "
                f"got shape {one.shape}."
            )
        given[str(name)] = one
    for name, period in (periods or {}).items():
        one_of(name, list(given), name="a key of periods")
        if not 0 < period < np.inf:
            raise ValueError(f"`periods` must be finite and above 0, got {period} for {name!r}.")
    return {name: (values, (periods or {}).get(name)) for name, values in given.items()}


def _codes(sae: Any, acts: Activations) -> SparseCodes:
    """Return the codes; a few rows first, since dense ones may not fit in memory."""
    few = sae.encode(acts.x[torch.linspace(0, len(acts) - 1, 64).long()])
    l0 = float(few.l0.double().mean())
    if l0 > max(LEAST_L0, DENSE * sae.n_atoms):
        raise ValueError(
            f"`sae` must use at most a quarter of its atoms in a row, got {l0:.0f} of {sae.n_atoms}: where "
            "nearly everything fires, which atoms fire says little. Train it, or ask for a sparser code."
        )
    return sae.encode(acts).detach().to("cpu")


def _half(sample: Int[np.ndarray, " n"], rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """Return which rows are fitted: those of half of the samples."""
    samples, which = np.unique(sample, return_inverse=True)
    return (rng.permutation(len(samples)) < len(samples) // 2)[which]


def _check_known(
    known: np.ndarray, counts: np.ndarray, first: Bool[np.ndarray, " n"], n: int
) -> None:
    if len(known) < 2:
        everywhere = int((counts > MOST_OFTEN * first.sum()).sum())
        raise ValueError(
            f"`acts` must have rows enough that two atoms fire in {LEAST_ROWS} of one half of the samples, and "
            f"in at most half of those rows, got {len(known)} such atoms in {first.sum()} of {n} rows; "
            f"{everywhere} fire in more than half. Capture more, or take an SAE that is sparser."
        )


def _permuted(codes: SparseCodes, rng: np.random.Generator) -> SparseCodes:
    """Return codes in which each atom fires in as many rows, drawn anew."""
    counts = codes.count(0).cpu().numpy()
    rows = [rng.choice(codes.n_rows, k, replace=False, shuffle=False) for k in counts]
    atoms = np.repeat(np.arange(codes.n_atoms), counts)
    where = torch.from_numpy(np.concatenate(rows).astype(np.int64))
    shape = (codes.n_rows, codes.n_atoms)
    return SparseCodes.from_entries(torch.ones(len(where)), where, torch.from_numpy(atoms), shape)


def _steps(
    values: Float[np.ndarray, " n"], period: float | None, steps: int
) -> Float[np.ndarray, " n"]:
    """Return values rounded to steps: of a line to ranks alike many, of a ring to parts of the period."""
    if len(np.unique(values)) <= steps:
        return values
    if period is not None:
        return np.floor(values / period % 1.0 * steps) * period / steps
    ends = np.quantile(values, np.linspace(0, 1, steps + 1))
    which = np.searchsorted(ends[1:-1], values, side="right")
    return (np.bincount(which, values, steps) / np.bincount(which, minlength=steps).clip(1))[which]


# -------------------------------------------------------------------------------------------------
# One group.


@dataclass(frozen=True)
class _Found:
    atoms: Int[np.ndarray, " m"]
    kind: Kind
    n_axes: int
    fit: float
    control: float
    rows: Int[np.ndarray, " fired"]
    places: Float[np.ndarray, " fired"]
    coordinate: str = ""
    order_r2: float = np.nan
    order_shuffled: float = np.nan


@dataclass(frozen=True)
class _Looking:
    """The rows and the atoms that every group and every random group is of."""

    table: csc_matrix
    dictionary: Float[np.ndarray, "n_atoms d_in"]
    first: Bool[np.ndarray, " n"]
    known: Int[np.ndarray, " known"]
    counts: Int[np.ndarray, " n_atoms"]
    member: Int[np.ndarray, " n_atoms"]
    """The group of each atom; of one in no group a number of its own."""

    n_random: int
    rng: np.random.Generator

    def at(
        self, group: Int[np.ndarray, " m"], named: Mapping[str, tuple[np.ndarray, float | None]]
    ) -> _Found | None:
        """Return the shape of a group; None of atoms that are all alike, or of too few rows."""
        group = self._apart(group)
        seen = self._fits(group)
        if seen is None:
            return None
        fits, y, rows, strongest = seen
        chance = [one for _ in range(self.n_random) if (one := self._random(group)) is not None]

        def control(kind: Kind) -> float:
            return max((one[kind].r2 for one in chance if kind in one), default=np.nan)

        order: tuple[Kind, ...] = ("line", "ring", "sheet", "cluster")
        holds = [
            fits[kind]
            for kind in order
            if kind in fits and fits[kind].holds and _beyond(fits[kind].r2, control(kind))
        ]
        best = holds[0] if holds else max(fits.values(), key=lambda fit: fit.r2)
        coordinate, r2, shuffled = _followed(y, rows, named)
        return _Found(
            atoms=_in_order(group, best, strongest) if holds else group,
            kind=best.kind if holds else "none",
            n_axes=span_of(y)[0],
            fit=best.r2,
            control=control(best.kind),
            rows=rows,
            places=best.place,
            coordinate=coordinate,
            order_r2=r2,
            order_shuffled=shuffled,
        )

    def _apart(self, group: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
        """Return the atoms of a group without those that point as an earlier one does."""
        unit = self.dictionary[group]
        unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        alike = np.tril(unit @ unit.T, -1) >= EQUAL
        return group[~alike.any(axis=1)]

    def _fits(
        self, group: Int[np.ndarray, " m"]
    ) -> tuple[dict[Kind, Fit], np.ndarray, np.ndarray, np.ndarray] | None:
        """Return all fits, and of the rows in which the group fires, fitted ones first: contributions, numbers,
        and the strongest atom.
        """
        if len(group) < 2:
            return None
        z = self.table[:, group].tocsr()
        fired = np.flatnonzero(np.diff(z.indptr))
        u, s, _ = np.linalg.svd(self.dictionary[group], full_matrices=False)
        dense = z[fired].toarray().astype(np.float64)
        y = dense @ (u * s)
        size = np.linalg.norm(y, axis=1)
        clear = size >= FAINT * np.quantile(size, 0.9) if len(size) else size > 0
        rows = np.concatenate([np.flatnonzero(clear & here) for here in self._halves(fired)])
        n = int(self.first[fired[rows]].sum())
        if min(n, len(rows) - n) < LEAST_ROWS:
            return None
        y, strongest, rows = y[rows], np.abs(dense[rows]).argmax(axis=1), fired[rows]
        return fits_of(y[:n], y[n:], strongest[n:]), y, rows, strongest

    def _halves(self, rows: Int[np.ndarray, " fired"]) -> tuple[np.ndarray, np.ndarray]:
        return self.first[rows], ~self.first[rows]

    def _random(self, group: Int[np.ndarray, " m"]) -> dict[Kind, Fit] | None:
        """Return the fits to other atoms that fire about as often, of as many groups as there are."""
        left = np.setdiff1d(self.known, group)
        drawn: list[int] = []
        for atom in group[: len(left)]:
            fresh = left[~np.isin(self.member[left], self.member[drawn])]
            some = fresh if len(fresh) else left
            near = some[np.argsort(np.abs(self.counts[some] - self.counts[atom]), kind="stable")]
            drawn.append(int(self.rng.choice(near[:20])))
            left = left[left != drawn[-1]]
        seen = self._fits(np.array(drawn, dtype=int))
        return None if seen is None else seen[0]


def _beyond(fit: float, control: float) -> bool:
    """Whether a shape leaves less than half of what the best random group leaves."""
    return bool(np.isnan(control) or 1 - fit < LEFT * (1 - control))


def _in_order(
    group: Int[np.ndarray, " m"], fit: Fit, strongest: Int[np.ndarray, " fired"]
) -> Int[np.ndarray, " m"]:
    """Return atoms by the mean place of the rows in which each is strongest; others last."""
    if fit.kind not in ("line", "ring"):
        return group
    where = np.full(len(group), np.inf)
    for a in np.unique(strongest):
        place = fit.place[strongest == a]
        if fit.kind == "ring":
            where[a] = np.angle(np.exp(2j * np.pi * place).mean()) / (2 * np.pi) % 1.0
        else:
            where[a] = place.mean()
    return group[np.argsort(where, kind="stable")]


def _followed(
    y: Float[np.ndarray, "fired m"],
    rows: Int[np.ndarray, " fired"],
    named: Mapping[str, tuple[np.ndarray, float | None]],
) -> tuple[str, float, float]:
    """Return the coordinate that the contributions follow best, R² at left-out values, and that of shuffled."""
    best = ("", np.nan, np.nan)
    for name, (values, period) in named.items():
        here = values[rows]
        there = np.isfinite(here)
        if not there.any():
            continue
        here = here if period is None else here % period
        here = np.where(
            there, _steps(np.where(there, here, here[there][0]), period, MOST_VALUES), np.nan
        )
        which, n = np.unique(here[there], return_counts=True)
        there &= np.isin(here, which[n >= FEWEST_ROWS])
        if len(np.unique(here[there])) < FEWEST_VALUES or np.ptp(y[there], axis=0).max() == 0:
            continue
        closed = period is not None
        states = torch.from_numpy(y[there])
        found = curve(states, here[there], closed=closed, period=period, n_shuffled=N_SHUFFLED)
        ahead = found.r2 >= LEAST_R2 and found.r2 > found.r2_shuffled
        if ahead and not found.r2 <= best[1]:
            best = (name, found.r2, found.r2_shuffled)
    return best
