"""The arguments of a PursuitStepper, checked once, and its runs: each is made once and kept a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb.architectures import PursuitSteps, SolverTrace, summarise_pursuit, summarise_trace
from sae_nb.checks import check_integer, check_matrix, one_of

if TYPE_CHECKING:
    from sae_nb_widgets.pursuit._panel import PursuitStepper

NONE = ""
"""Value of `algorithm_b` that leaves the second algorithm out."""

OWN = PursuitSteps.OWN


def unit_atoms(dictionary: object, normalise: bool, name: str, d_in: int | None = None) -> Tensor:
    """Return the dictionary, scaled to unit rows if asked."""
    atoms = check_matrix(dictionary, name=name, d_in=d_in).detach()
    return F.normalize(atoms, dim=1) if normalise else atoms


def input_rows(x: object, dictionary: Tensor, bias: Tensor) -> Tensor:
    """Return the inputs as rows without their bias: of a tensor, an array or activations."""
    found = check_matrix(x, d_in=dictionary.shape[1], flatten=True).detach()
    return found - bias.to(found.device)


def checked_bias(bias: object, dictionary: Tensor) -> Tensor:
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


def algorithm_names(
    algorithms: Sequence[str] | None, *, two: bool, own: bool = False
) -> tuple[str, str]:
    """Return both algorithms by name; the second is empty where there is one."""
    usual = [OWN] if own else ["mp", "mp" if two else "omp"]
    given = list(algorithms) if algorithms is not None else usual
    if not 1 <= len(given) <= 2:
        raise ValueError(f"`algorithms` must name one or two, got {given}.")
    for name in given:
        if name != OWN or not own:
            one_of(name, PursuitSteps.ALGORITHMS, name="algorithm")
    return given[0], given[1] if len(given) > 1 else NONE


def checked_shape(
    shape: tuple[int, ...] | None, d_in: int, *, name: str = "picture_shape"
) -> tuple[int, ...] | None:
    """Return the picture shape as plain numbers."""
    if shape is None:
        return None
    size = tuple(check_integer(n, name=name) for n in shape)
    if len(size) not in (2, 3) or (len(size) == 3 and size[0] != 3) or np.prod(size) != d_in:
        raise ValueError(
            f"`{name}` must be (height, width) or (3, height, width) with d_in={d_in} numbers, "
            f"got {tuple(shape)}. Leave it out where inputs are no pictures."
        )
    return size


OwnSteps = Callable[[int], tuple[Any, int]]
"""A trace that was made elsewhere, and the row in it, of one input."""


def own_steps(
    sae: Any, trace: Any, x: Any, n_rows: int, n_atoms: int
) -> tuple[OwnSteps | None, str]:
    """Return the steps of the solver that was given, or of the model's own, and its name."""
    if trace is not None:
        # `sparse_code(…, trace=True)` and `KDS.steps` return codes and trace together.
        given = trace[1] if isinstance(trace, tuple) and len(trace) == 2 else trace
        if not isinstance(given, SolverTrace):
            raise TypeError(
                "`trace` must be the steps of a solver, as sn.architectures.sparse_code(…, trace=True) "
                f"returns them, got {type(given).__name__}."
            )
        given.check_fits(n_rows, n_atoms)
        return (lambda row: (given, row)), "solver"
    if callable(getattr(sae, "steps", None)):
        rows = check_matrix(x, flatten=True).detach()
        return (lambda row: (sae.steps(rows[row : row + 1])[1], 0)), type(sae).__name__
    return None, ""


# -------------------------------------------------------------------------------------------------
# The runs.


RECORDS_KEPT = 12

Run = tuple[Any, ...]
"""Algorithm, input, dictionary, sign, and size of what is run."""


class PursuitRuns:
    """Inputs and dictionaries, and what algorithms made of them."""

    def __init__(
        self,
        x: Tensor,
        dictionaries: tuple[Tensor, Tensor],
        own: OwnSteps | None = None,
        own_name: str = "",
    ) -> None:
        self.x, self.dictionaries = x, dictionaries
        self.own, self.own_name = own, own_name
        self._known: OrderedDict[Run, PursuitSteps] = OrderedDict()

    @property
    def two_dictionaries(self) -> bool:
        """Whether each algorithm has its own."""
        return self.dictionaries[0] is not self.dictionaries[1]

    def asked(self, panel: PursuitStepper) -> list[Run]:
        """Return the runs that the traits of a panel ask for."""
        return [
            (
                name,
                panel.row,
                i if self.two_dictionaries else 0,
                # Steps that were taken elsewhere are what they are.
                *((panel.nonnegative, _size(panel, name)) if name != OWN else (None, None)),
            )
            for i, name in enumerate(panel.algorithms)
        ]

    def known(self, asked: Sequence[Run]) -> list[PursuitSteps] | None:
        """Return their records; None where one is missing."""
        found = [self._known.get(run) for run in asked]
        return None if None in found else [one for one in found if one is not None]

    def compute(self, asked: Sequence[Run]) -> dict[Run, PursuitSteps]:
        """Run what is not known, in a worker thread as well: touches no widget and keeps nothing."""
        return {run: self._known.get(run) or self._compute(*run) for run in asked}

    def _compute(
        self, name: Any, row: int, which: int, nonnegative: bool, number: Any
    ) -> PursuitSteps:
        if self.own is not None and name == OWN:
            return self._of_own(self.own, row)
        size = {"k" if name in PursuitSteps.GREEDY else "penalty_share": number}
        atoms = self.dictionaries[which]
        return summarise_pursuit(self.x, atoms, name, row=row, nonnegative=nonnegative, **size)

    def _of_own(self, own: OwnSteps, row: int) -> PursuitSteps:
        trace, at = own(row)
        x = self.x[row - at :][: len(trace.n_steps)]
        record = summarise_trace(x, self.dictionaries[0], trace, row=at, solver=self.own_name)
        return replace(record, row=row)

    def title(self, name: str) -> str:
        """Return the name of an algorithm in a few letters."""
        return self.own_name if name == OWN else name.upper()

    def keep(self, records: Mapping[Run, PursuitSteps]) -> None:
        """Keep records; the oldest go where there are too many."""
        self._known.update(records)
        while len(self._known) > RECORDS_KEPT:
            self._known.popitem(last=False)


def _size(panel: PursuitStepper, name: str) -> int | float:
    """Return the setting that limits an algorithm."""
    return panel.k if name in PursuitSteps.GREEDY else panel.penalty_share
