"""Run experiments from a shell: `python -m sae_nb_studies.reproductions hierarchy --out build/claims`."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sae_nb.files import read_json, write_json
from sae_nb.interrupts import ended
from sae_nb_studies.reproductions._artefacts import artefact_of
from sae_nb_studies.reproductions._committed import recorded_seeds
from sae_nb_studies.reproductions._registry import experiment, experiment_names
from sae_nb_studies.reproductions._running import run_experiment, short_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run the experiments that it names, write artefacts."""
    parser = argparse.ArgumentParser(
        prog="python -m sae_nb_studies.reproductions", description=__doc__
    )
    parser.add_argument("names", nargs="*", help=f"among {', '.join(experiment_names())}")
    parser.add_argument("--all", action="store_true", help="every experiment")
    parser.add_argument("--seeds", type=int, nargs="+", help="other than those on record")
    parser.add_argument("--size", nargs="*", default=[], metavar="NAME=VALUE", help="other sizes")
    parser.add_argument("--out", type=Path, default=Path("docs/claims"))
    parser.add_argument("--fresh", action="store_true", help="forget seeds finished before")
    parser.add_argument(
        "--short", action="store_true", help="short runs of one seed, nothing written"
    )
    parser.add_argument(
        "--judge", action="store_true", help="judge the artefacts by the claims as now worded"
    )
    given = parser.parse_args(arguments)
    names = experiment_names() if given.all else given.names
    if not names and not given.judge:
        parser.error("name an experiment, or pass --all or --judge")
    if given.short:
        return _short(names, (given.seeds or [0])[0])
    try:
        for name in names:
            sizes = dict(_size(word) for word in given.size)
            seeds = given.seeds or recorded_seeds(name)
            try:
                made = run_experiment(
                    name, seeds, given.out, size=sizes, fresh=given.fresh, tell=_print
                )
            except FileNotFoundError as error:
                if not given.all:
                    raise
                _print(f"{name}: skipped, what it reads is not here ({error})")
                continue
            for claim in made["claims"]:
                _print(f"{name}, {claim['name']}: {claim['verdict']}")
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    if given.judge:
        judge(given.out)
    return 0


def _print(sentence: str) -> None:
    print(sentence, flush=True)


def _short(names: Sequence[str], seed: int) -> int:
    failed = 0
    for name in names:
        numbers, missed = short_run(name, seed)
        for number, value in numbers.items():
            print(f"{name} {number} {value:.4g}")
        for sentence in missed:
            print(f"missed: {name}, {sentence}")
        failed += bool(missed)
    return failed


def _size(word: str) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def judge(folder: Path) -> None:
    """Judge every artefact of a folder by the claims as they are now."""
    for path in sorted(folder.glob("*.json")):
        before = read_json(path)
        write_json(path, artefact_of(experiment(path.stem), before["seeds"], before["size"]))


if __name__ == "__main__":
    raise SystemExit(ended(main))
