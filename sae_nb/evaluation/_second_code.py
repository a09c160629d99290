"""Second codes: which firings of an SAE's atoms another solver keeps, over the same dictionary.

A dictionary is one claim and a code another: the encoder of an SAE is a cheap guess at a sparse code of its
own dictionary, a pursuit a dearer one. Neither is the right code; a firing that only one of them has is about
that solver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations._sites import acts_for, check_one_place
from sae_nb.architectures import sparse_code
from sae_nb.checks import Count, OneOf, Seed, checked
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import Support, ranks
from sae_nb.evaluation.dictionary._matching import match_atoms
from sae_nb.evaluation.report._row_pass import encoded_rows
from sae_nb.findings import Finding
from sae_nb.pursuit import gradient_pursuit, matching_pursuit, orthogonal_matching_pursuit
from sae_nb.statistics import rank_correlation, wilson_interval

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder

Rows = Float[Tensor, "rows d"]
Keys = Int[np.ndarray, " nnz"]

PURSUITS: dict[str, Callable[..., SparseCodes]] = {
    "omp": orthogonal_matching_pursuit,
    "mp": matching_pursuit,
    "gp": gradient_pursuit,
}
SolverName = Literal["omp", "mp", "gp", "lasso"]
Solver = Annotated[SolverName, OneOf((*PURSUITS, "lasso"))]

NOISE = 0.01
"""Length of the noise, as a share of a row's, under which the encoder itself should keep its firings."""

WITH_NOISE = "encoder, noise of 1 %"

ROUNDING = 2.0**-23
"""The same of a rounding to float32."""

AT_LEAST = 10
"""Firings from which an atom's own numbers are given a sentence, and ranks are compared."""

N_LASSO_STEPS = 100
_ROWS = 4096
_MOST_STEPS = 4  # times the encoder's k: until R² is the encoder's


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
        """Return what to know before reading an atom's examples; empty where a half or more is kept."""
        row = self.table.iloc[atom]
        fires = int(row["fires"])
        if fires < AT_LEAST or row["kept"] >= 0.5:
            return ""
        kept = round(row["kept"] * fires)
        solver = self.solvers["code"].iloc[1]
        return (
            f"Another solver ({solver}) keeps {kept} of {fires} of its firings (by chance "
            f"{row['chance'] * fires:.0f}): read its strongest ones only."
        )


@checked(leave=("sae",))
def second_code(
    sae: SparseAutoencoder,
    acts: Activations | Tensor,
    solvers: Sequence[Solver] = ("omp", "mp"),
    k: Count | None = None,
    *,
    equal: Annotated[Literal["k", "R²"], OneOf(("k", "R²"))] = "k",
    other: SparseAutoencoder | None = None,
    seed: Seed = 0,
) -> SecondCode:
    """Ask which firings of each atom another solver keeps, over the same dictionary and the same rows.

    The solver codes x − b, b the decoder's bias, by the atoms scaled to norm 1, with as many atoms per row as
    the encoder has there. An atom fires in a row where its strength is not zero; a firing is kept if the
    solver's strength there is not zero either.

    Parameters
    ----------
    sae
        Any SAE that reads and reconstructs one place.
    acts
        Its activations; all rows are read. Use rows of its own domain.
    solvers
        "omp": orthogonal matching pursuit, "mp": matching pursuit, "gp": gradient pursuit, "lasso":
        ½‖x − zD‖² + λ‖z‖₁ with one λ at which rows have the encoder's mean L0, of which a row keeps its k
        largest. The first one is the one of `kept`.
    k
        Atoms per row; None: as many as the encoder has in that row.
    equal
        "k", or "R²": a pursuit stops in a row as soon as its residual is no longer than the encoder's (at most
        at four times k).
    other
        An SAE of another seed: how much of a firing its most similar atoms keep (each at most once).
    seed
        Of shuffled rows and noise.

    Raises
    ------
    TypeError, ValueError: If arguments do not fit, no solver is named, or nothing fires.

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
    pass_ = _pass(sae, source, tuple(solvers), k, equal == "R²", other, seed)
    if not pass_.own.n_entries:
        raise ValueError(
            f"`sae` must have an atom that fires in `acts`, got none in {len(source)} rows. Pass "
            "activations of its own hook point."
        )
    return SecondCode(
        table=_atom_table(pass_),
        solvers=_solver_table(pass_, seed),
        strengths=_by_strength(pass_),
        facts={
            "sae": type(sae).__name__,
            "hook_point": str(getattr(sae, "hook_point", None) or ""),
            "rows": len(source),
            "k": "as the encoder" if k is None else k,
            "equal": equal,
            "seed": seed,
        },
    )


@dataclass
class _Code:
    """One code of all rows: entries in order of row · n_atoms + atom, and the error that it leaves."""

    n_atoms: int
    parts: list[tuple[Keys, Float[np.ndarray, " nnz"]]] = field(default_factory=list)
    error: float = 0.0

    def add(self, codes: SparseCodes, norms: Tensor, first_row: int, left: Tensor) -> None:
        """Take in a batch: strengths count in units of x."""
        used = codes.values != 0
        keys = (codes.support.rows + first_row) * self.n_atoms + codes.atoms
        order = keys[used].argsort()
        values = (codes.values * norms[codes.atoms])[used][order].abs()
        self.parts.append((keys[used][order].cpu().numpy(), values.cpu().numpy()))
        self.error += float(left.double().square().sum())

    def close(self) -> None:
        """Join the batches, whose rows ascend."""
        self.keys = np.concatenate([np.empty(0, np.int64), *(keys for keys, _ in self.parts)])
        self.values = np.concatenate([np.empty(0), *(values for _, values in self.parts)])
        self.parts.clear()

    @property
    def n_entries(self) -> int:
        return len(self.keys)

    @property
    def atoms(self) -> Int[np.ndarray, " nnz"]:
        return self.keys % self.n_atoms

    def counts(self, only: Bool[np.ndarray, " nnz"] | None = None) -> Int[np.ndarray, " n_atoms"]:
        """Rows in which each atom fires."""
        atoms = self.atoms if only is None else self.atoms[only]
        return np.bincount(atoms, minlength=self.n_atoms)

    def at(self, keys: Keys) -> tuple[Bool[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Whether, and how strongly, the atoms fire in the rows that the keys name."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=bool), np.zeros(len(keys))
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        has = self.keys[place] == keys
        return has, np.where(has, self.values[place], 0.0)


@dataclass
class _Pass:
    """Every code of the same rows."""

    own: _Code
    solvers: dict[str, _Code]
    noise: _Code
    rounding: _Code
    matched: _Code
    n_rows: int
    total: Float[Tensor, " d"] | float = 0.0
    squares: float = 0.0
    """Σ x and Σ‖x‖², in float64."""

    def r2(self, code: _Code) -> float:
        """Share of the rows' spread about their mean that a code explains; nan where they do not spread."""
        mean = torch.as_tensor(self.total) / self.n_rows
        spread = self.squares - self.n_rows * float(mean.square().sum())
        return 1 - code.error / spread if spread > 0 else float("nan")


@torch.no_grad()
def _pass(
    sae: Any,
    acts: Activations,
    solvers: tuple[str, ...],
    k: int | None,
    equal_r2: bool,
    other: Any,
    seed: int,
) -> _Pass:
    """Code all rows once with each, in batches."""
    atoms = sae.dictionary
    norms, unit, n = atoms.norm(dim=1), torch.nn.functional.normalize(atoms), sae.n_atoms
    found = _Pass(
        _Code(n), {name: _Code(n) for name in solvers}, _Code(n), _Code(n), _Code(n), len(acts)
    )
    ones, weight, signed = torch.ones_like(norms), 0.0, False
    partner = None if other is None else _partners(sae, other)
    generator = torch.Generator().manual_seed(seed)
    for rows, y, codes, y_hat in encoded_rows(sae, acts, _ROWS):
        first, left = int(rows[0]), y - y_hat
        target = left + codes @ atoms  # without the bias, and without what no code holds
        found.own.add(codes, norms, first, left)
        found.total += y.double().sum(dim=0).cpu()
        found.squares += float(y.double().square().sum())
        signed = signed or bool((codes.values < 0).any())
        l0 = codes.only(codes.values != 0).l0
        sizes = l0 if k is None else torch.full_like(l0, k)
        for name, code in found.solvers.items():
            if name == "lasso":
                weight = weight or _lasso_weight(target[:256], unit, sizes[:256], signed)
                theirs = _lasso(target, unit, weight, signed)
                theirs = theirs.only(
                    ranks(theirs.values.abs(), theirs.support) < sizes[theirs.support.rows]
                )
            else:
                lengths = left.norm(dim=1) if equal_r2 else None
                theirs = _pursued(PURSUITS[name], target, unit, sizes, lengths, signed)
            code.add(theirs, ones, first, target - theirs @ unit)
        if getattr(sae, "reads_sequences", False):
            continue  # its code of a row depends on the rows before it
        x = acts.rows(torch.from_numpy(rows)).to(atoms)
        noise = torch.nn.functional.normalize(torch.randn(x.shape, generator=generator).to(x))
        noise *= x.norm(dim=1, keepdim=True)
        for code, share in ((found.noise, NOISE), (found.rounding, ROUNDING)):
            theirs = sae.encode(x + share * noise)
            code.add(theirs, norms, first, target - theirs @ atoms)
        if partner is not None:
            theirs = other.encode(x)
            renamed = partner[theirs.atoms.long()]
            theirs = theirs.only(renamed >= 0)
            support = Support(renamed[renamed >= 0], theirs.offsets, n)
            found.matched.add(SparseCodes._made(theirs.values, support), ones, first, left)
    for code in (found.own, *found.solvers.values(), found.noise, found.rounding, found.matched):
        code.close()
    return found


def _partners(sae: Any, other: Any) -> Int[Tensor, " n_other"]:
    """The atom of the SAE that each of the other is matched with; −1: none."""
    check_one_place(other, name="other")
    if other.d_in != sae.d_in:
        raise ValueError(
            f"`other` must read the same width as `sae`, {sae.d_in}, got {other.d_in}. Pass an SAE of another "
            "seed of the same hook point."
        )
    own, theirs, _ = match_atoms(sae.dictionary, other.dictionary)
    partner = torch.full((other.n_atoms,), -1, dtype=torch.int64)
    partner[torch.from_numpy(theirs)] = torch.from_numpy(own)
    return partner.to(sae.dictionary.device)


def _pursued(
    pursuit: Callable[..., SparseCodes],
    x: Rows,
    unit: Float[Tensor, "n_atoms d"],
    sizes: Int[Tensor, " rows"],
    lengths: Float[Tensor, " rows"] | None,
    signed: bool,
) -> SparseCodes:
    """Pursue rows of one k together; with `lengths`, until the residual is as short as that."""
    options: dict[str, Any] = {"nonnegative": not signed, "normalise": True}
    scale = torch.ones(len(x), 1).to(x)
    if lengths is not None:
        # Rows are scaled so that one tolerance is the encoder's error in each of them.
        scale = torch.maximum(lengths, 1e-6 * x.norm(dim=1)).clamp_min(1e-30)[:, None]
        sizes, options["tolerance"] = sizes * _MOST_STEPS, 1.0
    parts, order = [], []
    for k in sorted(set(sizes.tolist())):
        chosen = torch.nonzero(sizes == k)[:, 0]
        rows = (x / scale)[chosen]
        if k:
            codes = pursuit(rows, unit, min(k, len(unit)), **options)
        else:
            codes = SparseCodes.from_dense(rows.new_zeros(len(rows), len(unit)))
        parts.append(codes)
        order.append(chosen)
    codes = SparseCodes.concatenate(parts).rows(torch.cat(order).argsort())
    return codes.with_values(codes.values * scale[codes.support.rows, 0])


def _lasso(x: Rows, unit: Float[Tensor, "n_atoms d"], weight: float, signed: bool) -> SparseCodes:
    prox = "soft" if signed else "soft+"
    codes = sparse_code(x, unit, prox=prox, weight=weight, n_steps=N_LASSO_STEPS)
    return codes.only(codes.values != 0)


def _lasso_weight(
    x: Rows, unit: Float[Tensor, "n_atoms d"], sizes: Int[Tensor, " rows"], signed: bool
) -> float:
    """λ at which these rows have so many atoms in the mean, by bisection."""
    wanted = float(sizes.double().mean())
    low, high = 0.0, float((x @ unit.T).abs().amax())
    for _ in range(10):
        middle = (low + high) / 2
        l0 = float(_lasso(x, unit, middle, signed).l0.double().mean())
        low, high = (middle, high) if l0 > wanted else (low, middle)
    return high


# -------------------------------------------------------------------------------------------------
# Tables: shares of firings, and what the same count gives by chance.


def _atom_table(found: _Pass) -> DataFrame:
    import pandas as pd

    own, fires, n = found.own, found.own.counts(), found.own.n_atoms
    share = np.full(n, np.nan)

    def kept_by(code: _Code) -> np.ndarray:
        kept = own.counts(code.at(own.keys)[0])
        return np.divide(kept, fires, out=share.copy(), where=fires > 0)

    name, *rest = found.solvers
    first = found.solvers[name]
    has, strength = first.at(own.keys)
    kept = own.counts(has)
    intervals = [wilson_interval(int(a), int(b)) for a, b in zip(kept, fires, strict=True)]
    order = np.argsort(own.atoms, kind="stable")
    ends = np.cumsum(fires)[:-1]
    pairs = zip(*(np.split(part[order], ends) for part in (own.values, strength, has)), strict=True)
    rank = [
        rank_correlation(a[both], b[both]) if both.sum() >= AT_LEAST else np.nan
        for a, b, both in pairs
    ]
    columns = {
        "atom": np.arange(n),
        "fires": fires,
        "kept": kept_by(first),
        "low": [float(low) for low, _ in intervals],
        "high": [float(high) for _, high in intervals],
        "found": first.counts() - kept,
        "rank": rank,
        "chance": np.where(fires > 0, first.counts() / found.n_rows, np.nan),
        "noise": kept_by(found.noise),
    }
    columns |= {f"kept_{one}": kept_by(found.solvers[one]) for one in rest}
    if found.matched.n_entries:
        columns["matched"] = kept_by(found.matched)
    return pd.DataFrame(columns)


def _solver_table(found: _Pass, seed: int) -> DataFrame:
    import pandas as pd

    shuffle = np.random.default_rng(seed).permutation(found.n_rows)
    codes = {"encoder": found.own, **found.solvers}
    if found.noise.n_entries:
        codes |= {WITH_NOISE: found.noise, "encoder, rounding": found.rounding}
    rows = [
        {
            "code": name,
            "shared": _shared(found.own, code, np.arange(found.n_rows)),
            "chance": _shared(found.own, code, shuffle),
            "l0": code.n_entries / found.n_rows,
            "R²": found.r2(code),
        }
        for name, code in codes.items()
    ]
    return pd.DataFrame(rows)


def _shared(own: _Code, other: _Code, moved_to: Int[np.ndarray, " rows"]) -> float:
    """Mean over rows of |A ∩ B| / |A ∪ B|, the other's row i compared with row moved_to[i]; both empty: 1."""
    n, atoms = len(moved_to), own.n_atoms
    keys = moved_to[other.keys // atoms] * atoms + other.keys % atoms
    both = np.bincount(np.intersect1d(own.keys, keys, assume_unique=True) // atoms, minlength=n)
    either = (
        np.bincount(own.keys // atoms, minlength=n) + np.bincount(keys // atoms, minlength=n) - both
    )
    return float(np.divide(both, either, out=np.ones(n), where=either > 0).mean())


def _by_strength(found: _Pass) -> DataFrame:
    import pandas as pd

    own = found.own
    order = np.argsort(-own.values, kind="stable")
    has, noise = (
        code.at(own.keys)[0][order] for code in (next(iter(found.solvers.values())), found.noise)
    )
    parts = [
        (a, b) for a, b in zip(np.array_split(has, 10), np.array_split(noise, 10), strict=True)
    ]
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
