"""The amount of an atom that moves a model's answer by a given divergence.

Finds a > 0 with KL(p(· | x) ‖ p(· | x + a·v)) = target, v = Σ_j by_j·d_j / ‖d_j‖. Near zero the
divergence grows with a², so the search steps by √(target / KL) until it has bracketed the target and
then interpolates between logarithms, with a bisection in between: about six runs of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, Positive, checked
from sae_nb.findings import Finding
from sae_nb.steering._answers import Answers
from sae_nb.steering._request import check_amounts, check_atoms
from sae_nb.steering.edits import Where

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


TOLERANCE = 0.01
"""Nats by which the target may be missed, at most a twentieth of it. snmf-mlp-decomposition; ours."""

_LONGEST_STEP = 16.0


class CalibratedStrength(Finding):
    """The amount of some atoms that moves the answer by a given divergence."""

    hook_point: str
    atoms: tuple[int, ...]
    by: tuple[float, ...]
    kl: float
    """Amount of each unit atom, for `steer`; KL(clean‖steered) there, in nats, mean over the inputs."""

    target_kl: float
    reached: bool
    n_runs: int
    """Steered forward passes that the search took."""

    @property
    def headline(self) -> str:
        """The amounts, and the divergence they reach."""
        parts = ", ".join(f"{a}: {b:.3g}" for a, b in zip(self.atoms, self.by, strict=True))
        met = "" if self.reached else f", which does not reach {self.target_kl:.3g}"
        return f"atoms {{{parts}}} at {self.hook_point}: KL {self.kl:.3g} nats{met}; {self.n_runs} runs"


@checked
def calibrate_strength(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder,
    inputs: Inputs,
    atom: int | Sequence[int],
    target_kl: Positive,
    *,
    by: float | Sequence[float] = 1.0,
    positions: Where = None,
    max_runs: Count = 20,
    batch_size: int | None = None,
) -> CalibratedStrength:
    """Return how much of an atom changes the model's answer by `target_kl` nats.

    So atoms, layers and random directions are compared at the same cost, not at the same norm. Some
    atoms cannot move an answer that far: then `.reached` is false. The other arguments are those of
    `dose_response`.

    Parameters
    ----------
    atom
        One atom, or several that are added together.
    target_kl
        KL(clean‖steered) of the answer (language: at the last token), in nats, mean over the inputs.
    by
        Where the search begins, and, by its sign and proportions, what is scaled: negative
        subtracts.

    Raises
    ------
    ValueError: If answers are states, not scores.

    Source
    ------
    The repository snmf-mlp-decomposition, `intervention`: bisection, at most 20 steps, tolerance
    0.01 nats. Ours steps by the square root and interpolates, which needs fewer runs.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b"])
    >>> sae = sn.TopK(d_in=2, n_atoms=4, k=1, generator=torch.Generator().manual_seed(0))
    >>> found = calibrate_strength(model, "0", sae, torch.zeros(1, 2), 0, 0.1)
    >>> found.reached, round(found.kl, 1)
    (True, 0.1)
    """
    atoms = check_atoms(atom, sae.n_atoms)
    amounts = check_amounts(by, len(atoms))
    if not any(amounts):
        raise ValueError(f"`by` must be not all zero, got {list(amounts)}.")
    direction = combined_direction(sae, atoms, amounts)
    answers = Answers(model, inputs, hook_point, positions=positions, batch_size=batch_size)
    search = StrengthSearch(
        lambda factor: float(answers.kl(answers.add(direction, factor)).mean()), target_kl
    )
    factor = search.find(max_runs, StrengthSearch.LARGEST / float(direction.norm()))
    return CalibratedStrength(
        hook_point=str(model.hook_point(hook_point)),
        atoms=atoms,
        by=tuple(factor * amount for amount in amounts),
        kl=search.kl,
        target_kl=target_kl,
        reached=search.reached,
        n_runs=search.n_runs,
    )


def combined_direction(
    sae: SparseAutoencoder, atoms: Sequence[int], amounts: Sequence[float]
) -> Float[Tensor, " d_in"]:
    """Return Σ_j amount_j·d_j / ‖d_j‖: what "add" adds to an activation."""
    rows = torch.nn.functional.normalize(sae.dictionary[list(atoms)].detach().float(), dim=1)
    direction = torch.tensor(list(amounts), dtype=rows.dtype, device=rows.device) @ rows
    if not float(direction.norm()) > 0:
        raise ValueError(
            f"`by` must leave something to add, and atoms {list(atoms)} by {list(amounts)} add up to "
            "the zero vector."
        )
    return direction


class StrengthSearch:
    """Looks for the factor at which a divergence is the target; keeps the nearest it has seen.

    Or anything else that grows with a `power` of the factor near zero: an effect grows with the first.
    `tolerance`: how far from the target is near enough; None: `TOLERANCE`, at most a twentieth of the target.
    After `find`: `kl`, what was found there; `reached`, whether it is the target; `n_runs`, factors tried.

    Example
    -------
    >>> search = StrengthSearch(lambda factor: factor**2, target=0.25)
    >>> round(search.find(max_runs=10), 2), search.reached
    (0.5, True)
    """

    LARGEST: ClassVar[float] = 2000.0
    """Norm beyond which nothing is tried. snmf-mlp-decomposition."""

    def __init__(
        self,
        kl_at: Callable[[float], float],
        target: float,
        *,
        power: float = 2.0,
        tolerance: float | None = None,
    ) -> None:
        self._kl_at, self._target, self._power = kl_at, target, power
        self._tolerance = min(TOLERANCE, target / 20) if tolerance is None else tolerance
        self.kl, self.reached, self.n_runs, self._factor = 0.0, False, 0, 0.0

    def find(self, max_runs: int, largest: float = LARGEST) -> float:
        """Return the best factor in (0, largest]; `reached` tells whether it meets the target."""
        low: tuple[float, float] | None = None
        high: tuple[float, float] | None = None
        factor = min(1.0, largest)
        for turn in range(max_runs):
            kl = self._try(factor)
            if self.reached or (kl < self._target and factor >= largest):
                break
            if kl < self._target:
                low = (factor, kl)
            else:
                high = (factor, kl)
            factor = min(self._next(low, high, bisect=turn % 3 == 2), largest)
        return self._factor

    def _try(self, factor: float) -> float:
        kl = self._kl_at(factor)
        self.n_runs += 1
        if math.isnan(kl):
            raise ValueError(
                "`target_kl` needs a model that scores classes or next tokens, and the answers of this "
                "one are states. Wrap it with class_names=, or set a strength."
            )
        if self.n_runs == 1 or abs(kl - self._target) < abs(self.kl - self._target):
            self.kl, self._factor = kl, factor
            self.reached = abs(kl - self._target) <= self._tolerance
        return kl

    def _next(
        self, low: tuple[float, float] | None, high: tuple[float, float] | None, *, bisect: bool
    ) -> float:
        if low is None or high is None:
            factor, kl = low or high or (1.0, self._target)
            # Below the target always further, above it nearer.
            step = (self._target / max(kl, 1e-12)) ** (1 / self._power)
            least, most = (1.25, _LONGEST_STEP) if high is None else (1 / _LONGEST_STEP, 0.8)
            return factor * min(max(step, least), most)
        (a, kl_a), (b, kl_b) = low, high
        if bisect or not (kl_a > 0 and math.isfinite(kl_b)):
            return math.sqrt(a * b)
        share = math.log(self._target / kl_a) / math.log(kl_b / kl_a)
        return float(a * (b / a) ** min(max(share, 0.02), 0.98))
