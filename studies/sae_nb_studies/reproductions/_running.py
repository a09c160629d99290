"""Runs experiments seed by seed; a killed run keeps the seeds it finished."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sae_nb.checks import check_count
from sae_nb.files import read_json, write_json
from sae_nb_studies.reproductions._artefacts import artefact_of, record_of
from sae_nb_studies.reproductions._registry import Experiment, experiment

Tell = Callable[[str], None]


def run_experiment(
    name: str,
    seeds: Sequence[int],
    folder: str | Path,
    *,
    size: Mapping[str, Any] | None = None,
    fresh: bool = False,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Run some seeds of an experiment and write its artefact after each.

    Seeds that an artefact of the same size already holds are kept; after a change of the code ask for
    `fresh` ones.

    Parameters
    ----------
    name
        Of the experiment.
    seeds
        Seeds to run.
    folder
        Gets `NAME.json`.
    size
        Changes to the full size.
    fresh
        Whether to forget seeds that were finished earlier.
    tell
        Called with a sentence before and after every seed.

    Returns
    -------
    dict
        The artefact.

    Raises
    ------
    ValueError: If the experiment or a size is unknown, a seed is negative, or a number is not finite.
    """
    found, path = experiment(name), Path(folder) / f"{name}.json"
    sizes = _sizes(found, size or {})
    for seed in seeds:
        check_count(seed, name="seeds", at_least=0)
    done = {} if fresh else _finished(path, sizes)
    say = tell or (lambda _sentence: None)
    for seed in seeds:
        if str(seed) in done:
            say(f"{name}, seed {seed}: kept from before")
            continue
        say(f"{name}, seed {seed}: running")
        done[str(seed)] = _run_seed(found, seed, sizes)
        say(f"{name}, seed {seed}: {done[str(seed)]['seconds']} s")
        write_json(path, artefact_of(found, done, sizes))
    artefact = artefact_of(found, done, sizes)
    write_json(path, artefact)
    return artefact


def short_run(name: str, seed: int = 0) -> tuple[dict[str, float], list[str]]:
    """Run one seed at short size, as `make reproduce` does.

    Parameters
    ----------
    name
        Of the experiment.
    seed
        The seed.

    Returns
    -------
    tuple
        The numbers, and a sentence for every line they miss.
    """
    found = experiment(name)
    numbers = _run_seed(found, seed, _sizes(found, found.short))["numbers"]
    return numbers, [missed for claim in found.claims for missed in claim.failed(numbers)]


def _sizes(found: Experiment, changes: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(changes) - set(found.size))
    if unknown:
        raise ValueError(
            f"`size` of {found.name!r} must be among {', '.join(found.size)}, got {unknown[0]!r}."
        )
    return found.size | dict(changes)


def _finished(path: Path, sizes: dict[str, Any]) -> dict[str, Any]:
    """Return the seeds of an earlier run of the same size."""
    before = read_json(path) if path.is_file() else {}
    return dict(before["seeds"]) if before.get("size") == sizes else {}


def _run_seed(found: Experiment, seed: int, sizes: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    numbers = found.run(seed, **sizes)
    for number, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(
                f"Numbers of {found.name!r} must be finite, got {number} = {value} for seed {seed}."
            )
    return record_of(numbers, time.perf_counter() - began)
