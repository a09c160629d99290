"""What a monitor read of some texts: values at tokens, a score of each text, alarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from sae_nb.findings import Finding

if TYPE_CHECKING:
    import pandas as pd


class Readings(Finding):
    """Values at every token, a score of each text, and whether it is above its threshold."""

    names: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]
    """Of each text, those that were read: without an attention sink at its begin."""

    positions: tuple[Int[np.ndarray, " tokens"], ...]
    """Of these tokens in their text."""

    values: tuple[Float[np.ndarray, "tokens channels"], ...]
    """Projections, in units of the channel."""

    scores: Float[np.ndarray, "texts channels"]
    thresholds: Float[np.ndarray, " channels"]
    usual: Float[np.ndarray, "channels 3"]
    """5th percentile, median and 95th percentile of tokens of neutral texts."""

    @property
    def alarms(self) -> Bool[np.ndarray, "texts channels"]:
        """Whether a text's score is above the threshold."""
        return self.scores > self.thresholds

    @property
    def headline(self) -> str:
        """Number of texts, and of alarms by name."""
        counts = ", ".join(
            f"{name} {int(n)}" for name, n in zip(self.names, self.alarms.sum(axis=0), strict=True)
        )
        return f"{len(self.tokens)} texts, above the threshold: {counts}"

    @property
    def table(self) -> pd.DataFrame:
        """A row per text: its beginning, and for each name score and alarm."""
        import pandas as pd

        table = pd.DataFrame({"text": ["".join(some[:12]) for some in self.tokens]})
        for i, name in enumerate(self.names):
            table[name] = self.scores[:, i]
            table[f"{name} alarm"] = self.alarms[:, i]
        return table

    def of(self, text: int = 0) -> Mapping[str, Float[np.ndarray, " tokens"]]:
        """Return the values of one text by name."""
        return {name: self.values[text][:, i] for i, name in enumerate(self.names)}
