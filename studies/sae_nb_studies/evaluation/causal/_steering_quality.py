"""Does adding an atom have the effect that its label names, and at what cost? Success against cost,
with controls.

Every direction is scaled until it costs the same, KL(clean‖steered) = κ for each budget κ, and then asked
how far it moves the target: Δ(κ) = m(x + a_κ·v) − m(x), m the log-odds of the target. An atom is worth
its label if Δ exceeds what random directions reach at equal cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.checks import Resamples, Seed, at_least, check_atom, check_matrix, checked
from sae_nb.evaluation import Measurement, Measurements, Resampling
from sae_nb.findings import Finding
from sae_nb.progress import progress_bar
from sae_nb.steering import Cost, StrengthSearch, random_direction
from sae_nb.steering.edits import Where
from sae_nb_studies.evaluation.causal._target_odds import (
    MAX_SECONDS,
    Fluency,
    TargetOdds,
    Targets,
    Writing,
    answers_to,
    nearest,
    quantile_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


BUDGETS = (0.05, 0.1, 0.25, 0.5)
"""KL in nats at which directions are compared; from the page's list (snmf-mlp-decomposition). Ours."""

ATOM, NEAREST, NORM = "atom", "nearest atom", "random, equal norm"
DIFFERENCE, RIVAL = "difference of means", "rival"
_RUNS_PER_ARM = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """One direction at every budget."""

    name: str  # what it is
    strengths: Float[np.ndarray, " budgets"]  # how much of the unit direction was added
    kl: Float[np.ndarray, " budgets"]  # what it cost: mean KL in nats
    reached: Bool[np.ndarray, " budgets"]  # some directions cannot move an answer so far
    shift: Float[np.ndarray, "budgets n"]  # change of the target's log-odds, input by input
    fluency: tuple[Fluency, ...]  # what was written and read; empty where nothing was

    @property
    def area(self) -> Float[np.ndarray, " n"]:
        """Mean over the budgets of each input's shift: how much success the cost buys."""
        return np.asarray(self.shift.mean(axis=0))

    @property
    def specificity(self) -> Float[np.ndarray, " n"]:
        """Mean over the budgets of shift per nat of KL."""
        return np.asarray((self.shift / np.maximum(self.kl, 1e-12)[:, None]).mean(axis=0))


class SteeringCurves(Finding, Measurements[str]):
    """Success against cost of an atom and other directions; a mapping from name to `Measurement`."""

    HEADLINE = (
        "atom {atom} at {hook_point}: {measure} moves by {rows[success]:+.3g} at equal KL, 95 % "
        "{rows[success].interval[0]:+.3g} … {rows[success].interval[1]:+.3g}, random directions "
        "{rows[success].control:.3g}; {cost}"
    )

    hook_point: str
    atom: int
    measure: str
    """Where, which, and what is moved, in words."""

    budgets: tuple[float, ...]
    """KL in nats at which all are compared."""

    arms: Mapping[str, Arm]
    """"atom", "nearest atom", "random, equal norm"; "difference of means" and "rival" if asked."""

    controls: tuple[Arm, ...]
    """Random directions, each at equal cost."""

    rows: Mapping[str, Measurement]
    """"success", "specificity"; "nats written" and "nats read" where there are texts."""

    clean_fluency: Fluency | None
    cost: Cost
    """Text written and read without steering; the cost."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per direction and budget, as pandas."""
        import pandas as pd

        rows = [
            {
                "direction": arm.name,
                "budget": budget,
                "strength": arm.strengths[i],
                "kl": arm.kl[i],
                "shift": arm.shift[i].mean(),
                "nats written": arm.fluency[i].written if arm.fluency else np.nan,
                "nats read": arm.fluency[i].read if arm.fluency else np.nan,
            }
            for arm in (*self.arms.values(), *self.controls)
            for i, budget in enumerate(self.budgets)
        ]
        return pd.DataFrame(rows)


@checked
def steering_curves(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder,
    inputs: Any,
    atom: int,
    target: Targets,
    *,
    sign: int = 1,
    budgets: Sequence[float] = BUDGETS,
    contrast: tuple[Tensor, Tensor] | None = None,
    rival: Float[Tensor, " d_in"] | None = None,
    neutral: Sequence[str] = (),
    max_new_tokens: int = 0,
    positions: Where = None,
    n_controls: Annotated[int, at_least(0)] = 8,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
    max_seconds: float | None = MAX_SECONDS,
    progress: bool = False,
) -> SteeringCurves:
    """Measure how far an atom moves a target at each cost, and how far unrelated directions do.

    Controls at equal KL: random directions, the nearest other atom, the difference of means of two
    sets of rows; and one random direction at the atom's own norm.

    Parameters
    ----------
    model, hook_point, sae, atom, positions
        As for `steer`; the model must answer with logits.
    inputs
        Inputs to read: not those that the atom was chosen on.
    target
        Class or token, by id or name, to be made likelier; several count as one. None: each input's
        own top answer.
    sign, budgets
        1 adds the atom, −1 subtracts it; KL in nats at which directions are compared.
    contrast
        Rows with the concept and rows without; their means' difference is a direction, too.
    rival
        The direction that the same way of choosing an atom finds in an untrained SAE. An atom picked
        among many by what it reads points towards its concept even where nothing was learned: then
        this, and not 0, is the floor.
    neutral, max_new_tokens
        Texts to be read under steering, and tokens that a language model writes after each input: what
        it costs elsewhere. Nothing is read or written unless asked for.
    max_seconds
        As for `ablation_effects`.

    Raises
    ------
    ValueError: If it would take longer than `max_seconds`.

    Source
    ------
    Budgets: the repository snmf-mlp-decomposition. That random directions and differences of means
    must be compared with an atom: AxBench, arXiv 2501.17148.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b", "c"])
    >>> sae = sn.TopK(d_in=3, n_atoms=4, k=1, generator=torch.Generator().manual_seed(0))
    >>> found = steering_curves(model, "0", sae, torch.zeros(2, 3), 0, 1, n_controls=2)
    >>> len(found.arms["atom"].kl), sorted(found)
    (4, ['specificity', 'success'])
    """
    resampling = Resampling(n_bootstrap, seed)
    atom = check_atom(atom, sae.n_atoms)
    kappas = tuple(float(b) for b in budgets)
    if not kappas or not all(0 < b < float("inf") for b in kappas):
        raise ValueError(f"`budgets` must be positive KL in nats, at least one, got {budgets}.")
    if sign not in (1, -1):
        raise ValueError(f"`sign` must be 1 (add) or -1 (subtract), got {sign!r}.")
    directions = _directions(sae, atom, sign, contrast, rival)
    odds = TargetOdds(answers_to(model, inputs, hook_point, sae, positions), target)
    writing = Writing.of(odds.runs, neutral, max_new_tokens, seed)
    n_arms = len(directions) + n_controls
    odds.runs.check_cost(n_arms * _RUNS_PER_ARM, max_seconds, "steering_curves")
    drawn = [random_direction(sae.d_in, seed + i) for i in range(n_controls)]
    with progress_bar(n_arms, "steer", "direction", enabled=progress) as bar:
        trial = _Trial(odds, kappas, writing, bar.update)
        arms = {name: trial.at_equal_cost(name, v) for name, v in directions.items()}
        controls = [
            trial.at_equal_cost(f"random {i}", v, fluent=i == 0) for i, v in enumerate(drawn)
        ]
    if drawn:
        arms[NORM] = trial.at_strengths(NORM, drawn[0], arms[ATOM].strengths)
    return SteeringCurves(
        hook_point=str(model.hook_point(hook_point)),
        atom=atom,
        measure=odds.words,
        budgets=kappas,
        arms=arms,
        controls=tuple(controls),
        rows=_rows(arms, controls, writing, resampling),
        clean_fluency=writing.clean if writing else None,
        cost=odds.runs.cost,
    )


@dataclass(frozen=True)
class _Trial:
    """Asks the same of one direction after another."""

    odds: TargetOdds
    budgets: Sequence[float]
    writing: Writing | None
    done: Callable[[], Any]

    def at_equal_cost(
        self, name: str, direction: Float[Tensor, " d_in"], *, fluent: bool = True
    ) -> Arm:
        """Find the strength of each budget, largest first; each search begins at √κ."""
        strengths, reached = np.zeros(len(self.budgets)), np.zeros(len(self.budgets), dtype=bool)
        guess, runs = 1.0, self.odds.runs

        def kl(factor: float) -> float:
            return float(runs.kl(runs.add(direction * guess, factor)).mean())

        for place in np.argsort(self.budgets)[::-1]:
            budget = float(self.budgets[place])
            search = StrengthSearch(kl, budget)
            strengths[place] = guess * search.find(_RUNS_PER_ARM, search.LARGEST / guess)
            reached[place] = search.reached
            smaller = [b for b in self.budgets if b < budget]
            if smaller:
                guess = float(strengths[place]) * float(np.sqrt(max(smaller) / budget))
        self.done()
        return self.at_strengths(name, direction, strengths, reached, fluent=fluent)

    def at_strengths(
        self,
        name: str,
        direction: Float[Tensor, " d_in"],
        strengths: Float[np.ndarray, " budgets"],
        reached: Bool[np.ndarray, " budgets"] | None = None,
        *,
        fluent: bool = False,
    ) -> Arm:
        """Take the strengths as they are; whatever they cost."""
        odds, writing = self.odds, self.writing if fluent else None
        answers = [odds.runs.add(direction, float(s)) for s in strengths]
        return Arm(
            name=name,
            strengths=strengths,
            kl=np.array([odds.runs.kl(out).mean() for out in answers]),
            reached=np.zeros(len(strengths), dtype=bool) if reached is None else reached,
            shift=np.stack([odds.of(out) - odds.clean for out in answers]),
            fluency=tuple(writing.under(direction, float(s)) for s in strengths) if writing else (),
        )


def _directions(
    sae: SparseAutoencoder,
    atom: int,
    sign: int,
    contrast: tuple[Tensor, Tensor] | None,
    rival: Float[Tensor, " d_in"] | None,
) -> dict[str, Float[Tensor, " d_in"]]:
    """Unit directions by name."""
    unit = torch.nn.functional.normalize(sae.dictionary.detach().float().cpu(), dim=1)
    directions = {ATOM: sign * unit[atom]}
    for other in nearest(unit, atom):  # none where the SAE has one atom
        directions[NEAREST] = sign * unit[other]
    if contrast is not None:
        with_it, without = (
            check_matrix(rows, name="contrast", d_in=int(sae.d_in)).float().cpu().mean(dim=0)
            for rows in contrast
        )
        directions[DIFFERENCE] = sign * torch.nn.functional.normalize(with_it - without, dim=0)
    if rival is not None:
        row = check_matrix(rival.reshape(1, -1), name="rival", d_in=int(sae.d_in))[0].cpu()
        directions[RIVAL] = sign * torch.nn.functional.normalize(row.detach().float(), dim=0)
    return directions


def _rows(
    arms: Mapping[str, Arm],
    controls: Sequence[Arm],
    writing: Writing | None,
    resampling: Resampling,
) -> dict[str, Measurement]:
    atom, rival = arms[ATOM], arms.get(RIVAL)
    read: dict[str, tuple[str, Callable[[Arm], Float[np.ndarray, " n"]]]] = {
        "success": ("steering_success", lambda arm: arm.area),
        "specificity": ("steering_specificity", lambda arm: arm.specificity),
    }
    rows = {
        name: resampling.mean(
            definition,
            values(atom),
            floor=0.0 if rival is None else float(values(rival).mean()),
            control=quantile_of(np.array([values(arm).mean() for arm in controls])),
        )
        for name, (definition, values) in read.items()
    }
    if writing is not None:
        dearest = int(np.argmax(atom.kl))
        other = next((arm.fluency[dearest] for arm in controls if arm.fluency), None)
        rows |= writing.rows(atom.fluency[dearest], other, resampling)
    return rows
