"""Second codes: which firings of an SAE's atoms another solver keeps, over the same dictionary.

A dictionary is one claim and a code another: the encoder of an SAE is a cheap guess at a sparse code of its
own dictionary, a pursuit a dearer one. Neither is the right code; a firing that only one of them has is about
that solver.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from sae_nb.activations._sites import acts_for, check_one_place
from sae_nb.atoms._second_codes import FEW as AT_LEAST, KeptFirings
from sae_nb.checks import Count, OneOf, Seed, check_path, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation._second_code_pass import (
    MATCHED,
    NOISY,
    OWN,
    PURSUITS,
    ROUNDED,
    CodedRows,
    Question,
    coded_rows,
)
from sae_nb.evaluation.report._measurement import Measurement
from sae_nb.findings import Finding
from sae_nb.statistics import Bootstrap, rank_correlation, wilson_interval

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder

SolverName = Literal["omp", "mp", "gp", "lasso", "refit"]
Solver = Annotated[SolverName, OneOf((*PURSUITS, "lasso", "refit"))]

WITH_NOISE = "encoder, noise of 1 %"


class SecondCode(Finding):
    """What other solvers make of the rows that an SAE has coded; made by `second_code`."""

    table: DataFrame
    """A row per atom: atom, fires (rows), kept (share of its firings that the first solver has too), low, high
    (95 %, firings counted as independent), found (rows in which only that solver has it), rank (Spearman's
    correlation of both strengths where both have it, from ten), chance (share kept if the solver's codes were
    those of other rows), noise (share that the encoder keeps if a hundredth of ‖x‖ is added at random); with
    more solvers `kept_…` of each; with another SAE `matched`: share kept by its most similar atom."""

    solvers: DataFrame
    """A row per code, the encoder's first: code, shared (mean of |A ∩ B| / |A ∪ B| over rows, A the encoder's
    atoms), chance (the same with the solver's rows shuffled), l0, R²; then the encoder's own codes with noise
    and with rounding."""

    strengths: DataFrame
    """A row per tenth of the firings by strength, the strongest first: tenth, kept, noise, n."""

    firings: DataFrame
    """A row per firing, in order of rows, then atoms: row, atom, strength (in units of x), kept."""

    facts: dict[str, Any]
    """SAE, hook point, rows, what was equal, seed."""

    @property
    def kept(self) -> float:
        """Median share kept of atoms with at least ten firings; nan without such atoms."""
        often = self.table.loc[self.table["fires"] >= AT_LEAST, "kept"]
        return float(often.median())

    @property
    def headline(self) -> str:
        """How much the first solver shares with the encoder, next to its control."""
        own, first = self.solvers.iloc[0], self.solvers.iloc[1]
        noisy = self.solvers.loc[self.solvers["code"] == WITH_NOISE, "shared"]
        noise = "".join(f"; encoder with noise: {value:.2f}" for value in noisy)
        return (
            f"{first['code']} shares {first['shared']:.2f} of the atoms of a row with the encoder (other "
            f"rows: {first['chance']:.2f}{noise}); of an atom's firings it keeps {self.kept:.0%} (median); "
            f"R² {own['R²']:.3f} → {first['R²']:.3f}"
        )

    @property
    def below(self) -> tuple[str | DataFrame, ...]:
        """All codes, and the firings by strength."""
        return (self.solvers.set_index("code"), self.strengths.set_index("tenth"))

    def sentence(self, atom: int) -> str:
        """Return how many of an atom's firings the first solver keeps, next to both controls, as cards have it.

        Empty for an atom that never fires.
        """
        return self.by_atom.sentence(atom)

    @property
    def by_atom(self) -> KeptFirings:
        """The same as what panels and sites show of every atom."""
        table, fires = self.table, self.table["fires"].to_numpy()
        dropped = self.firings[~self.firings["kept"]].sort_values(["atom", "row"])
        return KeptFirings(
            solver=str(self.solvers["code"].iloc[1]),
            n_rows=int(self.facts["rows"]),
            fires=fires,
            kept=np.rint(table["kept"].fillna(0).to_numpy() * fires).astype(np.int64),
            chance=table["chance"].fillna(0).to_numpy() * fires,
            noise=np.where(fires > 0, table["noise"].to_numpy(), 0.0) * fires,
            rows=dropped["row"].to_numpy(),
            atoms=dropped["atom"].to_numpy(),
        )

    @property
    def measurements(self) -> dict[str, Measurement]:
        """Rows of a report: `sw.ReportCard([{**report, **found.measurements}])`; none if atoms are rare."""
        table = self.table[self.table["fires"] >= AT_LEAST]
        if table.empty:
            return {}
        boot = Bootstrap(seed=int(self.facts["seed"]))
        found: dict[str, tuple[Any, float | None]] = {
            "kept_by_second_code": (table["kept"], float(table["chance"].mean()))
        }
        if table["noise"].notna().all():
            found["kept_in_noise"] = (table["noise"], None)
        return {
            name: Measurement.measured(
                name, kept.mean(), boot.spread(kept.to_numpy()), control=chance, n=len(kept), unit="atoms"
            )
            for name, (kept, chance) in found.items()
        }  # fmt: skip

    def keeps(self, codes: SparseCodes) -> Bool[np.ndarray, " nnz"]:
        """Return which entries of the encoder's codes of the same rows the first solver keeps.

        Raises
        ------
        ValueError: If the codes are of other rows, or another SAE's.
        """
        used = (codes.values != 0).cpu().numpy()
        keys = (codes.support.rows * codes.n_atoms + codes.atoms).cpu().numpy()
        known = self.firings["row"].to_numpy() * codes.n_atoms + self.firings["atom"].to_numpy()
        order = np.argsort(keys[used], kind="stable")
        if not np.array_equal(keys[used][order], known):
            raise ValueError(
                f"`codes` must be those of the {self.facts['rows']} rows that were coded twice, got others, "
                f"of {codes.n_rows} rows. Call sn.second_code(sae, acts) with the same activations."
            )
        found = np.zeros(len(keys), dtype=bool)
        found[np.flatnonzero(used)[order]] = self.firings["kept"].to_numpy()
        return found


@checked(leave=("sae",))
def second_code(
    sae: SparseAutoencoder,
    acts: Activations | Tensor,
    solvers: Sequence[Solver] = ("omp", "mp"),
    k: Count | None = None,
    *,
    equal: Annotated[Literal["k", "R²"], OneOf(("k", "R²"))] = "k",
    other: SparseAutoencoder | None = None,
    folder: str | Path | None = None,
    seed: Seed = 0,
) -> SecondCode:
    """Ask which firings of each atom another solver keeps, over the same dictionary and the same rows.

    The solver codes x − b, b the decoder's bias, by the atoms scaled to norm 1, with as many atoms per row as
    the encoder has there. An atom fires in a row where its strength is not zero; a firing is kept if the
    solver's strength there is not zero either. Copies of one atom (cosine ≥ .999) share the credit: a firing of
    one is kept if the solver has any of them. Cards, panels and sites of the SAE say what was found from then
    on.

    Parameters
    ----------
    sae
        Any SAE that reads and reconstructs one place. Of a temporal one the novel part is coded.
    acts
        Its activations, of a store on disk too; all rows are read. Use rows of its own domain.
    solvers
        "omp": orthogonal matching pursuit, "mp": matching pursuit, "gp": gradient pursuit, "lasso":
        ½‖x − zD‖² + λ‖z‖₁ with one λ at which rows have the encoder's mean L0, of which a row keeps its k
        largest, "refit": least squares over the encoder's atoms and as many more, those nearest to what it
        leaves, of which a row keeps its k largest. The first one is the one of `kept`.
    k
        Atoms per row; None: as many as the encoder has in that row.
    equal
        "k", or "R²": a pursuit stops in a row as soon as its residual is no longer than the encoder's (at most
        at four times k).
    other
        An SAE of another seed: how much of a firing its most similar atoms keep (each at most once).
    folder
        Keeps each 4 096 rows when they are done: a call that was killed continues there, to the same numbers.
    seed
        Of rows, shuffled within each 4 096, and of noise.

    Raises
    ------
    TypeError, ValueError: If arguments do not fit, no solver is named, nothing fires, or the folder is of
        another call.

    Source
    ------
    That encoders miss the sparse code of their own dictionary: "Compute Optimal Inference and Provable
    Amortisation Gap in Sparse Autoencoders", arXiv 2411.13117. Shares per atom and their controls are ours.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> sae = sn.TopK(d_in=4, n_atoms=4, k=1)
    >>> with torch.no_grad():
    ...     for weight in (sae.operator.weight, sae.encoder.weight):
    ...         _ = weight.copy_(torch.eye(4))
    >>> found = second_code(sae, 3.0 * torch.eye(4).repeat(5, 1))
    >>> found.table["kept"].tolist(), found.solvers["shared"].tolist()[:3]
    ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    """
    check_one_place(sae)
    source = acts_for(sae, acts)
    if not len(solvers) or len(set(solvers)) != len(solvers):
        raise ValueError(
            f'`solvers` must name at least one solver, each once, got {tuple(solvers)!r}. Use ("omp",).'
        )
    if other is not None:
        check_one_place(other, name="other")
    if other is not None and other.d_in != sae.d_in:
        raise ValueError(
            f"`other` must read the same width as `sae`, {sae.d_in}, got {other.d_in}. Pass an SAE of another "
            "seed of the same hook point."
        )
    asked = Question(sae, source, tuple(solvers), k, equal == "R²", other, seed)
    coded = coded_rows(asked, None if folder is None else check_path(folder, name="folder"))
    if not len(coded.rows):
        raise ValueError(
            f"`sae` must have an atom that fires in `acts`, got none in {len(source)} rows. Pass "
            "activations of its own hook point."
        )
    found = SecondCode(
        table=_atom_table(coded, asked.solvers),
        solvers=_solver_table(coded, asked.solvers),
        strengths=_by_strength(coded, asked.solvers[0]),
        firings=_firings(coded, asked.solvers[0]),
        facts={
            "sae": type(sae).__name__,
            "hook_point": str(getattr(sae, "hook_point", None) or ""),
            "rows": len(source),
            "k": "as the encoder" if k is None else k,
            "equal": equal,
            "seed": seed,
        },
    )
    if k is None and equal == "k":
        found.by_atom.keep(sae)
    return found


# -------------------------------------------------------------------------------------------------
# Tables: shares of firings, and what the same count gives by chance.


def _atom_table(found: CodedRows, solvers: Sequence[str]) -> DataFrame:
    import pandas as pd

    first, *rest = solvers
    fires, kept, counts = found.fires, found.kept(first), found.summed("counts")

    def share(code: str) -> np.ndarray:
        if not found.knows(code):
            return np.full(len(fires), np.nan)
        return np.divide(found.kept(code), fires, out=np.full(len(fires), np.nan), where=fires > 0)

    intervals = [wilson_interval(int(a), int(b)) for a, b in zip(kept, fires, strict=True)]
    columns = {
        "atom": np.arange(len(fires)),
        "fires": fires,
        "kept": share(first),
        "low": [float(low) for low, _ in intervals],
        "high": [float(high) for _, high in intervals],
        "found": found.summed("found"),
        "rank": _ranks(found, first),
        "chance": np.where(fires > 0, counts / found.n_rows, np.nan),
        "noise": share(NOISY),
    }
    columns |= {f"kept_{one}": share(one) for one in rest}
    if found.knows(MATCHED):
        columns["matched"] = share(MATCHED)
    return pd.DataFrame(columns)


def _ranks(found: CodedRows, solver: str) -> list[float]:
    """Rank correlation of both strengths of each atom, where both have it."""
    order, ends = np.argsort(found.atoms, kind="stable"), np.cumsum(found.fires)[:-1]
    every = (found.values, found.firings("strength"), found.has(solver))
    pairs = zip(*(np.split(part[order], ends) for part in every), strict=True)
    return [
        rank_correlation(a[both], b[both]) if both.sum() >= AT_LEAST else np.nan
        for a, b, both in pairs
    ]


def _solver_table(found: CodedRows, solvers: Sequence[str]) -> DataFrame:
    import pandas as pd

    codes = {"encoder": OWN, **{name: name for name in solvers}}
    if found.knows(NOISY):
        codes |= {WITH_NOISE: NOISY, "encoder, rounding": ROUNDED}
    return pd.DataFrame([{"code": name, **found.means(code)} for name, code in codes.items()])


def _by_strength(found: CodedRows, solver: str) -> DataFrame:
    import pandas as pd

    order = np.argsort(-found.values, kind="stable")
    kept = found.has(solver)
    noise = found.has(NOISY) if found.knows(NOISY) else np.full(len(kept), np.nan)
    parts = zip(np.array_split(kept[order], 10), np.array_split(noise[order], 10), strict=True)
    return pd.DataFrame(
        [
            {
                "tenth": i + 1,
                "kept": a.mean() if len(a) else np.nan,
                "noise": b.mean() if len(b) else np.nan,
                "n": len(a),
            }
            for i, (a, b) in enumerate(parts)
        ]
    )


def _firings(found: CodedRows, solver: str) -> DataFrame:
    import pandas as pd

    columns = {
        "row": found.rows,
        "atom": found.atoms,
        "strength": found.values,
        "kept": found.has(solver),
    }
    return pd.DataFrame(columns)
