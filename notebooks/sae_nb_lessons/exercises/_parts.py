"""Exercises of notebook 39: how near random parts come, and how many parts live where importance costs nothing."""

from __future__ import annotations

from sae_nb_lessons.exercises._answers import number
from sae_nb_lessons.exercises._kit import Answer, tasks


def best_of_random_parts() -> float:
    """Return the recorded cosine of each feature with the best column of twenty random parts, on average."""
    from sae_nb_studies.reproductions import recorded

    return float(recorded("parameter_parts").of("toy, best column, random").mean)


def alive_for_free() -> float:
    """Return how many of twenty parts live in the first matrix of a toy when importance costs nothing."""
    from sae_nb_studies.circuits import decompose_weights
    from sae_nb_studies.reproductions.experiments import parameter_parts as parts

    toy = parts.untied(parts.trained_toy(0))
    found = decompose_weights(
        toy, parts.toy_inputs(0), coefficient=0, steps=300, batch_size=96, n_starts=1
    )
    return float(found.n_alive["0"])


TASKS = tasks(
    "parts",
    {
        "39.1": Answer(number(0, 1), measure=best_of_random_parts),
        "39.2": Answer(number(0, 20), measure=alive_for_free),
    },
)
