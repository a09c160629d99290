"""KDS and WLSC: sparse coding in which an atom costs the more, the further it is from the input."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures import DenseOperator, Penalty, SimplexProx, SoftProx, TrainingLoss
from sae_nb.architectures.parts import FreeOperator, LossTerms, Memberships, distance_to_used
from sae_nb.checks import Count, Weight, checked
from sae_nb.codes import SparseCodes
from sae_nb_studies.lab._unrolled import UnitAtoms, Unrolled

Rows = Float[Tensor, "rows d_in"]
Costs = Float[Tensor, "rows n_atoms"]


class _Local(Unrolled):
    """min_z ½‖x − zW‖² + λ Σ_j z_j c_j(x), c_j(x) = ‖x − w_j‖², by steps of FISTA from zero."""

    operator: FreeOperator | DenseOperator
    locality: float
    live_numbers = ("locality",)

    def training_loss(
        self, x: Rows, silent_tokens: Tensor, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return unexplained share of variance, and 2λ times the distance to the atoms used, in the
        same unit.
        """
        codes = self._encode(x, None)
        error, x_hat, _ = self.operator.squared_error(codes, self.bias, x)
        parts: LossTerms = {
            "reconstruction": (1.0, error / (len(x) * self.scaling.variance)),
            "distance": (2 * self.locality, self._distance(x, codes)),
        }
        return TrainingLoss.of(parts, codes, x_hat)

    def _atoms(self) -> Float[Tensor, "n_atoms d_in"]:
        return self.operator.weight

    def _penalty(self, scaled: Rows, atoms: Float[Tensor, "n_atoms d_in"]) -> Penalty:
        return self._prox(self.locality * self._costs(scaled, atoms))

    def _costs(self, scaled: Rows, atoms: Float[Tensor, "n_atoms d_in"]) -> Costs:
        return squared_distances(scaled, atoms)

    @abstractmethod
    def _prox(self, costs: Costs) -> Penalty:
        """The penalty of a tile of rows, given λ c."""

    @abstractmethod
    def _distance(self, x: Rows, codes: SparseCodes) -> Float[Tensor, ""]:
        """Mean of Σ_j z_j ‖x − w_j‖² over rows, as a share of the variance of x."""


def squared_distances(x: Rows, points: Float[Tensor, "n_atoms d_in"]) -> Costs:
    """‖x_i − p_j‖² of every pair."""
    norms = x.square().sum(dim=1, keepdim=True) + points.square().sum(dim=1)
    return (norms - 2 * x @ points.T).clamp_min(0)


@checked
@dataclass(eq=False, repr=False)
class KDS(_Local, Memberships):
    """K-Deep Simplex: an input is a mixture of the few landmarks around it.

    z = argmin over the simplex of ½‖x − zW‖² + λ Σ_j z_j ‖x − w_j‖², by `n_steps` of FISTA from zero; the
    landmarks w_j are learned through all of them, on the same objective. With λ = 0 mixtures reach across
    the data; with λ > 0 the landmarks of a mixture surround its input, as the corners of a triangle
    surround a point in it, and their ties trace the manifold. One step from zero with landmarks of equal
    norm is SpaDE's encoder, with λ_SpaDE = (1 + 2λ) / 2‖W‖².

    Parameters
    ----------
    d_in
        Width of an input.
    n_atoms
        Landmarks.
    locality
        λ ≥ 0, what distance costs. May change in training.
    n_steps
        Steps of the solver, the depth of the unrolled network.
    generator
        Draws the first landmarks; None is torch's global generator.

    Source
    ------
    "K-Deep Simplex", arXiv 2012.02134; settings after pbt17/manifold-learning-with-simplex-constraints,
    model.py. Ours: the step is 1/‖W‖² instead of a learned one, momentum is FISTA's with restarts instead of
    k/(k + 3), data are scaled to unit mean square first, and clusters are read off the ties of the landmarks.

    Example
    -------
    >>> import sae_nb as sn
    >>> from sklearn.datasets import make_moons
    >>> points, moon = make_moons(600, noise=0.03, random_state=0)
    >>> x = torch.tensor(points, dtype=torch.float32)
    >>> kds = KDS(2, 24, generator=torch.Generator().manual_seed(0)).fit(x)
    >>> kds.encode(x[:5]).to_dense().sum(dim=1).round(decimals=3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    >>> sn.lab.local_map(kds, x, n_clusters=2).accuracy(moon) > 0.95
    True
    """

    operator: FreeOperator = field(init=False)

    d_in: Count
    n_atoms: Count
    _: KW_ONLY
    locality: Weight = 0.5
    n_steps: Count = 15
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        self._make_atoms(self.d_in, self.n_atoms, self.generator)
        self.generator = None  # what it draws is drawn

    @property
    def landmarks(self) -> Float[Tensor, "n_atoms d_in"]:
        """The atoms as points among the data: `dictionary` counts from the mean."""
        return self.dictionary + self.bias

    def _prox(self, costs: Costs) -> Penalty:
        return SimplexProx(costs)

    def _scaled_rows(self, x: Rows) -> Rows:
        return self._scaled(x)

    def _in_units(self, codes: SparseCodes) -> SparseCodes:
        return codes  # memberships have no unit

    def _distance(self, x: Rows, codes: SparseCodes) -> Float[Tensor, ""]:
        return distance_to_used(self._scaled(x), codes, self.operator.weight) / (len(x) * self.d_in)


@checked
@dataclass(eq=False, repr=False)
class WLSC(UnitAtoms, _Local):
    """Weighted sparse coding: codes ≥ 0 whose threshold rises with the distance from the input to the atom.

    z = argmin over z ≥ 0 of ½‖x − zD‖² + λ Σ_j z_j ‖x − d_j‖² with ‖d_j‖ = 1, for x around its mean in
    units of its root mean square norm. The prox is [v − tλ‖x − d_j‖²]₊: a ReLU with a threshold for each
    input and atom. KDS without the constraint that codes sum to 1.

    Parameters
    ----------
    d_in
        Width of an input.
    n_atoms
        Rows of the dictionary.
    locality
        λ ≥ 0. May change in training.
    weighted
        False: every atom costs λ, plain non-negative sparse coding, as a control.
    n_steps
        Steps of the solver.
    generator
        Draws the first dictionary; None is torch's global generator.

    Source
    ------
    After "Clustering Inductive Biases with Unrolled Networks", arXiv 2402.10213, of which we had the
    abstract: the weighted penalty is its, the rest (unit norms, FISTA, ≥ 0) ours.

    Example
    -------
    >>> x = torch.nn.functional.normalize(torch.randn(400, 8, generator=torch.Generator().manual_seed(0)))
    >>> wlsc = WLSC(8, 16, locality=0.1, generator=torch.Generator().manual_seed(0)).fit(x, steps=20)
    >>> bool((wlsc.encode(x).values > 0).all()), wlsc.dictionary.norm(dim=1).mean().round().item()
    (True, 1.0)
    """

    operator: DenseOperator = field(init=False)

    d_in: Count
    n_atoms: Count
    _: KW_ONLY
    locality: Weight = 0.06
    weighted: bool = True
    n_steps: Count = 15
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        self._begin(DenseOperator(self.d_in, self.n_atoms, generator=self.generator))
        self.generator = None  # what it draws is drawn

    def _costs(self, scaled: Rows, atoms: Float[Tensor, "n_atoms d_in"]) -> Costs:
        distances = super()._costs(scaled, atoms)
        return distances if self.weighted else torch.ones_like(distances)

    def _prox(self, costs: Costs) -> Penalty:
        return SoftProx(costs, nonnegative=True)

    def _distance(self, x: Rows, codes: SparseCodes) -> Float[Tensor, ""]:
        codes = codes.with_values(codes.values / self._unit)
        if not self.weighted:
            return codes.values.sum() / len(x)
        return distance_to_used(self._scaled_rows(x), codes, self.operator.weight) / len(x)
