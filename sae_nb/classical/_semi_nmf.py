"""SemiNMF: signed atoms on few neurons, codes ≥ 0, and a tree of atoms by factorising the atoms again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._positions import PositionPolicy
from sae_nb.activations._sites import acts_for
from sae_nb.architectures._archetypal import centroids
from sae_nb.checks import Between, Count, Seed, check_atom, check_count, checked, shown
from sae_nb.classical._model import Classical, nearest

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 4096
"""Rows that methods on n × n numbers look at, drawn at random from more."""

STEPS = 500
"""Alternations of a fit. The released code's most."""

TOLERANCE, PATIENCE = 1e-4, 25
"""A fit ends when so many alternations lower the error by less than this share of it. The released code has
1e-4 and 100; the shorter wait is ours, and was not compared with it."""

GUARD = 1e-9
"""Added to denominators (and, times the mean diagonal, to ZᵀZ before inverting)."""

FLOOR = 0.2
"""Added to cluster memberships at the start, so that no code begins at an absorbing zero (Ding et al.)."""

Rows = Float[Tensor, "n d_in"]
Atoms = Float[Tensor, "n_atoms d_in"]


@checked
class SemiNMF(Classical):
    """Semi-nonnegative factorisation of activations, X ≈ ZD: z ≥ 0, atoms signed and on few neurons.

    Made for the neurons of an MLP (hook point `mlp_post.L`): each atom keeps the share `kept` of them, so
    that it can be read as a group of neurons. `encode` solves min ‖x − zD‖² with z ≥ 0, at most k of them
    if k is given. Atoms have unit norm; there is no bias.

    Parameters
    ----------
    d_in, n_atoms
        Sizes.
    kept
        Share of the neurons that an atom keeps, in (0, 1]: those of largest size, at least one.
    k
        Most atoms per input; None: as many as non-negative least squares gives.

    Source
    ------
    "Decomposing MLP Activations into Interpretable Features via Semi-Nonnegative Matrix Factorization",
    arXiv 2506.10920 (ordavid-s/snmf-mlp-decomposition); steps of Ding, Li and Jordan, IEEE TPAMI 2010,
    eqs. 9 and 10. Ours starts from clusters of the rows (theirs: random, k-means or singular vectors).

    Example
    -------
    >>> z = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    >>> x = z @ torch.tensor([[1.0, -1, 0, 0], [0, 0, 2, 1]])
    >>> sae = SemiNMF(4, 2, kept=0.5).fit(x)
    >>> sorted((d != 0).sum().item() for d in sae.dictionary), bool((x - sae(x)).abs().max() < 1e-2)
    ([2, 2], True)
    """

    no_training = "SemiNMF must be fitted, not trained: it has no gradient. Use sae.fit(acts)."

    def __init__(
        self,
        d_in: int,
        n_atoms: int,
        *,
        kept: Annotated[float, Between(0, 1, "(]")] = 0.01,
        k: int | None = None,
    ) -> None:
        super().__init__(d_in, n_atoms, method="SemiNMF", k=k)
        self.kept = kept

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild it."""
        return {"d_in": self.d_in, "n_atoms": self.n_atoms, "kept": self.kept, "k": self.k}

    @checked(leave=("data",))
    @torch.no_grad()
    def fit(
        self,
        data: Activations | Float[Tensor, "n d_in"],
        *,
        n_steps: Count = STEPS,
        max_rows: Count = MOST_ROWS,
        seed: Seed = 0,
    ) -> Self:
        """Find the atoms, in place of those before.

        Parameters
        ----------
        data
            Activations, or a tensor.
        n_steps
            Most alternations; a fit ends before where the error no longer falls.
        max_rows
            Rows used, drawn at random from more.
        seed
            Of every draw.

        Returns
        -------
        SemiNMF
            Itself, ready to encode.

        Raises
        ------
        ValueError: If there are fewer rows than atoms.
        """
        acts = acts_for(self, data, name="data")
        generator = torch.Generator().manual_seed(seed)
        n = min(len(acts), max_rows)
        if n < self.n_atoms:
            raise ValueError(
                f"`data` must have at least {self.n_atoms} rows, one for each atom, got {n}. Pass more "
                "rows, or ask for fewer atoms."
            )
        chosen = torch.randperm(len(acts), generator=generator)[:n].sort().values
        x = acts.rows(chosen).cpu().double()
        n_kept = max(1, round(self.kept * self.d_in))
        start = memberships(x, self.n_atoms, generator)
        dictionary, _ = semi_nmf(x, start, n_steps, shape=lambda atoms: largest(atoms, n_kept))
        self.hold_((dictionary / dictionary.norm(dim=1, keepdim=True).clamp_min(GUARD)).float())
        if acts.hook_point is not None:
            self.hook_point, self.model_name = acts.hook_point, acts.model_name
            self.position_policy = PositionPolicy.of(acts)
        return self

    def neurons(self, atom: int, n: int = 10) -> pd.DataFrame:
        """Return the neurons of an atom, largest first: columns `neuron` and `weight` (of a unit vector).

        Raises
        ------
        IndexError: If there is no such atom.

        Example
        -------
        >>> sae = SemiNMF(3, 1, kept=0.7).fit(torch.tensor([[4.0, -3.0, 0.0], [8.0, -6.0, 0.1]]))
        >>> sae.neurons(0).neuron.tolist()
        [0, 1]
        """
        import pandas as pd

        row = self.dictionary[check_atom(atom, self.n_atoms)].detach().cpu()
        order = row.abs().argsort(descending=True, stable=True)[:n]
        order = order[row[order] != 0]
        return pd.DataFrame({"neuron": order.tolist(), "weight": row[order].tolist()})

    @torch.no_grad()
    def tree(self, sizes: Sequence[int], *, seed: int = 0) -> pd.DataFrame:
        """Group the atoms, then the groups, …: each level factorises the atoms of the level before.

        Parameters
        ----------
        sizes
            Atoms of each higher level, falling: (16, 4) groups this dictionary's atoms into 16, those into 4.
        seed
            Of every draw.

        Returns
        -------
        pandas.DataFrame
            A row for each atom below the top: `level` (0: this dictionary), `atom`, its strongest `parent`
            at the next level, and `share`, the parent's part of all codes that reconstruct the atom.
            NaN where no parent has a part.

        Raises
        ------
        ValueError: If sizes do not fall, or the first is not below `n_atoms`.

        Source
        ------
        arXiv 2506.10920, hierarchy by factorising factors.

        Example
        -------
        >>> x = torch.eye(4).repeat(20, 1) + torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]).repeat(40, 1)
        >>> tree = SemiNMF(4, 4, kept=1.0).fit(x).tree((2,))
        >>> len(tree), sorted(tree.groupby("parent").size())
        (4, [2, 2])
        """
        import pandas as pd

        wanted = [check_count(size, name="sizes") for size in sizes]
        if not wanted or any(
            lower <= upper for lower, upper in zip([self.n_atoms, *wanted], wanted, strict=False)
        ):
            raise ValueError(
                f"`sizes` must be strictly decreasing, got {shown(tuple(sizes))} over "
                f"{self.n_atoms} atoms. Pass for example ({max(self.n_atoms // 4, 1)},)."
            )
        tables, below = [], self.dictionary.detach()
        for level, size in enumerate(wanted):
            above = SemiNMF(self.d_in, size, kept=1.0).fit(below, seed=seed)
            parts = above.encode(below).to_dense()
            total = parts.sum(dim=1)
            share, parent = (parts / total[:, None]).max(dim=1)
            found = (total > 0).tolist()
            tables.append(
                pd.DataFrame(
                    {
                        "level": level,
                        "atom": range(len(below)),
                        "parent": [
                            p if there else None for p, there in zip(parent.tolist(), found)
                        ],
                        "share": share.tolist(),
                    }
                )
            )
            below = above.dictionary.detach()
        return pd.concat(tables, ignore_index=True)


def largest(atoms: Atoms, n: int) -> Atoms:
    """Return the n entries of largest size of each atom; the others become 0."""
    if n >= atoms.shape[1]:
        return atoms
    kept = atoms.abs().topk(n, dim=1).indices
    return torch.zeros_like(atoms).scatter(1, kept, atoms.gather(1, kept))


# -------------------------------------------------------------------------------------------------
# The steps: codes ≥ 0, signed atoms.
#
# X ≈ Z D with Z ≥ 0. D by least squares; Z ← Z ⊙ √((A⁺ + Z B⁻) / (A⁻ + Z B⁺)), A = X Dᵀ, B = D Dᵀ,
# M⁺ and M⁻ the parts of M = M⁺ − M⁻. Neither step raises the error; taking entries off D may.


@torch.no_grad()
def semi_nmf(
    x: Rows,
    start: Float[Tensor, "n n_atoms"],
    n_steps: int,
    *,
    shape: Callable[[Atoms], Atoms] = lambda atoms: atoms,
) -> tuple[Atoms, list[float]]:
    """Find a signed dictionary with non-negative codes; `shape` is applied to it after each step in it.

    Source: Ding, Li and Jordan, "Convex and semi-nonnegative matrix factorizations", IEEE TPAMI
    2010, eqs. 9–10.
    """
    z = start + FLOOR
    errors: list[float] = []
    dictionary = shape(least_squares(x, z))
    for _ in range(n_steps):
        z = lower_error(z, x @ dictionary.T, dictionary @ dictionary.T)
        size = z.norm(dim=0).clamp_min(GUARD)
        z = z / size
        dictionary = shape(least_squares(x, z))
        errors.append(float((x - z @ dictionary).square().sum()))
        if len(errors) > PATIENCE and errors[-PATIENCE - 1] - errors[-1] < TOLERANCE * errors[-1]:
            break
    return dictionary, errors


def memberships(x: Rows, n_atoms: int, generator: torch.Generator) -> Float[Tensor, "n n_atoms"]:
    """1 at the nearest of n_atoms centroids of the rows."""
    centres = centroids(x, n_atoms, generator)
    return torch.nn.functional.one_hot(nearest(x, centres), n_atoms).to(x)


def lower_error(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Multiply codes ≥ 0 so that the error falls."""
    a_up, a_down = parts(a)
    b_up, b_down = parts(b)
    return z * ((a_up + z @ b_down) / (a_down + z @ b_up + GUARD)).sqrt()


def parts(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return its positive and its negative part."""
    return matrix.clamp_min(0), (-matrix).clamp_min(0)


def least_squares(x: Tensor, z: Tensor) -> Tensor:
    """Return the dictionary that suits the codes best."""
    gram = z.T @ z
    guard = GUARD * gram.diagonal().mean() * torch.eye(len(gram), dtype=z.dtype, device=z.device)
    return torch.linalg.solve(gram + guard, z.T @ x)
