"""Rows coded by several solvers over one dictionary, batch by batch; a folder keeps what is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.architectures import sparse_code
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import Support, ranks
from sae_nb.evaluation.report._row_pass import encoded_rows
from sae_nb.files._atomic import json_object, write_json
from sae_nb.files._fingerprints import identity_of
from sae_nb.files._tensors import read_tensors, write_tensors
from sae_nb.geometry._coherence import duplicate_groups
from sae_nb.geometry._matching import match_atoms
from sae_nb.pursuit import gradient_pursuit, matching_pursuit, orthogonal_matching_pursuit

if TYPE_CHECKING:
    from sae_nb.activations import Activations

Rows = Float[Tensor, "rows d"]
Keys = Int[np.ndarray, " nnz"]
Part = dict[str, np.ndarray]

PURSUITS: dict[str, Callable[..., SparseCodes]] = {
    "omp": orthogonal_matching_pursuit,
    "mp": matching_pursuit,
    "gp": gradient_pursuit,
}

NOISE = 0.01
"""Length of the noise, as a share of a row's, under which the encoder itself should keep its firings."""

ROUNDING = 2.0**-23
"""The same of a rounding to float32."""

TWINS = 0.999
"""Cosine from which atoms are copies of one: a firing of either counts for all. Ours."""

N_LASSO_STEPS = 100
_ROWS = 4096
_MOST_STEPS = 4  # times the encoder's k: until R² is the encoder's
_SYSTEM_ENTRIES = 2**24  # of the small systems that are solved at once
_SETTINGS = "second_code_work.json"
OWN, NOISY, ROUNDED, MATCHED = "own", "noise", "rounding", "matched"


@dataclass(frozen=True, eq=False)
class Question:
    """What is coded, and by whom."""

    sae: Any
    acts: Activations
    solvers: tuple[str, ...]
    k: int | None
    equal_r2: bool
    other: Any
    seed: int

    @property
    def settings(self) -> dict[str, Any]:
        """What the numbers depend on."""
        some = np.unique(np.linspace(0, len(self.acts) - 1, 64).astype(np.int64))
        rows = self.acts.rows(torch.from_numpy(some)).float().cpu().numpy()
        return {
            "sae": identity_of(self.sae).to_json(),
            "other": None if self.other is None else identity_of(self.other).to_json(),
            "rows": len(self.acts),
            "rows_digest": hashlib.sha256(rows.tobytes()).hexdigest()[:16],
            "solvers": list(self.solvers),
            "k": self.k,
            "equal_r2": self.equal_r2,
            "seed": self.seed,
        }


class CodedRows:
    """Every code of the same rows: counts per atom, sums per code, and each of the encoder's firings."""

    def __init__(self, parts: list[Part], n_atoms: int, n_rows: int) -> None:
        self.n_atoms, self.n_rows = n_atoms, n_rows
        rows = np.concatenate([part["rows"] for part in parts])
        self._order = np.lexsort((np.concatenate([part["atoms"] for part in parts]), rows))
        self._parts = parts
        self.rows, self.atoms = rows[self._order], self.firings("atoms")
        self.values = self.firings("values")
        self.fires = np.bincount(self.atoms, minlength=n_atoms)

    def firings(self, name: str) -> np.ndarray:
        """Return what is known of each of the encoder's firings, row by row."""
        return np.concatenate([part[name] for part in self._parts])[self._order]

    def summed(self, name: str) -> np.ndarray:
        """Return the sum over batches of some numbers."""
        return np.sum([part[name] for part in self._parts], axis=0)

    def has(self, code: str) -> Bool[np.ndarray, " nnz"]:
        """Whether a code has each of the firings."""
        return self.firings(f"has.{code}").astype(bool)

    def kept(self, code: str) -> Int[np.ndarray, " n_atoms"]:
        """Return how many of an atom's firings a code has."""
        return np.bincount(self.atoms[self.has(code)], minlength=self.n_atoms)

    def knows(self, code: str) -> bool:
        """Whether rows were coded so."""
        return f"has.{code}" in self._parts[0]

    def means(self, code: str) -> dict[str, float]:
        """Return what a code shares with the encoder, what it shares by chance, its L0 and its R²."""
        shared, chance, entries, error = (float(x) for x in self.summed(f"sums.{code}"))
        total, squares = self.summed("total"), float(self.summed("squares")[0])
        spread = squares - float(np.square(total).sum()) / self.n_rows
        return {
            "shared": shared / self.n_rows,
            "chance": chance / self.n_rows,
            "l0": entries / self.n_rows,
            "R²": 1 - error / spread if spread > 0 else float("nan"),
        }


@torch.no_grad()
def coded_rows(asked: Question, folder: Path | None = None) -> CodedRows:
    """Code all rows once with each solver; batches that `folder` keeps are not coded again."""
    parts = _kept_parts(asked, folder)
    done = sum(int(part["n_rows"][0]) for part in parts)
    coder = _Coder(asked)
    if parts:
        coder.weight, coder.signed = float(parts[-1]["state"][0]), bool(parts[-1]["state"][1])
    for batch in encoded_rows(asked.sae, asked.acts, _ROWS, first=done):
        parts.append(coder.part(*batch))
        if folder is not None:
            tensors = {name: torch.from_numpy(one) for name, one in parts[-1].items()}
            write_tensors(_file(folder, len(parts) - 1), tensors)
    return CodedRows(parts, asked.sae.n_atoms, len(asked.acts))


def _file(folder: Path, number: int) -> Path:
    return folder / f"rows-{number:06d}.safetensors"


def _kept_parts(asked: Question, folder: Path | None) -> list[Part]:
    """Return the batches that a call before has done, all of them up to the first that is missing."""
    if folder is None:
        return []
    settings, path = json.loads(json.dumps(asked.settings)), folder / _SETTINGS
    if path.is_file():
        known = json_object(path)
        if known != settings:
            other = sorted(name for name in settings if known.get(name) != settings[name])
            raise ValueError(
                f"`folder` must be empty or of the same call, got one with another {', '.join(other)}: "
                f"{str(folder)!r}. Name another folder."
            )
    else:
        write_json(path, settings)
    parts: list[Part] = []
    while _file(folder, len(parts)).is_file():
        tensors = read_tensors(_file(folder, len(parts)))
        parts.append({name: tensor.numpy() for name, tensor in tensors.items()})
    return parts


class _Coder:
    """Codes batches of rows by every solver, and counts what each shares with the encoder."""

    def __init__(self, asked: Question) -> None:
        self.asked, self.n_atoms = asked, asked.sae.n_atoms
        self.dictionary = asked.sae.dictionary
        self.norms = self.dictionary.norm(dim=1)
        self.unit = torch.nn.functional.normalize(self.dictionary)
        self.one_of = _one_of_twins(self.unit)
        self.partner = None if asked.other is None else _partners(asked.sae, asked.other)
        self.weight, self.signed = 0.0, False

    def part(
        self, rows: Int[np.ndarray, " batch"], y: Rows, codes: SparseCodes, y_hat: Rows
    ) -> Part:
        """Return the numbers of one batch."""
        left = y - y_hat
        target = left + codes @ self.dictionary  # without the bias, and without what no code holds
        self.signed = self.signed or bool((codes.values < 0).any())
        own = _Entries(codes, self.norms, self.n_atoms, None)
        part = {
            "rows": rows[own.keys // self.n_atoms].astype(np.int64),
            "atoms": (own.keys % self.n_atoms).astype(np.int64),
            "values": own.values,
            "n_rows": np.array([len(rows)]),
            "total": y.double().sum(dim=0).cpu().numpy(),
            "squares": np.array([float(y.double().square().sum())]),
        }
        alike = _Entries(codes, self.norms, self.n_atoms, self.one_of)
        shuffled = np.random.default_rng(self.asked.seed + int(rows[0])).permutation(len(rows))
        for name, theirs, norms, rest in self._all_codes(rows, target, codes, left):
            code = _Entries(theirs, norms, self.n_atoms, self.one_of)
            known = self._renamed(own.keys)
            has, strength = code.at(known)
            if name != OWN:
                part[f"has.{name}"] = has.astype(np.uint8)
            if name == self.asked.solvers[0]:
                part["strength"] = strength
                part["counts"] = code.counts(self.one_of)
                part["found"] = code.counts(self.one_of, ~alike.at(code.keys)[0])
            shared, by_chance = (
                _shared(alike.keys, code.keys, self.n_atoms, order)
                for order in (np.arange(len(rows)), shuffled)
            )
            error = float(rest.double().square().sum())
            part[f"sums.{name}"] = np.array([shared, by_chance, code.n_entries, error])
        part["state"] = np.array([self.weight, float(self.signed)])
        return part

    def _renamed(self, keys: Keys) -> Keys:
        if self.one_of is None:
            return keys
        return keys - keys % self.n_atoms + self.one_of[keys % self.n_atoms]

    def _all_codes(
        self, rows: Int[np.ndarray, " batch"], target: Rows, codes: SparseCodes, left: Rows
    ) -> Iterator[tuple[str, SparseCodes, Tensor, Rows]]:
        """Every code of a batch: its name, the code, what its strengths are in units of, what it leaves."""
        sae, ones = self.asked.sae, torch.ones_like(self.norms)
        yield OWN, codes, self.norms, left
        own = codes.only(codes.values != 0)
        sizes = own.l0 if self.asked.k is None else torch.full_like(own.l0, self.asked.k)
        for name in self.asked.solvers:
            theirs = self._solved(name, target, own, sizes, left)
            yield name, theirs, ones, target - theirs @ self.unit
        if getattr(sae, "reads_sequences", False):
            return  # its code of a row depends on the rows before it
        x = self.asked.acts.rows(torch.from_numpy(rows)).to(self.dictionary)
        generator = torch.Generator().manual_seed(self.asked.seed + int(rows[0]))
        noise = torch.nn.functional.normalize(torch.randn(x.shape, generator=generator).to(x))
        noise *= x.norm(dim=1, keepdim=True)
        for name, share in ((NOISY, NOISE), (ROUNDED, ROUNDING)):
            theirs = sae.encode(x + share * noise)
            yield name, theirs, self.norms, target - theirs @ self.dictionary
        if self.partner is not None:
            theirs = self.asked.other.encode(x)
            renamed = self.partner[theirs.atoms.long()]
            theirs = theirs.only(renamed >= 0)
            support = Support(renamed[renamed >= 0], theirs.offsets, self.n_atoms)
            yield MATCHED, SparseCodes._made(theirs.values, support), ones, left

    def _solved(
        self, name: str, target: Rows, own: SparseCodes, sizes: Int[Tensor, " rows"], left: Rows
    ) -> SparseCodes:
        if name == "refit":
            return _refitted(target, self.unit, own, sizes, self.signed)
        if name == "lasso":
            some = slice(256)
            self.weight = self.weight or _lasso_weight(
                target[some], self.unit, sizes[some], self.signed
            )
            return _largest(_lasso(target, self.unit, self.weight, self.signed), sizes)
        lengths = left.norm(dim=1) if self.asked.equal_r2 else None
        return _pursued(PURSUITS[name], target, self.unit, sizes, lengths, self.signed)


class _Entries:
    """Entries of one code of a batch, in order of row · n_atoms + atom; twins under the name of the first."""

    def __init__(
        self,
        codes: SparseCodes,
        norms: Float[Tensor, " n_atoms"],
        n_atoms: int,
        one_of: Int[np.ndarray, " n_atoms"] | None,
    ) -> None:
        self.n_atoms = n_atoms
        used = codes.values != 0
        atoms = codes.atoms[used].long()
        values = (codes.values[used] * norms[atoms]).abs().cpu().numpy()
        named = atoms.cpu().numpy() if one_of is None else one_of[atoms.cpu().numpy()]
        keys = codes.support.rows[used].cpu().numpy() * n_atoms + named
        self.keys, place = np.unique(keys, return_inverse=True)
        self.values = np.bincount(place, weights=values, minlength=len(self.keys)).astype(
            np.float32
        )

    @property
    def n_entries(self) -> int:
        return len(self.keys)

    def counts(
        self,
        one_of: Int[np.ndarray, " n_atoms"] | None,
        only: Bool[np.ndarray, " nnz"] | None = None,
    ) -> Int[np.ndarray, " n_atoms"]:
        """Rows in which each atom, or a twin of it, fires."""
        atoms = self.keys % self.n_atoms
        counts = np.bincount(atoms if only is None else atoms[only], minlength=self.n_atoms)
        return counts if one_of is None else counts[one_of]

    def at(self, keys: Keys) -> tuple[Bool[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Whether, and how strongly, the atoms fire in the rows that the keys name."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=bool), np.zeros(len(keys), np.float32)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        has = self.keys[place] == keys
        return has, np.where(has, self.values[place], np.float32(0))


def _shared(own: Keys, other: Keys, n_atoms: int, moved_to: Int[np.ndarray, " rows"]) -> float:
    """Sum over rows of |A ∩ B| / |A ∪ B|, the other's row i compared with row moved_to[i]; both empty: 1."""
    n = len(moved_to)
    keys = moved_to[other // n_atoms] * n_atoms + other % n_atoms
    both = np.bincount(np.intersect1d(own, keys, assume_unique=True) // n_atoms, minlength=n)
    either = np.bincount(own // n_atoms, minlength=n) + np.bincount(keys // n_atoms, minlength=n)
    either -= both
    return float(np.divide(both, either, out=np.ones(n), where=either > 0).sum())


def _one_of_twins(unit: Float[Tensor, "n_atoms d"]) -> Int[np.ndarray, " n_atoms"] | None:
    """The first of the copies of every atom; None where there are no copies."""
    one_of = np.arange(len(unit))
    for group in duplicate_groups(unit, cosine=TWINS):
        along = (unit[group] @ unit[group[0]] > 0).cpu().numpy()
        for same in (group[along], group[~along]):
            one_of[same] = same.min(initial=len(unit))
    return None if (one_of == np.arange(len(unit))).all() else one_of


# -------------------------------------------------------------------------------------------------
# Solvers.


def _partners(sae: Any, other: Any) -> Int[Tensor, " n_other"]:
    """The atom of the SAE that each of the other is matched with; −1: none."""
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


def _largest(codes: SparseCodes, sizes: Int[Tensor, " rows"]) -> SparseCodes:
    """The entries of each row that are largest, so many of them."""
    return codes.only(ranks(codes.values.abs(), codes.support) < sizes[codes.support.rows])


def _refitted(
    x: Rows,
    unit: Float[Tensor, "n_atoms d"],
    own: SparseCodes,
    sizes: Int[Tensor, " rows"],
    signed: bool,
) -> SparseCodes:
    """The encoder's atoms and as many more, the nearest to what they leave: refitted, the largest kept.

    Strengths are least squares over these atoms; those that are kept are fitted once more.
    """
    fitted = _least_squares(x, unit, own.with_values(torch.ones_like(own.values)))
    products = (x - fitted @ unit) @ unit.T
    products = products.abs() if signed else products
    products[own.support.rows, own.atoms.long()] = -torch.inf
    most = min(int(sizes.max()), len(unit))
    best = products.topk(most, dim=1)
    more = (torch.arange(most, device=x.device) < sizes[:, None]) & (best.values > 0)
    mask = torch.zeros_like(products, dtype=torch.bool).scatter_(1, best.indices, more)
    mask[own.support.rows, own.atoms.long()] = True
    wide = _least_squares(x, unit, SparseCodes.from_dense(mask.to(x)))
    chosen = _largest(wide if signed else wide.only(wide.values > 0), sizes)
    again = _least_squares(x, unit, chosen)
    return again if signed else again.only(again.values > 0)


def _least_squares(x: Rows, unit: Float[Tensor, "n_atoms d"], support: SparseCodes) -> SparseCodes:
    """The strengths of the atoms of each row that leave the least; those of nearly equal atoms are alike."""
    widest = int(support.l0.max()) if len(support.l0) else 0
    if not widest:
        return support
    within = torch.arange(support.nnz, device=x.device) - support.offsets[support.support.rows]
    slots = torch.full((len(x), widest), -1, dtype=torch.int64, device=x.device)
    slots[support.support.rows, within] = support.atoms.long()
    values = torch.empty(len(x), widest, dtype=torch.float64, device=x.device)
    for rows in torch.split(torch.arange(len(x)), max(1, _SYSTEM_ENTRIES // widest**2)):
        used = slots[rows] >= 0
        atoms = unit[slots[rows].clamp_min(0)].double() * used[:, :, None]
        gram = atoms @ atoms.transpose(1, 2)
        # Empty places solve z = 0; the small ridge splits strength evenly between copies of an atom.
        ridge = torch.where(used, 1e-6, 1.0)
        values[rows] = torch.linalg.solve(
            gram + torch.diag_embed(ridge), (atoms @ x[rows].double()[:, :, None])
        )[:, :, 0]
    return support.with_values(values[support.support.rows, within].to(x))
