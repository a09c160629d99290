"""The number of atoms of a row and of rows of an atom; active means z ≠ 0, never z > 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from sae_nb.atoms._searching import DENSE_ABOVE
from sae_nb.evaluation.report._measurement import Measurement, Resampling, measured

if TYPE_CHECKING:
    from sae_nb.codes import SparseCodes


RARE_BELOW = 1e-5


class SparsitySums:
    """Counts of active latents per atom, per row and per bootstrap group."""

    def __init__(
        self, n_atoms: int, n_groups: int, norms: Float[np.ndarray, " n_atoms"] | None = None
    ) -> None:
        self.atom_counts = np.zeros(n_atoms, dtype=np.int64)
        self.l0_counts = np.zeros(1, dtype=np.int64)
        self.groups = np.zeros((n_groups, 5))
        self.norms = norms
        self.n = 0
        self.signed = False
        self.dead_by_rows: dict[int, float] = {}
        """Share of atoms not active yet after so many rows, at every doubling of them."""

    def update(self, codes: SparseCodes, group: Int[np.ndarray, " rows"]) -> None:
        """Take in another chunk of codes."""
        values = codes.values.detach()
        active = (values != 0).cpu().numpy()
        atoms = codes.atoms.cpu().numpy()[active]
        offsets = codes.offsets.cpu().numpy()
        self.signed |= bool((values < 0).any())
        self.atom_counts += np.bincount(atoms, minlength=len(self.atom_counts))
        # An entry may be stored with the value 0; it is not active.
        cumulative = np.concatenate(([0], np.cumsum(active)))
        l0 = cumulative[offsets[1:]] - cumulative[offsets[:-1]]
        counts = np.bincount(l0, minlength=len(self.l0_counts))
        counts[: len(self.l0_counts)] += self.l0_counts
        self.l0_counts = counts
        for column, weights in enumerate((None, l0, *self._strengths(codes))):
            self.groups[:, column] += np.bincount(group, weights, minlength=len(self.groups))
        self.n += len(l0)
        if self.n >= 2 * max(self.dead_by_rows, default=0):
            self.dead_by_rows[self.n] = float((self.atom_counts == 0).mean())

    def _strengths(self, codes: SparseCodes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """‖z‖₁, Hoyer's sparsity, and whether anything is active, of every row."""
        size = codes.values.detach().abs().double().cpu().numpy()
        if self.norms is not None:
            size = size * self.norms[codes.atoms.cpu().numpy()]
        c, n = len(self.atom_counts), codes.n_rows
        row = np.repeat(np.arange(n), codes.l0.cpu().numpy())
        l1, squares = (np.bincount(row, v, n).astype(np.float64) for v in (size, size**2))
        used = squares > 0
        ratio = np.divide(l1, np.sqrt(squares), out=np.ones_like(l1), where=used)
        hoyer = (np.sqrt(c) - ratio) / (np.sqrt(c) - 1) if c > 1 else np.full_like(l1, np.nan)
        return l1, np.where(used, hoyer, 0.0), used.astype(np.float64)

    @property
    def l0(self) -> float:
        """Mean number of active latents per row."""
        return float(self.groups[:, 1].sum() / self.groups[:, 0].sum())

    def l0_quantile(self, q: float) -> float:
        """Return the smallest count that at least a share `q` of the rows does not exceed."""
        reached = np.cumsum(self.l0_counts) >= q * self.n
        return float(np.argmax(reached))


_MEANS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "l0": ("l0_mean", lambda s: s[..., 1] / s[..., 0]),
    "l1": ("l1_mean", lambda s: s[..., 2] / s[..., 0]),
    "hoyer": ("hoyer_mean", lambda s: s[..., 3] / s[..., 4]),
}


_SHARES: dict[str, Callable[[SparsitySums], np.ndarray]] = {
    "dead_fraction": lambda sums: sums.atom_counts == 0,
    "dense_fraction": lambda sums: sums.atom_counts > DENSE_ABOVE * sums.n,
    "rare_fraction": lambda sums: sums.atom_counts < RARE_BELOW * sums.n,
}


def sparsity_rows(
    sums: SparsitySums, control: SparsitySums, resampling: Resampling
) -> dict[str, Measurement]:
    """Return the report's rows on sparsity and use, with a random dictionary of the same L0 as control."""
    estimates = resampling.estimates(sums.groups, {n: v for n, (_, v) in _MEANS.items()})
    with np.errstate(divide="ignore", invalid="ignore"):
        controls = {n: float(v(control.groups.sum(axis=0))) for n, (_, v) in _MEANS.items()}
    rows = {
        name: measured(_MEANS[name][0], *estimate, n=sums.n, control=controls[name])
        for name, estimate in estimates.items()
    }
    for q in (0.05, 0.5, 0.95):
        rows[f"l0_p{q * 100:.0f}"] = measured(
            "l0_quantile", sums.l0_quantile(q), control=control.l0_quantile(q), n=sums.n
        )
    for name, share in _SHARES.items():
        # Fewer rows leave more atoms dead: those shares compare only over the same rows.
        comparable = control.n == sums.n or name == "dense_fraction"
        rows[name] = resampling.mean(
            name,
            share(sums).astype(np.float64),
            control=share(control).mean() if comparable else None,
            unit="atoms",
        )
    density = sums.atom_counts / sums.n
    rows["density_median"] = measured(
        "density_median",
        np.median(density),
        control=np.median(control.atom_counts / control.n),
        interval=resampling.spread(density, "median"),
        n=len(density),
        unit="atoms",
    )
    return rows
