"""The mistakes that exercises know by name: each is named to whoever makes it, and the right function passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises import (
    _own_model as own_model,
    _own_sae as own_sae,
    _probing as probing,
    _tour as tour,
)
from sae_nb_lessons.exercises._mistakes import Slip
from sae_nb_lessons.studies._own_sae import encode, replacements
from sae_nb_lessons.studies._probing import columns_apart, logistic
from torch import Tensor, nn

KNOWN: dict[str, tuple[Callable[..., Any], Iterable[Slip]]] = {
    "00.1": (tour.rebuilt, tour._slips()),
    "02.1": (encode, own_sae._encoder_slips()),
    "02.2": (
        lambda x, y: ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum(),
        own_sae._LOSS_SLIPS,
    ),
    "02.3": (nn.functional.normalize, own_sae._UNIT_SLIPS),
    "02.4": (replacements, own_sae._DEAD_SLIPS),
    "04.1": (logistic, probing._PROBE_SLIPS),
    "04.3": (lambda z, y, k: columns_apart(z, y, k).flip(0), probing._SPARSE_SLIPS),
    "10.1": (own_model.rows_of, own_model._CAPTURE_SLIPS),
    "10.2": (lambda t, w, a: (t * w / 5 + 2 * a * w + a + w) * 2e-8, own_model._BUDGET_SLIPS),
    "10.3": (lambda c, s, z: 1 - (s - c) / (z - c) if z - c else math.nan, own_model._KEPT_SLIPS),
}


@pytest.mark.parametrize("id", KNOWN)
def test_a_common_mistake_is_named(id: str) -> None:
    right, slips = KNOWN[id]
    assert exercise(id).check(right)
    for slip in slips:
        exercise(id).reset()
        verdict = exercise(id).check(slip.way)
        assert verdict.state == "wrong"
        assert slip.said in verdict.message


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
