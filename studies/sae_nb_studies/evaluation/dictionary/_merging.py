"""How many atoms does a dictionary need? Pairs are merged, the least change of the reconstruction first.

The output of a pair, c_t = z_ti d_i + z_tj d_j, is replaced with its best single direction. With G = E
z zᵀ of the two codes and K the Gram matrix of the two atoms, both 2 × 2, the energies along and
orthogonal to that direction are the eigenvalues of G K: the smaller one is the cost of the merge. Codes
of what is merged are sums of codes, so they stay sparse, and atoms that never meet can be merged, too.
Given gradients g of the model's loss, lengths are measured in xᵀ(I / σ² + F / φ)x with F = E g gᵀ, so
that what the answer hangs on costs more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import (
    Activations,
    acts_for,
    check_one_place,
    reconstruction,
    uncoded,
    written_codes,
)
from sae_nb.checks import Count, Seed, Share, at_least, check_count, checked, in_own_modes
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import SpliceTask, codes_of, splice_task
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.geometry import check_dictionary
from sae_nb_studies.evaluation._varying import check_varies

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

    from sae_nb.models import LiveModel

KEEP = 8
"""Merging stops at one in this many of the atoms that fire, unless given."""

TABLE_ROWS = 20
SAME = 0.99
"""Share of R² at which atoms are counted as needed. Of the source's idea, the number is ours."""

_TILE = 2**22  # pairs whose costs are looked at together
_QUANTITY = {"next_token": "ce", "labels": "ce", "classes": "kl", "vectors": "cosine"}


class MergedDictionary:
    """An SAE some of whose atoms were merged, or dropped; made by `Merging.sae`.

    Encodes with the SAE, and adds up the codes of what was merged, so its codes may be signed.
    """

    def __init__(
        self,
        sae: Any,
        place: Int[Tensor, " n_before"],
        weight: Float[Tensor, " n_before"],
        dictionary: Float[Tensor, "n_atoms d_in"],
        bias: Float[Tensor, " d_in"],
    ) -> None:
        self.sae, self.dictionary, self.bias = sae, dictionary, bias
        self.place, self.weight = place, weight
        """Merged atom that each of the SAE's became a part of, −1 if it was dropped, and its weight there."""

        self.n_atoms, self.d_in = dictionary.shape
        self.hook_point = getattr(sae, "hook_point", None)
        self.position_policy = getattr(sae, "position_policy", None)

    @checked
    @torch.no_grad()
    def encode(self, x: Float[Tensor, "*batch d_in"]) -> SparseCodes:
        """Return sparse codes of the merged atoms."""
        codes = self.sae.encode(x).detach()
        atoms = codes.atoms.long()
        place = self.place.to(atoms.device)[atoms]
        kept = place >= 0
        values = (codes.values * self.weight.to(codes.values)[atoms])[kept]
        key = codes.support.rows[kept] * self.n_atoms + place[kept]
        distinct, entry = torch.unique(key, return_inverse=True)
        sums = torch.zeros(len(distinct), dtype=values.dtype, device=values.device)
        sums.index_add_(0, entry, values)
        rows = torch.div(distinct, self.n_atoms, rounding_mode="floor")
        shape = (*codes.leading_shape, self.n_atoms)
        return SparseCodes.from_entries(sums, rows, distinct % self.n_atoms, shape)

    @checked
    def decode(self, codes: SparseCodes) -> Float[Tensor, "*batch d_in"]:
        """Add up the merged atoms of each row, and the bias."""
        check_dictionary(codes, self.dictionary)
        atoms = self.dictionary.to(codes.values)
        return (summed_atoms(codes, atoms) + self.bias.to(atoms)).view(*codes.leading_shape, -1)

    @in_own_modes
    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """Reconstruct activations."""
        gain, rest = uncoded(self.sae, x)
        return (self.decode(self.encode(x)) * gain + rest).to(x)

    def __repr__(self) -> str:
        return f"MergedDictionary({self.n_atoms} atoms of {type(self.sae).__name__}'s {len(self.place)})"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Steps:
    """The merges of the atoms that fire, one step after the other, and their costs."""

    pairs: Int[np.ndarray, "steps 2"]
    """The merged atom keeps the first atom's place; −1: the second was dropped."""

    parts: Float[np.ndarray, "steps 2"]
    """z = parts₀ z_i + parts₁ z_j."""

    directions: Float[np.ndarray, "steps d_in"]
    cost: Float[np.ndarray, " steps"]
    r2: Float[np.ndarray, " steps_plus_1"]

    def after(self, n: int, sae: Any, alive: np.ndarray, bias: Tensor) -> MergedDictionary:
        """Return the dictionary after so many steps."""
        atoms = sae.dictionary.detach().double().cpu().numpy().copy()
        slot, weight = np.full(len(atoms), -1), np.ones(len(atoms))
        slot[alive] = alive
        for (i, j), part, direction in zip(self.pairs[:n], self.parts, self.directions):
            theirs = slot == j
            if i >= 0:
                weight[slot == i] *= part[0]
                weight[theirs] *= part[1]
                atoms[i] = direction
            slot[theirs] = i
        kept = np.unique(slot[slot >= 0])
        place = np.where(slot >= 0, np.searchsorted(kept, slot), -1)
        like = sae.dictionary
        return MergedDictionary(
            sae,
            torch.from_numpy(place),
            torch.from_numpy(weight).to(like),
            torch.from_numpy(atoms[kept]).to(like),
            bias,
        )


class Merging(Plotted):
    """Atoms of an SAE merged pair by pair, and what that does to its reconstruction; made by `merge`."""

    HEADLINE = (
        f"{{alive.len}} atoms that fire, {{needed}} keep {SAME:.0%} of R² {{r2[0]:.3f}}; "
        f"{{simpler}} if the weakest are dropped"
    )

    alive: Int[np.ndarray, " n_alive"]
    """Atoms that fire in `acts`; the others are left out from the start."""

    pairs: Int[np.ndarray, "merges 2"]
    """Atoms merged at each step, in order; the merged atom keeps the first one's number."""

    cost: Float[np.ndarray, " merges"]
    """Change by each merge, as a share of the variance; with gradients, plus the share of the answer's."""

    r2: Float[np.ndarray, " merges_plus_1"]
    random: Float[np.ndarray, "draws merges_plus_1"]
    dropped: Float[np.ndarray, " merges_plus_1"]
    """R² after each merge; of random pairs, each with its own best direction; and where the weakest atom is
    dropped instead."""

    answers: pd.DataFrame | None
    """Atoms left, and the model's loss with the dictionary in its place: merged, random, dropped."""

    quantity: str
    """Meaning of that: "ce" (nats), "kl" from the model's own answer (nats), "cosine"; empty without a
    model.
    """

    _arms: Sequence[_Steps] = field(repr=False)
    _sae: Any = field(repr=False)
    _bias: Tensor = field(repr=False)

    @property
    def left(self) -> Int[np.ndarray, " merges_plus_1"]:
        """Atoms left after each merge."""
        return len(self.alive) - np.arange(len(self.r2))

    @property
    def chart(self) -> Chart:
        """R² against atoms left: merged, weakest dropped, random pairs merged."""
        series = (
            Points("merged", self.left, self.r2),
            Points("weakest dropped", self.left, self.dropped),
            Points("random pairs merged", self.left, self.random.mean(axis=0), control=True),
        )
        return Chart(series=series, x="atoms left", y="R²", xaxis={"autorange": "reversed"})

    @checked
    def needed(self, share: Share = SAME) -> int:
        """Return fewest atoms with which R² is still this share of what it was."""
        return self._needed(self.r2, share)

    @checked
    def simpler(self, share: Share = SAME) -> int:
        """Return the same where the weakest atoms are dropped instead."""
        return self._needed(self.dropped, share)

    def _needed(self, r2: np.ndarray, share: float) -> int:
        return int(self.left[np.flatnonzero(r2 >= share * r2[0]).max(initial=0)])

    @cached_property
    def table(self) -> pd.DataFrame:
        """R² at some numbers of atoms; `random` merges drawn pairs, `simpler` drops the weakest atoms."""
        import pandas as pd

        steps = np.unique(np.linspace(0, len(self.pairs), TABLE_ROWS).round().astype(int))
        columns = {
            "r2": self.r2[steps],
            "random": self.random[:, steps].mean(axis=0),
            "simpler": self.dropped[steps],
        }
        return pd.DataFrame(columns, index=pd.Index(self.left[steps], name="atoms"))

    @checked
    def groups(self, n_atoms: int) -> list[list[int]]:
        """Return atoms that are one when so many are left, largest group first; those alone are left out.

        Raises
        ------
        ValueError: If merging never came to this number.
        """
        place = self.sae(n_atoms).place.numpy()
        order = np.argsort(place, kind="stable")
        order = order[place[order] >= 0]
        parts = np.split(order, np.flatnonzero(np.diff(place[order])) + 1)
        return sorted((part.tolist() for part in parts if len(part) > 1), key=len, reverse=True)

    @checked
    def sae(self, n_atoms: int) -> MergedDictionary:
        """Return the dictionary with that many atoms left: `encode`, `decode`, `.dictionary`.

        Raises
        ------
        ValueError: If merging never came to this number.
        """
        n = check_count(
            n_atoms, name="n_atoms", at_least=int(self.left[-1]), at_most=len(self.alive)
        )
        return self._arms[0].after(len(self.alive) - n, self._sae, self.alive, self._bias)


@checked(leave=("acts", "labels"))
@torch.no_grad()
def merge(
    sae: Any,
    acts: Activations | Float[Tensor, "n d_in"],
    model: LiveModel | None = None,
    inputs: Any = None,
    *,
    labels: Int[Tensor, " samples"] | None = None,
    hook_point: str | None = None,
    n_left: int | None = None,
    n_random: Count = 3,
    n_answers: Annotated[int, at_least(2)] = 6,
    seed: Seed = 0,
) -> Merging:
    """Merge pairs of atoms, the one first that changes the reconstruction least, and follow R².

    Costs some seconds for 512 atoms on 10 000 rows; time grows with rows × L0 × atoms and with atoms² × d_in.

    Parameters
    ----------
    sae
        An SAE whose reconstruction is the sum of its atoms.
    acts
        Rows that R² is measured on. With gradients (`capture(gradient_of=…)`), or a model to get them from, a
        merge costs what it changes in the answer, too, to first order.
    model, inputs, labels, hook_point
        As for `evaluate`: the model's loss is measured with merged dictionaries in place.
    n_left
        Atoms at which merging stops; None: an eighth of those that fire.
    n_random
        Draws of random pairs.
    n_answers
        Numbers of atoms at which the model is run.
    seed
        Of the random pairs.

    Returns
    -------
    Merging
        `.table`, `.needed(0.99)`, `.groups(n)`, `.sae(n)`, `.plot()`; `.answers` with a model.

    Raises
    ------
    TypeError, ValueError: If the SAE is not a sum of atoms at one place, fewer than two atoms fire, or `n_left`
        is not below those that do.

    Source
    ------
    After "iterative feature merging", arXiv 2310.06756, which merges channels of networks by their weights.
    Ours: atoms by what they write, the closed form, the answer's part, the controls.

    Example
    -------
    >>> import sae_nb as sn
    >>> planted = sn.data.planted_dictionary(n_atoms=8, d_in=8, n=400, k=2)
    >>> class Known:
    ...     n_atoms, d_in, dictionary = 8, 8, planted.dictionary
    ...     def encode(self, x):
    ...         return sn.matching_pursuit(x, self.dictionary, 2)
    ...     def decode(self, codes):
    ...         return codes @ self.dictionary
    >>> found = merge(Known(), planted.x, n_left=4)
    >>> found.left.tolist(), bool((found.r2 >= found.random.mean(axis=0)).all())
    ([8, 7, 6, 5, 4], True)
    """
    check_one_place(sae)
    if not getattr(sae, "additive", True):
        raise ValueError(
            f"`sae` must write the sum of its atoms, and {type(sae).__name__} writes products too. Use "
            "another architecture."
        )
    source = acts_for(sae, acts)
    check_varies(source)
    task = splice_task(sae, source, model, inputs, labels, hook_point)
    codes = codes_of(sae, source)
    alive = _alive(codes)
    if n_left is None:
        n_left = max(len(alive) // KEEP, 1)
    check_count(n_left, name="n_left", at_most=len(alive) - 1)
    start = _starter(sae, source, codes, alive, task)
    n_merges = len(alive) - n_left
    arms = _run_arms(start, n_merges, n_random, seed)
    bias = _bias(sae, codes)
    answers, quantity = None, ""
    if task is not None:
        answers, quantity = _answers(task, arms[:3], sae, alive, bias, n_merges, n_answers)
    return Merging(
        alive=alive,
        pairs=arms[0].pairs,
        cost=arms[0].cost,
        r2=arms[0].r2,
        random=np.stack([arm.r2 for arm in arms[2:]]),
        dropped=arms[1].r2,
        answers=answers,
        quantity=quantity,
        _arms=arms,
        _sae=sae,
        _bias=bias,
    )


def _alive(codes: SparseCodes) -> Int[np.ndarray, " alive"]:
    """The atoms that fire; there must be two to merge."""
    alive = np.flatnonzero((codes.frequency > 0).cpu().numpy())
    if len(alive) < 2:
        raise ValueError(
            f"`sae` must have two atoms that fire in `acts`, got {len(alive)}. Pass more rows."
        )
    return alive


def _run_arms(
    start: Callable[[], _Merger], n_merges: int, n_random: int, seed: int
) -> list[_Steps]:
    """Run merging by cost; the control that drops weak atoms; and pairs drawn at random."""
    draws = [np.random.default_rng([seed, i]) for i in range(n_random)]
    return [
        start().run(n_merges, _Merger.cheapest),
        start().run(n_merges, _Merger.weakest),
        *(start().run(n_merges, partial(_Merger.drawn, generator=draw)) for draw in draws),
    ]


def _bias(sae: Any, codes: SparseCodes) -> Float[Tensor, " d_in"]:
    """Return the part that `decode` adds to the sum of atoms, read off one row."""
    first = codes.rows(slice(0, 1)).to(sae.dictionary.device)
    return (sae.decode(first) - summed_atoms(first, sae.dictionary.detach())).detach().flatten()


def _starter(
    sae: Any, acts: Activations, codes: SparseCodes, alive: np.ndarray, task: SpliceTask | None
) -> Callable[[], _Merger]:
    """Return the start of each arm: nothing merged yet."""
    x = acts.x.detach().double().cpu().numpy()
    read, own = acts.x.to(sae.dictionary), codes.to(sae.dictionary.device)
    decoded = reconstruction(sae, own, read).detach().double().cpu().numpy()
    made = written_codes(sae, own, read).detach().to("cpu")
    return partial(
        _Merger,
        made.to_scipy().astype(np.float64).tocsc()[:, alive],
        alive,
        sae.dictionary.detach().double().cpu().numpy()[alive],
        _metric(x, _gradients(acts, task)),
        x - decoded,
        float(np.square(x - x.mean(axis=0)).sum()),
    )


def _gradients(acts: Activations, task: SpliceTask | None) -> np.ndarray | None:
    """Gradients of the model's loss by the rows: those that came with them, or of a run of the model."""
    from sae_nb.capturing import capture

    if acts.gradient is not None:
        return acts.gradient.detach().double().cpu().numpy()
    if task is None:
        return None
    how: Any = {"gradient_of": _largest}
    if task.labels is not None:
        how = {"gradient_of": "labels", "labels": task.labels}
    elif task.model.causal:
        how = {"gradient_of": "next_token"}
    found = capture(task.model, task.inputs, task.hook_point, progress=False, **how)
    if not isinstance(found, Activations) or found.gradient is None:
        raise RuntimeError(
            "A capture of gradients at one hook point gives activations with gradients."
        )
    return found.gradient.detach().double().cpu().numpy()


def _largest(answers: Tensor) -> Tensor:
    """Σ of the likeliest outcomes' logits: what is followed where no labels are given."""
    return answers.amax(dim=-1).sum()


def _metric(x: np.ndarray, gradients: np.ndarray | None) -> Float[np.ndarray, "d_in d_in"]:
    """L with L Lᵀ = I / σ² + F / φ: σ² the variance of the rows, φ that of the answer, to first order."""
    covariance = np.cov(x.T, bias=True).reshape(x.shape[1], -1)
    metric = np.eye(x.shape[1]) / max(np.trace(covariance), 1e-300)
    if gradients is not None:
        f = gradients.T @ gradients / len(gradients)
        metric += f / max(float(np.sum(f * covariance)), 1e-300)
    return np.linalg.cholesky(metric)


# -------------------------------------------------------------------------------------------------
# One arm: the atoms as they are now, which two are next, and what is left of R².

Choose = Callable[["_Merger"], tuple[int, int]]
"""The places of the next pair; −1 and a place: that atom is dropped."""


class _Merger:
    """Atoms, their codes and the error, changed in place by one merge after the other."""

    def __init__(
        self,
        codes: Any,
        names: Int[np.ndarray, " n"],
        atoms: Float[np.ndarray, "n d_in"],
        metric: Float[np.ndarray, "d_in d_in"],
        error: Float[np.ndarray, "rows d_in"],
        total: float,
    ) -> None:
        self.names, self.n_rows = names, codes.shape[0]
        self.atoms, self.measured = atoms.copy(), atoms @ metric
        self.error, self.total, self.metric = error.copy(), total, metric
        self.columns = [
            (codes.indices[a:b], codes.data[a:b])
            for a, b in zip(codes.indptr[:-1], codes.indptr[1:])
        ]
        self.by_atom: csr_matrix = codes.T.tocsr()
        self.slot, self.weight = np.arange(len(names)), np.ones(len(names))
        self.there = np.ones(len(names), dtype=bool)
        self.moments = np.asarray(codes.multiply(codes).sum(axis=0)).ravel() / self.n_rows
        self.lengths = np.square(self.measured).sum(axis=1)
        self.best: tuple[np.ndarray, np.ndarray] | None = None

    def run(self, n_merges: int, choose: Choose) -> _Steps:
        """Merge, or drop, so many times."""
        pairs, parts, directions, cost = [], [], [], []
        sse = [float(np.square(self.error).sum())]
        for _ in range(n_merges):
            i, j = choose(self)
            named = (int(self.names[i]) if i >= 0 else -1, int(self.names[j]))
            part, change, energy = self._merge(i, j) if i >= 0 else self._drop(j)
            pairs.append(named)
            parts.append(part)
            directions.append(self.atoms[i].copy() if i >= 0 else np.zeros(self.atoms.shape[1]))
            cost.append(energy)
            sse.append(sse[-1] + change)
        return _Steps(
            pairs=np.array(pairs),
            parts=np.array(parts),
            directions=np.array(directions),
            cost=np.array(cost),
            r2=1 - np.array(sse) / max(self.total, 1e-300),
        )

    # Which two are next

    def cheapest(self) -> tuple[int, int]:
        """Return the pair whose merge changes least.

        Each place remembers its best partner. A partner that was merged away leaves a bound: others cannot be
        better than it was, so a place is examined again only when its bound is the least of all.
        """
        if self.best is None:
            self.best = self._all_best()
        cost, partner = self.best
        while True:
            i = int(np.argmin(cost))
            if partner[i] >= 0:
                return i, int(partner[i])
            self._look_again(i, cost, partner)

    def weakest(self) -> tuple[int, int]:
        """Return the atom that writes least."""
        energy = np.where(self.there, self.moments * self.lengths, np.inf)
        return -1, int(np.argmin(energy))

    def drawn(self, *, generator: np.random.Generator) -> tuple[int, int]:
        """Return two atoms at random."""
        i, j = generator.choice(np.flatnonzero(self.there), 2, replace=False)
        return int(i), int(j)

    def _all_best(self) -> tuple[np.ndarray, np.ndarray]:
        n = len(self.names)
        cost, partner = np.full(n, np.inf), np.full(n, -1)
        size = max(1, _TILE // n)
        for first in range(0, n, size):
            rows = np.arange(first, min(first + size, n))
            together = (self.by_atom[rows] @ self.by_atom.T).toarray() / self.n_rows
            costs = self._costs(rows, together, self.measured[rows] @ self.measured.T)
            costs[np.arange(len(rows)), rows] = np.inf
            partner[rows] = costs.argmin(axis=1)
            cost[rows] = costs.min(axis=1)
        return cost, partner

    def _row(self, i: int) -> Float[np.ndarray, " n"]:
        """Return the cost of merging a place with each other one."""
        z = np.zeros(self.n_rows)
        rows, values = self.columns[i]
        z[rows] = values
        met = self.weight * (self.by_atom @ z) / self.n_rows
        # Dropped atoms are at −1, and count nowhere.
        together = np.bincount(self.slot + 1, weights=met, minlength=len(self.names) + 1)[1:]
        costs = self._costs(np.array([i]), together[None], (self.measured @ self.measured[i])[None])
        costs[0, ~self.there] = np.inf
        costs[0, i] = np.inf
        return costs[0]

    def _look_again(self, i: int, cost: np.ndarray, partner: np.ndarray) -> None:
        row = self._row(i)
        partner[i], cost[i] = row.argmin(), row.min()

    def _costs(
        self,
        rows: Int[np.ndarray, " m"],
        together: Float[np.ndarray, "m n"],
        inner: Float[np.ndarray, "m n"],
    ) -> Float[np.ndarray, "m n"]:
        """The smaller eigenvalue of G K of each pair, without cancelling where it is next to 0."""
        a, p = self.moments[rows][:, None], self.lengths[rows][:, None]
        trace = a * p + 2 * together * inner + self.moments * self.lengths
        both = (a * self.moments - together**2) * (p * self.lengths - inner**2)
        det = np.maximum(both, 0)
        root = np.sqrt(np.maximum(trace**2 - 4 * det, 0))
        return np.divide(2 * det, trace + root, out=np.zeros_like(det), where=trace + root > 0)

    # What a merge does

    def _merge(self, i: int, j: int) -> tuple[tuple[float, float], float, float]:
        """Put the best direction of a pair in the first place; its parts, the change of the error, its cost."""
        z, rows = self._pair(i, j)
        g = z.T @ z / self.n_rows
        b = self.measured[[i, j]]
        k = b @ b.T
        u, energy = _best(g @ k)
        length = np.sqrt(max(float(u @ k @ u), 1e-300))
        direction = u @ self.atoms[[i, j]] / length
        part = k @ u / length
        unit = max(float(np.linalg.norm(direction)), 1e-300)
        sign = (
            1.0 if part @ g @ np.ones(2) >= 0 else -1.0
        )  # strengths stay positive where they were
        direction, part = sign * direction / unit, sign * part * unit
        merged = z @ part
        before = z @ self.atoms[[i, j]]
        change = self._changed(rows, before - merged[:, None] * direction)
        self.atoms[i], self.measured[i] = direction, direction @ self.metric
        self.columns[i] = (rows, merged)
        self.moments[i] = float(merged @ merged) / self.n_rows
        self.lengths[i] = float(np.square(self.measured[i]).sum())
        theirs, mine = self.slot == j, self.slot == i
        self.weight[mine] *= part[0]
        self.weight[theirs] *= part[1]
        self.slot[theirs] = i
        self._gone(j)
        if self.best is not None:
            self._settle(i, j, *self.best)
        return (float(part[0]), float(part[1])), change, energy

    def _drop(self, j: int) -> tuple[tuple[float, float], float, float]:
        rows, values = self.columns[j]
        change = self._changed(rows, values[:, None] * self.atoms[j])
        energy = float(self.moments[j] * self.lengths[j])
        self.slot[self.slot == j] = -1
        self._gone(j)
        return (0.0, 0.0), change, energy

    def _pair(self, i: int, j: int) -> tuple[Float[np.ndarray, "m 2"], Int[np.ndarray, " m"]]:
        """Codes of two places in the rows that have one of them."""
        (rows_i, values_i), (rows_j, values_j) = self.columns[i], self.columns[j]
        rows = np.union1d(rows_i, rows_j)
        z = np.zeros((len(rows), 2))
        z[np.searchsorted(rows, rows_i), 0] = values_i
        z[np.searchsorted(rows, rows_j), 1] = values_j
        return z, rows

    def _changed(self, rows: Int[np.ndarray, " m"], lost: Float[np.ndarray, "m d_in"]) -> float:
        """Take what is no longer written into the error; by how much its square grew."""
        own = self.error[rows]
        self.error[rows] = own + lost
        return float(2 * np.sum(own * lost) + np.square(lost).sum())

    def _gone(self, j: int) -> None:
        self.there[j] = False
        self.columns[j] = (np.zeros(0, dtype=np.int64), np.zeros(0))
        self.moments[j] = 0.0

    def _settle(self, i: int, j: int, cost: np.ndarray, partner: np.ndarray) -> None:
        """Best partners after i took in j: its own, and of those to whom it is now the best."""
        cost[j], partner[j] = np.inf, -1
        row = self._row(i)
        partner[(partner == i) | (partner == j)] = -1
        partner[i], cost[i] = row.argmin(), row.min()
        better = row < cost
        cost[better], partner[better] = row[better], i


def _best(gk: Float[np.ndarray, "2 2"]) -> tuple[Float[np.ndarray, " 2"], float]:
    """The eigenvector of the larger eigenvalue of G K, and the smaller eigenvalue."""
    trace, det = float(np.trace(gk)), max(float(np.linalg.det(gk)), 0.0)
    root = np.sqrt(max(trace**2 - 4 * det, 0.0))
    large = (trace + root) / 2
    rows = np.array([[gk[0, 1], large - gk[0, 0]], [large - gk[1, 1], gk[1, 0]]])
    u = rows[np.argmax(np.abs(rows).sum(axis=1))]
    if not np.abs(u).sum() > 0:  # both alike and apart: either direction is as good
        u = np.array([1.0, 0.0])
    return u, det / large if large > 0 else 0.0


# -------------------------------------------------------------------------------------------------
# What the model makes of it.


def _answers(
    task: SpliceTask,
    arms: Sequence[_Steps],
    sae: Any,
    alive: np.ndarray,
    bias: Tensor,
    n_merges: int,
    n_answers: int,
) -> tuple[pd.DataFrame, str]:
    """The model's loss with each arm's dictionary in place, at some numbers of atoms, and what it is."""
    import pandas as pd

    steps = np.unique(np.linspace(0, n_merges, n_answers).round().astype(int))
    names = ("merged", "simpler", "random")
    changes: dict[str, Any] = {
        f"{name} {n}": arm.after(int(n), sae, alive, bias)
        for name, arm in zip(names, arms, strict=True)
        for n in steps
    }
    # Scores count what "spliced" touches: the SAE as it is.
    scores = task.scores({"spliced": sae} | changes, task.model.batches(task.inputs))
    quantity = _QUANTITY[scores.scoring]
    mean = scores.means(np.concatenate(scores.tables).sum(axis=0))
    columns = {name: [float(mean(quantity, f"{name} {n}")) for n in steps] for name in names}
    return pd.DataFrame(columns, index=pd.Index(len(alive) - steps, name="atoms")), quantity


def summed_atoms(codes: SparseCodes, atoms: Tensor) -> Float[Tensor, "rows d_in"]:
    """Return Σ_j z_tj d_j of every row."""
    return torch.nn.functional.embedding_bag(
        codes.atoms.long(),
        atoms,
        codes.offsets[:-1].long(),
        mode="sum",
        per_sample_weights=codes.values.to(atoms),
    )
