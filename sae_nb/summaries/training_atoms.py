"""What the atoms do while an SAE is trained: how far they turn, and what a few of them stand for.

Motion of atom j between two looks at steps s < s′: arccos⟨d_j(s), d_j(s′)⟩ · 100 / (s′ − s), degrees
per hundred steps. Atoms that go on turning are not learned yet, and dead ones hardly turn at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from sae_nb.edits import latents

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures.base import SparseAutoencoder

MOST_NUMBERS = 8_000_000
"""Entries of a dictionary that one look reads; of a larger one every k-th atom is followed."""

MOST_LOOKS = 400
"""Kept for the curves; then every second one is forgotten."""

PER_STEPS = 100
WINDOW = 5
"""Tokens shown on each side of the strongest one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomMotion:
    """How far atoms have turned, in degrees per hundred steps."""

    per_atom: Float[np.ndarray, " n_atoms"]
    """Between the last two looks; NaN for atoms that are not followed."""

    step: Int[np.ndarray, " looks"]
    """Steps at which the curves below were measured."""

    median: Float[np.ndarray, " looks"]
    """Half of the atoms turned no more than this."""

    p90: Float[np.ndarray, " looks"]
    """Nine in ten of them turned no more than this."""


class MotionTracker:
    """Looks at a dictionary now and then and remembers how far its atoms turned in between.

    Example
    -------
    >>> tracker = MotionTracker()
    >>> tracker.look(torch.eye(2), 0)
    >>> tracker.look(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), 50)
    >>> tracker.summary().per_atom.round(3).tolist()
    [0.0, 90.0]
    """

    def __init__(self) -> None:
        self._rows: Tensor | None = None
        self._step = -1
        self._n_atoms = 0
        self._per_atom: Float[np.ndarray, " n_atoms"] | None = None
        self._looks: list[tuple[int, float, float]] = []

    def look(self, dictionary: Float[Tensor, "n_atoms d_in"], step: int) -> None:
        """Measure what has turned since the last look; a look at the same step changes nothing.

        Parameters
        ----------
        dictionary
            As it is now; it is copied.
        step
            Optimiser steps done.
        """
        if step == self._step:
            return
        every = max(-(-dictionary.numel() // MOST_NUMBERS), 1)
        rows = torch.nn.functional.normalize(dictionary.detach()[::every].float(), dim=1).cpu()
        if self._rows is not None and step > self._step and rows.shape == self._rows.shape:
            self._measure(rows, self._rows, step, every)
        self._rows, self._step, self._n_atoms = rows, step, len(dictionary)

    def _measure(self, rows: Tensor, before: Tensor, step: int, every: int) -> None:
        # The half-angle form is exact for small angles, where the arc cosine of 1 − ε is not.
        chord = (rows - before).norm(dim=1).clamp(max=2.0)
        degrees = torch.rad2deg(2 * torch.asin(chord / 2)).numpy() * PER_STEPS / (step - self._step)
        self._per_atom = np.full(self._n_atoms, np.nan, dtype=np.float32)
        self._per_atom[::every] = degrees
        middle, high = np.quantile(degrees, (0.5, 0.9))
        self._looks.append((step, float(middle), float(high)))
        if len(self._looks) > MOST_LOOKS:
            self._looks = self._looks[::2]

    def summary(self) -> AtomMotion | None:
        """Return what was measured; None before the second look."""
        if self._per_atom is None:
            return None
        step, median, p90 = np.array(self._looks, dtype=np.float64).T
        return AtomMotion(
            per_atom=self._per_atom,
            step=step.astype(np.int64),
            median=median.astype(np.float32),
            p90=p90.astype(np.float32),
        )


def pareto_front(
    l0: Float[np.ndarray, " runs"], r2: Float[np.ndarray, " runs"]
) -> Bool[np.ndarray, " runs"]:
    """Return which runs no other one beats: higher R² at no more atoms per row.

    Examples
    --------
    >>> pareto_front(np.array([8.0, 16.0, 16.0]), np.array([0.7, 0.9, 0.8])).tolist()
    [True, True, False]
    """
    no_worse = (l0[:, None] <= l0) & (r2[:, None] >= r2)
    better = no_worse & ((l0[:, None] < l0) | (r2[:, None] > r2))
    return np.asarray(~better.any(axis=0))


# --- a gallery of atoms ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomGallery:
    """What a few atoms stand for at this moment of a training."""

    atoms: tuple[int, ...]
    """Which."""

    strengths: Float[np.ndarray, " shown"]
    """Largest strength on the probe rows; without a probe, how often they fire, or their norms."""

    rows: Float[np.ndarray, "shown d_in"] | None = None
    """The atoms themselves, where inputs are pixels."""

    pictures: UInt8[np.ndarray, "shown 3 height width"] | None = None
    """The picture on which each fires most."""

    heat: Float[np.ndarray, "shown rows columns"] | None = None
    """Its strength on that picture's patches."""

    tokens: tuple[tuple[str, ...], ...] = ()
    """The token on which each fires most, with its neighbours."""

    token_strengths: tuple[tuple[float, ...], ...] = ()
    """Its strength on those."""


class Probe:
    """A few samples' rows that atoms are read on, the same ones at every look.

    Parameters
    ----------
    acts
        Activations with the samples behind them.
    most_rows
        Whole samples are taken, in order, up to so many rows.
    """

    def __init__(self, acts: Activations, most_rows: int = 2048) -> None:
        sample = acts.sample.cpu()
        counts = torch.bincount(sample)
        n_samples = max(int((counts.cumsum(0) <= most_rows).sum()), 1)
        self._part = acts.subset(sample < n_samples)
        self.context = acts.context
        self.x = self._part.x[:]
        self.sample = self._part.sample.cpu().numpy()
        self.position = self._part.position.cpu().numpy()
        self.tokens: Sequence[str] = [] if self._part.tokens is None else list(self._part.tokens)

    def gallery(self, sae: SparseAutoencoder, atoms: Sequence[int]) -> AtomGallery:
        """Read the atoms on the probe's rows.

        Parameters
        ----------
        sae
            Encodes; the caller sees to it that nobody changes it meanwhile.
        atoms
            Which.
        """
        with torch.no_grad():
            device = sae.dictionary.device
            strength = latents(sae.encode(self.x.to(device)), tuple(atoms)).abs().cpu().numpy()
        best = strength.argmax(axis=0)
        parts: dict[str, Any] = {}
        if self.context.pictures is not None:
            parts = self._on_pictures(strength, best)
        elif self.context.kind == "language":
            parts = self._on_tokens(strength, best)
        return AtomGallery(atoms=tuple(atoms), strengths=strength.max(axis=0), **parts)

    def _on_pictures(
        self, strength: Float[np.ndarray, "n shown"], best: Int[np.ndarray, " shown"]
    ) -> dict[str, Any]:
        pictures = self.context.pictures
        if pictures is None:
            return {}
        chosen = self.sample[best]
        shown = {"pictures": pictures[torch.as_tensor(chosen)].cpu().numpy()}
        if self.context.patch_grid is None:
            return shown
        rows, columns = self.context.patch_grid
        heat = np.full((len(best), rows * columns), np.nan, dtype=np.float32)
        for i, sample in enumerate(chosen):
            mine = np.flatnonzero(self.sample == sample)
            patch = self.position[mine] - self.context.prefix_tokens
            inside = (patch >= 0) & (patch < rows * columns)
            heat[i, patch[inside]] = strength[mine[inside], i]
        return shown | {"heat": heat.reshape(-1, rows, columns)}

    def _on_tokens(
        self, strength: Float[np.ndarray, "n shown"], best: Int[np.ndarray, " shown"]
    ) -> dict[str, Any]:
        tokens, strengths = [], []
        for i, row in enumerate(best):
            near = np.arange(max(row - WINDOW, 0), min(row + WINDOW + 1, len(self.tokens)))
            near = near[self.sample[near] == self.sample[row]]
            tokens.append(tuple(self.tokens[j] for j in near))
            strengths.append(tuple(float(v) for v in strength[near, i]))
        return {"tokens": tuple(tokens), "token_strengths": tuple(strengths)}


def gallery_of_rows(
    sae: SparseAutoencoder,
    atoms: Sequence[int],
    frequency: Float[np.ndarray, " n_atoms"] | None = None,
) -> AtomGallery:
    """Return the atoms themselves, for SAEs whose inputs are pixels.

    Parameters
    ----------
    sae
        Whose dictionary.
    atoms
        Which rows.
    frequency
        Share of the inputs on which each atom fires, if it is known: unit atoms all have one norm.
    """
    rows = sae.dictionary[list(atoms)].detach().float().cpu().numpy().copy()
    strengths = np.linalg.norm(rows, axis=1) if frequency is None else frequency[list(atoms)]
    return AtomGallery(atoms=tuple(atoms), strengths=strengths, rows=rows)
