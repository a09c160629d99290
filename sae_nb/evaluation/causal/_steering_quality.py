"""Does adding an atom do what its label says, and at what price? Success against cost, with controls.

Every direction is scaled until it costs the same, KL(clean‖steered) = κ for each budget κ, and then asked
how far it moves the target: Δ(κ) = m(x + a_κ·v) − m(x), m the log-odds of the target. An atom is worth
its label if Δ exceeds what random directions reach at equal cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.checks import check_atom, check_count, check_matrix
from sae_nb.evaluation.causal._fluency import Fluency, Writing
from sae_nb.evaluation.causal._outcomes import (
    MAX_SECONDS,
    Targets,
    TargetSet,
    nearest,
    quantile_of,
    target_of,
)
from sae_nb.evaluation.report._measurement import Measurement, Measurements, Resampling
from sae_nb.progress import progress_bar
from sae_nb.steering import (
    LARGEST,
    Answers,
    Cost,
    StrengthSearch,
    Where,
    check_hook_point,
    check_width,
    random_direction,
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

    name: str
    """What it is."""

    strengths: Float[np.ndarray, " budgets"]
    """How much of the unit direction was added."""

    kl: Float[np.ndarray, " budgets"]
    """What it cost: mean KL in nats."""

    reached: Bool[np.ndarray, " budgets"]
    """Whether that is the budget: some directions cannot move an answer so far."""

    shift: Float[np.ndarray, "budgets n"]
    """Change of the target's log-odds, input by input."""

    fluency: tuple[Fluency, ...]
    """What was written and read at each budget; empty where nothing was."""

    @property
    def area(self) -> Float[np.ndarray, " n"]:
        """Mean over the budgets of each input's shift: how much success the cost buys."""
        return np.asarray(self.shift.mean(axis=0))

    @property
    def specificity(self) -> Float[np.ndarray, " n"]:
        """Mean over the budgets of shift per nat of KL."""
        return np.asarray((self.shift / np.maximum(self.kl, 1e-12)[:, None]).mean(axis=0))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SteeringCurves(Measurements[str]):
    """Success against cost of an atom and other directions; a mapping from name to `Measurement`."""

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
    """What is written and read without steering."""

    cost: Cost
    """What it took."""

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

    def __repr__(self) -> str:
        m = self.rows["success"]
        return (
            f"SteeringCurves(atom {self.atom} at {self.hook_point}: {self.measure} moves by "
            f"{m.value:+.3g} at equal KL, 95 % {m.interval[0]:+.3g} … {m.interval[1]:+.3g}, random "
            f"directions {m.control if m.control is None else round(m.control, 3)}; {self.cost})"
        )


def steering_curves(
    model: LiveModel,
    inputs: Any,
    hook_point: str,
    sae: SparseAutoencoder,
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
    n_controls: int = 8,
    n_bootstrap: int = 1000,
    seed: int = 0,
    max_seconds: float | None = MAX_SECONDS,
    progress: bool = False,
) -> SteeringCurves:
    """Measure how far an atom moves a target at each cost, and how far directions that know nothing of it.

    Controls at equal KL: random directions, the nearest other atom, the difference of means of two
    sets of rows; and one random direction at the atom's own norm.

    Parameters
    ----------
    model, hook_point, sae, atom
        As for `steer`; the model must answer with logits.
    inputs
        What it reads: not what the atom was chosen on.
    target
        Class or token id to be made likelier; several count as one.
    sign
        1 adds the atom, −1 subtracts it.
    budgets
        KL in nats at which directions are compared.
    contrast
        Rows with the concept and rows without; their means' difference is a direction, too.
    rival
        What the way in which the atom was chosen finds in an SAE that learned nothing. An atom that
        was picked among many by what it reads points towards its concept even where nothing was
        learned: then this, and not 0, is the floor.
    neutral, max_new_tokens
        Texts to be read under steering, and tokens that a language model writes after each input: what
        it costs elsewhere. Nothing is read or written unless asked for.
    positions
        Where it is added.
    n_controls
        Random directions.
    n_bootstrap, seed
        Of the intervals; of the random directions and of sampling.
    max_seconds
        Refuse, with the cost said, what would take longer; None refuses nothing.

    Raises
    ------
    HookPointNotFound, ValueError, TypeError, IndexError: If an argument does not fit, or it would take
        longer than `max_seconds`.

    Source
    ------
    Budgets: the repository snmf-mlp-decomposition. That random directions and differences of means
    must be compared with an atom: AxBench, arXiv 2501.17148.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b", "c"])
    >>> sae = sn.TopK(d_in=3, n_atoms=4, k=1, generator=torch.Generator().manual_seed(0))
    >>> found = steering_curves(model, torch.zeros(2, 3), "0", sae, 0, 1, n_controls=2)
    >>> len(found.arms["atom"].kl), sorted(found)
    (4, ['specificity', 'success'])
    """
    resampling = Resampling(n_bootstrap, seed)
    atom = check_atom(atom, sae.n_atoms)
    kappas = tuple(float(b) for b in budgets)
    if not kappas or not all(0 < b < float("inf") for b in kappas):
        raise ValueError(f"`budgets` must be positive KL in nats, at least one, got {budgets}.")
    check_count(n_controls, name="n_controls", at_least=0)
    if sign not in (1, -1):
        raise ValueError(f"`sign` must be 1 (add) or -1 (subtract), got {sign!r}.")
    check_width(model, check_hook_point(model, hook_point), int(sae.d_in), "the SAE")
    directions = _directions(sae, atom, sign, contrast, rival)
    runs = Answers(model, inputs, hook_point, positions=positions, scored=True)
    moved = target_of(runs, target)
    writing = Writing.of(runs, neutral, max_new_tokens, seed)
    n_arms = len(directions) + n_controls
    runs.check_cost(n_arms * _RUNS_PER_ARM, max_seconds, "steering_curves")
    trial = _Trial(runs, moved, kappas, writing)
    with progress_bar(n_arms + 1, "steer", "direction", enabled=progress) as bar:
        arms = {}
        for name, direction in directions.items():
            arms[name] = trial.at_equal_cost(name, direction)
            bar.update()
        drawn = [random_direction(sae.d_in, seed + i) for i in range(n_controls)]
        controls = []
        for i, direction in enumerate(drawn):
            controls.append(trial.at_equal_cost(f"random {i}", direction, fluent=i == 0))
            bar.update()
        if drawn:
            arms[NORM] = trial.at_strengths(NORM, drawn[0], arms[ATOM].strengths)
        bar.update()
    return SteeringCurves(
        hook_point=str(model.hook_point(hook_point)),
        atom=atom,
        measure=moved.words,
        budgets=kappas,
        arms=arms,
        controls=tuple(controls),
        rows=_rows(arms, controls, writing, resampling),
        clean_fluency=writing.clean if writing else None,
        cost=runs.cost,
    )


class _Trial:
    """Asks the same of one direction after another."""

    def __init__(
        self, runs: Answers, target: TargetSet, budgets: Sequence[float], writing: Writing | None
    ) -> None:
        self._runs, self._target = runs, target
        self._budgets, self._writing = budgets, writing
        self._clean = target.log_odds(runs.clean)

    def at_equal_cost(
        self, name: str, direction: Float[Tensor, " d_in"], *, fluent: bool = True
    ) -> Arm:
        """Find the strength of each budget, largest first; each begins where √κ says."""
        strengths, reached = np.zeros(len(self._budgets)), np.zeros(len(self._budgets), dtype=bool)
        guess = 1.0
        for place in np.argsort(self._budgets)[::-1]:
            budget = float(self._budgets[place])
            search = StrengthSearch(partial(self._kl, direction * guess), budget)
            strengths[place] = guess * search.find(LARGEST / guess, _RUNS_PER_ARM)
            reached[place] = search.reached
            smaller = [b for b in self._budgets if b < budget]
            if smaller:
                guess = float(strengths[place]) * float(np.sqrt(max(smaller) / budget))
        return self.at_strengths(name, direction, strengths, reached, fluent=fluent)

    def _kl(self, direction: Float[Tensor, " d_in"], factor: float) -> float:
        return float(self._runs.kl(self._runs.add(direction, factor)).mean())

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
        answers = [self._runs.add(direction, float(s)) for s in strengths]
        fluency: tuple[Fluency, ...] = ()
        if self._writing is not None and fluent:
            fluency = tuple(self._writing.under(direction, float(s)) for s in strengths)
        return Arm(
            name=name,
            strengths=strengths,
            kl=np.array([self._runs.kl(out).mean() for out in answers]),
            reached=np.zeros(len(strengths), dtype=bool) if reached is None else reached,
            shift=np.stack([self._target.log_odds(out) - self._clean for out in answers]),
            fluency=fluency,
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
    found = {ATOM: sign * unit[atom]}
    for other in nearest(unit, atom):
        found[NEAREST] = sign * unit[other]
    if contrast is not None:
        with_it, without = (
            check_matrix(rows, name="contrast", d_in=int(sae.d_in)).float().cpu().mean(dim=0)
            for rows in contrast
        )
        found[DIFFERENCE] = sign * torch.nn.functional.normalize(with_it - without, dim=0)
    if rival is not None:
        row = check_matrix(rival.reshape(1, -1), name="rival", d_in=int(sae.d_in))[0].cpu()
        found[RIVAL] = sign * torch.nn.functional.normalize(row.detach().float(), dim=0)
    return found


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
    found = {
        name: resampling.mean(
            definition,
            values(atom),
            floor=0.0 if rival is None else float(values(rival).mean()),
            control=quantile_of(np.array([values(arm).mean() for arm in controls])),
        )
        for name, (definition, values) in read.items()
    }
    if writing is None:
        return found
    other = next((arm.fluency for arm in controls if arm.fluency), ())
    return found | writing.rows(atom.fluency, other, int(np.argmax(atom.kl)), resampling)
