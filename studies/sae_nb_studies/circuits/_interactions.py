"""Bases in which layers interact sparsely: the local interaction basis, its elder, and principal components.

x_l (n, d_l) activations at place l, F_l the map from one place to the next, the last place being the answer.
Features are f_l = C_l (x_l − μ_l). From the last place, whose features are principal components, backwards:

1. whiten: f̃ = D^{−1/2} Uᵀ (x − μ), with U D Uᵀ the covariance; directions without variance are dropped;
2. M = E[JᵀJ], J = ∂f_{l+1}/∂f̃; M = V Λ Vᵀ; directions that move nothing are dropped;
3. f = Λ^{1/2} Vᵀ f̃ (local), or Vᵀ f̃ (plain).

Interaction of feature j with feature i of the next place: E_ij² = E[(f_j ∫₀¹ ∂_j f_i(α f) dα)²].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Between, Count, Seed, between, check_count, checked, shown
from sae_nb.findings import Finding
from sae_nb.models import run
from sae_nb_studies.geometry._communities import communities, modularity

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import Batch, LiveModel

Kind = Literal["local", "plain", "pca"]
KINDS: tuple[Kind, ...] = ("local", "plain", "pca")
ANSWER = "answer"


class InteractionBasis(Finding):
    """Features of some places of a model and how they interact; made by `interaction_basis`."""

    kind: Kind
    places: tuple[str, ...]
    """Hook points in order, and "answer"."""

    means: tuple[Float[np.ndarray, " d"], ...]
    reads: tuple[Float[np.ndarray, "n d"], ...]
    """Of each place: f = reads (x − mean)."""

    writes: tuple[Float[np.ndarray, "d n"], ...]
    """x ≈ mean + writes f; what was dropped stays at its mean."""

    edges: tuple[Float[np.ndarray, "n_next n"], ...]
    """E between a place and the next: root mean square, in the units of the next place's features."""

    activation_ranks: tuple[int, ...]
    """Directions of each place that vary."""

    maps: _Maps
    """The live model."""

    @property
    def jacobian_ranks(self) -> tuple[int, ...]:
        """Of these, directions that move the next place's features; those of the answer all count."""
        return tuple(len(read) for read in self.reads)

    @property
    def headline(self) -> str:
        """Directions and features of each place."""
        parts = ", ".join(
            f"{place} {read.shape[1]} → {len(read)}"
            for place, read in zip(self.places, self.reads, strict=True)
        )
        return f"{self.kind}: {parts}"

    @property
    def synchronised(self) -> tuple[float, ...]:
        """Of each place, the share of pairs of units that are positive on the very same inputs.

        Of units that are positive on some inputs and not on others, so it is informative if units are
        neurons, before or after their ReLU; NaN if there are fewer than two.
        """
        return tuple(_synchronised(x) for x in self.maps.clean)

    @checked
    def modules(self, n: int | None = None, *, n_shuffled: Count = 5, seed: Seed = 0) -> Modules:
        """Return groups of features, of all places together, that interact with each other.

        Parameters
        ----------
        n
            Number of groups (spectral clustering). None: as many as give the largest modularity (local
            moves).
        n_shuffled
            Graphs of the same edges, redrawn between the same places: the floor.

        Raises
        ------
        ValueError: If there are fewer features than groups.
        """
        n_features = sum(map(len, self.reads))
        if n is not None:
            check_count(n, name="n", at_least=2, at_most=n_features)
        rng = np.random.default_rng(seed)
        drawn = [
            [rng.permutation(part.ravel()).reshape(part.shape) for part in self.edges]
            for _ in range(n_shuffled)
        ]
        label, value = _groups(_graph(self.edges), n, seed)
        ends = np.cumsum([len(read) for read in self.reads])[:-1]
        return Modules(
            labels=tuple(np.split(label, ends)),
            modularity=value,
            shuffled=np.array([_groups(_graph(edges), n, seed)[1] for edges in drawn]),
        )

    @checked
    def cut(
        self,
        shares: Sequence[float] = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02),
        *,
        loss: Callable[[Tensor], float] | None = None,
        seed: Seed | None = None,
    ) -> DataFrame:
        """Return what the answer loses where only the strongest edges are kept: `share`, `edges`, `loss`.

        Every feature is computed from the features of the place before that its kept edges come from; the
        others are at their mean. Of the edges between two places the same share is kept.

        Parameters
        ----------
        shares
            Of the edges, each in (0, 1].
        loss
            Of the answers (n, d). None: 1 − R² of the model's own answers.
        seed
            Keep random edges instead: the control.
        """
        import pandas as pd

        for share in shares:
            between(share, 0.0, 1.0, name="shares", ends="(]")
        rng = None if seed is None else np.random.default_rng(seed)
        rows = []
        for share in shares:
            kept = [_kept(edges, share, rng) for edges in self.edges]
            answer = self._computed(kept)
            lost = self._unexplained(answer) if loss is None else float(loss(answer))
            n_edges = sum(int(mask.sum()) for mask in kept)
            rows.append({"share": share, "edges": n_edges, "loss": lost})
        return pd.DataFrame(rows)

    def _unexplained(self, answer: Float[Tensor, "n d"]) -> float:
        clean = self.maps.clean[-1]
        return float((answer - clean).square().sum() / (clean - clean.mean(dim=0)).square().sum())

    def _computed(self, kept: Sequence[Bool[np.ndarray, "n_next n"]]) -> Float[Tensor, "n d"]:
        """The answers by these edges alone, a pass for each set of features that is read from."""
        features = self.features(0, self.maps.clean[0])
        for layer, mask in enumerate(kept):
            sources, of = np.unique(mask, axis=0, return_inverse=True)
            new = features.new_zeros(len(features), len(mask))
            for i, source in enumerate(sources):
                x = self.rows(layer, features * torch.from_numpy(source).to(features))
                mine = torch.from_numpy(np.flatnonzero(of.ravel() == i))
                after = self.features(layer + 1, self.maps.run(layer, x))
                new[:, mine] = after[:, mine]
            features = new
        return self.rows(len(kept), features)

    def features(self, place: int, x: Float[Tensor, "n d"]) -> Float[Tensor, "n features"]:
        """Return features of rows at a place, by its number."""
        return _features(x, self.means[place], self.reads[place])

    def rows(self, place: int, features: Float[Tensor, "n features"]) -> Float[Tensor, "n d"]:
        """Return rows that have some features."""
        return _rows(features, self.means[place], self.writes[place])


class Modules(Finding):
    """Groups of features that interact with each other."""

    HEADLINE = (
        "{n_groups} groups, modularity {modularity:.3f}; of shuffled edges {shuffled.mean:.3f}"
    )

    labels: tuple[Int[np.ndarray, " n"], ...]
    """The group of every feature, a place each."""

    modularity: float
    """Newman's, of the graph of all edges with these groups."""

    shuffled: Float[np.ndarray, " n_shuffled"]
    """The same of shuffled edges and their own groups: groups are found in any graph."""

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(np.unique(np.concatenate(self.labels)))


@checked(leave=("inputs",))
def interaction_basis(
    model: LiveModel,
    inputs: Any,
    hook_points: Sequence[Any],
    *,
    kind: Kind = "local",
    position: int = -1,
    tolerance: Annotated[float, Between(0, 1, "()")] = 1e-6,
    n_steps: Count = 5,
) -> InteractionBasis:
    """Find bases of a model's places in which each feature is made of few features of the place before.

    Parameters
    ----------
    inputs
        Of one length, in one batch: as many as directions are to be told apart, or more.
    hook_points
        In the order of the model; the answer comes after them. Whatever goes around a place, such as a
        residual stream around an MLP, is held as it was: choose places that everything passes.
    kind
        "local": the local interaction basis. "plain": the interaction basis, of unit variance. "pca":
        principal components, to compare with.
    position
        Of sequences, the one that is read; earlier ones are held.
    tolerance
        Share of the largest variance, and of the largest importance, below which a direction is dropped.
    n_steps
        Points of the integral in the edges.

    Raises
    ------
    HookPointNotFound, ValueError: If there are fewer than two inputs, their lengths differ, a place comes
        after the next, or nothing varies there.

    Source
    ------
    Bushnaq et al., "The Local Interaction Basis", arXiv 2405.10928; the elder: Bushnaq et al., "Using
    Degeneracy in the Loss Landscape for Mechanistic Interpretability", arXiv 2405.10927. Written from their
    descriptions, not from code. There a constant feature carries the means; ours are features around them.

    Example
    -------
    >>> import sae_nb as sn
    >>> from torch import nn
    >>> model = sn.wrap(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)))
    >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    >>> basis = interaction_basis(model, x, ["0", "1"])
    >>> basis.places, [edges.shape[0] for edges in basis.edges][-1]
    (('0', '1', 'answer'), 2)
    """
    if isinstance(hook_points, str):
        hook_points = [hook_points]
    if not isinstance(hook_points, Sequence) or not len(hook_points):
        raise ValueError(
            f"`hook_points` must be a list of at least one place, got {shown(hook_points)}. "
            "`model.hook_points()` lists what there is."
        )
    with torch.enable_grad(), model.lock:
        maps = _Maps(model, inputs, hook_points, position)
        bases = _bases(maps, kind, tolerance)
        edges = [_edges(maps, layer, bases, n_steps) for layer in range(len(hook_points))]
    return InteractionBasis(
        kind=kind,
        places=(*maps.names, ANSWER),
        means=tuple(basis.mean for basis in bases),
        reads=tuple(basis.read for basis in bases),
        writes=tuple(basis.write for basis in bases),
        edges=tuple(edges),
        activation_ranks=tuple(basis.rank for basis in bases),
        maps=maps,
    )


def _groups(
    graph: Float[np.ndarray, "n n"], n: int | None, seed: int
) -> tuple[Int[np.ndarray, " n"], float]:
    """Groups of a graph's nodes, and their modularity."""
    if n is None:
        return communities(graph)
    from sklearn.cluster import SpectralClustering

    label = SpectralClustering(n, affinity="precomputed", random_state=seed).fit_predict(graph)
    return label, modularity(graph, label)


def _graph(edges: Sequence[Float[np.ndarray, "n_next n"]]) -> Float[np.ndarray, "n n"]:
    """Symmetric weights among the features of all places; each pair of places has the same total."""
    sizes = [edges[0].shape[1], *(len(part) for part in edges)]
    ends = np.cumsum([0, *sizes])
    found = np.zeros((ends[-1], ends[-1]))
    for i, part in enumerate(edges):
        here, there = slice(ends[i], ends[i + 1]), slice(ends[i + 1], ends[i + 2])
        found[there, here] = part / max(part.sum(), 1e-30)
    return found + found.T


# -------------------------------------------------------------------------------------------------
# The model as maps from place to place.


class _Maps:
    """The model from one place to the next, all inputs at once, everything else held by running it whole."""

    def __init__(
        self, model: LiveModel, inputs: Any, hook_points: Sequence[Any], position: int
    ) -> None:
        self.model, self.position = model, position
        self.points = [model.hook_point(str(point)) for point in hook_points]
        self.names = tuple(str(point) for point in self.points)
        self.batch = one_batch(model, inputs)
        self.clean: list[Float[Tensor, "n d"]] = []
        """Activations of each place, and the answers."""

        for stop in range(len(self.points) + 1):
            with torch.no_grad():
                self.clean.append(self._run(None, None, stop))

    def run(
        self, layer: int, x: Float[Tensor, "n d"], *, grad: bool = False
    ) -> Float[Tensor, "n d"]:
        """Return rows of the next place."""
        with torch.set_grad_enabled(grad):
            return self._run(layer, x, layer + 1)

    def _run(self, start: int | None, x: Tensor | None, stop: int) -> Float[Tensor, "n d"]:
        puts = [] if start is None or x is None else [(self.points[start], self._exchanging(x))]
        read = self.points[stop : stop + 1]
        ran = run(self.model, self.batch, read=read, put=puts, grad=torch.is_grad_enabled())
        found = ran.states[read[0]] if read else ran.answer.tensor
        return self._read(found, (*self.names, ANSWER)[stop]).double()

    def _exchanging(self, new: Float[Tensor, "n d"]) -> Callable[[Tensor], Tensor]:
        def exchange(y: Float[Tensor, "n places d"]) -> Tensor:
            y = y.clone()
            y[:, self.position if y.shape[1] > 1 else 0] = new.to(y)
            return y

        return exchange

    def _read(self, found: Tensor, name: str) -> Float[Tensor, "n d"]:
        if found.ndim == 2:
            return found
        if found.ndim != 3:
            raise ValueError(
                "`hook_points` and the answer must hold a vector for each input, or for each position of it, "
                f"and {name} is of shape {tuple(found.shape)}. Choose other places."
            )
        time = found.shape[1]
        if not -time <= self.position < time:
            raise ValueError(
                f"`position` must be one of the {time} at {name}, got {self.position}. −1 is the last."
            )
        return found[:, self.position]


def one_batch(model: LiveModel, inputs: Any) -> Batch:
    """Return all inputs as one batch; two at least."""
    listed = hasattr(inputs, "__len__") and not isinstance(inputs, str)
    size = len(inputs) if listed and getattr(inputs, "ndim", 1) > 0 else 1
    if size < 2:
        raise ValueError(f"`inputs` must be at least two inputs, got {size}.")
    (batch,) = model.batches(inputs, batch_size=size)
    if batch.keep is not None and not bool(batch.keep.all()):
        raise ValueError(
            "`inputs` must be of one length, and some are padded. Group them by length."
        )
    return batch.to(model.device)


# -------------------------------------------------------------------------------------------------
# Bases and edges.


@dataclass(frozen=True, kw_only=True, eq=False)
class _Basis:
    mean: Float[np.ndarray, " d"]
    read: Float[np.ndarray, "n d"]
    write: Float[np.ndarray, "d n"]
    rank: int


def _bases(maps: _Maps, kind: Kind, tolerance: float) -> list[_Basis]:
    """Of every place, from the answer backwards."""
    found: list[_Basis] = []
    for place in reversed(range(len(maps.clean))):
        x = maps.clean[place].cpu().numpy()
        mean = x.mean(axis=0)
        variance, u = np.linalg.eigh(np.cov(x.T, bias=True).reshape(x.shape[1], -1))
        keep = np.flatnonzero(variance > tolerance * variance.max())[::-1]
        if variance.max() <= 0 or not len(keep):
            name = (*maps.names, ANSWER)[place]
            raise ValueError(f"`inputs` must differ at every place, and nothing varies at {name}.")
        variance, u = variance[keep], u[:, keep]
        if kind == "pca" or not found:
            basis = _Basis(mean=mean, read=u.T, write=u, rank=len(keep))
        else:
            scale = np.sqrt(variance)
            slopes = _jacobians(maps, place, maps.clean[place], found[0])
            slopes = torch.einsum("ind,dr->inr", slopes, torch.from_numpy(u * scale))
            moved = torch.einsum("inr,ins->rs", slopes, slopes).numpy() / len(x)
            size, v = np.linalg.eigh(moved)
            keep = np.flatnonzero(size > tolerance * size.max())[::-1]
            if not len(keep):
                raise ValueError(
                    f"`hook_points` must lead to each other, and {maps.names[place]} moves nothing after it."
                )
            gain = np.sqrt(size[keep]) if kind == "local" else np.ones(len(keep))
            basis = _Basis(
                mean=mean,
                read=gain[:, None] * v[:, keep].T @ (u / scale).T,
                write=(u * scale) @ v[:, keep] / gain,
                rank=len(scale),
            )
        found.insert(0, basis)
    return found


def _jacobians(
    maps: _Maps, layer: int, x: Float[Tensor, "n d"], after: _Basis
) -> Float[Tensor, "features n d"]:
    """∂f_i/∂x of every feature of the next place, at each row."""
    x = x.detach().clone().requires_grad_()
    features = _features(maps.run(layer, x, grad=True), after.mean, after.read)
    slopes = []
    for i in range(features.shape[1]):
        (slope,) = torch.autograd.grad(
            features[:, i].sum(), x, retain_graph=True, allow_unused=True
        )
        if slope is None:
            raise ValueError(
                f"`hook_points` must come in the order of the model, and {maps.names[layer]} does not lead to "
                f"{(*maps.names, ANSWER)[layer + 1]}."
            )
        slopes.append(slope)
    return torch.stack(slopes).cpu()


def _edges(
    maps: _Maps, layer: int, bases: Sequence[_Basis], n_steps: int
) -> Float[np.ndarray, "n_next n"]:
    """E between a place and the next, the integral by the midpoints of equal steps."""
    basis, after = bases[layer], bases[layer + 1]
    features = _features(maps.clean[layer], basis.mean, basis.read)
    total = torch.zeros(len(after.read), *features.shape, dtype=torch.float64)
    write = torch.from_numpy(basis.write)
    for step in range(n_steps):
        x = _rows(features * ((step + 0.5) / n_steps), basis.mean, basis.write)
        total += torch.einsum("ind,dr->inr", _jacobians(maps, layer, x, after), write) / n_steps
    return (total * features.cpu()).square().mean(dim=1).sqrt().numpy()


def _synchronised(x: Float[Tensor, "n d"]) -> float:
    fires = (x > 0).cpu().numpy()
    fires = fires[:, fires.any(axis=0) & ~fires.all(axis=0)]
    n = fires.shape[1]
    if n < 2:
        return float("nan")
    count = np.unique(fires, axis=1, return_counts=True)[1]
    return float((count * (count - 1)).sum() / (n * (n - 1)))


def _features(x: Tensor, mean: np.ndarray, read: np.ndarray) -> Float[Tensor, "n features"]:
    return (x - torch.from_numpy(mean).to(x)) @ torch.from_numpy(read.copy()).to(x).T


def _rows(features: Tensor, mean: np.ndarray, write: np.ndarray) -> Float[Tensor, "n d"]:
    return (
        torch.from_numpy(mean).to(features)
        + features @ torch.from_numpy(write.copy()).to(features).T
    )


def _kept(
    edges: Float[np.ndarray, "n_next n"], share: float, rng: np.random.Generator | None
) -> Bool[np.ndarray, "n_next n"]:
    """The strongest edges, or as many random ones."""
    amounts = edges.ravel() if rng is None else rng.random(edges.size)
    kept = np.zeros(edges.size, bool)
    kept[np.argsort(-amounts, kind="stable")[: max(1, round(share * edges.size))]] = True
    return kept.reshape(edges.shape)
