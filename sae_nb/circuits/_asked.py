"""What is asked of an answer: an outcome, the difference of two, or a function; measured on several copies of
one input in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations._sites import check_one_place
from sae_nb.evaluation.causal._outcomes import Outcome, Target, outcome_of
from sae_nb.models import outcome_names
from sae_nb.models._running import run
from sae_nb.steering._request import check_width

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import HookPoint, LiveModel
    from sae_nb.models._answers import AnswerKind
    from sae_nb.models._inputs import Batch
    from sae_nb.models._running import Puts, Run

Measure = Callable[[Tensor], Tensor]

Question = Target | tuple[Target, ...]
"""One outcome, a pair of them whose difference is meant, or a function of the answer."""

Questions = Question | Sequence[Question] | np.ndarray | Tensor
"""The same of each input, or for all."""

BLOCK = 64
"""Changes that are measured together, each in a copy of the input of its own: bounds the memory."""


def read_target(
    model: LiveModel, answer: Tensor, kind: AnswerKind, target: Question
) -> tuple[str, Measure]:
    """Return what is asked of an answer, read off one of its kind: its name, and the function for the number.

    A tuple is the difference of a pair. Raises ValueError where the answer has no such outcome.
    """
    if not isinstance(target, tuple):
        outcome = outcome_of(model, answer, kind, target)
        return f"“{outcome.name}”", outcome.measure
    if len(target) != 2:
        raise ValueError(f"`target` as a tuple must be a pair, got {len(target)} of them.")
    one, other = (outcome_of(model, answer, kind, name) for name in target)
    if one.index is not None and one.index == other.index:
        raise ValueError(f"`target` as a pair must be two answers, got “{one.name}” twice.")
    return f"“{one.name}” − “{other.name}”", lambda z: one.measure(z) - other.measure(z)


def indices(outcomes: Iterable[Outcome]) -> tuple[int, ...] | None:
    """Return classes or tokens by number; None where one is a function."""
    found = [outcome.index for outcome in outcomes]
    return None if None in found else tuple(i for i in found if i is not None)


def top_answers(model: LiveModel, one: Tensor, other: Tensor, names: str) -> tuple[int, int]:
    """Return the two inputs' top answers, which must differ; `names`: of the arguments that they came from."""
    tops = int(one.argmax()), int(other.argmax())
    if tops[0] == tops[1]:
        raise ValueError(
            f"{names} must be answered differently where no `target` is given, and the top answer to both is "
            f"“{outcome_names(model, tops[:1])[0]}”. Pass a target, such as a pair of outcomes as a tuple."
        )
    return tops


def check_span(span: float, answer: float) -> None:
    """Refuse a pair of inputs whose answers are as good as equal: their distance is the unit of shares."""
    if abs(span) < 1e-6:
        raise ValueError(
            "`clean` and `corrupted` must be answered differently in what is asked, got "
            f"{answer:.3f} for both. Pass another target or pair."
        )


def blocks(n: int) -> list[range]:
    """Return 0 … n − 1 in blocks."""
    return [range(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def measured_copies(
    model: LiveModel,
    batch: Batch,
    n: int,
    changes: Puts,
    measure: Callable[[Tensor], Tensor | float],
) -> Float[Tensor, " n"]:
    """Return what is asked of the answers to n copies of one input; changes see all copies at once."""
    return measured(run(model, batch.copies(n), put=changes, answer="end"), measure)


def measured(ran: Run, measure: Callable[[Tensor], Tensor | float]) -> Float[Tensor, " n"]:
    """Return what is asked of each answer of a pass."""
    return torch.tensor([float(measure(ran.answer.one(i))) for i in range(ran.batch.n)])


def written_at(sae: SparseAutoencoder, model: LiveModel, *, may_write: bool = False) -> HookPoint:
    """Return where an SAE's atoms are written; `may_write`: also one that reads elsewhere.

    Raises
    ------
    ValueError: If it does not say where it was trained, or the hook point has another width.
    """
    check_one_place(sae, may_write=may_write)
    place = getattr(sae, "target_hook_point", None) or sae.hook_point
    if place is None:
        raise ValueError(
            f"`sae.hook_point` must say where {type(sae).__name__} was trained, and is None. Set it, such "
            'as sae.hook_point = "resid_post.3".'
        )
    point = model.hook_point(str(place))
    check_width(model, point, sae.dictionary.shape[1], "the SAE")
    return point
