"""Groups of atoms that close a manifold, by which of them fire together: circles, spheres, tori, sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.checks import Seed, check_atom, check_count, checked
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding, column
from sae_nb.geometry import tied_groups
from sae_nb_studies.geometry._holes import holes

Shape = Literal["circle", "sphere", "torus", "sheet", "chain", "none"]
SHAPE_NAMES: tuple[Shape, ...] = get_args(Shape)

FEWEST, MOST = 6, 96
"""Atoms of a group, as many at least as `tied_groups` asks for."""

N_PARTNERS = 6
"""Closest partners of an atom by which groups are found: on a sheet it has six neighbours. Ours."""

LEAST_SCORE = 8.0
"""Standard deviations of a chance count by which partners must fire together oftener: among the pairs of
hundreds of atoms the four of `coactivation_ring` occur by chance. Ours."""

LEAST_TIE = 6.0
"""The same for a step of the shortest path between two atoms of a group. Ours."""

LOOP_LASTS, VOID_LASTS = 1.9, 1.25
"""How often its birth the death of a hole must be. On planted groups of seeds that no claim uses, loops of
circles and tori had 2.1 and more, gaps in a sheet up to 1.8; voids 1.3 and more, what is none 1.1. Ours."""

LEAST_AXIS, LEAST_HELD, MOST_AXES = 0.08, 0.6, 4
"""Share of squared distances that an axis must hold to count, and that all must hold together. Ours."""

_WIDE = 0.87
"""Scales looked at, as a share of the largest distance: a circle closes at √3 / 2 of its diameter."""


class _Seen(NamedTuple):
    shape: Shape
    loops: int
    voids: int
    points: Float[np.ndarray, "m axes"]


class CoactivationShapes(Finding):
    """Groups of atoms and the shape that each closes; made by `coactivation_shapes`."""

    HEADLINE = "{shape.len} groups of {n_atoms} atoms that fire often enough: {shape.counts}"

    groups: tuple[Int[np.ndarray, " m"], ...]
    """Atoms of each, largest group first."""

    shape: tuple[str, ...] = field(metadata=column("shape"))
    """The same on both halves of the rows; "none" where they differ, or show no shape."""

    loops: Int[np.ndarray, " groups"] = field(metadata=column("loops"))
    """Loops that last, on the first half."""

    voids: Int[np.ndarray, " groups"] = field(metadata=column("voids"))
    """Voids that last, on the first half."""

    sizes: Int[np.ndarray, " groups"] = field(metadata=column("atoms"))
    """Atoms of each."""

    points: tuple[Float[np.ndarray, "m axes"], ...]
    """Where each group's atoms lie to each other, on the first half."""

    n_atoms: int
    """Atoms of the groups, all together."""

    @checked
    def figure(self, group: int = 0) -> Any:
        """Draw the atoms of a group on their first two axes; colour is the third, where there is one."""
        from sae_nb.figures import framed, theme

        i = check_count(group, name="group", at_least=0, at_most=len(self.groups) - 1)
        points, atoms = self.points[i], self.groups[i]
        axes = np.pad(points, ((0, 0), (0, max(0, 3 - points.shape[1]))))
        figure = framed([], x="first axis", y="second axis", height=360)
        figure.add_scatter(
            x=axes[:, 0],
            y=axes[:, 1],
            mode="markers+text" if len(atoms) <= 24 else "markers",
            text=[str(a) for a in atoms],
            textposition="top center",
            marker={
                "size": 10,
                "color": axes[:, 2],
                "colorscale": theme.colour_scale(),
                "showscale": points.shape[1] > 2,
            },
            hovertemplate="atom %{text}<extra></extra>",
            name=f"{self.shape[i]} of {len(atoms)} atoms",
        )
        return figure.update_yaxes(scaleanchor="x")


@checked
def coactivation_shapes(
    codes: SparseCodes, groups: Sequence[Sequence[int]] | None = None, *, seed: Seed = 0
) -> CoactivationShapes:
    """Find groups of atoms that fire together as pieces of one manifold do, and name each manifold.

    Two atoms that overlap are 1 − p_ij / √(p_i p_j) apart, others as far as the shortest path. Axes that hold
    these distances, and the loops and voids of the points on them, give the shape:

    | shape | axes | loops | voids |
    |---|---|---|---|
    | chain | 1 | 0 | 0 |
    | sheet | 2 | 0 | 0 |
    | circle | 2 or more | 1 | 0 |
    | sphere | 3 | 0 | 1 |
    | torus | 3 or 4 | 2 | 1 |

    Groups are found on half of the rows. A shape counts if the other half shows it too. `find_shapes` looks at
    what atoms write and cannot tell a torus or a sphere from a sheet; this looks at firings alone, and can.

    Parameters
    ----------
    groups
        Of atoms, to be named as they are. None: atoms tied by their closest partners, 6 to 96 of them.
    seed
        Of the halves.

    Raises
    ------
    ValueError: If a group has fewer than six atoms or more than 96, or one twice.

    Source
    ------
    Ours. The shape of a space from cells that fire together: Curto & Itskov, "Cell groups reveal structure of
    stimulus space", 2008. `coactivation_ring` orders one circle and gives rows a coordinate.

    Example
    -------
    >>> import torch
    >>> u = np.random.default_rng(0).random(3000)
    >>> near = np.cos(2 * np.pi * (u[:, None] - np.arange(10) / 10)) - 0.6  # ten atoms around a circle
    >>> coactivation_shapes(SparseCodes.from_dense(torch.tensor(near).clamp_min(0))).shape
    ('circle',)
    """
    first = np.random.default_rng(seed).permutation(codes.n_rows) < codes.n_rows // 2
    if groups is None:
        found = tied_groups(
            codes, first, n_partners=N_PARTNERS, least_score=LEAST_SCORE, at_most=MOST
        )
    else:
        found = [_checked_group(codes, group) for group in groups]
    found.sort(key=lambda group: (-len(group), group.tolist()))
    seen, shapes = [], []
    for group in found:
        fires = (codes.of_atoms(group) != 0).numpy(force=True)
        seen.append(_shape(fires[first]))
        again = _shape(fires[~first]).shape
        shapes.append(again if again == seen[-1].shape else "none")
    sizes = np.array([len(group) for group in found], dtype=int)
    return CoactivationShapes(
        groups=tuple(found),
        shape=tuple(shapes),
        loops=np.array([one.loops for one in seen], dtype=int),
        voids=np.array([one.voids for one in seen], dtype=int),
        sizes=sizes,
        points=tuple(one.points for one in seen),
        n_atoms=int(sizes.sum()),
    )


def _checked_group(codes: SparseCodes, group: Sequence[int]) -> Int[np.ndarray, " m"]:
    atoms = [check_atom(atom, codes.n_atoms, name="groups") for atom in group]
    if not FEWEST <= len(set(atoms)) == len(atoms) <= MOST:
        raise ValueError(
            f"`groups` must have {FEWEST} to {MOST} atoms each, none twice, got {len(atoms)}. Fewer "
            "close nothing."
        )
    return np.array(atoms)


def _shape(fires: Bool[np.ndarray, "rows m"]) -> _Seen:
    """Name the shape of a group by which atoms fire together."""
    apart = _apart(fires)
    if not np.isfinite(apart).all():
        return _Seen("none", 0, 0, np.zeros((len(apart), 1)))
    m = len(apart)
    centring = np.eye(m) - 1 / m
    values, vectors = np.linalg.eigh(-0.5 * centring @ apart**2 @ centring)
    share = values[::-1] / values[values > 0].sum()
    axes = max(1, int((share[:MOST_AXES] >= LEAST_AXIS).sum()))
    points = vectors[:, ::-1][:, :axes] * np.sqrt(values[::-1][:axes])
    if share[:axes].sum() < LEAST_HELD:
        return _Seen("none", 0, 0, points)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    open_ = holes(distance, _WIDE * float(distance.max()))
    loops = sum(one.dimension == 1 and one.lasts >= LOOP_LASTS for one in open_)
    voids = sum(one.dimension == 2 and one.lasts >= VOID_LASTS for one in open_)
    named: dict[tuple[int, int, int], Shape] = {
        (1, 0, 0): "chain", (2, 0, 0): "sheet", (3, 0, 1): "sphere", (3, 2, 1): "torus", (4, 2, 1): "torus",
        (2, 1, 0): "circle", (3, 1, 0): "circle", (4, 1, 0): "circle",
    }  # fmt: skip
    return _Seen(named.get((axes, loops, voids), "none"), loops, voids, points)


def _apart(fires: Bool[np.ndarray, "rows m"]) -> Float[np.ndarray, "m m"]:
    """Lengths of shortest paths over atoms that fire together oftener than by chance."""
    from scipy.sparse.csgraph import shortest_path

    x = fires.astype(np.float64)
    counts = np.maximum(x.sum(axis=0), 1.0)
    together, usual = x.T @ x, np.outer(counts, counts) / len(x)
    tied = together > usual + LEAST_TIE * np.sqrt(usual)
    step = np.maximum(1 - together / np.sqrt(np.outer(counts, counts)), 1e-3)
    return shortest_path(np.where(tied & ~np.eye(len(step), dtype=bool), step, 0), directed=False)
