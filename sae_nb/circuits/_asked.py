"""The measured question: of an answer an outcome, the difference of two, or a function; of an SAE its
place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sae_nb.activations._sites import check_one_place
from sae_nb.evaluation.causal._outcomes import outcome_of
from sae_nb.steering._request import check_width

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import HookPoint, LiveModel

Measure = Callable[[Tensor], Tensor]


def asked(model: LiveModel, answer: Tensor, kind: Any, target: Any) -> tuple[str, Measure]:
    """Return its name, and the number itself; a tuple is the difference of a pair."""
    if not isinstance(target, tuple):
        outcome = outcome_of(model, answer, kind, target)
        return f"“{outcome.name}”", outcome.measure
    if len(target) != 2:
        raise ValueError(f"`target` as a tuple must be a pair, got {len(target)} of them.")
    one, other = (outcome_of(model, answer, kind, name) for name in target)
    if one.index is not None and one.index == other.index:
        raise ValueError(f"`target` as a pair must be two answers, got “{one.name}” twice.")
    return f"“{one.name}” − “{other.name}”", lambda z: one.measure(z) - other.measure(z)


def written_at(sae: SparseAutoencoder, model: LiveModel, *, may_write: bool = False) -> HookPoint:
    """Return where an SAE's atoms are written; `may_write`: also one that reads elsewhere."""
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
