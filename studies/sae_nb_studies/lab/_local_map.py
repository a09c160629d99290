"""LocalMap: data, landmarks, and the ties between landmarks that share inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from sae_nb.architectures import SparseAutoencoder
from sae_nb.architectures.parts import Encodable
from sae_nb.checks import Seed, as_tensor, at_least, check_classes, checked, same_length
from sae_nb.findings import Finding
from sae_nb.geometry import pca_layout

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

UNUSED = -1
MOST_POINTS = 2000
"""Points that a figure shows."""

_STRONG = (0.05, 0.25)
"""Shares of the strongest tie from which a tie is drawn thicker."""

_WIDTHS = ((0.5, 0.35), (1.2, 0.6), (2.4, 0.9))
"""Pixels and opacity of a tie."""


class LocalMap(Finding):
    """The positions of landmarks, and which of them share inputs; made by `local_map`."""

    points: Float[np.ndarray, "n d_in"]
    """The data."""

    landmarks: Float[np.ndarray, "n_atoms d_in"]
    """The atoms, placed among the data: the reconstruction of an input that is one of them alone."""

    ties: csr_matrix
    """(n_atoms, n_atoms): Σ_i z_ij z_il, how much two atoms share inputs; nothing on the diagonal."""

    atom_labels: Int[np.ndarray, " n_atoms"]
    """Group of each atom by spectral clustering of the ties; −1 for an atom that no input uses."""

    labels: Int[np.ndarray, " n"]
    """Group of each point: that of its strongest atom; −1 for a point without a code."""

    l0: float
    """Atoms per point, in the mean."""

    @property
    def headline(self) -> str:
        """Points, groups, atoms of a point."""
        sizes = np.bincount(self.labels[self.labels != UNUSED]).tolist()
        return f"{len(self.points)} points in groups of {sizes}, L0 {self.l0:.1f}"

    @checked(leave=("truth",))
    def accuracy(self, truth: Any) -> float:
        """Return share of points whose group is theirs, groups named in the way that suits best.

        Parameters
        ----------
        truth
            One label per point.

        Raises
        ------
        ValueError: If they are not one per point.

        Source
        ------
        Best matching by Kuhn 1955, scipy's `linear_sum_assignment`.
        """
        from scipy.optimize import linear_sum_assignment
        from sklearn.metrics.cluster import contingency_matrix

        classes = check_classes(truth, name="truth")
        same_length(classes, len(self.labels), name="truth", per="point")
        counts = contingency_matrix(classes.numpy(), self.labels)
        rows, columns = linear_sum_assignment(counts, maximize=True)
        return float(counts[rows, columns].sum() / len(self.labels))

    def figure(self) -> Any:
        """Draw points, landmarks and ties, the stronger the thicker; beyond two dimensions, principal ones."""
        from sae_nb.figures import fade, framed, line, theme

        n = len(self.points)
        plane = np.concatenate([self.points, self.landmarks])
        plane = plane if plane.shape[1] == 2 else pca_layout(torch.from_numpy(plane))
        shown = np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(int)
        marks = (
            ("points", plane[shown], fade(theme.GREY, 0.5), 3),
            ("landmarks", plane[n:], theme.PALETTE[1], 8),
        )
        data, landmarks = (
            line(name, *at.T, colour=colour, symbol="circle", size=size).update(mode="markers")
            for name, at, colour, size in marks
        )
        return framed([data, *self._tie_lines(plane[n:]), landmarks], height=380)

    def _tie_lines(self, at: Float[np.ndarray, "n_atoms 2"]) -> list[Any]:
        """Ties in three widths: strong ones, middling ones, and the rest."""
        from sae_nb.figures import broken, fade, line, theme

        pairs = self.ties.tocoo()
        once = pairs.row < pairs.col
        ends = np.stack([at[pairs.row[once]], at[pairs.col[once]]], axis=1)
        share = pairs.data[once] / max(pairs.data.max(initial=0.0), 1e-30)
        width = np.digitize(share, _STRONG)
        return [
            line(
                "share inputs",
                *broken([(tuple(a), tuple(b)) for a, b in ends[width == i]]),
                colour=fade(theme.PALETTE[0], opacity),
                width=pixels,
                showlegend=i == len(_STRONG),
            )
            for i, (pixels, opacity) in enumerate(_WIDTHS)
        ]


@checked
def local_map(
    sae: SparseAutoencoder,
    x: Encodable,
    n_clusters: Annotated[int, at_least(2)] = 2,
    *,
    seed: Seed = 0,
) -> LocalMap:
    """Lay data and atoms out with the atoms' ties, and group both by the ties.

    Two atoms are tied as much as they share inputs, Σ_i z_ij z_il. Spectral clustering cuts the graph of the
    ties into groups, and a point joins its strongest atom's group.

    Parameters
    ----------
    sae
        A dictionary whose codes are ≥ 0: `KDS`, `WLSC`, `SpaDE`, or any other.
    x
        Points, as for `sae.encode`.
    n_clusters
        Groups to cut the graph of atoms into.
    seed
        Of the spectral clustering.

    Raises
    ------
    ValueError: If codes are negative, or fewer atoms are in use than groups.

    Source
    ------
    "K-Deep Simplex", arXiv 2012.02134: codes give the graph. That a point joins its strongest atom is our
    simplification.

    Example
    -------
    >>> import sae_nb as sn
    >>> x = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]])
    >>> kds = sn.lab.KDS(2, 4, generator=torch.Generator().manual_seed(0)).fit(x, steps=1)
    >>> sn.lab.local_map(kds, x, n_clusters=2).accuracy([0, 0, 1, 1])
    1.0
    """
    with torch.no_grad():
        codes = sae.encode(x)
    z = codes.to_scipy().astype(np.float64)  # squares of large codes fit
    if not np.isfinite(z.data).all():
        raise ValueError(
            "`x` must have finite codes, got infinity or NaN: its squares are beyond the numbers of the SAE's "
            "dtype. Scale it down."
        )
    if z.nnz and z.data.min() < 0:
        raise ValueError(
            f"`sae` must have codes ≥ 0, got {z.data.min():.3g}. Use one whose atoms are only added."
        )
    ties = (z.T @ z).tocsr()
    ties.setdiag(0)
    ties.eliminate_zeros()
    used = np.asarray((z > 0).sum(axis=0)).ravel() > 0
    atom_labels = _groups(ties, used, n_clusters, seed)
    strongest = np.asarray(z.argmax(axis=1)).ravel()
    return LocalMap(
        points=as_tensor(x).detach().reshape(-1, sae.d_in).cpu().numpy(),
        landmarks=(sae.dictionary + sae.bias.detach()).cpu().numpy(),
        ties=ties,
        atom_labels=atom_labels,
        labels=np.where(codes.l0.cpu().numpy() > 0, atom_labels[strongest], UNUSED),
        l0=float(codes.l0.float().mean()),
    )


def _groups(ties: csr_matrix, used: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    from sklearn.cluster import SpectralClustering

    if used.sum() < n_clusters:
        raise ValueError(
            f"`n_clusters` must be at most the number of atoms in use, {used.sum()}, got {n_clusters}. "
            "Ask for fewer groups."
        )
    labels = np.full(len(used), UNUSED)
    graph = ties[used][:, used].toarray()
    spectral = SpectralClustering(n_clusters, affinity="precomputed", random_state=seed)
    labels[used] = spectral.fit_predict(graph)
    return labels
