"""Paths of token states through depth on few axes, and where other states of that width would lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.dynamics.paths._projection import fit_endpoints
from sae_nb.dynamics.paths._trajectory import directions_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder


MOST_PATHS = 60
"""Paths drawn: more hide each other. Ours."""
MOST_FITTED = 4096
NEAREST = 5

Project = Callable[[Tensor], Float[np.ndarray, "rows 3"]]
"""States (rows, d) → where they lie."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthPaths:
    """Paths on three named axes, with the input and the token that each path is of."""

    COORDINATES: ClassVar[tuple[str, ...]] = ("pca", "sphere", "umap", "atoms")
    """What the axes can be."""

    coordinates: str
    points: Float[np.ndarray, "paths layers 3"]
    """Where each path is at each layer, embeddings first."""

    inputs: Int[np.ndarray, " paths"]
    tokens: Int[np.ndarray, " paths"]
    axes: tuple[str, str, str]
    kept: float
    """Share of the end points' variance (sphere: squared length) on these axes; NaN where undefined."""

    project: Project
    """Puts other states on the same axes."""


@dataclass(frozen=True, eq=False)
class ChosenPaths:
    """The states that are drawn, before they are laid out."""

    states: Float[Tensor, "paths layers d"]
    inputs: Int[np.ndarray, " paths"]
    tokens: Int[np.ndarray, " paths"]
    fitted: Float[Tensor, "rows layers d"]
    """Paths that axes are fitted to: of all inputs, also those that are not drawn."""

    @property
    def directions(self) -> Float[Tensor, "rows d"]:
        """What a UMAP layout is made of: path after path, layer after layer."""
        return directions_of(self.states).flatten(0, 1)

    def lay_out(
        self,
        coordinates: str,
        *,
        xy: Float[np.ndarray, "rows 2"] | None = None,
        sae: SparseAutoencoder | None = None,
        atoms: Sequence[int] = (),
        scale: float = 1.0,
    ) -> DepthPaths:
        """Lay the paths out on three axes.

        Parameters
        ----------
        coordinates
            One of `DepthPaths.COORDINATES`.
        xy
            For "umap": coordinates of `directions`.
        sae, atoms, scale
            For "atoms": two or three of an SAE, and the factor that states are multiplied by.
        """
        if coordinates == "atoms":
            return _on_atoms(self, sae, atoms, scale)
        if coordinates == "umap":
            return _on_umap(self, xy)
        axes = fit_endpoints(self.fitted, min(3, self.fitted.shape[-1]), coordinates)  # type: ignore[arg-type]

        def project(states: Tensor) -> np.ndarray:
            flat = axes.project(states).numpy().astype(np.float32)
            return np.pad(flat, ((0, 0), (0, 3 - flat.shape[1])))

        shares = [f"{100 * float(share):.0f} %" for share in axes.explained]
        word = "axis" if coordinates == "sphere" else "PC"
        names = [f"{word} {i + 1} ({share})" for i, share in enumerate(shares)] + ["", ""]
        return self.on(coordinates, names, project, float(axes.kept[-1]))

    def on(
        self,
        coordinates: str,
        axes: Sequence[str],
        project: Project,
        kept: float = float("nan"),
        points: np.ndarray | None = None,
    ) -> DepthPaths:
        """Lay them out on three named axes, by projection unless their points are known."""
        if points is None:
            points = project(self.states.flatten(0, 1))
        return DepthPaths(
            coordinates=coordinates,
            points=points.reshape(*self.states.shape[:2], 3),
            inputs=self.inputs,
            tokens=self.tokens,
            axes=(axes[0], axes[1], axes[2]),
            kept=kept,
            project=project,
        )


def choose_paths(
    states: Float[Tensor, "n layers tokens d"],
    *,
    show: str,
    picture: int,
    token: int,
    classes: Int[np.ndarray, " n"] | None = None,
) -> ChosenPaths:
    """Choose what is drawn: one token of many inputs, or all tokens of one input."""
    n, _, n_tokens, _ = states.shape
    plain = states.as_subclass(Tensor)
    if show == "pictures":
        inputs = _spread(n, classes, picture)
        fitted = plain[:, :, token]
        chosen = fitted[torch.from_numpy(inputs)]
        return ChosenPaths(chosen, inputs, np.full(len(inputs), token), fitted)
    tokens = _spread(n_tokens, None, token)
    chosen = plain[picture][:, torch.from_numpy(tokens)].transpose(0, 1)
    flat = plain.transpose(1, 2).flatten(0, 1)
    skip = max(1, len(flat) // MOST_FITTED)
    return ChosenPaths(chosen, np.full(len(tokens), picture), tokens, flat[::skip])


def _spread(n: int, classes: np.ndarray | None, always: int) -> Int[np.ndarray, " m"]:
    """As many of n as are drawn, classes in turn (or evenly), one of them always among them; in order."""
    if n <= MOST_PATHS:
        return np.arange(n)
    if classes is None:
        order = np.linspace(0, n - 1, MOST_PATHS).round().astype(np.int64)
    else:
        rank = np.zeros(n, np.int64)
        for one in np.unique(classes):
            rank[classes == one] = np.arange((classes == one).sum())
        order = np.lexsort((classes, rank))[:MOST_PATHS]
    if always not in order:
        order[-1] = always
    return np.unique(order)


def _on_umap(chosen: ChosenPaths, xy: np.ndarray | None) -> DepthPaths:
    if xy is None:
        raise ValueError("`xy` must be given for UMAP coordinates. Lay out `chosen.directions`.")
    rows, n_layers = chosen.directions, chosen.states.shape[1]
    layers = np.tile(np.arange(n_layers, dtype=np.float32), len(chosen.states))
    placed = np.column_stack([xy, layers]).astype(np.float32)

    def project(states: Tensor) -> np.ndarray:
        # Between the nearest rows that were laid out: UMAP itself has no map for new ones.
        cosines = directions_of(states) @ rows.T
        near = cosines.topk(min(NEAREST, len(rows)), dim=1)
        # Of 1e-3 a new row and a laid-out one share their place.
        weights = (1 / (1 - near.values + 1e-3)).square()
        shares = (weights / weights.sum(dim=1, keepdim=True)).numpy()
        mixed = np.einsum("rk,rkc->rc", shares, placed[near.indices.numpy()])
        return np.asarray(mixed, np.float32)

    return chosen.on("umap", ("UMAP 1", "UMAP 2", "layer"), project, points=placed)


def _on_atoms(
    chosen: ChosenPaths, sae: SparseAutoencoder | None, atoms: Sequence[int], scale: float
) -> DepthPaths:
    if sae is None or len(atoms) < 2:
        raise ValueError(
            "`sae` and at least two `atoms` must be given for atoms as coordinates, got "
            f"{len(atoms)} atoms. Pass sae= to the panel and set `atoms`."
        )
    used = [int(atom) for atom in list(atoms)[:3]]

    def project(states: Tensor) -> np.ndarray:
        with torch.no_grad():
            codes = sae.encode((states.float() * scale).to(sae.dictionary.device)).to("cpu")
        columns = np.zeros((len(states), 3), np.float32)
        for i, atom in enumerate(used):
            rows, strengths = codes.strengths(atom)
            columns[rows.numpy(), i] = strengths.detach().float().numpy()
        return columns

    return chosen.on("atoms", [f"atom {atom}" for atom in used] + [""], project)
