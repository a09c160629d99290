"""The mistakes that exercises know by name: each is named to whoever makes it, and the right function passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from sae_nb_lessons import exercise
from sae_nb_lessons.exercises import (
    _behaviour as behaviour,
    _changes as changes,
    _hearing as hearing,
    _own_model as own_model,
    _own_sae as own_sae,
    _pixels as pixels,
    _probing as probing,
    _pursuit as pursuit,
    _tour as tour,
    _towers as towers,
    _transcoders as transcoders,
)
from sae_nb_lessons.exercises._mistakes import Slip
from sae_nb_lessons.studies._own_sae import encode, replacements
from sae_nb_lessons.studies._probing import columns_apart, logistic
from sae_nb_lessons.studies._two_towers import own_found, sides
from torch import Tensor, nn

from tests.lessons.exercises.notebook_answers import pursued


def detector(z: Tensor, y: Tensor) -> Tensor:
    hits = ((z > 0) & y[:, None]).sum(dim=0).double()
    recall, precision = hits / y.sum(), hits / (z > 0).sum(dim=0).clamp(min=1)
    return (2 / (1 / recall.clamp(min=1e-9) + 1 / precision.clamp(min=1e-9))).argmax()


KNOWN: dict[str, tuple[Callable[..., Any], Iterable[Slip]]] = {
    "00.1": (tour.rebuilt, tour._slips()),
    "11.5": (pursued, pursuit._SLIPS),
    "19.1": (transcoders.transcode, transcoders._slips()),
    "22.1": (behaviour.comes_again, behaviour._slips()),
    "28.2": (
        lambda z, clip, n, cut: [bool((z[clip == one] > cut).any()) for one in range(n)],
        hearing._DETECTOR_SLIPS,
    ),
    "02.1": (encode, own_sae._encoder_slips()),
    "02.2": (
        lambda x, y: float(((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()),
        own_sae._LOSS_SLIPS,
    ),
    "02.3": (nn.functional.normalize, own_sae._UNIT_SLIPS),
    "02.4": (replacements, own_sae._DEAD_SLIPS),
    "04.1": (logistic, probing._PROBE_SLIPS),
    "04.3": (lambda z, y, k: columns_apart(z, y, k).flip(0), probing._SPARSE_SLIPS),
    "27.1": (lambda x, y: torch.tensor(own_found(x, y)), towers._SEARCH_SLIPS),
    "27.3": (lambda z, w: sides(z, w).tolist(), towers._SIDE_SLIPS),
    "27.4": (
        lambda z, w, D: torch.einsum("na,nb,ad,bd->ab", z, w, D, D) / len(z),
        towers._BRIDGE_SLIPS,
    ),
    "27.5": (detector, towers._DETECTOR_SLIPS),
    "10.1": (own_model.rows_of, own_model._CAPTURE_SLIPS),
    "10.2": (lambda t, w, a: (t * w / 5 + 2 * a * w + a + w) * 2e-8, own_model._BUDGET_SLIPS),
    "10.3": (lambda c, s, z: 1 - (s - c) / (z - c) if z - c else math.nan, own_model._KEPT_SLIPS),
    "26.1": (pixels.occlusion, pixels._slips()),
    "29.1": (changes.moved, changes._slips()),
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
