"""The runs behind an InputLens: one input or two through the model, the last few kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sae_nb.atoms import says_much
from sae_nb.corpora import BaseRate, Contrast, InputSummary, top_atoms
from sae_nb_widgets.panel._samples import target_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.atoms import AtomNames
    from sae_nb.corpora import InputSummary
    from sae_nb.models import LiveModel

RUNS_KEPT = 8
N_PERMUTATIONS = 500


class Phase(Enum):
    """How far an InputLens is."""

    COUNTING = auto()
    """It finds how often atoms are active anyway: nothing is read yet."""

    OPEN = auto()
    """It reads what it is given; the first reading takes longest."""

    READ = auto()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The state on screen: one input, or two and their difference."""

    first: InputSummary
    second: InputSummary | None = None
    contrast: Contrast | None = None
    drawn: bool = False
    """Whether the first is being drawn by hand: while the pen moves, the atom stays."""

    seconds: float = 0.0
    """From the question to the answer."""

    @property
    def both(self) -> list[InputSummary]:
        """The inputs there are."""
        return [self.first] if self.second is None else [self.first, self.second]


class InputRuns:
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

    def read(self, given: Sequence[Any], asked: str, base: BaseRate | None) -> Answer:
        """Return the records of one input or two; runs in a worker thread and touches no widget."""
        first = self._run(given[0], target_of(self._model, asked), base)
        if len(given) == 1:
            return Answer(first=first)
        # Both contributions are to one answer: that of the first input.
        second = self._run(given[1], first.target, base)
        contrast = first.compare(second, n_permutations=N_PERMUTATIONS)
        return Answer(first=first, second=second, contrast=contrast)

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


# --- The example and the atom that it opens on ----------------------------------------------------


def example_to_open(
    runs: InputRuns,
    base: BaseRate | None,
    examples: Sequence[Callable[[], Any]],
    source: Callable[[int], str],
    seconds: float,
    is_given: Callable[[], bool],
) -> int:
    """Return the first example in which an atom with a name matters; else the first in which any does.

    Parameters
    ----------
    runs
        InputRuns of the model.
    base
        How often atoms fire anyway.
    examples
        What makes each of them.
    source
        Where an atom's name comes from; empty for one without.
    seconds
        Seconds of work after which no further one is tried.
    is_given
        Whether an input was given meanwhile: then nothing is looked for any more.
    """
    # Of this thread's own work: on a busy machine the panel opens on the same example.
    until, found = time.thread_time() + seconds, []
    for number, make in enumerate(examples):
        given = make()
        if runs.is_worth_seeing(given, base):
            if runs.names_one(given, base, source):
                return number
            found.append(number)
        if time.thread_time() > until or is_given():
            break
    return found[0] if found else 0


def atom_to_open(
    summary: InputSummary,
    ranked: Sequence[int],
    can_show: Callable[[InputSummary, int], bool],
    names: AtomNames,
) -> int | None:
    """Return the first atom whose heat can be seen, one with a name if it is among those that matter."""
    well = [atom for atom in ranked if can_show(summary, atom)] or ranked
    used = summary.used
    matter = set(used.atom[used.mattering].tolist())
    named = (atom for atom in well if atom in matter and says_much(names.words(atom)))
    return next(named, well[0] if well else None)
