"""The part of the inputs that a model answers: as many as the number that matters needs.

A model with many parameters spends minutes on all texts where a few show the same. Whole sets are run where
they cost little; else batches come in a random order, and each time the work has doubled the interval is
looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import (
        Batch,
        Batches,
    )
    from sae_nb.statistics import Interval


WORK = 2**38
"""Parameters × tokens that are always run: about 2 000 tokens of SmolLM2-135M, 300 000 of tiny-gpt. Ours."""

NARROW = 0.02
"""Width of the 95 % interval of the recovered share from which more texts would show little more. Ours."""

_FEWEST = 12  # texts; an interval over fewer is not to be trusted


@dataclass(kw_only=True)
class Sampling:
    """Decides after every batch whether a model has answered enough; then states how many samples it was."""

    rows: int | None = None
    """Scored rows to stop at; None: no such number was asked for."""

    seconds: float | None = None
    """Time to stop at; None likewise."""

    seed: int = 0
    used: int = 0
    of: int | None = None
    """Samples that were run, of how many; None: not known, or all of them."""

    reason: str = ""
    _price: int = 0
    _may_sample: bool = False
    _work: float = 0.0
    _look_at: float = field(default_factory=lambda: WORK)
    _rows: float = 0.0
    _began: float = field(default_factory=time.perf_counter)

    def order(self, model: LiveModel, batches: Batches) -> Iterator[Batch]:
        """Yield batches in a random order where not all of them may be needed; else as they come.

        Those of images stay in order: held together they would take the memory of all.
        """
        self.of, self._price = batches.n_samples, sum(p.numel() for p in model.module.parameters())
        self._may_sample = model.modality.is_text
        if not model.modality.is_text or batches.n_samples is None:
            return batches
        held = list(batches)
        if not self._asked and sum(map(self._cost, held)) <= WORK:
            return iter(held)
        generator = torch.Generator().manual_seed(self.seed)
        return (held[i] for i in torch.randperm(len(held), generator=generator).tolist())

    @property
    def _asked(self) -> bool:
        return self.rows is not None or self.seconds is not None

    def _cost(self, batch: Batch) -> float:
        return float(batch.sample.numel() * self._price)

    def enough(self, batch: Batch, rows: float, interval: Callable[[], Interval]) -> bool:
        """Take in a batch that was scored, and return whether it was the last one needed."""
        self.used += batch.n
        self._rows += rows
        if self._asked:
            return self._as_asked()
        self._work += self._cost(batch)
        if not self._may_sample or self._work < self._look_at or self.used < _FEWEST:
            return False
        self._look_at = 2 * self._work
        low, high = interval()
        self.reason = f"until the interval of what is recovered was narrower than {NARROW}"
        return high - low <= NARROW

    def _as_asked(self) -> bool:
        self.reason = "as asked"
        spent = time.perf_counter() - self._began
        return (self.rows is not None and self._rows >= self.rows) or (
            self.seconds is not None and spent >= self.seconds
        )

    def said(self, unit: str, complete: bool) -> Iterator[str]:
        """Yield a sentence where samples were left out."""
        if not complete:
            of = "" if self.of is None else f" of {self.of}"
            yield (
                f"The model answered {self.used}{of} {unit}, {self.reason}; "
                "model_rows= or model_seconds= choose."
            )

    def stated(self) -> dict[str, Any]:
        """Return what was run, for the report."""
        return {"n_samples_run": self.used, "n_samples_given": self.of}
