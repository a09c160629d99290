"""Steering by nothing is nothing, to the bit."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.steering.modes import MODES
from tests.steering.test_steering import TiedReLU, tiny_gpt

NEUTRAL = {name: mode.neutral for name, mode in MODES.items() if mode.neutral is not None}


@pytest.fixture(scope="module")
def gpt():
    return tiny_gpt()


@pytest.mark.parametrize("mode", NEUTRAL)
@pytest.mark.parametrize("atoms", [[3], [0, 5, 11]])
def test_steering_by_nothing_changes_no_logit(gpt, mode: str, atoms: list[int]) -> None:
    """Adding 0 and scaling by 1 leave every logit as it was; a thousandth beside it does not."""
    ids = [[5, 6, 7, 8], [9, 10, 11]]
    clean = gpt(ids).nan_to_num()
    for by, same in ((NEUTRAL[mode], True), (NEUTRAL[mode] + 1e-3, False)):
        with sn.steer(gpt, "resid_post.1", TiedReLU(), atoms, by=by, mode=mode):
            assert torch.equal(gpt(ids).nan_to_num(), clean) == same


def test_adding_a_direction_0_times_changes_no_logit(gpt) -> None:
    ids, direction = [[5, 6, 7, 8]], torch.linspace(-1, 2, 8)
    clean = gpt(ids)
    for by, same in ((0.0, True), (1e-3, False)):
        with sn.steer(gpt, "resid_post.1", direction=direction, by=by):
            assert torch.equal(gpt(ids), clean) == same
