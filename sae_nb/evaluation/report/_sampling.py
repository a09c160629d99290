"""What is judged: rows without massive norms, and as many inputs as the number that matters needs.

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
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._massive import massive, row_norms
from sae_nb.evaluation.report._measurement import number_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch, Batches
    from sae_nb.statistics import Interval


@dataclass(frozen=True, kw_only=True, eq=False)
class MassiveRows:
    """The exceptions among some rows; as many as its length."""

    rows: Int[Tensor, " massive"]
    norms: Float[Tensor, " massive"]
    median: float
    """Their numbers and norms, and the median norm of all rows."""

    def __len__(self) -> int:
        return len(self.rows)

    def left_out_of(self, acts: Activations) -> Activations:
        """Return activations without them."""
        if not len(self):
            return acts
        keep = torch.ones(len(acts), dtype=torch.bool)
        keep[self.rows] = False
        return acts.subset(keep)

    def cautions(self, acts: Activations) -> Iterator[str]:
        """Yield cautions that count them and name the largest."""
        if not len(self):
            return
        yield (
            f"{len(self)} of {len(acts)} rows have more than ten times the median norm, "
            f"{number_text(self.median)}: every number but r2_with_massive is without them."
        )
        largest = int(self.norms.argmax())
        yield (
            f"The largest of them has norm {number_text(float(self.norms[largest]))}: "
            f"{acts.where(int(self.rows[largest]))}."
        )


def massive_rows(sae: object, acts: Activations, batch_size: int) -> MassiveRows:
    """Return rows whose norm is massive where an SAE reads or where it writes.

    None of those an SAE of sequences reads, in which each row is needed by the rows after it.
    """
    found = torch.zeros(len(acts), dtype=torch.bool)
    for site in {id(one): one for one in (acts, acts.target)}.values():
        parts = torch.split(torch.arange(len(acts)), batch_size)
        norms = torch.cat([row_norms(site.rows(part)).cpu() for part in parts])
        if not getattr(sae, "reads_sequences", False):
            found |= massive(norms)
    return MassiveRows(
        rows=found.nonzero().flatten(), norms=norms[found], median=float(norms.median())
    )


# -------------------------------------------------------------------------------------------------
# The inputs that a model answers.


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
    notes: list[str] = field(default_factory=list)
    """What else was left out of the answers."""

    _n_parameters: int = 0
    _may_sample: bool = False
    _work: float = 0.0
    _look_at: float = field(default_factory=lambda: WORK)
    _rows: float = 0.0
    _began: float = field(default_factory=time.perf_counter)

    def order(self, model: LiveModel, batches: Batches) -> Iterator[Batch]:
        """Yield batches in a random order where not all of them may be needed; else as they come.

        Those of images stay in order: held together they would take the memory of all.
        """
        self.of, self._n_parameters = (
            batches.n_samples,
            sum(p.numel() for p in model.module.parameters()),
        )
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
        return float(batch.sample.numel() * self._n_parameters)

    def enough(self, batch: Batch, rows: float, interval: Callable[[], Interval]) -> bool:
        """Take in a batch that was scored, and return whether it was the last one needed."""
        self.used += batch.n
        self._rows += rows
        if self._asked:
            self.reason = "as asked"
            late = self.seconds is not None and time.perf_counter() - self._began >= self.seconds
            return late or (self.rows is not None and self._rows >= self.rows)
        self._work += self._cost(batch)
        if not self._may_sample or self._work < self._look_at or self.used < _FEWEST:
            return False
        self._look_at = 2 * self._work
        low, high = interval()
        self.reason = f"until the interval of what is recovered was narrower than {NARROW}"
        return high - low <= NARROW

    def cautions(self, unit: str, complete: bool) -> Iterator[str]:
        """Yield a sentence where samples, or parts of them, were left out."""
        yield from self.notes
        if not complete:
            of = "" if self.of is None else f" of {self.of}"
            yield (
                f"The model answered {self.used}{of} {unit}, {self.reason}; "
                "model_rows= or model_seconds= choose."
            )

    def stated(self) -> dict[str, Any]:
        """Return what was run, for the report."""
        return {"n_samples_run": self.used, "n_samples_given": self.of}
