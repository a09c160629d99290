"""The sentences of a SuperpositionToy, each beside its condition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sae_nb.evaluation import FoundDirections, SuperpositionSummary
from sae_nb.figures.theme import format_count, format_number
from sae_nb_widgets.superposition._figure import how_often

F1_NOISE = 0.02
"""Difference of two F1 that the inputs they are judged on do not settle."""

RIGHT_ANGLE = 0.1
"""Largest cosine of two directions that are called at right angles: within six degrees."""


def title_words(record: SuperpositionSummary, other: SuperpositionSummary | None) -> str:
    """Return what two toys that were trained alike show, or what one shows alone."""
    dense, rare = sorted([record, other or record], key=lambda one: one.sparsity)
    n, kept = len(rare.directions), len(rare.stored)
    neurons = _counted(rare.n_hidden, "neuron")
    if dense.sparsity == rare.sparsity:
        return f"{kept} of {_counted(n, 'feature')} fit into {neurons}"
    if kept <= len(dense.stored):
        return f"Rarer features find no more room in {neurons}"
    if kept < n:
        return f"Rare, {kept} of {n} features fit into {neurons}; common, {len(dense.stored)}"
    return f"{_counted(n, 'feature')} fit into {neurons} because they are rare"


def answer_words(record: SuperpositionSummary, other: SuperpositionSummary | None) -> str:
    """Return how many features each toy keeps, and how rare they are there."""
    toys = sorted(filter(None, (record, other)), key=lambda one: -one.sparsity)
    parts = [
        f"{how_often(toy.sparsity)}: {len(toy.stored)} of {len(toy.directions)} kept"
        f"{', at right angles' if _at_right_angles(toy) else ''}"
        for toy in toys
    ]
    return f"Features {'; '.join(parts)}."


def _at_right_angles(toy: SuperpositionSummary) -> bool:
    if len(toy.stored) != 2:
        return False
    ends = toy.directions[list(toy.stored)]
    return bool(abs(ends[0] @ ends[1]) < RIGHT_ANGLE * np.prod(np.linalg.norm(ends, axis=1)))


def _counted(n: int, what: str) -> str:
    return f"{format_count(n)} {what}{'' if n == 1 else 's'}"


def sweep_words(sweep: Sequence[SuperpositionSummary]) -> str:
    """Return how many features each toy of a sweep keeps, from the densest on."""
    kept = ", ".join(f"{one.sparsity:g}: {len(one.stored)}" for one in sweep)
    return f"Kept at each sparsity, the chance that a feature is off: {kept}."


def numbers_words(record: SuperpositionSummary) -> str:
    """Return room and leaks of the shown toy."""
    return (
        f"together they use {format_number(float(record.dimensionality.sum()))} of "
        f"{record.n_hidden} dimensions · mean interference "
        f"{format_number(float(record.interference.mean()))}"
    )


def compared_words(found: FoundDirections) -> tuple[str, list[str]]:
    """Say whether atoms or neurons find the features, with random directions beside them."""
    atom, neuron, random = (
        float(f1.mean()) for f1 in (found.atom_f1, found.neuron_f1, found.random_f1)
    )
    gap = atom - neuron
    compared = (
        "about as well as" if abs(gap) <= F1_NOISE else "better than" if gap > 0 else "worse than"
    )
    return f"The best atom finds a feature {compared} the best neuron.", [
        f"F1 of atoms {format_number(atom, digits=2)}, neurons {format_number(neuron, digits=2)}, random "
        f"directions {format_number(random, digits=2)} (1 is always right)",
        f"cosine of a feature with its atom {format_number(found.cosine)}, with a neuron "
        f"{format_number(found.cosine_neurons)}, with a random direction "
        f"{format_number(found.cosine_floor)}",
    ]
