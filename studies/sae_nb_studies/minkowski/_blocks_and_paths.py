"""Two more signs of a Minkowski sum, with nulls: coefficients in blocks, and lines that leave the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, at_least, check_matrix, checked
from sae_nb_studies.geometry._communities import communities
from sae_nb_studies.minkowski._block_archetypes import BlockArchetypes, TileCodes, rows_of

if TYPE_CHECKING:
    from sae_nb.activations import Activations

# -------------------------------------------------------------------------------------------------
# Do coefficients fall into blocks? Modularity of their correlations, against shuffled columns.
#
# A_ij = |corr(z_i, z_j)|, Q = Σ_ij (A_ij − a_i a_j / 2m) [c_i = c_j] / 2m, communities c by local moves.


MOST_COLUMNS = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class CoefficientBlocks:
    """Whether columns of coefficients move in groups."""

    modularity: float
    """Of the communities found."""

    floor: float
    """The same after every column is shuffled by itself, mean over draws."""

    floor_sd: float
    """Over draws."""

    community: Int[np.ndarray, " used"]
    """Of each column that varies."""

    used: Int[np.ndarray, " used"]
    """Those columns."""

    correlation: Float[np.ndarray, "used used"]
    """corr of the columns, zero on the diagonal."""

    @property
    def excess(self) -> float:
        """Modularity above the floor."""
        return self.modularity - self.floor


@checked
@torch.no_grad()
def coefficient_blocks(
    z: Float[Tensor, "n n_atoms"], *, n_nulls: Annotated[int, at_least(2)] = 5, seed: Seed = 0
) -> CoefficientBlocks:
    """Look for blocks in the correlations of coefficients.

    Weights that sum to 1 within a tile correlate negatively there by construction, so block archetypes
    show blocks on any data: compare with the same fit to `gaussian_like(x)`, too.

    Parameters
    ----------
    z
        Dense coefficients, rows by atoms (`codes.to_dense()` of few rows; `block.encode(x).mixtures`).
    n_nulls
        Draws of shuffled columns.

    Raises
    ------
    TypeError, ValueError: If fewer than three columns vary, or there are more than 1024.

    Source
    ------
    arXiv 2510.08638 reports blocks in archetypal coefficients; modularity against shuffled columns is
    inferred. Communities: local moves of Blondel et al. 2008 (Louvain), merged until nothing improves.

    Example
    -------
    >>> draws = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> found = coefficient_blocks(draws.repeat_interleave(4, dim=1))
    >>> found.community.tolist(), found.excess > 0.2
    ([0, 0, 0, 0, 1, 1, 1, 1], True)
    """
    rows = check_matrix(z, name="z").detach().double().numpy(force=True)
    used = np.flatnonzero(rows.std(axis=0) > 1e-9)
    if not 3 <= len(used) <= MOST_COLUMNS:
        raise ValueError(
            f"`z` must have between 3 and {MOST_COLUMNS} columns that vary, got {len(used)}. Choose "
            "columns, for example the ones that fire most."
        )
    rows = rows[:, used]
    correlation = _correlations(rows)
    community, modularity = communities(np.abs(correlation))
    draws = np.random.default_rng(seed)
    nulls = [
        communities(np.abs(_correlations(draws.permuted(rows, axis=0))))[1] for _ in range(n_nulls)
    ]
    return CoefficientBlocks(
        modularity=modularity,
        floor=float(np.mean(nulls)),
        floor_sd=float(np.std(nulls, ddof=1)),
        community=community,
        used=used,
        correlation=correlation,
    )


def _correlations(rows: Float[np.ndarray, "n used"]) -> Float[np.ndarray, "used used"]:
    found = np.corrcoef(rows.T)
    np.fill_diagonal(found, 0.0)
    return found


# -------------------------------------------------------------------------------------------------
# Do straight lines between rows leave the data? Line, shortest path over neighbours, path through tiles.
#
# q = mean over 20 points of a path of (distance to the k-th nearest row / the rows' own median of it).


N_POINTS = 20
MOST_ROWS = 2000
"""Rows that neighbours are looked for among, drawn at random from more; distances are n × n."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PathSupport:
    """The distance of three kinds of path between the same pairs of rows from the data; 1 is as near as
    rows.
    """

    straight: Float[np.ndarray, " pairs"]
    """The line."""

    geodesic: Float[np.ndarray, " pairs"]
    """The shortest path over nearest neighbours."""

    block: Float[np.ndarray, " pairs"] | None
    """Through the tiles, one after another; None without block archetypes."""

    block_straight: Float[np.ndarray, " pairs"] | None
    """The codes mixed linearly: since x̂ is linear in g · α, the line between two reconstructions."""

    n_apart: int
    """Pairs left out, since no chain of neighbours joins them."""

    @property
    def gain(self) -> float:
        """Mean of q(line) − q(geodesic): positive where lines leave the data and chains do not."""
        return float((self.straight - self.geodesic).mean())


@checked
@torch.no_grad()
def path_support(
    x: Activations | Float[Tensor, "n d_in"],
    block: BlockArchetypes | None = None,
    *,
    n_pairs: Count = 100,
    n_neighbours: Count = 10,
    seed: Seed = 0,
) -> PathSupport:
    """Compare paths between rows that are far apart (beyond the median distance).

    A chain of neighbours runs through rows by construction, so it is near the data whatever these are:
    compare the difference to the line with the same for `gaussian_like(x)`. The path through tiles moves
    one tile after another, closing tiles before others open; in a Minkowski sum it never leaves it.

    Parameters
    ----------
    n_pairs
        Pairs, drawn at random among those beyond the median distance.
    n_neighbours
        Of the graph, and of the distance.

    Raises
    ------
    TypeError, ValueError: If there are too few rows, or no pair is joined by neighbours.

    Source
    ------
    arXiv 2510.08638 compares lines and shortest paths; q and the path through tiles are inferred (ours).

    Example
    -------
    >>> angle = torch.linspace(0, 6.28, 300)
    >>> ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    >>> found = path_support(ring, n_pairs=10)
    >>> bool(found.geodesic.mean() < 1.5 < found.straight.mean())
    True
    """
    rows = rows_of(x).float()
    k = n_neighbours
    generator = torch.Generator().manual_seed(seed)
    if len(rows) > MOST_ROWS:
        rows = rows[torch.randperm(len(rows), generator=generator)[:MOST_ROWS].to(rows.device)]
    if len(rows) <= k + 1:
        raise ValueError(
            f"`x` must have more than n_neighbours + 1 = {k + 1} rows, got {len(rows)}."
        )
    # Of differences: by products, copies of a row lie apart by rounding.
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    data = _Data(rows, k, float(_kth(distance.clone().fill_diagonal_(torch.inf), k).median()))
    if data.unit == 0:
        raise ValueError("`x` must have distinct rows: half of them have n_neighbours copies.")
    drawn = torch.randint(len(rows), (8 * n_pairs, 2), generator=generator).to(rows.device)
    drawn = drawn[drawn[:, 0] != drawn[:, 1]]
    lengths = distance[drawn[:, 0], drawn[:, 1]]
    pairs = drawn[lengths >= lengths.median()][:n_pairs]
    chains = _chains(distance, pairs, k)
    joined = [i for i, chain in enumerate(chains) if len(chain) > 1]
    if not joined:
        raise ValueError(
            f"`x` must be joined by neighbours, and no pair is with n_neighbours={k}. Take more."
        )
    ends = rows[pairs[joined]]
    through, across = None, None
    if block is not None:
        first, last = (block.encode(ends[:, i]) for i in (0, 1))
        through = data.quality(_tile_paths(block, first, last))
        across = data.quality(_lines(block.decode(first), block.decode(last)))
    return PathSupport(
        straight=data.quality(_lines(ends[:, 0], ends[:, 1])),
        geodesic=data.quality([_along(rows[chains[i]]) for i in joined]),
        block=through,
        block_straight=across,
        n_apart=len(chains) - len(joined),
    )


class _Data(NamedTuple):
    """Rows, and how far the k-th nearest row is from one of them."""

    rows: Tensor
    k: int
    unit: float

    def quality(self, paths: list[Tensor]) -> Float[np.ndarray, " pairs"]:
        """Return mean distance to the k-th nearest row along each path, in units."""
        points = torch.cat(paths)
        distance = torch.cdist(points, self.rows, compute_mode="donot_use_mm_for_euclid_dist")
        # A point that is a row does not count itself, as rows do not.
        distance = distance.masked_fill(distance <= 1e-6 * self.unit, torch.inf)
        mean = _kth(distance, self.k).view(len(paths), -1).mean(dim=1)
        return (mean / self.unit).double().numpy(force=True)


def _kth(distance: Tensor, k: int) -> Tensor:
    return distance.topk(k, dim=1, largest=False).values[:, -1]


def _chains(distance: Tensor, pairs: Int[Tensor, "n 2"], k: int) -> list[list[int]]:
    """Shortest paths over the graph of k nearest neighbours; a single row where there is none."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import dijkstra

    n = len(distance)
    near = distance.topk(k + 1, dim=1, largest=False)
    heads = np.repeat(np.arange(n), k + 1)
    # A tiny length keeps edges between copies, which a sparse matrix would drop as zeros.
    lengths = near.values.reshape(-1).clamp_min(1e-12).double().numpy(force=True)
    graph = csr_matrix((lengths, (heads, near.indices.reshape(-1).numpy(force=True))), (n, n))
    starts, place = np.unique(pairs[:, 0].numpy(force=True), return_inverse=True)
    _, before = dijkstra(graph, directed=False, indices=starts, return_predecessors=True)
    chains = []
    for row, (_, last) in zip(place, pairs.tolist(), strict=True):
        chain = [last]
        while before[row, chain[-1]] >= 0:
            chain.append(int(before[row, chain[-1]]))
        chains.append(chain[::-1])
    return chains


def _lines(a: Float[Tensor, "n d_in"], b: Float[Tensor, "n d_in"]) -> list[Tensor]:
    """Points on the straight line between each two rows."""
    share = torch.linspace(0, 1, N_POINTS, device=a.device)[:, None]
    return [start + share * (end - start) for start, end in zip(a, b, strict=True)]


def _along(chain: Float[Tensor, "m d_in"]) -> Float[Tensor, "points d_in"]:
    """Points at equal lengths along a chain of straight pieces."""
    pieces = chain.diff(dim=0).norm(dim=1)
    walked = torch.cat([pieces.new_zeros(1), pieces.cumsum(dim=0)])
    at = torch.linspace(0, 1, N_POINTS, device=chain.device) * walked[-1]
    piece = (torch.searchsorted(walked, at, right=True) - 1).clamp(0, len(pieces) - 1)
    share = (at - walked[piece]) / pieces[piece].clamp_min(1e-12)
    return chain[piece] + share[:, None] * (chain[piece + 1] - chain[piece])


def _tile_paths(
    block: BlockArchetypes, first: TileCodes, last: TileCodes
) -> list[Float[Tensor, "points d_in"]]:
    """One tile after another: those that close, then those that stay, then those that open."""
    sizes = torch.tensor(block.tile_sizes, device=block.bias.device)
    tile = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    paths = []
    for i in range(len(first)):
        z_first = first.mixtures[i] * first.active[i][tile]
        z_last = last.mixtures[i] * last.active[i][tile]
        # −1 closes, 0 stays, 1 opens; a tile that neither row uses does not move.
        order = (last.active[i].int() - first.active[i].int()).argsort(stable=True)
        stops = [z_first.clone()]
        for t in order.tolist():
            stop = stops[-1].clone()
            stop[tile == t] = z_last[tile == t]
            stops.append(stop)
        points = block.bias + torch.stack(stops) @ block.archetypes
        moved = torch.cat(
            [torch.tensor([True], device=points.device), points.diff(dim=0).norm(dim=1) > 1e-9]
        )
        kept = points[moved]
        paths.append(_along(kept) if len(kept) > 1 else kept.expand(N_POINTS, -1))
    return paths
