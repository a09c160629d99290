"""What `uses.bench` shows beside its scores is what the experiment measured, seed by seed."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path

from sae_nb_studies.reproductions.experiments.bench_references import (
    LEFT_OUT,
    PLACES,
    ROWS,
    references,
)

ARTEFACT = Path(__file__).parents[3] / "docs" / "claims" / "bench_references.json"


def test_references_are_those_of_the_artefact() -> None:
    """Nothing is written by hand, and nothing that is shown is NaN; made with the inputs that `bench` takes."""
    artefact = json.loads(ARTEFACT.read_text("utf-8"))
    kept = json.loads(
        Path(str(files("sae_nb_studies.uses") / "bench_references.json")).read_text("utf-8")
    )
    assert kept == references(artefact["numbers"])
    assert artefact["size"]["n_inputs"] == 400
    assert set(kept) == set(PLACES)
    for place, of_place in kept.items():
        name = place.partition("/")[0]
        assert set(of_place) == {row for row in ROWS if f"{name} {row}" not in LEFT_OUT}
        for row, beside in of_place.items():
            # Atoms that fire everywhere have no description to be scored.
            described = row != "autointerp" or name == "tiny-vit"
            assert {"random", "collapsed", "copied"} - set(beside) == (
                set() if described else {"collapsed"}
            )
            assert all(math.isfinite(value) for value in beside.values())


def test_what_no_seed_measured_is_left_out() -> None:
    """Without a spread of trained SAEs there is no noise to show, and a mean of 0 has none either."""
    numbers = {
        "tiny-vit tpp oracle": {"mean": 0.5, "sd": 0.1},
        "tiny-vit scr trained": {"mean": 0.0, "sd": 0.1},
        "tiny-vit ravel trained": {"mean": -0.5, "sd": 0.1},
    }
    found = references(numbers)["tiny-vit/resid_post.6"]
    assert found["tpp"] == {"oracle": 0.5}
    assert "scr" not in found
    assert found["ravel"] == {"reseed_cv": 0.2}
