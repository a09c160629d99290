"""Two monitors in a row: a cheap one for all texts, a dear one for those that it does not clear."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from sae_nb.checks import answered
from sae_nb.findings import Finding
from sae_nb.monitoring._channels import threshold_of
from sae_nb.steering._direction import listed

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.monitoring._monitor import Monitor


class Cascade(Finding):
    """Scores of a cheap channel for all texts, of a dear one for those passed on, and alarms."""

    HEADLINE = "{n_texts} texts, {n_asked} passed on from {cheap} to {dear}, {n_alarms} alarms"
    cheap: str
    dear: str
    cut: float
    """Cheap score up to which a text is cleared."""

    threshold: float
    """Dear score above which a text that was passed on is an alarm."""

    cheap_scores: Float[np.ndarray, " texts"]
    dear_scores: Float[np.ndarray, " texts"]
    """NaN for a text that was cleared."""

    @property
    def alarms(self) -> Bool[np.ndarray, " texts"]:
        """Whether each text is an alarm."""
        return np.nan_to_num(self.dear_scores, nan=-np.inf) > self.threshold

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return len(self.cheap_scores)

    @property
    def n_asked(self) -> int:
        """Texts that were passed on."""
        return int(np.isfinite(self.dear_scores).sum())

    @property
    def n_alarms(self) -> int:
        """Alarms."""
        return int(self.alarms.sum())

    @property
    def table(self) -> pd.DataFrame:
        """A row per text."""
        import pandas as pd

        columns = {"cheap": self.cheap_scores, "dear": self.dear_scores, "alarm": self.alarms}
        return pd.DataFrame(columns)


def cascade(
    meter: Monitor,
    inputs: Any,
    cheap: str,
    dear: str | Callable[[Any], Any],
    share: float,
    neutral: Any,
    batch_size: int | None,
) -> Cascade:
    """Score texts by the cheap channel, and what it does not clear by the dear one; see `Monitor.cascade`."""
    texts, column = listed(meter.model, inputs, "inputs"), meter.names.index(cheap)
    if isinstance(dear, str):
        known = meter.neutral[:, [column, meter.names.index(dear)]]
    elif neutral is None:
        raise ValueError(
            "`neutral` must be texts where `dear` is a function, got None: its threshold is found on them. "
            "Pass those that the monitor was made with."
        )
    else:
        read = meter.score(neutral, (cheap,), batch_size)[:, 0]
        known = np.stack([read, _answers(dear, neutral)], axis=1)
    cut = threshold_of(known[:, 0], share)
    threshold = threshold_of(np.where(known[:, 0] > cut, known[:, 1], -np.inf), meter.fpr)
    first = meter.score(texts, (cheap,), batch_size)[:, 0]
    asked = np.flatnonzero(first > cut)
    second = np.full(len(first), np.nan)
    if len(asked):
        part = [texts[i] for i in asked] if not hasattr(texts, "shape") else texts[asked]
        second[asked] = (
            meter.score(part, (dear,), batch_size)[:, 0]
            if isinstance(dear, str)
            else _answers(dear, part)
        )
    return Cascade(
        cheap=cheap,
        dear=dear if isinstance(dear, str) else getattr(dear, "__name__", "function"),
        cut=cut,
        threshold=threshold,
        cheap_scores=first,
        dear_scores=second,
    )


def _answers(dear: Callable[[Any], Any], texts: Any) -> Float[np.ndarray, " texts"]:
    found = np.asarray(answered(dear, texts, name="dear"), dtype=float)
    if found.shape != (len(texts),) or not np.isfinite(found).all():
        raise ValueError(
            f"`dear` must return a finite score for each of {len(texts)} texts, got shape {found.shape}."
        )
    return found
