"""The artefact of an experiment's run: one JSON file, complete after every seed.

It holds the numbers of every seed, their mean and deviation, the claims with their verdicts, and all that
is needed to make it again: command, size, commit, date, versions, number of cores.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from sae_nb.files import read_json
from sae_nb_studies.reproductions._claims import Claim, Curve, Line, Summary, Why, summarise
from sae_nb_studies.reproductions._registry import Experiment

PACKAGES = ("numba", "numpy", "scikit-learn", "scipy", "torch")
DIGITS = 6
"""Significant digits kept of a number: more than a seed reproduces on another machine."""


def artefact_of(
    experiment: Experiment, seeds: Mapping[str, Mapping[str, Any]], size: Mapping[str, Any]
) -> dict[str, Any]:
    """Assemble the artefact of some finished seeds.

    Parameters
    ----------
    experiment
        The experiment that was run.
    seeds
        By seed, as text: `numbers`, `seconds`, `date`, `commit`, `environment`.
    size
        Sizes of the run.

    Raises
    ------
    ValueError: If the seeds disagree on which numbers there are.
    """
    seeds = {seed: seeds[seed] for seed in sorted(seeds, key=int)}
    by_seed = [dict(seeds[seed]["numbers"]) for seed in seeds]
    names = _same_names(experiment.name, by_seed)
    summaries = summaries_of(experiment, by_seed)
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "kind": experiment.kind,
        **({"columns": list(experiment.columns)} if experiment.columns else {}),
        "command": _command(experiment, seeds, size),
        "size": dict(size),
        "seeds": {seed: dict(record) for seed, record in seeds.items()},
        "numbers": {
            name: {"mean": rounded(s.mean), "sd": rounded(s.sd), "n": s.n}
            for name, s in ((name, summaries[name]) for name in names)
        },
        "claims": claims_of(experiment, summaries),
    }


def summaries_of(
    experiment: Experiment, by_seed: Sequence[Mapping[str, float]]
) -> dict[str, Summary]:
    """Summarise every number over seeds, and every line that takes one number off another, seed by seed.

    Parameters
    ----------
    experiment
        Whose claims have the lines.
    by_seed
        Numbers of each seed.

    Raises
    ------
    ValueError: If a line needs a number that is not there.
    """
    found = {name: summarise([numbers[name] for numbers in by_seed]) for name in by_seed[0]}
    for line in (line for claim in experiment.claims for line in claim.lines if line.minus):
        for number in (line.number, line.minus):
            if number not in by_seed[0]:
                raise ValueError(
                    f"Line {line.label!r} needs the number {number!r}, which {experiment.name!r} does not "
                    f"give. It gives {', '.join(sorted(by_seed[0]))}."
                )
        found[line.key] = summarise([line.of(numbers) for numbers in by_seed])
    return found


def _same_names(name: str, by_seed: list[dict[str, float]]) -> list[str]:
    if any(numbers.keys() != by_seed[0].keys() for numbers in by_seed):
        raise ValueError(
            f"Every seed of {name!r} must give the same numbers, got "
            f"{[sorted(numbers) for numbers in by_seed]}. Run it again with --fresh."
        )
    return sorted(by_seed[0])


def _command(experiment: Experiment, seeds: Mapping[str, object], size: Mapping[str, Any]) -> str:
    changed = {k: v for k, v in size.items() if experiment.size.get(k) != v}
    sizes = [f"--size {' '.join(f'{k}={v}' for k, v in sorted(changed.items()))}"] * bool(changed)
    words = [experiment.name, "--seeds", *seeds, *sizes, "--out docs/claims"]
    return " ".join(["python -m sae_nb_studies.reproductions", *words])


def claims_of(experiment: Experiment, summaries: Mapping[str, Summary]) -> list[dict[str, Any]]:
    """Judge the claims by these numbers; return them as the artefact holds them."""
    for claim in experiment.claims:
        parts = (*claim.lines, *claim.shown, claim.floor, claim.control)
        needed = [part.number for part in parts if part is not None]
        for number in (*needed, *(claim.curve.numbers if claim.curve else ())):
            if number not in summaries:
                raise ValueError(
                    f"Claim {claim.name!r} needs the number {number!r}, which {experiment.name!r} "
                    f"does not give. It gives {', '.join(sorted(summaries))}."
                )
    return [_judged(claim, summaries) for claim in experiment.claims]


def _judged(claim: Claim, summaries: Mapping[str, Summary]) -> dict[str, Any]:
    def number(part: Any) -> dict[str, Any] | None:
        if part is None:
            return None
        summary = summaries[part.key if isinstance(part, Line) else part.number]
        entry = {"number": part.number, "label": part.label}
        entry |= {"mean": rounded(summary.mean), "sd": rounded(summary.sd)}
        if isinstance(part, Line):
            gate = part.gate(summary)
            entry |= {
                "line": str(part),
                "gate": rounded(gate) if math.isfinite(gate) else None,
                "state": part.state(summary),
            }
            entry |= {"minus": part.minus} if part.minus else {}
        return entry

    return {
        "name": claim.name,
        "text": claim.text,
        "paper": claim.paper,
        "lines": [number(line) for line in claim.lines],
        "shown": [number(part) for part in claim.shown],
        "floor": number(claim.floor),
        "control": number(claim.control),
        "notebook": claim.notebook,
        "verdict": claim.verdict(summaries),
        "why": _why(claim.why) if claim.why else None,
        "curve": _drawn(claim.curve, summaries) if claim.curve else None,
        "n_seeds": min(summary.n for summary in summaries.values()),
        **({"sign_only": True} if claim.sign_only else {}),
        **({"replaced_by": claim.replaced_by} if claim.replaced_by else {}),
        **({"tested_by": claim.tested_by} if claim.tested_by else {}),
        **({"beside": claim.beside} if claim.beside else {}),
    }


def _why(why: Why) -> dict[str, Any]:
    """Return the fields of a claim's `why`; `hours` and `as_published` where there are any."""
    optional = ("hours", "as_published")
    return {name: value for name, value in asdict(why).items() if name not in optional or value}


def _drawn(curve: Curve, summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """Return a curve with mean and deviation at every place."""
    found = [summaries[number] for number in curve.numbers]
    return {
        "label": curve.label,
        "against": curve.against,
        "at": list(curve.at),
        "mean": [rounded(summary.mean) for summary in found],
        "sd": [rounded(summary.sd) for summary in found],
    }


def record_of(numbers: Mapping[str, float], seconds: float) -> dict[str, Any]:
    """Record a finished seed: its numbers, seconds, date, commit and environment."""
    return {
        "numbers": {name: rounded(float(value)) for name, value in numbers.items()},
        "seconds": round(seconds, 1),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "environment": environment(),
    }


def _commit() -> str | None:
    """Return the commit of the checkout that ran, "+" for changes on top; None outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def environment() -> dict[str, Any]:
    """Return versions, cores and threads; nothing that identifies a machine or its user."""
    import torch

    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        **versions,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "sae_nb": metadata.version("sae-nb"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
    }


def rounded(value: float) -> float:
    """Round a number to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def read_artefacts(folder: str | Path) -> list[dict[str, Any]]:
    """Read every artefact of a folder, in the order of their names.

    Parameters
    ----------
    folder
        Such as docs/claims.

    Example
    -------
    >>> read_artefacts("no such folder")
    []
    """
    return [read_json(path) for path in sorted(Path(folder).glob("*.json"))]
