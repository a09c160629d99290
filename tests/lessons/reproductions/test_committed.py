"""What notebooks read of the committed numbers, and that it travels with the wheel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sae_nb_studies.reproductions import experiment_names, recorded
from sae_nb_studies.reproductions.experiments import archetypal_stability, separability

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", experiment_names())
def test_every_experiment_is_recorded(name: str) -> None:
    found, artefact = (
        recorded(name),
        json.loads((ROOT / "docs" / "claims" / f"{name}.json").read_text("utf-8")),
    )
    for number, told in artefact["numbers"].items():
        assert found.of(number).mean == pytest.approx(told["mean"], rel=1e-5, abs=1e-12)
        assert found.low(number) <= told["mean"] + 1e-9
        assert found.high(number) >= told["mean"] - 1e-9
    for claim in artefact["claims"]:
        assert found.verdict(claim["name"]) == claim["verdict"]
    assert artefact["command"] in found.made
    assert artefact["title"] in repr(found)


def test_bounds_are_two_deviations_away() -> None:
    found = recorded("hierarchy")
    line = json.loads((ROOT / "docs" / "claims" / "hierarchy.json").read_text("utf-8"))["claims"][
        2
    ]["lines"][1]
    summary = found.of(line["number"])
    assert found.low(line["number"]) == pytest.approx(summary.mean - 2 * summary.sd)
    assert line["gate"] == pytest.approx(summary.interval[0], rel=1e-4)


def test_a_table_has_every_number_of_its_claims() -> None:
    """Lines with their bounds, and what is shown; floors and controls are named as such."""
    table = recorded("hierarchy").table("absorption")
    assert set(table["claim"]) == {"absorption"}
    assert table["asked"].tolist()[:2] == ["≥ 0.3", "≥ 0.3"]
    assert table["met"].tolist()[:2] == ["yes", "open"]
    assert table["number"].tolist()[-2].startswith("floor: ")
    assert table["number"].tolist()[-1].startswith("control: ")
    assert len(recorded("hierarchy").table()) > len(table)


@pytest.mark.slow
def test_a_look_at_the_plane_shows_the_latent_that_it_scores() -> None:
    """Its F1 is that of the strengths drawn, as far as the grid resolves them."""
    test, sights = separability.look(seed=0, points=300, steps=20)
    for sight in sights.values():
        assert sight.strength.shape == (len(sight.ticks), len(sight.ticks))
        step = float(sight.ticks[1] - sight.ticks[0])
        cell = ((test.x - sight.ticks[0]) / step).round().long().clamp(0, len(sight.ticks) - 1)
        on, member = sight.strength[cell[:, 1], cell[:, 0]] > 0, test.concept == 1
        f1 = 2 * float((on & member).sum()) / float(on.sum() + member.sum())
        assert f1 == pytest.approx(sight.f1, abs=0.05)


@pytest.mark.slow
def test_a_look_at_two_arms_gives_falling_cosines_and_a_floor() -> None:
    found = archetypal_stability.look(seed=0, steps=2)
    assert list(found) == ["TopK", "TopK shared start", "random directions"]
    for cosines in found.values():
        assert (cosines[1:] <= cosines[:-1]).all()
    assert found["TopK shared start"].mean() > 0.95
    floor = recorded("archetypal_stability").seeds("random directions stability")[0]
    assert found["random directions"].mean() == pytest.approx(floor, abs=1e-4)
