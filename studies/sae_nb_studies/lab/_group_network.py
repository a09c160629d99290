"""Group networks: dictionaries whose atoms are one atom moved again and again, and learning such a move."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Generator, Tensor, nn

from sae_nb.architectures import Penalty, SoftProx, TrainingLoss
from sae_nb.architectures.parts import LossTerms, MatrixOperator, random_unit_rows
from sae_nb.checks import (
    Count,
    Seed,
    Weight,
    check_atom,
    check_data,
    check_matrix,
    checked,
    same_length,
)
from sae_nb.findings import Finding
from sae_nb_studies.lab._unrolled import UnitAtoms

Rows = Float[Tensor, "rows d_in"]
Atoms = Float[Tensor, "n_atoms d_in"]
Square = Float[Tensor, "d d"]

FIRST = 1.0
"""Standard deviation of the entries with which a learned action begins, times 1 / √d: torch's own scale."""

UNSEEN = 1e-6
"""Variance along a direction, as a share of the largest, below which pairs do not say where it goes."""

FALLING = 0.5
"""Share of the steps at the end over which the step size falls to zero."""


class OrbitOperator(MatrixOperator, nn.Module):
    """Atoms b_k, A_k b_k, A_k² b_k, …, each of unit norm: A z = Σ_kg z_kg A_k^g b_k / ‖A_k^g b_k‖."""

    def __init__(self, d_in: int, n_orbits: int, order: int, generator: Generator | None) -> None:
        super().__init__()
        self.order = order
        self.base = nn.Parameter(random_unit_rows(n_orbits, d_in, generator))
        drawn = random_unit_rows(n_orbits * d_in, d_in, generator).reshape(n_orbits, d_in, d_in)
        self.action = nn.Parameter(drawn if drawn.is_meta else torch.linalg.qr(drawn).Q)

    def atoms(self) -> Atoms:
        """Return all orbits, one after the other."""
        return nn.functional.normalize(self.powers()[:, :-1], dim=-1).flatten(0, 1)

    def powers(self) -> Float[Tensor, "n_orbits order+1 d_in"]:
        """Return a^g b for g = 0 … G, of any norm: the last would be the first again, if the orbit closed."""
        moved: list[Tensor] = [self.base]
        for _ in range(self.order):
            moved.append(torch.einsum("kij,kj->ki", self.action, moved[-1]))
        return torch.stack(moved, dim=1)

    @torch.no_grad()
    def project_(self) -> None:
        """Project to unit norm for b, and ‖A‖_F = √d, that of a rotation."""
        self.base.div_(self.base.norm(dim=1, keepdim=True) + 1e-12)
        size = self.action.flatten(1).norm(dim=1) / math.sqrt(self.action.shape[-1])
        self.action.div_(size[:, None, None] + 1e-12)


@checked
@dataclass(eq=False, repr=False)
class GroupNetwork(UnitAtoms):
    """A dictionary of orbits: each base atom b with its images under an action A, b, Ab, A²b, … A^{G−1}b.

    z = argmin over z ≥ 0 of ½‖x − zD‖² + λ Σ z by `n_steps` of FISTA, for x around its mean in units of
    its root mean square norm. Base atoms and actions are learned through all steps; atom k · G + g is
    A_k^g b_k. Atoms that are moved copies come out in this order although the movement is not given.
    That A^G b is b again is another matter: nothing in the data asks for it, see `closing_errors`.

    Parameters
    ----------
    d_in
        Width of an input.
    n_orbits
        Base atoms K, each with an action of its own.
    order
        Atoms G of an orbit.
    sparsity
        λ ≥ 0. May change in training.
    closure
        Weight ≥ 0 of ‖A^G b − b‖² in the loss; 0, as in the paper, leaves orbits open. May change in training.
    n_steps
        Steps of the solver.
    generator
        Draws the first base atoms, and rotations for the first actions; None is torch's global generator.

    Source
    ------
    Theodosis, Helwani and Ba, "Linear Group Networks", arXiv 2305.18552, after manosth/learning-groups
    (model.py, utils.py): orbits, FISTA, ReLU, Frobenius norms. Ours: atoms of unit norm, rotations to begin
    with, ‖A‖_F = √d instead of 1, the step from ‖D‖², and `closure`.

    Example
    -------
    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> sae = GroupNetwork(8, 2, 4, generator=torch.Generator().manual_seed(0)).fit(x, steps=5)
    >>> sae.dictionary.shape, sae.orbits.shape
    (torch.Size([8, 8]), torch.Size([2, 4, 8]))
    >>> round(sae.action(0).matrix.norm().item() ** 2)
    8
    """

    operator: OrbitOperator = field(init=False)
    live_numbers = ("sparsity", "closure")

    d_in: Count
    n_orbits: Count
    order: Count
    _: KW_ONLY
    sparsity: Weight = 0.1
    closure: Weight = 0.0
    n_steps: Count = 15
    generator: Generator | None = None

    def __post_init__(self) -> None:
        self._begin(OrbitOperator(self.d_in, self.n_orbits, self.order, self.generator))
        self.generator = None  # what it draws is drawn

    @property
    def orbits(self) -> Float[Tensor, "n_orbits order d_in"]:
        """The atoms, by orbit."""
        return self.dictionary.reshape(self.n_orbits, self.order, self.d_in)

    @property
    def closing_errors(self) -> Float[Tensor, " n_orbits"]:
        """‖A^G b − b‖ of each orbit: 0 where it closes, √2 for directions that have nothing in common."""
        powers = self.operator.powers().detach()
        return (powers[:, -1] - powers[:, 0]).norm(dim=-1)

    def action(self, orbit: int = 0) -> GroupAction:
        """Return the action of an orbit.

        Raises
        ------
        IndexError: If there is no such orbit.
        """
        orbit = check_atom(orbit, self.n_orbits, name="orbit")
        return GroupAction(matrix=self.operator.action[orbit].detach().clone())

    def figure(self) -> Any:
        """Draw the atoms as orbits: a row per base atom, a column per power of its action.

        Atoms of square width are drawn as images, others as one row of numbers.
        """
        return orbit_sheet(self.orbits)

    def training_loss(
        self, x: Rows, silent_tokens: Tensor, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return unexplained share of variance, 2λ Σ z and ‖A^G b − b‖², each in the units of the solver."""
        codes = self._encode(x, None)
        error, x_hat, _ = self.operator.squared_error(codes, self.bias, x)
        powers = self.operator.powers()
        parts: LossTerms = {
            "reconstruction": (1.0, error / (len(x) * self.scaling.variance)),
            "sparsity": (2 * self.sparsity, codes.values.sum() / (len(x) * self._unit)),
            "closure": (self.closure, (powers[:, -1] - powers[:, 0]).square().sum(dim=1).mean()),
        }
        return TrainingLoss.of(parts, codes, x_hat)

    def _atoms(self) -> Atoms:
        return self.operator.atoms()

    def _penalty(self, scaled: Rows, atoms: Atoms) -> Penalty:
        return SoftProx(self.sparsity, nonnegative=True)


@checked
def learn_action(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n d"],
    *,
    steps: Count = 2000,
    learning_rate: float = 1e-2,
    seed: Seed = 0,
) -> GroupAction:
    """Learn the matrix A that moves each x to its y, ‖xAᵀ − y‖² by Adam from random entries.

    Parameters
    ----------
    x
        Inputs, one per row.
    y
        The same inputs, moved.
    steps
        Of Adam, each over all pairs; the step size falls to zero over the second half.
    learning_rate
        Of Adam.
    seed
        Draws the first matrix.

    Returns
    -------
    GroupAction
        If x lacks a direction (the mean of image patches, most often), A is undetermined there: its
        `unseen` counts them.

    Raises
    ------
    ValueError: If `x` and `y` are not of one shape.

    Example
    -------
    >>> x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    >>> shift = learn_action(x, x.roll(1, dims=1), steps=800)
    >>> shift.closure(5) < 0.01, shift.closure(3) > 0.5, shift.unseen
    (True, True, 0)
    """
    x = check_data(check_matrix(x), name="x").detach()
    y = check_data(check_matrix(y, d_in=x.shape[1], name="y"), name="y").detach().to(x)
    same_length(y, len(x), name="y", per="row of `x`")
    if not 0 < learning_rate <= 1:
        raise ValueError(f"`learning_rate` must be above 0 and at most 1, got {learning_rate}.")
    d = x.shape[1]
    generator = Generator().manual_seed(seed)
    drawn = torch.randn(d, d, generator=generator) * FIRST / math.sqrt(d)
    a = drawn.to(x).requires_grad_()
    optimiser = torch.optim.Adam([a], lr=learning_rate)
    # ‖xAᵀ − y‖² / n depends on x and y by two matrices alone
    seen, moved = x.T @ x / len(x), y.T @ x / len(x)
    if not bool(torch.isfinite(seen).all() and torch.isfinite(moved).all()):
        raise ValueError(
            f"`x` must have finite squares in {x.dtype}, got entries of up to {float(x.abs().max()):.3g}. "
            "Scale both."
        )
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate * min(1, (steps - step) / (FALLING * steps))
        a.grad = (2 * (a @ seen - moved)).detach()
        optimiser.step()
    matrix = a.detach()
    error = (x @ matrix.T - y).square().mean() / y.square().mean().clamp_min(1e-300)
    values = torch.linalg.eigvalsh(seen)
    unseen = int((values <= UNSEEN * values[-1]).sum())
    return GroupAction(matrix=matrix, error=float(error), unseen=unseen)


class GroupAction(Finding):
    """A matrix that moves inputs; made by `learn_action` and `GroupNetwork.action`."""

    matrix: Square
    error: float | None = None
    """Mean square of what is left of y, as a share; None where no pairs were given."""

    unseen: int | None = None
    """Directions that the inputs lack, so that it is undetermined where A moves them."""

    @checked
    def closure(self, order: Count) -> float:
        """‖A^order − I‖ / ‖I‖: 0 where so many moves lead back."""
        eye = torch.eye(len(self.matrix)).to(self.matrix)
        power = torch.linalg.matrix_power(self.matrix, order)
        return float((power - eye).norm() / eye.norm())

    @checked
    def distance(self, other: Square) -> float:
        """‖A − P‖ / ‖P‖ from another matrix P."""
        other = check_data(check_matrix(other, d_in=len(self.matrix), name="other"), name="other")
        same_length(other, len(self.matrix), name="other", per="row of the action")
        return float((self.matrix - other.to(self.matrix)).norm() / other.norm().clamp_min(1e-300))

    @property
    def eigenvalues(self) -> Complex[Tensor, " d"]:
        """Of A: on the unit circle, at multiples of 1 / n of a turn, where n moves lead back."""
        return torch.linalg.eigvals(self.matrix)

    def figure(self) -> Any:
        """Draw the matrix: a row for where to, a column for where from."""
        from sae_nb.figures import heatmaps

        most = float(self.matrix.abs().max())
        drawn = heatmaps(
            {"from": self.matrix.cpu().numpy()},
            ends=(-most, most),
            hover="from %{x} to %{y}: %{z:.2f}",
            bar="A",
            signed=True,
            y="to",
            height=340,
        )
        return drawn.update_yaxes(autorange="reversed")

    def circle(self) -> Any:
        """Draw the eigenvalues in the complex plane, with the unit circle."""
        from sae_nb.figures import framed, line, theme

        values = self.eigenvalues.cpu().numpy()
        turn = np.linspace(0, 2 * math.pi, 181)
        traces = [
            line("unit circle", np.cos(turn), np.sin(turn), colour=theme.GREY, dash="dot"),
            line(
                "eigenvalues",
                values.real,
                values.imag,
                colour=theme.PALETTE[0],
                symbol="circle",
                size=7,
                width=0,
                hover="%{x:.2f} + %{y:.2f}i",
            ),
        ]
        figure = framed(traces, x="real part", y="imaginary part", height=380)
        return figure.update_yaxes(scaleanchor="x")

    @property
    def headline(self) -> str:
        """Size, and what is left of the atoms."""
        left = "" if self.error is None else f", {self.error:.1e} left"
        return f"{len(self.matrix)} × {len(self.matrix)}{left}"


def orbit_sheet(orbits: Float[Tensor, "n_orbits order d_in"]) -> Any:
    """Draw orbits, a row each and a column per power; square where the width allows."""
    from sae_nb.figures import heatmaps, named_ticks

    n_orbits, order, d_in = orbits.shape
    side = math.isqrt(d_in)
    shape = (side, side) if side**2 == d_in else (1, d_in)
    tiles = np.pad(
        orbits.cpu().numpy().reshape(n_orbits, order, *shape),
        [(0, 0), (0, 0), (0, 1), (0, 1)],
        constant_values=np.nan,
    )
    sheet = tiles.transpose(0, 2, 1, 3).reshape(n_orbits * tiles.shape[2], -1)
    most = float(np.nanmax(np.abs(sheet)))
    figure = heatmaps(
        {"": sheet}, ends=(-most, most), hover="%{z:.2f}", bar="atom", signed=True, height=320
    )
    high, wide = tiles.shape[2:]
    powers = ["b", "Ab", *(f"A{_raised(g)}b" for g in range(2, order))][:order]
    figure.update_xaxes(named_ticks(powers, _middles(order, wide)))
    names = [f"orbit {k}" for k in range(n_orbits)]
    return figure.update_yaxes(named_ticks(names, _middles(n_orbits, high), autorange="reversed"))


def _middles(n: int, size: int) -> list[float]:
    return [i * size + (size - 2) / 2 for i in range(n)]


def _raised(power: int) -> str:
    return "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(power))
