"""The committed artefacts are what the experiments beside them make, and the table is what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sae_nb.files import read_json
from sae_nb_studies.reproductions import artefact_of, experiment, experiment_names

DOCS = Path(__file__).parents[3] / "docs"
LONG_ROWS = {"language_temporal": 12_600}
"""Seconds of rows that need more: 4 800 steps of a Temporal SAE on SmolLM2, forty minutes a seed."""


@pytest.fixture(params=experiment_names())
def artefact(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Of every experiment."""
    return read_json(DOCS / "claims" / f"{request.param}.json")


def test_at_least_three_seeds_at_full_size(artefact: dict[str, Any]) -> None:
    """As the experiment is now."""
    assert len(artefact["seeds"]) >= 3
    assert artefact["size"] == experiment(artefact["experiment"]).size


def test_it_says_with_what_it_was_made_and_how_long_that_took(artefact: dict[str, Any]) -> None:
    """Seconds, cores and versions of every seed; a row takes at most 100 minutes, a long one what it is given."""
    records = artefact["seeds"].values()
    assert all(record["seconds"] > 0 for record in records)
    most = LONG_ROWS.get(artefact["experiment"], 6000)
    assert sum(record["seconds"] for record in records) <= most
    assert all(record["environment"].keys() >= {"cores", "torch", "threads"} for record in records)


def test_verdicts_follow_from_the_numbers_of_the_seeds(artefact: dict[str, Any]) -> None:
    """Nothing in an artefact was written by hand; `python -m sae_nb_studies.reproductions --judge` judges anew."""
    found = experiment(artefact["experiment"])
    again = artefact_of(found, artefact["seeds"], artefact["size"])
    assert artefact == again


def test_a_verdict_short_of_holds_says_why(artefact: dict[str, Any]) -> None:
    """A cause, or that the numbers still change; one that holds has nothing to excuse."""
    for claim in artefact["claims"]:
        why, verdict = claim["why"] or {}, claim["verdict"]
        where = f"{artefact['experiment']}, {claim['name']}: {verdict}"
        if verdict in ("partly", "does not hold at this scale"):
            assert why.get("cause"), f"{where} needs a [claim.why]"
        elif verdict == "undecided":
            assert why["still_changing_at"] > 0 < why["hours"], where
        elif verdict != "too few seeds":
            assert why.get("cause") in (None, "(a) set-up mended"), f"{where} has a why too many"
        assert not why or len(why["evidence"]) > 20, where
