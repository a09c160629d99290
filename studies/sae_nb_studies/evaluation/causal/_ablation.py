"""The loss of an answer without an atom: zero and mean ablation, with random atoms and directions as
controls.

Zero: x − z_tj·d_j. Mean: x − (z_tj − z̄_j)·d_j, with z̄_j the atom's mean over rows, so that only the
atom's information about *this* input is removed. Effect = m(x) − m(x without it), m the log-odds of the
clean answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import check_one_place
from sae_nb.checks import Count, Resamples, Seed, at_least, check_atom, checked
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Measurement, Measurements, Resampling, atom_removal
from sae_nb.findings import Finding
from sae_nb.progress import progress_bar
from sae_nb.steering import Answers, Cost, policy_for, random_direction
from sae_nb.steering.edits import Where
from sae_nb_studies.evaluation.causal._target_odds import (
    MAX_SECONDS,
    TargetOdds,
    answers_to,
    mean_strengths,
    quantile_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


Ablation = Literal["zero", "mean"]


class AblationEffects(Finding, Measurements[int]):
    """Atom → what the clean answer loses without it."""

    HEADLINE = "{kind} ablation at {hook_point}: {rows:+.3g}; {cost}"

    hook_point: str
    kind: Ablation
    atoms: tuple[int, ...]
    """Where, what is put in the latent's place, and which latents."""

    effects: Float[np.ndarray, "atoms n"]
    kl: Float[np.ndarray, " atoms"]
    """m(x) − m(x without the atom), input by input; mean KL(clean‖ablated), nats."""

    random_atoms: Float[np.ndarray, " controls"]
    """Mean effects of atoms drawn from those that fire on these inputs."""

    random_directions: Float[np.ndarray, "atoms directions"]
    """Mean effects of random directions with each atom's strengths in its place."""

    rows: Mapping[int, Measurement]
    cost: Cost
    """By atom, the control the 95 % quantile of |mean effect| of the random atoms; what it took."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per atom, as pandas."""
        import pandas as pd

        measurements = self.rows.values()
        columns = {
            "effect": [m.value for m in measurements],
            "low": [m.interval[0] for m in measurements],
            "high": [m.interval[1] for m in measurements],
            "kl": self.kl,
            "random atoms 95 %": [m.control for m in measurements],
            "random directions 95 %": [quantile_of(np.abs(r)) for r in self.random_directions],
        }
        return pd.DataFrame(columns, index=pd.Index(self.atoms, name="atom"))


@checked(leave=("atoms",))
def ablation_effects(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder,
    inputs: Any,
    atoms: int | Sequence[int],
    *,
    kind: Ablation = "zero",
    acts: Activations | Tensor | None = None,
    positions: Where = None,
    n_controls: Annotated[int, at_least(0)] = 8,
    n_directions: Annotated[int, at_least(0)] = 2,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
    max_seconds: float | None = MAX_SECONDS,
    progress: bool = False,
) -> AblationEffects:
    """Measure what the model's own answers lose without each of some atoms.

    Parameters
    ----------
    model, hook_point, sae, positions
        As for `ablate`; the reconstruction error is kept.
    atoms
        One or several, each of them taken away alone.
    acts
        Rows that the mean of a "mean" ablation is taken of; None: the inputs' own.
    n_controls, n_directions
        Atoms drawn at random from those that fire on these inputs; random directions that are taken
        away in each atom's place, as strongly as it fires.
    max_seconds
        Refuse longer work, with its estimated cost; None refuses nothing.

    Raises
    ------
    ValueError: If it would take longer than `max_seconds`.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()), class_names=["a", "b", "c"])
    >>> sae = sn.TopK(d_in=3, n_atoms=6, k=2, generator=torch.Generator().manual_seed(0))
    >>> found = ablation_effects(model, "0", sae, torch.eye(3), [0, 1], n_controls=2)
    >>> found.effects.shape, sorted(found)
    ((2, 3), [0, 1])
    """
    check_one_place(sae)
    several = atoms if isinstance(atoms, Iterable) else [atoms]
    chosen = tuple(check_atom(atom, sae.n_atoms, name="atoms") for atom in several)
    if not chosen:
        raise ValueError("`atoms` must name at least one atom, got none.")
    resampling = Resampling(n_bootstrap, seed)
    trial = _Trial(answers_to(model, inputs, hook_point, sae, positions), sae, kind, acts)
    n_runs = n_controls + len(chosen) * (1 + n_directions)
    trial.runs.check_cost(n_runs, max_seconds, "ablation_effects")
    rest = [int(a) for a in trial.fired if a not in chosen]
    drawn = np.random.default_rng(seed).permutation(rest)[:n_controls].tolist()
    units = [random_direction(sae.d_in, seed + i) for i in range(n_directions)]
    with progress_bar(n_runs + len(drawn) - n_controls, "ablate", "run", enabled=progress) as bar:
        trial.done = bar.update
        random_atoms = np.array([trial.without(atom)[0].mean() for atom in drawn])
        effects, kl = zip(*(trial.without(atom) for atom in chosen), strict=True)
        directions = [[trial.without(atom, u)[0].mean() for u in units] for atom in chosen]
    control = quantile_of(np.abs(random_atoms))
    return AblationEffects(
        hook_point=str(model.hook_point(hook_point)),
        kind=kind,
        atoms=chosen,
        effects=np.stack(effects),
        kl=np.array(kl),
        random_atoms=random_atoms,
        random_directions=np.array(directions).reshape(len(chosen), n_directions),
        rows={
            atom: resampling.mean("ablation_effect", effect, floor=0.0, control=control)
            for atom, effect in zip(chosen, effects, strict=True)
        },
        cost=trial.runs.cost,
    )


class _Trial:
    """Takes one atom after another away."""

    def __init__(
        self,
        runs: Answers,
        sae: SparseAutoencoder,
        kind: Ablation,
        acts: Activations | Tensor | None,
    ) -> None:
        self.runs, self._sae, self._kind = runs, sae, kind
        self._odds = TargetOdds(runs, None)
        self.done: Callable[[], Any] = lambda: None
        edited = torch.cat([part for part, _ in runs.edited_rows(policy_for(runs.model, sae))])
        with torch.no_grad():
            codes = sae.encode(edited.to(sae.dictionary.device))
            self.fired = np.unique(codes.atoms.cpu().numpy())
            if acts is not None:
                codes = sae.encode(acts)
        self._mean = mean_strengths(codes)

    def without(
        self, atom: int, direction: Float[Tensor, " d_in"] | None = None
    ) -> tuple[Float[np.ndarray, " n"], float]:
        """Return the loss of every input, and the mean KL; a direction may take the atom's place."""
        row = self._sae.dictionary[atom].detach()
        u = row if direction is None else direction * float(row.norm())
        stays = float(self._mean[atom]) if self._kind == "mean" else 0.0
        out = self.runs.under(self.runs.replacing(atom_removal(self._sae, atom, u, stays)))
        self.done()
        return self._odds.clean - self._odds.of(out), float(self.runs.kl(out).mean())


@checked
def strongest_atoms(
    codes: SparseCodes, n: Count, *, rows: Int[Tensor, " m"] | None = None
) -> tuple[int, ...]:
    """Return the n atoms with the largest total strength, strongest first: candidates for ablation.

    Strengths are summed over `rows` of the codes; None: over all.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> len(strongest_atoms(sae.encode(torch.eye(4)), 3))
    3
    """
    part = codes if rows is None else codes.rows(rows)
    total = torch.zeros(codes.n_atoms, dtype=torch.float64)
    total.index_add_(0, part.atoms.cpu().long(), part.values.detach().double().abs().cpu())
    order = total.argsort(descending=True, stable=True)[:n]
    return tuple(int(atom) for atom in order if float(total[atom]) > 0)
