"""The runs behind an InputLens: one input or two through the model, the last few kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sae_nb.summaries import (
    Contrast,
    InputSummary,
    top_atoms,
)
from sae_nb.summaries.input._contrast import BaseRate
from sae_nb_widgets.panel._samples import target_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


RUNS_KEPT = 8
N_PERMUTATIONS = 500


@dataclass(frozen=True)
class Seen:
    """The state on screen: one input, or two and their difference."""

    first: InputSummary
    second: InputSummary | None = None
    contrast: Contrast | None = None

    @property
    def both(self) -> list[InputSummary]:
        """The inputs there are."""
        return [self.first] if self.second is None else [self.first, self.second]


class Runs:
    """Runs a model on inputs and keeps the records of the last few."""

    def __init__(
        self,
        model: LiveModel,
        sae: SparseAutoencoder,
        hook_point: str,
        labels: Mapping[int, str],
    ) -> None:
        self._model, self._sae, self._point, self._labels = model, sae, hook_point, labels
        self._kept: dict[Any, InputSummary] = {}

    def read(self, given: Sequence[Any], asked: str, base: BaseRate | None) -> Seen:
        """Return the records of one input or two; runs in a worker thread and touches no widget."""
        first = self._run(given[0], target_of(self._model, asked), base)
        if len(given) == 1:
            return Seen(first)
        # Both contributions are to one answer: that of the first input.
        second = self._run(given[1], first.target, base)
        return Seen(first, second, first.compare(second, n_permutations=N_PERMUTATIONS))

    def is_worth_seeing(self, given: object, base: BaseRate | None) -> bool:
        """Return whether atoms matter in an input, whose run is kept."""
        return bool(self._run(given, None, base).used.mattering.any())

    def names_one(
        self, given: object, base: BaseRate | None, source: Callable[[int], object]
    ) -> bool:
        """Return whether an atom that matters in an input has a name."""
        used = self._run(given, None, base).used
        return any(source(int(atom)) for atom in used.atom[used.mattering])

    def forget(self) -> None:
        """Run everything again from now on."""
        self._kept = {}  # a run under way goes on to write in the old one

    def _run(self, given: object, target: int | str | None, base: BaseRate | None) -> InputSummary:
        kept = self._kept
        with self._model.lock:
            # What a `with` block around a cell has put in force is part of the run.
            edits = tuple(id(edit) for edit in self._model.interventions)
        parts = given if isinstance(given, tuple) else (given,)
        content = tuple(
            (one.shape, one.numpy().tobytes()) if isinstance(one, Tensor) else one for one in parts
        )
        key = (content, target, edits)
        found = kept.get(key)
        if found is None:
            found = top_atoms(
                self._model,
                self._sae,
                given,
                self._point,
                frequency=base,
                labels=self._labels,
                target=target,
            )
        kept[key] = found
        for old in list(kept)[:-RUNS_KEPT]:
            kept.pop(old, None)
        return found
