"""Write docs/certificates.json: certificates of bundled SAEs, and of files that other libraries wrote.

    python docs/make_certificates.py [NAME ...] [--budget "2 min"] [--texts FOLDER --work FOLDER]
        [--peers FOLDER]

Rows that are there and not made again stay. The page docs/certificates.md is a table of them. An SAE of a real
language model is certified on the texts that it was trained on: `--texts` is the folder with them, and
captures and trainings are kept in `--work`, where a call that was killed continues. `--peers` is a folder of
files of other libraries (library/kind): their weights are random, so nothing in them is real, and their rows
are planted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import sae_nb as sn
from sae_nb.files import read_json, write_json
from sae_nb_studies.evaluation import Certificate
from sae_nb_studies.evaluation.certifying._certificate import (
    KEPT,
    drawn_rows,
    kept_numbers,
    numbers_table,
)
from sae_nb_studies.evaluation.certifying._folders import bundled_inputs
from sae_nb_studies.recipes.saes import TEXT_PLANS, mixed_texts

CERTIFICATES = Path(__file__).with_name("certificates.json")
PEERS = ("saelens/topk", "dictionary_learning/AutoEncoderTopK", "sparsify/topk")
"""Files of three libraries, in a folder of such files."""

PLANTED = (24, 16, 4000, 3)
"""Of the rows that a peer's file is certified on: true atoms, width, rows, atoms a row."""

TEXT_ROWS = 300_000
"""Rows that an SAE of a real language model is certified on."""

DIGITS = 3


def row(found: Certificate, budget: str, seconds: float | None) -> dict[str, Any]:
    """What is kept of a certificate: shares, numbers with intervals and controls, facts, notes.

    `seconds` of the CPU; None of a call that went on where one before was killed.
    """
    numbers = found.numbers.drop(columns="meaning").to_dict("records")
    return {
        "atoms": len(found.table),
        "budget": budget,
        "cpu_seconds": None if seconds is None else round(seconds),
        "shares": _rounded(found.shares),
        "numbers": [_rounded(one) for one in numbers],
        "controls": [_rounded(one) for one in found.controls.to_dict("records")],
        "facts": dict(found.facts),
        "notes": list(found.notes),
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers of three digits, and None for one that is not a number."""
    return {
        name: (float(f"{value:.{DIGITS}g}") if value == value else None)
        if isinstance(value, float)
        else value
        for name, value in values.items()
    }


def certified(
    name: str, budget: str, texts: Path | None = None, work: Path | None = None
) -> dict[str, Any]:
    """Certify a bundled SAE on inputs of ours, or on the texts that it was trained on."""
    sae = sn.load_sae(name)
    model = sn.load_model(str(sae.model_name))
    begun = time.process_time()
    acts = captured(model, str(sae.hook_point), texts, work)
    folder = None if work is None else work / name
    goes_on = folder is not None and (folder / "training-0").exists()
    found = sn.certificate(sae, acts, model, budget=budget, folder=folder, progress=False)
    return row(found, budget, None if goes_on else time.process_time() - begun)


def captured(
    model: sn.LiveModel, hook_point: str, texts: Path | None, work: Path | None
) -> sn.Activations:
    """Return the rows that an SAE is certified on."""
    if model.name in TEXT_PLANS:
        return captured_texts(model, hook_point, texts, work)
    return sn.capture(model, bundled_inputs(model), hook_point, progress=False)


def kept(name: str, texts: Path | None, work: Path | None, row: dict[str, Any]) -> dict[str, Any]:
    """Measure what a second code keeps of a bundled SAE, and write it into the row that is there."""
    sae = sn.load_sae(name)
    acts = captured(sn.load_model(str(sae.model_name)), str(sae.hook_point), texts, work)
    seed = row["facts"]["seed"]
    found = sn.second_code(sae, drawn_rows(acts, seed), ("omp",), seed=seed)
    own = [
        _rounded(one)
        for one in numbers_table(kept_numbers(found)).drop(columns="meaning").to_dict("records")
    ]
    others = [one for one in row["numbers"] if one["number"] not in KEPT]
    at = next(
        (i for i, one in enumerate(others) if one["number"] in ("detection", "steers")), len(others)
    )
    return row | {"numbers": [*others[:at], *own, *others[at:]]}


def captured_texts(
    model: sn.LiveModel, hook_point: str, texts: Path | None, work: Path | None
) -> sn.Activations:
    """Return rows of all places of the model's SAEs, from one capture, at one of them."""
    if texts is None or work is None:
        raise SystemExit(f"An SAE of {model.name} needs --texts FOLDER and --work FOLDER.")
    plan = TEXT_PLANS[model.name]
    places = sn.capture(
        model,
        mixed_texts(texts)[0],
        list(plan.hook_points),
        pack=True,
        context_length=plan.context_length,
        dtype=torch.float16,
        max_rows=TEXT_ROWS,
        batch_size=16,
        store=work / model.name / "captured",
    )
    return places[hook_point]


def certified_peer(folder: Path, budget: str) -> dict[str, Any]:
    """Certify a file of another library on planted rows."""
    begun = time.process_time()
    x = sn.data.planted_dictionary(*PLANTED, seed=0).x
    found = sn.certificate(sn.load_sae(folder), x, budget=budget, progress=False)
    return row(found, budget, time.process_time() - begun)


def main() -> None:
    """Certify what was asked for, each written at once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="bundled SAEs")
    parser.add_argument("--budget", default="2 min")
    parser.add_argument("--texts", type=Path, help="texts that SAEs of real models were trained on")
    parser.add_argument("--work", type=Path, help="keeps captures and trainings")
    parser.add_argument(
        "--kept", action="store_true", help="measure the second code alone, for rows that are there"
    )
    parser.add_argument("--peers", type=Path, help="folder of other libraries' files")
    given = parser.parse_args()
    rows = read_json(CERTIFICATES) if CERTIFICATES.is_file() else {}
    asked: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        (
            name,
            partial(kept, name, given.texts, given.work, rows[name])
            if given.kept
            else partial(certified, name, given.budget, given.texts, given.work),
        )
        for name in given.names
    ]
    if given.peers:
        asked += [(one, partial(certified_peer, given.peers / one, given.budget)) for one in PEERS]
    for name, make in asked:
        rows[name] = make()
        write_json(CERTIFICATES, dict(sorted(rows.items())))
        print(name, rows[name]["shares"], rows[name]["cpu_seconds"], flush=True)


if __name__ == "__main__":
    main()
