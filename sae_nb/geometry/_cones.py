"""Concept cones: how few atoms it takes to build a direction by adding, never subtracting.

r(s) = min_{a ≥ 0, |a|₀ ≤ s} ‖w − a D‖ / ‖w‖ for a direction w and the atoms D, found by non-negative
OMP. Many atoms span everything: only small s are informative, and only compared with r(s) of random
directions and atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.checks import Count, Seed, Share, check_count, check_integers, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding
from sae_nb.pursuit import orthogonal_matching_pursuit

if TYPE_CHECKING:
    from pandas import DataFrame

RANDOM_ATOMS, RANDOM_DIRECTIONS = "random atoms", "random directions"
_CHANCE = 0.05
"""Share of random directions that may be built as well as one that counts as held. Ours."""


class Containment(Finding):
    """Lengths of directions that are left after a fit by a few atoms; made by `containment`."""

    steps: tuple[int, ...]
    """s, the most atoms that a direction may take."""

    names: tuple[str, ...]
    """Of the directions."""

    r: Float[np.ndarray, "n steps"]
    """Share of the length of each direction that s atoms leave: 0 is inside the cone of few atoms."""

    random_directions: Float[np.ndarray, "m steps"]
    """The same of random directions and these atoms."""

    random_atoms: Float[np.ndarray, "n_random steps"]
    """Mean over these directions with random atoms, a row for each draw."""

    alignment: Float[np.ndarray, " n"]
    """Largest cosine of each direction with one atom."""

    codes: SparseCodes
    """(n, n_atoms): the atoms of each direction and their strengths, at the largest s."""

    @property
    def headline(self) -> str:
        """Residual at the largest s, of these and of random directions."""
        s, last = self.steps[-1], self.scores.iloc[-1]
        return (
            f"{len(self.names)} directions, r({s}) {last['r']:.3f}; {RANDOM_DIRECTIONS} "
            f"{last[RANDOM_DIRECTIONS]:.3f}, {RANDOM_ATOMS} {last[RANDOM_ATOMS]:.3f}"
        )

    @property
    def table(self) -> DataFrame:
        """A direction per row, what is built best first: its r at each s, its atoms, and `held`.

        `held`: fewer than one of twenty random directions is built as well, over all s.
        """
        import pandas as pd

        strongest = self.codes.top(self.steps[-1]).groupby("row")["atom"].apply(list)
        atoms = [strongest.get(i, []) for i in range(len(self.names))]
        columns: dict[str, Any] = {"direction": self.names, "alignment": self.alignment}
        columns |= {f"r({s})": self.r[:, j] for j, s in enumerate(self.steps)}
        columns |= {"held": self.held, "atoms": atoms}
        return pd.DataFrame(columns).sort_values(f"r({self.steps[-1]})", kind="stable")

    @property
    def held(self) -> Bool[np.ndarray, " n"]:
        """Mask of the directions that are built better, over all s, than nineteen of twenty random ones."""
        floor = np.quantile(self._areas(self.random_directions), _CHANCE)
        return self._areas(self.r) < floor

    @property
    def scores(self) -> DataFrame:
        """A row for each s: mean r, and what random directions and random atoms have."""
        import pandas as pd

        return pd.DataFrame(
            {
                "s": self.steps,
                "r": self.r.mean(axis=0),
                RANDOM_DIRECTIONS: self.random_directions.mean(axis=0),
                RANDOM_ATOMS: self.random_atoms.mean(axis=0),
            }
        )

    @property
    def area(self) -> float:
        """Mean r over all s, on a scale where each doubling of s counts the same; less is better."""
        return float(self._areas(self.r).mean())

    def _areas(self, r: Float[np.ndarray, "n steps"]) -> Float[np.ndarray, " n"]:
        if len(self.steps) == 1:
            return r[:, 0]
        at = np.log2(self.steps)
        return np.trapezoid(r, at, axis=1) / (at[-1] - at[0])

    @checked
    def coverage(self, tau: Share) -> DataFrame:
        """Return the share of directions with r(s) ≤ tau for each s, with that of random directions."""
        import pandas as pd

        return pd.DataFrame(
            {
                "s": self.steps,
                "covered": (self.r <= tau).mean(axis=0),
                RANDOM_DIRECTIONS: (self.random_directions <= tau).mean(axis=0),
            }
        )

    @checked(leave=("codes",))
    def agreement(
        self,
        directions: Float[Tensor, "n d_in"],
        x: Float[Tensor, "rows d_in"],
        codes: SparseCodes,
    ) -> Float[np.ndarray, " n"]:
        """Return how the atoms of each direction, as they fire, follow the row along it.

        corr_t(⟨x_t, w⟩, Σ_j a_j z_tj): near 1 where the atoms that build a direction also fire with it;
        a direction can lie in the cone of atoms that fire for something else.

        Parameters
        ----------
        directions
            Those that were passed to `containment`.
        x, codes
            Rows of activations, and the SAE's codes of them.

        Raises
        ------
        ValueError: If shapes do not fit each other.
        """
        wanted = check_matrix(directions, name="directions")
        rows = check_matrix(x)
        shapes = (len(wanted), wanted.shape[1], len(rows), codes.n_atoms)
        fits = (len(self.names), rows.shape[1], codes.n_rows, self.codes.n_atoms)
        if shapes != fits:
            raise ValueError(
                f"`directions`, `x` and `codes` must fit each other and the {fits[0]} directions and "
                f"{fits[3]} atoms compared, got shapes {tuple(wanted.shape)}, {tuple(rows.shape)} and "
                f"{(codes.n_rows, codes.n_atoms)}."
            )
        along = rows.double() @ wanted.double().T
        built = (codes @ self.codes.to_dense().T.to(codes.values.dtype)).double()
        return _correlations(along, built).cpu().numpy()

    def plot(self) -> Any:
        """Draw r(s): every direction faintly, their mean, and what random ones have."""
        from sae_nb.figures import fade, framed, line, theme

        steps, scores = list(self.steps), self.scores
        hover = "%{x} atoms leave %{y:.2f}"
        colour = fade(theme.PALETTE[0], 0.25)
        faint = [
            line(name, steps, row, colour=colour, width=1, showlegend=False, hover=hover)
            for name, row in zip(self.names, self.r, strict=True)
        ]
        chance = ((RANDOM_DIRECTIONS, theme.CONTROL_DASH), (RANDOM_ATOMS, "dot"))
        floors = [
            line(n, steps, scores[n], colour=theme.CONTROL, width=1.6, dash=dash, hover=hover)
            for n, dash in chance
        ]
        mean = line(
            "mean", steps, scores["r"], colour=theme.PALETTE[0], symbol="circle", hover=hover
        )
        figure = framed(
            [*faint, mean, *floors], x="atoms, s", y="share of the direction left, r(s)", height=320
        )
        figure.update_xaxes(type="log", tickvals=steps)
        return figure.update_yaxes(range=[0, 1.02])


@checked
@torch.no_grad()
def containment(
    directions: Float[Tensor, "n d_in"],
    dictionary: Float[Tensor, "n_atoms d_in"],
    steps: Sequence[int] = (1, 2, 4, 8),
    *,
    names: Sequence[str] | None = None,
    n_random: Count = 5,
    seed: Seed = 0,
) -> Containment:
    """Ask whether directions lie in the cone of few atoms.

    Exchange `directions` and `dictionary` for the reverse: atoms in the cone of the directions.

    Parameters
    ----------
    directions, names
        Directions that mean something: weights of probes or of a concept bottleneck, differences of
        means, embeddings of words; what they are called, by default their numbers.
    dictionary
        Atoms of an SAE (`sae.dictionary`). Lengths do not matter.
    steps
        Numbers of atoms that a direction may take, rising.
    n_random, seed
        Draws of random atoms, and at least as many times 20 random directions; their seed.

    Raises
    ------
    ValueError: If widths differ, a direction or an atom is zero, `steps` do not rise or exceed the atoms, or
        there is not a name for each direction.

    Source
    ------
    "Concept cones", arXiv 2512.07355, from the abstract: its formula could not be read. Ours is the
    least-squares distance to the cone of s atoms, found greedily, so r(s) is an upper bound.

    Example
    -------
    >>> atoms = torch.eye(4)
    >>> found = containment(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]]), atoms, steps=(1, 2))
    >>> found.r.round(2).tolist()
    [[0.6, 0.0], [1.0, 1.0]]
    """
    wanted = _directions(directions, "directions")
    atoms = _directions(dictionary, "dictionary")
    whole = check_integers(steps, name="steps")
    counts = tuple(check_count(s, name="steps", at_most=len(atoms)) for s in whole)
    if not counts or list(counts) != sorted(set(counts)):
        raise ValueError(f"`steps` must rise, as (1, 2, 4, 8) does, got {tuple(steps)}.")
    called = tuple(map(str, names if names is not None else range(len(wanted))))
    if len(called) != len(wanted):
        raise ValueError(
            f"`names` must hold one name for each of the {len(wanted)} directions, got {len(called)}."
        )
    rng = np.random.default_rng(seed)
    r, codes = _left(wanted, atoms, counts)
    strangers = _random(max(20 * n_random, len(wanted)), wanted, rng)
    others = [_random(len(atoms), atoms, rng) for _ in range(n_random)]
    return Containment(
        steps=counts,
        names=called,
        r=r,
        random_directions=_left(strangers, atoms, counts)[0],
        random_atoms=np.stack([_left(wanted, other, counts)[0].mean(axis=0) for other in others]),
        alignment=(wanted @ atoms.T).amax(dim=1).double().cpu().numpy(),
        codes=codes,
    )


def _directions(rows: Tensor, name: str) -> Tensor:
    """Rows of length one."""
    found = check_matrix(rows, name=name)
    lengths = found.norm(dim=1)
    if bool((lengths == 0).any()):
        first = int((lengths == 0).nonzero()[0])
        raise ValueError(f"`{name}` must hold no row of zeros, got one at {first}. Leave it out.")
    return F.normalize(found, dim=1)


def _random(n: int, like: Tensor, rng: np.random.Generator) -> Tensor:
    """Unit rows; not by torch's generator, which may have drawn the very atoms from the same seed."""
    drawn = torch.from_numpy(rng.standard_normal((n, like.shape[1])))
    return F.normalize(drawn.to(like), dim=1)


def _left(
    wanted: Tensor, atoms: Tensor, steps: Sequence[int]
) -> tuple[Float[np.ndarray, "n steps"], SparseCodes]:
    """Share of the length that is left after each number of atoms, and the code with most of them."""
    codes, trace = orthogonal_matching_pursuit(wanted, atoms, steps[-1], trace=True)
    return trace.residual_norms[:, list(steps)].double().cpu().numpy(), codes


def _correlations(a: Float[Tensor, "rows n"], b: Float[Tensor, "rows n"]) -> Float[Tensor, " n"]:
    """Of each column with the other's; NaN where one does not change."""
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    return (a * b).sum(dim=0) / (a.norm(dim=0) * b.norm(dim=0))
