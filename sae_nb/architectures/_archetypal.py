"""Archetypal: any SAE whose atoms are held in, or near, the convex hull of data points."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures._base import SparseAutoencoder
from sae_nb.architectures._composition import HOSTS, class_over
from sae_nb.architectures._one_step import OneStep
from sae_nb.architectures.parts._operators import HullOperator, LearnedAdjoint, with_direction
from sae_nb.architectures.parts._proxes import Rows
from sae_nb.checks import Count, at_least, check_matrix, checked, one_of

MANY_CLUSTERS, MOST_ITERATIONS = 1024, 50
"""Limits of k-means (ours): 2048 centroids of 8192 rows of width 64 take 3 s on one CPU core."""


@checked
class Archetypal(OneStep):
    """A sparse autoencoder over an archetypal dictionary, D ∝ W C + Λ.

    Rows of W are on the simplex, C are points of the data, ‖Λ_j‖ ≤ δ: δ = 0 is A-SAE, whose atoms point
    from the centre of the data at convex combinations of them, δ > 0 is RA-SAE. Encoder, sparsity and
    loss are those of `base`; an object is of that class too. `dictionary` has unit rows like every
    other; `archetypes` are the points themselves.

    Parameters
    ----------
    k
        Of the base, where it has one.
    base
        The SAE whose dictionary is held: TopK, BatchTopK, JumpReLU, ReLU, Gated, AbsTopK, Matryoshka.
    delta
        δ ≥ 0 in scaled units, where activations have norm √d_in in the root mean square.
    candidates
        C, in the model's units: at least n_atoms points that are not all the mean. None: centroids of
        the first training data, by k-means.
    n_candidates
        Number of centroids; None is n_atoms.
    tied
        Whether the encoder begins as the dictionary; otherwise it begins at random. Held dictionaries
        are as alike between seeds as their first encoders are (docs/claims.md).
    settings
        Of the base.
    d_in, n_atoms, generator
        As in `TopK`.

    Raises
    ------
    ValueError: If there are fewer candidates than atoms.

    Source
    ------
    "Archetypal SAE: Adaptive and Stable Dictionary Learning for Concept Extraction in Large Vision
    Models", arXiv 2502.12892; that its stability is that of its initialisation: arXiv 2606.02061.

    Example
    -------
    >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
    >>> sae = Archetypal(d_in=2, n_atoms=3, k=1, delta=0.0, candidates=points)
    >>> sae.archetypes.tolist()
    [[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]]
    >>> sae.dictionary[1].tolist(), type(sae).__name__
    ([0.0, 1.0], 'Archetypal')
    """

    operator: HullOperator
    has_candidates: Tensor

    def __new__(cls, *_: object, base: str = "TopK", **__: object) -> Archetypal:
        """An object that is an Archetypal and a base, once the base is known."""
        if "_host" not in vars(cls):
            cls = class_over(cls, one_of(base, HOSTS, name="base"))
        return super().__new__(cls)

    def __init__(
        self,
        d_in: Count,
        n_atoms: Count,
        k: int | None = None,
        *,
        base: str = "TopK",
        delta: Annotated[float, at_least(0, do="0 stays in the hull.")] = 1.0,
        candidates: Float[Tensor, "n_candidates d_in"] | None = None,
        n_candidates: Count | None = None,
        tied: bool = True,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> None:
        own: dict[str, Any] = {} if k is None else {"k": k}
        settings.setdefault("revival", "auxk")  # whatever the base prefers
        super().__init__(d_in, n_atoms, **own, generator=generator, **settings)
        self._check_reaches("atoms are held in a hull")
        n_candidates = _checked(self, candidates, n_candidates)
        self.base, self.delta, self.tied = base, delta, tied
        self.operator = HullOperator(
            self.d_in, self.n_atoms, n_candidates, delta=self.delta, generator=generator
        )
        self.register_buffer("has_candidates", torch.tensor(candidates is not None))
        if candidates is not None:
            self._hold(candidates.to(self.operator.candidates), generator)
        elif self.tied:
            self._tie()

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # help() shows these arguments

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild an SAE of this kind and size."""
        names = ("base", "delta", "n_candidates", "tied")
        return super().settings() | {name: getattr(self, name) for name in names}

    @property
    def n_candidates(self) -> int:
        """Points that atoms are mixed from."""
        return len(self.operator.candidates)

    @property
    def candidates(self) -> Float[Tensor, "n_candidates d_in"]:
        """C, in the model's units."""
        return self._in_model_units(self.operator.candidates)

    @property
    def mixture(self) -> Float[Tensor, "n_atoms n_candidates"]:
        """W, detached: rows ≥ 0 that sum to 1."""
        return self.operator.mixture.detach()

    @property
    def relaxation(self) -> Float[Tensor, "n_atoms d_in"]:
        """Λ, detached, in scaled units: rows of norm at most δ."""
        return self.operator.relaxation().detach()

    @property
    def archetypes(self) -> Float[Tensor, "n_atoms d_in"]:
        """W C + Λ in the model's units: what each atom points at, from the mean of the data."""
        return self._in_model_units(self.operator.points().detach())

    def _scale(self, x: Rows, generator: torch.Generator | None) -> None:
        """Read scaling and candidates off the first activations, then begin as the base does."""
        given = self.candidates.clone()
        self.scaling.fit_(x)
        points = given if bool(self.has_candidates) else self._centroids(x, generator)
        self._hold(points, generator)
        super()._scale(x, generator)

    def _centroids(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        if len(rows) < self.n_candidates:
            raise ValueError(
                f"Archetypal needs at least n_candidates={self.n_candidates} rows to find candidates, "
                f"got {len(rows)}. Give more data, `candidates`, or fewer atoms."
            )
        scaled = (rows - self.scaling.mean) * self.scaling.scale
        return self._in_model_units(centroids(scaled, self.n_candidates, generator))

    def _hold(self, points: Tensor, generator: torch.Generator | None) -> None:
        """Make these the candidates; each atom begins as one of them, none of them at the centre."""
        scaled = (points - self.scaling.mean) * self.scaling.scale
        usable = with_direction(scaled)
        if len(usable) < self.n_atoms:
            raise ValueError(
                f"`candidates` must hold at least n_atoms={self.n_atoms} points away from the mean of the "
                f"data, where an atom would have no direction, got {len(usable)} of {len(points)}. Give "
                "more, or ask for fewer atoms."
            )
        self.operator.start_from_(scaled, usable[self._choice(len(usable), generator)])
        if self.tied:
            self._tie()

    def _choice(self, n: int, generator: torch.Generator | None) -> Int[Tensor, " n_atoms"]:
        if n == self.n_atoms:
            return torch.arange(n, device=self.device)
        where = self.device if generator is None else generator.device
        drawn = torch.randperm(n, generator=generator, device=where)[: self.n_atoms]
        return drawn.to(self.device)

    @torch.no_grad()
    def _tie(self) -> None:
        for module in self.children():
            if isinstance(module, LearnedAdjoint):
                module.weight.copy_(self.operator.atoms())
                module.bias.zero_()

    def _in_model_units(self, points: Tensor) -> Tensor:
        return self.scaling.mean + points / self.scaling.scale


@torch.no_grad()
def centroids(x: Rows, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d_in"]:
    """Return centres of n clusters, by k-means (Lloyd)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    where = torch.device("cpu") if generator is None else generator.device
    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=where))
    # Spreading the first centres costs n draws over all rows; a random start is as good for many.
    start = "k-means++" if n <= MANY_CLUSTERS else "random"
    means = KMeans(n, init=start, n_init=1, max_iter=MOST_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: equal centroids are equal atoms, which is harmless.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(x.detach().double().cpu().numpy())
    return torch.from_numpy(means.cluster_centers_).to(x)


def _checked(sae: SparseAutoencoder, candidates: object, n_candidates: int | None) -> int:
    """Return the number of candidates, after all checks."""
    if candidates is not None:
        n_given = len(check_matrix(candidates, name="candidates", d_in=sae.d_in))
        if n_candidates not in (None, n_given):
            raise ValueError(
                f"`n_candidates` must be {n_given}, the number of `candidates`, or None, got {n_candidates}."
            )
        n_candidates = n_given
    n = sae.n_atoms if n_candidates is None else n_candidates
    if n < sae.n_atoms:
        raise ValueError(
            f"There must be at least n_atoms={sae.n_atoms} candidates, so that no atom sits at the "
            f"origin, got {n}. Give more, or ask for fewer atoms."
        )
    return n
