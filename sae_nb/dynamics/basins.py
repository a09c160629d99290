"""Whether states of one class end together: cosines within and between classes, silhouette, by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import check_count
from sae_nb.dynamics.directions import unit
from sae_nb.dynamics.states import check_states

FLOOR_QUANTILE = 0.95


@dataclass(frozen=True, eq=False)
class ClassBasins:
    """How far classes are apart at every layer, embeddings first."""

    within: Float[np.ndarray, " layers"]
    """Mean cosine of two inputs of one class."""

    between: Float[np.ndarray, " layers"]
    """Mean cosine of two inputs of different classes."""

    silhouette: Float[np.ndarray, " layers"]
    """Mean silhouette by cosine distance, −1 to 1."""

    floor: Float[np.ndarray, " layers"]
    """95 % quantile of within − between when labels are shuffled: a gap below it says nothing."""

    token: int
    """Position whose states these are."""

    n_classes: int
    """Classes there are."""

    @property
    def gap(self) -> Float[np.ndarray, " layers"]:
        """Mean cosine within classes minus between them."""
        return self.within - self.between


def class_basins(
    states: Float[Tensor, "n layers tokens d"],
    labels: Sequence[int] | Sequence[str] | Tensor | np.ndarray,
    *,
    token: int = 0,
    n_shuffles: int = 40,
    seed: int = 0,
) -> ClassBasins:
    """Cosines of one token's states within and between classes, layer by layer.

    Within: mean of ⟨û_i, û_j⟩ over pairs i ≠ j of one class; between: over pairs of two classes. The
    silhouette is the mean of (b − a) / max(a, b) with cosine distances a to the own class and b to
    the nearest other one.

    Parameters
    ----------
    states
        From `capture_states`, embeddings first.
    labels
        Class of every input.
    token
        Position; 0 is cls of a vision model.
    n_shuffles
        Shuffled labellings behind the floor.
    seed
        Of the shuffles.

    Raises
    ------
    TypeError, ValueError
        If there is only one class, no class with two inputs, not one label per input, or no such
        token.

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
    plain, _ = check_states(states, min_layers=1)
    check_count(n_shuffles, name="n_shuffles")
    if not -plain.shape[2] <= token < plain.shape[2]:
        raise ValueError(f"`token` must be below the {plain.shape[2]} tokens, got {token}.")
    classes = checked_labels(labels, len(plain))
    same = _same_class(classes)
    shuffles = _shuffled(classes, n_shuffles, seed)
    rows = []
    for layer in range(plain.shape[1]):
        directions = unit(plain[:, layer, token]).double()
        cosines = (directions @ directions.T).cpu().numpy()
        gaps = [np.subtract(*_means(cosines, other)) for other in shuffles]
        floor = float(np.quantile(gaps, FLOOR_QUANTILE))
        rows.append((*_means(cosines, same), _silhouette(cosines, classes), floor))
    within, between, silhouette, floors = np.array(rows).T
    return ClassBasins(within, between, silhouette, floors, token, int(classes.max()) + 1)


def checked_labels(
    labels: Sequence[int] | Sequence[str] | Tensor | np.ndarray, n: int
) -> Int[np.ndarray, " n"]:
    """Return class numbers 0, 1, … of labels of any kind, if classes can be compared by them.

    Parameters
    ----------
    labels
        Class of every input.
    n
        How many inputs there are.

    Raises
    ------
    ValueError
        If there is not one label per input, only one class, or no class with two inputs.
    """
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
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
    return classes.reshape(-1).astype(np.int64)


def _same_class(classes: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n n"]:
    return np.asarray(classes[:, None] == classes[None, :])


def _shuffled(
    classes: Int[np.ndarray, " n"], count: int, seed: int
) -> list[Bool[np.ndarray, "n n"]]:
    rng = np.random.default_rng(seed)
    return [_same_class(rng.permutation(classes)) for _ in range(count)]


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
