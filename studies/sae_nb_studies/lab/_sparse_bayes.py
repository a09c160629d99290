"""SparseBayes: codes with error bars, sparse because each coefficient learns how large it may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.architectures import FixedOperator, Operator, RidgeProx, SolverTrace, cg
from sae_nb.checks import (
    Count,
    Positive,
    Seed,
    check_data,
    check_integer,
    check_matrix,
    checked,
    warn_caller,
)
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding
from sae_nb_studies.lab._posterior import (
    Moments,
    Problem,
    Solver,
    check_fits,
    checked_noise,
    moments,
)

SYMMETRY = 1e-5
"""Spread of the first precisions, without which clusters would stay alike (al5250/multics)."""

FLOOR = 1e-12
"""Smallest E z² as a share of the largest: a precision is at most so many times the smallest one (ours)."""

SHOWN = 0.05
"""Size an atom must be expected to have, as a share of the largest, to be in the figure of clusters."""


@checked
@dataclass(frozen=True, eq=False)
class SparseBayes:
    """Sparse Bayesian learning: x = A z + ε with z_j ~ N(0, 1/α_j), and the precisions α learned by EM.

    Most precisions grow without end, and their coefficients vanish; for the others the posterior gives
    a mean and its uncertainty. EM asks for the diagonal of the inverse of Λ = AᵀA/σ² + diag α. "cg"
    needs neither Λ nor its inverse: conjugate gradients solve Λu = p for random signs p, and E[p ∘ u]
    is the diagonal (covariance-free EM). With clusters several rows share precisions: each row belongs
    to one of `n_clusters` sparsity profiles, and by how likely the row is under each they are told
    apart.

    Parameters
    ----------
    noise
        σ > 0, the standard deviation of ε, in the units of x.
    n_clusters
        Profiles of precisions that rows share; 1: all rows share one; None: each row has its own.
    solver
        "cg": covariance-free; "exact": the n_atoms × n_atoms covariance; "woodbury": that of the samples.
    n_iterations
        Of EM.
    n_probes
        Random signs per profile and iteration, for "cg".
    tolerance
        "cg" stops when ‖r‖² ≤ tolerance · ‖b‖² in every system.
    max_steps
        Most steps of "cg" in an iteration.

    Source
    ------
    Lin, Song, Bilgic and Ba, "Covariance-free sparse Bayesian learning"; clusters after arXiv 2310.00420; both
    from al5250/sparse-bayes-learn and al5250/multics. Ours: the preconditioner is the diagonal of Λ instead of
    1/σ² + α, a variance stays between 1/Λ_jj and 1/α_j whatever the probes say (theirs: above 0), and profiles
    are compared on the same probes.

    Example
    -------
    >>> import sae_nb as sn
    >>> generator = torch.Generator().manual_seed(0)
    >>> mask = torch.rand(128, generator=generator) < 0.5  # half of the samples
    >>> operator = sn.architectures.CosineOperator(mask)
    >>> z = torch.zeros(1, 128)
    >>> z[0, [3, 40, 90]] = torch.tensor([2.0, -1.0, 1.5])
    >>> found = SparseBayes(noise=0.01).fit(operator.forward(z), operator)
    >>> found.mean[0, [3, 40, 90]].round(decimals=1).tolist(), int((found.mean.abs() > 0.1).sum())
    ([2.0, -1.0, 1.5], 3)
    >>> bool(((found.mean - z).abs() < 5 * found.sd)[0, [3, 40, 90]].all())
    True
    """

    _: KW_ONLY
    noise: float
    n_clusters: Count | None = None
    solver: Solver = "cg"
    n_iterations: Count = 30
    n_probes: Count = 10
    tolerance: Positive = 1e-7
    max_steps: Count = 400

    def __post_init__(self) -> None:
        checked_noise(self.noise)

    @checked
    def fit(
        self,
        x: Float[Tensor, "rows d_in"],
        dictionary: Operator | Float[Tensor, "n_atoms d_in"],
        *,
        seed: Seed = 0,
    ) -> Posterior:
        """Learn precisions, and say what is known of the codes under them.

        Parameters
        ----------
        x
            Inputs, one per row.
        dictionary
            Atoms, one per row, or an operator such as `CosineOperator`, whose dtype and device count.
        seed
            Draws probes, and what first tells clusters apart.

        Returns
        -------
        Posterior
            Means, standard deviations, precisions, clusters, log likelihood.

        Raises
        ------
        TypeError, ValueError: If `x` is not a finite matrix of the dictionary's width, the dictionary
        is zero, or
            there are more clusters than rows.
        MemoryError: If what the solver needs does not fit.
        """
        operator, rows = _checked(x, dictionary)
        n = len(rows)
        if self.n_clusters is not None and self.n_clusters > n:
            raise ValueError(
                f"`n_clusters` must be at most the number of rows, {n}, got {self.n_clusters}. Use "
                "n_clusters=None for a profile per row."
            )
        problem = self._problem(operator, rows)
        check_fits(problem, self.n_clusters or n, self.solver)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return self._learn(problem, generator)

    def _problem(self, operator: Operator, rows: Tensor) -> Problem:
        numbers, k = torch.arange(len(rows), device=rows.device), self.n_clusters
        return Problem(
            operator=operator,
            x=rows,
            variance=float(self.noise) ** 2,
            row=numbers if k is None else numbers.repeat(k),
            profile=numbers if k is None else numbers[:k].repeat_interleave(len(rows)),
            n_probes=self.n_probes,
            tolerance=self.tolerance,
            max_steps=self.max_steps,
        )

    def _learn(self, problem: Problem, generator: torch.Generator) -> Posterior:
        """EM: posterior and responsibilities, then α_j = Σ q / Σ q (μ_j² + s_j)."""
        n = len(problem.x)
        profiles = n if self.n_clusters is None else self.n_clusters
        drawn = torch.randn(profiles, problem.operator.n_atoms, generator=generator)
        alpha = 1 + SYMMETRY * drawn.to(problem.x)
        history, steps = [], []
        for iteration in range(self.n_iterations + 1):
            found = moments(problem, alpha, self.solver, generator)
            share, total = _responsibilities(found, profiles, n, shared=self.n_clusters is not None)
            history.append(total)
            steps.append(found.residuals.shape[1] - 1)
            if iteration < self.n_iterations:
                alpha = _updated(problem, found, share, alpha)
        if max(steps) == self.max_steps and self.solver == "cg":
            warn_caller(
                f"Conjugate gradients used all {self.max_steps} steps and left "
                f"{float(found.residuals[:, -1].max()):.1g} of a right-hand side. Raise `max_steps`."
            )
        best = share.argmax(dim=0)
        rows = torch.arange(n, device=alpha.device)
        of_row = rows if self.n_clusters is None else best * n + rows
        return Posterior(
            settings=self,
            operator=problem.operator,
            x=problem.x,
            mean=found.mean[of_row],
            sd=found.variance[best].sqrt(),
            precisions=alpha,
            responsibilities=share.T,
            log_likelihood=torch.stack(history),
            residuals=found.residuals,
            cg_steps=tuple(steps),
        )


def _responsibilities(
    found: Moments, profiles: int, n: int, *, shared: bool
) -> tuple[Float[Tensor, "profiles rows"], Float[Tensor, ""]]:
    """Softmax over profiles of each row's log likelihood, and the log likelihood of all rows."""
    if not shared:
        return torch.eye(n).to(found.mean), found.log_likelihood.sum()
    by_profile = found.log_likelihood.view(profiles, n)
    total = (by_profile.logsumexp(dim=0) - math.log(profiles)).sum()
    return by_profile.softmax(dim=0), total


def _updated(problem: Problem, found: Moments, share: Tensor, alpha: Tensor) -> Tensor:
    """The precisions that make Σ q log p(x, z) largest; a profile without rows keeps its own."""
    weight = share[problem.profile, problem.row][:, None]
    mass = torch.zeros_like(alpha[:, :1]).index_add(0, problem.profile, weight)
    power = torch.zeros_like(alpha).index_add(
        0, problem.profile, weight * (found.mean.square() + found.variance[problem.profile])
    )
    used = mass[:, 0] > torch.finfo(mass.dtype).tiny
    mean_power = power[used] / mass[used]
    new = alpha.clone()
    new[used] = 1 / mean_power.clamp_min(FLOOR * mean_power.amax())
    return new


def _checked(x: Tensor, dictionary: Operator | Tensor) -> tuple[Operator, Tensor]:
    if isinstance(dictionary, Tensor):
        atoms = check_data(check_matrix(dictionary, name="dictionary"), name="dictionary")
        operator: Operator = FixedOperator(atoms.detach().double())
    else:
        operator = dictionary
    rows = check_data(check_matrix(x, d_in=operator.d_in), name="x").detach()
    energy = operator.energy()
    if not bool((energy > 0).any()):
        raise ValueError("`dictionary` must have an atom that is not zero, got zeros alone.")
    if rows.device != energy.device:
        raise ValueError(
            f"`x` and `dictionary` must be on one device, got {rows.device} and {energy.device}. Use .to(…)."
        )
    return operator, rows.to(energy.dtype)


class Posterior(Finding):
    """The posterior of some codes: means with error bars; made by `SparseBayes.fit`."""

    settings: SparseBayes
    operator: Operator
    x: Float[Tensor, "rows d_in"]
    """Fitted inputs."""

    mean: Float[Tensor, "rows n_atoms"]
    """Posterior mean of every coefficient, under the profile that the row most likely has."""

    sd: Float[Tensor, "rows n_atoms"]
    """Its posterior standard deviation."""

    precisions: Float[Tensor, "profiles n_atoms"]
    """α of each profile: a coefficient is of size 1/√α. One profile per row, or per cluster."""

    responsibilities: Float[Tensor, "rows profiles"]
    """Probability of each profile for each row."""

    log_likelihood: Float[Tensor, " n_iterations_plus_1"]
    """log p(x) of all rows before the first iteration and after every one; by probes for "cg"."""

    residuals: Float[Tensor, "systems steps_plus_1"]
    """‖r‖ / ‖b‖ after every step of the last conjugate gradients: a row per mean, then one per probe."""

    cg_steps: tuple[int, ...]
    """Steps of conjugate gradients in every iteration; 0 for other solvers."""

    @property
    def assignment(self) -> Int[Tensor, " rows"]:
        """The profile that each row most likely has."""
        return self.responsibilities.argmax(dim=1)

    @checked
    def steps(self, row: int = 0) -> tuple[SparseCodes, SolverTrace]:
        """Return the mean of a row by conjugate gradients, step by step: what `PursuitStepper` shows.

        Parameters
        ----------
        row
            Number of an input.

        Raises
        ------
        IndexError: If there is no such row.
        """
        ridge = self.precisions[self.assignment[_below(row, len(self.x), "row")]]
        return cg(
            self.operator,
            self.x[row : row + 1],
            RidgeProx(ridge * float(self.settings.noise) ** 2),
            n_steps=self.settings.max_steps,
            tolerance=math.sqrt(self.settings.tolerance),
            trace=True,
        )  # type: ignore[return-value]

    @checked
    def figure(self, row: int = 0, truth: Float[Tensor, " n_atoms"] | None = None) -> Any:
        """Draw the coefficients of a row with two standard deviations on either side.

        Parameters
        ----------
        row
            Number of an input.
        truth
            True coefficients, where they are known.

        Raises
        ------
        IndexError: If there is no such row.
        ValueError: If `truth` has another length than a code.
        """
        from sae_nb.figures import framed, line, theme

        mean, sd = (every[_below(row, len(self.x), "row")].cpu() for every in (self.mean, self.sd))
        atoms = list(range(len(mean)))
        found = line(
            "mean ± 2 sd",
            atoms,
            mean.numpy(),
            colour=theme.PALETTE[0],
            symbol="circle",
            size=4,
            width=0,
            hover="atom %{x}: %{y:.3f} ± %{error_y.array:.3f}",
            error_y={"array": 2 * sd.numpy(), "thickness": 1, "width": 0},
        )
        if truth is None:
            return framed([found], x="atom", y="coefficient", height=320)
        if len(truth) != len(mean):
            raise ValueError(
                f"`truth` must have one entry per atom, {len(mean)}, got {len(truth)}."
            )
        there = truth.detach().cpu()
        true = line(
            "truth, where it is not 0",
            there.nonzero().flatten().tolist(),
            there[there != 0].numpy(),
            colour=theme.CONTROL,
            symbol="x-thin-open",
            size=7,
            width=0,
        )
        return framed([found, true], x="atom", y="coefficient", height=320)

    @checked
    def clusters(self, names: Sequence[str] | None = None) -> Any:
        """Draw |mean| of every row, sorted by profile, compared with the size that each profile expects.

        Atoms are those that a profile expects to be of a twentieth of the largest size or more.

        Parameters
        ----------
        names
            Of the rows, for hovering; None: their numbers.

        Raises
        ------
        ValueError: If there is not one name per row.
        """
        from sae_nb.figures import heatmaps

        order = self.assignment.argsort(stable=True)
        given = [f"row {i}" for i in range(len(self.x))] if names is None else list(names)
        if len(given) != len(self.x):
            raise ValueError(
                f"`names` must have one entry per row, {len(self.x)}, got {len(given)}."
            )
        scale = self.precisions.rsqrt()
        atoms = (scale.amax(dim=0) >= SHOWN * scale.max()).nonzero().flatten()
        sizes = self.mean[order][:, atoms].abs().cpu().numpy()
        expected = scale[:, atoms].cpu().numpy()
        figure = heatmaps(
            {"atom (|mean| of each row)": sizes, "atom (size each profile expects)": expected},
            ends=(0.0, float(max(sizes.max(), expected.max()))),
            hover="atom %{x}, %{y}: %{z:.3f}",
            bar="size",
            height=320,
            y=["", ""],
            gap=0.12,
        )
        figure.data[0].y = [given[i] for i in order.tolist()]
        figure.data[1].y = [f"profile {k}" for k in range(len(expected))]
        figure.update_traces(x=[str(atom) for atom in atoms.tolist()])
        figure.update_xaxes(type="category")
        return figure.update_yaxes(autorange="reversed")

    def convergence(self) -> Any:
        """Draw what conjugate gradients left of each right-hand side after every step, for "cg".

        Raises
        ------
        ValueError: If another solver was used.
        """
        from sae_nb.figures import framed, line, theme

        if not len(self.residuals):
            raise ValueError(
                f"`solver` must be 'cg' for steps to draw, got {self.settings.solver!r}."
            )
        n_means = len(self.residuals) - len(self.precisions) * self.settings.n_probes
        steps = list(range(self.residuals.shape[1]))
        lines = [
            line(
                ("mean", "probe")[i >= n_means],
                steps,
                left,
                colour=theme.PALETTE[int(i >= n_means)],
                showlegend=i in (0, n_means),
            )
            for i, left in enumerate(self.residuals.cpu().numpy())
        ]
        figure = framed(lines, x="step", y="share of the right-hand side left", height=320)
        return figure.update_yaxes(type="log", exponentformat="power", dtick=1)

    @property
    def headline(self) -> str:
        """Rows, atoms, and coefficients that are surely not 0."""
        rows, n_atoms = self.mean.shape
        sure = int((self.mean.abs() > 2 * self.sd).sum())
        return (
            f"{rows} rows × {n_atoms} atoms, {len(self.precisions)} profiles, {sure} coefficients "
            f"more than 2 sd from 0, log likelihood {float(self.log_likelihood[-1]):.4g}"
        )


def _below(value: int, end: int, name: str) -> int:
    if not 0 <= check_integer(value, name=name) < end:
        raise IndexError(f"`{name}` must be between 0 and {end - 1}, got {value}.")
    return value
