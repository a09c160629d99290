"""Notebook 09: lines and runs that say nothing, the claim of one's own, and its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from sae_nb_lessons import exercise, own_claim
from sae_nb_lessons.exercises import _own_claim as exercises
from sae_nb_lessons.studies import hidden_rows, on_features, own_sae, scrambled, toy_run

from sae_nb_studies.reproductions import MeasuredClaim

HOSTILE = "<script>alert(1)</script>"
GOOD = {"claim": 0.99, "floor": 0.68, "control": 0.69}
Run = Callable[[int], Mapping[str, float]]


def measured(seed: int) -> dict[str, float]:
    return {name: value + 1e-3 * (seed % 7) for name, value in GOOD.items()}


def with_(**changed: Callable[[int], float]) -> Run:
    return lambda seed: measured(seed) | {name: of(seed) for name, of in changed.items()}


LINES = [
    (0.71, "control reaches 0.72"),
    (0.999, "leaves no room"),
    (95, "No cosine is above 1"),
]
RUNS = [
    (with_(claim=lambda s: float(torch.rand(()))), "different numbers for claim"),
    (with_(claim=lambda s: 0.62 + s / 99, floor=lambda s: 0.99 - s / 99), "not below"),
    (with_(claim=lambda s: 0.9995 - s / 1e4), "D, not E"),
    (with_(control=lambda s: 0.99 - s / 99), "the features are still in its data"),
]


def card(at_least: float, seeds: int, run: Run = measured) -> MeasuredClaim:
    texts = {"text": "It holds.", "number": "cosine", "floor": "random", "control": "scrambled"}
    return own_claim(**texts, at_least=at_least).test(run, range(seeds))


@pytest.fixture(autouse=True)
def _known_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "toy_run", measured)
    monkeypatch.setattr(exercises, "on_features", lambda *_: np.zeros(1))


@pytest.mark.parametrize(("id", "right", "wrong"), [("09.1", 0.9, LINES), ("09.3", measured, RUNS)])
def test_a_wrong_answer_is_told_its_mistake(
    id: str, right: object, wrong: list[tuple[object, str]]
) -> None:
    assert exercise(id).check(right)
    for answer, words in wrong:
        exercise(id).reset()
        verdict = exercise(id).check(answer)
        assert verdict.state == "wrong"
        assert words in verdict.message + verdict.hint
        assert verdict.hint.startswith("Hint: ")


Step = Callable[[int], torch.Tensor]


def run_of(claim: Step, floor: Step, control: Step, toy: Callable[[int], int] = int) -> Run:
    made = {"claim": claim, "floor": floor, "control": control}
    return lambda seed: {
        name: float(on_features(toy(seed), of(seed)).mean()) for name, of in made.items()
    }


@pytest.mark.slow
def test_a_run_of_ones_own_is_right_and_slips_in_it_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the toys themselves, as a student writes it."""
    monkeypatch.setattr(exercises, "toy_run", toy_run)
    monkeypatch.setattr(exercises, "on_features", on_features)
    sae = cache(lambda toy, seed, k: own_sae(hidden_rows(toy), 64, k, 300, seed).D)
    mixed = cache(
        lambda seed, by, steps: own_sae(scrambled(hidden_rows(seed), by), 64, 3, steps, seed).D
    )
    claim, floor = lambda s: sae(s, s, 3), lambda s: torch.randn(64, 10, generator=drawn(s))
    control = lambda s: mixed(s, s, 300)  # noqa: E731
    assert exercise("09.3").check(run_of(claim, floor, control))
    for run, words in (
        (run_of(claim, lambda s: hidden_rows(s)[:64], control), "that of 64 random directions"),
        (run_of(claim, lambda _: floor(42), control), "drawn from seed 42"),
        (run_of(claim, floor, claim), "still in its data"),
        (run_of(floor, claim, control), "Are they exchanged"),
    ):
        exercise("09.3").reset()
        verdict = exercise("09.3").check(run)
        assert verdict.state == "wrong"
        assert words in verdict.message


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_card_is_right_whatever_its_verdict_if_it_could_have_been_another() -> None:
    assert exercise("09.4").check(card(0.9, 5))
    lost = card(0.995, 5)
    assert lost.verdict == "does not hold at this scale"
    assert exercise("09.4").check(lost)
    for answer, words in (
        (card(0.9, 4), "4 seeds leave a mean open"),
        (card(0.6, 5), "the claim says nothing"),
        (card(0.9, 5, lambda seed: GOOD), "the very same numbers"),
        (card(0.9, 5, with_(claim=lambda s: 0.97 + s / 999)), "the run of 09.3 measures"),
    ):
        assert words in exercise("09.4").check(answer).message
    assert exercise("09.4").check("holds").state == "form"


def test_a_card_shows_number_floor_and_control_and_becomes_a_page(tmp_path: Path) -> None:
    shown = own_claim(
        HOSTILE, "cosine", at_least=0.9, floor="random", control="scrambled", source=HOSTILE
    ).test(measured)
    for part in ("Holds", "cosine", "≥ 0.9", "floor: random", "control: scrambled", "5 seeds"):
        assert part in repr(shown)
        assert part in shown._repr_html_()
    page = shown.to_html(tmp_path / "claim.html").read_text(encoding="utf-8")
    assert "<script>" not in page + shown._repr_html_()
    assert "&lt;script&gt;" in page
    assert "http" not in page
    weak = card(0.6, 5)
    assert (weak.verdict, weak.cannot_fail) == ("holds", True)
    assert "says nothing yet" in repr(weak)
    assert "your claim: open" in weak._repr_html_()
    assert card(0.9, 3).verdict in ("holds", "too few seeds")
    claim = own_claim("A claim.", "a number", at_least=0.9, floor="none", control="shuffled")
    with pytest.raises(TypeError, match="without calling it"):
        claim.test(measured(0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Take range\(5\)"):
        claim.test(measured, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must end in \.html"):
        shown.to_html(tmp_path / "claim.txt")
