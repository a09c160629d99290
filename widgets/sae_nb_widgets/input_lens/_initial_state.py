"""The input on which an InputLens opens: one in which named atoms matter, and one of these atoms."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sae_nb.atoms._captions import says_much
from sae_nb_widgets.input_lens._runs import Runs

if TYPE_CHECKING:
    from sae_nb.atoms._names import AtomNames
    from sae_nb.summaries import InputSummary
    from sae_nb.summaries.input._contrast import BaseRate


def example_to_open(
    runs: Runs,
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
        Runs of the model.
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
