"""A saved SAE measured without being held: its atoms tile by tile, and of several workers each its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb import architectures
from sae_nb.activations import Activations
from sae_nb.activations._sites import acts_for
from sae_nb.architectures._saving import CONFIG, KIND, WEIGHTS
from sae_nb.checks import Count, Resamples, Seed, check_finite, checked
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import index_dtype, offsets_of
from sae_nb.evaluation.report._measurement import Resampling, chance_generator
from sae_nb.evaluation.report._reconstruction import (
    Moments,
    ReconstructionSums,
    reconstruction_rows,
)
from sae_nb.evaluation.report._report import Report
from sae_nb.evaluation.report._row_pass import CONTROL_ROWS
from sae_nb.evaluation.report._sparsity import SparsitySums, sparsity_rows
from sae_nb.files._atomic import read_json, read_manifest
from sae_nb.files._streams import read_parts
from sae_nb.statistics import group_rows
from sae_nb.training import Team
from sae_nb.training._process_group import current_team
from sae_nb.training._sharded_pursuit import pursue

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder

CAN = ("TopK", "BatchTopK", "ReLU", "JumpReLU", "MatchingPursuit", "OrthogonalMatchingPursuit")
"""Architectures whose codes over all atoms follow from those over tiles of them."""

PURSUITS = (architectures.MatchingPursuit, architectures.OrthogonalMatchingPursuit)

_FIT_ROWS = 4096  # rows the random dictionary's one gain is fitted on, as in `evaluate`
_DRAWN_ATOMS = (
    4096  # random atoms that are drawn together, whatever the tiles: they must not depend on them
)

_HALF = (torch.float16, torch.bfloat16)


@checked(leave=("acts",))
@torch.no_grad()
def evaluate_saved(
    folder: str | Path,
    acts: Activations | Float[Tensor, "n d_in"],
    *,
    tile_atoms: Count = 4096,
    batch_size: Count = 1024,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Report:
    """Measure a saved SAE that is too large to load: what it reconstructs, how sparsely, which atoms fire.

    Atoms are read tile by tile and dropped again, for every batch; codes over all of them are those of the
    whole SAE. In memory are one tile, the batch, and a few numbers an atom. Inside
    `with sn.training.workers():` each worker reads its share of the atoms, and all get the same report.

    Parameters
    ----------
    folder
        As `sae.save` or `TrainConfig(save_to=…)` wrote it: a TopK, BatchTopK, ReLU, JumpReLU,
        MatchingPursuit or OrthogonalMatchingPursuit.
    acts
        Activations in the SAE's units that it was not trained on.
    tile_atoms, batch_size
        Atoms and rows that meet at a time. The file is read once a batch, by a pursuit once for each of its
        k steps: larger batches read less.
    n_bootstrap, seed
        As in `evaluate`; the random control has atoms of its own, drawn tile by tile.

    Returns
    -------
    Report
        The rows of `evaluate` on reconstruction and sparsity. Metrics that compare atoms with each
        other, or need a model, are not among them.

    Raises
    ------
    FileNotFoundError: If there is no such folder.
    ValueError: If it holds no SAE or one of another architecture, was altered, or `acts` do not fit.

    Example
    -------
    >>> import tempfile, torch, sae_nb as sn
    >>> x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    >>> sae, folder = sn.TopK(d_in=8, n_atoms=32, k=4), tempfile.mkdtemp()
    >>> sae.save(folder)
    >>> by_tiles = evaluate_saved(folder, x, tile_atoms=10, n_bootstrap=0)
    >>> abs(by_tiles.r2.value - sn.evaluate(sae.eval(), x, n_bootstrap=0).r2.value) < 1e-5
    True
    """
    start = time.perf_counter()
    team, resampling = current_team(), Resampling(n_bootstrap, seed)
    saved = _Saved(Path(folder), tile_atoms, team)
    acts = acts_for(saved.head, acts, finite=False)
    every = np.arange(len(acts))
    moments = Moments(acts.d_in)
    for rows in _batches(every, batch_size):
        x = acts.rows(torch.from_numpy(rows))
        check_finite(x, name="acts", row_name=partial(_where, acts, rows))
        moments.update(x)
    group, n_groups = group_rows(acts.sample.numpy(), len(acts), seed=seed)
    found, used = ReconstructionSums(moments, n_groups), SparsitySums(saved.n_atoms, n_groups)
    for rows in _batches(every, batch_size):
        x = acts.rows(torch.from_numpy(rows)).to(saved.head.dtype)
        codes, x_hat = saved.reconstruct(x)
        found.update(x, x_hat, group[rows])
        used.update(codes, group[rows])
    order = np.random.default_rng(seed).permutation(len(acts))[:CONTROL_ROWS]
    mean = moments.mean.to(saved.head.dtype)
    k = min(max(round(used.l0), 1), saved.n_atoms)
    drawn = _Drawn(saved.n_atoms, k, mean, signed=used.signed, seed=seed, team=team)
    drawn.fit(acts.rows(torch.from_numpy(order[:_FIT_ROWS])).to(mean))
    floor, control = ReconstructionSums(moments, n_groups), ReconstructionSums(moments, n_groups)
    control_used = SparsitySums(saved.n_atoms, n_groups)
    for rows in _batches(np.sort(order), batch_size):
        x = acts.rows(torch.from_numpy(rows)).to(mean)
        codes, x_hat = drawn.reconstruct(x)
        floor.update(x, mean.expand_as(x), group[rows])
        control.update(x, x_hat, group[rows])
        control_used.update(codes, group[rows])
    measurements = reconstruction_rows(found, floor, control, resampling)
    measurements |= sparsity_rows(used, control_used, resampling)
    facts = {
        "sae": saved.architecture.__name__,
        "n_atoms": saved.n_atoms,
        "tile_atoms": tile_atoms,
        "workers": team.size,
        "hook_point": acts.hook_point or saved.hook_point,
        "model": acts.model_name,
        "n_rows": len(acts),
        "control": f"random unit atoms, k={k}, gain {drawn.gain:.3g}",
        "n_bootstrap": n_bootstrap,
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 3),
    }
    return Report(measurements, facts)


def _where(acts: Activations, rows: np.ndarray, i: int) -> str:
    return f"row {rows[i]} of the whole: {acts.where(int(rows[i]))}"


def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


# -------------------------------------------------------------------------------------------------
# Atoms that are made, used and dropped tile by tile.


@dataclass(frozen=True, eq=False)
class _Tile:
    """Some atoms of many: how many are before them, and which codes rows have among them alone."""

    first: int
    atoms: Float[Tensor, "tile d_in"]
    find: Callable[[Tensor], SparseCodes]


@dataclass(frozen=True, eq=False)
class _Entries:
    """Entries of codes in any order."""

    rows: Tensor
    atoms: Tensor
    values: Tensor

    @classmethod
    def of(cls, codes: SparseCodes, first: int) -> _Entries:
        return cls(codes.support.rows.long(), codes.atoms.long() + first, codes.values)

    def joined(self, other: _Entries) -> _Entries:
        pairs = ((getattr(self, n), getattr(other, n)) for n in ("rows", "atoms", "values"))
        return _Entries(*map(torch.cat, pairs))

    def strongest(self, n_rows: int, k: int | None) -> _Entries:
        """Return the k largest by size of each row, of equal ones those at lower atoms; in the order of
        codes.
        """
        order = self.atoms.argsort(stable=True)
        if k is not None:
            order = order[self.values[order].abs().argsort(descending=True, stable=True)]
            order = order[self.rows[order].argsort(stable=True)]
            starts = offsets_of(torch.bincount(self.rows, minlength=n_rows))[:-1]
            place = torch.arange(len(order), device=order.device) - starts[self.rows[order]]
            order = order[place < k]
            order = order[self.atoms[order].argsort(stable=True)]
        order = order[self.rows[order].argsort(stable=True)]
        return _Entries(self.rows[order], self.atoms[order], self.values[order])

    def everywhere(self, team: Team) -> _Entries:
        """Return the values of all workers."""
        most = max(counts := team.gather(len(self.values)))
        found = []
        for part in (self.rows, self.atoms, self.values):
            padded = part.new_zeros(most)
            padded[: len(part)] = part
            every = zip(team.exchange(padded), counts, strict=True)
            found.append(torch.cat([theirs[:count] for theirs, count in every]))
        return _Entries(*found)

    def codes(self, n_rows: int, n_atoms: int) -> SparseCodes:
        offsets = offsets_of(torch.bincount(self.rows, minlength=n_rows))
        return SparseCodes(self.values, self.atoms.to(index_dtype(n_atoms)), offsets, n_atoms)


def _coded(
    tiles: Callable[[], Iterator[_Tile]], x: Tensor, n_atoms: int, k: int | None, team: Team
) -> tuple[SparseCodes, Float[Tensor, "rows d_in"]]:
    """Codes of rows over the tiles of all workers, at most k a row, and Σ z d of them."""
    entries: _Entries | None = None
    for tile in tiles():
        own = _Entries.of(tile.find(x), tile.first)
        entries = own if entries is None else entries.joined(own)
        entries = entries.strongest(len(x), k) if k is not None else entries
    if entries is None:  # more workers than tiles
        none = torch.zeros(0, dtype=torch.int64, device=x.device)
        entries = _Entries(none, none, x.new_zeros(0))
    entries = entries.everywhere(team).strongest(len(x), k)
    total = torch.zeros_like(x)
    for tile in tiles():
        here = (entries.atoms >= tile.first) & (entries.atoms < tile.first + len(tile.atoms))
        atoms = tile.atoms[entries.atoms[here] - tile.first]
        total.index_add_(0, entries.rows[here], entries.values[here, None] * atoms)
    return entries.codes(len(x), n_atoms), team.sum(total)


class _Saved:
    """An SAE in a folder, of which a tile of atoms is read at a time."""

    def __init__(self, folder: Path, tile_atoms: int, team: Team) -> None:
        read_manifest(folder, KIND)
        config = read_json(folder / CONFIG)
        name = config.get("architecture")
        if name not in CAN:
            raise ValueError(
                f"`folder` must hold one of {', '.join(CAN)}, whose codes can be found tile by tile, got "
                f"{name!r} in {str(folder)!r}. Use sn.evaluate(sn.load_sae(folder), acts)."
            )
        self.architecture: type[Any] = getattr(architectures, name)
        self.weights, self.settings = folder / WEIGHTS, config["settings"]
        self.hook_point, self.n_atoms = config["hook_point"], self.settings["n_atoms"]
        self.tile_atoms, self.team, self.mine = tile_atoms, team, team.part(self.n_atoms)
        self.head = self._part(slice(0, 1))

    def reconstruct(self, x: Tensor) -> tuple[SparseCodes, Tensor]:
        """Return codes over all atoms, and their reconstructions."""
        if self.architecture in PURSUITS:
            problem = self.head.pursuit_problem(x - self.head.bias, self.head.dictionary)
            problem = replace(problem, k=self.settings["k"])
            walk = pursue(problem, self._atoms, self.mine, self.team)
            return walk.codes(slice(0, self.n_atoms)), x - walk.residual
        k = self.settings["k"] if self.architecture is architectures.TopK else None
        codes, total = _coded(self._tiles, x, self.n_atoms, k, self.team)
        return codes, total + self.head.bias

    def _parts(self) -> Iterator[tuple[int, SparseAutoencoder]]:
        for first in range(self.mine.start, self.mine.stop, self.tile_atoms):
            yield first, self._part(slice(first, min(first + self.tile_atoms, self.mine.stop)))

    def _tiles(self) -> Iterator[_Tile]:
        for first, part in self._parts():
            yield _Tile(first, part.dictionary, part.encode)

    def _atoms(self) -> Iterator[tuple[int, Tensor]]:
        for first, part in self._parts():
            yield first - self.mine.start, part.dictionary

    def _part(self, rows: slice) -> Any:
        """The SAE of some atoms alone."""
        n = rows.stop - rows.start
        least = {
            name: min(self.settings[name], n)
            for name in ("k", "aux_k", "l0")
            if name in self.settings
        }
        with torch.device("meta"):
            sae = self.architecture(**(self.settings | {"n_atoms": n} | least))
        own = {id(parameter) for parameter in sae.atom_parameters()}
        by_atom = {name for name, parameter in sae.named_parameters() if id(parameter) in own}
        stored = read_parts(self.weights, lambda name: rows if name in by_atom else None)
        wide = {n: t.float() if t.dtype in _HALF else t for n, t in stored.items()}
        sae.load_state_dict(wide, assign=True)
        if any(stored[name].dtype in _HALF for name in stored):
            # As `load_sae` does: rounding left rows a little off the sphere.
            sae.after_optimiser_step()
        return sae.eval()


class _Drawn:
    """Random unit atoms used as `RandomDictionary` uses them, redrawn whenever they are needed."""

    def __init__(
        self, n_atoms: int, k: int, mean: Tensor, *, signed: bool, seed: int, team: Team
    ) -> None:
        self.n_atoms, self.k, self.mean, self.signed = n_atoms, k, mean, signed
        self.seed, self.team, self.gain = seed, team, 1.0

    def fit(self, x: Tensor) -> None:
        """Set the gain that explains most of some rows."""
        power, inner = 0.0, 0.0
        for part in torch.split(x, 1024):
            proposed = (self.reconstruct(part)[1] - self.mean).double()
            power += float(proposed.square().sum())
            inner += float(((part - self.mean).double() * proposed).sum())
        self.gain = inner / power if power > 0 else 1.0

    def reconstruct(self, x: Tensor) -> tuple[SparseCodes, Tensor]:
        """Return codes by the k strongest correlations, times the gain, and the mean plus the atoms
        they add.
        """
        codes, total = _coded(self._tiles, x - self.mean, self.n_atoms, self.k, self.team)
        return codes.with_values(codes.values * self.gain), total * self.gain + self.mean

    def _tiles(self) -> Iterator[_Tile]:
        part = self.team.part(-(-self.n_atoms // _DRAWN_ATOMS))
        for i in range(part.start, part.stop):
            n = min(_DRAWN_ATOMS, self.n_atoms - i * _DRAWN_ATOMS)
            # Far from the seeds that people give, and another for every tile.
            generator = chance_generator((self.seed + 1) * 1_000_003 + i)
            rows = torch.randn(n, len(self.mean), generator=generator).to(self.mean)
            atoms = torch.nn.functional.normalize(rows, dim=1)
            yield _Tile(i * _DRAWN_ATOMS, atoms, partial(self._find, atoms))

    def _find(self, atoms: Tensor, x: Tensor) -> SparseCodes:
        scores = x @ atoms.T
        top = (scores.abs() if self.signed else scores).topk(min(self.k, len(atoms)), dim=1)
        values = scores.gather(1, top.indices)
        values = values if self.signed else values.clamp_min(0)
        offsets = torch.arange(0, values.numel() + 1, values.shape[1], device=x.device)
        kind = index_dtype(len(atoms))
        return SparseCodes(values.flatten(), top.indices.flatten().to(kind), offsets, len(atoms))
