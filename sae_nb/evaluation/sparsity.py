"""How many atoms a row uses and how many rows an atom serves; active means z ≠ 0, never z > 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from sae_nb.evaluation.definitions import define
from sae_nb.evaluation.measurement import UNKNOWN, Measurement, bootstrap, bootstrap_values

if TYPE_CHECKING:
    from sae_nb.codes import SparseCodes

DENSE_ABOVE = 0.1  # convention: an atom active in a tenth of the rows says little about any of them
RARE_BELOW = 1e-5


class SparsitySums:
    """Counts of active latents per atom, per row and per bootstrap group.

    Parameters
    ----------
    n_atoms
        Size of the dictionary.
    n_groups
        Bootstrap groups.
    norms
        ‖d_j‖, which strengths are taken times; None: unit atoms.
    """

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
        c, n = len(self.atom_counts), len(codes)
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


def sparsity_rows(
    sums: SparsitySums, control: SparsitySums, *, n_bootstrap: int, seed: int
) -> dict[str, Measurement]:
    """Return the report's rows on sparsity and use, beside a random dictionary of the same L0."""
    how = {"n_bootstrap": n_bootstrap, "seed": seed}
    intervals = bootstrap(sums.groups, {n: v for n, (_, v) in _MEANS.items()}, **how)
    total, chances = sums.groups.sum(axis=0), control.groups.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = {
            name: _measure(
                definition,
                float(value(total)),
                float(value(chances)),
                intervals[name],
                sums.n,
                "rows",
            )
            for name, (definition, value) in _MEANS.items()
        }
    for q in (0.05, 0.5, 0.95):
        pair = sums.l0_quantile(q), control.l0_quantile(q)
        rows[f"l0_p{q * 100:.0f}"] = _measure("l0_quantile", *pair, UNKNOWN, sums.n, "rows")
    shares = {"dead_fraction": _dead, "dense_fraction": _dense, "rare_fraction": _rare}
    for name, share in shares.items():
        values = share(sums)
        # Fewer rows leave more atoms silent: those shares compare only over the same rows.
        comparable = control.n == sums.n or name == "dense_fraction"
        chance = share(control).mean() if comparable else None
        interval = bootstrap_values(values, "mean", **how)
        rows[name] = _measure(name, values.mean(), chance, interval, len(values), "atoms")
    density, chance = sums.atom_counts / sums.n, control.atom_counts / control.n
    rows["density_median"] = _measure(
        "density_median",
        np.median(density),
        np.median(chance),
        bootstrap_values(density, "median", **how),
        len(density),
        "atoms",
    )
    return rows


def _dead(sums: SparsitySums) -> np.ndarray:
    return (sums.atom_counts == 0).astype(np.float64)


def _dense(sums: SparsitySums) -> np.ndarray:
    return (sums.atom_counts > DENSE_ABOVE * sums.n).astype(np.float64)


def _rare(sums: SparsitySums) -> np.ndarray:
    return (sums.atom_counts < RARE_BELOW * sums.n).astype(np.float64)


def _measure(
    definition: str,
    value: float,
    control: float | None,
    interval: tuple[float, float],
    n: int,
    unit: str,
) -> Measurement:
    return Measurement(
        value=float(value),
        floor=None,
        control=None if control is None else float(control),
        interval=interval,
        definition=define(definition).id,
        n=n,
        unit=unit,
    )
