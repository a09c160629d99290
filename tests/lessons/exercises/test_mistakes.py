"""Exercises that ask for a function: the right one passes however it is written, each known mistake is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import pytest
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises._mistakes import FIXED, Slip
from torch import Tensor, nn

from tests.lessons.exercises.answered import ANSWERS

KNOWN: dict[str, str] = {
    "00.1": "_tour._slips",
    "00.3": "_tour._PUSHED_SLIPS",
    "02.1": "_own_sae._encoder_slips",
    "02.2": "_own_sae._LOSS_SLIPS",
    "02.3": "_own_sae._UNIT_SLIPS",
    "02.4": "_own_sae._DEAD_SLIPS",
    "03.7": "_evaluation._BEST_SLIPS",
    "04.1": "_probing._PROBE_SLIPS",
    "04.3": "_probing._SPARSE_SLIPS",
    "06.1": "_lens._LENS_SLIPS",
    "06.4": "_lens._HITS_SLIPS",
    "07.1": "_patching._SLIPS",
    "08.3": "_circuits._INDUCTION_SLIPS",
    "10.1": "_own_model._CAPTURE_SLIPS",
    "10.2": "_own_model._BUDGET_SLIPS",
    "10.3": "_own_model._KEPT_SLIPS",
    "34.2": "_safety._SCORE_SLIPS",
    "34.4": "_safety._NONE_SLIPS",
    "11.5": "_pursuit._SLIPS",
    "12.4": "_hierarchy._SLIPS",
    "13.2": "_projections._SLIPS",
    "14.2": "_archetypal._SLIPS",
    "15.4": "_depth._SLIPS",
    "16.3": "_minkowski._SLIPS",
    "17.2": "_time._SLIPS",
    "18.3": "_shapes._SLIPS",
    "19.1": "_transcoders._slips",
    "20.1": "_crosscoders._SLIPS",
    "21.2": "_corpora._Q_SLIPS",
    "21.5": "_corpora._GREEDY_SLIPS",
    "22.1": "_behaviour._slips",
    "23.2": "_talking._DETECTION_SLIPS",
    "23.3": "_talking._EDIT_SLIPS",
    "24.2": "_sharing._LEAST_SLIPS",
    "24.4": "_sharing._READER_SLIPS",
    "25.4": "_vision._SLIPS",
    "26.1": "_pixels._slips",
    "27.1": "_towers._SEARCH_SLIPS",
    "27.3": "_towers._SIDE_SLIPS",
    "27.4": "_towers._BRIDGE_SLIPS",
    "27.5": "_towers._DETECTOR_SLIPS",
    "28.2": "_hearing._DETECTOR_SLIPS",
    "28.4": "_hearing._MOMENT_SLIPS",
    "29.1": "_changes._slips",
    "30.1": "_heads._SLIPS",
    "31.1": "_attention_by_hand._pattern_slips",
    "31.2": "_attention_by_hand._writing_slips",
    "31.3": "_attention_by_hand._qk_slips",
    "31.5": "_attention_by_hand._copying_slips",
    "32.1": "_paths._straight_slips",
    "32.2": "_paths._heard_slips",
    "33.1": "_modular._share_slips",
    "33.2": "_modular._kept_slips",
    "33.4": "_modular._difference_slips",
    "35.1": "_moods._agreement_slips",
    "35.3": "_moods._cap_slips",
    "36.1": "_curves._fit_slips",
    "36.3": "_curves._move_slips",
    "37.1": "_neighbours._slips",
    "38.1": "_few_weights._slips",
    "41.1": "_lies._floor_slips",
    "41.3": "_lies._cell_slips",
    "42.1": "_story._look_slips",
    "42.2": "_story._exchange_slips",
    "43.1": "_persona._reading_slips",
    "43.2": "_persona._odds_slips",
    "43.3": "_persona._gate_slips",
    "43.4": "_persona._cost_slips",
    "44.1": "_knobs._stability_slips",
    "44.2": "_knobs._spread_slips",
    "44.3": "_knobs._amount_slips",
    "44.4": "_knobs._held_out_slips",
    "44.5": "_knobs._beyond_slips",
    "45.1": "_found_shapes._lift_slips",
    "45.2": "_found_shapes._tie_slips",
    "45.4": "_found_shapes._drawn_slips",
    "45.5": "_found_shapes._ring_slips",
    "lab_01.1": "_landmarks._SLIPS",
    "lab_02.1": "_similarity._SLIPS",
    "lab_03.1": "_waves._STEP_SLIPS",
    "lab_04.1": "_events._STEP_SLIPS",
    "lab_05.1": "_anomalies._SLIPS",
    "lab_06.2": "_error_bars._SLIPS",
    "lab_07.1": "_momentum._SLIPS",
    "lab_08.1": "_orbits._SLIPS",
    "lab_09.1": "_signatures._SLIPS",
    "lab_10.1": "_mosaics._SLIPS",
}


def slips_of(id: str) -> Iterable[Slip]:
    module, name = KNOWN[id].split(".")
    found = getattr(import_module(f"sae_nb_lessons.exercises.{module}"), name)
    return found() if callable(found) else found


def written_in(right: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gives the right result of its first call, and the same ever after."""
    kept: list[Any] = []

    def fixed(*given: Any) -> Any:
        kept.extend([] if kept else [right(*given)])
        return kept[0]

    return fixed


@pytest.mark.parametrize("id", KNOWN)
def test_known_mistakes_are_named(id: str) -> None:
    """Each with its own hint, and a result that was written in; the right one passes."""
    assert exercise(id).check(ANSWERS[id])
    ways = [(slip.said, slip.hint, slip.way) for slip in slips_of(id)]
    if id != "04.1":  # whose answer has another length for other data
        ways.append((FIXED.said, FIXED.hint, written_in(ANSWERS[id])))
    for said, hint, way in ways:
        exercise(id).reset()
        verdict = exercise(id).check(way)
        assert verdict.state == "wrong", (said, verdict)
        assert (said, f"Hint: {hint}" if hint else verdict.hint) == (verdict.said, verdict.hint)


@pytest.mark.parametrize("removed", [False, True])
def test_a_hook_does_not_stay_on_the_block(removed: bool) -> None:
    def hooked(model: nn.Module, block: nn.Module, ids: Tensor) -> Tensor:
        kept: list[Tensor] = []
        handle = block.register_forward_hook(lambda *given: kept.append(given[2][0]))
        model(ids)
        if removed:
            handle.remove()
        return kept[0][0, 1:]

    said = "The model raised an error" if removed else "the hook is still on the block"
    assert said in exercise("10.1").check(hooked).message
