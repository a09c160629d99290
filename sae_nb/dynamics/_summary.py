"""States measured once for a view of depth: similarity of layers with phases for every k, and trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_data, checked
from sae_nb.dynamics.paths._states import check_states
from sae_nb.dynamics.paths._trajectory import Trajectories, trajectories
from sae_nb.dynamics.phases._phases import PhaseEvidence, Phases, phase_evidence, segment_phases
from sae_nb.dynamics.phases._similarity import layer_similarity

SHORTEST_PHASE = 2
EVIDENCE_DRAWS = 100
"""Of each null that phases are compared with: p down to 0.01, in 20 ms for a dozen layers."""
MOST_PHASES = 6
"""Phases up to which cuts are prepared; a dozen layers hold no more that could be told apart. Ours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthSummary:
    """Similarity, phases and measurements of one model on some inputs; layers count from 0."""

    SIMILARITIES: ClassVar[tuple[str, ...]] = ("raw", "centred", "cka")
    """Ways in which blocks are compared."""

    model_name: str
    n_inputs: int
    similarity: Mapping[str, Float[np.ndarray, "blocks blocks"]]
    """"raw", "centred" and "cka" between the outputs of blocks 1 … L."""

    phases: Mapping[str, Mapping[int, Phases]]
    """The best k phases, by similarity and k."""

    trajectories: Trajectories
    """Measurements of every token."""

    classes: Int[np.ndarray, " n"] | None
    """Class number of every input; None without labels."""

    class_names: tuple[str, ...]
    _evidence: dict[tuple[str, int], PhaseEvidence] = field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def n_layers(self) -> int:
        """Blocks L."""
        return self.trajectories.n_layers

    @property
    def most_phases(self) -> int:
        """Largest k that has cuts."""
        return max(self.phases["raw"])

    def evidence(self, similarity: str, k: int) -> PhaseEvidence:
        """Compare the best k phases with shuffled layers and smooth bands; computed on first use."""
        known = self._evidence.get((similarity, k))
        if known is None:
            matrix = torch.from_numpy(self.similarity[similarity])
            shortest = min(SHORTEST_PHASE, self.n_layers)
            known = phase_evidence(matrix, k, shortest, draws=EVIDENCE_DRAWS)
            self._evidence[similarity, k] = known
        return known

    def gains(self, similarity: str) -> Float[np.ndarray, " ks"]:
        """Return share of all dissimilarity that lies between phases, for k = 1, 2, …."""
        return np.array([phases.gain for phases in self.phases[similarity].values()])


@checked
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
    labels
        Class of every input; None: no classes. One class only is taken as none.

    Raises
    ------
    TypeError, ValueError: If states, kinds and labels do not fit together.

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
    readings = layer_similarity(plain, token_kinds=kinds).readings
    maps = {name: readings[name].detach().float().cpu() for name in DepthSummary.SIMILARITIES}
    several = classes is not None and 1 < len(names) < len(plain)
    # The best contiguous phases for every k that leaves them long enough.
    shortest = min(SHORTEST_PHASE, plain.shape[1] - 1)
    most = max(min((plain.shape[1] - 1) // shortest, MOST_PHASES), 1)
    return DepthSummary(
        model_name=str(getattr(states, "model_name", None) or "this model"),
        n_inputs=len(plain),
        similarity={name: similarity.numpy() for name, similarity in maps.items()},
        phases={
            name: {k: segment_phases(similarity, k, shortest) for k in range(1, most + 1)}
            for name, similarity in maps.items()
        },
        trajectories=trajectories(plain, classes if several else None, token_kinds=kinds),
        classes=classes,
        class_names=names,
    )


def named_classes(
    labels: Sequence[Any] | Tensor | np.ndarray | None,
    n: int,
    class_names: Sequence[str] | None = None,
) -> tuple[Int[np.ndarray, " n"] | None, tuple[str, ...]]:
    """Return class numbers 0, 1, … and their names for labels of any kind."""
    if labels is None:
        return None, ()
    if isinstance(labels, Tensor):
        labels = check_data(labels, name="labels", what="classes").numpy(force=True)
    values = np.asarray(labels)
    if values.shape != (n,):
        raise ValueError(f"`labels` must have one entry per input ({n}), got shape {values.shape}.")
    present, classes = np.unique(values, return_inverse=True)
    known = list(class_names or ())
    numbered = values.dtype.kind in "iu" and present.min() >= 0 and present.max() < len(known)
    names = tuple(known[int(one)] if numbered else str(one) for one in present)
    return classes.reshape(-1).astype(np.int64), names
