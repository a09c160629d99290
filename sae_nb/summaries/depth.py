"""What a view of depth draws: similarity of layers with phases for every k, and strips over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.dynamics.phases import Phases, segment_phases
from sae_nb.dynamics.similarity import layer_similarity
from sae_nb.dynamics.states import check_states
from sae_nb.dynamics.trajectory import Trajectories, trajectories

SIMILARITIES = ("raw", "centred", "cka")
SHORTEST_PHASE = 2
MOST_PHASES = 6
"""Phases up to which cuts are prepared; a dozen layers hold no more that could be told apart. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthSummary:
    """Similarity, phases and measurements of one model on some inputs; layers count from 0."""

    model_name: str
    """Whose states."""

    n_inputs: int
    """Inputs measured."""

    similarity: Mapping[str, Float[np.ndarray, "blocks blocks"]]
    """"raw", "centred" and "cka" between the outputs of blocks 1 … L."""

    phases: Mapping[str, Mapping[int, Phases]]
    """The best k phases, by similarity and k."""

    trajectories: Trajectories
    """Measurements of every token."""

    classes: Int[np.ndarray, " n"] | None
    """Class number of every input; None without labels."""

    class_names: tuple[str, ...]
    """Their names; empty without labels."""

    @property
    def n_layers(self) -> int:
        """Blocks L."""
        return self.trajectories.n_layers

    @property
    def most_phases(self) -> int:
        """Largest k that has cuts."""
        return max(self.phases["raw"])

    def gains(self, similarity: str) -> Float[np.ndarray, " ks"]:
        """Share of all dissimilarity that lies between phases, for k = 1, 2, ….

        Parameters
        ----------
        similarity
            One of `SIMILARITIES`.
        """
        return np.array([phases.gain for phases in self.phases[similarity].values()])


def summarise_depth(
    states: Float[Tensor, "n layers tokens d"],
    labels: Sequence[Any] | Tensor | np.ndarray | None = None,
    *,
    class_names: Sequence[str] | None = None,
    token_kinds: Sequence[str] | None = None,
) -> DepthSummary:
    """Measure states once for everything a view of depth shows.

    Parameters
    ----------
    states
        From `capture_states`.
    labels
        Class of every input; None: no classes. One class only is taken as none.
    class_names
        What class numbers are called.
    token_kinds
        Kind of every token; those of the states when None.

    Raises
    ------
    TypeError, ValueError
        If states, kinds and labels do not fit together.

    Example
    -------
    >>> import torch
    >>> states = torch.randn(6, 5, 3, 8, generator=torch.Generator().manual_seed(0))
    >>> summary = summarise_depth(states, token_kinds=["cls", "patch", "patch"])
    >>> summary.n_layers, summary.phases["raw"][1].cuts, summary.similarity["cka"].shape
    (4, (0, 4), (4, 4))
    """
    plain, kinds = check_states(states, token_kinds)
    classes, names = named_classes(labels, len(plain), class_names)
    found = layer_similarity(plain, token_kinds=kinds)
    maps = {name: found.readings[name].detach().float().cpu() for name in SIMILARITIES}
    several = classes is not None and 1 < len(names) < len(plain)
    return DepthSummary(
        model_name=str(getattr(states, "model_name", None) or "this model"),
        n_inputs=len(plain),
        similarity={name: similarity.numpy() for name, similarity in maps.items()},
        phases={name: _phases(similarity) for name, similarity in maps.items()},
        trajectories=trajectories(plain, classes if several else None, token_kinds=kinds),
        classes=classes,
        class_names=names,
    )


def named_classes(
    labels: Sequence[Any] | Tensor | np.ndarray | None,
    n: int,
    class_names: Sequence[str] | None = None,
) -> tuple[Int[np.ndarray, " n"] | None, tuple[str, ...]]:
    """Return class numbers 0, 1, … and their names for labels of any kind.

    Parameters
    ----------
    labels
        Numbers or names, one per input; None gives none.
    n
        How many inputs.
    class_names
        Names of the numbers 0, 1, ….

    Raises
    ------
    ValueError
        If there is not one label per input.

    Example
    -------
    >>> named_classes(["b", "a", "b"], 3)
    (array([1, 0, 1]), ('a', 'b'))
    """
    if labels is None:
        return None, ()
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.shape != (n,):
        raise ValueError(f"`labels` must have one entry per input ({n}), got shape {values.shape}.")
    found, classes = np.unique(values, return_inverse=True)
    known = list(class_names or ())
    numbers = values.dtype.kind in "iu" and len(known) > int(found.max()) and int(found.min()) >= 0
    names = tuple(known[int(one)] if numbers else str(one) for one in found)
    return classes.reshape(-1).astype(np.int64), names


def _phases(similarity: Float[Tensor, "blocks blocks"]) -> dict[int, Phases]:
    """The best contiguous phases for every k that leaves them long enough."""
    n = len(similarity)
    shortest = min(SHORTEST_PHASE, n)
    most = max(min(n // shortest, MOST_PHASES), 1)
    return {k: segment_phases(similarity, k, shortest) for k in range(1, most + 1)}
