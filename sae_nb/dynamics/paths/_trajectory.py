"""Where the states of tokens go, layer after layer: how fast, how alike, how apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, as_tensor, check_data, checked, one_of
from sae_nb.dynamics.paths._states import TOKEN_KINDS, check_states, content_tokens, tokens_of
from sae_nb.findings import Finding
from sae_nb.geometry import effective_rank, stable_rank

if TYPE_CHECKING:
    import pandas as pd


# -------------------------------------------------------------------------------------------------
# How directly and how fast token states turn towards where they end, layer after layer.
#
# With û = a / ‖a‖ per token: γ[l] = ⟨û_l, û_L⟩ and s[l] = arccos⟨û_{l+1}, û_l⟩. Norms grow with depth,
# so only directions are compared.
@checked(leave=("states",))
def directional_convergence(
    states: Float[Tensor, "n layers tokens d"],
) -> Float[Tensor, "n layers tokens"]:
    """Return cosine of every token state with the same token's last state.

    γ[b, l, t] = ⟨û_l, û_L⟩; 1 at the last layer, 0 where a state is the zero vector. Float32, for
    states from `capture_states`, embeddings first.

    Source
    ------
    "Block-Recurrent Dynamics in Vision Transformers", arXiv 2512.19941; the formula from notes on it.

    Example
    -------
    >>> states = torch.tensor([[[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 3.0]]]])
    >>> directional_convergence(states).flatten().round(decimals=3).tolist()
    [0.0, 0.707..., 1.0]
    """
    plain, _ = check_states(states, min_layers=1, masked=True)
    end = directions_of(plain[:, -1])
    cosines = [
        (directions_of(plain[:, layer]) * end).sum(dim=-1) for layer in range(plain.shape[1])
    ]
    return torch.stack(cosines, dim=1)


@checked(leave=("states",))
def angular_speed(states: Float[Tensor, "n layers tokens d"]) -> Float[Tensor, "n steps tokens"]:
    """Return angle, in radians, by which each block turns each token state.

    s[b, l, t] = arccos⟨û_{l+1}, û_l⟩ for l = 0 … L−1, computed as 2·atan2(‖û−v̂‖, ‖û+v̂‖), which is
    exact for small angles too.

    Float32, for states from `capture_states`; entry l is what block l + 1 does.

    Source
    ------
    arXiv 2512.19941; the formula from notes on it.

    Example
    -------
    >>> states = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]], [[0.0, 5.0]]]])
    >>> angular_speed(states).flatten().round(decimals=4).tolist()
    [1.570..., 0.0]
    """
    plain, _ = check_states(states, min_layers=1, masked=True)
    steps = range(plain.shape[1] - 1)
    return torch.stack([angles_between(plain[:, i], plain[:, i + 1]) for i in steps], dim=1)


def angles_between(
    x: Float[Tensor, "*rows d"], y: Float[Tensor, "*rows d"]
) -> Float[Tensor, "*rows"]:
    """Return angles, in radians, between vectors; π/2 where one of them is zero, 0 where both are."""
    u, v = directions_of(x), directions_of(y)
    return 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))


@checked(leave=("x",))
def directions_of(x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    """Return unit vectors of the directions of states, in float32; a zero vector stays zero.

    Example
    -------
    >>> directions_of(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.600..., 0.800...], [0.0, 0.0]]
    """
    x = check_data(as_tensor(x), name="x").detach().float()
    if not x.ndim or not x.shape[-1]:
        raise ValueError(f"`x` must be states (…, d), got shape {tuple(x.shape)}.")
    # Scaled by the largest entry first: squares of sink tokens' fp16 states are fine, those of
    # vanishing ones are not.
    x = x / x.abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return x / x.norm(dim=-1, keepdim=True).clamp_min(0.5)


# -------------------------------------------------------------------------------------------------
# Whether states of one class end together: cosines within and between classes, silhouette, by layer.


FLOOR_QUANTILE = 0.95


@dataclass(frozen=True, eq=False)
class ClassBasins:
    """Separation of classes at every layer, embeddings first."""

    within: Float[np.ndarray, " layers"]
    """Mean cosine of two inputs of one class."""

    between: Float[np.ndarray, " layers"]
    """Mean cosine of two inputs of different classes."""

    silhouette: Float[np.ndarray, " layers"]
    """Mean silhouette by cosine distance, −1 to 1."""

    floor: Float[np.ndarray, " layers"]
    """95 % quantile of within − between when labels are shuffled: a gap below it is not evidence."""

    token: int
    """Position whose states these are."""

    n_classes: int
    """Classes there are."""

    @property
    def gap(self) -> Float[np.ndarray, " layers"]:
        """Mean cosine within classes minus between them."""
        return self.within - self.between


@checked(leave=("states",))
def class_basins(
    states: Float[Tensor, "n layers tokens d"],
    labels: Sequence[int] | Sequence[str] | Tensor | np.ndarray,
    *,
    token: int = 0,
    n_shuffles: Count = 40,
    seed: Seed = 0,
) -> ClassBasins:
    """Measure cosines of one token's states within and between classes, layer by layer.

    Within: mean of ⟨û_i, û_j⟩ over pairs i ≠ j of one class; between: over pairs of two classes. The
    silhouette is the mean of (b − a) / max(a, b) with cosine distances a to the own class and b to
    the nearest other one.

    `token` is a position; 0 is cls of a vision model.

    Raises
    ------
    ValueError: If there is only one class, no class with two inputs, or not one label per input.

    Source
    ------
    Basins are claimed in arXiv 2512.19941; the statistic is inferred.

    Example
    -------
    >>> import torch
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> states = torch.stack([x, x], dim=1)[:, :, None]
    >>> basins = class_basins(states, ["a", "a", "b", "b"])
    >>> basins.gap.tolist(), basins.silhouette.tolist()
    ([1.0, 1.0], [1.0, 1.0])
    """
    plain, _ = check_states(states, min_layers=1, masked=True)
    check_token(token, plain.shape[2])
    if not bool(torch.isfinite(plain[:, 0, token]).all()):
        raise ValueError(
            f"`token` must be one that all samples have, got {token}. Pass the first, or states.common()."
        )
    classes = checked_labels(labels, len(plain))
    same = np.equal.outer(classes, classes)
    draws = np.random.default_rng(seed)
    orders = [draws.permutation(classes) for _ in range(n_shuffles)]
    shuffles = [np.equal.outer(order, order) for order in orders]
    rows = []
    for layer in range(plain.shape[1]):
        directions = directions_of(plain[:, layer, token]).double()
        cosines = (directions @ directions.T).cpu().numpy()
        gaps = [np.subtract(*_means(cosines, other)) for other in shuffles]
        floor = float(np.quantile(gaps, FLOOR_QUANTILE))
        rows.append((*_means(cosines, same), _silhouette(cosines, classes), floor))
    within, between, silhouette, floors = np.array(rows).T
    return ClassBasins(within, between, silhouette, floors, token, int(classes.max()) + 1)


def check_token(token: int, n_tokens: int) -> None:
    """Refuse positions that states do not have."""
    if not -n_tokens <= token < n_tokens:
        raise ValueError(f"`token` must be below the {n_tokens} tokens, got {token}.")


def checked_labels(
    labels: Sequence[int] | Sequence[str] | Tensor | np.ndarray, n: int
) -> Int[np.ndarray, " n"]:
    """Return class numbers 0, 1, … of labels of any kind, if classes can be compared by them."""
    if isinstance(labels, Tensor):
        labels = check_data(labels, name="labels", what="classes").detach().cpu().numpy()
    values = np.asarray(labels)
    if values.shape != (n,):
        raise ValueError(f"`labels` must have one entry per input ({n}), got shape {values.shape}.")
    names, classes = np.unique(values, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"`labels` must name at least two classes, or there is nothing to be apart from; all "
            f"{n} inputs are {str(names[0])!r}. Pass inputs of several classes, or no labels."
        )
    if np.bincount(classes).max() < 2:
        raise ValueError(
            f"`labels` must name some class twice, got {len(names)} classes for {n} inputs. Pass more "
            "inputs of each class."
        )
    return classes.ravel().astype(np.int64)


def _means(cosines: Float[np.ndarray, "n n"], same: Bool[np.ndarray, "n n"]) -> tuple[float, float]:
    """Mean off-diagonal cosine within and between classes."""
    trace, inside = float(np.trace(cosines)), float(cosines[same].sum())
    n, n_inside = len(cosines), int(same.sum())
    within = (inside - trace) / (n_inside - n)
    return within, (float(cosines.sum()) - inside) / (n * n - n_inside)


def _silhouette(cosines: Float[np.ndarray, "n n"], classes: Int[np.ndarray, " n"]) -> float:
    """Mean silhouette; scikit-learn refuses as many classes as inputs, where it is 0 by definition."""
    from sklearn.metrics import silhouette_score

    distances = np.clip(1 - cosines, 0, None)
    np.fill_diagonal(distances, 0)
    return float(silhouette_score(distances, classes, metric="precomputed"))


# -------------------------------------------------------------------------------------------------
# How far all patches of an image point the same way: ρ = ‖mean over patches of û‖, in [0, 1].


@checked(leave=("states",))
def patch_coherence(
    states: Float[Tensor, "n layers tokens d"], *, token_kinds: Sequence[str] | None = None
) -> Float[Tensor, "n layers"]:
    """Return length of the mean direction of an image's patches, or of a text's tokens, layer by layer.

    ρ[b, l] = ‖mean_{t ∈ patches} û_{l,t}‖: 1 where all point the same way, about 1/√P where P
    directions are independent.

    Parameters
    ----------
    token_kinds
        Kind of every token; those of the states when None. Patches count, where there are any,
        else all "token"s.

    Raises
    ------
    ValueError: If there is neither a patch nor a token.

    Source
    ------
    The name is in arXiv 2512.19941; the exact formula is inferred.

    Example
    -------
    >>> states = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [3.0, 0.0]]]])
    >>> patch_coherence(states).round(decimals=3).tolist()
    [[0.707..., 1.0]]
    """
    plain, kinds = check_states(states, token_kinds, min_layers=1, masked=True)
    chosen = content_tokens(kinds)
    layers = range(plain.shape[1])
    return torch.stack(
        [directions_of(plain[:, layer, chosen]).nanmean(dim=1).norm(dim=-1) for layer in layers],
        dim=1,
    )


# -------------------------------------------------------------------------------------------------
# In how many dimensions a block moves token states: stable and effective rank of its updates.


@dataclass(frozen=True, eq=False)
class UpdateRank:
    """Ranks of what each block adds to the directions; entry l belongs to block l + 1."""

    stable: Float[Tensor, " steps"]
    """‖D‖_F² / ‖D‖_2²: 1 if all updates are parallel."""

    effective: Float[Tensor, " steps"]
    """exp of the entropy of σ² / Σσ²."""

    limit: int
    """Upper limit of both: the width, or the number of updates if that is smaller."""


@checked(leave=("states",))
def update_rank(
    states: Float[Tensor, "n layers tokens d"],
    *,
    kind: str | None = None,
    token_kinds: Sequence[str] | None = None,
) -> UpdateRank:
    """Return stable and effective rank of the updates of direction, block by block.

    D_l holds û_{l+1,t} − û_{l,t} of every input and token (of one `kind`) as rows, not centred.

    Source
    ------
    The quantity is in arXiv 2512.19941; that rows are inputs × tokens and uncentred is inferred.

    Example
    -------
    >>> states = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]], [[[1.0, 0.0]], [[0.0, 2.0]]]])
    >>> update_rank(states).stable.tolist()
    [1.0...]
    """
    plain, kinds = check_states(states, token_kinds, min_layers=1, masked=True)
    if kind is None:
        chosen = list(range(len(kinds)))
    else:
        chosen = tokens_of(kinds, one_of(kind, sorted(set(kinds)), name="kind"))
    before = directions_of(plain[:, 0, chosen])
    ranks = []
    for layer in range(1, plain.shape[1]):
        after = directions_of(plain[:, layer, chosen])
        moved = (after - before).flatten(0, 1)
        ranks.append(_ranks(moved[torch.isfinite(moved).all(dim=1)]))
        before = after
    stable, effective = torch.tensor(ranks).unbind(dim=1)
    limit = min(int(torch.isfinite(before).all(dim=-1).sum()), plain.shape[3])
    return UpdateRank(stable, effective, limit)


def _ranks(rows: Tensor) -> tuple[float, float]:
    """Stable and effective rank of updates, not centred; 0 where a block changes nothing."""
    rows = rows.detach().double()
    gram = rows.T @ rows if len(rows) >= rows.shape[1] else rows @ rows.T
    # A small matrix with the singular values of the many rows: the ranks depend on nothing else.
    small = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().diag()
    if not bool(small.any()):
        return 0.0, 0.0
    return stable_rank(small), effective_rank(small)


# -------------------------------------------------------------------------------------------------
# All measurements of one set of states in one record: where tokens go, how fast, how alike, how apart.


Quantity = Literal["convergence", "speed", "norms"]


class Trajectories(Finding, kw_only=False):
    """Measurements of token states through depth; layers count from the embeddings (0) to L."""

    HEADLINE = (
        "{convergence.len} inputs through {n_layers} layers, tokens {kinds}; last coherence "
        "{coherence.mean:.3f}, of independent directions {coherence_floor:.3f}"
    )

    convergence: Float[Tensor, "n layers tokens"]
    """γ: cosine with the token's own last state; NaN, as all of these, at tokens that a sample lacks."""

    speed: Float[Tensor, "n steps tokens"]
    """Radians by which block l + 1 turns the state."""

    norms: Float[Tensor, "n layers tokens"]
    """‖a_l‖, which grows: why angles are used."""

    coherence: Float[Tensor, "n layers"]
    """ρ: length of the mean direction of the patches, or of a text's tokens."""

    coherence_floor: float
    """ρ of P independent directions: 1/√P, its root mean square."""

    update_rank: UpdateRank
    """Ranks of the updates of all tokens."""

    basins: ClassBasins | None
    """Classes at the first token; None without labels."""

    token_kinds: tuple[str, ...]
    """Kind of every token."""

    @property
    def n_layers(self) -> int:
        """Blocks L."""
        return self.speed.shape[1]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds there are, cls first."""
        return tuple(kind for kind in TOKEN_KINDS if kind in self.token_kinds)

    def mean(self, quantity: Quantity, kind: str) -> Float[Tensor, " layers"]:
        """Return mean of "convergence", "speed" or "norms" over tokens of a kind, layer by layer."""
        return self._of(quantity, kind).nanmean(dim=(0, 2))

    def sd(self, quantity: Quantity, kind: str) -> Float[Tensor, " layers"]:
        """Return standard deviation over inputs and tokens, as for `mean`."""
        values = self._of(quantity, kind)
        off = values - values.nanmean(dim=(0, 2), keepdim=True)
        return off.square().nanmean(dim=(0, 2)).sqrt()

    def _of(self, quantity: Quantity, kind: str) -> Tensor:
        chosen = tokens_of(self.token_kinds, one_of(kind, self.kinds, name="kind"))
        values: Tensor = getattr(self, one_of(quantity, get_args(Quantity), name="quantity"))
        return values[:, :, chosen]

    @property
    def table(self) -> pd.DataFrame:
        """One row per layer: means by kind, coherence, ranks, basins."""
        import pandas as pd

        columns: dict[str, np.ndarray] = {}
        for kind in self.kinds:
            columns[f"convergence {kind}"] = self.mean("convergence", kind).numpy()
            columns[f"speed {kind}"] = _after(self.mean("speed", kind))
            columns[f"norm {kind}"] = self.mean("norms", kind).numpy()
        columns["coherence"] = self.coherence.mean(dim=0).numpy()
        columns["stable rank"] = _after(self.update_rank.stable)
        columns["effective rank"] = _after(self.update_rank.effective)
        if self.basins is not None:
            columns |= {
                "within": self.basins.within,
                "between": self.basins.between,
                "silhouette": self.basins.silhouette,
            }
        return pd.DataFrame(columns).rename_axis("layer")


@checked(leave=("states",))
def trajectories(
    states: Float[Tensor, "n layers tokens d"],
    labels: Sequence[int] | Sequence[str] | Tensor | np.ndarray | None = None,
    *,
    token_kinds: Sequence[str] | None = None,
    seed: Seed = 0,
) -> Trajectories:
    """Measure how token states travel through depth.

    Without `labels`, the class of every input, there are no basins; `seed` shuffles them for the floor.

    Raises
    ------
    ValueError: If labels name one class only, or are not one per input.

    Source
    ------
    "Block-Recurrent Dynamics in Vision Transformers", arXiv 2512.19941; each measurement states which
    of its formulas are inferred.

    Example
    -------
    >>> states = torch.randn(6, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    >>> found = trajectories(states, [0, 0, 0, 1, 1, 1], token_kinds=["cls", "patch", "patch"])
    >>> found.kinds, found.n_layers, float(found.mean("convergence", "cls")[-1].round(decimals=4))
    (('cls', 'patch'), 3, 1.0)
    """
    plain, kinds = check_states(states, token_kinds, min_layers=1, masked=True)
    layers, whole = range(plain.shape[1]), torch.isfinite(plain[:, 0]).all(dim=-1)
    content = whole[:, content_tokens(kinds)].sum(dim=1).float()
    return Trajectories(
        convergence=directional_convergence(states),
        speed=angular_speed(states),
        norms=torch.stack([plain[:, layer].float().norm(dim=-1) for layer in layers], dim=1),
        coherence=patch_coherence(states, token_kinds=kinds),
        coherence_floor=float(content.reciprocal().mean().sqrt()),
        update_rank=update_rank(states, token_kinds=kinds),
        basins=None if labels is None else class_basins(states, labels, seed=seed),
        token_kinds=kinds,
    )


def _after(steps: Tensor) -> Float[np.ndarray, " layers"]:
    """Return the effect of blocks, at the layer they output; the embeddings have no block."""
    return np.concatenate([[np.nan], steps.numpy()])
