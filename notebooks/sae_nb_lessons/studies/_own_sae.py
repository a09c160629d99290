"""The SAE that the lesson *Write your own SAE* arrives at, in plain torch, with switches that break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.data import sparse_features
from sae_nb.evaluation import match_atoms
from sae_nb.models import Bottleneck, train_bottlenecks

BATCH, WINDOW, REVIVED_UNTIL, COOLS_FROM = 512, 100, 1 / 2, 2 / 3
TURN = 0.08
"""Learning rate times √d: the radians by which an atom may turn in a step, as in `sn.TopK`."""

N_ATOMS = 64
"""Atoms for 32 features: with 36, two starts in three leave a feature without an atom."""

ASLEEP = 100.0
"""How far below 0 the offset of an atom begins that shall never fire."""

N_ON, SPARSITY = 3, 0.88
"""k of the toy's SAE, and the share of zeros in its inputs: nearly four features are on in a row. With 0.97, the
sparsity that the toys are trained at, most rows hold one feature or none, and 64 rows of data, as they
are, have a mean cosine of .9 with the features: nothing would have to be learned."""

TOYS_FROM = 1000
"""Seed of the first toy. A toy and a dictionary that are drawn from one seed begin alike: random directions
from it have a cosine of .78 with the features instead of .68, and an SAE starts next to the truth."""

Rows = Float[Tensor, "n d"]
Parameters = tuple[Tensor, Tensor, Tensor, Tensor]


def encode(x: Rows, E: Tensor, a: Tensor, b: Tensor, k: int) -> Tensor:
    """Return dense codes: the k largest of (x − b)Eᵀ + a in each row, the rest and the negative 0."""
    u = (x - b) @ E.T + a
    values, atoms = u.topk(k, dim=1)
    return torch.zeros_like(u).scatter(1, atoms, values.relu())


def unexplained(x: Rows, x_hat: Rows) -> Tensor:
    """Return ‖x − x̂‖² / ‖x − mean‖², over all rows."""
    return (x - x_hat).square().sum() / (x - x.mean(dim=0)).square().sum()


def unit_rows(D: Tensor) -> Tensor:
    """Return the rows at length 1."""
    return D / D.norm(dim=1, keepdim=True)


def replacements(x: Rows, x_hat: Rows, n: int) -> Tensor:
    """Return the residuals of the n rows that are rebuilt worst, the worst first, at length 1."""
    left = x - x_hat
    return unit_rows(left[left.norm(dim=1).topk(n).indices])


@dataclass(frozen=True)
class OwnSAE:
    """Four tensors and k."""

    E: Float[Tensor, "n_atoms d"]
    a: Float[Tensor, " n_atoms"]
    D: Float[Tensor, "n_atoms d"]
    b: Float[Tensor, " d"]
    k: int

    def encode(self, x: Rows) -> Tensor:
        """Return dense codes."""
        return encode(x, self.E, self.a, self.b, self.k)

    def r2(self, x: Rows) -> float:
        """Return the explained share of the variance of rows."""
        return 1 - float(unexplained(x, self.encode(x) @ self.D + self.b))

    def strength(self, x: Rows) -> float:
        """Return Σz, the mean over rows: what ℓ1 is charged on."""
        return float(self.encode(x).sum(dim=1).mean())

    def most_frequent(self, x: Rows, n: int) -> Float[Tensor, " d"]:
        """Return what the n atoms that fire most often write, the mean over rows."""
        z = self.encode(x)
        atoms = (z > 0).sum(dim=0).topk(n).indices
        return z[:, atoms].mean(dim=0) @ self.D[atoms]

    def sorted_norms(self) -> tuple[list[int], list[float]]:
        """Return some ranks of the atoms and the norms there, the longest first: a curve."""
        return _sorted(self.D.norm(dim=1))

    def sorted_rates(self, x: Rows) -> tuple[list[int], list[float]]:
        """Return some ranks of the atoms and the share of rows on which each fires, the most frequent first."""
        return _sorted((self.encode(x) > 0).float().mean(dim=0))


def _sorted(values: Tensor) -> tuple[list[int], list[float]]:
    ranks = [2**i for i in range(len(values).bit_length()) if 2**i < len(values)] + [len(values)]
    falling = values.sort(descending=True).values
    return ranks, [float(falling[rank - 1]) for rank in ranks]


def own_sae(
    x: Rows,
    n_atoms: int,
    k: int,
    steps: int = 600,
    seed: int = 0,
    *,
    unit_norm: bool = True,
    bias: bool = True,
    cooled: bool = True,
    revived: bool = True,
    asleep: int = 0,
    l1: float = 0.0,
) -> OwnSAE:
    """Train the SAE of the lesson; each keyword breaks one part of it.

    `cooled`: the learning rate falls to 0 over the last third; `revived`: dead atoms are replaced in the
    first half; `asleep`: atoms whose offset begins so low that they never fire.
    """
    draws, d = torch.Generator().manual_seed(seed), x.shape[1]
    D = unit_rows(torch.randn(n_atoms, d, generator=draws)).requires_grad_()
    E = D.detach().clone().requires_grad_()
    a, b = torch.zeros(n_atoms), x.mean(dim=0) if bias else torch.zeros(d)
    a[:asleep] = -ASLEEP
    parameters = [E, a.requires_grad_(), D, *([b.requires_grad_()] if bias else [])]
    optimiser = torch.optim.Adam(parameters, lr=TURN / d**0.5)
    fired = torch.zeros(n_atoms)
    for step in range(steps):
        rows = x[torch.randint(len(x), (BATCH,), generator=draws)]
        z = encode(rows, E, a, b, k)
        x_hat = z @ D + b
        optimiser.param_groups[0]["lr"] = TURN / d**0.5 * (_cooling(step / steps) if cooled else 1)
        optimiser.zero_grad()
        loss = unexplained(rows, x_hat) + l1 * z.sum(dim=1).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            if unit_norm:
                D.copy_(unit_rows(D))
            fired += (z > 0).sum(dim=0)
            if revived and step % WINDOW == WINDOW - 1 and step < REVIVED_UNTIL * steps:
                _revive(E, a, D, fired == 0, replacements(rows, x_hat, len(rows)))
                fired.zero_()
    return OwnSAE(E.detach(), a.detach(), D.detach(), b.detach(), k)


def _cooling(part: float) -> float:
    return min(1.0, (1 - part) / (1 - COOLS_FROM))


def _revive(E: Tensor, a: Tensor, D: Tensor, dead: Tensor, rows: Tensor) -> None:
    which = dead.nonzero()[: len(rows), 0]
    D[which], E[which], a[which] = rows[: len(which)], rows[: len(which)], 0.0


@cache
def toy_of(seed: int) -> Bottleneck:
    """Return a toy of 32 features in 10 neurons."""
    (toy,) = train_bottlenecks(
        [0.97],
        n_features=32,
        n_hidden=10,
        importance=torch.ones(32),
        n_restarts=1,
        steps=400,
        seed=TOYS_FROM + seed,
    )
    return toy


@cache
def hidden_rows(seed: int, n: int = 20_000) -> Rows:
    """Return the hidden vectors of a toy on fresh inputs with nearly four features on, where any is on."""
    return _rows_of(toy_of(seed), n, SPARSITY, seed)


def _rows_of(toy: Bottleneck, n: int, sparsity: float, seed: int) -> Rows:
    with torch.no_grad():
        hidden = toy.hidden(sparse_features(n, toy.n_features, sparsity, seed=seed))
    return hidden[hidden.norm(dim=1) > 1e-3]


def on_features(seed: int, dictionary: Float[Tensor, "n_atoms d"]) -> np.ndarray:
    """Return each feature's cosine with its atom, matched one to one."""
    return match_atoms(toy_of(seed).directions.detach(), unit_rows(dictionary))[2]


def scrambled(rows: Rows, seed: int) -> Rows:
    """Return rows whose columns are shuffled, each by itself: the same numbers, and no feature left."""
    draws = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(rows), generator=draws) for _ in range(rows.shape[1])]
    return torch.stack([rows[order, i] for i, order in enumerate(orders)], dim=1)


@cache
def toy_run(seed: int, steps: int = 300) -> dict[str, float]:
    """Measure "an SAE finds a toy's features" on one seed: the claim's number, its floor and its control."""
    rows, draws = hidden_rows(seed), torch.Generator().manual_seed(seed)
    dictionaries = {
        "claim": own_sae(rows, N_ATOMS, N_ON, steps, seed).D,
        "floor": torch.randn(N_ATOMS, rows.shape[1], generator=draws),
        "control": own_sae(scrambled(rows, seed), N_ATOMS, N_ON, steps, seed).D,
    }
    return {name: float(on_features(seed, one).mean()) for name, one in dictionaries.items()}


def raw_cosine() -> float:
    """Return the mean cosine of features with rows of data: the higher floor."""
    return float(
        np.mean([on_features(seed, hidden_rows(seed)[:N_ATOMS]).mean() for seed in range(3)])
    )


def random_cosine(n_atoms: int = N_ATOMS) -> float:
    """Return the mean cosine of features with as many random directions: the lower floor."""
    draws = torch.Generator().manual_seed(0)
    return float(
        np.mean(
            [on_features(s, torch.randn(n_atoms, 10, generator=draws)).mean() for s in range(3)]
        )
    )


def raw_rows_cosine(toy: Bottleneck, n_atoms: int = 64, seed: int = 0) -> float:
    """Return the mean cosine of a toy's features with as many of its own rows, untrained: the harder floor."""
    sparsity = 0.97 if toy.sparsity is None else toy.sparsity
    rows = _rows_of(toy, 20 * n_atoms, sparsity, seed)[:n_atoms]
    return float(match_atoms(toy.directions.detach(), unit_rows(rows))[2].mean())


Train = Callable[[Tensor, int, int, int, int], Parameters]
