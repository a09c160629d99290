"""The committed artefacts are what the experiments beside them make, and the table is what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sae_nb_studies.reproductions import artefact_of, experiment, experiment_names

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(params=experiment_names())
def artefact(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads((DOCS / "claims" / f"{request.param}.json").read_text("utf-8"))


def test_at_least_three_seeds_at_full_size(artefact: dict[str, Any]) -> None:
    assert len(artefact["seeds"]) >= 3
    assert artefact["size"] == experiment(artefact["experiment"]).size


def test_verdicts_follow_from_the_numbers_of_the_seeds(artefact: dict[str, Any]) -> None:
    """Nothing in an artefact was written by hand; `python -m sae_nb_studies.reproductions --judge` judges anew."""
    found = experiment(artefact["experiment"])
    again = artefact_of(found, artefact["seeds"], artefact["size"])
    assert artefact == again
