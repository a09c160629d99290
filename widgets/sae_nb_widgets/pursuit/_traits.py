"""The state of a PursuitStepper as traits that refuse what cannot be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
import traitlets as t
from torch import Tensor

from sae_nb.checks import check_matrix
from sae_nb.summaries import (
    ALGORITHMS,
    PENALTY_SHARE,
    PURSUITS,
    SOLVER_STEPS,
    PursuitSteps,
    check_algorithm,
)
from sae_nb_widgets.panel import PlayingPanel

# -------------------------------------------------------------------------------------------------
# What a PursuitStepper is given, checked once: inputs, dictionaries, names, picture shape.


NONE = ""
"""Value of `algorithm_b` that leaves the second algorithm out."""


def unit_atoms(dictionary: Any, normalise: bool, name: str, d_in: int | None = None) -> Tensor:
    """Return the dictionary, scaled to unit rows if asked."""
    atoms = check_matrix(dictionary, name=name, d_in=d_in).detach()
    return F.normalize(atoms, dim=1) if normalise else atoms


def input_rows(x: Any, dictionary: Tensor, bias: Tensor) -> Tensor:
    """Return the inputs as rows without their bias: of a tensor, an array or activations."""
    rows = x if isinstance(x, Tensor) else getattr(x, "x", x)
    rows = torch.as_tensor(rows) if isinstance(rows, np.ndarray) else rows
    found = check_matrix(rows, d_in=dictionary.shape[1], flatten=True).detach()
    return found - bias.to(found.device)


def checked_bias(bias: Any, dictionary: Tensor) -> Tensor:
    """Return the bias, or zeros."""
    if bias is None:
        return torch.zeros(dictionary.shape[1])
    if not isinstance(bias, Tensor) or bias.shape != dictionary.shape[1:]:
        given = tuple(bias.shape) if isinstance(bias, Tensor) else type(bias).__name__
        raise ValueError(
            f"`bias` must be a tensor of shape ({dictionary.shape[1]},), got {given}. An SAE's own is "
            "`sae.bias`."
        )
    return bias.detach().float()


def algorithm_names(algorithms: Sequence[str] | None, *, two: bool) -> tuple[str, str]:
    """Return both algorithms by name; the second is empty where there is one."""
    given = list(algorithms) if algorithms is not None else ["mp", "mp" if two else "omp"]
    if not 1 <= len(given) <= 2:
        raise ValueError(f"`algorithms` must name one or two, got {given}.")
    for name in given:
        check_algorithm(name)
    return given[0], given[1] if len(given) > 1 else NONE


def checked_shape(shape: tuple[int, ...] | None, d_in: int) -> tuple[int, ...] | None:
    """Return the picture shape as plain numbers."""
    if shape is None:
        return None
    size = tuple(int(n) for n in shape)
    if len(size) not in (2, 3) or (len(size) == 3 and size[0] != 3) or np.prod(size) != d_in:
        raise ValueError(
            f"`picture_shape` must be (height, width) or (3, height, width) with d_in={d_in} numbers, "
            f"got {tuple(shape)}. Leave it out where inputs are no pictures."
        )
    return size


# -------------------------------------------------------------------------------------------------
# The state of a PursuitStepper as traits that refuse what cannot be shown.


FASTEST = 50.0
"""Steps per second: more cannot be told apart."""


class PursuitTraits(PlayingPanel):
    """Which step of which algorithms on which input; each part can be set, observed and linked."""

    # What `close` reads, also of a panel that was refused before it was built.
    _closed = True

    n_atoms: int
    steps: tuple[PursuitSteps, ...]
    _x: Tensor
    _dictionaries: tuple[Tensor, Tensor]

    step = t.Int(0, help="Which step is shown; 0 is before the first.")
    row = t.Int(0, help="Which of the inputs.")
    algorithm_a = t.Enum(ALGORITHMS, default_value="mp", help="First algorithm.")
    algorithm_b = t.Enum(
        (*ALGORITHMS, NONE), default_value=NONE, help="Second algorithm; empty for none."
    )
    k = t.Int(16, help="Steps of a greedy algorithm.")
    penalty_share = t.Float(PENALTY_SHARE, help="λ of ISTA and FISTA as a share of the largest.")
    nonnegative = t.Bool(True, help="Only coefficients ≥ 0.")
    order = t.Enum(("sorted", "dictionary"), default_value="sorted", help="Order of the bars.")
    fit_bars = t.Bool(False, help="Scale the bars to the step that is shown.")
    atom = t.Int(0, help="Atom of the first dictionary that was clicked; can be linked.")
    marked = t.Bool(False, help="Whether that atom is marked in the bars and lists.")

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The one or two algorithms shown."""
        return (self.algorithm_a, *([self.algorithm_b] if self.algorithm_b != NONE else []))

    @property
    def last_step(self) -> int:
        """Last step of the player: of the records, or the most there can be until they are there."""
        if self.steps:
            return max(one.n_steps for one in self.steps)
        return max(self.k if name in PURSUITS else SOLVER_STEPS for name in self.algorithms)

    @t.validate("step")
    def _step_exists(self, proposal: t.Bunch) -> int:
        if not 0 <= proposal["value"] <= self.last_step:
            raise t.TraitError(
                f"`step` must be between 0 and {self.last_step}, got {proposal['value']}."
            )
        return int(proposal["value"])

    @t.validate("row", "k", "atom")
    def _in_range(self, proposal: t.Bunch) -> int:
        name, value = proposal["trait"].name, int(proposal["value"])
        fewest = min(len(one) for one in self._dictionaries)
        ends = {"row": (0, len(self._x) - 1), "k": (1, fewest), "atom": (0, self.n_atoms - 1)}
        low, high = ends[name]
        if not low <= value <= high:
            raise t.TraitError(f"`{name}` must be between {low} and {high}, got {value}.")
        return value

    @t.validate("speed", "penalty_share")
    def _positive(self, proposal: t.Bunch) -> float:
        name, value = proposal["trait"].name, float(proposal["value"])
        high = {"speed": FASTEST, "penalty_share": 1.0}[name]
        if not 0 < value < high:
            raise t.TraitError(f"`{name}` must be above 0 and below {high:g}, got {value:g}.")
        return value
